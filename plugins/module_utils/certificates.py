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


def covered(names: list[str], has: set[str]) -> list[str]:
    """Return those of the names that a certificate with these alternative names is good for."""
    return [name for name in names if any(covers(pattern, alternative(name)) for pattern in has)]


def why_not(names: list[str], has: set[str], begins: float, ends: float, now: float) -> str:
    """Return why a certificate cannot serve any of these names now; empty when it can."""
    if now >= ends:
        return f"it ended {span(now - ends)} ago"
    if now < begins:
        return f"it begins in {(begins - now) / DAY:.1f} days: is the clock right?"
    if not covered(names, has):
        return f"it is for {listed(has)}, not for {', '.join(names)}"
    return ""


def span(seconds: float) -> str:
    """Return a time for people.

    >>> span(3 * 86400), span(3600), span(90)
    ('3 days', '60 minutes', '1 minutes')
    """
    return f"{seconds / DAY:.0f} days" if seconds >= DAY else f"{seconds // 60:.0f} minutes"


def listed(has: set[str]) -> str:
    """Return the names of a certificate for people."""
    return ", ".join(sorted(has)) or "no name"


def warning(ends: float, now: float, early: float) -> str:
    """Return a warning when a certificate that serves has less than ``early`` days to live; else an empty text."""
    return f"it ends in {span(ends - now)}" if ends - now < early * DAY else ""


def share(found: list[dict]) -> dict:
    """Return site -> its certificates with the names that each serves: the first that is good for a name has it.

    ``found`` are dicts with site, certificate, key and good, the names that it is good for.
    """
    sites: dict = {}
    for one in found:
        held = sites.setdefault(one["site"], [])
        taken = {name for other in held for name in other["names"]}
        names = [name for name in one["good"] if name not in taken]
        if names:
            held.append({"names": names, "certificate": one["certificate"], "key": one["key"]})
    return {site: held for site, held in sites.items() if held}
