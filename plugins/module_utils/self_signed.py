# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a self-signed certificate has to be made anew, and the command that makes it."""

from __future__ import annotations

import ipaddress


def alternative(name: str) -> str:
    """A name or an address as a subject alternative name (RFC 5280, 4.2.1.6).

    >>> alternative("Shop.example.com"), alternative("10.0.0.2"), alternative("[2001:db8::1]")
    ('DNS:shop.example.com', 'IP:10.0.0.2', 'IP:2001:db8::1')
    """
    try:
        return f"IP:{ipaddress.ip_address(name.strip('[]'))}"
    except ValueError:
        return f"DNS:{name.lower()}"


def alternatives(text: str) -> set[str]:
    """The names in what `openssl x509 -ext subjectAltName` prints.

    >>> sorted(alternatives("X509v3 Subject Alternative Name: \\n    DNS:a.b, IP Address:2001:DB8:0:0:0:0:0:1\\n"))
    ['DNS:a.b', 'IP:2001:db8::1']
    """
    found = set()
    for word in text.replace("\n", ",").split(","):
        kind, _, value = word.strip().partition(":")
        if kind == "DNS" or kind == "IP Address":
            found.add(alternative(value))
    return found


def why_anew(names: list[str], has: set[str] | None, fits: bool, days: float, renew_before: float) -> str:
    """Why a certificate has to be made; empty when it can stay. `has` is None when there is no certificate, `fits` tells
    whether the key belongs to it, `days` is how long it lives."""
    wanted = {alternative(name) for name in names}
    if has is None:
        return "there is none"
    if not fits:
        return "the key does not belong to it"
    if wanted != has:
        return f"it is for {', '.join(sorted(has)) or 'no names'}"
    if days < renew_before:
        return f"it has {days:.0f} days left"
    return ""


def command(openssl: str, names: list[str], days: int, certificate: str, key: str) -> list[str]:
    """The argv that makes key and certificate."""
    request = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"]
    request += ["-days", str(days), "-subj", f"/CN={names[0][:64]}"]
    request += ["-addext", "subjectAltName=" + ",".join(alternative(name) for name in names)]
    # Python 3.13 trusts no certificate authority without key usage, and this is its own.
    request += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-addext", "extendedKeyUsage=serverAuth"]
    return request + ["-keyout", key, "-out", certificate]
