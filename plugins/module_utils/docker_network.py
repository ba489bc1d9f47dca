# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker networks of an app: one for its data, and one in which the edge reaches those of its processes that take requests.

No container and no edge needs the engine's name server, which is gone while the engine is: what is reached has an address of its own, in the lower half of
its network, and others know it by their /etc/hosts. Docker gives those of the upper half to whatever asks for none.

An app of a collection before this one has a single network, with all of it. Its containers are put into the second one while they run, so that an edge that
is no longer in the first goes on reaching them; their next release is made for both. A network without addresses of ours is one from before as well: what is in
it is reached by names, until it is made anew (docs/docker.md).
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import socket
import struct

from ansible_collections.quayside.django.plugins.module_utils import contained
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

MTU = "com.docker.network.driver.mtu"
ETHERNET = 1500
SIOCGIFMTU = 0x8921  # netdevice(7)


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


def body(app: dict, name: str, subnet: str = "") -> dict:
    """Return how the engine is asked for a network of an app. Without a subnet it chooses one, and takes no address of ours."""
    largest = host_mtu()  # Docker takes 1500, whatever the host's own way out has
    made = {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": {"quayside.app": app["name"]},
            "Options": {"com.docker.network.bridge.name": bridge(name), **({MTU: str(largest)} if largest < ETHERNET else {})}}
    if subnet:
        network = ipaddress.ip_network(subnet)
        made["IPAM"] = {"Config": [{"Subnet": subnet, "Gateway": str(network[1]), "IPRange": str(list(network.subnets())[1])}]}
    return made


def subnet(found: dict) -> str:
    """Return the subnet of a network, as the engine describes it, whose lower half is ours; empty for one that is not of that kind."""
    ours = [one for one in (found.get("IPAM") or {}).get("Config") or [] if one.get("IPRange") and ":" not in one["Subnet"]]
    return ours[0]["Subnet"] if ours else ""


def subnets(app: dict, engine: Engine | None = None) -> dict:
    """Return network, as a compose project calls it -> its subnet, empty where it takes no address of ours; raises EngineError."""
    engine = engine or Engine()
    return {"default": subnet(known(engine, app["network"])), "edge": subnet(known(engine, app["edge_network"]))}


def file(app: dict) -> str:
    """Return the path of the file by which the supervisor makes the networks again, where somebody has removed them."""
    return f"{app['root']}/lib/supervisor.json"


def remembered(app: dict) -> dict:
    """Return network -> how it was made, from that file."""
    with contextlib.suppress(ValueError, TypeError):
        return {one["Name"]: one for one in json.loads(contained.text(file(app)) or "{}").get("networks", [])}
    return {}


def bodies(app: dict, engine: Engine | None = None) -> list[dict]:
    """Return how the networks of an app are made again: as they are, or were."""
    engine, before = engine or Engine(), remembered(app)
    try:
        found = {name: known(engine, name) for name in names(app)}
    except EngineError:
        found = {}
    return [body(app, name, subnet(found[name])) if found.get(name) else before.get(name, body(app, name)) for name in names(app)]


def make(app: dict, name: str, engine: Engine | None = None) -> None:
    """Make a network of an app: with the subnet that it had, else with one that the engine chooses. Raises EngineError.

    The engine takes addresses of ours only where the subnet was asked for. So it is asked twice: what it has chosen is free, by its own pools too.
    """
    engine, before = engine or Engine(), remembered(app).get(name, {})
    if before.get("IPAM"):
        with contextlib.suppress(EngineError):  # somebody else has the subnet by now
            engine.post("/networks/create", before)
            return
    for _attempt in range(3):
        engine.post("/networks/create", body(app, name))
        chosen = next((one["Subnet"] for one in known(engine, name)["IPAM"]["Config"] if ":" not in one["Subnet"]), "")
        engine.delete(f"/networks/{name}")
        with contextlib.suppress(EngineError):  # another network took it meanwhile
            engine.post("/networks/create", body(app, name, chosen))
            return
    engine.post("/networks/create", body(app, name))


def way_out(routes: str) -> str:
    """Return the interface by which a host reaches the internet, empty where no route leads there. ``routes``: as the kernel has them in /proc/net/route."""
    found = (line.split()[:2] for line in routes.splitlines()[1:])
    return next((interface for interface, destination in found if destination == "00000000"), "")


def host_mtu() -> int:
    """Return the bytes of the largest packet of the interface by which this host reaches the internet, 1500 where nothing says it."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        interface = way_out(contained.text("/proc/1/net/route"))
        return struct.unpack("16xi", fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16s16x", interface.encode()))[:20])[0]
    return ETHERNET


def too_large(app: dict, engine: Engine | None = None) -> list[str]:
    """Return a text for each network of an app whose packets are larger than those of the host's way out: it was made before that was looked at."""
    engine, largest = engine or Engine(), host_mtu()
    found = {name: int(((known(engine, name) or {}).get("Options") or {}).get(MTU) or ETHERNET) for name in names(app)} if largest < ETHERNET else {}
    return [f"the Docker network {name} has packets of up to {size} bytes and this host's way out of {largest}: large answers may hang. Make it anew while the "
            f"app may be away: systemctl stop {app['name']}; docker network rm {name}; then quayside.django.site and a deploy"
            for name, size in found.items() if size > largest]


SERVICES = {"db": 2, "redis": 3}  # in the network of the data: the same number in each subnet
FIRST = 8  # the first number of a server of a release


def service(subnet: str, name: str) -> str:
    """Return the address of a service of an app's data, empty where its network takes none of ours.

    >>> service("172.18.0.0/16", "db")
    '172.18.0.2'
    """
    network = ipaddress.ip_network(subnet) if subnet else None
    return str(network[SERVICES[name]]) if network and network.num_addresses > 2 * FIRST else ""


def choose(names: list[str], subnet: str, start: int, busy: set, kept: set) -> dict:
    """Return process -> address for the servers of a release, without those for which there is none left.

    :param names: of the processes
    :param subnet: of the network
    :param start: any number: where the first try is. An address is used again as late as can be, since something may still speak to its last owner
    :param busy: addresses that are never taken: those of the live release, and of what runs
    :param kept: addresses that are taken last: those of kept releases, which nobody starts again under them
    """
    network = ipaddress.ip_network(subnet)
    numbers = range(FIRST, min(network.num_addresses // 2, 4096))
    order = [str(network[numbers[(start + step) % len(numbers)]]) for step in range(len(numbers))]
    free = (address for address in sorted(order, key=lambda address: address in kept) if address not in busy)
    return dict(zip(names, free))


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
