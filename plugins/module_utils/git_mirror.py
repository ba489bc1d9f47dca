# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as an account of its own in a sandbox, not as root: brings the mirror of a repository up to date, and says what a version is in it.

``REQUEST`` is set by whoever runs it: ``do`` (``resolve`` or ``archive``), ``folder`` of the mirror, and what the functions below take. It answers with
one line of JSON, ``archive`` with a tar. It trusts neither the repository, nor its own mirror's settings, which are written anew each time.
"""
from __future__ import annotations

import base64
import difflib
import json
import os
import posixpath
import re
import shutil
import socket
import subprocess
import sys
from urllib.parse import unquote, urlsplit, urlunsplit

HEX = re.compile(r"^[0-9a-fA-F]{7,40}\Z")
COMMIT = re.compile(r"^[0-9a-f]{40}\Z")
NAMES = re.compile(r"^(?!-)[A-Za-z0-9._/@+-]+\Z")
PROTOCOLS = "git:http:https:ssh"
FILE_LIMIT = 2**20  # bytes of a pyproject.toml
LINKS = 10
ATTRIBUTES = 100  # files of that name that are read
LFS_POINTER = "^version https://git-lfs.github.com/spec/v"
SETTINGS = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
# Settings that would run a program, or read a file, that somebody else has chosen. The command's own win over those of any file.
CONFIG = {"core.hooksPath": "/dev/null", "core.fsmonitor": "false", "core.attributesFile": "/dev/null", "core.askPass": "", "credential.helper": "",
          "protocol.file.allow": "never", "protocol.ext.allow": "never", "submodule.recurse": "false", "fetch.recurseSubmodules": "false",
          "gc.auto": "0", "maintenance.auto": "false", "advice.detachedHead": "false"}


class Refused(Exception):
    """What was asked for cannot be had; the text says why."""

    def __init__(self, reason: str, log: str = "", look: str = ""):
        super().__init__(reason)
        self.reason, self.log, self.look = reason, log, look


def by_ssh(repo: str) -> bool:
    """Return True for a repository that is reached by SSH: ssh://…, or host:path."""
    return repo.startswith("ssh://") or "://" not in repo


def shown(repo: str) -> str:
    """Return a repository's URL without a password that somebody wrote into it. The user of SSH is none; that of HTTP may be a token."""
    return re.sub(r"//([^/@:]*)(:[^/@]*)?@", r"//\1@" if by_ssh(repo) else "//***@", repo)


def typed(repo: str, key_file: str = "") -> str:
    """Return the command by which a person tries to read a repository; git asks for a login of HTTP itself."""
    ssh = f"GIT_SSH_COMMAND='ssh -i {key_file} -o IdentitiesOnly=yes' " if key_file else ""
    return f"{ssh}git ls-remote {shown(repo).replace('//***@', '//')}"


def login(repo: str) -> tuple[str, dict]:
    """Return a URL without its login, and the setting that carries it: git writes a URL into the arguments of its helpers, which all users see."""
    url = urlsplit(repo)
    if url.scheme not in ("http", "https") or url.username is None:
        return repo, {}
    word = f"{unquote(url.username)}:{unquote(url.password or '')}"
    plain = urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))
    return plain, {f"http.{url.scheme}://{url.netloc.rpartition('@')[2]}/.extraHeader": f"Authorization: Basic {base64.b64encode(word.encode()).decode()}"}


def in_memory(text: str) -> str:
    """Return the path of a file in this process's memory, which lives as long as the process and which only its user opens."""
    handle = os.memfd_create("quayside", 0)
    os.fchmod(handle, 0o600)  # ssh refuses a key that others could read
    os.write(handle, text.encode())
    return f"/proc/{os.getpid()}/fd/{handle}"


