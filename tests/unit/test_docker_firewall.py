# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_firewall, firewall

BRIDGES = ["docker0", "br-+"]


def lines(ports=(), rules=(), family=4):
    text = docker_firewall.text(docker_firewall.declared(ports, rules), BRIDGES, family)
    return [line.removeprefix("-A quayside-docker ") for line in text.splitlines()]


def test_without_declarations_nothing_from_outside_comes_in():
    outgoing = "".join(f"-A quayside-docker {line}\n" for line in docker_firewall.outgoing(BRIDGES, 4, [], []))
    assert docker_firewall.text([], BRIDGES, 4).replace(outgoing, "") == """*filter
:quayside-docker - [0:0]
-A quayside-docker -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A quayside-docker -i docker0 -j RETURN
-A quayside-docker -i br-+ -j RETURN
-A quayside-docker -m conntrack --ctstate DNAT --ctorigdst 127.0.0.0/8 -j DROP
-A quayside-docker -m conntrack --ctstate DNAT -j DROP
-A quayside-docker -o docker0 -j DROP
-A quayside-docker -o br-+ -j DROP
COMMIT
"""


@pytest.mark.parametrize(("port", "words"), [
    (443, "-p tcp -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 443 -j RETURN"),
    ("443/udp", "-p udp -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 443 -j RETURN"),
    ("8000-8010", "-p tcp -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 8000:8010 -j RETURN"),
    ("8000:8010/tcp", "-p tcp -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 8000:8010 -j RETURN"),
])
def test_a_published_port_is_the_one_that_the_client_asks_for(port, words):
    assert words in lines([port])
    assert words in lines([port], family=6)
    # Allowances come after the drop of what claims to be for the loopback, and before the drop of all that is redirected.
    where = lines([port])
    assert where.index("-m conntrack --ctstate DNAT --ctorigdst 127.0.0.0/8 -j DROP") < where.index(words) < where.index("-m conntrack --ctstate DNAT -j DROP")


@pytest.mark.parametrize(("rule", "four", "six"), [
    ({"port": ["22"], "from": ["10.1.2.3/8"]}, ["-s 10.0.0.0/8 -p tcp"], []),
    ({"port": ["22"], "from": ["2001:db8::7"]}, [], ["-s 2001:db8::7 -p tcp"]),
    ({"port": ["53"], "proto": "any"}, ["-p tcp", "-p udp"], ["-p tcp", "-p udp"]),
    ({"port": ["1:9"], "proto": "any", "interface": "eth1"}, ["-i eth1 -p tcp", "-i eth1 -p udp"], ["-i eth1 -p tcp", "-i eth1 -p udp"]),
    ({"port": None, "from": ["10.0.0.5"]}, ["-s 10.0.0.5"], []),
    ({"port": []}, [], []),
])
def test_a_rule_is_for_its_family_and_source(rule, four, six):
    for family, wanted in ((4, four), (6, six)):
        found = [line for line in lines(rules=[rule], family=family) if "ORIGINAL" in line]
        assert [line.split(" -m ")[0] for line in found] == wanted


def test_the_same_port_is_there_once():
    assert len([line for line in lines([80, "80"], [{"port": ["80"]}]) if "ORIGINAL" in line]) == 1


def test_a_comment_stays_on_its_line():
    assert "# the office -j ACCEPT" in lines(rules=[{"port": ["1"], "comment": "the office\n-j ACCEPT"}])


@pytest.mark.parametrize(("ports", "rules", "why"), [
    (["http"], [], "'http' is not of the form"),
    (["80/icmp"], [], "'80/icmp' is not of the form"),
    (["70000"], [], "not within 1 and 65535"),
    ([], [{"port": ["80"], "from": ["office"]}], "'office' is no address"),
    ([], [{"from": []}], "needs a port, a from or an interface"),
])
def test_bad_declarations_are_refused(ports, rules, why):
    with pytest.raises(firewall.BadRule, match=why):
        docker_firewall.declared(ports, rules)


@pytest.mark.parametrize(("outside", "expected"), [
    (["eth0", "ens3"], []), (["br-lan", "eth0", "br-lan"], ["br-lan"]), (["docker0"], ["docker0"]), (["br0"], [])])
def test_an_outside_interface_that_looks_like_dockers_is_noticed(outside, expected):
    assert docker_firewall.mistaken(BRIDGES, outside) == expected


@pytest.mark.parametrize(("name", "bad"), [("docker0", False), ("br-+", False), ("br 0", True), ("eth0 -j ACCEPT", True), ("", True), ("a" * 16, True)])
def test_a_name_of_an_interface(name, bad):
    assert (docker_firewall.bad_bridge([name]) is not None) is bad


@pytest.mark.parametrize(("family", "mask", "exempt"), [(4, 32, "198.51.100.9"), (6, 64, "2001:db8::/64")])
def test_connections_of_a_client_and_of_all_are_limited_before_they_are_let_in(family, mask, exempt):
    limits = {"each": 512, "total": 8192, "exempt": ["198.51.100.9", "2001:db8::/64"]}
    rules = docker_firewall.declared([80, "443/udp"], [{"port": ["9000"], "from": ["10.0.0.0/8"]}])
    found = [line.removeprefix("-A quayside-docker ") for line in docker_firewall.text(rules, BRIDGES, family, limits=limits).splitlines()]
    new = "-p tcp --syn -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 80"
    refusals = [f"{new} -m connlimit --connlimit-above 8192 --connlimit-mask 0 -j REJECT --reject-with tcp-reset",
                f"-s {exempt} {new} -j RETURN",
                f"{new} -m connlimit --connlimit-above 512 --connlimit-mask {mask} -j REJECT --reject-with tcp-reset"]
    where = found.index(refusals[0])
    assert found[where:where + 3] == refusals
    # Only what is for everybody, and only what has connections.
    assert not any("9000" in line and "connlimit" in line for line in found)
    assert not any("udp" in line and "connlimit" in line for line in found)
    allowed = "-p tcp -m conntrack --ctstate DNAT --ctdir ORIGINAL --ctorigdstport 80 -j RETURN"
    assert found.index(allowed) > where + 2
    assert not any("connlimit" in line for line in lines([80]))
