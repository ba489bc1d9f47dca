# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of an app: their names and interfaces, and how the containers of a release from before come into the second one."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_network, model
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from samples import RELEASE, loaded, written

HOST_MTU = docker_network.host_mtu


@pytest.fixture(autouse=True)
def usual_packets(monkeypatch):
    """The way out of the host takes packets of the usual size, whatever that of this machine does."""
    monkeypatch.setattr(docker_network, "host_mtu", lambda: 1500)


class Engine:
    """An engine with these networks and containers."""

    def __init__(self, networks=(), containers=(), up=True, taken=()):
        self.networks, self.containers, self.up, self.posted = {one["Name"]: one for one in networks}, list(containers), up, []
        self.taken, self.deleted = taken, []

    def get(self, path, **_query):
        if not self.up:
            raise EngineError(0, "no answer")
        if path == "/containers/json":
            return self.containers
        if path == "/_ping":
            return "OK"
        name = path.rsplit("/", 1)[1]
        if name in self.networks:
            return self.networks[name]
        raise EngineError(404, "no such network")

    def post(self, path, body=None, **_query):
        self.posted.append((path, body))
        if path == "/networks/create":
            asked = body.get("IPAM", {}).get("Config", [{}])[0]
            if asked.get("Subnet") in self.taken:
                raise EngineError(403, "Pool overlaps with other one on this address space")
            self.networks[body["Name"]] = {**body, "IPAM": {"Config": [asked or CHOSEN]}}

    def delete(self, path, **_query):
        self.deleted.append(path)
        del self.networks[path.rpartition("/")[2]]


def container(process, *networks, release=RELEASE):
    """Return a container as the engine lists it."""
    return {"Names": [f"/pos-{release}-{process}-1"], "Labels": {"quayside.process": process, "quayside.release": release},
            "NetworkSettings": {"Networks": dict.fromkeys(networks, {})}}


def app():
    """Return an app in containers with a server and a worker."""
    return loaded(runtime="compose", processes=[{"name": "web", "command": "gunicorn pos.wsgi"}, {"name": "worker", "command": "celery -A pos worker"}])


@pytest.mark.parametrize("name", ["pos", "edge-pos", "a" * 24, "edge-" + "a" * 24])
def test_an_interface_is_one_of_dockers_to_the_firewall_and_never_one_of_its_own_names(name):
    found = docker_network.bridge(name)
    assert found.startswith("br-q")
    assert len(found) <= 15
    assert found == docker_network.bridge(name) != docker_network.bridge(name + "x")


@pytest.mark.parametrize(("known", "interface"), [
    ([], docker_network.bridge("pos")),
    ([{"Name": "pos", "Id": "0123456789abcdef", "Options": {}}], "br-0123456789ab"),
    ([{"Name": "pos", "Id": "0123456789abcdef", "Options": None}], "br-0123456789ab"),
    ([{"Name": "pos", "Id": "0123456789abcdef", "Options": {"com.docker.network.bridge.name": "br-qabc"}}], "br-qabc"),
])
def test_the_interface_of_a_network_is_known_before_and_after_it_is_made(known, interface):
    assert docker_network.interface(Engine(known), "pos") == interface


def test_a_network_is_made_once_and_an_engine_that_is_down_is_no_missing_network():
    engine = Engine([{"Name": "pos", "Id": "0" * 12}])
    assert docker_network.missing(app(), engine) == ["edge-pos"]
    with pytest.raises(EngineError):
        docker_network.missing(app(), Engine(up=False))


CHOSEN = {"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1"}
OURS = {**CHOSEN, "IPRange": "172.20.128.0/17"}


def test_a_network_is_made_with_the_subnet_that_the_engine_chooses_and_takes_addresses_of_ours(tmp_path):
    engine, one = Engine(), dict(app(), root=str(tmp_path))
    docker_network.make(one, "edge-pos", engine)
    made = engine.networks["edge-pos"]
    assert made["IPAM"] == {"Config": [OURS]}
    assert made["Labels"] == {"quayside.app": "pos"}
    assert made["Options"] == {"com.docker.network.bridge.name": docker_network.bridge("edge-pos")}
    assert engine.deleted == ["/networks/edge-pos"]
    assert docker_network.subnets(one, engine) == {"default": "", "edge": "172.20.0.0/16"}


def remembering(tmp_path, **fields):
    """Return an app whose network was made before."""
    one = dict(app(), root=str(tmp_path), **fields)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/supervisor.json").write_text(json.dumps({"networks": [docker_network.body(one, "edge-pos", "172.30.0.0/24")]}))
    return one


def test_a_network_that_somebody_removed_gets_the_subnet_that_the_containers_know(tmp_path):
    engine, one = Engine(), remembering(tmp_path)
    assert docker_network.bodies(one, engine)[1]["IPAM"]["Config"][0]["Subnet"] == "172.30.0.0/24"
    docker_network.make(one, "edge-pos", engine)
    assert docker_network.subnets(one, engine)["edge"] == "172.30.0.0/24"
    assert docker_network.bodies(one, engine)[1] == docker_network.body(one, "edge-pos", "172.30.0.0/24")


