# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads, from the app model alone."""
from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import traefik, traefik_files
from samples import loaded

NOSNIFF = {"X-Content-Type-Options": "nosniff"}
TLS = {"mode": "provided", "certificate": "/c", "key": "/k"}
PARTS = [{"name": "web", "command": "gunicorn pos.wsgi", "route": "/api/"}, {"name": "frontend", "command": "node s.js", "port": 3000, "route": "/"}]


def app(**fields):
    return loaded(runtime="compose", edge="traefik", **{"processes": PARTS, **fields})


def parsed(text):
    """Return a file as Traefik reads it: first its template engine, then YAML."""
    assert text.startswith(traefik.MARK)
    return yaml.safe_load(text.replace('{{"{{"}}', "{{")) or {}


def http(headers=NOSNIFF, held=None, asked=(), trusted=(), **fields):
    """Return the routes of an app; where it has TLS and nothing else is said, all of its names have a certificate."""
    wanted = app(**fields)
    held = [{"names": wanted["domains"]}] if held is None and wanted["scheme"] == "https" else held or []
    return parsed(traefik.routes(wanted, headers, held, asked, trusted))["http"]


def serving(found, host="pos.example.com", entry="web"):
    """Return the router that Traefik takes for a name: of those that match the one with the highest priority."""
    def matches(rule):
        rule = re.sub(r"HostRegexp\(`(.*?)`\)", lambda m: str(bool(re.search(m[1], host))), rule)
        rule = re.sub(r"Host\(`(.*?)`\)", lambda m: str(m[1] == host), rule)
        return eval(rule.replace("&&", "and").replace("||", "or").replace("!", "not "), {"__builtins__": {}})  # noqa: S307
    fits = [router for router in found["routers"].values() if entry in router["entryPoints"] and matches(router["rule"])]
    return max(fits, key=lambda router: router["priority"], default=None)


SECRET = {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "OPS": "correct horse"}
RULES = {"allow": [{"path": "/admin/", "addresses": ["10.0.0.0/8"]}, {"path": "/api/", "users": {"ops": "OPS"}}],
         "limits": [{"path": "/", "rate": 5}], "headers": {"X-A": "b"}}
HARMLESS = {"headers", "compress", "redirectScheme", "redirectRegex"}


@pytest.mark.parametrize("tls", [{"mode": "none"}, TLS])
def test_no_router_of_traefik_can_open_a_path(tls):
    """What an app's names lead to is one router to nginx for each entry; where Traefik leaves it out, nobody gets anywhere."""
    rules = {key: value for key, value in RULES.items() if key != "headers"}
    found = http(headers=RULES["headers"], tls=tls, secrets=SECRET, **rules)
    for router in found["routers"].values():
        assert "Path" not in router["rule"] and "ClientIP" not in router["rule"]
        assert router["service"] in ("pos-nginx", "noop@internal")
    assert {kind for middleware in found["middlewares"].values() for kind in middleware} <= HARMLESS
    for entry in ("web", "websecure"):
        assert len([one for one in found["routers"].values() if entry in one["entryPoints"]]) <= 1


@pytest.mark.proves("3.17")
def test_what_is_asked_goes_to_nginx():
    found = http()
    assert serving(found)["service"] == "pos-nginx"
    assert found["services"]["pos-nginx"]["loadBalancer"] == {
        "servers": [{"url": "http://nginx:8080"}], "passHostHeader": True, "serversTransport": "quayside-nginx"}
    transport = parsed(traefik.transport(traefik.patience([app(processes=[dict(PARTS[0], timeout=90), PARTS[1]])])))["http"]["serversTransports"]
    # A kept connection may be closed in the moment in which a request goes out on it.
    assert transport["quayside-nginx"]["maxIdleConnsPerHost"] == -1
    # nginx says that an app is dead; Traefik waits longer.
    assert transport["quayside-nginx"]["forwardingTimeouts"]["responseHeaderTimeout"] == "120s"


@pytest.mark.parametrize("tls", [{"mode": "none"}, TLS])
@pytest.mark.parametrize(("host", "service"), [
    ("www.shop.test", "pos-nginx"), ("other.shop.test", "wide-nginx"), ("shop.test", None), ("a.b.shop.test", None), ("wwwxshop.test", None)])
def test_an_exact_name_goes_before_a_wildcard_of_another_app(tls, host, service):
    found = {}
    for name, domains in (("pos", ["www.shop.test"]), ("wide", ["*.shop.test"])):
        one = app(name=name, domains=domains, tls=tls, health={"host": "x.shop.test" if name == "wide" else ""})
        found.update(parsed(traefik.routes(one, {}, [], [domains] if tls == TLS else []))["http"]["routers"])
    for entry in ("web", "websecure") if tls == TLS else ("web",):
        assert (serving({"routers": found}, host=host, entry=entry) or {"service": None})["service"] == service


