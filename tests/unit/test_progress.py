# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads while a deploy runs: written by the host, followed by the controller."""
import contextlib
import os
import stat
import sys
import threading
import time

import pytest
from ansible_collections.quayside.django.plugins.action import release as action
from ansible_collections.quayside.django.plugins.module_utils import deploy, host, images, progress, runtime
from ansible_collections.quayside.django.plugins.plugin_utils import follower
from samples import loaded

LINES = [
    ("a phase that begins", [[["phase", "build"]]], ["web1: build …"]),
    ("a step of it", [[["phase", "build"]], [["step", "npm ci"]]], ["web1: build …", "web1: build (npm ci) …"]),
    ("of steps that came together the last one", [[["phase", "build"], ["step", "npm ci"], ["step", "vite build"]]], ["web1: build (vite build) …"]),
    ("what has ended meanwhile, and what was short is left out",
     [[["phase", "lock"], ["done", "lock", 0.04], ["phase", "resolve"], ["done", "resolve", 0.4], ["phase", "fetch"]]],
     ["web1: resolve took 0.4 s", "web1: fetch …"]),
    ("a short one whose beginning was told", [[["phase", "lock"]], [["done", "lock", 0.04]]], ["web1: lock …", "web1: lock took 0.0 s"]),
    ("a command called as its phase is said once", [[["phase", "migrate"], ["step", "migrate"]], [["step", "migrate: shop.0001_initial"]]],
     ["web1: migrate …", "web1: migrate (shop.0001_initial) …"]),
    ("a step without a phase", [[["step", "npm ci"]]], []),
]


