# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of a host may be reached, by whom, and where what answers differs from that. No Ansible, no host and no network in here."""

from __future__ import annotations

import ipaddress
import shlex

from ansible_collections.quayside.django.plugins.module_utils import firewall

# What is tried first at any new address: remote shells, databases, queues, dashboards, and the ports of development servers.
FAMILIAR = (
    21, 22, 23, 25, 53, 80, 110, 111, 135, 139, 143, 389, 443, 445, 465, 587, 631, 873, 993, 1080, 1433, 1521, 1723, 1883, 2049, 2181, 2222, 2375, 2376,
    2377, 2379, 2380, 3000, 3001, 3128, 3306, 3389, 4000, 4040, 4243, 4369, 5000, 5001, 5044, 5060, 5173, 5432, 5433, 5555, 5601, 5672, 5900, 5984, 6000,
    6081, 6379, 6380, 6432, 6443, 7000, 7001, 7822, 7946, 8000, 8001, 8008, 8025, 8080, 8081, 8083, 8086, 8088, 8089, 8090, 8123, 8161, 8200, 8443, 8500,
    8529, 8600, 8888, 8983, 9000, 9001, 9042, 9090, 9091, 9092, 9093, 9094, 9100, 9121, 9187, 9200, 9300, 9443, 9999, 10000, 10250, 10255, 11211, 15672,
    16379, 18080, 19999, 25672, 26379, 27017, 28015, 50000, 61613,
)
# A road on which these answer answers for the host, whoever listens there.
CANARIES = (1, 34567, 61234)


def doors(rules, published=(), published_rules=()):
    """What the inventory declares, as one list.

    :param rules: the rules of the host's firewall, as in firewall.single
    :param published: ports of containers, such as 443 or 443/udp
    :param published_rules: rules for ports of containers
    :returns: list of dict of port (str, empty for every port), proto (tcp, udp or any), from (any or a network), interface, comment, and six: whether
        it opens IPv6 too. The rules for containers do so only where the host's firewall has the same door, since Docker's proxy takes IPv6.
    :raises firewall.BadRule: with the rule in the message
    """
    for rule in firewall.single(rules):
        firewall.words(rule)
    found = [_door(rule, True) for rule in firewall.single(rules)]
    of_containers = [{"port": [str(one).partition("/")[0].replace("-", ":")], "proto": str(one).partition("/")[2] or "tcp"} for one in published]
    for rule in firewall.single(of_containers + list(published_rules)):
        door = _door(rule, False)
        if not any(_same(door, other) for other in found):
            found.append(door)
    return found


def _door(rule, six):
    return {"port": str(rule.get("port") or ""), "proto": rule.get("proto") or "tcp", "from": firewall.network(rule.get("from") or "any"),
            "interface": rule.get("interface") or "", "comment": rule.get("comment") or "", "six": six}


def _same(one, other):
    return all(one[key] == other[key] for key in ("port", "proto", "from", "interface"))


def spans(door):
    """Whether a door is for many ports, of which none has to answer."""
    return not door["port"] or ":" in door["port"]


def single_ports(found, proto):
    """The ports that doors name one by one."""
    return {int(door["port"]) for door in found if not spans(door) and door["proto"] in (proto, "any")}


def within(address, network):
    """Whether an address lies in a network; both as str, and any holds all."""
    if network == "any":
        return True
    known = ipaddress.ip_address(address.split("%")[0])
    known = getattr(known, "ipv4_mapped", None) or known
    return known in ipaddress.ip_network(network)


def opens(door, proto, port, address, interface):
    """Whether a door is for a port at an address of the host, whoever asks."""
    if door["proto"] not in (proto, "any") or door["interface"] not in ("", interface):
        return False
    low, _colon, high = (door["port"] or "1:65535").partition(":")
    return int(low) <= port <= int(high or low)


def allowed(found, proto, port, source, address, interface):
    """Whether somebody may reach a port.

    :param source: where the host sees the question come from; empty where that is not known
    :returns: True, False, or None where it depends on the source that is not known
    """
    fitting = [door for door in found if opens(door, proto, port, address, interface)]
    if not source:
        return True if any(door["from"] == "any" for door in fitting) else None if fitting else False
    return any(within(source, door["from"]) for door in fitting)


