# SPDX-License-Identifier: GPL-3.0-or-later
"""Two apps on one host: each serves, and neither reads what is the other's."""
import shlex

import pytest

HOST = "annex.example.com"
RELEASE = {"bookshop": "/opt/bookshop", "annex": "/var/www/annex/backend"}
OTHER = {"bookshop": "annex", "annex": "bookshop"}


def fails(server, user, command):
    """Assert that a command fails for a user, and return what it said."""
    said = server.inside(f"if runuser -u {user} -- sh -c {shlex.quote(command)} 2>&1; then echo MAY; fi")
    assert "MAY" not in said, f"{user} may {command}"
    return said


@pytest.mark.proves("2.13")
def test_the_second_app_is_served_under_its_name_from_another_root(server):
    server.deploy("v1", app="annex")
    answer = server.json("/healthz/", host=HOST, tls=True)
    assert answer["version"] == "v1"
    assert answer["release"] in server.inside("readlink /var/www/annex/backend/live")


@pytest.mark.proves("2.59", "4.02")
def test_tls_ends_at_the_edge_and_plain_requests_are_sent_there(server):
    status, headers, _body = server.get("/api/books/?page=2", host=HOST)
    assert status == 301
    assert headers["Location"] == f"https://{HOST}/api/books/?page=2"
    assert server.get("/", host="nobody.example.com", tls=True)[0] == 0


def test_a_deploy_of_one_leaves_the_other_alone(server):
    before = server.inside("readlink /opt/bookshop/live; systemctl show -p MainPID --value 'bookshop-web@*'")
    server.deploy("v2", app="annex")
    assert server.inside("readlink /opt/bookshop/live; systemctl show -p MainPID --value 'bookshop-web@*'") == before
    assert server.json("/healthz/", host=HOST, tls=True)["version"] == "v2"


@pytest.mark.parametrize("app", RELEASE)
@pytest.mark.parametrize("path", ["live/env", "live/code/manage.py", "live/bin/web", "live/run", "shared/media", "cache", "ledger.jsonl", "lock"])
def test_neither_reads_the_others_files(server, app, path):
    assert "ermission denied" in fails(server, OTHER[app], f"ls {RELEASE[app]}/{path}/ || cat {RELEASE[app]}/{path}")


@pytest.mark.parametrize("app", RELEASE)
@pytest.mark.parametrize("who", ["app", "other"])
def test_nobody_but_root_reads_the_file_of_secrets(server, app, who):
    user = app if who == "app" else OTHER[app]
    assert "ermission denied" in fails(server, user, f"cat /etc/quayside/{app}/secrets.env")


@pytest.mark.proves("2.57")
@pytest.mark.parametrize("app", RELEASE)
def test_neither_reaches_the_others_socket(server, app):
    fails(server, OTHER[app], f"python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('{RELEASE[app]}/live/run/web.sock')\"")


@pytest.mark.proves("2.62")
@pytest.mark.parametrize("app", RELEASE)
def test_neither_reaches_the_others_database(server, app):
    key = "DATABASE_PASSWORD"
    password = server.local[f"vault_{app}"][key]
    said = server.inside(f"PGPASSWORD={password} psql -h 127.0.0.1 -U {app} {OTHER[app]} -c 'select 1' 2>&1 || true")
    assert "denied" in said or "no pg_hba.conf entry" in said
    assert server.inside(f"PGPASSWORD={password} psql -h 127.0.0.1 -U {app} {app} -qAtc 'select 1'") == "1"
    rights = server.inside(f"runuser -u postgres -- psql -qAtc \"select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = '{app}'\"")
    assert rights == "f|f|f"


def test_neither_reaches_the_others_redis(server):
    assert "ermission denied" in fails(server, "annex", "redis-cli -s /run/redis-bookshop/redis.sock ping")
    assert "refused" in fails(server, "bookshop", "timeout 10 redis-cli -p 6379 ping")
    assert "NOAUTH" in server.inside("redis-cli -p 6379 ping")  # it is there


@pytest.mark.proves("2.78")
def test_workers_are_twice_the_cores_and_one(server):
    pids = server.inside("systemctl show -p MainPID --value annex-web@$(basename $(readlink /var/www/annex/backend/live)) | xargs pgrep -P | wc -l")
    assert int(pids) == 2 * int(server.inside("nproc")) + 1


@pytest.mark.proves("2.43", "2.65")
def test_log_files_of_an_app_are_rotated_without_losing_a_line(server):
    folder = "/var/www/annex/backend/shared/logs"
    for number in range(5):
        server.json(f"/healthz/?before={number}", host=HOST, tls=True)
    server.inside("logrotate --force /etc/logrotate.d/annex")
    for number in range(5):
        server.json(f"/healthz/?after={number}", host=HOST, tls=True)
    for word in ("before", "after"):
        found = server.inside(f"cat {folder}/gunicorn_access.log* | grep -c 'healthz/?{word}='")
        assert found == "5", word
    assert "before" not in server.inside(f"cat {folder}/gunicorn_access.log")
    assert server.inside(f"ls {folder}/gunicorn_error.log")


@pytest.mark.proves("2.31")
def test_the_venvs_are_whole(server):
    for venv in server.inside("ls -d /var/www/annex/backend/venvs/*/").splitlines():
        assert "No broken requirements" in server.inside(f"{venv}/bin/python -m pip check")


@pytest.mark.proves("2.37")
def test_neither_code_nor_backups_nor_env_files_are_served(server):
    for path in ("/.git/config", "/.env", "/env", "/static/../env", "/backups/db.sql", "/.env.production"):
        assert server.get(path, host=HOST, tls=True)[0] in (400, 403, 404), path
