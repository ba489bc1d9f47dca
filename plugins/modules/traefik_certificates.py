#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: traefik_certificates
short_description: Let Traefik ask an ACME authority for certificates, for names that lead to this host
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Looks which names of the apps Traefik serves by HTTPS. For the others it is seen whether they lead to this Traefik; it is told to ask for
    those, by their routes (C(dynamic/<app>.yml)), and waited for. Names that have a certificate then are sent from HTTP to HTTPS.
  - A name that does not lead here, and one that the authority refuses, is told as a warning with its reason, and stops no other. Where one
    certificate for several names does not come, each of them is asked for by itself.
  - Traefik renews what it has fetched, and nobody notices. It fetches nothing anew before its time, except at a start without it.
    So one that has ended, is for other names, has another key, or that its authority wants back (O(look)) is taken out of Traefik's file,
    and Traefik is restarted. O(force) does so with all of them, and HTTPS fails until they are there again.
  - A good one that was taken away comes back where the authority gives no other.
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
  headers:
    description: Headers of every answer, as they were given to M(quayside.django.traefik_routes).
    type: dict
    default: {}
  trusted_proxies:
    description: Addresses and networks of what stands before this edge, as they were given to M(quayside.django.traefik_routes).
    type: list
    elements: str
    default: []
  wait:
    description: Seconds in which certificates have to come, beside those that a challenge by DNS waits for the zone's servers.
    type: int
    default: 60
  force:
    description: Ask for all of them, though they are good. Traefik is restarted.
    type: bool
    default: false
  look:
    description: Ask the authority whether it wants a certificate renewed at once, as it says of one that is revoked.
    type: bool
    default: false
  authorities:
    description: The path of certificates of private authorities on the host, which are believed beside those of the system. Empty for none.
    type: path
    default: ""
attributes:
  check_mode:
    description: Says what would be asked for. Neither the authority nor a name is asked.
    support: full
  diff_mode:
    description: Shows the routes before and after.
    support: full
"""

EXAMPLES = r"""
- name: Traefik has what can be had
  quayside.django.traefik_certificates:
    apps: "{{ django_apps | quayside.django.apps }}"
    folder: /opt/quayside/edge

- name: One that is revoked is fetched anew
  quayside.django.traefik_certificates:
    apps: "{{ django_apps | quayside.django.apps }}"
    folder: /opt/quayside/edge
    look: true
"""

RETURN = r"""
removed:
  description: The names of each certificate that was taken out of Traefik's file, with the reason.
  returned: success
  type: dict
  sample:
    shop.example.com www.example.com: it ended 2.5 days ago
issued:
  description: Names that are served by HTTPS and were not before.
  returned: success
  type: list
  elements: str
  sample: [shop.example.com]
refused:
  description: Each name without a certificate, with the reason.
  returned: success
  type: dict
  sample:
    www.example.com: "www.example.com resolves to no address: add an A record for it that leads here (192.0.2.7)"
