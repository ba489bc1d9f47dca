# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which ufw commands turn the rules of a host into the declared ones. No Ansible and no host in here."""

from __future__ import annotations

import ipaddress
import re
import shlex

# The comment of rules that the role base itself takes away again.
MOVING = "ssh until it has moved"


class BadRule(ValueError):
    """A declared rule that cannot be."""


def network(text):
    """An address or network as ufw writes it: host bits cleared, no /32 and /128. `any` stays.

    :raises BadRule: when it is neither
    """
    if text in ("", "any"):
        return "any"
    try:
        net = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BadRule("%r is no address or network, such as 10.0.0.5 or 10.0.0.0/8, and not 'any'" % text) from error
    return str(net.network_address) if net.num_addresses == 1 else str(net)


def single(rules):
    """Rules with one port and one source each.

    :param rules: list of declared rules: dicts of port (list of str, or None for every port) and from (list of str, empty
        for any), the rest as in words. An empty list of ports is no rule.
    :returns: list of dict, see words
    """
    return [dict(rule, port=port, **{"from": source})
            for rule in rules
            for port in ([""] if rule.get("port") is None else rule["port"])
            for source in rule.get("from") or ["any"]]


def words(rule):
    """A rule as the words after `ufw`, in the one form in which `ufw show added` prints it, without the comment.

    :param rule: dict of port (str such as 80 or 8000:8010, or empty for every port), proto (tcp, udp, any), from, interface,
        action (allow or limit)
    :returns: list of str
    :raises BadRule: with the rule in the message
    """
    port, proto = str(rule.get("port") or ""), rule.get("proto") or "tcp"
    source, interface = network(rule.get("from") or "any"), rule.get("interface") or ""
    if port and not re.fullmatch(r"\d+(:\d+)?", port):
        raise BadRule("port %r of a firewall rule is no number and no range such as 8000:8010" % port)
    if any(not 0 < int(one) < 65536 for one in re.findall(r"\d+", port)):
        raise BadRule("port %r of a firewall rule is not within 1 and 65535" % port)
    if proto == "any" and ":" in port:
        raise BadRule("a firewall rule for ports %s needs proto tcp or udp" % port)
    if not port and source == "any" and not interface:
        raise BadRule("a firewall rule needs a port, a from or an interface: %r" % (rule,))
    result = [rule.get("action") or "allow"]
    if interface:
        result += ["in", "on", interface]
    elif source == "any":
        return result + [port if proto == "any" else "%s/%s" % (port, proto)]
    if source != "any":
        result += ["from", source]
    if port:
        result += ["to", "any", "port", port]
        if proto != "any":
            result += ["proto", proto]
    return result


def split_comment(line):
    """A line of `ufw show added` as (words after `ufw`, comment)."""
    parts = shlex.split(line)[1:]
    if len(parts) > 2 and parts[-2] == "comment":
        return parts[:-2], parts[-1]
    return parts, ""


def added(output):
    """The rules in the output of `ufw show added`, list of (words, comment)."""
    return [split_comment(line) for line in output.splitlines() if line.startswith("ufw ")]


def admits(rules, port, client, interface=""):
    """Whether a new connection of client to the TCP port gets through rules.

    :param rules: list of rules, see words
    :param port: int
    :param client: address; empty asks for any address
    :param interface: the name of the one that it comes in by
    """
    for rule in rules:
        if (rule.get("proto") or "tcp") == "udp" or rule.get("interface", "") not in ("", interface):
            continue
        source = network(rule.get("from") or "any")
        if source != "any" and (not client or not _within(client, source)):
            continue
        low, _colon, high = str(rule.get("port") or "1:65535").partition(":")
        if int(low) <= port <= int(high or low):
            return True
    return False


def _within(client, source):
    address = ipaddress.ip_address(client.split("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address in ipaddress.ip_network(source)


def plan(declared, now, active, policies, wanted_policies, remove_strays):
    """The ufw commands to run, in an order in which no wanted connection is ever refused.

    What is missing comes first, then the policies, then switching on, and strays go last. An allow is put before a limit,
    because ufw takes the first rule that fits.

    :param declared: list of rules, see words
    :param now: list of (words, comment), see added
    :param active: whether the firewall is in force
    :param policies: dict of incoming and outgoing (allow, deny or reject) as they are
    :param wanted_policies: the same as declared
    :param remove_strays: whether rules that are not declared are taken away
    :returns: (list of argv without `ufw`, list of stray rules as text)
    """
    wanted = {}
    for rule in declared:
        wanted.setdefault(tuple(words(rule)), rule.get("comment") or "")
    present = {tuple(one_words): comment for one_words, comment in now}
    changed = [(one, comment) for one, comment in wanted.items() if present.get(one) != comment]
    allows = [_addition(one, comment, present) for one, comment in changed if one[0] == "allow"]
    if any(one[0] != "allow" for one in present):
        # prepend turns the order round; it refuses a rule that is there already and only gets another comment.
        allows = [(["prepend"] if one not in present else []) + _addition(one, comment, present)
                  for one, comment in reversed(changed) if one[0] == "allow"]
    commands = allows + [_addition(one, comment, present) for one, comment in changed if one[0] != "allow"]
    for direction in ("incoming", "outgoing"):
        if policies.get(direction) != wanted_policies[direction]:
            commands.append(["default", wanted_policies[direction], direction])
    if not active:
        commands.append(["--force", "enable"])
    strays = [one for one in present if one not in wanted]
    if remove_strays:
        commands += [deletion(one) for one in strays]
    return commands, [shlex.join(one) for one in strays]


def _addition(one, comment, present):
    return list(one) + (["comment", comment] if comment or present.get(one) else [])


def deletion(one):
    """The argv without `ufw` that takes a rule away."""
    if one[0] == "route":
        return ["--force", "route", "delete"] + list(one[1:])
    return ["--force", "delete"] + list(one)


def shown(rules, active, policies):
    """Rules as text for a diff.

    :param rules: list of (words, comment)
    """
    lines = ["firewall: %s" % ("on" if active else "off")]
    lines += ["default %s: %s" % (direction, policies.get(direction, "?")) for direction in ("incoming", "outgoing")]
    lines += sorted(shlex.join(one) + ("  # " + comment if comment else "") for one, comment in rules)
    return "\n".join(lines) + "\n"
