# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking ports: against sockets of this machine, and the questions themselves."""
from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from ansible_collections.quayside.django.plugins.module_utils import port_scan


@contextlib.contextmanager
def bound(kind, address="127.0.0.1"):
    """A socket of this machine, and its port."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as one:
        one.bind((address, 0))
        yield one, one.getsockname()[1]


def answering(one, answer):
    def serve():
        _data, address = one.recvfrom(2000)
        one.sendto(answer, address)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()


def one_road(tcp=(), udp=(), address="127.0.0.1", **options):
    return port_scan.scan([(address, "")], tcp, udp, **dict({"seconds": 0.5}, **options))[0]


def test_open_and_closed_tcp_ports_are_told_apart():
    with bound(socket.SOCK_STREAM) as (server, port), bound(socket.SOCK_STREAM) as (_idle, other):
        server.listen(1)
        found = one_road([port, other])
    assert found == {"address": "127.0.0.1", "source": "127.0.0.1", "tcp": {port: "open", other: "closed"}, "udp": {}}


def test_open_closed_and_silent_udp_ports_are_told_apart():
    with bound(socket.SOCK_DGRAM) as (server, port), bound(socket.SOCK_DGRAM) as (_mute, silent), bound(socket.SOCK_DGRAM) as (gone, closed):
        answering(server, b"here")
        gone.close()
        found = one_road(udp=[port, silent, closed])
    assert found["udp"] == {port: "open", closed: "closed"}


def test_ipv6_is_asked_like_ipv4():
    try:
        with bound(socket.SOCK_STREAM, "::1") as (server, port):
            server.listen(1)
            found = one_road([port], address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert found["tcp"] == {port: "open"}


def test_an_address_to_ask_from_that_is_not_ours_is_no_road():
    assert port_scan.scan([("127.0.0.1", "192.0.2.77")], [1], [])[0] == {"address": "127.0.0.1", "source": "", "tcp": {}, "udp": {}}


@pytest.mark.parametrize(("answer", "quic"), [
    (b"\x80\0\0\0\0\x08exposure\x08quayside\0\0\0\1", True),
    (b"\xc3\0\0\0\1\x08exposure", False),
    (b"HTTP/1.1 400", False),
    (b"", False),
])
def test_a_list_of_versions_is_an_answer_of_quic(answer, quic):
    assert port_scan.is_quic(answer) is quic


def test_quic_is_asked_in_a_version_that_nobody_speaks_with_as_many_bytes_as_the_first_packet_must_have():
    asked = port_scan.question(443)
    assert len(asked) == 1200
    assert asked[0] & 0xC0 == 0xC0
    assert all(byte & 0x0F == 0x0A for byte in asked[1:5])


@pytest.mark.parametrize(("port", "start"), [(53, b"\x71\x75\x01\x00"), (123, b"\x23"), (161, b"\x30"), (5555, b"\r\n")])
def test_a_udp_port_is_asked_in_its_own_words(port, start):
    assert port_scan.question(port).startswith(start)


def test_names_that_mean_nothing_have_no_address():
    assert port_scan.resolve("no-such-host.invalid") == []
    assert port_scan.resolve("203.0.113.5") == ["203.0.113.5"]
