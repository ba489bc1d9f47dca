# SPDX-License-Identifier: GPL-3.0-or-later
"""Where code that is not ours runs during a deploy: transient units of systemd, with no right, a view of their own and an empty HOME.

Variables reach a unit by an environment file of root's in /run: an argument is seen by every user of the host, and so is what systemd-run's
--setenv writes (``systemctl show``). Programs of ours come by standard input, so that none lies on the disk where it could be stale.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator

from ansible_collections.quayside.django.plugins.module_utils import contained, env_file, host, units

RUNTIME = "/run/quayside"
GIT_USER = "quayside-git"
PYTHON = "/usr/bin/python3"
ANSWER_LIMIT = 64 * 2**20  # bytes
# Reads a program and its request from standard input, byte by byte as far as they go: what follows them is the program's own input.
BOOTSTRAP = """import json, os
def take(size):
    data = b""
    while len(data) < size:
        part = os.read(0, min(size - len(data), 65536))
        if not part:
            raise SystemExit("the program did not come whole")
        data += part
    return data
program = take(int(take(10)))
request = json.loads(take(int(take(10))))
exec(compile(program, "quayside", "exec"), {"__name__": "__main__", "REQUEST": request})
"""
# What a build needs beyond the sandbox of a process: node and compilers write memory that they execute, and ask for cores and interfaces.
BUILDS_NEED = {"MemoryDenyWriteExecute", "ProcSubset"}
BUILDS_CHANGE = {"~@privileged @resources": "~@privileged", "AF_UNIX AF_INET AF_INET6": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"}
# sandbox.relax of the app model never takes these from a build.
KEPT = {"NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem", "ProtectHome", "PrivateTmp"}
# What serves comes first.
POLITE = ["CPUWeight=20", "IOWeight=20"]
# The largest file that a build, or a RUN of an image, can make: a sparse one takes no disk, but whatever copies or packs it reads and writes all of its zeros.
FILE_LIMIT = "16G"
# All that git sees of the host: programs, settings that hold no secret, and how names are resolved.
SYSTEM = ["/usr", "/etc", "-/bin", "-/sbin", "-/lib", "-/lib32", "-/lib64", "-/run/systemd/resolve"]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A transient unit: its name, whose rights it has, where it starts, seconds after which it is ended, and its other directives."""

    name: str
    user: str
    folder: str
    timeout: int
    properties: tuple

    def argv(self, command: list[str], environment: str = "") -> list[str]:
        """Return the argv that runs ``command`` in it and waits; ``environment`` is the path of an environment file."""
        # Without a description systemd logs the command as one.
        argv = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={self.name}", f"--description={self.name}", "--service-type=exec",
                f"--property=User={self.user}", f"--property=WorkingDirectory={self.folder}", f"--property=RuntimeMaxSec={self.timeout}",
                "--property=UMask=0027", "--property=KillMode=control-group"]
        argv += [f"--property=EnvironmentFile={environment}"] * bool(environment)
        return [*argv, *(f"--property={line}" for line in self.properties), "--", *command]

    def shown(self, folder: str, place: str) -> Unit:
        """Return this unit with a folder of the host that it sees at another path and cannot write to."""
        return dataclasses.replace(self, properties=(*self.properties, f"BindReadOnlyPaths={folder}:{place}"))


def real_root(app: dict) -> str:
    """Return the app's root on the host, also where ``app`` is the shadow that check mode builds in."""
    return app["shared"].rpartition("/")[0]


def build(app: dict, writable: list[str], neighbours: list[dict]) -> tuple:
    """Return the directives of the sandbox of a build. ``writable``: folders, each as ``path`` or ``path:where it is seen``; all else below the app's
    root is not there.

    ``neighbours``: the apps of the host, whose roots are closed.
    """
    relax = (BUILDS_NEED | set(app["sandbox"]["relax"])) - KEPT
    lines = [f"{name}={BUILDS_CHANGE.get(value, value)}" for name, value in units.SANDBOX if name not in relax]
    others = sorted({other["root"] for other in neighbours} - {app["root"], real_root(app)})
    closed = ["/etc/quayside", "/var/cache/quayside", RUNTIME, "/run/postgresql", f"/run/redis-{app['name']}", "/run/docker.sock", *others]
    seen = [path.rpartition(":")[2] for path in writable]
    return (*lines, f"TemporaryFileSystem={real_root(app)}:ro", *(f"BindPaths={path}" for path in writable), f"ReadWritePaths={' '.join(seen)}",
            "InaccessiblePaths=" + " ".join(f"-{path}" for path in closed), f"LimitFSIZE={FILE_LIMIT}", *POLITE)


