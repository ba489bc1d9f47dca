# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside an app's venv or image, not in Ansible's Python: every row of a SQLite database into the empty database of the settings.

Usage: ``python move_rows.py manage.py``, then one line of JSON on stdin: ``do`` (look, rehearse or move), ``source`` (path of the SQLite file), ``unset``
(names of variables that go) and ``env`` (variables that lead the settings to the new database; they hold a password, so they come this way). One line on
stdout that begins with MARK has the answer: ``rows`` (table -> number), ``left`` (tables that no model has), or ``error``.

Rows go as they are, keys included, by Django's own fields and without its signals, in one transaction. Counts are compared before it is committed.
"""
from __future__ import annotations

import json
import os
import sys
import types

MARK = "\x1equayside "
# What `migrate` itself writes into an empty database.
OWN = ("django_migrations", "django_content_type", "auth_permission")
CHUNK = 2000


class MoveError(Exception):
    """The move cannot be done; the text says why."""


def settle(order, path):
    """Let Django find the new database as ``default`` and the file as ``source``."""
    for name in order["unset"]:
        os.environ.pop(name, None)
    os.environ.update(order["env"])
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    import django
    from django.conf import settings

    settings.DATABASES["source"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": order["source"]}
    django.setup()
    from django.db import connections

    if connections["default"].vendor == "sqlite":
        raise MoveError("the settings of the live release still take SQLite with the env of the new database: let them read DATABASE_URL, or DATABASE_HOST "
                        "and DATABASE_NAME (docs/databases.md), deploy that, and try again")


def models():
    """Return the models with a table of their own in the default database, those between two models included."""
    from django.apps import apps
    from django.db import router

    found = {}
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if meta.managed and not meta.proxy and not meta.swapped and router.allow_migrate_model("default", model):
            found.setdefault(meta.db_table, model)
    return found


def count(alias, table):
    """Return the number of rows of a table."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connections[alias].ops.quote_name(table)}")
        return cursor.fetchone()[0]


def tables(alias):
    """Return the names of the tables of a database."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        return [info.name for info in connections[alias].introspection.get_table_list(cursor) if info.type in ("t", "p")]


def look():
    """Refuse a target that is in use and a source that it could not hold; return table -> rows of the source, and what no model has."""
    from django.db import connections

    used = [f"{table} ({rows})" for table in tables("default") if table not in OWN for rows in [count("default", table)] if rows]
    if used:
        raise MoveError(f"the new database is not empty, and nothing is written over: {', '.join(sorted(used)[:8])}. If these rows are of no use, drop the "
                        "database and run quayside.django.site, which makes it anew")
    with connections["source"].cursor() as cursor:
        cursor.execute("PRAGMA foreign_key_check")
        broken = cursor.fetchmany(5)
    if broken:
        raise MoveError("SQLite holds rows that refer to rows that are gone, which PostgreSQL does not take: " +
                        ", ".join(f"{table} row {row} refers to {parent}" for table, row, parent, _key in broken) + ". Remove or correct them first")
    known, have = models(), tables("source")
    missing = sorted(set(known) - set(have))
    if missing:
        raise MoveError(f"SQLite has no table {', '.join(missing)}: deploy the live release again, so that its migrations run")
    left = sorted(table for table in have if table not in known and table not in OWN and not table.startswith("sqlite_"))
    return {table: count("source", table) for table in sorted(known)}, left


def migrate():
    """Make the tables; refuse when the code has other migrations than the file."""
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", interactive=False, verbosity=0, database="default")
    applied = {}
    for alias in ("source", "default"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied[alias] = set(cursor.fetchall())
    ahead = sorted(".".join(one) for one in applied["default"] - applied["source"])
    if ahead:
        raise MoveError(f"migrations of the live release have not run on SQLite: {', '.join(ahead[:5])}: deploy it again first")


def move(expected, commit):
    """Copy all rows in one transaction and compare their numbers; undo it when ``commit`` is false."""
    from django.core.management.color import no_style
    from django.db import connections, transaction

    target, known = connections["default"], models()
    with transaction.atomic(using="default"):
        with target.cursor() as cursor:
            # What migrate and its data migrations wrote comes from the source again, with the keys that it has there.
            cursor.execute(f"TRUNCATE {', '.join(target.ops.quote_name(table) for table in known)}")
        for table, model in known.items():
            try:
                copy(model)
            except Exception as error:
                raise MoveError(f"the rows of {table} were not taken: {type(error).__name__}: {error}") from error
        target.check_constraints()
        with target.cursor() as cursor:
            for statement in target.ops.sequence_reset_sql(no_style(), list(known.values())):
                cursor.execute(statement)
        found = {table: count("default", table) for table in known}
        wrong = [f"{table} {expected[table]} became {found[table]}" for table in sorted(known) if found[table] != expected[table]]
        if wrong:
            raise MoveError(f"numbers of rows differ: {', '.join(wrong)}")
        if not commit:
            transaction.set_rollback(True, using="default")
    return found


def copy(model):
    """Copy the rows of one table."""
    from django.db.models import QuerySet

    fields = [field for field in model._meta.local_concrete_fields if not getattr(field, "generated", False)]
    names = [field.attname for field in fields]
    batch, most = [], max(1, min(CHUNK, 30000 // len(fields)))
    for row in QuerySet(model, using="source").order_by().values_list(*names).iterator(chunk_size=CHUNK):
        # No instance of the model: its signals and its __init__ are for other things.
        batch.append(types.SimpleNamespace(**dict(zip(names, row))))
        if len(batch) >= most:
            insert(model, fields, batch)
            batch = []
    if batch:
        insert(model, fields, batch)


def insert(model, fields, batch):
    """Insert rows as they are."""
    from django.db.models import QuerySet

    QuerySet(model, using="default")._insert(batch, fields=fields, using="default", raw=True)


def main():
    answer = {}
    try:
        order = json.loads(sys.stdin.readline())
        settle(order, sys.argv[1])
        answer["rows"], answer["left"] = look()
        if order["do"] != "look":
            migrate()
            answer["rows"] = move(answer["rows"], order["do"] == "move")
    except MoveError as error:
        answer = {"error": str(error)}
    except Exception as error:  # whatever the project, Django or the driver raises
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.exit(1 if "error" in answer else 0)


if __name__ == "__main__":
    main()
