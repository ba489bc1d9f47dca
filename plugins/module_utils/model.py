# SPDX-License-Identifier: GPL-3.0-or-later
"""The app model: what an app is (``SPEC``), and everything that follows from it.

``load`` is the one door: it takes ``django_apps`` as written in the inventory and returns the apps with every default and
derived value filled in. Roles, playbooks and modules read only that.
"""
from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Mapping
from urllib.parse import quote

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.quayside.django.plugins.module_utils import env_file, processes

EDGE_GROUP = 33  # www-data, the same number on every Debian and Ubuntu
SECRET_LENGTH = 8

PROCESS = {
    "name": {"type": "str", "required": True, "description": "The process's name: letters, digits and dashes."},
    "command": {"type": "str", "required": True, "description": [
        "What it runs, as a shell line inside the app's folder and venv. Where the first word is gunicorn, uvicorn, hypercorn, daphne, "
        "granian or celery, the flags that it needs and that are not given are added (socket, workers, node name, beat's schedule).",
        "Any other command uses C($SOCKET), C($RELEASE), C($PROCESS) and C($COPY). What it prints goes to the journal; files in C($LOGS), "
        "which is shared/logs, are rotated."]},
    "workers": {"type": "str", "default": "auto", "description": [
        "Workers of a server, or the concurrency of a celery worker. C(auto): 2 x cores + 1, capped by the host's memory; "
        "for celery its own default of one per core."]},
    "threads": {"type": "int", "default": 1, "description": "Threads of each gunicorn worker (more than 1 makes gthread workers)."},
    "timeout": {"type": "int", "default": 60, "description": "Seconds that one request may take in a gunicorn worker, and at the edge."},
    "count": {"type": "int", "default": 1, "description": "Copies of a process that serves no HTTP; each gets its number in C($COPY)."},
    "single": {"type": "bool", "description": [
        "Never two of it, on one host or many, also while a deploy hands over. Default: true for celery beat."]},
    "drain": {"type": "int", "description": [
        "Seconds that it may take to end what it has begun, before it is killed. Default: 30 for a server, 300 for a worker, "
        "20 for a single process."]},
    "route": {"type": "str", "description": "Path at the edge that it serves. Default: C(/) for the process C(web)."},
    "websocket": {"type": "bool", "default": False, "description": "Pass websockets on this route, with an hour between two messages."},
    "memory": {"type": "str", "default": "", "description": "The most memory of it and its workers, as systemd writes it (C(512M))."},
    "cpu": {"type": "str", "default": "", "description": "The most CPU, in percent of one core (C(150%))."},
    "env": {"type": "dict", "default": {}, "description": "Variables for this process only."},
}

COMMAND = {
    "name": {"type": "str", "description": "What the messages call it. Default: the first word of the command."},
    "manage": {"type": "str", "required": True, "description": "Arguments of manage.py: C(collectstatic --noinput)."},
    "once": {"type": "bool", "default": True, "description": "Run on one host only (migrations); false: on each (static files)."},
    "first": {"type": "bool", "default": False, "description": "Run only while no release has ever been live (fixtures, a superuser)."},
    "timeout": {"type": "int", "default": 900, "description": "Seconds after which it is ended and the deploy fails."},
    "may_fail": {"type": "bool", "default": False, "description": "Its failure is a warning."},
}

ALLOW = {
    "path": {"type": "str", "required": True, "description": "Path that only these addresses reach: C(/admin/)."},
    "addresses": {"type": "list", "elements": "str", "required": True, "description": "Addresses and networks; all others get 403."},
}


def sub(options: dict, description: str, elements: bool = False, default=None) -> dict:
    """Return the spec of a dict, or of a list of dicts, with options of its own."""
    spec = {"options": options, "description": description}
    if elements:
        return dict(spec, type="list", elements="dict", **({} if default is None else {"default": default}))
    return dict(spec, type="dict", apply_defaults=True)


