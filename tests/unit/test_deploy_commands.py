# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a release, in their order, and what runs only once in the life of an app."""
import json
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, django_run, host, images, releases, runtime, runtime_compose, units
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import loaded

COMMANDS = [{"name": "migrate", "manage": "migrate --noinput"}, {"name": "fixtures", "manage": "loaddata shops", "first": True},
            {"name": "owner", "manage": "createsuperuser", "first": True}]


class Process:
    """Stands in for Django: notes what it is asked, and fails where it is told to."""

    def __init__(self, fails, late=""):
        self.fails, self.late, self.asked, self.limits = fails, late, [], {}

    def ask(self, argv, seconds, _migrating=None):
        self.asked.append(argv[0])
        self.limits[argv[0]] = seconds
        if argv[0] == self.late:
            return {"status": 124, "ended": True, "late": True}, "its output"
        if argv == ["plan"]:
            return {"status": 0, "plan": []}, ""
        return {"status": int(argv[0] in self.fails), "invalid_indexes": [["public", "books", "by_title"]]}, "its output"

    def close(self):
        pass


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the commands of a new release and returns what Django was asked."""
    def run(release, live="", fails=(), late="", commands=COMMANDS, of=lambda process: process.asked):
        app = dict(loaded(commands=commands, database={"engine": "postgresql"}), root=str(tmp_path))
        folder = tmp_path / "releases" / release
        folder.mkdir(parents=True)
        made = deploy.Deploy.__new__(deploy.Deploy)
        made.app, made.options, made.notes = app, {"first": True, "hazards": False}, []
        made.shelf, made.release, made.record, made.process = releases.Shelf(str(tmp_path)), release, {"from": live}, None
        process = Process(fails, late)
        made.runtime = type("Runtime", (), {"may_watch_builds": False, "manage": lambda self, *words: process, "by_hand": lambda self, *words: "by hand"})()
        try:
            made.check()
            made.migrate()
        finally:
            made.store()
        return of(process)
    return run


@pytest.mark.proves("0.35")
def test_what_runs_once_does_not_run_again_after_a_first_deploy_that_failed_later(run, tmp_path):
    assert run("20261128000000-aaaaaaa") == ["check", "plan", "migrate", "loaddata", "createsuperuser"]
    assert run("20261128000001-aaaaaaa") == ["check", "plan", "migrate"]
    # The mark goes on with the newest record, whichever is pruned.
    host.remove(str(tmp_path / "releases/20261128000000-aaaaaaa"))
    assert run("20261128000002-aaaaaaa") == ["check", "plan", "migrate"]


def test_what_failed_itself_is_tried_again(run):
    with pytest.raises(host.PhaseError):
        run("20261128000000-aaaaaaa", fails=("createsuperuser",))
    assert run("20261128000001-aaaaaaa") == ["check", "plan", "migrate", "createsuperuser"]


def test_nothing_of_it_runs_while_a_release_is_live(run):
    assert run("20261128000001-aaaaaaa", live="20261128000000-aaaaaaa") == ["check", "plan", "migrate"]


def test_a_failed_migration_names_the_invalid_index_that_it_has_met(run):
    with pytest.raises(host.PhaseError) as caught:
        run("20261128000000-aaaaaaa", fails=("migrate",))
    assert 'DROP INDEX CONCURRENTLY "public"."by_title";' in caught.value.reason


def test_the_record_is_json(run, tmp_path):
    run("20261128000000-aaaaaaa")
    assert json.loads((tmp_path / "releases/20261128000000-aaaaaaa/release.json").read_text())["first_done"] == ["fixtures", "owner"]


SLOW = [{"name": "migrate", "manage": "migrate --noinput", "timeout": 7}, {"name": "warm", "manage": "warm_cache", "timeout": 5, "may_fail": True}]


def test_each_command_has_a_limit_of_its_own(run):
    assert run("20261128000000-aaaaaaa", commands=SLOW, of=lambda process: process.limits) == {
        "check": deploy.LOOK_SECONDS, "plan": deploy.LOOK_SECONDS, "migrate": 7, "warm_cache": 5}


@pytest.mark.parametrize(("late", "words"), [("check", "within 120 s"), ("plan", "within 120 s"), ("migrate", "within 7 s"), ("warm_cache", "within 5 s")])
def test_a_command_whose_time_is_over_ends_the_deploy(run, late, words):
    with pytest.raises(host.PhaseError, match=words) as caught:
        run("20261128000000-aaaaaaa", commands=SLOW, late=late)
    assert ("commands[" in caught.value.reason) == (late not in ("check", "plan"))
    assert caught.value.log == "its output"


DJANGO = """
import json, sys, time
print("\\x1equayside " + json.dumps({"begun": True}), flush=True)
for line in sys.stdin:
    argv = json.loads(line)
    print("begins " + argv[0], flush=True)
    if argv[0] == "long":
        time.sleep(60)
    if argv[0] == "dies":
        sys.exit(3)
    print("\\x1equayside " + json.dumps({"status": 0, "argv": argv}), flush=True)
