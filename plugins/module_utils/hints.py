# SPDX-License-Identifier: GPL-3.0-or-later
"""What an error text of Docker, a registry, a build or Python means, and what to do about it: one table for all phases. Pure.

What a build of a Python package from source lacks is in ``python_env.hint``.
"""
from __future__ import annotations

import re

SYSTEMD, COMPOSE = "systemd", "compose"
LIMIT = 100_000  # characters that are looked through, from the end of a text
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}  # as the kernel and as Docker call them

UNREADABLE = ("containers run as the app's own Unix user, who may not enter {path}: in the Dockerfile keep code and venv out of /root and of homes with mode "
              "0700, or open them by `RUN chmod -R a+rX FOLDER`")
STATIC = ("static files are collected by the deploy and are read-only for what runs: leave collectstatic out of the start script of the image; other commands "
          "that write there (`compress`) belong into commands of the app model")
KEPT = ("let a log go to the console (logging.StreamHandler) or to a file below $LOGS; name a folder of data in folders of the app model "
        "({{name: …, path: …}}), ")

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
    (r"exec: \"(?P<path>[^\"\n]{1,200})\": (stat [^\n]{1,200}: )?permission denied", COMPOSE, UNREADABLE),
    (r"chdir to cwd \(\"(?P<path>[^\"\n]{1,200})\"\)[^\n]{0,200}permission denied", COMPOSE, UNREADABLE),
    (r"can't open file '(?P<path>/[^'\n]{1,200})': \[Errno 13\]", COMPOSE, UNREADABLE),
    (r"Errno 13\] Permission denied: '(?P<path>/(?:root|home)/[^'\n]{1,200})'", COMPOSE, UNREADABLE),
    (r"Errno 13\] Permission denied: '(?P<path>/[^'\n]{1,200})'", COMPOSE,
     "containers run as the app's own Unix user, who may not use {path}: " + KEPT + "one that may be empty at each start in container.writable; files of the "
     "image are opened by `RUN chmod -R a+rX FOLDER` in the Dockerfile"),
    (r"Errno 30\] Read-only file system: '(?P<path>[^'\n]{1,200})'", COMPOSE,
     "the files of an image are read-only, and the app writes {path}: " + KEPT + "one that may be empty at each start in container.writable"),
    (r"Errno 30\] Read-only file system: '(?P<path>[^'\n]{1,200})'", SYSTEMD,
     "an app writes to its own folders only, and this one writes {path}: " + KEPT + "or one elsewhere in sandbox.writable"),
    (r"(?i:setuptools[-_]scm was unable to detect version)", COMPOSE,
     "a build has no history of git to take the version from: add `ARG SETUPTOOLS_SCM_PRETEND_VERSION` to the Dockerfile before the line that installs the "
     "project, and the deploy gives it"),
    (r"certificate signed by unknown authority", "",
     "this host does not trust that certificate: put the registry's authority into docker_registry_certificates and run quayside.django.site"),
    (r"failed to authorize|pull access denied|insufficient_scope|no basic auth credentials|incorrect username or password", COMPOSE,
     "a registry gives this image only to those whom it knows, or has none of that name: look at the name (FROM in the Dockerfile), at registry.server and "
     "registry.user in the app model, and at the secret REGISTRY_PASSWORD"),
)]


def meaning(text: str, app: dict, machine: str = "") -> str:
    """Return what an error text means and what to do, empty for one that is not in the table. ``machine``: the host's, as ``os.uname`` has it."""
    text = text[-LIMIT:]
    for pattern, runtime, means in TABLE:
        found = pattern.search(text) if runtime in ("", app["runtime"]) else None
        if not found:
            continue
        path = found.groupdict().get("path") or ""
        if "Read-only" in found[0] and runtime == COMPOSE and is_static(path, app):
            return STATIC
        return means.format(path=path, machine=MACHINES.get(machine, machine))
    return ""


def is_static(path: str, app: dict) -> bool:
    """Return whether a path lies in the folder of the static files of a release."""
    root = app["static"]["root"]
    return bool(re.match(rf"{re.escape(app['root'])}/releases/[^/]+/static(/|\Z)", path) or (root and (path + "/").startswith(root + "/")))
