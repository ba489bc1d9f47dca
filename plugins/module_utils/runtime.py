# SPDX-License-Identifier: GPL-3.0-or-later
"""What both runtimes share: groups of processes, the probe, and the talk with celery workers.

A runtime runs instances of an app. ``Systemd`` and ``Compose`` have the same verbs:

on disk    install, outdated, forget, check, fetch, build, copy, settle_secrets, restore_secrets
commands   one_off, end_one_off, manage, by_hand
instances  start, members, place, dead, log, last_output, process_of, stop, replace, running, revive, whole, memory, describe
"""
from __future__ import annotations

import contextlib
import dataclasses
import grp
import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import (
    celery_control,
    celery_workers,
    cgroup,
    contained,
    django_run,
    host,
    http_health,
    model,
    ports,
    processes,
    progress,
    releases,
    sizing,
    supervisor,
    units,
)

BEGIN_SECONDS = 30  # from the start of a one-off until its program runs: for systemd or Docker, and the ENTRYPOINT of an image
JOURNALS = "/run/systemd/journal"  # and a dot and the name of one: the folder of its sockets
IN_APP = {"django_run.py": django_run, "celery_control.py": celery_control}
# Before a reload returns, nginx's old workers have taken connections whose requests are yet to come: those they still send to the old instance.
MOST_AT_ONCE = 64  # requests of one look
OLD_EDGE = 'tries=0; while pgrep -f "[n]ginx: worker process is shutting down" >/dev/null && [ $tries -lt 60 ]; do sleep 0.5; tries=$((tries + 1)); done'


# migrate prints this, and what came of it when that is known.
APPLYING = re.compile(rb"^  (?:Applying|Unapplying) (\S+?)\.\.\.")


