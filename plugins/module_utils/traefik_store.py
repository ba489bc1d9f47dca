# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that Traefik has fetched, in the file in which it keeps them. Pure."""
from __future__ import annotations

import base64
import binascii
import json
import ssl

from ansible_collections.quayside.django.plugins.module_utils import served
from ansible_collections.quayside.django.plugins.module_utils.certificates import covered
from ansible_collections.quayside.django.plugins.module_utils.http_health import days_left


def held(text: str, names: list[str], now: float) -> list[str]:
    """Return those of the names for which a file of Traefik's has a certificate that has not ended at ``now`` (seconds since 1970)."""
    found: set = set()
    for one in stored(text):
        try:
            der = ssl.PEM_cert_to_DER_cert(first(base64.b64decode(one["certificate"]).decode("ascii")))
            if days_left(der, now) > 0:
                found |= served.names(der)
        except (KeyError, TypeError, ValueError, IndexError, binascii.Error):
            continue
    return covered(names, found)


def stored(text: str) -> list[dict]:
    """Return the certificates in a file of Traefik's; none when it cannot be read."""
    try:
        return [one for resolver in json.loads(text).values() for one in (resolver or {}).get("Certificates") or []]
    except (ValueError, AttributeError):
        return []


def first(chain: str) -> str:
    """Return the first certificate of a chain."""
    return chain.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"


def without(text: str) -> str:
    """Return the file with its account and without its certificates, so that Traefik asks for all of them when it starts."""
    found = json.loads(text)
    return json.dumps({name: dict(resolver, Certificates=None) for name, resolver in found.items()}, indent=2)
