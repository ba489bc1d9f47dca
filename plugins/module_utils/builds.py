# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app builds beside its venv: made once from the same inputs, and given to each release that has them.

A build is made in ``<root>/builds/<key>`` by the app's user, who sees the inputs there and nothing else of the source; the folder above is root's alone.
Then it belongs to root, and a release gets all of it as hard links: what the commands wrote, wherever that is, and what they removed. The mark that it is
whole lies beside it, where no build writes, and comes last.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import posixpath
import stat

from ansible_collections.quayside.django.plugins.module_utils import contained, fields, host, source

LOCAL_PROGRAMS = "/usr/local/bin"  # what an operator has put beside the system's packages


@dataclasses.dataclass(frozen=True)
class Build:
    """Commands that are run one after the other in one folder: their numbers in the model, and the paths of the source that they see."""

    commands: tuple[int, ...]
    inputs: tuple[str, ...]


def folder(root: str, key: str) -> str:
    """Return the path of a build."""
    return f"{root}/builds/{key}"


def is_whole(root: str, key: str) -> bool:
    """Return True when a build is there to be used."""
    return contained.is_file(f"{folder(root, key)}.complete") and contained.is_folder(folder(root, key))


def grouped(inputs: list[list[str]]) -> list[Build]:
    """Return the builds of the commands whose ``inputs`` these are: commands whose inputs overlap are one, since one may read what another one wrote."""
    found: list[Build] = []
    for number, paths in enumerate(inputs):
        joined = Build((number,), tuple(paths))
        for other in [one for one in found if any(overlap(a, b) for a in one.inputs for b in paths)]:
            found.remove(other)
            joined = Build(tuple(sorted(other.commands + joined.commands)), other.inputs + joined.inputs)
        found.append(joined)
    return sorted((Build(one.commands, topmost(one.inputs)) for one in found), key=lambda one: one.commands)


def overlap(one: str, other: str) -> bool:
    """Return True when one of two paths lies in the other."""
    return "." in (one, other) or fields.below(one, [other]) or fields.below(other, [one])


def topmost(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return paths without those that lie in another one of them."""
    return tuple(sorted({path for path in paths if not any(path != other and (other == "." or fields.below(path, [other])) for other in paths)}))


def key(made_from: dict) -> str:
    """Return the name of a build: a hash of all that it is made from."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def digest(code: str, path: str) -> str:
    """Return a hash of a folder or a file of the source; raise PhaseError when it is not there."""
    place = posixpath.normpath(f"{code}/{path}")
    have = contained.state(place)
    if have is None:
        raise host.PhaseError(f"build: the source has no {path}, which inputs names: correct it, or commit the file")
    if stat.S_ISDIR(have.st_mode):
        return source.tree_hash(place)
    if stat.S_ISLNK(have.st_mode):
        return f"link to {contained.target_of(place)}"
    return f"{have.st_mode & 0o111 != 0} {hashlib.sha256(contained.read(place, have.st_size)).hexdigest()}"


def programs() -> str:
    """Return a hash of the programs and libraries of this host: the packages of the system, and what lies beside them."""
    listed = host.run(["dpkg-query", "--show", "--showformat=${Package} ${Architecture} ${Version}\n"]).stdout
    for name in contained.names(LOCAL_PROGRAMS):
        have = contained.state(f"{LOCAL_PROGRAMS}/{name}")
        listed += f"{name} {have and (have.st_size, have.st_mtime_ns)} {contained.target_of(f'{LOCAL_PROGRAMS}/{name}')}\n"
    return hashlib.sha256(listed.encode()).hexdigest()


def place(root: str, made: str, build: Build, code: str, uid: int, gid: int) -> None:
    """Give a release, whose code the app's user owns, the files of a build: in the place of its inputs, and beside them."""
    for path in build.inputs:
        for name in contained.names(code) if path == "." else [path]:
            contained.remove(f"{code}/{name}")
    contained.link_tree(folder(root, made), code, (uid, gid))


def prune(folder_of_all: str, used: set) -> None:
    """Remove what is not ``used`` from a folder of things that each have a mark beside them. The mark goes first, so that nothing torn looks whole."""
    for name in reversed(contained.names(folder_of_all)):
        if name.removesuffix(".complete") not in used:
            contained.remove(os.path.join(folder_of_all, name))
