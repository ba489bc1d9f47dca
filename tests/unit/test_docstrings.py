# SPDX-License-Identifier: GPL-3.0-or-later
"""What the docstrings show as examples is what happens."""
from __future__ import annotations

import doctest
import importlib
import pathlib

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
NAMES = sorted(".".join(path.relative_to(PLUGINS).with_suffix("").parts) for path in PLUGINS.rglob("*.py") if "    >>> " in path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_true(name):
    found = doctest.testmod(importlib.import_module(f"ansible_collections.quayside.django.plugins.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
