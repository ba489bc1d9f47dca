# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import itertools
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils.http_health import (
    Answer,
    Check,
    ask,
    days_left,
    json_difference,
    judge,
    shown,
    wait,
)
from ansible_collections.quayside.django.plugins.modules.http_health import to_check, to_return

ANY = Check(socket="/x", path="/healthz/")


class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self)
        self.server.answer(self)

    def reply(self, status=200, body=b"{}", headers=()):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "test"

    def log_message(self, *args):
        pass


class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


def ok(handler):
    body = json.dumps({"status": "ok", "host": handler.headers["Host"], "scheme": handler.headers["X-Forwarded-Proto"]})
    handler.reply(body=body.encode(), headers=[("Content-Type", "application/json"), ("X-Release", "r1")])


@pytest.fixture
def folder():
    # pytest's own folders are longer than a socket's path may be
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.fixture
def serve():
    servers = []

    def start(server, answer=ok):
        server.answer, server.seen = answer, []
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate():
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    with tempfile.TemporaryDirectory() as path:
        cert, key = f"{path}/cert.pem", f"{path}/key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10"]
            + ["-subj", "/CN=shop", "-addext", "subjectAltName=DNS:shop.example.com", "-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
        yield cert, key


@pytest.fixture
def tls(serve, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Tcp(("127.0.0.1", 0), App)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serve(server)
    return f"https://127.0.0.1:{server.server_address[1]}/healthz/"


@pytest.mark.parametrize(
    ("check", "answer", "reason"),
    [
        ({}, Answer(200), ""),
        ({}, Answer(error="the socket is not there yet"), "the socket is not there yet"),
        ({}, Answer(500), "status 500, wanted 200"),
        ({"status": (200, 204)}, Answer(204), ""),
        ({"status": (200, 204)}, Answer(404), "status 404, wanted 200 or 204"),
        ({}, Answer(301, {"location": "https://shop/"}), "status 301 to https://shop/, wanted 200"),
        ({"text": "Välkommen"}, Answer(200, body="Välkommen!".encode()), ""),
        ({"text": "hello"}, Answer(200, body=b"bye"), "the text 'hello' is not in the body"),
        ({"text": "hello"}, Answer(200, body=b"\xff\xfehello"), ""),
        ({"json": {"status": "ok"}}, Answer(200, body=b'{"status": "ok", "more": [1]}'), ""),
        ({"json": {"status": "ok"}}, Answer(200, body=b'{"status": "sick"}'), 'json.status is "sick", wanted "ok"'),
        ({"json": {"status": "ok"}}, Answer(200, body=b"<html>"), "the body is not JSON"),
        ({"json": {"status": "ok"}}, Answer(200, body=b"[]"), 'json is [], wanted {"status": "ok"}'),
        ({"json": {}}, Answer(200, body=b"x"), "the body is not JSON"),
        ({"headers": {"X-Release": "r1"}}, Answer(200, {"x-release": "r1"}), ""),
        ({"headers": {"X-Release": "r2"}}, Answer(200, {"x-release": "r1"}), "header X-Release is 'r1', wanted 'r2'"),
        ({"headers": {"X-Release": "r2"}}, Answer(200), "no header X-Release"),
    ],
)
def test_judge(check, answer, reason):
    assert judge(Check(socket="/x", **check), answer) == reason


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        (14.5, ""),
        (3.25, "the certificate has 3.2 days left, wanted 14"),
        (-1.0, "the certificate has -1.0 days left, wanted 14"),
        (None, "the certificate has unknown days left, wanted 14"),
    ],
)
def test_judge_certificate(days, reason):
    assert judge(Check(url="https://shop/", certificate_days=14), Answer(200, certificate_days=days)) == reason