class Runtime:
    """The instances of an app on this host.

    ``app`` is one of the model, without secrets; ``secrets`` are its secret variables; ``apps`` are all apps of the host. Who gives none of these
    cannot size, build or choose ports: a limit that leaves the other apps out is another than that of the next deploy.
    """

    progress = progress.Progress()
    may_watch_builds = False  # whether code of the app that runs while a release is built can be kept from writing to it

    def __init__(self, app: dict, shelf, secrets: dict | None = None, apps: list[dict] | None = None):
        self.app, self.shelf, self.secrets, self.apps = app, shelf, secrets or {}, apps
        self.control = None
        self.source_key = ""  # the deploy key, for builds that are lent it
        self.rebuilt, self.fresh = "", False  # when its dependencies were built anew because somebody asked for it, and whether that is now

    def with_processes(self, wanted: list[dict]) -> Runtime:
        """Return the same runtime for a release whose processes are others."""
        other = type(self)(dict(self.app, processes=wanted), self.shelf, self.secrets, self.apps)
        other.control, other.progress = self.control, self.progress
        return other

    @property
    def neighbours(self) -> list[dict]:
        """The other apps of the host: they share its memory and its ports."""
        if self.apps is None:
            raise ValueError(f"the runtime of {self.app['name']} was made without the apps of its host")
        return [app for app in self.apps if app["name"] != self.app["name"]]

    def plan(self) -> dict:
        """Return what the app gets of this host, as sizing.plan says."""
        cores, memory = host.size()
        return sizing.plan({"cores": cores, "memory": memory}, [self.app, *self.neighbours])["apps"][self.app["name"]]

    def sizes(self) -> dict:
        """Return process -> {workers, memory and limit in MiB} on this host."""
        return self.plan()["processes"]

    def programs(self, _release: str) -> list[str]:
        """Return the words of the commands of a release's processes, among which are the names of start scripts."""
        return sorted({word for process in self.app["processes"] for word in process["command"].split() if not word.startswith("-")})

    def variables(self) -> dict:
        """Return the secrets that arrive as variables."""
        return {name: value for name, value in self.secrets.items() if name not in self.app.get("secret_files", [])}

    def write_secret_files(self, release: str, copied: str = "") -> None:
        """Write the secrets of a release that arrive as files; only the user of its processes reads them. ``copied``: the release that is copied."""
        paths = model.secret_file_paths(self.app, release)
        if not paths:
            return
        owner, group = self.reader()
        host.folder(self.shelf.path(release, "secrets"), 0o711)
        for name, path in paths.items():
            before = contained.text(model.secret_file_paths(self.app, copied)[name]) if copied else ""
            host.write(path, self.secrets.get(name) or before, 0o440, owner, group)

    def reader(self) -> tuple[int, int]:
        """Return owner and group of a file that only the app's processes read."""
        return 0, host.ids(self.app["user"])[1]

    def wanted(self, group: str = "") -> list[dict]:
        """Return the processes of a group, or all of them."""
        return [process for process in self.app["processes"] if not group or processes.group(process) == group]

    def close_journal(self, mode: int, group: str) -> None:
        """Give the sockets of the app's journal this mode and group where they are open already: systemd settles both when it makes them."""
        for name in ("dev-log", "socket", "stdout"):
            path = f"{JOURNALS}.{self.app['name']}/{name}"
            if contained.state(path) is not None:
                contained.restrict(path, mode, grp.getgrnam(group).gr_gid)

    def on_host(self, command: list[str], name: str, timeout: int, writable: list[str] | None = None) -> list[str]:
        """Return the argv that runs a program of ours on the host as the app's user, in the sandbox of its processes."""
        unit = units.helper(self.app, name, str(os.getpid()))
        return host.one_off_argv(self.app, units.sandbox(self.app, writable or []), command, unit, timeout, "/", {"HOME": "/tmp"})

    def prepare_control(self, release: str) -> None:
        """Start the process that speaks with celery workers, when the app has some; it imports the app while others start."""
        workers = [process for process in self.app["processes"] if process["kind"] == "celery-worker"]
        if workers and self.control is None:
            command = [*self.python(release), self.helper(release, "celery_control.py"), processes.celery_app_of(self.app, workers[0])]
            name = f"control-{os.getpid()}"
            self.control = celery_workers.Control(self.app, self.onlooker(release, command, name, 600), lambda: self.end_one_off(release, name))

    def onlooker(self, release: str, command: list[str], name: str, timeout: int) -> list[str]:
        """Return the argv of a one-off that makes nothing of the release."""
        return self.one_off(release, command, name, timeout)

    def manage(self, release: str, name: str, timeout: int) -> ManageProcess:
        """Start a process that runs manage.py commands of a release."""
        argv = self.one_off(release, [*self.python(release), self.helper(release, "django_run.py"), self.app["manage"]], name, timeout)
        return ManageProcess(argv, lambda: self.end_one_off(release, name), lambda status, output: self.unbegun(release, status, output))

    def unbegun(self, _release: str, status: int, output: str) -> host.PhaseError:
        """Return the error of a command that did not begin. ``status``: that with which what was to start it has ended, 0 when it did not end in time."""
        return host.PhaseError(f"a command of the app did not begin ({f'status {status}' if status else f'waited {BEGIN_SECONDS} s'})", output, phase="check")

    def check_of(self, release: str, process: dict, version: str) -> http_health.Check:
        """Return what a healthy answer of a process is, asked at the instance."""
        health, place = self.app["health"], self.place(release, process)
        if process["name"] == processes.belongs_to(health["path"], self.app):
            return http_health.Check(path=health["path"], **place, **model.wanted_answer(self.app, release, version))
        return http_health.Check(path=process["check"] or "/", host=health["host"], scheme=self.app["scheme"], timeout=float(health["request_timeout"]),
                                 status=tuple(range(200, 400 if process["check"] else 600)), **place)

    def ready(self, release: str, started: float, version: str) -> None:
        """Wait until a release's servers answer as the model wants while all its processes live; raise PhaseError."""
        wanted, sizes = self.members(release, "servers"), self.sizes()
        for process in self.probed():
            self.progress.step(process["name"])
            # The first answer is that of one worker; then as many at once as there are workers, whose first pages may be slow.
            for number in dict.fromkeys((1, min(sizes[process["name"]]["workers"], MOST_AT_ONCE))):
                result = self.asked(release, [self.check_of(release, process, version)] * number, started)
                if not result.ok:
                    self.dead(wanted, started)
                    at_once = f"asked {number} times at once, as it has {number} workers: " if number > 1 else ""
                    hint = self.heard(release, process) or self.waits(process)
                    reason = f"processes[{process['name']}]: {at_once}{result.reason}{self.patience(result.seconds)}{hint}"
                    raise host.PhaseError(reason, *self.log(release, process, started))
            self.reachable(release, process)
        self.dead(wanted, started)

    def booted(self, release: str, started: float) -> str:
        """Wait until a release's servers answer whatever they like, an error too, while all its processes live; raise PhaseError when one has died.

        Return which of them lives and gave no answer within ``health.timeout``, an empty text for none: it may wait for the migrations.
        """
        silent = []
        for process in self.probed():
            self.progress.step(process["name"])
            check = dataclasses.replace(self.check_of(release, process, ""), status=tuple(range(100, 600)), text="", json=None, headers={})
            if not self.asked(release, [check], started).ok:
                silent.append(process["name"])
            else:
                self.reachable(release, process)
        self.dead(self.members(release, "servers"), started)
        return f"{', '.join(silent)} did not answer within {self.app['health']['timeout']} s (health.timeout)" if silent else ""

    def probed(self) -> list[dict]:
        """Return the servers that answer without the workers, which start after them."""
        return [process for process in self.wanted("servers") if process["probe"]]

    def asked(self, release: str, checks: list[http_health.Check], started: float) -> http_health.Result:
        """Ask until all answers are good, or ``health.timeout`` is over; raise PhaseError when one of the servers of the release has died."""
        wanted, looked = self.members(release, "servers"), [0.0]

        def alive() -> str:
            if time.monotonic() - looked[0] > 0.2:
                looked[0] = time.monotonic()
                self.dead(wanted, started)
            return ""

        return http_health.wait(checks, deadline=self.app["health"]["timeout"], interval=0.05, alive=alive, together=len(checks) > 1)

    def spared(self, name: str, process: dict, pid: int, killed: bool) -> None:
        """Raise PhaseError when the kernel has killed a process of a unit or container for memory.

        ``pid``: its main process, 0 when it does not run; ``killed``: whether systemd or the engine has seen such a kill.
        """
        seen = cgroup.memory(pid) if pid else {}
        if process and (seen.get("kills") or killed):
            raise host.PhaseError(f"{name}: {cgroup.told(seen)}: {cgroup.advice(process)}", *self.last_output(name))

    def reachable(self, _release: str, _process: dict) -> None:
        """Raise PhaseError when the edge cannot ask a server that has answered us, who ask as root."""

    def heard(self, _release: str, _process: dict) -> str:
        """Return where a process listens when that is not where it is asked; empty where nobody knows better."""
        return ""

    def waits(self, process: dict) -> str:
        """Return what to do where a server that did not answer waits for the workers, which start after it; empty where it is not known to have some."""
        if process["name"] == processes.belongs_to(self.app["health"]["path"], self.app) or not self.wanted("workers"):
            return ""
        return f"; if {process['name']} waits for the workers, which start after the probe, set probe: false for it in the app model"

    def patience(self, seconds: float) -> str:
        """Return which field says how long was waited, after a wait of ``seconds`` that came to its end."""
        health = self.app["health"]
        return f": where the app needs longer than {health['timeout']} s, set health.timeout in the app model" if seconds > health["timeout"] - 2 else ""

    def joined(self, release: str, started: float, revoked: list) -> None:
        """Wait until a release's celery workers answer, and tell them which tasks were revoked; raise PhaseError when one does not."""
        wanted, missing = self.members(release, "workers"), set(celery_workers.nodes(self.app, release))
        deadline = time.monotonic() + self.app["health"]["timeout"]
        while missing:
            self.dead(wanted, started)
            missing -= set(self.control.ask({"do": "ping", "nodes": sorted(missing)}).get("nodes", []))
            if missing and time.monotonic() > deadline:
                raise host.PhaseError(f"no answer from the celery worker {', '.join(sorted(missing))} within {self.app['health']['timeout']} s "
                                      f"(health.timeout){self.behind_script(missing)}", look=f"{host.JOURNAL} -t {self.app['name']}-* -n 100 --no-pager")
        self.dead(wanted, started)
        if revoked and wanted:
            self.control.ask({"do": "revoke", "nodes": celery_workers.nodes(self.app, release), "tasks": revoked})

    def behind_script(self, missing: set) -> str:
        """Return what may keep a start script's worker from having the name by which it is asked; empty where none of the missing has a script."""
        names = [process["name"] for process in self.app["processes"] if process["kind"] == "celery-worker" and processes.is_wrapper(process["command"])
                 and any(node.startswith(f"{self.app['name']}-{process['name']}-") for node in missing)]
        return (f": the start script of {', '.join(names)} has to run Celery 5 or later without -n and --hostname, since the deploy names the node by "
                "CELERY_WORKER_HOSTNAME, and with the app that CELERY_APP of the env names") if names else ""

    def quiet(self, release: str) -> dict:
        """Tell a release's celery workers to take no more tasks; return what ``resume`` needs to undo it."""
        nodes = celery_workers.nodes(self.app, release)
        if not nodes or self.control is None:
            return {}
        answer = self.control.ask({"do": "quiet", "nodes": nodes})
        if "error" in answer:
            raise host.PhaseError(f"the old celery workers could not be told to take no more tasks: {answer['error']}")
        return answer

    def resume(self, quieted: dict) -> None:
        """Undo ``quiet``."""
        if quieted.get("queues") and self.control is not None:
            self.control.ask({"do": "resume", "queues": quieted["queues"]})

    def settled(self, release: str, since: float, seconds: float = 1.0) -> None:
        """Raise PhaseError when a single process did not live for ``seconds`` after it was started."""
        wanted = self.members(release, "singles")
        while wanted:
            self.dead(wanted, since)
            if time.time() - since >= seconds:
                return
            time.sleep(0.05)

    def background(self, verb: str, release: str, steps: list[str], wait: bool = False, network: str = "") -> None:
        """Run shell lines that go on without whoever asked for them; their journal is that of a unit. ``wait`` waits for them all the same.

        ``network``: the path of the network namespace that they see.
        """
        unit = units.helper(self.app, verb, release, str(time.monotonic_ns()))
        properties = [f"--property={line}" for line in units.messenger(sees_processes=True, network=network)]
        host.run(["systemd-run", "--quiet", "--collect", "--wait" if wait else "--no-block", f"--unit={unit}", "--service-type=oneshot", *properties, "--",
                  "/bin/sh", "-c", "; ".join(steps)], check=not wait, timeout=None if wait else 120)

    def ending(self, release: str) -> bool:
        """Return whether a release is being stopped in the background: it still answers what has asked it."""
        return release in supervisor.list_helpers(self.app["name"])["stop"]

    def whole(self, release: str) -> bool:
        """Return True when all of a release runs that has to."""
        running = self.running().get(release, {})
        return all(running.get(unit) == "active" for unit in self.due(release))

    def due(self, release: str) -> list[str]:
        """Return the units of a release that have to run now: while single processes are handed over to it, its own wait for those before them."""
        waiting = self.members(release, "singles") if release in supervisor.list_helpers(self.app["name"])["replace"] else []
        return [unit for unit in self.shelf.units(release) if unit not in waiting]

    def supervise(self, _release: str) -> None:
        """Let what ends of the live release come back, and nothing of others: a unit says that by itself."""

    def choose_ports(self, release: str) -> dict:
        """Return a free port of the app's own block for each process of a release that is reached by one; raise PhaseError."""
        names = [process["name"] for process in self.wanted() if process["tcp"]]
        if not names:
            return {}
        try:
            own = ports.block(ports.settle([self.app, *self.neighbours]), self.app["name"])
        except ports.NoBlock as error:
            raise host.PhaseError(str(error)) from error
        records, live = self.shelf.records(), self.shelf.live()
        used = {name: set(record.get("ports", {}).values()) for name, record in records.items()}
        start = int(releases.fingerprint([self.app["name"], release])[:8], 16)
        chosen = ports.choose(names, own, start, used.get(live, set()), set().union(*used.values()), host.port_is_free)
        if len(chosen) < len(names):
            raise host.PhaseError(f"only {len(chosen)} of {len(names)} processes found a free port among those of this app, {own[0]} to {own[-1]}: "
                                  "somebody else holds them", look=f"ss -Htlnpe 'sport >= :{own[0]} and sport <= :{own[-1]}'")
        return chosen

    def describe_services(self) -> list[dict]:
        """Return what is known of the containers of the app's database and cache; none where those are the host's."""
        return []

    def seen(self, process: str, pid: int, kills: int, **more) -> dict:
        """Return what is known of a unit or container: ``more``, its memory in bytes, and the command lines that run in it.

        ``kills``: processes of it that the kernel has killed for memory by ``cgroup.past_kills``; its cgroup may know of more.
        """
        memory = {"used": 0, "limit": 0, "kills": 0, **(cgroup.memory(pid) if pid else {})}
        return {"process": process, **memory, "kills": max(kills, memory["kills"]), "commands": cgroup.commands(pid) if pid else [], **more}

    def base_ages(self, _release: str) -> dict:
        """Return image -> days since the oldest layer of its base was made; none without images."""
        return {}

    def close(self) -> None:
        """Let helpers end."""
        if self.control is not None:
            self.control.close()
            self.control = None


