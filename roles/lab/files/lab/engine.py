# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker CLI, and the names by which one checkout knows its own things."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path


class LabError(Exception):
    """Something that the user has to know, with what to do about it."""


def docker(*argv, given=None, check=True):
    """Run the docker CLI.

    :param argv: the arguments, strings.
    :param given: bytes for its stdin.
    :param check: raise LabError when it fails.
    :returns: what it wrote to stdout, stripped; None where it failed and check is false.
    """
    try:
        done = subprocess.run(["docker", *argv], input=given, capture_output=True, stdin=None if given else subprocess.DEVNULL)
    except FileNotFoundError:
        raise LabError("There is no docker command here. Type: scripts/engine") from None
    if done.returncode == 0:
        return done.stdout.decode().strip()
    if not check:
        return None
    reason = done.stderr.decode().strip()
    if "Cannot connect to the Docker daemon" in reason or "permission denied" in reason:
        raise LabError(f"The Docker engine does not answer ({reason}). Type: scripts/engine")
    raise LabError(f"docker {argv[0]} failed: {reason}")


class Lab:
    """Names of one checkout's lab; its id is a hash of the checkout's path, so that two checkouts do not meet."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.id = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        self.prefix = f"quayside-lab-{self.id}"
        self.label = f"quayside.lab={self.id}"
        self.stage = f"quayside.stage={self.id}"
        self.network = self.prefix
        self.git = f"{self.prefix}-git"
        self.services = f"{self.prefix}-services"
        self.key = self.folder / "key"

    def container(self, environment, name):
        """:returns: the name of a server's container."""
        return f"{self.prefix}-{environment}-{name}"

    def image(self, tag):
        """:returns: the full name of an image of this checkout."""
        return f"{self.prefix}:{tag}"

    def known_hosts(self, environment):
        """:returns: the folder that holds the host key of each server of an environment, a file per server."""
        return self.folder / "known_hosts" / environment

    def containers(self):
        """:returns: {name: what `docker inspect` says} of all containers of this checkout, running or not."""
        ids = docker("ps", "-aq", "--no-trunc", "--filter", f"label={self.label}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {one["Name"].lstrip("/"): one for one in found}

    def images(self):
        """:returns: full names of all images of this checkout."""
        return docker("images", self.prefix, "--format", "{{.Repository}}:{{.Tag}}").split()


def address_of(container, network):
    """:returns: the fixed address that a container was made with (kept while it is stopped), or ''."""
    attached = container["NetworkSettings"]["Networks"].get(network) or {}
    return (attached.get("IPAMConfig") or {}).get("IPv4Address") or attached.get("IPAddress") or ""
