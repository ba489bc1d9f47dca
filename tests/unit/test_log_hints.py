# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures whose log says why: what a person is told to do."""
from __future__ import annotations

import errno

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, host, log_hints
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from samples import RELEASE, loaded

COMPOSE = {"runtime": "compose", "media": {"root": "/app/media"}, "static": {"root": "/app/static"}, "folders": [{"name": "spool", "path": "/app/spool"}]}


@pytest.mark.parametrize(("log", "fields", "words"), [
    ("OSError: [Errno 30] Read-only file system: '/app/static/admin/base.css'", COMPOSE, ["take collectstatic out of the start script"]),
    ("+ python manage.py collectstatic --noinput\nPermissionError: [Errno 13] Permission denied: '/opt/pos/releases/x/static/a.css'", {}, ["collectstatic"]),
    (f"OSError: [Errno 30] Read-only file system: '/opt/pos/releases/{RELEASE}/static/a'", COMPOSE, ["collectstatic"]),
    ("sh: 1: cannot create /app/x.pid: Read-only file system", COMPOSE, ["container.writable", "folders"]),
    ("OSError: [Errno 30] Read-only file system: '/opt/pos/releases/x/code/db.lock'", {}, ["db.lock is read-only", "sandbox.writable"]),
    ("compressor.exceptions.OfflineGenerationError: You have offline compression enabled but key \"1\" is missing", {}, ["compress --force", "commands"]),
    ("PermissionError: [Errno 13] Permission denied: '/app/media/covers/a.png'", COMPOSE, ["chown -R pos: /opt/pos/shared/media"]),
    ("PermissionError: [Errno 13] Permission denied: '/opt/pos/shared/spool/a'", {}, ["chown -R pos: /opt/pos/shared/spool"]),
    ("PermissionError: [Errno 13] Permission denied: '/app/spool/a'", COMPOSE, ["chown -R pos: /opt/pos/shared/spool"]),
    ("PermissionError: [Errno 13] Permission denied: '/app/config/settings.py'", COMPOSE, ["/app/config/settings.py of the image", "chmod -R a+rX"]),
    ("python: can't open file '/home/pos/app/manage.py': [Errno 13] Permission denied", COMPOSE, ["/home/pos/app/manage.py of the image"]),
    ("exec /start: permission denied", COMPOSE, ["/start of the image", "a+x"]), ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", {}, []),
    ("manage.py collectstatic failed\nOSError: [Errno 30] Read-only file system: '/app/logs/x.log'", COMPOSE,
     ["/app/logs/x.log is read-only", "StreamHandler"]),
    ("connection refused", COMPOSE, []), ("", {}, []),
])
def test_a_log_that_says_why_has_a_way_out(log, fields, words):
    found = log_hints.hint(log, loaded(**fields))
    assert bool(found) is bool(words)
    assert all(word in found for word in words), found


def test_a_failed_phase_tells_it():
    error = host.PhaseError("web died at its start", "OSError: [Errno 30] Read-only file system: '/app/static/a.css'")
    assert "take collectstatic out" in str(deploy.failure("probe", error, loaded(**COMPOSE)))
    assert "to do:" not in str(deploy.failure("probe", host.PhaseError("web died at its start", "boom"), loaded(**COMPOSE)))


HUB = ("toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit")
KILLED = 'ERROR: failed to solve: process "/bin/sh -c npm run build" did not complete successfully: exit code: 137'


@pytest.mark.parametrize(("text", "words"), [
    (HUB, "registry.user in the app model and the secret REGISTRY_PASSWORD"),
    ("429 Too Many Requests - Server message: toomanyrequests", "limits how often it is asked"),
    (KILLED, "killed for its memory"),
    ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "NODE_OPTIONS=--max-old-space-size"),
    ("ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF", "killed for its memory"),
    ("write /var/lib/containerd/io.containerd.content.v1.content/ingest/1: no space left on device", "/var/lib/containerd"),
    ("OSError: [Errno 28] No space left on device: '/x'", "a disk of this host is full"),
    ("exec /usr/local/bin/gunicorn: exec format error", "another processor than this host's (amd64)"),
    ("no matching manifest for linux/amd64 in the manifest list entries", "--platform linux/amd64"),
    ('OCI runtime create failed: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown', "the image has no /bin/sh"),
    ('exec: "python": executable file not found in $PATH: unknown', "the first image of the app has no `python`"),
    ('exec: "gunicorn": executable file not found in $PATH: unknown', "the image has no program gunicorn"),
    ('exec: "/start": stat /start: no such file or directory: unknown', "the image has no program /start"),
    ('OCI runtime create failed: chdir to cwd ("/home/django/app") set in config.json failed: permission denied: unknown',
     "/home/django/app of the image is open to another user only"),
    ("LookupError: setuptools-scm was unable to detect version for /app.", "ARG SETUPTOOLS_SCM_PRETEND_VERSION"),
    ("x509: certificate signed by unknown authority", "docker_registry_certificates"),
    ("failed to authorize: failed to fetch oauth token: 401 Unauthorized", "FROM in the Dockerfile"),
    ("LookupError: setuptools-scm was unable to detect version",
     "ARG SETUPTOOLS_SCM"),
    ("ValueError: no", ""),
    ("", ""),
])
def test_an_error_of_a_container_is_told_with_what_to_do(text, words):
    app = loaded(runtime="compose", static={"root": "/app/static"})
    found = log_hints.hint(f"some line before\n{text}\nand one after", app, "x86_64")
    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize(("text", "words"), [
    ("OSError: [Errno 28] No space left on device", "a disk of this host is full"),
    ("setuptools-scm was unable to detect version", "python.env in the app model: {SETUPTOOLS_SCM_PRETEND_VERSION_FOR_<NAME>: \"1.0\"}"),
    (KILLED, ""),
])
def test_what_counts_for_containers_is_not_told_of_units(text, words):
    found = log_hints.hint(text, loaded(), "x86_64")
    assert words in found
    assert bool(found) is bool(words)




@pytest.mark.parametrize("error", [PhaseError("it died", "x\n" * 50 + HUB + "\ny" * 100), EngineError(500, HUB)])
def test_a_failed_phase_says_it_also_where_the_cause_stands_above_the_lines_that_are_shown(error):
    text = str(deploy.failure("build", error, loaded(runtime="compose")))
    assert text.count("to do: the registry limits") == 1


def test_a_full_disk_is_told_of_any_file():
    text = str(deploy.failure("fetch", OSError(errno.ENOSPC, "No space left on device", "/opt/pos/x"), loaded()))
    assert "No space left on device: /opt/pos/x\nto do: a disk of this host is full" in text


def test_what_the_reason_says_already_is_not_said_twice():
    app = loaded(runtime="compose")
    assert "to do:" not in str(deploy.failure("resolve", PhaseError(log_hints.hint(HUB, app) + HUB), app))
