# SPDX-License-Identifier: GPL-3.0-or-later
"""The till: one sync worker with a full queue, and a server that ends at once when it is told to, while releases come and go."""
import contextlib

import pytest
import till
from askers import Askers


@pytest.fixture(scope="module")
def drained(server):
    """Two deploys and a rollback, each within the drain of the one before, while requests wait in a queue and others are under way; path -> statuses."""
    asked = {
        "/slow/": Askers(server, till.HOST, "/slow/", pause=2.2, timeout=120),
        "/abrupt/": Askers(server, till.HOST, "/abrupt/?s=4", pause=0.5, timeout=120),
    }
    said = []
    with contextlib.ExitStack() as stack:
        for askers in asked.values():
            stack.enter_context(askers)
        server.until(lambda: len(asked["/abrupt/"].threads) > 5, 20, "requests that are under way")
        for step in (lambda: till.deploy(server, 2), lambda: till.deploy(server, 3),
                     lambda: server.play("rollback", "-e", "django_app=till")):
            asked["/slow/"].burst(12)
            said.append(step().out)
    return {path: askers.statuses for path, askers in asked.items()}, said


@pytest.mark.promise("drain", "deploy within a drain")
@pytest.mark.parametrize("path", ["/slow/", "/abrupt/"], ids=["a full queue at one sync worker", "a server that does not drain"])
def test_every_request_is_answered(drained, path):
    statuses = drained[0][path]
    assert len(statuses) > 12
    assert set(statuses) == {200}, statuses


@pytest.mark.promise("deploy within a drain")
def test_a_drain_is_not_taken_for_a_leftover(drained):
    assert [line for said in drained[1] for line in said.splitlines() if "left by a run that died" in line] == []


@pytest.mark.promise("drain")
def test_the_old_instances_end(server, drained):
    live = server.inside("basename $(readlink /opt/till/live)")
    server.until(lambda: set(server.instances("till")) == {live}, 90, "the end of the old instances")


@pytest.mark.promise("time-out of a one-off")
def test_a_command_that_takes_too_long_is_stopped(server, drained):
    live = server.inside("readlink /opt/till/live")
    commands = '{"till_commands": [{"manage": "check", "timeout": 60}, {"manage": "shell -c \'import time; time.sleep(4711)\'", "timeout": 5}]}'
    run = till.deploy(server, 4, "-e", commands, ok=False)
    assert run.rc != 0
    assert "5 s" in run.out, run.out[-3000:]
    assert run.seconds < 50, "the limits of both commands together"
    assert server.inside("pgrep -af '[s]leep.4711' || true") == ""
    assert server.inside("readlink /opt/till/live") == live
    assert set(server.instances("till")) == {live.removeprefix("releases/")}


@pytest.mark.promise("health")
def test_a_release_is_healthy_when_each_worker_has_answered(server, drained):
    live = server.inside("readlink /opt/till/live")
    run = till.deploy(server, 5, "-e", "till_workers=4", "-e", "till_sick=2", ok=False)
    assert run.rc != 0
    assert "It failed in the phase probe:" in run.out, run.out[-3000:]
    assert server.inside("readlink /opt/till/live") == live
