#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The database and the cache of an app in containers."""
from __future__ import annotations

DOCUMENTATION = r"""
module: app_services
short_description: The PostgreSQL and the Redis of an app, in containers of its own
version_added: 0.1.0
description:
  - Writes the compose project C(services/compose.yaml) under the app's root, makes the volumes, starts what does not run, makes anew what has changed,
    and waits until all is healthy. Then the app's role, its password, its database and its extensions are as the model says.
  - Compares by compose's own hash of a service and by the image, so that what has not changed is not touched.
  - Refuses an image of another major version of PostgreSQL before the container that runs is stopped, and volumes that it did not make.
  - Removes nothing. A service that the model no longer has goes on, with a warning.
extends_documentation_fragment:
  - quayside.django.app
options:
  passwords:
    description: C(database), the password of the app's role, C(cache), that of Redis, which may be empty, and C(cache_other), a second one while it changes.
    type: dict
    default: {}
  sizes:
    description:
      - What the filter P(quayside.django.host_plan#filter) gives for the app. C(database) with C(settings) and C(limit), C(cache) with C(maxmemory) and
        C(limit), in MiB. A container that runs with another limit gets it without being made anew.
      - Without it there are no limits, PostgreSQL has its own settings, and Redis takes a part of the host's memory.
    type: dict
    default: {}
  pull:
    description:
      - Ask the registry what the tags stand for today. Else they stand for the digests that they had when this host first met them, which
        C(/etc/quayside/images.json) keeps.
    type: bool
    default: false
  timeout:
    description: Seconds in which the services have to become healthy.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Also where Docker is not there yet. With O(pull) the registry is asked, and nothing is pulled.
  diff_mode:
    support: full
    description: Of files that may hold a password, only that they would change.
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The shop has its database and its cache
  quayside.django.app_services:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    passwords:
      database: "{{ vault_shop.DATABASE_PASSWORD }}"
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or would be.
  type: list
  elements: str
  returned: success
  sample: [db would be made anew, password of role shop changed]
services:
  description: The state of each service as it was found, C(missing), C(healthy) or what else Docker calls it.
  type: dict
  returned: success
"""

import json
import os
import secrets as random
import shutil
import subprocess
import time

from ansible_collections.quayside.django.plugins.module_utils import docker_network, host, image_pins, redis_client, rotation, services, sizing
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

MB = 2 ** 20


