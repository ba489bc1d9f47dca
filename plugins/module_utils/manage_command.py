# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manage.py command does to an app, told from its arguments and its output. Pure."""
from __future__ import annotations

# Commands of Django that change nothing.
READERS = {"check", "showmigrations", "sqlmigrate", "sqlflush", "sqlsequencereset", "diffsettings", "inspectdb", "findstatic", "dumpdata", "help",
           "version", "--version", "--help"}
# Command -> text in its output that tells that it had nothing to do.
IDLE = {"migrate": "No migrations to apply", "makemigrations": "No changes detected"}


def reads_only(argv: list[str]) -> bool:
    """Return True for a command that changes nothing, whatever it prints."""
    if argv[0] == "dumpdata" and any(word.startswith(("-o", "--output")) for word in argv):
        return False
    return argv[0] in READERS or "--help" in argv or "--dry-run" in argv or (argv[0] == "migrate" and {"--plan", "--check"} & set(argv) != set())


def changed(argv: list[str], output: str) -> bool:
    """Return False when a command has changed nothing; an unknown command is taken to have changed something."""
    if reads_only(argv):
        return False
    if argv[0] == "collectstatic":
        return not any(line.startswith("0 static files copied") for line in output.splitlines())
    return argv[0] not in IDLE or IDLE[argv[0]] not in output


def planned(output: str) -> bool:
    """Return True when the output of ``migrate --plan`` names an operation."""
    return "No planned migration operations" not in output
