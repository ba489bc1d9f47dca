# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of an app on a host: a mirror of its git repository, and checkouts from it. All git runs as the app's user."""
from __future__ import annotations

import difflib
import hashlib
import os
import re
import shlex
import socket
from urllib.parse import urlsplit

from ansible_collections.quayside.django.plugins.module_utils import host

SHA = re.compile(r"^[0-9a-f]{7,40}\Z")
COMMIT = re.compile(r"^[0-9a-f]{40}\Z")
NAMES = re.compile(r"^(?!-)[A-Za-z0-9._/@+-]+\Z")


class Source:
    """The repository of an app; its mirror is a cache that may be removed at any time."""

    def __init__(self, app: dict):
        self.app = app
        self.repo = app["source"]["repo"]
        self.mirror = f"{app['root']}/cache/repository.git"
        self.key = f"{app['root']}/cache/source_key"

    def git(self, *words: str, check: bool = True, timeout: float = 300):
        """Run git on the mirror; it never asks for a password and trusts a host key at first sight only."""
        ssh = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o StrictHostKeyChecking=accept-new"
        ssh += f" -o UserKnownHostsFile={shlex.quote(self.app['root'] + '/cache/known_hosts')}"
        if os.path.exists(self.key):
            ssh += f" -o IdentitiesOnly=yes -i {shlex.quote(self.key)}"
        env = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": ssh, "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": self.mirror}
        return host.run(["git", *words], check=check, timeout=timeout, env=env, user=self.app["user"])

    def fetch(self) -> None:
        """Bring the mirror up to date; raise PhaseError when the repository cannot be reached."""
        self.reach()
        if not os.path.isdir(f"{self.mirror}/refs"):
            self.git("init", "--quiet", "--bare", self.mirror)
        done = self.git("fetch", "--quiet", "--prune", "--force", "--no-auto-maintenance", "--", self.repo, "+refs/*:refs/*", check=False)
        if done.returncode:
            raise host.PhaseError(f"the repository {shown(self.repo)} cannot be read by {self.app['user']}", done.stderr,
                                  f"sudo -u {self.app['user']} git ls-remote {shown(self.repo)}")

    def reach(self) -> None:
        """Raise PhaseError when a git:// server does not answer: git itself would wait for minutes; ssh and https have limits."""
        url = urlsplit(self.repo)
        if url.scheme == "git":
            try:
                socket.create_connection((url.hostname, url.port or 9418), 10).close()
            except OSError as error:
                raise host.PhaseError(f"the repository {shown(self.repo)} does not answer ({error.strerror or 'no answer in 10 s'})") from error

    def resolve(self, version: str) -> dict:
        """Return what a version is; raise PhaseError."""
        return {"sha": self.commit(version), "repo": shown(self.repo)}

    def commit(self, version: str) -> str:
        """Return the commit of a tag, a branch or a commit's name; raise PhaseError with the nearest names when there is none."""
        if not NAMES.match(version):
            raise host.PhaseError(f"{version!r} is no name of a branch, a tag or a commit")
        for name in (f"refs/tags/{version}", f"refs/heads/{version}") + ((version,) if SHA.match(version) else ()):
            done = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}", check=False)
            if done.returncode == 0:
                return done.stdout.strip()
        names = self.git("for-each-ref", "--format=%(refname:lstrip=2)", "--sort=-creatordate", "refs/tags", "refs/heads").stdout.split()
        near = difflib.get_close_matches(version, names, 3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:12]) or 'no branches and no tags'}"
        raise host.PhaseError(f"{shown(self.repo)} has no branch, tag or commit {version!r}: {known}")

    def read(self, sha: str, name: str) -> str:
        """Return the text of a file under the app's root at a commit, empty when there is none."""
        path = "/".join(part for part in (self.app["source"]["subdir"], name) if part)
        done = self.git("show", f"{sha}:{path}", check=False)
        return done.stdout if done.returncode == 0 else ""

    def export(self, record: dict, folder: str) -> None:
        """Write the tree of a release's commit into ``folder``, which exists and belongs to the app's user."""
        script = f"git archive --format=tar {shlex.quote(record['sha'])} | tar -x -C {shlex.quote(folder)}"
        host.run(["bash", "-o", "pipefail", "-c", script], user=self.app["user"], timeout=300,
                 env={"GIT_DIR": self.mirror, "GIT_CONFIG_NOSYSTEM": "1"})


class Folder:
    """A folder of the controller that rsync has brought to this host."""

    def __init__(self, app: dict):
        self.app = app
        self.folder = f"{app['root']}/cache/source"

    def fetch(self) -> None:
        """Raise PhaseError when nothing has been sent."""
        if not os.path.isdir(self.folder):
            raise host.PhaseError(f"{self.app['source']['folder']} has not been sent to this host: deploy by playbooks/deploy.yml, which does it")

    def resolve(self, version: str) -> dict:
        """Return what was sent: a hash of the tree, and as ``version`` its beginning when none is given."""
        digest = tree_hash(self.folder)
        return {"sha": version if COMMIT.match(version) else digest, "tree": digest, "version": version or digest[:12],
                "repo": self.app["source"]["folder"]}

    def read(self, _sha: str, name: str) -> str:
        """Return the text of a file under the app's root, empty when there is none."""
        return host.text("/".join(part for part in (self.folder, self.app["source"]["subdir"], name) if part))

    def export(self, _record: dict, folder: str) -> None:
        """Copy what was sent into ``folder``, which exists and belongs to the app's user."""
        host.run(["cp", "-r", "--preserve=mode,timestamps,links", "--", f"{self.folder}/.", folder], user=self.app["user"], timeout=300)


def tree_hash(folder: str) -> str:
    """Return a hash of all names, modes and contents below a folder."""
    digest = hashlib.sha256()
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names + [one for one in folders if os.path.islink(os.path.join(base, one))]):
            path = os.path.join(base, name)
            link = os.path.islink(path)
            digest.update(f"{os.path.relpath(path, folder)}\0{'link' if link else os.stat(path).st_mode & 0o111 != 0}\0".encode())
            if link:
                digest.update(os.readlink(path).encode())
            else:
                with open(path, "rb") as file:
                    for chunk in iter(lambda: file.read(1 << 20), b""):
                        digest.update(chunk)
    return digest.hexdigest()[:40]


def of(app: dict):
    """Return where an app's code comes from, or None when it comes in images only."""
    if app["source"]["folder"]:
        return Folder(app)
    return Source(app) if app["source"]["repo"] else None


def shown(repo: str) -> str:
    """Return a repository's URL without a password that somebody wrote into it."""
    return re.sub(r"//[^/@]*@", "//***@", repo)
