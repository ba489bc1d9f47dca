# SPDX-License-Identifier: GPL-3.0-or-later
"""A real client of HTTP/3: aioquic, a QUIC of its own."""
from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    """One connection; ``get`` may be called many times on it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.waiting = H3Connection(self._quic), {}

    async def get(self, url: str) -> tuple[int, list, bytes]:
        """Return status, headers as a list of pairs, and body."""
        parts, stream = urlsplit(url), self._quic.get_next_available_stream_id()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.http.send_headers(stream, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", parts.hostname.encode()),
                                        (b":path", path.encode())], end_stream=True)
        self.waiting[stream] = ([], [], asyncio.get_running_loop().create_future())
        self.transmit()
        headers, body = await self.waiting[stream][2]
        return int(dict(headers)[":status"]), headers, body

    def quic_event_received(self, event) -> None:
        """Collect what belongs to a request."""
        for happened in self.http.handle_event(event):
            if not isinstance(happened, (HeadersReceived, DataReceived)) or happened.stream_id not in self.waiting:
                continue
            headers, body, done = self.waiting[happened.stream_id]
            if isinstance(happened, HeadersReceived):
                headers += [(key.decode(), value.decode()) for key, value in happened.headers]
            else:
                body.append(happened.data)
            if happened.stream_ended and not done.done():
                done.set_result((headers, b"".join(body)))


def configuration(name: str, ca: str = "", idle: float = 10) -> QuicConfiguration:
    """Return how to connect under a name; without a CA nothing is verified."""
    found = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, idle_timeout=idle)
    if ca:
        found.load_verify_locations(ca)
    else:
        found.verify_mode = ssl.CERT_NONE
    return found


async def asked(address: str, name: str, path: str, ca: str, timeout: float) -> tuple[int, list, bytes]:
    """Return the answer to one request on a connection of its own."""
    async with asyncio.timeout(timeout), connect(address, 443, configuration=configuration(name, ca), create_protocol=Client) as client:
        return await client.get(f"https://{name}{path}")


def get(address: str, name: str, path: str, ca: str = "", timeout: float = 10) -> tuple[int, list, bytes]:
    """Return status, headers and body by HTTP/3; raise OSError, ConnectionError or TimeoutError when there is none."""
    return asyncio.run(asked(address, name, path, ca, timeout))
