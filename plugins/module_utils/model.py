# SPDX-License-Identifier: GPL-3.0-or-later
"""The app model: what an app is (``SPEC``), and everything that follows from it.

``load`` is the one door: it takes ``django_apps`` as written in the inventory and returns the apps with every default and
derived value filled in. Roles, playbooks and modules read only that.
"""
from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from urllib.parse import quote

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.quayside.django.plugins.module_utils import env_file, fields, idn, outbound, processes, python_env, request_paths, shell_line

EDGE_GROUP = 33  # www-data, the same number on every Debian and Ubuntu
SECRET_LENGTH = 8
CONTAINER_PORT = 8000
# Secrets that serve the deploy and that no process of the app sees.
DEPLOY_SECRETS = ("SOURCE_KEY", "REGISTRY_PASSWORD", "ACME_EAB_HMAC_KEY")
# Those that a service, an URL or a list holds: one line each.
ONE_LINE = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_PASSWORD", "REDIS_PASSWORD", "REGISTRY_PASSWORD", "ACME_EAB_HMAC_KEY", "DATABASE_URL", "CACHE_URL",
            "SESSION_URL", "CELERY_BROKER_URL", "CELERY_RESULT_URL")
# Those that quayside.django.rotate changes by itself; in a vault file NAME_NEXT and NAME_PREVIOUS tell how far it has come.
ROTATED = ("SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD")
IN_ROTATION = tuple(f"{name}_{mark}" for name in ROTATED for mark in ("NEXT", "PREVIOUS"))
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
LINEAGES = "/etc/letsencrypt/live"
SECURE_REDIRECT = "SECURE_SSL_REDIRECT"
PRIVATE = "/etc/quayside"  # has a folder of root alone for each app: what a process gets of it, it gets from systemd
STATE = "state"            # schedules and locks of single processes, and the HOME of those

PROCESS = {
    "name": {"type": "str", "required": True, "description": "The process's name: letters, digits and dashes."},
    "command": {"type": "str", "default": "", "description": [
        "What it runs, as a shell line inside the app's folder and venv. Where the first word is gunicorn, uvicorn, hypercorn, daphne, "
        "granian or celery, the flags that it needs and that are not given are added (socket or port, workers, node name, beat's schedule).",
        "Any other command uses C($SOCKET) or C($PORT), C($RELEASE), C($PROCESS) and C($COPY). What it prints goes to the journal; files in "
        "C($LOGS), which is shared/logs, are rotated.",
        "With C(runtime: compose) it takes the place of the image's command, and may be left out where that one is right."]},
    "kind": {"type": "str", "choices": list(processes.KINDS), "description": [
        "What it is, where its command does not say so: a start script (C(/start-worker)), a shell, or the image's own command. C(server) takes requests, at "
        "C($PORT); C(celery-worker) takes no more tasks and ends what it has while a deploy hands over; C(celery-beat) never runs twice. "
        "Default: by the command, and C(server) for what takes requests.",
        "Celery 5 behind a script gets its node name, concurrency and schedule by variables (C(CELERY_WORKER_HOSTNAME)), so the script must not give "
        "C(--hostname), and it ends with C(exec celery …). Its app is C(CELERY_APP) of the env, else that of another process, else the settings' package."]},
    "image": {"type": "str", "description": "With C(runtime: compose): the image that it runs, a name from images. Default: the first."},
    "port": {"type": "int", "default": 0, "description": [
        "With C(runtime: compose): the port that it listens on inside its container. Default: 8000 for what takes requests.",
        "With C(runtime: systemd): any number but 0 says that it listens on C($PORT) of localhost, which the deploy chooses, instead of a socket."]},
    "listen": {"type": "int", "default": 0, "description": [
        "A port on 127.0.0.1 where the edge always gives to the live one of this process, for scripts and tunnels on the host (8000)."]},
    "check": {"type": "str", "default": "", "description": [
        "Path that is asked before the switch, for a process other than the one that the health path belongs to (C(/)); any status below 400 "
        "is good. Empty: it only has to accept connections."]},
    "probe": {"type": "bool", "default": True, "description": [
        "Whether a new release has to answer here before it goes live. C(false) for what waits for the workers (flower behind a start script), since "
        "workers start after the probe."]},
    "workers": {"type": "str", "default": "auto", "description": [
        "Workers of a server, or the concurrency of a celery worker. C(auto): 2 x cores + 1, capped by the host's memory; "
        "for celery its own default of one per core. A number in the project's gunicorn.conf.py wins over C(auto), as does a C(WEB_CONCURRENCY) of the env or "
        "of the image. A number here is never changed; a start script gets it as C(WEB_CONCURRENCY)."]},
    "threads": {"type": "int", "description": [
        "Threads of each gunicorn worker (more than 1 makes gthread workers). Default: that of the project's gunicorn.conf.py, else 1."]},
    "timeout": {"type": "int", "description": [
        "Seconds that one request may take in a gunicorn worker, and at the edge. Default: 60; in the worker that of the project's gunicorn.conf.py."]},
    "count": {"type": "int", "default": 1, "description": "Copies of a process that serves no HTTP; each gets its number in C($COPY)."},
    "single": {"type": "bool", "description": [
        "Never two of it, on one host or many, also while a deploy hands over. Default: true for celery beat."]},
    "drain": {"type": "int", "description": [
        "Seconds that it may take to end what it has begun, before it is killed. Default: 30 for a server, 300 for a worker, "
        "20 for a single process."]},
    "route": {"type": "str", "description": "Path at the edge that it serves. Default: C(/) for the process C(web)."},
    "routes": {"type": "list", "elements": "str", "default": [], "description": "More paths that it serves (C(/admin/), C(/healthz))."},
    "data": {"type": "bool", "description": [
        "With C(runtime: compose): whether it reaches the app's database and cache, by the network of the data and by their sockets. "
        "Default: true for processes of the first image, false for those of another one."]},
    "secrets": {"type": "list", "elements": "str", "default": [], "description": [
        "With C(runtime: compose), for a process of another image than the first: names of secrets that it gets. Processes of the first get all."]},
    "websocket": {"type": "bool", "default": False, "description": "Pass websockets on this route, with an hour between two messages."},
    "memory": {"type": "str", "default": "", "description": [
        "The most memory of it and its workers (C(512M)). Default with C(runtime: compose): by the host's memory (docs/sizing.md)."]},
    "cpu": {"type": "str", "default": "", "description": "The most CPU, in percent of one core (C(150%))."},
    "env": {"type": "dict", "default": {}, "description": "Variables for this process only."},
}

IMAGE = {
    "name": {"type": "str", "required": True, "description": "Name by which processes refer to it."},
    "from": {"type": "str", "choices": ["registry", "build", "archive"], "description": [
        "C(registry): pulled. C(build): built on the host from the app's source. C(archive): a file of C(docker save) on the controller. "
        "Default: C(archive) with archive, C(registry) with a repository and no source for the app, else C(build)."]},
    "repository": {"type": "str", "description": [
        "Name without a tag, with its registry: C(ghcr.io/acme/shop). Default for what is built: C(quayside/<app>-<name>)."]},
    "tag": {"type": "str", "default": "{version}", "description": "Tag in the registry; C({version}) stands for the version that is deployed."},
    "archive": {"type": "str", "default": "", "description": "Path on the controller; C({version}) stands for the version that is deployed."},
    "context": {"type": "str", "default": "", "description": "Folder of the source that is built. Default: source.subdir."},
    "dockerfile": {"type": "str", "default": "Dockerfile", "description": "Path under the context."},
    "target": {"type": "str", "default": "", "description": "Stage to build. Default: the last."},
    "args": {"type": "dict", "default": {}, "description": [
        "Build arguments, such as what a frontend bakes in (C(NEXT_PUBLIC_API)). They stay in the image: no secrets here."]},
    "secrets": {"type": "list", "elements": "str", "default": [], "description": [
        "Names of the app's secrets that C(RUN --mount=type=secret,id=NAME) may read while it is built; they stay in no layer."]},
}

FRONTEND = {
    "name": {"type": "str", "required": True, "description": "Its name."},
    "route": {"type": "str", "default": "/", "description": "Path at the edge: C(/) or C(/app/)."},
    "folder": {"type": "str", "required": True, "description": [
        "Folder of the finished files: from the app's root in the source (C(frontend/dist), C(../frontend/dist)), or inside the image."]},
    "image": {"type": "str", "default": "", "description": "With C(runtime: compose): the image that holds the folder. Default: the first."},
    "fallback": {"type": "str", "default": "index.html", "description": [
        "File that answers a path that is no file, as a single-page app wants. Empty: 404."]},
    "max_age": {"type": "int", "default": 0, "description": "Seconds that a browser keeps a file whose name holds no hash; with one it is a year."},
}

BUILD = {
    "command": {"type": "str", "required": True, "description": "A shell line: C(npm ci && npm run build)."},
    "folder": {"type": "str", "default": "", "description": "Folder from the app's root in which it runs; C(../frontend) is one beside it in the repository."},
    "inputs": {"type": "list", "elements": "str", "default": [], "description": [
        "Folders and files from the app's root that it reads, its own folder among them (C([frontend, templates])). It sees nothing else of the source, "
        "and runs again only when one of them changes. Default: all of the source."]},
    "env": {"type": "dict", "default": {}, "description": "Variables for it, beside the app's."},
    "secrets": {"type": "list", "elements": "str", "default": [], "description": [
        "Names of the app's secrets that this command gets as variables, such as a token of a registry of packages. It sees no others."]},
    "timeout": {"type": "int", "default": 1800, "description": "Seconds after which it is ended and the deploy fails."},
}

