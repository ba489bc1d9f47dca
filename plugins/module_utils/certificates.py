# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a certificate can serve a site. Pure."""
from __future__ import annotations

import calendar
import time

from ansible_collections.quayside.django.plugins.module_utils.self_signed import alternative, alternatives

DAY = 86400


def covers(pattern: str, name: str) -> bool:
    """Return True when an alternative name of a certificate is good for a wanted one (RFC 6125, 6.4.3).

    >>> covers("DNS:*.example.com", "DNS:shop.example.com"), covers("DNS:*.example.com", "DNS:a.shop.example.com")
    (True, False)
    """
    if pattern.lower() == name.lower():
        return True
    kind, _, tail = pattern.lower().partition(":*.")
    return kind == "dns" and bool(tail) and name.lower().startswith("dns:") and name.lower()[4:].partition(".")[2] == tail


def read(text: str) -> tuple[set[str], float, float]:
    """Return names, first and last moment (seconds since 1970) from what ``openssl x509 -startdate -enddate -ext subjectAltName`` prints."""
    moments = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in ("notBefore", "notAfter"):
            moments[key] = float(calendar.timegm(time.strptime(value.strip().removesuffix(" GMT"), "%b %d %H:%M:%S %Y")))
    return alternatives(text), moments["notBefore"], moments["notAfter"]


def why_not(names: list[str], has: set[str], begins: float, ends: float, now: float) -> str:
    """Return why a certificate cannot serve these names now; empty when it can."""
    if now >= ends:
        return f"it ended {(now - ends) / DAY:.0f} days ago"
    if now < begins:
        return f"it begins in {(begins - now) / DAY:.1f} days: is the clock right?"
    missing = [name for name in names if not any(covers(pattern, alternative(name)) for pattern in has)]
    if missing:
        return f"it is for {', '.join(sorted(has)) or 'no name'}, not for {', '.join(missing)}"
    return ""


def warning(ends: float, now: float, early: float) -> str:
    """Return a warning when a certificate that serves has less than ``early`` days to live; else an empty text."""
    return f"it ends in {(ends - now) / DAY:.0f} days" if ends - now < early * DAY else ""
