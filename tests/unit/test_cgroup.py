# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel's files say of the memory and the processes of a unit or a container, of both versions of cgroups."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import cgroup, host

MB = 2 ** 20
V2 = {"memory.current": f"{300 * MB}\n", "memory.max": f"{512 * MB}\n", "memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
      "memory.events": "low 0\nhigh 0\nmax 5\noom 2\noom_kill 2\noom_group_kill 0\n", "cgroup.procs": "42\n41\n"}
V1 = {"memory.usage_in_bytes": f"{300 * MB}\n", "memory.limit_in_bytes": f"{512 * MB}\n",
      "memory.stat": f"inactive_file 7\ntotal_inactive_file {100 * MB}\n", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
      "cgroup.procs": "42\n41\n"}
LINES = {1: "4:cpu,cpuacct:/shop\n9:memory:/shop.slice/web\n1:name=systemd:/other\n", 2: "0::/shop.slice/web\n"}


def kernel(tmp_path, version, files, members=None):
    """Make the files of a process 42 in the cgroup shop.slice/web; return root and proc."""
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    place = root / ("memory" if version == 1 else "") / "shop.slice" / "web"
    place.mkdir(parents=True)
    if version == 2:
        (root / "cgroup.controllers").write_text("cpu memory\n")
    for name, text in files.items():
        (place / name).write_text(text)
    for pid, words in (members or {42: []}).items():
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "cgroup").write_text(LINES[version])
        (proc / str(pid) / "cmdline").write_text("".join(f"{word}\0" for word in words))
    return {"root": str(root), "proc": str(proc)}


@pytest.mark.parametrize(("version", "files"), [(1, V1), (2, V2)])
def test_memory_without_cached_files_and_kills_of_any_process(tmp_path, version, files):
    assert cgroup.memory(42, **kernel(tmp_path, version, files)) == {"used": 200 * MB, "limit": 512 * MB, "kills": 2}


KILLED = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/{0},task_memcg=/{0},task=python,pid=28652,uid=993"
UNIT = "pos.slice/pos-web@20261128000000-aaaaaaa.service"


@pytest.mark.parametrize(("journal", "buffer", "kills"), [
    ([UNIT, UNIT, "docker/4f5c"], None, {UNIT.rpartition("/")[2]: 2, "4f5c": 1}),
    ([], ["docker/4f5c", "system.slice/docker-ab12.scope/init"], {"4f5c": 1, "ab12": 1}),
    ([], [], {"4f5c": 0}),
], ids=["journal", "the buffer of the kernel", "none"])
def test_a_kill_of_a_main_process_is_in_the_log_of_the_kernel(monkeypatch, journal, buffer, kills):
    logs = {"journalctl": [KILLED.format(place) for place in journal], "dmesg": [f"[47503.562168] {KILLED.format(place)}" for place in buffer or []]}
    asked = []

    def run(argv, **_how):
        asked.append(argv[0])
        return type("Done", (), {"stdout": "\n".join(["[1.2] eth0: up", *logs[argv[0]]])})()

    monkeypatch.setattr(host, "run", run)
    found = cgroup.past_kills()
    assert {name: found[name] for name in kills} == kills
    assert asked == (["journalctl"] if buffer is None else ["journalctl", "dmesg"])


@pytest.mark.parametrize(("version", "files"), [
    (1, {**V1, "memory.limit_in_bytes": "9223372036854771712\n", "memory.oom_control": "oom_kill_disable 0\n"}),
    (2, {**V2, "memory.max": "max\n", "memory.events": ""}),
])
def test_no_limit_and_no_kill_is_zero(tmp_path, version, files):
    assert cgroup.memory(42, **kernel(tmp_path, version, files)) == {"used": 200 * MB, "limit": 0, "kills": 0}


def test_of_what_is_gone_nothing_is_known(tmp_path):
    where = kernel(tmp_path, 2, V2)
    assert cgroup.memory(43, **where) == {} and cgroup.commands(43, **where) == []


def test_the_main_process_comes_first(tmp_path):
    where = kernel(tmp_path, 2, V2, {41: ["sleep", "9"], 42: ["/bin/sh", "/start"]})
    assert cgroup.commands(42, **where) == [["/bin/sh", "/start"], ["sleep", "9"]]


@pytest.mark.parametrize(("lines", "kind"), [
    ([["/bin/sh", "/start"], ["/usr/bin/python3", "/usr/local/bin/celery", "-A", "x", "worker", "-l", "INFO"]], "celery-worker"),
    ([["python", "-m", "celery", "-A", "x", "beat"]], "celery-beat"),
    ([["[celeryd: pos-worker-1@host:MainProcess] -active- (-A pos worker -l INFO)"]], "celery-worker"),
    ([["/venv/bin/python", "/venv/bin/celery", "-A", "worker", "flower"]], ""),
    ([["/venv/bin/python", "/venv/bin/gunicorn", "x"]], "server"), ([["gunicorn: master [x]"]], "server"), ([["uwsgi", "--ini", "x"]], "server"),
    ([["python", "manage.py", "bot"]], ""), ([], ""),
])
def test_what_runs_says_what_it_is(lines, kind):
    assert cgroup.kind(lines) == kind


@pytest.mark.parametrize(("lines", "lacks"), [
    ([["/bin/sh", "/start"], ["celery"]], True), ([["/sbin/docker-init", "--", "/start"], ["bash", "/start"], ["celery"]], True),
    ([["celery"], ["celery"]], False), ([["/sbin/docker-init", "--", "celery"], ["celery"]], False), ([["/bin/sh", "/loop"]], False), ([], False),
])
def test_a_shell_before_the_program_hands_no_signal_on(lines, lacks):
    assert cgroup.lacks_exec(lines) is lacks