def test_a_subnet_that_somebody_else_has_by_now_is_given_up(tmp_path):
    engine, one = Engine(taken={"172.30.0.0/24"}), remembering(tmp_path)
    docker_network.make(one, "edge-pos", engine)
    assert docker_network.subnets(one, engine)["edge"] == "172.20.0.0/16"


def test_an_engine_that_is_down_keeps_what_is_remembered(tmp_path):
    one = remembering(tmp_path)
    assert docker_network.bodies(one, Engine(up=False)) == [docker_network.body(one, "pos"), docker_network.body(one, "edge-pos", "172.30.0.0/24")]


@pytest.mark.parametrize(("subnet", "start", "busy", "kept", "chosen"), [
    ("172.20.0.0/24", 0, set(), set(), ["172.20.0.8", "172.20.0.9"]),
    ("172.20.0.0/24", 119, set(), set(), ["172.20.0.127", "172.20.0.8"]),  # never one of the half that Docker gives away
    ("172.20.0.0/24", 0, {"172.20.0.8"}, {"172.20.0.9", "172.20.0.10"}, ["172.20.0.11", "172.20.0.12"]),
    ("172.20.0.0/27", 0, set(), {f"172.20.0.{number}" for number in range(8, 16)}, ["172.20.0.8", "172.20.0.9"]),
    ("172.20.0.0/27", 0, {f"172.20.0.{number}" for number in range(8, 15)}, set(), ["172.20.0.15"]),
    ("172.20.0.0/28", 0, set(), set(), []),
])
def test_servers_have_addresses_of_their_own_in_the_lower_half(subnet, start, busy, kept, chosen):
    assert list(docker_network.choose(["web", "api"], subnet, start, busy, kept).values()) == chosen


@pytest.mark.parametrize(("subnet", "address"), [("", ""), ("172.20.0.0/16", "172.20.0.3"), ("172.20.0.0/28", "")])
def test_a_service_has_the_same_number_in_each_subnet(subnet, address):
    assert docker_network.service(subnet, "redis") == address


def test_what_takes_requests_in_a_release_of_before_is_put_beside_the_edge_under_the_names_that_it_knows():
    engine = Engine(containers=[container("web", "pos"), container("worker", "pos"), container("web", "pos", "edge-pos", release="new"),
                                container("web", "edge-pos", release="front")])
    assert docker_network.join(app(), engine) == [f"pos-{RELEASE}-web-1"]
    assert engine.posted == [("/networks/edge-pos/connect", {
        "Container": f"pos-{RELEASE}-web-1", "EndpointConfig": {"Aliases": [f"web-{RELEASE}", f"web-{RELEASE}.pos"]}})]


@pytest.mark.parametrize(("apps", "words"), [
    ([{"name": "shop"}, {"name": "edge-shop"}], "network edge-shop is also that of app"),
    ([{"name": "shop"}, {"name": "pos", "network": "edge-shop"}], "network edge-shop is also that of app"),
    ([{"name": "shop", "network": "edge-shop"}], "take another name for that of its data"),
])
def test_a_network_that_another_one_has_is_refused(apps, words):
    full = [written(runtime="compose", edge="nginx_container", domains=[f"{one['name']}.example.com"], **one) for one in apps]
    with pytest.raises(model.ModelError, match=words):
        model.load(full)


@pytest.mark.parametrize(("routes", "interface"), [
    ("eth0\t00000000\t0100000A\neth0\t0000000A\t00000000", "eth0"), ("eth1\t0000000A\t00000000\neth0\t00000000\t0100000A", "eth0"),
    ("eth1\t0000000A\t00000000", ""), ("", "")])
def test_the_way_out_is_the_interface_of_the_route_to_everywhere(routes, interface):
    assert docker_network.way_out(f"Iface\tDestination\tGateway\n{routes}") == interface


@pytest.mark.parametrize("interface", ["lo", "none", ""])
def test_the_kernel_says_how_large_its_packets_are(monkeypatch, interface):
    monkeypatch.setattr(docker_network.contained, "text", lambda _path: f"Iface\tDestination\tGateway\n{interface}\t00000000\t0100000A\n")
    assert HOST_MTU() == (int(Path("/sys/class/net/lo/mtu").read_text()) if interface == "lo" else 1500)


@pytest.mark.parametrize(("largest", "given"), [(1500, None), (9001, None), (1450, "1450")])
def test_a_network_has_no_larger_packets_than_the_host(monkeypatch, largest, given):
    monkeypatch.setattr(docker_network, "host_mtu", lambda: largest)
    engine = Engine()
    docker_network.make(app(), "pos", engine)
    assert engine.posted[0][1]["Options"].get(docker_network.MTU) == given


@pytest.mark.parametrize(("largest", "options", "told"), [
    (1500, {}, 0), (1450, {}, 1), (1450, {docker_network.MTU: "1450"}, 0), (1450, {docker_network.MTU: "1500"}, 1), (1450, {docker_network.MTU: "1400"}, 0)])
def test_a_network_of_before_with_larger_packets_is_told(monkeypatch, largest, options, told):
    monkeypatch.setattr(docker_network, "host_mtu", lambda: largest)
    found = docker_network.too_large(app(), Engine([{"Name": "pos", "Options": options}, {"Name": "edge-pos", "Options": {docker_network.MTU: "1400"}}]))
    assert len(found) == told
    assert all("docker network rm pos" in text for text in found)
