# Copyright: (c) 2026, the quayside.django authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a host a service takes. Pure functions: numbers in, settings out."""

from __future__ import annotations

import functools
import math
import re

from ansible_collections.quayside.django.plugins.module_utils import processes, shell_line

# MemTotal is a few per cent below what was bought and moves with each kernel. In steps this wide, a kernel update changes no
# setting, and so restarts no database.
STEP_MB = 256


def counted_memory_mb(memory_mb):
    """The memory of a host as sizing counts it.

    :param memory_mb: MemTotal in MiB, an int above 0
    :returns: int, the nearest multiple of 256 MiB, at least 256
    """
    if memory_mb <= 0:
        raise ValueError(f"a host has more than 0 MB of memory, not {memory_mb}")
    return max(STEP_MB, (memory_mb + STEP_MB // 2) // STEP_MB * STEP_MB)


def _clamp(low, value, high):
    return max(low, min(int(value), high))


def postgresql_settings(memory_mb, cores, share=0.5, max_connections=100):
    """What PostgreSQL takes of a host that it shares with apps, or has for itself.

    A quarter of its share becomes shared_buffers, and three quarters are what the planner may take for cached, which is the
    split that PostgreSQL's manual starts from ("Resource Consumption", shared_buffers and effective_cache_size).

    :param memory_mb: MemTotal of the host in MiB, an int above 0
    :param cores: CPUs of the host, an int above 0
    :param share: the part of the memory that counts for PostgreSQL with the page cache, above 0 and at most 1
    :param max_connections: what work_mem is divided among, an int above 0
    :returns: dict of str to str, names and values as postgresql.conf has them
    :raises ValueError: for a figure out of its range
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is a part of the host's memory, above 0 and at most 1, not {share}")
    if cores < 1 or max_connections < 1:
        raise ValueError(f"cores and max_connections are at least 1, not {cores} and {max_connections}")
    budget = counted_memory_mb(memory_mb) * share
    shared_buffers = _clamp(32, budget / 4, 8192)
    return {
        "max_connections": str(max_connections),
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{max(shared_buffers, int(budget * 3 / 4))}MB",
        # All connections at once, each with one sort, stay within the share: from the floor of 4 MB (the default) upwards.
        "work_mem": f"{_clamp(4, (budget - shared_buffers) / max_connections, 64)}MB",
        "maintenance_work_mem": f"{_clamp(32, budget / 16, 1024)}MB",
        # Half of the cores for one query: the others belong to the apps.
        "max_parallel_workers": str(_clamp(1, cores, 64)),
        "max_parallel_workers_per_gather": str(_clamp(0, cores / 2, 4)),
        "max_parallel_maintenance_workers": str(_clamp(0, cores / 2, 4)),
        "max_worker_processes": str(_clamp(8, cores + 4, 68)),
    }


def redis_memory_mb(memory_mb, instances, share=0.25):
    """The memory limit of one Redis instance out of several equal ones.

    The share is divided among 2, 4, 8… instances, whichever is enough: a new limit is a restart, and the second app of a host
    must not restart the Redis of the first.

    :param memory_mb: MemTotal of the host in MiB, an int above 0
    :param instances: how many instances share the part, an int above 0
    :param share: the part of the memory for all of them, above 0 and at most 0.5 (a rewrite of the AOF may double what is in use)
    :returns: int, MiB, at least 32 and at most 4096
    :raises ValueError: for a figure out of its range
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share is a part of the host's memory, above 0 and at most 0.5, not {share}")
    if instances < 1:
        raise ValueError(f"instances is at least 1, not {instances}")
    places = max(2, 1 << (instances - 1).bit_length())
    return _clamp(32, counted_memory_mb(memory_mb) * share / places, 4096)


# What one host carries. Everything below is in MiB.

# Measured on Debian 13 with the bookshop (Django, DRF, celery, psycopg; PSS, shared pages counted once): docs/sizing.md has the figures.
SYSTEM_MB = 192  # systemd, journald, sshd, fail2ban, unattended-upgrades, nginx, and the kernel's own tables
DOCKER_MB, SHIM_MB = 144, 8  # dockerd with containerd (140-150 MiB were measured), and the shim of a container (6)
SERVER_MB, WORKER_MB, THREAD_MB = 24, 56, 1  # gunicorn: the master, a worker, a further thread (150-160 MiB were measured for a master with three)
CELERY_MB, CHILD_MB = 72, 44  # a celery worker's parent, and each child (146 MiB were measured for a parent with two)
BEAT_MB = 56  # 49 MiB were measured
NODE_MB = 160  # a process of another kind that takes requests: Node, Next.js
OTHER_MB = 64  # any other, such as a manage.py command that does not end
ONE_OFF_MB = 64  # manage.py in a deploy, and the helper that speaks with celery workers
POSTGRESQL_MB, BACKEND_MB = 48, 4  # PostgreSQL without shared_buffers, and a connection; one sort comes from work_mem, which is no memory while nobody sorts
REDIS_MB = 16
EDGES_MB = {"nginx_container": 64, "traefik": 128}
# In a container a third more counts: its files in memory (/tmp, /dev/shm) are its own, and its image's libraries are nobody else's.
CONTAINER_FACTOR = 4 / 3
# A limit protects the host, and is no estimate of what an app takes: what an app may take is what the services of the host leave, half of the memory at
# least, and one process may take three quarters of that.
LEAST_APP_SHARE, PROCESS_SHARE = 0.5, 0.75
DATABASE_LIMIT_SHARE, CACHE_LIMIT_SHARE = 0.5, 0.25  # of the host, for PostgreSQL and Redis in containers
REDIS_LIMIT_FACTOR = 1.5  # a rewrite of the AOF forks, and what is written meanwhile is there twice
CONTAINER_DATABASE_SHARE, CONTAINER_CACHE_SHARE = 0.375, 0.125  # smaller than on the host, since their limits count in full
ONE_OFF_CONNECTIONS = 2  # migrate in a deploy, and a shell by hand
SPARE_CONNECTIONS, LEAST_CONNECTIONS = 10, 100
# superuser_reserved_connections (3, PostgreSQL's default), and a few for logins that are none of an app's, such as one that reads statistics.
RESERVED_CONNECTIONS = 8

# A "1 GB" server has about 961 MiB for its kernel, one of 2 GB 1967, one of 4 GB 3915. The same holds for disks.
GB = 900
PROFILES = (("prod", 2, 4, 40), ("small", 1, 2, 20), ("tiny", 1, 1, 0))  # cores, GB of memory, GB of disk
FREE_DISK_MB = 5 * 1024
SWAP = ((2200, 2048), (8800, 4096), (17600, 2048))  # memory up to -> swap, as base_swap_sizes of the role base

_SUFFIXES = {"": 1, "k": 2 ** 10, "m": 2 ** 20, "g": 2 ** 30, "t": 2 ** 40}


def megabytes(text, memory_mb=0):
    """The MiB of a size as systemd, Docker and Redis write it.

    :param text: ``512M``, ``1g``, ``256mb``, a number of bytes, or ``50%`` of memory_mb
    :returns: float
    :raises ValueError: when it is none
    """
    found = re.match(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(%|[kmgt]?)(?:i?b)?\s*\Z", str(text).lower())
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no size: write 512M or 1G")
    if found[2] == "%":
        return memory_mb * float(found[1]) / 100
    return float(found[1]) * _SUFFIXES[found[2]] / 2 ** 20


def swap_mb(memory_mb):
    """:returns: int, MiB of swap for a host of so much memory, as the role base makes it; swap never counts as memory"""
    return next((swap for limit, swap in SWAP if memory_mb <= limit), 0)


def profile(host):
    """The name of the point at which a host is: ``prod``, ``small`` or ``tiny``, or an empty text below all of them.

    :param host: dict of cores (int), memory (int, MiB as the kernel shows it) and, where known, disk (int, MiB in all)
    """
    for name, cores, memory, disk in PROFILES:
        if host["cores"] >= cores and host["memory"] >= memory * GB and host.get("disk", disk * GB) >= disk * GB:
            return name
    return ""


@functools.lru_cache(maxsize=1024)
def _words(command):
    return tuple(shell_line.words(command))


def _flag(process, *flags):
    """The value that a command gives to one of its flags, as text; empty without it."""
    words = _words(process["command"])
    for position, word in enumerate(words):
        for flag in flags:
            if word == flag and position + 1 < len(words):
                return words[position + 1]
            if len(flag) > 2 and word.startswith(flag + "="):
                return word[len(flag) + 1:]
            if len(flag) == 2 and word.startswith(flag) and word != flag and not word.startswith("--"):
                return word[2:].lstrip("=")
    return ""


def _server(process):
    words = _words(process["command"])
    return words[0].rsplit("/", 1)[-1] if words else ""


def _pool(process):
    return _flag(process, "-P", "--pool") or "prefork"


def sort(app, process):
    """What a process is for sizing: ``server``, ``celery``, ``beat``, ``node`` (takes requests and is no Python server) or ``other``.

    A start script, or the image's own command, is a server where the image is the app's first, which is that of manage.py, and else a frontend.
    """
    known = {"celery-worker": "celery", "celery-beat": "beat"}.get(process["kind"])
    if known or not process["serves"]:
        return known or "other"
    if processes.runs_python_server(app, process):
        return "server"
    return "other" if _server(process).startswith("python") else "node"


def written_workers(app, process):
    """The workers that a user has decided on, in the command or by ``workers``; 0 when the host decides.

    :param process: dict, one of the app's, as the model loads it
    """
    what, number = sort(app, process), ""
    if what == "server":
        flags = [flags for flags, text in processes.HTTP_SERVERS.get(_server(process), []) if "{workers}" in text]
        if processes.server(process) and not flags:
            return 1  # daphne has no workers
        number = _flag(process, *flags[0]) if flags else ""
        if not number and process["workers"] == "auto" and (not flags or _server(process) in processes.READ_CONCURRENCY):
            number = processes.own_concurrency(app, process)
    elif what == "celery" and _pool(process) != "solo":
        number = _flag(process, "--autoscale").split(",")[0] or _flag(process, "-c", "--concurrency")
    else:
        return 1
    number = number if number.isdigit() and int(number) else process["workers"]
    return 0 if number == "auto" else int(number)


def _threads(process):
    number = _flag(process, "--threads") if _server(process) == "gunicorn" else ""
    return max(1, int(number) if number.isdigit() else process["threads"])


def _workers(app, process, level, memory_mb):
    """The workers of a process at a level: as many for a server, half of them for celery, so that 2n + 1 and n are one level."""
    written = written_workers(app, process)
    if written:
        return written
    found = level if sort(app, process) == "server" else max(1, level // 2)
    if process["memory"]:
        base, each = _shape(app, process)
        found = min(found, int((megabytes(process["memory"], memory_mb) - base) / each))
    return max(1, found)


def _shape(app, process):
    """What a process takes without workers, and what a worker adds."""
    return {"server": (SERVER_MB, WORKER_MB + THREAD_MB * (_threads(process) - 1)),
            "celery": (CELERY_MB, CHILD_MB if _pool(process) == "prefork" else THREAD_MB),
            "beat": (BEAT_MB, 0), "node": (NODE_MB, 0), "other": (OTHER_MB, 0)}[sort(app, process)]


def _round(value):
    return -(-int(value) // 16) * 16


def _process_mb(app, process, workers, memory_mb):
    """MiB that count for one copy of a process: what the model says, else what such a process is known to take."""
    if process["memory"]:
        return math.ceil(megabytes(process["memory"], memory_mb))
    base, each = _shape(app, process)
    need = base + each * workers
    return _round(need * CONTAINER_FACTOR) if app["runtime"] == "compose" else need


def _instances(process):
    """How many of it run while a deploy hands over."""
    return 1 if process["single"] else 2


def process_connections(app, process, workers):
    """:returns: int, the connections to the database of all copies of a process in one instance; a frontend has none"""
    each = {"server": workers * _threads(process), "celery": workers, "node": 0}.get(sort(app, process), 1)
    return each * process["count"]


def _uses_server(app):
    return app["database"]["engine"] in ("postgresql", "container", "external")


def _connections(app, level, memory_mb):
    """The most connections of an app while a deploy hands over."""
    if not _uses_server(app):
        return 0
    return ONE_OFF_CONNECTIONS + sum(process_connections(app, process, _workers(app, process, level, memory_mb)) * _instances(process)
                                     for process in app["processes"])


def _highest(top, fits):
    """The highest level up to ``top`` that fits, where a higher one never takes less; 1 when none does."""
    low, high = 1, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _connection_level(app, top, memory_mb):
    """The highest level up to ``top`` whose connections the database allows; 1 when there is none."""
    limit = app["database"]["connections"]
    return _highest(top, lambda level: not limit or _connections(app, level, memory_mb) <= limit)


def connection_findings(apps, memory_mb=0):
    """What no number of workers makes fit: the apps that want more connections than their database allows, even with one worker each.

    It needs no host, so preflight can say it before any is touched.

    :param apps: list of apps as model.load returns them
    :returns: list of str, a finding with the sum for each such app
    """
    found = []
    for app in apps:
        limit, total = app["database"]["connections"], _connections(app, 1, memory_mb)
        if not limit or total <= limit:
            continue
        terms, lower = [], []
        for process in app["processes"]:
            name, what, threads, count, times = process["name"], sort(app, process), _threads(process), process["count"], _instances(process)
            workers = _workers(app, process, 1, memory_mb)
            factors = [(workers, "worker", what in ("server", "celery")), (threads, "thread", what == "server" and threads > 1),
                       (count, "copies", count > 1), (times, "instances", times > 1)]
            told = [f"{number} {word}{'s' * (number > 1 and word in ('worker', 'thread'))}" for number, word, counts in factors if counts]
            lower += [f"{'count' if word == 'copies' else word + 's'} of {name}" for number, word, counts in factors[:3] if counts and number > 1]
            connections = process_connections(app, process, workers) * times
            terms += [f"{name} {' x '.join(told) or 1} = {connections}"] * (connections > 0)
        terms.append(f"commands {ONE_OFF_CONNECTIONS}")
        what = " or ".join(lower) if lower else "the number of processes"
        found.append(f"app {app['name']}: database.connections is {limit}, and a deploy, with its two instances, wants {total}: {', '.join(terms)}; "
                     f"{total} > {limit}: lower {what}, or raise database.connections to what the server allows")
    return found


def _upper(memory_mb):
    """A smooth bound above ``counted_memory_mb``: what counts must not jump by more than the memory that was added."""
    return max(STEP_MB, memory_mb + STEP_MB / 2)


def _places(count):
    return 1 << (count - 1).bit_length() if count else 1


def connection_limits(planned, max_connections, promised=None):
    """The most connections that each app may have, so that all of them at once leave every other its own.

    What is spare is divided evenly: an app that opens more than was planned for it (threads of an ASGI server) finds room, and takes none of another's.

    :param planned: dict of app to int, what the size plan counts for it in a deploy
    :param max_connections: int, those of the server
    :param promised: dict of app to int, ``database.connections`` of the model, which no app exceeds; 0 for no limit
    :returns: dict of app to int, at least what is planned; together at most max_connections less 8 where that is enough for the plan
    """
    spare = max(0, max_connections - RESERVED_CONNECTIONS - sum(planned.values())) // max(1, len(planned))
    return {name: max(count, min(count + spare, (promised or {}).get(name) or max_connections)) for name, count in planned.items()}


def _most(connections):
    """The max_connections of a server for so many: in steps, since another one is a restart."""
    wanted = connections + SPARE_CONNECTIONS
    return max(LEAST_CONNECTIONS, -(-wanted // 50) * 50)


class _Host:
    """The parts of a host and what each takes at a level of workers."""

    def __init__(self, memory_mb, cores, apps):
        self.memory, self.cores, self.apps = memory_mb, cores, apps
        self.top = 2 * cores + 1
        self.levels = {app["name"]: _connection_level(app, self.top, memory_mb) for app in apps}
        self.compose = any(app["runtime"] == "compose" for app in apps)
        self.databases = [app for app in apps if app["database"]["engine"] == "container"]
        self.on_host = [app for app in apps if app["database"]["engine"] == "postgresql"]
        self.caches = {engine: [app for app in apps if app["cache"]["engine"] == engine] for engine in ("redis", "container")}
        self.level = _highest(self.top, lambda level: self.total(level) <= memory_mb)

    def workers(self, app, process, level):
        return _workers(app, process, min(level, self.levels[app["name"]]), self.memory)

    def connections(self, app, level):
        return _connections(app, min(level, self.levels[app["name"]]), self.memory)

    def process_mb(self, app, process, level):
        return _process_mb(app, process, self.workers(app, process, level), self.memory)

    def reserve(self, memory):
        """MiB of a host with so much memory that no app may take: for the system, Docker, edges, and PostgreSQL and Redis without their connections."""
        found = SYSTEM_MB + DOCKER_MB * self.compose + sum(size for edge, size in EDGES_MB.items() if any(app["edge"] == edge for app in self.apps))
        shares = [0.5] * bool(self.on_host) + [self.database_share()] * len(self.databases)
        found += sum(max(32, min(memory * share / 4, 8192)) + max(32, min(memory * share / 16, 1024)) + POSTGRESQL_MB for share in shares)
        return found + sum(self.maxmemory(app, memory) + REDIS_MB for members in self.caches.values() for app in members)

    def app_limit(self, app):
        """MiB that all processes of an app may take together, also while a deploy runs two instances. What the model gives to processes is never cut."""
        # Whole steps, so that a kernel update changes no limit.
        memory = max(STEP_MB, self.memory // STEP_MB * STEP_MB)
        given = sum(megabytes(process["memory"], self.memory) * process["count"] * _instances(process) for process in app["processes"] if process["memory"])
        return math.ceil(max(memory * LEAST_APP_SHARE, memory - self.reserve(memory), given))

    def limit(self, app, process):
        """MiB at which one copy of a process is killed."""
        counted = self.process_mb(app, process, self.level)
        return counted if process["memory"] else max(counted, int(self.app_limit(app) * PROCESS_SHARE))

    def containers(self):
        """How many containers there are while a deploy hands over."""
        engines = [app[service]["engine"] for app in self.apps for service in ("database", "cache")]
        members = [process["count"] * _instances(process) for app in self.apps if app["runtime"] == "compose" for process in app["processes"]]
        return engines.count("container") + len({app["edge"] for app in self.apps} & set(EDGES_MB)) + sum(members)

    def overlap(self, app, level):
        """What a deploy of an app adds: the second instance and, with celery, its helper; before that, migrate and its like."""
        second = sum(self.process_mb(app, process, level) * process["count"] for process in app["processes"] if not process["single"])
        helper = ONE_OFF_MB * any(process["kind"] == "celery-worker" for process in app["processes"])
        return max(ONE_OFF_MB, second + helper)

    def database_share(self):
        return CONTAINER_DATABASE_SHARE / _places(len(self.databases))

    def maxmemory(self, app, memory_mb=None):
        """The maxmemory of an app's Redis, of a smooth memory where one is given."""
        if app["cache"]["memory"] != "auto":
            return megabytes(app["cache"]["memory"], self.memory)
        engine = app["cache"]["engine"]
        share = CONTAINER_CACHE_SHARE if engine == "container" else 0.25
        if memory_mb is None:
            return redis_memory_mb(self.memory, len(self.caches[engine]), share)
        return max(32, min(memory_mb * share / max(2, _places(len(self.caches[engine]))), 4096))

    def parts(self, level):
        """:returns: list of (name, MiB) that are there at once in a deploy, in the order in which one would tell them"""
        found = [("system", SYSTEM_MB)] + [("Docker", DOCKER_MB + SHIM_MB * self.containers())] * self.compose
        found += [(f"edge {edge}", size) for edge, size in EDGES_MB.items() if any(app["edge"] == edge for app in self.apps)]
        if self.on_host:
            shared = max(32, min(_upper(self.memory) * 0.5 / 4, 8192))
            found.append(("PostgreSQL", shared + POSTGRESQL_MB + BACKEND_MB * sum(self.connections(app, level) for app in self.on_host)))
        for app in self.apps:
            name = app["name"]
            if app["database"]["engine"] == "container":
                budget = _upper(self.memory) * self.database_share()
                found.append((f"{name} database", database_limit(max(32, min(budget / 4, 8192)), max(32, min(budget / 16, 1024)),
                                                                 self.connections(app, level)) + 16))
            if app["cache"]["engine"] in self.caches:
                size = self.maxmemory(app, _upper(self.memory))
                found.append((f"{name} Redis", size * REDIS_LIMIT_FACTOR + 2 * REDIS_MB + 16 if app["cache"]["engine"] == "container" else size + REDIS_MB))
            for process in app["processes"]:
                workers, label = self.workers(app, process, level), f"{name} {process['name']}"
                if sort(app, process) in ("server", "celery"):
                    label += f" with {workers} worker{'s' * (workers > 1)}"
                label += f" x {process['count']} copies" * (process["count"] > 1)
                found.append((label, self.process_mb(app, process, level) * process["count"]))
        if self.apps:
            size, name = max((self.overlap(app, level), app["name"]) for app in self.apps)
            found.append((f"a deploy of {name}", size))
        return found

    def total(self, level):
        return sum(size for _name, size in self.parts(level))


def _whole(parts):
    """The parts in whole MiB that add up to the whole of their sum."""
    sums = [0] + [math.ceil(round(sum(size for _name, size in parts[:end]), 6)) for end in range(1, len(parts) + 1)]
    return [(name, after - before) for (name, _size), before, after in zip(parts, sums, sums[1:])]


def database_limit(shared_buffers, maintenance_work_mem, connections):
    """:returns: float, MiB that count for PostgreSQL in a container: its shared memory, a VACUUM, its connections with a sort for each second one"""
    return shared_buffers + maintenance_work_mem + POSTGRESQL_MB + (BACKEND_MB + 2) * connections


def _database(host, app):
    connections = host.connections(app, host.level)
    settings = postgresql_settings(host.memory, host.cores, host.database_share(), _most(connections))
    need = _round(database_limit(int(settings["shared_buffers"][:-2]), int(settings["maintenance_work_mem"][:-2]), connections))
    return {"settings": settings, "max_connections": int(settings["max_connections"]), "memory": need,
            "limit": max(need, int(host.memory // STEP_MB * STEP_MB * DATABASE_LIMIT_SHARE))}


def _cache(host, app):
    maxmemory = int(host.maxmemory(app))
    memory = _round(maxmemory * REDIS_LIMIT_FACTOR + 2 * REDIS_MB) if app["cache"]["engine"] == "container" else maxmemory + REDIS_MB
    return {"maxmemory": maxmemory, "memory": memory, "limit": max(memory, int(host.memory // STEP_MB * STEP_MB * CACHE_LIMIT_SHARE))}


def _app(host, app):
    return {
        "processes": {process["name"]: {"workers": host.workers(app, process, host.level), "memory": host.process_mb(app, process, host.level),
                                       "limit": host.limit(app, process)} for process in app["processes"]},
        "limit": host.app_limit(app),
        "connections": host.connections(app, host.level),
        "database": _database(host, app) if app["database"]["engine"] == "container" else None,
        "cache": _cache(host, app) if app["cache"]["engine"] in host.caches else None,
    }


def minimum_findings(host, apps):
    """What a host lacks whatever its apps are sized to.

    :param host: as for ``plan``, also ``cpu`` (float, with the quota of a container), ``free`` (MiB) and ``first`` (nothing was set up here yet)
    :returns: list of str
    """
    database = any(app["database"]["engine"] == "container" for app in apps)
    gigabytes, why = (2, "a database in a container") if database else (1, "this collection")
    found = []
    if host.get("cpu", host["cores"]) < 1:
        found.append(f"cpu: {host['cpu']:g} of a core, and {why} needs 1 at least: give the server more")
    if host["memory"] < gigabytes * GB:
        found.append(f"memory: {host['memory']} MiB, and {why} needs {gigabytes} GB at least: give the server more")
    if host.get("first") and host.get("free", FREE_DISK_MB) < FREE_DISK_MB:
        found.append(f"disk: {host['free']} MiB are free on /, and a first set-up needs {FREE_DISK_MB}: free some, or give the server a larger disk")
    return found


def _warnings(host, apps, found):
    cores, memory, disk = PROFILES[0][1:]
    disk = disk if any(app["runtime"] == "compose" for app in apps) else 20
    lacks = [f"{host['cores']} core of {cores}"] * (host["cores"] < cores) + [f"{host['memory']} MiB of {memory} GB memory"] * (host["memory"] < memory * GB)
    lacks += [f"{host.get('disk', 0)} MiB of {disk} GB disk"] * (host.get("disk", disk * GB) < disk * GB)
    warnings = [f"below what is recommended: {', '.join(lacks)} (docs/sizing.md)"] if lacks and apps else []
    if not host.get("first") and host.get("free", FREE_DISK_MB) < FREE_DISK_MB:
        warnings.append(f"disk: only {host['free']} MiB are free on /")
    for app in apps:
        for process in app["processes"]:
            base, each = _shape(app, process)
            need = base + each * found.workers(app, process, found.level)
            if process["memory"] and megabytes(process["memory"], found.memory) < need:
                warnings.append(f"app {app['name']}: processes[{process['name']}].memory is {process['memory']}, and with its workers it takes about "
                                f"{need} MiB: raise memory or lower workers")
    return warnings


def plan(host, apps):
    """Size everything that one host runs, so that it fits its memory while a deploy runs two instances, and its databases' connections.

    Workers that are ``auto`` are 2 x cores + 1 for a server and one per core for celery, and fewer of both where that does not fit.

    :param host: dict of cores (int), memory (int, MiB as the kernel or a cgroup's limit says) and optionally disk (int, MiB in all), cpu, free
        and first (see ``minimum_findings``)
    :param apps: list of all apps of the host, as model.load returns them
    :returns: dict: profile (str), level (int), total (int, MiB counted), reserve (int, MiB of it that no app may take), parts (list
        of name and MiB), swap (int, MiB), findings and warnings (lists of str),
        postgresql (None, or settings, max_connections, and planned and limits, app to connections, of the host's), edges (dict of edge to MiB) and
        apps: name to connections (int), limit (of all its processes together), processes (name to workers, memory and limit of one copy), database (None, or
        settings, max_connections, memory and limit of its container) and cache (None, or maxmemory, memory and limit of its Redis), each in MiB.
        ``memory`` is what counts, ``limit`` where the kernel kills.
    :raises ValueError: for a host without cores or memory, or a size that is none
    """
    if host["cores"] < 1 or host["memory"] < 1:
        raise ValueError(f"a host has at least 1 core and 1 MB of memory, not {host['cores']} and {host['memory']}")
    found = _Host(host["memory"], host["cores"], apps)
    parts = _whole(found.parts(found.level))
    total = sum(size for _name, size in parts)
    findings = minimum_findings(host, apps)
    if total > host["memory"]:
        findings.append(f"memory: the apps need {total} MiB at least, and there are {host['memory']}: "
                        f"{', '.join(f'{name} {size}' for name, size in parts)}; {total} > {host['memory']}: give the server more, or lower workers, "
                        "count or memory of a process where they are given")
    planned = {app["name"]: found.connections(app, found.level) for app in found.on_host}
    connections = sum(planned.values())
    settings = postgresql_settings(host["memory"], host["cores"], max_connections=_most(connections)) if found.on_host else None
    return {
        "profile": profile(host), "level": found.level, "total": total, "reserve": math.ceil(found.reserve(found.memory)),
        "parts": parts, "swap": swap_mb(host["memory"]),
        "findings": findings + connection_findings(apps, host["memory"]), "warnings": _warnings(host, apps, found),
        "postgresql": {"settings": settings, "max_connections": int(settings["max_connections"]),
                       "planned": planned, "limits": connection_limits(planned, int(settings["max_connections"]),
                                                   {app["name"]: app["database"]["connections"] for app in found.on_host})} if settings else None,
        "edges": {edge: size for edge, size in EDGES_MB.items() if any(app["edge"] == edge for app in apps)},
        "apps": {app["name"]: _app(found, app) for app in apps},
    }
