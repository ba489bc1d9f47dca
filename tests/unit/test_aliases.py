# SPDX-License-Identifier: GPL-3.0-or-later
"""Other names of variables and secrets, for settings that read DB_HOST, DJANGO_SECRET_KEY or REDIS_URL."""
from __future__ import annotations

import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import compose_project, model, processes
from samples import RELEASE, SECRETS, loaded

WEB = {"name": "web", "command": "gunicorn pos.wsgi"}


def seen(app):
    """Return all variables of the app: those of its release, and the secret ones, which come later and win."""
    return {**model.release_environment(model.public(app), RELEASE, "main"), **model.secret_environment(app)}


@pytest.mark.parametrize(("env", "name", "value", "secret"), [
    ({"DB_HOST": "$DATABASE_HOST"}, "DB_HOST", "127.0.0.1", False),
    ({"DB_HOST": "${DATABASE_HOST}"}, "DB_HOST", "127.0.0.1", False),
    ({"ROOT": "$STATIC_ROOT"}, "ROOT", f"/opt/pos/releases/{RELEASE}/static", False),
    ({"A": "$B", "B": "$DATABASE_NAME"}, "A", "pos", False),
    ({"DJANGO_SECRET_KEY": "$SECRET_KEY"}, "DJANGO_SECRET_KEY", SECRETS["SECRET_KEY"], True),
    ({"DB_PASSWORD": "$DATABASE_PASSWORD"}, "DB_PASSWORD", SECRETS["DATABASE_PASSWORD"], True),
    ({"CELERY_BROKER": "$CELERY_BROKER_URL"}, "CELERY_BROKER", "redis+socket:///run/redis-pos/redis.sock?virtual_host=2", True),
    ({"STRIPE": "$STRIPE_KEY"}, "STRIPE", "s" * 9, True),
    ({"CACHE_URL": "$SESSION_URL"}, "CACHE_URL", "unix:///run/redis-pos/redis.sock?db=1", True),
])
def test_an_alias_has_the_value_of_what_it_names(env, name, value, secret):
    app = loaded(env=env, secrets=dict(SECRETS, STRIPE_KEY="s" * 9))
    assert seen(app)[name] == value
    assert (name in model.release_environment(model.public(app), RELEASE, "main")) != secret
    assert value not in str(model.public(app)) or not secret or "redis" in value


def test_an_alias_may_stand_among_the_secrets_too():
    app = loaded(secrets=dict(SECRETS, DJANGO_SECRET_KEY="$SECRET_KEY", DB_HOST="$DATABASE_HOST"))
    assert (seen(app)["DJANGO_SECRET_KEY"], seen(app)["DB_HOST"]) == (SECRETS["SECRET_KEY"], "127.0.0.1")


def test_a_rotation_changes_the_alias_too():
    secrets = dict(SECRETS, SECRET_KEY_NEXT="n" * 50, DATABASE_PASSWORD_NEXT="e" * 12)
    found = seen(loaded(secrets=secrets, env={"DB_USER": "$DATABASE_USER", "DB_PASSWORD": "$DATABASE_PASSWORD", "OLD_KEYS": "$SECRET_KEY_FALLBACKS"}))
    assert found["OLD_KEYS"] == "n" * 50
    assert found["DB_PASSWORD"] == "e" * 12
    assert found["DB_USER"] == found["DATABASE_USER"] == "pos_rotation"
    assert seen(loaded(env={"OLD_KEYS": "$SECRET_KEY_FALLBACKS"}))["OLD_KEYS"] == ""


@pytest.mark.parametrize("value", ["$HOME and more", "$6", "$UNKNOWN", "$", "${A", "$$SECRET_KEY", "x$SECRET_KEY", "$A"])
def test_any_other_text_arrives_as_it_is(value):
    assert seen(loaded(env={"A": value}))["A"] == value


def test_an_alias_of_a_misspelled_variable_is_refused():
    with pytest.raises(model.ModelError, match=r"env: DB_HOST is to be another name of DATABASE_HSOT, .* did you mean \$DATABASE_HOST\?"):
        loaded(env={"DB_HOST": "$DATABASE_HSOT"})


