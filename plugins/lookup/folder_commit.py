# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The commit of a folder of the controller."""
from __future__ import annotations

DOCUMENTATION = r"""
name: folder_commit
short_description: The commit that a folder of the controller is exactly at
version_added: 0.1.0
description:
  - Returns the commit of the git repository that a folder is in, or an empty text when it is in none, when git does not know all of the folder as
    it is, or when it has submodules.
  - Nothing that the repository configures is run or read, such as C(core.fsmonitor), hooks, filters and includes.
options:
  _terms:
    description: Paths of folders.
    type: list
    elements: str
    required: true
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The commit is known
  ansible.builtin.debug:
    msg: "{{ lookup('quayside.django.folder_commit', '/home/ann/shop') }}"
"""

RETURN = r"""
_raw:
  description: For each folder its commit or an empty text.
  type: list
  elements: str
"""

from ansible.plugins.lookup import LookupBase
from ansible_collections.quayside.django.plugins.plugin_utils import folder_commit


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        return [folder_commit.commit(str(term)) for term in terms]
