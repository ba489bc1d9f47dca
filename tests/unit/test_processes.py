# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import celery_workers, processes, releases
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import CELERY, RELEASE, loaded


def of(command, **fields):
    """Return an app with one process more, and that process."""
    process = {"name": fields.pop("name", "web"), "command": command, **fields}
    app = loaded(processes=[process] if process["name"] == "web" else [{"name": "web", "command": "gunicorn x"}, process])
    return app, app["processes"][-1]


def full(command, **fields):
    """Return the command that the process runs."""
    return processes.full_command(*of(command, **fields), 3, "/lib")


@pytest.mark.parametrize(("command", "kind"), [
    ("gunicorn pos.wsgi", "server"), ("/opt/x/bin/gunicorn pos.wsgi", "server"), ("uvicorn pos.asgi", "server"), ("hypercorn pos.asgi", "server"),
    ("daphne pos.asgi:application", "server"), ("granian pos.wsgi", "server"),
    ("celery -A pos worker", "celery-worker"), ("celery -A pos worker -Q a,b", "celery-worker"),
    ("celery --app=pos beat", "celery-beat"), ("celery -A pos flower", "other"), ("python manage.py listen", "other"), ("node server.js", "other"),
    ("FOO=1 gunicorn x", "other"), ("", "other"), ("gunicorn-like x", "other"),
])
def test_the_kind_of_a_command(command, kind):
    assert processes.kind(command) == kind


def test_a_beat_of_a_project_called_worker_is_a_beat():
    assert processes.kind("celery -A worker beat") == "celery-beat"


@pytest.mark.parametrize(("command", "name"), [
    ("celery -A pos worker", "pos"), ("celery --app pos worker", "pos"), ("celery --app=pos.celery:app worker", "pos.celery:app"),
    ("celery worker -A pos", "pos"), ("celery worker", ""), ("celery -A", ""), ("celery worker --apple=x", ""),
])
def test_the_app_that_a_celery_command_names(command, name):
    assert processes.celery_app(command) == name


def test_gunicorn_gets_all_that_it_needs():
    assert full("gunicorn pos.wsgi", threads=2, drain=40, timeout=90) == (
        'gunicorn pos.wsgi --bind "unix:$SOCKET" --threads 2 --graceful-timeout 40 --timeout 90 --config /lib/gunicorn-web.py')