SPEC = {
    "name": {"type": "str", "required": True, "description": [
        "Name of the app, and of its Unix user, units, site and, by default, database. At most 24 of a-z, 0-9 and the dash."]},
    "runtime": {"type": "str", "default": "systemd", "choices": ["systemd"], "description": "How its processes run."},
    "edge": {"type": "str", "default": "nginx", "choices": ["nginx", "none"], "description": "What takes its requests from the world."},
    "root": {"type": "str", "description": "Folder of the app on the host. Default: C(/opt/<name>)."},
    "user": {"type": "str", "description": "Unix user and group that own and run it. Default: the name."},
    "domains": {"type": "list", "elements": "str", "default": [], "description": [
        "Names (or addresses) under which it is served. The first is the one that health checks use."]},
    "canonical": {"type": "str", "default": "", "description": "The domain that all others redirect to. Empty: all are served."},
    "tls": sub({
        "mode": {"type": "str", "default": "none", "choices": ["none", "selfsigned", "provided"], "description": "Where the certificate comes from."},
        "certificate": {"type": "str", "default": "", "description": "With C(provided): path of the chain on the host."},
        "key": {"type": "str", "default": "", "description": "With C(provided): path of the key on the host."},
    }, "HTTPS."),
    "source": sub({
        "repo": {"type": "str", "required": True, "description": "URL of the git repository, as the host reaches it."},
        "version": {"type": "str", "default": "main", "description": "Branch, tag or commit. C(-e version=…) on the command line wins."},
        "subdir": {"type": "str", "default": "", "description": "Folder of the repository that is the app's root."},
    }, "Where the code comes from. A deploy key for C(git@…) is the secret C(SOURCE_KEY)."),
    "manage": {"type": "str", "default": "manage.py", "description": "Path of manage.py under the app's root."},
    "settings": {"type": "str", "required": True, "description": "Settings module: C(config.settings.production)."},
    "python": sub({
        "interpreter": {"type": "str", "default": "/usr/bin/python3", "description": "Interpreter on the host; never downloaded."},
        "installer": {"type": "str", "default": "uv", "choices": ["uv", "pip"], "description": "What builds the venv."},
        "requirements": {"type": "list", "elements": "str", "default": [], "description": [
            "Requirements files under the app's root. Default: uv.lock for uv where there is one, else requirements.txt."]},
        "extras": {"type": "list", "elements": "str", "default": [], "description": "With uv.lock: extras of the project."},
        "groups": {"type": "list", "elements": "str", "default": [], "description": "With uv.lock: dependency groups."},
        "packages": {"type": "list", "elements": "str", "default": [], "description": "Packages beside those of the project."},
        "options": {"type": "list", "elements": "str", "default": [], "description": "Options for the installer (C(--index-url …))."},
        "env": {"type": "dict", "default": {}, "description": "Variables for the build only."},
    }, "How its dependencies are installed."),
    "packages": {"type": "list", "elements": "str", "default": [], "description": "Operating system packages that it needs (libpq5, gdal-bin)."},
    "processes": sub(PROCESS, "What the app runs. Default: C(web), gunicorn with the project's C(<package>.wsgi).", True),
    "commands": sub(COMMAND, "manage.py commands of every release, in order. Default: migrate, then collectstatic on each host.", True),
    "database": sub({
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql", "external", "none"], "description": [
            "C(postgresql): a database and a role on this host. C(external): untouched; give C(DATABASE_URL) in secrets."]},
        "name": {"type": "str", "description": "Default: the app's name with _ for -."},
        "user": {"type": "str", "description": "Default: the database's name."},
        "extensions": {"type": "list", "elements": "str", "default": [], "description": "Extensions to create in it."},
    }, "Its database."),
    "cache": sub({
        "engine": {"type": "str", "default": "redis", "choices": ["redis", "external", "none"], "description": [
            "C(redis): an instance of its own on this host. C(external): untouched; give the URLs in secrets."]},
        "port": {"type": "int", "default": 0, "description": [
            "0: a Unix socket that only the app's group reaches. Else a port on localhost; needs the secret C(REDIS_PASSWORD)."]},
        "memory": {"type": "str", "default": "auto", "description": "maxmemory (C(256mb)). C(auto): by the host's memory."},
        "policy": {"type": "str", "default": "volatile-lru", "description": "maxmemory-policy. The default never drops a queued task."},
        "persistence": {"type": "str", "default": "aof", "choices": ["aof", "rdb", "none"], "description": "What survives a power loss."},
        "databases": sub({
            "cache": {"type": "int", "default": 0, "description": "Number behind C(CACHE_URL)."},
            "session": {"type": "int", "default": 1, "description": "Number behind C(SESSION_URL)."},
            "broker": {"type": "int", "default": 2, "description": "Number behind C(CELERY_BROKER_URL)."},
            "result": {"type": "int", "default": 3, "description": "Number behind C(CELERY_RESULT_URL)."},
        }, "Database numbers."),
    }, "Its Redis: cache, sessions, broker."),
    "static": sub({
        "url": {"type": "str", "default": "/static/", "description": "STATIC_URL. Empty: the edge serves none."},
        "root": {"type": "str", "default": "", "description": [
            "Folder under the app's root that the settings name as STATIC_ROOT. Empty: the settings read C(STATIC_ROOT) from the env."]},
        "max_age": {"type": "int", "default": 31536000, "description": [
            "Seconds that a browser keeps a file whose name holds no hash; with one it is a year and immutable."]},
    }, "Static files."),
    "media": sub({
        "url": {"type": "str", "default": "/media/", "description": "MEDIA_URL. Empty: the edge serves none."},
        "root": {"type": "str", "default": "", "description": [
            "Folder under the app's root that the settings name as MEDIA_ROOT. Empty: the settings read C(MEDIA_ROOT) from the env."]},
        "max_age": {"type": "int", "default": 86400, "description": "Seconds that a browser keeps a file."},
    }, "Uploaded files; they outlive releases."),
    "env": {"type": "dict", "default": {}, "description": "Variables of every process and command. They win over derived ones."},
    "secrets": {"type": "dict", "default": {}, "no_log": True, "description": [
        "Variables that nobody may see, from the vault: SECRET_KEY always, DATABASE_PASSWORD with C(engine: postgresql), "
        "REDIS_PASSWORD with a port. At least 8 characters each."]},
    "health": sub({
        "path": {"type": "str", "default": "/", "description": "Path that is asked."},
        "host": {"type": "str", "default": "", "description": "Host header. Default: the canonical domain, or the first."},
        "status": {"type": "list", "elements": "int", "default": [200], "description": "Answers that are good."},
        "text": {"type": "str", "default": "", "description": "Text that the answer holds."},
        "json": {"type": "dict", "default": {}, "description": [
            "Keys and values that the JSON answer holds; C($RELEASE) and C($VERSION) stand for those of the new release, so that the "
            "switch is proven by who answers."]},
        "timeout": {"type": "int", "default": 60, "description": "Seconds in which a new instance has to become healthy."},
    }, "How a healthy instance is told."),
    "body_size": {"type": "str", "default": "20m", "description": "Largest request body that the edge takes."},
    "headers": {"type": "dict", "default": {}, "description": "Headers that the edge adds to every answer."},
    "site_extra": {"type": "str", "default": "", "description": "Lines of nginx for the site's server block, as they are."},
    "allow": sub(ALLOW, "Paths for some addresses only.", True, []),
    "keep": {"type": "int", "default": 5, "description": "Releases to keep for a rollback, the live one included; at least 2."},
    "disk": {"type": "int", "default": 300, "description": "MiB that must be free under the root before a release is made."},
    "sandbox": sub({
        "enabled": {"type": "bool", "default": True, "description": "Run units with systemd's sandbox."},
        "writable": {"type": "list", "elements": "str", "default": [], "description": "Folders that the app writes to, beside shared/ and /tmp."},
        "relax": {"type": "list", "elements": "str", "default": [], "description": "Directives to leave out (C(MemoryDenyWriteExecute))."},
    }, "What its processes may touch."),
}

