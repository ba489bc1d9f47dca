# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import sqlite_copy

# Two tables that every transaction grows together, as fast as it can; it says how many are committed.
WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print("ready", flush=True)
number = 0
while True:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders VALUES (?, ?)", (number, "x" * 500))
    db.execute("INSERT INTO payments VALUES (?)", (number,))
    db.execute("COMMIT")
    number += 1
    time.sleep(0.002)
"""


@pytest.fixture
def database(tmp_path):
    """Return the path of a database with two tables."""
    path = str(tmp_path / "db.sqlite3")
    with sqlite_copy.Closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE orders (id INTEGER, note TEXT)")
        db.execute("CREATE TABLE payments (id INTEGER)")
    return path


def counts(path):
    with sqlite_copy.Closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return tuple(db.execute(f"SELECT count(*), coalesce(max(id), -1) FROM {table}").fetchone() for table in ("orders", "payments"))


@pytest.mark.proves("3.11")
@pytest.mark.parametrize("wal", [True, False])
def test_a_copy_under_writes_is_whole(database, tmp_path, wal):
    if wal:
        assert sqlite_copy.prepare(database)
    seen = []
    with subprocess.Popen([sys.executable, "-c", WRITER, database], stdout=subprocess.PIPE, text=True) as writer:
        try:
            writer.stdout.readline()
            for number in range(8):
                target = str(tmp_path / f"copy-{number}")
                assert sqlite_copy.copy(database, target) == os.path.getsize(target)
                orders, payments = counts(target)
                assert orders == payments and orders[0] == orders[1] + 1
                seen.append(orders[0])
                assert not [name for name in os.listdir(tmp_path) if name.startswith(f"copy-{number}") and name != f"copy-{number}"]
        finally:
            writer.kill()
    assert seen == sorted(seen) and seen[-1] > seen[0], "the writer did not write meanwhile"
    if wal:
        with sqlite_copy.Closing(sqlite3.connect(str(tmp_path / "copy-0"))) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.mark.proves("3.35")
def test_the_file_is_made_once_and_never_emptied(tmp_path):
    path = str(tmp_path / "new.sqlite3")
    assert sqlite_copy.prepare(path) is True
    with sqlite_copy.Closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.execute("CREATE TABLE kept (id INTEGER)")
        db.execute("INSERT INTO kept VALUES (7)")
    before = os.stat(path)
    assert sqlite_copy.prepare(path) is False
    with sqlite_copy.Closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM kept").fetchall() == [(7,)]
    assert (os.stat(path).st_ino, os.stat(path).st_uid, os.stat(path).st_mode) == (before.st_ino, before.st_uid, before.st_mode)


def test_a_copy_is_for_its_owner_alone_and_replaces_the_last(database, tmp_path):
    target = tmp_path / "copy"
    target.write_text("an older copy")
    sqlite_copy.copy(database, str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert counts(str(target)) == ((0, -1), (0, -1))


def test_a_missing_database_is_told(tmp_path):
    with pytest.raises(sqlite_copy.CopyError, match="there is no SQLite database at .*gone"):
        sqlite_copy.copy(str(tmp_path / "gone"), str(tmp_path / "copy"))
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_no_database_leaves_nothing_behind(tmp_path):
    (tmp_path / "db").write_text("no database at all" * 100)
    with pytest.raises(sqlite_copy.CopyError, match="cannot be copied to .*: file is not a database"):
        sqlite_copy.copy(str(tmp_path / "db"), str(tmp_path / "copy"))
    assert os.listdir(tmp_path) == ["db"]


def test_a_writer_that_never_ends_is_waited_for_only_so_long(database, tmp_path):
    with sqlite_copy.Closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite_copy.CopyError, match="was locked by a writer for 0.3 s|database is locked"):
            sqlite_copy.copy(database, str(tmp_path / "copy"), timeout=0.3)
    assert sorted(os.listdir(tmp_path)) == ["db.sqlite3"]


def test_take_moves_the_copy_to_a_place_that_the_app_cannot_write(database, tmp_path):
    (tmp_path / "release").mkdir()
    target = str(tmp_path / "release" / "database.sqlite3")
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives the copy to root")
    os.chmod(tmp_path, 0o711)
    size = sqlite_copy.take(start, database, target, os.geteuid())
    assert size == os.path.getsize(target)
    assert counts(target) == ((0, -1), (0, -1))
    assert sorted(os.listdir(tmp_path)) == ["db.sqlite3", "release"]


def start(command, _timeout):
    """The app's user of these tests is whoever runs them."""
    return command


def test_as_app_says_what_the_program_said(tmp_path):
    with pytest.raises(sqlite_copy.CopyError, match=r"\Athere is no SQLite database at /nowhere\Z"):
        sqlite_copy.as_app(start, "copy", "/nowhere", str(tmp_path / "x"))
    assert sqlite_copy.as_app(start, "prepare", str(tmp_path / "db")) == "True"
