# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import io
import json
import os
import socket
import socketserver
import tempfile
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self.chunks()
        url = urlsplit(self.path)
        self.server.seen.append({"method": self.command, "path": url.path, "query": parse_qs(url.query), "body": self.body, "headers": self.headers})
        status, kind, body = self.server.answer
        time.sleep(self.server.delay)
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_PUT = handle_one

    def chunks(self):
        found = b""
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            found += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                break
        return found

    def address_string(self):
        return "test"

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    delay = 0.0
    answer = (200, "application/json", b"{}")

    def handle_error(self, request, client_address):
        """A client that hung up is part of a test."""


@pytest.fixture
def folder():
    # pytest's own folders can be longer than a socket's path may be
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.fixture
def server(folder):
    made = Server(f"{folder}/docker.sock", Handler)
    made.seen = []
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def engine(server):
    return Engine(server.server_address, timeout=5)


@pytest.mark.parametrize(("answer", "wanted"), [
    ((200, "application/json", b'[{"Id": "sha256:1"}]\n'), [{"Id": "sha256:1"}]),
    ((200, "application/json", b"null"), None),
    ((200, "application/json", b'{"status": "a"}\r\n{"status": "b"}\r\n'), '{"status": "a"}\r\n{"status": "b"}\r\n'),
    ((200, "text/plain; charset=utf-8", b"OK"), "OK"),
    ((204, "", b""), None),
    ((201, "application/json", b""), None),
])
def test_an_answer_is_json_text_or_nothing(server, engine, answer, wanted):
    server.answer = answer
    assert engine.get("/x") == wanted


def test_a_question_carries_its_query(server, engine):
    engine.get("/images/json", all=True, filters={"dangling": ["true"]}, limit=3, text="a b&c", left_out=None)
    assert server.seen[0]["method"] == "GET"
    assert server.seen[0]["path"] == "/images/json"
    assert server.seen[0]["query"] == {"all": ["true"], "filters": ['{"dangling": ["true"]}'], "limit": ["3"], "text": ["a b&c"]}


def test_a_question_without_a_query_has_no_question_mark(server, engine):
    engine.delete("/images/registry.example.com:5000/shop/web@sha256:12")
    assert (server.seen[0]["method"], server.seen[0]["path"]) == ("DELETE", "/images/registry.example.com:5000/shop/web@sha256:12")


def test_a_path_cannot_smuggle_a_query_or_a_line(server, engine):
    engine.get("/images/a?b#c\r\nX: y/json")
    assert server.seen[0]["path"] == "/images/a%3Fb%23c%0D%0AX:%20y/json"
    assert server.seen[0]["query"] == {}


def test_a_body_is_sent_as_json(server, engine):
    engine.post("/networks/create", {"Name": "shop"}, force=False)
    seen = server.seen[0]
    assert json.loads(seen["body"]) == {"Name": "shop"}
    assert seen["headers"]["Content-Type"] == "application/json"
    assert seen["query"] == {"force": ["false"]}


@pytest.mark.parametrize("body", [b"archive", "archive", io.BytesIO(b"archive")], ids=["bytes", "text", "file"])
def test_other_bodies_are_sent_as_they_are(server, engine, body):
    engine.call("POST", "/images/load", body=body, headers={"Content-Type": "application/x-tar"})
    assert server.seen[0]["body"] == b"archive"
    assert server.seen[0]["headers"]["Content-Type"] == "application/x-tar"


def test_each_call_has_a_connection_that_is_closed(server, engine):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        engine.get("/_ping")
    time.sleep(0.1)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(("answer", "message"), [
    ((409, "application/json", b'{"message": "conflict: unable to remove"}\n'), "conflict: unable to remove"),
    ((500, "text/plain", b"it broke\n"), "it broke"),
    ((404, "application/json", b'"odd"'), '"odd"'),
    ((503, "", b""), "the Docker engine answered 503 to GET /x"),
    ((400, "application/json", b"{}"), "the Docker engine answered 400 to GET /x"),
])
def test_a_refusal_has_the_words_of_the_engine(server, engine, answer, message):
    server.answer = answer
    with pytest.raises(EngineError) as raised:
        engine.get("/x")
    assert (raised.value.status, raised.value.message, str(raised.value)) == (answer[0], message, message)


def test_no_engine_is_said_with_advice(folder):
    with pytest.raises(EngineError) as raised:
        Engine(f"{folder}/none.sock").get("/_ping")
    assert raised.value.status == 0
    assert raised.value.message == (f"the Docker engine does not answer at {folder}/none.sock: is it installed? run quayside.django.site; "
                                    "systemctl status docker (No such file or directory)")


def test_an_engine_that_stopped_is_said_with_advice(folder):
    left = socket.socket(socket.AF_UNIX)
    left.bind(f"{folder}/docker.sock")
    left.close()
    with pytest.raises(EngineError, match="systemctl status docker .Connection refused"):
        Engine(f"{folder}/docker.sock").get("/_ping")


def test_an_engine_that_hangs_up_is_said(folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/docker.sock")
    listener.listen()
    threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
    with pytest.raises(EngineError, match="does not answer at") as raised:
        Engine(f"{folder}/docker.sock").get("/_ping")
    assert raised.value.status == 0
    listener.close()


def test_an_engine_that_is_silent_is_said(server):
    server.delay = 1.0
    with pytest.raises(EngineError, match="was silent for 0.05 s at GET /slow: journalctl -u docker") as raised:
        Engine(server.server_address, timeout=5).call("GET", "/slow", timeout=0.05)
    assert raised.value.status == 0


def test_a_folder_of_a_container_is_downloaded_with_its_path_in_the_query(server, folder):
    server.answer = (200, "application/x-tar", b"a tar")
    stream = io.BytesIO()
    Engine(f"{folder}/docker.sock").download("/containers/abc/archive", stream, path="/app/frontend/.")
    assert stream.getvalue() == b"a tar"
    assert server.seen[0]["path"] == "/containers/abc/archive"
    assert server.seen[0]["query"] == {"path": ["/app/frontend/."]}


@pytest.mark.parametrize("verb", ["get", "post", "delete"])
def test_any_word_can_be_the_name_of_a_query(server, folder, verb):
    getattr(Engine(f"{folder}/docker.sock"), verb)("/x", path="p", body="b")
    assert server.seen[0]["query"] == {"path": ["p"], "body": ["b"]}
