# SPDX-License-Identifier: GPL-3.0-or-later
"""The release contract on one host: the phases of a deploy and of a rollback, each a method of ``Deploy``.

The phases know no runtime and no edge by name: those are objects with the same verbs. What one Ansible task leaves for the next
stands in the release's own release.json, so that any phase can be run by a process of its own.
"""
from __future__ import annotations

import contextlib
import os
import shlex
import time

from ansible_collections.quayside.django.plugins.module_utils import (
    contained,
    edges,
    env_file,
    host,
    http_health,
    last_words,
    layout,
    log_hints,
    migrations,
    model,
    progress,
    release_commands,
    releases,
    secret_ages,
    sqlite_copy,
    static_files,
    supervisor,
)
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.lock import Lock, LockedError
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd

RUNTIMES = {"systemd": Systemd, "compose": Compose}
PHASES = ("lock", "resolve", "choose", "fetch", "copy", "build", "check", "boot", "migrate", "start", "probe", "workers", "quiet", "hand_over",
          "switch", "verify", "join", "relieve", "prune", "retire", "record", "abandon")

INODES = 10000  # the bookshop's venv has 6800 files
COMMANDS = "commands"  # the one-off that runs the commands of a release
LOOK_SECONDS = 120  # on a busy host, for Django to start and check itself, and to read the plan of migrations
METHODS = {"lock": "take_lock", "record": "write_down"}  # phases whose name is that of an attribute


class Failure(Exception):
    """A phase that failed, with all that a person needs to go on."""

    def __init__(self, phase: str, error: PhaseError, hint: str = ""):
        self.phase, self.reason, self.log, self.look = error.phase or phase, error.reason, error.log, error.look
        text = f"{self.phase}: {error.reason}" + (f"\nto do: {hint}" if hint and hint not in error.reason else "")
        if error.log:
            text += "\nlast lines of its log:\n" + "\n".join(f"  {line}" for line in error.log.splitlines())
        if error.look:
            text += f"\nto look further, on the host: {error.look}"
        super().__init__(text)


# What a phase may raise, also in check mode; anything else is a fault of ours.
REASONS = (PhaseError, env_file.EnvError, releases.ReleaseError, LockedError, sqlite_copy.CopyError, EngineError, OSError)


def failure(phase: str, error: Exception, app: dict) -> Failure:
    """Return the Failure of a phase of an app's that raised one of ``REASONS``, with what to do where its log says why."""
    if isinstance(error, EngineError):
        error = PhaseError(f"Docker: {error.message}", look="journalctl -u docker -n 50 --no-pager")
    elif isinstance(error, OSError) and error.filename:
        error = PhaseError(f"{error.strerror}: {error.filename}")
    elif not isinstance(error, PhaseError):
        error = PhaseError(str(error))
    return Failure(phase, error, log_hints.hint(f"{error.reason}\n{error.whole}", app, os.uname().machine))


