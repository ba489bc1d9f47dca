# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a name server for the addresses of a name, past /etc/hosts, which often names the host itself."""
from __future__ import annotations

import ipaddress
import secrets
import socket
import struct

KINDS = {"A": 1, "AAAA": 28}
CODES = {0: "", 2: "the name server failed (SERVFAIL)", 3: "", 5: "the name server refuses to answer"}


class DnsError(Exception):
    """No name server gave an answer that says something about the name."""


def question(name: str, kind: str, number: int) -> bytes:
    """Return the bytes that ask for ``kind`` (A or AAAA) of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", KINDS[kind], 1)


def skip(data: bytes, place: int) -> int:
    """Return the place behind a name."""
    while data[place]:
        if data[place] & 0xC0:
            return place + 2
        place += data[place] + 1
    return place + 1


def answers(data: bytes, kind: str, number: int) -> list[str]:
    """Return the addresses in an answer; none for a name that is not there. Raise DnsError for an answer that is none."""
    if len(data) < 12 or data[:2] != struct.pack(">H", number):
        raise DnsError("the name server's answer is to another question")
    _number, flags, questions, count, _more, _other = struct.unpack(">HHHHHH", data[:12])
    status = flags & 0xF
    if CODES.get(status, f"the name server answers with code {status}"):
        raise DnsError(CODES.get(status, f"the name server answers with code {status}"))
    place, found = 12, []
    try:
        for _one in range(questions):
            place = skip(data, place) + 4
        for _one in range(count):
            place = skip(data, place)
            what, _class, _ttl, length = struct.unpack(">HHIH", data[place:place + 10])
            if what == KINDS[kind]:
                found.append(str(ipaddress.ip_address(data[place + 10:place + 10 + length])))
            place += 10 + length
    except (IndexError, ValueError, struct.error) as error:
        raise DnsError("the name server's answer cannot be read") from error
    return found


def server(text: str) -> tuple[str, int]:
    """Return address and port of a name server.

    >>> server("10.0.0.1"), server("10.0.0.1:8053"), server("[fd00::1]:5353"), server("fd00::1")
    (('10.0.0.1', 53), ('10.0.0.1', 8053), ('fd00::1', 5353), ('fd00::1', 53))
    """
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port.lstrip(":") or 53)
    address, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
    return address, int(port or 53)


def servers(resolv: str) -> list[str]:
    """Return the name servers of the text of a resolv.conf."""
    return [words[1].partition("%")[0] for words in (line.split() for line in resolv.splitlines()) if len(words) > 1 and words[0] == "nameserver"]


def ask(name: str, kind: str, wanted: list[str], timeout: float = 3) -> list[str]:
    """Return the addresses of a name as the first server that answers knows them; raise DnsError when none does."""
    why = "no name server is set in /etc/resolv.conf"
    for one in wanted[:3]:
        address, port = server(one)
        number = secrets.randbelow(65536)
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(timeout)
                sock.connect((address, port))
                sock.send(question(name, kind, number))
                return answers(sock.recv(4096), kind, number)
        except socket.timeout:
            why = f"the name server {one} does not answer"
        except (OSError, DnsError) as error:
            why = f"{one}: {error}"
    raise DnsError(why)
