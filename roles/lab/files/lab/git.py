# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's git server: one more container, for the versions of the examples."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import image
import network
from engine import LabError, address_of, docker

PORT = 9418
DAEMON = ["git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack", "--base-path=/srv/git", "/srv/git"]


def source_hash(command):
    """:returns: a hash of all files beside the command that makes a repository, or '' where there is no such command."""
    command = Path(command)
    if not command.is_file():
        return ""
    digest = hashlib.sha256()
    for path in sorted(command.parent.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(command.parent)}\0{path.stat().st_mode}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def stamp(lab, name):
    """:returns: the file that says what the git server's copy of a repository was made from."""
    return lab.folder / "git" / f"{name}.stamp"


def stale(lab, repositories, running):
    """:returns: those of the repositories that have to be made, all of them where no git server runs yet."""
    found = []
    for one in repositories:
        made_from = source_hash(one["command"])
        known = stamp(lab, one["name"])
        if made_from and not (running and known.exists() and known.read_text() == made_from):
            found.append(one)
    return found


def running(containers, lab):
    """:returns: True where the git server is up and made from the image of today."""
    one = containers.get(lab.git)
    return bool(one and one["State"]["Running"] and one["Config"]["Image"] == lab.image(image.tag_of("git")))


def ensure(lab, containers):
    """Have the git server run.

    :returns: its address.
    """
    subnet = network.ensure(lab)
    address = str(subnet[network.GIT_HOST])
    if not running(containers, lab):
        docker("rm", "-f", "-v", lab.git, check=False)
        docker(
            "run", "-d", "--init", "--name", lab.git, "--hostname", "git", "--network", lab.network, "--ip", address,
            "--label", lab.label, "--label", "quayside.role=git", lab.image(image.tag_of("git")),
            "sh", "-c", f"mkdir -p /srv/git && git config --system safe.directory '*' && exec {' '.join(DAEMON)}",
        )  # fmt: skip
        listens(lab)
    return address


def listens(lab):
    """Return as soon as the daemon accepts, asked inside the container since its address may be out of reach from here."""
    give_up = time.monotonic() + 20
    while docker("exec", lab.git, "nc", "-z", "127.0.0.1", str(PORT), check=False) is None:
        if time.monotonic() > give_up:
            raise LabError(f"The git server does not listen:\n{docker('logs', '--tail', '10', lab.git, check=False)}")
        time.sleep(0.1)


def refresh(lab, repository):
    """Make a repository by its command and put it on the git server in one step, in the place of the old one."""
    name, command = repository["name"], Path(repository["command"])
    folder = stamp(lab, name).parent
    bare = folder / f"{name}.git"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(bare, ignore_errors=True)
    stamp(lab, name).unlink(missing_ok=True)
    made_from = source_hash(command)
    author = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
              (("NAME", "quayside lab"), ("EMAIL", "lab@example.com"))}  # fmt: skip
    done = subprocess.run([str(command), str(bare)], capture_output=True, env={**author, **os.environ})
    if done.returncode or not (bare / "HEAD").exists():
        raise LabError(f"{command} made no repository: {(done.stderr or done.stdout).decode()[-2000:].strip()}")
    new = f"/srv/git/.{name}.new"
    docker("exec", lab.git, "rm", "-rf", new)
    docker("cp", str(bare), f"{lab.git}:{new}")
    swap = f"chown -R root:root {new} && rm -rf /srv/git/{name}.git && mv {new} /srv/git/{name}.git"
    docker("exec", lab.git, "sh", "-c", swap)
    stamp(lab, name).write_text(made_from)


def reach(lab, containers):
    """:returns: `direct` where this machine reaches the addresses of containers, else `proxy` (Docker Desktop)."""
    one = containers.get(lab.git)
    address = address_of(one, lab.network) if one else ""
    try:
        socket.create_connection((address, PORT), timeout=1).close()
    except OSError:
        return "proxy"
    return "direct"
