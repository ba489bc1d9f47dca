# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import ssh_session, way_in

OTHERS = ["root", "debian"]


@pytest.mark.parametrize(
    ("user", "port", "ports", "expected"),
    [
        ("deploy", 7822, [22], [("deploy", 7822), ("root", 7822), ("debian", 7822), ("root", 22), ("debian", 22), ("deploy", 22)]),
        ("deploy", 22, [22], [("deploy", 22), ("root", 22), ("debian", 22)]),
        ("root", 22, [22], [("root", 22), ("debian", 22)]),
        # ssh's own choice of port is 22 in nearly every case, and asking twice costs seconds.
        (None, None, [22], [(None, None), ("root", None), ("debian", None)]),
    ],
)
def test_candidates(user, port, ports, expected):
    assert way_in.candidates(user, port, OTHERS, ports) == expected


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("ssh: connect to host h port 22: Connection refused", way_in.SILENT),
        ("ssh: connect to host h port 22: Connection timed out", way_in.SILENT),
        ("ssh: Could not resolve hostname h: Name or service not known", way_in.SILENT),
        ("kex_exchange_identification: Connection closed by remote host", way_in.SILENT),
        ("System is booting up. Unprivileged users are not permitted to log in yet.", way_in.BOOTING),
        ("deploy@h: Permission denied (publickey).", way_in.DENIED),
        ("root@h: Too many authentication failures", way_in.DENIED),
        ("No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.", way_in.UNKNOWN),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", way_in.STRANGER),
    ],
)
def test_judge(text, verdict):
    assert way_in.judge(text) == verdict


def test_telling_keeps_the_line_that_says_why():
    text = (
        "Failed to connect to the host via ssh: Warning: Permanently added 'h' (ED25519) to the list of known hosts.\r\n"
        "debug1: no more authentication methods\r\ndeploy@h: Permission denied (publickey)."
    )
    assert way_in.telling(text) == "deploy@h: Permission denied (publickey)."


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("banner\nquayside-way-in 0 bare 10.0.0.1 5000 10.0.0.2 22\n",
         {"uid": 0, "sudo": False, "asks": False, "client": "10.0.0.1", "server": "10.0.0.2", "server_port": 22}),
        ("quayside-way-in 1000 sudo\n", {"uid": 1000, "sudo": True, "asks": False, "client": "", "server": "", "server_port": 0}),
        ("quayside-way-in 1000 asks\n", {"uid": 1000, "sudo": True, "asks": True, "client": "", "server": "", "server_port": 0}),
        ('Please login as the user "admin" rather than the user "root".\n', None),
        ("", None),
    ],
)
def test_parse(stdout, expected):
    assert way_in.parse(stdout) == expected


def test_command_asks_for_sudo_only_where_it_has_to():
    assert "why=$(sudo -n true" in way_in.command(True)
    assert "why=$(sudo -n true" not in way_in.command(False)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([("deploy", 7822, way_in.SILENT, "")], "Is the server on"),
        ([("deploy", 7822, way_in.SILENT, ""), ("root", 22, way_in.DENIED, "")], "ssh-copy-id -i /k USER@h"),
        ([("deploy", 7822, way_in.STRANGER, "")], "ssh-keygen -R '[h]:7822'"),
        ([("deploy", 22, way_in.STRANGER, "")], "ssh-keygen -R 'h'"),
        ([("deploy", 22, way_in.UNKNOWN, "")], "accept-new"),
        ([("deploy", 22, way_in.BOOTING, "")], "base_way_in_timeout"),
    ],
)
def test_advice_names_the_next_command(answers, expected):
    assert expected in way_in.advice(answers, "h", "/k")


def process(proc, pid, parent, environ):
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "environ").write_bytes(b"\0".join(entry.encode() for entry in environ) + b"\0")
    (folder / "stat").write_text("%d (a name) with) S %d 1 1 0" % (pid, parent))


def test_session_is_found_above_sudo(tmp_path):
    process(tmp_path, 10, 1, ["PATH=/bin"])
    process(tmp_path, 20, 10, ["SSH_CONNECTION=10.0.0.1 5000 10.0.0.2 7822"])
    process(tmp_path, 30, 20, ["SUDO_USER=deploy"])
    assert ssh_session.find(30, str(tmp_path)) == ("10.0.0.1", "10.0.0.2", 7822)


def test_no_session_without_ssh(tmp_path):
    process(tmp_path, 10, 1, ["PATH=/bin"])
    assert ssh_session.find(10, str(tmp_path)) == ssh_session.NONE


@pytest.mark.parametrize(("sudo", "word"), [("exit 0", "sudo"), ("exit 1", "asks"), (None, "bare")])
def test_the_login_says_whether_sudo_asks_for_a_password(tmp_path, sudo, word):
    for name in ("id", "echo"):
        (tmp_path / name).symlink_to(shutil.which(name))
    if sudo:
        (tmp_path / "sudo").write_text("#!/bin/sh\n%s\n" % sudo)
        (tmp_path / "sudo").chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", way_in.command(False)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.split()[2] == word


def test_who_has_to_give_a_password_is_told_how():
    assert "add -K (--ask-become-pass)" in way_in.password_advice("admin", "203.0.113.5")