def configured(tmp_path, monkeypatch, command="gunicorn pos.wsgi", own="", name="gunicorn.conf.py", **fields):
    """Return what gunicorn reads from the file that we give it, in a project with a file of its own."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    if own:
        (tmp_path / "project" / name).write_text(own)
    (tmp_path / "ours.py").write_text(processes.config_file(*of(command, **fields), 3))
    return {key: value for key, value in runpy.run_path(str(tmp_path / "ours.py")).items() if not key.startswith("_")}


def test_without_a_file_of_the_project_gunicorn_has_the_defaults_of_the_model(tmp_path, monkeypatch):
    found = configured(tmp_path, monkeypatch)
    assert {name: found[name] for name in ("workers", "threads", "timeout", "graceful_timeout", "accesslog")} == {
        "workers": 3, "threads": 1, "timeout": 60, "graceful_timeout": 30, "accesslog": "-"}
    assert found["access_log_format"].startswith("%({x-forwarded-for}i)s ")  # behind a socket %(h)s is empty


def test_the_projects_file_wins_where_the_model_is_silent(tmp_path, monkeypatch):
    own = ("import os\nworkers = 9\nthreads = int('4')\ntimeout = 200\ngraceful_timeout = 20\naccesslog = None\n"
           "bind = '0.0.0.0:80'\ndaemon = True\npidfile = '/x'\ndef on_starting(server): return os.sep\n")
    found = configured(tmp_path, monkeypatch, own=own)
    assert (found["workers"], found["threads"], found["timeout"], found["graceful_timeout"], found["accesslog"]) == (9, 4, 200, 20, None)
    assert not {"bind", "daemon", "pidfile"} & set(found) and found["on_starting"](None) == os.sep


def test_what_the_model_says_wins_over_the_projects_file():
    assert full("gunicorn x", workers="5", timeout=9).startswith('gunicorn x --bind "unix:$SOCKET" --workers 5 --timeout 9 --config ')


@pytest.mark.parametrize("command", ["gunicorn -c $CONF/own.py x", "gunicorn --config=file:own.py x", "gunicorn -cown.py x", "gunicorn --config python:own x"])
def test_a_file_that_the_command_names_is_read_too(tmp_path, monkeypatch, command):
    monkeypatch.setenv("CONF", ".")
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    assert configured(tmp_path, monkeypatch, command, "workers = 9\n", "own.py")["workers"] == 9
    assert full(command).endswith("--config /lib/gunicorn-web.py")  # the last one counts


def test_a_file_that_the_command_names_has_to_be_there(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        configured(tmp_path, monkeypatch, "gunicorn -c nowhere.py x")


def test_other_servers_have_no_such_file():
    assert processes.config_name(of("uvicorn pos.asgi")[1]) == "" and processes.config_name(of("celery -A x worker", name="worker")[1]) == ""


@pytest.mark.parametrize(("command", "left_out"), [
    ("gunicorn x --bind 127.0.0.1:8000", "--bind"), ("gunicorn x --bind=127.0.0.1:8000", "--bind"), ("gunicorn x -b :8000", "--bind"),
    ("gunicorn x -b:8000", "--bind"), ("gunicorn x --workers 5", "--workers"), ("gunicorn x --workers=5", "--workers"), ("gunicorn x -w 5", "--workers"),
    ("gunicorn x -w5", "--workers"), ("gunicorn x --threads 9", "--threads"), ("gunicorn x --graceful-timeout 9", "--graceful-timeout"),
    ("gunicorn x --timeout 9", "--timeout"), ("gunicorn x -t 9", "--timeout"),
])
def test_a_flag_that_is_given_is_not_added(command, left_out):
    added = full(command, workers="4", threads=2, timeout=30, drain=20)[len(command):].split()
    assert left_out not in added
    assert {"--bind", "--workers", "--threads", "--graceful-timeout", "--timeout"} - {left_out} <= set(added)


@pytest.mark.parametrize("command", ["gunicorn x --timeout-like 3", "gunicorn x --bindings", "gunicorn x --worker-class gevent"])
def test_a_flag_of_a_similar_name_is_not_taken_for_it(command):
    assert full(command, workers="4").startswith(command + ' --bind "unix:$SOCKET" --workers 4')


@pytest.mark.parametrize(("command", "fields", "added"), [
    ("uvicorn pos.asgi", {}, '--uds "$SOCKET" --workers 3 --timeout-graceful-shutdown 30'),
    ("uvicorn pos.asgi --port 8000", {}, "--workers 3 --timeout-graceful-shutdown 30"),
    ("hypercorn pos.asgi", {}, '--bind "unix:$SOCKET" --umask 7 --workers 3 --graceful-timeout 30'),
    ("daphne pos.asgi:application", {}, '-u "$SOCKET"'),
    ("daphne -p 8000 pos.asgi:application", {}, ""),
    ("hypercorn pos.asgi", {"port": 8000}, "--bind 127.0.0.1:$PORT --workers 3 --graceful-timeout 30"),
    ("hypercorn pos.asgi -b unix:$SOCKET -m 0", {}, "--workers 3 --graceful-timeout 30"),
    ("granian pos.wsgi", {}, '--uds "$SOCKET" --uds-permissions 660 --workers 3 --interface wsgi'),
    ("granian pos.asgi --interface asgi", {"port": 8000}, "--host 127.0.0.1 --port $PORT --workers 3"),
    ("granian pos.asgi --interface asgi", {}, '--uds "$SOCKET" --uds-permissions 660 --workers 3'),
    ("gunicorn x", {"workers": "7"}, '--bind "unix:$SOCKET" --workers 7 --config /lib/gunicorn-web.py'),
    ("gunicorn x", {}, '--bind "unix:$SOCKET" --config /lib/gunicorn-web.py'),
    ("celery -A pos worker", {"name": "worker"}, '--hostname "pos-worker-$COPY.$RELEASE@%h" --without-mingle --concurrency 3 --loglevel INFO'),
    ("celery -A pos worker", {"name": "mail", "workers": "2"},
     '--hostname "pos-mail-$COPY.$RELEASE@%h" --without-mingle --concurrency 2 --loglevel INFO'),
    ("celery -A pos worker -c4 -l DEBUG", {"name": "worker", "workers": "2"}, '--hostname "pos-worker-$COPY.$RELEASE@%h" --without-mingle'),
    ("celery -A pos worker --without-mingle -l INFO", {"name": "worker"},
     '--hostname "pos-worker-$COPY.$RELEASE@%h" --concurrency 3'),
    ("celery -A pos beat", {"name": "beat"}, '--schedule "/opt/pos/shared/state/beat.schedule" --pidfile= --loglevel INFO'),
    ("celery -A pos beat -s /x --pidfile /y -l WARNING", {"name": "beat"}, ""),
    ("python manage.py listen", {"name": "bot", "workers": "9"}, ""),
    ("celery -A pos flower", {"name": "flower"}, ""),
])
def test_each_server_gets_its_flags(command, fields, added):
    assert full(command, **fields) == f"{command} {added}".strip()


@pytest.mark.parametrize(("process", "names"), [
    ({"name": "web", "command": "gunicorn x"}, ["pos-web"]),
    ({"name": "worker", "command": "celery -A x worker"}, ["pos-worker-1"]),
    ({"name": "worker", "command": "celery -A x worker", "count": 3}, ["pos-worker-1", "pos-worker-2", "pos-worker-3"]),
    ({"name": "worker", "command": "celery -A x worker", "single": True}, ["pos-worker"]),
    ({"name": "beat", "command": "celery -A x beat"}, ["pos-beat"]),
    ({"name": "bot", "command": "python bot.py"}, ["pos-bot-1"]),
    ({"name": "node", "command": "node x $SOCKET"}, ["pos-node"]),
])
def test_units_have_a_number_only_where_there_may_be_several(process, names):
    app, process = of(**process)
    assert [processes.unit_name(app, process, copy) for copy in processes.copies(process)] == names


@pytest.mark.parametrize(("subdir", "folder"), [("", f"/opt/pos/releases/{RELEASE}/code"), ("backend", f"/opt/pos/releases/{RELEASE}/code/backend")])
def test_the_code_folder_is_the_apps_root(subdir, folder):
    assert processes.code_folder(loaded(source={"repo": "https://git.example.com/x", "subdir": subdir}), RELEASE) == folder


def test_the_probe_asks_the_workers_by_the_names_that_they_get():
    app = loaded(processes=CELERY)
    worker = app["processes"][1]
    names = [processes.full_command(app, worker, 1).split('--hostname "')[1].split("@")[0].replace("$COPY", str(copy)).replace("$RELEASE", RELEASE)
             for copy in processes.copies(worker)]
    assert celery_workers.nodes(app, RELEASE) == names == [f"pos-worker-1.{RELEASE}", f"pos-worker-2.{RELEASE}"]


# Exec scripts, run by a real shell with stand-ins for the servers

STAND_IN = '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\nprintf -- "--\\n"\nexec /usr/bin/env -0\n'


def started(tmp_path, process, *words, **fields):
    """Run the exec script of a process; return the words and the env that its server saw."""
    root, venv = str(tmp_path / "pos"), tmp_path / "venv"
    app = loaded(processes=[process, {"name": "other", "command": "gunicorn x", "route": "/"}], **fields)
    app.update(root=root, shared=f"{root}/shared", state=f"{root}/shared/state")
    process = app["processes"][0]
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    for server in ("gunicorn", "celery", "stand-in"):
        (venv / "bin" / server).write_text(STAND_IN)
        (venv / "bin" / server).chmod(0o755)
    for folder in ("shared/state", f"releases/{RELEASE}/run"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    (tmp_path / "script").write_text(processes.script(app, process, RELEASE, str(venv), 3))
    (tmp_path / "script").chmod(0o755)
    done = subprocess.run([tmp_path / "script", *words], capture_output=True, text=True, check=True, env={"FROM": "outside"})
    seen, env = done.stdout.split("--\n", 1) if not done.stdout.startswith("--\n") else ("", done.stdout[3:])
    return app, seen.splitlines(), dict(item.split("=", 1) for item in env.split("\0") if item)


def test_the_script_of_a_server_gives_it_a_socket_of_its_release(tmp_path):
    app, words, env = started(tmp_path, {"name": "web", "command": "gunicorn x", "route": ""})
    socket = f"{app['root']}/releases/{RELEASE}/run/web.sock"
    assert words[:4] == ["x", "--bind", f"unix:{socket}", "--config"]
    assert (env["SOCKET"], env["RELEASE"], env["PROCESS"], env["COPY"], env["FROM"]) == (socket, RELEASE, "web", "1", "outside")
    assert env["PYTHONPATH"] == f"{app['root']}/releases/{RELEASE}/code"
    assert env["PATH"].startswith(f"{tmp_path}/venv/bin:")


@pytest.mark.parametrize(("fields", "folders"), [
    ({}, [""]),
    ({"manage": "src/manage.py"}, ["src", ""]),
    ({"manage": "c/manage.py", "source": {"repo": "https://git.example.com/x", "subdir": "a/b"}}, ["a/b/c", "a/b"]),
    ({"manage": "src/manage.py", "env": {"PYTHONPATH": "libs:vendor"}}, ["src", "", "libs", "vendor"]),
])
def test_every_process_finds_what_lies_beside_manage_py(fields, folders):
    code = f"/opt/pos/releases/{RELEASE}/code"
    path = ":".join(name if name in ("libs", "vendor") else f"{code}/{name}".rstrip("/") for name in folders)
    app = loaded(processes=CELERY, **fields)
    assert processes.python_path(app, RELEASE) == path
    for process in app["processes"]:
        assert f"export PYTHONPATH={shlex.quote(path)}" in processes.script(app, process, RELEASE, "/venv", 3).splitlines()
    one_off = Systemd(app, releases.Shelf(app["root"])).in_venv(RELEASE, "/venv", ["true"], "x", 1)
    assert f"--setenv=PYTHONPATH={path}" in one_off


def test_the_script_removes_a_stale_socket(tmp_path):
    stale = tmp_path / "pos" / "releases" / RELEASE / "run" / "web.sock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    started(tmp_path, {"name": "web", "command": "gunicorn x", "route": ""})
    assert not stale.exists()


def test_the_script_of_a_worker_names_its_node_by_copy_and_release(tmp_path):
    _app, words, env = started(tmp_path, {"name": "worker", "command": "celery -A x worker", "count": 2}, "2")
    assert f"pos-worker-2.{RELEASE}@%h" in words
    assert env["COPY"] == "2"


@pytest.mark.skipif(not shutil.which("flock"), reason="flock of util-linux is not here")
def test_the_script_of_a_single_process_holds_a_lock_in_its_leaf(tmp_path):
    app, words, _env = started(tmp_path, {"name": "beat", "command": "celery -A x beat"})
    assert words == ["-A", "x", "beat", "--schedule", f"{app['root']}/shared/state/beat.schedule", "--pidfile=", "--loglevel", "INFO"]
    assert os.path.exists(f"{app['root']}/shared/state/beat.lock")


@pytest.mark.skipif(not shutil.which("flock"), reason="flock of util-linux is not here")
def test_a_single_process_stays_the_process_that_systemd_started():
    script = processes.script(*of("celery -A x beat", name="beat"), RELEASE, "/venv", 3)
    assert script.splitlines()[-1].startswith("exec flock --no-fork --timeout 30 /opt/pos/shared/state/beat.lock celery -A x beat ")


@pytest.mark.parametrize("value", ["a b", "it's", '"', "$HOME `id` $(id)", "\\", "#", "100%", "ü", True, None, ""])
def test_the_env_of_a_process_is_exact_and_wins(value, tmp_path):
    _app, _words, env = started(tmp_path, {"name": "bot", "command": "stand-in", "env": {"A": value, "PYTHONPATH": "/elsewhere"}})
    assert (env["A"], env["PYTHONPATH"]) == ("" if value is None else str(value), "/elsewhere")


def test_a_command_may_use_its_variables(tmp_path):
    _app, words, _env = started(tmp_path, {"name": "bot", "command": 'stand-in --at "$SOCKET" --as $PROCESS-$COPY "a  b"'}, "4")
    assert words[1].endswith("/run/bot.sock")
    assert words[2:] == ["--as", "bot-4", "a  b"]


MANAGE = ["echo", "--pipe", "a b", "--", "/venv/bin/python", "manage.py"]


def test_the_manage_script_hands_its_words_to_the_sandbox(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "manage").write_text(processes.manage_script(MANAGE, {"X": "1"}, "sudo manage"))
    done = subprocess.run(["sh", tmp_path / "manage", "migrate", "--plan"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.stdout == "--pipe a b -- /venv/bin/python manage.py migrate --plan\n"


def test_the_manage_script_says_what_to_type_where_root_does_not_call_it(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "manage").write_text(processes.manage_script(MANAGE, {}, "sudo /opt/pos/live/bin/manage"))
    done = subprocess.run(["sh", tmp_path / "manage", "shell"], capture_output=True, text=True, check=False, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "only root reads the secrets of the app; type: sudo /opt/pos/live/bin/manage\n"


