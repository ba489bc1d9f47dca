# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host may be reached by whom, and how a scan is judged."""
from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.quayside.django.plugins.module_utils import exposure, firewall

HERE, SIX, OFFICE, STRANGER = "203.0.114.10", "2a01:4f8::10", "9.9.9.7", "8.8.4.4"
WEB = [{"port": ["80", "443"], "comment": "web"}]
RULES = [{"port": ["7822"], "from": [], "comment": "ssh"}, *WEB]


def listener(port, address="0.0.0.0", proto="tcp", process="nginx", unit="nginx.service"):
    return {"proto": proto, "address": address, "port": port, "process": process, "pid": 7, "unit": unit, "container": ""}


def host(*listeners, rules=RULES, **changes):
    """A host on which the declared things listen and UFW has the declared rules."""
    words = [firewall.words(rule) for rule in firewall.single(rules)]
    usual = [listener(port) for port in (80, 443)] + [listener(7822, process="sshd", unit="ssh.service")]
    return dict({"listeners": usual + list(listeners), "published": [], "redirected": [],
                 "addresses": [{"address": HERE, "interface": "eth0"}, {"address": SIX, "interface": "eth0"}],
                 "ufw": {"installed": True, "active": True, "incoming": "deny", "rules": words}, "chain": {"installed": False, "active": False}}, **changes)


def scan(*tcp, address=HERE, source=OFFICE, udp=None, closed=()):
    return {"address": address, "source": source, "tcp": {**dict.fromkeys(tcp, "open"), **dict.fromkeys(closed, "closed")}, "udp": udp or {}}


def view(*scans, name="the controller", **source):
    return {"name": name, "source": {int(key[1]): value for key, value in source.items()}, "scans": list(scans)}


def judge(rules, of_host, *views, published=(), containers=(), **options):
    return exposure.judge(exposure.doors(rules, published, containers), of_host, views, options)


def items(verdict):
    return [one["item"] for one in verdict["findings"]]


@pytest.mark.parametrize(("rules", "of_host", "scanned", "found"), [
    (RULES, host(), scan(80, 443, 7822), []),
    (RULES, host(), scan(80, 443, 7822, closed=[9999]), []),
    (RULES, host(listener(9090)), scan(80, 443, 7822, 9090), ["extra: tcp 9090"]),
    (RULES, host(listener(9090)), scan(80, 443, 7822), []),
    (RULES, host(listener(9090, "127.0.0.1")), scan(80, 443, 7822), []),
    (RULES, host(listeners=[listener(80), listener(7822)]), scan(80, 7822), ["missing: tcp 443"]),
    (RULES, host(listeners=[listener(80), listener(443, "127.0.0.1"), listener(7822)]), scan(80, 7822), ["missing: tcp 443"]),
    (RULES, host(), scan(80, 7822, closed=[443]), ["missing: tcp 443"]),
    (RULES, host(), scan(7822), ["missing: tcp 80, tcp 443"]),
    (RULES, host(ufw={"installed": True, "active": False, "incoming": "", "rules": []}), scan(80, 443, 7822), ["open: the host's firewall"]),
    (RULES, host(ufw={"installed": True, "active": False, "incoming": "", "rules": []}), scan(80, 443, 7822, closed=[21]),
     ["open: the host's firewall", "open: ports that nobody declared"]),
    (RULES, host(rules=[*RULES, {"port": ["9091"]}]), scan(80, 443, 7822), ["extra: the rule ufw allow 9091/tcp"]),
    ([*RULES, {"port": ["8000:8010"]}], host(rules=[*RULES, {"port": ["8000:8010"]}]), scan(80, 443, 7822), []),
    ([*RULES, {"port": ["8000:8010"]}], host(rules=[*RULES, {"port": ["8000:8010"]}]), scan(80, 443, 7822, 8005), []),
    ([*RULES, {"from": [OFFICE]}], host(rules=[*RULES, {"from": [OFFICE]}]), scan(80, 443, 7822, 3000), []),
    ([*RULES, {"port": ["9300"], "interface": "eth1"}], host(rules=[*RULES, {"port": ["9300"], "interface": "eth1"}]), scan(80, 443, 7822, 9300),
     ["extra: tcp 9300"]),
    ([*RULES, {"port": ["9300"], "interface": "eth0"}], host(listener(9300), rules=[*RULES, {"port": ["9300"], "interface": "eth0"}]),
     scan(80, 443, 7822, 9300), []),
])
def test_what_answers_is_compared_with_what_is_declared(rules, of_host, scanned, found):
    assert items(judge(rules, of_host, view(scanned))) == found


METRICS = [*RULES, {"port": ["9300"], "from": [OFFICE], "comment": "the metrics"}]


