# SPDX-License-Identifier: GPL-3.0-or-later
"""What error texts of Docker, registries, builds and Python mean. The texts are as the programs write them."""
import errno

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, hints
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from samples import RELEASE, loaded

HUB = ("toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit")
KILLED = 'ERROR: failed to solve: process "/bin/sh -c npm run build" did not complete successfully: exit code: 137'
HANDLER = ("OSError: [Errno 30] Read-only file system: '/app/logs/django.log'\n\nThe above exception was the direct cause of the following exception:\n\n"
           "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: Unable to configure handler 'file'")


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
    ('exec: "/home/django/.venv/bin/gunicorn": stat /home/django/.venv/bin/gunicorn: permission denied: unknown',
     "may not enter /home/django/.venv/bin/gunicorn"),
    ('OCI runtime create failed: chdir to cwd ("/home/django/app") set in config.json failed: permission denied: unknown', "may not enter /home/django/app"),
    ("python: can't open file '/home/django/app/manage.py': [Errno 13] Permission denied", "RUN chmod -R a+rX FOLDER"),
    ("PermissionError: [Errno 13] Permission denied: '/app/data/db.json'", "folders of the app model ({name: …, path: …})"),
    (HANDLER, "the app writes /app/logs/django.log: let a log go to the console"),
    ("OSError: [Errno 30] Read-only file system: '/app/static/css/x.css'", "leave collectstatic out of the start script"),
    (f"OSError: [Errno 30] Read-only file system: '/opt/pos/releases/{RELEASE}/static/CACHE'", "commands of the app model"),
    ("LookupError: setuptools-scm was unable to detect version for /app.", "ARG SETUPTOOLS_SCM_PRETEND_VERSION"),
    ("x509: certificate signed by unknown authority", "docker_registry_certificates"),
    ("failed to authorize: failed to fetch oauth token: 401 Unauthorized", "FROM in the Dockerfile"),
    ("ValueError: no", ""),
    ("", ""),
])
def test_an_error_of_a_container_is_told_with_what_to_do(text, words):
    app = loaded(runtime="compose", static={"root": "/app/static"})
    found = hints.meaning(f"some line before\n{text}\nand one after", app, "x86_64")
    assert words in found
    assert bool(found) is bool(words)
    assert not ("{name" in words and "{{" in found)


@pytest.mark.parametrize(("text", "words"), [
    ("OSError: [Errno 30] Read-only file system: '/srv/x/a.log'", "sandbox.writable"),
    ("OSError: [Errno 28] No space left on device", "a disk of this host is full"),
    (KILLED, ""), ("PermissionError: [Errno 13] Permission denied: '/x'", ""),
])
def test_what_counts_for_containers_is_not_told_of_units(text, words):
    found = hints.meaning(text, loaded(), "x86_64")
    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize("error", [PhaseError("it died", "x\n" * 50 + HUB + "\ny" * 100), EngineError(500, HUB)])
def test_a_failed_phase_says_it_also_where_the_cause_stands_above_the_lines_that_are_shown(error):
    text = str(deploy.failure("build", error, loaded(runtime="compose")))
    assert text.count("it means: the registry limits") == 1


def test_a_full_disk_is_told_of_any_file():
    text = str(deploy.failure("fetch", OSError(errno.ENOSPC, "No space left on device", "/opt/pos/x"), loaded()))
    assert "No space left on device: /opt/pos/x\nit means: a disk of this host is full" in text


def test_what_the_reason_says_already_is_not_said_twice():
    app = loaded(runtime="compose")
    assert "it means" not in str(deploy.failure("resolve", PhaseError(hints.meaning(HUB, app) + HUB), app))
