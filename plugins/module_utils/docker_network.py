# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker networks of an app: one for its data, and one in which the edge reaches those of its processes that take requests.

An app of a collection before this one has a single network, with all of it. Its containers are put into the second one while they run, so that an edge that
is no longer in the first goes on reaching them; their next release is made for both.
"""
from __future__ import annotations

import contextlib
import hashlib

from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

MTU = "com.docker.network.driver.mtu"
ETHERNET = 1500


def bridge(name: str) -> str:
    """Return the name of the interface of a network that is made here: known before the network is, so that rules can name it.

    Docker's own names are ``br-`` and hexadecimal digits, so none of them begins with ``br-q``; an interface's name has at most 15 characters.
    """
    return f"br-q{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def interface(engine: Engine, name: str) -> str:
    """Return the interface of a network, also of one that is not there yet or was made by Docker's own rules."""
    found = known(engine, name)
    if not found:
        return bridge(name)
    return (found.get("Options") or {}).get("com.docker.network.bridge.name") or f"br-{found['Id'][:12]}"


def known(engine: Engine, name: str) -> dict:
    """Return what the engine knows of the network with exactly this name, empty when there is none; raises EngineError."""
    with contextlib.suppress(EngineError):
        found = engine.get(f"/networks/{name}")
        return found if found.get("Name") == name else {}  # the engine also finds the beginning of an id
    engine.get("/_ping")
    return {}


def names(app: dict) -> list[str]:
    """Return the networks of an app."""
    return [app["network"], app["edge_network"]]


def missing(app: dict, engine: Engine | None = None) -> list[str]:
    """Return the networks of an app that the host does not have; raises EngineError when the engine does not answer."""
    engine = engine or Engine()
    return [name for name in names(app) if not known(engine, name)]


def make(app: dict, name: str, engine: Engine | None = None) -> None:
    """Make a network of an app, with packets no larger than those of the host's own way out: Docker takes 1500, whatever that has."""
    largest = host_mtu()
    (engine or Engine()).post("/networks/create", {
        "Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": {"quayside.app": app["name"]},
        "Options": {"com.docker.network.bridge.name": bridge(name), **({MTU: str(largest)} if largest < ETHERNET else {})}})


def host_mtu(routes: str = "/proc/net/route", interfaces: str = "/sys/class/net") -> int:
    """Return the bytes of the largest packet of the interface by which this host reaches the internet, 1500 where nothing says it."""
    with contextlib.suppress(OSError, ValueError), open(routes, encoding="ascii") as file:
        for line in list(file)[1:]:
            interface, destination = line.split()[:2]
            if destination == "00000000":
                with open(f"{interfaces}/{interface}/mtu", encoding="ascii") as size:
                    return int(size.read())
    return ETHERNET


def too_large(app: dict, engine: Engine | None = None) -> list[str]:
    """Return a text for each network of an app whose packets are larger than those of the host's way out: it was made before that was looked at."""
    engine, largest = engine or Engine(), host_mtu()
    found = {name: int(((known(engine, name) or {}).get("Options") or {}).get(MTU) or ETHERNET) for name in names(app)} if largest < ETHERNET else {}
    return [f"the Docker network {name} has packets of up to {size} bytes and this host's way out of {largest}: large answers may hang. Make it anew while the "
            f"app may be away: systemctl stop {app['name']}; docker network rm {name}; then quayside.django.site and a deploy"
            for name, size in found.items() if size > largest]


def strays(app: dict, engine: Engine | None = None) -> dict:
    """Return container -> its names in the edge's network, for those that take requests and are in the network of before alone.

    The second name is the one that the edge was told when the release was made: ``web-<release>.<network>``.
    """
    engine = engine or Engine()
    serving = {process["name"] for process in app["processes"] if process["serves"]}
    found = {}
    for one in engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={app['name']}", "quayside.release", "quayside.process"]}):
        joined = (one.get("NetworkSettings") or {}).get("Networks") or {}
        process, release = one["Labels"]["quayside.process"], one["Labels"]["quayside.release"]
        if process in serving and app["network"] in joined and app["edge_network"] not in joined:
            found[one["Names"][0].lstrip("/")] = [f"{process}-{release}", f"{process}-{release}.{app['network']}"]
    return found


def join(app: dict, engine: Engine | None = None) -> list[str]:
    """Put the containers of releases from before into the edge's network; return their names. They run on."""
    engine = engine or Engine()
    found = strays(app, engine)
    for container, aliases in found.items():
        engine.post(f"/networks/{app['edge_network']}/connect", {"Container": container, "EndpointConfig": {"Aliases": aliases}})
    return list(found)
