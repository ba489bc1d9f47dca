# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds on a host."""

from __future__ import annotations

import socket
import struct
import threading

import pytest
from ansible_collections.quayside.django.plugins.module_utils import dns_query, doctor_host
from samples import loaded

NOW = 1_800_000_000  # January 2027
ACME = {"mode": "acme", "email": "a@example.com"}
OURS = ["203.0.113.5", "10.0.0.5", "2001:db8::5"]


def codes(found):
    return [(one["code"], one["severity"]) for one in found]


@pytest.mark.parametrize(("a", "aaaa", "code"), [
    (["203.0.113.5"], [], ""), (["203.0.113.5"], ["2001:db8::5"], ""), (["203.0.113.5"], ["2001:0db8:0:0:0:0:0:5"], ""), ([], ["2001:db8::5"], ""),
    ([], [], "dns.unresolved"), (["198.51.100.1"], [], "dns.elsewhere"), (["203.0.113.5", "198.51.100.1"], [], "dns.elsewhere"),
    (["203.0.113.5"], ["2001:db8::6"], "dns.stale-aaaa"), ([], ["2001:db8::6"], "dns.elsewhere"),
])
def test_where_a_domain_leads(a, aaaa, code):
    app = loaded(tls={"mode": "provided", "certificate": "/c", "key": "/k"})
    found = doctor_host.dns(app, "pos.example.com", {"A": a, "AAAA": aaaa}, OURS)
    assert codes(found) == [(code, "warning")] * bool(code)
    assert all("pos.example.com" in one["item"] for one in found)


def test_a_name_that_could_not_be_asked_is_no_wrong_name():
    assert codes(doctor_host.dns(loaded(), "pos.example.com", {"error": "no answer"}, OURS)) == [("dns.unknown", "warning")]


def test_with_acme_a_wrong_name_is_an_error():
    app = loaded(edge="traefik", runtime="compose", tls=ACME)
    assert codes(doctor_host.dns(app, "pos.example.com", {"A": [], "AAAA": []}, OURS)) == [("dns.unresolved", "error")]


@pytest.mark.parametrize(("seen", "code"), [
    ({"error": "refused"}, ("certificate.missing", "error")),
    ({"why": "it ended", "begins": 0, "ends": NOW - 1}, ("certificate.expired", "error")),
    ({"why": "it begins", "begins": NOW + 5, "ends": NOW + 9}, ("certificate.not-yet", "error")),
    ({"why": "it is for x", "begins": 0, "ends": NOW + 9}, ("certificate.wrong-name", "error")),
    ({"why": "", "begins": 0, "ends": NOW + 20 * 86400}, ("certificate.ending", "warning")),
    ({"why": "", "begins": 0, "ends": NOW + 22 * 86400}, None),
    ({"why": "", "begins": 0, "ends": NOW + 22 * 86400, "untrusted": "unable to get local issuer certificate"}, ("certificate.untrusted", "warning")),
])
def test_certificates(seen, code):
    app = loaded(tls={"mode": "provided", "certificate": "/c", "key": "/k"})
    assert codes(doctor_host.certificate(app, "pos.example.com", seen, NOW, 21)) == ([code] if code else [])


def test_a_self_signed_certificate_is_not_expected_to_be_trusted():
    seen = {"why": "", "begins": 0, "ends": NOW + 9e6, "untrusted": "self-signed certificate"}
    assert doctor_host.certificate(loaded(tls={"mode": "selfsigned"}), "pos.example.com", seen, NOW, 21) == []


@pytest.mark.parametrize(("room", "found"), [
    ({}, []), ({"free": 9}, [("disk.low", "warning")]), ({"free": 2}, [("disk.full", "error")]), ({"free": 40, "need": 50}, [("disk.full", "error")]),
    ({"inodes_free": 9}, [("inodes.low", "warning")]), ({"inodes_free": 2}, [("inodes.full", "error")]), ({"inodes": 0, "inodes_free": 0}, []),
    ({"free": 2, "inodes_free": 0}, [("disk.full", "error"), ("inodes.full", "error")]),
])
def test_room(room, found):
    assert codes(doctor_host.disks([{"path": "/", "total": 100, "free": 50, "inodes": 100, "inodes_free": 50, **room}])) == found


def test_a_small_host_is_an_error_or_a_warning():
    plan = {"findings": ["memory: 900 MiB, and this collection needs 1 GB at least: give the server more", "app a: database.connections is 3, and: x: y"],
            "warnings": ["below what is recommended: 1 core of 2 (docs/sizing.md)", "disk: only 5 MiB are free on /"]}
    found = doctor_host.size(plan)
    assert codes(found) == [("host.too-small", "error"), ("host.below-recommended", "warning")]
    assert (found[0]["item"], found[0]["fix"]) == ("memory", "give the server more")


