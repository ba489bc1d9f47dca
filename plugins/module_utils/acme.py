# SPDX-License-Identifier: GPL-3.0-or-later
"""When an ACME authority is asked for a certificate, with which words, and what its refusals mean. Pure."""
from __future__ import annotations

import re
from urllib.parse import urlsplit

from ansible_collections.quayside.django.plugins.module_utils.certificates import covered, listed, span

FOLDER = "/etc/letsencrypt"
CREDENTIALS = "/etc/quayside/acme"
PATIENCE = 86400  # seconds for which a name that was refused is not asked for again by itself: authorities count
LATE = 6  # a sixth of its life is left: the timer should have renewed it long ago


def why_ask(names: list[str], state: dict, server: str, now: float) -> str:
    """Return why a certificate has to be asked for; empty when it can stay.

    ``state`` is what the host has: ``broken`` (why it cannot be used, or empty), and then ``names``, ``begins``, ``ends`` and the ``server``
    that gave it (empty: nobody knows). What is only due is the timer's work.
    """
    if state["broken"]:
        return state["broken"]
    left = state["ends"] - now
    if left <= 0:
        return f"it ended {span(-left)} ago"
    missing = [name for name in names if name not in covered(names, state["names"])]
    if missing:
        return f"it is for {listed(state['names'])}, not for {', '.join(missing)}"
    if state["server"] and state["server"] != server:
        return f"it is of {state['server']}"
    if left < (state["ends"] - state["begins"]) / LATE:
        return f"it ends in {span(left)}, and no timer has renewed it"
    return ""


def is_hopeless(state: dict) -> bool:
    """Return True when certbot could not go on from what it has of a certificate: it has to begin anew."""
    return bool(state["broken"])


def server_of(renewal: str) -> str:
    """Return the directory in certbot's renewal file.

    >>> server_of("[renewalparams]\\nserver = https://ca.test/dir\\n")
    'https://ca.test/dir'
    """
    found = re.search(r"^server\s*=\s*(\S+)", renewal, re.M)
    return found.group(1) if found else ""


def argv(name: str, names: list[str], tls: dict, webroot: str, app: str, secrets: str = "") -> list[str]:
    """Return the command that asks for one certificate; ``secrets`` is the path of a file with what no argv may show."""
    found = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--no-directory-hooks", "--server", tls["server"], "--cert-name", name,
             "--force-renewal", "--renew-with-new-domains"]
    # With a star certbot refuses to leave a name out by itself; one that the authority refuses is left out by whoever calls this again.
    found += [] if any(one.startswith("*.") for one in names) else ["--allow-subset-of-names"]
    found += ["--preferred-challenges", f"{tls['challenge']}-01"]
    found += ["--email", tls["email"]] if tls["email"] else ["--register-unsafely-without-email"]
    found += ["--config", secrets] if secrets else []
    if tls["challenge"] == "dns":
        plugin = tls["dns"]["plugin"]
        found += ["--authenticator", f"dns-{plugin}", f"--dns-{plugin}-propagation-seconds", str(tls["dns"]["propagation"])]
        # Route 53's reads the files of Amazon's own tools, and has no option for one.
        found += [] if plugin == "route53" else [f"--dns-{plugin}-credentials", f"{CREDENTIALS}/{app}.ini"]
    else:
        found += ["--authenticator", "webroot", "--webroot-path", webroot]
    return found + [word for one in names for word in ("--domain", one)]


def ini(values: dict) -> str:
    """Return a file as certbot and its plugins read it."""
    return "# Made by quayside.django. Changes here are lost at the next run.\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def problems(output: str, names: list[str]) -> dict:
    """Return name -> reason from what certbot printed; names that it does not speak of are left out."""
    found = {}
    for block in re.split(r"^\s*(?:Domain|Identifier):\s*", output, flags=re.M)[1:]:
        name = block.split()[0]
        detail = re.search(r"^\s*Detail:\s*(.*?)(?=\n\s*\n|\n\s*(?:Domain|Identifier|Hint):|\Z)", block, re.M | re.S)
        found[name] = " ".join((detail.group(1) if detail else block).split())
    if not found:
        said = last_words(output)
        found = {name: said for name in names if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", said)}
    return {name: reason for name, reason in found.items() if name in names}


def answers(log: str, names: list[str]) -> dict:
    """Return name -> reason from what certbot logged of an authority's answers; names that none speaks of are left out.

    Of a name that it left out of an order certbot prints nothing, and certbot 2.1 with Python 3.11 breaks down over a refused order
    ("AttributeError: can't set attribute").
    """
    details = [line.partition('"detail":')[2].strip().strip(",")[1:-1].replace('\\"', '"') for line in log.splitlines() if '"detail":' in line]
    found = {name: [detail for detail in details if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", detail)] for name in names}
    return {name: told[-1] for name, told in found.items() if told}


def last_words(output: str) -> str:
    """Return what certbot said at its end, without its advice to look elsewhere."""
    lines = [line.strip() for line in output.splitlines()]
    noise = ("Ask for help", "Some challenges have failed", "Saving debug log", "See the logfile", "An unexpected error occurred")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(kept[-3:])[:400] or "certbot says nothing"


def recent(memory: dict, now: float) -> dict:
    """Return name -> reason of the names that an authority has refused within a day; ``memory`` is name -> {at, why}.

    >>> recent({"a.test": {"at": 0, "why": "forbidden"}, "b.test": {"at": 90000, "why": "forbidden"}}, 100000)
    {'b.test': 'forbidden'}
    """
    return {name: one["why"] for name, one in memory.items() if now - one["at"] < PATIENCE}


def lost_account(output: str) -> bool:
    """Return True when the authority does not know the account that certbot has."""
    return "accountDoesNotExist" in output or "urn:ietf:params:acme:error:accountDoesNotExist" in output


def accounts(server: str) -> str:
    """Return the folder of certbot's accounts at an authority.

    >>> accounts("https://ca.test:14000/dir")
    '/etc/letsencrypt/accounts/ca.test:14000'
    """
    return f"{FOLDER}/accounts/{urlsplit(server).netloc}"
