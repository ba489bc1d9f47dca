# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that an older commit made: site.yml moves it to the folders of today while the app serves, and deploys go on from there."""
import pathlib
import subprocess

import pytest
from lab import ROOT, Load

BEFORE = "95d52b9"  # the last commit whose apps owned the folder `shared`, with their secrets in it


@pytest.fixture(scope="session")
def old():
    """A checkout of the older commit."""
    folder = ROOT / ".cache" / "upgrade" / BEFORE
    if not folder.is_dir():
        found = subprocess.run(["git", "cat-file", "-e", f"{BEFORE}^{{commit}}"], check=False, cwd=ROOT)
        assert found.returncode == 0, f"this clone has no commit {BEFORE}: git fetch --unshallow"
        folder.mkdir(parents=True)
        tree = subprocess.run(["git", "archive", BEFORE], check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=tree)
    return pathlib.Path(folder)


class Upgrade:
    """What happened."""


@pytest.fixture(scope="module")
def upgrade(server, old):
    """Make the server by the older commit, then move it under load, and deploy and roll back."""
    server.play("site", root=old)
    server.deploy("v1", root=old)
    server.deploy("v2", root=old)
    found = Upgrade()
    found.book = server.json("/api/books/", data={"title": "Kept", "price": "1.00"})["id"]
    found.keys = server.json("/api/jobs/", data={"count": 3, "seconds": 1})["keys"]
    found.rehearsed = server.play("site", "--check", "-v")
    with Load(server, "--rate", "20", "--slow", "2") as load:
        found.keys += server.json("/api/jobs/", data={"count": 1, "seconds": 30})["keys"]
        found.moved = server.play("site", "-v")
    found.move = load.report
    with Load(server, "--rate", "20", "--slow", "2") as load:
        found.deployed = server.deploy("v3")
        found.live = server.version()
        server.play("rollback", "-e", "django_app=bookshop")
        found.back = server.version()
    found.deploys = load.report
    return found


def test_no_request_fails_while_the_server_is_moved(upgrade):
    assert upgrade.move["requests"] >= 200
    assert upgrade.move["failed"] == 0, upgrade.move


def test_no_request_fails_at_the_first_deploys_after_it(upgrade):
    assert upgrade.deploys["failed"] == 0, upgrade.deploys
    assert (upgrade.live, upgrade.back) == ("v3", "v2")


def test_it_says_what_it_moves(upgrade):
    for run in (upgrade.rehearsed, upgrade.moved):
        assert "/opt/bookshop/shared/secrets.env to /etc/quayside/bookshop/secrets.env" in run.out, run.out[-5000:]


def test_nothing_is_lost(server, upgrade):
    def done():
        runs = {run["key"]: run for run in server.json("/api/jobs/?prefix=job-")}
        return runs if all(runs.get(key, {}).get("finished") for key in upgrade.keys) else None

    runs = server.until(done, 60, "the end of all tasks")
    assert {key: runs[key]["runs"] for key in upgrade.keys if runs[key]["runs"] != 1} == {}
    books = server.json("/api/books/")
    assert upgrade.book in [book["id"] for book in (books["results"] if isinstance(books, dict) else books)]


def test_what_root_opens_is_roots(server, upgrade):
    owners = server.inside("stat -c '%U %a %n' /opt/bookshop/shared /etc/quayside/bookshop /etc/quayside/bookshop/secrets.env")
    assert [line.split()[0] for line in owners.splitlines()] == ["root"] * 3, owners
    assert server.inside("test ! -e /opt/bookshop/shared/secrets.env && echo gone") == "gone"


def test_a_second_run_changes_nothing(server, upgrade):
    run = server.play("site")
    assert run.count("changed") == 0, run.out[-5000:]


def test_it_comes_back_after_a_reboot(server, upgrade):
    server.power("off")
    server.power("on")
    server.until(lambda: server.get("/healthz/")[0] == 200, 60, "the app")