@pytest.mark.parametrize(("before", "there", "after", "synchronized", "found"), [
    (100, 100.5, 101, True, []), (100, 102.9, 101, True, []), (100, 98.1, 101, None, []), (100, 104, 101, True, [("clock.offset", "warning")]),
    (100, 96, 101, True, [("clock.offset", "warning")]), (100, 132, 101, True, [("clock.offset", "error")]), (100, 0, 101, True, [("clock.offset", "error")]),
    (100, 100, 101, False, [("clock.unsynchronized", "warning")]),
    # A slow connection is no wrong clock
    (100, 130, 160, True, []),
])
def test_the_clock(before, there, after, synchronized, found):
    assert codes(doctor_host.clock(before, there, after, synchronized)) == found


def test_which_way_a_clock_is_wrong_is_told():
    assert "it is 10 s ahead of" in doctor_host.clock(100, 111, 101, True)[0]["reason"]
    assert "it is 10 s behind" in doctor_host.clock(100, 90, 101, True)[0]["reason"]


@pytest.mark.parametrize(("text", "answer"), [
    ("A29FC801,162.159.200.1,4,1763730000.1,0.0,0.0,0.0,1,1,1,0.1,0.1,64.2,Normal", True),
    ("00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised", False),
    ("", None), ("506 Cannot talk to daemon", None),
])
def test_what_chrony_says(text, answer):
    assert doctor_host.tracking(text) is answer


LIST = """deb http://deb.debian.org/debian bookworm main
# deb http://old.example.com x main
deb [arch=amd64 signed-by=/k.asc] https://download.docker.com/linux/debian bookworm stable
deb-src http://deb.debian.org/debian bookworm main
"""
DEB822 = """Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: trixie
 trixie-updates
Components: main

Enabled: no
Types: deb
URIs: http://off.example.com
Suites: x

# the security updates
Types: deb
URIs: http://security.debian.org/debian-security
Suites: trixie-security
Components: main
"""


@pytest.mark.parametrize(("text", "deb822", "found", "security"), [
    (LIST, False, ["http://deb.debian.org/debian bookworm", "https://download.docker.com/linux/debian bookworm"], False),
    (DEB822, True, ["http://deb.debian.org/debian trixie", "http://deb.debian.org/debian trixie-updates",
                    "http://security.debian.org/debian-security trixie-security"], True),
    ("deb http://archive.ubuntu.com/ubuntu noble-security main", False, ["http://archive.ubuntu.com/ubuntu noble-security"], True),
    ("", True, [], False),
])
def test_package_sources(text, deb822, found, security):
    sources = doctor_host.sources(text, deb822)
    assert [f"{one['uri']} {one['suite']}" for one in sources] == found
    assert any(map(doctor_host.is_security, sources)) is security


GOOD = {"system": ["debian", "13"], "sources": [{"uri": "http://x", "suite": "trixie-security"}], "unreachable": {}, "lists": NOW - 60, "broken": [],
        "automatic": True, "security": 0, "reboot": None}


@pytest.mark.parametrize(("seen", "found"), [
    ({}, []), ({"broken": ["half installed: x"]}, [("packages.broken", "error")]),
    ({"unreachable": {"http://x y": "refused"}}, [("packages.unreachable", "warning")]),
    ({"lists": 0}, [("packages.stale", "warning")]), ({"lists": NOW - 8 * 86400}, [("packages.stale", "warning")]),
    ({"sources": [{"uri": "http://x", "suite": "trixie"}]}, [("packages.no-security", "error")]),
    ({"automatic": False}, [("packages.not-automatic", "warning")]),
    ({"security": 3}, [("packages.updates", "note")]), ({"system": ["debian", "11"]}, [("packages.end-of-life", "error")]),
    ({"system": ["ubuntu", "22.04"]}, []), ({"system": ["other", "1"]}, []), ({"reboot": []}, [("packages.reboot", "warning")]),
    ({"security": 3, "automatic": False}, [("packages.not-automatic", "warning"), ("packages.updates", "warning")]),
])
def test_packages(seen, found):
    assert codes(doctor_host.packages({**GOOD, **seen}, NOW)) == found


@pytest.mark.parametrize(("unit", "severity"), [
    ("pos-web@1.service", "error"), ("nginx.service", "error"), ("postgresql@15-main.service", "error"), ("systemd-modules-load.service", "warning"),
])
def test_failed_units(unit, severity):
    assert codes(doctor_host.units([unit], [loaded()])) == [("units.failed", severity)]


