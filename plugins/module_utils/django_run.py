# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside an app's venv, not in Ansible's Python: several manage.py commands in one process, and the migration plan.

Starting Django costs more than most commands. Usage: ``python django_run.py manage.py``, then one JSON list a line on stdin, an
argument vector of manage.py each, or ``["plan"]``; a blank line or the end of input ends it. After each, one line on stdout that
begins with MARK, with JSON: {"status": 0, "plan": [...]}. All other output is the commands' own.
"""
import json
import os
import runpy
import sys
import traceback

MARK = "\x1equayside "


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


def main():
    # One stream: Docker carries two, and the answer may overtake the error that it is about.
    os.dup2(1, 2)
    path = os.path.abspath(sys.argv[1])
    sys.path.insert(0, os.path.dirname(path))
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
        sys.stderr.flush()
        sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
