# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy key for builds: lent by an ssh-agent to one command, where the app model says so (``source.build_ssh``)."""
from __future__ import annotations

import contextlib
import json
import re
import secrets
import stat
import threading
from collections.abc import Iterator

from ansible_collections.quayside.django.plugins.module_utils import contained, host, sandbox, ssh_agent, units

KNOWN_HOSTS = "known_hosts"
# ssh-agent forbids its own core dumps, which the sandbox forbids to set (and does itself, by LimitCORE).
AGENT_NEEDS = "SystemCallFilter=setrlimit prlimit64"
BY_SSH = re.compile(r"Host key verification failed|Permission denied \(publickey|Could not read from remote repository|REMOTE HOST IDENTIFICATION HAS CHANGED")
CHANGED = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED")


@contextlib.contextmanager
def lent(app: dict, key: str, seconds: int) -> Iterator[str]:
    """Yield a folder of root's with an agent's socket and the host keys that our own git knows, for at most so long; raise PhaseError.

    It lies in a folder that root alone enters: only what it is bound into reaches it. The agent's account makes the socket in a folder of its own, from
    where it is moved, so that nothing that root's programs open there could become something else.
    """
    token, ended = secrets.token_hex(8), threading.Event()
    contained.folder(sandbox.RUNTIME, 0o700)
    folder = f"{sandbox.RUNTIME}/{token}"
    contained.folder(folder, 0o711)
    try:
        own = sandbox.leaf(f"{folder}/own", sandbox.GIT_USER)
        contained.write(f"{folder}/{KNOWN_HOSTS}", contained.text(f"{app['source_cache']}/git/{KNOWN_HOSTS}"), 0o644)
        unit = sandbox.Unit(units.helper(app, "agent", token), sandbox.GIT_USER, "/", seconds, (*sandbox.git(own), AGENT_NEEDS))
        with sandbox.started(unit, ssh_agent, {"folder": own, "key": key}, lambda _stream: ended.wait()) as process:
            try:
                answer = json.loads(process.stdout.readline() or "{}")
                if not answer.get("ready"):
                    raise host.PhaseError(answer.get("error") or "the ssh-agent for the build did not start", answer.get("log", ""),
                                          f"journalctl -u {unit.name} --no-pager")
                contained.rename(f"{own}/{ssh_agent.SOCKET}", f"{folder}/{ssh_agent.SOCKET}")
                have = contained.state(f"{folder}/{ssh_agent.SOCKET}")
                if not stat.S_ISSOCK(have.st_mode):
                    raise host.PhaseError(f"the ssh-agent for the build made {contained.kind(have.st_mode)} in the place of its socket")
                yield folder
            finally:
                ended.set()
    finally:
        contained.remove(folder)


def variables(seen: str, cache: str) -> dict:
    """Return the variables of a command that reaches the agent at the folder ``seen``.

    Host keys are those that our own git knows; of another host at first sight, and remembered in ``cache``.
    """
    ssh = ("ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=15 -o StrictHostKeyChecking=accept-new "
           f"-o UserKnownHostsFile={cache}/{KNOWN_HOSTS} -o GlobalKnownHostsFile={seen}/{KNOWN_HOSTS}")
    return {"SSH_AUTH_SOCK": f"{seen}/{ssh_agent.SOCKET}", "GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": "ssh"}


def hint(app: dict, output: str) -> str:
    """Return why a build could not fetch something by SSH and what to do, empty for any other failure."""
    if not BY_SSH.search(output):
        return ""
    if CHANGED.search(output):
        return (f"the host key of a server has changed. If that is right, remove {app['root']}/cache/build/{KNOWN_HOSTS} and "
                f"{app['source_cache']}/git/{KNOWN_HOSTS} on the host, and deploy again")
    if not app["source"]["build_ssh"]:
        return ("it is fetched by SSH, and a build has no key. source.build_ssh: true lends it the deploy key, the secret SOURCE_KEY, by an ssh-agent: "
                "who can push a branch can use the key then, while the build runs (docs/runtime-systemd.md)")
    return ("it is fetched by SSH, and its server refuses the deploy key, the secret SOURCE_KEY. Where a key is for one repository alone (GitHub), take that "
            "of an account that may read them all (docs/getting-started.md)")
