# SPDX-License-Identifier: GPL-3.0-or-later
"""Print where a task of quayside.django.release is while that takes long: what the host says comes by a session beside that of the module."""
from __future__ import annotations

import contextlib
import copy
import os
import select
import shlex
import subprocess
import threading
import time

from ansible.utils.display import Display
from ansible_collections.quayside.django.plugins.module_utils import printed, progress

display = Display()
DELAY = 3.0  # seconds: a shorter task prints nothing, and nobody follows it
PAUSE = 0.5  # seconds: what came meanwhile is told in one go
EVENTS = 5000  # of one task; what comes after them is not read


def argv(connection, command: str) -> list | None:
    """Return what runs a command on the host of a connection as the user who logs in; None where no session beside the module's can be had."""
    if connection.transport == "local":
        return ["/bin/sh", "-c", command]
    if connection.transport not in ("ssh", "ansible.builtin.ssh") or connection.get_option("password"):
        return None
    beside = copy.copy(connection)  # the module's own session uses the other one
    beside.host = connection.get_option("host") or connection._play_context.remote_addr
    program, *words = beside._build_command(connection.get_option("ssh_executable"), "ssh")
    # Before the others, since ssh takes the first value that it meets: the module's session is the one that stays for later tasks.
    return [program, "-n", "-T", "-o", "ControlMaster=no", "-o", "BatchMode=yes", *words, beside.host, f"/bin/sh -c {shlex.quote(command)}"]


class Follower:
    """Follows what a host says of a task, in a thread of its own, from the third second on. ``tell`` prints one line."""

    def __init__(self, host: str, argv: list, tell, delay: float = DELAY, pause: float = PAUSE):
        self.report, self.argv, self.tell, self.delay, self.pause = progress.Report(host), argv, tell, delay, pause
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self.thread.start()

    def stop(self, result: dict) -> None:
        """Stop to follow, and print what ``result``, that of the task, says beyond what was printed.

        A thread that still printed when Ansible's worker ends would leave the queue of the controller locked, so it is waited for.
        """
        self.stopped.set()
        self.thread.join()
        for line in self.report.end(result.get("seconds") or {}, bool(result.get("failed"))):
            self.tell(line)

    def follow(self) -> None:
        """Print what the host says until the task has ended."""
        if self.stopped.wait(self.delay):
            return
        with contextlib.suppress(OSError), subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                            stderr=subprocess.DEVNULL) as process:
            try:
                self.read(process.stdout.fileno())
            finally:
                process.kill()

    def read(self, source: int) -> None:
        """Print what comes from a file descriptor."""
        rest, left = b"", EVENTS
        while left > 0 and not self.stopped.wait(self.pause):
            ready, _writable, _broken = select.select([source], [], [], 0)
            if ready:
                part = os.read(source, 1 << 16)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                rest = rest[:progress.LINE_LIMIT]
                events = [event for event in map(progress.parse, lines) if event][:left]
                left -= len(events)
                self.print(self.report.take(events, time.monotonic()))
            self.print(self.report.waiting(time.monotonic()))

    def print(self, lines: list[str]) -> None:
        """Print lines."""
        for line in lines:
            self.tell(line)


def tell(line: str) -> None:
    """Print a line beside Ansible's own output: on standard error, so that a callback that writes JSON is not disturbed."""
    display.display(printed.clean(line.replace("\n", " ")), stderr=True)


def begin(host: str, args: dict, connection) -> Follower | None:
    """Begin to follow the task with these arguments; return its follower, None where it cannot be followed."""
    app = args.get("app")
    path = progress.path(str(args.get("run", "")), str(app.get("name", "")) if isinstance(app, dict) else "", list(args.get("phases") or []))
    try:
        command = argv(connection, progress.follow_command(path)) if path else None
    except Exception:  # whatever keeps a second session from being had, the deploy goes on without these lines
        return None
    if not command:
        return None
    made = Follower(host, command, tell)
    made.start()
    return made