FOLDER = {
    "name": {"type": "str", "required": True, "description": "Folder C(shared/<name>) of the app's root; it outlives releases."},
    "path": {"type": "str", "default": "", "description": [
        "Where the app looks for it: inside its container (C(/app/data)), or under the app's root in its code. Empty: only at its own path."]},
}

LIMIT = {
    "path": {"type": "str", "required": True, "description": "Beginning of the paths that are limited: C(/api/). The health path never is."},
    "exempt": {"type": "list", "elements": "str", "default": [], "description": "Beginnings of paths below it that are not limited: C(/api/hooks/)."},
    "rate": {"type": "int", "required": True, "description": "Requests a second from one address."},
    "burst": {"type": "int", "default": 20, "description": "Requests that may come at once beyond that; the others get 429."},
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
    "path": {"type": "str", "required": True, "description": [
        "Beginning of the paths that only some reach: C(/admin/). The health path stays open, since deploys ask it."]},
    "addresses": {"type": "list", "elements": "str", "default": [], "description": [
        "Addresses and networks (C(203.0.113.7), C(10.0.0.0/8), C(2001:db8::/32)); all others get 403."]},
    "users": {"type": "dict", "default": {}, "description": [
        "Login names, each with the name of one of the app's secrets that is its password; no process of the app sees that secret. All others get 401. "
        "With addresses too, both have to be right. Where paths lie in one another, the logins of the longest count."]},
}


def sub(options: dict, description: str, elements: bool = False, default=None) -> dict:
    """Return the spec of a dict, or of a list of dicts, with options of its own."""
    spec = {"options": options, "description": description}
    if elements:
        return dict(spec, type="list", elements="dict", **({} if default is None else {"default": default}))
    return dict(spec, type="dict", apply_defaults=True)


