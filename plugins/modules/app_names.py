#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse names of apps that a host has for something else."""
from __future__ import annotations

DOCUMENTATION = r"""
module: app_names
short_description: Refuse names of apps that a host has for something else
version_added: 0.1.0
description:
  - Looks for unit files, running units, rotations of logs, sites, users, groups, folders, Docker networks, images, and roles and databases of
    PostgreSQL under the names of apps, and fails when one is not of the collection's making. Nothing is changed.
  - Warns of orphans, apps that are installed on the host and not among them.
  - What is the collection's is told by the first line of its files, by the home of its users and by the labels of its networks and images.
options:
  apps:
    description: All apps of the host, as the filter P(quayside.django.apps#filter) returns them.
    type: list
    elements: dict
    required: true
  groups:
    description: Groups of the inventory that the host is in. C(apps) looks for all but databases, C(databases) for these.
    type: list
    elements: str
    default: [apps, databases]
attributes:
  check_mode:
    support: full
    description: It changes nothing in any mode, and works on a host that has nothing yet.
  diff_mode:
    support: none
    description: It changes nothing.
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The names of the apps are free
  quayside.django.app_names:
    apps: "{{ django_apps | quayside.django.apps }}"
    groups: "{{ group_names }}"
  become: true
"""

RETURN = r"""
findings:
  description: What stands in the way, with the reason and what to do.
  type: list
  elements: str
  returned: always
orphans:
  description: Apps that are installed on the host and not among O(apps), with C(name) and what is there of each.
  type: list
  elements: dict
  returned: success
"""

from ansible_collections.quayside.django.plugins.module_utils import foreign, orphans
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "groups": {"type": "list", "elements": "str", "default": ["apps", "databases"]},
        },
        supports_check_mode=True,
    )
    findings = [text for app in module.params["apps"] for text in foreign.judge(app, foreign.look(app, module.params["groups"]))]
    if findings:
        module.fail_json(msg="nothing was changed, because:\n" + "\n".join(f"- {text}" for text in findings), findings=findings)
    left = orphans.look({app["name"] for app in module.params["apps"]})
    for orphan in left:
        module.warn(orphans.line(orphan))
    module.exit_json(changed=False, findings=[], orphans=left)


if __name__ == "__main__":
    main()
