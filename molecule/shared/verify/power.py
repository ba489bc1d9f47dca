# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboot, power loss, and processes that die: the live release comes back whole, by itself."""
import time

import pytest
from lab import Machine


@pytest.mark.promise("reboot")
@pytest.mark.proves("1.19", "2.12")
@pytest.mark.parametrize("verbs", [("off", "on"), ("cut", "on")], ids=["reboot", "power loss"])
def test_the_live_release_comes_back(server, verbs):
    release = server.json("/healthz/")["release"]
    book = server.json("/api/books/", data={"title": "Kept", "price": "1.00"})
    off, on = verbs
    with Machine():
        server.power(off)
        booted = time.monotonic()
        server.power(on)
        server.whole(release, booted + 20 - time.monotonic())
    assert book["id"] in [found["id"] for found in books(server)]
    assert server.inside("ufw status | head -1") == "Status: active"


def books(server):
    """Return the listed books."""
    found = server.json("/api/books/")
    return found["results"] if isinstance(found, dict) else found


@pytest.mark.promise("kill -9")
@pytest.mark.proves("2.12", "2.21")
@pytest.mark.parametrize("process", ["web", "worker", "beat"])
def test_a_killed_process_comes_back(server, process):
    before = server.pid(process)
    server.inside(f"kill -9 {before}")
    server.until(lambda: server.pid(process) not in (before, 0), 10, process)
    server.until(lambda: server.get("/healthz/")[0] == 200, 20, "the app")


@pytest.mark.promise("reboot")
@pytest.mark.proves("0.11", "1.14")
def test_site_changes_nothing_after_all_this(server):
    run = server.play("site")
    assert run.count("changed") == 0, run.out[-5000:]
