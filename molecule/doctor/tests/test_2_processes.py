# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes behind start scripts, and their memory: what a deploy does with them, and what doctor and status say, on each runtime."""
import subprocess

import pytest
from test_1_doctor import bad, examine

BRANCH = "scripts"
SCRIPTS = {
    "start-worker": 'touch "$LOGS/worker-$RELEASE"\nexec celery -A config worker -l INFO\n',
    "start-beat": "exec celery -A config beat -l INFO\n",
    "start-shell": "sleep 3600\n",
    # As flower's widespread start script: it listens when a worker is there.
    "start-waiter": ('until [ -e "$LOGS/worker-$RELEASE" ]; do sleep 0.2; done\n'
                     'exec python -m http.server "$PORT" --bind "${ADDRESS:-0.0.0.0}" --directory /usr/share\n'),
    "start-static": 'set -e\npython manage.py collectstatic --noinput\nexec gunicorn config.wsgi --bind "0.0.0.0:$PORT"\n',
    "start-web": 'exec gunicorn config.wsgi --bind "0.0.0.0:$PORT"\n',
}
WEB = {"name": "web", "command": "gunicorn config.wsgi", "workers": "2"}
WORKER = {"name": "worker", "command": "./start-worker", "kind": "celery-worker", "workers": "1"}
BEAT = {"name": "beat", "command": "./start-beat", "kind": "celery-beat"}
WAITER = {"name": "waiter", "command": "./start-waiter", "port": 5555, "route": "/waiter/"}
EAT = "python3 -c 'x = bytearray(900 * 2**20); import time; time.sleep(60)'"


@pytest.fixture(scope="module", autouse=True)
def branch(server, tmp_path_factory):
    """A branch of the bookshop with start scripts; v1 is live again afterwards."""
    folder = tmp_path_factory.mktemp("bookshop")
    git = ["git", "-C", str(folder), "-c", "user.name=lab", "-c", "user.email=lab@example.com"]
    subprocess.run(["git", "clone", "-q", "--branch", "v1", f"{server.local['lab_git_url']}/bookshop.git", str(folder)], check=True)
    for name, text in SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "Start scripts"], check=True)
    subprocess.run([*git, "push", "-qf", "origin", f"HEAD:refs/heads/{BRANCH}"], check=True)
    yield BRANCH
    server.deploy("v1")


def deploy(server, *members, ok=True):
    """Deploy the branch with these processes."""
    def change(app):
        app["processes"] = [dict(process, **({"env": {"ADDRESS": "127.0.0.1"}} if process["name"] == "waiter" and not server.containers else {}))
                            for process in members]

    return server.deploy(BRANCH, "-e", f"@{server.changed_app(change)}", ok=ok)


def pids(server, process):
    """Return the ids of the main processes of a process of the live release, as root sees them."""
    live = server.inside("basename $(readlink /opt/bookshop/live)")
    if server.containers:
        return server.inside(f"docker inspect --format '{{{{.State.Pid}}}}' $(docker ps -q --filter label=quayside.release={live} "
                             f"--filter label=quayside.process={process})").split()
    return server.inside(f"systemctl show --property MainPID --value 'bookshop-{process}*@{live}.service'").split()


def settle(server):
    """Wait until only the live release runs: the one before ends what it has begun."""
    server.until(lambda: len(server.instances()) == 1, 90, "the end of the instance before")


def test_workers_and_beat_behind_scripts_are_those_of_a_plain_command(server):
    run = deploy(server, WEB, WORKER, BEAT, dict(WAITER, probe=False))
    assert "process.kind" not in run.out
    server.watch("beat")
    since = float(server.inside("date +%s"))
    workers = server.instances()
    deploy(server, WEB, dict(WORKER, workers="2"), BEAT, dict(WAITER, probe=False))
    settle(server)
    assert set(server.instances()) != set(workers)
    # A beat ends before the next one begins.
    assert server.changes("beat", since) == ["end", "start"]
    lines = server.inside("ps -eo args | grep -c '[c]elery -A config worker' || true")
    assert int(lines) == 3, lines  # a parent with two children: `workers` reached the script
    assert server.get("/waiter/doc/", f"{server.name}.example.com", tls=True)[0] in (200, 404)


