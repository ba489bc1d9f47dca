#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of the doctor that runs on a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_look
short_description: The part of the doctor that runs on a host
version_added: 0.1.0
description:
  - Started by M(quayside.django.doctor), which makes its options from the inventory.
  - Changes nothing. Whatever hangs is left alone after some seconds, a minute for an app. No value of a secret is in what it returns.
options:
  apps:
    description: Apps of the model without secrets, each with C(provides), the names of its variables, and C(secret_names), those of its secrets.
    type: list
    elements: dict
    default: []
  app:
    description: Name of the only app to look at; empty for all. The others count for memory and connections.
    type: str
    default: ""
  groups:
    description: Groups that the host is in; C(apps) and C(edges) say what is looked at.
    type: list
    elements: str
    default: []
  addresses:
    description: Addresses that lead to the host beside those of its own interfaces.
    type: list
    elements: str
    default: []
  resolver:
    description: Name server to ask, as C(address) or C(address:port). Empty for the host's own.
    type: str
    default: ""
  certificate_days:
    description: Days of life below which a certificate is a warning.
    type: int
    default: 21
  orphans:
    description: Tell the apps that are installed on the host and not among O(apps); these have to be all that the inventory has.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The host is looked at
  quayside.django.doctor_look:
    groups: [databases]
  become: true
"""

RETURN = r"""
findings:
  description: What was found, as M(quayside.django.doctor) returns it.
  type: list
  elements: dict
  returned: success
now:
  description: The host's clock as the module began, seconds of the epoch.
  type: float
  returned: success
synchronized:
  description: Whether a time server is followed; null in a container.
  type: bool
  returned: success
"""

from ansible_collections.quayside.django.plugins.module_utils import doctor, doctor_facts
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "default": []},
            "app": {"type": "str", "default": ""},
            "groups": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "resolver": {"type": "str", "default": ""},
            "certificate_days": {"type": "int", "default": 21},
            "orphans": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    seen = doctor_facts.look(module.params)
    seen["findings"] = doctor.scrub(seen["findings"], doctor_facts.secret_values(module.params["apps"]))
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
