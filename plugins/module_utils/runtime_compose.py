# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose runtime: a release runs from images, as a compose project named after its id."""
from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import time

from ansible_collections.quayside.django.plugins.module_utils import (
    cgroup,
    compose_project,
    contained,
    container_units,
    docker_engine,
    docker_ignore,
    docker_network,
    drain,
    edges,
    env_file,
    host,
    image_prune,
    last_words,
    lock,
    log_hints,
    processes,
    release_tree,
    releases,
    services,
    source,
    supervisor,
    units,
)
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.images import Images, base_age
from ansible_collections.quayside.django.plugins.module_utils.runtime import BEGIN_SECONDS, IN_APP, OLD_EDGE, Runtime, source_of

UNITS = "/etc/systemd/system"
CONTAINERD = "/var/lib/containerd"
IMAGE_MIB = 512  # of an image of which nobody knows better: a slim Python image with Django and its libraries
ANONYMOUS = re.compile(r"^[0-9a-f]{64}\Z")  # the name that the engine gives to a volume which nobody names
# Arguments: the name of a container, seconds, and a docker compose run that makes it. When its time is over the client alone would end, and the
# container would go on with what it does.
ONE_OFF = ('name=$1; seconds=$2; shift 2; timeout --kill-after=10 "$seconds" "$@"; status=$?; '
           f'[ $status -lt 124 ] || {{ docker stop -t {host.ONE_OFF_STOP} "$name"; docker rm --force --volumes "$name"; }} >/dev/null 2>&1; exit $status')
STATES = {"running": "active", "restarting": "activating", "created": "inactive", "exited": "inactive", "dead": "failed", "paused": "paused",
          "removing": "deactivating"}


