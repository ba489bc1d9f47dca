# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator stops, starts and prunes, and what the engine does."""
import pytest
from lab import Load


def live(server):
    """Return the live release."""
    return server.json("/healthz/")["release"]


def pids(server):
    """Return process -> pid of the bookshop."""
    return {process: server.pid(process) for process in ("web", "worker", "beat")}


def engine(server):
    """Wait until the engine answers."""
    server.until(lambda: server.inside("docker version --format '{{.Server.Version}}'", check=False), 60, "the engine")


def queue(server, seconds):
    """Queue one task that takes so long and wait until it runs; return its key."""
    (key,) = server.json("/api/jobs/", data={"count": 1, "seconds": seconds})["keys"]
    server.until(lambda: runs(server, key), 20, "the task")
    return key


def runs(server, key):
    """Return how often a task was begun and ended."""
    return [(run["runs"], run["finished"]) for run in server.json(f"/api/jobs/?prefix={key}")]


@pytest.mark.promise("stop by hand")
def test_an_app_that_was_stopped_stays_stopped_until_it_is_started(server):
    release = live(server)
    server.inside("systemctl stop bookshop")
    server.until(lambda: not server.instances(), 60, "the end of the app")
    if server.containers:
        server.inside("systemctl restart docker")
        engine(server)
    server.always(lambda: not server.instances(), 12, "the stop")
    assert server.get("/healthz/")[0] in (502, 503)
    server.inside("systemctl start bookshop")
    server.whole(release)


@pytest.mark.promise("stop by hand")
def test_a_process_that_was_stopped_stays_stopped_until_it_is_started(server):
    unit = server.unit("worker")
    tool = "docker" if server.containers else "systemctl"
    server.inside(f"{tool} stop {unit}")
    if server.containers:
        server.inside("systemctl restart docker")
        engine(server)
    server.always(lambda: not server.pid("worker"), 12, "the stop")
    assert server.get("/healthz/")[0] == 200
    server.inside(f"{tool} start {unit}")
    server.until(lambda: server.active(unit), 15, unit)


@pytest.mark.promise("engine restart")
def test_a_restart_of_the_engine_is_not_noticed(server):
    before, key = pids(server), queue(server, 8)
    with Load(server) as load:
        server.inside("systemctl restart docker")
        engine(server)
        server.until(lambda: runs(server, key) == [(1, 1)], 30, "the task's end")
    assert load.report["failed"] == 0, load.report
    assert pids(server) == before


@pytest.mark.promise("engine stop")
def test_an_engine_that_is_stopped_and_started_needs_no_hand(server):
    release, before = live(server), pids(server)
    with Load(server) as load:
        server.inside("systemctl stop docker.socket docker")
        server.always(lambda: server.get("/healthz/")[0] == 200, 8, "the site")
        server.inside("systemctl start docker")
        engine(server)
    assert load.report["failed"] == 0, load.report
    assert pids(server) == before
    server.whole(release)


@pytest.mark.promise("engine crash")
def test_a_crash_of_the_engine_is_not_noticed(server):
    release, before = live(server), pids(server)
    with Load(server) as load:
        server.inside("kill -9 $(pidof dockerd)")
        server.until(lambda: server.inside("systemctl is-active docker", check=False) == "active", 60, "the engine")
        engine(server)
    assert load.report["failed"] == 0, load.report
    assert pids(server) == before
    server.whole(release)
    server.deploy("v2" if server.version() == "v1" else "v1")


@pytest.mark.promise("prune by hand")
def test_a_prune_takes_nothing_that_is_live(server):
    release, before = live(server), pids(server)
    with Load(server) as load:
        server.inside("docker system prune -f")
    assert load.report["failed"] == 0, load.report
    assert pids(server) == before
    server.inside("systemctl stop bookshop && docker system prune -f && systemctl start bookshop")
    server.whole(release)


@pytest.mark.promise("prune by hand")
def test_containers_that_were_removed_come_back(server):
    release = live(server)
    server.inside("cd /opt/bookshop && docker compose down 2>&1")
    server.whole(release)
