# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network the lab takes, and which address each of its servers keeps."""
from __future__ import annotations

import ipaddress
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "roles/lab/files/lab"))

import engine  # noqa: E402 - the path has to be there first
import network  # noqa: E402

SUBNET = ipaddress.ip_network("172.28.0.0/24")


@pytest.mark.parametrize(("taken", "first"), [
    ([], "172.28.0.0/24"),
    (["172.28.0.0/24"], "172.28.1.0/24"),
    (["172.28.0.0/16"], "10.213.0.0/24"),
    (["172.16.0.0/12", "10.213.0.0/23"], "10.213.2.0/24"),
    (["172.28.0.128/25"], "172.28.1.0/24"),
])
def test_the_first_network_that_overlaps_none_is_taken(taken, first):
    assert str(network.free_subnets([ipaddress.ip_network(one) for one in taken])[0]) == first


def test_where_all_is_taken_there_is_none():
    assert network.free_subnets([ipaddress.ip_network("0.0.0.0/0")]) == []


@pytest.mark.parametrize(("names", "kept", "taken", "given"), [
    (["a", "b"], {}, [], {"a": "172.28.0.10", "b": "172.28.0.11"}),
    (["a", "b"], {"b": "172.28.0.10"}, [], {"a": "172.28.0.11", "b": "172.28.0.10"}),
    (["a"], {}, ["172.28.0.10", "172.28.0.11"], {"a": "172.28.0.12"}),
])
def test_a_server_keeps_its_address_and_a_new_one_gets_a_free_one(names, kept, taken, given):
    assert network.assign(names, kept, taken, SUBNET) == given


@pytest.mark.parametrize(("identity", "network6"), [("8577bdf6", "fd51:8577:bdf6::/64"), ("00000001", "fd51:0:1::/64")])
def test_each_checkout_has_a_private_ipv6_network_of_its_own(identity, network6):
    found = network.six_of(identity)
    assert str(found) == network6
    assert found.is_private


@pytest.mark.parametrize(("address", "address6"), [("172.28.2.10", "fd51::1:a"), ("10.213.7.254", "fd51::1:fe")])
def test_a_servers_ipv6_address_ends_as_its_ipv4_address_does(address, address6):
    assert network.six_address(address, ipaddress.ip_network("fd51::/64")) == address6


class Engine:
    """The engine's answers about one network: what it has, who is in it, and whether it can do IPv6."""

    def __init__(self, subnets, members=(), six=True):
        self.subnets, self.members, self.six, self.done = list(subnets), list(members), six, []

    def docker(self, *argv, check=True, **_options):
        if argv[:2] == ("network", "inspect"):
            return " ".join(self.subnets) or None
        self.done.append(argv[1])
        if argv[1] == "create":
            if "--ipv6" in argv and not self.six:
                return None
            self.subnets = [argv[number + 1] for number, word in enumerate(argv) if word == "--subnet"]
        return ""


@pytest.mark.parametrize(("subnets", "members", "six", "done", "left"), [
    ([], [], True, ["create"], ["172.28.0.0/24", "fd51:8577:bdf6::/64"]),
    ([], [], False, ["create", "create"], ["172.28.0.0/24"]),
    (["172.28.5.0/24", "fd51:8577:bdf6::/64"], ["a"], True, [], ["172.28.5.0/24", "fd51:8577:bdf6::/64"]),
    (["172.28.5.0/24"], ["a"], True, [], ["172.28.5.0/24"]),
    (["172.28.5.0/24"], [], True, ["rm", "create"], ["172.28.5.0/24", "fd51:8577:bdf6::/64"]),
    (["172.28.5.0/24"], [], False, ["rm", "create", "create"], ["172.28.5.0/24"]),
])
def test_a_network_without_ipv6_is_made_anew_where_nobody_is_in_it(monkeypatch, subnets, members, six, done, left):
    engine_ = Engine(subnets, members, six)
    monkeypatch.setattr(network, "docker", engine_.docker)
    monkeypatch.setattr(network, "taken_networks", list)
    monkeypatch.setattr(network, "addresses", lambda _lab, _containers: dict.fromkeys(members, "172.28.5.10"))
    lab = engine.Lab("/tmp/no-such-checkout")
    lab.id = "8577bdf6"
    monkeypatch.setattr(lab, "containers", dict)
    assert str(network.ensure(lab)) == left[0]
    assert (engine_.done, engine_.subnets) == (done, left)


def test_a_full_network_is_said_with_what_to_type():
    with pytest.raises(engine.LabError, match="lab_state=absent"):
        network.assign([f"s{number}" for number in range(300)], {}, [], SUBNET)
