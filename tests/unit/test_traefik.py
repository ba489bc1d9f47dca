# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads, from the app model alone."""
from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import traefik, traefik_files
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


def http(headers=NOSNIFF, held=None, asked=(), **fields):
    """Return the routes of an app; where it has TLS and nothing else is said, all of its names have a certificate."""
    wanted = app(**fields)
    held = [{"names": wanted["domains"]}] if held is None and wanted["scheme"] == "https" else held or []
    return parsed(traefik.routes(wanted, headers, held, asked))["http"]


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


@pytest.mark.parametrize(("path", "refused"), [
    ("/api/.git/config", True), ("/.env", True), ("/admin%2Fx", True), ("/.well-known/a%2fb", True), ("/.well-known/x", False), ("/a.b", False)])
def test_what_is_hidden_reaches_nothing(path, refused):
    found = http()
    router = serving(found, path)
    assert (router["middlewares"][-1] == "pos-nowhere") == refused
    assert found["middlewares"]["pos-nowhere"] == {"replacePath": {"path": "/.nowhere"}}


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
    assert router["middlewares"] == ["pos-headers", "pos-to-https"]
    assert found["middlewares"]["pos-to-https"] == {"redirectScheme": {"scheme": "https", "permanent": True}}
    assert serving(found, "/api/x", entry="websecure")["tls"] == {"options": "default"}


def test_other_names_go_to_the_canonical_one():
    found = http(domains=["pos.example.com", "www.example.com"], canonical="pos.example.com")
    assert serving(found, "/x", host="www.example.com")["middlewares"][-1] == "pos-to-canonical"
    rule = found["middlewares"]["pos-to-canonical"]["redirectRegex"]
    assert re.sub(rule["regex"], rule["replacement"].replace("${1}", r"\1"), "http://www.example.com/x?y=1") == "http://pos.example.com/x?y=1"
    assert serving(found, "/x")["service"] == "pos-frontend"


ACME = {"mode": "acme", "email": "ops@example.com", "server": "https://ca.test/dir"}


@pytest.mark.proves("3.18")
def test_acme_asks_for_the_names():
    wanted = app(domains=["a.example.com", "b.example.com"], tls=ACME)
    text = traefik.routes(wanted, {}, [], [["a.example.com", "b.example.com"]])
    router = serving(parsed(text)["http"], "/", host="a.example.com", entry="websecure")
    assert router["tls"] == {"options": "default", "certResolver": "quayside-pos", "domains": [{"main": "a.example.com", "sans": ["b.example.com"]}]}
    assert traefik.asks(text) == [["a.example.com", "b.example.com"]]
    assert traefik.asks(traefik.routes(wanted, {})) == []
    resolver = parsed(traefik.settings([wanted], "/d", [], 300))["certificatesResolvers"]["quayside-pos"]["acme"]
    other = parsed(traefik.settings([app(tls={**ACME, "staging": True})], "/d", [], 300))["certificatesResolvers"]["quayside-pos"]["acme"]
    assert other["storage"] != resolver["storage"]  # an account is known to its own authority only
    assert resolver == {"email": "ops@example.com", "caServer": "https://ca.test/dir", "storage": f"/acme/{traefik.storage(wanted)}",
                        "httpChallenge": {"entryPoint": "web"}}
    assert re.fullmatch(r"pos-[0-9a-f]{8}.json", traefik.storage(wanted))


@pytest.mark.proves("4.27", "4.56")
@pytest.mark.parametrize(("secure", "asked", "plain", "tls"), [
    ([], [], "pos-frontend", None),
    ([], [["a.test"]], "pos-frontend", "pos-frontend"),
    (["a.test"], [["a.test"]], "noop@internal", "pos-frontend"),
    (["b.test"], [["a.test"], ["b.test"]], "pos-frontend", "pos-frontend"),
    (["b.test"], [["b.test"]], "pos-frontend", None)])
def test_a_name_is_served_by_http_until_its_certificate_is_there(secure, asked, plain, tls):
    found = http(domains=["a.test", "b.test"], tls=ACME, held=[{"names": secure}], asked=asked)
    assert serving(found, "/", host="a.test")["service"] == plain
    assert (serving(found, "/", host="a.test", entry="websecure") or {"service": None})["service"] == tls