class Compose(Runtime):
    """An app's instances as compose projects; its units are containers."""

    def __init__(self, app: dict, shelf, secrets: dict | None = None, apps: list[dict] | None = None):
        super().__init__(app, shelf, secrets, apps)
        self.engine = Engine()
        self.source = source.of(app)
        self.registry_password = ""
        self.creating: subprocess.Popen | None = None

    def with_processes(self, wanted: list[dict]) -> Compose:
        other = super().with_processes(wanted)
        other.registry_password = self.registry_password
        return other

    @property
    def supervisor(self) -> supervisor.Supervisor:
        """The supervisor of the app's containers; its networks are those of site.yml."""
        return supervisor.Supervisor(json.loads(container_units.supervisor_config(self.app, docker_network.bodies(self.app, self.engine))), self.engine)

    @property
    def images(self) -> Images:
        return Images(self.app, self.secrets, self.registry_password, self.rebuilt, self.fresh, self.source_key, self.progress)

    # What is on disk

    def install(self) -> list[str]:
        """Write the units that start the app at boot and after a kill, and that prune its images; return what changed."""
        host.folder(f"{self.app['root']}/lib", 0o755)
        for name in container_units.journal_files(self.app):
            host.folder(f"{UNITS}/{name.rpartition('/')[0]}", 0o755)
        changed = [path for path, text in self.files().items() if host.write(path, text)]
        former = self.former()
        if former:
            host.systemctl("stop", "--", *(os.path.basename(path) for path in former if path.endswith(".timer")), check=False)
            for path in former:
                host.remove(path)
        if former or any(path.startswith(UNITS) for path in changed):
            host.systemctl("daemon-reload")
            # Docker starts containers by itself at boot, and none without the socket that it logs to.
            host.systemctl("add-wants", "sockets.target", units.journal_socket(self.app))
            host.systemctl("start", units.journal_socket(self.app))
        self.close_journal(0o600, "root")
        if former and host.systemctl("is-active", "--quiet", "--", f"{self.app['name']}.service", check=False).returncode == 0:
            host.systemctl("start", "--", *container_units.timers(self.app))
        return changed + former

    def outdated(self) -> dict:
        """Return path -> (text before, text after) of the files that ``install`` would change."""
        found = {path: (host.text(path), text) for path, text in self.files().items() if host.text(path) != text}
        return {**found, **{path: (host.text(path), "") for path in self.former()}}

    def former(self) -> list[str]:
        """Return the paths of helper units under the names that they had before, those that are this app's."""
        paths = [f"{UNITS}/{name}" for name in container_units.former_files(self.app)]
        return [path for path in paths if host.text(path).partition("\n")[0] == units.mark(self.app)]

    def files(self) -> dict:
        """Return path -> text of what an app has on its host before any release."""
        lib = f"{self.app['root']}/lib"
        found = {f"{UNITS}/{name}": text for name, text in container_units.files(self.app).items()}
        return {**found, f"{lib}/image_prune.py": source_of(image_prune), f"{lib}/docker_engine.py": source_of(docker_engine),
                f"{lib}/lock.py": source_of(lock), f"{lib}/supervisor.py": source_of(supervisor), f"{lib}/images.json": container_units.prune_config(self.app),
                docker_network.file(self.app): container_units.supervisor_config(self.app, docker_network.bodies(self.app, self.engine))}

    # A new release

    def resolve(self, version: str) -> dict:
        """Return what a version is: commit or digest, and the images; raise PhaseError."""
        self.engine.get("/_ping")
        found: dict = {}
        if any(image["from"] == "build" for image in self.app["images"]):
            found = self.source.resolve(version)
        images = self.images.resolve(version, found.get("sha", ""))
        if not found:
            first = images[self.app["images"][0]["name"]]
            found = {"sha": (first.get("digest") or first["id"]).split(":")[1], "repo": self.app["images"][0]["repository"]}
        return {**found, "images": images}

    def check(self, record: dict) -> None:
        """Refuse what cannot run here: a network of the app is not there."""
        missing = docker_network.missing(self.app, self.engine)
        if missing:
            raise host.PhaseError(f"there is no Docker network {missing[0]}: run quayside.django.site for this host first")

    def disks(self, record: dict) -> dict:
        """Return the folders that a release grows, and the MiB that have to be free there: also for images that have to come here first.

        An image takes as much as that of the live release, twice while it is built, in the builder and in the engine.
        """
        missing = [image for image in self.app["images"] if not self.images.here(record.get("images", {}).get(image["name"], {}))] if record else []
        live = self.shelf.record(self.shelf.live()).get("images", {})
        need = self.app["disk"]
        for image in missing:
            size = self.images.inspect(live[image["name"]]["ref"]).get("Size", 0) // 2**20 if image["name"] in live else 0
            need += (size or IMAGE_MIB) * (2 if image["from"] == "build" else 1)
        places = [self.engine.get("/info")["DockerRootDir"], *[CONTAINERD] * self.images.in_containerd()]
        return {f"{self.app['root']}/releases": self.app["disk"], **dict.fromkeys(places, need)}

    def fetch(self, release: str, record: dict) -> None:
        """Write the code that images are built from."""
        if any(image["from"] == "build" for image in self.app["images"]):
            release_tree.export(self.app, self.source, release, record, self.shelf.path(release, "code"), self.neighbours)

    def build(self, release: str, record: dict) -> tuple[dict, list[str]]:
        """Bring the images here and write the project; return what the record has to hold, and notes."""
        notes = self.images.provide(record["images"], self.shelf.path(release, "code"), record["sha"], record["version"])
        notes += self.judge_volumes(record) + self.baked()
        for frontend in self.app["frontends"]:
            target, ref = self.shelf.path(release, "frontends", frontend["name"]), record["images"][frontend["image"]]["ref"]
            request = {"do": "unpack", "what": f"frontends[{frontend['name']}] of the image {ref}", "target": target, "strip": True}
            release_tree.publish(self.app, release, request, [], [target], self.neighbours,
                                 lambda stream, ref=ref, folder=frontend["folder"]: self.images.copy_out(ref, folder, stream))
        reached = self.settle_addresses(release)
        self.write_project(release, {**record, **reached})
        self.create(release)
        changed = self.install()
        if changed:
            notes.append(f"units changed: {', '.join(changed)}")
        return reached, notes

    def rehearse_build(self, release: str, record: dict, real: Runtime) -> tuple[dict, list[str]]:
        """Return what the record has to hold for commands to run, nothing where an image would first have to come here; and lines."""
        lines = []
        for image in self.app["images"]:
            if not self.images.here(record["images"][image["name"]]):
                verb = {"registry": "pulled", "archive": "loaded", "build": "built"}[image["from"]]
                lines.append(f"build: {record['images'][image['name']]['ref']} would be {verb}")
        if lines:
            return {}, [*lines, "migrate: plan unknown until the image is here"]
        lines = self.judge_volumes(record)
        self.write_project(release, dict(record, ports={}), name=f"{self.app['name']}-check")
        return {"ports": {}}, ["build: all images are here", *lines]

    def baked(self) -> list[str]:
        """Return what is to be told of files of variables that were sent along and that no ignore file keeps out of an image."""
        found = []
        for image in [image for image in self.app["images"] if image["from"] == "build" and self.source.env_files]:
            top = image["context"].strip("/") + "/" if image["context"].strip("/.") else ""
            # BuildKit takes the one beside the Dockerfile first.
            texts = [self.source.read_file(f"{top}{name}") for name in (f"{image['dockerfile']}.dockerignore", ".dockerignore")]
            text = next((text for text in texts if text is not None), "")
            inside = [path for path in self.source.env_files if path.startswith(top) and not docker_ignore.ignored(path[len(top):], text)]
            if inside:
                found.append(f"warning: {', '.join(inside[:5])} of {self.app['source']['folder']} can get into the image {image['name']}, for whoever has it, "
                             "and no ignore file names it: write it into .dockerignore (or .gitignore), and its secrets into the vault")
        return found

    def judge_volumes(self, record: dict) -> list[str]:
        """Refuse images whose volumes would hide folders of the app; return what is to be told of their other volumes."""
        declared = {one["ref"]: list((self.images.inspect(one["ref"]).get("Config") or {}).get("Volumes") or []) for one in record["images"].values()}
        wrong, told = compose_project.volume_findings(self.app, declared)
        if wrong:
            raise host.PhaseError("\n".join(wrong))
        return told

    def write_project(self, release: str, record: dict, name: str = "", copied: str = "") -> None:
        """Write the compose project of a release, the programs that we mount, and its manage command; let compose judge it."""
        for program, module in IN_APP.items():
            host.write(self.shelf.path(release, "lib", program), source_of(module))
        host.write(self.shelf.path(release, "lib", "health"), compose_project.health_script(self.app), 0o755)
        sizes = self.sizes()
        for process in self.app["processes"]:
            if processes.config_name(process):
                text = processes.config_file(self.app, process, sizes[process["name"]]["workers"])
                host.write(self.shelf.path(release, "lib", processes.config_name(process)), text)
        self.write_secret_files(release, copied)
        uid, gid = host.ids(self.app["user"])
        env = env_file.parse(host.text(self.shelf.path(release, "env")))
        configs = {name: self.images.inspect(image["ref"]).get("Config") or {} for name, image in record["images"].items()}
        facts = compose_project.facts_of(self.app, release, record, env, self.variables(), f"{uid}:{gid}", sizes, configs)
        facts["services"] = {name: docker_network.service(docker_network.subnets(self.app, self.engine)["default"], name) for name in services.parts(self.app)}
        project = compose_project.project(self.app, release, facts)
        if name:
            project["name"] = name
        path = self.shelf.path(release, "compose.yaml")
        host.write(path, compose_project.render(project, compose_project.mark(self.app, release)), 0o600)
        host.write(self.shelf.path(release, "bin", "manage"), self.manage_text(release), 0o750)
        done = host.run(["docker", "compose", "-f", path, "config", "--quiet"], check=False)
        if "is not a docker command" in done.stderr:
            raise host.PhaseError("docker compose is not installed on this host: run quayside.django.site for it first")
        if done.returncode:
            raise host.PhaseError("docker compose refuses the project", done.stderr, f"docker compose -f {path} config --quiet")

    def copy(self, target: str, release: str, record: dict) -> dict:
        """Write the project of a kept release under the new id: the same images, the secrets of today. Return what the record has to hold."""
        missing = [one["ref"] for one in record["images"].values() if not self.images.here(one)]
        if missing:
            raise host.PhaseError(f"the image {missing[0]} of {target} is no longer on this host: pick another release, or deploy its version anew")
        reached = self.settle_addresses(release)
        self.write_project(release, {**record, **reached}, copied=target)
        self.create(release)
        return reached

    def settle_addresses(self, release: str) -> dict:
        """Return where the containers of a release are reached, for its record: addresses, and ports of this host where its edge needs those."""
        addresses = self.choose_addresses(release)
        return {"addresses": addresses, "ports": self.choose_ports(release) if edges.EDGES[self.app["edge"]].publishes(addresses) else {}}

    def choose_addresses(self, release: str) -> dict:
        """Return process -> its address in the edge's network, empty where that takes none of ours. Raise PhaseError."""
        subnet = docker_network.subnets(self.app, self.engine)["edge"]
        names = [process["name"] for process in self.wanted() if process["serves"]]
        if not subnet or not names:
            return {}
        used = {name: set(record.get("addresses", {}).values()) for name, record in self.shelf.records().items()}
        busy = set().union(*(used.get(name, set()) for name in {self.shelf.live(), *self.running()}))
        start = int(releases.fingerprint([self.app["name"], release])[:8], 16)
        chosen = docker_network.choose(names, subnet, start, busy, set().union(*used.values()))
        if len(chosen) < len(names):
            name = self.app["edge_network"]
            raise host.PhaseError(f"only {len(chosen)} of {len(names)} servers found an address in the network {name}: {subnet} is too small; set "
                                  f"docker_address_pools to larger ones, stop the app, `docker network rm {name}`, and run quayside.django.site")
        return chosen

    def settle_secrets(self) -> None:
        """Nothing to do: each release has the secrets in its own project file."""

    restore_secrets = keep_secrets = settle_secrets

    def programs(self, release: str) -> list[str]:
        """Return the words of the commands of a release's processes, and of what its image starts by itself."""
        image = self.shelf.record(release).get("images", {}).get(self.app["images"][0]["name"], {}).get("ref", "")
        config = (self.images.inspect(image) if image else {}).get("Config") or {}
        return sorted({*super().programs(release), *(config.get("Entrypoint") or []), *(config.get("Cmd") or [])})

    # Commands of the app

    def compose(self, release: str, *words: str) -> list[str]:
        """Return the argv of docker compose for a release."""
        return ["docker", "compose", "--progress", "quiet", "-f", self.shelf.path(release, "compose.yaml"), *words]

    def python(self, _release: str) -> list[str]:
        """Return the start of a command that runs in the app's Python."""
        return ["python"]

    def helper(self, _release: str, name: str) -> str:
        """Return the path of one of our programs, as a command of the app sees it."""
        return f"{compose_project.HELPERS}/{name}"

    def manage_argv(self, _release: str, argv: list[str]) -> list[str]:
        """Return the command that runs manage.py with ``argv``."""
        return ["python", self.app["manage"], *argv]

    def manage_text(self, release: str) -> str:
        """Return the text of ``releases/<id>/bin/manage``, for people."""
        return (f"#!/bin/sh\n[ -t 0 ] || tty=-T\nexec docker compose --progress quiet -f {self.shelf.path(release, 'compose.yaml')} run --rm --no-deps $tty "
                f"manage python {self.app['manage']} \"$@\"\n")

    def by_hand(self, release: str, command: str) -> str:
        """Return what a person types to run a manage.py command of a release."""
        return f"sudo {self.shelf.path(release, 'bin', 'manage')} {command}"

    def one_off(self, release: str, command: list[str], name: str, timeout: int) -> list[str]:
        """Return the argv that runs ``command`` in a container of its own from a release's image, env and rights."""
        container = compose_project.one_off_name(self.app, release, name)
        labels = [f"--label=quayside.oneoff={name}", f"--label=quayside.until={time.time() + timeout:.0f}"]
        run = self.compose(release, "run", "--rm", "--no-deps", "--no-TTY", f"--name={container}", *labels, "manage", *command)
        return ["/bin/sh", "-c", ONE_OFF, "one-off", container, str(timeout), *run]

    def end_one_off(self, release: str, name: str) -> None:
        """Stop and remove the container of a one-off, if it is there; its caller sees it end."""
        container = compose_project.one_off_name(self.app, release, name)
        host.run(["docker", "stop", "-t", str(host.ONE_OFF_STOP), container], check=False)
        host.run(["docker", "rm", "--force", "--volumes", container], check=False)

    def unbegun(self, release: str, status: int, output: str) -> host.PhaseError:
        """Return the error of a command that did not begin: what starts it in a container is the ENTRYPOINT of the image."""
        image = self.shelf.record(release).get("images", {}).get(self.app["images"][0]["name"], {}).get("ref", "")
        entrypoint = (self.images.inspect(image).get("Config") or {}).get("Entrypoint") or []
        if not entrypoint or (status and log_hints.hint(output, self.app)):
            return super().unbegun(release, status, output)
        how = f"ended with {status} and did not start it" if status else f"did not start it within {BEGIN_SECONDS} s"
        return host.PhaseError(f"a command of the deploy was given to the ENTRYPOINT of the image, {' '.join(entrypoint)}, which {how}. An ENTRYPOINT "
                               'has to end in `exec "$@"`; where it waits for a database, the variables that it reads have to lead to that of the app '
                               "(docs/databases.md: DATABASE_URL and others)", last_words.cause(output, host.LOG_LINES), phase="check")

    # Instances

    def members(self, release: str, group: str = "") -> list[str]:
        """Return the containers of a group of a release's processes, or of all of them."""
        return compose_project.containers(self.app, release, self.wanted(group))

    def create(self, release: str) -> None:
        """Begin to make all containers of a release, without starting them; ``created`` waits for it."""
        wanted = [key for process in self.wanted() for key in compose_project.keys(process)]
        argv = self.compose(release, "up", "--no-start", "--no-deps", "--no-build", *wanted)
        self.creating = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=host.LOCALE, text=True)

    def created(self, release: str) -> None:
        """Wait until the containers of a release are there; raise PhaseError."""
        if self.creating is None and self.members(release) and not self.known(self.members(release)[-1]):
            self.create(release)
        if self.creating is not None:
            said = self.creating.communicate()[1]
            status, self.creating = self.creating.returncode, None
            if status:
                raise host.PhaseError("docker compose could not make the containers", said, f"cd {self.shelf.path(release)} && docker compose up --no-start")

    def close(self) -> None:
        super().close()
        if self.creating is not None:
            self.creating.communicate()
            self.creating = None

    def start(self, release: str, group: str) -> None:
        """Start a group of a release's processes: ``servers``, ``workers`` or ``singles``; do not wait."""
        self.created(release)
        if group == "servers":
            self.check_shells(release)
        for name in self.members(release, group):
            self.engine.post(f"/containers/{name}/start")

    def check_shells(self, release: str) -> None:
        """Raise PhaseError for an image without the shell by which Docker asks the health of its server: it would be unhealthy for ever."""
        for process in {process["image"]: process for process in self.wanted("servers")}.values():
            try:
                self.engine.call("HEAD", f"/containers/{compose_project.containers(self.app, release, [process])[0]}/archive", {"path": "/bin/sh"})
            except EngineError as error:
                if error.status == 404:
                    raise host.PhaseError(f"images[{process['image']}] has no /bin/sh, which runs commands and the health check of "
                                          f"processes[{process['name']}]: take a base image that has one (python:3.12-slim; of distroless the tag debug)"
                                          ) from error
                raise

    def known(self, name: str) -> dict:
        """Return what the engine knows of a container, empty when there is none."""
        try:
            return self.engine.get(f"/containers/{name}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise

    def place(self, release: str, process: dict) -> dict:
        """Return where a process of a release is asked, as arguments of http_health.Check: its socket, or its address in the app's network."""
        if process["socket"]:
            return {"socket": self.shelf.path(release, "run", f"{process['name']}.sock")}
        name = compose_project.containers(self.app, release, [process])[0]
        joined = self.known(name).get("NetworkSettings", {}).get("Networks", {})
        network = joined.get(self.app["edge_network"]) or joined.get(self.app["network"]) or {}
        if not network.get("IPAddress"):
            raise host.PhaseError(f"the container {name} has no address: it does not run", *self.log(release, process, 0))
        return {"url": f"http://{network['IPAddress']}:{process['port']}"}

    def dead(self, wanted: list[str], since: float) -> str:
        """Raise PhaseError, with its log, when one of the containers has died since it was started; return an empty text while all live."""
        for name in wanted:
            known = self.known(name)
            state, again = known.get("State", {}), known.get("RestartCount", 0)
            # What was started again has the state of its new start: how the one before ended is in the events of the engine.
            ends = self.ends(name, since) if again else []
            self.spared(name, self.process_of(known), state.get("Pid", 0), bool(state.get("OOMKilled")) or "oom" in ends)
            if state.get("Status") == "running" and not again:
                continue
            status = next((words.split()[1] for words in reversed(ends) if words.startswith("die ")), state.get("ExitCode"))
            how = state.get("Error") or f"status {status}"
            raise host.PhaseError(f"{name} died at its start ({how})" if known else f"there is no container {name}", *self.last_output(name))
        return ""

    def ends(self, name: str, since: float) -> list[str]:
        """Return the events of a container's ends since a time (seconds of the epoch): ``die`` with its status, and ``oom``."""
        shown = host.run(["docker", "events", "--since", str(int(since)), "--until", f"{time.time():.3f}", "--filter", f"container={name}",
                          "--filter", "event=die", "--filter", "event=oom", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}"],
                         check=False, timeout=20).stdout
        return [line.strip().removesuffix("<no value>").strip() for line in shown.splitlines() if line.strip()]

    def process_of(self, known: dict) -> dict:
        """Return the process of a container; empty for one that is not there, or whose process the model no longer has."""
        name = ((known.get("Config") or {}).get("Labels") or {}).get("quayside.process", "")
        return next((process for process in self.wanted() if process["name"] == name), {})

    def last_output(self, name: str) -> tuple[str, str]:
        """Return the last lines of a container's log, and the command that shows more, also when the container is gone."""
        return self.output(name), self.journal(self.process_of(self.known(name)).get("name", "*"))

    def journal(self, process: str) -> str:
        """Return the command that shows the log of a process, also when its container is gone."""
        tag = shlex.quote(f"{self.app['name']}-{process}")
        return f"journalctl --namespace={self.app['name']} -t {tag} -n 100 --no-pager"

    def heard(self, release: str, process: dict) -> str:
        """Return where a process listens inside its container when that is not where it is asked; empty where it is, or listens nowhere."""
        pid = self.known(compose_project.containers(self.app, release, [process])[0]).get("State", {}).get("Pid")
        if not process["tcp"] or not pid:
            return ""
        done = host.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ss", "-Htln"], check=False)
        return compose_project.misplaced(process, [line.split()[3] for line in done.stdout.splitlines() if len(line.split()) > 3])

    def output(self, name: str) -> str:
        """Return what a container printed, as far as it says why it ended, and what Docker's own health check last said."""
        done = host.run(["docker", "logs", "--tail", str(last_words.LINES), name], check=False)
        health = self.known(name).get("State", {}).get("Health") or {}
        last = (health.get("Log") or [{}])[-1].get("Output", "").strip().splitlines()[-1:]
        said = [f"Docker's health check: {health['Status']}{', last answer ' + last[0] if last else ''}"] if health else []
        return "\n".join([last_words.cause(done.stdout + done.stderr, host.LOG_LINES - 1), *said])

    def log(self, release: str, process: dict, _since: float) -> tuple[str, str]:
        """Return the last lines of a process's log, and the command that shows more."""
        return self.output(compose_project.containers(self.app, release, [process])[0]), self.journal(process["name"])

    def stop(self, release: str, wanted: list[str] | None = None, wait: bool = True) -> None:
        """Stop a release's containers, or some of them, and remove them when it is all. They end what they have begun, within their drain."""
        everything = wanted is None
        known = {name: self.known(name) for name in (self.members(release) if everything else wanted)}
        names = [name for name, found in known.items() if found]
        if not names:
            return
        # A server's queue is seen in its own network only, so each has a unit there; what serves nothing is stopped at once.
        servers = {compose_project.containers(self.app, release, [process])[0]: process for process in self.wanted("servers")}
        alone = {name: known[name]["State"]["Pid"] for name in names if name in servers and known[name].get("State", {}).get("Pid")}
        jobs = [([name], pid, [drain.script(servers[name], self.shelf.path(release, "run", f"{servers[name]['name']}.sock"), str(servers[name]["port"]))])
                for name, pid in alone.items()]
        others = [name for name in names if name not in alone]
        jobs += [(others, 0, [])] * bool(others)
        for mine, pid, before in jobs:
            steps = [*[OLD_EDGE] * everything, *before, *self.end(mine), *[f"docker rm --volumes {' '.join(mine)} >/dev/null"] * everything]
            self.background("stop", release, steps, wait=wait, network=f"/proc/{pid}/ns/net" if pid else "")

    @staticmethod
    def end(names: list[str]) -> list[str]:
        """Return the shell lines that stop containers: without the policy of the live release, so that nobody takes them for what an operator has stopped."""
        return [f"docker update --restart={supervisor.OTHER} {' '.join(names)} >/dev/null", f"docker stop {' '.join(names)} >/dev/null"] * bool(names)

    def restart_singles(self, release: str) -> None:
        """Make the containers of the single processes of a release anew: their files lie elsewhere now."""
        wanted = [key for process in self.wanted("singles") for key in compose_project.keys(process)]
        if wanted:
            host.run(self.compose(release, "up", "--detach", "--no-deps", "--no-build", *wanted), check=False)

    def replace(self, old: str, new: str, wanted: list[str]) -> None:
        """Start containers when a release's single processes are gone, in the background."""
        gone = [name for name in self.members(old, "singles") if self.known(name)]
        steps = self.end(gone) + [f"docker start {' '.join(wanted)}"] * bool(wanted)
        if steps:
            self.background("replace", new, steps)

    def revive(self, release: str) -> None:
        """Start all that a release has on this host; what runs goes on."""
        known = self.supervisor.containers()
        with contextlib.suppress(EngineError):
            self.supervisor.carry_out(release, supervisor.decide(self.shelf.units(release), known, {}, {one.release for one in known.values()}))
            docker_network.join(self.app, self.engine)

    def damage(self, release: str) -> list[str]:
        """Return what a kept release lacks, which its next start would need; empty for a whole one."""
        project = self.shelf.path(release, "compose.yaml")
        return [] if contained.is_file(project) else [f"{project} is gone"]

    def supervise(self, release: str) -> None:
        """Let Docker bring back what ends of the live release, and nothing of others."""
        wanted = self.shelf.units(release)
        for one in self.supervisor.containers().values():
            policy = supervisor.LIVE if one.name in wanted else supervisor.OTHER
            if one.policy != policy:
                with contextlib.suppress(EngineError):  # one that is being removed
                    self.supervisor.set_policy(one.name, policy)

    def enliven(self) -> None:
        """Let systemd know that the app runs: its unit starts what ``live`` names, now and at boot."""
        root = self.app["root"]
        host.link(f"{root}/compose.yaml", "live/compose.yaml")
        host.systemctl("start", "--no-block", "--", f"{self.app['name']}.service")

    def running(self) -> dict:
        """Return release -> containers of it that run, start or stop on this host, with their state in systemd's words."""
        listed = self.engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={self.app['name']}", "quayside.release"]})
        found: dict = {}
        for one in listed:
            state = STATES.get(one["State"], one["State"])
            if state not in ("inactive", "failed"):
                healthy = " (unhealthy)" if "(unhealthy)" in one["Status"] else ""
                found.setdefault(one["Labels"]["quayside.release"], {})[one["Names"][0].lstrip("/")] = state + healthy
        return found

    def describe(self, release: str) -> list[dict]:
        """Return what is known of each container of a release; ``state`` is Docker's, ``runs`` the same in systemd's words."""
        kills = cgroup.past_kills()
        return [self.described(name, kills) for name in self.shelf.units(release)]

    def describe_services(self) -> list[dict]:
        """Return the same of the containers of the app's database and cache."""
        listed = self.engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={self.app['name']}", "quayside.service"]})
        kills = cgroup.past_kills()
        return [dict(self.described(one["Names"][0].lstrip("/"), kills), process=one["Labels"]["quayside.service"]) for one in listed]

    def described(self, name: str, kills: dict) -> dict:
        """Return what is known of one container; ``kills`` as of ``cgroup.past_kills``."""
        known = self.known(name)
        state, config = known.get("State", {}), known.get("Config", {})
        volumes = [mount["Destination"] for mount in known.get("Mounts") or [] if mount.get("Type") == "volume" and ANONYMOUS.match(mount.get("Name", ""))]
        return self.seen(self.process_of(known).get("name", ""), state.get("Pid", 0), kills.get(known.get("Id", ""), 0), name=name,
                         state=state.get("Status", "missing"),
                         runs=STATES.get(state.get("Status", ""), "missing"), health=(state.get("Health") or {}).get("Status", ""),
                         status=state.get("ExitCode", 0), image=config.get("Image", ""), since=state.get("StartedAt", "")[:19],
                         restarts=known.get("RestartCount", 0), killed=bool(state.get("OOMKilled")), volumes=volumes)

    def base_ages(self, release: str) -> dict:
        found = {}
        for name, image in self.shelf.record(release).get("images", {}).items():
            with contextlib.suppress(EngineError):
                found[name] = base_age(self.engine.get(f"/images/{image['ref']}/history"), time.time())
        return {name: days for name, days in found.items() if days is not None}

    def prune(self, records: dict, before: str) -> list[str]:
        """Remove containers and images that no kept release needs; return notes. ``before``: the release that may have to come back."""
        self.remove_leftovers({self.shelf.live(), max(records, default=""), before})
        repositories = sorted({image["repository"] for image in self.app["images"]})
        needed = {one["ref"]: f"release {release} needs it" for release, record in records.items() for one in record.get("images", {}).values()}
        try:
            result = image_prune.run(self.engine, repositories, self.app["keep"], lambda: needed, app=self.app["name"], measure=False)
        except (EngineError, image_prune.PruneError) as error:
            return [f"warning: images were not pruned: {error}"]
        notes = [f"warning: the image {one['name']} was not removed: {one['message']}" for one in result["refused"]]
        return notes + ([f"{len(result['removed'])} old images removed"] if result["removed"] else [])

    def remove_leftovers(self, busy: set) -> None:
        """Remove the stopped containers of all releases but the ``busy`` ones."""
        listed = self.engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={self.app['name']}", "quayside.release"],
                                                                        "status": ["exited", "created", "dead"]})
        for one in listed:
            if one["Labels"]["quayside.release"] not in busy:
                with contextlib.suppress(EngineError):
                    self.engine.delete(f"/containers/{one['Id']}", v=True)

    def memory(self) -> int:
        """Return the bytes of memory that the app's containers take together."""
        total = 0
        for found in self.running().values():
            for name in found:
                stats = self.engine.get(f"/containers/{name}/stats", stream=False, **{"one-shot": True}).get("memory_stats", {})
                total += stats.get("usage", 0) - stats.get("stats", {}).get("total_inactive_file", stats.get("stats", {}).get("inactive_file", 0))
        return total