def ports(found, host, more=()):
    """Which ports to ask.

    :param found: see doors
    :param host: what the module listeners returns
    :param more: ports that the user wants asked too, such as 9100 or 9100/udp
    :returns: dict of tcp and udp (sorted lists of int) and again (list of str: those that are asked twice)
    """
    told = {proto: {one["port"] for group in ("listeners", "published", "redirected") for one in host[group] if one["proto"] == proto}
            for proto in ("tcp", "udp")}
    extra = {proto: {int(str(one).partition("/")[0]) for one in more if (str(one).partition("/")[2] or "tcp") == proto} for proto in ("tcp", "udp")}
    declared = {proto: single_ports(found, proto) for proto in ("tcp", "udp")}
    tcp = declared["tcp"] | told["tcp"] | extra["tcp"] | set(FAMILIAR) | set(CANARIES)
    udp = declared["udp"] | told["udp"] | extra["udp"]
    again = sorted(declared["tcp"]) + ["%d/udp" % port for port in sorted(declared["udp"])]
    return {"tcp": sorted(tcp), "udp": sorted(udp), "again": [str(one) for one in again]}


def targets(known, own, more=(), direct=True):
    """Which addresses to ask, and which not: a private address may be another machine where the asking one stands.

    :param known: the addresses that the host is reached by, list of str
    :param own: those that it has itself, list of str
    :param more: those that the user names, list of str
    :param direct: whether the host is reached without a machine in between
    :returns: tuple of two lists of str: those to ask, and those of its own that are left out
    """
    near = direct and bool(known) and not any(ipaddress.ip_address(one).is_global for one in known)
    asked = [one for one in [*known, *own] if near or ipaddress.ip_address(one).is_global or (direct and one in known)]
    asked = list(dict.fromkeys([*asked, *more]))
    return asked, [one for one in own if one not in asked]


SSH_UNITS = ("ssh.service", "ssh.socket", "sshd.service", "sshd.socket")


def holder(host, proto, port):
    """Who has a port, in words, and how to take it away; both empty where nobody is known.

    :returns: tuple of two str
    """
    for one in host["published"]:
        if (one["proto"], one["port"]) == (proto, port):
            return ("the container %s publishes it on %s" % (one["container"], one["address"] or "every address"),
                    "publish it on 127.0.0.1 (-p 127.0.0.1:%d:…), or stop it: docker stop %s" % (port, one["container"]))
    listening = [one for one in host["listeners"] if (one["proto"], one["port"]) == (proto, port)]
    listening.sort(key=lambda one: ipaddress.ip_address(one["address"]).is_loopback)
    for one in listening:
        who = one["process"] or "a program"
        more = ", ".join(["process %d" % one["pid"]] * bool(one["pid"]) + ([one["unit"]] if one["unit"] else [])
                         + (["container %s" % one["container"]] if one["container"] else []))
        if one["unit"] in SSH_UNITS:
            # What stops it locks out whoever runs this.
            return ("%s (%s) listens at %s, by which this host is managed" % (who, more, where(one["address"], port)),
                    "leave it running: site.yml moves it to ansible_port, or set that to %d in the inventory" % port)
        stop = "docker stop %s" % one["container"] if one["container"] else "systemctl disable --now %s" % one["unit"] \
            if one["unit"].endswith((".service", ".socket")) and not one["unit"].startswith(("user@", "session")) else "kill %d" % one["pid"]
        return ("%s%s listens at %s" % (who, " (%s)" % more if more else "", where(one["address"], port)),
                "have it listen at 127.0.0.1 alone, or stop it: %s" % stop)
    if any((one["proto"], one["port"]) == (proto, port) for one in host["redirected"]):
        return "a rule of NAT leads it elsewhere", "iptables -t nat -S | grep %d" % port
    return "", ""


def where(address, port):
    return "[%s]:%d" % (address, port) if ":" in address else "%s:%d" % (address, port)


def reachable(host, proto, port):
    """Whether the host says that something takes connections from outside at the port."""
    if any((one["proto"], one["port"]) == (proto, port) for one in host["redirected"]):
        return True
    return any((one["proto"], one["port"]) == (proto, port) and not _loopback(one["address"]) for group in ("listeners", "published") for one in host[group])


def _loopback(address):
    return bool(address) and ipaddress.ip_address(address).is_loopback


def lets_in(host, door):
    """Whether UFW, by its own words, has the rule for a door, or is off."""
    return not host["ufw"]["active"] or any(list(words) in host["ufw"]["rules"] for words in _words([door])) or not door["six"]


def _words(found):
    """The words of UFW's rules for doors, as allow and as limit."""
    result = []
    for door in found:
        for action in ("allow", "limit"):
            try:
                result.append(firewall.words(dict(door, action=action)))
            except firewall.BadRule:
                continue
    return result


