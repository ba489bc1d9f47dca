# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs with the rights of an app: reads all that these rights can read, and says where one of the given texts stands.

CONFIG (set by whoever sends this): tokens (name -> text), own (where to look), paths (more paths to try by name).
"""
import json
import os
import stat

CONFIG = globals().get("CONFIG", {})  # the line before this text sets it

LARGEST = 2**21  # bytes


def look(path: str, found: list) -> None:
    """Read a file, through links, unless it would not end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        have = os.fstat(handle)
        text = os.read(handle, LARGEST) if stat.S_ISREG(have.st_mode) else b""
    except OSError:
        return
    finally:
        os.close(handle)
    found += [f"{path}: {name}" for name, token in CONFIG["tokens"].items() if token.encode() in text]


def main() -> None:
    found, opened = [], []
    for path in CONFIG["paths"]:
        look(path, found)
        if os.access(path, os.R_OK):
            opened.append(path)
    for top in CONFIG["own"]:
        for base, folders, names in os.walk(top):
            for name in names + [one for one in folders if os.path.islink(os.path.join(base, one))]:
                path = os.path.join(base, name)
                if os.path.islink(path) and os.path.isdir(path):
                    names += [f"{name}/{one}" for one in os.listdir(path)[:200]] if os.access(path, os.R_OK) else []
                    continue
                look(path, found)
    for name, token in CONFIG["tokens"].items():
        if any(token == value for value in os.environ.values()):
            found.append(f"environment: {name}")
    print(json.dumps({"found": found, "opened": opened}))


main()
