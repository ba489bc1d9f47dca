# SPDX-License-Identifier: GPL-3.0-or-later
"""The block of local ports that each app of a host has for itself, written down by root.

A process that is reached by a port listens on one of its app's block, and the rules of ``local_firewall`` let no other user answer there.
"""
from __future__ import annotations

import fcntl
import json
import os
import pwd

from ansible_collections.quayside.django.plugins.module_utils import contained, host, releases

PORTS = range(20000, 30000)  # below the ports that Linux gives to connections (32768 and up)
SIZE = 100  # two instances of an app and the five that it keeps, with fourteen processes each
FOLDER = "/etc/quayside"
FILE = f"{FOLDER}/ports.json"


class NoBlock(ValueError):
    """No block is left for an app."""


def allot(allotted: dict, name: str, user: str, foreign=frozenset()) -> dict:
    """Return the allotments with one for the app called ``name``; one that is there stays.

    :param allotted: name -> {first, user}: the first port of an app's block, and the user that the app runs as
    :param foreign: ports on which instances of other apps listen, from the time before there were blocks
    :returns: dict, as allotted
    :raises NoBlock: when all blocks are given away
    """
    if name in allotted:
        return allotted if allotted[name]["user"] == user else {**allotted, name: dict(allotted[name], user=user)}
    taken = {entry["first"] for entry in allotted.values()}
    starts = list(PORTS[::SIZE])
    # The first try follows from the name, so that the hosts of an app mostly agree.
    begin = int(releases.fingerprint([name])[:8], 16) % len(starts)
    for first in starts[begin:] + starts[:begin]:
        if first not in taken and not any(first <= port < first + SIZE for port in foreign):
            return {**allotted, name: {"first": first, "user": user}}
    raise NoBlock(f"all {len(starts)} blocks of local ports are given to apps: take those of apps that are gone out of {FILE}")


def block(allotted: dict, name: str) -> range:
    """Return the ports of an app's block."""
    return range(allotted[name]["first"], allotted[name]["first"] + SIZE)


def choose(names: list[str], ports: range, start: int, busy: set, kept: set, is_free) -> dict:
    """Return a port of the block for each process.

    :param names: processes that need a port
    :param start: where in the block the first try is
    :param busy: ports that are never taken: those of the live release, also while it restarts
    :param kept: ports that are taken last: those of kept releases, which nobody starts again under them
    :param is_free: port -> whether it can be bound
    :returns: process -> port; without those for which there is none
    """
    order = [ports[(start + step) % len(ports)] for step in range(len(ports))]
    free = (port for port in sorted(order, key=lambda port: port in kept) if port not in busy and is_free(port))
    return dict(zip(names, free))


def listening(apps: list[dict]) -> dict:
    """Return port -> app of the ports on which a kept release of the apps may listen."""
    return {port: app["name"] for app in apps for record in releases.Shelf(app["root"]).records().values() for port in record.get("ports", {}).values()}


def read() -> dict:
    """Return the allotments of this host, see ``allot``."""
    return json.loads(contained.text(FILE) or "{}")


def wanted(apps: list[dict]) -> dict:
    """Return the allotments as they are, without those of apps that are gone with their user, and a block for each of the apps; raise NoBlock."""
    names, used = {app["name"] for app in apps}, listening(apps)
    allotted = {name: entry for name, entry in read().items() if name in names or there(entry["user"])}
    for app in apps:
        foreign = {port for port, owner in used.items() if owner != app["name"]}
        allotted = allot(allotted, app["name"], app["user"], foreign)
    return allotted


def there(user: str) -> bool:
    """Return True when the host has a user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def settle(apps: list[dict]) -> dict:
    """Write down a block for each of the apps that has none; return the allotments. Raise NoBlock."""
    contained.folder(FOLDER, 0o755)
    # Deploys of two apps may come here at once. Nobody but root opens this file, so nobody else holds the lock.
    with os.fdopen(os.open(f"{FOLDER}/ports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        allotted = wanted(apps)
        host.write(FILE, text(allotted), 0o600)
    return allotted


def text(allotted: dict) -> str:
    """Return the text of the file."""
    return json.dumps(allotted, indent=1, sort_keys=True) + "\n"
