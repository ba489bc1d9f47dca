# SPDX-License-Identifier: GPL-3.0-or-later
"""Each secret changes under load: no request fails, who is logged in stays so, and the old value is good for nothing."""
import os

import pytest
from lab import Load
from story import App, killed

RATE = os.environ.get("QUAYSIDE_RATE", "50")  # requests a second; fewer where the machine does other things too
SECRETS = ("SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD")
# Where the controller dies: at the beginning of these tasks.
POINTS = (
    "The live release starts again beside itself, and on one host takes its own place",
    "No older instance runs, and the database's role has its new password",
    "The servers know the new values first",
)


@pytest.fixture(scope="module")
def app(server):
    app = App(server)
    app.publish("v1")
    server.deploy("v1", app=app.name)
    return app


@pytest.fixture(scope="module")
def rotated(server, app):
    """Change each secret once, and all of them once more."""
    story = {"before": [app.secrets()], "live": [app.live()]}
    quiet, busy = app.visitor(), app.visitor()  # the quiet one comes back only at the end
    with Load(server, "--rate", RATE, "--slow", "2") as load, busy:
        for name in (*SECRETS, "all"):
            story[name] = server.play("rotate", "-e", f"secret={name}")
            story["before"].append(app.secrets())
            story["live"].append(app.live())
    story.update(report=load.report, busy=busy, quiet=quiet)
    return story


@pytest.mark.proves("0.41")
def test_no_request_fails(rotated):
    assert rotated["report"]["requests"] > 500
    assert rotated["report"]["failed"] == 0, rotated["report"]


@pytest.mark.proves("0.41")
def test_sessions_stay(rotated):
    assert rotated["busy"].seen > 20
    assert rotated["busy"].refused == []
    assert rotated["quiet"].inside(), "a session that was made before the first key changed"


@pytest.mark.parametrize("name", SECRETS)
def test_the_vault_holds_new_values_and_nothing_of_the_rotation(app, rotated, name):
    values = [secrets[name] for secrets in rotated["before"]]
    changes = sum(before != after for before, after in zip(values, values[1:]))
    assert changes == 2, "by itself, and with all"
    assert not [key for key in app.secrets() if key.endswith(("_NEXT", "_PREVIOUS"))]


def test_the_keys_of_before_are_kept_the_newest_first(app, rotated):
    keys = list(dict.fromkeys(secrets["SECRET_KEY"] for secrets in rotated["before"]))
    assert app.secrets()["SECRET_KEY"] == keys[-1]
    assert app.secrets()["SECRET_KEY_FALLBACKS"].split(",") == [keys[-2], keys[-3]]


def test_old_passwords_open_nothing_and_new_ones_do(app, rotated):
    old, new = rotated["before"][0], app.secrets()
    assert app.sql("select 1", app.name, new["DATABASE_PASSWORD"], check=True) == "1"
    assert "password authentication failed" in app.sql("select 1", app.name, old["DATABASE_PASSWORD"])
    assert app.redis(new["REDIS_PASSWORD"]) == "PONG"
    assert "PONG" not in app.redis(old["REDIS_PASSWORD"])
    assert f"{app.name}_rotation" not in app.roles()


def test_what_the_app_has_made_meanwhile_is_its_own(app, rotated):
    owners = app.sql("select distinct tableowner from pg_tables where schemaname = 'public'", app.name, app.secrets()["DATABASE_PASSWORD"], check=True)
    assert owners == app.name


def test_site_and_deploy_find_nothing_to_change(server, app, rotated):
    live = app.live()
    assert server.play("site").count("changed") == 0
    server.deploy("v1", app=app.name)
    assert app.live() == live


def test_redis_was_never_restarted(server, app, rotated):
    line = "redis-cli --no-auth-warning info server | grep uptime_in_seconds"
    password = app.secrets()["REDIS_PASSWORD"]
    start = f"docker exec --env REDISCLI_AUTH={password} annex-services-redis-1" if app.compose else f"REDISCLI_AUTH={password}"
    port = "" if app.compose else " -p 6379"
    uptime = int(server.inside(f"{start} {line.replace('redis-cli', 'redis-cli' + port)}").split(":")[1])
    since = server.inside(f"date +%s -d \"$(echo {rotated['live'][0][:14]} | sed -E 's/(....)(..)(..)(..)(..)(..)/\\1-\\2-\\3 \\4:\\5:\\6 UTC/')\"")
    assert uptime >= int(server.inside("date +%s")) - int(since) - 60


def test_status_tells_the_ages(server, app, rotated):
    said = server.play("status").out
    for name in SECRETS:
        assert f"{name}  0 days" in said
    server.inside(f"sed -i -E 's/\"since\": [0-9]+/\"since\": 1000000000/' {app.root}/secrets.json")
    said = server.play("status").out
    assert "older than 365: change it (quayside.django.rotate)" in " ".join(said.split())
    assert server.inside(f"stat -c '%U %a' {app.root}/secrets.json") == "root 600"


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_dies_leaves_a_serving_app_and_the_next_one_finishes(server, app, rotated, point):
    before = app.secrets()
    visitor = app.visitor()
    with Load(server, "--rate", RATE) as load, visitor:
        run = killed(server, "all", point)
        assert run.rc == -9
        held = app.secrets()
        assert server.version() == "v1"
        server.until(lambda: app.redis(held["REDIS_PASSWORD"]) == "PONG", 10, "a password of the vault file in Redis")
        second = server.play("rotate", "-e", "secret=all")
    after = app.secrets()
    assert {name: after[name] != before[name] for name in SECRETS} == dict.fromkeys(SECRETS, True)
    assert not [key for key in after if key.endswith(("_NEXT", "_PREVIOUS"))], second.out[-2000:]
    assert load.report["failed"] == 0, load.report
    assert visitor.refused == []
    assert app.sql("select 1", app.name, after["DATABASE_PASSWORD"], check=True) == "1"
    assert "password authentication failed" in app.sql("select 1", app.name, before["DATABASE_PASSWORD"])
    assert "PONG" not in app.redis(before["REDIS_PASSWORD"])


def test_a_deploy_that_fails_meanwhile_leaves_both_values(server, app, rotated):
    """The new instance dies at its start, since its program is not there; the old one does not need it any more."""
    program = server.inside(f"echo {app.root}/live/bin/web") if not app.compose else f"{app.root}/live/env"
    if app.compose:
        pytest.skip("an instance in a container has no file that could be taken away by itself")
    server.inside(f"cp -p {program} /run/program && printf '#!/bin/sh\\nexit 3\\n' > {program}")
    before = app.secrets()
    try:
        run = server.play("rotate", "-e", "secret=all", ok=False)
    finally:
        server.inside(f"cp -p /run/program {program}")
    assert run.rc and "died at its start" in run.out
    assert server.version() == "v1"
    held = app.secrets()
    assert {name: held[name] == before[name] and bool(held[f"{name}_NEXT"]) for name in SECRETS} == dict.fromkeys(SECRETS, True)
    server.play("rotate", "-e", "secret=all")
    assert {name: app.secrets()[name] == held[f"{name}_NEXT"] for name in SECRETS} == dict.fromkeys(SECRETS, True)


def test_what_cannot_be_rotated_says_what_to_do(server, app, rotated):
    run = server.play("rotate", "-e", "secret=NOTHING", ok=False)
    assert run.rc and "has no secret NOTHING" in run.out
    run = server.play("rotate", ok=False)
    assert run.rc and "which secret? Add -e secret=NAME" in run.out
