# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: the example and its server, with v1 live."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "shared"))

from example import Example  # noqa: E402 - the path has to be there first


@pytest.fixture(scope="session")
def example():
    """What the scenario is about."""
    return Example("matcher", "prod", "matcher.example.com", "/api/health/")


@pytest.fixture(scope="session")
def server(example):
    """Its server."""
    return example.server()
