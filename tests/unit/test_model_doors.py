# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model says of the doors: HSTS, HTTP/3, limits and who gets in."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model
from samples import SECRETS, loaded, written

PROVIDED = {"mode": "provided", "certificate": "/c", "key": "/k"}
YEAR = 31536000
OPS = dict(SECRETS, OPS_LOGIN="correct horse battery")
ADMIN = {"path": "/admin/", "users": {"ops": "OPS_LOGIN"}}


def findings(*apps):
    """Return what is wrong with apps."""
    with pytest.raises(model.ModelError) as error:
        model.load(list(apps))
    return error.value.findings


@pytest.mark.proves("4.60", "4.64")
@pytest.mark.parametrize(("hsts", "value"), [
    ({}, ""), ({"max_age": YEAR}, "max-age=31536000"), ({"max_age": YEAR, "subdomains": True}, "max-age=31536000; includeSubDomains"),
    ({"max_age": 2 * YEAR, "subdomains": True, "preload": True}, "max-age=63072000; includeSubDomains; preload")])
def test_the_words_of_hsts(hsts, value):
    assert model.sites([loaded(tls={**PROVIDED, "hsts": hsts})])[0]["hsts"] == value


@pytest.mark.parametrize(("fields", "words"), [
    ({"limits": [{"path": "/" + "x" * 200, "rate": 1}]}, "limits[0].path: '/xxx"),
    ({"tls": {"mode": "none", "hsts": {"max_age": 60}}}, "tls.hsts: a browser that was told so could not come back with tls.mode none"),
    ({"tls": {"mode": "selfsigned", "hsts": {"max_age": 60}}}, "tls.hsts: a browser that was told so could not come back with tls.mode selfsigned"),
    ({"tls": {**PROVIDED, "hsts": {"max_age": -1}}}, "tls.hsts: max_age is a number of seconds"),
    ({"tls": {**PROVIDED, "hsts": {"subdomains": True}}}, "tls.hsts: subdomains and preload say nothing without max_age"),
    ({"tls": {**PROVIDED, "hsts": {"max_age": YEAR, "preload": True}}}, "tls.hsts: preload needs subdomains: true"),
    ({"tls": {**PROVIDED, "hsts": {"max_age": 60, "subdomains": True, "preload": True}}}, "a max_age of at least 31536000"),
    ({"tls": {**PROVIDED, "hsts": {"max_age": 60}}, "headers": {"strict-transport-security": "max-age=1"}}, "headers: Strict-Transport-Security is said"),
    ({"tls": {"mode": "none", "http3": True}}, "tls.http3: HTTP/3 is always encrypted"),
    ({"limits": [{"path": "/api/", "rate": 1, "exempt": ["/hooks/"]}]}, "limits[0].exempt: '/hooks/' does not begin with /api/"),
    ({"allow": [{"path": "admin/", "addresses": ["10.0.0.1"]}]}, "allow[0].path: 'admin/' does not begin with a slash"),
    ({"allow": [{"path": "/admin/"}]}, "allow[0]: nobody could reach /admin/: give addresses, users, or both"),
    ({"allow": [ADMIN]}, "secrets: OPS_LOGIN is missing (the login ops for /admin/)"),
    ({"allow": [{"path": "/a/", "users": {"o:s": "OPS_LOGIN"}}], "secrets": OPS}, "allow[0].users: 'o:s' is no login"),
    ({"allow": [ADMIN], "secrets": dict(OPS, OPS_LOGIN="x" * 73)}, "secrets: OPS_LOGIN is longer than the 72 bytes"),
])
def test_what_cannot_be_meant_is_refused(fields, words):
    assert any(words in finding for finding in findings(written(**fields))), findings(written(**fields))


def test_the_password_of_a_login_is_for_the_edge_alone():
    app = loaded(allow=[{"path": "/a/", "addresses": ["10.0.0.1"]}, ADMIN], secrets=OPS)
    assert "OPS_LOGIN" not in model.secret_environment(app)
    assert [allow["login"] for allow in model.sites([app])[0]["allow"]] == ["", "pos-2"]
    assert model.logins([app]) == [{"name": "pos-2", "users": {"ops": "correct horse battery"}}]
    assert model.logins([app], ["traefik"]) == []
    assert "correct horse battery" not in str(model.sites([app])) + str(model.public(app))


@pytest.mark.proves("2.53")
@pytest.mark.parametrize(("fields", "distribution", "ports"), [
    ({"tls": {**PROVIDED, "http3": True}}, "trixie", [443]), ({"tls": {**PROVIDED, "http3": True}}, "", [443]),
    ({"tls": {**PROVIDED, "http3": True}}, "bookworm", []), ({"tls": PROVIDED}, "trixie", []),
    ({"tls": {**PROVIDED, "http3": True}, "edge": "none"}, "trixie", []),
    ({"tls": {**PROVIDED, "http3": True}, "edge": "nginx_container", "runtime": "compose"}, "bookworm", [443])])
def test_udp_is_open_where_http3_is_spoken(fields, distribution, ports):
    assert model.web_ports([loaded(**fields)], "udp", distribution) == ports