SPEC = {
    "name": {"type": "str", "required": True, "description": [
        "Name of the app, and of its Unix user, units, site and, by default, database. At most 24 of a-z, 0-9 and the dash, and no name of the "
        "system's (names and paths, below)."]},
    "runtime": {"type": "str", "default": "systemd", "choices": ["systemd", "compose"], "description": [
        "How its processes run: C(systemd), a venv and units; C(compose), containers (docs/runtime-compose.md)."]},
    "edge": {"type": "str", "default": "nginx", "choices": ["nginx", "nginx_container", "traefik", "none"], "description": [
        "What takes its requests from the world: nginx on the host, or, for containers, nginx or Traefik in one (docs/edges.md)."]},
    "root": {"type": "str", "description": [
        "Folder of the app on the host, below /opt, /srv, /var/www, /mnt, /media, /data or C(/var/lib/<name>). Default: C(/opt/<name>)."]},
    "user": {"type": "str", "description": "Unix user and group of its own that own and run it. Default: the name."},
    "network": {"type": "str", "description": [
        "With C(runtime: compose): name of the Docker network of its data. Default: the name. In a second one, C(edge-<name>), the edge reaches it."]},
    "domains": {"type": "list", "elements": "str", "default": [], "description": [
        "Names (or addresses) under which it is served. The first is the one that health checks use. Names with other letters than a to z become "
        "punycode (C(xn--…)), as browsers write them."]},
    "canonical": {"type": "str", "default": "", "description": "The domain that all others redirect to. Empty: all are served."},
    "tls": sub({
        "mode": {"type": "str", "default": "none", "choices": ["none", "selfsigned", "provided", "acme"], "description": [
            "Where the certificate comes from. C(acme): Let's Encrypt or another such authority, asked by certbot for nginx, and by Traefik itself "
            "(docs/certificates.md)."]},
        "email": {"type": "str", "default": "", "description": "With C(acme): where the authority writes to."},
        "server": {"type": "str", "default": LETS_ENCRYPT, "description": "With C(acme): its directory."},
        "staging": {"type": "bool", "default": False, "description": [
            "With C(acme): ask Let's Encrypt's staging directory instead of server, whose certificates no browser trusts and whose limits are wide."]},
        "ca": {"type": "str", "default": "", "description": [
            "With C(acme) and a private server: path on the controller of the certificate by which that server itself is known."]},
        "each": {"type": "bool", "default": False, "description": "With C(acme): one certificate for each domain, instead of one for all."},
        "challenge": {"type": "str", "default": "http", "choices": ["http", "dns"], "description": [
            "With C(acme): how the authority sees that a domain is yours. C(dns) is for names with a star, and for hosts that it does not reach."]},
        "dns": sub({
            "plugin": {"type": "str", "default": "", "description": [
                "Who serves the zone, as certbot calls its plugin of Debian: C(cloudflare), C(rfc2136), C(route53)… For Traefik its name of the provider."]},
            "credentials": {"type": "dict", "default": {}, "description": [
                "What the plugin reads from its file (C(dns_cloudflare_api_token)), for Traefik the provider's variables. A value that is the name of one of "
                "the app's secrets stands for that secret, which no process of the app sees then."]},
            "propagation": {"type": "int", "default": 60, "description": "Seconds to wait until the zone's servers know a new record."},
            "resolvers": {"type": "list", "elements": "str", "default": [], "description": [
                "For Traefik: name servers (C(10.0.0.2:53)) that it asks about the zone, instead of the zone's own servers by the host's resolver."]},
        }, "With C(challenge: dns): how records get into the zone."),
        "eab": {"type": "str", "default": "", "description": [
            "With C(acme) and an authority that binds accounts: the key's id. Its HMAC key is the secret C(ACME_EAB_HMAC_KEY)."]},
        "precheck": {"type": "bool", "default": True, "description": [
            "With C(acme): before the authority is asked, look whether each domain leads to this host. Switch it off where a host cannot reach itself "
            "by its own name, behind some NAT."]},
        "certificate": {"type": "str", "default": "", "description": "With C(provided): path of the chain on the host."},
        "key": {"type": "str", "default": "", "description": "With C(provided): path of the key on the host."},
        "hsts": sub({
            "max_age": {"type": "int", "default": 0, "description": "Seconds for which a browser asks by HTTPS only (C(63072000)). 0: not told."},
            "subdomains": {"type": "bool", "default": False, "description": "All names below the domains, too, whoever serves them."},
            "preload": {"type": "bool", "default": False, "description": [
                "Consent to stand in the list that browsers bring along, from where a name comes off only in months. Needs subdomains and a year."]},
        }, "Strict-Transport-Security, over HTTPS only and never with a self-signed certificate (docs/edges.md)."),
        "http3": {"type": "bool", "default": False, "description": [
            "Offer HTTP/3 as well, over UDP 443, where the edge has it. A reload of nginx ends its connections (docs/edges.md)."]},
    }, "HTTPS."),
    "source": sub({
        "repo": {"type": "str", "default": "", "description": "URL of the git repository, as the host reaches it."},
        "folder": {"type": "str", "default": "", "description": [
            "Instead of repo: a folder on the controller, sent by rsync. What .gitignore names and C(.git) stay at home."]},
        "version": {"type": "str", "description": [
            "Branch, tag or commit; with images from a registry their tag. C(-e version=…) on the command line wins. Default: C(main); "
            "C(latest) for images from a registry; for a folder its commit, where it is one of git's without changes."]},
        "subdir": {"type": "str", "default": "", "description": "Folder of the repository that is the app's root."},
        "build_ssh": {"type": "bool", "default": False, "description": [
            "Lend the deploy key to what builds, by an ssh-agent, for requirements and packages of npm by C(git+ssh) and C(RUN --mount=type=ssh). Who can push "
            "a branch that is deployed can use the key then, while the build runs."]},
        "without": {"type": "list", "elements": "str", "default": [], "choices": ["submodules", "lfs"], "description":
            "What of the repository may be missing in a release. A deploy fetches no submodules and no files of Git LFS, and refuses a version that has some."},
    }, "Where the code comes from. A deploy key for C(git@…) is the secret C(SOURCE_KEY)."),
    "images": sub(IMAGE, "With C(runtime: compose): the images of its processes. Default: one, C(app), built from the source.", True),
    "registry": sub({
        "server": {"type": "str", "default": "", "description": "Registry to log in to: C(ghcr.io), C(registry.example.com:5000). Empty: Docker Hub."},
        "user": {"type": "str", "default": "", "description": "User name. Empty: no login. Its password or token is the secret C(REGISTRY_PASSWORD)."},
    }, "Login for private images, also for base images of a build. It is never written to the host's disk."),
    "manage": {"type": "str", "default": "manage.py", "description": "Path of manage.py under the app's root, or in the image's working folder."},
    "settings": {"type": "str", "required": True, "description": "Settings module: C(config.settings.production)."},
    "python": sub({
        "interpreter": {"type": "str", "default": "/usr/bin/python3", "description": "Interpreter on the host; never downloaded."},
        "installer": {"type": "str", "default": "uv", "choices": ["uv", "pip"], "description": "What builds the venv."},
        "requirements": {"type": "list", "elements": "str", "default": [], "description": [
            "Requirements files from the app's root (C(../requirements.txt) is one above it in the repository). Default: uv.lock for uv where there "
            "is one, else requirements.txt, else for uv what C([project]) of "
            "pyproject.toml depends on, in the versions of the day."]},
        "extras": {"type": "list", "elements": "str", "default": [], "description": "With uv.lock or pyproject.toml: extras of the project."},
        "groups": {"type": "list", "elements": "str", "default": [], "description": "With uv.lock or pyproject.toml: dependency groups."},
        "packages": {"type": "list", "elements": "str", "default": [], "description": "Packages beside those of the project."},
        "options": {"type": "list", "elements": "str", "default": [], "description": "Options for the installer (C(--index-url …))."},
        "env": {"type": "dict", "default": {}, "description": "Variables for the build only."},
    }, "How its dependencies are installed."),
    "packages": {"type": "list", "elements": "str", "default": [], "description": "Operating system packages that it needs (libpq5, gdal-bin)."},
    "processes": sub(PROCESS, "What the app runs. Default: C(web), gunicorn with the project's C(<package>.wsgi).", True),
    "build": sub(BUILD, "With C(runtime: systemd): commands that build what is not Python, in order, before anything else runs.", True, []),
    "frontends": sub(FRONTEND, "Static builds that the edge serves by itself.", True, []),
    "folders": sub(FOLDER, "Folders of data that outlive releases, beside media and logs.", True, []),
    "commands": sub(COMMAND, "manage.py commands of every release, in order. Default: migrate, then collectstatic on each host.", True),
    "database": sub({
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql", "container", "external", "sqlite", "none"], "description": [
            "C(postgresql): a database and a role on this host. C(container): PostgreSQL in a container of the app's own, with a volume. "
            "C(external): untouched; give C(DATABASE_URL) in secrets. C(sqlite): a file in shared/database (docs/databases.md)."]},
        "image": {"type": "str", "default": "postgres:16-alpine", "description": "With C(container): its image."},
        "scheme": {"type": "str", "default": "postgresql", "description": [
            "Beginning of C(DATABASE_URL), as what reads it wants it: C(postgres), C(postgis), C(postgresql+psycopg)."]},
        "connections": {"type": "int", "default": 0, "description": [
            "Most connections that the server gives to this app; workers are sized to stay below it, two instances together. 0: no limit."]},
        "name": {"type": "str", "description": "Default: the app's name with _ for -."},
        "user": {"type": "str", "description": "Default: the database's name."},
        "extensions": {"type": "list", "elements": "str", "default": [], "description": "Extensions to create in it."},
    }, "Its database."),
    "cache": sub({
        "engine": {"type": "str", "default": "redis", "choices": ["redis", "container", "external", "none"], "description": [
            "C(redis): an instance of its own on this host. C(container): one in a container of the app's own, with a volume. "
            "C(external): untouched; give the URLs in secrets."]},
        "image": {"type": "str", "default": "redis:7-alpine", "description": "With C(container): its image."},
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
            "Folder under the app's root that the settings name as STATIC_ROOT; with C(runtime: compose) its path in the container "
            "(C(/app/staticfiles)). Empty: the settings read C(STATIC_ROOT) from the env."]},
        "max_age": {"type": "int", "default": 31536000, "description": [
            "Seconds that a browser keeps a file whose name holds no hash; with one it is a year and immutable."]},
    }, "Static files."),
    "media": sub({
        "url": {"type": "str", "default": "/media/", "description": "MEDIA_URL. Empty: the edge serves none."},
        "root": {"type": "str", "default": "", "description": [
            "Folder under the app's root that the settings name as MEDIA_ROOT; with C(runtime: compose) its path in the container "
            "(C(/app/media)). Empty: the settings read C(MEDIA_ROOT) from the env."]},
        "max_age": {"type": "int", "default": 86400, "description": "Seconds that a browser keeps a file."},
    }, "Uploaded files; they outlive releases."),
    "env": {"type": "dict", "default": {}, "description": [
        "Variables of every process and command. They win over derived ones. A value that is the name of a variable or a secret with a dollar is an alias: "
        "C(DB_HOST: $DATABASE_HOST), C(DJANGO_SECRET_KEY: $SECRET_KEY)."]},
    "secrets": {"type": "dict", "default": {}, "no_log": True, "description": [
        "Variables that nobody may see, from the vault: SECRET_KEY always, DATABASE_PASSWORD with C(engine: postgresql), "
        "REDIS_PASSWORD with a port. Those three and passwords of C(allow) have at least 8 characters."]},
    "secret_files": {"type": "list", "elements": "str", "default": [], "description": [
        "Names of secrets that arrive as files, such as a service account: C(NAME_FILE) holds the path of the file, and C(NAME) is no variable then."]},
    "health": sub({
        "path": {"type": "str", "default": "/", "description": "Path that is asked."},
        "host": {"type": "str", "default": "", "description": "Host header. Default: the canonical domain, or the first."},
        "status": {"type": "list", "elements": "int", "default": [200], "description": "Answers that are good."},
        "text": {"type": "str", "default": "", "description": "Text that the answer holds."},
        "json": {"type": "dict", "default": {}, "description": [
            "Keys and values that the JSON answer holds; C($RELEASE) and C($VERSION) stand for those of the new release, so that the "
            "switch is proven by who answers."]},
        "timeout": {"type": "int", "default": 60, "description": "Seconds in which a new instance has to become healthy."},
        "request_timeout": {"type": "int", "description": [
            "Seconds that one answer may take, of a heavy first page for example; also when status and doctor ask. Default: timeout."]},
    }, "How a healthy instance is told."),
    "body_size": {"type": "str", "default": "20m", "description": "Largest request body that the edge takes."},
    "headers": {"type": "dict", "default": {}, "description": "Headers that the edge adds to every answer."},
    "site_extra": {"type": "str", "default": "", "description": "Lines of nginx for the site's server block, as they are."},
    "allow": sub(ALLOW, "Paths for some addresses only.", True, []),
    "limits": sub(LIMIT, "How many requests an address may send.", True, []),
    "container": sub({
        "read_only": {"type": "bool", "default": True, "description": "The image's files cannot be changed; /tmp and /dev/shm can."},
        "writable": {"type": "list", "elements": "str", "default": [], "description": [
            "Folders in the container that it may write to besides; kept in memory, empty at each start (C(/app/.next/cache))."]},
        "volumes": {"type": "list", "elements": "str", "default": [], "description": [
            "More folders of the host, as compose writes them (C(/srv/in:/in:ro)): data of the app's own, and read-only /etc/ssl/certs, "
            "/etc/localtime, /etc/timezone, /usr/share and /usr/local/share."]},
        "init": {"type": "bool", "default": True, "description": [
            "Docker's own init is process 1: it hands signals on and takes in processes whose parent has ended. false: where the image brings an init "
            "that has to be process 1 (s6-overlay)."]},
        "interval": {"type": "int", "default": 30, "description": "Seconds between two of Docker's health checks."},
        "timeout": {"type": "int", "default": 10, "description": "Seconds that one may take."},
        "retries": {"type": "int", "default": 3, "description": "Failures in a row after which a container is unhealthy."},
        "start_period": {"type": "int", "default": 5, "description": "Seconds after its start in which failures do not count."},
    }, "With C(runtime: compose): how its containers run."),
    "outbound": sub({
        "private": {"type": "list", "elements": "str", "default": [], "description": [
            "Networks and addresses that its processes may reach (C(10.0.0.0/8), C(10.0.0.5), C(fd00::/8)). Default: none."]},
    }, "Private networks, link-local addresses and the provider's metadata service (169.254.169.254) are closed to its processes and containers. "
       "Its own database and cache, the host's resolver and the internet are open (docs/docker.md)."),
    "keep": {"type": "int", "default": 5, "description": "Releases to keep for a rollback, the live one included; at least 2."},
    "disk": {"type": "int", "default": 300, "description": [
        "MiB that must be free under the root before a release is made; for images that have to come, room where Docker keeps them besides."]},
    "sandbox": sub({
        "enabled": {"type": "bool", "default": True, "description": "Run units with systemd's sandbox."},
        "writable": {"type": "list", "elements": "str", "default": [], "description": [
            "Folders of data of the app's own that it writes to, beside shared/ and /tmp (C(/srv/reports))."]},
        "relax": {"type": "list", "elements": "str", "default": [], "description": "Directives to leave out (C(MemoryDenyWriteExecute))."},
    }, "What its processes may touch."),
}

COMMANDS = [{"name": "migrate", "manage": "migrate --noinput", "once": True},
            {"name": "collectstatic", "manage": "collectstatic --noinput", "once": False}]
DRAIN = {"server": 30, "celery-worker": 300, "celery-beat": 20, "other": 30}
PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
CONTAINER_EDGES = ("nginx_container", "traefik")
NAMES = ("version", "tag")  # of commits, branches and images: one of digits alone loses its zeroes without quotes
ALIAS = re.compile(r"^\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))\Z")
# Fields of before, and what to do without them.
GONE = {"container.user": "there is no such field any more: containers run as the app's own Unix user, by number, who owns what they write. Leave it out; "
                          "where the image lets only a user of its own read its code, add `RUN chmod -R a+rX FOLDER` to the Dockerfile"}
WITHOUT_HTTP3 = ("bookworm", "jammy", "noble")  # nginx before 1.25
HSTS = "Strict-Transport-Security"


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
    given = app.get("processes") if isinstance(app.get("processes"), list) else []
    placed = [f"processes[{one.get('name', number)}].listen: {one['listen']!r} has an address, and the port is one of 127.0.0.1: write the number alone. Other "
              "hosts reach the app by the edge (routes and allow), or by an SSH tunnel"
              for number, one in enumerate(given) if isinstance(one, dict) and ":" in str(one.get("listen", ""))]
    if placed:
        return placed, {}
    unquoted = list(unquoted_texts(app, SPEC, "")) + unquoted_secrets(app.get("secrets"))
    if unquoted:
        return unquoted, {}
    result = ArgumentSpecValidator(SPEC).validate(app)
    return list(result.error_messages) or unreadable(result.validated_parameters), result.validated_parameters


