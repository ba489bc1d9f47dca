# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd runtime: a release runs from a venv, as units named after its id."""
from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time

from ansible_collections.quayside.django.plugins.module_utils import env_file, host, processes, python_env, source, units
from ansible_collections.quayside.django.plugins.module_utils.runtime import IN_APP, OLD_EDGE, Runtime, source_of

UNITS = "/etc/systemd/system"


class Systemd(Runtime):
    """An app's instances as systemd units."""

    def __init__(self, app: dict, shelf, secrets: dict | None = None):
        super().__init__(app, shelf, secrets)
        self.source = source.of(app)

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

    # A new release

    def resolve(self, version: str) -> dict:
        """Return what a version is: ``sha``, and ``version`` where the source knows it better; raise PhaseError."""
        self.source.fetch()
        return self.source.resolve(version)

    def check(self, record: dict) -> None:
        """Refuse what cannot run here: a project that does not allow this host's Python."""
        interpreter = self.app["python"]["interpreter"]
        done = host.run([interpreter, "-c", "import platform; print(platform.python_version())"], check=False) \
            if os.path.exists(interpreter) else None
        if done is None or done.returncode:
            raise host.PhaseError(f"python.interpreter {interpreter} is not there: install it (packages) or name another one")
        version = done.stdout.strip()
        wanted = python_env.requires_python(self.source.read(record["sha"], "pyproject.toml"))
        if wanted and not python_env.allows(wanted, version):
            raise host.PhaseError(f"{record['version']} requires Python {wanted}, and {interpreter} is {version}: "
                                  "set python.interpreter to one that fits and install it by packages, or change requires-python")
        record["python"] = version

    def disks(self) -> list[str]:
        """Return the folders that a release grows."""
        return [f"{self.app['root']}/releases", f"{self.app['root']}/venvs"]

    def fetch(self, release: str, record: dict) -> None:
        """Write the code of the release, with links where its settings have a folder fixed."""
        root = self.app["root"]
        self.source.export(record, self.shelf.path(release, "code"))
        folder = processes.code_folder(self.app, release)
        if not os.path.isfile(f"{folder}/{self.app['manage']}"):
            raise host.PhaseError(f"{record['version']} has no {self.app['manage']} in {self.app['source']['subdir'] or 'its root'}: "
                                  "set source.subdir or manage in the app model")
        links = [(self.app["static"]["root"], self.shelf.path(release, "static")), (self.app["media"]["root"], f"{root}/shared/media"),
                 *((kept["path"], f"{root}/shared/{kept['name']}") for kept in self.app["folders"])]
        for path, target in links:
            if path:
                self.link_into_code(release, f"{folder}/{path}", target)

    def link_into_code(self, release: str, path: str, target: str) -> None:
        """Put a link where the settings of a project have a folder fixed. A link in the repository must not lead root out of it."""
        code = os.path.realpath(self.shelf.path(release, "code"))
        if not os.path.realpath(os.path.dirname(path)).startswith(code):
            raise host.PhaseError(f"{path} leads out of the release by a link in the repository: name another static.root, media.root or path")
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        host.link(path, target)

    def settle_secrets(self) -> None:
        """Write the one current file of secrets; what was there before waits beside it for ``restore_secrets``."""
        path, text = f"{self.app['root']}/shared/secrets.env", env_file.render(self.secrets)
        before = host.text(path)
        if before and before != text:
            host.write(f"{path}.before", before, 0o600)  # the live release may restart at any time
        host.write(path, text, 0o600, *host.ids(self.app["user"]))

    def restore_secrets(self) -> None:
        """Undo ``settle_secrets``."""
        path = f"{self.app['root']}/shared/secrets.env"
        if os.path.exists(f"{path}.before"):
            host.write(path, host.text(f"{path}.before"), 0o600, *host.ids(self.app["user"]))
            host.remove(f"{path}.before")

    def keep_secrets(self) -> None:
        """Forget what ``restore_secrets`` would bring back."""
        host.remove(f"{self.app['root']}/shared/secrets.env.before")

    def python_files(self, release: str, record: dict) -> dict:
        """Return the files that the venv may be built from."""
        folder = processes.code_folder(self.app, release)
        found = {}
        todo = ["uv.lock", "pyproject.toml", "requirements.txt", *self.app["python"]["requirements"]]
        while todo:
            name = todo.pop()
            if name not in found and not name.startswith(("/", "../")):
                with contextlib.suppress(OSError), open(f"{folder}/{name}", encoding="utf-8") as file:
                    found[name] = file.read()
                    todo += python_env.included(name, found[name]) if not name.endswith((".lock", ".toml")) else []
        missing = [name for name in self.app["python"]["requirements"] if name not in found]
        if missing or not python_env.inputs(self.app["python"], found):
            raise host.PhaseError(f"{record['version']} has no {', '.join(missing) or 'uv.lock and no requirements.txt'}: "
                                  "name its requirements files in python.requirements")
        return found

    def build(self, release: str, record: dict) -> tuple[dict, list[str]]:
        """Build what the release runs from; return what its record has to hold, and notes."""
        files, notes = self.python_files(release, record), []
        venv = f"{self.app['root']}/venvs/{python_env.key(self.app['python'], record['python'], files)}"
        if self.build_venv(release, venv, files):
            notes.append("dependencies changed: a new venv was built")
        self.build_others(release)
        ports = self.choose_ports(release)
        self.write_scripts(release, venv, ports)
        changed = self.install()
        if changed:
            notes.append(f"units changed: {', '.join(changed)}")
        return {"venv": venv, "ports": ports}, notes

    def rehearse_build(self, release: str, record: dict, real: Runtime) -> tuple[dict, list[str]]:
        """Build like ``real``, whose venvs may serve, without touching a unit; return what ``build`` returns."""
        files = self.python_files(release, record)
        key = python_env.key(self.app["python"], record["python"], files)
        venv = f"{real.app['root']}/venvs/{key}"
        there = os.path.exists(f"{venv}/.complete")
        if not there:
            venv = f"{self.app['root']}/venvs/{key}"
            self.build_venv(release, venv, files)
        self.write_scripts(release, venv, {})
        return {"venv": venv}, ["build: dependencies are those of a kept release" if there else "build: dependencies changed, a new venv would be built"]

    def build_others(self, release: str) -> None:
        """Run the app's build commands in its code, and take what the edge serves of it."""
        folder = processes.code_folder(self.app, release)
        for number, command in enumerate(self.app["build"]):
            env = {"HOME": f"{self.app['root']}/cache", "NEXT_TELEMETRY_DISABLED": "1", "CI": "1",
                   **{key: env_file.text(value) for key, value in {**self.app["env"], **command["env"]}.items()}}
            argv = host.one_off_argv(self.app, self.build_properties(release), ["/bin/sh", "-ec", command["command"]],
                                     f"{self.app['name']}-command-{number}-{release}", command["timeout"],
                                     "/".join(part for part in (folder, command["folder"]) if part), env)
            done = host.run(argv, check=False, timeout=command["timeout"] + 60)
            if done.returncode:
                raise host.PhaseError(f"`{command['command']}` ended with {done.returncode}", done.stdout + done.stderr, lines=host.BUILD_LINES)
        for frontend in self.app["frontends"]:
            made = f"{folder}/{frontend['folder']}"
            if not os.path.isdir(made):
                raise host.PhaseError(f"frontends[{frontend['name']}]: the build made no folder {frontend['folder']}: see build in the app model")
            target = self.shelf.path(release, "frontends", frontend["name"])
            host.run(["cp", "-r", "--no-preserve=mode", "--", f"{made}/.", target])
            host.open_to_edge(target, self.app["edge_group"])

    def build_properties(self, release: str) -> list[str]:
        """Return the sandbox of a build: it may compile, fetch by any protocol and need memory that is writable and executable."""
        writable = [f"{self.app['root']}/venvs", f"{self.app['root']}/cache", self.shelf.path(release)]
        return ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "ReadWritePaths=" + " ".join(writable)]

    def copy(self, target: str, release: str, record: dict) -> dict:
        """Copy a kept release under the new id; files are linked, not written again. Return what the record has to hold."""
        host.run(["cp", "-a", "--link", f"{self.shelf.path(target, 'code')}/.", self.shelf.path(release, "code")])
        ports = self.choose_ports(release)
        for name in [f"{folder}/{entry}" for folder in ("bin", "lib") for entry in os.listdir(self.shelf.path(target, folder))]:
            with open(self.shelf.path(target, name), encoding="utf-8") as file:
                host.write(self.shelf.path(release, name), file.read().replace(target, release), 0o755 if name.startswith("bin/") else 0o644)
        self.write_ports(release, ports)
        self.install(only_missing=True)
        return {"ports": ports}

    def write_ports(self, release: str, ports: dict) -> None:
        """Write where the processes of a release listen, for their scripts."""
        host.folder(self.shelf.path(release, "ports"), 0o755)
        for name, port in ports.items():
            host.write(self.shelf.path(release, "ports", name), f"{port}\n")

    def write_scripts(self, release: str, venv: str, ports: dict) -> None:
        """Write what the units start, and the helpers that run inside the app's venv."""
        self.write_ports(release, ports)
        sizes = self.sizes()
        for process in self.app["processes"]:
            script = processes.script(self.app, process, release, venv, sizes[process["name"]]["workers"])
            host.write(self.shelf.path(release, "bin", process["name"]), script, 0o755)
        host.write(self.shelf.path(release, "bin", "manage"), processes.manage_script(self.app, release, venv), 0o755)
        for name, module in IN_APP.items():
            host.write(self.shelf.path(release, "lib", name), source_of(module))

    def build_venv(self, release: str, venv: str, files: dict) -> bool:
        """Build the venv unless it is there already; return True when it was built. Never as root.

        It is built under its final name, since its scripts hold that; the mark of completeness is written last.
        """
        if os.path.exists(f"{venv}/.complete"):
            return False
        host.remove(venv)
        commands, env = python_env.build_commands(self.app["python"], venv, files, f"{self.app['root']}/cache")
        folder = processes.code_folder(self.app, release)
        for number, command in enumerate(commands):
            argv = host.one_off_argv(self.app, self.build_properties(release), command, f"{self.app['name']}-build-{number}-{release}", 1800, folder, env)
            done = host.run(argv, check=False, timeout=1900)
            if done.returncode:
                host.remove(venv)
                raise host.PhaseError(f"`{' '.join(os.path.basename(word) for word in command[:3])}` ended with {done.returncode}",
                                      done.stderr or done.stdout, lines=host.BUILD_LINES)
        host.write(f"{venv}/.complete", release + "\n")
        return True

    # Commands of the app

    def python(self, release: str) -> list[str]:
        """Return the start of a command that runs in the app's Python."""
        return [f"{self.shelf.record(release)['venv']}/bin/python"]

    def helper(self, release: str, name: str) -> str:
        """Return the path of one of our programs, as a command of the app sees it."""
        return self.shelf.path(release, "lib", name)

    def manage_argv(self, release: str, argv: list[str]) -> list[str]:
        """Return the command that runs manage.py with ``argv``."""
        return [self.shelf.path(release, "bin", "manage"), *argv]

    def by_hand(self, release: str, command: str) -> str:
        """Return what a person types to run a manage.py command of a release."""
        return f"sudo -u {self.app['user']} {self.shelf.path(release, 'bin', 'manage')} {command}"

    def one_off(self, release: str, command: list[str], name: str, timeout: int) -> list[str]:
        """Return the argv that runs ``command`` in a release's venv, env and sandbox; a one-off may also write into its release."""
        venv = self.shelf.record(release)["venv"]
        env = {"PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": processes.code_folder(self.app, release), "RELEASE": release,
               # A migration that waits for a lock makes every request behind it wait too: rather fail and leave all serving.
               "PGOPTIONS": "-c lock_timeout=10s"}
        writable = [self.shelf.path(release)]
        writable += [self.app["shared"]] if self.app["database"]["engine"] == "sqlite" else []
        return host.one_off_argv(self.app, units.sandbox(self.app, writable), command, f"{self.app['name']}-{name}-{release}", timeout,
                                 processes.code_folder(self.app, release), env, self.env_files(release))

    def env_files(self, release: str) -> list[str]:
        """Return the env files of a release, in the order in which they are read."""
        return [self.shelf.path(release, "env"), f"{self.app['root']}/shared/secrets.env"]

    # Instances

    def start(self, release: str, group: str) -> None:
        """Start a group of a release's processes: ``servers``, ``workers`` or ``singles``; do not wait."""
        wanted = self.members(release, group)
        if wanted:
            host.systemctl("start", "--no-block", "--", *wanted)

    def members(self, release: str, group: str = "") -> list[str]:
        """Return the units of a group of a release's processes, or of all of them."""
        return units.instance(self.app, release, lambda process: not group or processes.group(process) == group)

    def place(self, release: str, process: dict) -> dict:
        """Return where a process of a release is asked, as arguments of http_health.Check."""
        if process["socket"]:
            return {"socket": self.shelf.path(release, "run", f"{process['name']}.sock")}
        return {"url": f"http://127.0.0.1:{self.shelf.record(release)['ports'][process['name']]}"}

    def log(self, release: str, process: dict, since: float) -> tuple[str, str]:
        """Return the last lines of a process's log, and the command that shows more."""
        unit = f"{processes.unit_name(self.app, process, 1)}@{release}.service"
        return host.journal(unit, since), f"{host.JOURNAL} -u {unit} --no-pager"

    def dead(self, wanted: list[str], since: float) -> str:
        """Return which of the units has died since it was started, and how; empty while all live. Its log is in the error."""
        shown = host.systemctl("show", "-p", "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,Job", "--", *wanted).stdout
        for block in shown.strip().split("\n\n"):
            unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            ended = unit.get("ActiveState") == "inactive" and not unit.get("Job", "").strip("0")  # with a job it has yet to start
            if ended or unit.get("ActiveState") == "failed" or unit.get("SubState") == "auto-restart" or unit.get("NRestarts", "0") != "0":
                name = unit.get("Id", "")
                raise host.PhaseError(f"{name.removesuffix('.service')} died at its start ({unit.get('Result')}, status {unit.get('ExecMainStatus')})",
                                      host.journal(name, since), f"{host.JOURNAL} -u {name} --no-pager")
        return ""

    def stop(self, release: str, wanted: list[str] | None = None, wait: bool = True) -> None:
        """Stop a release's units, or some of them. They end what they have begun, within their drain."""
        by_address = wanted is None and not wait and any(process["tcp"] for process in self.app["processes"])
        wanted = self.members(release) if wanted is None else wanted
        if by_address:
            self.background("stop", release, [OLD_EDGE, f"systemctl stop -- {' '.join(wanted)}"])
        elif wanted:
            drain = max(process["drain"] for process in self.app["processes"]) + 30
            host.systemctl("stop", *([] if wait else ["--no-block"]), "--", *wanted, check=False, timeout=drain)
            host.systemctl("reset-failed", "--", *wanted, check=False)

    def replace(self, old: str, new: str, wanted: list[str]) -> None:
        """Start units when a release's single processes are gone, in the background, where it goes on without whoever asked for it."""
        gone = self.members(old, "singles")
        steps = [f"systemctl stop -- {' '.join(gone)}"] * bool(gone) + [f"systemctl start -- {' '.join(wanted)}"] * bool(wanted)
        if steps:
            self.background("replace", new, steps)

    def revive(self, release: str) -> None:
        """Start all that a release has on this host; what runs goes on."""
        host.systemctl("start", "--no-block", "--", *self.shelf.units(release))

    def whole(self, release: str) -> bool:
        """Return True when all units of a release run."""
        running = self.running().get(release, {})
        return all(running.get(unit) == "active" for unit in self.shelf.units(release))

    def enliven(self) -> None:
        """Let systemd know that the app runs: its unit starts what ``live`` names, now and at boot."""
        host.systemctl("start", "--no-block", "--", f"{self.app['name']}.service")

    def prune(self, records: dict, _before: str) -> list[str]:
        """Remove what no kept release needs beside its own folder; return notes."""
        used = {os.path.basename(record.get("venv", "")) for record in records.values()}
        for name in os.listdir(f"{self.app['root']}/venvs"):
            if name not in used:
                host.remove(f"{self.app['root']}/venvs/{name}")
        self.forget([dict(self.app, processes=record["processes"]) for record in records.values() if record.get("processes")])
        return []

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