"""

import os
import secrets
import time

from ansible_collections.quayside.django.plugins.module_utils import acme_look, acme_reach, host, served, traefik, traefik_files, traefik_store
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


class Edge:
    """The Traefik of this host."""

    def __init__(self, folder: str, headers: dict, trusted: list[str]):
        self.folder, self.headers, self.trusted = folder, headers, trusted
        self.compose = ["docker", "compose", "-f", f"{folder}/compose.yaml"]

    def path(self, app: dict) -> str:
        """Return the path of an app's routes."""
        return f"{self.folder}/dynamic/{app['name']}.yml"

    def write(self, app: dict, secure: list[str], asked: list[list[str]]) -> None:
        """Write the routes of an app; Traefik reads them at once."""
        host.write(self.path(app), self.routes(app, secure, asked))

    def routes(self, app: dict, secure: list[str], asked: list[list[str]]) -> str:
        """Return the routes of an app."""
        return traefik.routes(app, self.headers, [{"names": secure}] if secure else [], asked, self.trusted)

    def reach(self, names: list[str]) -> dict:
        """Return name -> why it does not lead to this Traefik (empty: it does)."""
        token = secrets.token_hex(16)
        route = f"/.well-known/quayside-{token}"
        entry = {"entryPoints": ["web"]}
        found = {"routers": {"quayside-check": traefik.router(f"Path(`{route}`)", "noop@internal", ["quayside-check"], 2 * traefik.FIRST, entry)},
                 "middlewares": {"quayside-check": {"redirectRegex": {"regex": ".*", "replacement": f"http://{token}.invalid/"}}}}
        path = f"{self.folder}/dynamic/quayside-check.yml"

        def good(_status: int, headers: dict, _body: str) -> bool:
            return token in headers.get("Location", "")

        host.write(path, traefik.render({"http": found}, "whether names lead here; gone in a moment."))
        try:
            deadline = time.monotonic() + 5
            while acme_reach.fetch("127.0.0.1", "localhost", route, good) and time.monotonic() < deadline:
                time.sleep(0.1)
            return acme_reach.ask(names, route, good)
        finally:
            host.remove(path)

    def wait(self, names: list[str], seconds: float) -> list[str]:
        """Return those of the names that are not served by HTTPS in time."""
        deadline = time.monotonic() + seconds
        while names:
            names = [name for name in names if not served.look(name)["secure"]]
            if time.monotonic() > deadline:
                break
            if names:
                time.sleep(0.5)
        return names

    def said(self, since: float) -> str:
        """Return what Traefik logged of certificates that it could not have."""
        lines = host.run(["journalctl", "--since", f"@{since:.0f}", "-o", "cat", "--no-pager", "CONTAINER_TAG=edge-traefik"], check=False).stdout
        return "\n".join(line for line in lines.splitlines() if "ACME certificate" in line or "acme:" in line)

    def store(self, app: dict) -> str:
        """Return the path of the file in which Traefik keeps the certificates of an app."""
        return f"{self.folder}/acme/{traefik.storage(app)}"

    def restart(self, texts: dict) -> None:
        """Let Traefik start anew with these files of certificates, path -> text. It reads them at its start only, and writes over them before."""
        try:
            host.run([*self.compose, "stop", traefik_files.SERVICE])
            for path, text in texts.items():
                if not traefik_store.readable(host.text(path)):
                    os.replace(path, f"{path}.unreadable")
                host.write(path, text, 0o600, 33, 33)
        finally:
            host.run([*self.compose, "up", "--detach", "--wait", traefik_files.SERVICE])

    def useless(self, app: dict, params: dict) -> list[tuple[dict, str]]:
        """Return the certificates of an app that Traefik has to fetch anew, and does not by itself, each with the reason."""
        names = [name for group in traefik_files.wanted(app) for name in group]
        text = host.text(self.store(app))
        if params["force"]:
            return [(one, "it is asked for by hand") for one in traefik_store.stored(text) or [{}]]
        authority = (app["tls"]["server"], params["authorities"] if os.path.isfile(params["authorities"]) else "")
        found = traefik_store.useless(text, names, time.time(), lambda one: acme_look.why(traefik_store.chain(one), *authority) if params["look"] else "")
        return found if traefik_store.readable(text) else [({}, "Traefik's file of certificates cannot be read")]


