#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure deploys of the bookshop against a deploy.sh (script-flow) on the same lab server, in turn. Usage: bench.py ROUNDS"""
from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "molecule" / "shared"))

from lab import BIN, ROOT, Load, servers  # noqa: E402 - the path has to be there first

# Memory of every process of the server, shared pages counted once (PSS), in KiB.
PSS = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {sum += $2} END {print sum}'"


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
    """Make or remove the server."""
    argv = [str(BIN / "ansible-playbook"), str(ROOT / "playbooks/lab.yml"), "-i", str(HERE / "inventory"), *words]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stdout[-4000:] + done.stderr)


def settled(server) -> None:
    """Wait until no old instance is left, so that each deploy begins alike."""
    server.until(lambda: "deactivating" not in server.inside("systemctl list-units --all --plain --no-legend 'bookshop-*@*'"), 60, "the old instance's end")


def script(server, *words: str) -> float:
    """Run the script on the server by ssh, as a deploy.sh is run; return its seconds."""
    began = time.monotonic()
    subprocess.run(server.ssh_argv("sudo", "/usr/local/sbin/script-flow", *words), check=True, capture_output=True, text=True)
    return time.monotonic() - began


def main() -> None:
    rounds = int(sys.argv[1])
    say("a new server, site.yml, the first deploy")
    lab("-e", "lab_state=fresh")
    server = servers(HERE)[0]
    rows = [("site.yml on a bare server", f"{server.play('site', timeout=1500).seconds:.1f} s")]
    noop = server.play("site")
    rows.append(("site.yml, nothing to do", f"{noop.seconds:.1f} s, {noop.count('ok')} tasks, changed={noop.count('changed')}"))
    rows.append(("first deploy (with the venv)", f"{server.deploy('v1').seconds:.1f} s"))
    time.sleep(5)
    rows.append(("memory idle: 3 web workers, a celery worker, beat, PostgreSQL, Redis, nginx", f"{int(server.inside(PSS)) / 1024:.0f} MiB"))
    subprocess.run(server.ssh_argv("sudo tee /usr/local/sbin/script-flow >/dev/null && sudo chmod 755 /usr/local/sbin/script-flow"), check=True,
                   input=(HERE / "script-flow").read_bytes())
    with Sampler(server) as sampler:
        server.deploy("v2")
        settled(server)
    rows.append(("memory at most during a deploy", f"{sampler.peak / 1024:.0f} MiB"))
    server.deploy("v1")
    settled(server)

    say("the script's app beside it")
    subprocess.run(server.ssh_argv("sudo", "/usr/local/sbin/script-flow", "set-up", f"{server.local['lab_git_url']}/bookshop.git"), check=True)
    times: dict = {"script": [], "deploy": [], "rollback": []}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        times["script"].append(script(server, "deploy", "v2"))
        script(server, "deploy", "v1")
        time.sleep(2)
        times["deploy"].append(server.deploy("v2").seconds)
        settled(server)
        times["rollback"].append(server.play("rollback").seconds)
        settled(server)

    say("both under 50 requests a second")
    failed = {}
    with Load(server, "--host", "pos.example.com") as load:
        script(server, "deploy", "v2")
    failed["script"] = load.report
    with Load(server) as load:
        server.deploy("v2")
    failed["deploy"] = load.report

    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, title in (("script", "deploy.sh, v1 to v2"), ("deploy", "deploy.yml, v1 to v2"), ("rollback", "rollback.yml")):
        rows.append((title, f"{middle[name]:.2f} s (of {rounds}: {min(times[name]):.2f} to {max(times[name]):.2f})"))
    rows.append(("deploy.yml against deploy.sh", f"{middle['deploy'] / middle['script']:.2f}"))
    rows.append(("rollback.yml against deploy.yml", f"{middle['rollback'] / middle['deploy']:.2f}"))
    for name, title in (("script", "deploy.sh"), ("deploy", "deploy.yml")):
        report = failed[name]
        rows.append((f"failed requests during {title}", f"{report['failed']} of {report['requests']}, p99 {report['p99']} ms"))
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds\n")
    width = max(len(title) for title, _ in rows)
    print("\n".join(f"| {title:<{width}} | {value} |" for title, value in rows))
    lab("-e", "lab_state=absent", "-e", "lab_scope=inventory")


if __name__ == "__main__":
    main()
