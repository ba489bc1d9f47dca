# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of hashed static files: a page of one release may ask for its files when the next release is live."""
from __future__ import annotations

import contextlib
import os
import re
import stat

from ansible_collections.quayside.django.plugins.module_utils import contained

# Django's manifest storage puts 12 hex digits before the suffix, webpack 8 to 20; vite puts 8 of base64url after a dash.
HASHED = re.compile(r"(\.[0-9a-f]{8,32}\.[A-Za-z0-9.]+|\.[0-9a-f]{12}|-(?=[A-Za-z_-]*[0-9A-Z])[A-Za-z0-9_-]{8}\.[A-Za-z0-9.]+)$")


def hashed(folder: str) -> set:
    """Return the paths below ``folder``, relative to it, of the files whose name holds a hash of what is in them."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        found |= {path for path, _folder, name, have in contained.walk(folder) if stat.S_ISREG(have.st_mode) and HASHED.search(name)}
    return found


def add(pool: str, folder: str) -> None:
    """Link the hashed files of a release into the pool; they take no room of their own."""
    for name in hashed(folder):
        contained.hard_link(f"{folder}/{name}", f"{pool}/{name}")


def prune(pool: str, folders: list[str]) -> int:
    """Remove from the pool what none of the kept releases has; return how many files went."""
    wanted = set().union(*(hashed(folder) for folder in folders)) if folders else set()
    gone = hashed(pool) - wanted
    for name in gone:
        contained.remove(f"{pool}/{name}")
    folders = [path for path, _folder, _name, have in contained.walk(pool) if stat.S_ISDIR(have.st_mode)] if contained.is_folder(pool) else []
    for path in reversed(folders):
        with contextlib.suppress(OSError), contained.parent(f"{pool}/{path}") as (folder, name):  # a folder that still holds files stays
            os.rmdir(name, dir_fd=folder)
    return len(gone)
