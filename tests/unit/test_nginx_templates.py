# SPDX-License-Identifier: GPL-3.0-or-later
"""What the templates of the role nginx say for a site, rendered as the role renders them."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible_collections.quayside.django.plugins.module_utils import certificates
from ansible_collections.quayside.django.plugins.module_utils.request_headers import SPOOFED

ROLE = Path(__file__).parents[2] / "roles" / "nginx"

SHOP = {
    "name": "my-shop",
    "domains": ["shop.example.com", "10.0.0.2", "2001:db8::5"],
    "canonical": "",
    "tls": {"mode": "none", "certificate": "", "key": ""},
    "upstreams": [{"name": "my-shop-web", "server": "unix:/opt/my-shop/live/run/web.sock"}],
    "routes": [{"path": "/", "upstream": "my-shop-web", "timeout": 60, "websocket": False}],
    "static": {"url": "/static/", "folder": "/opt/my-shop/live/static", "pool": "/opt/my-shop/static", "max_age": 3600},
    "media": {"url": "/media/", "folder": "/opt/my-shop/shared/media", "max_age": 86400},
    "body_size": "20m",
    "headers": {},
    "allow": [],
}
TLS = {"mode": "selfsigned", "certificate": "", "key": ""}
HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}

init_plugin_loader([str(ROLE.parents[1] / ".ansible" / "collections")])


class Rendered:
    def __init__(self, main, sites, certificates, files):
        self.main, self.sites, self.certificates, self.files = main, sites, certificates, files


def render(*sites, release="trixie", **variables):
    loader = DataLoader()
    facts = {"ansible_facts": {"distribution_release": release, "cmdline": {}}, "ansible_search_path": [str(ROLE)]}
    role = {}
    for path in ("defaults", "vars"):
        role.update(loader.load_from_file(str(ROLE / path / "main.yml"), trusted_as_template=True))
    pins = {"images": {role["nginx_container_image"]: "nginx@sha256:" + "0" * 64}}
    known = {**role, **facts, "nginx_sites": list(sites), "__nginx_pins": pins, **variables}
    tasks = loader.load_from_file(str(ROLE / "tasks" / "configuration.yml"), trusted_as_template=True)
    task = next(task["quayside.django.nginx_config"] for task in tasks if "quayside.django.nginx_config" in task)
    templar = Templar(loader, variables=known)
    offered = templar.template(known["__nginx_offered_certificates"])
    good = [{"site": one["site"], "good": one["names"], "certificate": one["certificate"], "key": one["key"]} for one in offered]
    done = Templar(loader, variables={"__nginx_certificates": {"usable": certificates.share(good)}, **known}).template(task)
    files = done["files"]
    return Rendered(files["nginx.conf"], done["sites"], templar.template(role["__nginx_self_signed_certificates"]), files)


def contained(*sites, variant="container", usable=(), **others):
    """Render as the tasks for a container do."""
    variables = {}
    for name in dict.fromkeys(["container", variant]):
        variables.update(DataLoader().load_from_file(str(ROLE / "vars" / f"{name}.yml"), trusted_as_template=True))
    held = {one["name"]: [{"names": one["domains"], "certificate": f"/edge/{one['name']}.crt", "key": f"/edge/{one['name']}.key"}]
            for one in sites if one["name"] in usable}
    chosen = {"nginx_container_sites": list(sites), "nginx_behind_sites": list(sites), "__nginx_certificates": {"usable": held}, "inventory_hostname": "en13"}
    return render(*sites, **{**variables, **chosen, **others})


def site(**changes):
    return {**copy.deepcopy(SHOP), **changes}


def expressions(config, head):
    """The expressions of a map, as nginx reads them from quotes."""
    (block,) = blocks(config, head)
    return [found.replace("\\\\", "\\") for found in re.findall(r'"~\*?(.*)" \S+;', block)]


def text(**changes):
    return render(site(**changes)).sites["my-shop"]


def blocks(config, head):
    """The blocks of a config whose line begins with `head`, indent and all."""
    indent = head[: len(head) - len(head.lstrip())]
    found = []
    for match in re.finditer(rf"^{re.escape(head)}.*$", config, re.M):
        end = config.index(f"\n{indent}}}", match.end())
        found.append(config[match.start() : end])
    return found


def test_no_sites_is_a_server_that_answers_nobody():
    done = render()
    assert done.sites == {}
    (server,) = blocks(done.main, "    server {")
    assert "listen 80 default_server;" in server
    assert server.endswith("return 444;")
    assert "443" not in done.main
    assert "server_tokens off;" in done.main
    assert done.certificates == []


def test_default_server_can_be_left_to_others():
    assert "default_server" not in render(nginx_default_server=False).main


def test_handles_for_open_files_suffice_for_connections():
    main = render(nginx_worker_connections=1000).main
    assert int(re.search(r"worker_rlimit_nofile (\d+);", main)[1]) >= 2000
    assert "worker_connections 1000;" in main


def test_the_link_is_followed_at_each_connect():
    assert "server unix:/opt/my-shop/live/run/web.sock fail_timeout=0;" in text()
    assert "keepalive" not in text().replace("No keepalive", "")
    # A file that is kept open would outlive the switch.
    assert "open_file_cache_min_uses 1000000000;" in render(site()).main


@pytest.mark.proves("2.08", "4.07")
def test_proxy_headers_are_never_the_clients():
    (location,) = blocks(text(), "    location / ")
    for header, value in {
        "Host": "$host",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Host": "$host",
        "X-Forwarded-Proto": "$scheme",
        "Connection": "close",
    }.items():
        assert f"proxy_set_header {header} {value};" in location
    assert "include request-headers.conf;" in location
    cleared = re.findall(r'^proxy_set_header (\S+) "";$', render().files["request-headers.conf"], re.M)
    assert tuple(cleared) == SPOOFED
    assert "underscores_in_headers off;" in render().main and "ignore_invalid_headers on;" in render().main
    assert "$proxy_add_x_forwarded_for" not in text()
    assert "Upgrade" not in location
    assert "proxy_next_upstream off;" in location


def test_routes_with_timeout_and_websocket():
    routes = [*SHOP["routes"], {"path": "/ws/", "upstream": "my-shop-web", "timeout": 3600, "websocket": True}]
    (location,) = blocks(text(routes=routes), "    location /ws/ ")
    assert "proxy_set_header Upgrade $http_upgrade;" in location
    assert "proxy_set_header Connection $edge_connection;" in location
    assert "proxy_read_timeout 3600s;" in location


def test_a_site_without_a_route_for_all_shows_no_welcome_page():
    (location,) = blocks(text(routes=[{**SHOP["routes"][0], "path": "/api/"}]), "    location / ")
    assert "return 404;" in location


@pytest.mark.proves("2.07", "2.23", "4.04")
def test_static_files_of_the_live_release_then_of_the_pool():
    config = text()
    (live,) = blocks(config, "    location ^~ /static/")
    (pool,) = blocks(config, "    location @my-shop-static-pool")
    assert "root /opt/my-shop/live/static;" in live
    assert "try_files $uri @my-shop-static-pool;" in live
    assert "error_page 404 = @my-shop-static-pool;" in live
    assert "root /opt/my-shop/static;" in pool
    assert "alias" not in live + pool


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("/css/site.5f2bd1c3a4e6.css", True),
        ("/js/main.0123456789abcdef0123.js", True),
        ("/js/main.5f2bd1c3a4e6.js.map", True),
        ("/js/main-0123456789abcdef.js", True),
        ("/LICENSE.5f2bd1c3a4e6", True),
        ("/css/site.css", False),
        ("/css/site.min.css", False),
        ("/report.20261121.pdf", False),
        ("/css/feedfacecafe.css", False),
        ("/5f2bd1c3a4e6/site.css", False),
    ],
)
def test_names_with_a_hash(name, hashed):
    expression, value = re.search(r'"~(.*)" "(public, max-age=31536000, immutable)";', text()).groups()
    assert bool(re.search(expression, name)) == hashed
    assert 'default "public, max-age=3600";' in text()
    assert value


@pytest.mark.proves("2.24", "4.05")
def test_media_runs_nothing_and_links_nowhere():
    (media,) = blocks(text(), "    location ^~ /media/")
    assert "alias /opt/my-shop/shared/media/;" in media
    assert 'add_header Cache-Control "public, max-age=86400";' in media
    assert "add_header X-Content-Type-Options nosniff always;" in media
    assert media.count("X-Content-Type-Options") == 1
    assert "disable_symlinks if_not_owner from=/opt/my-shop/shared/media;" in media


def test_static_and_media_can_be_left_out():
    config = text(static=None, media=None)
    assert "static" not in config
    assert "media" not in config


@pytest.mark.proves("4.61", "4.62", "4.65")
def test_each_place_with_a_header_of_its_own_repeats_all():
    done = render(site())
    config = done.sites["my-shop"]
    places = ["server {", "    location ^~ /static/", "    location @my-shop-static-pool", "    location @my-shop-web-down"]
    for place in places:
        (block,) = blocks(config, place)
        for header in HEADERS:
            assert f"add_header {header} $edge_{header.lower().replace('-', '_')} always;" in block, place
    for header, value in HEADERS.items():
        assert f"map $upstream_http_{header.lower().replace('-', '_')} " in done.main
        assert f'""      "{value}";' in done.main


@pytest.mark.proves("4.63", "4.64")
def test_headers_of_the_site_replace_others():
    config = text(headers={"Referrer-Policy": 'say "no"', "X-Frame-Options": "", "X-XSS-Protection": "1; mode=block"})
    assert 'add_header Referrer-Policy "say \\"no\\"" always;' in config
    assert "proxy_hide_header Referrer-Policy;" in config
    assert 'add_header X-XSS-Protection "1; mode=block" always;' in config
    assert "X-Frame-Options" not in config


@pytest.mark.proves("2.37")
@pytest.mark.parametrize(
    ("uri", "hidden"),
    [
        ("/.git/config", True),
        ("/media/.env", True),
        ("/.well-known", True),
        ("/.well-knownx/", True),
        ("/.well-known/security.txt", False),
        ("/a.b/c.html", False),
        ("/", False),
    ],
)
def test_dotfiles(uri, hidden):
    (block,) = blocks(render().main, "    map $uri $edge_hidden ")
    assert bool(re.search(re.search(r'"~(.*)" 1;', block)[1], uri)) == hidden
    assert "if ($edge_hidden) { return 404; }" in text()
    assert "if ($edge_hidden_raw) { return 404; }" in text()


@pytest.mark.parametrize(
    ("uri", "hidden"),
    [("/x/../admin/", True), ("/x/%2E%2e/admin/", True), ("/x?next=/../a", False), ("/.well-known/x", False), ("/a..b/c", False),
     ("/x%2f..%2fadmin/", True), ("/x\\..\\admin/", True), ("/x/%252e%252e/", True), ("/.well-known/../admin/", True)],
)
def test_dots_as_they_came(uri, hidden):
    assert bool(re.search(expressions(render().main, "    map $request_uri $edge_hidden_raw ")[0], uri, re.I)) == hidden


@pytest.mark.proves("2.61")
def test_allow_lists():
    config = text(allow=[{"path": "/admin/", "addresses": ["10.0.0.0/8", "2001:db8::/32"]}])
    (geo,) = blocks(config, "geo $my_shop_allowed_1 ")
    assert "    10.0.0.0/8 1;\n    2001:db8::/32 1;" in geo
    (server,) = blocks(config, "server {")
    assert "set $my_shop_acme 1;" in server and "if ($my_shop_refused_1) { return 403; }" in server
    found = expressions(config, 'map "$my_shop_acme$my_shop_allowed_1 $request_uri $uri" ')
    for target, path, refused in [("/admin/login", "/admin/login", True), ("/administration", "/administration", False), ("/x", "/admin/", True),
                                  ("/%61dmin%2f", "/admin/", True), ("/admin%2f..", "/", True), ("/ADMIN/", "/ADMIN/", True), ("/x?/admin/", "/x", False)]:
        assert any(re.search(expression, f"10 {target} {path}", re.I) for expression in found[-2:]) == refused, target
        assert not any(re.search(expression, f"11 {target} {path}", re.I) for expression in found[-2:])
    acme = found[0]
    assert re.search(acme, "10 /.well-known/acme-challenge/a_B-1 /") and not re.search(acme, "00 /.well-known/acme-challenge/x /")
    assert not re.search(acme, "10 /.well-known/acme-challenge/x%2f../admin/ /")


def test_one_visitor_is_an_address_or_a_network_of_ipv6():
    main = render(nginx_connections_per_visitor=7).main
    expression = re.search(r'"~(\S+)" \$edge_network;', blocks(main, "    map $binary_remote_addr $edge_visitor ")[0])[1].replace("(?<", "(?P<").encode()
    assert re.match(expression, bytes(range(16)))["edge_network"] == bytes(range(8))
    assert not re.match(expression, bytes(4))
    assert "limit_conn edge_visitors 7;" in main and "limit_conn_status 429;" in main
    assert "limit_conn" not in render(nginx_connections_per_visitor=0).main


def test_slow_visitors_hold_nothing_of_the_app():
    main, config = render().main, text()
    assert "client_header_timeout 10s;" in main and "reset_timedout_connection on;" in main
    assert "proxy_request_buffering on;" in config


@pytest.mark.parametrize(("memory", "connections"), [(0, 16384), (512, 16384), (64000, 32000), (999999, 65536)])
def test_connections_by_the_hosts_memory(memory, connections):
    facts = {"distribution_release": "trixie", "cmdline": {}, "memtotal_mb": memory}
    main = render(site(), ansible_facts=facts).main
    assert f"worker_connections {connections};" in main and f"worker_rlimit_nofile {connections + 3072};" in main


def test_unknown_names_get_no_answer_and_are_logged():
    for server in blocks(render(site(tls=TLS, domains=["shop.example.com"])).main, "    server {"):
        if "default_server" in server:
            assert "return 444;" in server and "access_log off" not in server


def test_body_size_and_extra_lines():
    config = text(body_size="7m", extra="location = /x { return 204; }")
    assert "client_max_body_size 7m;" in config
    assert "location = /x { return 204; }" in config


def test_names_of_a_site():
    assert "server_name shop.example.com 10.0.0.2 [2001:db8::5];" in text()
    canonical = blocks(text(canonical="shop.example.com"), "server {")
    assert len(canonical) == 2
    assert "server_name 10.0.0.2 [2001:db8::5];" in canonical[0]
    assert "return 301 http://shop.example.com$request_uri;" in canonical[0]
    assert "server_name shop.example.com;" in canonical[1]


@pytest.mark.proves("4.56")
def test_tls_sends_port_80_to_443_and_keeps_acme():
    plain, secure = blocks(text(tls=TLS), "server {")
    assert "listen 80;" in plain
    assert "return 301 https://$host$request_uri;" in plain
    assert "location ^~ /.well-known/acme-challenge/" in plain
    assert "proxy_pass" not in plain
    assert "listen 443 ssl;" in secure
    assert "ssl_certificate /etc/ssl/quayside/my-shop.crt;" in secure
    assert "ssl_certificate_key /etc/ssl/quayside/my-shop.key;" in secure
    (only,) = blocks(text(), "server {")
    assert "location ^~ /.well-known/acme-challenge/" in only
    assert "root /var/www/acme;" in only


def test_tls_with_a_certificate_of_the_user():
    provided = {"mode": "provided", "certificate": "/etc/ssl/shop/chain.pem", "key": "/etc/ssl/shop/key.pem"}
    done = render(site(tls=provided))
    assert "ssl_certificate /etc/ssl/shop/chain.pem;" in done.sites["my-shop"]
    assert done.certificates == []


def test_self_signed_certificates_are_for_all_domains():
    assert render(site(tls=TLS)).certificates == [
        {"names": SHOP["domains"], "certificate": "/etc/ssl/quayside/my-shop.crt", "key": "/etc/ssl/quayside/my-shop.key"}
    ]


def test_an_address_is_asked_without_a_name_in_the_handshake():
    server = blocks(render(site(tls=TLS)).main, "    server {")[1]
    assert "ssl_certificate /etc/ssl/quayside/my-shop.crt;" in server
    assert "return 444;" in server


@pytest.mark.proves("4.02", "4.26", "4.27", "4.58")
@pytest.mark.parametrize(("canonical", "held", "plain", "secure", "redirects"), [
    ("", [], ["a.test b.test"], [], []),
    ("", [["a.test", "b.test"]], [], ["a.test b.test"], ["a.test b.test: https://$host$request_uri"]),
    ("", [["a.test"], ["b.test"]], [], ["a.test", "b.test"], ["a.test b.test: https://$host$request_uri"]),
    ("", [["b.test"]], ["a.test"], ["b.test"], ["b.test: https://$host$request_uri"]),
    ("a.test", [], ["a.test"], [], ["b.test: http://a.test$request_uri"]),
    ("a.test", [["a.test", "b.test"]], [], ["a.test"], ["a.test b.test: https://a.test$request_uri", "b.test: https://a.test$request_uri"]),
    ("a.test", [["a.test"]], [], ["a.test"], ["a.test: https://a.test$request_uri", "b.test: https://a.test$request_uri"]),
    ("a.test", [["b.test"]], ["a.test"], [], ["b.test: http://a.test$request_uri", "b.test: http://a.test$request_uri"]),
])
def test_names_with_a_certificate_and_names_without(canonical, held, plain, secure, redirects):
    certificates = [{"name": f"c{number}", "names": names, "certificate": f"/c{number}.crt", "key": f"/c{number}.key"} for number, names in enumerate(held)]
    provided = {"mode": "provided", "certificate": "", "key": ""}
    config = text(domains=["a.test", "b.test"], canonical=canonical, tls=provided, certificates=certificates)
    found: dict = {"plain": [], "secure": [], "redirects": []}
    for server in blocks(config, "server {"):
        names = re.search(r"server_name (.*);", server)[1]
        for number, of in enumerate(held):
            assert (f"ssl_certificate /c{number}.crt;" in server) == ("listen 443" in server and names.split()[0] in of)
        assert ("acme-challenge" in server) == ("listen 80;" in server)
        if "proxy_pass" in server:
            found["secure" if "listen 443" in server else "plain"].append(names)
        else:
            found["redirects"].append(f"{names}: {re.search(r'return 301 (.*);', server)[1]}")
    assert found == {"plain": plain, "secure": secure, "redirects": redirects}


@pytest.mark.parametrize(
    ("release", "http2", "reject"),
    [("jammy", "listen 443 ssl http2;", False), ("bookworm", "listen 443 ssl http2;", True), ("trixie", "http2 on;", True)],
)
def test_words_that_the_version_of_nginx_knows(release, http2, reject):
    done = render(site(tls=TLS, domains=["shop.example.com"]), release=release)
    assert http2 in done.sites["my-shop"]
    assert ("ssl_reject_handshake on;" in done.main) == reject
    # A handshake that names a known site may be followed by a request that names none.
    assert "return 444;" in blocks(done.main, "    server {")[1]


def test_without_ipv6():
    done = render(site(tls=TLS), nginx_ipv6=False)
    assert "[::]" not in done.main + done.sites["my-shop"]
    by_kernel = render(site(), ansible_facts={"distribution_release": "trixie", "cmdline": {"ipv6.disable": "1"}})
    assert "[::]" not in by_kernel.main + by_kernel.sites["my-shop"]
    assert "[::]" in render(site()).main


@pytest.mark.proves("2.63", "2.64")
def test_logs_of_a_site():
    config = text()
    assert "access_log /var/log/nginx/my-shop_access.log quayside;" in config
    assert "error_log /var/log/nginx/my-shop_error.log;" in config
    assert "rt=$request_time urt=$upstream_response_time" in render().main


def test_same_words_each_time():
    names = site(domains=[f"n{number}.example.com" for number in range(20)], canonical="n7.example.com")
    assert "server_name " + " ".join(f"n{n}.example.com" for n in range(20) if n != 7) + ";" in render(names).sites["my-shop"]


TCP = {
    "upstreams": [{"name": "my-shop-web", "server": "", "variable": "quayside_my_shop_web", "address": "http://$quayside_my_shop_web"}],
    "live": "/opt/my-shop/live",
    "addresses": "/opt/my-shop/live/edge/upstreams[.]conf",
    "host": "shop.example.com",
}
SPA = {"name": "spa", "path": "/", "folder": "/opt/my-shop/live/frontends/spa", "pool": "/opt/my-shop/frontends/spa",
       "fallback": "index.html", "max_age": 0}
HSTS = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


@pytest.mark.proves("0.09", "4.57")
def test_an_address_is_read_through_the_link_and_may_be_missing():
    config = text(**TCP)
    (entry,) = blocks(config, "map quayside_my_shop_web ")
    assert "default 127.0.0.1:1;" in entry
    # A pattern: nginx starts though there is no such file before the first release.
    assert "include /opt/my-shop/live/edge/upstreams[.]conf;" in entry
    (location,) = blocks(config, "    location / ")
    assert "proxy_pass http://$quayside_my_shop_web;" in location
    assert "upstream my-shop-web" not in config
    (down,) = blocks(config, "    location @my-shop-web-down")
    assert "if (!-d /opt/my-shop/live) {" in down
    assert 'return 503 "my-shop: no release is live yet.\\n";' in down
    # A container that has ended refuses no connection.
    assert "error_page 502 504 = @my-shop-web-down;" in location
    assert 'return 502 "my-shop: the app does not answer.\\n";' in down
    assert down.index("open_file_cache off;") < down.index("if (!-d")  # with the cache, a folder that nginx may not read is none


@pytest.mark.proves("0.09")
def test_a_port_on_the_loopback_always_leads_to_the_live_process():
    config = text(**TCP, tls=TLS, scheme="https", listen=[{"port": 8000, "upstream": "my-shop-web", "timeout": 90, "websocket": False}])
    (server,) = [block for block in blocks(config, "server {") if "8000" in block]
    assert "listen 127.0.0.1:8000;" in server
    assert "proxy_pass http://$quayside_my_shop_web;" in server
    # A probe by plain HTTP must not be sent to HTTPS, and asks by a name that the app knows.
    assert "proxy_set_header X-Forwarded-Proto https;" in server
    assert "proxy_set_header Host $my_shop_local_host;" in server
    assert "proxy_read_timeout 90s;" in server
    assert "    localhost shop.example.com;" in config
    assert "ssl" not in server


@pytest.mark.proves("4.06", "4.66", "4.67")
def test_limits_are_by_address_and_path():
    config = text(limits=[{"path": "/api/", "rate": 10, "burst": 20, "exempt": ["/api/hooks/"]}], health="/api/health/")
    (here,) = blocks(config, "map $my_shop_path $my_shop_limited_1_here ")
    (raw,) = blocks(config, "map $request_uri $my_shop_limited_1_raw ")
    assert "set $my_shop_path $uri;" in config
    assert '"/api/health/" "";' in here and '"~^/api/health/(?:\\\\?|$)" "";' in raw
    assert '"~*^/api/" 1;' in here
    assert re.search(expressions(config, "map $request_uri $my_shop_limited_1_raw ")[-1], "/%61pi%2Fx", re.I)
    for key in (here, raw):
        assert key.index('"~^/api/hooks/" "";') < key.index('" 1;')
        assert 'default "";' in key
    (both,) = blocks(config, 'map "$my_shop_limited_1_here$my_shop_limited_1_raw" $my_shop_limited_1 ')
    assert 'default $edge_visitor;' in both and '"" "";' in both
    assert "limit_req_zone $my_shop_limited_1 zone=my_shop_1:10m rate=10r/s;" in config
    (server,) = blocks(config, "server {")
    assert "limit_req zone=my_shop_1 burst=20 nodelay;" in server
    assert "limit_req_status 429;" in server


@pytest.mark.proves("3.16")
def test_a_static_build_with_fallback():
    config = text(frontends=[SPA], routes=[{**SHOP["routes"][0], "path": "/api/"}])
    (location,) = blocks(config, "    location / ")
    assert "root /opt/my-shop/live/frontends/spa;" in location
    assert "try_files $uri $uri/index.html @my_shop-frontend-1;" in location
    fallback, pool = blocks(config, "    location @my_shop-frontend-1")
    assert "try_files /index.html =404;" in fallback
    assert "if ($my_shop_hashed_1) { return 418; }" in fallback
    assert "error_page 418 = @my_shop-frontend-1-pool;" in fallback
    assert "root /opt/my-shop/frontends/spa;" in pool
    assert "try_files $uri =404;" in pool
    for block in (location, fallback, pool):
        for header in HEADERS:
            assert f"add_header {header} " in block
    without = text(frontends=[{**SPA, "fallback": "", "path": "/app/"}])
    assert "return 404;" in blocks(without, "    location @my_shop-frontend-1")[0]
    assert "return 301 /app/$is_args$args;" in without


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("/main.5f2bd1c3.js", True),
        ("/assets/index-BxYz12ab.js", True),
        ("/assets/index-BxYz12ab.js.map", True),
        ("/static/css/main.e6c13ad2.css", True),
        ("/index.html", False),
        ("/assets/my-portrait.png", False),
        ("/report-20261121.pdf", False),
        ("/logo-feedface.png", False),
        ("/people/john.smith", False),
        ("/assets/background-image.png", False),
    ],
)
def test_names_that_a_bundler_made(name, hashed):
    (entry,) = blocks(text(frontends=[SPA]), "map $uri $my_shop_hashed_1 ")
    assert any(re.search(expression, name) for expression in re.findall(r'"~(.*)" 1;', entry)) == hashed


@pytest.mark.proves("4.60", "4.64")
def test_hsts_only_where_it_can_be_kept():
    provided = {"mode": "provided", "certificate": "/c", "key": "/k"}
    assert 'add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;' in text(tls=provided, headers=HSTS)
    for mode in ("none", "selfsigned"):
        assert "add_header Strict" not in text(tls={"mode": mode}, headers=HSTS)
    assert "add_header Strict" not in contained(site(tls=provided, headers=HSTS)).sites["my-shop"]


@pytest.mark.proves("4.66")
def test_only_a_trusted_proxy_says_who_asks():
    done = render(site(), nginx_trusted_proxies=["10.0.0.1"])
    assert "set_real_ip_from 10.0.0.1;" in done.main
    assert "proxy_set_header X-Forwarded-Proto $edge_scheme;" in done.sites["my-shop"]
    assert "set_real_ip_from" not in render().main


def test_no_headers_at_all():
    assert "None" not in render(site(), nginx_headers={}).sites["my-shop"]


@pytest.mark.proves("4.03", "4.57", "4.58")
def test_in_a_container():
    done = contained(site(**TCP, tls=TLS, domains=["shop.example.com"]), usable=["my-shop"])
    assert "user www-data" not in done.main
    assert "resolver 127.0.0.11 valid=1s ipv6=off;" in done.main
    assert "error_log stderr;" in done.main
    assert "listen 127.0.0.1:81;" in done.main
    assert "        172.18.0.1 0;" in contained(SHOP, __nginx_host_addresses=["172.18.0.1"]).main
    assert "ssl_reject_handshake on;" in done.main
    config = done.sites["my-shop"]
    assert "/var/log" not in done.main + config
    assert "listen [::]:80;" in config
    assert "None" not in config
    assert "ssl_certificate /edge/my-shop.crt;" in config


@pytest.mark.proves("4.03", "4.56")
def test_http_only_while_no_certificate_can_serve():
    done = contained(site(**TCP, tls=TLS))
    (server,) = blocks(done.sites["my-shop"], "server {")
    assert "listen 80;" in server
    assert "proxy_pass http://$quayside_my_shop_web;" in server
    assert "location ^~ /.well-known/acme-challenge/" in server
    assert "443" not in done.main + done.sites["my-shop"]


INNER = {"name": "quayside-edge-proxy", "subnet": "172.30.0.0/24", "gateway": "172.30.0.1"}


def behind(*sites):
    """Render as the role traefik does, behind it."""
    return contained(*sites, variant="behind", nginx_behind_network=INNER, nginx_trusted_proxies=[INNER["subnet"], "198.51.100.9"])


def test_behind_another_edge_all_is_judged_and_only_that_edge_is_answered():
    wanted = site(**TCP, tls=TLS, canonical="shop.example.com", domains=["shop.example.com", "www.shop.example.com"], frontends=[{**SPA, "path": "/app/"}],
                  allow=[{"path": "/x/", "addresses": ["::1"]}, {"path": "/y/", "addresses": [], "login": "my-shop-2"}],
                  limits=[{"path": "/", "rate": 1, "burst": 1}])
    done = behind(wanted)
    config = done.sites["my-shop"]
    (server,) = blocks(config, "server {")
    assert "listen 8080;" in server
    for words in ("location ^~ /static/", "location ^~ /media/", "location ^~ /app/", "proxy_pass http://$quayside_my_shop_web;", "limit_req zone=",
                  "if ($my_shop_refused_1) { return 403; }", "auth_basic_user_file /opt/quayside/edge/nginx/logins/$my_shop_login;"):
        assert words in server
    # Before anything else, and in each server that visitors reach.
    assert server.index("if ($edge_stranger) { return 444; }") < server.index("$edge_hidden")
    # The edge before it ends TLS and redirects.
    for words in ("ssl", "301 http", "location ^~ /.well-known/acme-challenge/"):
        assert words not in config
    assert "proxy_set_header X-Forwarded-Proto $edge_scheme;" in server
    assert "proxy_set_header X-Forwarded-Port $edge_port;" in server
    (geo,) = blocks(done.main, "    geo $realip_remote_addr $edge_stranger {")
    assert [line.split() for line in geo.splitlines()[1:]] == [["default", "1;"], ["172.30.0.0/24", "0;"], ["172.30.0.1", "1;"]]
    assert "1wss https;" in done.main
    assert "gzip off;" in done.main
    assert "set_real_ip_from 172.30.0.0/24;" in done.main
    assert "set_real_ip_from 198.51.100.9;" in done.main


def test_only_behind_another_edge_strangers_are_refused():
    for done in (render(site(**TCP)), contained(site(**TCP))):
        assert "$edge_stranger" not in done.main + done.sites["my-shop"]
        assert "gzip on;" in done.main


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="needs nginx")
def test_nginx_accepts_it(tmp_path):
    done = render(site(allow=[{"path": "/admin/", "addresses": ["10.0.0.0/8"]}]), site(name="two", domains=["two"], upstreams=[]))
    (tmp_path / "sites-enabled").mkdir()
    for name, config in done.sites.items():
        (tmp_path / "sites-enabled" / name).write_text(config.replace("/var/log/nginx", str(tmp_path)))
    main = done.main.replace("/var/log/nginx", str(tmp_path)).replace("/run/nginx.pid", str(tmp_path / "pid"))
    (tmp_path / "nginx.conf").write_text(main.replace("mime.types", "/etc/nginx/mime.types"))
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    tested = subprocess.run([nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