class Deploy:
    """One run of a deploy or a rollback of one app on this host.

    ``options``: run, who (names of the run), stamp (YYYYMMDDHHMMSS), version (what to deploy), release (id, once it is known),
    target and target_version (what a rollback brings back), first (this host runs what runs once), hazards (run migrations that the
    live release cannot live with), rebuild (build its dependencies anew), secrets (name -> text), changed_env (refresh a release whose code is the same),
    progress (the Progress that tells where the run is).
    """

    progress = progress.Progress()

    def __init__(self, app: dict, options: dict):
        self.app, self.options = app, options
        self.root = app["root"]
        self.shelf = releases.Shelf(self.root)
        self.lock = Lock(f"{self.root}/lock", options["run"], options["who"])
        self.edge = edges.EDGES[app["edge"]]
        self.release = options.get("release") or ""
        self.record = self.shelf.record(self.release) if self.release else {}
        if self.record.get("processes"):
            self.app = dict(app, processes=self.record["processes"])
        self.runtime = RUNTIMES[app["runtime"]](self.app, self.shelf, options["secrets"], options.get("apps"))
        self.runtime.registry_password = options.get("registry_password") or ""
        self.runtime.source_key = options.get("source_key") or ""
        self.progress = self.runtime.progress = options.get("progress") or progress.Progress()
        self.notes: list[str] = []
        self.seconds: dict = {}
        self.noop = False
        self.process = None

    def run(self, phases: list[str]) -> dict:
        """Run phases in order and return what came of them; raise Failure at the first that fails."""
        try:
            for phase in phases:
                began = time.monotonic()
                self.progress.phase(phase)
                try:
                    if phase not in ("lock", "abandon"):
                        self.own(phase)
                    getattr(self, METHODS.get(phase, phase))()
                except REASONS as error:
                    raise failure(phase, error, self.app) from error
                finally:
                    self.seconds[phase] = round(time.monotonic() - began, 3)
                self.progress.done(phase, self.seconds[phase])
                if self.noop:
                    break
        finally:
            self.end_commands()
            self.runtime.close()
            self.lock.close()
        slow = [f"{phase} {seconds:.1f} s" for phase, seconds in self.seconds.items() if seconds >= 0.1]
        if slow and not self.noop:
            self.notes.append(", ".join(slow))
        return self.result()

    def result(self) -> dict:
        """Return what the task returns."""
        return {"release": self.release, "version": self.record.get("version", ""), "sha": self.record.get("sha", ""),
                "from": self.record.get("from", ""), "noop": self.noop, "notes": self.notes, "seconds": self.seconds,
                "migrations": self.record.get("migrations", [])}

    def own(self, phase: str) -> None:
        """Renew the lease; a run whose lock was taken over must not go on."""
        if self.lock.handle is None:
            self.lock.acquire(phase)
        else:
            self.lock.renew(phase)

    def store(self, **values) -> None:
        """Write values into the release's record."""
        self.record.update(values)
        host.write(self.shelf.path(self.release, "release.json"), releases.dumped(self.record), 0o640)

    # Before anything changes

    def check_prepared(self) -> None:
        """Raise PhaseError where site.yml has not made the app yet, or has not moved it to the folders of today."""
        if not contained.is_folder(f"{self.root}/releases"):
            raise PhaseError(f"{self.root} is not prepared on this host: run quayside.django.site for it first")
        wanted = layout.folders(self.app, *host.ids(self.app["user"]))
        outdated = [path for path in layout.outdated_folders(wanted) if wanted[path][1] == 0 or not contained.is_folder(path)]
        if outdated:
            raise PhaseError(f"{outdated[0]} is not the folder that this version of the collection makes there: run quayside.django.site for this host first")
        missing = self.edge.missing(self.app)
        if missing:
            raise PhaseError(f"{missing}: run quayside.django.site for this host first")

    def take_lock(self) -> None:
        """Take the lock; the phases after it see to what a run that died has left."""
        self.check_prepared()
        taken = self.lock.acquire("lock")
        if taken:
            self.notes.append(taken)

    def resolve(self) -> None:
        """Find the commit, refuse what cannot work, and see whether there is anything to do."""
        self.lend_source_key()
        version, live = self.options["version"], self.shelf.live()
        before = self.shelf.record(live)
        # What was built anew once is the base of all after it, or the next release would take the dependencies of before.
        self.runtime.fresh = bool(self.options.get("rebuild"))
        self.runtime.rebuilt = self.options["stamp"] if self.runtime.fresh else before.get("rebuilt", "")
        found = {"version": version, **self.runtime.resolve(version)}
        self.clear_leftovers()
        self.record = {**found, "ref": version, "from": live, "rebuilt": self.runtime.rebuilt,
                       "identity": releases.fingerprint(model.identity(self.app)), "secrets": self.secrets_print(),
                       "secure": self.secure(), "processes": self.app["processes"], "runtime": self.app["runtime"], "run": self.options["run"],
                       "who": self.options["who"], "began": time.time()}
        same = all(before.get(key) == self.record[key] for key in {*found, "identity", "secrets"} - {"repo"})
        # Not part of the identity: releases of before this field sent nobody to HTTPS.
        same = same and bool(before.get("secure")) == self.record["secure"]
        same = same and not self.options.get("rebuild")
        self.noop = bool(live) and same and before.get("outcome") == releases.GOOD and self.runtime.whole(live) and not self.damaged(live)
        if self.noop:
            self.release, self.record = live, before
            if not self.options.get("check"):
                self.lock.release()
            return
        self.release = releases.make_id(self.options["stamp"], self.record["sha"])
        self.record.update(id=self.release, origin=self.release, before=releases.origin(live, {live: before}) if live else "")
        self.check_id(live)
        self.runtime.check(self.record)
        self.check_disk()

    def damaged(self, live: str) -> bool:
        """Return whether the live release would not survive a restart, and say why it is deployed anew."""
        found = self.runtime.damage(live)
        self.notes += [f"warning: the live release is damaged: {text}; it is made anew" for text in found]
        return bool(found)

    def check_id(self, live: str) -> None:
        """Raise PhaseError when the new id would not be the newest: ids sort by time."""
        newest = max([live, *self.shelf.records()], default="")
        if self.release <= newest:
            raise PhaseError(f"the new release {self.release} would be older than {newest}: the clock of the controller or of this host is wrong")

    def check_disk(self) -> None:
        """Raise PhaseError when a disk has no room for a release."""
        for path, needed in self.runtime.disks(self.record).items():
            disk = os.statvfs(path)
            free = disk.f_bavail * disk.f_frsize // 2**20
            if free < needed:
                images = f", and {needed - self.app['disk']} for its images" if needed > self.app["disk"] else ""
                raise PhaseError(f"{path} has {free} MiB free, and a release needs {self.app['disk']} (disk in the app model){images}: "
                                 f"remove something, or lower keep ({self.app['keep']} releases)",
                                 look=f"df -h {path}; du -xhd1 {self.root}{'; docker system df' if images else ''}")
            if disk.f_files and disk.f_favail < INODES:
                raise PhaseError(f"{path} has only {disk.f_favail} inodes free, and a release with its venv may need {INODES}: remove something",
                                 look=f"df -i {path}")

    def clear_leftovers(self) -> None:
        """Stop instances that are neither live nor draining: a run that died has started them. Mark their releases failed."""
        if self.options.get("check"):
            return
        live = self.shelf.live()
        for release, left in supervisor.leftovers(live, self.runtime.running(), self.runtime.ending).items():
            self.runtime.stop(release, left, wait=False)
            self.notes.append(f"{release} was still running, left by a run that died: stopped")
        for release, record in self.shelf.records().items():
            if record.get("outcome") == "building" and release not in (live, self.release):
                self.runtime.end_one_off(release, COMMANDS)
                host.write(self.shelf.path(release, "release.json"), releases.dumped(dict(record, outcome=releases.FAILED)), 0o640)
                if record.get("from") == live and record.get("quieted"):
                    self.wake(live, record["quieted"])

    def wake(self, live: str, quieted: dict) -> None:
        """Let the live release's workers and single processes work again that a run had told to end."""
        self.runtime.revive(live)
        if quieted:
            with contextlib.suppress(PhaseError):
                self.runtime.prepare_control(live)
                self.runtime.resume(quieted)
                self.notes.append(f"the workers of {live} take tasks again")
            self.runtime.close()

    def secure(self) -> bool:
        """Return whether Django is told to send whoever asks by HTTP to HTTPS: the edge serves that now, and the user does not say it himself."""
        return model.SECURE_REDIRECT not in {**self.app["env"], **self.options["secrets"]} and edges.secure(self.app)

    def secrets_print(self) -> str:
        """Return a hash that tells whether secrets changed; salted with the app, short, and only for root to read."""
        return releases.fingerprint([self.app["name"], self.options["secrets"]])

    def note_ages(self) -> None:
        """Keep since when each secret has its value, for ``status``."""
        given = {"SOURCE_KEY": self.options.get("source_key"), "REGISTRY_PASSWORD": self.options.get("registry_password")}
        with contextlib.suppress(OSError):  # no deploy fails for it
            secret_ages.note(self.app, {**self.options["secrets"], **{name: value for name, value in given.items() if value}})

    # A new release

    def lend_source_key(self) -> None:
        """Give the deploy key of the repository to the one command that reads it; it is never on the disk of the host."""
        if self.options.get("source_key") and self.runtime.source:
            self.runtime.source.key = self.options["source_key"]

    def make_folders(self, built: bool = True) -> None:
        """Make the folders of the release. Only what the app has to write belongs to it; ``built``: the app's user builds code and static files."""
        uid, gid = host.ids(self.app["user"])
        builder = uid if built else 0
        host.folder(self.shelf.path(self.release), 0o711)
        host.folder(self.shelf.path(self.release, "bin"), 0o750, 0, gid)
        host.folder(self.shelf.path(self.release, "lib"), 0o755)
        host.folder(self.shelf.path(self.release, "code"), 0o750, builder, gid)
        host.folder(self.shelf.path(self.release, "static"), 0o2750, builder, self.app["edge_group"])
        host.folder(self.shelf.path(self.release, "run"), 0o2750, uid, self.app["edge_group"])
        host.folder(self.shelf.path(self.release, "frontends"), 0o2750, 0, self.app["edge_group"])
        for frontend in self.app["frontends"]:
            host.folder(self.shelf.path(self.release, "frontends", frontend["name"]), 0o2750, 0, self.app["edge_group"])

    def fetch(self) -> None:
        """Write the code of the release, its env and its record."""
        self.make_folders()
        self.store(outcome="building")
        self.runtime.fetch(self.release, self.record)
        env = model.release_environment(self.app, self.release, self.record["version"], self.record["secure"])
        self.write_env(env_file.render(env))
        self.runtime.settle_secrets()

    def build(self) -> None:
        """Build what the release runs from."""
        values, notes = self.runtime.build(self.release, self.record)
        self.notes += notes
        self.store(**values)

    def check(self, only_check: bool = False) -> None:
        """Let the code check itself, and read the migration plan: nothing is changed by it."""
        if self.app["database"]["engine"] == "sqlite" and not only_check:
            sqlite_copy.as_app(self.on_sqlite, "prepare", model.sqlite_path(self.app))
        if self.runtime.may_watch_builds and not only_check:
            self.runtime.prepare_control(self.release)  # it imports the app on the other core
        self.command({"name": "check", "manage": "check", "may_fail": False, "timeout": LOOK_SECONDS}, phase="check")
        if self.app["database"]["engine"] != "none":
            self.read_plan()

    def boot(self) -> None:
        """Where migrations are pending, see the servers start before the first of them runs: what cannot start fails here, with nothing changed.

        They read static files when they start, so those are made first. What a command of the release may yet mend is no failure.
        """
        wanted = self.commands()
        ahead = release_commands.ahead(wanted)
        pending = self.record.get("migrations") and any(release_commands.verb(command) == "migrate" for command in self.app["commands"])
        if not pending or release_commands.files(wanted) != ahead:
            return
        for command in ahead:
            self.command(command)
        began = time.time()
        self.write_units()
        self.store(started=began, ahead=[command["manage"] for command in ahead])
        self.runtime.start(self.release, "servers")
        try:
            silent = self.runtime.booted(self.release, began)
            self.notes += [f"warning: before the migrations {silent}"] if silent else []
        except PhaseError as error:
            if not release_commands.may_mend(error.log, wanted):
                raise
            self.notes.append(f"before the migrations, {error.reason}")
        self.runtime.stop(self.release, self.runtime.members(self.release, "servers"))

    def migrate(self) -> None:
        """Run the commands of the release: migrate, collectstatic and the others."""
        done = self.first_done()
        if done:
            self.store(first_done=sorted(done))
        if self.record.get("migrations") and self.options["first"]:
            self.copy_sqlite()
        for command in self.commands():
            if command["manage"] in self.record.get("ahead", []):
                continue
            self.command(command)
            if command["first"]:
                done.add(command["name"])
                self.store(first_done=sorted(done))
        self.end_commands()

    def first_done(self) -> set:
        """Return which commands that run only once in the life of an app have run, by a deploy that failed in a later phase."""
        return {name for record in self.shelf.records().values() for name in record.get("first_done", [])}

    def commands(self) -> list[dict]:
        """Return the commands that this release has to run on this host, in their order."""
        done = self.first_done()
        return [command for command in self.app["commands"] if (self.options["first"] or not command["once"]) and
                (not command["first"] or (not self.record["from"] and command["name"] not in done))]

    def django(self):
        """Return the process that runs the commands of the release; it is started at the first, and lives until ``end_commands``."""
        if self.process is None:
            # Each command has its own limit as well.
            boot = self.app["health"]["timeout"] * len(self.app["processes"])
            limit = 60 + 2 * LOOK_SECONDS + boot + sum(command["timeout"] for command in self.app["commands"])
            self.process = self.runtime.manage(self.release, COMMANDS, limit)
        return self.process

    def end_commands(self) -> None:
        """Let the process that runs commands end: what comes after it may rely on nothing being written any more."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def on_sqlite(self, command: list[str], timeout: int) -> list[str]:
        """Return the argv that runs a program of ours as the app's user, who owns the SQLite database."""
        return self.runtime.on_host(command, "sqlite", timeout)

    def copy_sqlite(self) -> None:
        """Keep the SQLite database as it was before the migrations of this release, in the release's folder."""
        path = model.sqlite_path(self.app)
        if self.app["database"]["engine"] == "sqlite" and contained.is_file(path):
            try:
                size = sqlite_copy.take(self.on_sqlite, path, self.shelf.path(self.release, "database.sqlite3"), host.ids(self.app["user"])[0])
            except sqlite_copy.CopyError as error:
                raise PhaseError(f"no copy of the database could be made before the migrations: {error}") from error
            self.notes.append(f"the database before the migrations is {self.shelf.path(self.release, 'database.sqlite3')} ({size // 1024} KiB)")

    def read_plan(self) -> None:
        """Read the migration plan and refuse hazards."""
        self.progress.step("the plan")
        answer, output = self.django().ask(["plan"], LOOK_SECONDS)
        if answer.get("late"):
            raise PhaseError(f"the migration plan was not read within {LOOK_SECONDS} s: does the database answer?", output)
        if "plan" not in answer:
            raise PhaseError("the migration plan could not be read (is the database there?)", output)
        found = [] if not self.record["from"] else migrations.hazards(answer["plan"])
        if found and not self.options["hazards"]:
            raise PhaseError("these migrations would break the live release while it serves:\n  " + "\n  ".join(found) +
                             "\nship the code that no longer needs it first; or add -e allow_hazards=true and accept failed requests", phase="check")
        self.notes += [f"warning: {text}" for text in found]
        self.store(migrations=migrations.label(answer["plan"]))

    def command(self, command: dict, phase: str = "") -> None:
        """Run one manage.py command; raise PhaseError with its output when it fails and may not. ``phase``: which one fails then, if not the present one."""
        name = command["name"]
        self.progress.step(name)
        answer, output = self.django().ask(shlex.split(command["manage"]), command["timeout"], lambda migration: self.progress.step(f"{name}: {migration}"))
        if answer["status"] == 0:
            return
        if answer.get("late"):
            field = "" if phase == "check" else f"; where it needs longer, set commands[{name}].timeout in the app model"
            raise PhaseError(f"manage.py {command['manage']} did not end within {command['timeout']} s and was stopped{field}", output,
                             phase=phase, look=self.runtime.by_hand(self.release, command["manage"]))
        if command["may_fail"] and not answer.get("ended"):
            self.notes.append(f"warning: {name} failed with {answer['status']}: {output.splitlines()[-1] if output else ''}")
            return
        left = migrations.invalid(answer.get("invalid_indexes", []))
        output = last_words.cause(output, host.LOG_LINES)
        raise PhaseError("\n".join([f"manage.py {command['manage']} failed with {answer['status']}", *left]), output, phase=phase,
                         look=self.runtime.by_hand(self.release, command["manage"]))

    # A kept release again

    def choose(self) -> None:
        """Choose what a rollback brings back, and give it an id of its own."""
        self.clear_leftovers()
        live, records = self.shelf.live(), self.shelf.records()
        if self.options.get("refresh"):
            self.choose_again(live, records)
            return
        target = releases.rollback_target(live, records, self.options.get("target") or "", self.options.get("target_version") or "")
        kind = records[target].get("runtime", "systemd")
        if kind != self.app["runtime"]:
            raise PhaseError(f"{target} ({records[target].get('version')}) ran with {kind}, and the app model says {self.app['runtime']}: a rollback does not "
                             f"go across; set runtime: {kind}, run quayside.django.site and deploy that version")
        self.choose_copy(live, target, records[target])

    def choose_again(self, live: str, records: dict) -> None:
        """Choose the live release itself, to run it with the secrets and the edge of today; nothing is to be done where it has them."""
        before = records.get(live, {})
        if live and before.get("runtime", "systemd") != self.app["runtime"]:
            raise PhaseError(f"{live} runs with {before.get('runtime', 'systemd')}, and the app model says {self.app['runtime']}: deploy first")
        runs = self.runtime.with_processes(before.get("processes", self.app["processes"])).whole(live)
        has, wanted = env_file.parse(host.text(self.shelf.path(live, "env"))), model.told(self.app, self.secure(), frozenset(self.options["secrets"]))
        same = before.get("secrets") == self.secrets_print() and all(has.get(name) == value for name, value in wanted.items()) and runs
        same = same and not (live and self.damaged(live))
        self.noop = not live or same
        if self.noop:
            self.release, self.record = live, before
            if not self.options.get("check"):
                self.lock.release()
            return
        self.choose_copy(live, live, before)
        self.record["secrets"] = self.secrets_print()

    def choose_copy(self, live: str, target: str, before: dict) -> None:
        """Give the copy of a release an id and a record of its own."""
        self.release = releases.make_id(self.options["stamp"], before["sha"])
        self.check_id(live)
        self.check_disk()
        self.record = dict(before, of=target, id=self.release, outcome="building", run=self.options["run"],
                           who=self.options["who"], began=time.time(), migrations=[])
        for name in ("reason", "failed", "handed", "switched", "started", "quieted", "ended", "ahead"):
            self.record.pop(name, None)
        self.record["secure"] = self.secure()
        self.record["from"] = live

    def copy(self) -> None:
        """Copy the kept release under the new id; files are linked, not written again."""
        target = self.record["of"]
        self.seal(target)
        self.make_folders(built=False)
        self.store()
        for name in ("static", "frontends"):
            if contained.is_folder(self.shelf.path(target, name)):
                contained.link_tree(self.shelf.path(target, name), self.shelf.path(self.release, name))
        text = host.text(self.shelf.path(target, "env")).replace(target, self.release)
        # How it is reached is that of today, as secrets are: the edge serves these names, whatever the release served once.
        text = env_file.render({**env_file.parse(text), **model.told(self.app, self.record["secure"], frozenset(self.options["secrets"]))})
        self.write_env(text)
        self.runtime = self.runtime.with_processes(self.record["processes"])
        self.store(**self.runtime.copy(target, self.release, self.record))
        if self.options.get("refresh"):
            self.runtime.settle_secrets()

    def write_env(self, text: str) -> None:
        """Write the env of the release. systemd opens it as root, so the app must not be able to make something else of it."""
        host.write(self.shelf.path(self.release, "env"), text, 0o640, 0, host.ids(self.app["user"])[1])

    # The instance

    def seal(self, release: str) -> None:
        """Give what the app's user has made of a release to root: nothing but root changes code that runs, or files that are served."""
        if self.shelf.record(release).get("sealed"):
            return
        uid, gid = host.ids(self.app["user"])
        for name, group, public in (("code", gid, False), ("static", self.app["edge_group"], True), ("frontends", self.app["edge_group"], True)):
            if contained.is_folder(self.shelf.path(release, name)):
                contained.seal(self.shelf.path(release, name), {uid}, group, public)

    def start(self) -> None:
        """Start the servers of the new instance beside the live one."""
        if not self.record.get("sealed"):
            self.seal(self.release)
            self.store(sealed=True)
        static_files.add(f"{self.root}/static", self.shelf.path(self.release, "static"))
        for frontend in self.app["frontends"]:
            static_files.add(f"{self.root}/frontends/{frontend['name']}", self.shelf.path(self.release, "frontends", frontend["name"]))
        self.write_units()
        self.store(started=time.time())
        self.runtime.start(self.release, "servers")

    def write_units(self) -> None:
        """Write which units the release has on this host."""
        away = [] if self.options["first"] else self.runtime.members(self.release, "singles")
        wanted = [unit for unit in self.runtime.members(self.release) if unit not in away]
        host.write(self.shelf.path(self.release, "units"), "\n".join(wanted) + "\n", 0o640)

    def probe(self) -> None:
        """Wait until the new instance answers at its own sockets."""
        if not self.record.get("of"):
            self.runtime.prepare_control(self.release)  # where it was not before: it could write to what is sealed now
        self.runtime.ready(self.release, self.record["started"], self.record["version"])

    def old(self):
        """Return the runtime of the release that was live, with the processes that it has; None when there is none."""
        if not self.record.get("from"):
            return None
        before = self.shelf.record(self.record["from"])
        wanted, kind = before.get("processes", self.app["processes"]), before.get("runtime", "systemd")
        if kind == self.app["runtime"]:
            return self.runtime.with_processes(wanted)
        other = RUNTIMES[kind](dict(self.app, runtime=kind, processes=wanted), self.shelf, self.options["secrets"], self.options.get("apps"))
        other.control = self.runtime.control
        return other

    def workers(self) -> None:
        """Start the new workers: only now, so that a release that is not healthy never touches a task."""
        self.store(started=time.time())
        self.runtime.start(self.release, "workers")

    def quiet(self) -> None:
        """Let the old workers take no more tasks, and the old single processes begin to end: nobody waits for them here.

        An old worker would throw a new task's name away; until the new ones have joined, tasks wait in the queue.
        """
        old = self.old()
        if not old:
            return
        before = self.record["from"]
        if self.options["first"]:
            old.stop(before, old.members(before, "singles"), wait=False)
        self.runtime.prepare_control(self.release)
        old.control = self.runtime.control
        self.store(quieted=old.quiet(before))

    def switch(self) -> None:
        """Point the edge at the new instance, in one atomic step."""
        workers = [] if self.record.get("of") else self.runtime.members(self.release, "workers")
        if workers:  # what ends at once must not become live; those of a kept release start after the switch
            self.runtime.dead(workers, self.record["started"])
        self.store(switched=time.time())
        self.edge.switch(self.app, self.shelf, self.release)
        self.runtime.supervise(self.release)

    def verify(self) -> None:
        """Ask the app through the edge until the new release answers."""
        check = self.edge.check(self.app, **model.wanted_answer(self.app, self.release, self.record["version"]))
        if check is None:
            return
        result = http_health.wait([check], deadline=max(15, self.app["health"]["request_timeout"]), interval=0.05)
        if not result.ok:
            raise PhaseError(f"through the edge: {result.reason}", look=self.edge.look(self.app))

    def hand_over(self) -> None:
        """Start the new single processes when the old ones are gone, on the first host only."""
        if self.options["first"]:
            old = self.old()
            if old:
                old.stop(self.record["from"], old.members(self.record["from"], "singles"))
            self.store(handed=time.time())
            self.runtime.start(self.release, "singles")

    def join(self) -> None:
        """Let systemd know what is live, and wait until the new workers take tasks."""
        self.runtime.enliven()
        self.runtime.prepare_control(self.release)
        self.runtime.joined(self.release, self.record["started"], self.record.get("quieted", {}).get("revoked", []))

    def relieve(self) -> None:
        """In a rollback: the old workers and single processes end, those of the kept release start; nobody waits.

        They have run on this host before. systemd itself starts the single ones when the old ones are gone.
        """
        old, before = self.old(), self.record["from"]
        old.stop(before, old.members(before, "workers"), wait=False)
        self.runtime.start(self.release, "workers")
        if self.options["first"]:
            old.replace(before, self.release, self.runtime.members(self.release, "singles"))
        self.runtime.enliven()

    def retire(self) -> None:
        """Let the old instance end what it has begun; nobody waits for that. Before it, the new singles have to live."""
        if self.record.get("handed"):
            try:
                self.runtime.settled(self.release, self.record["handed"])
            except PhaseError as error:
                error.phase = "hand_over"
                raise
        old = self.old()
        if old:
            old.stop(self.record["from"], wait=False)

    def prune(self) -> None:
        """Remove what no rollback takes: releases, venvs, static files, unit templates."""
        records = self.shelf.records()
        records[self.release] = dict(self.record, outcome=releases.GOOD)
        for release in releases.to_prune(self.release, records, self.app["keep"], set(self.runtime.running()) | {self.record.get("from", "")}):
            host.remove(self.shelf.path(release))
            records.pop(release)
        static_files.prune(f"{self.root}/static", [self.shelf.path(release, "static") for release in records])
        for frontend in self.app["frontends"]:
            kept = [self.shelf.path(release, "frontends", frontend["name"]) for release in records]
            static_files.prune(f"{self.root}/frontends/{frontend['name']}", kept)
        self.notes += self.runtime.prune(records, self.record.get("from", ""))

    def write_down(self) -> None:
        """Write down that the release is live, and free the lock."""
        self.store(outcome=releases.GOOD, ended=time.time())
        self.runtime.keep_secrets()
        self.note_ages()
        self.ledger("live", "record", "")
        self.lock.release()

    def ledger(self, outcome: str, phase: str, reason: str) -> None:
        """Write the outcome into the ledger."""
        record = self.record
        self.shelf.note({"id": self.release, "from": record.get("from", ""), "of": record.get("of", ""),
                         "ref": record.get("version") or self.options.get("version", ""),
                         "sha": record.get("sha", ""), "env": record.get("identity", ""), "result": outcome, "phase": phase, "reason": reason,
                         "who": self.options["who"], "run": self.options["run"], "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                         "seconds": round(time.time() - record.get("began", time.time()), 1)})

    # Check mode

    def rehearse(self) -> list[str]:
        """Return what the phases would do, a line each. Nothing of the app changes; code and venv are built in its cache."""
        if not contained.is_folder(f"{self.root}/releases") or not contained.is_folder(f"{self.root}/cache"):
            return [f"plan unknown until site.yml ran: {self.root} is not there yet"]
        lines = []
        self.check_prepared()
        held = self.lock.read()
        if held:
            lines.append(f"lock: {held.get('who')} holds it; a deploy now would be refused while that run lives")
        self.progress.phase("resolve")
        self.resolve()
        if self.noop:
            return [*lines, f"nothing to do: {self.record['version']} ({self.record['sha'][:7]}) is live as {self.release}"]
        live = self.shelf.live()
        lines += [f"resolve: {self.record['version']} is {self.record['sha'][:7]}; live is {self.shelf.record(live).get('version', 'nothing')} {live}",
                  f"fetch: release {self.release}"]
        # Its root is another one; the data of the app (an SQLite file) are read where they are.
        shadow = Deploy(dict(self.app, root=f"{self.root}/cache/check", etc=f"{self.app['etc']}/check", rehearsal=True), self.options)
        try:
            lines += shadow.rehearse_build(self)
        finally:
            shadow.end_commands()
            host.remove(shadow.root)
            host.remove(shadow.app["etc"])
        changed = sorted(self.runtime.outdated())
        if changed:
            lines.append(f"units: {', '.join(changed)} would change")
        return lines + [f"start: {', '.join(self.runtime.members(self.release))}", f"switch: {self.root}/live from {live or 'nothing'} to {self.release}"] + (
            [f"retire: {live}"] if live else [])

    def rehearse_rollback(self) -> list[str]:
        """Return what a rollback would do, a line each."""
        self.choose()
        if self.noop:
            return [f"nothing to do: {self.release or 'nothing'} is live with these secrets"]
        return [f"choose: {self.record['of']} ({self.record['version']}) would come back as {self.release}",
                f"switch: {self.root}/live from {self.record['from']} to {self.release}", f"retire: {self.record['from']}"]

    def rehearse_build(self, real: Deploy) -> list[str]:
        """Build like ``real`` in this shadow of its root and return what build and migrate would do."""
        self.release, self.record = real.release, dict(real.record)
        uid, gid = host.ids(self.app["user"])
        host.folder(self.root, 0o711)
        for path, wanted in layout.folders(self.app, uid, gid).items():
            if path.startswith((self.root, self.app["etc"])):
                host.folder(path, *wanted)
        self.runtime.source = real.runtime.source
        self.progress.phase("fetch")
        self.fetch()
        self.progress.phase("build")
        values, lines = self.runtime.rehearse_build(self.release, self.record, real.runtime)
        self.store(**values)
        if values and self.options["first"]:
            self.progress.phase("check")
            self.check(only_check=True)
            lines.append("migrate: " + (", ".join(self.record.get("migrations", [])) or "no migration"))
        return lines + [f"warning: {note}" for note in self.notes if note.startswith("warning")]

    # When a phase failed

    def abandon(self) -> None:
        """Undo what the run has done: the old release serves and works as before, nothing of the new one runs, the lock is free."""
        held = self.lock.read()
        if held.get("run") != self.options["run"]:
            return  # refused at the lock: all of it belongs to another run
        self.own("abandon")
        failure = self.options.get("failure") or {}
        live = self.record.get("from") or self.shelf.live()
        self.notes.append(f"{self.shelf.record(live).get('version')} serves as before, as {live}" if live else "no release is live")
        try:
            if self.release and self.record:
                self.undo()
            with contextlib.suppress(OSError):  # a full disk must not keep the lock
                if self.record:
                    self.store(outcome=releases.FAILED, failed=failure.get("phase", ""), reason=failure.get("reason", ""))
                self.ledger("failed", failure.get("phase", ""), failure.get("reason", ""))
        finally:
            self.lock.release()

    def undo(self) -> None:
        """Put the old release back to work and stop the new one."""
        before, old = self.record.get("from", ""), self.old()
        self.runtime.restore_secrets()
        if self.shelf.live() == self.release:
            self.edge.switch(self.app, self.shelf, before)
            self.runtime.supervise(before)
        self.runtime.stop(self.release, self.runtime.members(self.release, "singles"))
        if old and self.record.get("started"):
            self.wake(before, self.record.get("quieted") or {})
        # What it has begun to answer is answered, for as long as that takes; nobody waits for it here.
        self.runtime.stop(self.release, wait=not self.record.get("switched"))

