# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own network: servers keep their addresses over stop and start."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess

from engine import LabError, address_of, docker

# A /24 of each: small enough to find a gap beside a company's VPN.
CANDIDATES = [ipaddress.ip_network(f"172.28.{third}.0/24") for third in range(256)]
CANDIDATES += [ipaddress.ip_network(f"10.213.{third}.0/24") for third in range(256)]
GIT_HOST = 2
SERVICES_HOST = 3
FIRST_HOST = 10


def free_subnets(taken, candidates=None):
    """:returns: those candidates (CANDIDATES) that overlap none of the networks taken, in order."""
    return [one for one in candidates or CANDIDATES if not any(one.overlaps(other) for other in taken)]


def assign(names, kept, taken, subnet):
    """Give each server an address of its own.

    :param names: servers in the order of the inventory.
    :param kept: {name: address} of those that have one.
    :param taken: addresses of all else in the network.
    :returns: {name: address} for all names.
    """
    used = set(kept.values()) | set(taken)
    free = (str(one) for index, one in enumerate(subnet.hosts(), start=1) if index >= FIRST_HOST and str(one) not in used)
    try:
        return {name: kept.get(name) or next(free) for name in names}
    except StopIteration:
        raise LabError(f"No address is left in {subnet}. Type: ansible-playbook playbooks/lab.yml -e lab_state=absent") from None


def six_of(lab_id):
    """:returns: the IPv6 network of a checkout, private (RFC 4193) so that programs with both ways out still take IPv4."""
    return ipaddress.ip_network(f"fd51:{lab_id[:4]}:{lab_id[4:8]}::/64")


def six_address(address, six):
    """:returns: the IPv6 address of the server that has an IPv4 address: its last number, beyond those that the engine gives out by itself."""
    return str(six[0x10000 + int(ipaddress.ip_address(address)) % 256])


def subnets(lab):
    """:returns: {4: the network's IPv4 subnet, 6: its IPv6 one}, each where it is there."""
    found = docker("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", lab.network, check=False)
    return {one.version: one for one in map(ipaddress.ip_network, (found or "").split())}


def subnet(lab):
    """:returns: the network's subnet, or None while it is not there."""
    return subnets(lab).get(4)


def ensure(lab):
    """:returns: the subnet of the lab's network, which is made where it is missing, and made anew where it has no IPv6 and nobody is in it."""
    found = subnets(lab)
    if found.get(4) and (found.get(6) or addresses(lab, lab.containers())):
        return found[4]
    if found.get(4) and docker("network", "rm", lab.network, check=False) is None:
        return found[4]
    for one in [found[4]] if found.get(4) else free_subnets(taken_networks()):
        # Another checkout may take the same gap at this moment: the engine refuses the second, which tries the next.
        if create(lab, one):
            return one
    raise LabError("No free network for the lab in 172.28.0.0/16 and 10.213.0.0/16. See: docker network ls; ip route")


def create(lab, one):
    """Make the network, with IPv6 where the engine and its kernel have it. :returns: whether that worked."""
    words = ["network", "create", "--label", lab.label, "--subnet", str(one)]
    return any(docker(*words, *more, lab.network, check=False) is not None for more in (["--ipv6", "--subnet", str(six_of(lab.id))], []))


def taken_networks():
    """:returns: the networks of the engine and the routes of this machine, save the default route."""
    ids = docker("network", "ls", "-q").split()
    found = json.loads(docker("network", "inspect", *ids)) if ids else []
    texts = [config.get("Subnet", "") for one in found for config in one["IPAM"].get("Config") or []]
    if shutil.which("ip"):
        routes = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, text=True).stdout
        texts += [route["dst"] for route in json.loads(routes or "[]") if route["dst"] != "default"]
    networks = (ipaddress.ip_network(text, strict=False) for text in texts if text)
    return [one for one in networks if one.version == 4]


def addresses(lab, containers):
    """:returns: {container name: address} of the lab's containers."""
    found = {name: address_of(one, lab.network) for name, one in containers.items()}
    return {name: address for name, address in found.items() if address}


def addresses6(lab, containers):
    """:returns: {container name: fixed IPv6 address} of those of the lab's containers that have one."""
    found = {name: (one["NetworkSettings"]["Networks"].get(lab.network) or {}).get("IPAMConfig") or {} for name, one in containers.items()}
    return {name: one["IPv6Address"] for name, one in found.items() if one.get("IPv6Address")}
