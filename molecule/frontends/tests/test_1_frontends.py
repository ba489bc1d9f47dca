# SPDX-License-Identifier: GPL-3.0-or-later
"""A static build served by the edge, a Node process under systemd, a source sent by rsync, and SQLite: over three deploys."""
import json
import re
import shutil
import subprocess

import pytest
from lab import ROOT, Load

SHOP = ROOT / ".cache" / "frontends-shop"
HERE = ROOT / "molecule" / "frontends"


def git(*words):
    """Run git in the app's folder as nobody in particular."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *who, *words], cwd=SHOP, check=True, capture_output=True, text=True).stdout.strip()


def change(path, old, new):
    """Change a file of the app and commit it; return the commit."""
    file = SHOP / path
    file.write_text(file.read_text().replace(old, new))
    git("commit", "-qam", f"{old} is now {new}")
    return git("rev-parse", "HEAD")


@pytest.fixture(scope="module", autouse=True)
def first(server):
    """The app's folder is there and its first commit is live; the commit."""
    shutil.rmtree(SHOP, ignore_errors=True)
    shutil.copytree(ROOT / "examples/bookshop", SHOP, ignore=shutil.ignore_patterns("versions", "make-repository", "*.sqlite3", ".ruff_cache", "__pycache__"))
    shutil.copytree(HERE / "frontend", SHOP / "frontend")
    subprocess.run(["npm", "install", "--package-lock-only", "--no-audit", "--no-fund"], cwd=SHOP / "frontend", check=True, capture_output=True)
    (SHOP / ".gitignore").write_text("node_modules\ndist\nlocal.txt\n")
    subprocess.run(["git", "init", "-q", "--initial-branch=main", "."], cwd=SHOP, check=True)
    git("add", "--all")
    git("commit", "-qm", "first")
    (SHOP / "local.txt").write_text("mine")
    server.play("deploy")
    return git("rev-parse", "HEAD")


def spa(server):
    """Return the path of the script that the page names."""
    return re.search(rb'src="([^"]+)"', server.get("/app/")[2])[1].decode()


@pytest.mark.proves("0.03", "0.05")
def test_the_version_is_the_commit_and_what_git_ignores_stays_at_home(server, first):
    assert server.version() == first
    sent = server.inside("ls -a /var/cache/quayside/bookshop/source").split()
    assert "local.txt" not in sent
    assert ".git" not in sent
    assert "manage.py" in sent


def test_a_second_deploy_sends_and_changes_nothing(server):
    assert server.play("deploy").count("changed") == 0


@pytest.mark.proves("0.28")
def test_the_build_has_the_environments_values_and_hashed_files_are_kept_for_a_year(server):
    status, headers, body = server.get(spa(server))
    assert status == 200
    assert b"https://api.frontends.example.com" in body
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "immutable" not in server.get("/app/")[1].get("Cache-Control", "")


@pytest.mark.proves("3.16")
def test_a_deep_link_gets_the_page(server):
    assert server.get("/app/a/b")[0] == 200
    assert server.get("/app/a/b")[2] == server.get("/app/")[2]
    assert server.get("/app/assets/missing.js")[0] in (200, 404)


def test_the_node_process_answers_on_its_route_and_its_stable_port(server):
    release = server.inside("basename $(readlink /opt/bookshop/live)")
    answer = server.json("/node/x")
    assert (answer["release"], answer["path"]) == (release, "/node/x")
    assert json.loads(server.inside("curl -sS http://127.0.0.1:3000/node/y"))["release"] == release
    listening = server.inside("ss -tlnH | grep -c ':3000 '")
    assert listening == "1"
    assert server.inside("ps -o user= -p $(pgrep -x node)") == "bookshop"


