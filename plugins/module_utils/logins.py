# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of logins as nginx and Traefik read them: ``login:hash`` in lines, the hash by bcrypt. Pure, but for the salt.

bcrypt, since it is the best that glibc's crypt (nginx of Debian), musl's (nginx of Alpine) and Traefik have in common; yescrypt is glibc's alone.
"""
from __future__ import annotations

import ctypes
import hmac
import secrets

PREFIX = "$2y$"
# 2^8 rounds: 20 ms for each request that logs in, which nginx spends in the worker that serves others too. The passwords are made by machines.
COST = 8
ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class CryptError(Exception):
    """The system's crypt is missing or gives no bcrypt."""


def system_crypt(password: str, setting: str) -> str:
    """Return crypt(3) of the system; Python's own module for it is gone since 3.13. Raise CryptError when there is no bcrypt."""
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except OSError as error:
        raise CryptError(f"{error}: apt-get install libcrypt1") from error
    crypt.argtypes, crypt.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_char_p
    made = (crypt(password.encode(), setting.encode()) or b"").decode()
    if not made.startswith(setting[:7]):
        raise CryptError("the system's libcrypt knows no bcrypt ($2y$)")
    return made


def setting() -> str:
    """Return cost and a salt of 128 random bits."""
    # The last of the 22 characters holds 2 bits only; libxcrypt and Go disagree about others there.
    salt = "".join(secrets.choice(ALPHABET) for _ in range(21)) + secrets.choice(".Oeu")
    return f"{PREFIX}{COST:02d}${salt}"


def parsed(text: str) -> dict:
    """Return login -> hash of a file."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def render(before: str, users: dict, crypt=system_crypt) -> str:
    """Return the file for ``users`` (login -> password). A hash of ``before`` that fits its password stays, salt and all."""
    known, lines = parsed(before), []
    for login, password in sorted(users.items()):
        old = known.get(login, "")
        keep = old.startswith(f"{PREFIX}{COST:02d}$") and hmac.compare_digest(crypt(password, old), old)
        lines.append(f"{login}:{old if keep else crypt(password, setting())}\n")
    return "".join(lines)


def shown(text: str, other: str = "") -> str:
    """Return a file as a diff may show it: logins, and whether the password is another than in ``other``."""
    old = parsed(other)
    return "".join(f"{login}{'' if old.get(login, known) == known else ' (another password)'}\n" for login, known in parsed(text).items())
