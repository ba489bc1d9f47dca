# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of hashed static files: a page of one release may ask for its files when the next release is live."""
from __future__ import annotations

import contextlib
import os
import re

# Django's manifest storage puts 12 hex digits before the suffix, webpack 8 to 20; vite puts 8 of base64url after a dash.
HASHED = re.compile(r"(\.[0-9a-f]{8,32}\.[A-Za-z0-9.]+|\.[0-9a-f]{12}|-(?=[A-Za-z_-]*[0-9A-Z])[A-Za-z0-9_-]{8}\.[A-Za-z0-9.]+)$")


def hashed(folder: str) -> set:
    """Return the paths below ``folder``, relative to it, of the files whose name holds a hash of what is in them."""
    found = set()
    for base, _folders, names in os.walk(folder):
        found |= {os.path.relpath(os.path.join(base, name), folder) for name in names if HASHED.search(name)}
    return found


def add(pool: str, folder: str) -> None:
    """Link the hashed files of a release into the pool; they take no room of their own."""
    for name in hashed(folder):
        target = os.path.join(pool, name)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(os.path.join(folder, name), target)


def prune(pool: str, folders: list[str]) -> int:
    """Remove from the pool what none of the kept releases has; return how many files went."""
    wanted = set().union(*(hashed(folder) for folder in folders)) if folders else set()
    gone = hashed(pool) - wanted
    for name in gone:
        os.unlink(os.path.join(pool, name))
    for base, _folders, _names in os.walk(pool, topdown=False):
        if base != pool:
            with contextlib.suppress(OSError):  # a folder that still holds files stays
                os.rmdir(base)
    return len(gone)
