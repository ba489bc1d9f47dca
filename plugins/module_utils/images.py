# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of an app on a host: found in a registry, built from its source, or loaded from an archive.

``resolve`` says what a version is without changing anything; ``provide`` brings what is not there yet. A login is sent with each request to
the engine, or kept in memory for a build: no password is ever on the host's disk or in its process list.
"""
from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import (
    builder,
    contained,
    deploy_key,
    host,
    image_archive,
    log_hints,
    progress,
    releases,
    ssh_agent,
)
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

DIGEST = re.compile(r"^sha256:[0-9a-f]{64}\Z")
TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
LOADED = re.compile(r"Loaded image ID: (sha256:[0-9a-f]{64})")
LIMITED = re.compile(r"toomanyrequests|too many requests|rate limit", re.I)
PEP440 = re.compile(r"^v?([0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?)\Z")
YEAR_2000 = 946684800
BUILD_SECONDS = 3600
VERBS = {"registry": "is pulled", "archive": "is loaded", "build": "is built"}
STEP = re.compile(r"^#\d+ \[([^\]]*\d+/\d+)\] (.*)")  # of BuildKit


class Images:
    """The images of one app. ``secrets`` are its secret variables, of which a build may name some; ``rebuilt`` says when its dependencies were last taken
    anew because somebody asked for it, empty for never, and ``fresh`` whether that is now; ``source_key`` is the deploy key, which a build may be lent;
    ``told`` tells where a run is."""

    def __init__(self, app: dict, secrets: dict, registry_password: str = "", rebuilt: str = "", fresh: bool = False, source_key: str = "", told=None):
        self.app, self.secrets, self.password = app, secrets, registry_password
        self.rebuilt, self.fresh, self.source_key = rebuilt, fresh, source_key
        self.progress = told or progress.Progress()
        self.engine = Engine(timeout=1800)
        self.builder = ""  # the socket of the app's builder, while it runs

    # What a version is

    def resolve(self, version: str, sha: str) -> dict:
        """Return image name -> what identifies it: ``ref`` by which containers name it, ``id`` or ``digest``. Nothing is pulled or built.

        ``sha`` is the commit or the hash of the source, for what is built.
        """
        finders = {"registry": lambda image: self.in_registry(image, version), "archive": self.in_archive,
                   "build": lambda image: self.to_build(image, sha)}
        return {image["name"]: finders[image["from"]](image) for image in self.app["images"]}

    def in_registry(self, image: dict, version: str) -> dict:
        """Return the digest behind a tag. A digest as version, or one that is here already, needs no registry."""
        repository = image["repository"]
        tag = version if DIGEST.match(version) else image["tag"].replace("{version}", version)
        if DIGEST.match(tag):
            return {"ref": f"{repository}@{tag}", "digest": tag, "tag": ""}
        if not TAG.match(tag):
            raise host.PhaseError(f"{tag!r} is no tag of an image: letters, digits, dots, dashes and _, at most 128; or a digest, sha256:…")
        try:
            found = self.engine.call("GET", f"/distribution/{repository}:{tag}/json", headers=self.login_header(), timeout=60)
        except EngineError as error:
            raise host.PhaseError(self.refusal(repository, tag, error), look=f"docker manifest inspect {repository}:{tag}") from error
        digest = found["Descriptor"]["digest"]
        return {"ref": f"{repository}@{digest}", "digest": digest, "tag": tag}

    def refusal(self, repository: str, tag: str, error: EngineError) -> str:
        """Return why a registry gave nothing, and what to do."""
        said = error.message
        who = self.app["registry"]["user"]
        if error.status == 0 and "does not answer" in said:
            return said
        if error.status == 429 or LIMITED.search(said):
            return f"the registry of {repository}:{tag} gave nothing ({said}): {log_hints.hint('toomanyrequests', self.app)}"
        if re.search(r"unauthorized|denied|no basic auth|authentication required|incorrect username", said, re.I) or error.status in (401, 403):
            if who:
                return (f"the registry refused {repository}:{tag} to the user {who} ({said}): is the secret REGISTRY_PASSWORD right, may {who} read it, "
                        "and is there such a repository?")
            return f"the registry refused {repository}:{tag} without a login ({said}): set registry.user, and REGISTRY_PASSWORD in secrets"
        if re.search(r"not found|manifest unknown|name unknown", said, re.I) or error.status == 404:
            return f"there is no image {repository}:{tag} ({said}): was it pushed? Name another one with -e version=…"
        return (f"the registry of {repository} does not answer as it should ({said}): is it up, is its name right, and does this host trust its certificate "
                "(docker_registry_certificates)?")

    def login_header(self) -> dict:
        """Return the header by which the engine logs in, empty without a login."""
        registry = self.app["registry"]
        if not registry["user"]:
            return {}
        login = {"username": registry["user"], "password": self.password, "serveraddress": registry["server"]}
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}

    def archive_path(self, image: dict) -> str:
        """Return where an archive lies that was sent to this host."""
        return f"{self.app['source_cache']}/archives/{image['name']}.tar"

    def in_archive(self, image: dict) -> dict:
        """Return the id of the one image in an archive of ``docker save``."""
        with self.judged(image) as (_tar, found):
            digest = found.image.split(":")[1]
            return {"ref": f"{image['repository']}:{digest[:12]}", "id": found.image, "tag": digest[:12]}

    @contextlib.contextmanager
    def judged(self, image: dict):
        """Yield an archive that was sent here and what it holds; raise PhaseError. What is yielded is what was judged: one open file, read from there."""
        try:
            with image_archive.opened(self.archive_path(image)) as file, image_archive.entered(file) as tar:
                found = image_archive.contents(tar)
                yield tar, found
        except FileNotFoundError as error:
            raise host.PhaseError(f"{image['archive']} has not been sent to this host: deploy by quayside.django.deploy, which does it") from error
        except image_archive.ArchiveError as error:
            raise host.PhaseError(f"{image['archive']} {error}") from error

    def to_build(self, image: dict, sha: str) -> dict:
        """Return the name that an image will have when it is built from a source: another one for other arguments."""
        inputs = releases.fingerprint([sha, image["context"], image["dockerfile"], image["target"], image["args"], *[self.rebuilt] * bool(self.rebuilt)])
        tag = f"{sha[:12]}-{inputs[:6]}"
        return {"ref": f"{image['repository']}:{tag}", "tag": tag, "inputs": inputs}

    # What brings it here

    def provide(self, found: dict, code: str, sha: str, version: str) -> list[str]:
        """Bring all images of a release here, as ``resolve`` has found them; return notes."""
        makers = {"registry": lambda image, one: self.pull(one), "archive": self.load, "build": lambda image, one: self.build(image, one, code, sha, version)}
        missing = [image for image in self.app["images"] if not self.here(found[image["name"]])]
        building = any(image["from"] == "build" for image in missing)
        with builder.running(self.app, self.engine, BUILD_SECONDS * len(missing) + 600) if building else contextlib.nullcontext("") as self.builder:
            return [self.provided(image, found[image["name"]], makers[image["from"]]) for image in missing]

    def provided(self, image: dict, one: dict, make: Callable) -> str:
        """Bring one image here by ``make``; return its note."""
        self.progress.step(f"image {image['name']} {VERBS[image['from']]}")
        return make(image, one)

    def inspect(self, reference: str) -> dict:
        """Return what the engine knows of an image, empty when it is not here."""
        try:
            return self.engine.get(f"/images/{reference}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise

    def in_containerd(self) -> bool:
        """Return whether the engine keeps its images in containerd, the default of new ones: it knows them by the digest of their manifest."""
        return ["driver-type", "io.containerd.snapshotter.v1"] in (self.engine.get("/info").get("DriverStatus") or [])

    def here(self, one: dict) -> bool:
        """Return True when an image is on this host already, the very same."""
        there = self.inspect(one["ref"])
        if "id" in one:
            # Where containerd keeps images, the engine's id is that of the manifest; the tag, which only ``load`` gives, holds the id of the configuration.
            return there.get("Id") == one["id"] or (bool(there) and self.in_containerd())
        if "inputs" in one:
            return ((there.get("Config") or {}).get("Labels") or {}).get("quayside.inputs") == one["inputs"]
        return bool(there)

    def pull(self, one: dict) -> str:
        """Pull an image by its digest; give it its tag too, for people."""
        repository, digest = one["ref"].rsplit("@", 1)
        try:
            said = self.engine.call("POST", "/images/create", {"fromImage": repository, "tag": digest}, headers=self.login_header()) or ""
        except EngineError as error:
            raise host.PhaseError(self.refusal(repository, one["tag"] or digest, error)) from error
        for line in str(said).splitlines():
            with contextlib.suppress(ValueError):
                words = json.loads(line)
                if "error" in words:
                    raise host.PhaseError(self.refusal(repository, one["tag"] or digest, EngineError(500, words["error"])))
        if one["tag"]:
            self.engine.post(f"/images/{one['ref']}/tag", repo=repository, tag=one["tag"])
        return f"pulled {repository}:{one['tag'] or digest[:19]}"

    def load(self, image: dict, one: dict) -> str:
        """Load the image of an archive, without any name that it brings along, and give it the name by which containers know it."""
        with self.judged(image) as (tar, found):
            if found.image != one["id"]:
                raise host.PhaseError(f"{image['archive']} has changed since this deploy began: deploy again")
            parts, size = image_archive.plan(found)
            answer = self.engine.call("POST", "/images/load", {"quiet": True}, body=image_archive.stream(tar, parts),
                                      headers={"Content-Type": "application/x-tar", "Content-Length": str(size)})
        # An image without a name is told by its id, which is that of its manifest where containerd keeps it.
        ids = LOADED.findall(json.dumps(answer))
        there = self.inspect(ids[0]) if ids else {}
        if tuple((there.get("RootFS") or {}).get("Layers") or ()) != found.diff_ids:
            raise host.PhaseError(f"{image['archive']} was loaded, and its image {one['id'][:19]} is not there", str(answer or ""),
                                  "journalctl -u docker -n 30")
        self.engine.post(f"/images/{ids[0]}/tag", repo=image["repository"], tag=one["tag"])
        others = image_archive.foreign(found, image["repository"])
        return f"loaded {image['archive']}" + (f", without the names that it brings along: {', '.join(others)}" if others else "")

    def build(self, image: dict, one: dict, code: str, sha: str, version: str) -> str:
        """Build an image from the code of a release; raise PhaseError with the last lines of its log."""
        context = "/".join(part for part in (code, image["context"]) if part)
        dockerfile = f"{context}/{image['dockerfile']}"
        for path in (context, dockerfile):
            if not os.path.realpath(path).startswith(os.path.realpath(code)):
                raise host.PhaseError(f"images[{image['name']}]: {os.path.relpath(path, code)} leads out of the source by a link")
        if not os.path.isfile(dockerfile):
            raise host.PhaseError(f"images[{image['name']}]: {version} has no {os.path.relpath(dockerfile, code)}: set context and dockerfile in the app model")
        labels = {"quayside.app": self.app["name"], "quayside.inputs": one["inputs"], "org.opencontainers.image.revision": sha,
                  "org.opencontainers.image.version": version}
        argv = ["docker", "buildx", "build", "--load", "--progress=plain", "--tag", one["ref"], "--file", dockerfile]
        argv += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        argv += ["--target", image["target"]] if image["target"] else []
        argv += ["--no-cache", "--pull"] if self.fresh else []
        # Values travel in the environment: an argument is seen by every user of the host.
        arguments = {**version_arguments(version, sha), **{key: str(value) for key, value in image["args"].items()}}
        argv += [word for key in arguments for word in ("--build-arg", key)]
        secrets = {f"QUAYSIDE_BUILD_{number}": (name, self.secrets[name]) for number, name in enumerate(image["secrets"])}
        argv += [word for variable, (name, _value) in secrets.items() for word in ("--secret", f"id={name},env={variable}")]
        with self.docker_config() as config, self.lent_key() as lent:
            argv += lent
            env = {**host.LOCALE, **arguments, **{variable: value for variable, (_name, value) in secrets.items()},
                   "DOCKER_CONFIG": config, "DOCKER_HOST": f"unix://{self.builder}", "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
            try:
                done = host.watched([*argv, context], lambda line: self.step_of(image, line), BUILD_SECONDS, env)
            except subprocess.TimeoutExpired as error:
                raise host.PhaseError(f"the build of images[{image['name']}] did not end within {BUILD_SECONDS // 60} minutes") from error
        if done.returncode:
            hint = deploy_key.hint(self.app, done.stdout)
            raise host.PhaseError(f"the image {image['name']} could not be built ({image['dockerfile']} in {image['context'] or 'the root of the source'})"
                                  + (f": {hint}" if hint else ""),
                                  readable(done.stdout), f"cd {context} && docker build -f {dockerfile} .", lines=host.BUILD_LINES)
        builder.hand_over(self.builder, one["ref"], self.engine.socket)
        if not self.here(one):
            raise host.PhaseError(f"the image {image['name']} was built, and is not the one that was asked for", look=f"docker image inspect {one['ref']}")
        Engine(self.builder).delete(f"/images/{one['ref']}", force=True)  # its layers stay in the builder's cache
        return f"built {one['ref']}"

    def step_of(self, image: dict, line: str) -> None:
        """Tell the step of a Dockerfile that a line of BuildKit begins."""
        step = STEP.match(line)
        if step:
            self.progress.step(f"image {image['name']} {step[1].strip()}: {step[2]}")

    @contextlib.contextmanager
    def lent_key(self):
        """Yield the words by which a build is lent the deploy key, none where the app model does not say so; its agent ends afterwards."""
        if not self.app["source"]["build_ssh"]:
            yield []
            return
        with deploy_key.lent(self.app, self.source_key, BUILD_SECONDS + 60) as folder:
            yield ["--ssh", f"default={folder}/{ssh_agent.SOCKET}", "--secret", f"id={deploy_key.KNOWN_HOSTS},src={folder}/{deploy_key.KNOWN_HOSTS}"]

    @contextlib.contextmanager
    def docker_config(self):
        """Yield a folder for docker's configuration, in memory, logged in when the app has a registry; it is gone afterwards."""
        folder = tempfile.mkdtemp(prefix="quayside-docker-", dir="/run")
        try:
            registry = self.app["registry"]
            if registry["user"]:
                argv = ["docker", "--config", folder, "login", "--username", registry["user"], "--password-stdin",
                        *[registry["server"]] * bool(registry["server"])]
                done = subprocess.run(argv, check=False, input=self.password, capture_output=True, text=True, errors="replace", env=host.LOCALE, timeout=60)
                if done.returncode:
                    raise host.PhaseError(f"the login of {registry['user']} at {registry['server'] or 'Docker Hub'} was refused: is REGISTRY_PASSWORD right?",
                                          done.stderr.replace(self.password, "***"))
            yield folder
        finally:
            contained.remove(folder)

    # What else is done with them

    def copy_out(self, reference: str, path: str, stream) -> None:
        """Write a folder of an image into ``stream`` as a tar; the container that this takes never runs."""
        made = self.engine.post("/containers/create", {"Image": reference, "Cmd": ["true"], "Labels": {"quayside.app": self.app["name"]}})["Id"]
        try:
            self.engine.download(f"/containers/{made}/archive", stream, path=f"{path.rstrip('/')}/.")
        except EngineError as error:
            raise host.PhaseError(f"the image {reference} has no folder {path}: set folder in frontends", error.message) from error
        finally:
            self.engine.delete(f"/containers/{made}", force=True, v=True)