class Findings:
    """Findings by what they are about, each with all the addresses and machines that saw it."""

    def __init__(self):
        self.kept, self.notes = {}, []

    def add(self, kind, what, reason, fix, seen=""):
        one = self.kept.setdefault((kind, what, reason), {"kind": kind, "item": "%s: %s" % (kind, what), "reason": reason, "fix": fix, "seen": []})
        if seen and seen not in one["seen"]:
            one["seen"].append(seen)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)


NOTHING = "nothing at all of %(address)s answers to %(name)s (%(own)s), not even the ports that it may reach"
CONTROLLER = "the controller"
SITE = "ansible-playbook quayside.django.site"


def judge(found, host, views, options=None):
    """Compare what answers with what is declared.

    :param found: what is declared, see doors
    :param host: what the module listeners returns
    :param views: list of dict of name (of the machine that asked), source (where the host sees it come from, {4: …, 6: …}, each only where that is known)
        and scans (see port_scan.scan)
    :param options: dict of firewall (whether UFW has to be on), chain (whether that for containers has to be in force), strays (whether rules of UFW that
        nobody declared are findings), late (ports of a certificate that is yet to come) and silent (ports such as 9100 or 51820/udp that need not answer)
    :returns: dict of findings (list of dict of kind, item, reason, fix and seen), notes (list of str), roads (list of str, what was asked from where)
        and proven (whether any machine could ask)
    """
    options = dict({"firewall": True, "strays": True, "chain": False, "late": (), "silent": ()}, **(options or {}))
    out, roads, refused, mute = Findings(), [], [], []
    _own_words(out, found, host, options)
    for view in views:
        for scan in view["scans"]:
            why = _blind(found, host, view, scan)
            road = _Road(host, view, scan) if scan["source"] else None
            if why and road and why == NOTHING and _same_world(scan):
                mute.append(road)
                continue
            if why:
                out.note(why % {"name": view["name"], "address": scan["address"], "own": scan["source"]})
                continue
            roads.append(road)
            _missing(out, refused, found, host, road, options)
            _extra(out, found, host, road, options)
    for road in mute:
        # One family that is dead beside one that lives is the host's doing, or its provider's; where all is dead, the road is.
        if any(other.name == road.name for other in roads):
            out.add("missing", "all of %s" % road.address, "nothing at all answers there, not even what may be reached",
                    "ip6tables -S INPUT on the host; then the provider's firewall for IPv6, and the routes of the machine that asks", road.seen)
        else:
            out.note(NOTHING % {"name": road.name, "address": road.address, "own": road.own})
    for road, numbers in refused:
        _between(out, road, numbers, roads)
    return {"findings": list(out.kept.values()), "notes": out.notes, "roads": [road.text() for road in roads], "proven": bool(roads)}


class _Road:
    """What one machine saw of one address of the host."""

    def __init__(self, host, view, scan):
        self.name, self.address = view["name"], scan["address"]
        self.interface = next((one["interface"] for one in host["addresses"] if one["address"] == scan["address"]), "")
        self.source, self.own = source_of(view, scan), scan["source"]
        self.states = {proto: {int(port): state for port, state in scan[proto].items()} for proto in ("tcp", "udp")}
        self.seen = "at %s from %s (%s)" % (self.address, self.name, self.source or self.own)

    def state(self, proto, port):
        return self.states[proto].get(port, "")

    def may(self, found, proto, port):
        return allowed(found, proto, port, self.source, self.address, self.interface)

    def answered(self, proto):
        return sorted(port for port, state in self.states[proto].items() if state in ("open", "quic"))

    def text(self):
        parts = ["%s %s" % (proto, " ".join(map(str, self.answered(proto)))) for proto in ("tcp", "udp") if self.answered(proto)]
        return "%s: %s" % (self.seen, ", ".join(parts) or "nothing answers")


def source_of(view, scan):
    """Where the host sees a question come from; empty where a translation of addresses may lie between."""
    told = view.get("source", {}).get(6 if ":" in scan["address"] else 4, "")
    if told:
        return told
    own, there = ipaddress.ip_address(scan["source"]), ipaddress.ip_address(scan["address"])
    return "" if there.is_global and not own.is_global else scan["source"]


