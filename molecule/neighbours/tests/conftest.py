# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a test runs on each box that it names, and the victim is well and unchanged after each."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared"), str(HERE.parents[1] / "shared/verify")]

from lab import servers  # noqa: E402 - the path has to be there first
from neighbours import EDGES, Box  # noqa: E402 - the path has to be there first

SERVERS = {server.name: server for server in servers(HERE.parent)}
BOXES = {name: Box(server) for name, server in SERVERS.items() if name in EDGES}
CHOSEN = [name for name in BOXES if os.environ.get("QUAYSIDE_SERVER", name) == name]


def pytest_configure(config):
    """Make the scenario's own mark known."""
    config.addinivalue_line("markers", "on(*boxes): the boxes on which this test runs")


def pytest_generate_tests(metafunc):
    """Run a test on the boxes of its mark ``on``, without one on all. What the scenarios share runs where both apps are the host's."""
    for fixture, default in (("box", CHOSEN), ("server", ["nb-host"])):
        if fixture in metafunc.fixturenames:
            mark = metafunc.definition.get_closest_marker("on")
            names = mark.args if mark else default
            metafunc.parametrize(fixture, [name for name in names if name in CHOSEN], indirect=True, scope="session")


@pytest.fixture(scope="session")
def boxes():
    """All boxes by their names."""
    return BOXES


@pytest.fixture(scope="session")
def visitor():
    """A machine of the lab that is none of the boxes: from there visitors ask."""
    return SERVERS["nb-visitor"]


@pytest.fixture(scope="session")
def box(request):
    """A box with all its apps live, and a note of the victim's in its database and its Redis."""
    found = BOXES[request.param]
    found.make_ready()
    return found


@pytest.fixture(scope="session")
def server(request):
    """The server of a box with all its apps live."""
    found = BOXES[request.param]
    found.make_ready()
    return found.server


@pytest.fixture(scope="session")
def victim():
    """The name of the app that is attacked, for what the scenarios share."""
    return "victim"


@pytest.fixture(scope="session")
def hostile():
    """The name of the app that attacks."""
    return "hostile"


@pytest.fixture(scope="session")
def visit(server):
    """A function that asks the victim's process by `port` as a visitor does; it returns status and body."""
    def ask():
        answer = BOXES[server.name].ask("/feed/x", timeout=10)
        return answer.status, answer.body

    return ask


@pytest.fixture(autouse=True)
def victim_is_well(request):
    """The victim answers, and its note is unchanged, before a test and when it is over."""
    if not {"box", "server"} & set(request.fixturenames):
        yield
        return
    box = request.getfixturevalue("box") if "box" in request.fixturenames else BOXES[request.getfixturevalue("server").name]
    box.until_well()
    yield
    box.until_well()
