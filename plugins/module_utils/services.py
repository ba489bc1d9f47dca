# SPDX-License-Identifier: GPL-3.0-or-later
"""The long-lived services of an app in containers: its PostgreSQL and its Redis, in a compose project that no deploy touches. Pure."""
from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import stringprep
import unicodedata

from ansible_collections.quayside.django.plugins.module_utils import compose_project, docker_network, model

SUPERUSER = "postgres"
# What the entrypoints of the official images need to hand their data over to the user that they then become.
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
DATA = "/var/lib/postgresql/data"
REDIS_CONF = "/usr/local/etc/redis/redis.conf"
ROUNDS = 4096  # PostgreSQL's own number (scram_iterations)
# A statement that sets a password must not reach the server's log, however the server is set up.
PSQL = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d"]
PSQL_OPTIONS = "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic"


FIELDS = {"db": "database", "redis": "cache"}  # service -> field of the model, and of the sizes


def parts(app: dict) -> list[str]:
    """Return the names of the app's services: ``db``, ``redis``, both or none."""
    return [name for name, field in FIELDS.items() if app[field]["engine"] == "container"]


def projects(apps: list[dict]) -> list[dict]:
    """Return what the role services makes: for each app that has services its public model and the passwords of them."""
    return [{"app": model.public(app), "passwords": {"database": app["secrets"].get("DATABASE_PASSWORD", ""),
                                                     "cache": app["secrets"].get("REDIS_PASSWORD", ""),
                                                     "cache_other": model.other_redis_password(app)}} for app in apps if parts(app)]


def folder(app: dict) -> str:
    """Return the folder of the project."""
    return f"{app['root']}/services"


def project_name(app: dict) -> str:
    """Return the name of the compose project."""
    return f"{app['name']}-services"


def volumes(app: dict) -> dict:
    """Return service -> name of the volume with its data."""
    names = {"db": f"{app['name']}_database", "redis": f"{app['name']}_cache"}
    return {name: names[name] for name in parts(app)}


def project(app: dict, sizes: dict | None = None, redis_conf: str = "", images: dict | None = None, subnet: str = "") -> dict:
    """Return the compose project of an app's services, as ``compose_project.render`` writes it.

    ``sizes``: those of the app in sizing.plan; ``database`` with settings and memory, ``cache`` with memory, in MiB, or None. ``redis_conf``:
    the text of Redis's file, so that a change of it makes a new container. ``images``: tag -> reference by which it runs here (image_pins). ``subnet``: of
    the network, where that takes addresses of ours: an app then finds its services while the engine is away.
    """
    sizes = sizes or {}
    made: dict = {"name": project_name(app), "services": {}}
    if "db" in parts(app):
        made["services"]["db"] = database(app, sizes.get("database") or {})
    if "redis" in parts(app):
        made["services"]["redis"] = cache(app, sizes.get("cache") or {}, redis_conf)
    for service in made["services"].values():
        service["image"] = (images or {}).get(service["image"], service["image"])
    for name, service in made["services"].items():
        if docker_network.service(subnet, name):
            service["networks"]["default"]["ipv4_address"] = docker_network.service(subnet, name)
    made["networks"] = {"default": {"name": app["network"], "external": True}}
    # Made outside, so that `docker compose down -v` does not take the data along.
    made["volumes"] = {name: {"name": volume, "external": True} for name, volume in volumes(app).items()}
    if "db" in parts(app):
        made["secrets"] = {"superuser": {"file": f"{folder(app)}/secrets/superuser"}}
    return made


def common(app: dict, name: str, image: str, memory: int) -> dict:
    """Return what both services have. ``memory``: MiB, 0 for no limit."""
    made = {
        "image": image, "pull_policy": "missing", "restart": "unless-stopped", "stop_grace_period": "60s", "read_only": True,
        "cap_drop": ["ALL"], "cap_add": CAPABILITIES, "security_opt": ["no-new-privileges:true"], "pids_limit": 1024,
        "networks": {"default": {"aliases": [name]}},
        "labels": {"quayside.app": app["name"], "quayside.service": name},
        "logging": {"driver": "journald", "options": {"tag": f"{app['name']}-{name}"}},
    }
    return dict(made, mem_limit=f"{memory}m") if memory else made