@pytest.mark.parametrize(("holder", "stale", "found"), [
    ({}, "", []), ({"who": "ann", "phase": "build"}, "", [("lock.held", "note")]), ({"who": "ann"}, "the host has started since", [("lock.left", "note")]),
])
def test_a_lock(holder, stale, found):
    assert codes(doctor_host.lock(loaded(), holder, stale, "then")) == found


@pytest.mark.parametrize(("seen", "fix"), [
    ({"blocked": "/opt/pos/shared/media", "folder": True, "mode": "0700", "owner": "pos:pos"}, "chgrp www-data /opt/pos/shared/media; chmod g+rxs "),
    ({"blocked": "/opt/pos/shared/media/a.png", "folder": False, "mode": "0600", "owner": "pos:pos"}, "chgrp www-data /opt/pos/shared/media/a.png; chmod g+r "),
    ({"blocked": "/opt", "folder": True, "mode": "0700", "owner": "root:root"}, "chmod a+x /opt"),
])
def test_what_keeps_the_edge_from_files(seen, fix):
    (found,) = doctor_host.unreadable(loaded(), "media", "/opt/pos/shared/media", seen)
    assert found["code"] == "media.unreadable"
    assert found["fix"].startswith(fix)
    assert seen["blocked"] in found["reason"]


def test_files_that_can_be_read_are_no_finding():
    assert doctor_host.unreadable(loaded(), "media", "/m", {"blocked": "", "folder": True}) == []


# Questions to a name server


def answer(number, kind, records, status=0):
    """Return the bytes of an answer: a CNAME before the addresses, names as pointers."""
    found = struct.pack(">HHHHHH", number, 0x8180 | status, 1, len(records) + 1, 0, 0) + b"\3pos\7example\0" + struct.pack(">HH", kind, 1)
    found += b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 2) + b"\xc0\x10"
    for record in records:
        found += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(record)) + record
    return found


@pytest.mark.parametrize(("data", "kind", "found"), [
    (answer(7, 1, [b"\x0a\0\0\1", b"\x0a\0\0\2"]), "A", ["10.0.0.1", "10.0.0.2"]), (answer(7, 28, [b"\0" * 15 + b"\1"]), "AAAA", ["::1"]),
    (answer(7, 1, []), "A", []), (answer(7, 1, [], 3), "A", []),
])
def test_answers_of_a_name_server(data, kind, found):
    assert dns_query.answers(data, kind, 7) == found


@pytest.mark.parametrize("data", [b"", answer(8, 1, []), answer(7, 1, [], 2), answer(7, 1, [], 5), answer(7, 1, [b"\x0a\0\0\1"])[:-3]])
def test_answers_that_say_nothing(data):
    with pytest.raises(dns_query.DnsError):
        dns_query.answers(data, "A", 7)


def test_a_name_server_is_asked_and_the_next_one_when_it_is_silent():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        silent.bind(("127.0.0.1", 0))
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def serve():
            data, client = server.recvfrom(512)
            assert data[12:] == b"\3pos\7example\0\0\1\0\1"
            server.sendto(answer(struct.unpack(">H", data[:2])[0], 1, [b"\x0a\0\0\1"]), client)

        thread = threading.Thread(target=serve)
        thread.start()
        servers = [f"127.0.0.1:{one.getsockname()[1]}" for one in (silent, server)]
        assert dns_query.ask("pos.example", "A", servers, 0.2) == ["10.0.0.1"]
        thread.join()
        with pytest.raises(dns_query.DnsError, match="does not answer"):
            dns_query.ask("pos.example", "A", servers[:1], 0.1)


@pytest.mark.parametrize(("text", "found"), [
    ("# x\nnameserver 10.0.0.1\nsearch a\nnameserver fe80::1%eth0\n", ["10.0.0.1", "fe80::1"]), ("", []),
])
def test_name_servers_of_a_host(text, found):
    assert dns_query.servers(text) == found


@pytest.mark.parametrize(("ours", "fix"), [
    (["203.0.113.5"], "make an A record that leads to 203.0.113.5"), (["2a01:4f8::1"], "make an AAAA record that leads to 2a01:4f8::1"),
    (["1.1.1.1", "2a01:4f8::1", "10.0.0.2"], "make an A record that leads to 1.1.1.1 and an AAAA record that leads to 2a01:4f8::1"), ([], "make a record"),
])
def test_the_record_is_of_the_kind_of_the_address(ours, fix):
    (found,) = doctor_host.dns(loaded(), "pos.example.com", {"A": [], "AAAA": []}, ours)
    assert found["fix"].startswith(fix)


def test_a_container_cannot_load_modules_of_a_kernel():
    failed = ["systemd-modules-load.service", "x.service"]
    assert [one["item"] for one in doctor_host.units(failed, [], True)] == ["unit x.service"]
    assert len(doctor_host.units(failed, [], False)) == 2
