# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asking ports of an address, many at once, without rights and without tools. Nothing but Python's standard library."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
import struct

OPEN, CLOSED, SILENT, REFUSED = "open", "closed", "silent", "refused"
GATE = 4000


def quic_question():
    """A packet of QUIC in a version that nobody speaks: a server has to answer with the versions that it knows (RFC 9000, 6)."""
    head = b"\xc0\x1a\x2a\x3a\x4a" + b"\x08quayside" + b"\x08exposure"
    return head + bytes(1200 - len(head))


def is_quic(answer):
    """Whether an answer is a list of versions: a long header with version 0."""
    return len(answer) > 6 and answer[0] & 0x80 == 0x80 and answer[1:5] == bytes(4)


def question(port):
    """What a UDP port is asked: something that the usual service of the port has to answer.

    :param port: int
    :returns: bytes
    """
    if port == 443:
        return quic_question()
    if port == 53:
        return struct.pack("!6H", 0x7175, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!2H", 2, 1)
    if port == 123:
        return b"\x23" + bytes(47)
    if port == 161:
        return bytes.fromhex("302602010104067075626c6963a019020101020100020100300e300c06082b060102010101000500")
    return b"\r\n"


def own_address(address, source=""):
    """The address that a connection to another one has here, or an empty string where no road leads there.

    :param source: the address to ask from; empty for the one that the routes choose
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if source:
                probe.bind((source, 0))
            probe.connect((address, 9))
            return probe.getsockname()[0].split("%")[0]
    except OSError:
        return ""


async def _tcp(address, port, source, seconds):
    loop = asyncio.get_running_loop()
    probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    probe.setblocking(False)
    # A reset at the end leaves no connection behind on either side.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        if source:
            probe.bind((source, 0))
        await asyncio.wait_for(loop.sock_connect(probe, (address, port)), seconds)
        return OPEN
    except asyncio.TimeoutError:
        return SILENT
    except OSError as error:
        # Unreachable, and not permitted, are what a router or a firewall says; only a reset comes from the host's own kernel.
        return CLOSED if error.errno == errno.ECONNREFUSED else REFUSED
    finally:
        probe.close()


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, said):
        self.said = said

    def datagram_received(self, data, addr):
        if not self.said.done():
            self.said.set_result(data)

    def error_received(self, exc):
        if not self.said.done():
            self.said.set_result(CLOSED if isinstance(exc, ConnectionRefusedError) else REFUSED)


async def _udp(address, port, source, seconds):
    loop = asyncio.get_running_loop()
    said = loop.create_future()
    try:
        transport, _protocol = await loop.create_datagram_endpoint(
            lambda: _Listener(said), remote_addr=(address, port), local_addr=(source, 0) if source else None)
    except OSError:
        return REFUSED
    try:
        for share in (0.4, 0.6):
            transport.sendto(question(port))
            done, _rest = await asyncio.wait([said], timeout=seconds * share)
            if done:
                break
        else:
            return SILENT
    finally:
        transport.close()
    answer = said.result()
    if isinstance(answer, str):
        return answer
    return "quic" if port == 443 and is_quic(answer) else OPEN


async def _ask(address, source, tcp, udp, seconds, again, gate):
    found = {"tcp": {}, "udp": {}}

    async def ask(proto, port):
        probe = _tcp if proto == "tcp" else _udp
        async with gate:
            state = await probe(address, port, source, seconds)
            # One packet that is lost on the road is no finding.
            if state == SILENT and (proto, port) in again:
                state = await probe(address, port, source, seconds)
            if state != SILENT:
                found[proto][port] = state

    await asyncio.gather(*[ask("tcp", port) for port in tcp], *[ask("udp", port) for port in udp])
    return found


async def _all(roads, *wanted):
    gate = asyncio.Semaphore(room())
    return await asyncio.gather(*[_ask(address, source, *wanted, gate) for address, source in roads])


def room():
    """How many sockets may be open at once; the limit of the process is lifted as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = GATE + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return GATE if soft == resource.RLIM_INFINITY else max(16, min(GATE, soft - 100))


def scan(roads, tcp, udp, seconds=1.5, again=()):
    """Ask ports of some addresses, all at once.

    :param roads: list of (address, address to ask from); the latter is empty for the one that the routes choose
    :param tcp: ports, list of int
    :param udp: ports, list of int
    :param seconds: how long an answer may take. Linux sends a lost first packet again after one second.
    :param again: set of (proto, port) that are asked a second time before they count as silent
    :returns: for each road, dict of address, source (the address that asked; empty where no road leads there) and tcp and udp, each a dict of port to
        OPEN, CLOSED (its kernel says that nobody listens), REFUSED (something on the road says no) or "quic". A port that is left out said nothing.
    """
    own = {road: own_address(*road) for road in roads}
    there = [road for road in own if own[road]]
    answers = dict(zip(there, asyncio.run(_all(there, list(tcp), list(udp), seconds, set(again)))))
    return [dict(answers.get(road, {"tcp": {}, "udp": {}}), address=road[0], source=own[road]) for road in own]


def resolve(name):
    """The addresses of a name, or the address itself; empty where it means nothing.

    :returns: list of str
    """
    try:
        return [str(ipaddress.ip_address(name.split("%")[0]))]
    except ValueError:
        pass
    try:
        return list(dict.fromkeys(one[4][0] for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)))
    except OSError:
        return []
