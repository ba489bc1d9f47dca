#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All rows of an app from SQLite to PostgreSQL."""
from __future__ import annotations

DOCUMENTATION = r"""
module: move_database
short_description: Move the rows of an app from SQLite to the PostgreSQL of its model
version_added: 0.1.0
description:
  - For an app whose live release runs on SQLite and whose model already names another database, which has to be empty.
  - Stops the live release, so that no write is lost, copies the file, migrates the new database with the live release's code, copies all rows in one
    transaction and compares their numbers, table by table. The next deploy serves from the new database.
  - When anything fails, nothing is kept in the new database but empty tables, and the live release serves again from SQLite.
  - Afterwards the SQLite file is read-only, so that nothing writes into it by mistake; it is not removed.
extends_documentation_fragment:
  - quayside.django.app
options:
  secrets:
    description: The app's secret variables, with what leads to the new database.
    type: dict
    required: true
  run:
    description: Id of the run, which holds the app's lock meanwhile.
    type: str
    required: true
  who:
    description: Who runs it.
    type: str
    default: somebody
  source:
    description: Path of the SQLite file. Empty for the C(DATABASE_PATH) of the live release.
    type: str
    default: ""
  rehearse:
    description: Stop nothing, do everything and undo it at the end. Only empty tables stay.
    type: bool
    default: false
  timeout:
    description: Seconds for copying the rows.
    type: int
    default: 3600
attributes:
  check_mode:
    support: full
    description: Looks at both databases and refuses what the move would refuse. Stops and writes nothing.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The rows of the shop move to PostgreSQL
  quayside.django.move_database:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    secrets: "{{ django_apps | quayside.django.app_secrets('shop') }}"
    run: "{{ ansible_facts.django_run.id }}"
    who: "{{ ansible_facts.django_run.who }}"
  become: true
"""

RETURN = r"""
rows:
  description: Table and number of rows, the same in both databases.
  type: dict
  returned: success
left:
  description: Tables of the SQLite file that no model has; they are not moved.
  type: list
  elements: str
  returned: success
release:
  description: The live release.
  type: str
  returned: success
"""

import contextlib
import json
import os
import subprocess

from ansible_collections.quayside.django.plugins.module_utils import contained, env_file, host, model, move_rows, releases, sqlite_copy
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.lock import Lock, LockedError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils.runtime import source_of