COMMANDS = [{"name": "migrate", "manage": "migrate --noinput", "once": True},
            {"name": "collectstatic", "manage": "collectstatic --noinput", "once": False}]
DRAIN = {"http": 30, "worker": 300, "beat": 20, "other": 30}
NAME = re.compile(r"^[a-z][a-z0-9-]{0,23}\Z")
PATHS = re.compile(r"^/[A-Za-z0-9._/-]*[A-Za-z0-9_-]\Z")
RELATIVE = re.compile(r"^(?!.*(^|/)\.\.(/|$))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")
DOMAIN = re.compile(r"^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")


class ModelError(ValueError):
    """What is wrong with the model: one text for each finding in ``findings``."""

    def __init__(self, findings: list[str]):
        super().__init__("\n".join(findings))
        self.findings = findings


def load(apps) -> list[dict]:
    """Return the apps with defaults and derived values; raise ModelError with every finding when one is wrong."""
    apps = plain(apps)
    if not isinstance(apps, list) or not all(isinstance(app, dict) for app in apps):
        raise ModelError(["django_apps is no list of apps: write `django_apps:` and below it `- name: …`"])
    findings, loaded = [], []
    for number, app in enumerate(apps):
        label = f"app {app.get('name', f'number {number + 1}')}"
        wrong, params = validate(app)
        if not wrong:
            app = derive(params)
            wrong = inspect(app)
            loaded.append(app)
        findings += [f"{label}: {text}" for text in wrong]
    findings += collisions(loaded)
    if findings:
        raise ModelError(findings)
    return loaded


