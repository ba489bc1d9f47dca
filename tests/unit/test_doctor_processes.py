# SPDX-License-Identifier: GPL-3.0-or-later
"""What doctor and status say of the units and containers of a live release."""
from __future__ import annotations

from collections import Counter

import pytest
from ansible_collections.quayside.django.plugins.module_utils import doctor_processes, host, releases, runtime_compose, runtime_systemd
from ansible_collections.quayside.django.plugins.modules import release_info
from samples import CELERY, RELEASE, loaded

MB = 2 ** 20
WELL = {"name": "pos-web@r.service", "process": "web", "state": "active", "runs": "active", "health": "", "status": 0, "image": "", "since": "", "restarts": 0,
        "killed": False, "volumes": [], "used": 180 * MB, "limit": 1500 * MB, "kills": 0, "commands": [["/venv/bin/python", "/venv/bin/gunicorn", "x"]]}


def found(process="web", app=None, **fields):
    """Return code -> severity, item, reason and fix in one text."""
    one = {**WELL, "process": process, **fields}
    return {text["code"]: " ".join((text["severity"], text["item"], text["reason"], text["fix"]))
            for text in doctor_processes.findings(app or loaded(processes=CELERY), [one])}


def test_what_is_well_has_no_finding():
    assert found() == {}


@pytest.mark.parametrize(("fields", "code", "words"), [
    ({"runs": "inactive", "state": "exited", "status": 3}, "process.ended", ["error", "exited, status 3", "systemctl start pos", "-t pos-web"]),
    ({"runs": "missing", "state": "missing"}, "process.ended", ["error", "(missing)"]),
    ({"runs": "failed", "state": "failed", "status": 1}, "process.ended", ["error"]),
    ({"runs": "activating", "state": "restarting", "restarts": 7}, "process.restarting", ["error", "restarted 7 times"]),
    ({"restarts": 1}, "process.restarting", ["warning", "restarted once"]),
    ({"health": "unhealthy"}, "process.unhealthy", ["error", "docker inspect"]),
    ({"kills": 2, "limit": 384 * MB}, "process.killed", ["error", "2 of its processes were killed", "384 MiB", "processes[web].memory", "lower its workers"]),
    ({"killed": True}, "process.killed", ["error", "processes[web].memory"]),
    ({"used": 94 * MB, "limit": 96 * MB}, "process.memory", ["warning", "94 MiB of the 96", "processes[web].memory"]),
    ({"volumes": ["/app/media/cache"]}, "process.volume", ["warning", "/app/media/cache", "folders"]),
    ({"commands": [["sh", "/start"], ["/usr/bin/python3", "/usr/bin/celery", "-A", "x", "worker"]]}, "process.kind", ["kind: celery-worker"]),
    ({"commands": [["sh", "/start"], ["sleep", "9"]]}, "process.exec", ["warning", "exec PROGRAM"]),
])
def test_what_is_wrong_is_named_with_its_way_out(fields, code, words):
    text = found(**fields)[code]
    assert all(word in text for word in words), text


@pytest.mark.parametrize(("kind", "severity"), [("other", "error"), ("celery-beat", None)])
def test_a_beat_that_nobody_knows_is_an_error(kind, severity):
    app = loaded(processes=[{"name": "web", "command": "gunicorn x"}, {"name": "clock", "command": "/start-clock", "kind": kind}])
    text = found("clock", app, commands=[["/usr/bin/python3", "/usr/bin/celery", "-A", "x", "beat"]]).get("process.kind", "")
    assert text.split(" ")[0] == (severity or "")


def test_a_process_that_the_model_no_longer_has_is_told_too():
    assert set(found("gone", kills=1)) == {"process.killed"}


@pytest.mark.parametrize(("fields", "code", "words"), [
    ({}, None, ""), ({"runs": "inactive", "state": "exited"}, "process.ended", "quayside.django.site"), ({"kills": 1}, "process.killed", "follows the memory"),
    ({"used": 95 * MB, "limit": 100 * MB}, "process.memory", "follows the memory"), ({"health": "unhealthy"}, "process.unhealthy", "docker inspect"),
])
def test_database_and_cache_in_containers_are_looked_at_too(fields, code, words):
    found = doctor_processes.services(loaded(), [{**WELL, "name": "pos-services-db-1", "process": "db", "commands": [["sh"], ["postgres"]], **fields}])
    assert [one["code"] for one in found] == ([code] if code else [])
    assert all(words in one["fix"] and "pos-services-db-1" in one["item"] for one in found)