@pytest.mark.parametrize(("batches", "told"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_lines(batches, told):
    report = progress.Report("web1")
    assert [line for number, batch in enumerate(batches) for line in report.take(batch, number)] == told


def test_a_step_that_goes_on_is_told_once_a_minute():
    report = progress.Report("web1")
    report.take([["phase", "build"], ["step", "npm ci"]], 100)
    assert report.waiting(159) == []
    assert report.waiting(160) == ["web1: build (npm ci) … for 60 s"]
    assert report.waiting(161) == []
    assert report.waiting(221) == ["web1: build (npm ci) … for 121 s"]
    report.take([["done", "build", 130]], 230)
    assert report.waiting(1000) == []


ENDS = [
    ("the rest", {"lock": 0.01, "build": 9.0, "migrate": 4.0, "record": 0.02}, False, ["web1: build took 9.0 s", "web1: migrate took 4.0 s"]),
    ("a failure", {"lock": 0.01, "build": 9.0}, True, ["web1: build failed after 9.0 s"]),
]


@pytest.mark.parametrize(("seconds", "failed", "told"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_the_end_of_a_task_tells_what_was_not_told_yet(seconds, failed, told):
    report = progress.Report("web1")
    assert report.end(seconds, failed) == []  # a task of which nothing was told stays silent
    report.take([["phase", "build"]], 1)
    assert report.end(seconds, failed) == told


@pytest.mark.parametrize("line", [b"", b"x", b"{}", b"[]", b"[1]", b'["phase"]', b'["phase", 1]', b'["phase", "a", "b"]', b'["done", "a", "b"]',
                                  b'["other", "a"]', b'["phase", ["a"]]', b"[" * 5000, b'["step", "' + b"a" * 5000 + b'"]', b"\xff\xfe"])
def test_what_is_no_event_is_left_out(line):
    assert progress.parse(line) == []


@pytest.mark.parametrize(("words", "path"), [(("20261128000000-ab", "shop", ["lock", "resolve"]), "/run/quayside-progress/20261128000000-ab-shop-lock"),
                                             (("../x", "shop", ["lock"]), ""), (("r", "a;b", ["lock"]), ""), (("r", "a b", ["lock"]), ""), (("", "", []), "")])
def test_the_path_is_safe_in_a_shell(words, path):
    assert progress.path(*words) == path


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FOLDER", str(tmp_path / "progress"))
    return progress.path("run", "shop", ["lock"])


def test_the_file_is_for_one_reader_and_gone_afterwards(place):
    with progress.opened(place, os.getuid()) as told:
        told.phase("build")
        told.step("x" * 1000)
        told.done("build", 1.234)
        known = os.stat(place)
        lines = open(place, "rb").read().splitlines()
    assert stat.S_IMODE(known.st_mode) == 0o600
    assert int(lines[0]) == os.getpid()
    assert [progress.parse(line) for line in lines[1:]] == [["phase", "build"], ["step", "x" * 120], ["done", "build", 1.2]]
    assert not os.path.exists(place)


def test_no_deploy_fails_for_it(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(progress, "FOLDER", str(tmp_path / "file"))
    with progress.opened(progress.path("run", "shop", ["lock"]), 0) as told:
        told.phase("build")
    with progress.opened("", 0) as told:
        told.phase("build")


def until(wanted, seconds=20):
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def following(place, said, **options):
    return follower.Follower("web1", ["/bin/sh", "-c", progress.follow_command(place)], said.append, **{"delay": 0, "pause": 0.05, **options})


def test_a_follower_tells_what_is_written_as_it_is_written(place):
    said = []
    one = following(place, said)
    one.start()
    with progress.opened(place, os.getuid()) as told:
        told.phase("build")
        until(lambda: said == ["web1: build …"])
        told.step("npm ci")
        until(lambda: said[1:] == ["web1: build (npm ci) …"])
        told.done("build", 3)
        until(lambda: said[2:] == ["web1: build took 3.0 s"])
        before = time.monotonic()
        one.stop({"seconds": {"build": 3, "migrate": 2}, "failed": True})
    assert time.monotonic() - before < 1
    assert said[3:] == ["web1: migrate failed after 2.0 s"]
    assert not one.thread.is_alive()


def test_a_short_task_is_followed_by_nobody(place, monkeypatch):
    monkeypatch.setattr(follower.subprocess, "Popen", lambda *_words, **_options: pytest.fail("somebody was asked"))
    said = []
    one = following(place, said, delay=60)
    one.start()
    before = time.monotonic()
    one.stop({"seconds": {"build": 3}})
    assert time.monotonic() - before < 1
    assert said == []


def test_the_command_ends_with_the_process_that_writes(place):
    writer = follower.subprocess.Popen(["sleep", "60"])
    os.makedirs(progress.FOLDER)
    with open(place, "w") as file:
        file.write(f"{writer.pid}\n")
    reader = follower.subprocess.Popen(["/bin/sh", "-c", progress.follow_command(place)], stdout=follower.subprocess.PIPE)
    assert reader.poll() is None
    writer.kill()
    writer.wait()
    assert reader.wait(10) == 0


def test_a_server_that_floods_or_is_silent_holds_nobody(place):
    said = []
    flood = follower.Follower("web1", ["/bin/sh", "-c", 'while :; do echo \'["step", "x"]\'; done'], said.append, delay=0, pause=0.001)
    flood.start()
    flood.thread.join(60)
    assert not flood.thread.is_alive(), "it read on for ever"
    mute = follower.Follower("web1", ["/bin/sh", "-c", 'echo \'["phase", "x"]\'; exec sleep 60'], said.append, delay=0, pause=0.01)
    mute.start()
    until(lambda: said == ["web1: x …"])
    before = time.monotonic()
    mute.stop({})
    assert time.monotonic() - before < 5


def test_what_is_printed_steers_neither_terminal_nor_runner(monkeypatch):
    said = []
    monkeypatch.setattr(follower, "display", type("Display", (), {"display": lambda self, text, stderr: said.append((text, stderr))})())
    follower.tell("web1: build (\x1b[2J\n::set-output name=a::b) …")
    assert said == [("web1: build (\\x1b[2J : :set-output name=a::b) …", True)]


class Connection:
    """Stands in for a connection of Ansible."""

    host, user, _play_context = "", "", None

    def __init__(self, transport="ssh", **options):
        self.transport, self.options = transport, {"ssh_executable": "ssh", "host": "192.0.2.1", **options}

    def get_option(self, name):
        return self.options.get(name)

    def _build_command(self, program, _subsystem):
        self.user = "changed"
        return [program.encode(), b"-o", b"ControlMaster=auto"]


def test_the_session_is_one_beside_that_of_the_module():
    connection = Connection()
    words = follower.argv(connection, "true; true")
    assert [word.decode() if isinstance(word, bytes) else word for word in words] == [
        "ssh", "-n", "-T", "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o", "ControlMaster=auto", "192.0.2.1", "/bin/sh -c 'true; true'"]
    assert (connection.host, connection.user) == ("", ""), "the connection of the module was changed"
    assert follower.argv(Connection("local"), "true") == ["/bin/sh", "-c", "true"]
    assert follower.argv(Connection(password="x"), "true") is None
    assert follower.argv(Connection("docker"), "true") is None


def test_a_thread_that_prints_is_waited_for(place):
    """Ansible's worker ends without its threads: one that held the queue of the controller would hold it for ever."""
    printing, free, said = threading.Event(), threading.Event(), []

    def slow(line):
        printing.set()
        free.wait(10)
        said.append(line)

    one = follower.Follower("web1", ["/bin/sh", "-c", progress.follow_command(place)], slow, delay=0, pause=0.01)
    with progress.opened(place, os.getuid()) as told:
        told.phase("build")
        one.start()
        printing.wait(10)
        stopper = threading.Thread(target=one.stop, args=({},))
        stopper.start()
        stopper.join(0.3)
        assert stopper.is_alive()
        free.set()
        stopper.join(10)
    assert said == ["web1: build …"]


# What the host says


class Told(progress.Progress):
    """Notes what it is told."""

    def __init__(self):
        super().__init__()
        self.events = []

    def write(self, event):
        self.events.append(event)


def made(monkeypatch, told, **methods):
    """Return a Deploy whose phases do nothing but what ``methods`` do."""
    one = deploy.Deploy.__new__(deploy.Deploy)
    one.app, one.options, one.release, one.record = loaded(), {}, "", {}
    one.notes, one.seconds, one.noop, one.progress, one.process = [], {}, False, told, None
    one.runtime = one.lock = type("Nothing", (), {"close": lambda self: None})()
    monkeypatch.setattr(deploy.Deploy, "own", lambda self, phase: None)
    for name in ("take_lock", "resolve", "fetch", "build"):
        monkeypatch.setattr(deploy.Deploy, name, methods.get(name, lambda self: None))
    return one


def test_each_phase_is_told_as_it_begins_and_ends(monkeypatch):
    told = Told()
    made(monkeypatch, told, build=lambda self: self.progress.step("npm ci")).run(["lock", "resolve", "build"])
    assert [event[:2] for event in told.events] == [["phase", "lock"], ["done", "lock"], ["phase", "resolve"], ["done", "resolve"],
                                                    ["phase", "build"], ["step", "npm ci"], ["done", "build"]]


def test_what_failed_has_begun_and_not_ended(monkeypatch):
    def fails(_self):
        raise host.PhaseError("no")

    told = Told()
    with pytest.raises(deploy.Failure):
        made(monkeypatch, told, resolve=fails).run(["lock", "resolve", "build"])
    assert [event[:2] for event in told.events] == [["phase", "lock"], ["done", "lock"], ["phase", "resolve"]]


MIGRATES = """
import json, sys, time
for line in sys.stdin:
    print("Operations to perform:")
    for name in ("shop.0001_initial", "shop.0002_höhe"):
        sys.stdout.write(f"  Applying {name}...")
        sys.stdout.flush()
        open(sys.argv[1] + "/" + name, "w").close()
        while not __import__("os").path.exists(sys.argv[1] + "/go-" + name):
            time.sleep(0.01)
        print(" OK")
    print("\\n" + "\\x1equayside " + json.dumps({"status": 0}), flush=True)
"""


def test_a_migration_is_told_when_it_begins(tmp_path):
    told = []

    def migrating(name):
        until(lambda: (tmp_path / name).exists())
        told.append(name)
        (tmp_path / f"go-{name}").touch()

    process = runtime.ManageProcess([sys.executable, "-c", MIGRATES, str(tmp_path)], lambda: None, lambda *_words: None)
    try:
        answer, output = process.ask(["migrate"], 60, migrating)
    finally:
        process.close()
    assert answer == {"status": 0}
    assert told == ["shop.0001_initial", "shop.0002_höhe"]
    assert output == "Operations to perform:\n  Applying shop.0001_initial... OK\n  Applying shop.0002_höhe... OK"


def test_a_program_that_is_watched_tells_each_line():
    told = []
    done = host.watched([sys.executable, "-c", "print('a'); print('b'); raise SystemExit(4)"], told.append, 60, dict(os.environ))
    assert (done.returncode, done.stdout, told) == (4, "a\nb\n", ["a\n", "b\n"])
    before = time.monotonic()
    with pytest.raises(follower.subprocess.TimeoutExpired):
        # A child of it that holds the pipe would keep the deploy waiting.
        host.watched(["/bin/sh", "-c", "sleep 60 & wait"], told.append, 0.2, dict(os.environ))
    assert time.monotonic() - before < 10


STEPS = [("#7 [3/5] RUN pip install -r requirements.txt", ["image app 3/5: RUN pip install -r requirements.txt"]),
         ("#12 [assets 2/4] COPY . .", ["image app assets 2/4: COPY . ."]),
         ("#1 [internal] load build definition from Dockerfile", []), ("#7 0.512 #8 [1/1] no step", []), ("#7 CACHED", []), ("", [])]


@pytest.mark.parametrize(("line", "steps"), STEPS)
def test_the_steps_of_a_dockerfile_are_told(line, steps):
    told = Told()
    images.Images(loaded(runtime="compose", images=[{"name": "app"}]), {}, told=told).step_of({"name": "app"}, line)
    assert [event[1] for event in told.events] == steps


@pytest.mark.parametrize("fails", [False, True])
def test_the_action_follows_its_module_until_it_has_ended(monkeypatch, fails):
    calls = []

    def execute(_self, module_args, task_vars):
        calls.append("module")
        if fails:
            raise ConnectionError("lost")
        return {"seconds": {"build": 4.0}}

    following = type("Following", (), {"stop": lambda self, result: calls.append(result)})()
    monkeypatch.setattr(action.follower, "begin", lambda host, args, connection: calls.append((host, args, connection)) or following)
    monkeypatch.setattr(action.ActionBase, "run", lambda *_words: {})
    monkeypatch.setattr(action.ActionModule, "_execute_module", execute)
    one = action.ActionModule.__new__(action.ActionModule)
    one._task, one._connection = type("Task", (), {"args": {"run": "1"}})(), "the connection"
    with pytest.raises(ConnectionError) if fails else contextlib.nullcontext():
        one.run(None, {"inventory_hostname": "web1"})
    assert calls == [("web1", {"run": "1"}, "the connection"), "module", {} if fails else {"seconds": {"build": 4.0}}]


@pytest.mark.parametrize("args", [{}, {"app": "{{ x }}", "run": "1"}, {"app": {"name": "shop"}, "run": "1; rm", "phases": ["lock"]}])
def test_a_task_whose_words_are_none_for_a_file_is_not_followed(args):
    assert follower.begin("web1", args, Connection("local")) is None
