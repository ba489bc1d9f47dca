#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: served_certificates
short_description: Look which certificates an edge really serves
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Asks the edge of this host by a TLS handshake for each name of the apps that have to be served by HTTPS. It is the same for every edge, and
    sees what visitors see, whatever lies in files.
options:
  apps:
    description: The apps, as the filter P(quayside.django.apps#filter) gives them.
    type: list
    elements: dict
    required: true
  complete:
    description: Fail when a name has no certificate that is for it and has not ended. An address is passed over where an authority signs none.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Each name that has to be served by HTTPS is
  quayside.django.served_certificates:
    apps: "{{ django_apps | quayside.django.apps }}"
    complete: true
"""

RETURN = r"""
certificates:
  description: Each name with C(app), C(secure), C(days) that its certificate has left, its C(serial), and C(why) it is not served by HTTPS.
  returned: always
  type: dict
  sample:
    shop.example.com: {app: shop, secure: true, fits: true, days: 89.4, serial: 3f2a, why: ""}
lines:
  description: The same for people.
  returned: always
  type: list
  elements: str
  sample: ["shop.example.com: 89 days left"]
"""

from ansible_collections.quayside.django.plugins.module_utils import model, served
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={"apps": {"type": "list", "elements": "dict", "required": True}, "complete": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    found = {}
    for app in module.params["apps"]:
        if app["scheme"] == "https" and app["edge"] != "none":
            names = [name for name in app["domains"] if app["tls"]["mode"] != "acme" or not model.is_address(name)]
            found.update({name: dict(served.look(name), app=app["name"]) for name in names})
    lines = [f"{name}: {served.left(one['days']) + ' left' if one['secure'] else one['why']}" for name, one in found.items()]
    plain = [f"{name} (app {one['app']}): {one['why']}" for name, one in found.items() if not one["secure"]]
    if plain and module.params["complete"]:
        module.fail_json(msg="not served by HTTPS: " + "; ".join(plain) + ". The warnings above say why; put that right, then run "
                         "quayside.django.certificates again. All other names are served.", certificates=found, lines=lines)
    module.exit_json(changed=False, certificates=found, lines=lines)


if __name__ == "__main__":
    main()
