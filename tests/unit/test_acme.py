# SPDX-License-Identifier: GPL-3.0-or-later
"""When an authority is asked, with which words, and whether names lead here."""
from __future__ import annotations

import contextlib
import http.server
import threading

import pytest
from ansible_collections.quayside.django.plugins.module_utils import acme, acme_look, acme_reach
from samples import loaded

NOW, DAY, CA = 1_800_000_000.0, 86400, "https://ca.test/dir"


def have(names=("a.test", "b.test"), begins=-30, ends=60, server=CA, broken=""):
    return {"broken": broken, "names": {f"DNS:{name}" for name in names}, "begins": NOW + begins * DAY, "ends": NOW + ends * DAY, "server": server}


@pytest.mark.proves("4.26", "4.95")
@pytest.mark.parametrize(("state", "why"), [
    (have(), ""), (have(["a.test", "b.test", "c.test"]), ""), (have(["*.test"]), ""),
    (have(broken="there is none"), "there is none"), (have(broken="the key does not belong to it"), "the key does not belong to it"),
    (have(ends=-2), "it ended 2 days ago"), (have(["a.test"]), "it is for DNS:a.test, not for b.test"),
    (have(server="https://staging.test/dir"), "it is of https://staging.test/dir"), (have(server=""), ""),
    (have(begins=-60, ends=30), ""), (have(begins=-80, ends=10), "it ends in 10 days, and no timer has renewed it"),
    (have(begins=-0.01, ends=0.005), ""), (have(begins=-0.014, ends=0.001), "it ends in 1 minutes, and no timer has renewed it")])
def test_why_an_authority_is_asked(state, why):
    assert acme.why_ask(["a.test", "b.test"], state, CA, NOW) == why


ALWAYS = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--no-directory-hooks", "--server", CA, "--cert-name", "pos", "--force-renewal",
          "--renew-with-new-domains"]


