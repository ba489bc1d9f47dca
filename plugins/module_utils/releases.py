# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of releases: ids, which one a rollback takes, which ones are kept. Pure, but for ``Shelf``, which reads a host."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re

ID = re.compile(r"^\d{14}-[0-9a-f]{7}$")
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


def fingerprint(value) -> str:
    """Return a hash of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def origin(release: str, records: dict) -> str:
    """Return the release that ``release`` was first made as: a rollback is a copy with an id of its own."""
    seen = set()
    while release in records and records[release].get("of") and release not in seen:
        seen.add(release)
        release = records[release]["of"]
    return release


def before(release: str, records: dict) -> str:
    """Return what was live before ``release`` first was; for a rollback, before the release that it brought back."""
    first = origin(release, records)
    return records.get(first, {}).get("from", "") or ""


def rollback_target(live: str, records: dict, wanted: str = "", version: str = "") -> str:
    """Return the release to bring back.

    By default what was live before the one now live, along ``from``: so a second rollback goes two back, and never to one that
    failed. ``wanted`` picks by id, ``version`` the newest good one of that version.
    """
    good = {key: record for key, record in records.items() if record.get("outcome") == GOOD and key != live}
    listed = ", ".join(f"{key} ({records[key].get('version')})" for key in sorted(good, reverse=True)) or "none"
    if wanted or version:
        found = [key for key in sorted(good, reverse=True) if key == wanted or (version and good[key].get("version") == version)]
        if not found:
            raise ReleaseError(f"there is no kept release {wanted or version} to go back to; kept are: {listed}")
        return found[0]
    if not live:
        raise ReleaseError("no release is live, so there is nothing to go back from; deploy one first")
    target = before(live, records)
    if not target:
        raise ReleaseError(f"{live} is the first release that was live; kept are: {listed}")
    # The copy that a later rollback made is the same release; so is its first.
    same = [key for key in sorted(good, reverse=True) if origin(key, records) == origin(target, records)]
    if not same:
        raise ReleaseError(f"{target}, which was live before, is no longer kept; kept are: {listed}. Pick one with -e release=ID")
    return same[0]


def to_prune(live: str, records: dict, keep: int, running: set) -> list[str]:
    """Return the releases to remove: all but the newest ``keep`` good ones, the live one, what a rollback takes and what still runs."""
    stay = {live} | set(running)
    with contextlib.suppress(ReleaseError):
        stay.add(rollback_target(live, records))
    for release in sorted((key for key, record in records.items() if record.get("outcome") == GOOD), reverse=True):
        if len(stay & set(records)) >= max(keep, 2):
            break
        stay.add(release)
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
            return json.load(file)
        return {}

    def records(self) -> dict:
        """Return id -> record of all releases on this host; one without a readable record has an empty one."""
        with contextlib.suppress(OSError):
            return {name: self.record(name) for name in sorted(os.listdir(self.folder)) if ID.match(name)}
        return {}

    def note(self, entry: dict) -> None:
        """Write one line into the ledger, so that it survives a power loss."""
        with open(f"{self.root}/ledger.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
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
