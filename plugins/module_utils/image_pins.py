# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the edge and of the services of apps, by digest: a tag that moves, in the registry or on the host, changes nothing until somebody says so.

What each tag stands for is kept in a file of root's on the host. A tag that stands in there is not looked up again; ``update`` does that.
"""
from __future__ import annotations

import contextlib
import json
import re

from ansible_collections.quayside.django.plugins.module_utils import host
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

PATH = "/etc/quayside/images.json"
FIXED = re.compile(r"(^|@)sha256:[0-9a-f]{64}\Z")
HUB = re.compile(r"^(docker\.io/|index\.docker\.io/)?(library/)?")


class PinError(Exception):
    """An image that could not be had; the text says which, why, and what to do."""


def repository(name: str) -> str:
    """Return an image's name without its tag: ``registry.example.com:5000/nginx:alpine`` is ``registry.example.com:5000/nginx``."""
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def tagged(name: str) -> str:
    """Return a name with the tag that it means."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def own_digest(name: str, found: dict) -> str:
    """Return the reference by digest of an image on this host, empty when it did not come from the registry of its name.

    An image that was built or loaded has no digest, whatever it is called.
    """
    wanted = HUB.sub("", repository(name))
    return next((f"{repository(name)}@{digest.partition('@')[2]}" for digest in found.get("RepoDigests") or []
                 if HUB.sub("", digest.partition("@")[0]) == wanted and FIXED.search(digest)), "")


def read(path: str = PATH) -> dict:
    """Return tag -> reference, as this host has them."""
    with contextlib.suppress(ValueError):
        found = json.loads(host.text(path) or "{}")
        if isinstance(found, dict):
            return {str(name): str(reference) for name, reference in found.items() if FIXED.search(str(reference))}
    return {}


def text(pins: dict) -> str:
    """Return the text of the file."""
    return json.dumps(pins, indent=1, sort_keys=True) + "\n"


class Pins:
    """What tags stand for on this host. ``update``: ask the registry anew for all of them."""

    def __init__(self, update: bool = False, path: str = PATH, engine: Engine | None = None):
        self.update, self.path = update, path
        self.engine = engine or Engine(timeout=900)
        self.before = read(path)
        self.after = dict(self.before)

    def inspect(self, reference: str) -> dict:
        """Return what the engine knows of an image, empty when it is not here; raises EngineError."""
        try:
            return self.engine.get(f"/images/{reference}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise

    def reference(self, name: str) -> str:
        """Return the reference by which an image runs here: a digest; its id where no registry knows it. Raise PinError, EngineError."""
        if FIXED.search(name):
            return name
        name = tagged(name)
        if self.update or name not in self.before:
            self.after[name] = self.resolve(name)
        return self.after[name]

    def resolve(self, name: str) -> str:
        """Return what a tag stands for: on this host, if it came from its registry, else in the registry, else the image of that name that is here."""
        there = self.inspect(name)
        known = own_digest(name, there)
        if known and not self.update:
            return known
        try:
            found = self.engine.call("GET", f"/distribution/{name}/json", timeout=60)
            return f"{repository(name)}@{found['Descriptor']['digest']}"
        except EngineError as error:
            if there and name not in self.before:
                return known or there["Id"]
            raise PinError(f"what {name} stands for could not be asked ({error.message}): does this host reach its registry, and is the name right?") from error

    def here(self, name: str) -> bool:
        """Return True when an image is on this host as it is to run."""
        return bool(self.inspect(self.reference(name)))

    def pull(self, name: str) -> bool:
        """Have an image on this host; return True when it was pulled. Raise PinError."""
        reference = self.reference(name)
        if self.inspect(reference):
            return False
        if reference.startswith("sha256:"):
            raise PinError(f"the image {reference[:19]} that {name} stands for here is gone, and it came from no registry: load it again, or say what runs "
                           "instead by -e images_update=true")
        try:
            said = self.engine.call("POST", "/images/create", {"fromImage": reference.partition("@")[0], "tag": reference.partition("@")[2]}) or ""
        except EngineError as error:
            raise PinError(refused(name, reference, error.message)) from error
        for line in str(said).splitlines():
            with contextlib.suppress(ValueError):
                words = json.loads(line)
                if isinstance(words, dict) and "error" in words:
                    raise PinError(refused(name, reference, words["error"]))
        if not self.inspect(reference):
            raise PinError(refused(name, reference, "the engine pulled something else"))
        return True

    def changes(self) -> dict:
        """Return tag -> (reference before, reference after) of what is new or another one; the first is empty for what is new."""
        return {name: (self.before.get(name, ""), reference) for name, reference in self.after.items() if self.before.get(name) != reference}

    def diff(self) -> list[dict]:
        """Return the diff of the file."""
        if not self.changes():
            return []
        return [{"before_header": self.path, "after_header": self.path, "before": text(self.before) if self.before else "", "after": text(self.after)}]

    def save(self) -> None:
        """Write the file, if it differs."""
        if self.changes():
            host.folder(self.path.rpartition("/")[0], 0o755)
            host.write(self.path, text({**read(self.path), **{name: after for name, (_before, after) in self.changes().items()}}))


def refused(name: str, reference: str, why: str) -> str:
    """Return that an image could not be pulled, and what to do."""
    return (f"the image {name} ({reference.partition('@')[2][:19]}) could not be pulled ({why}): does this host reach its registry? If the registry has it no "
            "longer, take the one of today by -e images_update=true")


def lines(changes: dict) -> list[str]:
    """Return changes for people: tag, digest before, digest after."""
    def short(reference):
        return reference.rpartition("@")[2][:19] or "not pinned"
    return [f"{name}: {short(before)} -> {short(after)}" for name, (before, after) in sorted(changes.items())]
