# SPDX-License-Identifier: GPL-3.0-or-later
"""The road of docs/getting-started.md, from a bare server to a rollback, by the playbooks of the installed collection."""


def quiet(run):
    """Assert that a run has changed nothing and warned of nothing."""
    assert run.count("changed") == 0, run.out[-5000:]
    sound(run)


def sound(run):
    """Assert that a run used nothing that this ansible-core is about to drop, and found its configuration good."""
    assert "DEPRECAT" not in run.out, run.out[-5000:]
    assert "[WARNING]" not in run.out, run.out[-5000:]


def test_site_makes_the_server_ready(project):
    sound(project.play("site", "--check", "--diff"))
    sound(project.play("site"))


def test_deploy_ships_the_version_of_the_inventory(project, server):
    sound(project.play("deploy"))
    assert server.version() == "v1"


def test_a_second_time_nothing_changes(project):
    quiet(project.play("site"))
    quiet(project.play("deploy"))


def test_deploy_ships_another_version(project, server):
    sound(project.play("deploy", "-e", "version=v2", "--check", "--diff"))
    assert server.version() == "v1"
    sound(project.play("deploy", "-e", "version=v2"))
    assert server.version() == "v2"


def test_status_tells_what_is_live(project, server):
    run = project.play("status")
    quiet(run)
    assert "v2" in run.out
    assert server.json("/healthz/")["release"] in run.out


def test_manage_runs_in_the_live_release(project):
    run = project.play("manage", "-e", "command=check")
    assert "System check identified no issues" in run.out
    assert "[X]" in project.play("manage", "-e", "command=showmigrations").out


def test_rollback_brings_the_version_before_back(project, server):
    sound(project.play("rollback"))
    assert server.version() == "v1"


def test_a_refusal_reads_the_same_here(project, server):
    run = project.play("deploy", "-e", "version=v77", ok=False)
    assert run.rc != 0
    assert "has no branch, tag or commit 'v77'" in " ".join(run.out.split())
    assert server.version() == "v1"
