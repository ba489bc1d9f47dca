# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs with the rights of an app: finds all that these rights can write, and plants something at each such path.

CONFIG (set by whoever sends this): kind (one of KINDS, turn, nothing), turn (which kind a path gets: with each number it gets the next one), depth (top,
deep), before (paths with a plant of an earlier turn, which gets another one), skip (paths with a plant that stays), names (paths that root has been seen
to use), folder and file (what links lead to), own (only below these folders), make (make the folders of names that are not there: an image's build can).
"""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import stat
import zlib

CONFIG = globals().get("CONFIG", {})  # the line before this text sets it

SKIPPED = {"/proc", "/sys", "/dev"}
KINDS = ("link", "fifo", "socket", "device", "hard", "sparse", "unreadable", "plain", "loop")
OURS = (".hostile-gone", ".hostile-twin")  # what these paths end with is no path to plant at


def writable() -> tuple:
    """Return the folders and the files that can be written, found by a walk from the top."""
    # What the process is told lies below folders that it can pass and not list.
    told = [os.path.abspath(value) for value in (os.getcwd(), *os.environ.values()) if value.startswith("/") and os.path.isdir(value)]
    folders, files, todo, seen = [], [], [*told, "/dev/shm", "/"], set()
    while todo:
        folder = todo.pop()
        if folder in seen or folder.startswith(tuple(f"{path}/" for path in SKIPPED)) and folder != "/dev/shm":
            continue
        seen.add(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            folders.append(folder)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            # A folder that can be passed and not listed: what root has named says what is in it.
            entries = []
        for entry in entries:
            if entry.path not in SKIPPED:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and os.access(entry.path, os.W_OK):
                    files.append(entry.path)
        if not entries:
            for path in CONFIG["names"]:
                if os.path.dirname(path) == folder and os.path.isdir(path) and not os.path.islink(path):
                    todo.append(path)
    return folders, files


def is_empty(folder: str) -> bool:
    """Return True for a folder that can be read and has nothing in it."""
    try:
        return not os.listdir(folder)
    except OSError:
        return False


def clear(path: str, planted: bool) -> None:
    """Take away what lies at a path: aside, so that it can come back; for good where it is a plant, or a foreign file that cannot be moved."""
    if not planted:
        with contextlib.suppress(OSError):
            os.rename(path, f"{path}.hostile-gone")
            return
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path)
        else:
            os.unlink(path)


def make(path: str, kind: str, was_folder: bool) -> None:
    """Plant one thing at a path where nothing is."""
    if kind == "link":
        os.symlink(CONFIG["folder"] if was_folder else CONFIG["file"], path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            os.chdir(os.path.dirname(path))  # a path of a socket has at most 107 bytes
            one.bind(os.path.basename(path))
            one.listen(1)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "hard":
        try:
            os.link(CONFIG["file"], path)
        except OSError:  # fs.protected_hardlinks: then a second name of a file of its own, which changes when this one does
            with open(f"{path}.hostile-twin", "w", encoding="utf-8") as file:
                file.write("twin\n")
            os.link(f"{path}.hostile-twin", path)
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(2**40)
    elif kind in ("unreadable", "plain"):
        name = path
        if was_folder:
            os.mkdir(path)
            name = f"{path}/x"
        with open(name, "w", encoding="utf-8") as file:
            file.write("planted\n")
        if kind == "unreadable":
            os.chmod(path, 0)
    elif kind == "loop":
        os.symlink(os.path.basename(path), path)


def plant(path: str, kind: str) -> str:
    """Plant at a path; return what is there now."""
    again = path in CONFIG["before"]
    first = f"{path}.hostile-gone" if again else path
    was_folder = os.path.isdir(first) or not os.path.lexists(first) and not os.path.splitext(path)[1]
    if kind == "turn":
        kind = KINDS[(zlib.crc32(path.encode()) + CONFIG["turn"]) % len(KINDS)]
    clear(path, again)
    for word in (kind, "link"):  # a device and a hard link to a foreign file are refused as a rule: then it is a link
        try:
            make(path, word, was_folder)
            break
        except OSError:
            continue
    else:
        return ""
    return word


def main() -> None:
    if CONFIG["make"]:
        for path in CONFIG["names"]:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
    folders, files = writable()
    inside = [folder for folder in folders if any((folder + "/").startswith(own + "/") for own in CONFIG["own"])]
    planted = {}
    if CONFIG["kind"] != "nothing":
        tops = [folder for folder in inside if os.path.dirname(folder) not in inside]
        before, plants = set(CONFIG["before"]), {*CONFIG["before"], *CONFIG["skip"]}
        inside = [folder for folder in inside if not any(word in folder for word in OURS) and "/site-packages" not in folder and folder.count("/") < 8
                  and plants.isdisjoint([folder, *map(str, pathlib.PurePath(folder).parents)])]
        for folder in (tops if CONFIG["depth"] == "top" else inside):
            entries = []
            with contextlib.suppress(OSError):
                entries = [os.path.join(folder, name) for name in os.listdir(folder) if not name.endswith(OURS)]
            if CONFIG["depth"] == "deep":
                entries = [path for path in entries if path in before or not os.path.isdir(path) or os.path.islink(path) or is_empty(path)]
            missing = [path for path in CONFIG["names"] if os.path.dirname(path) == folder and not os.path.lexists(path)]
            # Of a venv or of a cache of packages the first hundred in each folder stand for all.
            for path in [*sorted(set(entries) - plants)[:100], *sorted(before.intersection(entries)), *missing]:
                with contextlib.suppress(OSError):
                    planted[path] = plant(path, CONFIG["kind"])
        for path in files:  # in a folder that is not the app's, yet a file that is
            if os.path.dirname(path) not in folders and any(path.startswith(own + "/") for own in CONFIG["own"]):
                with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
                    file.write("\nPLANTED=$(logger -t hostile-marker sourced)\n")
                    planted[path] = "appended"
    print(json.dumps({"folders": folders, "files": files[:500], "planted": {path: kind for path, kind in planted.items() if kind}}))


main()
