# SPDX-License-Identifier: GPL-3.0-or-later
"""Orphans: apps that are installed on a host and that its inventory does not have, since they were renamed or taken out.

``look`` reads what is there of each and changes nothing; ``text`` and ``findings`` tell it and are pure.
"""
from __future__ import annotations

import contextlib
import json
import os
import re

from ansible_collections.quayside.django.plugins.module_utils import contained, doctor, foreign, host, local_firewall, model, ports
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

RECORD = "app.json"
MARKED = re.compile(r"^# Written by quayside\.django for the app ([a-z0-9-]+);")
ROOT = re.compile(r"^ConditionPathExists=(/\S+)/live/units$", re.MULTILINE)
UNITS = foreign.OWN_UNITS
SIZE_SECONDS = 5  # for the size of a folder: media of 100 GB takes longer, and nobody waits for that
DATABASES = ("SELECT coalesce(json_object_agg(datname, json_build_object('owner', pg_get_userbyid(datdba), 'size', pg_database_size(oid) / 1048576)), '{}')"
             " FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
FIX = "put it back into django_apps under this name, or remove it by hand (docs/removal.md)"


def record(app: dict) -> str:
    """Return what is kept of an app on its host, so that it can be told by it when the inventory no longer has it."""
    kept = {"name": app["name"], "root": app["root"], "user": app["user"], "runtime": app["runtime"],
            "database": {key: app["database"][key] for key in ("engine", "name", "user")}}
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def record_path(name: str) -> str:
    """Return where ``record`` lies on a host."""
    return f"{model.PRIVATE}/{name}/{RECORD}"


# In words


def text(orphan: dict) -> str:
    """Return what is there of an orphan, for people."""
    parts = [f"running units {', '.join(orphan['units'])}"] * bool(orphan["units"])
    parts += [f"running containers {', '.join(orphan['containers'])}"] * bool(orphan["containers"])
    parts += [f"{orphan['umbrella']}, which starts it at boot"] * bool(orphan["umbrella"])
    parts += [f"database {name} ({size} MiB, role {role})" for name, role, size in orphan["databases"]]
    parts += [f"Redis {orphan['redis']}"] * bool(orphan["redis"])
    parts += [f"volumes {', '.join(orphan['volumes'])}"] * bool(orphan["volumes"])
    parts += [f"user {orphan['user']}"] * bool(orphan["user"])
    parts += [path + (f" ({size} MiB)" if size is not None else "") for path, size in orphan["folders"]]
    return "; ".join(parts)


def line(orphan: dict) -> str:
    """Return an orphan in one line."""
    return f"app {orphan['name']} is on this host and in no app of its inventory, so no edge serves it. It still has {text(orphan)}: {FIX}"


def findings(orphans: list[dict]) -> list[dict]:
    """Return the orphans as findings of the doctor."""
    return [doctor.finding("app.orphan", "warning", f"app {one['name']}", "it is on this host and in no app of its inventory, so no edge serves it. It still "
                           f"has {text(one)}", FIX) for one in orphans]


# On a host


def look(known: set[str]) -> list[dict]:
    """Return the orphans of this host. ``known``: the names of the apps that its inventory has."""
    names = sorted({*installed(), *recorded(), *ports.read()} - known)
    with_databases = databases() if names else {}
    found = [describe(name, known, with_databases) for name in names]
    return [one for one in found if any(one[key] for key in ("units", "containers", "umbrella", "databases", "redis", "volumes", "folders", "user"))]


def installed() -> set[str]:
    """Return the names of the apps that have units."""
    return {owner(f"{UNITS}/{name}") for name in contained.names(UNITS) if name.endswith(".service") and os.path.isfile(f"{UNITS}/{name}")} - {""}


def owner(path: str) -> str:
    """Return the app whose unit a file is, empty for none of ours."""
    marked = MARKED.match(host.text(path).partition("\n")[0])
    return marked[1] if marked else ""


def recorded() -> set[str]:
    """Return the names of the apps that have a record."""
    return {name for name in contained.names(model.PRIVATE) if contained.is_file(record_path(name))}


def described(name: str) -> dict:
    """Return the record of an app, with what is usual where it was made before there were records."""
    database = name.replace("-", "_")
    usual = {"root": f"/opt/{name}", "user": name, "runtime": "compose", "database": {"engine": "postgresql", "name": database, "user": database}}
    with contextlib.suppress(ValueError):
        return {**usual, **json.loads(host.text(record_path(name)))}
    told = ROOT.search(host.text(f"{UNITS}/{name}.service"))
    return {**usual, "root": told[1] if told else usual["root"]}


def describe(name: str, known: set[str], with_databases: dict) -> dict:
    """Return what is there of an orphan."""
    app = described(name)
    umbrella, user = f"{name}.service", foreign.user(app["user"])
    paths = [app["root"], f"{model.PRIVATE}/{name}", f"/var/cache/quayside/{name}"]
    own = app["database"]["user"]
    return {"name": name, "units": running(name), "containers": containers(name), "volumes": volumes(name),
            "umbrella": umbrella if host.systemctl("is-enabled", "--quiet", "--", umbrella, check=False).returncode == 0 else "",
            "databases": [(database, one["owner"], one["size"]) for database, one in sorted(with_databases.items())
                          if app["database"]["engine"] == "postgresql" and (database == app["database"]["name"] or one["owner"] == own)],
            "redis": redis(name), "folders": [(path, size(path)) for path in paths if contained.is_folder(path)],
            "user": app["user"] if user and app["user"] not in users_of(known) else ""}


def users_of(known: set[str]) -> set[str]:
    """Return the users of the apps that are no orphans: a renamed app may have kept its user."""
    return {described(name)["user"] for name in known}


def running(name: str) -> list[str]:
    """Return the units of an app's instances that run."""
    shown = host.systemctl("list-units", "--plain", "--no-legend", "--full", "--state=active,activating,deactivating,reloading", "--", f"{name}-*@*.service",
                           check=False).stdout
    units = [line.split()[0] for line in shown.splitlines() if line.strip()]
    return [unit for unit in units if owner(f"{UNITS}/{unit.partition('@')[0]}@.service") == name]


def redis(name: str) -> str:
    """Return the unit of an app's Redis and whether it runs, empty when there is none."""
    unit = f"redis-server@{name}.service"
    if not contained.is_file(f"/etc/redis/redis-{name}.conf"):
        return ""
    runs = host.systemctl("is-active", "--quiet", "--", unit, check=False).returncode == 0
    return f"{unit} ({'runs' if runs else 'does not run'}, user {local_firewall.redis_user(name)})"


def containers(name: str) -> list[str]:
    """Return the containers of an app that run, its services too."""
    return sorted(one["Names"][0].lstrip("/") for one in ask("/containers/json", filters={"label": [f"quayside.app={name}"]}) or [])


def volumes(name: str) -> list[str]:
    """Return the volumes of an app's services."""
    return sorted(one["Name"] for one in (ask("/volumes", filters={"label": [f"quayside.app={name}"]}) or {}).get("Volumes") or [])


def ask(path: str, **query):
    """Return what the engine of this host answers, None without one."""
    if os.path.exists("/var/run/docker.sock"):
        with contextlib.suppress(EngineError, OSError):
            return Engine(timeout=10).get(path, **query)
    return None


def databases() -> dict:
    """Return database -> {owner, size in MiB} of the host's own PostgreSQL, empty where none answers."""
    return foreign.postgresql(DATABASES)


def size(path: str) -> int | None:
    """Return how many MiB a folder takes, None when that takes long. Nothing is opened but folders, and no link is followed."""
    try:
        said = host.run(["du", "-sxm", "--", path], check=False, timeout=SIZE_SECONDS).stdout
    except host.PhaseError:
        return None
    return int(said.split()[0]) if said[:1].isdigit() else None


def socket_uids(known: set[str]) -> list[int]:
    """Return the uids of orphans that reach PostgreSQL by its socket, as containers do: they keep it while they run."""
    found = []
    for name in sorted({*installed(), *recorded(), *ports.read()} - known):
        app = described(name)
        if app["runtime"] == "compose" and app["database"]["engine"] == "postgresql":
            user = foreign.user(app["user"])
            found += [user["uid"]] if user else []
    return found