@pytest.mark.parametrize(("source", "answers", "found"), [
    (OFFICE, True, []),
    (OFFICE, False, ["missing: tcp 9300"]),
    (STRANGER, False, []),
    (STRANGER, True, ["extra: tcp 9300"]),
])
def test_a_rule_for_some_is_judged_by_the_address_that_asks(source, answers, found):
    verdict = judge(METRICS, host(listener(9300), rules=METRICS), view(scan(80, 443, 7822, *[9300] * answers, source=source)))
    assert items(verdict) == found
    assert all(OFFICE in one["reason"] for one in verdict["findings"] if one["kind"] == "extra")


@pytest.mark.parametrize("answers", [True, False])
def test_where_the_address_that_the_host_sees_is_not_known_nothing_is_claimed(answers):
    verdict = judge(METRICS, host(listener(9300), rules=METRICS), view(scan(80, 443, 7822, *[9300] * answers, source="192.168.1.5")))
    assert items(verdict) == []
    assert any("exposure_sources" in note for note in verdict["notes"]) == answers


@pytest.mark.parametrize(("told", "own", "address", "source"), [
    ({4: OFFICE}, "192.168.1.5", HERE, OFFICE),
    ({}, "192.168.1.5", HERE, ""),
    ({}, "192.168.1.5", "192.168.1.9", "192.168.1.5"),
    ({}, OFFICE, HERE, OFFICE),
    ({4: OFFICE}, "2a01::7", SIX, "2a01::7"),
    ({}, "fd00::2", SIX, ""),
])
def test_the_address_that_the_host_sees(told, own, address, source):
    assert exposure.source_of({"source": told}, {"address": address, "source": own}) == source


UDP = [*RULES, {"port": ["443"], "proto": "udp", "comment": "http3"}, {"port": ["51820"], "proto": "udp", "comment": "the tunnel"}]


@pytest.mark.parametrize(("listening", "udp", "found"), [
    ([443, 51820], {443: "quic"}, []),
    ([443, 51820], {443: "open"}, []),
    ([443, 51820], {}, ["missing: udp 443"]),
    ([443], {443: "quic"}, ["missing: udp 51820"]),
    ([443, 51820], {443: "quic", 51820: "closed"}, ["missing: udp 51820"]),
    ([443, 51820, 5555], {443: "quic", 5555: "open"}, ["extra: udp 5555"]),
    ([443, 51820, 5555], {443: "quic"}, []),
])
def test_of_udp_is_said_what_can_be_known(listening, udp, found):
    verdict = judge(UDP, host(*[listener(port, proto="udp") for port in listening], rules=UDP), view(scan(80, 443, 7822, udp=udp)))
    assert items(verdict) == found


@pytest.mark.parametrize(("tcp", "udp", "answers", "found"), [
    ([], [9000], [], []),
    ([9000], [], [9000], []),
    ([], [], [], ["missing: tcp 9000"]),
])
def test_a_rule_for_both_protocols_is_for_the_one_that_is_spoken(tcp, udp, answers, found):
    rules = [*RULES, {"port": ["9000"], "proto": "any"}]
    listeners = [listener(port) for port in tcp] + [listener(port, proto="udp") for port in udp]
    assert items(judge(rules, host(*listeners, rules=rules), view(scan(80, 443, 7822, *answers)))) == found


BOX = {"container": "grafana", "proto": "tcp", "address": "0.0.0.0", "port": 3000}


@pytest.mark.parametrize(("published", "containers", "scanned", "found"), [
    ([], [], scan(80, 443, 7822), []),
    ([], [], scan(80, 443, 7822, 3000), ["extra: tcp 3000"]),
    (["3000"], [], scan(80, 443, 7822, 3000), []),
    (["3000"], [], scan(80, 443, 7822), ["missing: tcp 3000"]),
    # UFW keeps IPv6 of a container's port closed, and may have it open.
    (["3000"], [], scan(80, 443, 7822, address=SIX, source="2a01::7"), []),
    (["3000"], [], scan(80, 443, 7822, 3000, address=SIX, source="2a01::7"), []),
    ([], [{"port": ["3000"], "from": [STRANGER]}], scan(80, 443, 7822, 3000), ["extra: tcp 3000"]),
])
def test_ports_of_containers_have_rules_of_their_own(published, containers, scanned, found):
    of_host = host(published=[BOX], chain={"installed": True, "active": True})
    verdict = judge(RULES, of_host, view(scanned), published=published, containers=containers, chain=True)
    assert [item.partition(",")[0] for item in items(verdict)] == found


