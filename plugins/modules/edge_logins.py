#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: edge_logins
short_description: Keep the files of logins that the edge asks
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Writes a file for each list of logins, as C(auth_basic_user_file) of nginx and C(usersFile) of Traefik read it, hashed by bcrypt.
  - A hash that fits its password stays as it is, so a second run changes nothing.
  - The folder is the module's own; other files in it are removed. Folder and files are for root and the edge's group alone.
  - Needs libcrypt.so.1, which every Debian and Ubuntu has.
options:
  folder:
    description: The folder of the files.
    type: path
    required: true
  group:
    description: Number of the group that the edge's workers run in.
    type: int
    default: 33
  logins:
    description: The files, as the filter P(quayside.django.logins#filter) gives them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the file.
        type: str
        required: true
      users:
        description: Logins, each with its password.
        type: dict
        required: true
attributes:
  check_mode:
    description: Says which files would change.
    support: full
  diff_mode:
    description: Shows logins, no passwords and no hashes.
    support: full
"""

EXAMPLES = r"""
- name: Who logs in at the edge is declared
  quayside.django.edge_logins:
    folder: /etc/nginx/logins
    logins: "{{ django_apps | quayside.django.logins }}"
"""

RETURN = r"""
changes:
  description: Files that changed.
  returned: success
  type: list
  elements: str
  sample: [shop-1]
"""

import os

from ansible_collections.quayside.django.plugins.module_utils import host, logins
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def owned(path: str, group: int, mode: int) -> bool:
    """Return True when a path belongs to root and the group, and has that mode."""
    state = os.stat(path)
    return (state.st_uid, state.st_gid, state.st_mode & 0o7777) == (0, group, mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "group": {"type": "int", "default": 33},
            "logins": {"type": "list", "elements": "dict", "default": [], "options": {
                "name": {"type": "str", "required": True}, "users": {"type": "dict", "required": True, "no_log": True}}},
        },
        supports_check_mode=True,
    )
    folder, group = module.params["folder"], module.params["group"]
    wanted = {one["name"]: one["users"] for one in module.params["logins"]}
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    before = {name: host.text(f"{folder}/{name}") for name in {*wanted, *there}}
    try:
        after = {name: logins.render(before[name], users) for name, users in wanted.items()}
    except logins.CryptError as error:
        module.fail_json(msg=f"No password can be hashed for the edge: {error}")
    gone = [name for name in there if name not in wanted]
    changes = [name for name in sorted(wanted) if name not in there or before[name] != after[name] or not owned(f"{folder}/{name}", group, 0o640)] + gone
    closed = not wanted or (os.path.isdir(folder) and owned(folder, group, 0o750))
    if not module.check_mode and (changes or not closed):
        host.folder(folder, 0o750, 0, group)
        for name in changes:
            if name in wanted:
                host.write(f"{folder}/{name}", after[name], 0o640, 0, group)
            else:
                host.remove(f"{folder}/{name}")
    diff = [{"before_header": f"{folder}/{name}", "after_header": f"{folder}/{name}", "before": logins.shown(before[name]),
             "after": logins.shown(after.get(name, ""), before[name])} for name in changes]
    module.exit_json(changed=bool(changes) or not closed, changes=changes, diff=diff)


if __name__ == "__main__":
    main()
