#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host's part in the change of a secret."""
from __future__ import annotations

DOCUMENTATION = r"""
module: rotation
short_description: Let PostgreSQL, Redis and a registry follow the change of a secret, while the app serves
version_added: 0.1.0
description:
  - The role P(quayside.django.app#role) puts its steps together in C(tasks/rotate.yml), between writes to the vault file and deploys; use that.
  - Each step can be done twice. An interruption after any of them leaves an app that serves.
extends_documentation_fragment:
  - quayside.django.app
options:
  step:
    description:
      - C(prepare) tries the new token at the registry, gives the app a second login for PostgreSQL, and lets Redis take the new password beside the old one.
      - C(settle) waits until no older instance runs, sees that the app reads SECRET_KEY_FALLBACKS, and gives the database's role its new password.
      - C(first) makes the new password the first one in Redis's file.
      - C(finish) waits until no older instance runs, and ends the second login and Redis's old password.
    type: str
    required: true
    choices: [prepare, settle, first, finish]
  passwords:
    description: Name of a secret to C(old) and C(new).
    type: dict
    required: true
  wait:
    description: Seconds to wait for older instances beyond the longest drain of the app's processes.
    type: int
    default: 60
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The servers take the new password too
  quayside.django.rotation:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    step: prepare
    passwords: {REDIS_PASSWORD: {old: "{{ old }}", new: "{{ new }}"}}
  become: true
"""

RETURN = r"""
done:
  description: What was done.
  type: list
  elements: str
  returned: success
"""

import json
import os
import secrets as random
import subprocess
import time

from ansible_collections.quayside.django.plugins.module_utils import host, model, redis_client, releases, rotation, services
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


