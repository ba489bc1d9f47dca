# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and properties of module_utils/sizing.py."""

from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils.sizing import (
    counted_memory_mb,
    postgresql_settings,
    redis_memory_mb,
)

HOSTS = [(475, 1), (961, 1), (1967, 1), (3915, 2), (7946, 4), (15990, 8), (24105, 2), (257600, 64)]


def mb(value):
    assert value.endswith("MB")
    return int(value[:-2])


@pytest.mark.parametrize(
    ("memory", "counted"),
    [(1, 256), (475, 512), (961, 1024), (990, 1024), (1967, 2048), (3915, 3840), (3980, 4096), (7946, 7936), (24105, 24064)],
)
def test_memory_counts_in_steps(memory, counted):
    assert counted_memory_mb(memory) == counted


@pytest.mark.parametrize(
    ("memory", "cores", "share", "shared_buffers", "cache", "work_mem", "maintenance"),
    [
        (475, 1, 0.5, 64, 192, 4, 32),
        (961, 1, 0.5, 128, 384, 4, 32),
        (1967, 2, 0.5, 256, 768, 7, 64),
        (3980, 2, 0.5, 512, 1536, 15, 128),
        (3980, 2, 1, 1024, 3072, 30, 256),
        (24105, 2, 0.5, 3008, 9024, 64, 752),
        (257600, 64, 0.75, 8192, 144864, 64, 1024),
    ],
)
def test_postgresql_by_host(memory, cores, share, shared_buffers, cache, work_mem, maintenance):
    found = postgresql_settings(memory, cores, share)
    assert [mb(found[name]) for name in ("shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem")] == [
        shared_buffers,
        cache,
        work_mem,
        maintenance,
    ]


@pytest.mark.proves("2.80")
@pytest.mark.parametrize(("small", "large"), list(zip(HOSTS, HOSTS[1:])))
def test_more_memory_never_means_less(small, large):
    a, b = postgresql_settings(*small), postgresql_settings(*large)
    for name in ("shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem"):
        assert mb(a[name]) <= mb(b[name]), name
    assert mb(a["shared_buffers"]) < mb(b["shared_buffers"])
    assert redis_memory_mb(small[0], 1) <= redis_memory_mb(large[0], 1)


@pytest.mark.parametrize(("memory", "cores"), HOSTS)
@pytest.mark.parametrize("connections", [20, 100, 400])
def test_postgresql_stays_within_its_share(memory, cores, connections):
    found = postgresql_settings(memory, cores, 0.5, connections)
    budget = counted_memory_mb(memory) * 0.5
    assert mb(found["shared_buffers"]) + mb(found["maintenance_work_mem"]) <= budget
    if mb(found["work_mem"]) > 4:
        assert mb(found["shared_buffers"]) + connections * mb(found["work_mem"]) <= budget
    assert int(found["max_parallel_workers_per_gather"]) <= int(found["max_parallel_workers"])
    assert int(found["max_parallel_workers"]) <= int(found["max_worker_processes"])
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize("low", [*range(900, 1100, 20)])
def test_a_kernel_update_changes_nothing(low):
    assert postgresql_settings(low, 1) == postgresql_settings(1024, 1)


@pytest.mark.parametrize(
    ("memory", "instances", "limit"),
    [
        (475, 1, 64),
        (961, 1, 128),
        (961, 2, 128),
        (961, 3, 64),
        (961, 4, 64),
        (961, 9, 32),
        (3980, 1, 512),
        (24105, 2, 3008),
        (257600, 1, 4096),
    ],
)
def test_redis_by_host(memory, instances, limit):
    assert redis_memory_mb(memory, instances) == limit


@pytest.mark.parametrize(
    "call",
    [
        lambda: postgresql_settings(0, 1),
        lambda: postgresql_settings(1024, 0),
        lambda: postgresql_settings(1024, 1, 0),
        lambda: postgresql_settings(1024, 1, 1.1),
        lambda: postgresql_settings(1024, 1, 0.5, 0),
        lambda: redis_memory_mb(-1, 1),
        lambda: redis_memory_mb(1024, 0),
        lambda: redis_memory_mb(1024, 1, 0.6),
    ],
)
def test_figures_out_of_range_are_refused(call):
    with pytest.raises(ValueError, match="not"):
        call()
