# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import model, services
from ansible_collections.quayside.django.plugins.modules import app_services
from samples import SECRETS, loaded, written

BOTH = {"runtime": "compose", "database": {"engine": "container", "extensions": ["citext"]}, "cache": {"engine": "container"}}
SALT = b"0123456789abcdef"


def compose(app, sizes=None, conf=""):
    """Return the project as compose reads it."""
    return yaml.safe_load(services.text(app, sizes, conf).replace("$$", "$"))


def test_apps_without_services_have_none():
    assert services.projects(model.load([written(), written(name="till", domains=["till.example.com"], runtime="compose")])) == []


def test_passwords_travel_apart_from_the_app():
    (one,) = services.projects([loaded(**BOTH)])
    assert "secrets" not in one["app"]
    assert one["passwords"] == {"database": SECRETS["DATABASE_PASSWORD"], "cache": "", "cache_other": ""}


@pytest.mark.proves("4.84")
def test_the_database_has_the_health_check_of_system_4():
    app = loaded(name="diveops", runtime="compose", database={"engine": "container"})
    check = compose(app)["services"]["db"]["healthcheck"]
    assert check["test"][0] == "CMD-SHELL" and check["test"][1].startswith("pg_isready -U diveops -d diveops")
    assert (check["interval"], check["timeout"], check["retries"]) == ("10s", "5s", 5)


@pytest.mark.proves("4.77", "4.78", "1.21")
def test_no_compose_command_takes_the_data():
    volumes = compose(loaded(**BOTH))["volumes"]
    assert volumes == {"db": {"name": "pos_database", "external": True}, "redis": {"name": "pos_cache", "external": True}}


def test_nothing_is_published_and_rights_are_few():
    project = compose(loaded(**BOTH))
    assert project["networks"] == {"default": {"name": "pos", "external": True}}
    for service in project["services"].values():
        assert "ports" not in service and "privileged" not in service
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped" and service["stop_grace_period"] == "60s"
        assert service["labels"]["quayside.app"] == "pos" and "quayside.release" not in service["labels"]
    assert project["services"]["db"]["logging"] == {"driver": "journald", "options": {"tag": "pos-db"}}


def test_only_what_the_model_has_is_there():
    assert list(compose(loaded(runtime="compose", database={"engine": "container"}))["services"]) == ["db"]
    redis = compose(loaded(runtime="compose", cache={"engine": "container"}))
    assert list(redis["services"]) == list(redis["volumes"]) == ["redis"] and "secrets" not in redis


def test_no_password_is_in_the_project():
    app = loaded(**BOTH, secrets=dict(SECRETS, REDIS_PASSWORD="r" * 12))
    conf = services.redis_conf(app, "r" * 12, 64)
    text = services.text(app, {}, conf)
    assert "r" * 12 not in text and SECRETS["DATABASE_PASSWORD"] not in text
    assert f'requirepass "{"r" * 12}"' in conf


def test_sizes_become_limits_and_settings():
    sizes = {"database": {"settings": {"shared_buffers": "192MB", "max_connections": "50"}, "memory": 368}, "cache": {"maxmemory": 128, "memory": 224}}
    project = compose(loaded(**BOTH), sizes)["services"]
    assert project["db"]["mem_limit"] == "368m" and project["redis"]["mem_limit"] == "224m"
    assert project["db"]["command"] == ["postgres", "-c", "max_connections=50", "-c", "shared_buffers=192MB"]
    assert "mem_limit" not in compose(loaded(**BOTH))["services"]["db"]


@pytest.mark.parametrize(("cache", "lines"), [
    ({}, ["maxmemory 64mb", "maxmemory-policy volatile-lru", "appendonly yes", 'save ""', "databases 16"]),
    ({"memory": "300mb", "policy": "allkeys-lru", "persistence": "rdb"}, ["maxmemory 300mb", "maxmemory-policy allkeys-lru", "appendonly no", "save 300 1"]),
    ({"persistence": "none", "databases": {"result": 20}}, ["appendonly no", 'save ""', "databases 21"]),
])
def test_redis_has_what_the_model_says(cache, lines):
    conf = services.redis_conf(loaded(runtime="compose", cache=dict(cache, engine="container")), "", 64).splitlines()
    assert set(lines) <= set(conf) and not [line for line in conf if line.startswith("requirepass")]


def test_a_changed_file_of_redis_makes_a_new_container():
    app = loaded(**BOTH)
    first, second = (compose(app, {}, conf)["services"]["redis"] for conf in ("a", "b"))
    assert first != second