def _same_world(scan):
    """Whether an IPv6 address and the one that asks both are public, or neighbours: between them IPv6 has to work."""
    own, there = ipaddress.ip_address(scan["source"]), ipaddress.ip_address(scan["address"])
    if there.version != 6:
        return False
    return (own.is_global and there.is_global) or own in ipaddress.ip_network("%s/64" % there, strict=False)


def _blind(found, host, view, scan):
    """Why a scan proves nothing, with %(name)s, %(address)s and %(own)s in it; or an empty string."""
    address = scan["address"]
    if view["name"] != CONTROLLER and scan["source"] in [one["address"] for one in host["addresses"]]:
        return ("what %(name)s was to ask was asked by the host itself (%(own)s): a connection variable of %(name)s names inventory_hostname, which is the "
                "host that is asked. Next: write the host's own name there")
    if not scan["source"]:
        return "%(name)s has no road to %(address)s, so that was not asked" + (": no IPv6 there" if ":" in address else "")
    road = _Road(host, view, scan)
    if all(road.state("tcp", port) == "open" for port in CANARIES):
        return "something between %(name)s and %(address)s takes connections to every port, also where nobody listens (a proxy?): nothing can be told there"
    wanted = [port for port in single_ports(found, "tcp") if road.may(found, "tcp", port) is not False and (":" not in address or _six(found, port))]
    if wanted and not any(state in ("open", "closed") for state in road.states["tcp"].values()):
        return NOTHING
    return ""


def _six(found, port):
    return any(door["six"] and opens(door, "tcp", port, "", door["interface"]) for door in found)


def _own_words(out, found, host, options):
    """What the host itself says of its firewalls."""
    ufw = host["ufw"]
    if options["firewall"] and not ufw["active"]:
        out.add("open", "the host's firewall", "UFW is %s" % ("off" if ufw["installed"] else "not installed"), SITE)
    elif options["firewall"] and ufw["incoming"] == "allow":
        out.add("open", "the host's firewall", "UFW lets in what no rule names (default: allow incoming)", SITE)
    if options["chain"] and not host["chain"]["active"]:
        out.add("open", "the firewall of containers", "the chain that closes their ports is not in force", SITE)
    if options["firewall"]:
        declared = _words([door for door in found if door["six"]])
        strangers = [list(words) for words in ufw["rules"] if {"allow", "limit"} & set(words[:2]) and list(words) not in declared]
        for words in strangers:
            if not options["strays"]:
                out.note("UFW has a rule that nobody declared: %s" % shlex.join(words))
            else:
                out.add("extra", "the rule ufw %s" % shlex.join(words), "nobody declared it",
                        "ufw %s on the host, or declare it in base_firewall_extra_rules" % shlex.join(firewall.deletion(words)))


def _missing(out, refused, found, host, road, options):
    """What may be reached and does not answer."""
    silent, lacking = {str(one) for one in options["silent"]}, {}
    for door in found:
        if spans(door) or (":" in road.address and not door["six"]):
            continue
        port = int(door["port"])
        for proto in ("tcp", "udp"):
            name = str(port) if proto == "tcp" else "%d/udp" % port
            # For both protocols is for the one that is spoken.
            spoken = door["proto"] == proto or (door["proto"] == "any" and proto == _spoken(host, port))
            if spoken and name not in silent and not _answers(host, road, proto, port) and road.may([door], proto, port):
                lacking[proto, port] = door
    between = []
    for (proto, port), door in sorted(lacking.items()):
        if port in options["late"] and not reachable(host, proto, port):
            out.note("%s %d: nothing listens there yet, its certificate is still to come. Next: ansible-playbook quayside.django.certificates" % (proto, port))
        elif _elsewhere(host, proto, port, road.address):
            out.note("%s %d listens at other addresses of the host than %s" % (proto, port, road.address))
        elif not road.state(proto, port) and reachable(host, proto, port) and lets_in(host, door):
            between.append((proto, port))
        else:
            out.add("missing", "%s %d" % (proto, port), *_why(host, road, proto, port, door), road.seen)
    if between:
        refused.append((road, between))


def _spoken(host, port):
    """The protocol that a door for both is for: the one that somebody listens by, else TCP."""
    return "udp" if reachable(host, "udp", port) and not reachable(host, "tcp", port) else "tcp"


def _answers(host, road, proto, port):
    """Whether a port answers, as far as can be told: of UDP only QUIC has to say something."""
    state = road.state(proto, port)
    if proto == "tcp":
        return state == "open"
    return state in ("open", "quic") if port == 443 else state != "closed" and reachable(host, "udp", port)


