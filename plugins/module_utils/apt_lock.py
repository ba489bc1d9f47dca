# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds apt's locks. A fresh server of a cloud installs its updates for some minutes, and apt fails at once meanwhile."""
from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Callable

LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock")
FLOCK = "hhqqi"  # struct flock of Linux: type, whence, start, length, process


def holder(path: str) -> int:
    """Return the process that holds a lock of fcntl(2) on a file: 0 for none, -1 for one of another namespace, whose number nobody tells."""
    try:
        with open(path, "rb") as file:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _whence, _start, _length, process = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else process or -1


def name(process: int) -> str:
    """Return what a person calls a process: its program and number."""
    words: list[str] = []
    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
        words = [os.path.basename(word) for word in file.read().decode(errors="replace").split("\0") if word and not word.startswith("-")]
    script = words[1:2] if words and words[0].startswith(("python", "sh", "bash", "dash", "perl")) else words[:1]
    return f"{(script or words or ['another process'])[0]} (process {process})" if process > 0 else "a process of another container"


def wait(seconds: float, paths: tuple = LOCKS, pause: Callable = time.sleep, clock: Callable = time.monotonic) -> tuple[bool, list[str], float]:
    """Wait until nobody holds one of the locks; return whether that is so, for whom it was waited, and the seconds that it took."""
    began, waited = clock(), []
    while True:
        held = [holder(path) for path in paths]
        holders = list(dict.fromkeys(process for process in held if process))
        waited += [who for who in map(name, holders) if who not in waited]
        if not holders or clock() - began >= seconds:
            return not holders, waited, clock() - began
        pause(1)
