# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of what a deploy and a rollback do to an instance, with stand-ins for the runtime, the edge and Django."""
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import contained, deploy, env_file, http_health, releases, secret_ages, static_files
from samples import CELERY, loaded

ROLE = Path(__file__).resolve().parents[2] / "roles" / "app"
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
DEPLOY = [*VARS["__app_build"], "migrate", *VARS["__app_start"], *VARS["__app_switch"], *VARS["__app_end"]]
ROLLBACK = [*VARS["__app_kept"], *VARS["__app_start"], *VARS["__app_switch_back"], *VARS["__app_end"]]
OLD, NEW = "20261127000000-aaaaaaa", "20261128000000-bbbbbbb"
PLAN = [{"app": "books", "name": "0002_isbn", "operations": []}]
MISSING_TABLE = 'Traceback (most recent call last):\n  File "x.py", line 1\ndjango.db.utils.ProgrammingError: relation "books_shelf" does not exist'
NO_MODULE = "Traceback (most recent call last):\n  File \"x.py\", line 1\nModuleNotFoundError: No module named 'pos.nosuch'"
MISSING_FILE = "Traceback (most recent call last):\n  File \"x.py\", line 1\nFileNotFoundError: [Errno 2] No such file or directory: 'static/search.idx'"
LOADS = [{"name": "migrate", "manage": "migrate --noinput"}, {"name": "collectstatic", "manage": "collectstatic --noinput", "once": False},
         {"name": "index", "manage": "build_index"}]


class Django:
    """Stands in for the process that runs the commands of a release."""

    def __init__(self, world):
        self.world = world

    def ask(self, argv, _seconds, _migrating=None):
        self.world.calls.append(argv[0])
        failed = argv[0] in self.world.fails
        return ({"status": 0, "plan": self.world.plan} if argv == ["plan"] else {"status": int(failed)}), ""

    def close(self):
        self.world.calls.append("commands ended")


class Runtime:
    """Stands in for a runtime: notes what it is told in ``world.calls``."""

    source = control = None
    registry_password = ""
    may_watch_builds = False

    def __init__(self, world, app):
        self.world, self.app = world, app

    def with_processes(self, _processes):
        return self

    def resolve(self, version):
        return {"sha": "b" * 40, "repo": "x"}

    def running(self):
        return {}

    def disks(self, _record):
        return {}

    def damage(self, _release):
        return []

    def whole(self, _release):
        return True

    def build(self, _release, _record):
        self.world.calls.append("build")
        return {}, []

    def copy(self, target, _release, _record):
        self.world.calls.append(f"copy {target[-7:]}")
        return {}

    def manage(self, _release, _name, _limit):
        return Django(self.world)

    def by_hand(self, _release, command):
        return command

    def members(self, release, group=""):
        return [f"{kind} of {release[-7:]}" for kind in ("servers", "workers", "singles") if group in ("", kind)]

    def start(self, release, group):
        self.world.calls.append(f"start {group}")
        if group == "servers":
            self.world.sealed.append(bool(self.world.shelf.record(release).get("sealed")))

    def booted(self, _release, _started):
        self.world.calls.append("booted")
        if self.world.boot:
            raise deploy.PhaseError("web died at its start", self.world.boot)
        return self.world.silent

    def ready(self, _release, _started, _version):
        self.world.calls.append("probe")
        if "probe" in self.world.fails:
            raise deploy.PhaseError("status 500")

    def stop(self, release, wanted=None, wait=True):
        self.world.calls.append(f"stop {', '.join(wanted) if wanted is not None else 'all of ' + release[-7:]}")

    def replace(self, old, new, wanted):
        self.world.calls.append(f"replace singles of {old[-7:]}")

    def quiet(self, _release):
        self.world.calls.append("quiet")
        return {"queues": {}, "revoked": []}

    def joined(self, _release, _started, _revoked):
        self.world.calls.append("joined")

    def revive(self, release):
        self.world.calls.append(f"revive {release[-7:]}")

    def resume(self, _quieted):
        self.world.calls.append("resume")

    def prune(self, _records, _before):
        return []

    def prepare_control(self, release):
        self.world.control.append(bool(self.world.shelf.record(release).get("sealed")))

    def __getattr__(self, _verb):
        """Return a verb that is of no interest here."""
        return lambda *_words: None


