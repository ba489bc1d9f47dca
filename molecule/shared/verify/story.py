# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a busy day under load: four versions, a rollback, three bad releases. Everything is seen from outside."""
import re
import time

import pytest
from lab import Load

WORKING = ("v2", "v3", "v4")
BAD = {"broken": "check", "sick": "probe", "badmigration": "migrate"}
SCHEMA = ("runuser -u postgres -- psql -qAt bookshop -c \"select table_name, column_name, data_type, is_nullable from information_schema.columns "
          "where table_schema = 'public' order by 1, 2\" -c 'select app, name from django_migrations order by 1, 2'")


class Day:
    """What happened."""

    def __init__(self):
        self.runs, self.live, self.keys, self.after = {}, {}, [], {}


def queue(server, day, count=1, seconds=0):
    """Queue tasks and remember their keys."""
    day.keys += server.json("/api/jobs/", data={"count": count, "seconds": seconds})["keys"]


def outcomes(server):
    """Return release -> the outcome in its record."""
    lines = server.inside("cd /opt/bookshop/releases && grep -H outcome */release.json")
    return {line.split("/")[0]: line.split('"')[3] for line in lines.splitlines()}


@pytest.fixture(scope="module")
def day(server):
    """Live through the day once per server."""
    day = Day()
    server.deploy("v1")
    server.watch("beat")
    day.began = time.time()
    with Load(server, "--rate", "50", "--slow", "2") as load:
        queue(server, day, 1, 20)
        for version in WORKING:
            queue(server, day, 5, 1)
            day.runs[version] = server.deploy(version)
            day.live[version] = server.version()
            queue(server, day, 5)
        day.runs["rollback"] = server.play("rollback", "-e", "django_app=bookshop")
        day.live["rollback"] = server.version()
        schema = server.inside(SCHEMA)
        for version in BAD:
            day.runs[version] = server.deploy(version, ok=False)
            day.live[version] = server.version()
            day.after[version] = (server.instances(), outcomes(server), server.inside("cat /opt/bookshop/lock"), server.inside(SCHEMA) == schema,
                                  server.inside("readlink /opt/bookshop/live"))
            queue(server, day, 2)
    day.report, day.ended = load.report, time.time()
    return day


@pytest.mark.promise("deploy", "rollback")
@pytest.mark.proves("0.34", "2.34", "2.25")
def test_no_request_fails(day):
    assert day.report["requests"] >= 2000
    assert day.report["failed"] == 0, day.report


@pytest.mark.promise("deploy")
def test_all_versions_served(day):
    assert set(day.report["versions"]) == {"v1", *WORKING}


@pytest.mark.promise("deploy")
@pytest.mark.parametrize("version", WORKING)
def test_a_deploy_makes_its_version_live(day, version):
    assert day.live[version] == version


@pytest.mark.promise("rollback")
@pytest.mark.proves("0.46")
def test_a_rollback_brings_back_what_was_live_before(day):
    assert day.live["rollback"] == "v3"


@pytest.mark.promise("deploy")
@pytest.mark.proves("0.35", "1.15", "0.36", "3.60")
@pytest.mark.parametrize("version", BAD)
def test_a_bad_release_fails_with_phase_and_reason(day, version):
    run = day.runs[version]
    assert run.rc != 0
    assert f"It failed in the phase {BAD[version]}:" in run.out
    assert {"broken": "books.isbn", "sick": "status 500", "badmigration": "stars"}[version] in run.out


@pytest.mark.promise("deploy")
@pytest.mark.parametrize("version", BAD)
def test_a_bad_release_leaves_everything_as_it_was(day, version):
    running, outcomes, lock, same_schema, live = day.after[version]
    assert day.live[version] == "v3"
    assert same_schema
    assert not lock
    assert live.removeprefix("releases/") in running
    assert {release: units for release, units in running.items() if outcomes.get(release) != "live"} == {}


@pytest.mark.promise("tasks under way")
@pytest.mark.proves("2.20", "2.21")
def test_every_task_ran_exactly_once(server, day):
    def done():
        runs = {run["key"]: run for run in server.json("/api/jobs/?prefix=job-")}
        return runs if all(runs.get(key, {}).get("finished") for key in day.keys) else None

    runs = server.until(done, 60, "the end of all tasks")
    assert {key: runs[key]["runs"] for key in day.keys if runs[key]["runs"] != 1} == {}


@pytest.mark.promise("tasks under way")
def test_every_task_of_the_new_version_ran_exactly_once(server, day):
    assert "v2" in day.live
    visits = server.json("/api/jobs/?prefix=visit-")
    assert len(visits) > 10
    assert [visit for visit in visits if visit["runs"] != 1] == []


@pytest.mark.promise("tasks under way")
def test_no_worker_threw_a_task_away(server, day):
    assert server.inside(f"journalctl --namespace='*' -t bookshop-worker --since @{day.began:.0f} --no-pager | grep -c 'unregistered task' || true") == "0"


@pytest.mark.promise("single processes")
@pytest.mark.proves("2.22", "2.49")
def test_beat_ticks_on_and_there_are_never_two(server, day):
    ticks = sorted(stamp(tick["time"]) for tick in server.json("/api/ticks/"))
    ticks = [tick for tick in ticks if day.began <= tick <= day.ended]
    gaps = [after - before for before, after in zip(ticks, ticks[1:])]
    assert max(gaps) <= 5 + 5, sorted(gaps)[-3:]
    running, changes = 1, server.changes("beat", day.began)
    assert changes.count("start") >= 4, changes
    for change in changes:
        running += 1 if change == "start" else -1
        assert running <= 1, changes


def stamp(text):
    """Return an ISO time as seconds of the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.promise("static files")
@pytest.mark.proves("2.15")
def test_hashed_files_of_the_release_before_are_still_served(server, day):
    names = server.inside("cd /opt/bookshop/releases && ls -d */static/pages/*.css | grep -E '[.][0-9a-f]{12}[.]css'")
    for name in {re.sub(r"^[^/]+/static/", "", line) for line in names.splitlines()}:
        status, headers, _body = server.get(f"/static/{name}")
        assert status == 200, name
        assert "immutable" in headers["Cache-Control"]


@pytest.mark.promise("deploy")
@pytest.mark.proves("2.30", "0.03", "1.02")
def test_the_ledger_has_every_outcome(server, day):
    lines = server.inside("tail -n 8 /opt/bookshop/ledger.jsonl")
    for word in ("broken", "sick", "badmigration"):
        assert re.search(rf'"ref": "{word}".*"result": "failed"', lines), lines


@pytest.mark.promise("deploy")
@pytest.mark.proves("1.35")
def test_only_the_kept_releases_remain(server, day):
    server.deploy("v4")
    good = server.inside("grep -l '\"outcome\": \"live\"' /opt/bookshop/releases/*/release.json").splitlines()
    assert 2 <= len(good) <= 6
