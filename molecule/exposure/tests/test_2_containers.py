# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with an app in containers, asked by a stranger too, from a private and from a public address."""
import pytest
from conftest import after, firewall, judged, listening

IMAGE = "python:3.12-slim"
STRAY = f"docker run -d --init --name stray -p 8081:80 {IMAGE} python3 -m http.server 80"
EXPECTED = [80, 443, 7822]


@pytest.fixture(scope="module", autouse=True)
def image(boxes):
    boxes.inside(f"docker pull -q {IMAGE}")


@pytest.mark.proves("0.40", "1.37", "1.39")
def test_the_declared_ports_answer_and_no_others_with_the_app_up(boxes, stranger):
    run, said = judged(boxes, exposure_from=["ex12"])
    assert run.count("changed") == 0
    six = boxes.local["lab_addresses6"][boxes.name]
    for road in (f"at {boxes.address} from the controller", f"at {six} from the controller", f"at {boxes.address} from ex12 ({stranger.private})",
                 f"at {boxes.address} from ex12 ({stranger.public})", f"at {six} from ex12"):
        assert f"{road}" in said, road
    assert said.count("tcp 80 443 7822") == 5


@pytest.mark.proves("0.40")
def test_a_scan_of_all_ports_by_the_stranger_finds_the_declared_ones(boxes, stranger):
    # 130,000 questions in a few seconds: one packet that is lost is no finding, so the declared ports are asked once more by themselves.
    extra = [found - set(EXPECTED) for found in stranger.open(boxes.address, range(1, 65536))]
    assert extra == [set()] * 2
    assert stranger.open(boxes.address, *EXPECTED) == [set(EXPECTED)] * 2


@pytest.mark.proves("1.18")
def test_a_published_port_that_nobody_declared_is_closed(boxes, stranger):
    with after(boxes, STRAY, "docker rm -f stray"):
        boxes.until(lambda: boxes.inside("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8081/", check=False) == "200", 30, "the container")
        judged(boxes, exposure_from=["ex12"])
        assert stranger.open(boxes.address, 8081) == [set(), set()]


@pytest.mark.proves("1.18")
def test_without_the_chain_it_is_found_and_the_container_is_named(boxes, stranger):
    with after(boxes, STRAY, "docker rm -f stray"), after(boxes, "quayside-docker-firewall remove", "quayside-docker-firewall apply"):
        boxes.until(lambda: stranger.open(boxes.address, 8081) == [{8081}, {8081}], 30, "the hole")
        run, said = judged(boxes, ok=False, exposure_from=["ex12"])
    assert run.rc != 0
    assert "extra: tcp 8081: it answers, and nobody declared it; the container stray publishes it" in said
    assert "-p 127.0.0.1:8081:…" in said
    assert 'docker_published_ports: ["8081"]' in said
    assert "open: the firewall of containers: the chain that closes their ports is not in force" in said


@pytest.mark.proves("1.18")
def test_a_containers_own_address_is_closed_to_who_routes_to_it(boxes, stranger, web):
    """The second way round UFW: a neighbour that sends packets for the container's network to the host."""
    lines = boxes.inside("docker ps -q | xargs docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'").split()
    assert lines
    subnets = {address.rpartition(".")[0] + ".0/24" for address in lines}
    for subnet in subnets:
        web.inside(f"ip route replace {subnet} via {boxes.address}")
    try:
        assert {address: stranger.open(address, 80, 443, 8000, 8080, 5432, 6379) for address in lines} == {address: [set(), set()] for address in lines}
        with after(boxes, "quayside-docker-firewall remove", "quayside-docker-firewall apply"):
            assert any(stranger.open(address, 80)[0] for address in lines), "the test would not notice"
    finally:
        for subnet in subnets:
            web.inside(f"ip route del {subnet}")


def test_a_stopped_edge_is_missing(boxes):
    name = boxes.inside("docker ps --format '{{.Names}}' | grep traefik")
    with after(boxes, f"docker stop {name}", f"docker start {name}"):
        run, said = judged(boxes, ok=False)
    assert run.rc != 0
    for port in (80, 443):
        assert f"missing: tcp {port}: nothing listens there" in said
    boxes.until(lambda: boxes.get("/healthz/", tls=True)[0] == 200, 30, "the edge")


@pytest.mark.proves("2.54")
def test_a_rule_for_some_is_judged_for_each_who_asks(boxes, stranger):
    rules = [{"port": [9300], "from": [stranger.private], "comment": "the metrics"}]
    declared = {"base_firewall_extra_rules": rules, "exposure_from": ["ex12"]}
    with listening(boxes, 9300):
        firewall(boxes, base_firewall_extra_rules=rules)
        try:
            assert stranger.open(boxes.address, 9300) == [{9300}, set()]
            _run, said = judged(boxes, **declared)
            assert f"from ex12 ({stranger.private}): tcp 80 443 7822 9300" in said
            assert f"from ex12 ({stranger.public}): tcp 80 443 7822" in said
            with after(boxes, "iptables -I INPUT -p tcp --dport 9300 -j ACCEPT", "iptables -D INPUT -p tcp --dport 9300 -j ACCEPT"):
                run, said = judged(boxes, ok=False, **declared)
            assert run.rc != 0
            finding = said.partition("extra: tcp 9300")[2].partition("Next")[0]
            assert f"it answers, and only {stranger.private} may ask" in finding
            assert f"from ex12 ({stranger.public})" in finding
            assert "from the controller" in finding
            assert f"from ex12 ({stranger.private})" not in finding
        finally:
            firewall(boxes)


@pytest.mark.proves("2.54")
def test_ssh_is_for_the_declared_addresses_alone(boxes, stranger):
    controller = boxes.address.rpartition(".")[0] + ".1"
    allow = {"base_ssh_allow": [controller, boxes.local["lab_addresses6"][boxes.name].partition("::")[0] + "::1"]}
    firewall(boxes, **allow)
    try:
        assert stranger.open(boxes.address, 22, 80, 7822) == [{80}, {80}]
        run, said = judged(boxes, exposure_from=["ex12"], **allow)
        assert run.count("changed") == 0
        assert f"from ex12 ({stranger.public}): tcp 80 443" in said
    finally:
        firewall(boxes)
    assert stranger.open(boxes.address, 7822) == [{7822}, {7822}]
