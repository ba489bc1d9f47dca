# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboot, power loss, and processes that die: the live release comes back whole, by itself."""
import pytest


def main_process(server, process):
    """Return the pid of a process of the live release, 0 when it does not run."""
    if server.containers:
        return server.inside(f"docker inspect --format '{{{{.State.Pid}}}}' $(grep -- -{process}-1 /opt/bookshop/live/units)", check=False)
    return server.inside(f"systemctl show -p MainPID --value $(grep -E 'bookshop-{process}(-1)?@' /opt/bookshop/live/units)")


def whole(server, release):
    """Wait until the live release runs whole and serves."""
    server.until(lambda: server.get("/healthz/")[0] == 200, 90, "the app")
    assert server.json("/healthz/")["release"] == release
    for unit in server.inside("cat /opt/bookshop/live/units").splitlines():
        server.until(lambda unit=unit: server.active(unit), 30, unit)
    server.until(lambda: server.inside("systemctl is-active bookshop.service", check=False) == "active", 30, "bookshop.service")
    keys = server.json("/api/jobs/", data={"count": 3, "seconds": 0})["keys"]
    server.until(lambda: {run["key"] for run in server.json("/api/jobs/?prefix=job-") if run["finished"]} >= set(keys), 30, "the tasks")


@pytest.mark.proves("1.19", "2.12")
@pytest.mark.parametrize("verbs", [("off", "on"), ("cut", "on")], ids=["reboot", "power loss"])
def test_the_live_release_comes_back(server, verbs):
    release = server.json("/healthz/")["release"]
    book = server.json("/api/books/", data={"title": "Kept", "price": "1.00"})
    for verb in verbs:
        server.power(verb)
    whole(server, release)
    assert book["id"] in [found["id"] for found in books(server)]
    assert server.inside("ufw status | head -1") == "Status: active"


def books(server):
    """Return the listed books."""
    found = server.json("/api/books/")
    return found["results"] if isinstance(found, dict) else found


@pytest.mark.proves("2.12", "2.21")
@pytest.mark.parametrize("process", ["web", "worker", "beat"])
def test_a_killed_process_comes_back(server, process):
    before = main_process(server, process)
    server.inside(f"kill -9 {before}")
    server.until(lambda: main_process(server, process) not in (before, "0", ""), 10, process)
    server.until(lambda: server.get("/healthz/")[0] == 200, 20, "the app")


def test_site_changes_nothing_after_all_this(server):
    run = server.play("site")
    assert run.count("changed") == 0, run.out[-5000:]
