# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik serves by HTTPS at this moment, and what it asks an authority for, from its files and from itself."""
from __future__ import annotations

import os
import re
import time

from ansible_collections.quayside.django.plugins.module_utils import host, model, releases, served, traefik, traefik_store

SERVICE = "traefik"


def known(folder: str, trusted: list[str]) -> traefik.Doors:
    """Return what stands beside the apps: the files of logins as they are, and the proxies before this edge."""
    logins = f"{folder}/traefik/logins"
    names = os.listdir(logins) if os.path.isdir(logins) else []
    return traefik.Doors(logins, {name: releases.fingerprint(host.text(f"{logins}/{name}")) for name in names}, tuple(trusted))


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
