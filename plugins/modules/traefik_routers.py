#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: traefik_routers
short_description: Fail when Traefik has left out what it was told to serve
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Traefik leaves out a router that it cannot build, and says so in its log only. This module asks the running Traefik whether it has read the
    routers of each app, waits for them, and fails with the names and the reasons of those that are in error.
  - What is in error in other files of C(dynamic) is a warning.
options:
  apps:
    description: The apps, as the filter P(quayside.django.apps#filter) gives them.
    type: list
    elements: dict
    required: true
  folder:
    description: The folder of the edge, where Traefik runs as the project C(quayside-edge).
    type: path
    required: true
  wait:
    description: Seconds in which Traefik has to have read its files.
    type: int
    default: 15
attributes:
  check_mode:
    description: Asks Traefik, and changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Traefik serves all that was written
  quayside.django.traefik_routers:
    apps: "{{ django_apps | quayside.django.apps }}"
    folder: /opt/quayside/edge
"""

RETURN = r"""
faults:
  description: What Traefik has left out or warns of, with the reason.
  returned: success
  type: dict
  sample: {}
"""

import time

from ansible_collections.quayside.django.plugins.module_utils import host, traefik_api
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

LOG = "docker compose -f {folder}/compose.yaml logs --tail 50 traefik"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "folder": {"type": "path", "required": True},
            "wait": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    folder = module.params["folder"]
    names = [name for app in module.params["apps"] for name in traefik_api.declared(host.text(f"{folder}/dynamic/{app['name']}.yml"))]
    deadline = time.monotonic() + module.params["wait"]
    try:
        while True:
            found = traefik_api.state()
            absent = traefik_api.absent(found, names)
            if not absent or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    except host.PhaseError as error:
        module.fail_json(msg=f"{error.reason}\n{error.log}".strip())
    faults = traefik_api.faults(found)
    ours = {key: why for key, why in faults.items() if key.partition(" ")[2] in names or
            any(key.partition(" ")[2].startswith(f"{app['name']}-") for app in module.params["apps"])}
    look = LOG.format(folder=folder)
    if absent:
        module.fail_json(msg=f"Traefik has not read its routers {', '.join(absent)}. A file in {folder}/dynamic that it cannot read hides all of them: {look}")
    if ours:
        module.fail_json(msg="Traefik serves nothing by what it cannot build: " + "; ".join(f"{key}: {why}" for key, why in ours.items()) + f". See {look}")
    for key, why in faults.items():
        module.warn(f"Traefik leaves out the {key}, which is not ours: {why}. See {look}")
    module.exit_json(changed=False, faults=faults)


if __name__ == "__main__":
    main()
