# SPDX-License-Identifier: GPL-3.0-or-later
"""Names with letters beyond ASCII, as DNS, certificates and browsers write them. Pure."""
from __future__ import annotations

# Letters that IDNA of 2003, which Python brings, writes in another way than browsers do today (UTS #46, "Deviations").
DEVIATIONS = "\u00df\u03c2\u200c\u200d"


def ascii_name(name: str) -> str:
    """Return a name in small letters and in punycode (``xn--…``), as it is where that cannot be said for sure: its check refuses it then.

    >>> ascii_name("Bücher.example.com"), ascii_name("*.bücher.example.com"), ascii_name("shop.example.com")
    ('xn--bcher-kva.example.com', '*.xn--bcher-kva.example.com', 'shop.example.com')
    """
    name = name.lower()
    if name.isascii():
        return name
    star, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        return name if any(letter in rest for letter in DEVIATIONS) else star + rest.encode("idna").decode()
    except (UnicodeError, ValueError):
        return name
