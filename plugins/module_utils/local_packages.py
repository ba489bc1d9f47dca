# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of a venv that come from the app's own source: a workspace's members, ``-e .``, ``./libs/x``.

A venv is shared by all releases with the same requirements, so it must hold nothing of one release's code. An editable package is a pointer into the
source; it points into ``<root>/code``, where each process finds its own release's code (``place``). One that is copied into the venv is part of its key.
"""
from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat

from ansible_collections.quayside.django.plugins.module_utils import contained

# uv.lock names the source of each package; `virtual` is a project that is no package.
LOCKED = re.compile(r'^source\s*=\s*\{\s*(editable|directory|path)\s*=\s*"([^"]*)"', re.M)
EDITABLE = re.compile(r"^(?:-e|--editable)[\s=]*(.+)$")
# name @ git+https://…@branch#egg=name; forty hex digits are a commit, and a commit does not move.
VCS = re.compile(r"((?:git|hg|svn|bzr)\+[^\s#;]+)")
PINNED = re.compile(r"@(?:[0-9a-f]{40}|[0-9a-f]{64})$")
# What says which modules an editable package has; the installers write pointers for those.
PACKAGING = ("pyproject.toml", "setup.py", "setup.cfg")
FILE_LIMIT = 2**26  # bytes; of a larger file only the size counts


def place(app: dict) -> str:
    """Return the path under which each process of the app, and each build of a venv, sees the code of its own release."""
    return f"{app['shared'].rpartition('/')[0]}/code"


def bound(app: dict, code: str) -> str:
    """Return the directive that shows the folder ``code`` at that path; what runs with it cannot write there."""
    return f"BindReadOnlyPaths={code}:{place(app)}"


def requirement(line: str) -> tuple[str, bool] | None:
    """Return the path that a line of a requirements file takes from the source, and whether as editable; None for what comes from elsewhere."""
    text = line.partition(" #")[0].strip()
    found = EDITABLE.match(text)
    text = (found[1] if found else text).partition(";")[0].strip().strip("\"'")
    if not found and text.startswith(("-", "#")):
        return None
    text = re.sub(r"^[\w.\[\],-]+\s*@\s*(?=file:)", "", text)
    text = re.sub(r"\[[^\]]*\]$", "", text.removeprefix("file:"))
    if VCS.match(text) or "://" in text or text.startswith("/"):
        return None
    local = found or text in (".", "..") or text.startswith(("./", "../")) or text.endswith("/") or ("/" in text and " @ " not in text)
    return (posixpath.normpath(text), bool(found)) if local and text else None


def named(files: dict, words: list[str], subdir: str = "") -> dict[str, bool]:
    """Return path under the app's root -> whether it is editable, of the packages that come from the source.

    :param files: name -> text of the files that the venv is built from
    :param words: further requirements, as in the model's ``python.packages``
    :param subdir: the app's root in the repository; what lies beside it in there is the source's too
    """
    found: dict[str, bool] = {}
    for name, text in files.items():
        base = posixpath.dirname(name)
        if name.rpartition("/")[2] == "uv.lock":
            entries = [(path, kind == "editable") for kind, path in LOCKED.findall(text)]
        elif name.endswith(".toml"):
            entries = []
        else:
            # pip takes a path as one under the folder in which it is started, whichever file names it.
            entries, base = [entry for entry in map(requirement, text.splitlines()) if entry], ""
        for path, editable in entries:
            path = posixpath.normpath(posixpath.join(base, path))
            found[path] = editable and found.get(path, True)
    for entry in filter(None, map(requirement, words)):
        found[entry[0]] = entry[1]
    return {path: editable for path, editable in sorted(found.items())
            if not path.startswith("/") and not posixpath.normpath(posixpath.join(subdir, path)).startswith("..")}


def moving(files: dict, words: list[str]) -> list[str]:
    """Return the requirements that name a branch or tag of a repository: what stands there changes, and no line of the project with it."""
    texts = [text for name, text in files.items() if not name.endswith((".lock", ".toml"))] + words
    found = [url for text in texts for line in text.splitlines() if not line.lstrip().startswith("#") for url in VCS.findall(line)]
    return sorted({re.sub(r"//[^/@]*@", "//", url) for url in found if not PINNED.search(url)})


def digest(folder: str, editable: bool) -> str:
    """Return a hash of what a venv takes from a package's folder, or file: of an editable one its metadata and the names of its modules."""
    found = hashlib.sha256()

    def add(*parts) -> None:
        found.update("\0".join([*map(str, parts), "\n"]).encode(errors="surrogateescape"))

    have = contained.state(folder)
    if have is None or not stat.S_ISDIR(have.st_mode):
        add(content(folder, have))
        return found.hexdigest()
    for name, handle, entry, state in contained.walk(folder):
        if editable:
            depth = name.removeprefix("src/").count("/")
            if name in PACKAGING:
                add(name, content(f"{folder}/{name}", state))
            elif depth == 0 and not entry.startswith(".") and (stat.S_ISDIR(state.st_mode) or entry.endswith(".py")):
                add(name)
        elif stat.S_ISLNK(state.st_mode):
            add(name, os.readlink(entry, dir_fd=handle))
        elif stat.S_ISREG(state.st_mode):
            add(name, content(f"{folder}/{name}", state))
    return found.hexdigest()


def content(path: str, have: os.stat_result | None) -> str:
    """Return a hash of a file, or what else is known of it."""
    if have is None or not stat.S_ISREG(have.st_mode) or have.st_size > FILE_LIMIT:
        return f"{have and stat.S_IFMT(have.st_mode)} {have and have.st_size}"
    return hashlib.sha256(contained.read(path, FILE_LIMIT)).hexdigest()
