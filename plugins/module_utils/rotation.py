# SPDX-License-Identifier: GPL-3.0-or-later
"""How a secret changes while the app serves: what a vault file holds at each step, and what PostgreSQL and Redis are told. Pure.

A rotation has three writes to the vault file, each whole or not at all, and each after the server can do with what it says:

``stage``   NAME_NEXT comes in: instances take both values, the database has a login for the new one; a deploy follows.
``commit``  NAME is the new value and NAME_PREVIOUS the old; PostgreSQL knows the new one, Redis both; a deploy follows.
``finish``  NAME_PREVIOUS goes: nothing takes the old value any more.
"""
from __future__ import annotations

import hashlib

from ansible_collections.quayside.django.plugins.module_utils import model, services

KEEP = 2  # keys in SECRET_KEY_FALLBACKS


class RotationError(ValueError):
    """This secret cannot be changed here; the text says what to do instead."""


def pending(secrets: dict) -> tuple[str, list[str]]:
    """Return how far a rotation has come that was interrupted (``stage``, ``commit`` or empty), and of which secrets."""
    for step, mark in (("stage", "NEXT"), ("commit", "PREVIOUS")):
        found = [name for name in model.ROTATED if secrets.get(f"{name}_{mark}")]
        if found:
            return step, found
    return "", []


def chosen(app: dict, wanted: str) -> list[str]:
    """Return the secrets that ``wanted`` means: a name, or ``all`` that can be made here. Raise RotationError where that is not for us."""
    ours = {"SECRET_KEY": "", "DATABASE_PASSWORD": database_refusal(app), "REDIS_PASSWORD": redis_refusal(app)}
    if not wanted:
        raise RotationError(f"which secret? Add -e secret=NAME: {', '.join(name for name, reason in ours.items() if not reason)}, REGISTRY_PASSWORD, "
                            "one of your own, or all")
    if wanted == "all":
        return [name for name, reason in ours.items() if not reason and app["secrets"].get(name)]
    if ours.get(wanted):
        raise RotationError(ours[wanted])
    if wanted in model.IN_ROTATION or wanted == "SECRET_KEY_FALLBACKS":
        raise RotationError(f"{wanted} belongs to a rotation and is not changed by itself: -e secret=SECRET_KEY")
    if wanted not in app["secrets"]:
        raise RotationError(f"the app {app['name']} has no secret {wanted}; it has {', '.join(sorted(set(app['secrets']) - set(model.IN_ROTATION)))}")
    others = {name for allowed in app["allow"] for name in (allowed.get("users") or {}).values()} | {"SOURCE_KEY", "ACME_EAB_HMAC_KEY"}
    if wanted in others:
        raise RotationError(f"{wanted} is read by the edge or by the next deploy, not by the app: change it with ansible-vault edit, then quayside.django.site")
    if "," in app["secrets"].get("SECRET_KEY", "") and wanted == "SECRET_KEY":
        raise RotationError("SECRET_KEY holds a comma, which separates the keys of SECRET_KEY_FALLBACKS, so sessions could not stay valid: change it by hand "
                            "(ansible-vault edit, then quayside.django.deploy); everybody logs in again")
    return [wanted]


def database_refusal(app: dict) -> str:
    """Return why the database's password is not for us to change."""
    engine = app["database"]["engine"]
    if engine == "external":
        return ("database.engine is external: ask who runs it for a second login with the same rights, put its DATABASE_URL in by -e secret=DATABASE_URL, "
                "and have the first one removed afterwards")
    return "" if engine in ("postgresql", "container") else f"database.engine is {engine}, which has no password"


def redis_refusal(app: dict) -> str:
    """Return why Redis's password is not for us to change."""
    engine = app["cache"]["engine"]
    if engine == "external":
        return ("cache.engine is external: ask who runs it for a second password or user, put the URLs in by -e secret=CACHE_URL (SESSION_URL, "
                "CELERY_BROKER_URL, …), and have the first one removed afterwards")
    if engine == "none":
        return "cache.engine is none"
    return "" if app["secrets"].get("REDIS_PASSWORD") else "this Redis has no password: only the app's group reaches its socket, only its network its container"


