# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its open ports."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import listeners

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0F021CAC:1E8E 01021CAC:9C40 01 00000000:00000000 02:000A7D8C 00000000     0        0 4713 2 0000000000000000 20 4 31 10 -1
"""
UDP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
  12: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0 0
"""


def test_who_waits_for_others_is_read_from_the_kernels_tables():
    assert listeners.sockets(TCP, "tcp") == [
        {"proto": "tcp", "address": "127.0.0.1", "port": 8080, "inode": "4711"}, {"proto": "tcp", "address": "0.0.0.0", "port": 80, "inode": "4712"}]
    assert listeners.sockets(UDP6, "udp") == [{"proto": "udp", "address": "::", "port": 5353, "inode": "99"}]


@pytest.mark.parametrize(("text", "address"), [
    ("0F021CAC", "172.28.2.15"),
    ("00000000000000000000000001000000", "::1"),
    ("778551FD0000F6BD000000000F000100", "fd51:8577:bdf6::1:f"),
    ("0000000000000000FFFF00000F021CAC", "172.28.2.15"),
])
def test_an_address_of_the_kernel(text, address):
    assert listeners.address(text) == address


@pytest.mark.parametrize(("text", "found"), [
    ("0::/system.slice/nginx.service\n", ("nginx.service", "")),
    ("0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n", ("", "0123456789ab")),
    ("12:pids:/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", ("", "0123456789ab")),
    (f"0::/docker/{'a' * 64}/system.slice/nginx.service\n", ("nginx.service", "")),
    (f"0::/docker/{'a' * 64}/init.scope\n", ("", "")),
    (f"0::/docker/{'a' * 64}/docker/{'b' * 64}\n", ("", "b" * 12)),
    (f"0::/docker/{'a' * 64}/system.slice/docker-{'b' * 64}.scope\n", ("", "b" * 12)),
    ("0::/system.slice/system-getty.slice/getty@tty1.service\n", ("getty@tty1.service", "")),
    ("0::/user.slice/user-0.slice/session-3.scope\n", ("", "")),
    ("0::/\n", ("", "")),
])
def test_the_unit_or_container_of_a_process(text, found):
    assert listeners.unit(text) == found


def test_what_containers_publish():
    text = ("one\t0.0.0.0:8081->80/tcp, :::8081->80/tcp, 443/tcp\ntwo\t\nthree\t127.0.0.1:8083->80/tcp, 0.0.0.0:9000-9001->9000-9001/udp\n"
            "four\t[::]:7000->7000/tcp\n")
    assert [(one["container"], one["proto"], one["address"], one["port"]) for one in listeners.published(text)] == [
        ("one", "tcp", "0.0.0.0", 8081), ("one", "tcp", "::", 8081), ("three", "tcp", "127.0.0.1", 8083), ("three", "udp", "0.0.0.0", 9000),
        ("three", "udp", "0.0.0.0", 9001), ("four", "tcp", "::", 7000)]


@pytest.mark.parametrize(("line", "found"), [
    ("-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80", [("tcp", 8081)]),
    ("-A PREROUTING -p udp -m udp --dport 5000:5001 -j REDIRECT --to-ports 53", [("udp", 5000), ("udp", 5001)]),
    ("-A PREROUTING -p tcp -m multiport --dports 25,587 -j DNAT --to-destination 10.0.0.2", [("tcp", 25), ("tcp", 587)]),
    ("-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", []),
    ("-A POSTROUTING -s 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE", []),
])
def test_what_nat_leads_elsewhere(line, found):
    assert [(one["proto"], one["port"]) for one in listeners.redirected(line + "\n")] == found


def test_the_addresses_that_others_know():
    said = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}, {"local": "198.51.100.7"}]},
        {"ifname": "eth0", "addr_info": [
            {"local": "203.0.113.5"}, {"local": "2001:db8::5"}, {"local": "fe80::1"}, {"local": "2001:db8::9", "temporary": True}]},
        {"ifname": "docker0", "addr_info": [{"local": "172.17.0.1"}]},
        {"ifname": "br-0123456789ab", "addr_info": [{"local": "172.18.0.1"}]},
        {"ifname": "wg0", "addr_info": [{"local": "10.8.0.1"}]},
    ]
    assert [(one["address"], one["interface"]) for one in listeners.addresses(said)] == [("203.0.113.5", "eth0"), ("2001:db8::5", "eth0"), ("10.8.0.1", "wg0")]


@pytest.mark.parametrize(("status", "found"), [
    ("Status: inactive\n", {"active": False, "incoming": ""}),
    ("", {"active": False, "incoming": ""}),
    ("Status: active\nLogging: on (low)\nDefault: deny (incoming), allow (outgoing), deny (routed)\n", {"active": True, "incoming": "deny"}),
])
def test_what_ufw_says_of_itself(status, found):
    assert listeners.ufw(status) == found
