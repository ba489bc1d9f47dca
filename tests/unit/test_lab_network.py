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


def test_a_full_network_is_said_with_what_to_type():
    with pytest.raises(engine.LabError, match="lab_state=absent"):
        network.assign([f"s{number}" for number in range(300)], {}, [], SUBNET)
