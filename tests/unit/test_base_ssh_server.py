# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import ssh_server
from ansible_collections.quayside.django.plugins.module_utils.ssh_server import HEAD, INCLUDE, MAIN, OWN, SOCKET

CLOUD = ssh_server.FOLDER + "/50-cloud-init.conf"
STOCK = "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"


def wanted(step, files, ports, listening, settings=None, socket_file=False):
    return ssh_server.wanted(files, step, ports, listening, settings or {}, {}, socket_file)


def test_open_adds_the_new_port_and_closes_nothing():
    files = {MAIN: STOCK, OWN: HEAD + "Port 22\nPermitRootLogin no\n"}
    assert wanted("open", files, [7822], [22], {"PasswordAuthentication": False}) == {
        MAIN: STOCK, OWN: HEAD + "Port 7822\nPort 22\nPermitRootLogin no\n",
    }


def test_open_keeps_the_port_that_no_file_names():
    assert wanted("open", {MAIN: STOCK}, [7822], [22])[OWN] == HEAD + "Port 7822\nPort 22\n"


def test_open_does_not_bind_a_port_twice():
    assert wanted("open", {MAIN: STOCK + "Port 22\n"}, [7822], [22])[OWN] == HEAD + "Port 7822\n"


def test_close_leaves_the_declared_port_only():
    files = {MAIN: STOCK + "Port 22\n", CLOUD: "PasswordAuthentication yes\nListenAddress 0.0.0.0:2222\n"}
    result = wanted("close", files, [7822], [22, 7822], {"PermitRootLogin": "no", "PasswordAuthentication": False})
    assert result == {
        MAIN: STOCK + "# quayside.django sets the port: Port 22\n",
        CLOUD: "PasswordAuthentication yes\n# quayside.django sets the port: ListenAddress 0.0.0.0:2222\n",
        OWN: HEAD + "Port 7822\nPermitRootLogin no\nPasswordAuthentication no\n",
    }


def test_close_again_changes_nothing():
    files = {MAIN: STOCK, OWN: HEAD + "Port 7822\nPermitRootLogin no\n"}
    assert wanted("close", files, [7822], [7822], {"PermitRootLogin": "no"}) == files


@pytest.mark.parametrize(("step", "lines"), [("open", "ListenStream=7822\nListenStream=22\n"), ("close", "ListenStream=7822\n")])
def test_the_socket_moves_too(step, lines):
    assert wanted(step, {MAIN: STOCK}, [7822], [22], socket_file=True)[SOCKET] == HEAD + "[Socket]\nListenStream=\n" + lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STOCK, STOCK),
        ("UsePAM yes\n", INCLUDE + "\nUsePAM yes\n"),
        # sshd takes the first value: an Include that comes late decides nothing.
        ("Port 22\n" + INCLUDE + "\n", INCLUDE + "\nPort 22\n" + INCLUDE + "\n"),
        ("", INCLUDE + "\n"),
    ],
)
def test_with_include(text, expected):
    assert ssh_server.with_include(text) == expected


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("Port 22", 22), ("  port=2222 # why", 2222), ("#Port 22", None), ("Portal 22", None), ("ListenAddress 10.0.0.1:2200", 2200),
        ("ListenAddress [::1]:2200", 2200), ("ListenAddress 10.0.0.1", None), ("ListenAddress ::1", None),
    ],
)
def test_port_in(line, port):
    assert ssh_server.port_in(line) == port


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"X11Forwarding": False, "MaxAuthTries": 4}, ["X11Forwarding no", "MaxAuthTries 4"]),
        ({"AllowUsers": ["a", "b"]}, ["AllowUsers a", "AllowUsers b"]),
        ({"Ciphers": ["new", "old"]}, ["Ciphers old"]),
        ({"Ciphers": ["new"]}, []),
        ({"Ciphers": "new,old"}, ["Ciphers new,old"]),
        ({"Banner": None}, []),
    ],
)
def test_lines_of(settings, lines):
    assert ssh_server.lines_of(settings, {"ciphers": {"old"}}) == lines


def test_listeners_and_whose_they_are():
    output = (
        'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=307,fd=6))\n'
        'LISTEN 0 4096 *:7822 *:* users:(("systemd",pid=1,fd=58))\n'
        'LISTEN 0 5 [::]:80 [::]:* users:(("nginx",pid=5,fd=6))\n'
    )
    programs = ssh_server.listeners(output)
    assert programs == {22: "sshd", 7822: "systemd", 80: "nginx"}
    assert ssh_server.own_ports(programs, {7822}, set()) == [22, 7822]
    assert ssh_server.own_ports(programs, set(), set()) == [22]


def test_listeners_without_ss():
    table = "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A 0\n   1: 0100007F:0016 0100007F:9999 01 0\n"
    assert ssh_server.tcp_listeners(table) == {22: ""}
    assert ssh_server.own_ports({22: "", 80: ""}, set(), {22}) == [22]


def test_socket_ports():
    assert ssh_server.socket_ports("Listen=[::]:22 (Stream)\nListen=0.0.0.0:7822 (Stream)\nActiveState=active\n") == {22, 7822}