class Mirror:
    """The mirror of a repository in ``folder``, which also holds the keys of the hosts that it was fetched from."""

    def __init__(self, folder: str, protocols: str = PROTOCOLS, key: str = ""):
        self.folder = folder
        self.git_dir = f"{folder}/repository.git"
        self.protocols = protocols
        self.key = in_memory(key.rstrip("\n") + "\n") if key else ""

    def environment(self, settings: dict | None = None) -> dict:
        """Return all variables of git: no settings of the system, of a user or of ssh's, no password prompt, and a host key is trusted at first sight only."""
        ssh = f"ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=15 -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={self.folder}/known_hosts"
        ssh += " -o IdentitiesOnly=yes -o IdentityAgent=none -o ProxyCommand=none"
        ssh += f" -i {self.key}" if self.key else " -o IdentityFile=none"
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent",
               "GIT_DIR": self.git_dir, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1",
               "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": "ssh",
               "GIT_ALLOW_PROTOCOL": self.protocols,
               # A pusher may send refs/replace, which give a commit another tree than the one that its hash stands for.
               "GIT_NO_REPLACE_OBJECTS": "1"}
        pairs = list({**CONFIG, **(settings or {})}.items())
        env["GIT_CONFIG_COUNT"] = str(len(pairs))
        for number, (name, value) in enumerate(pairs):
            env.update({f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value})
        for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "GIT_SSL_CAINFO", "SSL_CERT_FILE"):
            if name in os.environ:
                env[name] = os.environ[name]
        return env

    def git(self, *words: str, settings: dict | None = None) -> subprocess.CompletedProcess:
        """Run git on the mirror."""
        return subprocess.run(["git", *words], check=False, capture_output=True, env=self.environment(settings), cwd="/", stdin=subprocess.DEVNULL)

    def text(self, *words: str) -> str:
        """Return what git prints, empty when it fails."""
        done = self.git(*words)
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

    def settle(self) -> None:
        """Make the mirror where there is none, and take from one that is there what would steer git."""
        if not os.path.isdir(f"{self.git_dir}/refs") or not os.path.isdir(f"{self.git_dir}/objects"):
            shutil.rmtree(self.git_dir, ignore_errors=True)
            done = self.git("init", "--quiet", "--bare", "--template=", self.git_dir)
            if done.returncode:
                raise Refused("no mirror of the repository could be made", done.stderr.decode("utf-8", "replace"))
        for name in ("config.worktree", "hooks", "info/attributes", "info/grafts", "objects/info/alternates", "objects/info/http-alternates", "shallow"):
            path = f"{self.git_dir}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
        new = f"{self.git_dir}/config.new"
        with open(new, "w", encoding="utf-8") as file:
            file.write(SETTINGS)
        os.replace(new, f"{self.git_dir}/config")

    def fetch(self, repo: str) -> None:
        """Bring the mirror up to date; raise Refused when the repository cannot be reached."""
        reach(repo)
        plain, settings = login(repo)
        words = ("fetch", "--quiet", "--prune", "--force", "--no-auto-maintenance", "--", plain, "+refs/*:refs/*", "^refs/replace/*")
        done = self.git(*words, settings=settings)
        if done.returncode:
            log = done.stderr.decode("utf-8", "replace")
            reason, look = self.unreadable(repo, log)
            raise Refused(f"the repository {shown(repo)} cannot be read{reason}", log, look)

    def unreadable(self, repo: str, log: str) -> tuple[str, str]:
        """Return why a repository cannot be read, after its name, and what to type on the host."""
        if not by_ssh(repo):
            return "", typed(repo)
        if "HOST IDENTIFICATION HAS CHANGED" in log:
            url = urlsplit(repo)
            name = (f"[{url.hostname}]:{url.port}" if url.port else url.hostname) if "://" in repo else repo.partition(":")[0].rpartition("@")[2]
            return (": its server has another host key than before. If that is right, remove the old one and deploy again",
                    f"ssh-keygen -f {self.folder}/known_hosts -R '{name}'")
        if "Permission denied" not in log and "Could not read from remote repository" not in log:
            return "", typed(repo)
        if not self.key:
            return (": the app has no deploy key. Give it one as the secret SOURCE_KEY (docs/getting-started.md, \"Private repositories\")", "")
        public, fingerprint = self.public_half()
        if not public:
            return (": the secret SOURCE_KEY is no private key that ssh takes: without a passphrase, and with its line breaks", "")
        return (f" by the deploy key, the secret SOURCE_KEY ({fingerprint}). Give its public half to the repository: {public}\n"
                f"to try a key, where its file is: {typed(repo, 'FILE')}", "")

    def public_half(self) -> tuple[str, str]:
        """Return the public half of the deploy key and its fingerprint, empty for what is no key."""
        public = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", self.key], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if public.returncode:
            return "", ""
        line = " ".join(public.stdout.split()[:2])
        listed = subprocess.run(["ssh-keygen", "-l", "-f", "-"], check=False, capture_output=True, text=True, input=f"{line}\n")
        return line, listed.stdout.split()[1] if listed.returncode == 0 else ""

    def ref(self, name: str) -> str:
        """Return the commit of a ref by its whole name, empty when there is none. ``rev-parse`` would also take refs/heads/refs/tags/x for refs/tags/x."""
        for line in self.text("for-each-ref", "--format=%(refname) %(objectname)", "--", name).splitlines():
            found, _space, sha = line.partition(" ")
            if found == name:
                return self.text("rev-parse", "--verify", "--quiet", sha + "^{commit}").strip()
        return ""

    def commits(self, prefix: str) -> list[str]:
        """Return the commits whose names begin with ``prefix``."""
        shas = self.text("rev-parse", f"--disambiguate={prefix}").split()
        return [sha for sha in shas if self.text("cat-file", "-t", sha).strip() == "commit"]

    def commit(self, version: str, repo: str) -> str:
        """Return the commit of a version. Hex digits that a commit begins with are that commit, and 40 are never anything else. A tag beats a branch.

        Raise Refused with both meanings where there are two, and with the nearest names where there is none.
        """
        if not NAMES.match(version):
            raise Refused(f"{version!r} is no name of a branch, a tag or a commit")
        whole = [version] if version.startswith(("refs/heads/", "refs/tags/")) else [f"refs/tags/{version}", f"refs/heads/{version}"]
        named = {name: sha for name in whole for sha in [self.ref(name)] if sha}
        if HEX.match(version):
            found = self.commits(version.lower())
            if len(version) == 40 and not found:
                raise Refused(f"{shown(repo)} has no commit {version}: was it pushed?" + (
                    f" There is {' and '.join(named)}, and 40 hex digits are only ever a commit: name it in full" if named else ""))
            if len(found) > 1:
                raise Refused(f"{version} is the beginning of {len(found)} commits: {', '.join(sha[:12] for sha in found[:5])}; give more digits")
            other = {name: sha for name, sha in named.items() if found and sha != found[0]}
            if other and len(version) < 40:
                name, sha = next(iter(other.items()))
                raise Refused(f"{version} is the beginning of the commit {found[0]} and the name of {name} ({sha[:12]}): give one of these two in full")
            if found:
                return found[0]
        if named:
            return next(iter(named.values()))
        names = self.text("for-each-ref", "--format=%(refname:lstrip=2)", "--sort=-creatordate", "refs/tags", "refs/heads").split()
        near = difflib.get_close_matches(version, names, 3)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:12]) or 'no branches and no tags'}"
        raise Refused(f"{shown(repo)} has no branch, tag or commit {version!r}: {known}")

    def read(self, sha: str, path: str) -> str:
        """Return the text of a file at a commit, empty when there is none. A link is followed inside the repository."""
        for _step in range(LINKS):
            mode, object_name, size = self.entry(sha, path)
            if mode == "120000" and size < 4096:
                target = self.text("cat-file", "blob", object_name)
                path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
                if path.startswith(("/", "../")):
                    return ""
                continue
            if mode.startswith("100"):
                if size > FILE_LIMIT:
                    raise Refused(f"{path} has {size // 1024} KiB, and at most {FILE_LIMIT // 1024} are read")
                return self.text("cat-file", "blob", object_name)
            return ""
        return ""

    def entry(self, sha: str, path: str) -> tuple[str, str, int]:
        """Return mode, object and bytes of a path at a commit; an empty mode where there is none."""
        fields = self.text("ls-tree", "--long", "-z", "--full-tree", sha, "--", path).partition("\t")[0].split()
        return (fields[0], fields[2], int(fields[3])) if len(fields) == 4 and fields[3].isdigit() else ("", "", 0)


    def left_out(self, sha: str) -> dict:
        """Return ``submodules`` and ``lfs``: the paths at a commit of which the repository holds a pointer only, and an archive nothing or that pointer."""
        entries = [line.partition("\t") for line in self.text("ls-tree", "-r", "-z", "--full-tree", sha).split("\0") if line]
        found = {"submodules": [path for entry, _tab, path in entries if entry.startswith("160000 ")], "lfs": []}
        attributes = [entry.split()[2] for entry, _tab, path in entries if path.rpartition("/")[2] == ".gitattributes"]
        if any("filter=lfs" in self.text("cat-file", "blob", name) for name in attributes[:ATTRIBUTES]):
            pointers = self.text("grep", "-I", "-l", "-z", "-e", LFS_POINTER, sha)
            found["lfs"] = [name.partition(":")[2] for name in pointers.split("\0") if name]
        return found


