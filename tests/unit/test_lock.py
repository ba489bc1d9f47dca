# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import lock
from ansible_collections.quayside.django.plugins.module_utils.lock import LEASE, Lock, LockedError, refusal, stale

NOW = 1_800_000_000.0
BOOT = NOW - 86400
HOLD = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


class Clock:
    def __init__(self):
        self.now = NOW


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lock.time, "time", lambda: clock.now)
    monkeypatch.setattr(lock, "host_started", lambda: BOOT)
    return clock


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def worker(path):
    """Return a function that lets another process work under the flock until the test ends."""
    begun = []

    def hold():
        process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in begun:
        process.communicate()


def held(path, run="one", who="ann@laptop", phase="build"):
    """Take the lock as one task of a run does."""
    mine = Lock(path, run, who)
    taken = mine.acquire(phase)
    mine.close()
    return taken


def test_a_free_lock_is_taken_and_says_who_since_when_and_what(clock, path):
    assert Lock(path).read() == {}
    assert held(path) == ""
    assert Lock(path).read() == {"run": "one", "who": "ann@laptop", "since": NOW, "renewed": NOW, "phase": "build"}


def test_the_next_task_of_a_run_renews_and_keeps_since(clock, path):
    held(path)
    clock.now += 30
    assert held(path, phase="switch") == ""
    assert Lock(path).read() == {"run": "one", "who": "ann@laptop", "since": NOW, "renewed": NOW + 30, "phase": "switch"}


def test_a_phase_renews_under_its_flock(clock, path):
    mine = Lock(path, "one", "ann")
    mine.acquire("build")
    clock.now += 5
    mine.renew("migrate")
    assert (mine.read()["renewed"], mine.read()["phase"], mine.read()["since"]) == (NOW + 5, "migrate", NOW)
    mine.close()


def test_a_shorter_lease_leaves_nothing_of_a_longer_one(clock, path):
    held(path, who="somebody with a very long name@a very long host name", phase="hand_over")
    held(path, phase="x", who="a")
    assert json.loads(open(path, encoding="utf-8").read())["who"] == "a"


def test_another_run_is_refused_and_told_who_since_when_and_until_when(clock, path):
    held(path)
    clock.now += 20
    with pytest.raises(LockedError) as error:
        held(path, "two", "bob")
    assert error.value.holder["who"] == "ann@laptop"
    assert str(error.value) == ("ann@laptop holds the lock since 2027-01-15 08:00:00 UTC (20 s), in phase build; "
                                "if that run has died, the lock is free in 40 s")
    assert Lock(path).read()["run"] == "one"


def test_a_refused_run_leaves_no_flock_behind(clock, path):
    held(path)
    with pytest.raises(LockedError):
        held(path, "two")
    assert not Lock(path).busy()


def test_a_lease_that_was_not_renewed_is_taken_over(clock, path):
    held(path)
    clock.now += LEASE + 1
    assert held(path, "two", "bob") == "the lock of ann@laptop was taken over: it was not renewed for 61 s"
    assert (Lock(path).read()["who"], Lock(path).read()["since"]) == ("bob", clock.now)


def test_a_lease_from_before_the_host_started_is_taken_over(clock, path, monkeypatch):
    held(path)
    clock.now += 5
    monkeypatch.setattr(lock, "host_started", lambda: NOW + 2)
    assert held(path, "two") == "the lock of ann@laptop was taken over: the host has started since"


@pytest.mark.parametrize(("holder", "busy", "started", "reason"), [
    ({"renewed": NOW - LEASE + 1}, False, BOOT, ""),
    ({"renewed": NOW - LEASE}, False, BOOT, ""),
    ({"renewed": NOW - LEASE - 1}, False, BOOT, "it was not renewed for 61 s"),
    ({"renewed": NOW - 7200}, True, BOOT, ""),
    ({"renewed": NOW - 7200}, True, NOW, ""),
    ({"renewed": NOW - 1}, False, NOW, "the host has started since"),
    ({}, False, BOOT, "the host has started since"),
    ({"renewed": NOW + LEASE}, False, BOOT, ""),
    ({"renewed": NOW + 3600}, False, BOOT, "its time lies ahead: the clock of this host was set back"),
])
def test_when_a_lease_no_longer_counts(holder, busy, started, reason):
    assert stale(holder, busy, NOW, started) == reason


@pytest.mark.parametrize(("holder", "busy", "text"), [
    ({"who": "ann", "since": NOW - 90, "renewed": NOW - 2, "phase": "build"}, True,
     "ann holds the lock since 2027-01-15 07:58:30 UTC (90 s), in phase build; it works right now"),
    ({"who": "ann", "since": NOW - 90, "renewed": NOW - 59.9, "phase": "build"}, False,
     "ann holds the lock since 2027-01-15 07:58:30 UTC (90 s), in phase build; if that run has died, the lock is free in 1 s"),
    ({}, True, "somebody holds the lock since 2027-01-15 08:00:00 UTC (0 s), in phase unknown; it works right now"),
])
def test_the_refusal_says_who_since_when_and_when_it_is_free(holder, busy, text):
    assert refusal(holder, busy, NOW) == text


def test_while_another_process_works_the_lock_is_busy_and_never_stale(clock, path, worker):
    held(path)
    worker()
    clock.now += 10 * LEASE
    assert Lock(path).busy()
    with pytest.raises(LockedError, match="it works right now"):
        held(path, "two")


def test_even_the_same_run_does_not_work_twice_at_once(clock, path, worker):
    held(path)
    worker()
    with pytest.raises(LockedError, match="ann@laptop holds the lock"):
        held(path)


def test_a_process_that_has_yet_to_write_its_lease_counts(clock, path, worker):
    worker()
    with pytest.raises(LockedError, match="somebody holds the lock"):
        held(path, "two")


def test_when_the_process_dies_its_flock_is_free_but_the_lease_holds(clock, path, worker):
    held(path)
    process = worker()
    process.kill()
    process.wait()
    assert not Lock(path).busy()
    with pytest.raises(LockedError, match="if that run has died"):
        held(path, "two")
    clock.now += LEASE + 1
    assert "was taken over" in held(path, "two")


def test_only_its_run_frees_a_lock(clock, path):
    held(path)
    assert Lock(path, "two").release() is False
    assert Lock(path).read()["run"] == "one"
    assert Lock(path, "one").release() is True
    assert Lock(path).read() == {}
    assert Lock(path, "one").release() is False


def test_a_freed_lock_is_taken_by_the_next_run(clock, path):
    mine = Lock(path, "one", "ann")
    mine.acquire("lock")
    assert mine.release() is True
    assert held(path, "two") == ""


def test_freeing_what_is_not_there_makes_no_file(tmp_path):
    assert Lock(str(tmp_path / "none"), "one").release() is False
    assert list(tmp_path.iterdir()) == []


def test_looking_makes_no_file(tmp_path):
    other = Lock(str(tmp_path / "none"))
    assert (other.read(), other.busy()) == ({}, False)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_lease_is_a_free_lock(clock, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"run": "one", "wh')
    assert held(path, "two") == ""


def test_the_lock_is_for_root_alone(clock, path, tmp_path):
    held(path)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_the_host_has_started_in_the_past():
    assert 0 < lock.host_started() <= __import__("time").time()
