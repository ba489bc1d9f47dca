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