def unreadable(app: dict) -> list[str]:
    """Return a finding for each command that is empty or that no shell could read."""
    found = []
    own = app["runtime"] == "compose"  # an image brings a command of its own
    for label, command, may_be_empty in \
            [(f"processes[{process['name']}]", process["command"], own) for process in app["processes"] or []] + \
            [(f"commands[{command['name'] or number}]", command["manage"], False) for number, command in enumerate(app["commands"] or [])]:
        try:
            if not shlex.split(command) and not may_be_empty:
                found.append(f"{label}: its command is empty")
        except ValueError as error:
            found.append(f"{label}: {command!r} cannot be read as a shell line: {error}")
    return found


def unknown_keys(value: dict, spec: dict, prefix: str):
    """Yield a text for each key that ``spec`` does not know, with the nearest that it knows."""
    for key, item in value.items():
        if f"{prefix}{key}" in GONE:
            yield f"{prefix}{key}: {GONE[f'{prefix}{key}']}"
        elif key not in spec:
            near = difflib.get_close_matches(str(key), spec, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(sorted(spec))}"
            yield f"{prefix}{key} is no field of the model: {hint} (docs/app-model.md)"
        elif "options" in spec[key]:
            items = item if isinstance(item, list) else [item]
            for number, entry in enumerate(items):
                if isinstance(entry, dict):
                    label = f"{prefix}{key}[{entry.get('name', number)}]." if isinstance(item, list) else f"{prefix}{key}."
                    yield from unknown_keys(entry, spec[key]["options"], label)


def unquoted_texts(value: dict, spec: dict, prefix: str):
    """Yield a text for each field of text whose value YAML has read as something else, and so has changed: 1.10 is 1.1, and 0123456 another commit."""
    for key, item in value.items():
        field, items = spec[key], item if isinstance(item, list) else [item]
        for number, entry in enumerate(items):
            named = entry.get("name", number) if isinstance(entry, dict) else number
            label = f"{prefix}{key}[{named}]" if isinstance(item, list) else f"{prefix}{key}"
            if "options" in field and isinstance(entry, dict):
                yield from unquoted_texts(entry, field["options"], f"{label}.")
            elif "str" in (field["type"], field.get("elements")) and (isinstance(entry, (bool, float)) or (key in NAMES and isinstance(entry, int))):
                yield f"{label}: {fields.unquoted(entry)}"


def unquoted_secrets(secrets) -> list[str]:
    """Return a text for each secret that YAML has read as a number, a truth or a date. The value is not told: it is a secret in another spelling."""
    return [f"secrets: {name} is written without quotes, and YAML reads it as another value (012 is 10, 1.10 is 1.1, off is False): write it in quotes "
            "(ansible-vault edit), or end its template with `| string`" for name, value in (secrets or {}).items()
            if value is not None and not isinstance(value, (str, dict, list))] if isinstance(secrets, Mapping) else []


def derive(app: dict) -> dict:
    """Return the app with what follows from its own fields."""
    name = app["name"]
    app["root"] = (app["root"] or f"/opt/{name}").rstrip("/")
    app["shared"], app["etc"] = f"{app['root']}/shared", f"{PRIVATE}/{name}"
    app["state"] = f"{app['shared']}/{STATE}"
    # What a deploy keeps to be quicker (the mirror of the repository, what was sent): no app writes in this folder.
    app["source_cache"] = f"/var/cache/quayside/{name}"
    app["user"] = app["user"] or name
    app["edge_group"] = EDGE_GROUP
    if app["source"]["version"] is None:
        app["source"]["version"] = "main" if app["source"]["repo"] else "" if app["source"]["folder"] else "latest"
    app["network"] = app["network"] or name
    app["edge_network"], app["build_network"] = f"edge-{name}", f"build-{name}"
    app["domains"], app["canonical"] = [idn.ascii_name(domain) for domain in app["domains"]], idn.ascii_name(app["canonical"])
    app["health"]["host"] = app["health"]["host"] if app["health"]["host"].isascii() else idn.ascii_name(app["health"]["host"])
    package = app["settings"].split(".")[0]
    if app["runtime"] == "compose":
        app["images"] = [image_defaults(app, image) for image in app["images"] or [validated(IMAGE, {"name": "app"})]]
    else:
        app["images"] = app["images"] or []
    app["processes"] = [process_defaults(app, process) for process in
                        app["processes"] or [validated(PROCESS, {"name": "web", "command": f"gunicorn {package}.wsgi"})]]
    app["frontends"] = [dict(frontend, image=frontend["image"] or (app["images"] or [{"name": ""}])[0]["name"]) for frontend in app["frontends"]]
    app["commands"] = [dict(command, name=command["name"] or command["manage"].split()[0]) for command in
                       app["commands"] or [validated(COMMAND, command) for command in COMMANDS]]
    app["database"]["name"] = app["database"]["name"] or name.replace("-", "_")
    app["database"]["user"] = app["database"]["user"] or app["database"]["name"]
    app["health"]["host"] = app["health"]["host"] or app["canonical"] or (app["domains"] or ["localhost"])[0]
    app["health"]["request_timeout"] = app["health"]["request_timeout"] or app["health"]["timeout"]
    app["scheme"] = "http" if app["tls"]["mode"] == "none" else "https"
    if app["tls"]["staging"]:
        app["tls"]["server"] = LETS_ENCRYPT_STAGING
    app["certificates"] = certificates(app)
    app["outbound"]["hosts"] = outbound.hosts({**{name: value for process in app["processes"] for name, value in process["env"].items()}, **app["env"],
                                               **{name: value for name, value in app["secrets"].items() if name not in unseen(app)}})
    app["url"] = f"{app['scheme']}://{app['canonical'] or app['domains'][0]}/" if app["domains"] else ""
    app["secrets"] = {key: value if isinstance(value, (dict, list)) else env_file.text(value) for key, value in app["secrets"].items()}
    settle_aliases(app)
    return app


def alias(value) -> str:
    """Return the variable that a value names whole, ``$NAME`` or ``${NAME}``; empty where it is a text of its own."""
    found = ALIAS.match(value) if isinstance(value, str) else None
    return (found[1] or found[2]) if found else ""


def settle_aliases(app: dict) -> None:
    """Move what is another name of a secret from ``env`` and ``secrets`` to ``aliases`` (name -> secret), and those of a process to ``aliases`` of it.

    Another name of a variable that is no secret stays in ``env``: ``environment`` fills it in. A text that names nothing is a text.
    """
    own = {**app["env"], **app["secrets"]}
    app["aliases"] = {}
    hidden = {*secret_environment(dict(app, secrets=dict.fromkeys(app["secrets"], ""))), *needed_secrets(app), "SECRET_KEY_FALLBACKS"} - unseen(app)
    if app["database"]["engine"] in ("postgresql", "container"):
        hidden.add("DATABASE_USER")  # no secret, but another one while the password changes
    hidden -= {name for name, value in own.items() if alias(value)} - {"SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"}
    plain_names = {*release_environment(app, "", "")}
    for field, targets in (("env", hidden), ("secrets", hidden | plain_names)):
        found = {name: alias(value) for name, value in app[field].items() if alias(value) in targets and alias(value) != name}
        app["aliases"].update(found)
        app[field] = {name: value for name, value in app[field].items() if name not in found}
    for process in app["processes"]:
        known = hidden | plain_names | {*app["aliases"], "RELEASE", "PROCESS", "COPY", "SOCKET", *(["PORT"] if process["tcp"] else [])}
        process["aliases"] = {name: alias(value) for name, value in process["env"].items() if alias(value) in known - {name}}
        process["env"] = {name: value for name, value in process["env"].items() if name not in process["aliases"]}


def filled_in(env: dict, values: dict) -> dict:
    """Return ``env`` with what is an alias of one of ``values`` filled in."""
    found = {}
    for name, value in env.items():
        seen = {name}
        while alias(value) in values and alias(value) not in seen:
            seen.add(alias(value))
            value = values[alias(value)]
        found[name] = value
    return found


def validated(spec: dict, value: dict) -> dict:
    """Return ``value`` with the defaults of ``spec``."""
    return ArgumentSpecValidator(spec).validate(value).validated_parameters


def image_defaults(app: dict, image: dict) -> dict:
    """Return an image with what follows from its fields and from the app's source."""
    has_source = bool(app["source"]["repo"] or app["source"]["folder"])
    if image["from"] is None:
        image["from"] = "archive" if image["archive"] else "registry" if image["repository"] and not has_source else "build"
    image["repository"] = image["repository"] or f"quayside/{app['name']}-{image['name']}"
    image["context"] = image["context"] or app["source"]["subdir"]
    return image


def process_defaults(app: dict, process: dict) -> dict:
    """Return a process with what follows from its command: ``kind``, ``socket`` or ``tcp`` for what takes requests, and by which."""
    known, named = processes.kind(process["command"]), process["kind"]
    what = known if named is None else named
    compose = app["runtime"] == "compose"
    process["socket"] = "$SOCKET" in process["command"] or (known == "server" and not compose and not process["port"])
    reached = bool(process["port"] or process["route"] or process["routes"]) or "$PORT" in process["command"]
    process["tcp"] = not process["socket"] and (what == "server" or reached or (compose and process["name"] == "web" and named is None))
    process["serves"] = process["socket"] or process["tcp"]
    if named is None and what == "other" and process["serves"]:
        what = "server"
    process["kind"], process["unnamed"] = what, named is None
    if compose:
        process["image"] = process["image"] or app["images"][0]["name"]
        process["port"] = process["port"] or (CONTAINER_PORT if process["tcp"] else 0)
        process["data"] = process["image"] == app["images"][0]["name"] if process["data"] is None else process["data"]
    if process["single"] is None:
        process["single"] = what == "celery-beat"
    process["silent"] = [field for field in ("threads", "timeout", "drain") if process[field] is None] + ["workers"] * (process["workers"] == "auto")
    process["threads"] = 1 if process["threads"] is None else process["threads"]
    process["timeout"] = 60 if process["timeout"] is None else process["timeout"]
    if process["drain"] is None:
        process["drain"] = DRAIN[what]
    if process["route"] is None:
        process["route"] = "/" if process["name"] == "web" and process["serves"] else ""
    process["routes"] = [route for route in [process["route"], *process["routes"]] if route]
    return process


