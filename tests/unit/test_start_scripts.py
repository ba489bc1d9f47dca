# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes behind a start script: what the model knows of them, and what they get in the place of flags."""
from __future__ import annotations

import json

import pytest
from ansible_collections.quayside.django.plugins.module_utils import (
    celery_workers,
    compose_project,
    doctor_inventory,
    host,
    http_health,
    model,
    processes,
    releases,
    sizing,
)
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import RELEASE, loaded

WEB = {"name": "web", "command": "gunicorn pos.wsgi"}
WORKER = {"name": "worker", "command": "/start-worker", "kind": "celery-worker"}
BEAT = {"name": "beat", "command": "/start-beat", "kind": "celery-beat"}
FACTS = {"user": "998:997", "images": {"app": "app:1", "front": "front:1"}, "ports": {"web": 20001}, "env": {}, "secrets": {},
         "workers": {"web": 5, "worker": 2}, "memory": {}, "search": {}, "addresses": {}, "services": {}}
RUNTIMES = ("systemd", "compose")


def of(process, runtime="compose", **fields):
    """Return an app with a web server and another process, and that process."""
    app = loaded(runtime=runtime, processes=[WEB, process] if process["name"] != "web" else [process], **fields)
    return app, app["processes"][-1]


def environment(process, runtime="compose", image_env=(), **fields):
    """Return the variables that a process gets from us, whatever runs it."""
    app, process = of(process, runtime, **fields)
    if runtime == "compose":
        return compose_project.service(app, process, RELEASE, {**FACTS, "image_env": {"app": image_env}}, 1)["environment"]
    lines = processes.script(app, process, RELEASE, "/venv", FACTS["workers"].get(process["name"], 1)).splitlines()
    return dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines if line.startswith("export "))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("process", "kind", "serves", "single", "drain"), [
    (WORKER, "celery-worker", False, False, 300),
    (BEAT, "celery-beat", False, True, 20),
    ({"name": "api", "command": "./start.sh", "kind": "server"}, "server", True, False, 30),
    ({"name": "api", "command": "./start.sh", "port": 8000}, "server", True, False, 30),
    ({"name": "bot", "command": "./start.sh", "kind": "other"}, "other", False, False, 30),
])
def test_the_model_says_what_a_start_script_starts(runtime, process, kind, serves, single, drain):
    found = of(process, runtime)[1]
    assert (found["kind"], found["serves"], found["single"], found["drain"]) == (kind, serves, single, drain)
    assert processes.group(found) == ("singles" if single else "servers" if serves else "workers")


@pytest.mark.parametrize(("process", "text"), [
    ({"name": "worker", "command": "celery -A pos worker", "kind": "server"}, "its command runs celery, which is a celery-worker: leave kind out"),
    ({"name": "beat", "command": "/start-beat", "kind": "celery-beat", "port": 9}, "celery-beat takes no requests"),
    ({"name": "bot", "command": "/start", "probe": False}, "it takes no requests, so nobody asks it"),
    ({"name": "web", "command": "gunicorn x", "probe": False}, "without an answer there no release is known to be healthy"),
    ({"name": "worker", "command": "/start", "kind": "worker"}, "value of kind must be one of: server, celery-worker, celery-beat, other"),
])
def test_what_contradicts_itself_is_refused(process, text):
    with pytest.raises(model.ModelError, match=text):
        of(process)


@pytest.mark.parametrize(("command", "wrapper"), [
    ("/start-worker", True), ("./bin/start.sh", True), ("start.sh x", True), ("bash -c 'celery -A x worker'", True), ("env A=1 celery -A x worker", True),
    ("A=1 celery -A x worker", True), ("uv run celery -A x worker", True), ("python -m celery -A x worker", True), ("", True),
    ("celery -A x worker", False), ("celery -A x flower", False), ("/venv/bin/gunicorn x", False), ("python manage.py bot", False),
    ("/venv/bin/python manage.py bot", False), ("python -m http.server", False), ("node server.js", False), ("/usr/bin/node x.js", False),
    ("rq worker", False), ("./manage.py qcluster", False),
])
def test_a_command_that_does_not_say_what_it_starts(command, wrapper):
    assert processes.is_wrapper(command) is wrapper


