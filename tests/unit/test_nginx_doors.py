# SPDX-License-Identifier: GPL-3.0-or-later
"""What the templates of the role nginx say of headers, logins, limits, encryption and what is never served."""
from __future__ import annotations

import re

import pytest
from test_nginx_templates import HEADERS, SHOP, blocks, contained, expressions, render, site, text

PROVIDED = {"mode": "provided", "certificate": "/etc/ssl/c.pem", "key": "/etc/ssl/k.pem"}
HSTS = "max-age=63072000; includeSubDomains"
LIST = {"path": "/office/", "addresses": ["10.0.0.0/8"], "users": {}, "login": ""}
ADMIN = {"path": "/admin/", "addresses": [], "users": {"ops": "OPS"}, "login": "my-shop-2"}
DEEP = {"path": "/admin/deep/", "addresses": [], "users": {"me": "OPS"}, "login": "my-shop-3"}


def servers(config):
    return blocks(config, "server {")


@pytest.mark.proves("4.60", "4.64")
def test_hsts_is_said_by_https_alone_and_instead_of_the_app():
    plain, secure = servers(text(tls=PROVIDED, hsts=HSTS, domains=["shop.example.com"]))
    assert f'    add_header Strict-Transport-Security "{HSTS}" always;' in secure
    assert "proxy_hide_header Strict-Transport-Security;" in secure
    assert "Strict-Transport-Security" not in plain


@pytest.mark.proves("4.60")
@pytest.mark.parametrize(("tls", "trusted", "hidden"), [
    ({"mode": "none"}, [], True), ({"mode": "none"}, ["10.0.0.9"], False), ({"mode": "selfsigned"}, [], True), (PROVIDED, [], False)])
def test_hsts_of_the_app_passes_only_where_it_can_be_kept(tls, trusted, hidden):
    done = render(site(tls={"certificate": "", "key": "", **tls}), nginx_trusted_proxies=trusted)
    assert ("proxy_hide_header Strict-Transport-Security;" in servers(done.sites["my-shop"])[-1]) == hidden
    assert "add_header Strict-Transport-Security" not in done.sites["my-shop"]


@pytest.mark.proves("4.61")
def test_redirects_have_the_headers():
    for server in servers(text(tls=PROVIDED, domains=["a.example.com", "b.example.com"], canonical="a.example.com")):
        for header in [*HEADERS, "X-XSS-Protection"]:
            assert f"    add_header {header} $edge_" in server


@pytest.mark.proves("4.63")
def test_a_header_is_one_whatever_its_case_and_can_be_turned_off():
    config = text(headers={"x-frame-options": "DENY", "X-Xss-Protection": ""})
    assert "X-Frame-Options" not in config
    assert 'add_header x-frame-options "DENY" always;' in config
    assert "X-XSS-Protection" not in config and "X-Xss-Protection" not in config


@pytest.mark.parametrize(("name", "left"), [
    ("a.bak", True), ("a.BAK", True), ("a.js.old", True), ("a.orig", True), ("a.swp", True), ("a.html~", True), ("a.sql", True), ("a.sql.gz", True),
    ("a.sql.1", True), ("a.bak2", True), ("db.sqlite3", True), ("db.sqlite", True), ("x.dump", True), ("prod.env", True), ("#a#", True), ("a.save", True),
    ("a.js", False), ("a.css.map", False), ("backup.html", False), ("old.png", False), ("talk.key", False), ("a.tar.gz", False), ("sql", False),
    ("a.sqlx", False), ("a.bakery.js", False)])
def test_leftovers(name, left):
    (block,) = blocks(render().main, "    map $uri $edge_leftover ")
    assert bool(re.search(re.search(r'"~\*(.*)" 1;', block)[1], f"/static/{name}", re.I)) == left


def test_leftovers_are_looked_for_where_files_are_served_and_not_where_the_app_answers():
    spa = {"name": "spa", "path": "/app/", "folder": "/opt/my-shop/live/frontends/spa", "pool": "", "fallback": "index.html", "max_age": 0}
    config = text(frontends=[spa])
    for place in ("    location ^~ /static/", "    location @my-shop-static-pool", "    location ^~ /media/", "    location ^~ /app/"):
        (block,) = blocks(config, place)
        assert block.splitlines()[1].strip() == "if ($edge_leftover) { return 404; }", place
    assert config.count("$edge_leftover") == 4