class Rotation:
    """The steps for one app on this host."""

    def __init__(self, params: dict):
        self.app, self.passwords, self.params = params["app"], params["passwords"], params
        self.shelf = releases.Shelf(self.app["root"])
        self.live = self.shelf.live()
        self.record = self.shelf.record(self.live) if self.live else {}
        self.done: list[str] = []

    def runtime(self):
        """Return the runtime of the live release, with its processes."""
        made = RUNTIMES[self.app["runtime"]](self.app, self.shelf)
        return made.with_processes(self.record.get("processes", self.app["processes"]))

    # The steps

    def prepare(self) -> None:
        """Let everything take the new values beside the old ones."""
        if not os.path.isdir(f"{self.app['root']}/releases"):
            raise PhaseError(f"{self.app['root']} is not prepared on this host, and nothing was changed: run quayside.django.site for it first")
        if "REGISTRY_PASSWORD" in self.passwords:
            self.try_registry(self.passwords["REGISTRY_PASSWORD"]["new"])
        if "DATABASE_PASSWORD" in self.passwords and self.has_database():
            self.second_login(self.passwords["DATABASE_PASSWORD"]["new"])
        if "REDIS_PASSWORD" in self.passwords:
            self.redis([self.passwords["REDIS_PASSWORD"]["old"], self.passwords["REDIS_PASSWORD"]["new"]])

    def settle(self) -> None:
        """Make the new password the one of the role, when nobody connects with the old one any more."""
        self.wait_for_old()
        if "SECRET_KEY" in self.passwords:
            self.see_fallbacks(self.passwords["SECRET_KEY"]["new"])
        if "DATABASE_PASSWORD" in self.passwords and self.has_database():
            self.sql("postgres", rotation.new_password(self.app, self.passwords["DATABASE_PASSWORD"]["new"], random.token_bytes(16)))
            self.done.append(f"role {self.app['database']['user']} has its new password")

    def first(self) -> None:
        """Make the new password the first in Redis's file."""
        if "REDIS_PASSWORD" in self.passwords:
            self.redis([self.passwords["REDIS_PASSWORD"]["new"], self.passwords["REDIS_PASSWORD"]["old"]])

    def finish(self) -> None:
        """Let nothing take the old values any more."""
        self.wait_for_old()
        if "DATABASE_PASSWORD" in self.passwords and self.has_database():
            self.end_second_login()
        if "REDIS_PASSWORD" in self.passwords:
            self.redis([self.passwords["REDIS_PASSWORD"]["new"]], also=[self.passwords["REDIS_PASSWORD"]["old"]])

    # The app

    def wait_for_old(self) -> None:
        """Wait until no instance but the live one runs: it may connect anew as long as it ends its work."""
        runtime = self.runtime()
        patience = max(process["drain"] for process in runtime.app["processes"]) + self.params["wait"]
        deadline = time.monotonic() + patience
        while True:
            old = sorted(release for release, units in runtime.running().items() if release != self.live and units)
            if not old:
                return
            if time.monotonic() > deadline:
                raise PhaseError(f"{', '.join(old)} still runs after {patience} s, and knows the old values only: end it, and run this again, which goes "
                                 "on from here", look="quayside.django.status")
            time.sleep(0.5)

    def see_fallbacks(self, key: str) -> None:
        """Raise PhaseError when the settings of the live release do not take the key to come: a session would end."""
        if not self.live:
            return
        process = self.runtime().manage(self.live, f"settings-{os.getpid()}", 120)
        try:
            answer, output = process.ask(["diffsettings", "--output", "hash"], 120)
        finally:
            process.close()
        line = next((line for line in output.splitlines() if line.startswith("SECRET_KEY_FALLBACKS")), "")
        # ### marks what is no setting of Django's: before 4.1 it takes one key only.
        if answer["status"] == 0 and (key not in line or line.rstrip().endswith("###")):
            raise PhaseError("the settings do not read SECRET_KEY_FALLBACKS, so a new SECRET_KEY would end all sessions. Nothing uses it yet. Add to "
                             "them, and deploy: SECRET_KEY_FALLBACKS = [key for key in os.environ.get(\"SECRET_KEY_FALLBACKS\", \"\").split(\",\") if key]",
                             phase="fallbacks")

    # PostgreSQL

    def has_database(self) -> bool:
        """Return True when the app's database is on this host and there already."""
        if self.app["database"]["engine"] == "container":
            return bool(self.container("db"))
        return os.path.isdir("/run/postgresql") and self.exists(self.app["database"]["user"])

    def exists(self, role: str) -> bool:
        """Return True when PostgreSQL has a role."""
        return self.sql("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = {services.literal(role)};") == "1"

    def second_login(self, password: str) -> None:
        """Give the app a second login, and see that it works."""
        role = model.rotation_role(self.app)
        for statement in rotation.second_login(self.app, password, random.token_bytes(16), self.exists(role)):
            self.sql("postgres", statement)
        if self.app["database"]["engine"] == "postgresql":
            place = ["-h", model.database_host(self.app), "-U", role, "-d", self.app["database"]["name"]]
            ask = ["runuser", "-u", services.SUPERUSER, "--", "psql", "-X", "-q", "-A", "-t", *place, "-c", "SELECT current_user"]
            done = host.run(ask, check=False, env={"PGPASSWORD": password})
            if done.stdout.strip() != self.app["database"]["user"]:
                raise PhaseError(f"PostgreSQL refuses the login {role} that would carry the app through: run quayside.django.site for this host first, which "
                                 f"lets it in ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'it is another role'})")
        self.done.append(f"login {role} made")

    def end_second_login(self) -> None:
        """End the second login, when it is there."""
        if not self.exists(model.rotation_role(self.app)):
            return
        for statement in rotation.no_second_login(self.app):
            self.sql(self.app["database"]["name"], statement)
        self.done.append(f"login {model.rotation_role(self.app)} ended")

    def sql(self, database: str, text: str) -> str:
        """Return what PostgreSQL answers to its superuser; what it is asked goes over stdin."""
        env = dict(host.LOCALE, PGOPTIONS=services.PSQL_OPTIONS)
        if self.app["database"]["engine"] == "container":
            argv = ["docker", "exec", "--interactive", "--user", services.SUPERUSER, "--env", f"PGOPTIONS={services.PSQL_OPTIONS}",
                    f"{services.project_name(self.app)}-db-1", *services.PSQL, database]
        else:
            argv = ["runuser", "-u", services.SUPERUSER, "--", *services.PSQL, database]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", timeout=60, env=env, cwd="/", input=text + "\n")
        if done.returncode:
            raise PhaseError(f"PostgreSQL refused: {done.stderr.strip()}")
        return done.stdout.strip()

    # Redis

    def redis(self, wanted: list[str], also: list[str] | None = None) -> None:
        """Let Redis take these passwords and no others, now and after a restart. ``also``: one by which it may still have to be asked."""
        contained = self.app["cache"]["engine"] == "container"
        path = f"{services.folder(self.app)}/secrets/redis.conf" if contained else f"/etc/redis/redis-{self.app['name']}.conf"
        if not os.path.exists(path):
            return
        before, have = host.text(path), os.stat(path)
        text = rotation.redis_file(before, wanted[0], wanted[1] if len(wanted) > 1 else "")
        place = (self.address("redis"), 6379) if contained else f"/run/redis-{self.app['name']}/redis.sock"
        try:
            redis = redis_client.Redis(place)
            redis.log_in([*wanted, *(also or [])])
            commands = rotation.redis_commands(redis.hashes(), wanted)
            for words in [words for words in commands if words[-1].startswith("#")]:
                redis.ask(*words)
            host.write(path, text, have.st_mode & 0o7777, have.st_uid, have.st_gid)
            for words in [words for words in commands if words[-1].startswith("!")]:
                redis.ask(*words)
            redis.close()
        except redis_client.RedisError as error:
            raise PhaseError(str(error)) from error
        self.done.append(f"Redis takes {'both passwords' if len(wanted) > 1 else 'one password'}")

    def container(self, part: str) -> dict:
        """Return what Docker knows of a service's container, empty when there is none."""
        try:
            return Engine().get(f"/containers/{services.project_name(self.app)}-{part}-1/json")
        except EngineError as error:
            if error.status in (0, 404):
                return {}
            raise

    def address(self, part: str) -> str:
        """Return the address of a service's container in the app's network."""
        return (self.container(part).get("NetworkSettings", {}).get("Networks") or {}).get(self.app["network"], {}).get("IPAddress", "")

    # The registry

    def try_registry(self, password: str) -> None:
        """Raise PhaseError when the registry does not take the new token. The engine asks it and keeps nothing."""
        registry = self.app["registry"]
        login = {"username": registry["user"], "password": password, "serveraddress": registry["server"]}
        try:
            Engine(timeout=60).call("POST", "/auth", body=json.dumps(login), headers={"Content-Type": "application/json"})
        except EngineError as error:
            said = error.message.replace(password, "***")
            raise PhaseError(f"{registry['server'] or 'Docker Hub'} refuses the new token of {registry['user']} ({said}): nothing was changed, the old "
                             "one stays") from error
        self.done.append(f"{registry['server'] or 'Docker Hub'} takes the new token")


def main() -> None:
    module = AnsibleModule(argument_spec={
        "app": {"type": "dict", "required": True},
        "step": {"type": "str", "required": True, "choices": ["prepare", "settle", "first", "finish"]},
        "passwords": {"type": "dict", "required": True, "no_log": True},
        "wait": {"type": "int", "default": 60},
    })
    made = Rotation(module.params)
    try:
        getattr(made, module.params["step"])()
    except (PhaseError, EngineError) as error:
        text = f"app {made.app['name']}: {error}" + (f"\nto look further: {error.look}" if getattr(error, "look", "") else "")
        module.fail_json(msg=text, phase=getattr(error, "phase", ""))
    module.exit_json(changed=bool(made.done), done=made.done)


if __name__ == "__main__":
    main()
