# SPDX-License-Identifier: GPL-3.0-or-later
"""Which private addresses an app reaches: what is closed, what the model opens, and which variables lead to what is closed."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_firewall, model, outbound, units
from samples import SECRETS, loaded, written


@pytest.mark.parametrize(("address", "closed"), [
    ("169.254.169.254", True), ("169.254.170.2", True), ("168.63.129.16", True), ("100.100.100.200", True), ("10.0.0.1", True), ("172.16.0.1", True),
    ("172.31.255.255", True), ("172.32.0.1", False), ("192.168.1.1", True), ("100.63.255.255", False), ("192.0.0.192", True), ("8.8.8.8", False),
    ("168.63.129.17", False), ("fd00:ec2::254", True), ("fe80::1", True), ("2001:4860:4860::8888", False), ("::ffff:10.0.0.1", True),
    ("::ffff:8.8.8.8", False),
])
def test_what_is_closed(address, closed):
    assert outbound.is_closed(address) is closed


@pytest.mark.parametrize(("value", "hosts"), [
    ("postgresql://u:p%40ss@10.0.0.5:5432/x", ["10.0.0.5"]), ("postgresql://u:p@ss@10.0.0.5/x", ["10.0.0.5"]), ("redis://10.0.0.6", ["10.0.0.6"]),
    ("postgresql://u:p@[fd00::5]:5432/x", ["fd00::5"]), ("postgresql://u:p@a.internal:1,b.internal:2/x", ["a.internal", "b.internal"]),
    ("postgresql://u:p@%2Frun%2Fpostgresql:5432/x", []), ("https://api.example.com/x?y=http://10.0.0.1", ["api.example.com"]),
    ("unix:///run/x.sock", []), ("sqlite:////opt/x", []), ("just words", []), ("", []), ("http://localhost:8000", []),
])
def test_hosts_are_found_in_urls(value, hosts):
    assert [one["host"] for one in outbound.hosts({"DATABASE_URL": value})] == hosts


@pytest.mark.parametrize(("name", "found"), [("EMAIL_HOST", True), ("HOST", True), ("LDAP_SERVER", True), ("GREETING", False), ("HOSTS", False)])
def test_a_variable_that_is_called_a_host_names_one(name, found):
    assert bool(outbound.hosts({name: "10.0.0.9"})) is found


@pytest.mark.parametrize(("private", "words"), [
    ([], "DATABASE_URL leads to 10.0.0.5, a private address, and those are closed to the app: open it by outbound: {private: [10.0.0.5/32]}"),
    (["192.168.0.0/16"], "[192.168.0.0/16, 10.0.0.5/32]"), (["10.0.0.5"], ""), (["10.0.0.0/8"], ""), (["0.0.0.0/0"], ""),
    (["10.0.0.5/8"], "'10.0.0.5/8' is no network"), (["office"], "'office' is no network"),
])
def test_a_variable_that_leads_to_a_closed_address_is_refused_before_anything_changes(private, words):
    app = written(database={"engine": "external"}, outbound={"private": private}, secrets={**SECRETS, "DATABASE_URL": "postgresql://u:p@10.0.0.5:5432/x"})
    if not words:
        model.load([app])
        return
    with pytest.raises(model.ModelError) as error:
        model.load([app])
    assert words in str(error.value)


def test_no_password_of_a_url_is_in_the_public_app():
    app = loaded(database={"engine": "external"}, secrets={**SECRETS, "DATABASE_URL": "postgresql://u:verysecret@db.example.com:5432/x"})
    assert model.public(app)["outbound"]["hosts"] == [{"variable": "DATABASE_URL", "host": "db.example.com"}]


@pytest.mark.parametrize(("addresses", "refused"), [
    (["10.0.0.5"], True), (["10.0.0.5", "203.0.113.5"], False), ([], False), (["203.0.113.5"], False), (["fd00::5"], True), (["127.0.0.1"], False),
])
def test_a_name_is_judged_by_the_host_that_knows_it(addresses, refused):
    app = loaded(secrets={**SECRETS, "API_URL": "https://api.internal/"})
    found = outbound.unreachable(app, lambda _name: addresses)
    assert bool(found) is refused
    if refused:
        assert "app pos: API_URL leads to api.internal" in found[0]


def test_resolvers_of_the_host_in_closed_networks_stay_open(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver 8.8.8.8\nnameserver fe80::1%eth0\nnameserver\nnameserver x\nsearch y\n")
    assert outbound.resolvers([str(path), str(tmp_path / "none")]) == ["10.0.0.2", "fe80::1"]


def test_a_unit_reaches_its_host_the_internet_and_what_is_opened():
    app = loaded(outbound={"private": ["10.1.0.0/16"]})
    assert outbound.directives(app, ["10.0.0.2"]) == ["IPAddressAllow=localhost 10.1.0.0/16 10.0.0.2", f"IPAddressDeny={' '.join(outbound.CLOSED)}"]
    assert any(line.startswith("IPAddressDeny=10.0.0.0/8") for line in units.sandbox(app, []))


def chain(family, opened=(), resolvers=()):
    """Return the lines of the Docker firewall for one bridge."""
    text = docker_firewall.text([], ["br-+"], family, opened, resolvers)
    return [line.removeprefix("-A quayside-docker ") for line in text.splitlines() if line.startswith("-A")]


def test_containers_reach_no_private_network_but_those_that_are_opened():
    app = loaded(runtime="compose", outbound={"private": ["10.1.0.0/16", "fd00:1::/32"]})
    four = chain(4, outbound.rules(app, ["br-qa"]), ["10.0.0.2"])
    six = chain(6, outbound.rules(app, ["br-qa"]), ["10.0.0.2"])
    assert four[:6] == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN", "-i br-qa -d 10.1.0.0/16 -j RETURN", "-i br-+ -o br-+ -j RETURN",
        "-i br-+ -d 10.0.0.2 -p udp --dport 53 -j RETURN", "-i br-+ -d 10.0.0.2 -p tcp --dport 53 -j RETURN", "-i br-+ -d 10.0.0.0/8 -j REJECT"]
    assert six[:5] == ["-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN", "-i br-qa -d fd00:1::/32 -j RETURN", "-i br-+ -o br-+ -j RETURN",
                       "-i br-+ -d fc00::/7 -j REJECT", "-i br-+ -d fe80::/10 -j REJECT"]
    for lines in (four, six):
        assert max(number for number, line in enumerate(lines) if "REJECT" in line) < lines.index("-i br-+ -j RETURN")
    assert {line.split()[3] for line in four if "REJECT" in line} | {line.split()[3] for line in six if "REJECT" in line} == set(outbound.CLOSED)


@pytest.mark.parametrize(("name", "found"), [
    ("http://10.0.0.3:5001", [{"to": "10.0.0.3/32", "port": "5001"}]), ("10.0.0.3:5000", [{"to": "10.0.0.3/32", "port": "5000"}]),
    ("https://registry.internal", [{"to": "10.0.0.9/32", "port": "443"}]), ("http://registry.internal/", [{"to": "10.0.0.9/32", "port": "80"}]),
    ("[fd00::3]:5000", [{"to": "fd00::3/128", "port": "5000"}]), ("203.0.113.7:5000", []), ("", []), ("/", []),
])
def test_builders_reach_the_registries_that_are_declared_and_no_other_port_of_theirs(name, found):
    assert outbound.registries([name], lambda _name: ["10.0.0.9", "203.0.113.7"]) == found
    assert all("-p tcp --dport" in line for line in chain(4, [dict(one, interface="br-qb") for one in found]) if line.startswith("-i br-qb"))
