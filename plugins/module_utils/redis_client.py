# SPDX-License-Identifier: GPL-3.0-or-later
"""A few words with Redis over its protocol, so that no password is an argument of a process."""
from __future__ import annotations

import socket


class RedisError(Exception):
    """Redis refused, or does not answer."""


class Redis:
    """One connection. ``place``: the path of a socket, or (address, port)."""

    def __init__(self, place, timeout: float = 10):
        self.link = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
        self.link.settimeout(timeout)
        try:
            self.link.connect(place)
        except OSError as error:
            raise RedisError(f"Redis does not answer at {place if isinstance(place, str) else ':'.join(map(str, place))}: {error}") from error
        self.file = self.link.makefile("rb")

    def ask(self, *words: str):
        """Return the answer to a command: text, number, list or None; raise RedisError. What was asked is never in the error."""
        parts = [word.encode() for word in words]
        try:
            self.link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            return self.answer()
        except OSError as error:
            raise RedisError(f"Redis does not answer: {error}") from error

    def answer(self):
        """Read one answer."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RedisError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self.file.read(int(rest) + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return None if rest == "-1" else [self.answer() for _number in range(int(rest))]
        return rest

    def log_in(self, passwords: list[str]) -> str:
        """Log in with the first password that is taken, and return it; raise RedisError."""
        for password in passwords:
            try:
                self.ask("AUTH", password)
                return password
            except RedisError as error:
                last = str(error)
        raise RedisError(f"Redis takes none of the passwords that the vault holds ({last.split()[0]})")

    def hashes(self) -> list[str]:
        """Return the hashes of the passwords that the default user takes."""
        answer = self.ask("ACL", "GETUSER", "default")
        return list(answer[answer.index("passwords") + 1])

    def close(self) -> None:
        self.file.close()
        self.link.close()
