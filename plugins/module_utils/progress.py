# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a deploy or a rollback is: the host writes it into a file, line by line, and the controller follows that file and prints lines for people.

The file lies in memory. Its first line is the process that writes it, so that whoever follows it ends with that process; each other line is one JSON list:
``["phase", NAME]``, ``["step", TEXT]`` (what a phase does now), ``["done", NAME, SECONDS]``.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator

from ansible_collections.quayside.django.plugins.module_utils import contained

FOLDER = "/run/quayside-progress"
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")
STEP_LIMIT = 120  # characters: a line on a terminal
LINE_LIMIT = 4096  # bytes of one line that the controller reads
SHORT = 0.1  # seconds: what ended sooner is told only if its beginning was
STILL = 60  # seconds after which a step that goes on is told again


def path(run: str, app: str, phases: list[str]) -> str:
    """Return the file of one task of a run, empty where its words are none for a file."""
    name = "-".join([run, app, *phases[:1]])
    return f"{FOLDER}/{name}" if run and app and phases and NAME.match(name) else ""


class Progress:
    """Tells where a run is; without a file it tells nobody. No deploy fails for it."""

    def __init__(self, handle: int | None = None):
        self.handle = handle

    def phase(self, name: str) -> None:
        """Say that a phase begins."""
        self.write(["phase", name])

    def step(self, text: str) -> None:
        """Say what the phase does now, where that may take long."""
        self.write(["step", text[:STEP_LIMIT]])

    def done(self, name: str, seconds: float) -> None:
        """Say that a phase has ended."""
        self.write(["done", name, round(seconds, 1)])

    def write(self, event: list) -> None:
        """Write one line."""
        if self.handle is not None:
            with contextlib.suppress(OSError):
                os.write(self.handle, json.dumps(event).encode() + b"\n")


@contextlib.contextmanager
def opened(path: str, reader: int) -> Iterator[Progress]:
    """Yield the Progress of a task, whose file is gone afterwards. ``reader``: the uid of who may read it beside root; empty path: nobody listens."""
    handle = None
    with contextlib.suppress(OSError):
        if path:
            contained.folder(FOLDER, 0o711)
            contained.write(path, f"{os.getpid()}\n", 0o600, reader)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Progress(handle)
    finally:
        if handle is not None:
            os.close(handle)
            with contextlib.suppress(OSError):
                contained.remove(path)


def caller() -> int:
    """Return the uid of the account that Ansible has logged in by; sudo knows it."""
    uid = os.environ.get("SUDO_UID", "")
    return int(uid) if uid.isdigit() else os.getuid()


# On the controller


def follow_command(path: str) -> str:
    """Return the shell line that prints a file of progress as it grows, and ends with the process that writes it."""
    return (f"tries=0; while [ ! -s {path} ] && [ $tries -lt 50 ]; do sleep 0.2; tries=$((tries + 1)); done; "
            f"read -r writer < {path} && exec tail -n +2 -f --pid=\"$writer\" {path}")


def parse(line: bytes) -> list:
    """Return the event of a line, empty for what is none: a server may send anything."""
    try:
        event = json.loads(line[:LINE_LIMIT])
    except (ValueError, RecursionError):
        return []
    if not isinstance(event, list) or not event or not all(isinstance(word, (str, int, float)) for word in event):
        return []
    shape = {"phase": (str,), "step": (str,), "done": (str, (int, float))}.get(event[0] if isinstance(event[0], str) else "")
    right = shape is not None and len(event) == len(shape) + 1 and all(isinstance(word, kind) for word, kind in zip(event[1:], shape))
    return event if right else []


class Report:
    """Makes lines for people of what a run says of itself; ``host`` begins each. Times are seconds of one clock."""

    def __init__(self, host: str):
        self.host = host
        self.phase, self.step = "", ""
        self.began: set[str] = set()  # phases whose beginning was told
        self.ended: set[str] = set()  # phases whose end was told, or left out
        self.at, self.told_at = 0.0, 0.0

    def take(self, events: list[list], now: float) -> list[str]:
        """Return the lines for events that came together: of what has ended meanwhile only how long it took, and of steps the last."""
        lines, new = [], False
        for event in events:
            if event[0] == "done":
                lines += self.end_of(event[1], event[2])
                if event[1] == self.phase:
                    self.phase, self.step, new = "", "", False
                continue
            self.phase, self.step = (event[1], "") if event[0] == "phase" else (self.phase, event[1])
            new = bool(self.phase)
        if new:
            self.began.add(self.phase)
            self.at = self.told_at = now
            lines.append(f"{self.where()} …")
        return lines

    def waiting(self, now: float) -> list[str]:
        """Return a line when the same step goes on for long."""
        if not self.phase or now - self.told_at < STILL:
            return []
        self.told_at = now
        return [f"{self.where()} … for {now - self.at:.0f} s"]

    def end(self, seconds: dict, failed: bool) -> list[str]:
        """Return the lines for the end of a task. ``seconds``: phase to what it took, in order; ``failed``: the last one has failed."""
        if not self.began and not self.ended:
            return []
        lines = []
        for number, (phase, took) in enumerate(seconds.items(), 1):
            lines += self.end_of(phase, took, "failed after" if failed and number == len(seconds) else "took")
        return lines

    def end_of(self, phase: str, seconds: float, word: str = "took") -> list[str]:
        """Return the line for the end of a phase, none where it was too short or was told already."""
        if phase in self.ended:
            return []
        self.ended.add(phase)
        return [f"{self.host}: {phase} {word} {seconds:.1f} s"] if seconds >= SHORT or phase in self.began or word != "took" else []

    def where(self) -> str:
        """Return host, phase and step; a command that is called as its phase is said once."""
        step = "" if self.step == self.phase else self.step.removeprefix(f"{self.phase}: ")
        return f"{self.host}: {self.phase}" + (f" ({step})" if step else "")