def complete(version: str, left_out: dict, without: list[str]) -> None:
    """Raise Refused for what would be missing without a word in a release. ``without``: what the operator does without."""
    listed = {kind: ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "") for kind, paths in left_out.items()}
    instead = "or deploy from a checkout that has them (source.folder)"
    if left_out["submodules"] and "submodules" not in without:
        raise Refused(f"{version} has submodules ({listed['submodules']}), and a deploy does not fetch what they lead to: take them in by the requirements, "
                      f"{instead}; if the app runs without them: source.without: [submodules]")
    if left_out["lfs"] and "lfs" not in without:
        raise Refused(f"{version} has files of Git LFS ({listed['lfs']}), and a deploy would serve their pointers: keep them in the repository itself, "
                      f"{instead}; if the app runs without them: source.without: [lfs]")


def reach(repo: str) -> None:
    """Raise Refused when a git:// server does not answer: git itself would wait for minutes; ssh and https have limits."""
    url = urlsplit(repo)
    if url.scheme == "git":
        try:
            socket.create_connection((url.hostname, url.port or 9418), 10).close()
        except OSError as error:
            raise Refused(f"the repository {shown(repo)} does not answer ({error.strerror or 'no answer in 10 s'})") from error


def resolve(mirror: Mirror, request: dict) -> dict:
    """Return the commit of ``version`` in ``repo``, and the text of each file of ``read`` at it."""
    mirror.settle()
    if not NAMES.match(request["version"]):  # before anything is asked
        raise Refused(f"{request['version']!r} is no name of a branch, a tag or a commit")
    mirror.fetch(request["repo"])
    sha = mirror.commit(request["version"], request["repo"])
    complete(request["version"], mirror.left_out(sha), request["without"])
    return {"sha": sha, "files": {name: mirror.read(sha, name) for name in request["read"]}}


def main(request: dict) -> int:
    mirror = Mirror(request["folder"], key=request.get("key", ""))
    if request["do"] == "archive":
        mirror.settle()
        sha = request["sha"] if COMMIT.match(request["sha"]) else "not a commit"
        return subprocess.run(["git", "archive", "--format=tar", sha], check=False, env=mirror.environment(), cwd="/", stdin=subprocess.DEVNULL).returncode
    try:
        answer = resolve(mirror, request)
    except Refused as error:
        answer = {"error": error.reason, "log": error.log, "look": error.look}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(REQUEST))  # noqa: F821