def inspect(app: dict) -> list[str]:
    """Return what is wrong with one app beyond types and choices."""
    found = []
    found += fields.findings(app)
    if len(f"{app['root']}/releases/20261121072900-0123456/run/") + max(len(p["name"]) for p in app["processes"]) + 5 > 100:
        found.append(f"root: {app['root']!r} is too long: a socket's path has to stay under 100 bytes")
    places = [("static.root", app["static"]["root"]), ("media.root", app["media"]["root"]),
              *((f"folders[{folder['name']}].path", folder["path"]) for folder in app["folders"])]
    found += [f"{inner}: {below} lies in {outer} {above}: each has to be a folder of its own"
              for inner, below in places for outer, above in places if inner != outer and below and above and fields.below(below, [above])]
    if app["edge"] != "none" and not app["domains"]:
        found.append("domains: give at least one name or address, or edge: none")
    if app["canonical"] and app["canonical"] not in app["domains"]:
        found.append(f"canonical: {app['canonical']!r} is not one of domains")
    if app["tls"]["mode"] == "provided" and not (app["tls"]["certificate"] and app["tls"]["key"]):
        found.append("tls: mode provided needs certificate and key, paths on the host")
    found += [f"health.{field}: {app['health'][field]} is no number of seconds: at least 1" for field in ("timeout", "request_timeout")
              if app["health"][field] < 1]
    if app["keep"] < 2:
        found.append("keep: at least 2, the live release and the one to roll back to")
    found += inspect_source(app)
    found += inspect_processes(app)
    found += inspect_edge(app)
    found += inspect_env(app)
    found += outbound.inspect(app)
    return found


