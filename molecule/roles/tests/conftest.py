# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a playbook runs on all servers at once, and a test looks at each of them."""
from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import BIN, ROOT, servers  # noqa: E402 - the path has to be there first

SERVERS = servers(HERE.parent)


class Outcome:
    """A playbook that has run on all servers."""

    def __init__(self, done: subprocess.CompletedProcess):
        self.rc, self.out = done.returncode, done.stdout
        self.flat = " ".join(self.out.split())

    def of(self, server) -> dict:
        """Return the counts of the recap for one server."""
        line = re.search(rf"^{server.name} +: (.*)$", self.out, re.M)
        assert line, self.out[-5000:]
        return {what: int(number) for what, number in re.findall(r"(\w+)=(\d+)", line.group(1))}

    def good(self, changed: bool | None = None) -> Outcome:
        """Assert that it succeeded on all servers and, where asked, whether it changed each of them; return it."""
        assert self.rc == 0, self.out[-6000:]
        for server in SERVERS:
            if changed is not None:
                assert (self.of(server)["changed"] > 0) == changed, self.out[-6000:]
        return self


def run(playbook: pathlib.Path, *words: str, timeout: int = 900) -> Outcome:
    """Run a playbook on all servers as a user types it."""
    env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", NO_COLOR="1")
    env.pop("ANSIBLE_FORCE_COLOR", None)
    return Outcome(subprocess.run([str(BIN / "ansible-playbook"), str(playbook), "-i", str(HERE.parent / "inventory"), *words], check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env, timeout=timeout))


def play(role: str, *words: str) -> Outcome:
    """Run the playbook of one role."""
    return run(HERE.parent / "playbooks" / f"{role}.yml", *words)


def login(server, port: int, *command: str, user: str = "deploy") -> list[str]:
    """Return the argv of a login that shares no connection with any other."""
    known = ROOT / ".lab" / "known_hosts" / server.environment / server.name
    return ["ssh", "-n", "-F", "none", "-i", server.local["lab_private_key"], "-p", str(port), "-o", "ControlPath=none", "-o", "BatchMode=yes",
            "-o", "ConnectTimeout=10", "-o", f'UserKnownHostsFile="{known}"', "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR",
            f"{user}@{server.address}", *(command or ("true",))]


def enters(server, port: int, user: str = "deploy") -> bool:
    """Return whether a new login works."""
    return subprocess.run(login(server, port, user=user), check=False, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=30).returncode == 0


@pytest.fixture(params=SERVERS, ids=repr)
def server(request):
    """A server of the scenario. Of function scope, since pytest would else do all tests of one server first, and a playbook is for both."""
    return request.param
