# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps that the tests of the core begin with."""

from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils import model

SECRETS = {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12}
RELEASE = "20261121072900-0123abc"
CELERY = [
    {"name": "web", "command": "gunicorn shop.wsgi"},
    {"name": "worker", "command": "celery -A shop worker", "count": 2},
    {"name": "beat", "command": "celery -A shop beat"},
]


def written(**fields):
    """Return a small app as a user writes it, with other fields."""
    app = {"name": "pos", "domains": ["pos.example.com"], "source": {"repo": "https://git.example.com/pos.git"}, "settings": "pos.settings"}
    return {**app, "secrets": dict(SECRETS), **fields}


def loaded(**fields):
    """Return such an app as the model loads it."""
    return model.load([written(**fields)])[0]