@pytest.mark.parametrize(
    ("wanted", "got", "difference"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, ""),
        ({"a": {"b": 1}}, {"a": {}}, "json.a.b is not there"),
        ({"a": {"b": 1}}, {"a": 3}, 'json.a is 3, wanted {"b": 1}'),
        ({"a": True}, {"a": 1}, "json.a is 1, wanted true"),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, "json.a is [1, 2, 3], wanted [1, 2]"),
        ({"a": None}, {"a": None}, ""),
    ],
)
def test_json_difference(wanted, got, difference):
    assert json_difference(wanted, got) == difference


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a url or a socket"),
        ({"url": "http://a", "socket": "/x"}, "either a url or a socket"),
        ({"url": "ftp://a"}, "not an http"),
        ({"url": "http://"}, "not an http"),
        ({"url": "http://a:99999"}, "range"),
        ({"url": "http://a:0"}, "port 0"),
        ({"socket": "/x", "path": "healthz"}, "begins with /"),
        ({"socket": "/x", "host": "a\r\nX-Evil: 1"}, "control characters"),
        ({"socket": "/x", "path": "/a b"}, "spaces"),
        ({"url": "http://a", "certificate_days": 3}, "https"),
    ],
)
def test_impossible_checks(options, words):
    with pytest.raises(ValueError, match=words):
        Check(**options)


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({"socket": "/x"}, "/"),
        ({"socket": "/x", "path": "/healthz/?deep=1"}, "/healthz/?deep=1"),
        ({"url": "http://a"}, "/"),
        ({"url": "http://a/b?c=d"}, "/b?c=d"),
        ({"url": "http://a/b?c=d", "path": "/e"}, "/e"),
    ],
)
def test_target(options, target):
    assert Check(**options).target == target


def test_shown_is_one_short_line():
    assert shown(b"a\n\n b") == "a b"
    assert shown(b"") == ""
    assert len(shown(b"x" * 5000)) == 201


def test_days_left(certificate):
    cert, _ = certificate
    der = ssl.PEM_cert_to_DER_cert(Path(cert).read_text())
    ends = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", cert], check=True, capture_output=True, text=True)
    moment = ssl.cert_time_to_seconds(ends.stdout.strip().partition("=")[2])
    assert days_left(der, moment) == 0
    assert days_left(der, moment - 86400 * 9.5) == pytest.approx(9.5)
    assert days_left(der, moment + 86400) == -1


def test_unix_socket_with_host_and_scheme(serve, folder):
    server = serve(Unix(f"{folder}/web.sock", App))
    answer = ask(Check(socket=f"{folder}/web.sock", path="/healthz/", host="shop.example.com", scheme="https"))
    assert (answer.status, answer.error) == (200, "")
    assert json.loads(answer.body) == {"status": "ok", "host": "shop.example.com", "scheme": "https"}
    assert answer.headers["x-release"] == "r1"
    assert server.seen[0].path == "/healthz/"
    assert 0 < answer.seconds < 2


@pytest.mark.parametrize(("make", "what"), [(lambda path, neighbour: os.symlink(neighbour, path), "a link"), (lambda path, _: os.mkfifo(path), "a FIFO")],
                         ids=["link", "fifo"])
def test_what_lies_in_the_place_of_a_socket_is_not_followed(serve, folder, make, what):
    neighbour = serve(Unix(f"{folder}/neighbour.sock", App))
    make(f"{folder}/web.sock", f"{folder}/neighbour.sock")
    assert ask(Check(socket=f"{folder}/web.sock")).error == f"{folder}/web.sock is {what} and not the socket of a server"
    assert neighbour.seen == []


def test_a_socket_that_is_swapped_while_it_is_asked_leads_nowhere_else(serve, folder, monkeypatch):
    own, neighbour = serve(Unix(f"{folder}/web.sock", App)), serve(Unix(f"{folder}/neighbour.sock", App))
    look = os.fstat

    def swap(handle):
        have = look(handle)
        os.rename(f"{folder}/web.sock", f"{folder}/gone.sock")
        os.symlink("neighbour.sock", f"{folder}/web.sock")
        return have

    monkeypatch.setattr(os, "fstat", swap)
    assert ask(Check(socket=f"{folder}/web.sock")).status == 200
    assert os.path.islink(f"{folder}/web.sock"), "the swap was carried out"
    assert (len(own.seen), neighbour.seen) == (1, [])


