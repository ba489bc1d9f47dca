# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of releases: ids, which one a rollback takes, which ones are kept. Pure, but for ``Shelf``, which reads a host."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re

from ansible_collections.quayside.django.plugins.module_utils import processes

ID = re.compile(r"^\d{14}-[0-9a-f]{7}\Z")
GOOD = "live"       # the outcome of a release that has been live
FAILED = "failed"


class ReleaseError(ValueError):
    """No release can be chosen; the text says which there are."""


def make_id(stamp: str, sha: str) -> str:
    """Return the id of a release: ``stamp`` is YYYYMMDDHHMMSS in UTC, ``sha`` a commit."""
    release = f"{stamp}-{sha[:7]}"
    if not ID.match(release):
        raise ReleaseError(f"{release!r} is no id of a release")
    return release


def dumped(record: dict) -> str:
    """Return the text of a release's record."""
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def fingerprint(value) -> str:
    """Return a hash of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def origin(release: str, records: dict) -> str:
    """Return the release that ``release`` was first made as: a rollback is a copy with an id of its own."""
    return records.get(release, {}).get("origin") or release


def rollback_target(live: str, records: dict, wanted: str = "", version: str = "") -> str:
    """Return the release to bring back.

    By default what was live before the one now live was first made: ``before`` in its record, an origin. So a second rollback goes two
    back, and never to one that failed. ``wanted`` picks by id, ``version`` the newest good one of that version.
    """
    good = [key for key in sorted(records, reverse=True) if records[key].get("outcome") == GOOD and key != live]
    listed = ", ".join(f"{key} ({records[key].get('version')})" for key in good) or "none"
    if wanted or version:
        found = [key for key in good if (wanted and key == wanted) or (version and records[key].get("version") == version)]
        if not found:
            raise ReleaseError(f"there is no kept release {wanted or version} to go back to; kept are: {listed}")
        return found[0]
    if not live:
        raise ReleaseError("no release is live, so there is nothing to go back from; deploy one first")
    target = records.get(live, {}).get("before", "")
    if not target:
        raise ReleaseError(f"{live} ({records.get(live, {}).get('version')}) is the first that was live, nothing is before it; kept are: {listed}")
    same = [key for key in good if origin(key, records) == target]
    if not same:
        raise ReleaseError(f"{target}, which was live before, is no longer kept; kept are: {listed}. Pick one with -e release=ID")
    return same[0]


def to_prune(live: str, records: dict, keep: int, running: set) -> list[str]:
    """Return the releases to remove.

    What stays: the live one, what a rollback takes, what still runs, and the newest good ones until ``keep`` different ones are there
    (copies that rollbacks made of the same release count once).
    """
    stay = ({live} | set(running)) & set(records)
    with contextlib.suppress(ReleaseError):
        stay.add(rollback_target(live, records))
    kept = {origin(release, records) for release in stay}
    for release in sorted(records, reverse=True):
        first = origin(release, records)
        if records[release].get("outcome") == GOOD and first not in kept and len(kept) < max(keep, 2):
            stay.add(release)
            kept.add(first)
    return sorted(set(records) - stay)


class Shelf:
    """The releases of an app on this host."""

    def __init__(self, root: str):
        self.root = root
        self.folder = f"{root}/releases"

    def path(self, release: str, *parts: str) -> str:
        """Return a path inside a release."""
        return "/".join((self.folder, release) + parts)

    def live(self) -> str:
        """Return the id of the live release, or an empty text."""
        with contextlib.suppress(OSError):
            release = os.path.basename(os.readlink(f"{self.root}/live"))
            if os.path.isdir(self.path(release)):
                return release
        return ""

    def record(self, release: str) -> dict:
        """Return a release's record, empty when it has none."""
        with contextlib.suppress(OSError, ValueError), open(self.path(release, "release.json"), encoding="utf-8") as file:
            record = json.load(file)
            return {**record, "processes": processes.of_record(record["processes"])} if record.get("processes") else record
        return {}

    def records(self) -> dict:
        """Return id -> record of all releases on this host; one without a readable record has an empty one."""
        with contextlib.suppress(OSError):
            return {name: self.record(name) for name in sorted(os.listdir(self.folder)) if ID.match(name)}
        return {}

    def units(self, release: str) -> list[str]:
        """Return the units that a release has on this host; the umbrella unit reads the same file."""
        with contextlib.suppress(OSError), open(self.path(release, "units"), encoding="utf-8") as file:
            return file.read().split()
        return []

    def note(self, entry: dict) -> None:
        """Write one line into the ledger, so that it survives a power loss."""
        line = json.dumps(entry, sort_keys=True) + "\n"
        with open(f"{self.root}/ledger.jsonl", "ab+") as file:
            os.fchmod(file.fileno(), 0o640)
            end = file.seek(0, os.SEEK_END)
            if end and file.seek(end - 1) and file.read(1) != b"\n":
                line = "\n" + line  # a power loss has torn the last one
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def ledger(self, lines: int = 10) -> list[dict]:
        """Return the last entries of the ledger, oldest first; a torn line is left out."""
        entries = []
        with contextlib.suppress(OSError), open(f"{self.root}/ledger.jsonl", encoding="utf-8") as file:
            for line in file.readlines()[-lines:]:
                with contextlib.suppress(ValueError):
                    entries.append(json.loads(line))
        return entries
