# SPDX-License-Identifier: GPL-3.0-or-later
"""What the web is let in by, on each edge. Everything is asked from outside, but for what belongs to files on the host."""
import base64
import collections
import concurrent.futures
import gzip
import http.client
import json
import re
import socket
import ssl
import subprocess
import time

import http3
import pytest
from lab import ROOT

CA = ROOT / ".cache/doors/certificates/ca.crt"
SET = {"X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff", "X-XSS-Protection": "1; mode=block",
       "Referrer-Policy": "strict-origin-when-cross-origin"}
HSTS = "max-age=63072000; includeSubDomains"
TWIN = b"/* from the twin */"
LEFT = ("notes.bak", "dump.sql", "db.sqlite3", "page.html~", "dump.sql.gz", "app.js.old", "x.swp")


class Answer:
    """Status, headers (each value that came) and body."""

    def __init__(self, status: int, headers: list, body: bytes):
        self.status, self.body = status, body
        self.headers = collections.defaultdict(list)
        for key, value in headers:
            self.headers[key.lower()].append(value)

    def all(self, name: str) -> list[str]:
        """Return all values of a header."""
        return self.headers[name.lower()]


class Door:
    """A server of the scenario, asked by its names."""

    def __init__(self, server):
        self.server, self.name = server, f"{server.name}.example.com"
        self.traefik = server.name.startswith("dt")
        self.trust = ssl.create_default_context(cafile=str(CA))

    def ask(self, path: str, tls: bool = True, host: str = "", method: str = "GET", **headers) -> Answer:
        """Return the answer; the path goes out as it stands here."""
        name = host or self.name
        connection = http.client.HTTPConnection(self.server.address, timeout=30)
        try:
            connection.sock = socket.create_connection((self.server.address, 443 if tls else 80), 30)
            if tls:
                connection.sock = self.trust.wrap_socket(connection.sock, server_hostname=name)
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for key, value in {"Host": name, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
                connection.putheader(key, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def login(self, user: str, password: str, path: str = "/admin/") -> Answer:
        """Return the answer to who logs in."""
        return self.ask(path, Authorization="Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())

    @property
    def password(self) -> str:
        """The password of ops."""
        return self.server.local["vault_doors"]["ADMIN_LOGIN"]


@pytest.fixture(scope="module")
def door(server):
    """The server with the shop live."""
    door = Door(server)
    server.play("deploy", "-e", "django_app=doors")
    media = "/opt/doors/shared/media"
    for name in ("photo.txt", *LEFT, ".env"):
        server.inside(f"echo media > '{media}/{name}'; chown doors: '{media}/{name}'; chmod 644 '{media}/{name}'")
    server.inside(f"mkdir -p {media}/.git && echo media > {media}/.git/config && chmod -R a+rX {media}/.git")
    return door


# Headers


@pytest.mark.proves("4.60", "4.61", "4.62", "4.63", "4.64", "4.65")
@pytest.mark.parametrize(("path", "status"), [
    ("/", 200), ("/static/app.js", 200), ("/media/photo.txt", 200), ("/app/", 200), ("/app/some/page", 200), ("/nothing/", 404), ("/static/nothing.js", 404),
    ("/media/nothing", 404), ("/.git/config", 404), ("/office/", 403), ("/admin/", 401), ("/error/", 500), ("/app", 301)])
def test_each_answer_has_each_header_once(door, path, status):
    answer = door.ask(path)
    assert answer.status == status
    # With nginx the app has its say, and Django says this by itself; Traefik can only write over it.
    told = {"Referrer-Policy": "same-origin"} if path in ("/", "/nothing/", "/error/") and not door.traefik else {}
    assert {name: answer.all(name) for name in SET} == {name: [value] for name, value in {**SET, **told}.items()}
    assert answer.all("Strict-Transport-Security") == [HSTS]
    assert not re.search(r"\d", "".join(answer.all("Server")))


@pytest.mark.proves("4.02", "4.56", "4.60")
@pytest.mark.parametrize("host", ["", "www."])
def test_a_redirect_to_https_has_them_but_for_hsts(door, host):
    answer = door.ask("/x?a=1", tls=False, host=host + door.name)
    assert (answer.status, answer.all("Location")) == (301, [f"https://{door.name}/x?a=1"])
    assert {name: answer.all(name) for name in SET} == {name: [value] for name, value in SET.items()}
    assert answer.all("Strict-Transport-Security") == []
    other = door.ask("/x", host="www." + door.name)
    assert (other.status, other.all("Strict-Transport-Security")) == (301, [HSTS])


def test_what_django_says_itself_is_not_said_twice(door):
    answer = door.ask("/own/")
    assert answer.all("X-Frame-Options") == ["SAMEORIGIN" if door.traefik else "DENY"]
    assert len(answer.all("X-Content-Type-Options")) == len(answer.all("Referrer-Policy")) == 1


@pytest.mark.proves("4.61")
def test_a_dead_app_has_the_headers_too(door):
    stop, start = ("systemctl stop 'doors-web@*'", "systemctl start \"doors-web@$(basename $(readlink -f /opt/doors/live))\"")
    if door.server.name[1] != "o":
        stop = "docker stop -t 2 $(docker ps -q --filter label=quayside.app=doors --filter label=quayside.process=web)"
        start = "docker start $(docker ps -aq --filter label=quayside.app=doors --filter label=quayside.process=web | head -1)"
    door.server.inside(stop)
    try:
        answer, static = door.ask("/"), door.ask("/static/app.js")
    finally:
        door.server.inside(start)
    assert answer.status in (502, 503, 504)
    assert {name: answer.all(name) for name in SET} == {name: [value] for name, value in SET.items()}
    assert answer.all("Strict-Transport-Security") == [HSTS]
    assert static.status == 200
    door.server.until(lambda: door.ask("/healthz/").status == 200, what="the app")


# What is never served


@pytest.mark.parametrize("place", ["/static/", "/media/", "/app/"])
@pytest.mark.parametrize("name", [*LEFT, ".env", "notes%2ebak", "notes.BAK", "%2eenv", "%2Egit/config", "x/%2e%2e/dump.sql", "notes.bak?x=.css"])
def test_leftovers_and_dotfiles_are_never_served(door, place, name):
    answer = door.ask(place + name)
    # A name of no file is the page of a single-page app; Traefik refuses some encoded characters by itself.
    assert answer.status in (400, 404), answer.body[:100]
    assert b"left over" not in answer.body and b"media" not in answer.body


@pytest.mark.parametrize("path", ["/.git/config", "/%2egit/config", "/.env", "/a/.env", "/x/%2e%2e/admin/", "//.git/config", "/%2Fadmin/../.env", "/.htpasswd"])
def test_dotfiles_do_not_reach_the_app(door, path):
    # Traefik takes the dots away, and asks for the login of what is left.
    assert door.ask(path).status in (400, 404) or (door.traefik and "/admin/" in path and door.ask(path).status == 401)


def test_what_the_app_answers_is_the_apps_to_say(door):
    assert door.ask("/backups/dump.sql").status == 200
    assert door.ask("/.well-known/security.txt").status == 404
    assert door.ask("/static/app.js").status == 200


def test_a_file_that_takes_the_place_of_another_is_served_at_once(door):
    path = "/opt/doors/shared/media/changing.txt"
    for number in range(15):
        door.server.inside(f"echo {number} > {path}.new && chown doors: {path}.new && chmod 644 {path}.new && mv {path}.new {path}")
        assert {door.ask("/media/changing.txt").body for _ in range(3)} == {f"{number}\n".encode()}
    door.server.inside(f"rm {path}")
    assert door.ask("/media/changing.txt").status == 404


# What shrinks


@pytest.mark.parametrize(("path", "encodings"), [("/words/", ("gzip", "br")), ("/static/site.css", ("gzip",)), ("/app/site.css", ("gzip",))])
def test_text_shrinks(door, path, encodings):
    for encoding in encodings:
        answer = door.ask(path, Accept_Encoding=encoding)
        brotli = encoding == "gzip" or door.traefik or not door.server.name.startswith("dn")
        assert answer.all("Content-Encoding") == ([encoding] if brotli else [])
        assert any("accept-encoding" in value.lower() for value in answer.all("Vary")) or not brotli
    plain = door.ask(path, Accept_Encoding="identity")
    assert plain.all("Content-Encoding") == []
    if path != "/words/":
        assert gzip.decompress(door.ask(path, Accept_Encoding="gzip").body).startswith(TWIN), "the smaller twin of the file was not sent"
        assert not plain.body.startswith(TWIN)


# Limits


def burst(door, path: str, count: int, **headers) -> collections.Counter:
    """Ask many times at once, and return how often each status came."""
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        return collections.Counter(pool.map(lambda _: door.ask(path, **headers).status, range(count)))


def header(told: str) -> str:
    """Return curl's option."""
    return f"-H 'X-Forwarded-For: {told}'" if told else ""


def inside(door, source: str, path: str, count: int = 1, told=("",)) -> list[collections.Counter]:
    """Ask from another address, one of the server's own, for each X-Forwarded-For of ``told`` at once; return how often each status came."""
    asked = [f"curl -sk --resolve {door.name}:443:{door.server.address} --interface {source} {header(one)} -o /dev/null "
             f"-w '%{{http_code}} ' --parallel --parallel-max 50 'https://{door.name}{path}?[1-{count}]'; echo" for one in told]
    done = door.server.inside(f"ip address show dev lo | grep -q '{source}/' || ip address add {source}/32 dev lo; {'; '.join(asked)}")
    return [collections.Counter(int(code) for code in line.split()) for line in done.splitlines()]


@pytest.mark.proves("4.06", "4.66", "4.67")
def test_limits_by_address_but_for_exempt_paths(door):
    began = time.monotonic()
    found = burst(door, "/api/", 100)
    seconds = time.monotonic() - began
    allowed = 21 + 10 * seconds
    assert set(found) == {200, 429}
    assert 20 <= found[200] <= allowed + 2, (found, seconds)
    assert burst(door, "/api/hooks/", 60) == {200: 60}
    assert burst(door, "/healthz/", 200) == {200: 200}
    # Another address is not touched by it.
    burst(door, "/api/", 60)
    assert inside(door, "198.51.100.77", "/api/") == [{200: 1}]
    time.sleep(3)


@pytest.mark.proves("4.66")
def test_a_trusted_proxy_says_who_asks_and_nobody_else_does(door):
    time.sleep(3)
    # One client behind the proxy, whatever it wrote itself before; and another.
    first, same, other = inside(door, "198.51.100.9", "/words/", 30, ["10.9.9.9, 192.0.2.1", "10.8.8.8, 192.0.2.1", "192.0.2.2"])
    assert 5 <= first[200] < 20 and same[200] < 5 <= other[200], (first, same, other)
    # Who is nobody cannot pass for another.
    first, other = inside(door, "198.51.100.66", "/words/", 30, ["192.0.2.3", "192.0.2.4"])
    assert 5 <= first[200] < 20 and other[200] < 5, (first, other)
    # The same for lists of addresses.
    assert inside(door, "198.51.100.9", "/office/", 1, ["203.0.113.7", "203.0.113.7, 192.0.2.5"]) == [{200: 1}, {403: 1}]
    assert inside(door, "198.51.100.66", "/office/", 1, ["203.0.113.7"]) == [{403: 1}]
    time.sleep(3)


# Logins


@pytest.mark.parametrize("path", ["/admin/", "/admin/deep/x", "/%61dmin/", "/admin%2F", "//admin/"])
def test_the_admin_needs_a_login(door, path):
    answer = door.ask(path)
    assert answer.status in (400, 401, 404)
    assert path != "/admin/" or answer.all("WWW-Authenticate")


def test_logins(door):
    assert door.login("ops", "wrong").status == 401
    assert door.login("nobody", door.password).status == 401
    answer = door.login("ops", door.password)
    assert answer.status == 200
    # The app has logins of its own: it hears nothing of this one.
    assert "Authorization" not in json.loads(answer.body)["headers"]
    other = door.ask("/", Authorization="Basic YTpi")
    assert json.loads(other.body)["headers"]["Authorization"] == "Basic YTpi"


def test_a_password_is_nowhere_but_hashed_for_the_edge(door):
    folder = {"do": "/etc/nginx/logins", "dn": "/opt/quayside/edge/nginx/logins", "dt": "/opt/quayside/edge/nginx/logins"}[door.server.name[:2]]
    assert door.server.inside(f"stat -c '%a %u %g' {folder} {folder}/*").splitlines() == ["750 0 33", "640 0 33"]
    assert re.match(r"^ops:\$2y\$08\$", door.server.inside(f"cat {folder}/*"))
    assert "ADMIN_LOGIN" not in json.loads(door.ask("/environment/").body)["names"]
    assert door.password not in door.ask("/environment/").body.decode()
    assert door.server.inside(f"grep -rlF '{door.password}' /opt/doors /opt/quayside /etc /var/log /run --exclude-dir=udev 2>/dev/null; true") == ""


# TLS


def handshake(door, name: str, *words: str) -> str:
    """Return what openssl's client says."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"{door.server.address}:443", "-servername", name, *words], input="", text=True, errors="replace",
                          capture_output=True, check=False, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.proves("4.59")
@pytest.mark.parametrize(("words", "good"), [
    (["-tls1_2"], True), (["-tls1_3"], True), (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False), (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], False),
    (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:AES128-SHA:AES128-GCM-SHA256"], False),
    (["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"], False),
    (["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"], True), (["-tls1_3", "-groups", "X25519"], True), (["-tls1_3", "-groups", "ffdhe2048"], False)])
def test_tls_is_mozillas_intermediate(door, words, good):
    said = handshake(door, door.name, *words)
    assert ("Cipher is (NONE)" not in said and "New, TLS" in said) == good, said[-600:]


@pytest.mark.proves("4.02")
def test_unknown_names_are_refused(door):
    assert "Cipher is (NONE)" in handshake(door, "unknown.example.com")
    if door.traefik:
        assert door.ask("/", tls=False, host="unknown.example.com").status == 404
    else:
        with pytest.raises(ConnectionResetError):
            door.ask("/", tls=False, host="unknown.example.com")


def test_http2_is_spoken(door):
    assert "ALPN protocol: h2" in handshake(door, door.name, "-alpn", "h2,http/1.1")


def test_http3_is_spoken_where_the_edge_has_it(door):
    offered = door.ask("/").all("Alt-Svc")
    if door.server.name == "do12":
        assert offered == []
        assert "443/udp" not in door.server.inside("ufw status")
        return
    assert len(offered) == 1 and 'h3=":443"' in offered[0]
    status, headers, body = http3.get(door.server.address, door.name, "/api/?x=1", str(CA))
    assert (status, json.loads(body)["path"], json.loads(body)["secure"]) == (200, "/api/", True)
    assert [value for key, value in headers if key == "strict-transport-security"] == [HSTS]
    assert json.loads(body)["headers"]["Host"] == door.name
    assert http3.get(door.server.address, door.name, "/static/app.js", str(CA))[0] == 200
    with pytest.raises((OSError, TimeoutError)):
        http3.get(door.server.address, "unknown.example.com", "/", timeout=5)
