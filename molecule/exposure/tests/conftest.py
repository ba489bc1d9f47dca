# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a site under systemd, one in containers, and a stranger with a private and a public address."""
import contextlib
import json
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import ROOT, servers  # noqa: E402 - the path has to be there first

PUBLIC = "198.51.100.12"
FIRST, SECOND = servers(HERE.parent)

LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.socket(family, socket.SOCK_STREAM if sys.argv[3] == "tcp" else socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sys.argv[4] == "only")
server.bind((sys.argv[1], int(sys.argv[2])))
if sys.argv[3] == "tcp":
    server.listen(8)
while True:
    if sys.argv[3] == "tcp":
        server.accept()[0].close()
    else:
        data, address = server.recvfrom(2000)
        server.sendto(b"here", address) if sys.argv[4] != "mute" else None
"""


def judged(server, *words, ok=True, **variables):
    """Run the playbook on a server; return its run, and its words in one line."""
    run = server.play("exposure", *words, *(["-e", json.dumps(variables)] if variables else []), ok=ok)
    return run, " ".join(run.out.split())


def firewall(server, **variables):
    """Have the host's firewall declared otherwise; without variables as the inventory has it."""
    server.play(str(HERE.parent / "firewall.yml"), *(["-e", json.dumps(variables)] if variables else []))


@contextlib.contextmanager
def listening(server, port, address="::", proto="tcp", how=""):
    """Have a program of nobody's listen on a server."""
    server.inside(f"cat > /srv/listen.py <<'EOF'\n{LISTEN}\nEOF")
    server.inside(f"systemd-run -q --unit=stray-{port} python3 /srv/listen.py {address} {port} {proto} {how or 'both'}")
    server.until(lambda: server.inside(f"ss -Hln{proto[0]} sport = :{port}"), 10, "the listener")
    try:
        yield f"stray-{port}.service"
    finally:
        server.inside(f"systemctl stop stray-{port}")


@contextlib.contextmanager
def after(server, begin, end):
    """Do something on a server, and take it back."""
    server.inside(begin)
    try:
        yield
    finally:
        server.inside(end)


class Stranger:
    """The first server as a stranger to the second."""

    private, public = FIRST.address, PUBLIC

    def routes(self):
        """Have the public address, and a road from the second server back to it, which a reboot of either takes away."""
        FIRST.inside(f"ip address replace {PUBLIC}/32 dev lo")
        SECOND.inside(f"ip route replace {PUBLIC}/32 via {FIRST.address}")

    def open(self, address, *ports):
        """Return, by the address that asks, which TCP ports of an address answer, as the collection's own scanner sees it; a port may be a range."""
        seconds = 0.5 if any(isinstance(port, range) for port in ports) else 1.5
        asked = " + ".join(f"list({port!r})" if isinstance(port, range) else f"[{port}]" for port in ports)
        program = f"import json, port_scan; print(json.dumps(port_scan.scan([({address!r}, ''), ({address!r}, {PUBLIC!r})], {asked}, [], seconds={seconds})))"
        FIRST.inside(f"cat > /srv/port_scan.py <<'EOF'\n{(ROOT / 'plugins/module_utils/port_scan.py').read_text()}\nEOF")
        scans = json.loads(FIRST.inside(f"cd /srv && python3 -c {json.dumps(program)}"))
        return [{int(port) for port, state in scan["tcp"].items() if state == "open"} for scan in scans]


@pytest.fixture(scope="session")
def web():
    """The server under systemd, Debian 12."""
    return FIRST


@pytest.fixture(scope="session")
def boxes():
    """The server with containers, Debian 13, with the app deployed."""
    if SECOND.get("/healthz/", tls=True)[0] != 200:
        SECOND.deploy("v1")
    return SECOND


@pytest.fixture(scope="session")
def stranger(boxes):
    """Somebody who may ask the web and no more."""
    found = Stranger()
    found.routes()
    return found
