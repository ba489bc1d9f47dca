# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: each test runs on each server, and all tests of one server before those of the next."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).absolute().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared")]

from hostile import Target  # noqa: E402 - the paths have to be there first
from lab import servers  # noqa: E402

SERVERS = [server for server in servers(HERE.parent) if os.environ.get("QUAYSIDE_SERVER", server.name) == server.name]


@pytest.fixture(scope="session", params=SERVERS, ids=repr)
def target(request):
    """A server with the hostile app and its neighbour live."""
    target = Target(request.param)
    target.prepare()
    return target


@pytest.fixture
def walls(target):
    """What has to hold around every attack: it is compared and asked before the test ends, and the app is healed after it."""
    target.remember()
    with target.neighbour():
        yield target
        failures = target.broken_walls()
    target.heal()
    assert not failures, "\n".join(failures)
