# SPDX-License-Identifier: GPL-3.0-or-later
"""A neighbour, by a private and by a public address, reaches the declared ports and nothing else, whatever happens to the host."""
import threading
import time

import pytest
from conftest import CONTAINERS, DECLARED, SIX, enable_six


def page(host, where, inside=""):
    """Return what a web server says to the host, or to a container, or an empty string."""
    command = f"curl -s -m 2 http://{where}/hostname" if not inside else f"docker exec {inside} /bin/busybox wget -q -T 2 -O - http://{where}/hostname"
    return host.inside(command, check=False)


def test_without_the_chain_the_neighbour_gets_in(host, neighbour):
    """What the other tests see closed is open without it: they would notice."""
    host.inside("quayside-docker-firewall remove")
    try:
        seen = neighbour.view()
    finally:
        host.inside("quayside-docker-firewall apply")
    assert {8082, 8086} <= seen["private"]
    assert {"loopback", "inner", "one"} <= seen["private, routed"]
    assert seen["wire"] == {8083, 8084, 20001}
    assert seen["IPv6, routed"] == {80}


def test_only_the_declared_ports_answer(neighbour):
    assert neighbour.view() == DECLARED


@pytest.mark.proves("0.40", "1.37", "1.39")
def test_a_scan_of_all_ports_finds_the_declared_ones(host, neighbour):
    assert neighbour.open("private", range(1, 65536)) == DECLARED["private"]
    assert neighbour.open("public", range(1, 65536)) == DECLARED["public"]


def test_the_host_and_the_containers_work(host, neighbour):
    names = host.inside("docker inspect -f '{{.Config.Hostname}}' one two").splitlines()
    addresses = neighbour.addresses()
    assert page(host, "127.0.0.1:20001") == names[0]
    assert page(host, f"{addresses['two']}:8000") == names[1]
    assert page(host, "one:8000", inside="two") == names[0]
    assert "200 OK" in host.inside("docker exec two /bin/busybox wget -S -q -O /dev/null http://deb.debian.org/debian/dists/trixie/InRelease 2>&1")


def test_a_network_is_closed_to_the_other(host, neighbour):
    addresses = neighbour.addresses()
    assert [page(host, f"{addresses[name]}:8000", inside="other") for name in ("one", "two")] == ["", ""]


@pytest.mark.parametrize("event", [
    "ufw reload && ufw reload",
    "systemctl restart docker",
    "ufw disable && ufw --force enable",
    "docker network create third && docker network rm third",
    "systemctl stop docker docker.socket && ufw reload && systemctl start docker",
    "docker restart -t 0 declared loopback one",
])
def test_it_holds_through(host, neighbour, event):
    host.inside(event)
    host.until(lambda: page(host, "127.0.0.1:20001"), 20, "the container")
    assert neighbour.view() == DECLARED


def test_it_holds_while_ufw_is_off(host, neighbour):
    host.inside("ufw disable")
    try:
        seen = neighbour.view()
    finally:
        host.inside("ufw --force enable")
    # What listens on the host itself is open then, and for IPv6 that is Docker's proxy.
    assert {name: ports for name, ports in seen.items() if name != "IPv6"} == {name: ports for name, ports in DECLARED.items() if name != "IPv6"}


@pytest.mark.parametrize("how", [("reboot",), ("cut", "on")], ids=["reboot", "power loss"])
def test_it_holds_from_the_first_moment_after(host, neighbour, how):
    seen, over = set(), threading.Event()

    def look():
        while not over.is_set():
            seen.update(neighbour.open("private", *range(8080, 8087), 20001, seconds=0.3))
            time.sleep(0.1)

    looker = threading.Thread(target=look)
    looker.start()
    for verb in how:
        host.power(verb)
    host.until(lambda: page(host, "127.0.0.1:20001"), 60, "the container")
    over.set()
    looker.join()
    enable_six(host, SIX[0])
    neighbour.routes()
    assert seen <= {8080}
    assert neighbour.view() == DECLARED
    assert len(host.inside("docker ps -q").split()) == len(CONTAINERS)


def test_rules_that_somebody_flushed_come_back(host, neighbour):
    host.inside("iptables -F quayside-docker; ip6tables -F DOCKER-USER")
    run = host.play("site")
    assert run.count("changed") == 1
    assert neighbour.view() == DECLARED


def test_rules_of_others_in_dockers_chain_stay(host, neighbour):
    rule = "-s 192.0.2.9/32 -j DROP"
    host.inside(f"iptables -I DOCKER-USER {rule}")
    try:
        host.play("site")
        assert host.inside("iptables -S DOCKER-USER").splitlines()[1:3] == ["-A DOCKER-USER -j quayside-docker", f"-A DOCKER-USER {rule}"]
    finally:
        host.inside(f"iptables -D DOCKER-USER {rule}")
    assert neighbour.view() == DECLARED


def test_a_port_that_is_declared_later_opens_and_closes_again(host, neighbour):
    host.play("site", "-e", '{"docker_published_ports": ["8080", "8082"]}')
    assert neighbour.open("private", *range(8080, 8087)) == {8080, 8082}
    host.play("site")
    assert neighbour.view() == DECLARED


ANSWER_UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 9))
while True:
    server.sendto(b"here", server.recvfrom(9)[1])
"""
ASK_UDP = """
import socket, sys
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(2)
asker.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
try:
    print(asker.recv(9).decode().strip())
except OSError:
    print("nothing")
"""


def test_udp_is_declared_apart(host, neighbour):
    python = "-v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro --entrypoint /usr/bin/python3 tiny:1"
    for port in (8090, 8091):
        host.inside(f"docker run -d --init --name udp{port} -p {port}:9/udp {python} -c '{ANSWER_UDP}'")
    time.sleep(2)
    try:
        answers = [neighbour.server.inside(f"python3 -c '{ASK_UDP}' {host.address} {port}") for port in (8090, 8091)]
    finally:
        host.inside("docker rm -f udp8090 udp8091")
    assert answers == ["here", "nothing"]


def test_another_tools_block_in_ufw_is_refused(host):
    host.inside("cp -a /etc/ufw/after.rules /srv/ && printf '*filter\\n:DOCKER-USER - [0:0]\\nCOMMIT\\n' >> /etc/ufw/after.rules")
    try:
        run = host.play("site", ok=False)
    finally:
        host.inside("mv /srv/after.rules /etc/ufw/")
    assert run.rc != 0
    assert "would empty it at each `ufw reload`" in " ".join(run.out.split())
