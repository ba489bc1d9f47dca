# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile requests for an edge, and what may never come of them: one table for all edges, over HTTP/1.1 and HTTP/2, IPv4 and IPv6.

The app behind the edge is ``molecule/neighbours/app`` on gunicorn 21.2, which hands on headers with underscores. It answers every path with what
Django saw, and remembers it. It needs ``allow: [{path: /ops/, users: {...}}]``; nothing here ever logs in. Only the standard library is used,
and raw sockets, so that no client normalises what is sent.

From a test::

    from hostile_requests import CASES, HONEST, Target, run, honest
    target = Target(address="172.28.0.10", host="victim.test", port=443, tls=True)     # address may be an IPv6 address
    for case in CASES:                  # or pytest.mark.parametrize("case", CASES, ids=str)
        assert run(case, target) == []  # each text is one breach
    for path in HONEST:
        assert honest(path, target) == []

Cases with ``case.version == 2`` need ``tls=True``; ``cases(target)`` gives those that fit a target. From a shell::

    python hostile_requests.py 172.28.0.10 victim.test --port 80 --plain

A breach is any of these: the app saw a path that it, or a careless framework, could take for one below the protected path; the app saw a header
that only an edge may set, a value of the visitor's under any name that frameworks believe, or a script name; a request that was inside another
one reached the app. A request that the edge refuses (4xx, or a closed connection) is always good.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import re
import secrets
import socket
import ssl
import struct
import sys
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

PROTECTED = "/ops/"
WAIT = 5.0  # seconds for the first byte of an answer
UNKNOWN_WORDS = (501, 505)  # a refusal as well: of a transfer encoding, a method or a version of HTTP
IDLE = 0.4  # seconds without a byte after which an answer is taken for whole


@dataclass(frozen=True)
class Target:
    """An edge: where it listens, and the name of the victim's site. ``protected`` is the path that needs a login.

    ``refusals`` are statuses from 500 on by which this edge refuses, where nothing of the request reaches the app: Traefik answers 500 when the
    chunks of a body are broken.
    """

    address: str
    host: str
    port: int = 443
    tls: bool = True
    protected: str = PROTECTED
    refusals: tuple = ()

    def connect(self, protocol: str = "http/1.1") -> socket.socket:
        """Return a connected socket; raises OSError."""
        plain = socket.create_connection((self.address, self.port), WAIT)
        if not self.tls:
            return plain
        # Nothing is verified, and the store of authorities takes longer to read than a request.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        return context.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Case:
    """One hostile request.

    ``kind`` is path, header or smuggling. ``path`` and ``headers`` make a request over either version; ``raw`` is the whole text of one by
    HTTP/1.1, ``frames`` the pseudo headers, headers, body and trailers of one by HTTP/2. ``{p}`` stands for the protected path without its slashes,
    ``{host}`` for the name, ``{mark}`` for a text that belongs to this run alone, ``{inner}`` for a request to the protected path that hides inside.
    """

    kind: str
    name: str
    version: int = 1
    path: str = "/hello/"
    headers: tuple = ()
    raw: bytes = b""
    frames: dict = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.kind}-h{self.version}-{self.name}"


