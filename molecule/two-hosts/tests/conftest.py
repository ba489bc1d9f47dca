# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: the two servers together."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import servers  # noqa: E402 - the path has to be there first


@pytest.fixture(scope="session")
def pair():
    """Both servers."""
    return servers(HERE.parent)
