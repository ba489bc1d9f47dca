# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd runtime: a release runs from a venv, as units named after its id."""
from __future__ import annotations

import os
import posixpath
import stat
import time

from ansible_collections.quayside.django.plugins.module_utils import (
    builds,
    cgroup,
    contained,
    deploy_key,
    env_file,
    fields,
    host,
    local_packages,
    model,
    processes,
    python_env,
    release_tree,
    sandbox,
    source,
    units,
)
from ansible_collections.quayside.django.plugins.module_utils.runtime import IN_APP, OLD_EDGE, Runtime, source_of

UNITS = "/etc/systemd/system"
HINTED_LINES = 5  # of a log whose cause is told already
MANAGE_SECONDS = 43200  # a shell that a person left open ends after half a day


class Systemd(Runtime):
    """An app's instances as systemd units."""

    may_watch_builds = True

    def __init__(self, app: dict, shelf, secrets: dict | None = None, apps: list[dict] | None = None):
        super().__init__(app, shelf, secrets, apps)
        self.source = source.of(app)

    # What is on disk

    def install(self, only_missing: bool = False) -> list[str]:
        """Write the app's units; return those that changed. ``only_missing``: of an older release, whose processes the model no longer has."""
        wanted = self.files()
        if only_missing:
            wanted = {name: text for name, text in wanted.items() if not os.path.exists(f"{UNITS}/{name}")}
        for name in wanted:
            if "/" in name:
                host.folder(f"{UNITS}/{os.path.dirname(name)}", 0o755)
        changed = [name for name, text in wanted.items() if host.write(f"{UNITS}/{name}", text)]
        if changed:
            host.systemctl("daemon-reload")
        self.close_journal(0o660, self.app["user"])
        return changed

    def files(self) -> dict:
        """Return path under the folder of units -> text of all units of the app, and of what belongs to systemd's own unit of its journal."""
        return {**units.files(self.app, self.plan()), **units.journal_files(self.app)}

    def outdated(self) -> dict:
        """Return file name -> (text before, text after) of the units that ``install`` would change."""
        found = {}
        for name, text in self.files().items():
            before = host.text(f"{UNITS}/{name}")
            if before != text:
                found[name] = (before, text)
        return found

    def forget(self, kept: list[dict]) -> None:
        """Remove unit templates that neither the model nor one of the ``kept`` releases (as apps) has."""
        wanted = {f"{name}@.service" for app in [self.app, *kept] for name in units.template_names(app)}
        gone = False
        for name in contained.names(UNITS):
            path = f"{UNITS}/{name}"
            if name.startswith(f"{self.app['name']}-") and name.endswith("@.service") and name not in wanted and \
                    host.text(path).partition("\n")[0].strip() == units.mark(self.app):
                host.remove(path)
                gone = True
        if gone:
            host.systemctl("daemon-reload")

    # A new release

    def resolve(self, version: str) -> dict:
        """Return what a version is: ``sha``, and ``version`` where the source knows it better; raise PhaseError."""
        return self.source.resolve(version)

    def check(self, record: dict) -> None:
        """Refuse what cannot run here: a project that does not allow this host's Python."""
        interpreter = self.app["python"]["interpreter"]
        version = self.python_version(interpreter) if os.path.exists(interpreter) else ""
        if not version:
            raise host.PhaseError(f"python.interpreter {interpreter} is not there: install it (packages) or name another one")
        wanted = python_env.requires_python(self.source.read("pyproject.toml"))
        if wanted and not python_env.allows(wanted, version):
            raise host.PhaseError(f"{record['version']} requires Python {wanted}, and {interpreter} is {version}: "
                                  "set python.interpreter to one that fits and install it by packages, or change requires-python")
        record["python"] = version

    def python_version(self, interpreter: str) -> str:
        """Return the version of an interpreter, empty when it does not run. One that the system does not bring may be the app's own."""
        command = [interpreter, "-I", "-c", "import platform; print(platform.python_version())"]
        if interpreter.startswith("/usr/"):
            return host.run(command, check=False).stdout.strip()
        return sandbox.run(self.build_unit("python", str(os.getpid()), "/", 60, [self.home()]), command, {}).stdout.strip()

    def disks(self, _record: dict) -> dict:
        """Return the folders that a release grows, and the MiB that have to be free there."""
        return dict.fromkeys([f"{self.app['root']}/releases", f"{self.app['root']}/venvs"], self.app["disk"])

    def fetch(self, release: str, record: dict) -> None:
        """Write the code of the release, with links where its settings have a folder fixed."""
        code = self.shelf.path(release, "code")
        links = self.links(release)
        if release_tree.export(self.app, self.source, release, record, code, self.neighbours, links, [self.in_code(self.app["manage"])]):
            raise host.PhaseError(f"{record['version']} has no {self.app['manage']} in {self.app['source']['subdir'] or 'its root'}: "
                                  "set source.subdir or manage in the app model")

    def links(self, release: str) -> list[tuple[str, str]]:
        """Return the links in the code of a release, each with where it leads: the folders that settings have fixed lie elsewhere."""
        root = self.app["root"]
        links = [(self.app["static"]["root"], self.shelf.path(release, "static")), (self.app["media"]["root"], f"{root}/shared/media"),
                 *((kept["path"], f"{root}/shared/{kept['name']}") for kept in self.app["folders"])]
        return [(self.in_code(path), target) for path, target in links if path]

    def damage(self, release: str) -> list[str]:
        """Return what a kept release lacks, which its next start would need; empty for a whole one."""
        venv = self.shelf.record(release).get("venv", "")
        found = [f"{path} is gone" for path in [processes.code_folder(self.app, release), *[venv] * bool(venv)] if not contained.is_folder(path)]
        for name, _target in self.links(release):
            path = self.shelf.path(release, "code", name)
            target = contained.target_of(path)
            if self.of_release(target) not in ("", release):
                found.append(f"{path} leads into another release, {self.of_release(target)}")
        return found

    def of_release(self, path: str) -> str:
        """Return the id of the release that an absolute path lies in, an empty text for none."""
        return path.removeprefix(f"{self.shelf.folder}/").partition("/")[0] if path.startswith(f"{self.shelf.folder}/") else ""

    def in_code(self, path: str) -> str:
        """Return a path from the app's root as one under the code of a release."""
        return fields.in_repository(self.app, path)

    def settle_secrets(self) -> None:
        """Write the one current file of secrets; what was there before waits beside it for ``restore_secrets``."""
        path, text = model.secrets_file(self.app), env_file.render(self.variables())
        before = host.text(path)
        if before and before != text:
            host.write(f"{path}.before", before, 0o600)  # the live release may restart at any time
        host.write(path, text, 0o600)

    def restore_secrets(self) -> None:
        """Undo ``settle_secrets``."""
        path = model.secrets_file(self.app)
        before = host.text(f"{path}.before")
        if before:
            host.write(path, before, 0o600)
            host.remove(f"{path}.before")

    def keep_secrets(self) -> None:
        """Forget what ``restore_secrets`` would bring back."""
        host.remove(f"{model.secrets_file(self.app)}.before")

    def python_files(self, release: str, record: dict) -> dict:
        """Return the files that the venv may be built from."""
        code = self.shelf.path(release, "code")
        try:
            found = python_env.gather(self.app["python"], lambda name, limit: source.text_inside(code, self.in_code(name), limit),
                                      self.app["source"]["subdir"])
        except ValueError as error:
            raise host.PhaseError(f"{record['version']}: {error}") from error
        others = [name for name in python_env.EXPORTS if python_env.without_lock(self.app["python"], found)
                  and source.text_inside(code, self.in_code(name), python_env.LIMITS["uv.lock"]) is not None]
        wrong = python_env.refusal(self.app["python"], found, others)
        if wrong:
            raise host.PhaseError(f"{record['version']} {wrong}")
        return found

    def venv_key(self, release: str, record: dict, files: dict) -> str:
        """Return the name of the venv of a release: another one for each that is not built from the same."""
        code, python = self.shelf.path(release, "code"), self.app["python"]
        own = {path: local_packages.digest(f"{code}/{self.in_code(path)}", editable)
               for path, editable in local_packages.named(files, python_env.itself(python, files) + python["packages"], self.app["source"]["subdir"]).items()}
        return python_env.key(python, record["python"], files, own=own, rebuilt=record.get("rebuilt", ""))

    def build(self, release: str, record: dict) -> tuple[dict, list[str]]:
        """Build what the release runs from; return what its record has to hold, and notes."""
        files = self.python_files(release, record)
        notes = [f"warning: {url} is taken as it was when the venv was built: -e rebuild=true takes what it is now"
                 for url in local_packages.moving(files, self.app["python"]["packages"])]
        notes += [f"warning: {', '.join(self.source.env_files[:5])} of {self.app['source']['folder']} was sent along, and the app may read it in place of its "
                  "env: write it into .gitignore, and its secrets into the vault"] * bool(self.source.env_files)
        venv = f"{self.app['root']}/venvs/{self.venv_key(release, record, files)}"
        others = self.others(release, record)  # by the source as it came: what builds a venv may write to it
        for made, build in others.items():
            notes.append(self.make(release, made, build))
        if self.build_venv(release, venv, files):
            notes.append("dependencies changed: a new venv was built")
        for made, build in others.items():
            builds.place(self.app["root"], made, build, self.shelf.path(release, "code"), *host.ids(self.app["user"]))
        self.publish(release)
        ports = self.choose_ports(release)
        self.write_scripts(release, venv, ports)
        changed = self.install()
        if changed:
            notes.append(f"units changed: {', '.join(changed)}")
        return {"venv": venv, "ports": ports, "builds": list(others)}, notes

    def rehearse_build(self, release: str, record: dict, real: Runtime) -> tuple[dict, list[str]]:
        """Build like ``real``, whose venvs may serve, without touching a unit; return what ``build`` returns."""
        files = self.python_files(release, record)
        key = self.venv_key(release, record, files)
        venv = f"{real.app['root']}/venvs/{key}"
        there, others = contained.is_file(f"{venv}.complete"), self.others(release, record)
        if not there:
            venv = f"{self.app['root']}/venvs/{key}"
            self.build_venv(release, venv, files)
        self.write_scripts(release, venv, {})
        lines = ["build: dependencies are those of a kept release" if there else "build: dependencies changed, a new venv would be built"]
        lines += [f"build: {self.shown(build)} {'is reused' if builds.is_whole(real.app['root'], made) else 'would run'}"
                  for made, build in others.items()]
        return {"venv": venv}, lines

    def others(self, release: str, record: dict) -> dict[str, builds.Build]:
        """Return key -> build of what the app builds beside its venv."""
        wanted = self.app["build"]
        if not wanted:
            return {}
        code, programs, found = self.shelf.path(release, "code"), builds.programs(), {}
        for build in builds.grouped([[self.in_code(path) for path in command["inputs"]] or ["."] for command in wanted]):
            commands = [{"command": wanted[number]["command"], "folder": self.in_code(wanted[number]["folder"]), "env": self.build_env(wanted[number])}
                        for number in build.commands]
            made_from = {"commands": commands, "inputs": {path: builds.digest(code, path) for path in build.inputs}, "programs": programs,
                         "place": local_packages.place(self.app), "ssh": self.app["source"]["build_ssh"], "rebuilt": record.get("rebuilt", "")}
            found[builds.key(made_from)] = build
        return found

    def shown(self, build: builds.Build) -> str:
        """Return the commands of a build, for people."""
        return ", ".join(f"`{self.app['build'][number]['command']}`" for number in build.commands)

    def build_env(self, command: dict) -> dict:
        """Return the variables that the model gives to a command of the build."""
        secrets = {name: self.secrets[name] for name in command["secrets"]}
        own = {key: env_file.text(value) for key, value in {**self.app["env"], **command["env"]}.items()}
        return {"CI": "1", "NEXT_TELEMETRY_DISABLED": "1", **model.filled_in(own, {**model.environment(self.app), **secrets}), **secrets}

    def make(self, release: str, made: str, build: builds.Build) -> str:
        """Make a build unless it is there already; return what was done. It is the app's user who builds, and root who owns it then.

        The commands see it where each process sees the code of its own release, so that no path that they write down leads into a release.
        """
        root, code, began = self.app["root"], self.shelf.path(release, "code"), time.monotonic()
        folder, place = builds.folder(root, made), local_packages.place(self.app)
        if builds.is_whole(root, made):
            return f"{self.shown(build)}: nothing that it is made from has changed, reused"
        contained.folder(f"{root}/builds", 0o700)
        contained.remove(folder)
        uid, gid = host.ids(self.app["user"])
        contained.folder(folder, 0o750, uid, gid)
        try:
            copied = sandbox.run(self.build_unit("inputs", release, code, release_tree.SECONDS, [code, folder]),
                                 ["cp", "-a", "--parents", "--", *build.inputs, folder], {})
            if copied.returncode:
                raise host.PhaseError(f"the inputs of {self.shown(build)} could not be copied", copied.stderr)
            for number in build.commands:
                command = self.app["build"][number]
                self.build_command(release, f"command-{number}", ["/bin/sh", "-ec", command["command"]], f"`{command['command']}`", self.build_env(command),
                                   [f"{folder}:{place}"], posixpath.normpath(f"{place}/{self.in_code(command['folder'])}"), command["timeout"])
            contained.seal(folder, {uid}, gid)
        except BaseException:
            contained.remove(folder)
            raise
        contained.write(f"{folder}.complete", release + "\n")
        return f"{self.shown(build)}: built in {time.monotonic() - began:.0f} s"

    def publish(self, release: str) -> None:
        """Take what the edge serves of a release's code."""
        code = self.shelf.path(release, "code")
        if self.app["frontends"]:
            self.progress.step("frontends")
            frontends = [{"what": f"frontends[{frontend['name']}]", "source": self.in_code(frontend["folder"]),
                          "target": self.shelf.path(release, "frontends", frontend["name"])} for frontend in self.app["frontends"]]
            release_tree.publish(self.app, release, {"do": "copy", "tree": code, "folders": frontends}, [code],
                                 [frontend["target"] for frontend in frontends], self.neighbours)

    def build_command(self, release: str, verb: str, command: list[str], shown: str, env: dict, writable: list[str], folder: str, timeout: int) -> None:
        """Run one command of a build with an empty HOME and a cache; raise PhaseError with its log when it fails."""
        self.progress.step(shown.strip("`"))
        cache, home = sandbox.leaf(f"{self.app['root']}/cache/build", self.app["user"]), self.home()
        # What package managers keep in HOME otherwise: XDG_DATA_HOME has the store of pnpm.
        known = {"HOME": home, "XDG_CACHE_HOME": cache, "XDG_DATA_HOME": f"{cache}/data", "npm_config_cache": f"{cache}/npm", "UV_CACHE_DIR": f"{cache}/uv",
                 "PIP_CACHE_DIR": f"{cache}/pip", "YARN_GLOBAL_FOLDER": f"{cache}/yarn-berry", "BUN_INSTALL_CACHE_DIR": f"{cache}/bun"}
        unit = self.build_unit(verb, release, folder, timeout, [*writable, cache, home])
        try:
            if self.app["source"]["build_ssh"]:
                seen = f"{sandbox.real_root(self.app)}/agent"
                with deploy_key.lent(self.app, self.source_key, timeout + 60) as agent:
                    done = sandbox.run(unit.shown(agent, seen), command, {**known, **deploy_key.variables(seen, cache), **env})
            else:
                done = sandbox.run(unit, command, {**known, **env})
        finally:
            contained.remove(home)
        if done.returncode:
            output = done.stdout + done.stderr
            hint = deploy_key.hint(self.app, output) or python_env.hint(output)
            raise host.PhaseError(f"{shown} ended with {done.returncode}" + (f": {hint}" if hint else ""), output,
                                  lines=HINTED_LINES if hint else host.BUILD_LINES)

    def build_unit(self, verb: str, release: str, folder: str, timeout: int, writable: list[str]) -> sandbox.Unit:
        """Return the unit of a step of the build."""
        return release_tree.unit(self.app, verb, release, folder, writable, self.neighbours, timeout)

    def home(self) -> str:
        """Make an empty home for one command of a build and return its path."""
        path = f"{self.app['root']}/cache/home"
        contained.remove(path)
        return sandbox.leaf(path, self.app["user"])

    def copy(self, target: str, release: str, record: dict) -> dict:
        """Copy a kept release under the new id; files are linked, not written again. Return what the record has to hold."""
        # Sealed, so nobody but root changes what is copied meanwhile.
        contained.link_tree(self.shelf.path(target, "code"), self.shelf.path(release, "code"))
        # Links that lead into a release, whichever made them, lead into this one: what it was copied from is pruned one day.
        contained.relink(self.shelf.path(release, "code"), lambda to: self.shelf.path(release, *to.removeprefix(f"{self.shelf.folder}/").split("/")[1:])
                         if self.of_release(to) else to)
        ports = self.choose_ports(release)
        for name in [f"{folder}/{entry}" for folder in ("bin", "lib") for entry in contained.names(self.shelf.path(target, folder))]:
            text = host.text(self.shelf.path(target, name)).replace(target, release)
            self.write_program(release, name, text)
        self.write_ports(release, ports)
        self.write_secret_files(release, target)
        self.install(only_missing=True)
        return {"ports": ports}

    def write_program(self, release: str, name: str, text: str) -> None:
        """Write a script of ``bin/``, or a helper of ``lib/``, which only root and the app read."""
        host.write(self.shelf.path(release, name), text, 0o750 if name.startswith("bin/") else 0o640, 0, host.ids(self.app["user"])[1])

    def write_ports(self, release: str, ports: dict) -> None:
        """Write where the processes of a release listen, for their scripts."""
        gid = host.ids(self.app["user"])[1]
        host.folder(self.shelf.path(release, "ports"), 0o750, 0, gid)
        for name, port in ports.items():
            host.write(self.shelf.path(release, "ports", name), f"{port}\n", 0o640, 0, gid)

    def write_scripts(self, release: str, venv: str, ports: dict) -> None:
        """Write what the units start, and the helpers that run inside the app's venv."""
        self.write_ports(release, ports)
        self.write_secret_files(release)
        sizes = self.sizes()
        for process in self.app["processes"]:
            script = processes.script(self.app, process, release, venv, sizes[process["name"]]["workers"])
            self.write_program(release, f"bin/{process['name']}", script)
            if processes.config_name(process):
                text = processes.config_file(self.app, process, sizes[process["name"]]["workers"])
                self.write_program(release, f"lib/{processes.config_name(process)}", text)
        self.write_program(release, "bin/manage", self.manage_script(release, venv))
        for name, module in IN_APP.items():
            self.write_program(release, f"lib/{name}", source_of(module))

    def manage_text(self, release: str) -> str:
        """Return the text of ``bin/manage`` of a kept release."""
        return self.manage_script(release, self.shelf.record(release).get("venv", ""))

    def manage_script(self, release: str, venv: str) -> str:
        """Return the text of ``bin/manage`` of a release, which the record may not name yet."""
        argv = self.in_venv(release, venv, self.manage_words(venv, []), "by-hand", MANAGE_SECONDS)
        return processes.manage_script(argv, {}, f"sudo {self.app['root']}/live/bin/manage")

    def build_venv(self, release: str, venv: str, files: dict) -> bool:
        """Build the venv unless it is there already; return True when it was built. It is the app's user who builds, and root who owns it then.

        It is built under its final name, since its scripts hold that; the mark that it is whole lies beside it, where no build writes, and comes last.
        """
        if contained.is_file(f"{venv}.complete"):
            return False
        contained.remove(venv)
        uid, gid = host.ids(self.app["user"])
        contained.folder(venv, 0o750, uid, gid)
        commands, env = python_env.build_commands(self.app["python"], venv, files)
        place = local_packages.place(self.app)
        folder = "/".join(part for part in (place, self.app["source"]["subdir"]) if part)
        try:
            for number, command in enumerate(commands):
                shown = f"`{' '.join(os.path.basename(word) for word in command[:3])}`"
                # An editable package points to where it was built: there each process finds the code of its own release.
                self.build_command(release, f"venv-{number}", command, shown, env, [f"{self.shelf.path(release, 'code')}:{place}", venv], folder, 1800)
            contained.seal(venv, {uid}, gid)
        except BaseException:
            contained.remove(venv)
            raise
        contained.write(f"{venv}.complete", release + "\n")
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
        return self.manage_words(self.shelf.record(release)["venv"], argv)

    def manage_words(self, venv: str, argv: list[str]) -> list[str]:
        """Return the command that runs manage.py by a venv."""
        return [f"{venv}/bin/python", self.app["manage"], *argv]

    def by_hand(self, release: str, command: str) -> str:
        """Return what a person types to run a manage.py command of a release."""
        return f"sudo {self.shelf.path(release, 'bin', 'manage')} {command}"

    def one_off(self, release: str, command: list[str], name: str, timeout: int) -> list[str]:
        """Return the argv that runs ``command`` in a release's venv, env and sandbox."""
        return self.in_venv(release, self.shelf.record(release)["venv"], command, name, timeout)

    def onlooker(self, release: str, command: list[str], name: str, timeout: int) -> list[str]:
        """Return the argv of a one-off that may write what a process may, and nothing of the release, whoever owns it yet."""
        return self.in_venv(release, self.shelf.record(release)["venv"], command, name, timeout, built=("run",))

    def end_one_off(self, release: str, name: str) -> None:
        """Stop the unit of a one-off, if it runs; its caller sees it end."""
        host.systemctl("stop", "--", f"{units.helper(self.app, name, release)}.service", check=False)

    def in_venv(self, release: str, venv: str, command: list[str], name: str, timeout: int, built: tuple = ("run", "static")) -> list[str]:
        """Return the argv of a one-off: its HOME is an empty folder in memory, and it may write what a process may, and static files until they are sealed.

        ``built``: the folders of the release that it may write.
        """
        env = {"PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": processes.python_path(self.app, release), "RELEASE": release, "HOME": "/tmp"}
        writable = [self.shelf.path(release, name) for name in built]
        properties = [local_packages.bound(self.app, self.shelf.path(release, "code")), *units.sandbox(self.app, writable)]
        return host.one_off_argv(self.app, properties, command, units.helper(self.app, name, release), timeout,
                                 processes.code_folder(self.app, release), env, self.env_files(release))

    def env_files(self, release: str) -> list[str]:
        """Return the env files of a release, in the order in which they are read."""
        return [self.shelf.path(release, "env"), model.secrets_file(self.app)]

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

    def reachable(self, release: str, process: dict) -> None:
        """Raise PhaseError when the mode of a server's socket keeps the edge out; its folder lets in the app and the edge alone."""
        path = self.place(release, process).get("socket") if process["socket"] and self.app["edge"] != "none" else None
        known = contained.state(path) if path else None
        if known and not known.st_mode & stat.S_IWGRP:
            raise host.PhaseError(f"processes[{process['name']}]: its socket has the mode {stat.S_IMODE(known.st_mode):04o}, so the edge, which is in the "
                                  "socket's group, cannot open it: let the command make it with the mode 0660 (waitress-serve --unix-socket-perms=660, "
                                  "uwsgi --chmod-socket=660), or set port in the app model and listen on $PORT")

    def log(self, release: str, process: dict, since: float) -> tuple[str, str]:
        """Return the last lines of a process's log, and the command that shows more."""
        unit = f"{processes.unit_name(self.app, process, 1)}@{release}.service"
        return host.journal(unit, since), f"{host.JOURNAL} -u {unit} --no-pager"

    def dead(self, wanted: list[str], since: float) -> str:
        """Return which of the units has died since it was started, and how; empty while all live. Its log is in the error."""
        shown = host.systemctl("show", "-p", "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,Job,MainPID", "--", *wanted).stdout
        for unit in blocks(shown):
            name = unit.get("Id", "")
            ended = unit.get("ActiveState") == "inactive" and not unit.get("Job", "").strip("0")  # with a job it has yet to start
            died = ended or unit.get("ActiveState") == "failed" or unit.get("SubState") == "auto-restart" or unit.get("NRestarts", "0") != "0"
            killed = unit.get("Result") == "oom-kill" or (died and cgroup.past_kills()[name] > 0)
            self.spared(name, self.process_of(name), int(unit.get("MainPID", "0")), killed)
            if died:
                raise host.PhaseError(f"{name.removesuffix('.service')} died at its start ({unit.get('Result')}, status {unit.get('ExecMainStatus')})",
                                      host.journal(name, since), f"{host.JOURNAL} -u {name} --no-pager")
        return ""

    def process_of(self, unit: str) -> dict:
        """Return the process of a unit; empty where the model no longer has it."""
        return next((process for process in self.wanted() for copy in processes.copies(process)
                     if processes.unit_name(self.app, process, copy) == unit.partition("@")[0]), {})

    def last_output(self, name: str) -> tuple[str, str]:
        """Return the last lines of a unit's log, and the command that shows more."""
        return host.journal(name, 0), f"{host.JOURNAL} -u {name} --no-pager"

    def describe(self, release: str) -> list[dict]:
        """Return what is known of each unit of a release; ``state`` and ``runs`` are systemd's."""
        names = self.shelf.units(release)
        if not names:
            return []
        shown = host.systemctl("show", "-p", "Id,LoadState,ActiveState,Result,NRestarts,ExecMainStatus,MainPID,ActiveEnterTimestamp", "--", *names).stdout
        kills = cgroup.past_kills()
        return [self.seen(self.process_of(unit["Id"]).get("name", ""), int(unit.get("MainPID", "0")), kills[unit["Id"]], name=unit["Id"],
                          state=unit["ActiveState"] if unit.get("LoadState") == "loaded" else "missing",
                          runs=unit["ActiveState"] if unit.get("LoadState") == "loaded" else "missing", health="", status=int(unit.get("ExecMainStatus") or 0),
                          image="", since=unit.get("ActiveEnterTimestamp", ""), restarts=int(unit.get("NRestarts", "0")),
                          killed=unit.get("Result") == "oom-kill", volumes=[]) for unit in blocks(shown)]

    def stop(self, release: str, wanted: list[str] | None = None, wait: bool = True) -> None:
        """Stop a release's units, or some of them. They end what they have begun, within their drain."""
        by_address = wanted is None and not wait and any(process["tcp"] for process in self.app["processes"])
        wanted = self.members(release) if wanted is None else wanted
        if by_address:
            self.background("stop", release, [OLD_EDGE, f"systemctl stop -- {' '.join(wanted)}"])
        elif wanted:
            # Twice: a server first answers what waits, then ends what it has taken.
            seconds = 2 * max(process["drain"] for process in self.app["processes"]) + 30
            host.systemctl("stop", *([] if wait else ["--no-block"]), "--", *wanted, check=False, timeout=seconds)
            host.systemctl("reset-failed", "--", *wanted, check=False)

    def restart_singles(self, release: str) -> None:
        """Start the single processes of a release again, where they run: their files lie elsewhere now."""
        wanted = self.members(release, "singles")
        if wanted:
            host.systemctl("try-restart", "--no-block", "--", *wanted, check=False)

    def replace(self, old: str, new: str, wanted: list[str]) -> None:
        """Start units when a release's single processes are gone, in the background, where it goes on without whoever asked for it."""
        gone = self.members(old, "singles")
        steps = [f"systemctl stop -- {' '.join(gone)}"] * bool(gone) + [f"systemctl start -- {' '.join(wanted)}"] * bool(wanted)
        if steps:
            self.background("replace", new, steps)

    def revive(self, release: str) -> None:
        """Start all that a release has on this host; what runs goes on."""
        host.systemctl("start", "--no-block", "--", *self.shelf.units(release))

    def enliven(self) -> None:
        """Let systemd know that the app runs: its unit starts what ``live`` names, now and at boot."""
        host.systemctl("start", "--no-block", "--", f"{self.app['name']}.service")

    def prune(self, records: dict, _before: str) -> list[str]:
        """Remove what no kept release needs beside its own folder; return notes."""
        builds.prune(f"{self.app['root']}/venvs", {os.path.basename(record.get("venv", "")) for record in records.values()})
        builds.prune(f"{self.app['root']}/builds", {made for record in records.values() for made in record.get("builds", [])})
        self.forget([dict(self.app, processes=record["processes"]) for record in records.values() if record.get("processes")])
        return []

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


def blocks(shown: str) -> list[dict]:
    """Return what `systemctl show` says of each unit."""
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.strip().split("\n\n")]
