# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as the app's user in the sandbox of a build: fills the folders of a release, by the rules for what lies there.

``REQUEST`` is set by whoever runs it. ``code``: a tar from standard input becomes the code, links of the repository included, and links of ours are put
where its settings have a folder fixed. ``copy`` and ``unpack``: a folder, or a tar from standard input, is published, which nothing but folders and
regular files can be. It answers with one line of JSON.
"""
from __future__ import annotations

import contextlib
import json
import os
import posixpath
import shutil
import stat
import subprocess
import sys
import tarfile

DEPTH = 64  # folders in one another, as ``contained`` has it
SHOWN = 5   # names in a message
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
TAR_KINDS = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a FIFO", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"}


class Refused(Exception):
    """What is there cannot be taken; the text says what and why."""

    def __init__(self, reason: str, log: str = ""):
        super().__init__(reason)
        self.reason, self.log = reason, log


def refuse(what: str, wrong: list[str]) -> None:
    """Raise Refused when there are names in ``wrong``."""
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise Refused(f"{what}: only folders and regular files can be published, and here are {', '.join(wrong[:SHOWN])}{more}: "
                      "let the build write files instead")


def check_room(folder: int, size: int, what: str) -> None:
    """Raise Refused when ``size`` more bytes do not fit on the disk of an open folder: the holes of a sparse file are written as zeros."""
    disk = os.fstatvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if size > free:
        raise Refused(f"{what} has {size // 2**20} MiB, and the disk has {free // 2**20} MiB free: is a file in it larger than it should be?")


def enter(folder: int, name: str, make: bool = False) -> int:
    """Open a folder in an open folder, no link to one; with ``make`` it is made when it is not there."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=folder)
    return os.open(name, FOLDER_FLAGS, dir_fd=folder)


def code(request: dict) -> dict:
    """Write a tar from standard input into ``folder``, then the ``links`` (path under ``folder`` -> target); ``needs`` are files that have to be there."""
    folder = request["folder"]
    # Modes as a checkout has them: an image that is built from the code copies them, and its user is not ours.
    done = subprocess.run(["tar", "-x", "--no-same-owner", "--no-same-permissions", "-C", folder], check=False, stdin=0,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, umask=0o022)
    if done.returncode:
        raise Refused("the source could not be written", done.stderr.decode("utf-8", "replace"))
    missing = [path for path in request["needs"] if not os.path.isfile(os.path.join(folder, path))]
    for path, target in request["links"]:
        link(folder, path, target)
    return {"missing": missing}


def link(folder: str, path: str, target: str) -> None:
    """Put a link at ``path`` under ``folder`` to ``target``, an absolute path, as a relative one; a folder that is there is removed, as is a file."""
    handle = os.open(folder, FOLDER_FLAGS)
    try:
        *above, name = path.split("/")
        for part in above:
            try:
                inner = enter(handle, part, make=True)
            except OSError as error:
                raise Refused(f"{path} leads out of the release by a link in the repository, or through a file: "
                              "name another static.root, media.root or path") from error
            os.close(handle)
            handle = inner
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                shutil.rmtree(os.path.join(folder, path))
            else:
                os.unlink(name, dir_fd=handle)
        os.symlink(os.path.relpath(target, os.path.dirname(os.path.join(folder, path))), name, dir_fd=handle)
    finally:
        os.close(handle)


def copy(request: dict) -> dict:
    """Publish folders of ``tree``: each of ``folders`` has ``what`` it is, ``source`` under the tree, and ``target``."""
    tree, count = os.path.realpath(request["tree"]), 0
    for one in request["folders"]:
        source = os.path.realpath(os.path.join(tree, one["source"]))
        if source != tree and not source.startswith(tree + "/"):
            raise Refused(f"{one['what']}: {one['source']} leads out of the source by a link")
        if not os.path.isdir(source):
            raise Refused(f"{one['what']}: the build made no folder {one['source']}: see build in the app model")
        wrong: list[str] = []
        top, target = os.open(source, FOLDER_FLAGS), os.open(one["target"], FOLDER_FLAGS)
        try:
            size = look(top, "", wrong)
            refuse(one["what"], wrong)
            check_room(target, size, one["what"])
            count += copy_folder(top, target)
        finally:
            os.close(top)
            os.close(target)
    return {"files": count}


def look(folder: int, prefix: str, wrong: list[str]) -> int:
    """Add to ``wrong`` what below an open folder cannot be published; return the bytes of the rest."""
    size = 0
    if prefix.count("/") > DEPTH:
        raise Refused(f"more than {DEPTH} folders lie in one another: {prefix[:200]}")
    for name in sorted(os.listdir(folder)):
        have = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(have.st_mode):
            inner = enter(folder, name)
            try:
                size += look(inner, f"{prefix}{name}/", wrong)
            finally:
                os.close(inner)
        elif stat.S_ISREG(have.st_mode):
            size += have.st_size
        else:
            wrong.append(f"{prefix}{name} ({KINDS.get(stat.S_IFMT(have.st_mode), 'something unknown')})")
    return size


def copy_folder(source: int, target: int) -> int:
    """Copy what lies in one open folder into another; return how many files. What became something else meanwhile is refused."""
    count = 0
    for name in sorted(os.listdir(source)):
        if stat.S_ISDIR(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
            inner, made = enter(source, name), enter(target, name, make=True)
            try:
                count += copy_folder(inner, made)
            finally:
                os.close(inner)
                os.close(made)
            continue
        handle = os.open(name, FILE_FLAGS, dir_fd=source)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                refuse(name, [name])
            with os.fdopen(os.open(name, NEW_FLAGS, 0o640, dir_fd=target), "wb") as new:
                shutil.copyfileobj(file, new, 1 << 20)
        count += 1
    return count


def unpack(request: dict) -> dict:
    """Publish a tar from standard input, without the first name of its paths, into ``target``; ``what`` it is."""
    wrong, count = [], 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            path = posixpath.normpath(member.name.partition("/")[2] or ".") if request["strip"] else posixpath.normpath(member.name)
            if path.startswith(("/", "../")) or path == "..":
                raise Refused(f"{request['what']}: {member.name} leads out of the folder")
            if member.isdir():
                if not wrong and path != ".":
                    os.close(down(request["target"], path))
            elif not member.isreg():
                wrong.append(f"{path} ({TAR_KINDS.get(member.type, 'something unknown')})")
            elif not wrong:
                place = down(request["target"], posixpath.dirname(path))
                try:
                    check_room(place, member.size, f"{request['what']}: {path}")
                    with os.fdopen(os.open(posixpath.basename(path), NEW_FLAGS, 0o640, dir_fd=place), "wb") as new:
                        shutil.copyfileobj(tar.extractfile(member), new, 1 << 20)
                finally:
                    os.close(place)
                count += 1
    refuse(request["what"], wrong)
    return {"files": count}


def down(folder: str, path: str) -> int:
    """Open ``path`` under ``folder``, made where it is not there."""
    parts = [part for part in path.split("/") if part]
    if len(parts) > DEPTH:
        raise Refused(f"more than {DEPTH} folders lie in one another: {path[:200]}")
    handle = os.open(folder, FOLDER_FLAGS)
    for part in parts:
        inner = enter(handle, part, make=True)
        os.close(handle)
        handle = inner
    return handle


def main(request: dict) -> None:
    try:
        answer = {"code": code, "copy": copy, "unpack": unpack}[request["do"]](request)
    except Refused as error:
        answer = {"error": error.reason, "log": error.log}
    except (OSError, tarfile.TarError) as error:
        answer = {"error": f"the files could not be written: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(REQUEST)  # noqa: F821
