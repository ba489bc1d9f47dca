# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik serves by HTTPS at this moment, and what it asks an authority for, from its files and from itself."""
from __future__ import annotations

import os
import re
import time

from ansible_collections.quayside.django.plugins.module_utils import edges, host, model, releases, served, traefik, traefik_store
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError

SERVICE = "traefik"
NETWORK = "quayside-edge-proxy"  # Traefik and its nginx alone


def asks_apps_itself(folder: str, app: dict) -> bool:
    """Return whether Traefik still leads to the app's processes, as it did before nginx stood between them."""
    return os.path.lexists(f"{folder}/dynamic/{app['name']}.live.yml")


def hand_over(apps: list[dict]) -> None:
    """Let the nginx that runs beside Traefik answer for these apps, before Traefik is told to ask it; raises PhaseError.

    It is in no network of theirs yet, and no release says in nginx's words where it is reached. Without that, requests would fail until the
    containers have been made anew.
    """
    for app in apps:
        shelf = releases.Shelf(app["root"])
        live = shelf.live()
        if live:
            edges.keep(shelf, live, "upstreams.conf", edges.upstreams(app, edges.networked(app, shelf.record(live), live)))
    with edges.engine_words() as engine:
        nginx = edges.running(engine, "files")
        join(engine, NETWORK, edges.running(engine, SERVICE), [])
        join(engine, NETWORK, nginx, ["nginx"])
        for app in apps:
            join(engine, app["edge_network"], nginx, [])
        argv = ["nginx", "-s", "reload", "-c", f"{edges.NginxContainer.folder}/nginx.conf"]
        made = engine.post(f"/containers/{nginx}/exec", {"Cmd": argv, "AttachStdout": True, "AttachStderr": True, "Tty": True})
        engine.post(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": True})


def join(engine, network: str, container: str, aliases: list[str]) -> None:
    """Put a running container into a network, where it is not in it yet."""
    try:
        engine.post(f"/networks/{network}/connect", {"Container": container, "EndpointConfig": {"Aliases": aliases}})
    except EngineError as error:
        if "already exists" not in error.message:
            raise


def doors(app: dict, folder: str, others: list[dict]) -> tuple[list[dict], list[list[str]]]:
    """Return the certificates of an app with the names that each serves, and the lists of names that Traefik is already told to ask for.

    ``others`` are certificates that Traefik did not fetch.
    """
    if app["tls"]["mode"] != "acme":
        return others, []
    names = secure(app, folder)
    asked = traefik.asks(host.text(f"{folder}/dynamic/{app['name']}.yml"))
    return ([{"names": names}] if names else []), within(asked, wanted(app))


def wanted(app: dict) -> list[list[str]]:
    """Return the lists of names, each of one certificate, that an app wants."""
    return [one["names"] for one in app["certificates"] if not one["spare"]]


def within(asked: list[list[str]], groups: list[list[str]]) -> list[list[str]]:
    """Return what of ``asked`` is still wanted.

    >>> within([["a.test", "old.test"], ["old.test"]], [["a.test", "b.test"]])
    [['a.test']]
    """
    names = {name for group in groups for name in group}
    kept = [[name for name in group if name in names] for group in asked]
    return [group for group in kept if group]


def regroup(asked: list[list[str]], groups: list[list[str]], names: list[str]) -> list[list[str]]:
    """Return what to ask for, so that these names have certificates: as before where that is the same names, else as wanted.

    >>> regroup([["a.test"], ["b.test"]], [["a.test", "b.test"]], ["a.test", "b.test"])
    [['a.test'], ['b.test']]
    >>> regroup([["a.test"]], [["a.test", "b.test", "c.test"]], ["b.test", "a.test"])
    [['a.test', 'b.test']]
    """
    if {name for group in asked for name in group} == set(names):
        return asked
    return within(groups, [names])


def secure(app: dict, folder: str) -> list[str]:
    """Return the names that Traefik serves by HTTPS now, or has a certificate for in its file while it does not run."""
    names = [name for name in app["domains"] if not model.is_address(name)]
    stored = traefik_store.held(host.text(f"{folder}/acme/{traefik.storage(app)}"), names, time.time())
    return [name for name in names if name in stored or served.look(name)["secure"]]


def patience(app: dict, wait: float) -> float:
    """Return the seconds in which certificates of an app have to come: by DNS Traefik waits for the zone's servers, for one name after the other.

    >>> patience({"domains": ["a.test", "*.a.test"], "tls": {"challenge": "dns", "dns": {"propagation": 60}}}, 60)
    180
    """
    return wait + (app["tls"]["dns"]["propagation"] * len(app["domains"]) if app["tls"]["challenge"] == "dns" else 0)


def reason(said: str, name: str) -> str:
    """Return why a name has no certificate, from what Traefik logged."""
    told = re.findall(rf"(?<![\w.-]){re.escape(name)}\]?:\s*(?:invalid authorization:\s*)?(acme: error: .*?)(?:, problem: |\]?\" ACME CA|$)", said, re.M)
    told = told or [line for line in said.splitlines() if name in line]
    return told[-1].strip()[:300] if told else "Traefik does not say why (docker compose -f /opt/quayside/edge/compose.yaml logs traefik)"
