# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edge really serves for a name, asked by a handshake."""
from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading

import pytest
from ansible_collections.quayside.django.plugins.module_utils import served


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:shop.example.com,DNS:*.example.org,IP:10.0.0.2,IP:2001:db8::5"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=x",
                    "-set_serial", "0x1234abcd", "-addext", names, "-keyout", f"{folder}/key", "-out", f"{folder}/crt"], check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def serving(made):
    """A TLS server on a port of localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{made}/crt", f"{made}/key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.suppress(ssl.SSLError), context.wrap_socket(server.accept()[0], server_side=True) as one:
                        one.recv(1)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_names_serial_and_days_of_what_is_served(made):
    with serving(made) as port:
        der = served.certificate("shop.example.com", port=port)
    assert served.names(der) == {"DNS:shop.example.com", "DNS:*.example.org", "IP:10.0.0.2", "IP:2001:db8::5"}
    assert served.serial(der) == "1234abcd"
    assert served.certificate("shop.example.com", port=port) == b""


@pytest.mark.proves("3.64")
@pytest.mark.parametrize(("name", "later", "secure", "fits", "why"), [
    ("shop.example.com", 0, True, True, ""), ("10.0.0.2", 0, True, True, ""), ("*.example.org", 0, True, True, ""),
    ("other.example.com", 0, False, False, "a certificate for DNS:*.example.org, DNS:shop.example.com, IP:10.0.0.2, IP:2001:db8::5"),
    ("shop.example.com", 31, False, True, "a certificate that ended 1.0 days ago")])
def test_what_is_served_is_judged(made, monkeypatch, name, later, secure, fits, why):
    with serving(made) as port:
        der = served.certificate(name, port=port)
    monkeypatch.setattr(served, "certificate", lambda _name: der)
    now = served.time.time()
    monkeypatch.setattr(served.time, "time", lambda: now + later * 86400)
    found = served.look(name)
    assert (found["secure"], found["fits"], found["why"]) == (secure, fits, why)
    assert found["days"] == pytest.approx(30 - later, abs=0.1)


def test_nothing_is_served(monkeypatch):
    monkeypatch.setattr(served, "certificate", lambda _name: b"")
    assert served.look("shop.example.com") == {"secure": False, "fits": False, "days": None, "serial": "", "why": "no certificate"}
