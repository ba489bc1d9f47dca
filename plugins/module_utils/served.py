# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that an edge really serves for a name, by a TLS handshake with that name. The same for every edge."""
from __future__ import annotations

import ipaddress
import socket
import ssl
import time

from ansible_collections.quayside.django.plugins.module_utils.certificates import DAY, covered
from ansible_collections.quayside.django.plugins.module_utils.http_health import days_left, tlv

TIMEOUT = 3
ALTERNATIVE_NAMES = b"\x06\x03\x55\x1d\x11"  # the object 2.5.29.17 (RFC 5280, 4.2.1.6)


def certificate(name: str, address: str = "127.0.0.1", port: int = 443) -> bytes:
    """Return the certificate (DER) that is served for a name, empty when none is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), TIMEOUT) as plain, context.wrap_socket(plain, server_hostname=asked(name)) as secure:
            return secure.getpeercert(True) or b""
    except (OSError, ValueError):
        return b""


def asked(name: str) -> str:
    """Return the name that a client would ask for.

    >>> asked("*.example.com"), asked("2001:db8::1")
    ('quayside.example.com', '2001:db8::1')
    """
    return name.replace("*", "quayside", 1)


def names(der: bytes) -> set[str]:
    """Return the alternative names of a certificate, as ``DNS:shop.example.com`` and ``IP:10.0.0.2``."""
    at = der.find(ALTERNATIVE_NAMES)
    if at < 0:
        return set()
    tag, value, after = tlv(der, at + len(ALTERNATIVE_NAMES))
    if tag == 0x01:  # that it is critical
        tag, value, after = tlv(der, after)
    _, inside, _ = tlv(value, 0)
    found, position = set(), 0
    while position < len(inside):
        tag, value, position = tlv(inside, position)
        if tag == 0x82:
            found.add(f"DNS:{value.decode('ascii', 'replace').lower()}")
        elif tag == 0x87:
            found.add(f"IP:{ipaddress.ip_address(value)}")
    return found


def serial(der: bytes) -> str:
    """Return the serial number of a certificate in hexadecimal."""
    _, tbs, _ = tlv(tlv(der, 0)[1], 0)
    tag, value, after = tlv(tbs, 0)
    return (tlv(tbs, after)[1] if tag == 0xA0 else value).hex()


def look(name: str) -> dict:
    """Return what is served for a name: ``secure`` (a certificate for it that has not ended), ``fits``, ``days``, ``serial`` and ``why`` not."""
    der = certificate(name)
    if not der:
        return {"secure": False, "fits": False, "days": None, "serial": "", "why": "no certificate"}
    days, fits = days_left(der, time.time()), bool(covered([asked(name)], names(der)))
    why = "" if fits and days > 0 else f"a certificate that ended {-days:.1f} days ago" if fits else \
        f"a certificate for {', '.join(sorted(names(der))) or 'no name'}"
    return {"secure": not why, "fits": fits, "days": round(days, 3), "serial": serial(der), "why": why}


def left(days: float) -> str:
    """Return days for people.

    >>> left(89.7), left(0.01)
    ('89 days', '14 minutes')
    """
    return f"{int(days)} days" if days >= 1 else f"{int(days * DAY / 60)} minutes"
