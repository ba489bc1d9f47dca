# Copyright: (c) 2026, the quayside.django authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a host a service takes. Pure functions: numbers in, settings out."""

from __future__ import annotations

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


def workers(cores, memory_mb, share=0.35, worker_mb=90):
    """Workers of a Django server: 2 x cores + 1, as gunicorn's documentation starts from, capped by memory.

    A worker of a usual project takes 50 to 90 MiB (150 MiB for three were measured), and a deploy runs two instances at once.

    :param cores: CPUs of the host, an int above 0
    :param memory_mb: MemTotal in MiB, an int above 0
    :param share: the part of the memory for one instance's workers, above 0 and at most 0.5
    :param worker_mb: MiB for each worker
    :returns: int, at least 2
    """
    return max(2, min(2 * cores + 1, int(counted_memory_mb(memory_mb) * share / worker_mb)))
