# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The chain that lets nothing from outside reach a container but declared ports. No Ansible and no host in here."""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.quayside.django.plugins.module_utils import firewall, outbound

CHAIN = "quayside-docker"
LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}


def declared(ports, rules):
    """Published ports and rules as one list of rules with one port and one source each.

    :param ports: list of str or int: 443, 443/udp, 8000:8010
    :param rules: list of rules as in firewall.single; proto any is tcp and udp
    :returns: list of dict of port (empty for every port), proto (tcp, udp, or empty for every one), from (any or a network),
        interface, comment
    :raises firewall.BadRule: with the rule in the message
    """
    wanted = []
    for port in ports:
        number, _slash, proto = str(port).partition("/")
        if not re.fullmatch(r"\d+([:-]\d+)?", number) or proto not in ("", "tcp", "udp"):
            raise firewall.BadRule("the published port %r is not of the form 443, 443/udp or 8000:8010" % port)
        wanted.append({"port": [number.replace("-", ":")], "proto": proto or "tcp", "from": []})
    result = []
    for rule in firewall.single(wanted + list(rules)):
        firewall.words(dict(rule, proto="udp" if rule.get("proto") == "any" and ":" in rule["port"] else rule.get("proto")))
        one = {"port": rule["port"], "from": firewall.network(rule["from"]), "interface": rule.get("interface") or "", "comment": rule.get("comment") or ""}
        for proto in protocols(rule):
            if dict(one, proto=proto) not in result:
                result.append(dict(one, proto=proto))
    return result


def protocols(rule):
    """The protocols of a rule: a rule for every port is for every protocol."""
    if not rule["port"]:
        return [""]
    return ["tcp", "udp"] if rule.get("proto") == "any" else [rule.get("proto") or "tcp"]


def text(rules, bridges, family, opened=(), resolvers=(), limits=None):
    """What iptables-restore (ip6tables-restore) reads, with --noflush. The chain is replaced in one step, never empty.

    Only a connection that Docker redirected may come in, by the port that its client asked for: who routes to a container's own
    address gets nowhere, and neither does who sends a packet for 127.0.0.1 over the wire. RETURN leaves the packet to Docker's
    rules, which keep the networks of different apps apart.

    :param rules: list of dict, see declared
    :param bridges: names of the interfaces of Docker's networks, `br-+` for all that begin with br-
    :param family: 4 or 6
    :param opened: list of dict of interface, to and port (or none for all), what an app's containers may reach of private networks
    :param resolvers: addresses of name servers in private networks, which all containers may ask
    :param limits: see limited; None for none
    :returns: str
    """
    lines = ["-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"]
    lines += outgoing(bridges, family, opened, resolvers)
    lines += ["-i %s -j RETURN" % bridge for bridge in bridges]
    lines.append("-m conntrack --ctstate DNAT --ctorigdst %s -j DROP" % LOOPBACK[family])
    lines += limited(rules, family, **(limits or {}))
    for rule in rules:
        if rule["from"] != "any" and ipaddress.ip_network(rule["from"]).version != family:
            continue
        if rule["comment"]:
            lines.append("# " + " ".join(rule["comment"].split()))
        lines.append(allowance(rule))
    lines.append("-m conntrack --ctstate DNAT -j DROP")
    lines += ["-o %s -j DROP" % bridge for bridge in bridges]
    body = "".join(line + "\n" if line.startswith("#") else "-A %s %s\n" % (CHAIN, line) for line in lines)
    return "*filter\n:%s - [0:0]\n%sCOMMIT\n" % (CHAIN, body)


def outgoing(bridges, family, opened, resolvers):
    """The words that close private networks to containers, but for what is opened. What goes to another bridge is Docker's own business.

    :param bridges: see text
    :param family: 4 or 6
    :param opened: see text
    :param resolvers: see text
    :returns: list of str
    """
    lines = ["-i %s -d %s%s -j RETURN" % (one["interface"], one["to"], " -p tcp --dport %s" % one["port"] if one.get("port") else "")
             for one in opened if ipaddress.ip_network(one["to"]).version == family]
    lines += ["-i %s -o %s -j RETURN" % (bridge, other) for bridge in bridges for other in bridges]
    lines += ["-i %s -d %s -p %s --dport 53 -j RETURN" % (bridge, address, proto) for bridge in bridges for address in resolvers
              if ipaddress.ip_address(address).version == family for proto in ("udp", "tcp")]
    closed = [network for network in outbound.CLOSED if ipaddress.ip_network(network).version == family]
    # Refused, not dropped: what asks for such an address is told at once.
    return lines + ["-i %s -d %s -j REJECT" % (bridge, network) for bridge in bridges for network in closed]


def limited(rules, family, each=0, total=0, exempt=()):
    """The words that refuse connections beyond a number, before a byte of a request has come: no program can count those.

    A client by IPv6 is its network of 64 bits: who has that has 2^64 addresses (RFC 6177).

    :param rules: list of dict, see declared; what is declared by TCP for everybody is limited
    :param family: 4 or 6
    :param each: connections of one client to one port; 0 for any number
    :param total: connections of all clients to one port; 0 for any number
    :param exempt: addresses and networks of load balancers, behind which many clients are
    :returns: list of str
    """
    ports = dict.fromkeys(rule["port"] for rule in rules if rule["proto"] == "tcp" and rule["port"] and rule["from"] == "any")
    away = [source for source in exempt if ipaddress.ip_network(source, strict=False).version == family]
    lines = []
    for port in ports:
        new = "-p tcp --syn -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport %s" % port
        refusal = "-j REJECT --reject-with tcp-reset"
        if total:
            lines.append("%s -m connlimit --connlimit-above %d --connlimit-mask 0 %s" % (new, total, refusal))
        if each:
            # The port is declared for everybody, so RETURN is what its allowance would say as well.
            lines += ["-s %s %s -j RETURN" % (source, new) for source in away]
            lines.append("%s -m connlimit --connlimit-above %d --connlimit-mask %d %s" % (new, each, 32 if family == 4 else 64, refusal))
    return lines


def allowance(rule):
    """The words that let a declared connection in."""
    words = []
    if rule["from"] != "any":
        words += ["-s", rule["from"]]
    if rule["interface"]:
        words += ["-i", rule["interface"]]
    if rule["proto"]:
        words += ["-p", rule["proto"]]
    words += ["-m", "conntrack", "--ctstate", "DNAT", "--ctdir", "ORIGINAL"]
    if rule["port"]:
        words += ["--ctorigdstport", rule["port"]]
    return " ".join(words + ["-j", "RETURN"])


def mistaken(bridges, outside):
    """The interfaces of outside that one of the names in bridges means too: what comes in there would pass for a container's.

    :param bridges: names, see text
    :param outside: names of interfaces, such as those of the default routes
    :returns: list of str
    """
    return [name for name in dict.fromkeys(outside)
            if any(name.startswith(bridge[:-1]) if bridge.endswith("+") else name == bridge for bridge in bridges)]


def bad_bridge(bridges):
    """The first name that no interface can have, or None."""
    return next((name for name in bridges if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,14}\+?|[A-Za-z0-9_.:-]{15}", name)), None)
