# SPDX-License-Identifier: GPL-3.0-or-later
"""Which secrets the apps need, where they are written, and which of them can be made here. Pure; for the controller."""
from __future__ import annotations

import secrets
import string
from collections.abc import Mapping

import jinja2
from ansible_collections.quayside.django.plugins.module_utils import model
from jinja2 import meta, nodes

ALPHABET = string.ascii_letters + string.digits  # no character that a URL, a shell, YAML or an env file reads as something else
LENGTHS = {"SECRET_KEY": 64}
LENGTH = 32
# What nobody can make up, and who knows it.
GIVEN = {
    "REGISTRY_PASSWORD": "a token that the registry gives its user",
    "DATABASE_URL": "from who runs the database: postgresql://USER:PASSWORD@HOST:5432/NAME?sslmode=require",
    "SOURCE_KEY": "the private half of a deploy key (docs/getting-started.md, \"Private repositories\")",
    "ACME_EAB_HMAC_KEY": "from the certificate authority, with the key's id",
}
BY_DEFAULT = "cache.engine is container; without it Redis takes whoever reaches it"  # one that an app has unless its secrets are listed without it
FILTERS = ("combine", "default", "d", "mandatory")  # the value goes through them to the left


def make(name: str, length: int = 0) -> str:
    """Return a new value for a secret: letters and digits; 64 for SECRET_KEY (381 bits), else 32 (190 bits), or ``length`` of them."""
    return "".join(secrets.choice(ALPHABET) for _number in range(length or LENGTHS.get(name, LENGTH)))


def path(text) -> tuple:
    """Return the variable that a template shows, as keys: ``{{ vault.shop | combine(…) }}`` is ``("vault", "shop")``; empty when it is none."""
    if not isinstance(text, str):
        return ()
    try:
        body = jinja2.Environment().parse(text).body  # noqa: S701 - nothing is rendered
    except jinja2.TemplateError:
        return ()
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return ()
    shown = [node for node in body[0].nodes if not (isinstance(node, nodes.TemplateData) and not node.data.strip())]
    return keys(shown[0]) if len(shown) == 1 else ()


def names(text) -> list[str]:
    """Return the variables that a template names."""
    try:
        return sorted(meta.find_undeclared_variables(jinja2.Environment().parse(str(text))))  # noqa: S701 - nothing is rendered
    except jinja2.TemplateError:
        return []


def keys(node) -> tuple:
    """Return the keys of an expression that is one variable or a part of one."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Filter) and node.name.rsplit(".", 1)[-1] in FILTERS and node.node is not None:
        return keys(node.node)
    below, key = (), None
    if isinstance(node, nodes.Getattr):
        below, key = keys(node.node), node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        below, key = keys(node.node), node.arg.value
    return (*below, key) if below and isinstance(key, str) else ()


def place(raw, name: str) -> tuple:
    """Return where a secret of an app belongs; ``raw`` is what the app says as ``secrets``. Empty: nowhere that a file is known for."""
    if isinstance(raw, Mapping):
        return path(raw.get(name))
    base = path(raw)
    return (*base, name) if base else ()


def roots(raw) -> dict:
    """Return variable -> what stands for it while it is not defined, of all that ``secrets`` of an app is made from."""
    if isinstance(raw, Mapping):
        found = {}
        for value in raw.values():
            steps = path(value)
            if steps:
                found[steps[0]] = "" if len(steps) == 1 else {}
        return found
    base = path(raw)
    return {base[0]: {}} if base else {}


def plan(apps: list[dict], known: set = frozenset()) -> dict:
    """Return what has to be done; ``known``: names whose value a person has given.

    ``apps``: each with ``name``, ``raw`` (what it says as ``secrets``), ``have`` (name -> value) and ``needed`` (name -> reason).
    ``make``: place -> name of what can be made. ``ask``: (app, name, reason, who knows it, place). ``stuck``: texts.
    """
    made, ask, stuck = {}, [], []
    for app in apps:
        for name, reason in app["needed"].items():
            if app["have"].get(name):
                continue
            where = place(app["raw"], name)
            who = GIVEN.get(name) or ("only you know what it is" if reason.startswith("images[") else "")
            if who and name not in known:
                ask.append((app["name"], name, reason, who, where))
            elif where:
                made[where] = name
            elif reason == BY_DEFAULT:
                continue  # nobody wrote where it belongs, and the app runs without
            elif isinstance(app["raw"], Mapping):
                stuck.append(f"app {app['name']}: {name} is missing ({reason}), and its secrets do not name it: add `{name}: \"{{{{ vault_"
                             f"{app['name'].replace('-', '_')}_{name.lower()} }}}}\"` to them, or write them as one variable, "
                             f"secrets: \"{{{{ vault_{app['name'].replace('-', '_')} }}}}\"")
            else:
                stuck.append(f"app {app['name']}: {name} is missing ({reason}), and its secrets come from no variable of a vault file: "
                             "add it where they are kept")
    return {"make": made, "ask": ask, "stuck": stuck}


def needed(app: dict) -> dict:
    """Return name -> reason of all secrets that an app of the model needs, also those that only its edge or its builds read."""
    found = dict(model.needed_secrets(app))
    if app["cache"]["engine"] == "container":
        found.setdefault("REDIS_PASSWORD", BY_DEFAULT)
    if app["tls"].get("eab"):
        found["ACME_EAB_HMAC_KEY"] = "tls.eab is given"
    for allowed in app["allow"]:
        for login, name in (allowed.get("users") or {}).items():
            found.setdefault(str(name), f"the login {login} for {allowed['path']}")
    for image in app["images"]:
        for name in image["secrets"]:
            found.setdefault(name, f"images[{image['name']}].secrets names it")
    return found
