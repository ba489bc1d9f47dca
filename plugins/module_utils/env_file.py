# SPDX-License-Identifier: GPL-3.0-or-later
"""Env files that systemd's EnvironmentFile= and a POSIX shell read to the same values."""
from __future__ import annotations

import re

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")
ESCAPED = re.compile(r'([\\"$`])')
LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"(?:\n|\Z)', re.DOTALL)


class EnvError(ValueError):
    """A name or a value that no env file can carry."""


def text(value) -> str:
    """Return the text that a process sees for ``value``.

    YAML's own booleans become ``True`` and ``False``, as Python prints them and Django's settings expect; ``null`` is empty.
    """
    return "" if value is None else str(value)


def check(name: str, value) -> None:
    """Raise EnvError when ``name`` is no variable name or ``value`` is no text or has a NUL byte."""
    if not NAME.match(str(name)):
        raise EnvError(f"{name!r} is no name for a variable: use letters, digits and _ (not a digit first)")
    if isinstance(value, (dict, list, tuple)):
        raise EnvError(f"{name} is a {type(value).__name__}: give a text (for JSON: to_json)")
    if "\0" in text(value):
        raise EnvError(f"{name} holds a NUL byte, which no variable can carry: use base64, and undo it in the settings")


def render(env: dict) -> str:
    """Return the file's text: a sorted line ``NAME="value"`` for each item of ``env``, or several lines for a value of several.

    Inside double quotes both readers undo a backslash before backslash, double quote, dollar and backtick, and nothing else; they keep line
    breaks and returns (systemd's src/basic/env-file.c, DOUBLE_QUOTE_VALUE).
    """
    lines = []
    for name in sorted(env):
        check(name, env[name])
        lines.append('{}="{}"\n'.format(name, ESCAPED.sub(r"\\\1", text(env[name]))))
    return "".join(lines)


def parse(content: str) -> dict:
    """Return what ``render`` was given, as text. Raise EnvError on a line that ``render`` does not write."""
    env, at = {}, 0
    while at < len(content):
        found = LINE.match(content, at)
        if not found and content[at] != "\n":
            raise EnvError(f"not a line of ours: {content[at:].splitlines()[0].split('=')[0]!r}")
        if found:
            env[found[1]] = re.sub(r"\\(.)", r"\1", found[2], flags=re.DOTALL)
        at = found.end() if found else at + 1
    return env
