# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of the cgroup of a process, version 1 or 2."""


def command(pid: int, controller: str, first: str, second: str) -> str:
    """Return the shell line that prints a file of a process's cgroup, by its names in version 1 and in version 2."""
    return ("while IFS=: read -r _ names path; do case $names in "
            f"'') if [ -e /sys/fs/cgroup/cgroup.controllers ]; then cat /sys/fs/cgroup$path/{second}; fi;; "
            f"{controller}) cat /sys/fs/cgroup/{controller}$path/{first};; esac; done < /proc/{pid}/cgroup")


def memory_limit(server, pid: int) -> int:
    """Return the most memory of a process and what it starts, in bytes; 0 where there is no limit."""
    text = server.inside(command(pid, "memory", "memory.limit_in_bytes", "memory.max"))
    return int(text) if text != "max" and int(text) < 1 << 60 else 0


def process_limit(server, pid: int) -> int:
    """Return the most processes of a process and what it starts; 0 where there is no limit."""
    text = server.inside(command(pid, "pids", "pids.max", "pids.max"))
    return 0 if text == "max" else int(text)


def memory_kills(server, pid: int) -> int | None:
    """Return how often the kernel has ended one of them for memory, None when the process is gone."""
    lines = server.inside(f"{command(pid, 'memory', 'memory.oom_control', 'memory.events')} 2>/dev/null", check=False).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