@pytest.mark.proves("0.34")
def test_no_request_of_any_of_them_fails_while_a_new_commit_goes_live(server):
    before = spa(server)
    commit = change("frontend/build.js", "window.number", "window.count")
    with Load(server, "--rate", "50") as load:
        server.play("deploy")
    assert load.report["failed"] == 0, load.report
    assert server.version() == commit
    assert spa(server) != before
    assert server.get(before)[0] == 200, "a page of before asks for its script"
    assert server.json("/node/x")["release"] == server.inside("basename $(readlink /opt/bookshop/live)")


@pytest.mark.proves("0.33")
def test_a_build_that_fails_leaves_all_serving(server):
    live = server.version()
    change("frontend/build.js", 'require("crypto")', 'require("nosuch")')
    run = server.play("deploy", ok=False)
    assert run.rc != 0
    assert "`npm ci && npm run build` ended with" in run.out
    assert "nosuch" in run.out
    assert server.version() == live
    change("frontend/build.js", 'require("nosuch")', 'require("crypto")')


@pytest.mark.proves("3.11", "3.35")
def test_the_sqlite_file_is_never_touched_but_by_its_app(server):
    book = server.json("/api/books/", data={"title": "Persuasion", "price": "7.50"})
    look = "stat -c '%i %U %a' /opt/bookshop/shared/database/db.sqlite3"
    before = server.inside(look)
    server.play("rollback")
    server.play("site")
    assert server.inside(look) == before
    assert book["id"] in [one["id"] for one in server.json("/api/books/")]
    assert server.inside("python3 -c 'import sqlite3; print(sqlite3.connect(\"/opt/bookshop/shared/database/db.sqlite3\")"
                         ".execute(\"pragma journal_mode\").fetchone()[0])'") == "wal"


def test_a_rollback_brings_back_node_and_page_too(server):
    assert b"window.number" in server.get(spa(server))[2]
    assert server.json("/node/x")["release"] == server.inside("basename $(readlink /opt/bookshop/live)")


def builds(server):
    """Return the builds that are kept, with the time at which each was whole."""
    return server.inside("cd /opt/bookshop/builds && stat -c '%n %Y' *.complete")


@pytest.mark.proves("0.35")
def test_a_release_that_failed_its_probe_is_built_no_second_time(server):
    """The build ran for the first try; the second one, and what changes no input, take its files."""
    change("frontend/build.js", "window.", "window.third_")
    change("config/urls.py", "healthz/?", "sick/?")
    words = ["-e", "@" + server.changed_app(lambda app: app["health"].update(timeout=5))]
    live = server.version()
    run = server.play("deploy", *words, ok=False)
    assert "probe" in run.out
    made = builds(server)
    change("config/urls.py", "sick/?", "healthz/?")
    rehearsal = server.play("deploy", "--check")
    assert "`npm ci && npm run build` is reused" in rehearsal.out
    run = server.play("deploy")
    assert "nothing that it is made from has changed, reused" in run.out
    assert server.version() != live
    assert b"window.third_" in server.get(spa(server))[2]
    assert server.json("/node/x")["release"] == server.inside("basename $(readlink /opt/bookshop/live)")
    (key,) = json.loads(server.inside("cat /opt/bookshop/live/release.json"))["builds"]
    assert key in made
    assert f"{key}.complete" in builds(server)
    assert [line for line in builds(server).splitlines() if line in made.splitlines()]
    # What two releases share is root's, and the app cannot reach the folder of all builds.
    file = server.inside("ls /opt/bookshop/live/code/frontend/dist/assets/*.js")
    assert server.inside(f"stat -c '%U %h' {file}").split()[0] == "root"
    assert int(server.inside(f"stat -c %h {file}")) >= 2
    assert server.inside("stat -c '%U %a' /opt/bookshop/builds") == "root 700"


def test_a_rebuild_builds_anew(server):
    before = builds(server)
    run = server.play("deploy", "-e", "rebuild=true")
    assert "`npm ci && npm run build`: built in" in run.out
    assert set(builds(server).splitlines()) - set(before.splitlines())