def test_tcp_without_host_names_the_address(serve):
    server = serve(Tcp(("127.0.0.1", 0), App))
    port = server.server_address[1]
    answer = ask(Check(url=f"http://127.0.0.1:{port}/?a=b"))
    assert json.loads(answer.body) == {"status": "ok", "host": f"127.0.0.1:{port}", "scheme": None}
    assert server.seen[0].path == "/?a=b"


def test_no_redirect_is_followed(serve):
    server = serve(Tcp(("127.0.0.1", 0), App), lambda h: h.reply(302, b"", [("Location", "/elsewhere")]))
    check = Check(url=f"http://127.0.0.1:{server.server_address[1]}/", status=(302,), headers={"location": "/elsewhere"})
    assert judge(check, ask(check)) == ""
    assert len(server.seen) == 1


def test_tls_verifies_the_name_that_is_asked_for(tls, certificate):
    ca = certificate[0]
    good = Check(url=tls, host="shop.example.com", ca=ca, certificate_days=9)
    answer = ask(good)
    assert judge(good, answer) == ""
    assert answer.certificate_days == pytest.approx(10, abs=0.1)
    assert "not trusted" in ask(Check(url=tls, host="shop.example.com")).error
    assert "not trusted" in ask(Check(url=tls, host="other.example.com", ca=ca)).error


def test_tls_unverified_still_tells_the_days(tls):
    check = Check(url=tls, verify=False, certificate_days=30)
    assert judge(check, ask(check)).startswith("the certificate has 10.0 days left, wanted 30")


def test_what_is_not_there(folder):
    assert ask(Check(socket=f"{folder}/none.sock")).error == "the socket is not there yet"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{folder}/stale.sock")
    stale.close()
    assert "connection refused" in ask(Check(socket=f"{folder}/stale.sock")).error


def test_a_dripping_server_is_cut(serve):
    def drip(handler):
        for _ in range(40):
            handler.wfile.write(b"H")
            time.sleep(0.05)

    server = serve(Tcp(("127.0.0.1", 0), App), drip)
    answer = ask(Check(url=f"http://127.0.0.1:{server.server_address[1]}/", timeout=0.3))
    assert answer.error == "no whole answer within 0.3 s"
    assert answer.seconds < 1


def test_a_server_that_hangs_up(serve):
    server = serve(Tcp(("127.0.0.1", 0), App), lambda handler: handler.connection.close())
    assert ask(Check(url=f"http://127.0.0.1:{server.server_address[1]}/")).error == "the connection was closed without an answer"


def test_wait_until_the_socket_appears(serve, folder):
    def later():
        time.sleep(0.3)
        serve(Unix(f"{folder}/web.sock", App))

    threading.Thread(target=later).start()
    result = wait(Check(socket=f"{folder}/web.sock"), deadline=5)
    assert result.ok
    assert result.attempts > 3
    assert 0.3 <= result.seconds < 1


def test_wait_wants_successes_in_a_row(serve):
    statuses = [200, 500, 200, 200, 500]
    server = serve(Tcp(("127.0.0.1", 0), App), lambda h: h.reply(statuses[len(h.server.seen) - 1]))
    result = wait(Check(url=f"http://127.0.0.1:{server.server_address[1]}/"), deadline=5, successes=2, interval=0.01)
    assert (result.ok, result.attempts) == (True, 4)


def test_wait_asks_all_and_names_the_bad_one(serve, folder):
    server = serve(Unix(f"{folder}/a.sock", App), lambda h: h.reply(500, b"<h1>Server\nError</h1>"))
    serve(Unix(f"{folder}/b.sock", App))
    checks = [Check(socket=server.server_address, path="/healthz/", name="api"), Check(socket=f"{folder}/b.sock", name="web")]
    result = wait(checks, deadline=0.3)
    assert not result.ok
    said, _, tries = result.reason.rpartition(" (")
    assert said == f"api (unix:{folder}/a.sock /healthz/): status 500, wanted 200; body: <h1>Server Error</h1>"
    assert re.fullmatch(r"\d+ attempts in 0\.[23] s\)", tries)
    assert [outcome.reason for outcome in result.outcomes] == ["status 500, wanted 200", ""]