def inspect_source(app: dict) -> list[str]:
    """Return what is wrong with where the code and the images of an app come from."""
    found, source = [], app["source"]
    if source["repo"] and source["folder"]:
        found.append("source: give repo or folder, not both")
    found += [f"build[{number}].secrets: {name} is none of the app's secrets; there are {', '.join(sorted(secret_environment(app)))}"
              for number, command in enumerate(app["build"]) for name in command["secrets"] if name not in secret_environment(app)]
    found += [f"build[{number}].inputs: the command runs in {command['folder'] or '.'} and would not see it: name that too, or leave inputs out"
              for number, command in enumerate(app["build"]) if command["inputs"] and not fields.seen(app, command)]
    words = [("options", word) for word in python_env.options(app["python"])[0]] + [("packages", word) for word in app["python"]["packages"]]
    found += [f"python.{field}: a login stands in it, and every user of the host would see it among the arguments: give it by python.env (UV_INDEX, "
              "PIP_EXTRA_INDEX_URL) or in a requirements file" for field, word in words if PASSWORD_IN_URL.search(word)]
    if app["runtime"] == "systemd":
        if not source["repo"] and not source["folder"]:
            found.append("source: give repo, the URL of a git repository, or folder, one on this machine")
        if app["images"]:
            found.append("images: are for runtime: compose; with systemd the code comes from source")
        return found
    if source["build_ssh"] and not any(image["from"] == "build" for image in app["images"]):
        found.append("source.build_ssh: no image of the app is built on the host, so nobody could use the key: leave it out")
    names = [image["name"] for image in app["images"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"images: two are called {name}")
    for image in app["images"]:
        label = f"images[{image['name']}]"
        if image["from"] != "registry" and "/" not in image["repository"]:
            found.append(f"{label}.repository: {image['repository']} is the name of an image of Docker Hub's, which others here may run, and what is "
                         f"{'built' if image['from'] == 'build' else 'loaded'} would take its place: leave it out, or put a folder before it")
        if image["from"] == "build" and not (source["repo"] or source["folder"]):
            found.append(f"{label}: it is built on the host, so source needs repo or folder; or give repository, to pull it from a registry")
        if image["from"] == "archive" and not image["archive"]:
            found.append(f"{label}: from: archive needs archive, the path of a file of `docker save` on this machine")
        found += [f"{label}.secrets: {name} is not one of the app's secrets" for name in image["secrets"] if name not in app["secrets"]]
        found += [f"{label}.args: {name} is a secret of the app, and build arguments stay in the image: name it in images.secrets instead"
                  for name in image["args"] if name in app["secrets"]]
    for place in [f"processes[{process['name']}]" for process in app["processes"] if process["image"] not in names] + \
                 [f"frontends[{frontend['name']}]" for frontend in app["frontends"] if frontend["image"] not in names]:
        found.append(f"{place}.image: there is no such image; there are {', '.join(names)}")
    if app["network"] in (app["edge_network"], app["build_network"]):
        found.append(f"network: {app['network']} is the network in which the edge reaches this app, or its builds: take another name for that of its data")
    if app["build"]:
        found.append("build: is for runtime: systemd; with compose the Dockerfile builds")
    return found


def inspect_edge(app: dict) -> list[str]:
    """Return what the edge, the runtime and the services of an app do not allow together."""
    found, compose = [], app["runtime"] == "compose"
    if app["edge"] in CONTAINER_EDGES and not compose:
        found.append(f"edge: {app['edge']} is a container and reaches containers only: set runtime: compose, or edge: nginx")
    for field in ("database", "cache"):
        if app[field]["engine"] == "container" and not compose:
            other = "postgresql" if field == "database" else "redis"
            found.append(f"{field}.engine: container is for runtime: compose; with systemd set {field}.engine: {other}")
    if compose and app["cache"]["engine"] == "redis" and app["cache"]["port"]:
        found.append("cache.port: a container does not reach a port on the host's localhost: leave it out, the socket is mounted")
    found += inspect_acme(app)
    if app["edge"] == "traefik" and app["site_extra"]:
        found.append("site_extra: those are lines of nginx, and the edge is traefik")
    found += inspect_doors(app)
    ports = [process["listen"] for process in app["processes"] if process["listen"]]
    for process in app["processes"]:
        label = f"processes[{process['name']}]"
        if process["listen"] and not process["serves"]:
            found.append(f"{label}.listen: it takes no requests")
        if process["listen"] and (not 1024 <= process["listen"] <= 65535 or 20000 <= process["listen"] <= 29999 or ports.count(process["listen"]) > 1):
            found.append(f"{label}.listen: {process['listen']} has to be a port of its own from 1024 to 65535, and not 20000 to 29999, "
                         "which deploys choose from")
        if process["socket"] and compose and app["edge"] == "traefik":
            found.append(f"{label}: traefik reaches no unix sockets: use $PORT instead of $SOCKET")
    return found


def inspect_doors(app: dict) -> list[str]:
    """Return what is wrong with what the edge says, counts and lets in."""
    found, hsts = [], app["tls"]["hsts"]
    if hsts["max_age"] < 0:
        found.append("tls.hsts: max_age is a number of seconds, such as 63072000 for two years, or 0 for none")
    if hsts["max_age"] > 0 and app["tls"]["mode"] in ("none", "selfsigned"):
        found.append(f"tls.hsts: a browser that was told so could not come back with tls.mode {app['tls']['mode']}: take provided or acme, or leave it out")
    if hsts["max_age"] > 0 and any(name.lower() == HSTS.lower() for name in app["headers"]):
        found.append(f"headers: {HSTS} is said by tls.hsts already: leave one of them out")
    if hsts["max_age"] <= 0 and (hsts["subdomains"] or hsts["preload"]):
        found.append("tls.hsts: subdomains and preload say nothing without max_age, such as 63072000")
    if hsts["preload"] and not (hsts["subdomains"] and hsts["max_age"] >= 31536000):
        found.append("tls.hsts: preload needs subdomains: true and a max_age of at least 31536000, or the browsers' list refuses the name")
    if app["tls"]["http3"] and app["tls"]["mode"] == "none":
        found.append("tls.http3: HTTP/3 is always encrypted, and tls.mode is none")
    for field in ("limits", "allow"):
        found += [f"{field}[{number}].path: {entry['path']!r} is too long for nginx to find it in every spelling: at most some 80 characters and 8 slashes"
                  for number, entry in enumerate(app[field]) if request_paths.too_long(entry["path"])]
    for number, limit in enumerate(app["limits"]):
        if limit["rate"] < 1 or limit["burst"] < 0:
            found.append(f"limits[{number}]: rate is at least 1 a second and burst at least 0")
        found += [f"limits[{number}].exempt: {path!r} does not begin with {limit['path']}, so nobody counts it anyway" for path in limit["exempt"]
                  if not path.startswith(limit["path"])]
    for number, allow in enumerate(app["allow"]):
        label = f"allow[{number}]"
        if not allow["addresses"] and not allow["users"]:
            found.append(f"{label}: nobody could reach {allow['path']}: give addresses, users, or both")
        for login, secret in allow["users"].items():
            password = app["secrets"].get(str(secret), "")
            if not password:
                found.append(f"secrets: {secret} is missing (the login {login} for {allow['path']}): quayside.django.secrets puts what can be made into the "
                             "environment's vault file")
            if len(str(password).encode()) > 72:
                found.append(f"secrets: {secret} is longer than the 72 bytes that bcrypt looks at (the login {login} for {allow['path']})")
    return found


def inspect_acme(app: dict) -> list[str]:
    """Return what is wrong with how an app's certificates are asked for."""
    found, tls = [], app["tls"]
    if tls["mode"] != "acme":
        return found
    if app["edge"] == "none":
        found.append("tls.mode: acme is for an edge of ours, and the edge is none: take mode provided, or none")
    if app["edge"] != "none" and not any(not is_address(domain) for domain in app["domains"]):
        found.append("tls.mode: acme needs a name in domains, since an authority signs no addresses here: take mode selfsigned")
    stars = [domain for domain in app["domains"] if domain.startswith("*.")]
    if stars and tls["challenge"] != "dns":
        found.append(f"tls.challenge: {stars[0]} needs challenge: dns, since an authority gives names with a star for nothing else")
    if tls["challenge"] == "dns" and not re.match(r"^[a-z0-9-]+\Z", tls["dns"]["plugin"]):
        found.append("tls.dns: challenge dns needs plugin, such as cloudflare or rfc2136 (apt-cache search python3-certbot-dns)")
    if tls["eab"] and not app["secrets"].get("ACME_EAB_HMAC_KEY"):
        found.append("secrets: ACME_EAB_HMAC_KEY is missing (tls.eab is given): put it into the environment's vault file and name it in the app's secrets")
    return found


def certificates(app: dict) -> list[dict]:
    """Return the certificates of an app, each with the names that it is for and where it is on the host (empty: where the edge's role says).

    ``spare`` is one of before, which serves while the one of today is not there: together, then one for each.
    """
    tls, names = app["tls"], list(app["domains"])
    if tls["mode"] == "none":
        return []
    if tls["mode"] != "acme":
        return [{"name": app["name"], "names": names, "certificate": tls["certificate"], "key": tls["key"], "spare": False}]
    names = [name for name in names if not is_address(name)]
    wanted = {f"{app['name']}-{name.replace('*', 'wildcard')}": [name] for name in names} if tls["each"] else {app["name"]: names}
    spare = {app["name"]: names} if tls["each"] else {}
    return [{"name": name, "names": of, "certificate": f"{LINEAGES}/{name}/fullchain.pem", "key": f"{LINEAGES}/{name}/privkey.pem", "spare": name in spare}
            for name, of in {**wanted, **spare}.items()]


def acme_secrets(apps: list[dict]) -> dict:
    """Return app -> what only those see who ask for its certificates: ``eab``, the HMAC key, and ``dns``, what the plugin reads."""
    return {app["name"]: {"eab": app["secrets"].get("ACME_EAB_HMAC_KEY", "") if app["tls"]["eab"] else "",
                          "dns": {key: app["secrets"].get(str(value), value) for key, value in app["tls"]["dns"]["credentials"].items()}}
            for app in apps if app["tls"]["mode"] == "acme"}


def inspect_processes(app: dict) -> list[str]:
    """Return what is wrong with the processes and commands of an app."""
    found, names = [], set()
    for process in app["processes"]:
        label = f"processes[{process['name']}]"
        if not fields.APP_NAME.match(process["name"]) or process["name"] == "manage":
            found.append(f"{label}: a name is a-z, 0-9 and the dash, a letter first, and not `manage`")
        if process["name"] in names:
            found.append(f"{label}: two processes have this name")
        names.add(process["name"])
        if process["workers"] != "auto" and not re.match(r"^0*[1-9][0-9]*\Z", process["workers"]):
            found.append(f"{label}: workers is a number or auto, not {process['workers']!r}")
        if process["count"] < 1 or (process["count"] > 1 and (process["single"] or process["serves"])):
            found.append(f"{label}: count is for processes that serve no HTTP and are not single; for more of this one raise workers")
        wrong = shell_line.refusal(process["command"])
        if wrong:
            found.append(f"{label}: {wrong}")
        known = processes.kind(process["command"])
        if known not in ("other", process["kind"]):
            found.append(f"{label}.kind: {process['kind']}, and its command runs {processes.program(process['command'])}, which is a {known}: leave kind out")
        if known.startswith("celery") and not processes.celery_app(process["command"]):
            found.append(f"{label}: celery needs to know the app: celery -A <package> {known.removeprefix('celery-')}")
        if process["kind"].startswith("celery") and process["serves"]:
            found.append(f"{label}.kind: {process['kind']} takes no requests: leave out its port and routes, or the kind")
        if not process["probe"] and not process["serves"]:
            found.append(f"{label}.probe: it takes no requests, so nobody asks it: leave it out")
        if not process["probe"] and process["serves"] and process["name"] == processes.belongs_to(app["health"]["path"], app):
            found.append(f"{label}.probe: health.path {app['health']['path']} is its own, and without an answer there no release is known to be healthy: "
                         "leave it out, or take another health.path")
        if process["kind"] == "celery-worker" and {"-B", "--beat"} & set(process["command"].split()):
            found.append(f"{label}: a worker with --beat would run beat twice during a deploy: give beat a process of its own")
        if known == "celery-worker" and processes.given(shell_line.words(process["command"]), ("-n", "--hostname")):
            found.append(f"{label}: its node name is how a deploy finds the worker: leave out -n and --hostname")
        if app["runtime"] == "compose" and process["name"] in ("db", "redis"):
            found.append(f"{label}: db and redis are the names of the app's own services: take another one")
        found += env_findings(process["env"], f"{label}.env")
        variables = secret_environment(app)
        if process["secrets"] and app["runtime"] != "compose":
            found.append(f"{label}.secrets: is for runtime: compose, where processes of another image get no others; with systemd each process gets all")
        found += [f"{label}.secrets: {name} is none of the app's secrets; there are {', '.join(sorted(variables))}"
                  for name in process["secrets"] if name not in variables]
    units = [processes.unit_name(app, process, copy) for process in app["processes"] for copy in processes.copies(process)]
    found += [f"processes: two have the unit {unit}" for unit in sorted({unit for unit in units if units.count(unit) > 1})]
    routes = [route for process in app["processes"] for route in process["routes"]] + [frontend["route"] for frontend in app["frontends"]]
    if app["edge"] != "none" and "/" not in routes:
        found.append("processes: none has route: / (a server named web has it by itself)")
    found += [f"processes: two have the route {route}" for route in sorted({r for r in routes if routes.count(r) > 1})]
    return found


def inspect_env(app: dict) -> list[str]:
    """Return what is wrong with env and secrets: names, line breaks, what is missing or too short."""
    single = {*ONE_LINE, *IN_ROTATION, *(unseen(app) - {"SOURCE_KEY"})}
    found = alias_findings(app) + env_findings(app["env"], "env") + env_findings(
        {key: value for key, value in app["secrets"].items() if key not in unseen(app)}, "secrets")
    for name, reason in needed_secrets(app).items():
        if not app["secrets"].get(name):
            found.append(f"secrets: {name} is missing ({reason}): quayside.django.secrets puts what can be made into the environment's vault file, "
                         "and tells the rest")
    for name, value in app["secrets"].items():
        if name in made_here(app) and value and len(value) < SECRET_LENGTH:
            found.append(f"secrets: {name} is shorter than {SECRET_LENGTH} characters: make one with `openssl rand -hex 32`")
        if name in single and re.search(r"[\n\r]", env_file.text(value)):
            found.append(f"secrets: {name} holds a line break, and a service or a URL takes one line (a YAML block ends with one): write it in quotes, "
                         "or with |- instead of |")
    found += inspect_secret_files(app)
    both = sorted({*app["env"], *app["aliases"]} & set(app["secrets"]))
    return found + [f"env: {name} is also in secrets; keep it in one of them" for name in both]


def alias_findings(app: dict) -> list[str]:
    """Return the aliases of variables that are not there, where one of nearly the same name is, and those of secrets that a container does not get."""
    known, found = sorted({*release_environment(app, "", ""), *secret_environment(app)}), []
    fields_ = [("env", app["env"]), ("secrets", app["secrets"]), *((f"processes[{process['name']}].env", process["env"]) for process in app["processes"])]
    for label, variables in fields_:
        for name, value in variables.items():
            near = difflib.get_close_matches(alias(value), known, 1, 0.85) if alias(value) and alias(value) not in known else []
            found += [f"{label}: {name} is to be another name of {alias(value)}, which is no variable of the app: did you mean ${close}?" for close in near]
    if app["runtime"] == "compose":
        found += [f"processes[{process['name']}].env: {name} is another name of the secret {target}, which this container does not get: name {target} in its "
                  "secrets" for process in app["processes"] for name, target in process["aliases"].items()
                  if process["image"] != app["images"][0]["name"] and target in secret_environment(app) and target not in process["secrets"]]
    return found


def made_here(app: dict) -> set:
    """Return the names of the secrets that we make, so that nobody else decides how long they are."""
    return {*ROTATED, *IN_ROTATION, *(str(name) for allow in app["allow"] for name in allow["users"].values())}


def short_secrets(app: dict) -> list[str]:
    """Return the names of secrets that are short and that somebody else has chosen, such as a PIN or the id of a client."""
    return sorted(name for name, value in app["secrets"].items() if value and len(value) < SECRET_LENGTH and name not in made_here(app))


def inspect_secret_files(app: dict) -> list[str]:
    """Return what is wrong with the secrets that arrive as files."""
    found, plain = [], set(app["secrets"]) - unseen(app) - {"SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"}
    for name in app["secret_files"]:
        if name not in plain:
            known = f"there are {', '.join(sorted(plain))}" if plain else "there are none but those that the deploy itself reads"
            found.append(f"secret_files: {name} is none of the app's own secrets; {known}")
        found += [f"secret_files: {name}_FILE is the path of the file of {name}: leave it out of {field}" for field in ("env", "secrets")
                  if f"{name}_FILE" in app[field]]
    return found


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
    if app["database"]["engine"] in ("postgresql", "container"):
        needed["DATABASE_PASSWORD"] = f"database.engine is {app['database']['engine']}"
    if app["database"]["engine"] == "external":
        needed["DATABASE_URL"] = "database.engine is external"
    if app["cache"]["engine"] == "redis" and app["cache"]["port"]:
        needed["REDIS_PASSWORD"] = "cache.port opens a TCP port"
    if app["source"]["build_ssh"]:
        needed["SOURCE_KEY"] = "source.build_ssh lends it to builds"
    if app["registry"]["user"]:
        needed["REGISTRY_PASSWORD"] = "registry.user is given"
    return needed


def collisions(apps: list[dict]) -> list[str]:
    """Return what two apps of one host cannot share."""
    found, owners = [], {}
    for app in apps:
        claims = [("name", app["name"]), ("root", app["root"]), ("user", app["user"])]
        claims += [("domain", domain) for domain in app["domains"]]
        claims += [("unit", processes.unit_name(app, process, copy)) for process in app["processes"] for copy in processes.copies(process)]
        if app["database"]["engine"] == "postgresql":
            claims += [("database", app["database"]["name"]), ("database role", app["database"]["user"]), ("database role", rotation_role(app))]
        if app["cache"]["engine"] == "redis" and app["cache"]["port"]:
            claims.append(("Redis port", app["cache"]["port"]))
        claims += [("port (listen)", process["listen"]) for process in app["processes"] if process["listen"]]
        if app["runtime"] == "compose":
            claims += [("network", app[field]) for field in ("network", "edge_network", "build_network")]
        if app["tls"]["mode"] == "acme":
            claims += [("certificate", one["name"]) for one in app["certificates"]]
        for claim in claims:
            other = owners.setdefault(claim, app["name"])
            if other != app["name"] or (claim[0] == "name" and app is not next(a for a in apps if a["name"] == app["name"])):
                found.append(f"app {app['name']}: its {claim[0]} {claim[1]} is also that of app {other}")
    found += trespasses(apps)
    edges = {app["edge"]: app["name"] for app in apps if app["edge"] != "none"}
    if len(edges) > 1:
        found.append("one host has one edge, since only one can hold the ports 80 and 443; here are " +
                     " and ".join(f"{edge} (app {name})" for edge, name in sorted(edges.items())))
    return found


def trespasses(apps: list[dict]) -> list[str]:
    """Return where an app would write, or have root read, in the root of another, or make the image of another."""
    found = []
    for app in apps:
        made = {image["repository"] for image in app["images"] if image["from"] != "registry"} if app["runtime"] == "compose" else set()
        paths = [("python.interpreter", app["python"]["interpreter"]), ("tls.certificate", app["tls"]["certificate"]),
                 ("tls.key", app["tls"]["key"]), *(("sandbox.writable", path) for path in app["sandbox"]["writable"]),
                 *(("container.volumes", path.partition(":")[0]) for path in app["container"]["volumes"])]
        for other in apps:
            if other["name"] == app["name"]:
                continue
            found += [f"app {app['name']}: {field} {path} lies in the root of app {other['name']}, {other['root']}: take a folder elsewhere"
                      for field, path in paths if fields.below(path, [other["root"]])]
            found += [f"app {app['name']}: root {app['root']} lies in the root of app {other['name']}, {other['root']}: take a folder elsewhere"
                      ] * (app["root"] != other["root"] and fields.below(app["root"], [other["root"]]))
            found += [f"app {app['name']}: {field} {path} holds the root of app {other['name']}, {other['root']}: take a folder elsewhere"
                      for field, path in paths if path and fields.below(other["root"], [path])]
            if other["runtime"] == "compose":
                found += [f"app {app['name']}: its image repository {image} is also that of app {other['name']}"
                          for image in sorted(made & {image["repository"] for image in other["images"]})]
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
    return fields.is_address(domain)


def environment(app: dict) -> dict:
    """Return the variables of every process that are no secret; what the release decides is added by ``release_environment``."""
    hosts = [f"[{domain}]" if ":" in domain else domain for domain in app["domains"]]
    origins = [f"{app['scheme']}://{host}" for host in hosts]
    env = {"DJANGO_SETTINGS_MODULE": app["settings"], "ALLOWED_HOSTS": ",".join(host.removeprefix("*") for host in hosts or ["localhost"]),
           "CSRF_TRUSTED_ORIGINS": ",".join(origins), "STATIC_URL": app["static"]["url"], "MEDIA_URL": app["media"]["url"],
           "MEDIA_ROOT": f"{app['shared']}/media", "LOGS": f"{app['shared']}/logs", "PYTHONUNBUFFERED": "1"}
    if app["media"]["root"].startswith("/"):
        env["MEDIA_ROOT"] = app["media"]["root"]
    if app["database"]["engine"] in ("postgresql", "container"):
        env.update(DATABASE_HOST=database_host(app), DATABASE_PORT="5432", DATABASE_NAME=app["database"]["name"],
                   DATABASE_USER=app["database"]["user"])
    if app["database"]["engine"] == "sqlite":
        env.update(DATABASE_PATH=sqlite_path(app), DATABASE_URL=f"sqlite:///{sqlite_path(app)}")
    env.update({key: env_file.text(value) for key, value in app["env"].items()})
    return filled_in(env, env)


def told(app: dict, secure: bool, given: frozenset = frozenset()) -> dict:
    """Return the variables that tell Django by which names and how it is reached; those that the user sets (``given``: among the secrets) are left out.

    ``secure`` as ``release_environment`` has it.
    """
    env = environment(app)
    found = {SECURE_REDIRECT: str(secure), **{name: env[name] for name in ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")}}
    return {name: value for name, value in found.items() if name not in {*app["env"], *app["aliases"]} and name not in given}


def database_host(app: dict) -> str:
    """Return where the app finds its PostgreSQL: containers reach that of the host by its socket, which is mounted."""
    if app["database"]["engine"] == "container":
        return "db"
    return "/run/postgresql" if app["runtime"] == "compose" else "127.0.0.1"


def leaf_folders(app: dict) -> list[str]:
    """Return the paths of the folders below shared/ that belong to the app: all that its processes may write to, and that outlives releases."""
    kept = ["media", "logs", STATE] + ["database"] * (app["database"]["engine"] == "sqlite") + [folder["name"] for folder in app["folders"]]
    return [f"{app['shared']}/{name}" for name in dict.fromkeys(kept)]


def secrets_file(app: dict) -> str:
    """Return the path of the secret variables of an app on systemd: systemd reads it as root, and no process of the app can."""
    return f"{app['etc']}/secrets.env"


def sqlite_path(app: dict) -> str:
    """Return the path of the app's SQLite database."""
    return f"{app['shared']}/database/db.sqlite3"


def release_environment(app: dict, release: str, version: str, secure: bool = False) -> dict:
    """Return the variables of one release: those of the app, with its id, its version and its folder of static files.

    ``secure``: the edge serves all of its names by HTTPS, so that Django may send whoever asks by HTTP there.
    """
    static = app["static"]["root"] if app["static"]["root"].startswith("/") else f"{app['root']}/releases/{release}/static"
    env = {"RELEASE": release, "VERSION": version, "STATIC_ROOT": static, SECURE_REDIRECT: str(secure)}
    env.update({f"{name}_FILE": path for name, path in secret_file_paths(app, release).items()})
    env.update(environment(app))
    return filled_in(env, env)


def secret_file_paths(app: dict, release: str) -> dict:
    """Return name -> path of the secrets that arrive as files; each release has its own."""
    return {name: f"{app['root']}/releases/{release}/secrets/{name}" for name in app.get("secret_files", [])}


def unseen(app: dict) -> set:
    """Return the names of the secrets that no process of the app sees."""
    dns = app["tls"]["dns"]["credentials"].values() if app["tls"]["mode"] == "acme" else []
    logins = [name for allow in app["allow"] for name in allow["users"].values()]
    return {*DEPLOY_SECRETS, *IN_ROTATION, *(str(name) for name in [*dns, *logins])}


def rotation_role(app: dict) -> str:
    """Return the login that carries the app through a change of its database password: a member of its role, which it becomes at login."""
    return f"{app['database']['user'][:54]}_rotation"


def database_login(app: dict) -> tuple[str, str]:
    """Return user and password by which the app reaches its PostgreSQL, while its password changes those of another login."""
    coming = app["secrets"].get("DATABASE_PASSWORD_NEXT", "")
    return (rotation_role(app), coming) if coming else (app["database"]["user"], app["secrets"].get("DATABASE_PASSWORD", ""))


def fallback_keys(secrets: dict) -> str:
    """Return the keys beside SECRET_KEY whose signatures count: the one to come, so that no instance refuses what another signed, and those before."""
    names = [secrets.get("SECRET_KEY_NEXT"), secrets.get("SECRET_KEY_PREVIOUS"), *secrets.get("SECRET_KEY_FALLBACKS", "").split(",")]
    return ",".join(dict.fromkeys(key.strip() for key in names if key and key.strip()))


def secret_environment(app: dict) -> dict:
    """Return the variables that nobody may see: the app's secrets, and the URLs that hold one of them or lead to its services."""
    secrets = {key: value for key, value in app["secrets"].items() if key not in unseen(app)}
    env = {}
    if app["database"]["engine"] in ("postgresql", "container"):
        user, password = database_login(app)
        place = f"{quote(database_host(app), safe='')}:5432/{app['database']['name']}"
        env["DATABASE_URL"] = f"{app['database']['scheme']}://{user}:{quote(password, safe='')}@{place}"
        if user != app["database"]["user"]:
            secrets.update(DATABASE_USER=user, DATABASE_PASSWORD=password)
    if app["cache"]["engine"] in ("redis", "container"):
        numbers = app["cache"]["databases"]
        for key, number in (("CACHE_URL", numbers["cache"]), ("SESSION_URL", numbers["session"]),
                            ("CELERY_BROKER_URL", numbers["broker"]), ("CELERY_RESULT_URL", numbers["result"])):
            env[key] = redis_url(app, number, key.startswith("CELERY"))
        env["REDIS_URL"] = redis_url(app, None, False)
    fallbacks = fallback_keys(app["secrets"])
    if fallbacks:
        secrets["SECRET_KEY_FALLBACKS"] = fallbacks
    known = {**environment(app), **env, **secrets}
    own = {name: value for name, value in env.items() if name not in app["env"]}  # what env sets wins over what is derived
    return {**own, **secrets, **{name: known.get(target, "") for name, target in app["aliases"].items()}}


def other_redis_password(app: dict) -> str:
    """Return the second password that Redis takes while the first changes, empty at all other times."""
    return app["secrets"].get("REDIS_PASSWORD_NEXT") or app["secrets"].get("REDIS_PASSWORD_PREVIOUS") or ""


def redis_url(app: dict, number: int | None, celery: bool) -> str:
    """Return the URL of one database of the app's Redis, of the server without a number; celery writes that of a socket in its own way."""
    database = "" if number is None else f"/{number}"
    if app["cache"]["engine"] == "container":
        password = app["secrets"].get("REDIS_PASSWORD", "")
        # With the name of the user: a Redis that takes no password yet accepts a login only in this form (Redis 6, AUTH).
        return f"redis://{'default:' + quote(password, safe='') + '@' if password else ''}redis:6379{database}"
    if app["cache"]["port"]:
        return f"redis://:{quote(app['secrets'].get('REDIS_PASSWORD', ''), safe='')}@127.0.0.1:{app['cache']['port']}{database}"
    socket = f"/run/redis-{app['name']}/redis.sock"
    password = app["secrets"].get("REDIS_PASSWORD", "")
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis+socket://{login}{socket}?virtual_host={number}" if celery else f"unix://{login}{socket}" + ("" if number is None else f"?db={number}")


def wanted_answer(app: dict, release: str, version: str) -> dict:
    """Return what a healthy answer is, as arguments of http_health.Check."""
    health = app["health"]
    values = {"$RELEASE": release, "$VERSION": version}
    wanted = {key: values.get(value, value) if isinstance(value, str) else value for key, value in health["json"].items()}
    return {"timeout": float(health["request_timeout"]), "host": health["host"], "scheme": app["scheme"], "status": tuple(health["status"]),
            "text": health["text"], "json": wanted or None}


def databases(apps: list[dict]) -> list[dict]:
    """Return what the role postgresql makes: name, user, password and extensions of each app's database."""
    return [{"name": app["database"]["name"], "user": app["database"]["user"], "password": app["secrets"]["DATABASE_PASSWORD"],
             "extensions": app["database"]["extensions"]} for app in apps if app["database"]["engine"] == "postgresql"]


def caches(apps: list[dict]) -> list[dict]:
    """Return what the role redis makes: an instance for each app."""
    return [{"name": app["name"], "group": app["user"], "port": app["cache"]["port"],
             "password": app["secrets"].get("REDIS_PASSWORD", ""), "other_password": other_redis_password(app), "memory": app["cache"]["memory"],
             "policy": app["cache"]["policy"], "persistence": app["cache"]["persistence"],
             "databases": max(16, *(number + 1 for number in app["cache"]["databases"].values()))}
            for app in apps if app["cache"]["engine"] == "redis"]


def sites(apps: list[dict], edges: tuple = ("nginx",)) -> list[dict]:
    """Return what the role nginx serves: a site for each app with one of these edges."""
    return [site(app) for app in apps if app["edge"] in edges]


def upstream(app: dict, process: dict) -> dict:
    """Return how nginx finds a process: its socket behind the link ``live``, or the variable that the live release sets."""
    name = f"{app['name']}-{process['name']}"
    if process["socket"]:
        return {"name": name, "server": f"unix:{app['root']}/live/run/{process['name']}.sock", "variable": "", "address": f"http://{name}"}
    return {"name": name, "server": "", "variable": variable(app, process), "address": f"http://${variable(app, process)}"}


def variable(app: dict, process: dict) -> str:
    """Return the name of nginx's variable for the address of a process."""
    return f"quayside_{app['name']}_{process['name']}".replace("-", "_")


def site(app: dict) -> dict:
    """Return one site: its names, where requests and files go."""
    routed = [process for process in app["processes"] if process["routes"]]
    live = f"{app['root']}/live"
    static = {"url": app["static"]["url"], "folder": f"{live}/static", "pool": f"{app['root']}/static",
              "max_age": app["static"]["max_age"]}
    media = {"url": app["media"]["url"], "folder": f"{app['root']}/shared/media", "max_age": app["media"]["max_age"]}
    return {
        "name": app["name"], "domains": app["domains"], "canonical": app["canonical"], "tls": app["tls"], "certificates": app["certificates"],
        "root": app["root"], "live": live, "host": app["health"]["host"], "scheme": app["scheme"], "network": app["edge_network"],
        # The brackets make a pattern of it, which may match nothing: there is no such file before the first release.
        "addresses": f"{live}/edge/upstreams[.]conf",
        "upstreams": [upstream(app, process) for process in app["processes"] if process["routes"] or process["listen"]],
        "routes": [{"path": route, "upstream": f"{app['name']}-{process['name']}", "timeout": process["timeout"],
                    "websocket": process["websocket"]} for process in routed for route in process["routes"]],
        "listen": [{"port": process["listen"], "upstream": f"{app['name']}-{process['name']}", "timeout": process["timeout"],
                    "websocket": process["websocket"]} for process in app["processes"] if process["listen"]],
        "frontends": [{"name": frontend["name"], "path": frontend["route"], "folder": f"{live}/frontends/{frontend['name']}",
                       "pool": f"{app['root']}/frontends/{frontend['name']}", "fallback": frontend["fallback"], "max_age": frontend["max_age"]}
                      for frontend in app["frontends"]],
        "limits": app["limits"], "health": app["health"]["path"].partition("?")[0],
        "static": static if app["static"]["url"] else None, "media": media if app["media"]["url"] else None,
        "body_size": app["body_size"], "headers": app["headers"], "hsts": hsts(app), "allow": allowed(app),
        "extra": app["site_extra"],
    }


def hsts(app: dict) -> str:
    """Return the value of Strict-Transport-Security, empty for none."""
    wanted = app["tls"]["hsts"]
    if not wanted["max_age"]:
        return ""
    return f"max-age={wanted['max_age']}" + ("; includeSubDomains" if wanted["subdomains"] else "") + ("; preload" if wanted["preload"] else "")


def allowed(app: dict) -> list[dict]:
    """Return who reaches which paths; ``login`` is the name of the file of those who log in, empty where nobody has to."""
    return [dict(allow, login=f"{app['name']}-{number}" if allow["users"] else "") for number, allow in enumerate(app["allow"], 1)]


def logins(apps: list[dict], edges: tuple = ("nginx",)) -> list[dict]:
    """Return the files of logins of the edge: name, and login -> password."""
    return [{"name": allow["login"], "users": {str(login): app["secrets"].get(str(secret), "") for login, secret in allow["users"].items()}}
            for app in apps if app["edge"] in edges for allow in allowed(app) if allow["login"]]


def web_ports(apps: list[dict], proto: str = "tcp", distribution: str = "") -> list[int]:
    """Return the public ports of the apps: 80, and 443 when one of them has TLS; by udp 443 when one of them has HTTP/3.

    ``distribution`` is the host's (C(bookworm)), whose own nginx may not know HTTP/3.
    """
    public = [app for app in apps if app["edge"] != "none"]
    if proto == "udp":
        return [443] if any(app["tls"]["http3"] and (app["edge"] != "nginx" or distribution not in WITHOUT_HTTP3) for app in public) else []
    return ([80] if public else []) + ([443] if any(app["tls"]["mode"] != "none" for app in public) else [])


def packages(apps: list[dict]) -> list[str]:
    """Return the operating system packages of all apps, each once."""
    return sorted({package for app in apps for package in app["packages"]})


def identity(app: dict) -> dict:
    """Return what makes a release what it is, beside its commit: a change of one of these needs a new release."""
    same = {"env": environment(app), "processes": app["processes"], "subdir": app["source"]["subdir"], "secret_files": app["secret_files"],
            "manage": app["manage"], "static": app["static"]["root"], "media": app["media"]["root"], "folders": app["folders"],
            "frontends": app["frontends"]}
    if app["runtime"] == "compose":
        return dict(same, runtime="compose", images=app["images"], container=app["container"], network=app["network"], edge_network=app["edge_network"],
                    edge=app["edge"])
    return dict(same, python=app["python"], build=app["build"])


def public(app: dict) -> dict:
    """Return the app without its secrets, fit for logs and for files."""
    return {key: value for key, value in app.items() if key != "secrets"}
