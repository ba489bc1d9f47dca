# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that Traefik has fetched, in the file in which it keeps them: which are good, and what the file is without some or with others."""
from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile

from ansible_collections.quayside.django.plugins.module_utils import served
from ansible_collections.quayside.django.plugins.module_utils.certificates import covered, listed
from ansible_collections.quayside.django.plugins.module_utils.http_health import days_left


def held(text: str, names: list[str], now: float) -> list[str]:
    """Return those of the names for which a file of Traefik's has a good certificate at ``now`` (seconds since 1970)."""
    return covered(names, {name for one in stored(text) if not fault(one, now) for name in served.names(leaf(one))})


def stored(text: str) -> list[dict]:
    """Return the certificates in a file of Traefik's; none when it cannot be read."""
    try:
        return [one for resolver in json.loads(text).values() for one in (resolver or {}).get("Certificates") or []]
    except (ValueError, AttributeError):
        return []


def readable(text: str) -> bool:
    """Return whether Traefik can go on with a file: an empty one is a new one."""
    try:
        return not text.strip() or isinstance(json.loads(text), dict)
    except ValueError:
        return False


def asked(one: dict) -> list[str]:
    """Return the names for which Traefik has asked for a certificate, and for which it does not ask again."""
    domain = one.get("domain") or {}
    return [name for name in (domain.get("main"), *(domain.get("sans") or [])) if name]


def chain(one: dict) -> str:
    """Return a certificate and those that vouch for it, as PEM."""
    return base64.b64decode(one["certificate"]).decode("ascii")


def leaf(one: dict) -> bytes:
    """Return a certificate as DER."""
    return ssl.PEM_cert_to_DER_cert(first(chain(one)))


def first(text: str) -> str:
    """Return the first certificate of a chain."""
    return text.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"


def fault(one: dict, now: float) -> str:
    """Return why a certificate in the file cannot serve the names that it was asked for; empty when it can."""
    try:
        days, names = days_left(leaf(one), now), served.names(leaf(one))
        if not belongs(chain(one), base64.b64decode(one["key"]).decode("ascii")):
            return "its key is another one"
    except (KeyError, TypeError, ValueError, IndexError):
        return "it cannot be read"
    if days <= 0:
        return f"it ended {-days:.1f} days ago"
    lacking = [name for name in asked(one) if not covered([name], names)]
    return f"it is for {listed(names)}, not for {', '.join(lacking)}" if lacking else ""


def belongs(text: str, key: str) -> bool:
    """Return whether a key is that of a chain. Python reads keys from files only: these are root's, and gone at once."""
    with tempfile.TemporaryDirectory(prefix="quayside-") as folder:
        for name, what in (("chain", text), ("key", key)):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(what)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(os.path.join(folder, "chain"), os.path.join(folder, "key"), password="")
        except ssl.SSLError:
            return False
    return True


def useless(text: str, names: list[str], now: float, unwanted=lambda one: "") -> list[tuple[dict, str]]:
    """Return the certificates that keep Traefik from asking for one of the names anew, each with why it is of no use.

    ``unwanted`` says of a good one why it has to go nevertheless. One whose names another one serves is in nobody's way.
    """
    found = [(one, fault(one, now) or (unwanted(one) if set(names) & set(asked(one)) else "")) for one in stored(text)]
    good = {name for one, why in found if not why for name in served.names(leaf(one))}
    return [(one, why) for one, why in found if why and any(name in names and not covered([name], good) for name in asked(one))]


def without(text: str, gone: list[dict]) -> str:
    """Return the file with its account and without these certificates, so that Traefik asks for them when it starts."""
    return changed(text, lambda have: [one for one in have if one not in gone])


def including(text: str, more: list[dict]) -> str:
    """Return the file with these certificates beside its own."""
    return changed(text, lambda have: have + more)


def changed(text: str, change) -> str:
    """Return the file with what ``change`` makes of its certificates; an empty text for one that cannot be read."""
    if not text.strip() or not readable(text):
        return ""
    found = {name: dict(resolver or {}) for name, resolver in json.loads(text).items()}
    return json.dumps({name: {**one, "Certificates": change(one.get("Certificates") or []) or None} for name, one in found.items()}, indent=2)