def test_wait_ends_at_once_when_the_process_died(folder):
    lives = iter(["", "", "bookshop-web@r2 has failed: exit status 3"])
    result = wait(Check(socket=f"{folder}/web.sock"), deadline=60, alive=lambda: next(lives))
    assert not result.ok
    assert result.reason.startswith("bookshop-web@r2 has failed: exit status 3; unix:")
    assert result.attempts == 2
    assert result.seconds < 1


def test_wait_holds_its_deadline_against_a_server_that_hangs(serve):
    server = serve(Tcp(("127.0.0.1", 0), App), lambda handler: time.sleep(3))
    result = wait(Check(url=f"http://127.0.0.1:{server.server_address[1]}/", timeout=30), deadline=0.4)
    assert not result.ok
    assert result.seconds < 1
    assert "1 attempt" in result.reason


def test_wait_asks_at_least_once(serve, folder):
    serve(Unix(f"{folder}/web.sock", App))
    assert wait(Check(socket=f"{folder}/web.sock"), deadline=0).ok
    few = wait(Check(socket=f"{folder}/web.sock"), deadline=0, successes=3)
    assert not few.ok
    assert "good 1 times in a row, wanted 3" in few.reason


def test_options_become_a_check():
    options = dict.fromkeys(["url", "path", "host", "scheme", "text", "json", "headers", "ca_path"])
    options.update(socket="/x", status=[200, 204], timeout=2.0, validate_certs=False, certificate_days=0, name="api")
    assert to_check(options) == Check(socket="/x", status=(200, 204), timeout=2.0, verify=False, name="api")


def test_what_the_module_returns(serve, folder):
    serve(Unix(f"{folder}/web.sock", App), lambda h: h.reply(503, b"no"))
    returned = to_return(wait(Check(socket=f"{folder}/web.sock"), deadline=0))
    assert returned["attempts"] == 1
    assert returned["answers"][0]["reason"] == "status 503, wanted 200"
    assert returned["answers"][0]["body"] == "no"


def test_the_module_in_check_mode(serve, folder):
    serve(Unix(f"{folder}/web.sock", App))
    arguments = {"socket": f"{folder}/web.sock", "json": {"status": "sick"}, "deadline": 0}
    environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    command = [shutil.which("ansible") or f"{os.path.dirname(sys.executable)}/ansible", "localhost", "--check"]
    command += ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    command += ["-m", "quayside.django.http_health"]
    run = {"capture_output": True, "text": True, "env": environment, "timeout": 60, "cwd": Path(__file__).parents[2]}
    bad = subprocess.run(command + ["-a", json.dumps(arguments)], **run)
    assert bad.returncode == 2
    assert f"Not well: unix:{folder}/web.sock /: json.status is" in bad.stdout
    arguments["json"] = {"status": "ok"}
    good = subprocess.run(command + ["-a", json.dumps(arguments)], **run)
    assert good.returncode == 0
    assert "changed: false" in good.stdout


def test_asked_together_all_connect_before_the_first_asks(tmp_path):
    """So that workers which take one connection at a time answer one each."""
    path, number = str(tmp_path / "app.sock"), 20
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(number)
    def work():
        taken = [listener.accept()[0] for _number in range(number)]
        for connection in taken:
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    result = wait([Check(socket=path)] * number, deadline=10, together=True)
    listener.close()
    assert result.ok and result.attempts == 1


def test_one_bad_answer_of_several_is_not_health(tmp_path):
    path, count = str(tmp_path / "app.sock"), itertools.count()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)

    def work():
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                status = b"500 Oops" if next(count) % 3 == 2 else b"200 OK"
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    for _number in range(3):
        threading.Thread(target=work, daemon=True).start()
    try:
        result = wait([Check(socket=path)] * 3, deadline=0.3, together=True)
    finally:
        listener.close()
    assert not result.ok and result.reason.count("status 500") == 1


def test_together_an_endpoint_that_is_not_there_holds_nobody(tmp_path):
    result = wait([Check(socket=str(tmp_path / "none"))] * 4, deadline=0.2, together=True)
    assert not result.ok and result.seconds < 3