def ask(edge: Edge, app: dict, seconds: float) -> tuple[list[str], dict]:
    """Let Traefik ask for what an app lacks; return its names with HTTPS, and name -> reason of the others."""
    secure, asked = traefik_files.secure(app, edge.folder), traefik.asks(host.text(edge.path(app)))
    names = [name for group in traefik_files.wanted(app) for name in group]
    missing, refused = [name for name in names if name not in secure], {}
    if missing and app["tls"]["challenge"] == "http" and app["tls"]["precheck"]:
        refused = {name: why for name, why in edge.reach(missing).items() if why}
        missing = [name for name in missing if name not in refused]
    groups = traefik_files.regroup(traefik_files.within(asked, [names]), traefik_files.wanted(app), secure + missing)
    since = time.time()
    if edge.routes(app, secure, groups) != host.text(edge.path(app)):
        edge.write(app, secure, groups)
    late = edge.wait(missing, seconds)
    if late and any(len(group) > 1 and set(late) & set(group) for group in groups):
        # An authority gives a certificate for all of its names or none.
        groups = [group for group in groups if not set(late) & set(group)] + [[name] for group in groups if set(late) & set(group) for name in group]
        edge.write(app, secure, groups)
        late = edge.wait(late, seconds)
    said = edge.said(since) if late else ""
    refused.update({name: traefik_files.reason(said, name) for name in late})
    now = [name for name in names if name in secure or (name in missing and name not in late)]
    if edge.routes(app, now, groups) != host.text(edge.path(app)):
        edge.write(app, now, groups)
    return [name for name in now if name not in secure], refused


def bring_back(edge: Edge, app: dict, gone: list[dict], refused: dict, asked: list[list[str]]) -> dict:
    """Let Traefik have the good ones again that it got no other for; return name -> reason of the names without a new certificate.

    ``asked`` are the lists of names that it asked for before.
    """
    names = set(refused)
    kept = [one for one in gone if names & set(traefik_store.asked(one)) and not traefik_store.fault(one, time.time())]
    if not kept:
        return refused
    path = edge.store(app)
    edge.restart({path: traefik_store.including(host.text(path), kept)})
    back = {name for one in kept for name in traefik_store.asked(one)}
    edge.wait([name for name in refused if name in back], 10)
    # An authority that is away is no reason to ask for each name by itself from now on.
    edge.write(app, traefik_files.secure(app, edge.folder), asked if back.issuperset(refused) else traefik.asks(host.text(edge.path(app))))
    return {name: f"{why} (it keeps the one of before)" if name in back else why for name, why in refused.items()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "folder": {"type": "path", "required": True},
            "headers": {"type": "dict", "default": {}},
            "wait": {"type": "int", "default": 60},
            "trusted_proxies": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
            "look": {"type": "bool", "default": False},
            "authorities": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    edge = Edge(params["folder"], params["headers"], params["trusted_proxies"])
    apps = [app for app in params["apps"] if app["tls"]["mode"] == "acme"]
    params["look"] = params["look"] and not module.check_mode
    useless = {app["name"]: edge.useless(app, params) for app in apps}
    removed = {" ".join(traefik_store.asked(one)) or name: why for name, found in useless.items() for one, why in found}
    if module.check_mode:
        again = {name for key in removed for name in key.split()}
        lacking = [name for app in apps for group in traefik_files.wanted(app) for name in group
                   if name in again or name not in traefik_files.secure(app, params["folder"])]
        diff = [{"header": name, "before": "", "after": "a certificate\n"} for name in lacking]
        module.exit_json(changed=bool(lacking or removed), issued=[], refused={}, removed=removed, diff=diff)
    before = {app["name"]: host.text(edge.path(app)) for app in apps}
    issued, refused = [], {}
    try:
        gone = {app["name"]: [one for one, _why in useless[app["name"]]] for app in apps if useless[app["name"]]}
        if gone:
            edge.restart({edge.store(app): traefik_store.without(host.text(edge.store(app)), gone[app["name"]]) for app in apps if app["name"] in gone})
        for app in apps:
            new, wrong = ask(edge, app, traefik_files.patience(app, params["wait"]))
            issued += new
            refused.update(bring_back(edge, app, gone.get(app["name"], []), wrong, traefik.asks(before[app["name"]])))
    except host.PhaseError as error:
        module.fail_json(msg=f"{error.reason}\n{error.log}".strip())
    for name, why in refused.items():
        module.warn(f"{name} has no new certificate, since {why}. Then run quayside.django.certificates.")
    after = {app["name"]: host.text(edge.path(app)) for app in apps}
    diff = [{"before_header": name, "after_header": name, "before": before[name], "after": after[name]} for name in after if after[name] != before[name]]
    module.exit_json(changed=bool(diff or issued or removed), issued=issued, refused=refused, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