class Edge:
    """Stands in for an edge."""

    def __init__(self, world):
        self.world = world

    def switch(self, _app, _shelf, release):
        if "switch" in self.world.fails:
            raise deploy.PhaseError("nginx -t failed")
        self.world.calls.append(f"switch to {release[-7:]}")
        contained.link(f"{self.world.shelf.root}/live", f"releases/{release}")

    def check(self, _app, **_wanted):
        return None

    def missing(self, _app):
        return ""


class World:
    """A host on which a release is live, or none with ``first_ever``; ``calls`` is what happened, in its order."""

    def __init__(self, tmp_path, monkeypatch, first_ever=False, **fields):
        self.calls, self.sealed, self.control, self.fails, self.plan, self.boot, self.silent = [], [], [], set(), [], "", ""
        self.app = dict(loaded(processes=CELERY, **fields), root=str(tmp_path), shared=f"{tmp_path}/shared", etc=f"{tmp_path}/etc")
        self.shelf = releases.Shelf(str(tmp_path))
        for name in ("releases", "static", "etc"):
            (tmp_path / name).mkdir()
        me = (os.getuid(), os.getgid())
        monkeypatch.setattr(deploy.host, "ids", lambda _user: me)
        monkeypatch.setattr(deploy.Deploy, "check_prepared", lambda made: None)
        monkeypatch.setattr(deploy.Deploy, "make_folders", lambda made, built=True: [contained.folder(made.shelf.path(made.release, name), 0o755)
                                                                                      for name in ("", "code", "static", "frontends", "run")])
        monkeypatch.setattr(deploy.contained, "seal", lambda *_words: None)
        monkeypatch.setattr(deploy.host, "write", lambda path, text, mode=0o644, *_owner: contained.write(path, text, mode))
        monkeypatch.setattr(secret_ages, "note", lambda *_words: None)
        monkeypatch.setattr(static_files, "add", lambda *_words: None)
        monkeypatch.setattr(deploy.edges, "secure", lambda _app: False)
        monkeypatch.setattr(http_health, "wait", lambda *_words, **_more: pytest.fail("nothing is asked here"))
        monkeypatch.setitem(deploy.RUNTIMES, "systemd", lambda app, shelf, secrets, apps: Runtime(self, app))
        monkeypatch.setitem(deploy.edges.EDGES, "nginx", Edge(self))
        for release in [] if first_ever else [OLD[:-7] + "0000000", OLD]:
            contained.folder(self.shelf.path(release), 0o755)
            contained.write(self.shelf.path(release, "release.json"), releases.dumped(
                {"id": release, "origin": release, "outcome": releases.GOOD, "sha": "a" * 40, "version": "v1", "sealed": True, "began": time.time(),
                 "before": "" if release != OLD else OLD[:-7] + "0000000", "processes": self.app["processes"], "runtime": "systemd"}))
            contained.write(self.shelf.path(release, "env"), env_file.render({"A": "b"}))
            contained.link(f"{tmp_path}/live", f"releases/{release}")

    def run(self, phases, leader=True, release="", **options):
        """Run phases as the module does; return what happened in them."""
        del self.calls[:], self.sealed[:]
        wanted = {"run": "1", "who": "me", "stamp": "20261128000000", "version": "v2", "release": release, "first": leader, "hazards": False, "secrets": {}}
        made = deploy.Deploy(self.app, {**wanted, **options})
        try:
            made.run(phases)
        finally:
            self.release, self.notes = made.release, made.notes
        return list(self.calls)

    def abandoned(self, phases, phase, **options):
        """Run phases that fail in ``phase``; return what happened in them, and what the undoing did."""
        with pytest.raises(deploy.Failure) as caught:
            self.run(phases, **options)
        assert caught.value.phase == phase
        before = list(self.calls)
        return before, self.run(["abandon"], release=self.release, failure={"phase": phase, "reason": "x"})


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def instance(calls):
    """Return what happened to the servers and to the database."""
    return [call for call in calls if call in ("start servers", "booted", "stop servers of bbbbbbb", "migrate", "collectstatic", "commands ended", "probe")]


