# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of apps in containers: what follows from a field, what is refused and with which words."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model, processes
from samples import SECRETS, loaded, written

COMPOSE = {"runtime": "compose"}
PULLED = {"runtime": "compose", "source": {"version": "v1"}, "images": [{"name": "app", "repository": "ghcr.io/acme/pos"}]}
WEB = {"name": "web", "command": "gunicorn pos.wsgi"}


def findings(*apps):
    """Return what is wrong with apps."""
    with pytest.raises(model.ModelError) as error:
        model.load(list(apps))
    return error.value.findings


@pytest.mark.parametrize(("fields", "path", "value"), [
    (COMPOSE, ("images", 0, "from"), "build"),
    (COMPOSE, ("images", 0, "repository"), "quayside/pos-app"),
    (PULLED, ("images", 0, "from"), "registry"),
    (PULLED, ("source", "version"), "v1"),
    ({**PULLED, "source": {}}, ("source", "version"), "latest"),
    ({**COMPOSE, "source": {"folder": "../shop"}}, ("source", "version"), ""),
    ({**COMPOSE, "images": [{"name": "app", "archive": "shop-{version}.tar"}]}, ("images", 0, "from"), "archive"),
    ({**COMPOSE, "source": {"repo": "https://x/y", "subdir": "back"}}, ("images", 0, "context"), "back"),
    (COMPOSE, ("processes", 0, "port"), 8000),
    (COMPOSE, ("processes", 0, "tcp"), True),
    (COMPOSE, ("processes", 0, "socket"), False),
    (COMPOSE, ("processes", 0, "image"), "app"),
    ({**COMPOSE, "processes": [{"name": "web", "port": 3000}]}, ("processes", 0, "port"), 3000),
    ({**COMPOSE, "processes": [{"name": "web"}]}, ("processes", 0, "route"), "/"),
    ({**COMPOSE, "processes": [{"name": "web", "command": "run --unix $SOCKET"}]}, ("processes", 0, "socket"), True),
    ({**COMPOSE, "processes": [WEB, {"name": "mail", "command": "celery -A pos worker"}]}, ("processes", 1, "serves"), False),
    (COMPOSE, ("network",), "pos"),
    ({"processes": [WEB, {"name": "front", "command": "node server.js", "route": "/app/"}]}, ("processes", 1, "tcp"), True),
    ({"processes": [{**WEB, "port": 1}]}, ("processes", 0, "socket"), False),
    ({**COMPOSE, "frontends": [{"name": "spa", "folder": "/app/dist", "route": "/app/"}]}, ("frontends", 0, "image"), "app"),
])
def test_what_follows_from_a_field(fields, path, value):
    found = loaded(**fields)
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(("fields", "words"), [
    ({"images": [{"name": "app"}]}, "images: are for runtime: compose"),
    ({"source": {"repo": "https://x/y", "folder": "."}}, "source: give repo or folder, not both"),
    ({**COMPOSE, "source": {}}, "images[app]: it is built on the host, so source needs repo or folder; or give repository"),
    ({**COMPOSE, "images": [{"name": "app", "from": "archive"}]}, "images[app]: from: archive needs archive"),
    ({**COMPOSE, "images": [{"name": "app"}, {"name": "app"}]}, "images: two are called app"),
    ({**PULLED, "images": [{"name": "app", "repository": "ghcr.io/acme/pos:v1"}]}, "is no repository such as ghcr.io/acme/shop (without a tag"),
    ({**COMPOSE, "images": [{"name": "app", "context": "../.."}]}, "images[app].context: '../..' is no path inside the repository"),
    ({**COMPOSE, "images": [{"name": "app", "secrets": ["PIP_TOKEN"]}]}, "images[app].secrets: PIP_TOKEN is not one of the app's secrets"),
    ({**COMPOSE, "images": [{"name": "app", "args": {"SECRET_KEY": "x"}}]}, "images[app].args: SECRET_KEY is a secret of the app"),
    ({**COMPOSE, "processes": [{**WEB, "image": "front"}]}, "processes[web].image: there is no such image; there are app"),
    ({**COMPOSE, "container": {"user": "1000:1000"}}, "container.user: there is no such field any more: containers run as the app's own Unix user"),
    ({**COMPOSE, "container": {"volumes": ["data:/app/data"]}}, "write folders: [{name: data, path: /app/data}]"),
    ({**COMPOSE, "processes": [{**WEB, "listen": "10.0.0.5:8000"}]}, "processes[web].listen: '10.0.0.5:8000' has an address, and the port is one of 127.0.0.1"),
    ({**COMPOSE, "build": [{"command": "npm ci"}]}, "build: is for runtime: systemd; with compose the Dockerfile builds"),
    ({**COMPOSE, "media": {"root": "media"}}, "media.root: 'media' is no path in the container, such as /app/data"),
    ({**COMPOSE, "folders": [{"name": "logs", "path": "logs"}]}, "folders[logs].path: 'logs' is no path in the container"),
    ({"media": {"root": "/app/media"}}, "media.root: '/app/media' is no path inside the repository"),
    ({"edge": "traefik"}, "edge: traefik is a container and reaches containers only: set runtime: compose, or edge: nginx"),
    ({"edge": "nginx_container"}, "edge: nginx_container is a container"),
    ({"database": {"engine": "container"}}, "database.engine: container is for runtime: compose; with systemd set database.engine: postgresql"),
    ({"cache": {"engine": "container"}}, "cache.engine: container is for runtime: compose; with systemd set cache.engine: redis"),
    ({**COMPOSE, "cache": {"port": 6379}, "secrets": {**SECRETS, "REDIS_PASSWORD": "long enough"}}, "cache.port: a container does not reach a port"),
    ({**COMPOSE, "database": {"engine": "container", "user": "postgres"}}, "database.user: postgres belongs to the server itself: take another name"),
    ({"edge": "none", "tls": {"mode": "acme"}}, "tls.mode: acme is for an edge of ours"),
    ({"tls": {"mode": "acme"}, "domains": ["10.0.0.2"]}, "tls.mode: acme needs a name in domains"),
    ({"tls": {"mode": "acme", "server": "ca.test"}}, "tls.server: 'ca.test' is no https:// address"),
    ({"tls": {"mode": "acme"}, "domains": ["*.example.com"]}, "tls.challenge: *.example.com needs challenge: dns"),
    ({"tls": {"mode": "acme", "challenge": "dns"}}, "tls.dns: challenge dns needs plugin"),
    ({"tls": {"mode": "acme", "eab": "kid-1"}}, "secrets: ACME_EAB_HMAC_KEY is missing (tls.eab is given)"),
    ({**COMPOSE, "edge": "traefik", "site_extra": "gzip off;"}, "site_extra: those are lines of nginx, and the edge is traefik"),
    ({**COMPOSE, "edge": "traefik", "processes": [{"name": "web", "command": "x $SOCKET"}]}, "processes[web]: traefik reaches no unix sockets"),
    ({"limits": [{"path": "api", "rate": 0}]}, "limits[0]: rate is at least 1"),
    ({"processes": [{**WEB, "listen": 80}]}, "processes[web].listen: 80 has to be a port of its own from 1024 to 65535"),
    ({"processes": [{**WEB, "listen": 20001}]}, "which deploys choose from"),
    ({"processes": [WEB, {"name": "mail", "command": "celery -A pos worker", "listen": 8000}]}, "processes[mail].listen: it takes no requests"),
    ({**COMPOSE, "processes": [WEB, {"name": "db", "command": "x"}]}, "processes[db]: db and redis are the names of the app's own services"),
    ({**COMPOSE, "registry": {"user": "deployer"}}, "secrets: REGISTRY_PASSWORD is missing (registry.user is given)"),
    ({**COMPOSE, "database": {"engine": "container"}, "secrets": {"SECRET_KEY": "k" * 50}},
     "secrets: DATABASE_PASSWORD is missing (database.engine is container)"),
    ({"processes": [{**WEB, "secrets": ["NONE"]}]}, "processes[web].secrets: NONE is none of the app's secrets"),
    ({"processes": [{**WEB, "routes": ["/"]}]}, "processes: two have the route /"),
    ({"frontends": [{"name": "spa", "folder": "dist", "route": "app"}]}, "frontends[spa].route: 'app' does not begin with a slash"),
    ({"frontends": [{"name": "spa", "folder": "dist"}]}, "processes: two have the route /"),
])
def test_what_cannot_work_is_refused(fields, words):
    assert any(words in finding for finding in findings(written(**fields))), findings(written(**fields))


