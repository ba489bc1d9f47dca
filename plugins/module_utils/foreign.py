# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has under the names of an app and that is not of this app's making. ``judge`` is pure; ``look`` reads the host and changes nothing."""
from __future__ import annotations

import contextlib
import glob
import grp
import json
import os
import pwd
import stat

from ansible_collections.quayside.django.plugins.module_utils import contained, fields, host, local_firewall, units
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError

UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
OWN_UNITS = UNIT_FOLDERS[0]
ACTIVATORS = (".timer", ".socket", ".path")
NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")
# Where the home of an app's user lies, beside its root.
HOMES = ("/etc/quayside", "/var/lib/quayside", "/opt/quayside")
OWN_FOLDERS = {"releases", "shared", "cache", "venvs", "static", "frontends", "lib", "services", "live", "lock", "ledger.jsonl", "lost+found"}
ROLES = ("SELECT json_object_agg(rolname, json_build_object('strong', rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, 'owns',"
         " (SELECT coalesce(json_agg(datname), '[]') FROM pg_database WHERE datdba = r.oid))) FROM pg_roles r")


def judge(app: dict, seen: dict) -> list[str]:
    """Return what stands in the way of an app: the item, why it is not this app's, and what to do. ``seen`` is what ``look`` returns."""
    found = [*of_units(app, seen), *of_user(app, seen), *of_root(app, seen), *of_docker(app, seen), *of_database(app, seen)]
    return [f"app {app['name']}: {text}" for text in found]


def other_name(app: dict) -> str:
    """Return the advice to take another name."""
    return f"give the app another name (name: my-{app['name'][:20]})"


def of_units(app: dict, seen: dict) -> list[str]:
    """Return the units and files of the system that bear the app's names."""
    found = [f"{path} is there and not of this app's making{why}: {other_name(app)}, or remove the file if nothing needs it"
             for path, why in seen["files"].items()]
    return found + [f"the unit {name} runs and is not of this app's making (it is from {source or 'no file'}): {other_name(app)}, or stop and remove it"
                    for name, source in seen["loaded"].items()]


def of_user(app: dict, seen: dict) -> list[str]:
    """Return what is wrong with the Unix user and group of the app's."""
    user, group, name = seen["user"], seen["group"], app["user"]
    take = f"name one of the app's own (user: my-{name[:20]})"
    if user:
        if user["uid"] == 0 or user["shell"] not in NO_LOGIN:
            return [f"user: {name} is an account that people log in by (shell {user['shell'] or '/bin/sh'}): {take}"]
        if not (fields.below(user["home"], [app["root"], *HOMES]) or user["home"].endswith("/shared")):
            return [f"user: {name} is an account of the system's or of another program's (home {user['home']}): {take}"]
        if group and group["gid"] != user["gid"]:
            return [f"user: the group {name} is not the one of the user {name}: {take}"]
        return []
    # The role redis makes the group before there is a user. Of another name than the app's, its Redis proves nothing: `user` may just have been changed.
    if group and not (seen["redis_user"] and name == app["name"]):
        return [f"user: the group {name} is there without a user of that name, so it is not of this app's making: {take}, or remove it if nothing needs it "
                f"(groupdel {name})"]
    return []


def of_root(app: dict, seen: dict) -> list[str]:
    """Return what is wrong with the app's root and the folders that it lies in."""
    root = seen["root"]
    if root["kind"] not in ("missing", "folder"):
        return [f"root: {app['root']} is a {root['kind']}, and a folder of its own is needed: name another root (the folder itself), or move it away"]
    strangers = sorted(set(root["names"]) - OWN_FOLDERS)
    if strangers and "releases" not in root["names"]:
        return [f"root: {app['root']} is there and not of this app's making (it holds {', '.join(strangers[:3])}): name another root, or move it away"]
    return [f"root: {path} belongs to {owner}, who could put another folder in the place of {app['root']}: chown root:root {path}; chmod go-w {path}; or name "
            "another root" for path, owner in root["above"].items()]


