# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads, from the app model alone."""
from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import traefik
from samples import RELEASE, loaded

NOSNIFF = {"X-Content-Type-Options": "nosniff"}
TLS = {"mode": "provided", "certificate": "/c", "key": "/k"}
PARTS = [{"name": "web", "command": "gunicorn pos.wsgi", "route": "/api/"}, {"name": "frontend", "command": "node s.js", "port": 3000, "route": "/"}]


def app(**fields):
    return loaded(runtime="compose", edge="traefik", **{"processes": PARTS, **fields})


def parsed(text):
    """Return a file as Traefik reads it: first its template engine, then YAML."""
    assert text.startswith(traefik.MARK)
    return yaml.safe_load(text.replace('{{"{{"}}', "{{")) or {}


def http(headers=NOSNIFF, certificate=None, **fields):
    return parsed(traefik.routes(app(**fields), headers, certificate))["http"]


def serving(found, path, host="pos.example.com", entry="web"):
    """Return the router that Traefik takes for a path: of those that match the one with the highest priority."""
    def matches(rule):
        rule = re.sub(r"HostRegexp\(`(.*?)`\)", lambda m: str(bool(re.search(m[1], host))), rule)
        rule = re.sub(r"Host\(`(.*?)`\)", lambda m: str(m[1] == host), rule)
        rule = re.sub(r"PathRegexp\(`(.*?)`\)", lambda m: str(bool(re.search(m[1], path))), rule)
        rule = re.sub(r"PathPrefix\(`(.*?)`\)", lambda m: str(path.startswith(m[1])), rule)
        rule = re.sub(r"Path\(`(.*?)`\)", lambda m: str(path == m[1]), rule)
        return eval(rule.replace("&&", "and").replace("||", "or").replace("!", "not "), {"__builtins__": {}})  # noqa: S307
    fits = [router for router in found["routers"].values() if entry in router["entryPoints"] and matches(router["rule"])]
    return max(fits, key=lambda router: router["priority"], default=None)


@pytest.mark.proves("3.17")
@pytest.mark.parametrize(("path", "service"), [
    ("/", "pos-frontend"), ("/a/b", "pos-frontend"), ("/api/", "pos-web"), ("/api/x", "pos-web"), ("/apix", "pos-frontend"),
    ("/static/a.css", "pos-files"), ("/media/a.png", "pos-files"), ("/x/.git/config", "pos-files")])
def test_paths_go_where_the_model_says(path, service):
    assert serving(http(), path)["service"] == service


def test_names_that_no_app_declares_have_no_router():
    assert serving(http(), "/", host="other.example.com") is None


def test_services_of_a_release_and_before_the_first():
    wanted = app()
    found = parsed(traefik.services(wanted, {"web": "web-r.pos:8000"}, RELEASE))["http"]
    assert found["services"]["pos-web"]["loadBalancer"]["servers"] == [{"url": "http://web-r.pos:8000"}]
    transport = found["serversTransports"][found["services"]["pos-web"]["loadBalancer"]["serversTransport"]]
    assert transport["maxIdleConnsPerHost"] == -1
    assert transport["forwardingTimeouts"]["responseHeaderTimeout"] == "60s"
    waiting = parsed(traefik.waiting(wanted))["http"]["services"]
    assert {name: service["loadBalancer"]["servers"][0]["url"] for name, service in waiting.items()} == {
        "pos-web": "http://files:8081", "pos-frontend": "http://files:8081"}


def test_every_service_that_a_route_names_is_there_before_the_first_release():
    wanted = app(processes=[*PARTS, {"name": "admin", "command": "gunicorn a.wsgi", "route": "/admin/", "listen": 8001}])
    found = parsed(traefik.routes(wanted, NOSNIFF))["http"]
    there = {*found["services"], *parsed(traefik.waiting(wanted))["http"]["services"], "noop@internal"}
    assert {router["service"] for router in found["routers"].values()} <= there
    assert {name for router in found["routers"].values() for name in router["middlewares"]} <= set(found["middlewares"])


@pytest.mark.proves("4.56")
def test_http_goes_to_https():
    found = http(tls=TLS)
    router = serving(found, "/api/?a=1")
    assert router["middlewares"] == ["pos-to-https"]
    assert found["middlewares"]["pos-to-https"] == {"redirectScheme": {"scheme": "https", "permanent": True}}
    assert serving(found, "/api/x", entry="websecure")["tls"] == {"options": "default"}


def test_other_names_go_to_the_canonical_one():
    found = http(domains=["pos.example.com", "www.example.com"], canonical="pos.example.com")
    assert serving(found, "/x", host="www.example.com")["middlewares"][-1] == "pos-to-canonical"
    rule = found["middlewares"]["pos-to-canonical"]["redirectRegex"]
    assert re.sub(rule["regex"], rule["replacement"].replace("${1}", r"\1"), "http://www.example.com/x?y=1") == "http://pos.example.com/x?y=1"
    assert serving(found, "/x")["service"] == "pos-frontend"


@pytest.mark.proves("3.18")
def test_acme_asks_for_the_names():
    wanted = app(domains=["a.example.com", "b.example.com"], tls={"mode": "acme", "email": "ops@example.com", "server": "https://ca.test/dir"})
    router = serving(parsed(traefik.routes(wanted, {}))["http"], "/", host="a.example.com", entry="websecure")
    assert router["tls"] == {"options": "default", "certResolver": "quayside", "domains": [{"main": "a.example.com", "sans": ["b.example.com"]}]}
    resolver = parsed(traefik.settings([wanted], "/d", [], 300))["certificatesResolvers"]["quayside"]["acme"]
    assert resolver == {"email": "ops@example.com", "caServer": "https://ca.test/dir", "storage": "/acme/acme.json", "httpChallenge": {"entryPoint": "web"}}


