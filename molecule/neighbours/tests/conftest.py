# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a test runs on each box that it names, and the victim is well and unchanged after each."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared"), str(HERE.parents[1] / "shared/verify")]

from lab import servers  # noqa: E402 - the path has to be there first
from neighbours import Box  # noqa: E402 - the path has to be there first

BOXES = {server.name: Box(server) for server in servers(HERE.parent)}
CHOSEN = [name for name in BOXES if os.environ.get("QUAYSIDE_SERVER", name) == name]


def pytest_configure(config):
    """Make the scenario's own mark known."""
    config.addinivalue_line("markers", "on(*boxes): the boxes on which this test runs")


def pytest_generate_tests(metafunc):
    """Run a test on the boxes of its mark ``on``, without one on all."""
    if "box" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("on")
        names = mark.args if mark else CHOSEN
        metafunc.parametrize("box", [name for name in names if name in CHOSEN], indirect=True, scope="session")


@pytest.fixture(scope="session")
def boxes():
    """All boxes by their names, for attacks that need a second machine."""
    return BOXES


@pytest.fixture(scope="session")
def box(request):
    """A box with all its apps live, and a note of the victim's in its database and its Redis."""
    found = BOXES[request.param]
    found.make_ready()
    return found


@pytest.fixture(autouse=True)
def victim(request):
    """The victim of the box: it answers, and its note is unchanged, when the test is over."""
    if "box" not in request.fixturenames:
        yield None
        return
    box = request.getfixturevalue("box")
    box.until_well()
    yield box
    box.until_well()