def database(app: dict, size: dict) -> dict:
    """Return the service of the database."""
    name, user = app["database"]["name"], app["database"]["user"]
    made = common(app, "db", app["database"]["image"], size.get("limit", size.get("memory", 0)))
    made["command"] = ["postgres"]
    for key, value in sorted((size.get("settings") or {}).items()):
        made["command"] += ["-c", f"{key}={value}"]
    made["environment"] = {
        # Since version 18 the image would look for its data elsewhere.
        "PGDATA": DATA,
        "POSTGRES_PASSWORD_FILE": "/run/secrets/superuser",
        # The order of sorting of C.UTF-8 is the same in every image; that of other locales differs, and breaks indexes.
        "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth-local=trust --auth-host=scram-sha-256",
    }
    made["secrets"] = ["superuser"]
    made["volumes"] = [f"db:{DATA}"]
    made["tmpfs"] = ["/tmp:mode=1777", "/var/run/postgresql:mode=3777"]
    made["shm_size"] = "256m"
    # The server that runs while the data folder is made listens on the socket alone: -h tells it from the real one.
    made["healthcheck"] = {"test": ["CMD-SHELL", f"pg_isready -U {user} -d {name} -h 127.0.0.1"], "interval": "10s", "timeout": "5s", "retries": 5,
                           "start_period": "60s", "start_interval": "1s"}
    return made


def cache(app: dict, size: dict, conf: str) -> dict:
    """Return the service of the cache."""
    made = common(app, "redis", app["cache"]["image"], size.get("limit", size.get("memory", 0)))
    made["command"] = ["redis-server", REDIS_CONF]
    made["volumes"] = ["redis:/data", f"{folder(app)}/secrets/redis.conf:{REDIS_CONF}:ro"]
    made["tmpfs"] = ["/tmp:mode=1777"]
    # With a password the answer without one is NOAUTH: the server is there, which is what is asked.
    made["healthcheck"] = {"test": ["CMD-SHELL", "redis-cli ping | grep -q -e PONG -e NOAUTH"], "interval": "10s", "timeout": "5s", "retries": 5,
                           "start_period": "60s", "start_interval": "1s"}
    # Another password needs no other container: Redis is told while it runs.
    shown = re.sub(r"^(requirepass) .*$", r"\1", re.sub(r"^user default .*\n", "", conf, flags=re.M), flags=re.M)
    made["labels"]["quayside.config"] = hashlib.sha256(shown.encode()).hexdigest()[:16]
    return made


def limits(text: str) -> dict:
    """Return service -> MiB of its memory limit, of the text of a project.

    >>> limits('services:\\n  db:\\n    image: x\\n    mem_limit: "672m"\\n  redis:\\n    image: y\\n')
    {'db': 672}
    """
    return {name: int(size) for name, size in re.findall(r'^  (\w+):\n(?:    .*\n)*?    mem_limit: "?(\d+)m"?$', text, re.MULTILINE)}


def with_limits(sizes: dict, wanted: dict) -> dict:
    """Return the sizes of an app with other limits of memory; ``wanted``: service -> MiB."""
    return {**sizes, **{FIELDS[name]: {**(sizes.get(FIELDS[name]) or {}), "limit": limit} for name, limit in wanted.items()}}


def has_password(conf: str) -> bool:
    """Return True when a file of Redis's asks for a password."""
    return any(line.startswith("requirepass ") for line in conf.splitlines())


def without_password(app: dict, containers: list[dict]) -> list[str]:
    """Return the names of those running containers of an app's releases, as the engine describes them, that reach Redis without a password."""
    plain = re.compile(r"^[^=]+=redis://redis:6379(/|\Z)")
    return [one["Name"].lstrip("/") for one in containers
            if one["State"]["Running"] and any(plain.match(text) for text in (one["Config"].get("Env") or []))]


def requirepass(password: str) -> str:
    """Return the line of Redis's file that names its password."""
    return f"requirepass {json.dumps(password, ensure_ascii=False)}"


def redis_conf(app: dict, password: str, maxmemory: int, second: str = "") -> str:
    """Return Redis's file. ``maxmemory``: MiB for ``memory: auto``; ``second``: the line for two passwords, while one changes (rotation.redis_line)."""
    settings = app["cache"]
    lines = [
        f"# Written by quayside.django for the app {app['name']}; the app model decides what stands here.",
        "port 6379", "protected-mode no", "dir /data",
        f"databases {max(16, *(number + 1 for number in settings['databases'].values()))}",
        f"maxmemory {f'{maxmemory}mb' if settings['memory'] == 'auto' else settings['memory']}",
        f"maxmemory-policy {settings['policy']}",
        f"appendonly {'yes' if settings['persistence'] == 'aof' else 'no'}",
        f"save {'300 1' if settings['persistence'] == 'rdb' else json.dumps('')}",
    ]
    if password:
        lines += [requirepass(password), *[second] * bool(second)]
    return "\n".join(lines) + "\n"


