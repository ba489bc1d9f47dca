# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: each test runs on each server, and all tests of one server in their order.

With several servers the tests of one may run beside those of another: pytest --numprocesses=2 --dist=loadgroup.
"""
import os
import pathlib
import sys

import pytest

# Not resolved: the scenarios have links to this file, and each is for its own servers.
HERE = pathlib.Path(__file__).absolute().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import servers  # noqa: E402 - the path has to be there first

SERVERS = [server for server in servers(HERE.parent) if os.environ.get("QUAYSIDE_SERVER", server.name) == server.name]


@pytest.fixture(scope="session", params=SERVERS, ids=repr)
def server(request):
    """A server of the scenario, with v1 of the bookshop live."""
    return request.param


@pytest.fixture(scope="session")
def inside(server):
    """testinfra's view of the server."""
    return server.host()


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Keep the tests of a server together, and leave out on all but the last what no operating system does in another way."""
    kept = []
    for item in items:
        server = item.callspec.params["server"]
        if item.get_closest_marker("once") and server is not SERVERS[-1]:
            continue
        item.add_marker(pytest.mark.xdist_group(server.name))
        kept.append(item)
    items[:] = kept
