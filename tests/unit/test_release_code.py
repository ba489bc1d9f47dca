# SPDX-License-Identifier: GPL-3.0-or-later
"""The module release runs from the archive that its action sends, and Ansible has next to nothing to pack."""
from __future__ import annotations

import ast
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy
from ansible_collections.quayside.django.plugins.modules import release
from samples import loaded

ROOT = Path(__file__).resolve().parents[2]


def test_the_phases_are_those_of_a_deploy():
    assert tuple(release.PHASES) == deploy.PHASES


def test_ansible_packs_nothing_but_what_prints():
    tree = ast.parse((ROOT / "plugins/modules/release.py").read_text())
    ours = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "quayside" in node.module]
    assert [name.rpartition(".")[2] for name in ours] == ["printed"]


def test_the_code_comes_with_the_arguments_and_is_not_shown(tmp_path):
    app = dict(loaded(), root=str(tmp_path / "pos"))
    arguments = {"app": app, "apps": [app], "phases": ["lock", "resolve"], "run": "1", "who": "me", "version": "main", "secrets": {"A": "hush-hush"}}
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {ROOT}/.ansible/collections\nlocal_tmp = {tmp_path}/local\n"
                                          f"remote_tmp = {tmp_path}/remote\n")
    argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "--check", "-vvv", "-e",
            f"ansible_python_interpreter={sys.executable}", "-m", "quayside.django.release", "-a", json.dumps(arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "ANSIBLE_CONFIG": f"{tmp_path}/ansible.cfg", "ANSIBLE_NOCOLOR": "1"})
    assert f"plan unknown until site.yml ran: {app['root']} is not there yet" in done.stdout, done.stdout + done.stderr
    assert '"module_args"' in done.stdout
    assert '"code"' not in done.stdout
    assert "hush-hush" not in done.stdout


def packed(**files) -> str:
    """Return an archive with these files, as the action sends it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, text in files.items():
            file.writestr(f"{name}.py", text)
    return base64.b64encode(made.getvalue()).decode()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return what loads an archive as a run does, into a package of its own."""
    monkeypatch.setattr(release, "CACHE", str(tmp_path / "cache/code"))
    monkeypatch.setattr(release, "HERE", "ours")

    def load(number: int, keep: bool = True, sent: bool = True):
        folder = tempfile.mkdtemp(dir=tmp_path)
        for name in [name for name in sys.modules if name.startswith("ours.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "ours", types.ModuleType("ours"))
        sys.modules["ours"].__path__ = []
        code = packed(deploy=f"N = {number}", progress="", versions="") if sent else ""
        ours = release.load(code, f"{number}" * 64, folder, keep)
        return (ours[0].N, Path(ours[0].__file__)) if ours else None

    return load


def test_the_same_archive_is_unpacked_once(here, tmp_path):
    number, first = here(1)
    before = first.stat()
    assert (number, here(1)) == (1, (1, first))
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    other, second = here(2)
    assert other == 2
    assert second != first
    assert sorted(path.name for path in (tmp_path / "cache/code").iterdir()) == sorted({first.parent.name, second.parent.name})
    assert (tmp_path / "cache/code").stat().st_mode & 0o777 == 0o700


def test_the_archive_is_asked_for_where_the_host_does_not_have_it(here):
    assert here(1, sent=False) is None
    place = here(1)[1]
    assert here(1, sent=False) == (1, place)
    assert here(1, sent=False, keep=False) == (1, place)
    assert here(2, sent=False) is None


def test_a_rehearsal_leaves_nothing(here, tmp_path):
    assert here(1, keep=False)[0] == 1
    assert not (tmp_path / "cache").exists()


def test_what_nobody_uses_any_more_is_removed(here):
    old, used = here(1)[1].parent, here(2)[1].parent
    for folder in (old, used):
        os.utime(folder, (time.time() - release.UNUSED_SECONDS - 60,) * 2)
    here(2)
    here(3)
    assert not old.exists()
    assert used.exists()


def test_two_runs_may_unpack_at_once(here, monkeypatch):
    place = here(1)[1].parent
    rename = os.rename

    def late(source, target):  # the other run was there between the look and the rename
        rename(place.with_suffix(".other"), target)
        rename(source, target)

    rename(place, place.with_suffix(".other"))
    monkeypatch.setattr(release.os, "rename", late)
    assert here(1)[0] == 1


def test_what_a_run_beside_this_one_renames_is_no_fault(here, tmp_path, monkeypatch):
    here(1)
    scan = os.scandir

    def late(path):
        if path != release.CACHE:
            return scan(path)
        (tmp_path / "cache/code/half").mkdir()
        entries = list(scan(path))
        (tmp_path / "cache/code/half").rmdir()
        return entries

    monkeypatch.setattr(release.os, "scandir", late)
    assert here(2)[0] == 2
