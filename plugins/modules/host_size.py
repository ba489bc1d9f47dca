#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: host_size
short_description: Tell how large a host is
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Gives cores, memory and disk as the facts C(ansible_facts.quayside_host), for the filters that size services to a host.
  - In a container these are its limits. Ansible's own facts show those of the machine below.
options:
  marks:
    description: Paths that a first set-up leaves behind. While none of them exists, C(first) is true.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: The size of the host is known
  quayside.django.host_size:
"""

RETURN = r"""
ansible_facts:
  description:
    - C(quayside_host) with C(cores) (whole ones), C(cpu) (with the fraction of a quota), C(memory), C(disk) and C(free) in MiB, the last two of the
      file system of C(/), and C(first), whether none of O(marks) exists.
  type: dict
  returned: success
  sample: {quayside_host: {cores: 2, cpu: 2.0, memory: 3915, disk: 39000, free: 35000, first: false}}
"""

import os

from ansible_collections.quayside.django.plugins.module_utils import host
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(argument_spec={"marks": {"type": "list", "elements": "path", "default": []}}, supports_check_mode=True)
    cores, memory = host.size()
    disk = os.statvfs("/")
    found = {"cores": cores, "cpu": round(host.cpu(), 2), "memory": memory, "disk": disk.f_blocks * disk.f_frsize // 2 ** 20,
             "free": disk.f_bavail * disk.f_frsize // 2 ** 20, "first": not any(os.path.exists(path) for path in module.params["marks"])}
    module.exit_json(changed=False, ansible_facts={"quayside_host": found})


if __name__ == "__main__":
    main()