def version_arguments(version: str, sha: str) -> dict:
    """Return the build arguments that say the version, by the names under which tools look for it where there is no history of git.

    Those tools want a version as PEP 440 has it; a branch or a commit is none.
    """
    found = PEP440.match(version)
    packaged = found[1] if found else f"0.0.0+g{sha[:7]}"
    return {"QUAYSIDE_VERSION": version, "QUAYSIDE_COMMIT": sha,
            **dict.fromkeys(("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "POETRY_DYNAMIC_VERSIONING_BYPASS"), packaged)}


def base_age(history: list[dict], now: float) -> int | None:
    """Return the days since the oldest layer of an image was made, that of its base; None where no layer says when. ``history``: as Docker has it."""
    made = [entry.get("Created") or 0 for entry in history]
    known = [seconds for seconds in made if seconds > YEAR_2000]  # builds that are to be the same each time give all layers the year 1970
    return int((now - min(known)) // 86400) if known else None


def readable(log: str) -> str:
    """Return the log of BuildKit without its progress."""
    kept = [re.sub(r"^#\d+ (\d+\.\d+ )?", "", line) for line in log.splitlines()]
    return "\n".join(line for line in kept if line.strip() and not re.match(r"(sha256:|DONE|CACHED|\.\.\.|extracting|transferring)", line))
