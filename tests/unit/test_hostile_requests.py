# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of hostile requests: it is as large as it has to be, and its judge sees what it has to see."""
from __future__ import annotations

import collections
import importlib.util
import sys
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils.request_headers import SPOOFED

FILE = Path(__file__).resolve().parents[2] / "molecule" / "shared" / "verify" / "hostile_requests.py"
SPEC = importlib.util.spec_from_file_location("hostile_requests", FILE)
hostile = importlib.util.module_from_spec(SPEC)
sys.modules["hostile_requests"] = hostile
SPEC.loader.exec_module(hostile)

TARGET = hostile.Target("192.0.2.1", "victim.test")
CLEAN = {"method": "GET", "raw": "/hello/", "path_info": "/hello/", "path": "/hello/", "script_name": "", "host": "victim.test", "secure": True,
         "remote_user": "", "headers": {}}


def test_the_table_is_large_enough_and_no_case_has_the_name_of_another():
    assert len(set(hostile.PATH_FORMS)) == len(hostile.PATH_FORMS) >= 60
    counts = collections.Counter((case.kind, case.version) for case in hostile.CASES)
    assert min(counts.values()) >= 40 and len(counts) == 6
    assert len({str(case) for case in hostile.CASES}) == len(hostile.CASES)


def test_every_header_of_the_list_is_tried():
    assert hostile.SPOOFED == SPOOFED


@pytest.mark.parametrize(("changes", "words"), [
    ({}, ""), ({"path_info": "/ops/x"}, "/ops/x"), ({"path_info": "//OPS//x"}, "/ops/x"), ({"path_info": "/x/../ops/x"}, "/ops/x"),
    ({"path_info": "/ops;a/x"}, "/ops/x"), ({"path_info": "/%6fps/x"}, "/ops/x"), ({"path_info": "/\\ops\\x"}, "/ops/x"), ({"path_info": "/opsx/"}, ""),
    ({"script_name": "/zz"}, "SCRIPT_NAME"), ({"headers": {"HTTP_REMOTE_USER": "me"}}, "HTTP_REMOTE_USER"), ({"headers": {"HTTP_X_A": "m1"}}, "mark"),
    ({"headers": {"HTTP_X_FORWARDED_FOR": "192.0.2.9"}}, ""), ({"host": "victim.test:8443"}, "asked as"), ({"secure": False}, "is_secure"),
    ({"method": "TRACE"}, "TRACE"),
])
def test_the_judge(changes, words):
    found = hostile.breaches({**CLEAN, **changes}, TARGET, "m1")
    assert (len(found) == 1 and words in found[0]) if words else found == []


@pytest.mark.parametrize(("payload", "status"), [
    (b"\x88", 200), (b"\x8d", 404), (b"\x48\x03401", 401), (b"\x08\x03403", 403), (b"\x20\x88", 200), (b"\x48\x82\x68\x01", 401), (b"", 0)])
def test_the_status_of_a_header_block(payload, status):
    assert hostile.status_of(payload) == status


def test_requests_are_what_the_table_says(monkeypatch):
    sent = []
    monkeypatch.setattr(hostile, "send", lambda target, text: (sent.append(text), ([200], b""))[1])
    hostile.request(hostile.Case("path", "x", path="/{p}/x#y"), TARGET, "m1")
    hostile.request(next(case for case in hostile.CASES if case.name == "cl-te"), TARGET, "m1")
    assert sent[0].startswith(b"GET /ops/x?mark=m1#y HTTP/1.1\r\nHost: victim.test\r\n")
    head, _blank, body = sent[1].partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head and body.startswith(b"0\r\n\r\nGET /ops/inner?mark=m1 HTTP/1.1\r\n")