"""


def test_what_runs_the_commands_is_ended_when_one_takes_too_long():
    ended = []
    process = runtime.ManageProcess([sys.executable, "-c", DJANGO], lambda: (ended.append(True), process.process.kill()), None)
    assert process.ask(["short"], 10) == ({"status": 0, "argv": ["short"]}, "begins short")
    assert not ended
    assert process.ask(["long"], 0.5) == ({"status": 124, "ended": True, "late": True}, "begins long")
    assert ended == [True]
    process.close()


def test_a_process_that_ends_answers_with_its_status():
    process = runtime.ManageProcess([sys.executable, "-c", DJANGO], lambda: None, None)
    assert process.ask(["dies"], 10) == ({"status": 3, "ended": True}, "begins dies")
    process.close()


def test_the_program_of_a_release_from_before_says_nothing_before_its_first_answer():
    before = DJANGO.replace('print("\\x1equayside " + json.dumps({"begun": True}), flush=True)', "")
    assert before != DJANGO
    process = runtime.ManageProcess([sys.executable, "-c", before], lambda: None, None)
    assert process.ask(["short"], 10) == ({"status": 0, "argv": ["short"]}, "begins short")
    assert process.ask(["dies"], 10) == ({"status": 3, "ended": True}, "begins dies")
    process.close()


@pytest.mark.parametrize(("entrypoint", "status", "printed"), [
    ("print('waiting for postgres', flush=True)\nwhile True: time.sleep(1)", 0, "waiting for postgres"),  # with a wrong password it waits for ever
    ("print('serving')", 1, "serving"),  # it swallows its arguments, and ends well
    ("print('no'); sys.exit(3)", 3, "no"),
])
def test_what_starts_a_command_and_never_does_is_ended_after_a_limit_of_its_own(entrypoint, status, printed, monkeypatch):
    monkeypatch.setattr(runtime, "BEGIN_SECONDS", 1)
    ended = []
    process = runtime.ManageProcess([sys.executable, "-c", f"import sys, time\n{entrypoint}"], lambda: (ended.append(True), process.process.kill()),
                                    lambda *words: host.PhaseError("unbegun", json.dumps(words)))
    with pytest.raises(host.PhaseError, match="unbegun") as caught:
        process.ask(["check"], 600)
    assert json.loads(caught.value.log) == [status, printed]
    assert bool(ended) is (status == 0)
    process.close()


@pytest.mark.parametrize(("entrypoint", "status", "output", "words"), [
    (["/entrypoint"], 0, "waiting for postgres", ["the ENTRYPOINT of the image, /entrypoint, which did not start it within 30 s", 'exec "$@"', "DATABASE_URL"]),
    (["/bin/sh", "-c", "serve"], 1, "", ["/bin/sh -c serve, which ended with 1 and did not start it"]),
    (["/entrypoint"], 127, 'exec: "python": executable file not found in $PATH', ["a command of the app did not begin (status 127)"]),
    (None, 126, "", ["a command of the app did not begin (status 126)"]),
])
def test_the_entrypoint_that_starts_no_command_is_named(entrypoint, status, output, words, monkeypatch):
    monkeypatch.setattr(releases.Shelf, "record", lambda self, release: {"images": {"app": {"ref": "pos:1"}}})
    monkeypatch.setattr(images.Images, "inspect", lambda self, reference: {"Config": {"Entrypoint": entrypoint}} if reference == "pos:1" else {})
    error = Compose(loaded(runtime="compose"), releases.Shelf("/opt/pos")).unbegun("20261128000000-aaaaaaa", status, output)
    assert [word for word in words if word not in error.reason] == []
    assert (error.log, error.phase) == (output, "check")


def test_the_program_says_at_once_that_it_has_begun(tmp_path):
    (tmp_path / "manage.py").write_text("")
    done = subprocess.run([sys.executable, django_run.__file__, str(tmp_path / "manage.py")], check=True, input="", capture_output=True, text=True)
    assert json.loads(done.stdout.strip("\n").removeprefix(django_run.MARK)) == {"begun": True}


@pytest.mark.parametrize("made", [Systemd, Compose])
def test_a_one_off_is_ended_by_the_name_under_which_it_was_started(made, monkeypatch):
    said = []
    monkeypatch.setattr(host, "run", lambda argv, **_options: said.append(argv))
    kind = {Systemd: "systemd", Compose: "compose"}[made]
    one = made(loaded(runtime=kind), releases.Shelf("/opt/pos"))
    monkeypatch.setattr(Systemd, "in_venv", lambda self, release, venv, command, name, timeout: host.one_off_argv(
        self.app, [], command, units.helper(self.app, name, release), timeout, "/"))
    monkeypatch.setattr(releases.Shelf, "record", lambda self, release: {"venv": "/venv"})
    argv = one.one_off("20261128000000-aaaaaaa", ["true"], "commands", 60)
    one.end_one_off("20261128000000-aaaaaaa", "commands")
    names = {words[-1].removesuffix(".service") for words in said}
    assert names <= {word.rpartition("=")[2] for word in argv}


def client(tmp_path, seconds, docker):
    """Return the status of a one-off in a container whose client is a shell line, and what Docker was told."""
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho \"$@\" >>{tmp_path}/said\n")
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", runtime_compose.ONE_OFF, "one-off", "pos-run", str(seconds), "/bin/sh", "-c", docker], check=False,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=30)
    said = tmp_path / "said"
    return done.returncode, said.read_text().splitlines() if said.exists() else []


@pytest.mark.parametrize("status", [0, 1])
def test_a_one_off_that_ends_needs_no_end(tmp_path, status):
    assert client(tmp_path, 10, f"exit {status}") == (status, [])


def test_the_container_of_a_one_off_ends_with_its_time(tmp_path):
    assert client(tmp_path, 1, "sleep 20") == (124, ["stop -t 10 pos-run", "rm --force --volumes pos-run"])


def test_a_run_that_died_leaves_no_commands_behind(tmp_path):
    made = deploy.Deploy.__new__(deploy.Deploy)
    made.options, made.shelf, made.release, made.notes = {}, releases.Shelf(str(tmp_path)), "", []
    ended = []
    made.runtime = type("Runtime", (), {"running": lambda self: {}, "ending": lambda self, release: False,
                                        "end_one_off": lambda self, *words: ended.append(words)})()
    folder = tmp_path / "releases/20261128000000-aaaaaaa"
    folder.mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"outcome": "building"}))
    made.clear_leftovers()
    assert ended == [("20261128000000-aaaaaaa", "commands")]
