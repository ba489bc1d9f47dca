# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as root on a server: remembers what lies outside of an app's folders, and says what has changed since.

CONFIG (set by whoever sends this): verb (remember, compare), app, root, uid.
"""
import hashlib
import json
import os
import stat

CONFIG = globals().get("CONFIG", {})  # the line before this text sets it

KEPT = "/run/hostile-snapshot.json"
# Not compared: what is no disk, what the system itself writes all the time, and what belongs to the app.
LEFT_OUT = {
    "/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp",
    "/var/log", "/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/lib/ucf", "/var/lib/fail2ban", "/var/lib/chrony", "/var/lib/nginx",
    "/var/lib/docker", "/var/lib/containerd",           # the engine's: images and containers come and go
    "/root/.ansible", "/home/deploy/.ansible",          # Ansible's own scratch folders
    "/var/spool", "/var/backups", "/var/lib/logrotate",
    "/root/.docker", "/root/.cache", "/root/hostile-backup", "/root/hostile-backup.dirty",
}
SHALLOW = ("/usr/lib/", "/usr/share/", "/usr/include/", "/lib/", "/opt/victim/venvs/", "/opt/victim/cache/", "/opt/quayside/", "/usr/local/lib/python",
           "/var/cache/quayside/")
TOPS = ("/", "/var/cache/quayside")  # the second lies in a folder that is left out
PACKAGED = ("/usr/", "/boot/", "/var/www/")  # of these, size and time stand for the content, as long as no package is installed meanwhile
PACKAGES = "/var/lib/dpkg/status"
CONTENT = ("/etc", "/root", "/home", "/usr/local", "/opt", "/srv")  # of these, what is in a file counts too
CONTENT_CHANGES = ("/etc/nginx", "/etc/fail2ban", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab")  # written by site.yml anew for all apps together


def facts(path: str, have: os.stat_result) -> list:
    """Return what must not change."""
    kind = stat.S_IFMT(have.st_mode)
    known = [oct(kind), have.st_uid, have.st_gid, oct(stat.S_IMODE(have.st_mode))]
    if stat.S_ISLNK(have.st_mode):
        return [*known, os.readlink(path)]
    if stat.S_ISREG(have.st_mode) and path.startswith(CONTENT) and not path.startswith(CONTENT_CHANGES) and have.st_size < 2**20:
        with open(path, "rb") as file:
            return [*known, hashlib.sha256(file.read()).hexdigest()[:16]]
    if stat.S_ISREG(have.st_mode) and path.startswith(PACKAGED):
        return [*known, have.st_size, have.st_mtime_ns]
    return known


def take(config: dict) -> dict:
    """Return path -> facts of all that is not left out."""
    found = {PACKAGES: [os.stat(PACKAGES).st_mtime_ns]}
    todo = [*TOPS]
    while todo:
        folder = todo.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if path in LEFT_OUT or path == config["root"] or "__pycache__" in path:
                continue
            try:
                have = os.lstat(path)
                # The app's own units, site and secrets: they may be written anew, yet never be the app's.
                if config["app"] in entry.name:
                    found[path] = ["owner", have.st_uid == config["uid"]]
                else:
                    found[path] = facts(path, have)
            except OSError:
                continue
            if stat.S_ISDIR(have.st_mode) and not (path.startswith(SHALLOW) and path.count("/") > 3):
                todo.append(path)
    return found


def main(config: dict) -> None:
    if config["verb"] == "remember":
        with open(KEPT, "w", encoding="utf-8") as file:
            json.dump(take(config), file)
        return
    with open(KEPT, encoding="utf-8") as file:
        before = json.load(file)
    after = take(config)
    changes = []
    installed = before.pop(PACKAGES) != after.pop(PACKAGES)
    for path in sorted(set(before) | set(after)):
        was, now = before.get(path), after.get(path)
        if installed and path.startswith(PACKAGED) and not path.startswith(CONTENT):
            was, now = was and was[:4], now and now[:4]
        if was == now or config["app"] in path:
            if now and now[0] == "owner" and now[1] and not (was and was[1]):
                changes.append(f"{path} belongs to the app now")
            continue
        changes.append(f"{path}: was {was}, is {now}")
    print(json.dumps(changes[:40]))


main(CONFIG)
