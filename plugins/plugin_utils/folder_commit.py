# SPDX-License-Identifier: GPL-3.0-or-later
"""The commit that a folder of the controller is at, asked without running anything that its repository configures.

A repository's own configuration names programs: core.fsmonitor, hooks, filters, includes, remotes of missing objects. So git never reads it: it gets
a git directory of ours, with the repository's objects and a copy of its index. HEAD and refs are read here.
"""
from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

COMMIT = re.compile(r"^[0-9a-f]{40}\Z")
REF = re.compile(r"^refs/(?!.*\.\.)[A-Za-z0-9._/@+-]+\Z")
LIMIT = 64 * 2**20  # bytes of a file of the repository that is read here: packed-refs of a large one
SECONDS = 60
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
CONFIG_OF_MACOS = "\tprecomposeunicode = true\n\tignorecase = true\n"


def commit(folder: str) -> str:
    """Return the commit that ``folder`` is exactly at, empty when it is none of git's, has changes, or has submodules."""
    top, own, common = repository(os.path.realpath(folder))
    sha = head(own, common) if own else ""
    if not sha:
        return ""
    with tempfile.TemporaryDirectory(prefix="quayside-git-") as place:
        try:
            return sha if clean(folder, top, own, common, place, sha) else ""
        except (OSError, subprocess.SubprocessError):
            return ""


def clean(folder: str, top: str, own: str, common: str, place: str, sha: str) -> bool:
    """Return True when git knows all of ``folder`` as it is. ``place``: an empty folder of ours, which becomes the git directory."""
    for name in ("refs", "objects", "info"):
        os.mkdir(f"{place}/{name}")
    with open(f"{place}/HEAD", "w", encoding="ascii") as file:
        file.write(sha + "\n")
    with open(f"{place}/config", "w", encoding="ascii") as file:
        file.write(CONFIG + (CONFIG_OF_MACOS if sys.platform == "darwin" else ""))
    with open(f"{place}/info/exclude", "wb") as file:
        file.write(content(f"{common}/info/exclude"))
    if not stat.S_ISREG(os.stat(f"{own}/index").st_mode):
        return False
    shutil.copy2(f"{own}/index", f"{place}/index")  # with its time: git trusts no entry that is as young as the index
    known = git(folder, top, common, place, "ls-files", "--stage", "--", ".").splitlines()
    # A folder of which git knows nothing, such as one that is ignored, is no part of the commit around it.
    if not known or any(line.startswith("160000 ") for line in known):
        return False
    return git(folder, top, common, place, "status", "--porcelain", "--ignore-submodules=all", "--untracked-files=normal", "--", ".") == ""


def git(folder: str, top: str, common: str, place: str, *words: str) -> str:
    """Return what git prints; raise SubprocessError."""
    env = {"PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "HOME": place, "LC_ALL": "C", "GIT_DIR": place, "GIT_WORK_TREE": top,
           "GIT_INDEX_FILE": f"{place}/index", "GIT_OBJECT_DIRECTORY": f"{common}/objects", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_SYSTEM": os.devnull,
           "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1",
           "GIT_ALLOW_PROTOCOL": "", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat"}
    argv = ["git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "safe.directory=*", "-c", "protocol.allow=never", *words]
    return subprocess.run(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS,
                          check=True).stdout


def repository(folder: str) -> tuple[str, str, str]:
    """Return the top of the work tree that ``folder`` is in, its git directory and the one that it shares; three empty texts for none."""
    top = folder
    while True:
        mark = f"{top.rstrip('/')}/.git"
        if os.path.isdir(mark):
            return top, mark, mark
        if os.path.lexists(mark):
            return linked(top, content(mark).decode(errors="replace"))
        if os.path.dirname(top) == top:
            return "", "", ""
        top = os.path.dirname(top)


def linked(top: str, text: str) -> tuple[str, str, str]:
    """Return the same for a work tree whose ``.git`` is a file that names the directory."""
    if not text.startswith("gitdir: "):
        return "", "", ""
    own = os.path.realpath(os.path.join(top, text[8:].rstrip("\n")))
    shared = content(f"{own}/commondir").decode(errors="replace").rstrip("\n")
    return top, own, os.path.realpath(os.path.join(own, shared)) if shared else own


def head(own: str, common: str) -> str:
    """Return the commit of HEAD, empty when it cannot be read."""
    text = content(f"{own}/HEAD").decode(errors="replace").strip()
    for _step in range(5):
        if COMMIT.match(text):
            return text
        name = text.removeprefix("ref: ").strip()
        if name == text or not REF.match(name):
            return ""
        text = (content(f"{own}/{name}") or content(f"{common}/{name}")).decode(errors="replace").strip() or packed(common, name)
    return ""


def packed(common: str, name: str) -> str:
    """Return the commit of a ref that stands in packed-refs, empty for none."""
    for line in content(f"{common}/packed-refs").decode(errors="replace").splitlines():
        sha, _space, found = line.partition(" ")
        if found == name:
            return sha
    return ""


def content(path: str) -> bytes:
    """Return what is in a regular file, nothing for any other thing, for none and for one that is too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        known = os.fstat(handle)
        return file.read() if stat.S_ISREG(known.st_mode) and known.st_size <= LIMIT else b""
