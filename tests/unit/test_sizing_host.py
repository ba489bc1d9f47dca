# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a host is: the machine, or the limits of its cgroups in either version."""

from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host
from ansible_collections.quayside.django.plugins.modules import host_size

NONE = "9223372036854771712"  # what version 1 says without a limit
V1 = "5:memory:/docker/abc/init.scope\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc/init.scope\n0::/docker/abc/init.scope\n"
V2 = "0::/init.scope\n"


def tree(folder, member, files):
    """Write a tree of cgroups; return the arguments that make ``limits`` read it."""
    (folder / "member").write_text(member, encoding="ascii")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text + "\n", encoding="ascii")
    return str(folder), str(folder / "member")


@pytest.mark.proves("3.04", "4.17")
@pytest.mark.parametrize(("member", "files", "memory", "cpu"), [
    (V2, {}, [], []),
    (V2, {"memory.max": "max", "cpu.max": "max 100000"}, [], []),
    (V2, {"memory.max": "2147483648", "cpu.max": "150000 100000"}, [2 ** 31], [1.5]),
    ("0::/lxc/shop/init.scope\n", {"lxc/shop/memory.max": "2147483648", "lxc/memory.max": "4294967296"}, [2 ** 31, 2 ** 32], []),
    (V1, {"memory/memory.limit_in_bytes": NONE, "memory/docker/abc/memory.limit_in_bytes": "2147483648",
          "memory/docker/abc/init.scope/memory.limit_in_bytes": NONE, "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000",
          "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, [2 ** 31], [1.0]),
    (V1, {"memory/docker/abc/memory.limit_in_bytes": NONE, "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1",
          "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, [], []),
    ("", {"memory.max": "1"}, [], []),
])
def test_the_limits_of_each_level_are_found(tmp_path, member, files, memory, cpu):
    arguments = tree(tmp_path, member, files)
    assert host.limits("memory", *arguments) == memory
    assert host.limits("cpu", *arguments) == cpu


@pytest.mark.proves("3.04", "4.17")
@pytest.mark.parametrize(("limits", "cores", "memory"), [
    ({"memory": [2 ** 31], "cpu": [1.0]}, 1, 2048), ({"memory": [2 ** 31, 2 ** 30], "cpu": [0.5]}, 1, 1024),
    ({"memory": [3 * 2 ** 29 + 1.0], "cpu": []}, 8, 1536),
    ({"memory": [2 ** 50], "cpu": [64.0]}, 8, 3915),
])
def test_the_smallest_limit_is_the_size(monkeypatch, tmp_path, limits, cores, memory):
    monkeypatch.setattr(host, "limits", limits.get)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _pid: set(range(8)))
    (tmp_path / "meminfo").write_text(f"MemTotal: {3915 * 1024 + 700} kB\nMemFree: 1 kB\n", encoding="ascii")
    real = open
    monkeypatch.setattr("builtins.open", lambda path, *args, **more: real(tmp_path / "meminfo" if path == "/proc/meminfo" else path, *args, **more))
    found = host.size()
    assert found == (cores, memory)
    assert [type(number) for number in found] == [int, int]


@pytest.mark.parametrize(("marks", "first"), [([], True), (["/does/not/exist"], True), (["/does/not/exist", "/"], False)])
def test_the_module_gives_facts_and_changes_nothing(monkeypatch, marks, first):
    seen = {}

    class Module:
        def __init__(self, **_options):
            self.params = {"marks": marks}

        def exit_json(self, **result):
            seen.update(result)

    monkeypatch.setattr(host_size, "AnsibleModule", Module)
    host_size.main()
    facts = seen["ansible_facts"]["quayside_host"]
    assert (seen["changed"], facts["first"]) == (False, first)
    assert (facts["cores"], facts["memory"]) == host.size()
    assert facts["cpu"] > 0
    assert 0 <= facts["free"] <= facts["disk"]
