# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a failure whose log says why, where the reason is how a project was run before. Pure."""
from __future__ import annotations

import re

READ_ONLY = re.compile(r"Read-only file system:? ?['\"]?(/[^'\"\s]+)?")
DENIED = re.compile(r"Permission denied: ['\"]?(/[^'\"\s]+)"
                    r"|(?:can't open file|exec:?|cannot open|cannot access) ['\"]?(/[^'\":\s]+)['\"]?:.*[Pp]ermission denied"
                    r"|: (/[^:\s]+): Permission denied")
OFFLINE = re.compile(r"OfflineGenerationError|offline compression enabled but key")


def hint(text: str, app: dict) -> str:
    """Return what to do about what a log says; empty where it says nothing of the kind. ``app`` is one of the model."""
    compose = app["runtime"] == "compose"
    if OFFLINE.search(text):
        return ("django-compressor wants its files before the start: add {manage: compress --force, once: false} to commands of the app model, behind "
                "{manage: migrate --noinput} and {manage: collectstatic --noinput, once: false}")
    read_only = READ_ONLY.search(text)
    denied = next((path for found in DENIED.findall(text) for path in found if path), "")
    path = (read_only[1] or "") if read_only else denied
    if (read_only or denied) and is_static(app, path, text):
        return ("static files are collected once for each release, before it starts, and are read-only from then on: take collectstatic out of the start "
                "script")
    if read_only:
        where = f"{path} is" if path else "the app's files are"
        return (f"{where} read-only: let it write to a folder of folders in the app model, which outlives releases, "
                f"or name {'the folder in container.writable, which is in memory' if compose else 'a folder of data in sandbox.writable'}")
    if denied and kept(app, denied):
        return (f"{denied} is not the app's to use: what was copied to the host has another owner, or a mode for its owner alone. On the host: "
                f"chown -R {app['user']}: {kept(app, denied)} && chmod -R u+rwX {kept(app, denied)}")
    if denied and compose and not denied.startswith(("/proc/", "/sys/", "/dev/", app["root"])):
        return (f"{denied} of the image is open to another user only, and its containers run as the app's own: add `RUN chmod -R a+rX FOLDER` to the "
                "Dockerfile, a+x for a start script, and keep code out of /root")
    return ""


def is_static(app: dict, path: str, text: str) -> bool:
    """Return whether a path is one of static files, or of a command that collects them."""
    roots = [root for root in (app["static"]["root"],) if root.startswith("/")]
    of_release = path.startswith(f"{app['root']}/releases/") and "/static" in path
    return "collectstatic" in text or of_release or any(path == root or path.startswith(f"{root}/") for root in roots)


def kept(app: dict, path: str) -> str:
    """Return the folder on the host of the data that a path of the app lies in, empty for a path elsewhere."""
    places = {f"{app['shared']}/media": f"{app['shared']}/media", app["shared"]: app["shared"]}
    if app["media"]["root"].startswith("/"):
        places[app["media"]["root"]] = f"{app['shared']}/media"
    places.update({folder["path"]: f"{app['shared']}/{folder['name']}" for folder in app["folders"] if folder["path"].startswith("/")})
    found = [place for place in places if path == place or path.startswith(f"{place}/")]
    folder = places[max(found, key=len)] if found else ""
    # A folder of data, not all of them, which are root's.
    return "/".join(path.split("/")[:len(folder.split("/")) + 1]) if folder == app["shared"] else folder
