# SPDX-License-Identifier: GPL-3.0-or-later
"""The road of docs/getting-started.md, from a bare server to a rollback, by the playbooks of the installed collection."""
import re


def unchanged(run):
    """Assert that a run has changed nothing."""
    assert run.count("changed") == 0, run.out[-5000:]


def test_site_makes_the_server_ready(project):
    project.play("site", "--check", "--diff")
    project.play("site")


def test_deploy_ships_the_version_of_the_inventory(project, server):
    project.play("deploy")
    assert server.version() == "v1"


def test_a_second_time_nothing_changes(project):
    unchanged(project.play("site"))
    unchanged(project.play("deploy"))


def test_deploy_ships_another_version(project, server):
    project.play("deploy", "-e", "version=v2", "--check", "--diff")
    assert server.version() == "v1"
    project.play("deploy", "-e", "version=v2")
    assert server.version() == "v2"


def test_status_tells_what_is_live(project, server):
    run = project.play("status")
    unchanged(run)
    assert "v2" in run.out
    assert server.json("/healthz/")["release"] in run.out


def test_manage_runs_in_the_live_release(project):
    run = project.play("manage", "-e", "command=check")
    assert "System check identified no issues" in run.out
    assert "[X]" in project.play("manage", "-e", "command=showmigrations").out


def test_rollback_brings_the_version_before_back(project, server):
    project.play("rollback")
    assert server.version() == "v1"


def test_a_refusal_reads_the_same_here(project, server):
    run = project.play("deploy", "-e", "version=v77", ok=False)
    assert run.rc != 0
    assert "has no branch, tag or commit 'v77'" in " ".join(run.out.split())
    assert server.version() == "v1"


def test_the_documented_configuration_is_a_good_one(project):
    assert [words for words, out in project.said.items() if "ansible.cfg of your project lacks" in out] == []


def test_nothing_is_used_that_ansible_is_about_to_drop(project):
    found = {words: sorted(set(re.findall(r"\[DEPRECATION WARNING\].*(?:\nOrigin: .*)?", out))) for words, out in project.said.items()}
    assert {words: lines for words, lines in found.items() if lines} == {}