def test_a_process_may_serve_several_paths_and_the_health_path_belongs_to_the_nearest():
    app = loaded(processes=[{**WEB, "route": "/api/", "routes": ["/admin/", "/healthz"]}, {"name": "front", "command": "node s.js", "route": "/"}])
    assert [(route["path"], route["upstream"]) for route in model.sites([app])[0]["routes"]] == [
        ("/api/", "pos-web"), ("/admin/", "pos-web"), ("/healthz", "pos-web"), ("/", "pos-front")]
    assert [processes.belongs_to(path, app) for path in ("/healthz", "/admin/x", "/other")] == ["web", "web", "front"]


def test_one_host_has_one_edge():
    other = written(name="till", domains=["t.example.com"], **{**COMPOSE, "edge": "traefik"})
    assert "one host has one edge, since only one can hold the ports 80 and 443; here are nginx (app pos) and traefik (app till)" in findings(written(), other)


@pytest.mark.parametrize(("fields", "url", "where"), [
    ({}, "postgresql://pos:dddddddddddd@127.0.0.1:5432/pos", "127.0.0.1"),
    (COMPOSE, "postgresql://pos:dddddddddddd@%2Frun%2Fpostgresql:5432/pos", "/run/postgresql"),
    ({**COMPOSE, "database": {"engine": "container"}}, "postgresql://pos:dddddddddddd@db:5432/pos", "db"),
])
def test_where_the_database_is(fields, url, where):
    app = loaded(**fields)
    assert model.secret_environment(app)["DATABASE_URL"] == url
    assert model.environment(app)["DATABASE_HOST"] == where


