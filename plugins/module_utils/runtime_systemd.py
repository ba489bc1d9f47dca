# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd runtime: a release runs from a venv, as units named after its id.

All runtimes have the same verbs: install, build, manage, start, ready, joined, quiet, resume, settled, stop, drained, running.
"""
from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import time

from ansible_collections.quayside.django.plugins.module_utils import (
    celery_control,
    celery_workers,
    django_run,
    host,
    http_health,
    model,
    processes,
    python_env,
    sizing,
    units,
)

UNITS = "/etc/systemd/system"
IN_APP = {"django_run.py": django_run, "celery_control.py": celery_control}


class Systemd:
    """An app's instances as systemd units. ``app`` is one of the model, without secrets."""

    def __init__(self, app: dict, shelf):
        self.app, self.shelf = app, shelf
        self.control = None

    # What is on disk

    def install(self, only_missing: bool = False) -> list[str]:
        """Write the app's units; return those that changed. ``only_missing``: of an older release, whose processes the model no longer has."""
        wanted = units.files(self.app)
        if only_missing:
            wanted = {name: text for name, text in wanted.items() if not os.path.exists(f"{UNITS}/{name}")}
        changed = [name for name, text in wanted.items() if host.write(f"{UNITS}/{name}", text)]
        if changed:
            host.systemctl("daemon-reload")
        return changed

    def outdated(self) -> dict:
        """Return file name -> (text before, text after) of the units that ``install`` would change."""
        found = {}
        for name, text in units.files(self.app).items():
            before = host.text(f"{UNITS}/{name}")
            if before != text:
                found[name] = (before, text)
        return found

    def forget(self, kept: list[dict]) -> None:
        """Remove unit templates that neither the model nor one of the ``kept`` releases (as apps) has."""
        wanted = {f"{name}@.service" for app in [self.app, *kept] for name in units.template_names(app)}
        mine = [path for path in glob.glob(f"{UNITS}/{self.app['name']}-*@.service") if os.path.basename(path) not in wanted]
        gone = False
        for path in mine:
            with open(path, encoding="utf-8") as file:
                if file.readline().strip() != units.mark(self.app):
                    continue
            host.remove(path)
            gone = True
        if gone:
            host.systemctl("daemon-reload")

    def write_scripts(self, release: str, venv: str) -> None:
        """Write what the units start, and the helpers that run inside the app's venv."""
        cores, memory = host.size()
        workers = sizing.workers(cores, memory)
        for process in self.app["processes"]:
            host.write(self.shelf.path(release, "bin", process["name"]), processes.script(self.app, process, release, venv, workers), 0o755)
        host.write(self.shelf.path(release, "bin", "manage"), processes.manage_script(self.app, release, venv), 0o755)
        for name, module in IN_APP.items():
            host.write(self.shelf.path(release, "lib", name), source_of(module))

    def build(self, release: str, venv: str, files: dict) -> bool:
        """Build the venv unless it is there already; return True when it was built. Never as root.

        It is built under its final name, since its scripts hold that; the mark of completeness is written last.
        """
        if os.path.exists(f"{venv}/.complete"):
            return False
        host.remove(venv)
        commands, env = python_env.build_commands(self.app["python"], venv, files, f"{self.app['root']}/cache")
        folder = processes.code_folder(self.app, release)
        writable = [f"{self.app['root']}/venvs", f"{self.app['root']}/cache", self.shelf.path(release)]
        # A build may compile, fetch by any protocol and need memory that is writable and executable: only the file system is closed.
        properties = ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "ReadWritePaths=" + " ".join(writable)]
        for number, command in enumerate(commands):
            argv = host.one_off_argv(self.app, properties, command, f"{self.app['name']}-build-{number}-{release}", 1800, folder, env)
            done = host.run(argv, check=False, timeout=1900)
            if done.returncode:
                host.remove(venv)
                raise host.PhaseError(f"`{' '.join(os.path.basename(word) for word in command[:3])}` ended with {done.returncode}",
                                      done.stderr or done.stdout)
        host.write(f"{venv}/.complete", release + "\n")
        return True

    # Commands of the app

    def one_off(self, release: str, command: list[str], name: str, timeout: int, venv: str) -> list[str]:
        """Return the argv that runs ``command`` in a release's venv, env and sandbox; a one-off may also write into its release."""
        env = {"PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": processes.code_folder(self.app, release), "RELEASE": release,
               # A migration that waits for a lock makes every request behind it wait too: rather fail and leave all serving.
               "PGOPTIONS": "-c lock_timeout=10s"}
        writable = [self.shelf.path(release)]
        return host.one_off_argv(self.app, units.sandbox(self.app, writable), command, f"{self.app['name']}-{name}-{release}", timeout,
                                 processes.code_folder(self.app, release), env, self.env_files(release))

    def env_files(self, release: str) -> list[str]:
        """Return the env files of a release, in the order in which they are read."""
        return [self.shelf.path(release, "env"), f"{self.app['root']}/shared/secrets.env"]

    def manage(self, release: str, venv: str, name: str, timeout: int) -> ManageProcess:
        """Start a process that runs manage.py commands of a release."""
        command = [f"{venv}/bin/python", self.shelf.path(release, "lib", "django_run.py"), self.app["manage"]]
        return ManageProcess(self.one_off(release, command, name, timeout, venv))

    # Instances

    def start(self, release: str, group: str) -> None:
        """Start a group of a release's processes: ``servers``, ``workers`` or ``singles``; do not wait."""
        wanted = self.members(release, group)
        if wanted:
            host.systemctl("start", "--no-block", "--", *wanted)

    def members(self, release: str, group: str = "") -> list[str]:
        """Return the units of a group of a release's processes, or of all of them."""
        groups = {"servers": lambda process: process["socket"] and not process["single"],
                  "workers": lambda process: not process["socket"] and not process["single"], "singles": lambda process: process["single"]}
        return units.instance(self.app, release, groups.get(group, lambda process: True))

    def prepare_control(self, release: str, venv: str) -> None:
        """Start the process that speaks with celery workers, when the app has some; it imports the app while others start."""
        workers = [process for process in self.app["processes"] if process["kind"] == "worker"]
        if workers and self.control is None:
            command = [f"{venv}/bin/python", self.shelf.path(release, "lib", "celery_control.py"), processes.celery_app(workers[0]["command"])]
            self.control = celery_workers.Control(self.app, self.one_off(release, command, f"control-{os.getpid()}", 600, venv))

    def dead(self, wanted: list[str], since: float) -> str:
        """Return which of the units has died since it was started, and how; empty while all live. Its log is in the error."""
        shown = host.systemctl("show", "-p", "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,Job", "--", *wanted).stdout
        for block in shown.strip().split("\n\n"):
            unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            ended = unit.get("ActiveState") == "inactive" and not unit.get("Job", "").strip("0")  # with a job it has yet to start
            if ended or unit.get("ActiveState") == "failed" or unit.get("SubState") == "auto-restart" or unit.get("NRestarts", "0") != "0":
                name = unit.get("Id", "")
                raise host.PhaseError(f"{name.removesuffix('.service')} died at its start ({unit.get('Result')}, status {unit.get('ExecMainStatus')})",
                                      host.journal(name, since), f"journalctl -u {name} --no-pager")
        return ""

    def ready(self, release: str, started: float, version: str) -> None:
        """Wait until a release's servers answer as the model wants while all its processes live; raise PhaseError."""
        health, wanted = self.app["health"], self.members(release, "servers")
        looked = [0.0]

        def alive() -> str:
            if time.monotonic() - looked[0] > 0.2:
                looked[0] = time.monotonic()
                self.dead(wanted, started)
            return ""

        routed = [process for process in self.app["processes"] if process["route"] == "/" or process["name"] == "web"]
        for process in [process for process in routed if process["socket"]]:
            check = http_health.Check(socket=self.shelf.path(release, "run", f"{process['name']}.sock"), path=health["path"],
                                      **model.wanted_answer(self.app, release, version))
            result = http_health.wait([check], deadline=health["timeout"], interval=0.05, alive=alive)
            if not result.ok:
                unit = f"{processes.unit_name(self.app, process, 1)}@{release}.service"
                raise host.PhaseError(result.reason, host.journal(unit, started), f"journalctl -u {unit} --no-pager")
        self.dead(wanted, started)

    def joined(self, release: str, started: float, revoked: list) -> None:
        """Wait until a release's celery workers answer, and tell them which tasks were revoked; raise PhaseError when one does not."""
        wanted, missing = self.members(release, "workers"), set(celery_workers.nodes(self.app, release))
        deadline = time.monotonic() + self.app["health"]["timeout"]
        while missing:
            self.dead(wanted, started)
            missing -= set(self.control.ask({"do": "ping", "nodes": sorted(missing)}).get("nodes", []))
            if missing and time.monotonic() > deadline:
                raise host.PhaseError(f"no answer from the celery worker {', '.join(sorted(missing))} within {self.app['health']['timeout']} s",
                                      look=f"journalctl -t {self.app['name']}-* -n 100 --no-pager")
        self.dead(wanted, started)
        if revoked and wanted:
            self.control.ask({"do": "revoke", "nodes": celery_workers.nodes(self.app, release), "tasks": revoked})

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

    def stop(self, release: str, wanted: list[str] | None = None, wait: bool = True) -> None:
        """Stop a release's units, or some of them. They end what they have begun, within their drain."""
        wanted = self.members(release) if wanted is None else wanted
        if wanted:
            drain = max(process["drain"] for process in self.app["processes"]) + 30
            host.systemctl("stop", *([] if wait else ["--no-block"]), "--", *wanted, check=False, timeout=drain)
            host.systemctl("reset-failed", "--", *wanted, check=False)

    def replace(self, old: str, new: str, wanted: list[str]) -> None:
        """Start units when a release's single processes are gone, in the background, where it goes on without whoever asked for it."""
        gone = self.members(old, "singles")
        steps = [f"systemctl stop -- {' '.join(gone)}"] * bool(gone) + [f"systemctl start -- {' '.join(wanted)}"] * bool(wanted)
        if steps:
            host.run(["systemd-run", "--quiet", "--collect", "--no-block", f"--unit={self.app['name']}-replace-{new}", "--service-type=oneshot", "--",
                      "/bin/sh", "-c", "; ".join(steps)])

    def drained(self, release: str, timeout: float = 5.0) -> None:
        """Wait until no connection is queued at a release's sockets: such a one would be lost when its server stops."""
        empty, deadline = 0, time.monotonic() + timeout
        folder = self.shelf.path(release, "run") + "/"
        while empty < 2 and time.monotonic() < deadline:
            lines = [line.split() for line in host.run(["ss", "-xlH"], check=False).stdout.splitlines() if folder in line]
            empty = empty + 1 if all(words[2] == "0" for words in lines) else 0
            time.sleep(0.05)

    def running(self) -> dict:
        """Return release -> units of it that run, start or stop on this host."""
        patterns = [f"{name}@*.service" for name in units.template_names(self.app)]
        shown = host.systemctl("list-units", "--all", "--plain", "--no-legend", "--full",
                               "--state=active,activating,deactivating,reloading", "--", *patterns).stdout
        found: dict = {}
        for line in shown.splitlines():
            unit = line.split()[0]
            found.setdefault(unit.rsplit("@", 1)[1][:-len(".service")], {})[unit] = line.split()[2]
        return found

    def memory(self) -> int:
        """Return the bytes of memory that the app's processes take together."""
        shown = host.systemctl("show", "-p", "MemoryCurrent", "--value", "--", units.slice_name(self.app), check=False).stdout.strip()
        return int(shown) if shown.isdigit() and len(shown) < 19 else 0  # an unknown value is 2^64-1

    def close(self) -> None:
        """Let helpers end."""
        if self.control is not None:
            self.control.close()
            self.control = None


class ManageProcess:
    """A running django_run.py."""

    def __init__(self, argv: list[str]):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=host.LOCALE,
                                        text=True, errors="replace")

    def ask(self, argv: list[str]) -> tuple[dict, str]:
        """Run one command; return its answer and what it printed. A process that ended answers with its status."""
        output = []
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(argv) + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(django_run.MARK):
                return json.loads(line[len(django_run.MARK):]), "".join(output).strip()
            output.append(line)
        status = self.process.wait()
        return {"status": status or 1, "ended": True}, "".join(output).strip()

    def close(self) -> None:
        """Let the process end."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


def source_of(module) -> str:
    """Return the text of a Python module, also from the zip file in which Ansible sends it."""
    return module.__loader__.get_source(module.__name__)
