# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edge makes of visitors that mean no good: where they come from, what they ask for, and how long they take over it."""
import asyncio
import json
import re
import resource
import socket
import ssl
import time

import pytest
from lab import ROOT

HALF = b"GET /healthz/ HTTP/1.1\r\nHost: %s\r\nX-Slow: b"
CA = ROOT / ".cache/doors/certificates/ca.crt"
MANY = 9000  # connections of one address, as in the review that took all sites of a host down


@pytest.fixture(scope="module")
def name(server):
    """The name of the site; the shop is live."""
    server.play("deploy", "-e", "django_app=doors")
    return f"{server.name}.example.com"


def ask(address: str, name: str, path: str = "/healthz/", host: str = "") -> bytes:
    """Return the whole answer over TLS, empty when the connection was closed; ``name`` is that of the handshake."""
    context = ssl.create_default_context(cafile=str(CA))
    with socket.create_connection((address, 443), 10) as plain, context.wrap_socket(plain, server_hostname=name) as secure:
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode())
        found = b""
        try:
            while part := secure.recv(65536):
                found += part
        except OSError:
            pass
        return found


def status(answer: bytes) -> int:
    """Return the status of an answer, 0 for none."""
    return int(answer.split()[1]) if answer else 0


def test_a_visitor_by_ipv6_arrives_with_its_own_address(server, name):
    address = server.local.get("lab_addresses6", {}).get(server.name)
    if not address:
        pytest.skip("the lab's network has no IPv6 here")
    with socket.create_connection((address, 443), 10) as connection:
        own = connection.getsockname()[0]
    seen = json.loads(re.search(rb"{.*}", ask(address, name, "/"))[0])
    assert seen["headers"]["X-Forwarded-For"] == own
    assert status(ask(address, name, "/office/")) == 403


@pytest.mark.parametrize("path", [
    "/{}/", "/{}%2f", "/{}%2f..", "/{}%2f..%2fx", "/{}/%2f..%2f..", "//{}/", "/{};a/", "/{}%5c", "/{}%252f", "/x%2f..%2f{}/", "/%2f{}/"])
@pytest.mark.parametrize("protected", ["office", "OFFICE", "%6fffice", "%256fffice", "admin", "Admin", "%61dmin"])
def test_no_spelling_of_a_path_passes_by_the_list(server, name, path, protected):
    assert status(ask(server.address, name, path.format(protected))) in (400, 401, 403, 404)


def test_another_name_after_a_known_one_in_the_handshake(server, name):
    answer = ask(server.address, name, host="nobody.invalid")
    assert status(answer) in (0, 404, 421)
    assert b"Welcome" not in answer


def test_half_sent_requests_of_one_address_take_nobody_away(server, name):
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)

    async def hold() -> tuple[int, list]:
        held, answers = [], []
        for _group in range(MANY // 300):
            for pair in await asyncio.gather(*(asyncio.open_connection(server.address, 80) for _number in range(300)), return_exceptions=True):
                if not isinstance(pair, BaseException):
                    pair[1].write(HALF % name.encode())
                    held.append(pair[1])
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            answers.append(status(await asyncio.to_thread(ask, server.address, name)))
        for writer in held:
            writer.close()
        return len(held), answers

    held, answers = asyncio.run(hold())
    assert held > MANY * 0.8
    assert answers and set(answers) == {200}


def test_a_slow_but_honest_upload_arrives(server, name):
    context = ssl.create_default_context(cafile=str(CA))
    with socket.create_connection((server.address, 443), 40) as plain, context.wrap_socket(plain, server_hostname=name) as secure:
        secure.sendall(f"POST /api/hooks/ HTTP/1.1\r\nHost: {name}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n".encode())
        for _piece in range(5):
            time.sleep(5)
            secure.sendall(b"x")
        assert status(secure.recv(65536)) == 200
