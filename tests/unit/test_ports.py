# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import stat

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host, local_firewall, ports, releases, runtime
from samples import RELEASE, loaded

NAMES = ["shop", "blog", "pos", "shop-keep"]


def given(*names, foreign=()):
    allotted = {}
    for name in names:
        allotted = ports.allot(allotted, name, name, foreign)
    return allotted


def test_no_two_apps_share_a_port():
    allotted = given(*(f"app{number}" for number in range(100)))
    every = [port for name in allotted for port in ports.block(allotted, name)]
    assert sorted(every) == list(ports.PORTS)


def test_a_block_stays_whoever_comes_later():
    first = given("shop")
    assert given("shop", "blog", "pos")["shop"] == first["shop"]
    assert ports.allot(first, "shop", "shop") is first


def test_an_app_takes_the_same_block_on_each_host_that_has_it_free():
    assert given("shop")["shop"] == given("blog", "shop")["shop"]


def test_an_app_that_runs_as_another_user_keeps_its_block():
    before = given("shop")
    assert ports.allot(before, "shop", "www")["shop"] == {"first": before["shop"]["first"], "user": "www"}


def test_a_block_holds_no_port_on_which_another_app_listens_already():
    """From before there were blocks: the rules would refuse that app's visitors."""
    first = given("shop")["shop"]["first"]
    assert first <= given("shop", foreign={first + 17})["shop"]["first"] + ports.SIZE
    block = ports.block(given("shop", foreign={first + 17}), "shop")
    assert first + 17 not in block


def test_when_all_blocks_are_given_the_error_says_what_to_do():
    with pytest.raises(ports.NoBlock, match=r"all 100 blocks .* /etc/quayside/ports.json"):
        ports.allot(given(*(f"app{number}" for number in range(100))), "late", "late")


@pytest.mark.parametrize(("busy", "kept", "taken", "found"), [
    (set(), set(), set(), [20000, 20001]),
    ({20000}, set(), set(), [20001, 20002]),
    (set(), {20000}, set(), [20001, 20002]),
    (set(), set(), {20000, 20002}, [20001, 20003]),
    # Only ports of kept releases are left: they are not started again under them.
    ({20000}, {20000, 20001, 20002, 20003}, set(), [20001, 20002]),
    ({20000, 20001, 20002}, set(), set(), [20003]),
])
def test_a_release_takes_ports_that_nobody_has(busy, kept, taken, found):
    chosen = ports.choose(["web", "live"], range(20000, 20004), 0, busy, kept, lambda port: port not in taken)
    assert list(chosen.values()) == found


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "FOLDER", str(tmp_path))
    monkeypatch.setattr(ports, "FILE", f"{tmp_path}/ports.json")
    monkeypatch.setattr(host.os, "fchown", lambda *_: None)
    return tmp_path


def test_what_is_allotted_is_written_down_for_root_only(here):
    apps = [dict(loaded(name=name), root=f"{here}/{name}") for name in NAMES]
    first = ports.settle(apps)
    assert json.loads((here / "ports.json").read_text()) == first == ports.settle(apps[::-1]) == ports.wanted(apps)
    for name in ("ports.json", "ports.lock"):
        assert stat.S_IMODE((here / name).stat().st_mode) == 0o600


def test_a_deploy_takes_its_ports_from_the_apps_block(here):
    app = dict(loaded(processes=[{"name": "web", "command": "gunicorn pos.wsgi", "port": 1}]), root=f"{here}/pos")
    chosen = runtime.Runtime(app, releases.Shelf(app["root"]), apps=[app]).choose_ports(RELEASE)
    assert chosen["web"] in ports.block(ports.read(), "pos")


def test_a_deploy_says_who_may_hold_the_ports_of_an_app(here, monkeypatch):
    app = dict(loaded(processes=[{"name": "web", "command": "gunicorn pos.wsgi", "port": 1}]), root=f"{here}/pos")
    monkeypatch.setattr(host, "port_is_free", lambda _port: False)
    with pytest.raises(host.PhaseError, match="only 0 of 1 processes found a free port") as raised:
        runtime.Runtime(app, releases.Shelf(app["root"]), apps=[app]).choose_ports(RELEASE)
    assert raised.value.look.startswith("ss -Htlnpe 'sport >= :2")


def test_the_range_of_all_blocks_is_the_one_that_slices_may_not_bind():
    assert f"{ports.PORTS[0]}-{ports.PORTS[-1]}" == local_firewall.ALL_PORTS


def test_the_block_of_an_app_that_is_gone_with_its_user_is_free_again(here, monkeypatch):
    apps = [dict(loaded(name=name), root=f"{here}/{name}") for name in NAMES]
    ports.settle(apps)
    monkeypatch.setattr(ports, "there", lambda user: user == NAMES[1])
    # The first is in the inventory, the second runs on though it left it, the others were removed.
    assert set(ports.settle(apps[:1])) == set(NAMES[:2])
