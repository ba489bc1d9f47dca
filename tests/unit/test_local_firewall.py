# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import local_firewall, ports, units
from ansible_collections.quayside.django.plugins.modules import local_firewall as module
from samples import loaded

SHOP = {"name": "shop", "uid": 990, "own": range(20300, 20400), "asked": [8000], "connections": 51}
BLOG = {"name": "blog", "uid": 991, "own": {20017, *range(20500, 20600)}, "asked": [6379, 8001], "connections": 0}


def lines(*apps, strangers=()):
    return [line.strip() for line in local_firewall.text(list(apps), strangers).splitlines()]


def chain(name, *apps):
    text = lines(*apps)
    start = text.index(f"chain {name} {{")
    return text[start + 1:text.index("}", start)]


@pytest.mark.parametrize(("ports", "words"), [
    ([], []), ([8000], ["8000"]), ([8001, 8000, 8000], ["8000-8001"]), ([1, 3, 4, 5, 9], ["1", "3-5", "9"]), (range(20300, 20400), ["20300-20399"]),
])
def test_ports_are_written_as_few_words(ports, words):
    assert local_firewall.spans(ports) == words


def test_the_table_is_replaced_in_one_step():
    assert lines()[:3] == ["table inet quayside_local", "delete table inet quayside_local", "table inet quayside_local {"]


def test_only_the_app_and_root_answer_on_its_ports():
    assert chain("answers_990", SHOP)[:1] == ["meta skuid { 0, 990 } return"]
    vmap = next(line for line in lines(SHOP, BLOG) if line.startswith("tcp sport vmap"))
    for words in ("20300-20399 : jump answers_990", "20017 : jump answers_991", "20500-20599 : jump answers_991"):
        assert words in vmap


def test_an_answer_without_an_owner_completes_no_handshake():
    """A SYN cookie has none: the rule about the handshake is the second, whoever sent it."""
    assert chain("answers_990", SHOP)[1:] == ["tcp flags & (syn | ack) == syn | ack tcp flags set rst | ack return",
                                              "meta skuid 0-4294967294 reject with tcp reset"]


def test_no_app_answers_for_a_service():
    vmap = next(line for line in lines(SHOP, BLOG) if line.startswith("tcp sport vmap"))
    for port in ("5432", "6379", "8000-8001"):
        assert f"{port} : jump answers_of_service" in vmap
    assert chain("answers_of_service", SHOP) == ["tcp flags & (syn | ack) != syn | ack return", "meta skuid @apps tcp flags set rst | ack return",
                                                 "meta skuid 0-4294967294 return", "tcp flags set rst | ack return"]


def test_no_other_app_asks_at_a_port_of_an_app_or_its_services():
    assert chain("asks_990", SHOP) == ["meta skuid 990 return", "meta skuid @askers reject with tcp reset"]
    vmap = next(line for line in lines(SHOP, BLOG) if line.startswith("tcp dport vmap"))
    for words in ("8000 : jump asks_990", "20300-20399 : jump asks_990", "6379 : jump asks_991", "8001 : jump asks_991"):
        assert words in vmap
    assert "5432" not in vmap


def test_the_redis_of_an_app_asks_nobody_either():
    text = lines(SHOP, BLOG, strangers=[105])
    assert text[text.index("set askers {") + 2] == "elements = { 105, 990, 991 }"
    assert text[text.index("set apps {") + 2] == "elements = { 990, 991 }"


def test_connections_to_postgresql_are_counted_for_each_app():
    counted = [line for line in lines(SHOP, BLOG) if "ct count" in line]
    assert counted == ["tcp dport 5432 meta skuid 990 ct state new ct count over 51 reject with tcp reset"]


def test_the_kernel_is_told_whose_rules_they_are():
    assert '{\n  comment "0123abcd"\n' in local_firewall.labelled(local_firewall.text([SHOP]), "0123abcd")


@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed here; the scenarios load the rules")
def test_nft_reads_it(tmp_path: pathlib.Path):
    (tmp_path / "rules").write_text(local_firewall.text([SHOP, BLOG], [105]))
    subprocess.run(["nft", "--check", "--file", str(tmp_path / "rules")], check=True)


def test_the_unit_is_before_all_that_listens_and_may_do_little():
    text = local_firewall.unit("/etc/quayside/local-firewall.nft")
    for line in ("DefaultDependencies=no", "Before=network-pre.target sysinit.target shutdown.target", "WantedBy=sysinit.target",
                 "ExecStart=/usr/sbin/nft --file /etc/quayside/local-firewall.nft", "CapabilityBoundingSet=CAP_NET_ADMIN"):
        assert line in text.splitlines()
    names = [line.split("=")[0] for line in text.splitlines() if "=" in line]
    assert names.count("CapabilityBoundingSet") == names.count("RestrictAddressFamilies") == 1
    assert {name for name, _value in units.MESSENGER} - set(names) == {"PrivateNetwork", "IPAddressDeny", "PrivateTmp"}


def test_what_empties_all_tables_brings_this_one_back():
    text = local_firewall.drop_in("/rules").splitlines()
    assert [line for line in text if line.startswith("Exec")] == [f"{key}=-/usr/sbin/nft --file /rules" for key in ("ExecStartPost", "ExecReload", "ExecStop")]


def test_a_slice_binds_no_port_of_another():
    assert local_firewall.slice_drop_in(range(20300, 20400)).splitlines()[1:] == [
        "[Slice]", "SocketBindAllow=tcp:20300-20399", "SocketBindDeny=tcp:20000-29999", "SocketBindDeny=tcp:5432"]


def test_the_folder_of_the_socket_is_for_those_who_need_it():
    assert local_firewall.socket_folder([]).splitlines()[1:] == ["z /run/postgresql 2770 postgres postgres"]
    assert local_firewall.socket_folder([999, 998]).splitlines()[2:] == ["a+ /run/postgresql - - - - user:998:--x,user:999:--x"]


def test_containers_pass_to_the_socket_as_the_user_of_their_app(monkeypatch):
    """On the host's PostgreSQL: they run as the app's own Unix user. A systemd app comes by TCP."""
    monkeypatch.setattr(module, "uid_of", {"shop": 990, "blog": 991, "exporter": 998}.get)
    monkeypatch.setattr(ports, "listening", lambda _apps: {})
    apps = [loaded(name="shop", runtime="compose"), loaded(name="blog")]
    allotted = {app["name"]: {"first": first, "user": app["user"]} for first, app in zip((20300, 20400), apps)}
    files, _digest = module.desired(apps, allotted, ["exporter"])
    assert files[module.TMPFILES].splitlines()[2:] == ["a+ /run/postgresql - - - - user:990:--x,user:998:--x"]
