# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong around a release: its processes, another deploy, the controller, its migrations."""
import json
import os
import re
import signal
import subprocess
import threading

import pytest
from lab import BIN, ROOT, Load


@pytest.mark.once
@pytest.mark.parametrize(("process", "command", "phase"), [
    ("web", "gunicorn config.nosuch", "probe"),
    ("worker", "celery -A config worker --nonsense", "(?:switch|join)"),  # before the switch, when it dies sooner than the old workers are quiet
    ("beat", "celery -A config beat --nonsense", "hand_over"),
])
def test_a_process_that_cannot_start_brings_the_old_release_back_without_a_failed_request(server, process, command, phase):
    if server.get("/healthz/")[0] != 200 or server.version() != "v2":
        server.deploy("v2")
    live = server.inside("readlink /opt/bookshop/live")

    def change(app):
        next(one for one in app["processes"] if one["name"] == process)["command"] = command

    with Load(server) as load:
        run = server.play("deploy", "-e", "version=v3", "-e", "@" + server.changed_app(change), ok=False)
    assert run.rc != 0
    assert re.search(rf"It failed in the phase {phase}: bookshop-([0-9]+-[0-9a-f]+-)?{process}", run.out), run.out[-3000:]
    assert load.report["failed"] == 0, load.report
    assert server.inside("readlink /opt/bookshop/live") == live
    for unit in server.inside("cat /opt/bookshop/live/units").splitlines():
        assert server.active(unit)
    keys = server.json("/api/jobs/", data={"count": 3, "seconds": 0})["keys"]
    server.until(lambda: {run["key"] for run in server.json("/api/jobs/?prefix=job-") if run["finished"]} >= set(keys), 20, "the old worker's tasks")


@pytest.mark.once
def test_what_cannot_be_imported_fails_before_a_pending_migration_is_applied(server):
    """The migration of this version fails by itself, in its second operation, so it would be named if it had run."""
    server.deploy("v3")
    live = server.inside("readlink /opt/bookshop/live")

    def change(app):
        next(one for one in app["processes"] if one["name"] == "web")["command"] = "gunicorn config.nosuch"

    with Load(server) as load:
        run = server.play("deploy", "-e", "version=badmigration", "-e", "@" + server.changed_app(change), ok=False)
    assert run.rc != 0
    assert "It failed in the phase boot: bookshop-" in run.out, run.out[-3000:]
    assert "No module named 'config.nosuch'" in run.out
    assert "stars" not in run.out
    assert load.report["failed"] == 0, load.report
    assert server.inside("readlink /opt/bookshop/live") == live
    assert server.version() == "v3"
    server.until(lambda: set(server.instances()) == {live.removeprefix("releases/")}, 60, "the end of all other instances")


@pytest.mark.once
def test_a_second_deploy_while_one_runs_is_refused_and_told_who_and_since_when(server):
    server.deploy("v2")
    first = {}
    thread = threading.Thread(target=lambda: first.update(run=server.deploy("slow")))
    thread.start()
    try:
        server.until(lambda: server.inside("cat /opt/bookshop/lock"), 30, "the lock")
        second = server.deploy("v3", ok=False)
    finally:
        thread.join()
    assert second.rc != 0
    assert "holds the lock since" in second.out
    assert "in phase" in second.out
    assert first["run"].rc == 0, first["run"].out[-3000:]
    assert server.version() == "slow"


@pytest.mark.once
def test_a_controller_that_dies_leaves_the_old_release_and_the_next_deploy_clears_up(server):
    live = server.inside("readlink /opt/bookshop/live")
    argv = [str(BIN / "ansible-playbook"), "playbooks/deploy.yml", "-i", str(server.inventory), "--limit", server.name, "-e", "django_app=bookshop",
            "-e", "version=sick"]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                               env=dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg")))
    server.until(lambda: '"phase": "probe"' in server.inside("cat /opt/bookshop/lock"), 60, "the probe")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert server.get("/healthz/")[0] == 200
    assert server.inside("readlink /opt/bookshop/live") == live
    # The module that was running goes on to the end of its phase; after that the lease runs out.
    server.inside("cat /opt/bookshop/lock")
    held = json.loads(server.inside("cat /opt/bookshop/lock"))
    run = server.deploy("v3", ok=False)
    assert run.rc != 0, "a lock that is held was not respected"
    assert held["who"] in run.out
    server.until(lambda: server.deploy("v3", ok=False).rc == 0, 180, "a deploy after the lease ran out")
    assert server.version() == "v3"
    now = server.inside("basename $(readlink /opt/bookshop/live)")
    server.until(lambda: set(server.instances()) == {now}, 60, "the end of all other instances")


@pytest.mark.once
def test_a_destructive_migration_is_refused_unless_asked_for(server):
    server.deploy("v4")
    run = server.deploy("v5", ok=False)
    assert run.rc != 0
    assert "drops the column book.language" in run.out
    assert "allow_hazards=true" in run.out
    assert server.version() == "v4"


def test_a_dead_app_is_not_called_one_that_was_never_deployed(server):
    (unit,) = [unit for unit in server.inside("cat /opt/bookshop/live/units").splitlines() if "web" in unit]
    server.inside(f"systemctl stop {unit}")
    try:
        for _ in range(3):  # what nginx keeps in memory after the first must not change the answer
            status, _headers, body = server.get("/healthz/")
            assert (status, body) == (502, b"bookshop: the app does not answer.\n")
    finally:
        server.inside(f"systemctl start {unit}")
    server.until(lambda: server.get("/healthz/")[0] == 200, 30, "the app")
