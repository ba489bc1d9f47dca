# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an inventory, seen from the controller. Pure."""
from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

from ansible_collections.quayside.django.plugins.module_utils import fields, firewall, model, sizing, versions

LOCAL = ("localhost", "127.0.0.1", "::1")
HOSTS = ("hosts.yml", "hosts.yaml", "hosts.ini", "hosts")
TRUE = ("1", "true", "yes", "on")


def refused_source(value: str) -> str:
    """Return why the firewall cannot let an address or network in; empty when it can."""
    try:
        firewall.network(value)
    except firewall.BadRule as error:
        return str(error)
    return ""


def refused_proxy(value: str) -> str:
    """Return why an edge cannot believe an address or network; empty when it can."""
    return fields.addresses(value, {})


ADDRESS_LISTS = {"base_ssh_allow": refused_source, "nginx_trusted_proxies": refused_proxy, "traefik_trusted_proxies": refused_proxy}


def environments(hosts: dict, groups: list, sources: list) -> list[str]:
    """Return what is wrong with the environments of the hosts.

    ``hosts``: name -> {environment, groups}; ``groups``: names of all groups; ``sources``: paths given with -i. An inventory is a folder or
    a file in the folder of its environment.
    """
    found = []
    for path in sources:
        inside = within(path)
        if inside:
            return [f"-i {path} is a folder of environments ({', '.join(inside)}), and a run is for one of them: -i {path.rstrip('/')}/{inside[0]}"]
    named = sorted({str(host["environment"]) for host in hosts.values() if host["environment"]})
    folders = {os.path.basename(path.rstrip("/")) if os.path.isdir(path) else os.path.basename(os.path.dirname(os.path.abspath(path)))
               for path in sources}
    both = sorted(set(named) | (folders & set(groups)))
    if len(both) > 1:
        return [f"two environments at once: {' and '.join(both)}. A run is for one: give one of them, -i inventories/{both[0]}"]
    if not named:
        return ["no environment: set django_environment in inventories/<env>/group_vars/<env>/main.yml to the environment's name"]
    for name, host in sorted(hosts.items()):
        if str(host["environment"] or "") != named[0]:
            found.append(f"host {name}: it has no django_environment, the others are of {named[0]}: put it into the group {named[0]}")
        elif named[0] not in host["groups"]:
            found.append(f"host {name}: it is not in the group {named[0]}, which holds all hosts of the environment: add it in hosts.yml")
    return found


def within(path: str) -> list[str]:
    """Return the environments in a folder that is no inventory itself but holds some."""
    if not os.path.isdir(path) or any(os.path.exists(os.path.join(path, name)) for name in HOSTS):
        return []
    return sorted(name for name in os.listdir(path) if any(os.path.exists(os.path.join(path, name, file)) for file in HOSTS))


def local(hosts: dict) -> list[str]:
    """Return a finding for each host that is the controller itself. ``hosts``: name -> {address, connection}."""
    return [f"host {name}: this is the machine that runs Ansible, and its sshd, firewall and users would be changed: name another host, or set "
            "django_allow_localhost: true for it" for name, host in sorted(hosts.items())
            if host["connection"] == "local" or host["address"] in LOCAL and not host["port"]]


def address_lists(hosts: dict) -> list[str]:
    """Return a finding for each entry that is no address in a list of the roles. ``hosts``: name -> {variable: list}, of the variables in ADDRESS_LISTS.

    An edge would leave out what it cannot read, or not start; the firewall would fail when half of the host is changed already.
    """
    found: dict = {}
    for host, values in sorted(hosts.items()):
        for name, entries in sorted(values.items()):
            if not isinstance(entries, list):
                found.setdefault(f"{name} is no list of addresses and networks, such as [203.0.113.7, 10.0.0.0/8]", []).append(host)
                continue
            for entry in entries:
                wrong = ADDRESS_LISTS[name](entry) if isinstance(entry, str) else f"{entry!r} is no text: quote it"
                if wrong:
                    found.setdefault(f"{name}: {wrong}", []).append(host)
    return [f"host {', '.join(names)}: {text}" for text, names in found.items()]


def debug(app: dict, environment: str, allowed: list) -> list[str]:
    """Return a finding when DEBUG is on in an environment that is not for it."""
    for where in (app["env"], *(process["env"] for process in app["processes"])):
        for name in ("DEBUG", "DJANGO_DEBUG"):
            if str(where.get(name, "")).strip().lower() in TRUE and environment not in allowed:
                return [f"app {app['name']}: env {name} is on in {environment}: it shows settings and code to every visitor. Set it to False, or add "
                        f"{environment} to django_debug_environments if nobody else can reach this environment"]
    return []


def apps(declared, name: str, one: bool, environment: str, allowed: list) -> list[str]:
    """Return what is wrong with the apps, and with the choice of one of them."""
    try:
        loaded = model.load(declared)
        if name or one:
            model.choose(loaded, name)
    except model.ModelError as error:
        return list(error.findings)
    return [finding for app in loaded for finding in debug(app, environment, allowed)] + sizing.connection_findings(loaded)


def run_findings(version, release) -> list[str]:
    """Return what is wrong with ``-e version=…`` and ``-e release=…``, which become words of commands and parts of paths."""
    wrong = [("version", versions.refusal(str(version or ""))), ("release", versions.release_refusal(str(release or "")))]
    return [f"-e {name}: {text}" for name, text in wrong if text]


def shared_services(app: dict, hosts: list[str]) -> list[str]:
    """Return a finding when an app that runs on several hosts would have a database or a Redis of its own on each."""
    found = []
    for field, own, secret in (("database", ("postgresql", "container", "sqlite"), "DATABASE_URL"),
                               ("cache", ("redis", "container"), "CACHE_URL, SESSION_URL and CELERY_BROKER_URL")):
        engine = app[field]["engine"]
        if len(hosts) > 1 and engine in own:
            found.append(f"app {app['name']}: {field}.engine {engine} would be one on each of {', '.join(hosts)}, and what runs once runs on the first only: "
                         f"set {field}.engine: external and give {secret} in secrets, or add --limit {hosts[0]}")
    return found


def unencrypted(app: dict) -> list[str]:
    """Return a warning for each database elsewhere whose URL allows a connection without TLS; the URL itself is a secret and is not told."""
    found = []
    for name, value in app["secrets"].items():
        if not name.endswith("DATABASE_URL") or not str(value).startswith(("postgres", "postgis")):
            continue
        try:
            url = urlsplit(str(value))
        except ValueError:
            continue
        host, options = url.netloc.rpartition("@")[2], parse_qs(url.query)
        mode = options.get("sslmode", [""])[-1]
        bare = options.get("host", [host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host])[-1]
        local = not bare or bare.strip("[]") in LOCAL or bare.startswith(("/", "%2F", "%2f"))
        if not local and mode not in ("require", "verify-ca", "verify-full"):
            what = f"sslmode={mode}" if mode else "no sslmode"
            found.append(f"app {app['name']}: {name} has {what}, so passwords and rows may go to {bare} unencrypted: append "
                         f"{'&' if url.query else '?'}sslmode=require, or sslmode=verify-full with sslrootcert (docs/databases.md)")
    return found


def whole_command(extra_vars) -> str:
    """Return the command of ``-e command="migrate --plan"`` whole, from the texts that were given with -e.

    Ansible reads such a text as key=value pairs: it would keep the first word, so that ``migrate --plan`` would migrate.
    """
    for text in extra_vars:
        name, sign, value = str(text).strip().partition("=")
        if name == "command" and sign:
            value = value.strip()
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return ""
