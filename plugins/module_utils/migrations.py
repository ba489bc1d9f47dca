# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration plan does to the release that still serves while it runs. Pure."""
from __future__ import annotations

# Operation -> why code of before cannot live with it. Django's own operation names.
BREAKS = {
    "RemoveField": "drops the column {model}.{name}, which the live release still reads and writes",
    "DeleteModel": "drops the table of {name}, which the live release still uses",
    "RenameField": "renames the column {model}.{old_name}, which the live release still uses",
    "RenameModel": "renames the table of {old_name}, which the live release still uses",
    "AlterModelTable": "renames the table of {name}, which the live release still uses",
    "AddField": "adds the column {model}.{name}, NOT NULL and with no default in the database: the live release's inserts would fail",
    "AlterField": "makes {model}.{name} NOT NULL with no default in the database: the live release's inserts may fail",
}


def hazards(plan: list[dict]) -> list[str]:
    """Return a line for each operation that the live release cannot live with.

    ``plan``: [{app, name, operations: [{operation, model, name, old_name, required}]}]; ``required`` is True for a field that is
    NOT NULL, has no default in the database and, for AlterField, was nullable before. Tables that the plan itself made are safe.
    """
    found, made = [], set()
    for migration in plan:
        for operation in migration["operations"]:
            kind = operation["operation"]
            table = (migration["app"], (operation.get("model") or operation.get("name") or operation.get("old_name") or "").lower())
            if kind == "CreateModel":
                made.add((migration["app"], operation["name"].lower()))
            if kind == "RenameModel" and table in made:
                made.add((migration["app"], operation.get("new_name", "").lower()))
            if kind not in BREAKS or table in made:
                continue
            if kind in ("AddField", "AlterField") and not operation.get("required"):
                continue
            reason = BREAKS[kind].format(**{key: operation.get(key, "?") for key in ("model", "name", "old_name")})
            found.append(f"{migration['app']}.{migration['name']} {reason}")
    return found


def label(plan: list[dict]) -> list[str]:
    """Return app.name of each migration of a plan."""
    return [f"{migration['app']}.{migration['name']}" for migration in plan]


def invalid(indexes: list) -> list[str]:
    """Return what is to be said of invalid indexes (schema, table, name): what they are, and the statement to type.

    >>> invalid([["public", "books", "by_title"]])[0].partition(": ")[0]
    'by_title on books is an invalid index'
    """
    return [f"{name} on {table} is an invalid index: a CREATE INDEX CONCURRENTLY that did not end has left it, PostgreSQL does not use it, and the migration "
            f"finds its name taken. Remove it in the database: {drop(schema, name)}" for schema, table, name in indexes]


def drop(schema: str, name: str) -> str:
    """Return the statement that removes an index beside the traffic."""
    return f"DROP INDEX CONCURRENTLY {quoted(schema)}.{quoted(name)};"


def quoted(name: str) -> str:
    """Return a name as SQL writes it.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'