def plain(value):
    """Return ``value`` in Python's own dicts and lists.

    Ansible hands out containers that render their items on demand; the validator copies them with all that they refer to, which took a
    hundred times longer than all else here.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def validate(app: dict) -> tuple[list[str], dict]:
    """Return what Ansible's validator finds wrong, in our words, and the app with its defaults."""
    unknown = list(unknown_keys(app, SPEC, ""))
    if unknown:
        return unknown, {}
    result = ArgumentSpecValidator(SPEC).validate(app)
    return list(result.error_messages) or unreadable(result.validated_parameters), result.validated_parameters


def unreadable(app: dict) -> list[str]:
    """Return a finding for each command that is empty or that no shell could read."""
    found = []
    for label, command in [(f"processes[{process['name']}]", process["command"]) for process in app["processes"] or []] + \
                          [(f"commands[{command['name'] or number}]", command["manage"]) for number, command in enumerate(app["commands"] or [])]:
        try:
            if not shlex.split(command):
                found.append(f"{label}: its command is empty")
        except ValueError as error:
            found.append(f"{label}: {command!r} cannot be read as a shell line: {error}")
    return found


def unknown_keys(value: dict, spec: dict, prefix: str):
    """Yield a text for each key that ``spec`` does not know, with the nearest that it knows."""
    for key, item in value.items():
        if key not in spec:
            near = difflib.get_close_matches(str(key), spec, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(sorted(spec))}"
            yield f"{prefix}{key} is no field of the model: {hint} (docs/app-model.md)"
        elif "options" in spec[key]:
            items = item if isinstance(item, list) else [item]
            for number, entry in enumerate(items):
                if isinstance(entry, dict):
                    label = f"{prefix}{key}[{entry.get('name', number)}]." if isinstance(item, list) else f"{prefix}{key}."
                    yield from unknown_keys(entry, spec[key]["options"], label)


