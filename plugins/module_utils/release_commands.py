# SPDX-License-Identifier: GPL-3.0-or-later
"""The manage.py commands of a release: which of them come before its servers, and what they may mend. Pure."""
from __future__ import annotations

import re

# How a traceback names an error of the database, whichever driver raised it.
DATABASE = re.compile(r"^\W*(django\.db\.utils|psycopg2?|sqlite3|MySQLdb|pymysql|oracledb)\.[\w.]+(:|$)", re.MULTILINE)
# What no command mends: the code is not whole.
CODE = re.compile(r"^\W*(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError)(:|$)", re.MULTILINE)


def verb(command: dict) -> str:
    """Return what a command of the model does: ``migrate``.

    >>> verb({"manage": "migrate --noinput"})
    'migrate'
    """
    return command["manage"].split()[0]


def files(commands: list[dict]) -> list[dict]:
    """Return the commands that make the static files."""
    return [command for command in commands if verb(command) == "collectstatic"]


def ahead(commands: list[dict]) -> list[dict]:
    """Return those that make static files and can run before the migrations: none that follows a command of the app's own, which may prepare it."""
    own = next((number for number, command in enumerate(commands) if verb(command) not in ("migrate", "collectstatic")), len(commands))
    return files(commands[:own])


def may_mend(log: str, commands: list[dict]) -> bool:
    """Return whether the commands of a release may mend what the log of a server says, which did not start before them.

    Migrations mend errors of the database. What else a command of the app's own makes nobody knows, but it is not code.
    """
    own = any(verb(command) not in ("migrate", "collectstatic") for command in commands)
    return bool(DATABASE.search(log)) or (own and not CODE.search(log))
