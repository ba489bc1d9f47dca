# SPDX-License-Identifier: GPL-3.0-or-later
"""A consistent copy of a SQLite database that is in use, and the file before the first migration.

``take`` and ``prepare`` are for root on a host; what they do to the database runs as the owner of the file, in a Python of its own, so that the
files that SQLite puts beside it belong to the app. Usage there: ``python3 - copy SOURCE TARGET`` or ``python3 - prepare PATH``.
"""
from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
import time


class CopyError(Exception):
    """The database cannot be copied; the text says why."""


def copy(source: str, target: str, timeout: float = 300) -> int:
    """Copy a database whole, as it is between two transactions; return its bytes. Raise CopyError.

    With WAL nobody waits for it; without, writers wait until it is done. The copy is one file, checked, and appears under its name at once.
    """
    if not os.path.isfile(source):
        raise CopyError(f"there is no SQLite database at {source}")
    temporary = f"{target}.new"
    remove(temporary)
    deadline = time.monotonic() + timeout

    def progress(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > deadline:
            raise CopyError(f"{source} was locked by a writer for {timeout:g} s")

    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.close(descriptor)
        with Closing(connect(source, timeout)) as reader, Closing(connect(temporary)) as writer:
            # In one step: a copy in several begins anew at every write of another process.
            reader.backup(writer, pages=-1, progress=progress, sleep=0.05)
            writer.execute("PRAGMA journal_mode=DELETE")
            found = [row[0] for row in writer.execute("PRAGMA integrity_check(5)")]
        if found != ["ok"]:
            raise CopyError(f"{source} is damaged: {'; '.join(found)}")
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(temporary, target)
    except (sqlite3.Error, OSError) as error:
        raise CopyError(f"{source} cannot be copied to {target}: {error}") from error
    finally:
        remove(temporary)
    return os.stat(target).st_size


def prepare(path: str) -> bool:
    """Make sure that there is a database file in WAL mode, so that readers and writers do not wait for each other; return True when it changed.

    What is in the file stays. Raise CopyError.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o640))
        with Closing(connect(path)) as database:
            if database.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return False
            if database.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
                raise CopyError(f"{path} cannot be set to WAL")
    except (sqlite3.Error, OSError) as error:
        raise CopyError(f"{path}: {error}") from error
    return True


class Closing:
    """A connection that is closed at the end: sqlite3's own context manager only ends a transaction."""

    def __init__(self, database: sqlite3.Connection):
        self.database = database

    def __enter__(self) -> sqlite3.Connection:
        return self.database

    def __exit__(self, *_error) -> None:
        self.database.close()


def connect(path: str, timeout: float = 60) -> sqlite3.Connection:
    """Open a database that is there. ``timeout``: seconds that a statement waits for a writer."""
    from urllib.parse import quote

    return sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=timeout, isolation_level=None)


def remove(path: str) -> None:
    """Remove a file when it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def take(source: str, target: str, timeout: float = 300) -> int:
    """As root: copy a database as its owner, then move the copy to ``target``, which root owns; return its bytes. Raise CopyError."""
    if not os.path.isfile(source):
        raise CopyError(f"there is no SQLite database at {source}")
    owner = os.stat(source)
    between = f"{source}.copy"
    as_owner((owner.st_uid, owner.st_gid), "copy", source, between, timeout=timeout + 30)
    os.rename(between, target)
    have = os.lstat(target)
    if not stat.S_ISREG(have.st_mode) or have.st_nlink != 1:  # its folder is the app's, which may have put something else in its place
        remove(target)
        raise CopyError(f"{between} is no plain file")
    os.chown(target, 0, 0)
    os.chmod(target, 0o600)
    return have.st_size


def as_owner(ids: tuple, verb: str, *words: str, timeout: float = 330) -> str:
    """As root: run a verb of this file as uid and gid; return what it printed. Raise CopyError."""
    import subprocess

    program = __loader__.get_source(__name__)  # also from the zip file in which Ansible sends it; its loader for collections returns bytes
    program = program.decode() if isinstance(program, bytes) else program
    drop = ["setpriv", f"--reuid={ids[0]}", f"--regid={ids[1]}", "--clear-groups", "--"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run([*drop, "/usr/bin/python3", "-I", "-", verb, *words], input=program, check=False, capture_output=True, text=True,
                              timeout=timeout, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise CopyError(f"{words[0]}: {verb} did not end within {timeout:g} s") from error
    if done.returncode:
        raise CopyError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{words[0]}: {verb} ended with {done.returncode}")
    return done.stdout.strip()


def main(argv: list[str]) -> None:
    """Do what ``argv`` says; print bytes or whether something changed."""
    os.umask(0o027)
    try:
        print(copy(*argv[1:]) if argv[0] == "copy" else prepare(*argv[1:]))
    except CopyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