@pytest.mark.parametrize(("process", "warned"), [
    ({"name": "worker", "command": "/start-worker"}, True), (WORKER, False), ({"name": "worker", "command": "/start-worker", "kind": "other"}, False),
    ({"name": "worker"}, True), ({"name": "api", "command": "/start-api", "port": 8001}, False), ({"name": "bot", "command": "python manage.py bot"}, False),
])
def test_preflight_warns_of_a_start_script_of_which_nobody_says_what_it_starts(process, warned):
    found = [one for one in doctor_inventory.findings(of(process)[0]) if one["code"] == "process.kind"]
    assert [one["severity"] for one in found] == ["warning"] * warned
    assert all(f"processes[{process['name']}]" in one["item"] and "kind: celery-worker" in one["fix"] for one in found)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_worker_behind_a_script_has_the_name_by_which_the_deploy_asks_it(runtime):
    app, _worker = of(WORKER, runtime)
    env = environment(WORKER, runtime)
    name = env["CELERY_WORKER_HOSTNAME"].strip('"').replace("$COPY", "1").replace("$RELEASE", RELEASE)
    assert name.removesuffix("@%h") == celery_workers.nodes(app, RELEASE)[0] == f"pos-worker-1.{RELEASE}"
    assert (env["CELERY_WORKER_CONCURRENCY"].strip('"'), env["CELERY_WORKER_WITHOUT_MINGLE"].strip('"')) == ("2", "true")
    assert environment({**WORKER, "workers": "7"}, runtime)["CELERY_WORKER_CONCURRENCY"].strip('"') == "7"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plain_command_gets_flags_and_no_variables(runtime):
    assert not [name for name in environment({"name": "worker", "command": "celery -A pos worker"}, runtime) if name.startswith("CELERY_WORKER")]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_beat_behind_a_script_holds_the_lock_and_writes_where_it_may(runtime):
    app, beat = of(BEAT, runtime)
    assert environment(BEAT, runtime)["CELERY_BEAT_SCHEDULE"].strip('"') == "/opt/pos/shared/state/beat.schedule"
    text = json.dumps(compose_project.command(app, beat, RELEASE, 1, 1)) if runtime == "compose" else processes.script(app, beat, RELEASE, "/venv", 1)
    assert "flock --no-fork --timeout 30 /opt/pos/shared/state/beat.lock /start-beat" in text


@pytest.mark.parametrize(("members", "env", "name"), [
    ([WORKER], {}, "pos"), ([WORKER], {"CELERY_APP": "pos.tasks"}, "pos.tasks"),
    ([{"name": "mail", "command": "celery -A pos.mail worker"}, WORKER], {}, "pos.mail"),
    ([{"name": "beat", "command": "celery -A pos.clock beat"}, WORKER], {}, "pos.clock"),
])
def test_the_celery_app_of_a_start_script(members, env, name):
    app = loaded(processes=[WEB, *members], env=env)
    assert processes.celery_app_of(app, app["processes"][-1]) == name


# Workers of a server


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("process", "env", "number"), [
    # A number in the model is never changed, whatever the command is.
    ({"command": "/start", "port": 8000, "workers": "4"}, {}, "4"),
    ({"command": "bash -c 'exec gunicorn pos.wsgi'", "port": 8000, "workers": "4"}, {"WEB_CONCURRENCY": "9"}, "4"),
    ({"command": "uwsgi --ini uwsgi.ini", "port": 8000, "workers": "4"}, {}, "4"),
    # Where the model is silent, one that the env has stays.
    ({"command": "/start", "port": 8000}, {"WEB_CONCURRENCY": "9"}, None),
    ({"command": "/start", "port": 8000, "env": {"WEB_CONCURRENCY": "9"}}, {}, "9"),
    ({"command": "/start", "port": 8000}, {}, "5"),
    ({"command": "node server.js", "port": 8000}, {}, None),
    ({"command": "uwsgi --ini uwsgi.ini", "port": 8000}, {}, None),
])
def test_the_workers_of_a_server_behind_a_script(runtime, process, env, number):
    assert environment({"name": "web", **process}, runtime, env=env).get("WEB_CONCURRENCY") == number


@pytest.mark.parametrize(("process", "number"), [
    ({"name": "web"}, None), ({"name": "web", "command": "/start"}, None), ({"name": "web", "command": "gunicorn pos.wsgi"}, None),
    ({"name": "web", "command": "/start", "workers": "4"}, "4"), ({"name": "web", "workers": "4"}, "4"),
])
def test_a_number_of_the_image_stays_where_the_model_is_silent(process, number):
    assert environment(process, image_env=["PATH", "WEB_CONCURRENCY"]).get("WEB_CONCURRENCY") == number