class Move:
    """The move of one app on this host."""

    def __init__(self, params: dict, check: bool):
        self.app, self.params, self.check = params["app"], params, check
        self.shelf = releases.Shelf(self.app["root"])
        self.live = self.shelf.live()
        self.record = self.shelf.record(self.live) if self.live else {}
        self.env = env_file.parse(host.text(self.shelf.path(self.live, "env"))) if self.live else {}
        self.source = params["source"] or self.env.get("DATABASE_PATH", "")
        as_live = dict(self.app, processes=self.record.get("processes", self.app["processes"]))
        self.runtime = RUNTIMES[self.app["runtime"]](as_live, self.shelf, params["secrets"])

    def refuse(self) -> None:
        """Raise PhaseError for what can be told at once."""
        name, engine = self.app["name"], self.app["database"]["engine"]
        if engine not in ("postgresql", "container", "external"):
            raise PhaseError(f"database.engine of {name} is {engine}: set it to postgresql, container or external in the inventory, run quayside.django.site, "
                             "and then this again")
        if not self.live:
            raise PhaseError(f"no release of {name} is live here, so there is nothing to move: run quayside.django.deploy")
        if not self.source:
            raise PhaseError(f"the live release {self.live} does not run on SQLite (its env has no DATABASE_PATH): if its file is elsewhere, "
                             "add -e sqlite=/path/of/db.sqlite3")
        if not contained.is_file(self.source):
            raise PhaseError(f"there is no SQLite database at {self.source}")

    def order(self, do: str, source: str) -> dict:
        """Return what move_rows.py is told to do."""
        env = {**model.release_environment(self.app, self.live, self.record.get("version", "")), **self.params["secrets"]}
        return {"do": do, "source": source, "unset": [key for key in self.env if key.startswith("DATABASE_")], "env": env}

    def ask(self, do: str, source: str) -> dict:
        """Run move_rows.py in the live release; return its answer; raise PhaseError."""
        program = self.shelf.path(self.live, "lib", "move_rows.py")
        host.write(program, source_of(move_rows))
        try:
            command = [*self.runtime.python(self.live), self.runtime.helper(self.live, "move_rows.py"), self.app["manage"]]
            argv = reach(self.app, self.runtime.one_off(self.live, command, f"move-{os.getpid()}", self.params["timeout"]))
            done = subprocess.run(argv, check=False, input=json.dumps(self.order(do, source)) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", env=host.LOCALE, cwd="/")
        finally:
            host.remove(program)
        for line in done.stdout.split("\n"):  # splitlines would also split at MARK
            if line.startswith(move_rows.MARK):
                answer = json.loads(line[len(move_rows.MARK):])
                if "error" in answer:
                    raise PhaseError(answer["error"])
                return answer
        raise PhaseError(f"the rows were not copied: the command ended with {done.returncode}", done.stdout)

    def copy(self) -> str:
        """Make a consistent copy of the file beside it, as the app's user; return its path."""
        target = f"{os.path.dirname(self.source)}/move.sqlite3"
        self.as_app("copy", self.source, target)
        return target

    def as_app(self, verb: str, *words: str) -> None:
        """Run a verb of sqlite_copy as the app's user, who may write to the folder of the file."""
        folder = os.path.dirname(self.source)
        sqlite_copy.as_app(lambda command, timeout: self.runtime.on_host(command, f"sqlite-{verb}", timeout, [folder]), verb, *words)

    def rehearse(self) -> dict:
        """Do it while the app serves, and undo it."""
        copied = self.copy()
        try:
            return self.ask("rehearse", copied)
        finally:
            self.as_app("remove", copied)

    def run(self) -> dict:
        """Stop the app, move its rows and leave the file read-only; when that fails, let the app serve again."""
        units = self.shelf.units(self.live)
        self.ask("look", self.source)  # refuses at once what would only fail after the stop
        self.runtime.stop(self.live, units)
        copied = ""
        try:
            copied = self.copy()
            answer = self.ask("move", copied)
            self.as_app("close", self.source)  # also at a boot before the next deploy: reads are answered, a write fails instead of being lost
        except BaseException:
            self.runtime.revive(self.live)
            raise
        finally:
            if copied:
                self.as_app("remove", copied)
        return answer


def reach(app: dict, argv: list[str]) -> list[str]:
    """Return the argv of a one-off with what it needs to reach the new database: a container of a release on SQLite has no socket mounted."""
    if app["runtime"] != "compose" or app["database"]["engine"] != "postgresql":
        return argv
    place = argv.index("run") + 1
    return [*argv[:place], "--volume", "/run/postgresql:/run/postgresql", *argv[place:]]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            "secrets": {"type": "dict", "required": True, "no_log": True},
            "run": {"type": "str", "required": True},
            "who": {"type": "str", "default": "somebody"},
            "source": {"type": "str", "default": ""},
            "rehearse": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    app = module.params["app"]
    move = Move(module.params, module.check_mode)
    lock = Lock(f"{app['root']}/lock", module.params["run"], module.params["who"])
    try:
        move.refuse()
        if not module.check_mode:
            lock.acquire("move database")
        with contextlib.ExitStack() as stack:
            stack.callback(lock.close)
            if not module.check_mode:
                stack.callback(lock.release)
            answer = move.ask("look", move.source) if module.check_mode else move.rehearse() if module.params["rehearse"] else move.run()
    except (PhaseError, LockedError, sqlite_copy.CopyError, OSError) as error:
        log = getattr(error, "log", "")
        module.fail_json(msg=f"app {app['name']}: {error}" + (f"\nlast lines of its output:\n{log}" if log else ""))
    module.exit_json(changed=not module.params["rehearse"], release=move.live, **answer)


if __name__ == "__main__":
    main()