def staged(new: dict) -> dict:
    """Return the changes of ``stage``: name -> text; ``new``: name -> new value."""
    return {f"{name}_NEXT": value for name, value in new.items() if name in model.ROTATED}


def committed(secrets: dict, new: dict, keep: int = KEEP) -> dict:
    """Return the changes of ``commit``: name -> text, or None for what goes."""
    changes = {}
    for name, value in new.items():
        changes[name] = value
        if name in model.ROTATED:
            changes.update({f"{name}_NEXT": None, f"{name}_PREVIOUS": secrets.get(name, "")})
        if name == "SECRET_KEY":
            old = [secrets.get(name, ""), *secrets.get("SECRET_KEY_FALLBACKS", "").split(",")]
            changes["SECRET_KEY_FALLBACKS"] = ",".join([key.strip() for key in dict.fromkeys(old) if key.strip() and key.strip() != value][:keep])
    return changes


def finished(names: list[str]) -> dict:
    """Return the changes of ``finish``."""
    return {f"{name}_PREVIOUS": None for name in names if name in model.ROTATED}


# PostgreSQL

def second_login(app: dict, password: str, salt: bytes, there: bool) -> list[str]:
    """Return the SQL that gives the app a second login, which is its role as soon as it is logged in: all that it makes belongs to that."""
    role, owner = services.identifier(model.rotation_role(app)), services.identifier(app["database"]["user"])
    secret = services.literal(services.verifier(password, salt))
    made = [f"ALTER ROLE {role} LOGIN PASSWORD {secret};"] if there else [f"CREATE ROLE {role} LOGIN PASSWORD {secret};"]
    return [*made, f"GRANT {owner} TO {role};", f"ALTER ROLE {role} SET role = {services.literal(app['database']['user'])};"]


def new_password(app: dict, password: str, salt: bytes) -> str:
    """Return the SQL that gives the app's role another password."""
    return f"ALTER ROLE {services.identifier(app['database']['user'])} PASSWORD {services.literal(services.verifier(password, salt))};"


def no_second_login(app: dict) -> list[str]:
    """Return the SQL that ends the second login. It owns nothing, unless somebody has set its role back."""
    role, owner = services.identifier(model.rotation_role(app)), services.identifier(app["database"]["user"])
    return [f"REASSIGN OWNED BY {role} TO {owner};", f"DROP OWNED BY {role};", f"DROP ROLE {role};"]


# Redis

def redis_hash(password: str) -> str:
    """Return what Redis keeps of a password."""
    return hashlib.sha256(password.encode()).hexdigest()


def redis_commands(have: list[str], wanted: list[str]) -> list[list[str]]:
    """Return the commands after which the default user takes these passwords and no others; ``have``: the hashes that it takes. New ones come first."""
    hashes = [redis_hash(password) for password in wanted]
    return [["ACL", "SETUSER", "default", f"#{one}"] for one in hashes if one not in have] + \
           [["ACL", "SETUSER", "default", f"!{one}"] for one in have if one not in hashes]


def redis_line(first: str, other: str) -> str:
    """Return the line of Redis's file that lets the default user have two passwords, after a restart too; it holds hashes alone."""
    return f"user default on ~* &* +@all #{redis_hash(first)} #{redis_hash(other)}" if other else ""


def redis_file(text: str, first: str, other: str) -> str:
    """Return Redis's file with other passwords, exactly as the role writes it with them."""
    lines = []
    for line in text.splitlines():
        if line.startswith("user default "):
            continue
        if line.startswith("requirepass "):
            line = services.requirepass(first)
            lines.append(line)
            lines += [redis_line(first, other)] * bool(other)
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"