def git(mirror: str) -> tuple:
    """Return the directives of the sandbox of git: it sees the system, its mirror, and nothing else.

    ProtectSystem=strict would bring the host's own root back over the empty one (seen with systemd 252); all that is bound here but the mirror is read-only.
    """
    lines = [f"{name}={value}" for name, value in units.SANDBOX if name not in ("ProtectSystem", "ProtectHome")]
    return (*lines, "MountAPIVFS=yes", "TemporaryFileSystem=/:ro", *(f"BindReadOnlyPaths={path}" for path in SYSTEM), f"BindPaths={mirror}",
            f"ReadWritePaths={mirror}", "InaccessiblePaths=-/etc/quayside", *POLITE)


def leaf(path: str, user: str, mode: int = 0o700) -> str:
    """Make sure that ``path`` is a folder that only ``user`` writes to; what anybody else has put there is removed. Return the path."""
    uid, gid = host.ids(user)
    have = contained.state(path)
    if have is not None and have.st_uid != uid:
        contained.remove(path)
    contained.folder(path, mode, uid, gid)
    return path


@contextlib.contextmanager
def runtime_file(text: str) -> Iterator[str]:
    """Yield the path of a file of root's in memory; it is gone afterwards."""
    contained.folder(RUNTIME, 0o700)
    path = f"{RUNTIME}/{secrets.token_hex(8)}"
    contained.write(path, text, 0o600)
    try:
        yield path
    finally:
        contained.remove(path)


def run(unit: Unit, command: list[str], env: dict) -> subprocess.CompletedProcess:
    """Run a command in a unit with these variables; return what came of it."""
    with runtime_file(env_file.render(env)) as environment:
        return host.run(unit.argv(command, environment), check=False, timeout=unit.timeout + 60)


@contextlib.contextmanager
def started(unit: Unit, module, request: dict, feed: Callable | None = None, env: dict | None = None) -> Iterator[subprocess.Popen]:
    """Start one of our programs in a unit and yield its process, whose output is to be read; raise PhaseError when it fails.

    ``feed`` is called with a file for the program's input, in a thread of its own; what it raises is raised here.
    """
    source, asked = module.__loader__.get_source(module.__name__).encode(), json.dumps(request).encode()
    failed: list[Exception] = []

    def send(stream) -> None:
        try:
            with stream:
                stream.write(b"%010d%b%010d%b" % (len(source), source, len(asked), asked))
                if feed:
                    feed(stream)
        except BrokenPipeError:
            pass  # the program ended, and says why
        except Exception as error:
            failed.append(error)

    with runtime_file(env_file.render(env or {})) as environment, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(unit.argv([PYTHON, "-I", "-c", BOOTSTRAP], environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                                   env=host.LOCALE, cwd="/")
        sender = threading.Thread(target=send, args=(process.stdin,))
        sender.start()
        try:
            yield process
        finally:
            process.stdout.close()
            status = process.wait()
            sender.join()
        if failed:
            raise failed[0]
        if status:
            said.seek(0)
            raise host.PhaseError(f"{unit.name} ended with {status}", said.read().decode("utf-8", "replace"), f"journalctl -u {unit.name} --no-pager")


def program(unit: Unit, module, request: dict, feed: Callable | None = None, env: dict | None = None) -> dict:
    """Run one of our programs in a unit, as ``started`` does, and return its answer; raise PhaseError with the ``error`` in it."""
    with started(unit, module, request, feed, env) as process:
        output = process.stdout.read(ANSWER_LIMIT)
    try:
        answer = json.loads(output)
    except ValueError as error:
        raise host.PhaseError(f"{unit.name} gave no answer", output[-2000:].decode("utf-8", "replace")) from error
    if answer.get("error"):
        raise host.PhaseError(answer["error"], answer.get("log", ""), answer.get("look", ""))
    return answer