@pytest.mark.proves("4.35")
@pytest.mark.parametrize(("fields", "secrets", "words"), [
    ({"email": "o@a.test"}, "", ["--preferred-challenges", "http-01", "--email", "o@a.test", "--authenticator", "webroot", "--webroot-path", "/w"]),
    ({"eab": "kid-1"}, "/tmp/x/cli.ini", ["--preferred-challenges", "http-01", "--register-unsafely-without-email", "--config", "/tmp/x/cli.ini",
                                          "--authenticator", "webroot", "--webroot-path", "/w"]),
    ({"challenge": "dns", "dns": {"plugin": "rfc2136", "propagation": 5}}, "", [
        "--preferred-challenges", "dns-01", "--register-unsafely-without-email", "--authenticator", "dns-rfc2136", "--dns-rfc2136-propagation-seconds", "5",
        "--dns-rfc2136-credentials", "/etc/quayside/acme/pos.ini"]),
    ({"challenge": "dns", "dns": {"plugin": "route53"}}, "", [
        "--preferred-challenges", "dns-01", "--register-unsafely-without-email", "--authenticator", "dns-route53", "--dns-route53-propagation-seconds", "60"]),
])
def test_the_words_of_certbot(fields, secrets, words):
    app = loaded(domains=["a.test", "*.b.test"] if fields.get("challenge") else ["a.test", "b.test"], tls={"mode": "acme", "server": CA, **fields},
                 secrets={"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "ACME_EAB_HMAC_KEY": "h" * 20})
    found = acme.argv("pos", app["domains"], app["tls"], "/w", "pos", secrets)
    # Certbot takes no star together with that option.
    subset = [] if "*.b.test" in app["domains"] else ["--allow-subset-of-names"]
    assert found == ALWAYS + subset + words + ["--domain", "a.test", "--domain", app["domains"][1]]


@pytest.mark.parametrize(("fields", "names"), [
    ({"domains": ["a.test", "b.test"]}, {"pos": ["a.test", "b.test"]}),
    ({"domains": ["a.test", "10.0.0.2"]}, {"pos": ["a.test"]}),
    ({"domains": ["a.test", "b.test"], "each": True}, {"pos-a.test": ["a.test"], "pos-b.test": ["b.test"]}),
    ({"domains": ["*.a.test"], "each": True, "challenge": "dns", "dns": {"plugin": "rfc2136"}}, {"pos-wildcard.a.test": ["*.a.test"]})])
def test_which_certificates_an_app_wants(fields, names):
    domains = fields.pop("domains")
    found = loaded(domains=domains, tls={"mode": "acme", **fields})["certificates"]
    assert {one["name"]: one["names"] for one in found if not one["spare"]} == names
    assert [one["name"] for one in found if one["spare"]] == (["pos"] if fields.get("each") else [])
    assert all(one["certificate"] == f"/etc/letsencrypt/live/{one['name']}/fullchain.pem" for one in found)


def test_the_staging_switch_wins_over_the_server():
    assert loaded(tls={"mode": "acme", "staging": True, "server": CA})["tls"]["server"] == "https://acme-staging-v02.api.letsencrypt.org/directory"
    assert loaded(tls={"mode": "acme"})["tls"]["server"] == "https://acme-v02.api.letsencrypt.org/directory"


SAID = """Saving debug log to /var/log/letsencrypt/letsencrypt.log

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: b.test
  Type:   unauthorized
  Detail: 10.0.0.9: Invalid response from
    http://b.test/.well-known/acme-challenge/x: 404

Hint: The Certificate Authority failed to download the temporary challenge files.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
FORBIDDEN = """An unexpected error occurred:
Order included an identifier for which issuance is forbidden by policy: "blocked.example.com"
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile /var/log/letsencrypt/letsencrypt.log
"""


@pytest.mark.proves("4.35")
@pytest.mark.parametrize(("said", "names", "found"), [
    (SAID, ["a.test", "b.test"], {"b.test": "10.0.0.9: Invalid response from http://b.test/.well-known/acme-challenge/x: 404"}),
    (FORBIDDEN, ["a.test", "blocked.example.com"], {
        "blocked.example.com": 'Order included an identifier for which issuance is forbidden by policy: "blocked.example.com"'}),
    (FORBIDDEN, ["example.com", "a.test"], {}), ("Connection refused", ["a.test"], {})])
def test_what_a_refusal_means(said, names, found):
    assert acme.problems(said, names) == found


@pytest.mark.parametrize(("resolved", "answers", "own", "words"), [
    (["10.0.0.5"], {"10.0.0.5": ""}, {"10.0.0.5"}, ""),
    (["192.0.2.7"], {"192.0.2.7": ""}, {"10.0.0.5"}, ""),  # behind NAT: what counts is that the file is found
    (["10.0.0.5", "2001:db8::5"], {"10.0.0.5": "", "2001:db8::5": "-"}, {"10.0.0.5"}, ""),  # no way by IPv6 from here
    ([], {}, {"10.0.0.5"}, "a.test resolves to no address: add an A record for it that leads here (10.0.0.5)"),
    (["10.0.0.9"], {"10.0.0.9": "answers 404"}, {"10.0.0.5"}, "a.test resolves to 10.0.0.9, and this host is 10.0.0.5; http://a.test/.well-known/"),
    (["10.0.0.5", "2001:db8::9"], {"10.0.0.5": "", "2001:db8::9": "answers 404"}, {"10.0.0.5"}, "a.test resolves to 2001:db8::9, and this host is 10.0.0.5"),
    (["2001:db8::9"], {"2001:db8::9": "-"}, {"10.0.0.5"}, "cannot be reached from here"),
    (["10.0.0.5"], {"10.0.0.5": "answers 404"}, {"10.0.0.5"}, "which is this host; http://a.test/.well-known/acme-challenge/ there answers 404")])
def test_whether_a_name_leads_here(resolved, answers, own, words):
    found = acme_reach.verdict("a.test", "/x", resolved, answers, own)
    assert words in found if words else found == ""


@contextlib.contextmanager
def web(status, headers, body):
    """A web server that answers everything alike."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def good(status, _headers, text):
    return status == 200 and text == "token"


@pytest.mark.parametrize(("status", "body", "said"), [(200, b"token", ""), (200, b"a page", "answers 200"), (404, b"", "answers 404")])
def test_a_file_is_looked_for(status, body, said):
    with web(status, {}, body) as port:
        assert acme_reach.fetch("127.0.0.1", "a.test", "/x", good, port) == said
    assert "does not answer" in acme_reach.fetch("127.0.0.1", "a.test", "/x", good, port)


@pytest.mark.parametrize(("body", "said"), [(b"token", ""), (b"a page", "sends on to http://127.0.0.1:")])
def test_a_redirect_is_followed_as_an_authority_does(body, said):
    with web(200, {}, body) as target, web(301, {"Location": f"http://127.0.0.1:{target}/x"}, b"") as port:
        found = acme_reach.fetch("127.0.0.1", "a.test", "/x", good, port)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_certificate_has_the_name_that_the_standard_gives_it():
    # RFC 9773, 4.1: the key identifier 69:88:5B:6B:87:46:40:41:E1:B3:7B:84:7B:A0:AE:2C:DE:01:C8:D4 and the serial number 00:87:65:43:21.
    key, serial = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4"), bytes.fromhex("0087654321")
    of_key = b"\x06\x03\x55\x1d\x23\x04\x18\x30\x16\x80\x14" + key
    tbs = b"\xa0\x03\x02\x01\x02" + b"\x02\x05" + serial + of_key
    der = b"\x30" + bytes([len(tbs) + 2]) + b"\x30" + bytes([len(tbs)]) + tbs
    assert acme_look.identifier(der) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(("ends", "over"), [("2026-01-02T00:00:00Z", True), ("2030-01-02T00:00:00.123456789Z", False), ("", False)])
def test_an_authority_wants_one_renewed(ends, over):
    assert acme_look.overdue({"suggestedWindow": {"end": ends}} if ends else {}, NOW) is over


@pytest.mark.parametrize(("hours", "found"), [(1, {"a.test": "forbidden"}), (23.9, {"a.test": "forbidden"}), (24, {}), (100, {})])
def test_a_refusal_is_remembered_for_a_day(hours, found):
    assert acme.recent({"a.test": {"at": NOW, "why": "forbidden"}}, NOW + hours * 3600) == found


@pytest.mark.parametrize("names, found", [
    (["x.test"], {"x.test": 'forbidden by policy: "x.test"'}),
    (["b.test"], {}),
    (["test"], {}),
    (["a.test", "x.test", "y.test"], {"x.test": 'forbidden by policy: "x.test"', "y.test": "y.test is a forbidden domain"}),
])
def test_what_certbot_does_not_print_stands_in_its_log(names, found):
    log = '{\n  "type": "x",\n  "detail": "forbidden by policy: \\"x.test\\"",\n  "status": 400\n}\n {"detail": "y.test is a forbidden domain"\n'
    assert acme.answers(log, names) == found
