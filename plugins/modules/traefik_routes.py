#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: traefik_routes
short_description: Keep what Traefik reads from files
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Writes Traefik's settings (C(traefik/traefik.yml)), its TLS options and, for each app, its routes (C(dynamic/<app>.yml)), each by one rename.
  - Traefik hands the requests of each name to the nginx beside it, which knows where the live release is. Where an earlier version of this
    collection had Traefik ask the apps itself, the nginx that runs is made ready for that first.
  - Files of apps that are not named are removed when they were made by this collection; others stay.
options:
  apps:
    description: The apps, as the filter P(quayside.django.apps#filter) gives them.
    type: list
    elements: dict
    required: true
  folder:
    description: The folder of the edge. C(dynamic) and C(traefik) in it are made.
    type: path
    required: true
  certificates:
    description: >-
      Name of each app that has certificates of others, each with the C(names) that it serves and the paths C(certificate) and C(key) as Traefik
      sees them. Those that Traefik has fetched itself are looked up here.
    type: dict
    default: {}
  secrets:
    description: App to C(eab) and C(dns), as the filter P(quayside.django.acme_secrets#filter) gives them.
    type: dict
    default: {}
  certificate_hours:
    description: How long certificates of the authority live. Below 24 Traefik looks each minute, and renews in the last 20.
    type: int
    default: 2160
  headers:
    description: Headers of every answer, beside those of the app.
    type: dict
    default: {}
  trusted_proxies:
    description: Addresses and networks whose X-Forwarded headers are believed.
    type: list
    elements: str
    default: []
  read_timeout:
    description: Seconds in which a whole request has to arrive.
    type: int
    default: 300
attributes:
  check_mode:
    description: Says which files would change.
    support: full
  diff_mode:
    description: Shows the text of each file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Settings and routes are what the apps declare
  quayside.django.traefik_routes:
    apps: "{{ django_apps | quayside.django.apps }}"
    folder: /opt/quayside/edge
"""

RETURN = r"""
changes:
  description: Paths that changed, below the folder.
  returned: success
  type: list
  elements: str
  sample: [dynamic/shop.yml]
settings:
  description: A hash of the settings. Traefik reads them only when it starts.
  returned: success
  type: str
  sample: 5f2bd1c3a4e60718
"""

import os

from ansible_collections.quayside.django.plugins.module_utils import env_file, host, releases, traefik, traefik_files
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def stale(folder: str, wanted: set) -> list[str]:
    """Return our own files in a folder that are not wanted; a link that leads nowhere is one, too."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = f"{folder}/{name}"
        ours = host.text(path).startswith(traefik.MARK) or (os.path.islink(path) and os.readlink(path).endswith("/live/edge/services.yml"))
        if name.endswith(".yml") and name not in wanted and ours:
            found.append(name)
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "folder": {"type": "path", "required": True},
            "certificates": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "certificate_hours": {"type": "int", "default": traefik.QUARTER},
            "headers": {"type": "dict", "default": {}},
            "trusted_proxies": {"type": "list", "elements": "str", "default": []},
            "read_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    params = module.params
    apps, folder = params["apps"], params["folder"]
    secrets = params["secrets"]
    settings = traefik.settings(apps, f"{folder}/dynamic", params["trusted_proxies"], params["read_timeout"], secrets, params["certificate_hours"])
    wanted = {"traefik/traefik.yml": settings, "dynamic/tls-options.yml": traefik.options(apps),
              "dynamic/quayside-nginx.yml": traefik.transport(traefik.patience(apps))}
    variables = {key: value for one in secrets.values() for key, value in one.get("dns", {}).items()}
    if variables:
        wanted["traefik/acme.env"] = env_file.render(variables)
    for app in apps:
        held, asked = traefik_files.doors(app, folder, params["certificates"].get(app["name"], []))
        wanted[f"dynamic/{app['name']}.yml"] = traefik.routes(app, params["headers"], held, asked, params["trusted_proxies"])
    # Docker reads the one as root, Traefik itself the other.
    closed = {"traefik/acme.env": (0o600, 0, 0)}
    if any(one.get("eab") for one in secrets.values()):
        closed["traefik/traefik.yml"] = (0o640, 0, 33)
    gone = [f"dynamic/{name}" for name in stale(f"{folder}/dynamic", {os.path.basename(path) for path in wanted})]
    # Logins lie with nginx now.
    logins = f"{folder}/traefik/logins"
    gone += [f"traefik/logins/{name}" for name in (sorted(os.listdir(logins)) if os.path.isdir(logins) else [])]
    gone += [path for path in ("traefik/acme.env",) if path not in wanted and os.path.exists(f"{folder}/{path}")]
    before = {path: host.text(f"{folder}/{path}") for path in [*wanted, *gone]}
    changes = [path for path, text in wanted.items() if before[path] != text] + gone
    if not module.check_mode:
        older = [app for app in apps if traefik_files.asks_apps_itself(folder, app)]
        try:
            if older:
                traefik_files.hand_over(older)
        except host.PhaseError as error:
            module.warn(f"Requests fail until the edge's containers have been made anew, in a moment: {error.reason}")
        for name in ("dynamic", "traefik"):
            host.folder(f"{folder}/{name}", 0o755)
        for path in changes:
            if path in wanted:
                host.write(f"{folder}/{path}", wanted[path], *closed.get(path, (0o644, 0, 0)))
            else:
                host.remove(f"{folder}/{path}")
    diff = [{"before_header": path, "after_header": path, "before": before[path], "after": wanted.get(path, "")} for path in changes
            if path not in closed and not path.startswith("traefik/logins/")]
    module.exit_json(changed=bool(changes), changes=changes, settings=releases.fingerprint([settings, variables] if variables else settings), diff=diff)


if __name__ == "__main__":
    main()
