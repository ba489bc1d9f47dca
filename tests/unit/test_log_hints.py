# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures whose log says why: what a person is told to do."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, host, log_hints
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
    ("python: can't open file '/root/app/manage.py': [Errno 13] Permission denied", COMPOSE, ["/root/app/manage.py of the image"]),
    ("exec /start: permission denied", COMPOSE, ["/start of the image", "a+x"]), ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", {}, []),
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
