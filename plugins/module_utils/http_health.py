# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask HTTP endpoints over TCP, TLS or a unix socket until they are well, or say why they are not."""

from __future__ import annotations

import calendar
import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.quayside.django.plugins.module_utils import contained

CLOSED = "the connection was closed without an answer"
BODY_LIMIT = 1024 * 1024
BODY_SHOWN = 200
SOCKET_INTERVAL = 0.05
URL_INTERVAL = 0.5
PATIENCE = 5.0


@dataclass(frozen=True)
class Check:
    """One endpoint and what its answer has to be.

    Exactly one of `url` (http:// or https://) and `socket` (path of a unix socket) is given. `path` with its query goes before
    the one in `url`. `host` is the Host header, and for TLS the name that is asked for (SNI) and verified. `scheme` is sent as
    X-Forwarded-Proto. The answer is good when its status is one of `status`, its body contains `text`, its JSON contains
    `json`, its headers contain the texts of `headers`, and its certificate lives for `certificate_days` more days. `timeout`
    is in seconds, for the whole request. `ca` is a file of certificates to trust beside the system's. ValueError is raised for
    a check that could never be asked.
    """

    url: str = ""
    socket: str = ""
    path: str = ""
    host: str = ""
    scheme: str = ""
    status: tuple[int, ...] = (200,)
    text: str = ""
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    verify: bool = True
    ca: str = ""
    certificate_days: float = 0
    name: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.socket):
            raise ValueError(f"{self.name or 'a check'}: give either a url or a socket")
        if self.url:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{self.url}: not an http:// or https:// address")
            if parts.port == 0:  # an impossible port raises ValueError here
                raise ValueError(f"{self.url}: port 0 cannot be asked")
        if not self.target.startswith("/"):
            raise ValueError(f"{self.path}: a path begins with /")
        for value in (self.target, self.host, self.scheme):
            if re.search(r"[\x00-\x20\x7f]", value):
                raise ValueError(f"{value!r}: no spaces or control characters here")
        if self.certificate_days and not self.url.startswith("https://"):
            raise ValueError(f"{self.label}: certificate_days needs an https:// address")

    @property
    def target(self) -> str:
        """Path and query of the request."""
        if self.path or self.socket:
            return self.path or "/"
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def label(self) -> str:
        """What messages call this check."""
        where = f"unix:{self.socket} {self.target}" if self.socket else self.url
        return f"{self.name} ({where})" if self.name else where


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is 0 and `error` is set when there was none; `seconds` is how long it took."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0
    certificate_days: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The last answer to a check, and why it was not good (empty when it was)."""

    check: Check
    answer: Answer
    reason: str


@dataclass(frozen=True)
class Result:
    """How a wait ended. `reason` is whole: endpoint, what was wrong, the body's first bytes, attempts and seconds."""

    ok: bool
    reason: str
    attempts: int
    seconds: float
    outcomes: tuple[Outcome, ...] = ()


class _Connection(http.client.HTTPConnection):
    """HTTP over the socket that a check names."""

    def __init__(self, check: Check, timeout: float) -> None:
        self.check = check
        self.url = urlsplit(check.url)
        super().__init__(self.url.hostname or "localhost", self.url.port or (443 if self.url.scheme == "https" else 80), timeout)
        self.certificate = b""

    def connect(self) -> None:
        if self.check.socket:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            with contained.socket_at(self.check.socket) as place:
                self.sock.connect(place)
            return
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        if self.url.scheme == "https":
            self.sock = _context(self.check).wrap_socket(self.sock, server_hostname=_name(self.check.host) or self.host)
            self.certificate = self.sock.getpeercert(True) or b""


def _context(check: Check) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if check.ca:
        context.load_verify_locations(check.ca)
    if not check.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _name(host: str) -> str:
    """The host of a Host header, without its port.

    >>> _name("shop.example.com:8443"), _name("[::1]:8443"), _name("")
    ('shop.example.com', '::1', '')
    """
    return urlsplit(f"//{host}").hostname or "" if host else ""


