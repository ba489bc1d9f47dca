# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running Traefik says of its routers, middlewares and services: what it cannot build it leaves out, and says so here."""
from __future__ import annotations

import json
import re
import sys

from ansible_collections.quayside.django.plugins.module_utils import edges, host, traefik
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError

KINDS = ("routers", "middlewares", "services")
INTERNAL = "@internal"  # Traefik's own
# Run in the network of Traefik's container, since its API listens on the loopback there. The image need not have any program for it.
QUESTION = f"""\
import http.client, sys
connection = http.client.HTTPConnection("{traefik.API}", timeout=5)
connection.request("GET", "/api/rawdata")
answer = connection.getresponse()
sys.stdout.write(answer.read().decode() if answer.status == 200 else "")
"""


def state() -> dict:
    """Return what Traefik has read, as its API gives it; raises PhaseError when it does not run or does not answer."""
    with edges.engine_words() as engine:
        pid = engine.get(f"/containers/{edges.running(engine, 'traefik')}/json")["State"]["Pid"]
    done = host.run(["nsenter", f"--net=/proc/{pid}/ns/net", "--", sys.executable, "-I", "-c", QUESTION], check=False)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise PhaseError(f"Traefik does not answer at {traefik.API} in its container", done.stderr,
                         look=f"docker compose -f {edges.FOLDER}/compose.yaml logs --tail 50 traefik") from error


def faults(found: dict) -> dict[str, str]:
    """Return what Traefik left out or warns of: ``router shop`` -> why.

    >>> faults({"routers": {"shop@file": {"status": "disabled", "error": ["middleware \\"x@file\\" does not exist"]}, "api@internal": {"status": "disabled"}}})
    {'router shop': 'middleware "x@file" does not exist'}
    """
    wrong = {}
    for kind in KINDS:
        for name, one in sorted((found.get(kind) or {}).items()):
            if not name.endswith(INTERNAL) and (one.get("error") or one.get("status", "enabled") != "enabled"):
                wrong[f"{kind[:-1]} {name.removesuffix('@file')}"] = "; ".join(one.get("error") or []) or f"its status is {one['status']}"
    return wrong


def declared(text: str) -> list[str]:
    """Return the names of the routers in a file of routes.

    >>> declared("http:\\n  routers:\\n    shop:\\n      rule: x\\n    shop-tls:\\n      rule: y\\n  middlewares:\\n    shop-headers:\\n      headers: {}\\n")
    ['shop', 'shop-tls']
    """
    part = re.search(r"^  \"?routers\"?:\n((?:    .*\n)+)", text, re.M)
    return re.findall(r"^    \"?([^\s\":]+)\"?:", part[1], re.M) if part else []


def absent(found: dict, names: list[str]) -> list[str]:
    """Return those of the routers that Traefik has not read."""
    return [name for name in names if f"{name}@file" not in (found.get("routers") or {})]
