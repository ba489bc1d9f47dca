# SPDX-License-Identifier: GPL-3.0-or-later
"""A consistent copy of a SQLite database that is in use, and the file before the first migration.

``take`` and ``as_app`` are for root on a host; what touches the database runs as the app's user in its sandbox, in a Python of its own, so that
the files that SQLite puts beside it belong to the app. Usage there: ``python3 - copy SOURCE TARGET``, ``prepare PATH``, ``close PATH`` or
``remove PATH``.
"""
from __future__ import annotations

import contextlib
import os
import sqlite3
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


def close(path: str) -> None:
    """Leave the database readable and no more."""
    os.chmod(path, 0o440)


def take(start, source: str, target: str, owner: int, timeout: float = 300) -> int:
    """As root: copy a database as the app's user, then move the copy to ``target``, which root owns; return its bytes. Raise CopyError.

    ``start`` is that of ``as_app``. The copy lies in a folder of the app's until it is moved, so what was moved is judged by its descriptor:
    a regular file of one name, of the uid ``owner``.
    """
    from ansible_collections.quayside.django.plugins.module_utils import contained

    between = f"{source}.copy"
    as_app(start, "copy", source, between, timeout=timeout + 30)
    try:
        return contained.take(between, target, owner)
    except OSError as error:
        raise CopyError(f"{between}: {error.strerror}") from error


def as_app(start, verb: str, *words: str, timeout: float = 330) -> str:
    """As root: run a verb of this file as the app's user; return what it printed. Raise CopyError.

    ``start(command, timeout)`` returns the argv that runs a command as that user, with what it is given on its standard input.
    """
    import subprocess

    program = __loader__.get_source(__name__)  # also from the zip file in which Ansible sends it; its loader for collections returns bytes
    program = program.decode() if isinstance(program, bytes) else program
    try:
        done = subprocess.run(start(["/usr/bin/python3", "-I", "-", verb, *words], int(timeout)), input=program, check=False, capture_output=True, text=True,
                              timeout=timeout + 15, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise CopyError(f"{words[0]}: {verb} did not end within {timeout:g} s") from error
    if done.returncode:
        raise CopyError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{words[0]}: {verb} ended with {done.returncode}")
    return done.stdout.strip()


def main(argv: list[str]) -> None:
    """Do what ``argv`` says; print bytes or whether something changed."""
    os.umask(0o027)
    try:
        print({"copy": copy, "prepare": prepare, "close": close, "remove": remove}[argv[0]](*argv[1:]))
    except CopyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