def derive(app: dict) -> dict:
    """Return the app with what follows from its own fields."""
    name = app["name"]
    app["root"] = (app["root"] or f"/opt/{name}").rstrip("/")
    app["user"] = app["user"] or name
    app["edge_group"] = EDGE_GROUP
    app["domains"], app["canonical"] = [domain.lower() for domain in app["domains"]], app["canonical"].lower()
    package = app["settings"].split(".")[0]
    app["processes"] = [process_defaults(process) for process in
                        app["processes"] or [validated(PROCESS, {"name": "web", "command": f"gunicorn {package}.wsgi"})]]
    app["commands"] = [dict(command, name=command["name"] or command["manage"].split()[0]) for command in
                       app["commands"] or [validated(COMMAND, command) for command in COMMANDS]]
    app["database"]["name"] = app["database"]["name"] or name.replace("-", "_")
    app["database"]["user"] = app["database"]["user"] or app["database"]["name"]
    app["health"]["host"] = app["health"]["host"] or app["canonical"] or (app["domains"] or ["localhost"])[0]
    app["scheme"] = "http" if app["tls"]["mode"] == "none" else "https"
    app["url"] = f"{app['scheme']}://{app['canonical'] or app['domains'][0]}/" if app["domains"] else ""
    app["secrets"] = {key: value if isinstance(value, (dict, list)) else env_file.text(value) for key, value in app["secrets"].items()}
    return app


def validated(spec: dict, value: dict) -> dict:
    """Return ``value`` with the defaults of ``spec``."""
    return ArgumentSpecValidator(spec).validate(value).validated_parameters


def process_defaults(process: dict) -> dict:
    """Return a process with what follows from its command."""
    what = processes.kind(process["command"])
    process["kind"] = what
    process["socket"] = what == "http" or "$SOCKET" in process["command"]
    if process["single"] is None:
        process["single"] = what == "beat"
    if process["drain"] is None:
        process["drain"] = DRAIN[what]
    if process["route"] is None:
        process["route"] = "/" if process["name"] == "web" and process["socket"] else ""
    return process


def inspect(app: dict) -> list[str]:
    """Return what is wrong with one app beyond types and choices."""
    found = []
    if not NAME.match(app["name"]):
        found.append("name: at most 24 of a-z, 0-9 and the dash, a letter first")
    if not PATHS.match(app["root"]) or app["root"].count("/") < 2:
        found.append(f"root: {app['root']!r} is no path of its own such as /opt/{app['name']}")
    if len(f"{app['root']}/releases/20261121072900-0123456/run/") + max(len(p["name"]) for p in app["processes"]) + 5 > 100:
        found.append(f"root: {app['root']!r} is too long: a socket's path has to stay under 100 bytes")
    for field, value in (("source.subdir", app["source"]["subdir"]), ("static.root", app["static"]["root"]),
                         ("media.root", app["media"]["root"]), ("manage", app["manage"])):
        if value and not RELATIVE.match(value):
            found.append(f"{field}: {value!r} is no path inside the repository")
    if app["edge"] != "none" and not app["domains"]:
        found.append("domains: give at least one name or address, or edge: none")
    for field in ("static", "media"):
        if app[field]["url"] and not re.match(r"^/([A-Za-z0-9._-]+/)+$", app[field]["url"]):
            found.append(f"{field}.url: {app[field]['url']!r} is no path that begins and ends with a slash, such as /{field}/")
    for domain in app["domains"]:
        if not is_address(domain) and not DOMAIN.match(domain):
            found.append(f"domains: {domain!r} is neither a name nor an address (no https://, no port, no path)")
    if app["canonical"] and app["canonical"] not in app["domains"]:
        found.append(f"canonical: {app['canonical']!r} is not one of domains")
    if app["tls"]["mode"] == "provided" and not (app["tls"]["certificate"] and app["tls"]["key"]):
        found.append("tls: mode provided needs certificate and key, paths on the host")
    if app["keep"] < 2:
        found.append("keep: at least 2, the live release and the one to roll back to")
    found += inspect_processes(app)
    found += inspect_env(app)
    return found