@pytest.mark.parametrize(("command", "workers", "env", "image_env", "flags"), [
    ("gunicorn x", "auto", {}, (), False), ("gunicorn x", "4", {"WEB_CONCURRENCY": "9"}, (), True),
    ("uvicorn x", "auto", {}, (), True), ("uvicorn x", "auto", {"WEB_CONCURRENCY": "9"}, (), False), ("uvicorn x", "auto", {}, ("WEB_CONCURRENCY",), False),
    ("uvicorn x", "4", {"WEB_CONCURRENCY": "9"}, ("WEB_CONCURRENCY",), True),
])
def test_a_known_server_gets_no_flag_that_would_win_over_the_env(command, workers, env, image_env, flags):
    app, process = of({"name": "web", "command": command, "workers": workers}, env=env)
    assert ("--workers" in processes.full_command(app, process, 3, "/lib", image_env)) is flags


@pytest.mark.parametrize(("process", "env", "sort", "workers"), [
    ({"command": "/start", "port": 8000, "workers": "4"}, {}, "server", 4),
    ({"command": "/start", "port": 8000}, {"WEB_CONCURRENCY": "6"}, "server", 6),
    ({"command": "gunicorn x"}, {"WEB_CONCURRENCY": "6"}, "server", 6),
    ({"command": "gunicorn x", "workers": "2"}, {"WEB_CONCURRENCY": "6"}, "server", 2),
    ({"command": "hypercorn x"}, {"WEB_CONCURRENCY": "6"}, "server", 0),
    ({"command": "/start", "port": 8000}, {}, "server", 0),
    ({"command": "node x.js", "port": 8000}, {}, "node", 1),
])
def test_sizing_counts_the_workers_that_there_will_be(process, env, sort, workers):
    app, process = of({"name": "web", **process}, env=env)
    assert (sizing.sort(app, process), sizing.written_workers(app, process)) == (sort, workers)


# Records of earlier versions


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    shelf = releases.Shelf(str(tmp_path))
    (tmp_path / "releases" / RELEASE).mkdir(parents=True)
    old = [{"name": "web", "kind": "http", "socket": True, "route": "/"}, {"name": "worker", "kind": "worker", "socket": False, "route": ""}]
    (tmp_path / "releases" / RELEASE / "release.json").write_text(json.dumps({"id": RELEASE, "processes": old}))
    found = shelf.record(RELEASE)["processes"]
    assert [(one["kind"], one["serves"], one["probe"], one["routes"]) for one in found] == [("server", True, True, ["/"]), ("celery-worker", False, True, [])]


# A server that waits for the workers


@pytest.mark.parametrize(("probe", "asked"), [(True, ["web", "flower"]), (False, ["web"])])
def test_a_process_without_a_probe_is_not_asked(monkeypatch, probe, asked):
    app = loaded(processes=[WEB, {"name": "flower", "command": "/start-flower", "port": 5555, "routes": ["/flower/"], "probe": probe}, WORKER])
    runtime, seen = Systemd(app, releases.Shelf(app["root"])), []
    runtime.dead = lambda *_words: ""
    runtime.check_of = lambda release, process, version: seen.append(process["name"]) or http_health.Check(socket="/run/x.sock")
    monkeypatch.setattr(http_health, "wait", lambda *_checks, **_how: http_health.Result(True, "", 1, 0.1))
    monkeypatch.setattr(Systemd, "sizes", lambda _self: {process["name"]: {"workers": 1, "memory": 1} for process in app["processes"]})
    runtime.ready(RELEASE, 0.0, "main")
    assert list(dict.fromkeys(seen)) == asked


@pytest.mark.parametrize(("name", "others", "told"), [("flower", [WORKER], True), ("flower", [], False), ("web", [WORKER], False)])
def test_a_failed_probe_names_the_process_and_the_field(monkeypatch, name, others, told):
    app = loaded(processes=[WEB, {"name": "flower", "command": "/start-flower", "port": 5555, "routes": ["/flower/"]}, *others])
    runtime = Systemd(app, releases.Shelf(app["root"]))
    runtime.dead = lambda *_words: ""
    runtime.log = lambda *_words: ("", "")
    runtime.check_of = lambda release, process, version: process["name"]
    monkeypatch.setattr(http_health, "wait", lambda checks, **_how: http_health.Result(checks[0] != name, "nothing listens", 1, 3.0))
    monkeypatch.setattr(Systemd, "sizes", lambda _self: {process["name"]: {"workers": 1, "memory": 1} for process in app["processes"]})
    with pytest.raises(host.PhaseError) as error:
        runtime.ready(RELEASE, 0.0, "main")
    assert error.value.reason.startswith(f"processes[{name}]: nothing listens")
    assert ("set probe: false" in error.value.reason) is told
