# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an authority wants a certificate back: it says when each is to be renewed (RFC 9773), and of a revoked one that it should have been already."""
from __future__ import annotations

import base64
import calendar
import json
import ssl
import time
import urllib.request

from ansible_collections.quayside.django.plugins.module_utils import served
from ansible_collections.quayside.django.plugins.module_utils.http_health import tlv

TIMEOUT = 10
AUTHORITY_KEY = b"\x06\x03\x55\x1d\x23"  # the object 2.5.29.35 (RFC 5280, 4.2.1.1)


def identifier(der: bytes) -> str:
    """Return the name by which an authority knows a certificate (RFC 9773, 4.1), empty when it does not say whose key has signed it."""
    at = der.find(AUTHORITY_KEY)
    if at < 0:
        return ""
    _, value, _ = tlv(der, at + len(AUTHORITY_KEY))
    tag, key, _ = tlv(tlv(value, 0)[1], 0)
    return f"{word(key)}.{word(bytes.fromhex(served.serial(der)))}" if tag == 0x80 else ""


def word(data: bytes) -> str:
    """Return bytes as base64url without its padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def overdue(answer: dict, now: float) -> bool:
    """Return True when the time in which a certificate was to be renewed is over.

    >>> overdue({"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}, 1800000000)
    True
    """
    ends = str(answer.get("suggestedWindow", {}).get("end", ""))[:19]
    try:
        return calendar.timegm(time.strptime(ends, "%Y-%m-%dT%H:%M:%S")) < now
    except ValueError:
        return False


def why(chain: str, server: str, bundle: str) -> str:
    """Return why an authority wants a certificate renewed now; empty when it does not, or says nothing of it.

    ``bundle`` is the path of authorities that are believed beside the system's; empty for none.
    """
    context = ssl.create_default_context()
    if bundle:
        context.load_verify_locations(bundle)

    def get(url: str) -> dict:
        with urllib.request.urlopen(url, timeout=TIMEOUT, context=context) as answer:
            return json.loads(answer.read(100000))

    try:
        name = identifier(ssl.PEM_cert_to_DER_cert(chain.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"))
        place = get(server).get("renewalInfo", "")
        if name and place and overdue(get(f"{place}/{name}"), time.time()):
            return "its authority wants it renewed at once, as of one that is revoked"
    except (OSError, ValueError):
        return ""
    return ""
