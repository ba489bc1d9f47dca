# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a log that may be long, the lines that say why a process ended. Pure."""
from __future__ import annotations

import re

LINES = 400  # that are looked through: two stacks of a server, and one of the app
TRACEBACK = re.compile(r"^(.*?)Traceback \(most recent call last\):\s*$")
CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
# How a server says that another process of it has failed, which has said why before.
ECHOES = ("gunicorn.errors.HaltServer", "SystemExit", "KeyboardInterrupt")
AFTER = 3  # lines of what came after it: who gave up then


def cause(text: str, limit: int) -> str:
    """Return at most ``limit`` lines: the end of the last traceback that tells something of its own, and of what came after it.

    A log without one gives its last lines. Stacks of those who only tell that another process has failed are left out.
    """
    lines = text.strip().splitlines()
    own, dropped = None, set()
    for first, last in tracebacks(lines):
        if lines[last].strip().startswith(ECHOES):
            dropped |= set(range(first, last + 1))
        else:
            own = (first, last)
    roots = causes(lines, own) if own else []
    kept = [number for number, line in enumerate(lines) if number not in dropped and line.strip() and not line.startswith(CHAINED)]
    if own is None:
        return "\n".join(lines[number] for number in kept[-limit:])
    after = [number for number in kept if number > own[1]]
    if own[1] - own[0] + 1 + len(after) <= limit:
        shown = kept[-limit:]
    else:
        after = after[-AFTER:]
        shown = [*range(own[0], own[1] + 1)[-(limit - len(after)):], *after]
    roots = [number for number in roots if number not in shown][:limit // 3]
    return "\n".join(lines[number] for number in [*roots, *shown[len(roots):]])


def causes(lines: list[str], own: tuple[int, int]) -> list[int]:
    """Return the lines of the exceptions that led to a traceback, the first one first: Django says which handler of a log failed, and why stands before it."""
    found: list[int] = []
    for first, last in reversed(tracebacks(lines)):
        between = [line for line in lines[last + 1:own[0]] if line.strip()]
        if first < own[0] and len(between) == 1 and between[0].startswith(CHAINED):
            found.insert(0, last)
            own = (first, last)
    return found


def tracebacks(lines: list[str]) -> list[tuple[int, int]]:
    """Return the first and the last line of each traceback; the last is that of the exception."""
    found, position = [], 0
    while position < len(lines):
        start = TRACEBACK.match(lines[position])
        if not start:
            position += 1
            continue
        margin, last = len(start[1]) - len(start[1].lstrip()), position + 1
        while last < len(lines) and (not lines[last].strip() or lines[last].startswith(" " * (margin + 1))):
            last += 1
        if last < len(lines):
            found.append((position, last))
        position = last + 1
    return found