@pytest.mark.parametrize(("used", "total", "told"), [(300, 2000, False), (900, 2000, True)])
def test_what_is_used_tells_whether_a_deploy_will_fit(used, total, told):
    app = loaded(processes=CELERY)
    seen = [{**WELL, "used": used * MB}, {**WELL, "process": "beat", "used": 50 * MB}]
    texts = doctor_processes.room(app, seen, {"web": {"memory": 200}, "beat": {"memory": 56}}, 600, total)
    assert [one["code"] for one in texts] == ["memory.short"] * told
    assert all(f"{2 * used + 50} MiB" in one["reason"] and f"web {used} MiB (counted: 200 a copy)" in one["reason"] for one in texts)


def test_status_tells_memory_and_what_is_wrong():
    app = loaded()
    state = {"live": {}, "healthy": True, "health": "", "units": {"pos-web@r.service": "active"}, "releases": [], "ledger": [], "certificates": {},
             "stale": False, "bases": {}, "secrets": {}, "lock": {}, "memory": 0, "disk_free": 0, "processes": [WELL],
             "findings": doctor_processes.findings(app, [{**WELL, "kills": 1}])}
    lines = release_info.text(app, state).splitlines()
    assert "  unit      pos-web@r  active  180 of 1500 MiB" in lines
    assert any(line.startswith("  error     pos-web@r: one of its processes was killed by the kernel for memory") for line in lines)


@pytest.mark.parametrize(("running", "draining", "told"), [
    ({"r2": {"pos-web@r2.service": "active"}}, set(), []), ({"r2": {}, "r1": {"pos-web@r1.service": "active (unhealthy)"}}, set(), ["r1"]),
    ({"r2": {}, "r1": {"pos-web@r1.service": "active"}}, {"r1"}, []), ({"r1": {"pos-web@r1.service": "deactivating"}}, set(), []), ({}, set(), []),
])
@pytest.mark.parametrize(("runtime", "command"), [("systemd", "systemctl stop"), ("compose", "docker stop")])
def test_a_release_that_runs_without_being_live_is_told(running, draining, told, runtime, command):
    found = doctor_processes.leftovers(loaded(runtime=runtime), running, "r2", draining)
    assert [one["item"] for one in found] == [f"app pos: release {release}" for release in told]
    assert all(f"{command} pos-web@r1.service" in one["fix"] for one in found)


def test_volumes_that_nobody_has_named_are_counted():
    assert [one["code"] for one in doctor_processes.unused_volumes(["a" * 64])] == ["volumes.unused"] and doctor_processes.unused_volumes([]) == []


# A kill fails the probe


def container(**state):
    return {"State": {"Status": "running", "Pid": 7, **state}, "RestartCount": 0, "Config": {"Labels": {"quayside.process": "web"}}}


@pytest.mark.parametrize(("known", "kills"), [(container(), 1), (container(OOMKilled=True), 0)])
def test_a_kill_in_a_running_container_fails_the_probe(monkeypatch, known, kills):
    app = loaded(runtime="compose", processes=CELERY)
    runtime = runtime_compose.Compose(app, releases.Shelf(app["root"]))
    runtime.known, runtime.output = lambda _name: known, lambda _name: "its log"
    monkeypatch.setattr("ansible_collections.quayside.django.plugins.module_utils.cgroup.memory", lambda _pid: {"used": 1, "limit": 96 * MB, "kills": kills})
    with pytest.raises(host.PhaseError, match=r"processes\[web\].memory") as error:
        runtime.dead([f"pos-{RELEASE}-web-1"], 0)
    assert "may take 96 MiB" in error.value.reason


