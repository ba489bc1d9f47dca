# SPDX-License-Identifier: GPL-3.0-or-later
"""The commit of a folder is found, and no program that its repository names is run on the controller."""
from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.plugin_utils import folder_commit

ENV = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
       "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}


def git(folder, *words):
    """Run git as the folder's owner did."""
    return subprocess.run(["git", "-C", str(folder), *words], env=ENV, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Return a repository with one commit, with an ignored file beside it."""
    folder = tmp_path / "shop"
    (folder / "backend").mkdir(parents=True)
    (folder / "backend" / "manage.py").write_text("pass\n")
    (folder / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "init", "-q", "-b", "main", "shop")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    (folder / "x.pyc").write_text("")
    return folder


def test_a_folder_of_git_has_its_commit(repository):
    assert folder_commit.commit(str(repository)) == git(repository, "rev-parse", "HEAD")
    assert folder_commit.commit(str(repository / "backend")) == git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "--detach")
    assert folder_commit.commit(str(repository)) == git(repository, "rev-parse", "HEAD")


def test_refs_that_are_packed_and_other_work_trees_are_read(repository, tmp_path):
    git(repository, "pack-refs", "--all")
    git(repository, "gc", "-q")
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    git(tmp_path / "side", "commit", "-q", "--allow-empty", "-m", "two")
    assert folder_commit.commit(str(repository)) == git(repository, "rev-parse", "main")
    assert folder_commit.commit(str(tmp_path / "side")) == git(repository, "rev-parse", "side")


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "backend" / "manage.py").write_text("print()\n"),
    lambda folder: (folder / "backend" / "new.py").write_text(""),
    lambda folder: (folder / "backend" / "manage.py").unlink(),
    lambda folder: git(folder, "rm", "-q", "--cached", "backend/manage.py"),
    lambda folder: (folder / "backend" / "manage.py").chmod(0o755),
])
def test_a_folder_with_changes_has_none(repository, change):
    change(repository)
    assert folder_commit.commit(str(repository)) == ""


def test_changes_elsewhere_in_the_repository_do_not_count(repository):
    (repository / "other.txt").write_text("")
    assert folder_commit.commit(str(repository / "backend")) == git(repository, "rev-parse", "HEAD")


def test_a_folder_that_git_ignores_is_no_part_of_the_commit_around_it(repository):
    (repository / ".git/info").mkdir(exist_ok=True)
    (repository / ".git/info/exclude").write_text("/made/\n")
    (repository / "made").mkdir()
    (repository / "made/x").write_text("x")
    assert folder_commit.commit(str(repository / "made")) == ""
    assert folder_commit.commit(str(repository)) != ""


def test_what_is_no_repository_has_none(tmp_path):
    assert folder_commit.commit(str(tmp_path)) == ""
    assert folder_commit.commit(str(tmp_path / "missing")) == ""
    git(tmp_path, "init", "-q", "empty")
    assert folder_commit.commit(str(tmp_path / "empty")) == ""


def test_submodules_make_it_a_folder_of_no_commit(repository, tmp_path):
    git(tmp_path, "-c", "protocol.file.allow=always", "clone", "-q", str(repository), "lib")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "lib"), "lib")
    git(repository, "commit", "-q", "-m", "lib")
    assert folder_commit.commit(str(repository)) == ""
    assert folder_commit.commit(str(repository / "backend")) == git(repository, "rev-parse", "HEAD")


def spring(repository, trap):
    """Make every file look changed, so that git has to read all of it."""
    for path in (repository / "backend" / "manage.py", repository / ".gitattributes"):
        os.utime(path, (1, 1))
    assert not trap.exists()


def planted(repository, tmp_path, name):
    """Plant one way in which a repository runs a program; return the file that shows that it ran."""
    trap = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    program.chmod(0o755)
    attributes = repository / ".gitattributes"
    attributes.write_text("*.py filter=evil diff=evil\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "attributes")
    if name == "fsmonitor":
        git(repository, "config", "core.fsmonitor", str(program))
    if name == "hooks":
        git(repository, "config", "core.hooksPath", str(tmp_path / "hooks"))
        (tmp_path / "hooks").mkdir()
        for hook in ("post-index-change", "reference-transaction", "fsmonitor-watchman"):
            shutil.copy(program, tmp_path / "hooks" / hook)
        shutil.copy(program, repository / ".git" / "hooks" / "post-index-change")
    if name == "filter":
        git(repository, "config", "filter.evil.clean", str(program))
        git(repository, "config", "diff.evil.textconv", str(program))
    if name == "process":
        git(repository, "config", "filter.evil.process", str(program))
    if name == "include":
        (tmp_path / "more").write_text(f"[core]\n\tfsmonitor = {program}\n[filter \"evil\"]\n\tclean = {program}\n")
        git(repository, "config", "include.path", str(tmp_path / "more"))
    if name == "attributes":
        (repository / ".git" / "info").mkdir(exist_ok=True)
        (repository / ".git" / "info" / "attributes").write_text("* filter=evil\n")
        git(repository, "config", "filter.evil.clean", str(program))
    if name == "promisor":
        program.write_text(f"#!/bin/sh\ntouch {trap}\nexit 1\n")
        git(repository, "config", "extensions.partialClone", "origin")
        git(repository, "config", "remote.origin.promisor", "true")
        git(repository, "config", "remote.origin.url", f"ext::{program}")
        git(repository, "config", "protocol.ext.allow", "always")
        tree = git(repository, "rev-parse", "HEAD^{tree}")
        (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    if name == "fifo":
        (repository / ".git" / "HEAD").unlink()
        os.mkfifo(repository / ".git" / "HEAD")
    return trap


TRAPS = ["fsmonitor", "hooks", "filter", "process", "include", "attributes", "promisor", "fifo"]


@pytest.mark.parametrize("name", TRAPS)
def test_nothing_that_a_repository_names_is_run(repository, tmp_path, name):
    trap = planted(repository, tmp_path, name)
    trap.unlink(missing_ok=True)
    spring(repository, trap)
    sha = folder_commit.commit(str(repository))
    assert not trap.exists()
    if name not in ("promisor", "fifo"):
        assert sha == git(repository, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")


@pytest.mark.parametrize("name", [name for name in TRAPS if name != "fifo"])
def test_each_trap_is_one_for_git_itself(repository, tmp_path, name):
    trap = planted(repository, tmp_path, name)
    trap.unlink(missing_ok=True)
    spring(repository, trap)
    subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=repository, env=ENV, capture_output=True, check=False, timeout=30)
    assert trap.exists()
