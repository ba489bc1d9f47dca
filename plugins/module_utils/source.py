# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of an app on a host: a mirror of its git repository, or a folder that was sent. Git runs as an account of its own in a sandbox (``git_mirror``)."""
from __future__ import annotations

import hashlib
import os
import stat
import tarfile

from ansible_collections.quayside.django.plugins.module_utils import contained, git_mirror, host, sandbox, units

COMMIT = git_mirror.COMMIT
SECONDS = 900  # a first fetch of a repository of a few GiB
READ = ("pyproject.toml",)
EXAMPLES = ("example", "sample", "template", "dist", "default", "defaults", "test", "ci")
shown = git_mirror.shown


class Source:
    """The repository of an app; its mirror is a cache that may be removed at any time. ``key`` is the private key that may read it."""

    def __init__(self, app: dict):
        self.app = app
        self.repo = app["source"]["repo"]
        self.folder = f"{app['source_cache']}/git"
        self.key = ""
        self.files: dict = {}
        self.env_files: list[str] = []  # what is committed is meant so

    def unit(self, verb: str) -> sandbox.Unit:
        """Return the unit of a git command."""
        return sandbox.Unit(units.helper(self.app, verb, str(os.getpid())), sandbox.GIT_USER, "/", SECONDS, sandbox.git(self.folder))

    def resolve(self, version: str) -> dict:
        """Bring the mirror up to date and return what a version is; raise PhaseError."""
        for folder in (os.path.dirname(self.app["source_cache"]), self.app["source_cache"]):
            contained.folder(folder, 0o711)
        sandbox.leaf(self.folder, sandbox.GIT_USER)
        names = {name: "/".join(part for part in (self.app["source"]["subdir"], name) if part) for name in READ}
        # The key goes by standard input into the memory of that one command: it is in no file, no argument and no variable of this host.
        request = {"do": "resolve", "folder": self.folder, "repo": self.repo, "version": version, "read": list(names.values()), "key": self.key,
                   "without": self.app["source"]["without"]}
        answer = sandbox.program(self.unit("fetch"), git_mirror, request)
        if not COMMIT.match(answer["sha"]):
            raise host.PhaseError(f"git gave no commit for {version}")
        self.files = {name: answer["files"].get(path, "") for name, path in names.items()}
        return {"sha": answer["sha"], "repo": shown(self.repo)}

    def read(self, name: str) -> str:
        """Return the text of one of ``READ`` under the app's root at the version that was resolved, empty when there is none."""
        return self.files.get(name, "")

    def send(self, record: dict, stream) -> None:
        """Write the tree of a release's commit into ``stream`` as a tar; raise PhaseError."""
        with sandbox.started(self.unit("export"), git_mirror, {"do": "archive", "folder": self.folder, "sha": record["sha"]}) as process:
            for chunk in iter(lambda: process.stdout.read(1 << 20), b""):
                stream.write(chunk)


class Folder:
    """A folder of the controller that rsync has brought to this host. It lies where only root writes."""

    def __init__(self, app: dict):
        self.app = app
        self.folder = f"{app['source_cache']}/source"
        self.env_files: list[str] = []

    def resolve(self, version: str) -> dict:
        """Return what was sent: a hash of the tree, and as ``version`` its beginning when none is given; raise PhaseError when nothing has been sent."""
        if not contained.is_folder(self.folder):
            raise host.PhaseError(f"{self.app['source']['folder']} has not been sent to this host: deploy by quayside.django.deploy, which does it")
        digest = tree_hash(self.folder)
        self.env_files = sorted(path for path, _handle, _name, have in contained.walk(self.folder) if stat.S_ISREG(have.st_mode) and is_env_file(path))
        return {"sha": version if COMMIT.match(version) else digest, "tree": digest, "version": version or digest[:12],
                "repo": self.app["source"]["folder"]}

    def read(self, name: str) -> str:
        """Return the text of a file under the app's root, empty when there is none."""
        return text_inside(self.folder, "/".join(part for part in (self.app["source"]["subdir"], name) if part), git_mirror.FILE_LIMIT) or ""

    def read_file(self, path: str) -> str | None:
        """Return the text of a file of the folder, None when there is none."""
        return text_inside(self.folder, path, git_mirror.FILE_LIMIT)

    def send(self, _record: dict, stream) -> None:
        """Write what was sent into ``stream`` as a tar, with the modes of a checkout: here, nobody but root opens it."""
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for relative, handle, name, have in contained.walk(self.folder):
                member = tarfile.TarInfo(relative)
                member.mode = 0o755 if stat.S_ISDIR(have.st_mode) or have.st_mode & 0o100 else 0o644
                member.mtime = int(have.st_mtime)
                if stat.S_ISLNK(have.st_mode):
                    member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=handle)
                    tar.addfile(member)
                elif stat.S_ISDIR(have.st_mode):
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
                elif stat.S_ISREG(have.st_mode):
                    with os.fdopen(os.open(name, contained.FILE_FLAGS, dir_fd=handle), "rb") as file:
                        member.size = os.fstat(file.fileno()).st_size
                        tar.addfile(member, file)


def is_env_file(path: str) -> bool:
    """Return whether a file is one of variables and secrets of a person's own machine, not an example of one."""
    name = path.rpartition("/")[2]
    return name == ".env" or (name.startswith(".env.") and name.rpartition(".")[2] not in EXAMPLES)


def text_inside(folder: str, path: str, limit: int) -> str | None:
    """Return the text of a file under ``folder``, None when there is none; raise PhaseError for what is no file, or has more than ``limit`` bytes.

    A link is followed by its text and inside ``folder`` only, never by the kernel, since who pushes a branch chooses where it leads.
    """
    todo, done, links = path.split("/"), [], 0
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return None
            done.pop()
            continue
        here = "/".join([folder, *done, part])
        have = contained.state(here)
        if have is None:
            return None
        if stat.S_ISLNK(have.st_mode):
            links += 1
            with contained.parent(here) as (handle, name):
                target = os.readlink(name, dir_fd=handle)
            if links > git_mirror.LINKS or target.startswith("/"):
                raise host.PhaseError(f"{path} is a link that leads to {target}: only links to files of the source are followed")
            todo = target.split("/") + todo
            continue
        if todo and not stat.S_ISDIR(have.st_mode):
            return None
        done.append(part)
    try:
        return contained.read("/".join([folder, *done]), limit).decode("utf-8", "replace") if done else None
    except contained.ContainedError as error:
        raise host.PhaseError(f"{path} in the source: {error.strerror}") from error


def tree_hash(folder: str) -> str:
    """Return a hash of all names, modes and contents below a folder."""
    digest = hashlib.sha256()
    for relative, handle, name, have in contained.walk(folder):
        if stat.S_ISDIR(have.st_mode):
            continue
        link = stat.S_ISLNK(have.st_mode)
        digest.update(f"{relative}\0{'link' if link else have.st_mode & 0o111 != 0}\0".encode())
        if link:
            digest.update(os.readlink(name, dir_fd=handle).encode())
        elif stat.S_ISREG(have.st_mode):
            with os.fdopen(os.open(name, contained.FILE_FLAGS, dir_fd=handle), "rb") as file:
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
    return digest.hexdigest()[:40]


def of(app: dict):
    """Return where an app's code comes from, or None when it comes in images only."""
    if app["source"]["folder"]:
        return Folder(app)
    return Source(app) if app["source"]["repo"] else None
