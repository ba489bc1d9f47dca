# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that end, however they do, are started again by themselves."""
import pytest
from cgroups import memory_kills

PROCESSES = ["web", "worker", "beat"]


def comes_back(server, process, end, app="bookshop", seconds=15):
    """End a process by a function of its pid and wait for the next, and for the site."""
    before = server.until(lambda: server.pid(process, app), 30, f"a {process} that runs")
    end(before)
    after = server.until(lambda: server.pid(process, app) not in (before, 0) and server.pid(process, app), seconds, f"a {process} after {before}")
    server.until(lambda: server.get("/healthz/")[0] == 200, seconds, "the site")
    return after


def kill(server, signal):
    """Return what sends a signal to a pid."""
    return lambda pid: server.inside(f"kill -{signal} {pid}")


@pytest.mark.promise("exit 0")
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_that_was_told_to_end_comes_back(server, process):
    comes_back(server, process, kill(server, "TERM"))


@pytest.mark.promise("exit 0")
def test_a_process_that_ends_well_comes_back(server):
    comes_back(server, "trouble", kill(server, "USR1"), "till")


@pytest.mark.promise("exit 1")
def test_a_process_that_fails_comes_back_each_time(server):
    for _ in range(3):
        comes_back(server, "trouble", kill(server, "USR2"), "till")


@pytest.mark.promise("kill by hand")
@pytest.mark.parametrize("process", PROCESSES)
def test_what_an_operator_kills_comes_back(server, process):
    verb = "docker kill" if server.containers else "systemctl kill -s KILL"
    comes_back(server, process, lambda _pid: server.inside(f"{verb} {server.unit(process)}"), seconds=30)


@pytest.mark.promise("OOM kill")
@pytest.mark.parametrize("signal", ["HUP", "ALRM"], ids=["itself", "a child"])
def test_a_kill_for_memory_is_survived_and_told(server, signal):
    before = server.until(lambda: server.pid("trouble", "till"), 30, "the process")
    assert memory_kills(server, before) == 0
    server.inside(f"kill -{signal} {before}")
    server.until(lambda: memory_kills(server, before) != 0, 15, "the kill")
    server.until(lambda: server.pid("trouble", "till"), 15, "the process")
    run = server.play("doctor", "-e", "django_app=till", ok=False)
    assert "process.killed" in run.out, run.out[-3000:]
    assert "trouble" in run.out
    assert "memory" in run.out