# Paths. The app decodes the target once, as WSGI servers do; the edge must mean the same path, or refuse.
PATH_FORMS = (
    "/{p}/x",
    "/{p}/",
    "/%6fps/x",
    "/%6Fps/x",
    "/o%70s/x",
    "/op%73/x",
    "/%6f%70%73/x",
    "/{p}%2fx",
    "/{p}%2Fx",
    "%2f{p}/x",
    "/%2f{p}/x",
    "/%2F{p}%2Fx",
    "//{p}/x",
    "///{p}/x",
    "////{p}//x",
    "/{p}//x",
    "/./{p}/x",
    "/x/../{p}/x",
    "/x/./../{p}/x",
    "/x/%2e%2e/{p}/x",
    "/x/%2E%2E/{p}/x",
    "/x/.%2e/{p}/x",
    "/x/%2e./{p}/x",
    "/%2e/{p}/x",
    "/x%2f..%2f{p}/x",
    "/x%2F..%2F{p}%2Fx",
    "/x/..%2f{p}/x",
    "/x%2f../{p}/x",
    "/x/%2e%2e%2f{p}/x",
    "/{p}/%2f..%2f..%2fx",
    "/{p}/..%2fx",
    "/{p}%2f..",
    "/{p}%2f..%2f",
    "/{p}/%2e%2e/x",
    "/{p}/../x",
    "/{p}/x/../../y",
    "/{p}/%2f%2e%2e%2f%2e%2e%2fy",
    "/{p}%2f%2e%2e%2fx",
    "/{p}//..//x",
    "/{p}/.%2fx",
    "/{p}/%2e%2fx",
    "/%256fps/x",
    "/%25%36%66ps/x",
    "/%25256fps/x",
    "/{p}%252fx",
    "/x/%252e%252e/{p}/x",
    "/x/..%252f{p}/x",
    "/%252f{p}/x",
    "/{p};/x",
    "/{p};a=b/x",
    "/;/{p}/x",
    "/;a=b/{p}/x",
    "/x/..;/{p}/x",
    "/x/..;a/{p}/x",
    "/{p}%3b/x",
    "/%3b/{p}/x",
    "/OPS/x",
    "/Ops/x",
    "/%4fPS/x",
    "/oP%53/x",
    "/\\{p}/x",
    "\\{p}\\x",
    "/{p}\\x",
    "/%5c{p}/x",
    "/{p}%5cx",
    "/x\\..\\{p}/x",
    "/x%5c..%5c{p}/x",
    "/x/..%5c{p}/x",
    "/x\\../{p}/x",
    "/{p}/x%00",
    "/%00/{p}/x",
    "/{p}%00/x",
    "/{p}/%00",
    "/{p}/x%0a",
    "/{p}%0a/x",
    "/%0a{p}/x",
    "/{p}/x%0d%0aX-Y:%20z",
    "/%09{p}/x",
    "/{p}%20/x",
    "/%20/{p}/x",
    "/{p}/x#y",
    "/#/../{p}/x",
    "/x#/../../{p}/x",
    "/{p}/x?",
    "/{p}/?/../..",
    "/x?/../{p}/x",
    "/{p}/x%3f/../..",
    "/{p}/%23/../../x",
    "/%2e%2e/{p}/x",
    "/..%2f{p}/x",
    "/x/%c0%ae%c0%ae/{p}/x",
    "/%c0%af{p}/x",
    "/x/%e0%80%af..%e0%80%af{p}/x",
    "/%ef%bc%8f{p}/x",
    "/x/..%c0%af{p}/x",
    "/x/%uff0e%uff0e/{p}/x",
    "/%u006fps/x",
    "/%6/{p}/x",
    "/%zz/{p}/x",
    "/%/{p}/x",
    "/{p}/%",
    "http://{host}/{p}/x",
    "HTTP://{host}/{p}/x",
    "http://{host}//{p}/x",
    "http://{host}/x/../{p}/x",
    "http://{host}:80/{p}/x",
    "http://other.invalid/{p}/x",
    "http://user@{host}/{p}/x",
    "http:/{p}/x",
    "http:///{p}/x",
    "//{host}/{p}/x",
    "///{host}/{p}/x",
    "//other.invalid/{p}/x",
    "/http://{host}/{p}/x",
    "{p}/x",
    "*/{p}/x",
    "?/{p}/x",
    "/.;/{p}/x",
    "/healthz/../{p}/x",
    "/healthz/%2f..%2f..%2f{p}/x",
    "/{p}/%2f..%2f..%2fhealthz/",
    "/{p}/x/%2f..%2f..%2f..%2fhealthz/",
    "/{p}/../healthz/",
    "/healthz/;/../../{p}/x",
    "/.well-known/acme-challenge/../../{p}/x",
    "/.well-known/acme-challenge/%2f..%2f..%2f..%2f{p}/x",
    "/{p}/%2f..%2f..%2f.well-known/acme-challenge/x",
    "/.well-known/..%2f{p}/x",
    "/static/../{p}/x",
    "/static/%2f..%2f..%2f{p}/x",
    "/static/..%2f{p}/x",
    "/{p}/%2f..%2f..%2fstatic/x",
    "/media/..%5c../{p}/x",
    "/{p}/" + "a/" * 200,
    "/" + "/" * 500 + "{p}/x",
    "/" + "x/%2e%2e/" * 60 + "{p}/x",
    "/x/" + "%2f..%2f" * 40 + "{p}/x",
)

# What reaches the app as it was sent, or with the edge's own redirect: an edge that refuses everything would pass the table above.
HONEST = (
    "/hello/",
    "/hello/?next=/../ops/x",
    "/hello/?url=http%3A%2F%2Fa.b%2F%252e",
    "/opsx/",
    "/op/s/",
    "/a/ops/",
    "/shop%20floor/",
    "/caf%C3%A9/",
    "/%E2%82%AC/",
    "/a+b/",
    "/a~b/",
    "/a@b/",
    "/v1:batch/",
    "/100%25/",
    "/a,b/",
    "/(a)/",
    "/a..b/",
    "/a...",
    "/x%27y/",
)