@pytest.mark.parametrize(("events", "words"), [
    ("die 3\n", "died at its start (status 3)"), ("oom <no value>\ndie 137\n", "processes[web].memory"), ("", "died at its start (status 0)"),
])
def test_how_a_container_ended_that_was_started_again_is_told(monkeypatch, events, words):
    """Docker's state is that of the new start: status 0, and no kill."""
    app = loaded(runtime="compose", processes=CELERY)
    runtime = runtime_compose.Compose(app, releases.Shelf(app["root"]))
    runtime.known, runtime.output = lambda _name: {**container(ExitCode=0), "RestartCount": 2}, lambda _name: "its log"
    monkeypatch.setattr("ansible_collections.quayside.django.plugins.module_utils.cgroup.memory", lambda _pid: {"used": 1, "limit": 0, "kills": 0})
    argv = []
    monkeypatch.setattr(host, "run", lambda words, **_how: argv.extend(words) or type("Done", (), {"stdout": events})())
    with pytest.raises(host.PhaseError) as error:
        runtime.dead([f"pos-{RELEASE}-web-1"], 1000.4)
    assert words in error.value.reason
    assert argv[:4] == ["docker", "events", "--since", "1000"] and "--until" in argv


@pytest.mark.parametrize(("result", "kills", "restarts", "past", "fails"), [
    ("success", 0, 0, 0, False), ("success", 1, 0, 0, True), ("oom-kill", 0, 0, 0, True), ("success", 0, 1, 1, True),
])
def test_a_kill_in_a_running_unit_fails_the_probe(monkeypatch, result, kills, restarts, past, fails):
    app = loaded(processes=CELERY)
    runtime = runtime_systemd.Systemd(app, releases.Shelf(app["root"]))
    shown = f"Id=pos-web@{RELEASE}.service\nActiveState=active\nSubState=running\nResult={result}\nNRestarts={restarts}\nExecMainStatus=0\nJob=\nMainPID=7\n"
    monkeypatch.setattr(host, "systemctl", lambda *_words, **_how: type("Done", (), {"stdout": shown})())
    monkeypatch.setattr(host, "journal", lambda *_words: "its log")
    monkeypatch.setattr("ansible_collections.quayside.django.plugins.module_utils.cgroup.memory", lambda _pid: {"used": 1, "limit": 0, "kills": kills})
    monkeypatch.setattr("ansible_collections.quayside.django.plugins.module_utils.cgroup.past_kills", lambda: {f"pos-web@{RELEASE}.service": past})
    if not fails:
        assert runtime.dead([f"pos-web@{RELEASE}.service"], 0) == ""
        return
    with pytest.raises(host.PhaseError, match=r"processes\[web\].memory"):
        runtime.dead([f"pos-web@{RELEASE}.service"], 0)


@pytest.mark.parametrize("kind", ["systemd", "compose"])
def test_a_kill_that_systemd_and_docker_have_forgotten_is_described(monkeypatch, kind):
    """The main process was killed and started again: its cgroup is another, and the state is that of the new start."""
    app = loaded(runtime=kind, processes=CELERY)
    runtime = (runtime_compose.Compose if kind == "compose" else runtime_systemd.Systemd)(app, releases.Shelf(app["root"]))
    names = {"systemd": f"pos-web@{RELEASE}.service", "compose": f"pos-{RELEASE}-web-1"}
    shown = f"Id={names['systemd']}\nLoadState=loaded\nActiveState=active\nResult=success\nNRestarts=1\nExecMainStatus=0\nMainPID=7\n"
    monkeypatch.setattr(host, "systemctl", lambda *_words, **_how: type("Done", (), {"stdout": shown})())
    monkeypatch.setattr(runtime.shelf, "units", lambda _release: [names[kind]])
    runtime.known = lambda _name: {**container(), "Id": "4f5c"}
    modules = "ansible_collections.quayside.django.plugins.module_utils."
    monkeypatch.setattr(f"{modules}cgroup.memory", lambda _pid: {"used": 1, "limit": 96 * MB, "kills": 0})
    monkeypatch.setattr(f"{modules}cgroup.past_kills", lambda: Counter({names["systemd"]: 1, "4f5c": 1}))
    seen = runtime.describe(RELEASE)
    assert "process.killed" in [one["code"] for one in doctor_processes.findings(app, seen)]