def test_a_server_that_waits_for_the_workers_is_named_with_its_field(server):
    def change(app):
        app["processes"] = [WEB, WORKER, WAITER]
        app["health"]["timeout"] = 6

    run = server.deploy(BRANCH, "-e", f"@{server.changed_app(change)}", ok=False)
    assert run.rc == 2
    assert "processes[waiter]:" in run.out
    assert "set probe: false for it" in run.out


def test_what_a_script_hides_is_found(server):
    run = deploy(server, WEB, dict(WORKER, kind="other"), {"name": "shell", "command": "./start-shell"})
    assert "processes[shell]" in run.out and "[process.kind]" in run.out
    findings = [one for one in examine(server, apps=lambda app: app.update(processes=[WEB]))["findings"] if one["code"] in ("process.kind", "process.exec")]
    told = {one["item"].partition("worker")[1] or "shell": one for one in findings}
    assert "set processes[worker].kind: celery-worker" in told["worker"]["fix"]
    assert told["shell"]["code"] == "process.exec" and "exec PROGRAM" in told["shell"]["fix"]


def test_a_number_of_workers_reaches_a_script(server):
    deploy(server, {"name": "web", "command": "./start-web", "port": 8000, "workers": "3"})
    settle(server)
    names = server.inside("ps -eo args | grep -c '[g]unicorn config.wsgi --bind 0.0.0.0' || true")
    assert int(names) == 4, names


def test_a_script_that_collects_static_files_is_told_what_to_do(server):
    run = deploy(server, {"name": "web", "command": "./start-static", "port": 8000}, ok=False)
    assert run.rc == 2
    assert "take collectstatic out of the start script" in run.out


def test_a_limit_that_kills_fails_the_probe_with_the_field(server):
    settle(server)
    before = server.instances()
    run = deploy(server, dict(WEB, memory="48M"), ok=False)
    assert run.rc == 2
    assert "by the kernel for memory" in run.out and "processes[web].memory" in run.out
    assert set(server.instances()) == set(before)


def test_a_kill_and_a_crash_of_the_live_release_are_told_by_doctor_and_status(server):
    deploy(server, dict(WEB, memory="400M"))
    assert bad(examine(server, apps=lambda app: app.update(processes=[dict(WEB, memory="400M")]))) == set()
    (pid,) = pids(server, "web")
    group = server.inside(f"grep -E '[:,]memory[:,]|^0::' /proc/{pid}/cgroup | tail -1 | cut -d: -f3")
    place = server.inside(f"for place in /sys/fs/cgroup/memory{group} /sys/fs/cgroup{group}; do [ -e $place/cgroup.procs ] && echo $place && break; done")
    server.inside(f"sh -c 'echo $$ > {place}/cgroup.procs; exec {EAT.replace(chr(39), chr(34))}'", check=False)
    found = examine(server, apps=lambda app: app.update(processes=[dict(WEB, memory="400M")]), rc=2)["codes"]["process.killed"]
    assert "400 MiB" in found["reason"] and "processes[web].memory" in found["fix"]
    status = server.play("status").out
    assert "by the kernel for memory" in status and "of 400 MiB" in status
    assert server.get("/healthz/", f"{server.name}.example.com", tls=True)[0] == 200


def test_the_default_limits_are_a_share_of_the_host(server):
    server.deploy("v1")
    total = int(server.inside("awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"))
    (pid,) = pids(server, "web")
    limit = int(server.inside(f"path=$(grep -E '[:,]memory[:,]|^0::' /proc/{pid}/cgroup | tail -1 | cut -d: -f3); "
                              "cat /sys/fs/cgroup/memory$path/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup$path/memory.max")) // 2 ** 20
    assert total * 0.3 < limit < total
    assert f"of {limit} MiB" in server.play("status").out
