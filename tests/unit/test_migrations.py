# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
import types

import pytest
from ansible_collections.quayside.django.plugins.module_utils import django_run, migrations


def plan(*operations, app="books", name="0002_next"):
    return [{"app": app, "name": name, "operations": list(operations)}]


def operation(kind, **fields):
    return {"operation": kind, "model": "", "name": "", "old_name": "", **fields}


CREATE = operation("CreateModel", name="Shelf")


@pytest.mark.parametrize(("done", "text"), [
    (operation("RemoveField", model="book", name="price"), "books.0002_next drops the column book.price, which the live release still reads and writes"),
    (operation("DeleteModel", name="Book"), "books.0002_next drops the table of Book, which the live release still uses"),
    (operation("RenameField", model="book", old_name="price", new_name="cost"), "books.0002_next renames the column book.price,"),
    (operation("RenameModel", old_name="Book", new_name="Title"), "books.0002_next renames the table of Book,"),
    (operation("AlterModelTable", name="book"), "books.0002_next renames the table of book,"),
    (operation("AddField", model="book", name="isbn", required=True), "books.0002_next adds the column book.isbn, NOT NULL and with no default"),
    (operation("AlterField", model="book", name="isbn", required=True), "books.0002_next makes book.isbn NOT NULL with no default"),
])
def test_what_the_live_release_cannot_live_with_is_named(done, text):
    (found,) = migrations.hazards(plan(done))
    assert found.startswith(text)


@pytest.mark.parametrize("done", [
    CREATE, operation("AddField", model="book", name="isbn", required=False), operation("AddField", model="book", name="isbn"),
    operation("AlterField", model="book", name="isbn", required=False), operation("AddIndex", model="book"), operation("RunPython"), operation("RunSQL"),
    operation("AlterModelOptions", name="book"), operation("AlterModelManagers", name="book"), operation("AddConstraint", model="book"),
    operation("SomethingOfTheirOwn"),
])
def test_what_it_can_live_with_is_no_hazard(done):
    assert migrations.hazards(plan(done)) == []


@pytest.mark.parametrize("done", [
    operation("RemoveField", model="shelf", name="x"), operation("AddField", model="shelf", name="x", required=True), operation("DeleteModel", name="Shelf"),
    operation("AlterField", model="Shelf", name="x", required=True), operation("RenameField", model="shelf", old_name="x"),
])
def test_a_table_that_the_plan_itself_makes_is_safe(done):
    assert migrations.hazards(plan(CREATE, done)) == []
    assert migrations.hazards(plan(CREATE) + plan(done, name="0003_more")) == []
    assert migrations.hazards(plan(done, CREATE)) != []
    assert migrations.hazards(plan(CREATE, app="other") + plan(done)) != []


def test_a_new_table_may_be_renamed_in_the_same_plan():
    assert migrations.hazards(plan(CREATE, operation("RenameModel", old_name="Shelf", new_name="Rack"))) == []


def test_an_empty_plan_has_no_hazards_and_no_labels():
    assert (migrations.hazards([]), migrations.label([])) == ([], [])


def test_migrations_are_called_as_django_calls_them():
    assert migrations.label(plan() + plan(app="jobs", name="0001_initial")) == ["books.0002_next", "jobs.0001_initial"]


# What django_run.py tells of an operation. Django is not here: stand-ins have its names and attributes.


class Field:
    many_to_many, db_default = False, "nothing"

    def __init__(self, null=False, **values):
        self.null = null
        self.__dict__.update(values)


@pytest.fixture(autouse=True)
def django(monkeypatch):
    models = types.ModuleType("django.db.models")
    models.NOT_PROVIDED = "nothing"
    for name, module in (("django", types.ModuleType("django")), ("django.db", types.ModuleType("django.db")), ("django.db.models", models)):
        monkeypatch.setitem(sys.modules, name, module)


def described(kind, field, before=None):
    state = types.SimpleNamespace(models={("books", "book"): types.SimpleNamespace(fields={"isbn": before} if before else {})})
    return django_run.describe(type(kind, (), {"model_name": "Book", "name": "isbn", "field": field})(), "books", state)


@pytest.mark.parametrize(("kind", "field", "before", "required"), [
    ("AddField", Field(), None, True),
    ("AddField", Field(null=True), None, False),
    ("AddField", Field(db_default="0"), None, False),
    ("AddField", Field(many_to_many=True), None, False),
    ("AlterField", Field(), Field(null=True), True),
    ("AlterField", Field(), Field(), False),
    ("AlterField", Field(null=True), Field(), False),
    ("AlterField", Field(db_default="0"), Field(null=True), False),
    ("AlterField", Field(), None, False),
])
def test_a_new_not_null_column_is_told_from_others(kind, field, before, required):
    assert described(kind, field, before) == {"operation": kind, "model": "Book", "name": "isbn", "old_name": "", "required": required}


def test_only_what_happens_in_the_database_counts():
    split = type("SeparateDatabaseAndState", (), {"database_operations": ["in the database"], "state_operations": ["in the state"]})()
    assert list(django_run.flatten(["before", split])) == ["before", "in the database"]


def made_migrations(monkeypatch, vendor="postgresql", in_atomic_block=True, collect_sql=False):
    """Return what a stand-in for Django's Migration does once locks are limited: its calls, in their order."""
    calls = []

    class Cursor:
        def __enter__(self):
            return self

        def __exit__(self, *_error):
            return None

        def execute(self, statement):
            calls.append(statement)

    class Migration:
        def apply(self, project_state, schema_editor, collect_sql=False):
            calls.append("apply")
            return project_state

    names = ["django", "django.db", "django.db.migrations", "django.db.migrations.migration"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[names[-1]].Migration = Migration
    django_run.limit_locks()
    connection = types.SimpleNamespace(vendor=vendor, in_atomic_block=in_atomic_block, cursor=Cursor)
    assert Migration().apply("state", types.SimpleNamespace(connection=connection, collect_sql=collect_sql)) == "state"
    return calls


@pytest.mark.parametrize(("fields", "calls"), [
    ({}, ["SET LOCAL lock_timeout = '10s'", "apply"]),
    ({"in_atomic_block": False}, ["apply"]),  # an index beside the traffic waits as long as it has to
    ({"vendor": "sqlite"}, ["apply"]), ({"vendor": "mysql"}, ["apply"]), ({"collect_sql": True}, ["apply"]),
])
def test_a_migration_waits_for_no_lock_for_long_unless_it_has_no_transaction(monkeypatch, fields, calls):
    assert made_migrations(monkeypatch, **fields) == calls


def test_an_invalid_index_is_named_with_the_statement_that_removes_it():
    (text,) = migrations.invalid([["public", "books_book", 'by "title"']])
    assert 'by "title" on books_book is an invalid index' in text
    assert text.endswith('DROP INDEX CONCURRENTLY "public"."by ""title""";')
