# SPDX-License-Identifier: GPL-3.0-or-later
"""Since when each secret of an app has the value that it has on this host. Values are told by salted hashes that only root reads."""
from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets as random
import time

from ansible_collections.quayside.django.plugins.module_utils import host, model

DAY = 86400


def path(app: dict) -> str:
    """Return where the ages of an app's secrets are kept."""
    return f"{app['root']}/secrets.json"


def own(app: dict, secrets: dict) -> dict:
    """Return the secrets that a person or a vault gives, without what is made from them: URLs of services of ours, and keys of before."""
    made = {"SECRET_KEY_FALLBACKS", "DATABASE_USER", *app["aliases"]}
    made |= {"DATABASE_URL"} if app["database"]["engine"] in ("postgresql", "container") else set()
    made |= {"REDIS_URL", "CACHE_URL", "SESSION_URL", "CELERY_BROKER_URL", "CELERY_RESULT_URL"} if app["cache"]["engine"] in ("redis", "container") else set()
    return {name: value for name, value in secrets.items() if value and name not in made}


def merged(before: dict, secrets: dict, now: float) -> dict:
    """Return name -> {salt, hash, since} for the secrets of today: one that has not changed keeps its date."""
    found = {}
    for name, value in secrets.items():
        have = before.get(name) or {}
        same = bool(have) and hmac.compare_digest(str(have.get("hash", "")), fingerprint(str(have.get("salt", "")), name, value))
        salt = have["salt"] if same else random.token_hex(16)
        found[name] = {"salt": salt, "hash": fingerprint(salt, name, value), "since": have["since"] if same else int(now)}
    return found


def fingerprint(salt: str, name: str, value: str) -> str:
    """Return the hash of a value."""
    return hashlib.sha256("\0".join((salt, name, value)).encode()).hexdigest()


def read(app: dict) -> dict:
    """Return what is kept, empty when there is nothing."""
    with contextlib.suppress(ValueError):
        return json.loads(host.text(path(app)) or "{}")
    return {}


def note(app: dict, secrets: dict) -> None:
    """Keep the ages of the secrets of today."""
    before = read(app)
    unseen = {name: before[name] for name in model.DEPLOY_SECRETS if name in before}  # a rollback needs none of them
    after = {**unseen, **merged(before, own(app, secrets), time.time())}
    if after != before or not os.path.exists(path(app)):
        host.write(path(app), json.dumps(after, indent=1, sort_keys=True) + "\n", 0o600)


def days(kept: dict, now: float) -> dict:
    """Return name -> whole days since its value has changed on this host."""
    return {name: max(0, int((now - entry.get("since", now)) // DAY)) for name, entry in sorted(kept.items())}


def lines(ages: dict, oldest: int) -> list[str]:
    """Return the ages for people; one that is older than ``oldest`` days says so."""
    rotate = {name: "quayside.django.rotate" if name not in model.DEPLOY_SECRETS or name == "REGISTRY_PASSWORD" else "docs/secrets.md" for name in ages}
    return [f"  {'secret':<9} {name}  {number} day{'' if number == 1 else 's'}"
            + (f", older than {oldest}: change it ({rotate[name]})" if oldest and number > oldest else "") for name, number in ages.items()]