def inspect_processes(app: dict) -> list[str]:
    """Return what is wrong with the processes and commands of an app."""
    found, names = [], set()
    for process in app["processes"]:
        label = f"processes[{process['name']}]"
        if not NAME.match(process["name"]) or process["name"] == "manage":
            found.append(f"{label}: a name is a-z, 0-9 and the dash, a letter first, and not `manage`")
        if process["name"] in names:
            found.append(f"{label}: two processes have this name")
        names.add(process["name"])
        if process["workers"] != "auto" and not re.match(r"^0*[1-9][0-9]*\Z", process["workers"]):
            found.append(f"{label}: workers is a number or auto, not {process['workers']!r}")
        if process["count"] < 1 or (process["count"] > 1 and (process["single"] or process["socket"])):
            found.append(f"{label}: count is for processes that serve no HTTP and are not single; for more of this one raise workers")
        if process["kind"] in ("worker", "beat") and not processes.celery_app(process["command"]):
            found.append(f"{label}: celery needs to know the app: celery -A <package> {process['kind']}")
        if process["kind"] == "worker" and {"-B", "--beat"} & set(process["command"].split()):
            found.append(f"{label}: a worker with --beat would run beat twice during a deploy: give beat a process of its own")
        if process["kind"] == "worker" and processes.given(shlex.split(process["command"]), ("-n", "--hostname")):
            found.append(f"{label}: its node name is how a deploy finds the worker: leave out -n and --hostname")
        if process["route"] and not process["socket"]:
            found.append(f"{label}: it has a route but does not listen on $SOCKET")
        found += env_findings(process["env"], f"{label}.env")
    units = [processes.unit_name(app, process, copy) for process in app["processes"] for copy in processes.copies(process)]
    found += [f"processes: two have the unit {unit}" for unit in sorted({unit for unit in units if units.count(unit) > 1})]
    routes = [process["route"] for process in app["processes"] if process["route"]]
    if app["edge"] != "none" and "/" not in routes:
        found.append("processes: none has route: / (a server named web has it by itself)")
    found += [f"processes: two have the route {route}" for route in sorted({r for r in routes if routes.count(r) > 1})]
    return found


def inspect_env(app: dict) -> list[str]:
    """Return what is wrong with env and secrets: names, line breaks, what is missing or too short."""
    found = env_findings(app["env"], "env") + env_findings(
        {key: value for key, value in app["secrets"].items() if key != "SOURCE_KEY"}, "secrets")
    for name, reason in needed_secrets(app).items():
        if not app["secrets"].get(name):
            found.append(f"secrets: {name} is missing ({reason}): put it into the environment's vault file and name it in the app's secrets")
    for name, value in app["secrets"].items():
        if value and len(value) < SECRET_LENGTH:
            found.append(f"secrets: {name} is shorter than {SECRET_LENGTH} characters: make one with `openssl rand -hex 32`")
    both = sorted(set(app["env"]) & set(app["secrets"]))
    return found + [f"env: {name} is also in secrets; keep it in one of them" for name in both]


def env_findings(env: dict, label: str) -> list[str]:
    """Return what an env file could not carry."""
    found = []
    for name, value in env.items():
        try:
            env_file.check(name, value)
        except env_file.EnvError as error:
            found.append(f"{label}: {error}")
    return found


def needed_secrets(app: dict) -> dict:
    """Return name -> reason of the secrets without which the app cannot run."""
    needed = {"SECRET_KEY": "Django signs sessions with it"}
    if app["database"]["engine"] == "postgresql":
        needed["DATABASE_PASSWORD"] = "database.engine is postgresql"
    if app["database"]["engine"] == "external":
        needed["DATABASE_URL"] = "database.engine is external"
    if app["cache"]["engine"] == "redis" and app["cache"]["port"]:
        needed["REDIS_PASSWORD"] = "cache.port opens a TCP port"
    return needed


