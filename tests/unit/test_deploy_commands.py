# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a release, in their order, and what runs only once in the life of an app."""
import json

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, host, releases
from samples import loaded

COMMANDS = [{"name": "migrate", "manage": "migrate --noinput"}, {"name": "fixtures", "manage": "loaddata shops", "first": True},
            {"name": "owner", "manage": "createsuperuser", "first": True}]


class Process:
    """Stands in for Django: notes what it is asked, and fails where it is told to."""

    def __init__(self, fails):
        self.fails, self.asked = fails, []

    def ask(self, argv, _migrating=None):
        self.asked.append(argv[0])
        if argv == ["plan"]:
            return {"status": 0, "plan": []}, ""
        return {"status": int(argv[0] in self.fails), "invalid_indexes": [["public", "books", "by_title"]]}, "its output"

    def close(self):
        pass


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the commands of a new release and returns what Django was asked."""
    def run(release, live="", fails=()):
        app = dict(loaded(commands=COMMANDS, database={"engine": "postgresql"}), root=str(tmp_path))
        folder = tmp_path / "releases" / release
        folder.mkdir(parents=True)
        made = deploy.Deploy.__new__(deploy.Deploy)
        made.app, made.options, made.phases, made.notes = app, {"first": True, "hazards": False}, [], []
        made.shelf, made.release, made.record = releases.Shelf(str(tmp_path)), release, {"from": live}
        process = Process(fails)
        made.runtime = type("Runtime", (), {"manage": lambda self, *words: process, "by_hand": lambda self, *words: "by hand"})()
        try:
            made.migrate()
        finally:
            made.store()
        return process.asked
    return run


@pytest.mark.proves("0.35")
def test_what_runs_once_does_not_run_again_after_a_first_deploy_that_failed_later(run, tmp_path):
    assert run("20261128000000-aaaaaaa") == ["check", "plan", "migrate", "loaddata", "createsuperuser"]
    assert run("20261128000001-aaaaaaa") == ["check", "plan", "migrate"]
    # The mark goes on with the newest record, whichever is pruned.
    host.remove(str(tmp_path / "releases/20261128000000-aaaaaaa"))
    assert run("20261128000002-aaaaaaa") == ["check", "plan", "migrate"]


def test_what_failed_itself_is_tried_again(run):
    with pytest.raises(host.PhaseError):
        run("20261128000000-aaaaaaa", fails=("createsuperuser",))
    assert run("20261128000001-aaaaaaa") == ["check", "plan", "migrate", "createsuperuser"]


def test_nothing_of_it_runs_while_a_release_is_live(run):
    assert run("20261128000001-aaaaaaa", live="20261128000000-aaaaaaa") == ["check", "plan", "migrate"]


def test_a_failed_migration_names_the_invalid_index_that_it_has_met(run):
    with pytest.raises(host.PhaseError) as caught:
        run("20261128000000-aaaaaaa", fails=("migrate",))
    assert 'DROP INDEX CONCURRENTLY "public"."by_title";' in caught.value.reason


def test_the_record_is_json(run, tmp_path):
    run("20261128000000-aaaaaaa")
    assert json.loads((tmp_path / "releases/20261128000000-aaaaaaa/release.json").read_text())["first_done"] == ["fixtures", "owner"]