class Services:
    """The services of one app on this host: ``plan`` says what has to be done, ``apply`` does it."""

    def __init__(self, params: dict, check: bool):
        self.app, self.passwords, self.params, self.check = params["app"], params["passwords"], params, check
        self.folder, self.project, self.parts = services.folder(self.app), services.project_name(self.app), services.parts(self.app)
        self.engine = Engine()
        self.actions: list[str] = []
        self.warnings: list[str] = []
        self.up: list[str] = []
        self.missing_volumes: list[str] = []
        self.pins: image_pins.Pins | None = None
        self.images: dict = {}
        self.states: dict = {}
        # What the files say: the limit with which a container was made goes on standing there, so that it is not made anew for another one.
        self.sizes: dict = params["sizes"]
        self.limits: dict = {}
        self.hashed: dict = {}

    # What is wanted

    def files(self) -> dict:
        """Return path -> (text, mode) of the files. Their folder is root's: in the containers other users have to read them."""
        maxmemory = ((self.params["sizes"].get("cache") or {}).get("maxmemory")
                     or sizing.redis_memory_mb(host.size()[1], 1))
        first, other = self.redis_passwords()
        conf = services.redis_conf(self.app, first, int(maxmemory), rotation.redis_line(first, other)) if "redis" in self.parts else ""
        self.conf = conf
        found = {"compose.yaml": (services.text(self.app, self.sizes, conf, self.images, self.subnet()), 0o644)}
        if conf:
            found["secrets/redis.conf"] = (conf, 0o444)
        if "db" in self.parts:
            # That of the superuser, which nobody uses: it is made once, and only a new data folder takes it over.
            found["secrets/superuser"] = (host.text(f"{self.folder}/secrets/superuser") or random.token_urlsafe(32), 0o444)
        return {f"{self.folder}/{name}": value for name, value in found.items()}

    def subnet(self) -> str:
        """Return the subnet of the app's network, empty where that takes no address of ours, or cannot be asked."""
        try:
            return docker_network.subnets(self.app, self.engine)["default"]
        except EngineError:
            return ""

    def redis_passwords(self) -> tuple[str, str]:
        """Return the passwords that Redis is to take: none as long as a running release, made before there was one, would be turned away by it."""
        first, other = self.passwords.get("cache") or "", self.passwords.get("cache_other") or ""
        if "redis" not in self.parts:
            return "", ""
        if not first:
            self.warnings.append(f"app {self.app['name']}: its Redis has no password: quayside.django.secrets makes one (REDIS_PASSWORD), then run site.yml, "
                                 "deploy, and site.yml")
        elif not services.has_password(host.text(f"{self.folder}/secrets/redis.conf")):
            plain = self.plain_clients()
            if plain:
                self.warnings.append(f"app {self.app['name']}: its Redis goes on without its new password, since {plain[0]} was made without it: "
                                     "deploy, then run site.yml again")
                return "", ""
        return first, other

    def plain_clients(self) -> list[str]:
        """Return the running containers of the app that reach Redis without a password."""
        try:
            found = self.engine.get("/containers/json", filters={"label": [f"quayside.app={self.app['name']}", "quayside.release"]})
            return services.without_password(self.app, [one for one in (self.ask(f"/containers/{entry['Id']}/json") for entry in found) if one])
        except EngineError:
            if self.check:
                return []
            raise

    def tag(self, part: str) -> str:
        """Return the image of a service as the model names it."""
        return self.app["database" if part == "db" else "cache"]["image"]

    def image(self, part: str) -> str:
        """Return the image of a service by the reference by which it runs here."""
        return self.images.get(self.tag(part), self.tag(part))

    def pin(self) -> None:
        """Find out what the tags stand for on this host; in check mode without an engine they stand for themselves."""
        if self.check and not os.path.exists(self.engine.socket):
            return
        self.pins = image_pins.Pins(bool(self.params["pull"]))
        self.images = {self.tag(part): self.pins.reference(self.tag(part)) for part in self.parts}
        self.actions += [f"image {line}" for line in image_pins.lines(self.pins.changes())]

    # What is there

    def ask(self, path: str, **query):
        """Return what the engine knows of a thing, None when there is none such; raise EngineError."""
        try:
            return self.engine.get(path, **query)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def containers(self) -> dict:
        """Return service -> container of the project."""
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        found = self.engine.get("/containers/json", all="true", filters={"label": labels})
        return {one["Labels"]["com.docker.compose.service"]: self.ask(f"/containers/{one['Id']}/json") for one in found}

    def hashes(self, text: str) -> dict:
        """Return service -> compose's hash of what it would run."""
        if text not in self.hashed:
            done = self.compose("-f", "-", "config", "--hash", "*", text=text)
            self.hashed[text] = dict(line.split() for line in done.stdout.splitlines() if line.strip())
        return self.hashed[text]

    def compose(self, *words: str, text: str | None = None, timeout: float = 900) -> subprocess.CompletedProcess:
        """Run docker compose for the project; raise PhaseError."""
        return command(["docker", "compose", "--project-directory", self.folder, *words], text=text, timeout=timeout)

    # The plan

    def plan(self) -> list[dict]:
        """Say what has to be done; return the diff."""
        self.pin()
        diff = self.pins.diff() if self.pins else []
        self.wanted = self.files()
        if self.keep_limits():
            self.wanted = self.files()
        for path, (text, _mode) in self.wanted.items():
            before = host.text(path)
            if before == text:
                continue
            hidden = "/secrets/" in path
            self.actions.append(f"{os.path.basename(path)} written")
            diff.append({"before_header": path, "after_header": path, "before": ("hidden\n" if before else "") if hidden else before,
                         "after": "hidden, changed\n" if hidden else text})
        try:
            self.look()
        except (EngineError, PhaseError):
            if not self.check:
                raise
            if not shutil.which("docker") or not os.path.exists(self.engine.socket):
                self.missing_volumes, self.up = list(services.volumes(self.app).values()), list(self.parts)
                self.actions += [f"{part} started" for part in self.parts]
            else:
                raise
        self.actions += [f"volume {name} made" for name in self.missing_volumes]
        diff += [{"before_header": f"container {part}", "after_header": f"container {part}", "before": f"{self.states.get(part, 'missing')}\n",
                  "after": f"runs {self.image(part)}\n"} for part in self.up]
        return diff

    def keep_limits(self) -> bool:
        """Let containers go on whose limit of memory alone has changed, and plan the new limits; return whether the files are others by that."""
        try:
            running = {part: have for part, have in self.containers().items() if part in self.parts}
            written = services.limits(host.text(f"{self.folder}/compose.yaml"))
            made = {part: written.get(part) or have["HostConfig"].get("Memory", 0) // MB for part, have in running.items()}
            kept = services.with_limits(self.params["sizes"], made)
            texts = [services.text(self.app, kept, self.conf, images, self.subnet()) for images in (self.images, None)] if running else []
            hashes = [self.hashes(text) for text in texts]
        except (EngineError, PhaseError):
            return False  # the look at the containers says why
        for part, have in running.items():
            limit = (self.params["sizes"].get(services.FIELDS[part]) or {}).get("limit", 0)
            now = have["HostConfig"].get("Memory", 0) // MB
            if not limit or have["Config"]["Labels"].get("com.docker.compose.config-hash") not in [one.get(part) for one in hashes]:
                continue
            self.sizes = services.with_limits(self.sizes, {part: made[part]})
            if now != limit:
                self.limits[part] = (have["Id"], limit)
                self.actions.append(f"{part} may take {limit} MiB of memory, before {now}")
        return self.sizes != self.params["sizes"]

    def set_limits(self) -> None:
        """Give running containers other limits of memory; with swap as the engine gives it to a new one."""
        for part, (container, limit) in self.limits.items():
            if part not in self.up:
                self.engine.post(f"/containers/{container}/update", {"Memory": limit * MB, "MemorySwap": 2 * limit * MB})

    def look(self) -> None:
        """Look at volumes and containers: which are missing, changed or stopped."""
        for name in services.volumes(self.app).values():
            volume = self.ask(f"/volumes/{name}")
            if volume is None:
                self.missing_volumes.append(name)
            elif (volume.get("Labels") or {}).get("quayside.app") != self.app["name"]:
                raise PhaseError(f"the volume {name} is there, but was not made for the app {self.app['name']}, and another container may use it: "
                                 f"see who does with `docker ps -a --filter volume={name}`, take its data over by dump and restore (docs/databases.md), "
                                 f"and remove or rename it")
        running = self.containers()
        hashes = self.hashes(self.wanted[f"{self.folder}/compose.yaml"][0])
        by_tag = self.hashes(services.text(self.app, self.sizes, self.conf, None, self.subnet())) if running else {}
        for part in self.parts:
            have = running.get(part)
            self.states[part] = state(have)
            image = self.ask(f"/images/{self.image(part)}/json")
            if have is None:
                reason = "started"
            # One that was made by the tag, of the very image that the tag stands for, runs on.
            elif have["Config"]["Labels"].get("com.docker.compose.config-hash") not in (hashes.get(part), by_tag.get(part)):
                reason = "made anew, since what it should run has changed"
            elif image is not None and image["Id"] != have["Image"]:
                reason = "made anew, since its image has changed"
            elif not have["State"]["Running"]:
                reason = "started again"
            else:
                continue
            self.up.append(part)
            self.actions.append(f"{part} {reason}")
        for part in sorted(set(running) - set(self.parts)):
            self.warnings.append(f"app {self.app['name']}: the service {part} is no longer in the model and goes on: when no release uses it, "
                                 f"cd {self.folder} && docker compose -p {self.project} rm -sf {part}; its volume stays")

    def refuse_upgrade(self) -> None:
        """Raise PhaseError when the image cannot read the data."""
        if "db" not in self.up or services.volumes(self.app)["db"] in self.missing_volumes:
            return
        if self.ask(f"/images/{self.image('db')}/json") is None:
            return  # check mode: only the image itself knows
        done = command(["docker", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--cap-add=DAC_READ_SEARCH", "--log-driver=none",
                        f"--volume={services.volumes(self.app)['db']}:/data:ro", "--entrypoint=/bin/sh", self.image("db"),
                        "-c", "echo $(cat /data/PG_VERSION 2>/dev/null); postgres --version"])
        have, *rest = done.stdout.split("\n")
        refused = services.upgrade_refusal(self.app, services.major(have), services.major(" ".join(rest)))
        if refused:
            raise PhaseError(refused)

    # What is done

    def pull(self) -> None:
        """Have the images of what is to be started; nothing else has changed yet when that fails."""
        for part in self.up:
            self.pins.pull(self.tag(part))
        self.pins.save()

    def apply(self) -> None:
        """Write the files, make the volumes and start what the plan names."""
        if self.ask(f"/networks/{self.app['network']}") is None:
            raise PhaseError(f"the network {self.app['network']} of the app is not there: the role quayside.django.app makes it, run quayside.django.site")
        host.folder(self.folder, 0o755)
        host.folder(f"{self.folder}/secrets", 0o700)
        before = {path: (host.text(path), mode) for path, (_text, mode) in self.wanted.items()}
        self.write(self.wanted)
        for name in self.missing_volumes:
            self.engine.post("/volumes/create", {"Name": name, "Labels": {"quayside.app": self.app["name"]}})
        try:
            self.start()
            self.set_limits()
            self.settle_cache(before)
        except PhaseError as error:
            if all(text for text, _mode in before.values()) and before != self.wanted:
                self.write(before)
                self.start()
                raise PhaseError(f"{error.reason}. What ran before runs again", error.log, error.look) from error
            raise

    def settle_cache(self, before: dict) -> None:
        """Let Redis take the passwords of its file, also where its container was not made anew for them."""
        path = f"{self.folder}/secrets/redis.conf"
        wanted = [password for password in (self.passwords.get("cache"), self.passwords.get("cache_other")) if password and services.has_password(self.conf)]
        if "redis" not in self.parts or not wanted or before[path] == self.wanted[path]:
            return
        old = [json.loads(line.split(" ", 1)[1]) for line in before[path][0].splitlines() if line.startswith("requirepass ")]
        network = (self.containers()["redis"]["NetworkSettings"]["Networks"] or {}).get(self.app["network"], {})
        try:
            redis = redis_client.Redis((network.get("IPAddress", ""), 6379))
            redis.log_in([*wanted, *old])
            for words in rotation.redis_commands(redis.hashes(), wanted):
                redis.ask(*words)
            redis.close()
        except redis_client.RedisError as error:
            raise PhaseError(f"the password of redis was not changed: {error}", look=f"cd {self.folder}; docker compose logs redis") from error

    def write(self, files: dict) -> None:
        """Write files. ``files``: path -> (text, mode)."""
        for path, (text, mode) in files.items():
            host.write(path, text, mode)

    def start(self) -> None:
        """Start what does not run as its file says, and wait until all is healthy."""
        if self.up:
            self.compose("up", "--detach", "--no-build", "--quiet-pull", "--", *self.up)
        self.wait()

    def wait(self) -> None:
        """Wait until all services are healthy; raise PhaseError with the log of one that is not."""
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            running = self.containers()
            states = {part: state(running.get(part)) for part in self.parts}
            bad = [part for part in self.parts if states[part] != "healthy"]
            if not bad:
                return
            ended = [part for part in bad if running.get(part) is None or running[part]["RestartCount"] > 2]
            if ended or time.monotonic() > deadline:
                part = (ended or bad)[0]
                log = command(["docker", "logs", "--tail", str(host.LOG_LINES), f"{self.project}-{part}-1"], check=False)
                raise PhaseError(f"{part} is {states[part]}{'' if ended else ' after %d s' % self.params['timeout']}", log.stdout + log.stderr,
                                 look=f"cd {self.folder}; docker compose ps; docker compose logs {part}")
            time.sleep(0.2)

    def settle_database(self) -> None:
        """Let PostgreSQL have role, password, database and extensions; in check mode only say what differs."""
        if "db" not in self.parts:
            return
        if self.check and ("db" in self.up or self.states.get("db") != "healthy"):
            if self.states.get("db", "missing") == "missing":
                name = self.app["database"]["name"]
                self.actions += [f"role {self.app['database']['user']} made", f"database {name} made"]
            return
        have = json.loads(self.sql("postgres", services.question(self.app)))
        todo = services.statements(self.app, have, self.passwords.get("database") or "", random.token_bytes(16))
        self.run_statements("postgres", todo)
        if self.app["database"]["extensions"] and (have["owner"] is not None or not self.check):
            found = self.sql(self.app["database"]["name"], "SELECT extname FROM pg_extension;\n").split()
            self.run_statements(self.app["database"]["name"], services.extension_statements(self.app, found))

    def run_statements(self, database: str, todo: list) -> None:
        """Run SQL, a statement at a time, since CREATE DATABASE allows no transaction."""
        for label, statement in todo:
            self.actions.append(label)
            if not self.check:
                self.sql(database, statement + "\n")

    def sql(self, database: str, text: str) -> str:
        """Return what PostgreSQL answers; what it is asked goes over stdin, since everybody on the host may list processes."""
        done = command(["docker", "exec", "--interactive", "--user", services.SUPERUSER, "--env", f"PGOPTIONS={services.PSQL_OPTIONS}",
                        f"{self.project}-db-1", *services.PSQL, database], text=text, check=False)
        if done.returncode:
            said = done.stderr.strip()
            if 'role "postgres" does not exist' in said:
                said += ": the data were made with another superuser: move them by dump and restore (docs/databases.md)"
            raise PhaseError(f"PostgreSQL in {self.project}-db-1 refused: {said}", look=f"cd {self.folder}; docker compose logs db")
        return done.stdout.strip()


def state(container: dict | None) -> str:
    """Return ``missing``, ``healthy`` or what else Docker calls the state of a container."""
    if container is None:
        return "missing"
    health = (container["State"].get("Health") or {}).get("Status", "")
    return health if health and container["State"]["Running"] else container["State"]["Status"]


def command(argv: list[str], text: str | None = None, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess:
    """Run ``argv`` with ``text`` on stdin; raise PhaseError when it fails and ``check``, or does not end."""
    feed = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", timeout=timeout, env=host.LOCALE, cwd="/", **feed)
    except subprocess.TimeoutExpired as error:
        raise PhaseError(f"`{' '.join(argv[:5])}` did not end within {timeout:.0f} s") from error
    except FileNotFoundError as error:
        raise PhaseError("docker is not installed: run quayside.django.site for this host first") from error
    if check and done.returncode:
        raise PhaseError(f"`{' '.join(argv[:2])} … {argv[-1]}` ended with {done.returncode}", done.stderr or done.stdout)
    return done


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "sizes": {"type": "dict", "default": {}},
            "pull": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    wanted = Services(module.params, module.check_mode)
    label = f"app {wanted.app['name']}"
    try:
        diff = wanted.plan()
        if not module.check_mode:
            wanted.pull()
        wanted.refuse_upgrade()
        if not module.check_mode:
            wanted.apply()
        wanted.settle_database()
    except (EngineError, PhaseError, image_pins.PinError, OSError) as error:
        text = f"{label}: {error}"
        if getattr(error, "log", ""):
            text += "\nlast lines of its log:\n" + "\n".join(f"  {line}" for line in error.log.splitlines())
        if getattr(error, "look", ""):
            text += f"\nto look further, on the host: {error.look}"
        module.fail_json(msg=text)
    for text in wanted.warnings:
        module.warn(text)
    module.exit_json(changed=bool(wanted.actions), actions=wanted.actions, services=wanted.states, diff=diff)


if __name__ == "__main__":
    main()