def test_logins_hold_whatever_a_location_makes_of_the_path():
    config = text(allow=[LIST, ADMIN, DEEP], health="/admin/healthz/")
    (names,) = blocks(config, "map $my_shop_path $my_shop_login_here ")
    assert names.index('"~*^/admin/deep/" my-shop-3;') < names.index('"~*^/admin/" my-shop-2;')
    assert '"/admin/healthz/" off;' in names
    (judged,) = blocks(config, 'map "$my_shop_login_here $my_shop_login_decoded $my_shop_login_alike" $my_shop_login ')
    assert "default refused;" in judged and '"off off off" off;' in judged and '"my-shop-2 my-shop-2 my-shop-2" my-shop-2;' in judged
    (server,) = servers(config)
    assert "set $my_shop_path $uri;" in server and "if ($my_shop_login = refused) { return 400; }" in server
    assert "auth_basic $my_shop_login;\n    auth_basic_user_file /etc/nginx/logins/$my_shop_login;" in server
    assert "proxy_set_header Authorization $my_shop_authorization;" in server
    (acme,) = blocks(config, "    location ^~ /.well-known/acme-challenge/")
    assert "auth_basic off;" in acme
    assert "$my_shop_allowed_2" not in config and "$my_shop_refused_1" in config
    assert "auth_basic" not in text(allow=[LIST])


def test_the_health_path_is_open():
    config = text(allow=[{"path": "/", "addresses": ["10.0.0.0/8"]}], health="/healthz/")
    found = expressions(config, 'map "$my_shop_acme$my_shop_allowed_1 $request_uri $uri" ')
    assert [bool(re.search(found[1], key)) for key in ("00 /healthz/ /healthz/", "00 /healthz/?a=b /healthz/", "00 /healthz/x /healthz/x",
                                                       "00 /admin%2f..%2fhealthz/ /healthz/")] == [True, True, False, False]


@pytest.mark.parametrize(("release", "quic"), [("trixie", True), ("bookworm", False)])
def test_http3_where_nginx_has_it(release, quic):
    done = render(site(tls={**PROVIDED, "http3": True}), release=release)
    secure, main = servers(done.sites["my-shop"])[-1], done.main
    assert ("    listen 443 quic;\n    listen [::]:443 quic;" in secure) == quic
    assert ("add_header Alt-Svc 'h3=\":443\"; ma=86400' always;" in secure) == quic
    assert (main.count("quic reuseport default_server;") == 2) == quic
    assert "quic" not in servers(done.sites["my-shop"])[0]
    assert "quic" not in (lambda one: one.main + one.sites["my-shop"])(render(site(tls=PROVIDED), release=release))


def test_http3_only_with_a_certificate():
    assert "quic" not in contained(site(tls={**PROVIDED, "http3": True})).main
    assert "quic" in contained(site(tls={**PROVIDED, "http3": True}), usable=["my-shop"]).main
    assert "Alt-Svc" not in contained(site(tls={**PROVIDED, "http3": True}), variant="behind").sites["my-shop"]


@pytest.mark.parametrize(("release", "brotli", "curves"), [
    ("bookworm", True, "X25519:prime256v1:secp384r1"), ("trixie", True, "?X25519MLKEM768:X25519:prime256v1:secp384r1"),
    ("jammy", False, "X25519:prime256v1:secp384r1")])
def test_what_the_hosts_packages_know(release, brotli, curves):
    done = render(site(), release=release)
    assert ("brotli on;" in done.main) == ("brotli_static on;" in done.sites["my-shop"]) == brotli
    assert f"ssl_ecdh_curve {curves};" in done.main
    assert "gzip_static on;" in done.sites["my-shop"]


def test_the_official_image_has_no_brotli():
    done = contained(SHOP)
    assert "brotli" not in done.main + done.sites["my-shop"]
    assert "ssl_ecdh_curve ?X25519MLKEM768:" in done.main


@pytest.mark.proves("4.59")
def test_neither_cbc_nor_dhe_nor_tickets():
    main = render().main
    ciphers = re.search(r"ssl_ciphers (.*);", main)[1].split(":")
    assert len(ciphers) == 6
    assert all(cipher.startswith("ECDHE-") and ("GCM" in cipher or "POLY1305" in cipher) for cipher in ciphers)
    assert "ssl_session_tickets off;" in main and "ssl_prefer_server_ciphers off;" in main and "ssl_protocols TLSv1.2 TLSv1.3;" in main