@pytest.mark.parametrize(("secrets", "url"), [({}, "redis://redis:6379/0"), ({"REDIS_PASSWORD": "a/b c:d@e"}, "redis://default:a%2Fb%20c%3Ad%40e@redis:6379/0")])
def test_where_a_redis_in_a_container_is(secrets, url):
    app = loaded(**COMPOSE, cache={"engine": "container"}, secrets={**SECRETS, **secrets})
    assert model.secret_environment(app)["CACHE_URL"] == url


@pytest.mark.proves("3.11")
def test_sqlite_lies_in_the_shared_folder():
    env = model.environment(loaded(database={"engine": "sqlite"}))
    assert env["DATABASE_PATH"] == "/opt/pos/shared/database/db.sqlite3"
    assert env["DATABASE_URL"] == "sqlite:////opt/pos/shared/database/db.sqlite3"


def test_secrets_of_the_deploy_reach_no_process():
    app = loaded(**PULLED, registry={"user": "deployer"}, secrets={**SECRETS, "REGISTRY_PASSWORD": "long enough", "SOURCE_KEY": "key of the source"})
    assert {"REGISTRY_PASSWORD", "SOURCE_KEY"} & set(model.secret_environment(app)) == set()


def test_the_image_and_the_container_are_part_of_what_a_release_is():
    before = model.identity(loaded(**COMPOSE))
    for fields in ({"container": {"read_only": False}}, {"images": [{"name": "app", "args": {"A": 1}}]}, {"network": "other"}, {"edge": "traefik"}):
        assert model.identity(loaded(**COMPOSE, **fields)) != before
