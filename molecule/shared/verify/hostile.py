# SPDX-License-Identifier: GPL-3.0-or-later
"""The hostile requests of hostile_requests.py, as tests. A scenario links this file and gives the fixture ``hostile_target`` a target of its own:
an edge by IPv4 or IPv6, plain or by TLS."""
import concurrent.futures
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from hostile_requests import CASES, HONEST, honest, run  # noqa: E402 - the path has to be there first


@pytest.mark.parametrize("kind", ["path", "header", "smuggling"])
@pytest.mark.parametrize("version", [1, 2])
def test_no_hostile_request_gets_through(hostile_target, kind, version):
    if version == 2 and not hostile_target.tls:
        pytest.skip("HTTP/2 is spoken over TLS")
    chosen = [case for case in CASES if (case.kind, case.version) == (kind, version)]
    assert len(chosen) >= 40
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda case: run(case, hostile_target), chosen))
    assert [breach for breaches in found for breach in breaches] == []


@pytest.mark.parametrize("version", [1, 2])
def test_honest_requests_get_through_as_they_were_sent(hostile_target, version):
    if version == 2 and not hostile_target.tls:
        pytest.skip("HTTP/2 is spoken over TLS")
    assert [wrong for path in HONEST for wrong in honest(path, hostile_target, version)] == []