def _elsewhere(host, proto, port, address):
    """Whether a port listens at single addresses, and this is none of them."""
    own = {one["address"] for group in ("listeners", "published") for one in host[group] if (one["proto"], one["port"]) == (proto, port)}
    known = {one["address"] for one in host["addresses"]}
    return bool(own & known) and not own & {address, "0.0.0.0", "::", ""}


def _why(host, road, proto, port, door):
    """Reason and fix for a port that does not answer by the host's own doing."""
    if road.state(proto, port) == "refused":
        return "something on the road refuses it", "look at the firewalls of the provider and of the network that asks"
    if reachable(host, proto, port):
        if not lets_in(host, door):
            return "somebody listens there, and UFW lacks the rule", SITE
        return "nobody listens at this address", "ss -ln%sp sport = :%d on the host" % (proto[0], port)
    if any((one["proto"], one["port"]) == (proto, port) for one in host["listeners"]):
        return "it listens at 127.0.0.1 alone", "ss -ln%sp sport = :%d on the host" % (proto[0], port)
    if port in (80, 443):
        return "nothing listens there", "systemctl status nginx, or docker ps -a, on the host; then %s" % SITE
    return "nothing listens there", "start %s, or take its rule away, or name it in exposure_silent" % (door["comment"] or "what belongs there")


def _between(out, road, numbers, roads):
    """The host listens and lets in, and yet nothing comes back: that is the doing of something on the road."""
    others = {other.name for other in roads if other.address == road.address and all(port in other.answered(proto) for proto, port in numbers)}
    what = ", ".join("%s %d" % one for one in numbers)
    if others:
        out.note("%s does not answer %s, and answers to %s: a firewall near %s lets it not out" % (what, road.seen, ", ".join(sorted(others)), road.name))
        return
    only = road.answered("tcp")
    reason = "the host listens and lets in, and something on the road drops it: a firewall of the provider, or one before %s that lets out %s" % (
        road.name, "only port %d" % only[0] if len(only) == 1 else "only some ports")
    out.add("missing", what, reason, "look at the provider's firewall; or have another host of the inventory ask, -e '{\"exposure_from\": [\"NAME\"]}'",
            road.seen)


def _extra(out, found, host, road, options):
    """What may not be reached and answers."""
    unfiltered = []
    for proto in ("tcp", "udp"):
        for port, state in sorted(road.states[proto].items()):
            may = road.may(found, proto, port)
            if may or state == "refused":
                continue
            if state == "closed":
                unfiltered += ["%s %d" % (proto, port)] * (may is False)
            elif may is None:
                out.note("%s %d answers %s, and whether it may cannot be told: which address the host sees is not known. Next: exposure_sources"
                         % (proto, port, road.seen))
            else:
                out.add("extra", "%s %d" % (proto, port), *_stranger(found, host, road, proto, port), road.seen)
    ufw = host["ufw"]
    if unfiltered and options["firewall"] and not (ufw["active"] and ufw["incoming"] == "deny"):
        out.add("open", "ports that nobody declared", "they are not filtered, and whatever starts there is open (%s)" % ", ".join(unfiltered[:3]),
                SITE, road.seen)


def _stranger(found, host, road, proto, port):
    """Reason and fix for a port that answers and may not."""
    who, stop = holder(host, proto, port)
    may = sorted({door["from"] for door in found if opens(door, proto, port, road.address, road.interface)})
    if may:
        return "it answers, and only %s may ask%s" % (", ".join(may), "; " + who if who else ""), "ufw status on the host; then %s" % SITE
    published = any((one["proto"], one["port"]) == (proto, port) for one in host["published"])
    udp = proto == "udp"
    declare = 'docker_published_ports: ["%d%s"]' % (port, "/udp" * udp) if published else \
        "base_firewall_extra_rules: [{port: [%d]%s}]" % (port, ", proto: udp" * udp)
    return ("it answers, and nobody declared it; %s" % (who or "the host does not know who listens there"),
            "%s; or declare it, %s" % (stop or "find out who answers in its place", declare))


def told(verdict, name):
    """The findings of a verdict as text.

    :param name: of the host
    :returns: str, a line for each finding
    """
    lines = ["- %s: %s%s. Next: %s" % (one["item"], one["reason"], " (%s)" % "; ".join(one["seen"]) if one["seen"] else "", one["fix"])
             for one in verdict["findings"]]
    return "what answers at %s is not what was declared:\n%s" % (name, "\n".join(lines))
