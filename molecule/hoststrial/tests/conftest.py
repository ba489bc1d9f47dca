# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a victim by port and a hostile neighbour, on each server."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).absolute().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import servers  # noqa: E402 - the path has to be there first

SERVERS = [server for server in servers(HERE.parent) if os.environ.get("QUAYSIDE_SERVER", server.name) == server.name]


@pytest.fixture(scope="session", params=SERVERS, ids=repr)
def server(request):
    """A server of the scenario, with both apps live."""
    return request.param


@pytest.fixture(scope="session")
def victim():
    """The app that is attacked: it listens by port."""
    return "bookshop"


@pytest.fixture(scope="session")
def hostile():
    """The app that was broken into."""
    return "annex"