@pytest.mark.parametrize(("fields", "key", "value"), [
    ({"staging": True}, "caServer", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ({"eab": "kid-1"}, "eab", {"kid": "kid-1", "hmacEncoded": "h" * 20}),
    ({"challenge": "dns", "dns": {"plugin": "rfc2136", "propagation": 5}}, "dnsChallenge", {"provider": "rfc2136", "propagation": {"delayBeforeChecks": "5s"}}),
    ({"challenge": "dns", "dns": {"plugin": "rfc2136", "resolvers": ["10.0.0.2:53"]}}, "dnsChallenge",
     {"provider": "rfc2136", "propagation": {"delayBeforeChecks": "60s", "disableANSChecks": True}, "resolvers": ["10.0.0.2:53"]})])
def test_how_the_authority_is_asked(fields, key, value):
    wanted = app(tls={**ACME, **fields}, secrets={"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "ACME_EAB_HMAC_KEY": "h" * 20})
    found = parsed(traefik.settings([wanted], "/d", [], 300, {"pos": {"eab": "h" * 20}}, 1))["certificatesResolvers"]["quayside-pos"]["acme"]
    assert found[key] == value
    assert found["certificatesDuration"] == 1
    assert ("httpChallenge" in found) == (key != "dnsChallenge")


@pytest.mark.parametrize(("canonical_is_secure", "scheme"), [(True, "https"), (False, "http")])
def test_the_canonical_name_is_reached_as_it_is_served(canonical_is_secure, scheme):
    held = [{"names": ["a.test"] if canonical_is_secure else ["b.test"]}]
    found = http(domains=["a.test", "b.test"], canonical="a.test", tls=TLS, held=held)
    assert found["middlewares"]["pos-to-canonical"]["redirectRegex"]["replacement"] == f"{scheme}://a.test/${{1}}"


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
    # The answer of an address list has the headers, too.
    assert serving(found, path)["middlewares"][:4] == ["pos-headers", "pos-compress", "pos-allow-1", "pos-limit-1"]
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
    middlewares = http(tls=tls, headers=headers)["middlewares"]
    plain = middlewares["pos-headers"]["headers"]["customResponseHeaders"]
    found = middlewares.get("pos-headers-tls", middlewares["pos-headers"])["headers"]["customResponseHeaders"]
    assert found["X-XSS-Protection"] == "1; mode=block"
    # An empty value takes away what the app says.
    assert (found["Strict-Transport-Security"] != "") == sent
    assert plain["Strict-Transport-Security"] == ""
    assert "X-Content-Type-Options" not in found


@pytest.mark.proves("4.60")
def test_hsts_is_said_over_https_and_by_the_app_where_nothing_is_declared():
    declared = http(tls={**TLS, "hsts": {"max_age": 60}})["middlewares"]
    assert declared["pos-headers-tls"]["headers"]["customResponseHeaders"]["Strict-Transport-Security"] == "max-age=60"
    assert declared["pos-headers"]["headers"]["customResponseHeaders"]["Strict-Transport-Security"] == ""
    assert "Strict-Transport-Security" not in http(tls=TLS)["middlewares"]["pos-headers-tls"]["headers"]["customResponseHeaders"]
    # What stands before this edge may speak HTTPS for it.
    behind = parsed(traefik.routes(app(), NOSNIFF, doors=traefik.Doors(trusted=["10.0.0.9"])))["http"]["middlewares"]
    assert "Strict-Transport-Security" not in behind["pos-headers"]["headers"]["customResponseHeaders"]


SECRET = {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "OPS": "correct horse"}
ALLOW = [{"path": "/api/", "users": {"ops": "OPS"}}, {"path": "/api/deep/", "addresses": ["192.0.2.0/24"]}, {"path": "/api/own/", "users": {"me": "OPS"}}]


@pytest.mark.parametrize(("path", "through"), [
    ("/api/x", ["login-1-aa"]), ("/api/deep/x", ["allow-2", "login-1-aa"]), ("/api/own/x", ["login-3-new"]), ("/", []), ("/api/healthz/", [])])
def test_logins_by_the_longest_path_and_not_for_the_health_path(path, through):
    doors = traefik.Doors("/edge/logins", {"pos-1": "aa"})
    found = parsed(traefik.routes(app(allow=ALLOW, secrets=SECRET, health={"path": "/api/healthz/"}), NOSNIFF, doors=doors))["http"]
    chosen = [name for name in serving(found, path)["middlewares"] if "login" in name or "allow" in name]
    assert chosen == [f"pos-{name}" for name in through]
    assert found["middlewares"]["pos-login-1-aa"] == {"basicAuth": {"usersFile": "/edge/logins/pos-1", "realm": "pos-1", "removeHeader": True}}
    assert "pos-allow-1" not in found["middlewares"]


@pytest.mark.proves("4.66")
def test_who_comes_by_a_trusted_proxy_is_who_it_says():
    limits = [{"path": "/api/", "rate": 10, "burst": 0, "exempt": ["/api/hooks/"]}]
    found = parsed(traefik.routes(app(limits=limits), NOSNIFF, doors=traefik.Doors(trusted=["10.0.0.9", "fd00::/8"])))["http"]
    routers = {name: one for name, one in found["routers"].items() if any("limit" in through for through in one["middlewares"])}
    (direct, behind) = sorted(routers.values(), key=lambda one: one["priority"])
    assert behind["rule"] == direct["rule"] + " && (ClientIP(`10.0.0.9`) || ClientIP(`fd00::/8`))"
    assert found["middlewares"]["pos-limit-1"]["rateLimit"].get("sourceCriterion") is None
    assert found["middlewares"]["pos-limit-1-behind"]["rateLimit"]["sourceCriterion"] == {"ipStrategy": {"excludedIPs": ["10.0.0.9", "fd00::/8"]}}
    assert not any("limit" in name for name in serving(http(limits=limits), "/api/hooks/x")["middlewares"])


def test_http3_is_an_entry_of_its_own_by_choice():
    assert parsed(traefik.settings([app(tls={**TLS, "http3": True})], "/d", [], 300))["entryPoints"]["websecure"]["http3"] == {}
    assert "http3" not in parsed(traefik.settings([app(tls=TLS)], "/d", [], 300))["entryPoints"]["websecure"]


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


@pytest.mark.parametrize(("asked", "groups", "names", "found"), [
    ([], [["a.test", "b.test"]], ["a.test", "b.test"], [["a.test", "b.test"]]),
    ([], [["a.test", "b.test"]], ["b.test"], [["b.test"]]),
    ([], [["a.test"], ["b.test"]], ["a.test", "b.test"], [["a.test"], ["b.test"]]),
    ([["a.test"], ["b.test"]], [["a.test", "b.test"]], ["a.test", "b.test"], [["a.test"], ["b.test"]]),  # together they did not come
    ([["a.test"], ["b.test"]], [["a.test", "b.test", "c.test"]], ["a.test", "b.test", "c.test"], [["a.test", "b.test", "c.test"]]),
    ([["a.test", "b.test"]], [["a.test", "b.test"]], [], [])])
def test_what_traefik_is_told_to_ask_for(asked, groups, names, found):
    assert traefik_files.regroup(asked, groups, names) == found


@pytest.mark.proves("4.26")
@pytest.mark.parametrize(("served", "asked", "held", "kept"), [
    ([], [], [], []), (["a.test"], [["a.test", "b.test"]], [{"names": ["a.test"]}], [["a.test", "b.test"]]),
    (["a.test", "b.test"], [["a.test", "gone.test"]], [{"names": ["a.test", "b.test"]}], [["a.test"]])])
def test_what_it_serves_and_what_it_was_told_stay(tmp_path, monkeypatch, served, asked, held, kept):
    wanted = app(domains=["a.test", "b.test", "10.0.0.2"], tls=ACME)
    monkeypatch.setattr(traefik_files.served, "look", lambda name: {"secure": name in served})
    (tmp_path / "dynamic").mkdir()
    (tmp_path / "dynamic" / "pos.yml").write_text(traefik.routes(wanted, {}, [], asked))
    assert traefik_files.doors(wanted, str(tmp_path), []) == (held, kept)
    others = [{"names": ["a.test"], "certificate": "/c", "key": "/k"}]
    assert traefik_files.doors(app(tls=TLS), str(tmp_path), others) == (others, [])


SAID = """ERR Unable to obtain ACME certificate for domains error="unable to generate a certificate for the domains [x.test]: acme: error: 400 :: POST :: \
https://ca.test/order :: urn:ietf:params:acme:error:rejectedIdentifier :: forbidden by policy: \\"x.test\\", problem: \\"urn\\"" ACME CA=https://ca.test/dir
ERR Unable to obtain ACME certificate for domains error="unable to generate a certificate for the domains [a.test]: resolver: one or more domains had a \
problem: [a.test: invalid authorization: acme: error: 400 :: urn:ietf:params:acme:error:connection :: Get \\"http://a.test:80/x\\": reset]" ACME CA=https://ca
"""


@pytest.mark.parametrize(("name", "found"), [
    ("x.test", 'acme: error: 400 :: POST :: https://ca.test/order :: urn:ietf:params:acme:error:rejectedIdentifier :: forbidden by policy: \\"x.test\\"'),
    ("a.test", 'acme: error: 400 :: urn:ietf:params:acme:error:connection :: Get \\"http://a.test:80/x\\": reset'),
    ("b.test", "Traefik does not say why")])
def test_why_traefik_has_no_certificate(name, found):
    assert traefik_files.reason(SAID, name).startswith(found)
