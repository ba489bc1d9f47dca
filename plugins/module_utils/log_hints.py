# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a failure whose log says why: one place for all phases. Pure.

What a build of a Python package from source lacks is in ``python_env.hint``.
"""
from __future__ import annotations

import re

READ_ONLY = re.compile(r"Read-only file system:? ?['\"]?(/[^'\"\s]+)?")
DENIED = re.compile(r"Permission denied: ['\"]?(/[^'\"\s]+)"
                    r"|(?:can't open file|exec:?|cannot open|cannot access) ['\"]?(/[^'\":\s]+)['\"]?:.*[Pp]ermission denied"
                    r"|: (/[^:\s]+): Permission denied")
OFFLINE = re.compile(r"OfflineGenerationError|offline compression enabled but key")
SYSTEMD, COMPOSE = "systemd", "compose"
LIMIT = 100_000  # characters that are looked through, from the end of a text
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}  # as the kernel and as Docker call them

# Pattern, the runtime that it counts for (empty: both), and what it means with what to do. The first that matches is told.
TABLE = [(re.compile(pattern), runtime, text) for pattern, runtime, text in (
    (r"toomanyrequests|(?i:too many requests)|pull rate limit", "",
     "the registry limits how often it is asked without a login (429): set registry.user in the app model and the secret REGISTRY_PASSWORD, a token of an "
     "account there; or name a mirror in docker_registry_mirrors and run quayside.django.site; or try again in an hour"),
    (r"exit code: 137|signal: killed|JavaScript heap out of memory|error reading from server: EOF", COMPOSE,
     "the build was killed for its memory, of which it gets half of the host's: let it do less at once (`make -j1`, "
     "`NODE_OPTIONS=--max-old-space-size=1024`), give the host more memory, or build the image elsewhere (images[].repository or images[].archive)"),
    (r"(?i:no space left on device)|\bENOSPC\b|Errno 28\b|(?i:disk quota exceeded)", "",
     "a disk of this host is full. `df -h / /opt /var/lib/docker /var/lib/containerd; docker system df` shows which and by what; `docker image prune` and "
     "a lower keep in the app model free some"),
    (r"exec format error|no matching manifest for|no match for platform in manifest", "",
     "the image is for another processor than this host's ({machine}): build it by `docker buildx build --platform linux/{machine}`, or for several "
     "(linux/amd64,linux/arm64), and deploy that"),
    (r"exec: \"/bin/sh\": ", COMPOSE,
     "the image has no /bin/sh, which runs its commands and its health check: take a base image that has one (python:3.12-slim; of distroless the tag debug)"),
    (r"exec: \"(?P<path>python3?)\": executable file not found", COMPOSE,
     "the first image of the app has no `{path}` in its PATH, which runs manage.py: add `ENV PATH=/path/of/the/venv/bin:$PATH` to its Dockerfile"),
    (r"exec: \"(?P<path>[^\"\n]{1,200})\": (stat [^\n]{1,200}: )?(executable file not found|no such file or directory)", COMPOSE,
     "the image has no program {path}: correct processes[].command, or add its folder to PATH in the Dockerfile (`ENV PATH=…:$PATH`)"),
    (r"chdir to cwd \(\"(?P<path>[^\"\n]{1,200})\"\)[^\n]{0,200}permission denied", COMPOSE,
     "{path} of the image is open to another user only, and its containers run as the app's own: keep code and WORKDIR out of /root, or add "
     "`RUN chmod -R a+rX FOLDER` to the Dockerfile"),
    (r"(?i:setuptools[-_]scm was unable to detect version)", COMPOSE,
     "a build has no history of git to take the version from: add `ARG SETUPTOOLS_SCM_PRETEND_VERSION` to the Dockerfile before the line that installs the "
     "project, and the deploy gives it"),
    (r"(?i:setuptools[-_]scm was unable to detect version)", SYSTEMD,
     "a release has no history of git to take the version from: set python.env in the app model: {{SETUPTOOLS_SCM_PRETEND_VERSION_FOR_<NAME>: \"1.0\"}}, NAME "
     "as the package is called, in capitals and with _ for the dash"),
    (r"certificate signed by unknown authority", "",
     "this host does not trust that certificate: put the registry's authority into docker_registry_certificates and run quayside.django.site"),
    (r"failed to authorize|pull access denied|insufficient_scope|no basic auth credentials|incorrect username or password", COMPOSE,
     "a registry gives this image only to those whom it knows, or has none of that name: look at the name (FROM in the Dockerfile), at registry.server and "
     "registry.user in the app model, and at the secret REGISTRY_PASSWORD"),
)]


def hint(text: str, app: dict, machine: str = "") -> str:
    """Return what to do about what a log says; empty where it says nothing of the kind.

    ``app`` is one of the model; ``machine`` is the host's processor, as ``os.uname`` has it.
    """
    text = text[-LIMIT:]
    compose = app["runtime"] == COMPOSE
    for pattern, runtime, means in TABLE:
        known = pattern.search(text) if runtime in ("", app["runtime"]) else None
        if known:
            return means.format(path=known.groupdict().get("path") or "", machine=MACHINES.get(machine, machine))
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
        other = "the folder in container.writable, which is in memory" if compose else "a folder of data in sandbox.writable"
        return (f"{where} read-only: let a log go to the console (logging.StreamHandler) or to a file below $LOGS, and data to a folder of folders in the app "
                f"model, which outlives releases; or name {other}")
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
    return (not path and "collectstatic" in text) or of_release or any(path == root or path.startswith(f"{root}/") for root in roots)


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
