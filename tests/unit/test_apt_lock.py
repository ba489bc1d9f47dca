# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import apt_lock

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLD = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def held(tmp_path):
    """A lock that another process holds until it is told to end."""
    (tmp_path / "unattended-upgrade").write_text(HOLD)
    process = subprocess.Popen([sys.executable, str(tmp_path / "unattended-upgrade"), str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield str(tmp_path / "lock"), process
    process.communicate()


def test_the_holder_of_a_lock_is_known(held):
    path, process = held
    assert apt_lock.holder(path) == process.pid
    assert apt_lock.name(process.pid) == f"unattended-upgrade (process {process.pid})"


def test_a_lock_that_nobody_holds(tmp_path):
    (tmp_path / "lock").touch()
    assert apt_lock.holder(str(tmp_path / "lock")) == apt_lock.holder(str(tmp_path / "nowhere")) == 0


def test_it_waits_and_says_for_whom(held):
    path, process = held
    free, waited, _seconds = apt_lock.wait(60, (path,), pause=lambda _seconds: process.communicate())
    assert (free, waited) == (True, [f"unattended-upgrade (process {process.pid})"])


def test_it_does_not_wait_for_ever(held):
    path, process = held
    clock = iter(range(100))
    free, waited, seconds = apt_lock.wait(3, (path,), pause=lambda _seconds: None, clock=lambda: next(clock))
    assert not free and waited and seconds >= 3


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/**/*.yml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_task_of_apt_waits_for_the_lock(path):
    for task in yaml.safe_load(path.read_text()) or []:
        for one in [task, *task.get("block", []), *task.get("rescue", [])]:
            if "ansible.builtin.apt" in one:
                assert one["ansible.builtin.apt"].get("lock_timeout") == 300, one["name"]
