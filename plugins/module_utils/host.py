# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins do on a host: run a command, run one in the app's name and sandbox, write a file, read the host's size."""
from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import threading
from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import contained, last_words

# How root touches files: see ``contained``.
write, text, folder, link, remove, sync_folder = (contained.write, contained.text, contained.folder, contained.link, contained.remove, contained.sync_folder)

LOCALE = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
LOG_LINES = 15
JOURNAL = "journalctl --namespace='*'"  # that of the host, and those of the apps
ONE_OFF_STOP = 10  # seconds that a one-off has to end when its time is over
BUILD_LINES = 40  # the cause stands above the stack of whoever ran it


class PhaseError(Exception):
    """A step failed: why, the last lines of its log, and the command that shows more; ``phase`` when it is not that of the caller."""

    def __init__(self, reason: str, log: str = "", look: str = "", phase: str = "", lines: int = LOG_LINES):
        super().__init__(reason)
        self.reason, self.look, self.phase = reason, look, phase
        self.whole = log  # of which ``log`` is the end
        self.log = "\n".join(log.strip().splitlines()[-lines:])


def run(argv: list[str], check: bool = True, timeout: float | None = 120, env: dict | None = None, cwd: str | None = None) -> subprocess.CompletedProcess:
    """Run a program of the host's as root with a fixed locale; raise PhaseError with its output when it fails and ``check``.

    What is not ours, or reads what an app has written, runs in a sandbox instead (``sandbox``).
    """
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", timeout=timeout,
                              env=dict(LOCALE, **(env or {})), cwd=cwd or "/", stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise PhaseError(f"`{' '.join(argv[:6])}` did not end within {timeout:.0f} s") from error
    except FileNotFoundError as error:
        raise PhaseError(f"{argv[0]} is not installed: run quayside.django.site for this host first") from error
    if check and done.returncode:
        raise PhaseError(f"`{' '.join(argv[:6])}` ended with {done.returncode}", done.stderr or done.stdout)
    return done


def watched(argv: list[str], tell: Callable[[str], None], timeout: float, env: dict) -> subprocess.CompletedProcess:
    """Run a program and call ``tell`` with each line that it prints, as it prints it; raise TimeoutExpired after ``timeout`` seconds."""
    lines: list[str] = []
    late: list[bool] = []
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env,
                          start_new_session=True) as process:
        def end() -> None:
            late.append(True)
            os.killpg(process.pid, signal.SIGKILL)  # its children too, which would hold the pipe

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            for line in process.stdout:
                lines.append(line)
                tell(line)
            process.wait()
        finally:
            timer.cancel()
    if late:
        raise subprocess.TimeoutExpired(argv, timeout, "".join(lines))
    return subprocess.CompletedProcess(argv, process.returncode, "".join(lines))


def systemctl(*words: str, check: bool = True, timeout: float | None = 120) -> subprocess.CompletedProcess:
    """Run systemctl."""
    return run(["systemctl", *words], check=check, timeout=timeout)


def journal(unit: str, since: float, lines: int = LOG_LINES) -> str:
    """Return what a unit logged since a time (seconds of the epoch), as far as it says why it ended."""
    done = run(["journalctl", "--namespace=*", "-u", unit, "--since", f"@{since:.0f}", "-n", str(last_words.LINES), "-o", "cat", "--no-pager"], check=False)
    return last_words.cause(done.stdout, lines)


def one_off_argv(app: dict, properties: list[str], command: list[str], name: str, timeout: int, folder: str,
                 env: dict | None = None, env_files: list[str] | None = None) -> list[str]:
    """Return the argv that runs ``command`` as the app's user in a transient unit: systemd ends it with all its children."""
    argv = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={name}", "--service-type=exec",
            f"--property=User={app['user']}", f"--property=Group={app['user']}", f"--property=WorkingDirectory={folder}",
            f"--property=RuntimeMaxSec={timeout}", f"--property=TimeoutStopSec={ONE_OFF_STOP}", "--property=UMask=0027", "--property=KillMode=control-group"]
    argv += [f"--property=EnvironmentFile={path}" for path in env_files or []]
    argv += [f"--property={line}" for line in properties]
    argv += [f"--setenv={key}={value}" for key, value in (env or {}).items()]
    return argv + ["--"] + command


def size() -> tuple[int, int]:
    """Return cores and memory in MiB of this host, both at least 1. A container has those of its limits, not those of the machine."""
    with open("/proc/meminfo", encoding="ascii") as file:
        total = next(int(line.split()[1]) for line in file if line.startswith("MemTotal:")) * 1024
    return max(1, int(cpu())), max(1, int(min([total, *limits("memory")]) // 2 ** 20))


def cpu() -> float:
    """Return how many cores this host may use, as a fraction where a quota says so."""
    return min([float(len(os.sched_getaffinity(0))), *limits("cpu")])


def limits(controller: str, root: str = "/sys/fs/cgroup", member: str = "/proc/1/cgroup") -> list[float]:
    """Return the limits that the cgroups of the first process set: bytes for ``memory``, cores for ``cpu``. Empty without any.

    The first process, since that of a module may be in a session or a unit with limits of its own. Each level up to the root counts.
    """
    found = []
    for line in text(member).splitlines():
        _number, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        folder = f"{root}/{names}".rstrip("/")
        while True:
            found += [limit for limit in [cgroup_limit(controller, f"{folder}/{path.strip('/')}".rstrip("/"))] if limit]
            if not path.strip("/"):
                break
            path = os.path.dirname(path.rstrip("/"))
    return found


def cgroup_limit(controller: str, folder: str) -> float:
    """Return the limit of one cgroup of either version, 0 when it sets none."""
    if controller == "memory":
        value = text(f"{folder}/memory.max").strip() or text(f"{folder}/memory.limit_in_bytes").strip()
        return float(value) if value.isdigit() and int(value) < 2 ** 60 else 0  # version 1 says "none" by nearly 2^63
    words = text(f"{folder}/cpu.max").split() or [text(f"{folder}/cpu.cfs_quota_us").strip(), text(f"{folder}/cpu.cfs_period_us").strip()]
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) else 0


def port_is_free(port: int) -> bool:
    """Return True when nothing listens on a TCP port of localhost."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ids(user: str) -> tuple[int, int]:
    """Return uid and gid of a user; raise PhaseError when the host has none such."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise PhaseError(f"the user {user} does not exist here: run quayside.django.site for this host first") from error
    return entry.pw_uid, entry.pw_gid
