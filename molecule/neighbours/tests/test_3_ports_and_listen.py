# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports between apps: nobody takes the place of a process that is down, and nobody passes by the edge."""
import json
import time

import pytest
from neighbours import VICTIM

COOKIE = "session=of-a-visitor"

# Binds a port as soon as it is free, and answers whoever comes; it prints what arrives.
THIEF = """
import socket, sys, time
port, end, taken = {port}, time.time() + {seconds}, []
print("began", flush=True)
while time.time() < end:
    for address in ("127.0.0.1", "0.0.0.0", "::"):
        thief = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            thief.bind((address, port))
            thief.listen(50)
            thief.settimeout(0.05)
            taken.append(thief)
            print("bound", address, flush=True)
        except OSError:
            thief.close()
    for thief in taken:
        try:
            link, _ = thief.accept()
        except OSError:
            continue
        link.settimeout(1)
        print("took", link.recv(4000), flush=True)
        link.sendall(b"HTTP/1.1 200 OK\\r\\nX-Answered-By: hostile\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nstolen")
        link.close()
    time.sleep(0.001)
"""
# Asks the neighbours of a container, and the host: every address near its own, on some ports, for a protected path.
SCOUT = """
import ipaddress, json, socket, concurrent.futures
ports, found = {ports}, {{}}
def own():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("198.51.100.1", 9))
        return probe.getsockname()[0]
    except OSError:
        return socket.gethostbyname(socket.gethostname())
base = ipaddress.ip_address(own())
near = [str(ipaddress.ip_address((int(base) & 0xffffff00) + number)) for number in range(1, 20)]
def ask(place):
    address, port = place
    try:
        with socket.create_connection((address, port), 2) as link:
            link.settimeout(5)
            link.sendall(b"GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n")
            data = b""
            while chunk := link.recv(65536):
                data += chunk
    except OSError:
        return None
    return f"{{address}}:{{port}}", data.decode("latin-1")
places = [(address, port) for address in ["127.0.0.1", *near, *{more}] for port in ports]
with concurrent.futures.ThreadPoolExecutor(20) as pool:
    print(json.dumps(dict(one for one in pool.map(ask, places) if one)))
"""


def scout(box, path, ports, app="hostile", more=()):
    """Return address:port -> answer of all that an app reaches near it."""
    return json.loads(box.run(SCOUT.format(ports=list(ports), path=path, host=VICTIM, more=list(more)), app, 60))


def theft(box, thief, port, kill, path, host=VICTIM, seconds=12):
    """End what listens on a port while another app waits for it; return what visitors got meanwhile, and what the thief printed."""
    log = box.run(THIEF.format(port=port, seconds=seconds), thief, how="background")
    box.server.until(lambda: "began" in box.output(log, thief), 10, "the thief")
    answers, end = [], time.monotonic() + seconds - 2
    kill()
    while time.monotonic() < end:
        answers.append(box.ask(path, host, headers=[("Cookie", COOKIE)], timeout=5))
        if len(answers) % 10 == 0 and len(answers) <= 30:
            kill()
        time.sleep(0.02)
    return answers, box.output(log, thief)


@pytest.mark.on("nb-host")
def test_nobody_takes_the_port_of_a_process_that_has_crashed(box):
    """Finding 10: a process that listens by `port` is killed again and again; its visitors reach it, or nobody."""
    release = box.inside("basename $(readlink -f /opt/victim/live)")
    port = int(box.inside("cat /opt/victim/live/edge/upstreams.conf").split("feed 127.0.0.1:")[1].split(";")[0]) \
        if "feed 127.0.0.1:" in box.inside("cat /opt/victim/live/edge/upstreams.conf") else 0
    if not port:
        # No port of localhost stands for it: it is reached by a socket that only its own user and the edge open.
        assert "feed" in box.inside("cat /opt/victim/live/edge/upstreams.conf") or "feed" in box.inside("ls /opt/victim/live/run")
        return
    answers, said = theft(box, "hostile", port, lambda: box.inside(f"systemctl kill -s KILL victim-feed@{release}.service", check=False), "/feed/x")
    assert not [answer for answer in answers if answer.header("X-Answered-By") == "hostile"], said
    assert COOKIE not in said
    box.server.until(lambda: box.ask("/feed/x").seen.get("app") == "victim", 30, "the process")


