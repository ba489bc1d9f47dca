# SPDX-License-Identifier: GPL-3.0-or-later
"""Floods: many half-sent requests, slow bodies, much output, many processes. Each is bounded in count and in time, and aims at a server of the lab alone."""
import contextlib
import resource
import socket
import threading
import time

import pytest
from neighbours import visitors, wait

HALF = b"GET / HTTP/1.1\r\nHost: victim.test\r\nX-A: b\r\n"
MOST = 6000  # sockets
SECONDS = 25


@contextlib.contextmanager
def flood(box, count: int, port: int, text: bytes, tls: bool = False):
    """Hold this many connections from one address, with some bytes of a request sent, and open again what was closed, while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 2000), hard))
    stop, kept, opened = threading.Event(), [], [0]

    def hold():
        while not stop.is_set():
            while len(kept) < count and not stop.is_set():
                try:
                    link = socket.create_connection((box.address, port), 2)
                    link.sendall(text)
                    link.setblocking(False)
                except OSError:
                    time.sleep(0.01)
                    break
                kept.append(link)
                opened[0] += 1
            for link in kept[:]:
                with contextlib.suppress(BlockingIOError, OSError):
                    if link.recv(4096) == b"":
                        link.close()
                        kept.remove(link)
            time.sleep(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield opened
    finally:
        stop.set()
        thread.join()
        for link in kept:
            link.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def started(box) -> str:
    """Return since when the edge's containers run, and how often they came back."""
    if box.name == "nb-host":
        return box.inside("systemctl show -P MainPID nginx")
    return box.inside("docker inspect -f '{{.Name}} {{.State.StartedAt}} {{.RestartCount}}' "
                      "$(docker ps -aq --filter label=com.docker.compose.project=quayside-edge)")


@pytest.mark.parametrize("port", [80, 443])
def test_half_sent_requests_of_one_address_leave_the_site_to_others(box, visitor, port):
    """Findings 15 and 24: one client holds thousands of requests whose headers never end."""
    before = started(box)
    with flood(box, MOST, port, HALF) as opened:
        wait(lambda: opened[0] >= MOST, 10)
        seen = visitors(box, visitor, SECONDS)
    assert opened[0] >= 200
    assert len(seen) >= 10
    bad = [status for _began, status in seen if status != 200]
    assert bad == [], f"{len(bad)} of {len(seen)} visitors: {bad[:5]}; {opened[0]} connections were opened"
    assert started(box) == before


def closed_after(box) -> dict:
    """Return after how many seconds the edge closed a connection that says nothing, one with half a header and one with half a body; None after 75."""
    links = {label: box.connect(tls=False) for label in ("silent", "half", "body")}
    links["half"].sendall(HALF)
    links["body"].sendall(b"POST /hello/ HTTP/1.1\r\nHost: victim.test\r\nContent-Length: 100000\r\n\r\nx")
    began, ended = time.monotonic(), dict.fromkeys(links)
    while time.monotonic() - began < 75 and None in ended.values():
        for label, link in links.items():
            if ended[label] is None:
                link.settimeout(0.2)
                try:
                    if link.recv(65536) == b"":
                        ended[label] = time.monotonic() - began
                except TimeoutError:
                    pass
                except OSError:
                    ended[label] = time.monotonic() - began
    for link in links.values():
        link.close()
    return ended


@pytest.mark.on("nb-host", "nb-nginx")
def test_connections_that_say_nothing_are_closed_soon(box):
    """Findings 15 and 24: the time for headers, and that for a body, are short."""
    ended = closed_after(box)
    assert None not in ended.values(), ended
    assert ended["half"] <= 35, ended


@pytest.mark.on("nb-traefik")
def test_traefik_closes_a_request_that_does_not_end(box):
    """Finding 24: Traefik has one time for a whole request, its body too; it is made short here. Until then their number is limited, as seen above."""
    path, restart = "/opt/quayside/edge/traefik/traefik.yml", "cd /opt/quayside/edge && docker compose restart traefik 2>&1"
    text = box.inside(f"cat {path}")
    assert text.count('readTimeout: "300s"') == 2
    box.write(path, text.replace('readTimeout: "300s"', 'readTimeout: "20s"') + "\n")
    try:
        box.inside(restart)
        box.until_well()
        ended = closed_after(box)
    finally:
        box.write(path, text + "\n")
        box.inside(restart)
    assert None not in ended.values() and max(ended.values()) <= 35, ended


@pytest.mark.parametrize("count", [40])
def test_slow_bodies_leave_the_app_to_others(box, visitor, count):
    """Finding 24: POSTs that send a byte now and then, more of them than the app has threads."""
    links, stop, dripped = [], threading.Event(), threading.Event()
    for _number in range(count):
        with contextlib.suppress(OSError):
            link = box.connect()
            link.sendall(b"POST /hello/ HTTP/1.1\r\nHost: victim.test\r\nContent-Length: 100000\r\nContent-Type: text/plain\r\n\r\n")
            links.append(link)

    def drip():
        while not stop.wait(1):
            for link in links:
                with contextlib.suppress(OSError):
                    link.sendall(b"x")
            dripped.set()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert dripped.wait(20), "every connection has sent a byte of its body"
        seen = visitors(box, visitor, 12)
    finally:
        stop.set()
        thread.join()
        for link in links:
            link.close()
    bad = [status for _began, status in seen if status != 200]
    assert bad == [], f"{len(bad)} of {len(seen)} visitors: {bad[:5]}"


def test_output_of_one_app_leaves_the_log_of_the_host(box):
    """Finding 27: 300 MB in 40 seconds at most, into a journal of 64 MB."""
    mark = f"kept-{time.time():.0f}"
    box.inside(f"logger -t sudo -p auth.notice 'deploy : {mark}'; logger -t sshd -p auth.info '{mark}'; journalctl --sync")
    source = """
import os, time
end, line, sent = time.time() + 40, b"flood " + b"x" * 8000 + b"\\n", 0
while time.time() < end and sent < 300_000_000:
    sent += os.write(1, line)
"""
    for _again in range(2):
        box.run(source, how="loud")
    running = "pgrep -f '300_000_00[0]' >/dev/null && echo running; true"
    assert box.inside(running) == "running"
    box.server.until(lambda: box.inside(running) == "", 90, "the end of the flood")
    box.inside("journalctl --sync; journalctl --rotate", check=False)
    lines = box.inside(f"journalctl -b --no-pager -q -t sudo -t sshd | grep -c '{mark}'; true")
    assert lines == "2", "sshd's and sudo's lines are gone"
    assert box.inside("journalctl --no-pager -q -t hostile-web -n 5 | grep -c flood; journalctl --no-pager -q --namespace='*' -t hostile-web -n 5 "
                      "| grep -c flood; true").split() != ["0", "0"], "the flood has to have reached a log"


def test_many_processes_of_one_app_leave_the_host_to_others(box, visitor):
    """What held: 3000 forks at most, for 12 seconds, and two busy loops."""
    source = """
import os, time
end, made = time.time() + 12, 0
for _number in range(3000):
    try:
        if os.fork() == 0:
            if made < 2:
                while time.time() < end:
                    pass
            time.sleep(max(0, end - time.time()))
            os._exit(0)
        made += 1
    except OSError as error:
        print("refused at", made, error, flush=True)
        break
print("made", made, flush=True)
time.sleep(max(0, end - time.time()))
"""
    box.run(source, how="background")
    seen = visitors(box, visitor, 10)
    bad = [status for _began, status in seen if status != 200]
    assert bad == [], f"{len(bad)} of {len(seen)} visitors: {bad[:5]}"