@pytest.mark.parametrize(("text", "version"), [
    ("16", 16), ("postgres (PostgreSQL) 16.4", 16), ("postgres (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)", 17), ("postgres (PostgreSQL) 18beta1", 18),
    ("", 0), ("9.6", 9)])
def test_the_major_version_is_read(text, version):
    assert services.major(text) == version


def test_another_major_version_is_refused():
    app = loaded(runtime="compose", database={"engine": "container", "image": "postgres:17-alpine"})
    assert services.upgrade_refusal(app, 17, 17) == services.upgrade_refusal(app, 0, 17) == ""
    assert services.upgrade_refusal(app, 16, 17).startswith(
        "the data in the volume pos_database are of PostgreSQL 16, and database.image postgres:17-alpine is PostgreSQL 17, which cannot read them: "
        "set database.image back to one of PostgreSQL 16, or move the data by dump and restore")


# The role

def test_a_verifier_is_that_of_rfc_7677():
    # The example of RFC 7677: user "user", password "pencil".
    import base64

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    kept = services.verifier("pencil", salt)
    assert kept == ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
    assert services.verifies(kept, "pencil") and not services.verifies(kept, "pencil2")


@pytest.mark.parametrize("kept", ["", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$4096:AAAA$x"])
def test_any_other_kept_password_is_set_anew(kept):
    assert not services.verifies(kept, "pencil")


@pytest.mark.parametrize(("password", "hashed"), [("pässword", "pässword"), ("I\u00adX", "IX"), ("\u2168", "IX"), ("a\u00a0b", "a b"), ("\u0007é", "\u0007é")])
def test_passwords_are_prepared_as_clients_do(password, hashed):
    assert services.prepared(password) == hashed.encode()


def test_a_new_server_gets_role_and_database():
    todo = services.statements(loaded(**BOTH), {"password": None, "role": None, "owner": None}, "it's", SALT)
    assert [label for label, _sql in todo] == ["role pos made", "database pos made"]
    assert todo[0][1].startswith("CREATE ROLE \"pos\" LOGIN PASSWORD 'SCRAM-SHA-256$4096:") and "it's" not in todo[0][1]
    assert todo[1][1] == 'CREATE DATABASE "pos" OWNER "pos";'


def test_what_is_right_is_left_alone():
    have = {"password": services.verifier("secret12", SALT), "role": True, "owner": "pos"}
    assert services.statements(loaded(**BOTH), have, "secret12", b"another salt") == []
    assert services.extension_statements(loaded(**BOTH), ["plpgsql", "citext"]) == []


@pytest.mark.parametrize(("wrong", "label"), [
    ({"password": services.verifier("before12", SALT)}, "password of role pos changed"), ({"role": False}, "rights of role pos corrected"),
    ({"owner": "postgres"}, "owner of database pos changed")])
def test_what_differs_is_changed(wrong, label):
    have = {"password": services.verifier("secret12", SALT), "role": True, "owner": "pos", **wrong}
    assert [label for label, _sql in services.statements(loaded(**BOTH), have, "secret12", SALT)] == [label]


def test_missing_extensions_are_made():
    assert services.extension_statements(loaded(**BOTH), ["plpgsql"]) == [("extension citext made", 'CREATE EXTENSION IF NOT EXISTS "citext" CASCADE;')]


@pytest.mark.parametrize(("value", "sql"), [("a", "'a'"), ("it's", "'it''s'"), ("back\\slash'", " E'back\\\\slash'''")])
def test_texts_are_quoted(value, sql):
    assert services.literal(value) == sql


# The module

def test_check_mode_needs_no_docker(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    app = dict(loaded(**BOTH), root=str(tmp_path / "pos"))
    found = app_services.Services({"app": model.public(app), "passwords": {}, "sizes": {}, "pull": False, "timeout": 1}, check=True)
    found.engine.socket = str(tmp_path / "docker.sock")
    diff = found.plan()
    found.settle_database()
    assert found.actions == ["compose.yaml written", "redis.conf written", "superuser written", "db started", "redis started",
                             "volume pos_database made", "volume pos_cache made", "role pos made", "database pos made"]
    assert [one["after"] for one in diff if "/secrets/" in one["after_header"]] == ["hidden, changed\n"] * 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("container", "state"), [
    (None, "missing"), ({"State": {"Running": True, "Status": "running", "Health": {"Status": "healthy"}}}, "healthy"),
    ({"State": {"Running": True, "Status": "running"}}, "running"),
    ({"State": {"Running": False, "Status": "exited", "Health": {"Status": "healthy"}}}, "exited")])
def test_the_state_is_that_of_health(container, state):
    assert app_services.state(container) == state


def test_the_answer_of_postgresql_is_what_statements_wants():
    question = services.question(loaded(**BOTH))
    assert all(f"'{key}'" in question for key in json.loads('{"password": 1, "role": 1, "owner": 1}'))


@pytest.mark.parametrize(("env", "running", "plain"), [
    (["CACHE_URL=redis://redis:6379/0"], True, True), (["CELERY_BROKER_URL=redis://redis:6379/2"], True, True), (["CACHE_URL=redis://redis:6379"], True, True),
    (["CACHE_URL=redis://default:x@redis:6379/0"], True, False), (["CACHE_URL=redis://:x@redis:6379/0"], True, False),
    (["CACHE_URL=redis://redis:6379/0"], False, False), (["X=redis://redis:63790/0"], True, False), (None, True, False),
])
def test_a_release_that_knows_no_password_is_noticed(env, running, plain):
    one = {"Name": "/pos-1-web-1", "State": {"Running": running}, "Config": {"Env": env}}
    assert services.without_password({}, [one]) == (["pos-1-web-1"] if plain else [])


@pytest.mark.parametrize(("conf", "has"), [("port 6379\n", False), ("requirepass \"x\"\n", True), ("# requirepass x\n", False), ("", False)])
def test_a_file_of_redis_with_a_password(conf, has):
    assert services.has_password(conf) is has


# Limits of memory, in place


MB = 2 ** 20


def settled(monkeypatch, tmp_path, written, memory, plan, command="postgres"):
    """Return a Services that has looked at a container which was made with ``written`` MiB and has ``memory`` now, and what it asked the engine to do."""
    app = loaded(**{**BOTH, "cache": {"engine": "none"}})
    sizes = {"database": {"settings": {"max_connections": "100"}, "limit": plan}}
    found = app_services.Services({"app": model.public(app), "passwords": {}, "sizes": sizes, "pull": False, "timeout": 1}, check=False)
    found.folder, posted = str(tmp_path), []
    monkeypatch.setattr(found, "hashes", lambda text: {"db": hashlib.sha256(text.partition("\nnetworks:")[0].encode()).hexdigest()})
    monkeypatch.setattr(found, "subnet", lambda: "172.30.0.0/24")
    made = services.text(found.app, services.with_limits(sizes, {"db": written}), "", None, "172.30.0.0/24").replace("[postgres,", f"[{command},")
    (tmp_path / "secrets").mkdir()
    for name, text in (("compose.yaml", made), ("secrets/superuser", "x")):
        (tmp_path / name).write_text(text)
    state = {"Running": True, "Status": "running", "Health": {"Status": "healthy"}}
    have = {"Id": "abc", "Image": "sha256:1", "HostConfig": {"Memory": memory * MB}, "State": state,
            "Config": {"Labels": {"com.docker.compose.config-hash": found.hashes(made)["db"]}}}
    monkeypatch.setattr(found, "containers", lambda: {"db": have})
    monkeypatch.setattr(found, "ask", lambda path, **_query: {"Labels": {"quayside.app": app["name"]}, "Id": "sha256:1"})
    monkeypatch.setattr(found, "pin", lambda: None)
    monkeypatch.setattr(found.engine, "post", lambda path, body=None, **_query: posted.append((path, body)))
    found.plan()
    found.set_limits()
    return found, posted


@pytest.mark.parametrize(("written", "memory", "plan", "update"), [
    (368, 368, 896, True),    # made with the limit of an earlier plan
    (368, 896, 896, False),   # and given the new one by the run before
    (368, 896, 1920, True), (896, 896, 896, False),
])
def test_another_limit_of_memory_makes_no_container_anew(monkeypatch, tmp_path, written, memory, plan, update):
    found, posted = settled(monkeypatch, tmp_path, written, memory, plan)
    assert found.up == []
    assert posted == [("/containers/abc/update", {"Memory": plan * MB, "MemorySwap": 2 * plan * MB})] * update
    assert [text for text in found.actions if "written" not in text] == [f"db may take {plan} MiB of memory, before {memory}"] * update
    # The file still says what the container was made with: `docker compose up` by hand leaves it alone too.
    assert services.limits(found.wanted[f"{tmp_path}/compose.yaml"][0]) == {"db": written}


def test_a_container_that_is_made_anew_for_another_reason_gets_the_limit_of_the_plan(monkeypatch, tmp_path):
    found, posted = settled(monkeypatch, tmp_path, 368, 368, 896, command="postgres-of-before")
    assert found.up == ["db"] and posted == []
    assert services.limits(found.wanted[f"{tmp_path}/compose.yaml"][0]) == {"db": 896}