def of_docker(app: dict, seen: dict) -> list[str]:
    """Return the network, the images and the volumes of somebody else that bear the app's names."""
    found = []
    if seen["network"] not in (None, app["name"]):
        name = app["network"]
        found.append(f"network: there is a Docker network {name} that is not of this app's making: name another one (network: my-{name[:20]}), or remove it "
                     f"if nothing needs it (docker network rm {name})")
    for repository, owner in seen["images"].items():
        of = f"is of the app {owner}" if owner else "is not of this app's making"
        found.append(f"images: {repository} on this host {of}: name another repository, or remove it if nothing needs it (docker image rm)")
    return found


def of_database(app: dict, seen: dict) -> list[str]:
    """Return a role or a database of the server's that belongs to somebody else."""
    roles, name, user = seen["roles"], app["database"]["name"], app["database"]["user"]
    have = roles.get(user)
    if have and have["strong"]:
        return [f"database.user: the role {user} has rights beyond a database of its own: name another one (database: {{user: my_{user[:20]}}})"]
    if seen["known"]:
        return []  # roles of before are followed when the model names another one
    if have and have["owns"] and name not in have["owns"]:
        return [f"database.user: the role {user} owns {', '.join(have['owns'][:3])} and not {name}, so it is not of this app's making: name another one "
                f"(database: {{user: my_{user[:20]}}})"]
    owner = next((role for role, one in roles.items() if name in one["owns"]), user)
    if owner != user:
        return [f"database.name: the database {name} belongs to {owner}: name another one, or give it to the app "
                f'(ALTER DATABASE "{name}" OWNER TO "{user}")']
    return []


# What the host has


def look(app: dict, groups: list[str]) -> dict:
    """Return what the host has under the app's names. ``groups``: those of the inventory that the host is in; only what they bring counts."""
    here, databases = "apps" in groups, "databases" in groups and app["database"]["engine"] == "postgresql"
    names = [f"{app['name']}.service", *(f"{name}@.service" for name in units.template_names(app))]
    engine = here and app["runtime"] == "compose" and os.path.exists("/var/run/docker.sock")
    return {"files": files(app, names) if here else {}, "loaded": loaded(f"{app['name']}.service") if here else {},
            "user": user(app["user"]) if here else None, "group": group(app["user"]) if here else None,
            "redis_user": user(local_firewall.redis_user(app["name"])) if here else None,
            "root": root(app["root"]) if here else {"kind": "missing", "names": [], "above": {}},
            "network": network(app["network"]) if engine else None, "images": images(app) if engine else {},
            "roles": roles() if databases else {},
            "known": host.text(f"{OWN_UNITS}/{app['name']}.service").partition("\n")[0] == units.mark(app)}


def files(app: dict, names: list[str]) -> dict:
    """Return path -> how one sees that a file under a name of the app's is not its own."""
    found = {}
    wanted = [f"{OWN_UNITS}/{name}" for name in names] + [f"/etc/logrotate.d/{app['name']}"]
    for path in wanted:
        if os.path.lexists(path) and (os.path.islink(path) or first_line(path) != units.mark(app)):
            found[path] = f" (a link to {os.readlink(path)})" if os.path.islink(path) else ""
    found.update({f"{folder}/{name}": "" for folder in UNIT_FOLDERS[1:3] for name in names if os.path.lexists(f"{folder}/{name}")})
    packaged = UNIT_FOLDERS[4] if os.path.realpath(UNIT_FOLDERS[4]) != UNIT_FOLDERS[3] else UNIT_FOLDERS[3]
    found.update({f"{folder}/{name}": " but of a package's" for folder in {UNIT_FOLDERS[3], packaged} for name in names
                  if os.path.lexists(f"{folder}/{name}")})
    found.update({f"{folder}/{app['name']}{kind}": ", and would start the app's unit" for folder in UNIT_FOLDERS[:4] for kind in ACTIVATORS
                  if os.path.lexists(f"{folder}/{app['name']}{kind}")})
    found.update({path: ", and systemd makes a unit of it" for path in [f"/etc/init.d/{app['name']}"] if os.path.lexists(path)})
    site = f"/etc/nginx/sites-available/{app['name']}"
    found.update({path: "" for path in (site, f"{site}.conf") if os.path.lexists(path) and not first_line(path).startswith("# Made by quayside.django")})
    return found