def text(app: dict, sizes: dict | None = None, conf: str = "", images: dict | None = None, subnet: str = "") -> str:
    """Return the project as YAML."""
    hints = ["docker compose ps", *(["docker compose exec db psql -U {user} -d {name}".format(**app["database"])] if "db" in parts(app) else []),
             f"docker compose logs -f {parts(app)[0]}"]
    return compose_project.render(project(app, sizes, conf, images, subnet), (
        f"# Written by quayside.django for the app {app['name']}: its long-lived services, which no deploy touches. The app model decides\n"
        f"# what stands here, and quayside.django.site brings it about.\n# By hand, as root in {folder(app)}: {'; '.join(hints)}\n"))


# The role and the database in PostgreSQL

def major(version: str) -> int:
    """Return the major version in a text such as ``16`` or ``postgres (PostgreSQL) 16.4 (Debian 16.4-1)``, 0 when there is none."""
    found = re.search(r"(?:^|\s)(\d+)(?:\.\d+|beta\d+|rc\d+|devel)?(?:\s|$)", version.strip())
    return int(found[1]) if found else 0


def upgrade_refusal(app: dict, have: int, wanted: int) -> str:
    """Return why an image of another major version cannot take over the data, empty when it can."""
    if not have or have == wanted:
        return ""
    return (f"the data in the volume {volumes(app)['db']} are of PostgreSQL {have}, and database.image {app['database']['image']} is PostgreSQL {wanted}, "
            f"which cannot read them: set database.image back to one of PostgreSQL {have}, or move the data by dump and restore "
            "(docs/databases.md, \"A new major version\")")


def identifier(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Return a text as SQL quotes it, whatever ``standard_conforming_strings`` says."""
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def question(app: dict) -> str:
    """Return the SQL that asks what is there; its answer is for ``statements``."""
    name, user = literal(app["database"]["name"]), literal(app["database"]["user"])
    return (f"SELECT json_build_object('password', (SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = {user}),"
            f" 'role', (SELECT rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)"
            f" FROM pg_roles WHERE rolname = {user}),"
            f" 'owner', (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = {name}));\n")


def statements(app: dict, have: dict, password: str, salt: bytes) -> list[tuple[str, str]]:
    """Return (what it does, SQL) for what has to change; ``have`` is the answer to ``question``.

    The password goes over as the verifier that the server would keep, so that no log and no statistics ever hold it.
    """
    name, user = app["database"]["name"], app["database"]["user"]
    todo = []
    if have["role"] is None:
        todo.append((f"role {user} made", f"CREATE ROLE {identifier(user)} LOGIN PASSWORD {literal(verifier(password, salt))};"))
    else:
        if not have["role"]:
            todo.append((f"rights of role {user} corrected",
                         f"ALTER ROLE {identifier(user)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;"))
        if not verifies(have["password"] or "", password):
            todo.append((f"password of role {user} changed", f"ALTER ROLE {identifier(user)} PASSWORD {literal(verifier(password, salt))};"))
    if have["owner"] is None:
        todo.append((f"database {name} made", f"CREATE DATABASE {identifier(name)} OWNER {identifier(user)};"))
    elif have["owner"] != user:
        todo.append((f"owner of database {name} changed", f"ALTER DATABASE {identifier(name)} OWNER TO {identifier(user)};"))
    return todo


def extension_statements(app: dict, have: list[str]) -> list[tuple[str, str]]:
    """Return (what it does, SQL) for the extensions that the database lacks; ``have`` are those that it has."""
    return [(f"extension {name} made", f"CREATE EXTENSION IF NOT EXISTS {identifier(name)} CASCADE;")
            for name in app["database"]["extensions"] if name not in have]


def prepared(password: str) -> bytes:
    """Return a password as PostgreSQL and its clients hash it: SASLprep (RFC 4013), or as it is where that does not allow it."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char))
    mapped = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    forbidden = (stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5,
                 stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9, stringprep.in_table_a1)
    mixed = any(map(stringprep.in_table_d1, mapped)) and (
        any(map(stringprep.in_table_d2, mapped)) or not (stringprep.in_table_d1(mapped[0]) and stringprep.in_table_d1(mapped[-1])))
    if not mapped or mixed or any(test(char) for test in forbidden for char in mapped):
        return password.encode()
    return mapped.encode()


def verifier(password: str, salt: bytes, rounds: int = ROUNDS) -> str:
    """Return what PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return "SCRAM-SHA-256${}:{}${}:{}".format(rounds, *(base64.b64encode(part).decode() for part in (salt, stored, server)))


def verifies(kept: str, password: str) -> bool:
    """Return True when what PostgreSQL keeps is that of this password."""
    found = re.match(r"^SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$", kept)
    return bool(found) and hmac.compare_digest(kept, verifier(password, base64.b64decode(found[2]), int(found[1])))
