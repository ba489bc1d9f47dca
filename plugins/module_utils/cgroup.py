# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel knows of the processes of a unit or a container: their memory, kills for memory, and what they run. Both versions of cgroups.

Everything is found by the id of a main process, since systemd and Docker name its cgroup in ways of their own.
"""
from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections import Counter

from ansible_collections.quayside.django.plugins.module_utils import host, processes

ROOT, PROC = "/sys/fs/cgroup", "/proc"
UNLIMITED = 1 << 60  # version 1 writes the largest number of pages for "no limit"
SERVERS = {*processes.HTTP_SERVERS, "uwsgi", "waitress-serve"}
KILL = re.compile(r"oom-kill:.*?,task_memcg=(\S*?),task=")  # where the process was, wherever the limit is
SHELLS = ("sh", "bash", "dash", "ash", "zsh")


def folder(pid: int, root: str = ROOT, proc: str = PROC) -> str:
    """Return the folder of the memory controller of a process's cgroup; empty when the process is gone, or in the root cgroup."""
    for line in host.text(f"{proc}/{pid}/cgroup").splitlines():
        _number, names, path = line.split(":", 2)
        unified = not names and os.path.exists(f"{root}/cgroup.controllers")
        if path.strip("/") and (unified or "memory" in names.split(",")):
            return f"{root}/{names}".rstrip("/") + path
    return ""


def memory(pid: int, root: str = ROOT, proc: str = PROC) -> dict:
    """Return the memory of a process's cgroup, an empty dict when it is gone.

    ``used``: bytes without cached files that the kernel gives back at need; ``limit``: bytes, 0 for none; ``kills``: processes that the kernel has
    killed for memory since the cgroup was made.
    """
    place = folder(pid, root, proc)
    if not place:
        return {}
    unified = os.path.exists(f"{place}/memory.current")
    names = ("memory.current", "memory.max", "memory.events") if unified else ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control")
    usage, limit, events = (host.text(f"{place}/{name}") for name in names)
    if not usage.strip().isdigit():
        return {}
    cached = number("inactive_file" if unified else "total_inactive_file", host.text(f"{place}/memory.stat"))
    most = int(limit) if limit.strip().isdigit() else 0
    return {"used": max(0, int(usage) - cached), "limit": most if most < UNLIMITED else 0, "kills": number("oom_kill", events)}


def past_kills() -> Counter:
    """Return name of a unit, or id of a container -> its processes that the kernel has killed for memory, as far as the kernel's log goes.

    When a main process is killed, its cgroup and the count in it go too, and Docker and systemd forget the kill at the next start.
    """
    # The journal goes back to the boot; where it has no kernel messages (in a container), there is the kernel's own buffer.
    for argv in (["journalctl", "--dmesg", "--quiet", "--no-pager", "--output=cat", "--grep=oom-kill:"], ["dmesg"]):
        with contextlib.suppress(host.PhaseError):
            places = KILL.findall(host.run(argv, check=False, timeout=20).stdout)
            if places:
                return Counter(name for place in places for name in {re.sub(r"^docker-(.*)\.scope$", r"\1", part) for part in place.split("/")})
    return Counter()


def number(name: str, text: str) -> int:
    """Return the number behind a name in a file of the kernel, 0 when it is not there."""
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def commands(pid: int, root: str = ROOT, proc: str = PROC) -> list[list[str]]:
    """Return the command lines of all processes in a process's cgroup, its own first."""
    place = folder(pid, root, proc)
    members = [int(line) for line in host.text(f"{place}/cgroup.procs").split()] if place else []
    found = [host.text(f"{proc}/{member}/cmdline").rstrip("\0").split("\0") for member in sorted(members, key=lambda one: (one != pid, one))]
    return [words for words in found if words != [""]]


def kind(lines: list[list[str]]) -> str:
    """Return what command lines that run are, one of ``processes.KINDS``; empty where nobody can tell.

    >>> kind([["/bin/sh", "/start"], ["/usr/bin/python3", "/usr/local/bin/celery", "-A", "x", "worker"]])
    'celery-worker'
    """
    for words in lines:
        # With setproctitle celery and gunicorn write one text of their own.
        title = re.match(r"\[celery(?:d|beat)\b.*\((.*)\)|(gunicorn): ", words[0])
        if title:
            words = ["celery", *title[1].split()] if title[1] else [title[2]]
        for position, word in enumerate(words[:4]):
            name = word.rsplit("/", 1)[-1]
            if name in SERVERS:
                return "server"
            if name == "celery":
                found = processes.kind(shlex.join(["celery", *words[position + 1:]]))
                if found != "other":
                    return found
    return ""


def lacks_exec(lines: list[list[str]]) -> bool:
    """Return whether a shell is the main process, of command lines with that of the main process first: it gets the signals and hands none on.

    >>> lacks_exec([["/bin/sh", "/start"], ["sleep", "9"]]), lacks_exec([["sleep", "9"]])
    (True, False)
    """
    # An init hands signals on, but a shell behind it does not; and the main process of a container with one is the init.
    first = [words for words in lines if words[0].rsplit("/", 1)[-1] not in ("docker-init", "tini", "dumb-init")][:1]
    return len(lines) > 1 and bool(first) and first[0][0].rsplit("/", 1)[-1].lstrip("-") in SHELLS


def told(seen: dict) -> str:
    """Return in words that the kernel has killed processes for memory; ``seen`` as ``memory`` returns it."""
    how_many = f"{seen['kills']} of its processes were killed" if seen.get("kills", 0) > 1 else "one of its processes was killed"
    most = f", of which all of them together may take {seen['limit'] // 2 ** 20} MiB" if seen.get("limit") else ""
    return f"{how_many} by the kernel for memory{most}"


def advice(process: dict) -> str:
    """Return what to do about a kill for memory, by a process of the model."""
    field = f"processes[{process['name']}].memory"
    more = "or lower its workers" if process["kind"] in ("server", "celery-worker") else "or find what takes it"
    return f"raise {field} in the app model {'from ' + process['memory'] if process['memory'] else 'above that'}, {more} (docs/sizing.md)"