# The list of plugins/module_utils/request_headers.py, which a unit test compares with this one.
SPOOFED = (
    "Forwarded", "Proxy", "Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol",
    "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
    "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-By", "X-Forwarded-Client-Cert", "X-Original-Url", "X-Original-Uri",
    "X-Original-Host", "X-Original-Method", "X-Original-Forwarded-For", "X-Rewrite-Url", "X-Url-Scheme", "X-Scheme", "X-Script-Name", "Script-Name",
    "Path-Info", "X-Host", "X-Http-Host-Override", "X-Remote-User", "X-Remote-Addr", "X-Remote-Ip", "X-Auth-Request-User", "X-Auth-Request-Email",
    "X-Auth-Request-Groups", "X-Authenticated-User", "X-Webauth-User", "X-Client-Ip", "True-Client-Ip", "X-Cluster-Client-Ip", "X-Originating-Ip",
    "X-Ssl-Client-Verify", "X-Ssl-Client-Cert", "X-Ssl-Client-S-Dn", "Front-End-Https", "X-Accel-Redirect", "X-Sendfile-Type", "X-Accel-Mapping",
)
# What an edge sets itself: the visitor's value may not stand beside or instead of its own.
SET_BY_EDGE = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-Ip")
WITH_UNDERSCORES = (
    "SCRIPT_NAME",
    "Script_Name",
    "PATH_INFO",
    "REMOTE_USER",
    "REMOTE_ADDR",
    "QUERY_STRING",
    "X_Forwarded_For",
    "X_FORWARDED_PROTO",
    "X-Forwarded_Proto",
    "X_Forwarded-Host",
    "X_Real_IP",
    "X-Real_IP",
    "HTTP_HOST",
    "Content_Length",
    "Transfer_Encoding",
    "wsgi.url_scheme",
    "X_Mark_Spoof",
)

INNER = b"GET {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"


def line_cases() -> list[Case]:
    """Return the cases about paths, over both versions."""
    found = []
    for number, form in enumerate(PATH_FORMS):
        name = f"{number:03d}-{form[:40]}"
        found.append(Case("path", name, 1, path=form))
        found.append(Case("path", name, 2, path=form))
    return found


def header_cases() -> list[Case]:
    """Return the cases about headers: the value is the mark, so that it is found under whatever name it arrives."""
    found = []
    for version in (1, 2):
        for name in SPOOFED + SET_BY_EDGE:
            found.append(Case("header", name, version, headers=((name, "{mark}"),)))
        for name in WITH_UNDERSCORES:
            found.append(Case("header", f"underscore-{name}", version, headers=((name, "{mark}"),)))
        found += [
            # These move the path that the app sees below a protected one.
            Case("header", "script-name-moves-the-path", version, path="/zz/{p}/x", headers=(("SCRIPT_NAME", "/zz"),)),
            Case("header", "script-name-moves-the-path-dash", version, path="/zz/{p}/x", headers=(("Script-Name", "/zz"),)),
            Case("header", "x-script-name-moves-the-path", version, path="/zz/{p}/x", headers=(("X-Script-Name", "/zz"),)),
            Case("header", "prefix-moves-the-path", version, path="/zz/{p}/x", headers=(("X-Forwarded-Prefix", "/zz"),)),
            Case("header", "original-url", version, headers=(("X-Original-URL", "{protected}x?mark={mark}"),)),
            Case("header", "rewrite-url", version, headers=(("X-Rewrite-URL", "{protected}x?mark={mark}"),)),
            Case("header", "path-info", version, headers=(("PATH_INFO", "{protected}x?mark={mark}"),)),
            Case("header", "twice", version, headers=(("X-Forwarded-For", "{mark}"), ("X-Forwarded-For", "{mark}"))),
            Case("header", "case", version, headers=(("x-FORWARDED-for", "{mark}"),)),
        ]
    head = b"GET /hello/?mark={mark} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    odd = {
        "space-before-colon": b"X-Forwarded-For : {mark}\r\n",
        "tab-before-colon": b"X-Forwarded-For\t: {mark}\r\n",
        "leading-space": b" X-Forwarded-For: {mark}\r\n",
        "folded": b"X-Forwarded-For: a\r\n {mark}\r\n",
        "folded-name": b"X-0: a\r\n X-Forwarded-For: {mark}\r\n",
        "null-in-name": b"X-Forwarded-For\x00: {mark}\r\n",
        "null-in-value": b"X-Forwarded-For: \x00{mark}\r\n",
        "cr-in-value": b"X-A: b\rX-Forwarded-For: {mark}\r\n",
        "lf-only": b"X-A: b\nRemote-User: {mark}\r\n",
        "no-name": b": {mark}\r\n",
        "high-byte": b"X-Forwarded-For\xa0: {mark}\r\n",
        "dot": b"X.Forwarded.For: {mark}\r\n",
        "plus": b"X+Forwarded+For: {mark}\r\n",
        "hop-by-hop-forwarded": b"Connection: close, X-Forwarded-For\r\nX-Forwarded-For: {mark}\r\n",
        "hop-by-hop-host": b"Connection: close, Host\r\nX-Forwarded-For: {mark}\r\n",
        "second-host": b"Host: {mark}.invalid\r\n",
        "host-and-colon": b"Host : {mark}.invalid\r\n",
        "forwarded-list": b"X-Forwarded-For: {mark}, 127.0.0.1\r\n",
        "many": b"".join(b"X-%d: y\r\n" % number for number in range(90)) + b"X-Forwarded-For: {mark}\r\n",
    }
    found += [Case("header", f"odd-{name}", 1, raw=head + lines + b"\r\n") for name, lines in odd.items()]
    hosts = {
        "port": b"{host}:8443",
        "bad-port": b"{host}:x",
        "trailing-dot": b"{host}.",
        "upper": b"{HOST}",
        "path": b"{host}/{mark}",
        "userinfo": b"{mark}@{host}",
        "space": b"{host} {mark}",
        "comma": b"{host},{mark}.invalid",
        "empty": b"",
        "unknown": b"{mark}.invalid",
        "hash": b"{host}#{mark}",
        "null": b"{host}\x00{mark}",
    }
    found += [
        Case("header", f"host-{name}", 1, raw=b"GET /hello/?mark={mark} HTTP/1.1\r\nHost: " + value + b"\r\nConnection: close\r\n\r\n")
        for name, value in hosts.items()
    ]
    return found