def test_one_name_twice_is_refused():
    with pytest.raises(model.ModelError, match="env: API is also in secrets"):
        loaded(env={"API": "$SECRET_KEY"}, secrets=dict(SECRETS, API="a" * 9))


def test_what_env_sets_wins_over_a_secret_that_is_derived():
    assert seen(loaded(env={"CACHE_URL": "dummy://"}))["CACHE_URL"] == "dummy://"


def test_the_script_of_a_process_fills_in_an_alias_and_holds_no_secret():
    app = loaded(processes=[dict(WEB, env={"DB_HOST": "$DATABASE_HOST", "KEY": "$SECRET_KEY", "PLACE": "$SOCKET", "TEXT": "$NOBODY"})])
    text = processes.script(app, app["processes"][0], RELEASE, "/v", 2)
    assert SECRETS["SECRET_KEY"] not in text
    lines = "\n".join(line for line in text.splitlines() if line.startswith("export ")) + '\nprintf "%s|" "$DB_HOST" "$KEY" "$PLACE" "$TEXT"\n'
    done = subprocess.run(["/bin/sh", "-c", lines], env={"DATABASE_HOST": "db", "SECRET_KEY": 'a"$b'}, capture_output=True, text=True, check=True)
    assert done.stdout == f'db|a"$b|/opt/pos/releases/{RELEASE}/run/web.sock|$NOBODY|'


def container(name, **fields):
    app = loaded(runtime="compose", images=[{"name": "app"}, {"name": "front"}], **fields)
    facts = {"user": "1:1", "images": {"app": "a", "front": "f"}, "ports": {}, "addresses": {}, "services": {},
             "env": model.release_environment(app, RELEASE, "main"),
             "secrets": model.secret_environment(app), "workers": {}, "memory": {}, "search": {}}
    return compose_project.project(app, RELEASE, facts)["services"][name]["environment"]


def test_a_container_has_the_aliases_of_its_process():
    env = container("web", processes=[dict(WEB, env={"DB_HOST": "$DATABASE_HOST", "KEY": "$SECRET_KEY"})])
    assert (env["DB_HOST"], env["KEY"]) == ("/run/postgresql", SECRETS["SECRET_KEY"])


def test_an_alias_of_a_secret_that_a_container_does_not_get_is_refused():
    front = {"name": "ssr", "image": "front", "port": 3000, "route": "/ssr/", "env": {"KEY": "$SECRET_KEY"}}
    with pytest.raises(model.ModelError, match="KEY is another name of the secret SECRET_KEY, which this container does not get"):
        container("ssr", processes=[WEB, front])
    assert container("ssr", processes=[WEB, dict(front, secrets=["SECRET_KEY"])])["KEY"] == SECRETS["SECRET_KEY"]


@pytest.mark.parametrize(("fields", "url"), [
    ({}, "unix:///run/redis-pos/redis.sock"),
    ({"cache": {"port": 6380}}, "redis://:r%2Fr%2Fr%2Fr%2F@127.0.0.1:6380"),
    ({"runtime": "compose", "cache": {"engine": "container"}}, "redis://default:r%2Fr%2Fr%2Fr%2F@redis:6379"),
])
def test_redis_has_a_url_without_a_number(fields, url):
    secrets = dict(SECRETS, REDIS_PASSWORD="r/" * 4) if fields else SECRETS
    assert seen(loaded(secrets=secrets, **fields))["REDIS_URL"] == url


@pytest.mark.parametrize("scheme", ["postgres", "postgis", "postgresql+psycopg"])
def test_the_scheme_of_the_database_url(scheme):
    assert seen(loaded(database={"scheme": scheme}))["DATABASE_URL"].startswith(f"{scheme}://pos:")


def test_a_wrong_scheme_is_refused():
    with pytest.raises(model.ModelError, match="database.scheme: 'a:b' is no beginning of a URL"):
        loaded(database={"scheme": "a:b"})
