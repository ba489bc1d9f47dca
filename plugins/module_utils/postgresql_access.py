# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps access to PostgreSQL though the inventory no longer has it. Pure."""
from __future__ import annotations

import re

RULE = re.compile(r'^local "([^"]+)" \+"([^"]+)" scram-sha-256$')
SECTION = "====="


def kept(found: str, databases: list[dict]) -> list[dict]:
    """Return name and user of the databases that left the list, as far as they are still there.

    An app that is taken out of the inventory, or renamed, runs on: without its database its scheduler would queue tasks that all fail.

    :param found: what the role has looked up: its clusters, the rules of pg_hba.conf and the databases, with a line SECTION between them
    :param databases: the list, each with a name
    """
    sections = found.split(SECTION)
    if len(sections) != 3:
        return []
    listed, there = {database["name"] for database in databases}, set(sections[2].split())
    rules = dict(match.groups() for match in map(RULE.match, sections[1].splitlines()) if match)
    # A server that does not answer has not said that a database is gone.
    return [{"name": name, "user": user} for name, user in sorted(rules.items()) if name not in listed and (name in there or not there)]