def smuggling_cases() -> list[Case]:
    """Return the cases in which one request holds another: by the framing of HTTP/1.1, and by what HTTP/2 lets a client write."""
    post = b"POST /hello/?mark={mark} HTTP/1.1\r\nHost: {host}\r\n"
    size = b"Content-Length: {inner_size}\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    zero = b"\r\n0\r\n\r\n{inner}"
    both = {
        "cl-te": size + chunked,
        "te-cl": chunked + size,
        "te-space": size + b"Transfer-Encoding : chunked\r\n",
        "te-tab": size + b"Transfer-Encoding:\tchunked\r\n",
        "te-x": size + b"Transfer-Encoding: xchunked\r\n",
        "te-list": size + b"Transfer-Encoding: chunked, identity\r\n",
        "te-list-2": size + b"Transfer-Encoding: identity, chunked\r\n",
        "te-twice": size + chunked + b"Transfer-Encoding: identity\r\n",
        "te-twice-2": size + b"Transfer-Encoding: identity\r\n" + chunked,
        "te-fold": size + b"Transfer-Encoding:\r\n chunked\r\n",
        "te-vt": size + b"Transfer-Encoding: \x0bchunked\r\n",
        "te-quoted": size + b'Transfer-Encoding: "chunked"\r\n',
        "te-underscore": size + b"Transfer_Encoding: chunked\r\n",
        "te-after-lf": size + b"X-A: b\nTransfer-Encoding: chunked\r\n",
        "te-after-cr": size + b"X-A: b\rTransfer-Encoding: chunked\r\n",
        "te-case": size + b"tRANSFER-eNCODING: CHUNKED\r\n",
        "te-null": size + b"Transfer-Encoding: chunked\x00\r\n",
        "te-trailing": size + b"Transfer-Encoding: chunked \r\n",
        "te-semicolon": size + b"Transfer-Encoding: chunked;q=1\r\n",
        "te-leading-space": size + b" Transfer-Encoding: chunked\r\n",
    }
    found = [Case("smuggling", name, 1, raw=post + lines + zero) for name, lines in both.items()]
    lengths = {
        "cl-differ": b"Content-Length: 0\r\nContent-Length: {size}\r\n",
        "cl-differ-2": b"Content-Length: {size}\r\nContent-Length: 0\r\n",
        "cl-list": b"Content-Length: 0, {size}\r\n",
        "cl-plus": b"Content-Length: +{size}\r\n",
        "cl-hex": b"Content-Length: 0x{size}\r\n",
        "cl-minus": b"Content-Length: -{size}\r\n",
        "cl-space": b"Content-Length : {size}\r\n",
        "cl-underscore": b"Content_Length: {size}\r\nContent-Length: {size}\r\n",
        "cl-fold": b"Content-Length:\r\n {size}\r\n",
        "cl-overflow": b"Content-Length: 18446744073709551616\r\n",
        "cl-inner-space": b"Content-Length: {size} 0\r\n",
        "cl-dot": b"Content-Length: {size}.0\r\n",
        "cl-null": b"Content-Length: {size}\x000\r\n",
        "cl-empty": b"Content-Length:\r\nContent-Length: {size}\r\n",
    }
    found += [Case("smuggling", name, 1, raw=post + lines + b"\r\n{inner}") for name, lines in lengths.items()]
    found.append(Case("smuggling", "get-with-body", 1, raw=post.replace(b"POST", b"GET") + b"Content-Length: {size}\r\n\r\n{inner}"))
    found.append(Case("smuggling", "head-with-body", 1, raw=post.replace(b"POST", b"HEAD") + b"Content-Length: {size}\r\n\r\n{inner}"))
    chunks = {
        "chunk-0x": b"0x{hex}\r\n{inner}\r\n0\r\n\r\n",
        "chunk-space": b"{hex} \r\n{inner}\r\n0\r\n\r\n",
        "chunk-overflow": b"10000000000000000{hex}\r\n{inner}\r\n0\r\n\r\n",
        "chunk-minus": b"-{hex}\r\n{inner}\r\n0\r\n\r\n",
        "chunk-underscore": b"1_0\r\n{inner}\r\n0\r\n\r\n",
        "chunk-ext-lf": b"{hex};a\n\r\n{inner}\r\n0\r\n\r\n",
        "chunk-ext-cr": b"{hex};a\rb\r\n{inner}\r\n0\r\n\r\n",
        "chunk-lf": b"{hex}\n{inner}\n0\n\n",
        "chunk-cr": b"{hex}\r{inner}\r0\r\r",
        "chunk-no-crlf": b"1\r\na0\r\n\r\n{inner}",
        "chunk-empty": b"\r\n{inner}\r\n0\r\n\r\n",
        "chunk-plus": b"+{hex}\r\n{inner}\r\n0\r\n\r\n",
        "chunk-short": b"1\r\n{inner}\r\n0\r\n\r\n",
        "chunk-trailer": b"0\r\nContent-Length: {size}\r\nX-Forwarded-For: {mark}\r\nSCRIPT_NAME: {mark}\r\n\r\n",
        "chunk-wide": b"0000000000000000000000000{hex}\r\n{inner}\r\n0\r\n\r\n",
    }
    found += [Case("smuggling", name, 1, raw=post + chunked + b"\r\n" + body) for name, body in chunks.items()]
    lines = {
        "http10-te": post.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n" + size + chunked + zero,
        "http09": b"GET {protected}inner?mark={mark}\r\n\r\n",
        "two-versions": b"GET /hello/ HTTP/1.1 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "space-in-target": b"GET /hello/ {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        "tab-in-line": b"GET\t{protected}inner?mark={mark}\tHTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        "cr-in-line": b"GET /hello/?mark={mark}\rGET {protected}inner HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "encoded-line-breaks": b"GET /hello/%20HTTP/1.1%0d%0aHost:%20{host}%0d%0a%0d%0aGET%20{protected}inner?mark={mark}"
        b" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        "lf-request": b"GET {protected}inner?mark={mark} HTTP/1.1\nHost: {host}\nConnection: close\n\n",
        "version-2": b"GET {protected}inner?mark={mark} HTTP/2.0\r\nHost: {host}\r\n\r\n",
        "version-odd": b"GET {protected}inner?mark={mark} HTTP/1.9\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        "method-lower": b"get {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        "upgrade-h2c": post.replace(b"POST", b"GET")
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
        + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "upgrade-then-inner": post + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nContent-Length: {inner_size}\r\n\r\n{inner}",
        "expect": post + b"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n{inner}",
        "expect-odd": post + b"Expect: x 100-continue\r\nContent-Length: {size}\r\n\r\n{inner}",
        "connect": b"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}\r\n\r\nGET {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "absolute-other-host": b"GET http://{host}{protected}inner?mark={mark} HTTP/1.1\r\nHost: other.invalid\r\nConnection: close\r\n\r\n",
        "trace": b"TRACE {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
    }
    found += [Case("smuggling", name, 1, raw=text) for name, text in lines.items()]
    hidden = " HTTP/1.1\r\nHost: {host}\r\n\r\nGET {protected}inner?mark={mark}"
    two = {
        "te": {"headers": (("transfer-encoding", "chunked"),), "body": b"0\r\n\r\n{inner}"},
        "cl-short": {"headers": (("content-length", "0"),), "body": b"{inner}"},
        "cl-long": {"headers": (("content-length", "9999"),), "body": b"{inner}"},
        "cl-twice": {"headers": (("content-length", "0"), ("content-length", "{size}")), "body": b"{inner}"},
        "crlf-in-value": {"headers": (("x-a", "b\r\nTransfer-Encoding: chunked"),), "body": b"0\r\n\r\n{inner}"},
        "lf-in-value": {"headers": (("x-a", "b\nTransfer-Encoding: chunked"),), "body": b"0\r\n\r\n{inner}"},
        "cr-in-value": {"headers": (("x-a", "b\rTransfer-Encoding: chunked"),), "body": b"0\r\n\r\n{inner}"},
        "request-in-value": {"headers": (("x-a", "b\r\n\r\nGET {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\n\r\n"),)},
        "crlf-in-name": {"headers": (("x-a: b\r\ntransfer-encoding", "chunked"),), "body": b"0\r\n\r\n{inner}"},
        "colon-in-name": {"headers": (("transfer-encoding: chunked\r\nx", "y"),), "body": b"0\r\n\r\n{inner}"},
        "colon-name": {"headers": (("x-forwarded-for:", "{mark}"),)},
        "upper-name": {"headers": (("Transfer-Encoding", "chunked"),), "body": b"0\r\n\r\n{inner}"},
        "space-in-name": {"headers": (("transfer-encoding ", "chunked"),), "body": b"0\r\n\r\n{inner}"},
        "null-in-value": {"headers": (("x-a", "b\x00\r\nRemote-User: {mark}"),)},
        "path-crlf": {"path": "/hello/" + hidden},
        "path-space": {"path": "/hello/ {protected}inner?mark={mark}"},
        "path-relative": {"path": "{p}/inner?mark={mark}"},
        "path-absolute": {"path": "https://{host}{protected}inner?mark={mark}"},
        "path-empty": {"path": ""},
        "path-star": {"path": "*", "method": "OPTIONS"},
        "method-space": {"method": "GET {protected}inner?mark={mark} HTTP/1.1\r\nHost: {host}\r\nX-A:"},
        "method-crlf": {"method": "GET / HTTP/1.1\r\nHost: {host}\r\n\r\nGET"},
        "authority-crlf": {"authority": "{host}\r\n\r\nGET {protected}inner?mark={mark} HTTP/1.1\r\nX: "},
        "authority-path": {"authority": "{host}{protected}inner?mark={mark}#"},
        "authority-userinfo": {"authority": "{mark}@{host}"},
        "scheme": {"scheme": "https://{host}{protected}inner?mark={mark}#"},
        "scheme-http": {"scheme": "http", "path": "{protected}inner?mark={mark}"},
        "second-path": {"after": ((":path", "{protected}inner?mark={mark}"),)},
        "second-method": {"after": ((":method", "POST"),)},
        "second-authority": {"after": ((":authority", "{mark}.invalid"),)},
        "pseudo-late": {"headers": (("x-a", "b"), (":path", "{protected}inner?mark={mark}"))},
        "pseudo-unknown": {"after": ((":x-forwarded-for", "{mark}"),)},
        "host-differs": {"headers": (("host", "{mark}.invalid"),)},
        "connection": {"headers": (("connection", "keep-alive, x-forwarded-for"), ("x-forwarded-for", "{mark}"))},
        "te-trailers": {"headers": (("te", "chunked"),)},
        "upgrade": {"headers": (("upgrade", "h2c"), ("connection", "upgrade"))},
        "trailers": {"body": b"x", "trailers": (("x-forwarded-for", "{mark}"), ("script_name", "{mark}"))},
        "trailers-pseudo": {"body": b"x", "trailers": ((":path", "{protected}inner?mark={mark}"),)},
        "trailers-te": {"body": b"0\r\n\r\n{inner}", "trailers": (("transfer-encoding", "chunked"),)},
        "cookie-crlf": {"headers": (("cookie", "a=b\r\nRemote-User: {mark}"),)},
        "no-scheme": {"scheme": None, "path": "{protected}inner?mark={mark}"},
        "no-method": {"method": None, "path": "{protected}inner?mark={mark}"},
        "connect": {"method": "CONNECT", "scheme": None, "path": None, "authority": "{host}:80"},
        "connect-protocol": {"method": "CONNECT", "after": ((":protocol", "websocket"),), "path": "{protected}inner?mark={mark}"},
    }
    return found + [Case("smuggling", name, 2, frames=frames) for name, frames in two.items()]


CASES = line_cases() + header_cases() + smuggling_cases()


def cases(target: Target) -> list[Case]:
    """Return the cases that fit a target: HTTP/2 is spoken over TLS only."""
    return [case for case in CASES if case.version == 1 or target.tls]


def fill(value, words: dict):
    """Return a text or bytes with its words filled in."""
    raw = isinstance(value, bytes)
    text = value.decode("latin-1") if raw else value
    for word, meaning in words.items():
        text = text.replace("{" + word + "}", meaning)
    return text.encode("latin-1") if raw else text


def words_for(target: Target, mark: str) -> dict:
    """Return what the words of a case stand for in one run."""
    base = {"p": target.protected.strip("/"), "protected": target.protected, "host": target.host, "HOST": target.host.upper(), "mark": mark}
    inner = fill(INNER, base).decode()
    return {"inner": inner, "size": str(len(inner)), "hex": f"{len(inner):x}", "inner_size": str(len(inner) + len("0\r\n\r\n")), **base}


def marked(path: str, mark: str) -> str:
    """Return a path whose query holds the mark, so that the app remembers it; a fragment stays last."""
    if "mark=" in path:
        return path
    head, hash_sign, tail = path.partition("#")
    return f"{head}{'&' if '?' in head else '?'}mark={mark}{hash_sign}{tail}"


def read(connection: socket.socket, idle: float = IDLE) -> bytes:
    """Return what comes until the other side closes or is quiet."""
    found, wait = b"", WAIT
    while len(found) < 1_000_000:
        connection.settimeout(wait)
        try:
            part = connection.recv(65536)
        except OSError:
            break
        if not part:
            break
        found, wait = found + part, idle
    return found


def send(target: Target, text: bytes) -> tuple[list[int], bytes]:
    """Send bytes as they are; return the status of each answer that came, and all that came."""
    try:
        with target.connect() as connection:
            connection.sendall(text)
            found = read(connection)
    except OSError:
        return [], b""
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] ([1-5][0-9][0-9])", found, re.M)], found


# HTTP/2 (RFC 9113) as far as one request needs it; header blocks are literals without an index (RFC 7541, 6.2.2), so that any bytes can be sent.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INDEXED_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
DIGITS = {**{"0000" + bit: number for number, bit in enumerate("01")}, "00010": 2, **{format(0x19 + number, "06b"): 3 + number for number in range(7)}}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """Return a number as HPACK writes it."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    found, value = bytes([first | most]), value - most
    while value >= 128:
        found, value = found + bytes([value % 128 + 128]), value // 128
    return found + bytes([value])


def block(headers) -> bytes:
    """Return a header block."""
    return b"".join(b"\0" + b"".join(integer(len(word), 7) + word for word in (name.encode("latin-1"), value.encode("latin-1"))) for name, value in headers)


def status_of(payload: bytes) -> int:
    """Return the status at the beginning of a header block, 0 when it cannot be read."""
    while payload and payload[0] & 0xE0 == 0x20:  # a new size of the dynamic table
        payload = payload[1:] if payload[0] & 0x1F != 0x1F else payload[1 + next(number for number, byte in enumerate(payload[1:], 1) if byte < 128) :]
    if not payload:
        return 0
    if payload[0] & 0x80:
        return INDEXED_STATUS.get(payload[0] & 0x7F, 0)
    if payload[0] not in (0x08, 0x18, 0x48) or len(payload) < 2:
        return 0
    coded, text = payload[1] & 0x80, payload[2 : 2 + (payload[1] & 0x7F)]
    if not coded:
        return int(text) if text.isdigit() else 0
    bits, digits = "".join(format(byte, "08b") for byte in text), ""
    while len(digits) < 3:
        taken = next((size for size in (5, 6) if bits[:size] in DIGITS), 0)
        if not taken:
            return 0
        digits, bits = digits + str(DIGITS[bits[:taken]]), bits[taken:]
    return int(digits)


def send_frames(target: Target, headers, body: bytes = b"", trailers=()) -> tuple[list[int], bytes]:
    """Send one request by HTTP/2; return the status that came, and the body of the answer."""
    text = PREFACE + frame(SETTINGS, 0, 0, b"")
    text += frame(HEADERS, END_HEADERS | (0 if body or trailers else END_STREAM), 1, block(headers))
    if body:
        text += frame(DATA, 0 if trailers else END_STREAM, 1, body)
    if trailers:
        text += frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers))
    found, statuses, content = b"", [], b""
    try:
        with target.connect("h2") as connection:
            if connection.selected_alpn_protocol() != "h2":
                return [], b""
            connection.sendall(text)
            connection.settimeout(WAIT)
            while True:
                while len(found) >= 9 and len(found) >= 9 + int.from_bytes(found[:3], "big"):
                    size, kind, flags, stream = int.from_bytes(found[:3], "big"), found[3], found[4], int.from_bytes(found[5:9], "big")
                    payload, found = found[9 : 9 + size], found[9 + size :]
                    if kind == SETTINGS and not flags & ACK:
                        connection.sendall(frame(SETTINGS, ACK, 0, b""))
                    if kind == HEADERS and stream == 1:
                        statuses.append(status_of(payload))
                    if kind == DATA and stream == 1:
                        content += payload
                    if kind in (RST_STREAM, GOAWAY) or (stream == 1 and kind in (HEADERS, DATA) and flags & END_STREAM):
                        return statuses, content
                part = connection.recv(65536)
                if not part:
                    return statuses, content
                found += part
    except OSError:
        return statuses, content


def request(case: Case, target: Target, mark: str) -> list[int]:
    """Send the request of a case; return the statuses that came."""
    words = words_for(target, mark)
    if case.raw:
        return send(target, fill(case.raw, words))[0]
    if case.version == 1:
        path = marked(fill(case.path, words), mark)
        lines = "".join(f"{name}: {value}\r\n" for name, value in ((fill(name, words), fill(value, words)) for name, value in case.headers))
        return send(target, f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n{lines}\r\n".encode("latin-1"))[0]
    frames = case.frames
    pseudo = [
        (":method", frames.get("method", "POST" if frames.get("body") else "GET")),
        (":scheme", frames.get("scheme", "https")),
        (":authority", frames.get("authority", "{host}")),
        (":path", marked(frames.get("path", case.path), "{mark}") if frames.get("path", 1) else frames["path"]),
    ]
    pairs = [(name, value) for name, value in pseudo if value is not None] + list(frames.get("after", ()))
    # A name in small letters, but where the case is about that.
    pairs += list(frames["headers"]) if "headers" in frames else [(name.lower() if case.kind == "header" else name, value) for name, value in case.headers]
    filled = [(fill(name, words), fill(value, words)) for name, value in pairs]
    return send_frames(
        target, filled, fill(frames.get("body", b""), words), [(fill(name, words), fill(value, words)) for name, value in frames.get("trailers", ())]
    )[0]


def seen(target: Target, mark: str) -> list[dict]:
    """Return what the victim remembers of requests that held the mark; raises RuntimeError when it does not answer."""
    _statuses, text = send(target, f"GET /seen/?mark={mark} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\nAccept-Encoding: identity\r\n\r\n".encode())
    head, _blank, body = text.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        body = b"".join(re.findall(rb"[0-9a-fA-F]+\r\n(.*?)\r\n(?=[0-9a-fA-F]+\r\n)", body, re.S))
    try:
        return json.loads(body)["seen"]
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"the victim at {target.address} does not answer: {text[:200]!r}") from error


def readings(path: str) -> set[str]:
    """Return what a path could be taken for: as it is, decoded again, in small letters, without parameters, with merged slashes and resolved dots."""
    found = {path}
    for _time in range(3):
        found |= {unquote_to_bytes(one.encode("utf-8", "surrogateescape")).decode("latin-1") for one in found}
    found |= {one.replace("\\", "/") for one in found}
    found |= {re.sub(r";[^/]*", "", one) for one in found}
    found |= {one.split("\0")[0] for one in found}
    found |= {re.sub("/+", "/", one) for one in found}
    for one in list(found):
        parts: list[str] = []
        for part in one.split("/"):
            if part == ".." and parts:
                parts.pop()
            elif part not in (".", ".."):
                parts.append(part)
        found.add("/" + "/".join(part for part in parts if part))
    return {one.lower() for one in found}


def breaches(record: dict, target: Target, mark: str) -> list[str]:
    """Return what is wrong with one request that the victim saw."""
    found = []
    below = [one for one in (*readings(record["path_info"]), *readings(record["path"])) if one.startswith(target.protected)]
    if below:
        found.append(f"the app saw {record['raw']!r}, path_info {record['path_info']!r}, which can be read as {below[0]!r}")
    if record["script_name"]:
        found.append(f"SCRIPT_NAME is {record['script_name']!r}")
    names = {"HTTP_" + name.upper().replace("-", "_") for name in SPOOFED}
    for name, value in record["headers"].items():
        if name in names:
            found.append(f"the header {name} arrived: {value!r}")
        elif mark in value and name not in ("HTTP_REFERER", "HTTP_X_0"):
            found.append(f"the mark arrived in the header {name}: {value!r}")
    if record["remote_user"]:
        found.append(f"REMOTE_USER is {record['remote_user']!r}")
    if record["host"] != target.host:
        found.append(f"Django takes itself to be asked as {record['host']!r} (Host {record['headers'].get('HTTP_HOST')!r})")
    if record["secure"] != target.tls:
        found.append(f"is_secure() is {record['secure']}")
    if record["method"] == "TRACE":
        found.append("TRACE arrived")
    return found


def run(case: Case, target: Target) -> list[str]:
    """Send the request of a case and return the breaches, each as a text; none is good."""
    mark = "m" + secrets.token_hex(8)
    statuses = request(case, target, mark)
    records = seen(target, mark)
    found = [text for record in records for text in breaches(record, target, mark)]
    if len(records) > 1:
        found.append(f"{len(records)} requests came of one: {[record['raw'] for record in records]}")
    if any(status >= 500 and status not in UNKNOWN_WORDS and (records or status not in target.refusals) for status in statuses):
        found.append(f"the answer is {statuses}, which is neither the app's nor a refusal")
    return [f"{case}: {text} (answers {statuses})" for text in found]


def honest(path: str, target: Target, version: int = 1) -> list[str]:
    """Ask for an honest path and return what is wrong: it has to reach the app as it was sent."""
    mark = "m" + secrets.token_hex(8)
    statuses = request(Case("path", "honest", version, path=path), target, mark)
    raws = [record["raw"] for record in seen(target, mark)]
    return [] if statuses == [200] and raws == [marked(path, mark)] else [f"{path!r}: answers {statuses}, the app saw {raws}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Send the hostile requests to an edge and print the breaches.")
    parser.add_argument("address")
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--plain", action="store_true", help="without TLS, HTTP/1.1 only")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    target = Target(options.address, options.host, options.port, not options.plain)
    chosen = [case for case in cases(target) if options.only in str(case)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [text for texts in pool.map(lambda case: run(case, target), chosen) for text in texts]
    if not options.only:
        found += [text for path in HONEST for text in honest(path, target)]
    print("\n".join(found))
    print(f"{len(chosen)} requests, {len(found)} breaches")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