TAIL = ["start workers", "stop singles of aaaaaaa", "quiet", "stop singles of aaaaaaa", "start singles", "switch to bbbbbbb", "joined", "stop all of aaaaaaa"]


def test_without_a_migration_the_servers_start_once_after_the_static_files(world):
    calls = world.run(DEPLOY)
    assert calls == ["build", "check", "plan", "migrate", "collectstatic", "commands ended", "start servers", "probe", *TAIL]
    assert world.sealed == [True]


def test_with_a_migration_the_servers_start_before_it_and_again_after_it(world):
    world.plan = PLAN
    calls = world.run(DEPLOY)
    assert calls == ["build", "check", "plan", "collectstatic", "start servers", "booted", "stop servers of bbbbbbb", "migrate", "commands ended",
                     "start servers", "probe", *TAIL]
    assert world.shelf.record(world.release)["migrations"] == ["books.0002_isbn"]


def test_what_the_app_may_still_write_to_runs_only_to_see_it_start(world):
    """The process that collects static files has ended, and so have servers that could write beside it, before root takes the files over."""
    world.plan = PLAN
    calls = world.run(DEPLOY)
    assert world.sealed == [False, True]
    assert set(world.control) == {True}
    assert calls.index("stop servers of bbbbbbb") < calls.index("commands ended") < calls.index("probe")


def test_what_can_write_to_nothing_of_the_release_begins_before_the_commands(world, monkeypatch):
    monkeypatch.setattr(Runtime, "may_watch_builds", True)
    world.run(DEPLOY)
    assert world.control[0] is False  # what it is started for comes after the seal
    assert world.control[-1] is True


@pytest.mark.parametrize("log", [NO_MODULE, MISSING_FILE, "KeyError: 'STRIPE_KEY'", "PermissionError: [Errno 30] Read-only file system", ""])
def test_what_cannot_start_fails_before_a_migration_runs(world, log):
    world.plan, world.boot = PLAN, log or " "
    before, after = world.abandoned(DEPLOY, "boot")
    assert before == ["build", "check", "plan", "collectstatic", "start servers", "booted", "commands ended"]
    assert after == ["stop singles of bbbbbbb", "revive aaaaaaa", "stop all of bbbbbbb"]
    assert world.shelf.live() == OLD
    assert world.shelf.record(world.release)["outcome"] == releases.FAILED


@pytest.mark.parametrize("log", [MISSING_TABLE, MISSING_TABLE.replace("django.db.utils.ProgrammingError", "psycopg.errors.UndefinedTable"),
                                 MISSING_TABLE + "\n[2026] [ERROR] Worker (pid:7) exited with code 3"])
def test_an_error_of_the_database_is_tried_again_after_the_migrations(world, log):
    world.plan, world.boot = PLAN, log
    calls = world.run(DEPLOY)
    assert instance(calls) == ["collectstatic", "start servers", "booted", "stop servers of bbbbbbb", "migrate", "commands ended", "start servers", "probe"]
    assert "before the migrations, web died at its start" in world.notes


def test_a_server_that_waits_for_the_migrations_gets_them(world):
    world.plan, world.silent = PLAN, "web did not answer within 30 s"
    assert instance(world.run(DEPLOY))[-4:] == ["migrate", "commands ended", "start servers", "probe"]
    assert "warning: before the migrations web did not answer within 30 s" in world.notes


@pytest.mark.parametrize(("log", "good"), [(MISSING_FILE, True), (MISSING_TABLE, True), (NO_MODULE, False)])
def test_what_a_command_of_the_apps_own_may_make_is_waited_for_but_code_is_not(tmp_path, monkeypatch, log, good):
    world = World(tmp_path, monkeypatch, commands=LOADS)
    world.plan, world.boot = PLAN, log
    if good:
        assert [call for call in world.run(DEPLOY) if call in ("booted", "build_index", "probe")] == ["booted", "build_index", "probe"]
    else:
        assert "migrate" not in world.abandoned(DEPLOY, "boot")[0]