class ManageProcess:
    """A running django_run.py. ``end`` stops what runs it on the host: to end ``argv`` alone may leave that behind. ``unbegun`` is ``Runtime.unbegun``."""

    def __init__(self, argv: list[str], end: Callable[[], None], unbegun: Callable[[int, str], host.PhaseError]):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=host.LOCALE)
        self.end, self.unbegun, self.received, self.begun = end, unbegun, b"", False
        self.migration, self.migrating = "", None

    def ask(self, argv: list[str], seconds: float, migrating: Callable[[str], None] | None = None) -> tuple[dict, str]:
        """Run one command; return its answer and what it printed. Raise PhaseError when the program that runs it does not begin within BEGIN_SECONDS.

        A process that ended answers with its status and ``ended``. One that gives no answer within ``seconds`` is ended, and the answer has ``late``.
        ``migrating`` is called with the name of each migration that begins.
        """
        self.migrating = migrating
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write((json.dumps(argv) + "\n").encode())
            self.process.stdin.flush()
        if not self.begun:
            answer, output = self.answer(BEGIN_SECONDS)
            if answer.get("ended"):
                raise self.unbegun(0 if answer.get("late") else answer["status"], output)
            self.begun = True
            if "begun" not in answer:  # by the program of a release that an earlier version of the collection has made
                return answer, output
        return self.answer(seconds)

    def answer(self, seconds: float) -> tuple[dict, str]:
        """Return the next answer and what was printed before it, as ``ask`` does."""
        output, deadline = [], time.monotonic() + seconds
        while True:
            line = self.line(deadline)
            if line is None:
                self.end()
                self.process.stdout.read()
                self.process.wait()
                return {"status": 124, "ended": True, "late": True}, "".join(output).strip()
            if line.startswith(django_run.MARK):
                return json.loads(line[len(django_run.MARK):]), "".join(output).strip()
            if not line:
                return {"status": self.process.wait() or 1, "ended": True}, "".join(output).strip()
            output.append(line)

    def line(self, deadline: float) -> str | None:
        """Return the next line of what it prints, an empty text at its end, None when none comes before ``deadline`` (time.monotonic)."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.received:
                if not selector.select(max(0, deadline - time.monotonic())):
                    return None
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    break
                self.received += chunk
                self.look_for_migration()
        line, newline, self.received = self.received.partition(b"\n")
        self.look_for_migration()
        return (line + newline).decode(errors="replace")

    def look_for_migration(self) -> None:
        """Tell the migration that has begun, when a line that does so is here: its end comes with the end of the migration."""
        begun = APPLYING.match(self.received)
        if begun and self.migrating and begun[1].decode(errors="replace") != self.migration:
            self.migration = begun[1].decode(errors="replace")
            self.migrating(self.migration)

    def close(self) -> None:
        """Let the process end."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


def source_of(module) -> str:
    """Return the text of a Python module, also from the zip file in which Ansible sends it."""
    return module.__loader__.get_source(module.__name__)