# What ssh-audit 3.9 asks of Debian 12 (version 3) and Debian 13 (version 1), read there; the kex-strict and ext-info of its lists are sshd's own.
ASKED = {
    "Hardened Debian 12 (version 3)": {"kex-strict-s-v00@openssh.com"}, "Hardened Debian 13 (version 1)": {"kex-strict-s-v00@openssh.com", "ext-info-s"},
}
KNOWN_12 = set(ssh_server._SAFE_KEX[1:] + ssh_server._OLD_KEX) | {"ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"}
KNOWN_13 = KNOWN_12 | {"mlkem768x25519-sha256"}


@pytest.mark.parametrize(("policy", "known"), [("Hardened Debian 12 (version 3)", KNOWN_12), ("Hardened Debian 13 (version 1)", KNOWN_13)])
def test_the_lists_are_those_of_the_policies_in_their_order(policy, known):
    policies = pytest.importorskip("ssh_audit.builtin_policies").BUILTIN_POLICIES[policy]
    found = ssh_server.algorithms("strict", known)
    assert found["KexAlgorithms"] == [name for name in policies["kex"] if name not in ASKED[policy]]
    assert found["Ciphers"] == policies["ciphers"]
    assert found["MACs"] == policies["macs"]


def test_compatible_lets_older_clients_in():
    assert set(ssh_server.algorithms("compatible", KNOWN_13)["KexAlgorithms"]) == KNOWN_13 - {"ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"}


def test_the_distribution_may_keep_its_lists_and_keys():
    assert ssh_server.algorithms("distribution", KNOWN_13) == {}
    assert ssh_server.host_keys("distribution", 3072) == {}


@pytest.mark.parametrize(("bits", "path"), [(4096, ssh_server.RSA), (3072, ssh_server.OWN_RSA), (0, ssh_server.OWN_RSA)])
def test_a_key_of_rsa_that_is_large_enough_stays(bits, path):
    assert ssh_server.host_keys("strict", bits) == {"HostKey": [ssh_server.ED25519, path]}


def test_small_groups_are_left_out():
    text = "# Time Type Tests Tries Size Generator Modulus\n2020 2 6 100 2047 5 AB\n2020 2 6 100 3071 2 CD\n2020 2 6 100 4095 2 EF\n"
    assert ssh_server.large_moduli(text) == "2020 2 6 100 3071 2 CD\n2020 2 6 100 4095 2 EF\n"


def test_the_own_moduli_are_named():
    found = wanted("close", {MAIN: STOCK}, [22], [22])
    assert ssh_server.OWN_MODULI not in found
    found = ssh_server.wanted({MAIN: STOCK}, "close", [22], [22], {}, {}, False, "2020 2 6 100 3071 2 CD\n")
    assert "ModuliFile /etc/ssh/moduli.quayside\n" in found[OWN]
    assert found[ssh_server.OWN_MODULI] == "2020 2 6 100 3071 2 CD\n"


@pytest.mark.parametrize(("said", "version"), [("OpenSSH_9.2p1 Debian-2+deb12u6, OpenSSL 3.0.19", (9, 2)), ("OpenSSH_10.0p2 Debian-7", (10, 0)), ("", (0, 0))])
def test_version(said, version):
    assert ssh_server.version(said) == version


@pytest.mark.parametrize(("have", "keywords"), [((9, 2), ["macs", "HostKey"]), ((9, 8), ["macs", "HostKey", "PerSourcePenaltyExemptList"])])
def test_what_the_user_names_wins_and_what_a_server_is_too_old_for_is_left_out(have, keywords):
    more = {"MACs": ["a"], "HostKey": ["k"], "PerSourcePenaltyExemptList": "192.0.2.1"}
    found = ssh_server.completed({"macs": ["b"]}, more, have)
    assert sorted(found) == sorted(keywords)
    assert found["macs"] == ["b"]


SECOND = """\
LISTEN 0 128 0.0.0.0:22    0.0.0.0:* users:(("sshd",pid=812,fd=3))
LISTEN 0 128 [::]:22       [::]:*    users:(("sshd",pid=812,fd=4))
LISTEN 0 128 0.0.0.0:2222  0.0.0.0:* users:(("sshd",pid=990,fd=3))
LISTEN 0 128 127.0.0.1:9000 0.0.0.0:* users:(("sshd-session",pid=991,fd=9))
LISTEN 0 4096 *:80 *:*
"""


def test_the_process_behind_each_port():
    assert ssh_server.listener_pids(SECOND) == {22: 812, 2222: 990, 9000: 991}


@pytest.mark.parametrize(("cgroup", "other"), [
    ("0::/system.slice/ssh.service\n", False), ("0::/system.slice/sshd.service\n", False), ("0::/\n", False), ("0::/init.scope\n", False),
    ("12:pids:/system.slice/ssh.service\n0::/system.slice/ssh.service\n", False), ("", False),
    ("0::/system.slice/sftp-sshd.service\n", True), ("0::/user.slice/user-0.slice/session-4.scope\n", True), ("0::/system.slice/docker-ab.scope\n", True),
])
def test_a_process_of_another_unit(cgroup, other):
    assert ssh_server.of_another(cgroup) is other


def test_a_second_sshd_and_a_forwarded_port_are_not_the_servers_own():
    programs = ssh_server.listeners(SECOND)
    assert ssh_server.own_ports(programs, set(), set(), {2222, 9000}) == [22]