def ask(check: Check, gate: Callable[[], object] | None = None) -> Answer:
    """Ask once, follow no redirect, and return the answer; an endpoint that cannot be asked is an answer with `error`.

    `gate` is called between the connection and the request: it may wait for others that connect too.
    """
    started = time.monotonic()
    connection = _Connection(check, check.timeout)
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):  # the answer came in the same moment
                connection.sock.shutdown(socket.SHUT_RDWR)

    # A socket's own timeout begins anew with each byte: a server that drips would hold the caller for ever.
    watchdog = threading.Timer(check.timeout, cut)
    watchdog.daemon = True
    watchdog.start()
    try:
        if gate:
            try:
                connection.connect()
            finally:
                gate()
        connection.putrequest("GET", check.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", check.host or (urlsplit(check.url).netloc.rpartition("@")[2] or "localhost"))
        if check.scheme:
            connection.putheader("X-Forwarded-Proto", check.scheme)
        connection.putheader("User-Agent", "quayside-http-health")
        connection.putheader("Connection", "close")
        connection.endheaders()
        response = connection.getresponse()
        headers: dict[str, str] = {}
        for key, value in response.getheaders():
            key = key.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        answer = Answer(response.status, headers, response.read(BODY_LIMIT))
        if late.is_set():
            answer = Answer(error=_late(check))
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer = Answer(error=_late(check) if late.is_set() else _why(check, error))
    finally:
        watchdog.cancel()
        connection.close()
    days = days_left(connection.certificate, time.time()) if connection.certificate else None
    return replace(answer, seconds=time.monotonic() - started, certificate_days=days)


def _late(check: Check) -> str:
    return f"no whole answer within {check.timeout:g} s"


def _why(check: Check, error: Exception) -> str:
    """The words for an endpoint that gave no answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, contained.ContainedError):
        return str(error.strerror)
    if isinstance(error, FileNotFoundError) and check.socket:
        return "the socket is not there yet"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, PermissionError):
        return "permission denied: run it as root or as a user who may pass the folder of the socket"
    if isinstance(error, socket.timeout):
        return _late(check)
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return CLOSED
    return f"{type(error).__name__}: {error}"


def judge(check: Check, answer: Answer) -> str:
    """Why an answer is not what the check wants; empty when it is."""
    if answer.error:
        return answer.error
    if answer.status not in check.status:
        wanted = " or ".join(str(status) for status in check.status)
        moved = f" to {answer.headers['location']}" if "location" in answer.headers else ""
        return f"status {answer.status}{moved}, wanted {wanted}"
    for key, wanted in check.headers.items():
        got = answer.headers.get(key.lower())
        if got is None:
            return f"no header {key}"
        if str(wanted) not in got:
            return f"header {key} is {got!r}, wanted {wanted!r}"
    if check.text and check.text not in answer.body.decode("utf-8", "replace"):
        return f"the text {check.text!r} is not in the body"
    if check.json is not None:
        try:
            got_json = json.loads(answer.body)
        except ValueError:
            return "the body is not JSON"
        difference = json_difference(check.json, got_json)
        if difference:
            return difference
    if check.certificate_days and (answer.certificate_days is None or answer.certificate_days < check.certificate_days):
        left = "unknown" if answer.certificate_days is None else f"{answer.certificate_days:.1f}"
        return f"the certificate has {left} days left, wanted {check.certificate_days:g}"
    return ""


def json_difference(wanted: Any, got: Any, where: str = "json") -> str:
    """The first thing in `wanted` that `got` lacks; empty when all is there. Keys that are only in `got` do not matter.

    >>> json_difference({"status": "ok"}, {"status": "ok", "release": "r1"})
    ''
    >>> json_difference({"db": {"up": True}}, {"db": {"up": False}})
    'json.db.up is false, wanted true'
    """
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key, value in wanted.items():
            if key not in got:
                return f"{where}.{key} is not there"
            difference = json_difference(value, got[key], f"{where}.{key}")
            if difference:
                return difference
        return ""
    # Python holds 1 and True for equal; JSON does not.
    if wanted == got and isinstance(wanted, bool) == isinstance(got, bool):
        return ""
    return f"{where} is {shown(json.dumps(got).encode())}, wanted {json.dumps(wanted)}"


def days_left(der: bytes, now: float) -> float:
    """Days from `now` (seconds since 1970) until the certificate `der` ends (RFC 5280, 4.1.2.5); negative after that.

    Read by hand, because Python's ssl tells the date of a verified certificate only, and a self-signed one ends too.
    """
    _, certificate, _ = tlv(der, 0)
    _, tbs, _ = tlv(certificate, 0)
    tag, _, after = tlv(tbs, 0)
    position = after if tag == 0xA0 else 0  # the version field is optional
    for _ in range(3):  # serial number, signature algorithm, issuer
        position = tlv(tbs, position)[2]
    _, validity, _ = tlv(tbs, position)
    tag, value, _ = tlv(validity, tlv(validity, 0)[2])
    moment = value.decode("ascii")
    if tag == 0x17:  # UTCTime has two digits for the year
        moment = ("19" if moment[:2] >= "50" else "20") + moment
    return (calendar.timegm(time.strptime(moment, "%Y%m%d%H%M%SZ")) - now) / 86400


def tlv(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Tag, value and the position after the DER element at `position`."""
    tag, length, start = data[position], data[position + 1], position + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    return tag, data[start : start + length], start + length


def shown(body: bytes) -> str:
    """The first bytes of a body, on one line.

    >>> shown(b"<h1>Server Error</h1>\\n  gone")
    '<h1>Server Error</h1> gone'
    """
    text = " ".join(body[: BODY_SHOWN * 2].decode("utf-8", "replace").split())
    return text[:BODY_SHOWN] + ("…" if len(text) > BODY_SHOWN or len(body) > BODY_SHOWN * 2 else "")


def describe(outcome: Outcome) -> str:
    """One endpoint's failure in words."""
    body = shown(outcome.answer.body)
    return f"{outcome.check.label}: {outcome.reason}" + (f"; body: {body}" if body else "")


def wait(
    checks: Check | Sequence[Check],
    deadline: float = 60.0,
    successes: int = 1,
    interval: float | None = None,
    alive: Callable[[], str] | None = None,
    together: bool = False,
) -> Result:
    """Ask until every check was good `successes` times in a row, all in the same rounds.

    It ends without success after `deadline` seconds, or at once when `alive` returns a reason (the probed process has died).
    At least one round is always asked. `interval` is the pause between rounds in seconds; without one it is 0.05 where only
    unix sockets are asked and 0.5 elsewhere. `together`: all checks connect before the first of them asks, so that workers which take one
    connection at a time answer one each.
    """
    checks = (checks,) if isinstance(checks, Check) else tuple(checks)
    if not checks:
        raise ValueError("nothing to check")
    if interval is None:
        interval = SOCKET_INTERVAL if all(check.socket for check in checks) else URL_INTERVAL
    started = time.monotonic()
    attempts = row = 0
    outcomes: tuple[Outcome, ...] = ()
    with ThreadPoolExecutor(max_workers=len(checks) if together else min(len(checks), 16)) as pool:
        barrier = threading.Barrier(len(checks)) if together else None

        def one(check: Check) -> Outcome:
            left = max(started + deadline - time.monotonic(), 0.1)
            seconds = min(check.timeout, left)

            def gate() -> None:
                with contextlib.suppress(threading.BrokenBarrierError):
                    barrier.wait(seconds)

            answer = ask(replace(check, timeout=seconds), gate if barrier else None)
            return Outcome(check, answer, judge(check, answer))

        while True:
            dead = alive() if alive else ""
            if dead:
                break
            outcomes = tuple(pool.map(one, checks)) if len(checks) > 1 else (one(checks[0]),)
            if barrier:
                barrier.reset()
            attempts += 1
            row = 0 if any(outcome.reason for outcome in outcomes) else row + 1
            if row >= successes:
                return Result(True, "", attempts, time.monotonic() - started, outcomes)
            if time.monotonic() - started + interval >= deadline:
                break
            # An endpoint that is slow to become well is not asked twenty times a second for minutes.
            time.sleep(interval if time.monotonic() - started < PATIENCE else max(interval, URL_INTERVAL))
    seconds = time.monotonic() - started
    bad = list(dict.fromkeys(describe(outcome) for outcome in outcomes if outcome.reason))
    if not bad and row:
        bad = [f"{', '.join(check.label for check in checks)}: good {row} times in a row, wanted {successes}"]
    if dead:
        bad.insert(0, dead)
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return Result(False, f"{'; '.join(bad)} ({tries} in {seconds:.1f} s)", attempts, seconds, outcomes)