def test_an_exact_name_goes_before_a_redirect_of_a_wildcard():
    wide = http(name="wide", domains=["*.shop.test", "shop.test"], canonical="shop.test", tls=TLS)["routers"]
    plain = http(domains=["www.shop.test"])["routers"]
    assert serving({"routers": {**wide, **plain}}, host="www.shop.test")["service"] == "pos-nginx"


def test_names_that_no_app_declares_have_no_router():
    assert serving(http(), host="other.example.com") is None


def test_every_service_and_middleware_that_a_route_names_is_there():
    found = http(domains=["pos.example.com", "*.example.com"], canonical="pos.example.com", tls=TLS)
    assert {router["service"] for router in found["routers"].values()} <= {*found["services"], "noop@internal"}
    assert {name for router in found["routers"].values() for name in router["middlewares"]} <= set(found["middlewares"])


@pytest.mark.proves("4.56")
def test_http_goes_to_https():
    found = http(tls=TLS)
    router = serving(found)
    assert router["middlewares"] == ["pos-headers", "pos-to-https"]
    assert found["middlewares"]["pos-to-https"] == {"redirectScheme": {"scheme": "https", "permanent": True}}
    assert serving(found, entry="websecure")["tls"] == {"options": "default"}


def test_other_names_go_to_the_canonical_one():
    found = http(domains=["pos.example.com", "www.example.com"], canonical="pos.example.com")
    assert serving(found, host="www.example.com")["middlewares"][-1] == "pos-to-canonical"
    rule = found["middlewares"]["pos-to-canonical"]["redirectRegex"]
    assert re.sub(rule["regex"], rule["replacement"].replace("${1}", r"\1"), "http://www.example.com/x?y=1") == "http://pos.example.com/x?y=1"
    assert serving(found)["service"] == "pos-nginx"


ACME = {"mode": "acme", "email": "ops@example.com", "server": "https://ca.test/dir"}


@pytest.mark.proves("3.18")
def test_acme_asks_for_the_names():
    wanted = app(domains=["a.example.com", "b.example.com"], tls=ACME)
    text = traefik.routes(wanted, {}, [], [["a.example.com", "b.example.com"]])
    router = serving(parsed(text)["http"], host="a.example.com", entry="websecure")
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
    ([], [], "pos-nginx", None),
    ([], [["a.test"]], "pos-nginx", "pos-nginx"),
    (["a.test"], [["a.test"]], "noop@internal", "pos-nginx"),
    (["b.test"], [["a.test"], ["b.test"]], "pos-nginx", "pos-nginx"),
    (["b.test"], [["b.test"]], "pos-nginx", None)])
def test_a_name_is_served_by_http_until_its_certificate_is_there(secure, asked, plain, tls):
    found = http(domains=["a.test", "b.test"], tls=ACME, held=[{"names": secure}], asked=asked)
    assert serving(found, host="a.test")["service"] == plain
    assert (serving(found, host="a.test", entry="websecure") or {"service": None})["service"] == tls


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
    behind = http(trusted=["10.0.0.9"])["middlewares"]
    assert "Strict-Transport-Security" not in behind["pos-headers"]["headers"]["customResponseHeaders"]


def test_http3_is_an_entry_of_its_own_by_choice():
    assert parsed(traefik.settings([app(tls={**TLS, "http3": True})], "/d", [], 300))["entryPoints"]["websecure"]["http3"] == {}
    assert "http3" not in parsed(traefik.settings([app(tls=TLS)], "/d", [], 300))["entryPoints"]["websecure"]


def test_values_reach_traefik_as_they_are():
    found = http(headers={"A": "{{ x }} $1 ${y} `z` \"q\""})
    assert found["middlewares"]["pos-headers"]["headers"]["customResponseHeaders"]["A"] == "{{ x }} $1 ${y} `z` \"q\""
    assert "{{ x" not in traefik.routes(app(headers={"A": "{{ x }}"}), {})


def test_settings():
    found = parsed(traefik.settings([app()], "/opt/quayside/edge/dynamic", ["10.0.0.1/32"], 300))
    assert found["providers"] == {"providersThrottleDuration": "0.1s", "file": {"directory": "/opt/quayside/edge/dynamic", "watch": True}}
    assert found["entryPoints"]["web"]["forwardedHeaders"] == {"trustedIPs": ["10.0.0.1/32"]}
    assert found["entryPoints"]["ping"] == {"address": "127.0.0.1:81"}
    assert "certificatesResolvers" not in found
    # Who asks it reads what each app is told; only root of the host gets into the container's network.
    assert found["api"] == {"insecure": True, "dashboard": False}
    assert found["entryPoints"]["traefik"] == {"address": "127.0.0.1:82"}
    assert set(found["entryPoints"]) == {"web", "websecure", "ping", "traefik"}
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
