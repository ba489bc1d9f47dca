# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host itself says of its open ports: texts of the kernel and of tools as data. No Ansible and no host in here."""

from __future__ import annotations

import ipaddress
import re
import struct

TCP_LISTEN, UDP_UNCONNECTED = "0A", "07"


def address(text):
    """An address as /proc/net writes it: words of 32 bits in the byte order of the machine.

    :param text: 8 or 32 hexadecimal digits
    :returns: str; an IPv4 address within IPv6 as IPv4
    """
    words = [int(text[start:start + 8], 16) for start in range(0, len(text), 8)]
    found = ipaddress.ip_address(struct.pack("=%dI" % len(words), *words))
    return str(getattr(found, "ipv4_mapped", None) or found)


def sockets(text, proto):
    """The sockets of a table of /proc/net (tcp, tcp6, udp, udp6) that wait for others.

    :returns: list of dict of proto, address, port and inode
    """
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != (TCP_LISTEN if proto == "tcp" else UDP_UNCONNECTED):
            continue
        local, _colon, port = words[1].rpartition(":")
        found.append({"proto": proto, "address": address(local), "port": int(port, 16), "inode": words[9]})
    return found


def unit(cgroup):
    """The systemd unit or the container (its short id) that a process belongs to, by /proc/PID/cgroup.

    :returns: tuple of unit and container, each empty where there is none. The last step of the path counts: a host may itself be a container.
    """
    steps = re.findall(r"/docker[-/]([0-9a-f]{12})[0-9a-f]{52}|/([^/\n]+\.(?:service|socket|scope))(?=/|\n|$)", cgroup)
    container, name = steps[-1] if steps else ("", "")
    return (name if name.endswith((".service", ".socket")) else ""), container


def published(text):
    """What containers publish.

    :param text: lines of a container's name, a tabulator and the ports as `docker ps` has them, such as 0.0.0.0:8081->80/tcp, :::8081->80/tcp
    :returns: list of dict of container, proto, address and port (int, the host's)
    """
    found = []
    for line in text.splitlines():
        container, _tab, ports = line.partition("\t")
        for own, low, high, proto in re.findall(r"(\S+):(\d+)(?:-(\d+))?->[\d-]+/(\w+)", ports):
            found += [{"container": container, "proto": proto, "address": own.strip("[]"), "port": port} for port in range(int(low), int(high or low) + 1)]
    return found


def redirected(text):
    """The ports that rules of NAT lead elsewhere, by `iptables -t nat -S`.

    :returns: list of dict of proto and port
    """
    found = []
    for line in text.splitlines():
        rule = re.search(r"-p (tcp|udp)\b.*--dports? ([\d:,]+)\b.*-j (?:DNAT|REDIRECT)", line)
        for span in rule.group(2).split(",") if rule else []:
            low, _colon, high = span.partition(":")
            found += [{"proto": rule.group(1), "port": port} for port in range(int(low), min(int(high or low), int(low) + 100) + 1)]
    return [one for number, one in enumerate(found) if one not in found[:number]]


def addresses(interfaces):
    """The addresses that others may know a host by.

    :param interfaces: what `ip -j address` says
    :returns: list of dict of address and interface; no loopback, none of a link alone, none of a bridge or of Docker
    """
    found = []
    for one in interfaces:
        name = one.get("ifname", "")
        if re.match(r"lo$|docker|br-|veth|virbr|cni|flannel", name):
            continue
        for info in one.get("addr_info", []):
            known = ipaddress.ip_address(info["local"])
            # A temporary IPv6 address leads to the same listeners as its lasting neighbour.
            if known.is_loopback or known.is_link_local or info.get("temporary") or info.get("deprecated"):
                continue
            found.append({"address": str(known), "interface": name})
    return found


def ufw(status):
    """What `ufw status verbose` says of itself.

    :returns: dict of active (bool) and incoming (allow, deny or reject, empty while it is off)
    """
    policy = re.search(r"^Default: (\w+) \(incoming\)", status, re.M)
    return {"active": bool(re.search(r"^Status: active", status, re.M)), "incoming": policy.group(1) if policy else ""}