@pytest.mark.on("nb-host")
def test_nobody_takes_the_port_of_a_container_that_was_killed(box):
    """Finding 10: the port of localhost by which nginx on the host reaches a container."""
    web = "$(docker ps -aq --filter label=quayside.app=intruder --filter label=quayside.process=web | head -1)"
    published = box.inside(f"docker inspect -f '{{{{json .HostConfig.PortBindings}}}}' {web}")
    ports = [int(one["HostPort"]) for bound in (json.loads(published) or {}).values() for one in bound if one["HostPort"]]
    if not ports:
        return  # it is reached by a socket or by its own address
    answers, said = theft(box, "hostile", ports[0], lambda: box.inside(f"docker kill {web}", check=False), "/x", "intruder.test")
    box.inside(f"docker start {web}")
    stolen = [answer for answer in answers if answer.body == b"stolen"]
    assert not stolen, said
    assert COOKIE not in said
    box.server.until(lambda: box.ask("/x", "intruder.test").header("X-Answered-By") == "hostile", 60, "the container")


@pytest.mark.parametrize("path", ["/ops/x", "/office/x", "/vault/x", "/hello/"])
def test_a_neighbour_gets_nothing_by_listen(box, path):
    """Finding 11: the port of `listen`, from another app's container or sandbox, on every address that it reaches."""
    host = box.inside("hostname -I").split()
    found = scout(box, path, [8100], more=[*host, *bridges(box)])
    assert {place: text for place, text in found.items() if '"app": "victim"' in text} == {}


@pytest.mark.on("nb-host")
@pytest.mark.parametrize("path", ["/ops/x", "/hello/"])
def test_a_container_gets_nothing_by_listen_of_the_host(box, path):
    """Finding 11: the same for a container beside an app of the host."""
    found = scout(box, path, [8100], "intruder", [*box.inside("hostname -I").split(), *bridges(box)])
    assert {place: text for place, text in found.items() if '"app": "victim"' in text} == {}


@pytest.mark.on("nb-traefik")
def test_an_app_of_the_host_gets_nothing_by_listen_of_a_container(box):
    """Finding 11: the port of `listen` that Traefik publishes on localhost, from a systemd app without an edge."""
    found = scout(box, "/ops/x", [8100], "side", [*box.inside("hostname -I").split(), *bridges(box)])
    assert {place: text for place, text in found.items() if '"protected": "/ops/"' in text} == {}


def test_the_host_itself_reaches_listen(box):
    """Scripts and tunnels of the host: what `listen` is for."""
    assert box.inside("curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8100/healthz/") == "200"


@pytest.mark.on("nb-nginx", "nb-traefik")
def test_a_neighbour_reaches_no_port_of_the_victim_but_by_the_edge(box):
    """What held: another app's containers, their services and the edge's own ports, from a hostile container."""
    addresses = box.inside("docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' $(docker ps -q --filter label=quayside.app=victim) "
                           "$(docker ps -q --filter name=victim-services)").split()
    assert addresses
    found = scout(box, "/ops/x", [8000, 8001, 5432, 6379, 2019, 81, 8080, 8081], more=addresses)
    assert {place: text for place, text in found.items() if '"app": "victim"' in text or place.split(":")[0] in addresses} == {}


@pytest.mark.on("nb-host")
def test_a_neighbour_reads_no_file_of_the_victim(box):
    """The low finding: the ledger, programs, ports and the lock of another app, by their names."""
    source = """
import glob, json, os
paths = {paths}
def read(path):
    try:
        return open(path, "rb").read(200).decode("latin-1")
    except OSError:
        return None
print(json.dumps({{path: text for path in paths if (text := read(path)) is not None}}))
"""
    listed = box.inside("find /opt/victim /etc/quayside -maxdepth 6 -type f -not -path '*/code/*' -not -path '*/static/*' -not -path '*/venvs/*/lib/*' "
                        "-not -path '*/repository.git/*' 2>/dev/null | head -300").splitlines()
    names = [path for path in listed if any(part in path for part in ("ledger", "/bin/", "ports", "lock", "secrets", "source_key", "env", "release.json"))
             and "/venvs/" not in path]
    assert len(names) >= 5
    found = json.loads(box.run(source.format(paths=names)))
    assert sorted(found) == []


@pytest.mark.on("nb-host")
def test_a_neighbour_opens_no_socket_of_the_victim(box):
    """What held: gunicorn's sockets and Redis of another app."""
    sockets = box.inside("find /opt/victim/releases /run -type s 2>/dev/null | grep -i victim").splitlines()
    assert sockets
    source = """
import json, socket
def opens(path):
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(path)
        return True
    except OSError:
        return False
print(json.dumps([path for path in {paths} if opens(path)]))
"""
    assert json.loads(box.run(source.format(paths=sockets))) == []


def bridges(box) -> list[str]:
    """Return the addresses of the box's bridges, which are gateways of its containers."""
    return box.inside("ip -4 -o address show | awk '{print $4}' | cut -d/ -f1 | grep -v '^127'").split()