def test_static_files_that_a_command_prepares_are_not_made_before_it(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, commands=[LOADS[0], {"name": "sass", "manage": "compilescss"}, LOADS[1]])
    world.plan = PLAN
    calls = world.run(DEPLOY)
    assert calls[:8] == ["build", "check", "plan", "migrate", "compilescss", "collectstatic", "commands ended", "start servers"]


def test_an_app_whose_commands_do_not_migrate_boots_once(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, commands=[LOADS[1]])
    world.plan = PLAN
    assert world.run(DEPLOY)[:6] == ["build", "check", "plan", "collectstatic", "commands ended", "start servers"]


def test_the_first_deploy_sees_the_servers_start_before_it_migrates(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, first_ever=True)
    world.plan, world.boot = PLAN, MISSING_TABLE
    calls = world.run(DEPLOY)
    assert calls == ["build", "check", "plan", "collectstatic", "start servers", "booted", "stop servers of bbbbbbb", "migrate", "commands ended",
                     "start servers", "probe", "start workers", "start singles", "switch to bbbbbbb", "joined"]


def test_a_failed_migration_leaves_the_live_release_as_it_was(world):
    world.plan, world.fails = PLAN, {"migrate"}
    before, after = world.abandoned(DEPLOY, "migrate")
    assert before[-2:] == ["migrate", "commands ended"]
    assert "start workers" not in before
    assert after == ["stop singles of bbbbbbb", "revive aaaaaaa", "stop all of bbbbbbb"]


def test_a_sick_release_touches_no_task_and_no_edge(world):
    world.fails = {"probe"}
    before, after = world.abandoned(DEPLOY, "probe")
    assert before[-2:] == ["start servers", "probe"]
    assert after == ["stop singles of bbbbbbb", "revive aaaaaaa", "stop all of bbbbbbb"]


UNDONE = ["stop singles of bbbbbbb", "revive aaaaaaa", "resume", "stop all of bbbbbbb"]


def test_a_switch_that_fails_brings_the_old_single_processes_back(world):
    world.fails = {"switch"}
    before, after = world.abandoned(DEPLOY, "switch")
    assert before[-3:] == ["quiet", "stop singles of aaaaaaa", "start singles"]
    assert after == UNDONE


def test_what_does_not_answer_through_the_edge_is_undone_whole(world, monkeypatch):
    def unanswered(_made):
        raise deploy.PhaseError("status 502")

    monkeypatch.setattr(deploy.Deploy, "verify", unanswered)
    before, after = world.abandoned(DEPLOY, "verify")
    assert before[-2:] == ["start singles", "switch to bbbbbbb"]
    assert after == ["switch to aaaaaaa", *UNDONE]
    assert world.shelf.live() == OLD


@pytest.mark.parametrize("leader", [True, False])
def test_with_several_hosts_each_sees_its_servers_start_before_the_leader_migrates(world, leader):
    world.plan = PLAN
    assert world.run(VARS["__app_build"], leader) == ["build", "check", "plan", "collectstatic", "start servers", "booted", "stop servers of bbbbbbb",
                                                      "commands ended"]
    assert world.run(["migrate"], leader, world.release) == (["migrate", "commands ended"] if leader else [])
    assert world.run(VARS["__app_start"], leader, world.release) == ["start servers", "probe"]
    singles = ["stop singles of aaaaaaa"] * leader
    assert world.run(VARS["__app_switch"], leader, world.release) == ["start workers", *singles, "quiet", *singles, *["start singles"] * leader,
                                                                     "switch to bbbbbbb", "joined"]


def test_a_host_that_does_not_lead_makes_its_own_static_files(world):
    world.run(VARS["__app_build"], False)
    assert world.run(["migrate"], False, world.release) == ["collectstatic", "commands ended"]


@pytest.mark.parametrize("options", [{}, {"refresh": True}])
def test_a_kept_release_starts_once_and_runs_no_command(world, options):
    world.plan = PLAN
    options = {"target": "", "target_version": "", **options}
    target = "aaaaaaa" if "refresh" in options else "0000000"
    new = world.run(ROLLBACK, **options)
    assert new == [f"copy {target}", "start servers", "probe", f"switch to {'a' * 7}", "stop workers of aaaaaaa", "start workers", "replace singles of aaaaaaa",
                   "stop all of aaaaaaa"]
