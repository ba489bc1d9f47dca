# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the promises, what asserts them and the combinations of runtime and edge cannot part."""
from __future__ import annotations

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "molecule" / "contract"
SPEC = importlib.util.spec_from_file_location("promises", FOLDER / "promises.py")
promises = importlib.util.module_from_spec(SPEC)
sys.modules["promises"] = promises
SPEC.loader.exec_module(promises)


def asserted() -> dict[str, list[str]]:
    """Return the names of the tests of the scenario, each with the promises that it asserts."""
    found = {}
    for path in sorted((FOLDER / "tests").glob("test_*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                marks = [mark for mark in function.decorator_list if ast.unparse(mark).startswith("pytest.mark.promise(")]
                found[f"{path.name}::{function.name}"] = [word.value for mark in marks for word in mark.args]
    return found


def test_the_page_is_current():
    done = subprocess.run([sys.executable, str(ROOT / "scripts/contract-doc"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_test_asserts_a_promise_and_each_promise_has_a_test():
    found = asserted()
    assert [name for name, rows in found.items() if not rows] == []
    assert {row for rows in found.values() for row in rows} == {row.name for row in promises.PROMISES}


def test_what_was_seen_is_a_row_of_a_combination():
    names = {row.name for row in promises.PROMISES}
    assert set(promises.SEEN) <= {one.server for one in promises.combinations()}
    assert {row for rows in promises.SEEN.values() for row in rows} <= names


def test_each_runtime_and_each_edge_has_a_combination():
    combinations = promises.combinations()
    assert {one.runtime for one in combinations} == set(model.SPEC["runtime"]["choices"])
    assert {one.edge for one in combinations} == set(model.SPEC["edge"]["choices"]) - {"none"}


def test_a_gap_names_a_combination_and_says_why():
    for row in promises.PROMISES:
        for gap in row.gaps:
            assert any(row.gap(one) == gap for one in promises.combinations()), f"{row.name}: {gap}"
            assert gap.why


@pytest.mark.parametrize(("gap", "server", "expected"), [
    (promises.Gap("why", edge="traefik"), "ct-traefik", "why"),
    (promises.Gap("why", edge="traefik"), "ct-compose", None),
    (promises.Gap("why", runtime="compose"), "ct-compose", "why"),
    (promises.Gap("why", runtime="compose"), "ct-systemd", None),
])
def test_a_gap_is_one_of_a_runtime_or_of_an_edge(gap, server, expected):
    (combination,) = [one for one in promises.combinations() if one.server == server]
    found = promises.Promise("row", "kept", gaps=(gap,)).gap(combination)
    assert (found and found.why) == expected


def test_the_quick_part_meets_each_combination_in_turn():
    servers = [one.server for one in promises.combinations()]
    assert [promises.of_day(day).server for day in range(2 * len(servers))] == servers * 2
