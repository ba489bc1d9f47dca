# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests from outside: what no visitor may reach, whatever path, header, name or address he sends."""
import base64
import concurrent.futures
import ipaddress
import secrets
import socket

import pytest
from hostile_requests import CASES, HONEST, Target, honest, run
from neighbours import HOSTILE, VICTIM

UNKNOWN = "nobody.test"


def target(box, road):
    """Return the table's view of a box."""
    return Target(address=box.address6 if road == "6" else box.address, host=VICTIM, port=443, tls=True, refusals=(500,) if box.edge == "traefik" else ())


@pytest.mark.parametrize("road", ["4", "6"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["path", "header", "smuggling"])
def test_no_hostile_request_reaches_the_protected_path(box, kind, version, road):
    """Findings 12, 16 and 32, and what held: encoded paths, forwarded headers, smuggling by HTTP/1.1 and HTTP/2."""
    chosen = [case for case in CASES if (case.kind, case.version) == (kind, version)]
    assert len(chosen) >= 40
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [breach for breaches in pool.map(lambda case: run(case, target(box, road)), chosen) for breach in breaches] == []


@pytest.mark.parametrize("version", [1, 2])
def test_honest_requests_reach_the_app_as_they_were_sent(box, version):
    """An edge that refuses everything would pass the test above."""
    assert [wrong for path in HONEST for wrong in honest(path, target(box, "4"), version)] == []


@pytest.mark.parametrize("path", [
    "/ops/%2f..%2f..%2fx", "/ops/x%2f..%2f..%2fx", "/office/%2f..%2f..%2fx", "/vault/%2f..%2f..%2fx",
    "/x/..%2fops/x", "/x%2f..%2fops/x", "/ops%2fx", "//ops/x", "/%6fps/x", "/x/..%2foffice/x", "/x%2f..%2fvault/x"])
def test_an_encoded_path_does_not_pass_by_a_login_or_a_list(box, path):
    """Finding 12."""
    answer = box.ask(path)
    assert not answer.seen.get("protected"), answer


@pytest.mark.parametrize("path", ["/ops/x", "/office/x", "/vault/x", "/six/x"])
@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script_Name", "Script-Name", "X-Script-Name", "X-Forwarded-Prefix", "PATH_INFO"])
def test_no_header_moves_the_path_that_the_app_sees(box, name, path):
    """Finding 16: gunicorn 21.2 takes SCRIPT_NAME from a request."""
    value = path if name == "PATH_INFO" else "/zz"
    answer = box.ask(path if name == "PATH_INFO" else f"/zz{path}", headers=[(name, value)])
    assert not answer.seen.get("protected") or name == "PATH_INFO" and answer.seen["raw"] == path, answer
    assert not answer.seen.get("script_name"), answer


def test_the_protected_paths_are_closed_and_the_right_login_opens_them(box):
    """What all other tests rely on."""
    password = box.server.local["vault_victim"]["ADMIN_LOGIN"]
    login = [("Authorization", "Basic " + base64.b64encode(f"ops:{password}".encode()).decode())]
    assert box.ask("/ops/x").status == 401
    assert box.ask("/ops/x", headers=login).seen["protected"] == "/ops/"
    assert box.ask("/office/x").status == 403
    assert box.ask("/vault/x", headers=login).status == 403
    assert box.ask("/inner/x").seen["protected"] == "/inner/"


@pytest.mark.parametrize("host", ["www.victim.test", "WWW.victim.test"])
@pytest.mark.parametrize("path", ["/", "/account/login/", "/feed/", "/ops/x"])
def test_a_wildcard_does_not_take_another_apps_exact_name(box, host, path):
    """Finding 20: the hostile app declares *.victim.test."""
    answer = box.ask(path, host, name="www.victim.test")
    assert answer.header("X-Answered-By") != "hostile"
    assert answer.seen.get("app") == "victim" or answer.status == 401


def test_a_wildcard_has_the_names_that_nobody_else_declares(box):
    """Finding 20: exact names first, and the wildcard after them."""
    assert box.ask("/x", "any.victim.test").header("X-Answered-By") == "hostile"


def test_a_visitor_by_ipv6_is_who_he_is(box):
    """Finding 21: lists, limits and logs see his own address."""
    assert box.address6
    with socket.create_connection((box.address6, 443), 10) as link:
        mine = ipaddress.ip_address(link.getsockname()[0])
    answer = box.ask("/hello/", six=True)
    assert answer.status == 200
    told = answer.seen["headers"].get("HTTP_X_FORWARDED_FOR", "").split(",")[-1].strip()
    assert ipaddress.ip_address(told.strip("[]")) == mine


def test_a_list_of_ipv4_addresses_lets_no_visitor_by_ipv6_in(box):
    """Finding 21: 172.16.0.0/12 holds the addresses of Docker's own networks."""
    answer = box.ask("/inner/x", six=True)
    assert answer.status in (403, 404), answer


def test_a_list_of_ipv6_addresses_lets_its_visitors_in(box):
    """Finding 21: an entry that matches nobody is no list."""
    assert box.ask("/six/x", six=True).seen.get("protected") == "/six/"
    assert box.ask("/six/x").status == 403


@pytest.mark.parametrize("host", ["", "x", UNKNOWN, "172.19.0.2", "localhost", f"{UNKNOWN}:443"])
def test_a_known_name_in_tls_with_an_unknown_host_gets_nothing(box, host):
    """Finding 32: no page of a web server's own, and no app."""
    answer = box.ask("/", host, name=VICTIM)
    assert b"welcome" not in answer.body.lower()
    assert answer.status in (0, 400, 404, 421), answer
    assert not answer.seen and answer.header("X-Answered-By") != "hostile"


def test_what_an_unknown_host_asked_for_is_logged(box):
    """Finding 32: what is refused leaves a trace."""
    mark = f"unknown-{secrets.token_hex(6)}"
    box.ask(f"/{mark}", UNKNOWN, name=VICTIM)
    logs = "{ cat /var/log/nginx/*.log 2>/dev/null; journalctl -b --no-pager -t edge-nginx -t edge-traefik -t edge-files; }"
    box.server.until(lambda: box.inside(f"{logs} | grep -c {mark}; true") != "0", 10, "a line of the log")


@pytest.mark.parametrize("host", ["victim.test:8443", "victim.test:80", "victim.test.", "VICTIM.test", "victim.test.:443"])
def test_the_host_that_django_sees_is_a_declared_name(box, host):
    """Finding 32: neither a port nor a trailing dot reaches the app."""
    answer = box.ask("/hello/", host, name=VICTIM)
    assert answer.status in (0, 301, 308, 400, 404, 421) or answer.seen.get("host") == VICTIM, answer.body[:400]


@pytest.mark.parametrize("headers", [
    [("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13"), ("Connection", "Upgrade")],
    [("Upgrade", "websocket")]])
def test_an_upgrade_does_not_change_the_scheme(box, headers):
    """Finding 32: Django takes wss for no HTTPS."""
    answer = box.ask("/hello/", headers=headers)
    assert answer.status in (0, 400, 403, 404, 426) or answer.seen.get("headers", {}).get("HTTP_X_FORWARDED_PROTO") == "https", answer
    assert not answer.seen or answer.seen["secure"] is True


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_trace_does_not_reach_the_app(box, method):
    """Finding 32."""
    answer = box.ask("/hello/", method=method, headers=[("Cookie", "session=secret")])
    assert not answer.seen.get("method") and b"session=secret" not in answer.body, answer


@pytest.mark.on("nb-traefik")
@pytest.mark.parametrize(("good", "bad"), [
    ("203.0.113.0/24", "203.0.113.0/33"), ("Host(`victim.test`)", "Host(`victim.test`"), ("service: ", "service: no-"), ("[victim-", "[no-")])
def test_a_route_that_cannot_be_built_is_closed(box, good, bad):
    """Finding 17: whatever falls out of Traefik's routes is closed, and the doctor says so."""
    path = "/opt/quayside/edge/dynamic/victim.yml"
    text = box.inside(f"cat {path}")
    changed = good in text
    box.write(path, text.replace(good, bad) + "\n")
    try:
        seen = [box.ask(f"{place}{number}") for number in range(20) for place in ("/office/", "/ops/", "/vault/")]
        told = box.server.play("doctor", ok=False) if changed else None
    finally:
        box.write(path, text + "\n")
    assert not [answer for answer in seen if answer.seen.get("protected")]
    # A list of addresses that is in no rule of Traefik's cannot fall out of them.
    assert changed or "/24" in good
    assert not changed or "victim" in told.out and ("left" in told.out or "/33" in told.out), told.out[-3000:]


@pytest.mark.on("nb-traefik", "nb-nginx")
def test_a_login_that_cannot_be_read_is_closed(box):
    """Finding 17: a file of logins is unreadable when the edge starts."""
    logins = "$(find /opt/quayside/edge -path '*logins/*' -type f)"
    restart = "cd /opt/quayside/edge && docker compose restart 2>&1"
    box.inside(f"chmod 000 {logins} && {restart}")
    try:
        box.server.until(lambda: box.ask("/hello/").status == 200, 60, "the edge")
        answers = [box.ask(path) for path in ("/ops/x", "/vault/x", "/ops/", "//ops/x")]
    finally:
        box.inside(f"chmod 640 {logins} && {restart}")
    assert not [answer for answer in answers if answer.seen.get("protected")]


@pytest.mark.on("nb-host", "nb-nginx")
def test_bad_lines_of_one_app_do_not_stop_the_site_of_another(box):
    """Finding 32: `site` goes on with the victim, keeps what served before of the hostile app, and names it."""
    apps = box.entries()
    apps["hostile"]["site_extra"] = "no_such_directive on;"
    apps["victim"]["headers"] = {"X-Marker": "came-through"}
    words = box.given(list(apps.values()))
    try:
        run_ = box.server.play("site", *words, ok=False, timeout=1500)
        answer, neighbour = box.ask("/hello/"), box.ask("/x", HOSTILE)
    finally:
        box.server.play("site", timeout=1500)
    assert answer.header("X-Marker") == "came-through", run_.out[-3000:]
    assert neighbour.header("X-Answered-By") == "hostile"
    assert "hostile" in run_.out and "no_such_directive" in run_.out