def collisions(apps: list[dict]) -> list[str]:
    """Return what two apps of one host cannot share."""
    found, owners = [], {}
    for app in apps:
        claims = [("name", app["name"]), ("root", app["root"]), ("user", app["user"])]
        claims += [("domain", domain) for domain in app["domains"]]
        claims += [("unit", processes.unit_name(app, process, copy)) for process in app["processes"] for copy in processes.copies(process)]
        if app["database"]["engine"] == "postgresql":
            claims += [("database", app["database"]["name"]), ("database role", app["database"]["user"])]
        if app["cache"]["engine"] == "redis" and app["cache"]["port"]:
            claims.append(("Redis port", app["cache"]["port"]))
        for claim in claims:
            other = owners.setdefault(claim, app["name"])
            if other != app["name"] or (claim[0] == "name" and app is not next(a for a in apps if a["name"] == app["name"])):
                found.append(f"app {app['name']}: its {claim[0]} {claim[1]} is also that of app {other}")
    return found


def choose(apps: list[dict], name: str) -> dict:
    """Return the app called ``name``, or the only one when ``name`` is empty; raise ModelError when there is none such."""
    names = [app["name"] for app in apps]
    if name in names:
        return apps[names.index(name)]
    if not names:
        raise ModelError(["no app is declared: describe one in django_apps (docs/getting-started.md)"])
    if name:
        near = difflib.get_close_matches(name, names, 1)
        raise ModelError([f"no app is called {name!r}: {'did you mean ' + near[0] + '?' if near else 'there are ' + ', '.join(names)}"])
    if len(names) > 1:
        raise ModelError([f"which app? There are {', '.join(names)}: add -e django_app={names[0]}"])
    return apps[0]


def is_address(domain: str) -> bool:
    """Return True for an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return False
    return True


def environment(app: dict) -> dict:
    """Return the variables of every process that are no secret; what the release decides is added by ``release_environment``."""
    hosts = [f"[{domain}]" if ":" in domain else domain for domain in app["domains"]]
    origins = [f"{app['scheme']}://{host}" for host in hosts]
    env = {"DJANGO_SETTINGS_MODULE": app["settings"], "ALLOWED_HOSTS": ",".join(host.removeprefix("*") for host in hosts or ["localhost"]),
           "CSRF_TRUSTED_ORIGINS": ",".join(origins), "STATIC_URL": app["static"]["url"], "MEDIA_URL": app["media"]["url"],
           "MEDIA_ROOT": f"{app['root']}/shared/media", "LOGS": f"{app['root']}/shared/logs", "PYTHONUNBUFFERED": "1"}
    if app["database"]["engine"] == "postgresql":
        env.update(DATABASE_HOST="127.0.0.1", DATABASE_PORT="5432", DATABASE_NAME=app["database"]["name"],
                   DATABASE_USER=app["database"]["user"])
    env.update({key: env_file.text(value) for key, value in app["env"].items()})
    return env


def release_environment(app: dict, release: str, version: str) -> dict:
    """Return the variables of one release: those of the app, with its id, its version and its folder of static files."""
    env = {"RELEASE": release, "VERSION": version, "STATIC_ROOT": f"{app['root']}/releases/{release}/static"}
    return dict(env, **environment(app))


def secret_environment(app: dict) -> dict:
    """Return the variables that nobody may see: the app's secrets, and the URLs that hold one of them or lead to its services."""
    secrets = {key: value for key, value in app["secrets"].items() if key != "SOURCE_KEY"}
    env = {}
    if app["database"]["engine"] == "postgresql":
        password = quote(secrets.get("DATABASE_PASSWORD", ""), safe="")
        env["DATABASE_URL"] = f"postgresql://{app['database']['user']}:{password}@127.0.0.1:5432/{app['database']['name']}"
    if app["cache"]["engine"] == "redis":
        numbers = app["cache"]["databases"]
        for key, number in (("CACHE_URL", numbers["cache"]), ("SESSION_URL", numbers["session"]),
                            ("CELERY_BROKER_URL", numbers["broker"]), ("CELERY_RESULT_URL", numbers["result"])):
            env[key] = redis_url(app, number, key.startswith("CELERY"))
    return dict(env, **secrets)


