# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions that find a path in a request's target as it came, in whatever spelling: edges judge with them what an app will see. Pure.

A server of Python apps decodes the target once (PEP 3333), and resolves neither dots nor double slashes. nginx judges a path that it has decoded, merged
and resolved. So a rule of the edge holds only where both agree. All expressions are for PCRE and ``re``, from the beginning of the target, without
regard to capitals, and work on bytes: what is not ASCII is one byte after another. Quantifiers are possessive (``++``) where they could else be tried in
as many ways as a long target has parts.
"""
from __future__ import annotations

import re

LONGEST = 3900  # bytes of an expression; nginx reads words of its configuration up to 4096 bytes (NGX_CONF_BUFFER)
PERCENT = "%(?:25)*"  # a percent sign, however often it was encoded itself


def hexadecimal(byte: int) -> list[str]:
    """Return the two hexadecimal digits of a byte, and of the other case of a letter: each as the digits that may stand in its place.

    >>> hexadecimal(ord("a"))
    ['46', '1']
    """
    codes = [f"{code:02x}" for code in sorted({byte, *chr(byte).swapcase().encode()} if chr(byte).isascii() else {byte})]
    return ["".join(dict.fromkeys(digits)) for digits in zip(*codes)]


def digit(choices: str) -> str:
    """Return the expression of a hexadecimal digit that may be encoded itself: the second 6 of ``%25%36%36`` is one."""
    numbers, letters = "".join(c for c in choices if c.isdigit()), "".join(c for c in choices if c.isalpha())
    forms = ([numbers if len(numbers) == 1 else f"[{numbers}]", f"%3{numbers if len(numbers) == 1 else f'[{numbers}]'}"] if numbers else [])
    forms += [form for letter in letters for form in (letter, f"%[46]{ord(letter) - 0x60:x}")]
    return f"(?:{'|'.join(forms)})"


def literal(byte: int) -> str:
    """Return a byte as an expression."""
    return re.escape(chr(byte)) if byte < 0x80 else f"\\x{byte:02x}"


def once(byte: int) -> str:
    """Return the expression of a byte that may be encoded once."""
    high, low = (f"[{choices}]" if len(choices) > 1 else choices for choices in hexadecimal(byte))
    return f"(?:{literal(byte)}|%{high}{low})"


def often(byte: int) -> str:
    """Return the expression of a byte that may be encoded any number of times."""
    high, low = hexadecimal(byte)
    return f"(?:{literal(byte)}|{PERCENT}{digit(high)}{digit(low)})"


# A slash, or a backslash, which some take for one.
SEPARATOR = rf"(?:[/\\]|{PERCENT}(?:{digit('2')}{digit('f')}|{digit('5')}{digit('c')}))"
DOT = often(ord("."))
# Slashes, merged, with the parameters of a path's segment before them, which some cut off.
SLASHES = rf"(?:(?:{often(ord(';'))}(?:(?!{SEPARATOR})[^? ])*+)?{SEPARATOR})++"
# A dot that begins a segment, in any spelling: the edge resolves dots and the app does not, or the other way round.
DOTS = rf"[^?]*{SEPARATOR}{DOT}"


def spelled(path: str) -> str:
    """Return the expression of a target whose path, decoded once, begins with ``path``.

    >>> spelled("/a")
    '(?:/|%2f)(?:a|%[46]1)'
    """
    return "".join(once(byte) for byte in path.encode())


def resembling(path: str) -> str:
    """Return the expression of a target whose path anyone could take for one that begins with ``path``.

    That is one that does so after it is decoded any number of times, with backslashes for slashes, doubled slashes, parameters (``;a=b``), or a host name
    before it (``//host/…``).
    """
    parts = [SLASHES if byte == ord("/") else often(byte) for byte in re.sub("/+", "/", path).encode()]
    return "(?://++[^/? ]*+)?" + "".join(parts)


def too_long(path: str) -> bool:
    """Return True for a path whose expression would not fit into nginx's configuration."""
    return len(resembling(path).replace("\\", "\\\\")) > LONGEST
