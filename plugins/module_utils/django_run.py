# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside an app's venv, not in Ansible's Python: several manage.py commands in one process, and the migration plan.

Starting Django costs more than most commands. Usage: ``python django_run.py manage.py``, then one JSON list a line on stdin, an
argument vector of manage.py each, or ``["plan"]``; a blank line or the end of input ends it. After each, one line on stdout that
begins with MARK, with JSON: {"status": 0, "plan": [...]}. All other output is the commands' own. The first such line, {"begun": true}, comes at once: what
starts this program in a container, the image's ENTRYPOINT, may never do so.
"""
import contextlib
import json
import os
import runpy
import sys
import traceback

MARK = "\x1equayside "
LOCK_TIMEOUT = "10s"
# What a CREATE INDEX CONCURRENTLY that was cancelled leaves; one that is being built now is as invalid, so those are left out.
INVALID_INDEXES = """select n.nspname, t.relname, c.relname from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace where not i.indisvalid and not exists (select 1 from pg_locks l where l.relation = c.oid and l.granted
and l.mode = 'ShareUpdateExclusiveLock') order by 1, 2, 3"""


def manage(path, argv):
    """Run manage.py with ``argv`` as if it had been started so; return its exit status."""
    sys.argv = [path] + argv
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # a command may raise anything; all of it is a failure of the command
        traceback.print_exc()
        return 1
    return 0


def describe(operation, app, state):
    """Return what hazards() wants to know of an operation of the Django app ``app``, against the project's state before it."""
    kind = type(operation).__name__
    entry = {"operation": kind, "model": getattr(operation, "model_name", ""), "name": getattr(operation, "name", "")}
    entry["old_name"] = getattr(operation, "old_name", "")
    if kind == "RenameModel":
        entry["new_name"] = operation.new_name
    field = getattr(operation, "field", None)
    if field is not None and kind in ("AddField", "AlterField"):
        from django.db.models import NOT_PROVIDED

        required = not field.null and getattr(field, "db_default", NOT_PROVIDED) is NOT_PROVIDED and not field.many_to_many
        if kind == "AlterField":
            model = state.models.get((app, operation.model_name.lower()))
            before = model.fields.get(operation.name) if model else None
            required = required and before is not None and before.null
        entry["required"] = bool(required)
    return entry


def plan():
    """Return the migrations that are not applied yet, in order, with their operations."""
    import django
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    django.setup()
    executor = MigrationExecutor(connections["default"])
    todo = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor._create_project_state(with_applied_migrations=True) if todo else None
    found = []
    for migration, _backwards in todo:
        operations = []
        for operation in migration.operations:
            operations += [describe(part, migration.app_label, state) for part in flatten([operation])]
            operation.state_forwards(migration.app_label, state)
        found.append({"app": migration.app_label, "name": migration.name, "operations": operations})
    connections.close_all()
    return found


def flatten(operations):
    """Yield operations; of SeparateDatabaseAndState only what it does to the database."""
    for operation in operations:
        if type(operation).__name__ == "SeparateDatabaseAndState":
            yield from flatten(operation.database_operations)
        else:
            yield operation


def limit_locks():
    """Let no migration wait long for a lock: all requests behind it would wait too, so it rather fails and leaves all serving.

    Said in the transaction, since a pooler such as pgBouncer takes no start-up options and hands sessions on. A migration without a transaction
    (``atomic = False``) builds an index beside the traffic: it waits as long as it has to, for an attempt that gives up leaves an invalid index.
    """
    from django.db.migrations.migration import Migration

    apply = Migration.apply

    def with_limit(self, project_state, schema_editor, *args, **kwargs):
        connection = schema_editor.connection
        if connection.vendor == "postgresql" and connection.in_atomic_block and not schema_editor.collect_sql:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '%s'" % LOCK_TIMEOUT)
        return apply(self, project_state, schema_editor, *args, **kwargs)

    Migration.apply = with_limit


def invalid_indexes():
    """Return the indexes of the default database that PostgreSQL does not use, each as schema, table and name."""
    from django.db import connections

    connection = connections["default"]
    try:
        if connection.vendor != "postgresql":
            return []
        with connection.cursor() as cursor:
            cursor.execute(INVALID_INDEXES)
            return [list(row) for row in cursor.fetchall()]
    except Exception:  # nothing is known then, and the failure that this was to explain is told anyway
        return []
    finally:
        connections.close_all()


def answered(answer):
    """Write an answer, in a line of its own."""
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()


def main():
    # One stream: Docker carries two, and the answer may overtake the error that it is about.
    os.dup2(1, 2)
    answered({"begun": True})
    path = os.path.abspath(sys.argv[1])
    sys.path.insert(0, os.path.dirname(path))
    with contextlib.suppress(ImportError):  # without Django the command itself says so
        limit_locks()
    for line in sys.stdin:
        if not line.strip():
            break
        argv, answer = json.loads(line), {}
        if argv == ["plan"]:
            try:
                answer = {"status": 0, "plan": plan()}
            except BaseException:  # whatever the project raises, the plan is unknown and the traceback says why
                traceback.print_exc()
                answer = {"status": 1}
        else:
            answer = {"status": manage(path, argv)}
            if answer["status"] and argv[:1] == ["migrate"]:
                answer["invalid_indexes"] = invalid_indexes()
        sys.stderr.flush()
        answered(answer)


if __name__ == "__main__":
    main()
