# SPDX-License-Identifier: GPL-3.0-or-later
"""Which private addresses an app may reach: none but those that ``outbound.private`` of the model names.

The internet is open to it, and so are its own services and its resolver. Closed are the networks of the provider and of the company, in which databases of
others, printers and the provider's metadata service (the host's own credentials) answer whoever asks.
"""
from __future__ import annotations

import contextlib
import ipaddress
import re
import socket

from ansible_collections.quayside.django.plugins.module_utils import contained

# RFC 1918, 6598 (carriers' NAT, in which some clouds have their metadata), 3927 and 6890 (link-local: metadata of most clouds), Azure's own metadata and
# name server, 4193 (unique local: metadata of AWS by IPv6) and 4291 (link-local).
CLOSED = ("10.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "fc00::/7", "fe80::/10")
RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
URL_HOSTS = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/?#\s]*@)?([^/?#\s]+)", re.I)
HOST_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
IS_HOST = re.compile(r"(^|_)(HOST|SERVER|ADDR|ADDRESS)$")


def networks(texts) -> list:
    """Return networks; raise ValueError with the one that is none. An address is a network of one."""
    return [ipaddress.ip_network(str(text)) for text in texts]


def is_closed(address: str) -> bool:
    """Return True for an address in one of the closed networks."""
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in map(ipaddress.ip_network, CLOSED) if network.version == found.version)


def may_reach(address: str, private) -> bool:
    """Return True when an app with these ``outbound.private`` reaches an address."""
    found = ipaddress.ip_address(address)
    return not is_closed(address) or any(found in network for network in networks(private) if network.version == found.version)


def inspect(app: dict) -> list[str]:
    """Return what is wrong with ``outbound``, and which variables lead to an address that the app could not reach."""
    found = []
    for text in app["outbound"]["private"]:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            found.append(f"outbound.private: {text!r} is no network such as 10.0.0.0/8 or 10.0.0.5 ({error})")
    if found:
        return found
    return [refusal(app, one["variable"], one["host"], one["host"]) for one in app["outbound"]["hosts"]
            if is_address(one["host"]) and not may_reach(one["host"], app["outbound"]["private"])]


def refusal(app: dict, variable: str, name: str, address: str) -> str:
    """Return that a variable leads to a closed address, and what to write."""
    where = address if name == address else f"{name} ({address})"
    width = 128 if ":" in address else 32
    return (f"{variable} leads to {where}, a private address, and those are closed to the app: "
            f"open it by outbound: {{private: [{', '.join([*app['outbound']['private'], f'{address}/{width}'])}]}}")


def is_address(text: str) -> bool:
    """Return True for an IPv4 or IPv6 address."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False


def hosts(variables: dict) -> list[dict]:
    """Return variable and host of every URL, and of every variable that is called a host, in some variables of an app."""
    found = []
    for variable, value in sorted(variables.items()):
        text = str(value).strip()
        match = URL_HOSTS.match(text)
        parts = match[1].split(",") if match else [text] if IS_HOST.search(variable) else []
        for part in parts:
            host = re.sub(r"^\[([0-9A-Fa-f:.]+)\](:\d+)?$", r"\1", part)
            host = host if is_address(host) else host.rsplit(":", 1)[0] if re.search(r":\d+$", host) else host
            if (is_address(host) or HOST_NAME.match(host)) and host != "localhost" and {"variable": variable, "host": host} not in found:
                found.append({"variable": variable, "host": host})
    return found


def unreachable(app: dict, resolve=None) -> list[str]:
    """Return, on the app's host, which variables lead to a name whose addresses are all closed to the app. A name that nobody knows here is none of ours.

    ``resolve``: name -> addresses, for tests.
    """
    found = []
    for one in app["outbound"]["hosts"]:
        addresses = [one["host"]] if is_address(one["host"]) else (resolve or addresses_of)(one["host"])
        closed = [address for address in addresses if not may_reach(address, app["outbound"]["private"])]
        if closed and len(closed) == len(addresses) and not all(ipaddress.ip_address(address).is_loopback for address in closed):
            found.append(f"app {app['name']}: {refusal(app, one['variable'], one['host'], closed[0])}")
    return found


def addresses_of(name: str) -> list[str]:
    """Return the addresses of a name as this host knows them, none when it knows none."""
    with contextlib.suppress(OSError):
        return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)))
    return []


def resolvers(paths=RESOLVERS) -> list[str]:
    """Return this host's name servers that lie in closed networks: apps go on asking them. A resolver on the host itself is no matter."""
    found = []
    for path in paths:
        words = [line.split() for line in contained.text(path).splitlines()]
        found += [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return sorted({address for address in found if is_address(address) and is_closed(address)})


def directives(app: dict, servers: list[str] | None = None) -> list[str]:
    """Return what closes the private networks to a unit of an app. An address that is allowed goes before one that is denied (systemd.resource-control)."""
    servers = resolvers() if servers is None else servers
    allowed = ["localhost", *app["outbound"]["private"], *servers]
    return [f"IPAddressAllow={' '.join(allowed)}", f"IPAddressDeny={' '.join(CLOSED)}"]


def rules(app: dict, interfaces: list[str]) -> list[dict]:
    """Return what the app's containers may reach besides, as the chain of the Docker firewall takes it: interface and network."""
    return [{"interface": interface, "to": str(network)} for interface in interfaces for network in networks(app["outbound"]["private"])]


def registries(names: list[str], resolve=None) -> list[dict]:
    """Return to and port of those registries that have closed addresses, for what builds images. ``names``: host, with a port and a scheme if any.

    ``resolve``: name -> addresses, for tests.
    """
    found = []
    for name in names:
        scheme, _mark, rest = name.rpartition("://")
        match = re.match(r"^(\[[0-9A-Fa-f:.]+\]|[^:/]+)(?::(\d+))?(/|\Z)", rest)
        if not match:
            continue
        server, port = match[1].strip("[]"), match[2] or ("80" if scheme == "http" else "443")
        for address in [server] if is_address(server) else (resolve or addresses_of)(server):
            one = {"to": str(ipaddress.ip_network(address)), "port": port}
            if is_closed(address) and one not in found:
                found.append(one)
    return found