def first_line(path: str) -> str:
    """Return the first line of a file that only root writes."""
    return host.text(path).partition("\n")[0]


def loaded(name: str) -> dict:
    """Return unit -> the file that it is from, when systemd knows one under the name that is not in the file of the app's."""
    with contextlib.suppress(host.PhaseError):
        shown = host.systemctl("show", "-p", "Id,LoadState,FragmentPath,SourcePath", "--", name, check=False).stdout
        unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if unit.get("LoadState") in ("loaded", "masked") and unit.get("FragmentPath") != f"{OWN_UNITS}/{name}":
            return {name: unit.get("SourcePath") or unit.get("FragmentPath") or ""}
    return {}


def user(name: str) -> dict | None:
    """Return uid, gid, home and shell of a user, None for no user."""
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(name)
        return {"uid": entry.pw_uid, "gid": entry.pw_gid, "home": entry.pw_dir, "shell": entry.pw_shell}
    return None


def group(name: str) -> dict | None:
    """Return the gid of a group, None for no group."""
    with contextlib.suppress(KeyError):
        return {"gid": grp.getgrnam(name).gr_gid}
    return None


def root(path: str) -> dict:
    """Return ``kind`` of what is at the root's path, the ``names`` in it, and folder -> owner of those ``above`` that another than root can change."""
    above, folder = {}, os.path.dirname(path)
    while folder != "/":
        with contextlib.suppress(FileNotFoundError):
            known = os.stat(folder)
            if known.st_uid or known.st_mode & 0o022:
                above[folder] = owner(known) if known.st_uid else f"all of the group {known.st_gid} or to everybody"
        folder = os.path.dirname(folder)
    if os.path.islink(path):
        return {"kind": f"link to {os.readlink(path)}", "names": [], "above": above}
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return {"kind": "missing", "names": [], "above": above}
    if not stat.S_ISDIR(mode):
        return {"kind": "file", "names": [], "above": above}
    return {"kind": "folder", "names": contained.names(path), "above": above}


def owner(known: os.stat_result) -> str:
    """Return the name of who owns a file."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(known.st_uid).pw_name
    return str(known.st_uid)


def network(name: str) -> str | None:
    """Return the app that a network is of, empty for none, None when there is no such network or no engine that answers."""
    try:
        return (Engine(timeout=10).get(f"/networks/{name}").get("Labels") or {}).get("quayside.app", "")
    except (EngineError, OSError):
        return None


def images(app: dict) -> dict:
    """Return repository -> app of the images under the app's names that another has made; what was loaded from an archive bears no mark."""
    found = {}
    with contextlib.suppress(EngineError, OSError):
        for one in Engine(timeout=10).get("/images/json"):
            label = (one.get("Labels") or {}).get("quayside.app", "")
            for image in app["images"]:
                tagged = any(tag.rpartition(":")[0] == image["repository"] for tag in one.get("RepoTags") or [])
                if tagged and label != app["name"] and (image["from"] == "build" or (image["from"] == "archive" and label)):
                    found[image["repository"]] = label
    return found


def roles() -> dict:
    """Return role -> {strong, owns} of the host's own PostgreSQL, empty where none answers."""
    return postgresql(ROLES)


def postgresql(question: str) -> dict:
    """Return the JSON that the host's own PostgreSQL answers to a question, empty where none answers."""
    if not glob.glob("/run/postgresql/.s.PGSQL.*"):
        return {}
    with contextlib.suppress(host.PhaseError, ValueError, KeyError):
        done = host.run(["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "postgres", "-c", question], check=False, timeout=20)
        return json.loads(done.stdout) if done.returncode == 0 else {}
    return {}
