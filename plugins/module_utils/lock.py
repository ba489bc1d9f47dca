# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of an app on a host: a lease in a file, held by one run from its first phase to its last.

A run's module holds an flock on it while it works, and renews the lease as it begins and ends. The lease is stale when nobody
holds the flock and it was not renewed for LEASE seconds, or when the host has started since.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

MODE = 0o600  # who may open the file may hold the flock
LEASE = 60  # seconds: longer than any pause between two tasks of a deploy, short enough to wait for after a crash


def path(app: dict) -> str:
    """Return the path of the lock of an app."""
    return f"{app['root']}/lock"


class LockedError(Exception):
    """Another run holds the lock; ``holder`` is its lease."""

    def __init__(self, holder: dict, busy: bool, now: float):
        super().__init__(refusal(holder, busy, now))
        self.holder = holder


def refusal(holder: dict, busy: bool, now: float) -> str:
    """Return who holds the lock, since when, what they do and when it is free."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.get("since", now)))
    left = holder.get("renewed", now) + LEASE - now
    free = "it works right now" if busy else f"if that run has died, the lock is free in {max(1, round(left))} s"
    return (f"{holder.get('who', 'somebody')} holds the lock since {since} ({round(now - holder.get('since', now))} s), "
            f"in phase {holder.get('phase', 'unknown')}; {free}")


def stale(holder: dict, busy: bool, now: float, started: float) -> str:
    """Return why a lease no longer counts, or an empty text while it does. ``started``: when PID 1 began, epoch seconds."""
    if busy:
        return ""
    if holder.get("renewed", 0) < started:
        return "the host has started since"
    if now - holder.get("renewed", 0) > LEASE:
        return f"it was not renewed for {round(now - holder.get('renewed', 0))} s"
    if holder.get("renewed", 0) - now > LEASE:
        return "its time lies ahead: the clock of this host was set back"
    return ""


def host_started() -> float:
    """Return when PID 1 began, in epoch seconds. In a container boot_id and uptime are those of the machine below."""
    return os.stat("/proc/1").st_ctime


class Lock:
    """The lock in ``path``; ``run`` names the run that asks, ``who`` says so to people."""

    def __init__(self, path: str, run: str = "", who: str = ""):
        self.path, self.run, self.who = path, run, who
        self.handle = None

    def read(self) -> dict:
        """Return the lease, or an empty dict when the lock is free."""
        with contextlib.suppress(OSError, ValueError), open(self.path, encoding="utf-8") as file:
            return json.load(file)
        return {}

    def busy(self) -> bool:
        """Return True while a module of some run works under the flock."""
        with contextlib.suppress(OSError), open(self.path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
        return False

    def acquire(self, phase: str) -> str:
        """Take the lock or renew one's own; return why an older lease was taken over, or an empty text. Raise LockedError."""
        self.handle = open(self.path, "a+", encoding="utf-8")
        os.fchmod(self.handle.fileno(), MODE)
        held, busy = self.read(), False
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = True
        held = held if busy else self.read()
        now = time.time()
        reason = ""
        if busy or (held and held.get("run") != self.run):
            reason = stale(held, busy, now, host_started())
            if not reason:
                self.close()
                raise LockedError(held, busy, now)
        since = held["since"] if held.get("run") == self.run else now
        self._store({"run": self.run, "who": self.who, "since": since, "renewed": now, "phase": phase})
        return f"the lock of {held.get('who')} was taken over: {reason}" if reason else ""

    def renew(self, phase: str) -> None:
        """Say that the run lives and what it does. The lock has to be acquired."""
        self._store(dict(self.read(), renewed=time.time(), phase=phase))

    def release(self) -> bool:
        """Free the lock if this run holds it; return True when it did."""
        held = self.read()
        mine = bool(held) and held.get("run") == self.run
        if mine:
            with contextlib.suppress(FileNotFoundError):
                if self.handle is None:
                    self.handle = open(self.path, "a+", encoding="utf-8")
                self.handle.seek(0)
                self.handle.truncate()
        self.close()
        return mine

    def close(self) -> None:
        """Let go of the flock; the lease stays."""
        if self.handle is not None:
            self.handle.close()
            self.handle = None

    def _store(self, lease: dict) -> None:
        # In place: a renamed file would be another inode, with an flock of its own.
        self.handle.seek(0)
        self.handle.truncate()
        self.handle.write(json.dumps(lease) + "\n")
        self.handle.flush()
        os.fsync(self.handle.fileno())