def test_a_container_is_named_with_what_to_type():
    one = judge(RULES, host(published=[BOX]), view(scan(80, 443, 7822, 3000)))["findings"][0]
    assert "the container grafana publishes it on 0.0.0.0" in one["reason"]
    assert "-p 127.0.0.1:3000:…" in one["fix"]
    assert 'docker_published_ports: ["3000"]' in one["fix"]


def test_a_chain_that_is_not_in_force_is_found():
    of_host = host(chain={"installed": True, "active": False})
    assert items(judge(RULES, of_host, view(scan(80, 443, 7822)), chain=True)) == ["open: the firewall of containers"]
    assert items(judge(RULES, of_host, view(scan(80, 443, 7822)), chain=False)) == []


@pytest.mark.parametrize(("options", "found", "said"), [
    ({}, ["missing: tcp 443"], ""),
    ({"late": [443]}, [], "its certificate is still to come"),
    ({"silent": ["443"]}, [], ""),
])
def test_a_port_may_be_late_or_silent(options, found, said):
    verdict = judge(RULES, host(listeners=[listener(80), listener(7822)]), view(scan(80, 7822)), **options)
    assert items(verdict) == found
    assert said in "".join(verdict["notes"])


@pytest.mark.parametrize(("words", "found"), [
    (["allow", "9091/tcp"], ["extra: the rule ufw allow 9091/tcp"]),
    (["limit", "22/tcp"], ["extra: the rule ufw limit 22/tcp"]),
    (["limit", "80/tcp"], []),
    (["allow", "from", OFFICE], ["extra: the rule ufw allow from " + OFFICE]),
    (["route", "allow", "proto", "tcp", "to", "any", "port", "80"], ["extra: the rule ufw route allow proto tcp to any port 80"]),
    (["deny", "from", STRANGER], []),
])
def test_a_rule_of_ufw_that_lets_in_and_that_nobody_declared_is_found(words, found):
    of_host = host()
    of_host["ufw"]["rules"].append(words)
    assert items(judge(RULES, of_host, view(scan(80, 443, 7822)))) == found


def test_rules_of_others_are_said_where_they_are_only_reported():
    verdict = judge(RULES, host(rules=[*RULES, {"port": ["9091"]}]), view(scan(80, 443, 7822)), strays=False)
    assert items(verdict) == []
    assert "ufw has a rule" in verdict["notes"][0].lower()


@pytest.mark.parametrize(("views", "proven", "note"), [
    ([], False, ""),
    ([view(scan(source=""))], False, "has no road to"),
    ([view(scan(address=SIX, source=""))], False, "no IPv6 there"),
    ([view(scan())], False, "nothing at all of"),
    ([view(scan(*exposure.CANARIES, 80, 443))], False, "takes connections to every port"),
    ([view(scan(80, 443, 7822, source=HERE), name="backup1")], False, "names inventory_hostname"),
    ([view(scan(80, 443, 7822, source=HERE))], True, ""),
    ([view(scan(80, 443, 7822), scan(address=SIX, source=""))], True, "no IPv6 there"),
    ([view(scan(source="")), view(scan(80, 443, 7822), name="backup1")], True, "the controller has no road"),
])
def test_a_road_that_tells_nothing_is_said(views, proven, note):
    verdict = judge(RULES, host(), *views)
    assert (verdict["proven"], items(verdict)) == (proven, [])
    assert note in "".join(verdict["notes"])


@pytest.mark.parametrize(("address", "own", "found"), [
    (SIX, "2a01::7", ["missing: all of " + SIX]),
    (SIX, "fd00::7", []),
    ("fd00:1::5", "fd00:1::1", ["missing: all of fd00:1::5"]),
    ("fd00:1::5", "fd00:2::1", []),
    ("10.0.2.15", "10.0.2.2", []),
])
def test_a_dead_ipv6_beside_a_living_ipv4_is_a_finding_where_the_asking_machine_has_it(address, own, found):
    verdict = judge(RULES, host(), view(scan(80, 443, 7822), scan(address=address, source=own)))
    assert items(verdict) == found
    assert any("nothing at all" in note for note in verdict["notes"]) == (not found)


def test_somebody_who_may_reach_nothing_proves_something_by_silence():
    rules = [{"port": ["7822"], "from": [OFFICE]}]
    verdict = judge(rules, host(rules=rules), view(scan(source=STRANGER)))
    assert (verdict["proven"], items(verdict)) == (True, [])
    assert "nothing answers" in verdict["roads"][0]


def test_what_answers_to_another_machine_is_no_finding_of_a_narrow_road():
    office, home = view(scan(7822)), view(scan(80, 443, 7822), name="backup1")
    verdict = judge(RULES, host(), office, home)
    assert items(verdict) == []
    assert "answers to backup1" in verdict["notes"][0]


