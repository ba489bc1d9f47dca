# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex

import pytest
from ansible_collections.quayside.django.plugins.module_utils import manage_command


@pytest.mark.parametrize("command", ["check --deploy", "showmigrations --plan", "sqlmigrate books 0001", "diffsettings", "migrate --plan", "migrate --check",
                                     "migrate books --plan", "makemigrations --dry-run", "collectstatic --dry-run --noinput", "help", "--version",
                                     "clearsessions --help", "dumpdata books", "inspectdb", "findstatic site.css"])
def test_commands_that_only_read_change_nothing_whatever_they_print(command):
    argv = shlex.split(command)
    assert manage_command.reads_only(argv)
    assert not manage_command.changed(argv, "anything at all")


@pytest.mark.parametrize("command", ["migrate", "migrate books 0001", "makemigrations", "collectstatic --noinput", "loaddata x", "createsuperuser",
                                     "clearsessions", "shell", "flush --noinput", "their_own_command", "migrate --planned"])
def test_other_commands_may_change_something(command):
    assert not manage_command.reads_only(shlex.split(command))


@pytest.mark.parametrize(("command", "output", "changed"), [
    ("migrate --noinput", "Operations to perform:\n  Apply all migrations: books\nRunning migrations:\n  No migrations to apply.\n", False),
    ("migrate --noinput", "Running migrations:\n  Applying books.0002_cover... OK\n", True),
    ("makemigrations", "No changes detected\n", False),
    ("makemigrations", "Migrations for 'books':\n  books/migrations/0003_x.py\n", True),
    ("collectstatic --noinput", "\n0 static files copied to '/x', 131 unmodified.\n", False),
    ("collectstatic --noinput", "0 static files copied to '/x', 131 unmodified, 130 post-processed.", False),
    ("collectstatic --noinput", "Found another file with the destination path 'a.css'.\n\n0 static files copied to '/x', 3 unmodified.", False),
    ("collectstatic --noinput", "\n1 static file copied to '/x'.", True),
    ("collectstatic --noinput", "\n10 static files copied to '/x', 121 unmodified.", True),
    ("loaddata first_books", "Installed 3 object(s) from 1 fixture(s)", True),
    ("loaddata first_books", "No migrations to apply", True),
    ("their_own_command", "", True),
])
def test_changed_is_told_from_what_a_command_printed(command, output, changed):
    assert manage_command.changed(shlex.split(command), output) is changed


@pytest.mark.parametrize(("output", "planned"), [
    ("Planned operations:\n  No planned migration operations.\n", False),
    ("Planned operations:\nbooks.0002_cover\n    Add field cover to book\n", True),
])
def test_a_plan_is_told_from_an_empty_one(output, planned):
    assert manage_command.planned(output) is planned


@pytest.mark.parametrize("command", ["dumpdata books -o books.json", "dumpdata --output=books.json"])
def test_dumpdata_into_a_file_changes_something(command):
    assert not manage_command.reads_only(shlex.split(command))