@pytest.mark.proves("4.66", "4.67")
def test_limits_and_the_path_that_has_none():
    found = http(limits=[{"path": "/api/", "rate": 10, "burst": 20}], health={"path": "/api/health/"})
    assert "pos-limit-1" in serving(found, "/api/books/")["middlewares"]
    assert found["middlewares"]["pos-limit-1"] == {"rateLimit": {"average": 10, "period": "1s", "burst": 21}}
    assert serving(found, "/api/health/")["service"] == "pos-web"
    for path in ("/api/health/", "/", "/static/x"):
        assert "pos-limit-1" not in serving(found, path)["middlewares"]


@pytest.mark.parametrize("path", ["/api/admin/", "/api/admin/users", "/api/admin/deep/x"])
def test_address_lists_hold_below_their_path_and_before_limits(path):
    processes = [*PARTS, {"name": "deep", "command": "gunicorn d.wsgi", "route": "/api/admin/deep/"}]
    found = http(processes=processes, allow=[{"path": "/api/admin/", "addresses": ["10.0.0.0/8"]}], limits=[{"path": "/", "rate": 5}])
    assert serving(found, path)["middlewares"][:2] == ["pos-allow-1", "pos-limit-1"]
    assert found["middlewares"]["pos-allow-1"] == {"ipAllowList": {"sourceRange": ["10.0.0.0/8"]}}
    assert "pos-allow-1" not in serving(found, "/api/x")["middlewares"]


@pytest.mark.proves("3.16")
def test_a_static_build_is_served_by_the_files_server():
    found = http(processes=PARTS[:1], frontends=[{"name": "spa", "route": "/", "folder": "dist"}, {"name": "docs", "route": "/docs/", "folder": "docs"}])
    for path in ("/", "/a/b", "/docs/x", "/docs"):
        assert serving(found, path)["service"] == "pos-files"
    assert serving(found, "/api/x")["service"] == "pos-web"


@pytest.mark.proves("2.08")
def test_the_app_hears_nothing_that_a_client_made_up():
    found = http()
    for path in ("/", "/api/x"):
        assert "pos-request" in serving(found, path)["middlewares"]
    gone = found["middlewares"]["pos-request"]["headers"]["customRequestHeaders"]
    assert set(gone.values()) == {""}
    assert {"Forwarded", "X-Forwarded-Ssl", "X_Forwarded_Proto", "X_Forwarded_For", "Proxy"} <= set(gone)


@pytest.mark.proves("4.60", "4.63", "4.64")
@pytest.mark.parametrize(("tls", "sent"), [({"mode": "none"}, False), ({"mode": "selfsigned"}, False), (TLS, True)])
def test_headers_and_hsts_only_where_it_can_be_kept(tls, sent):
    headers = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-XSS-Protection": "1; mode=block", "X-Content-Type-Options": ""}
    found = http(tls=tls, headers=headers)["middlewares"]["pos-headers"]["headers"]["customResponseHeaders"]
    assert found["X-XSS-Protection"] == "1; mode=block"
    assert ("Strict-Transport-Security" in found) == sent
    assert "X-Content-Type-Options" not in found


def test_values_reach_traefik_as_they_are():
    found = http(headers={"A": "{{ x }} $1 ${y} `z` \"q\""})
    assert found["middlewares"]["pos-headers"]["headers"]["customResponseHeaders"]["A"] == "{{ x }} $1 ${y} `z` \"q\""
    assert "{{ x" not in traefik.routes(app(headers={"A": "{{ x }}"}), {})


def test_ports_on_the_loopback_lead_to_their_process():
    wanted = app(processes=[dict(PARTS[0], listen=8000), PARTS[1]], tls=TLS)
    found = parsed(traefik.routes(wanted, {}))["http"]
    router = serving(found, "/x", host="localhost", entry="listen-8000")
    assert (router["service"], router["middlewares"][-1]) == ("pos-web", "pos-listen-host")
    assert found["middlewares"]["pos-listen"]["headers"]["customRequestHeaders"] == {"X-Forwarded-Proto": "https"}
    assert found["middlewares"]["pos-listen-host"]["headers"]["customRequestHeaders"]["Host"] == "pos.example.com"
    assert "pos-listen-host" not in serving(found, "/x", host="pos.example.com", entry="listen-8000")["middlewares"]
    assert parsed(traefik.settings([wanted], "/d", [], 300))["entryPoints"]["listen-8000"]["address"] == ":8000"
    assert traefik.ports([wanted]) == [8000]


def test_settings():
    found = parsed(traefik.settings([app()], "/opt/quayside/edge/dynamic", ["10.0.0.1/32"], 300))
    assert found["providers"] == {"providersThrottleDuration": "0.1s", "file": {"directory": "/opt/quayside/edge/dynamic", "watch": True}}
    assert found["entryPoints"]["web"]["forwardedHeaders"] == {"trustedIPs": ["10.0.0.1/32"]}
    assert found["entryPoints"]["ping"] == {"address": "127.0.0.1:81"}
    assert not {"api", "certificatesResolvers"} & set(found)
    assert "docker" not in found["providers"]


@pytest.mark.parametrize(("fields", "strict"), [
    ({"tls": TLS}, True), ({"tls": {"mode": "selfsigned"}}, False), ({"tls": {"mode": "acme"}}, False), ({}, False),
    ({"tls": TLS, "domains": ["pos.example.com", "10.0.0.1"]}, False)])
def test_unknown_names_are_refused_where_all_have_their_certificate(fields, strict):
    found = parsed(traefik.options([app(**fields)]))["tls"]["options"]["default"]
    assert found["sniStrict"] is strict
    assert found["minVersion"] == "VersionTLS12"
