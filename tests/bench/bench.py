#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure deploys of the bookshop against what a team without us runs on the same lab server, in turn. Usage: bench.py ROUNDS [systemd|compose]"""
from __future__ import annotations

import copy
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "molecule" / "shared"))

from lab import BIN, ROOT, Load, Server  # noqa: E402 - the path has to be there first

# Memory of every process of the server, those in containers too, shared pages counted once (PSS), in KiB.
PSS = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {sum += $2} END {print sum}'"


class Part:
    """A server, and the flow that we are measured against: a script beside this file that knows `set-up` and `deploy VERSION`."""

    def __init__(self, name: str, flow: str, title: str, stack: str):
        self.flow, self.title, self.stack = flow, title, stack
        self.server = Server(HERE / "inventory", name)

    def prepare(self) -> None:
        """Do what has to be there before site.yml."""

    def set_up(self) -> None:
        """Put the flow's own app beside the bookshop and deploy v1 of it."""
        self.run("set-up", f"{self.server.local['lab_git_url']}/bookshop.git")

    def load(self) -> Load:
        """Return load on the flow's app."""
        return Load(self.server, "--host", "pos.example.com")

    def install(self) -> None:
        """Put the script onto the server."""
        subprocess.run(self.server.ssh_argv(f"sudo tee /usr/local/sbin/{self.flow} >/dev/null && sudo chmod 755 /usr/local/sbin/{self.flow}"), check=True,
                       input=(HERE / self.flow).read_bytes())

    def run(self, *words: str, said: str = "") -> float:
        """Run the script on the server by ssh, as its users do; return its seconds."""
        began = time.monotonic()
        done = subprocess.run(self.server.ssh_argv("sudo", f"/usr/local/sbin/{self.flow}", *words), check=False, capture_output=True, text=True, input=said)
        if done.returncode:
            sys.exit(f"{self.flow} {words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return time.monotonic() - began

    def settled(self) -> None:
        """Wait until no old instance is left, so that each deploy begins alike."""
        self.server.until(lambda: len(self.server.instances()) == 1, 60, "the old instance's end")


class Containers(Part):
    """The same for containers: images come from the lab's registry."""

    def prepare(self) -> None:
        for version in ("v1", "v2"):
            subprocess.run([str(ROOT / "scripts/lab"), "push", "bookshop", version], check=True, stdout=subprocess.DEVNULL)

    def set_up(self) -> None:
        local = self.server.local
        self.run("set-up", f"{local['lab_registry']}/bookshop", local["lab_registry_user"], said=local["lab_registry_password"])

    def load(self) -> Load:
        beside = copy.copy(self.server)
        beside.url = f"{self.server.url}:8081"
        return Load(beside)


PARTS = {"systemd": (Part, "bench1", "script-flow", "deploy.sh", "3 web workers, a celery worker, beat, PostgreSQL, Redis, nginx"),
         "compose": (Containers, "bench2", "compose-flow", "up --force-recreate", "4 web workers, PostgreSQL and Redis in containers, Docker, nginx")}


class Sampler:
    """The most memory that the server took while the block ran."""

    def __init__(self, server):
        self.server, self.peak, self.ended = server, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.ended.set()
        self.thread.join()

    def sample(self):
        while not self.ended.is_set():
            self.peak = max(self.peak, int(self.server.inside(PSS)))


def say(text: str) -> None:
    """Print progress."""
    print(f"-- {text}", flush=True)


def lab(*words: str) -> None:
    """Make or remove the servers."""
    argv = [str(BIN / "ansible-playbook"), str(ROOT / "playbooks/lab.yml"), "-i", str(HERE / "inventory"), *words]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stdout[-4000:] + done.stderr)


def alone(part: Part) -> list[tuple[str, str]]:
    """Bring the bookshop up on a bare server; return what was measured."""
    server = part.server
    rows = [("site.yml on a bare server", f"{server.play('site', timeout=1500).seconds:.1f} s")]
    noop = server.play("site")
    rows.append(("site.yml, nothing to do", f"{noop.seconds:.1f} s, {noop.count('ok')} tasks, changed={noop.count('changed')}"))
    rows.append(("first deploy", f"{server.deploy('v1').seconds:.1f} s"))
    noop = server.deploy("v1")
    rows.append(("deploy.yml, nothing to do", f"{noop.seconds:.1f} s, changed={noop.count('changed')}"))
    time.sleep(5)
    rows.append((f"memory idle: {part.stack}", f"{int(server.inside(PSS)) / 1024:.0f} MiB"))
    with Sampler(server) as sampler:
        server.deploy("v2")
        part.settled()
    rows.append(("memory at most during a deploy", f"{sampler.peak / 1024:.0f} MiB"))
    server.deploy("v1")
    part.settled()
    return rows


def in_turn(part: Part, rounds: int) -> list[tuple[str, str]]:
    """Measure the flow and ours in turn, v1 to v2; return what was measured."""
    server, times = part.server, {"flow": [], "deploy": [], "rollback": []}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        times["flow"].append(part.run("deploy", "v2"))
        part.run("deploy", "v1")
        time.sleep(2)
        times["deploy"].append(server.deploy("v2").seconds)
        part.settled()
        times["rollback"].append(server.play("rollback").seconds)
        part.settled()
    middle = {name: statistics.median(found) for name, found in times.items()}
    rows = [(title, f"{middle[name]:.2f} s (of {rounds}: {min(times[name]):.2f} to {max(times[name]):.2f})")
            for name, title in (("flow", f"{part.title}, v1 to v2"), ("deploy", "deploy.yml, v1 to v2"), ("rollback", "rollback.yml"))]
    return rows + [(f"deploy.yml against {part.title}", f"{middle['deploy'] / middle['flow']:.2f}"),
                   ("rollback.yml against deploy.yml", f"{middle['rollback'] / middle['deploy']:.2f}")]


def under_load(part: Part) -> list[tuple[str, str]]:
    """Deploy both under 50 requests a second; return what their users saw."""
    with part.load() as flow:
        part.run("deploy", "v2")
    with Load(part.server) as ours:
        part.server.deploy("v2")
    return [(f"failed requests during {title}", f"{report['failed']} of {report['requests']}, p99 {report['p99']} ms")
            for title, report in ((part.title, flow.report), ("deploy.yml", ours.report))]


def measure(name: str, rounds: int) -> None:
    """Measure one part and print its table."""
    say(f"{name}: a new server, site.yml, the first deploy")
    kind, host, *words = PARTS[name]
    lab("-e", "lab_state=fresh", "-e", f'{{"lab_servers": ["{host}"]}}')
    part = kind(host, *words)
    part.prepare()
    rows = alone(part)
    say(f"the app of {part.flow} beside it")
    part.install()
    part.set_up()
    rows += in_turn(part, rounds)
    say("both under 50 requests a second")
    rows += under_load(part)
    print(f"\n{name}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds\n")
    width = max(len(title) for title, _ in rows)
    print("\n".join(f"| {title:<{width}} | {value} |" for title, value in rows) + "\n", flush=True)
    lab("-e", "lab_state=absent", "-e", "lab_scope=inventory")


def main() -> None:
    for name in sys.argv[2:] or PARTS:
        if name not in PARTS:
            sys.exit(f"there is no part {name}: one of {', '.join(PARTS)}")
        measure(name, int(sys.argv[1]))


if __name__ == "__main__":
    main()