def redis_url(app: dict, number: int, celery: bool) -> str:
    """Return the URL of one database of the app's Redis; celery writes that of a socket in its own way."""
    if app["cache"]["port"]:
        return f"redis://:{quote(app['secrets'].get('REDIS_PASSWORD', ''), safe='')}@127.0.0.1:{app['cache']['port']}/{number}"
    socket = f"/run/redis-{app['name']}/redis.sock"
    password = app["secrets"].get("REDIS_PASSWORD", "")
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis+socket://{login}{socket}?virtual_host={number}" if celery else f"unix://{login}{socket}?db={number}"


def wanted_answer(app: dict, release: str, version: str) -> dict:
    """Return what a healthy answer is, as arguments of http_health.Check."""
    health = app["health"]
    values = {"$RELEASE": release, "$VERSION": version}
    wanted = {key: values.get(value, value) if isinstance(value, str) else value for key, value in health["json"].items()}
    return {"host": health["host"], "scheme": app["scheme"], "status": tuple(health["status"]), "text": health["text"], "json": wanted or None}


def databases(apps: list[dict]) -> list[dict]:
    """Return what the role postgresql makes: name, user, password and extensions of each app's database."""
    return [{"name": app["database"]["name"], "user": app["database"]["user"], "password": app["secrets"]["DATABASE_PASSWORD"],
             "extensions": app["database"]["extensions"]} for app in apps if app["database"]["engine"] == "postgresql"]


def caches(apps: list[dict]) -> list[dict]:
    """Return what the role redis makes: an instance for each app."""
    return [{"name": app["name"], "group": app["user"], "port": app["cache"]["port"],
             "password": app["secrets"].get("REDIS_PASSWORD", ""), "memory": app["cache"]["memory"],
             "policy": app["cache"]["policy"], "persistence": app["cache"]["persistence"],
             "databases": max(16, *(number + 1 for number in app["cache"]["databases"].values()))}
            for app in apps if app["cache"]["engine"] == "redis"]


def sites(apps: list[dict]) -> list[dict]:
    """Return what the role nginx serves: a site for each app."""
    return [site(app) for app in apps if app["edge"] == "nginx"]


def site(app: dict) -> dict:
    """Return one site: its names, where requests and files go."""
    routed = [process for process in app["processes"] if process["route"]]
    live = f"{app['root']}/live"
    static = {"url": app["static"]["url"], "folder": f"{live}/static", "pool": f"{app['root']}/static",
              "max_age": app["static"]["max_age"]}
    media = {"url": app["media"]["url"], "folder": f"{app['root']}/shared/media", "max_age": app["media"]["max_age"]}
    return {
        "name": app["name"], "domains": app["domains"], "canonical": app["canonical"], "tls": app["tls"],
        "upstreams": [{"name": f"{app['name']}-{process['name']}", "server": f"unix:{live}/run/{process['name']}.sock"} for process in routed],
        "routes": [{"path": process["route"], "upstream": f"{app['name']}-{process['name']}", "timeout": process["timeout"],
                    "websocket": process["websocket"]} for process in routed],
        "static": static if app["static"]["url"] else None, "media": media if app["media"]["url"] else None,
        "body_size": app["body_size"], "headers": app["headers"], "allow": app["allow"],
        "extra": app["site_extra"],
    }


def web_ports(apps: list[dict]) -> list[int]:
    """Return the public ports of the apps: 80, and 443 when one of them has TLS."""
    public = [app for app in apps if app["edge"] != "none"]
    return ([80] if public else []) + ([443] if any(app["tls"]["mode"] != "none" for app in public) else [])


def packages(apps: list[dict]) -> list[str]:
    """Return the operating system packages of all apps, each once."""
    return sorted({package for app in apps for package in app["packages"]})


def identity(app: dict) -> dict:
    """Return what makes a release what it is, beside its commit: a change of one of these needs a new release."""
    return {"env": environment(app), "processes": app["processes"], "python": app["python"], "subdir": app["source"]["subdir"],
            "manage": app["manage"], "static": app["static"]["root"], "media": app["media"]["root"]}


def public(app: dict) -> dict:
    """Return the app without its secrets, fit for logs and for files."""
    return {key: value for key, value in app.items() if key != "secrets"}
