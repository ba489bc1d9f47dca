# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the Docker engine over its unix socket.

Python's standard library is all it needs, so that it also runs beside a script on a host.
"""
from __future__ import annotations

import http.client
import json
import shutil
import socket as sockets
from typing import Any
from urllib.parse import quote, urlencode

SOCKET = "/var/run/docker.sock"


class EngineError(Exception):
    """What the engine refused. `status` is the HTTP status, or 0 when there was no answer; `message` is in the engine's own words."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str, timeout: float | None):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """The engine behind a socket. Each call has a connection of its own."""

    def __init__(self, socket: str = SOCKET, timeout: float | None = 60):
        self.socket = socket
        self.timeout = timeout

    def call(self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None, headers: dict[str, str] | None = None,
             timeout: float | None = None) -> Any:
        """Return the answer: JSON parsed, any other text as it is (so does a stream of JSON lines), None when there is no body.

        In `query`, dicts and lists are sent as JSON and None is left out. In `body` they are sent as JSON; bytes, text and an open
        file are sent as they are. `timeout` is the seconds that the engine may be silent. Raises EngineError.
        """
        target = quote(path, safe="/:@") + (f"?{urlencode(texts(query))}" if texts(query) else "")
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        patience = self.timeout if timeout is None else timeout
        connection = UnixConnection(self.socket, patience)
        try:
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return answer(response.status, response.getheader("Content-Type", ""), response.read(), f"{method} {path}")
        except sockets.timeout as error:
            raise EngineError(0, f"the Docker engine at {self.socket} was silent for {patience:g} s at {method} {path}: journalctl -u docker") from error
        except PermissionError as error:
            raise EngineError(0, f"the Docker engine's socket {self.socket} may not be opened by this user: run as root (become: true)") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(0, f"the Docker engine does not answer at {self.socket}: is it installed? run quayside.django.site; systemctl status docker "
                                 f"({reason(error)})") from error
        finally:
            connection.close()

    def download(self, path: str, stream: Any, /, **query: Any) -> None:
        """Write what GET answers into an open file, as it comes; raises EngineError, and what writing raises."""
        connection = UnixConnection(self.socket, self.timeout)
        try:
            connection.request("GET", quote(path, safe="/:@") + f"?{urlencode(texts(query))}")
            response = connection.getresponse()
            if response.status >= 400:
                answer(response.status, response.getheader("Content-Type", ""), response.read(), f"GET {path}")
            shutil.copyfileobj(response, stream, 1 << 20)
        except (sockets.timeout, http.client.HTTPException) as error:
            raise EngineError(0, f"the Docker engine at {self.socket} ended in the middle of GET {path}: journalctl -u docker ({reason(error)})") from error
        finally:
            connection.close()

    def get(self, path: str, /, **query: Any) -> Any:
        """Return what GET answers; raises EngineError."""
        return self.call("GET", path, query)

    def post(self, path: str, body: Any = None, /, **query: Any) -> Any:
        """Return what POST answers; raises EngineError."""
        return self.call("POST", path, query, body)

    def delete(self, path: str, /, **query: Any) -> Any:
        """Return what DELETE answers; raises EngineError."""
        return self.call("DELETE", path, query)


def texts(query: dict[str, Any] | None) -> dict[str, str]:
    """Return the values of a query as the engine reads them."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in (query or {}).items() if value is not None}


def answer(status: int, kind: str, body: bytes, what: str) -> Any:
    """Return a body as JSON, as text or as None; raises EngineError when the status says no."""
    text = body.decode("utf-8", "replace")
    parsed = None
    if "json" in kind and text.strip():
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text
    if status >= 400:
        said = parsed.get("message") if isinstance(parsed, dict) else text.strip()
        raise EngineError(status, said or f"the Docker engine answered {status} to {what}")
    return parsed if "json" in kind else text or None


def reason(error: Exception) -> str:
    """Return why the engine does not answer, in words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
