# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether names lead to this host, asked before an authority is: does each resolve, and is a file of ours found through it."""
from __future__ import annotations

import contextlib
import errno
import http.client
import os
import secrets
import socket
import ssl
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.quayside.django.plugins.module_utils import host

TIMEOUT = 5
PATH = "/.well-known/acme-challenge/"
UNREACHABLE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def check(names: list[str], webroot: str) -> dict:
    """Return name -> why it does not lead here (empty: it does). A file is put below ``webroot`` and looked for through each name."""
    token = secrets.token_hex(16)
    folder = f"{webroot}{PATH}"
    host.folder(folder.rstrip("/"), 0o755)
    host.write(f"{folder}{token}", token)
    try:
        return ask(names, f"{PATH}{token}", lambda status, headers, body: status == 200 and body.strip() == token)
    finally:
        host.remove(f"{folder}{token}")
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def ask(names: list[str], path: str, good) -> dict:
    """Return name -> why a path is not found through it (empty: it is). ``good`` judges status, headers and body."""
    own = set(host.run(["hostname", "-I"], check=False).stdout.split())

    def one(name: str) -> str:
        resolved = resolve(name)
        return verdict(name, path, resolved, {address: fetch(address, name, path, good) for address in resolved}, own)

    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(names, pool.map(one, names)))


def resolve(name: str) -> list[str]:
    """Return the addresses of a name as this host resolves it, without those of the host to itself where there are others."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return []
    public = {address for address in found if not address.startswith("127.") and address != "::1"}
    return sorted(public or found)


def fetch(address: str, name: str, path: str, good, port: int = 80) -> str:
    """Return why a path is not found at an address under a name; empty when it is, and ``-`` when this host has no way to that address."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Host": name, "User-Agent": "quayside-precheck"})
        answer = connection.getresponse()
        body = answer.read(4096).decode("utf-8", "replace")
        if good(answer.status, answer.headers, body):
            return ""
        if answer.status in (301, 302, 303, 307, 308):
            return followed(answer.headers.get("Location", ""), good)
        return f"answers {answer.status}"
    except OSError as error:
        return "-" if error.errno in UNREACHABLE else f"does not answer ({error.strerror or error})"
    except http.client.HTTPException as error:
        return f"does not speak HTTP ({error})"
    finally:
        connection.close()


def followed(location: str, good) -> str:
    """Return why a path is not found where a redirect leads; an authority follows it, too, and looks at no certificate on its way."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(location, timeout=TIMEOUT, context=context) as answer:
            body = answer.read(4096).decode("utf-8", "replace")
            return "" if good(answer.status, answer.headers, body) else f"sends on to {location}, which is not this host"
    except (OSError, ValueError, http.client.HTTPException, urllib.error.URLError) as error:
        return f"sends on to {location}: {error}"


def verdict(name: str, path: str, resolved: list[str], answers: dict, own: set) -> str:
    """Return why a name does not lead here, with what to do; empty when it does.

    ``answers`` are address -> what ``fetch`` said. An address that this host has no way to does not count where another one is good.
    """
    if not resolved:
        return f"{name} resolves to no address: add an A record for it that leads here ({', '.join(sorted(own)) or 'this host'})"
    wrong = {address: said for address, said in answers.items() if said and said != "-"}
    if not wrong and any(said == "" for said in answers.values()):
        return ""
    wrong = wrong or answers
    address, said = sorted(wrong.items())[0]
    said = "cannot be reached from here" if said == "-" else said
    where = "which is this host" if address in own else f"and this host is {', '.join(sorted(own))}"
    return (f"{name} resolves to {address}, {where}; http://{name}{PATH} there {said}: let its A and AAAA records lead here and port 80 be open; "
            "where the world reaches this host though it cannot reach itself so, set tls.precheck: false")