def test_what_many_see_is_one_finding():
    scans = [scan(80, 443, 7822, 9090), scan(80, 443, 7822, 9090, address=SIX, source="2a01::7")]
    verdict = judge(RULES, host(listener(9090, process="python3", unit="stray.service")), view(*scans))
    assert len(verdict["findings"]) == 1
    assert exposure.told(verdict, "web1") == (
        "what answers at web1 is not what was declared:\n"
        "- extra: tcp 9090: it answers, and nobody declared it; python3 (process 7, stray.service) listens at 0.0.0.0:9090 "
        f"(at {HERE} from the controller ({OFFICE}); at {SIX} from the controller (2a01::7)). "
        "Next: have it listen at 127.0.0.1 alone, or stop it: systemctl disable --now stray.service; "
        "or declare it, base_firewall_extra_rules: [{port: [9090]}]")


def test_a_service_at_one_address_is_not_missing_at_the_others():
    of_host = host(listeners=[listener(80, HERE), listener(443), listener(7822)], addresses=[
        {"address": HERE, "interface": "eth0"}, {"address": "10.0.0.5", "interface": "eth1"}])
    verdict = judge(RULES, of_host, view(scan(80, 443, 7822), scan(443, 7822, address="10.0.0.5", source="10.0.0.9")))
    assert items(verdict) == []
    assert "listens at other addresses" in verdict["notes"][0]


@pytest.mark.parametrize(("more", "proto", "port", "there"), [
    ([], "tcp", 443, True),
    ([], "tcp", 3000, True),
    ([], "tcp", 4711, True),
    ([], "tcp", 5022, True),
    ([], "tcp", 2375, True),
    ([], "tcp", 60000, False),
    (["60000"], "tcp", 60000, True),
    (["60000/udp"], "udp", 60000, True),
    ([], "udp", 51820, True),
])
def test_what_is_asked(more, proto, port, there):
    of_host = host(listener(4711, "127.0.0.1"), published=[BOX], redirected=[{"proto": "tcp", "port": 5022}])
    assert (port in exposure.ports(exposure.doors(UDP), of_host, more)[proto]) == there


@pytest.mark.parametrize(("known", "own", "more", "direct", "asked", "left"), [
    ([HERE], [HERE, SIX], [], True, [HERE, SIX], []),
    ([HERE], [HERE, "10.0.0.5"], [], True, [HERE], ["10.0.0.5"]),
    ([HERE], [HERE, "10.0.0.5"], ["10.0.0.5"], True, [HERE, "10.0.0.5"], []),
    ([HERE], ["10.0.0.5"], [], True, [HERE], ["10.0.0.5"]),
    (["172.28.0.10"], ["172.28.0.10", "fd51::1"], [], True, ["172.28.0.10", "fd51::1"], []),
    (["10.0.0.5"], ["10.0.0.5", SIX], [], False, [SIX], ["10.0.0.5"]),
    ([], ["10.0.0.5", SIX], [], True, [SIX], ["10.0.0.5"]),
])
def test_a_private_address_is_asked_where_it_means_the_host(known, own, more, direct, asked, left):
    assert exposure.targets(known, own, more, direct) == (asked, left)


def test_declared_ports_are_asked_twice():
    assert exposure.ports(exposure.doors(UDP), host())["again"] == ["80", "443", "7822", "443/udp", "51820/udp"]


@pytest.mark.parametrize("rule", [{"port": ["http"]}, {"port": ["70000"]}, {"port": ["80"], "from": ["nowhere"]}])
def test_a_rule_that_cannot_be_is_refused(rule):
    with pytest.raises(firewall.BadRule):
        exposure.doors([rule])


@pytest.mark.parametrize("unit", ["ssh.service", "ssh.socket", "sshd.service"])
def test_nobody_is_told_to_stop_the_ssh_server(unit):
    listener = {"proto": "tcp", "port": 22, "address": "0.0.0.0", "process": "sshd", "pid": 7, "unit": unit, "container": ""}
    _who, what = exposure.holder({"published": [], "listeners": [listener], "redirected": []}, "tcp", 22)
    assert what.startswith("leave it running") and "ansible_port" in what and "disable" not in what and "kill" not in what


@pytest.mark.parametrize("name", ["site", "exposure"])
def test_a_choice_on_the_command_line_is_a_text_and_no_truth(name):
    text = (pathlib.Path(__file__).resolve().parents[2] / "playbooks" / f"{name}.yml").read_text()
    found = re.findall(r"docker_wanted \| default.*?length > 0\)(.*)", text, re.S)
    assert found and all(one.startswith(" | bool") for one in found)
