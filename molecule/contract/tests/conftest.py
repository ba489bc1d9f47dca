# SPDX-License-Identifier: GPL-3.0-or-later
"""Each test names the promise that it asserts; where its combination cannot keep it, the test has to fail, and where it means nothing, it is left out."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).absolute().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "shared")]

import promises  # noqa: E402 - the paths have to be there first
import till  # noqa: E402
from lab import servers  # noqa: E402

CHOSEN = [name for name in os.environ.get("QUAYSIDE_SERVER", "").split(",") if name]
QUICK = os.environ.get("CONTRACT_RESULTS") == "contract-quick"
COMBINATIONS = {one.server: one for one in promises.combinations()}


@pytest.fixture(scope="session", params=servers(HERE.parent, CHOSEN), ids=repr)
def server(request):
    """A server of the scenario, with v1 of the bookshop and the till live."""
    request.param.deploy("v1")
    till.deploy(request.param)
    return request.param


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Mark what a combination cannot keep, leave out what means nothing on it, and in a quick run what takes long."""
    kept = []
    for item in items:
        combination = COMBINATIONS[item.callspec.params["server"].name]
        rows = [promises.promise(name) for mark in item.iter_markers("promise") for name in mark.args]
        assert rows, f"{item.name} asserts no promise"
        if not all(row.applies(combination) for row in rows) or (QUICK and not any(row.quick for row in rows)):
            continue
        for gap in filter(None, (row.gap(combination) for row in rows)):
            item.add_marker(pytest.mark.xfail(reason=gap.why, strict=True))
        item.add_marker(pytest.mark.xdist_group(combination.server))
        kept.append(item)
    items[:] = kept
