# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a process of an app back, what stops it, and what an operator's stop means: for both runtimes.

- What ``live`` names runs: whatever its processes ended with, they come back, at once by systemd or by Docker's restart policy.
- What nobody calls live and what does not drain is a leftover, and is stopped.
- What an operator has stopped stays so until the app is started again, its next release is live, or the host boots. systemd knows it of a unit. Of a
  container the engine tells it: ``docker stop`` is an operator's, unless a deploy did it; ``docker kill`` is a crash.

The rest is for containers. As a script, beside docker_engine.py and lock.py: ``python3 supervisor.py start|stop|reload|keep supervisor.json``; systemd runs
it for ``<app>.service`` and, every few seconds, for its keeper. The file is {"app", "root", "lock", "networks", "compose"}.
"""
from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

try:
    from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
    from ansible_collections.quayside.django.plugins.module_utils.lock import LEASE, host_started
except ImportError:  # a script on a host, beside its two neighbours
    sys.modules["ssl"] = None  # type: ignore[assignment]  # half of its CPU time; http.client does without, and the engine is a socket
    from docker_engine import Engine, EngineError
    from lock import LEASE, host_started

RESTART = ["Restart=always", "RestartSec=1"]  # for the unit of a process
LIVE, OTHER = "unless-stopped", "no"  # Docker's restart policies: for containers of the live release, and for all others
UP = ("running", "restarting", "paused", "removing")  # states of a container that has not ended
HELPER = re.compile(r"^quayside-(stop|replace)@(.+)-(\d{14}-[0-9a-f]{7})-\d+\.service\Z")
STOP = 86400  # seconds that the engine may take for a stop: it has the time of each container, and systemd that of all
MADE = 3600  # seconds after its begin: a release that is still being made was left by a deploy that died
ENGINE = "/run/docker.pid"  # written when the engine starts
KILLED = 137  # status of what SIGKILL has ended
LATE = 30  # seconds after its limit: a one-off is still there, so whoever was to end it has died


# What counts for both runtimes. Their states are systemd's words; Docker's opinion of a container's health may stand behind one.

def runs(state: str) -> bool:
    """Return whether a unit in this state runs or is about to: one that stops is no leftover, and an unhealthy one runs."""
    return state.split(" ")[0] in ("active", "activating")


def leftovers(live: str, running: Mapping[str, Mapping[str, str]], drains: Callable[[str], bool]) -> dict[str, list[str]]:
    """Return release -> units that a run which died has left: of no live release, and of none that drains.

    :param running: release -> unit -> state
    :param drains: whether a release is being stopped in the background
    """
    found = {release: [unit for unit, state in units.items() if runs(state)] for release, units in running.items() if release != live}
    return {release: units for release, units in found.items() if units and not drains(release)}


def at_work(app: str, listed: str) -> dict[str, set[str]]:
    """Return verb -> releases of the helper units of an app that work now: ``stop`` ends a release, ``replace`` hands single processes over to one.

    :param listed: what ``systemctl list-units --plain --no-legend`` prints
    """
    found: dict[str, set[str]] = {"stop": set(), "replace": set()}
    for line in listed.splitlines():
        match = HELPER.match(line.split(" ")[0])
        if match and match[2] == app:
            found[match[1]].add(match[3])
    return found


def list_helpers(app: str) -> dict[str, set[str]]:
    """Return ``at_work`` of this host."""
    argv = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "--state=activating,active", "--",
            *(f"quayside-{verb}@{app}-*.service" for verb in ("stop", "replace"))]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ, LC_ALL="C.UTF-8"))
    return at_work(app, done.stdout)


def is_active(app: str) -> bool:
    """Return whether the unit of an app is active: not while an operator stops it."""
    return subprocess.run(["systemctl", "is-active", "--quiet", "--", f"{app}.service"], check=False, stdin=subprocess.DEVNULL).returncode == 0


def idle(path: str, locks: str, now: float, started: float) -> bool:
    """Return whether no deploy is at work: no process holds the lock, and no run has renewed its lease just now.

    What an old lease says does not count, since the run that wrote it may have died; nor does one from before the boot, or from a clock that was wrong.
    The list of the kernel's locks is read: to try the lock would take it for a moment, and a deploy that begins then would be turned away.

    :param path: the file of the lock
    :param locks: text of /proc/locks
    :param started: when the host started, epoch seconds
    """
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return True
    held = re.search(rf"FLOCK .*:{state.st_ino} ", locks)
    return not held and (state.st_size == 0 or abs(now - state.st_mtime) > LEASE or state.st_mtime < started)


# Containers

class Container(NamedTuple):
    """A container of a release. ``started``, ``ended``: its last start and end, epoch seconds; long ago where there was none. ``status`` of that end."""

    name: str
    id: str
    release: str
    state: str
    policy: str = ""
    started: float = 0
    ended: float = 0
    status: int = 0


class Plan(NamedTuple):
    """Names of containers to make, to start, to give the policy of the live release, and to stop."""

    create: list[str]
    start: list[str]
    keep: list[str]
    stop: list[str]


def decide(units: list[str], known: Mapping[str, Container], stopped: Mapping[str, float], spared: Iterable[str]) -> Plan:
    """Return what has to be done so that the live release runs, and nothing else.

    :param units: names of the containers that the live release has on this host
    :param known: name -> container of all releases
    :param stopped: ids of the live release's containers that an operator has stopped
    :param spared: releases that are not live and go on all the same: they drain, or a deploy that may live has made them
    """
    create = [name for name in units if name not in known]
    down = [name for name in units if name in known and known[name].state not in UP and known[name].id not in stopped]
    keep = [name for name in units if name in create or known[name].policy != LIVE and known[name].id not in stopped]
    stop = [one.name for one in known.values() if one.name not in units and one.state in UP and one.release not in spared]
    return Plan(create, create + down, keep, stop)


def stopped_by_hand(before: Mapping[str, float], events: Iterable[Mapping[str, Any]], known: Iterable[Container]) -> dict[str, float]:
    """Return id -> when, of the containers that an operator has stopped and not started again.

    A deploy takes the policy of the live release from what it stops, so a stop of a container that still has it was not the deploy's.

    :param before: the same, as it was at the last look
    :param events: the engine's events of kind ``stop`` since then
    """
    times = {**before, **{one["Actor"]["ID"]: one["timeNano"] / 1e9 for one in events}}
    return {one.id: times[one.id] for one in known if times.get(one.id, 0) > one.started and one.state not in UP and one.policy == LIVE}


def epoch(text: str) -> float:
    """Return a time as the engine writes it in epoch seconds; nanoseconds have no place in a datetime.

    >>> epoch("2026-11-28T09:00:00.5Z") - epoch("2026-11-28T09:00:00Z")
    0.5
    """
    whole = datetime.datetime(*(int(number) for number in re.split("[-T:]", text[:19])), tzinfo=datetime.timezone.utc)
    return whole.timestamp() + float(f"0{text[19:].rstrip('Z')}" if text[19:20] == "." else 0)


def is_ended_by_hand(path: str) -> bool:
    """Return whether a person has ended a container, by the file that the engine keeps of it; no answer of its API has this."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file).get("HasBeenManuallyStopped", False)
    except (OSError, ValueError):
        return False


def services(units: list[str], project: str) -> list[str]:
    """Return the services of a compose project by the names of their containers."""
    return [name.removeprefix(f"{project}-").removesuffix("-1") for name in units]


class Supervisor:
    """The containers of an app on this host. ``config`` is what ``supervisor.json`` holds."""

    def __init__(self, config: dict, engine: Engine | None = None, folder: str = ""):
        self.config, self.engine = config, engine or Engine()
        self.app, self.root = config["app"], config["root"]
        self.file = f"{folder}/state.json" if folder else ""

    # What is there

    def live(self) -> str:
        """Return the id of the live release, empty when none is."""
        with contextlib.suppress(OSError):
            return os.path.basename(os.readlink(f"{self.root}/live"))
        return ""

    def read(self, release: str, name: str) -> str:
        """Return the text of a file of a release, empty when there is none."""
        with contextlib.suppress(OSError), open(f"{self.root}/releases/{release}/{name}", encoding="utf-8") as file:
            return file.read()
        return ""

    def is_made(self, release: str) -> bool:
        """Return whether a deploy that may live is making a release. It may wait for another host while its lease here is old."""
        try:
            record = json.loads(self.read(release, "release.json"))
        except ValueError:
            return False
        return record.get("outcome") == "building" and time.time() - record.get("began", 0) < MADE

    def containers(self) -> dict[str, Container]:
        """Return name -> container of all releases."""
        found = {}
        for one in self.engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={self.app}", "quayside.release"]}):
            name = one["Names"][0].lstrip("/")
            try:
                more = self.engine.get(f"/containers/{one['Id']}/json")
            except EngineError as error:
                if error.status == 404:  # it went meanwhile
                    continue
                raise
            state = more["State"]
            found[name] = Container(name, one["Id"], one["Labels"]["quayside.release"], state["Status"], more["HostConfig"]["RestartPolicy"]["Name"],
                                    epoch(state["StartedAt"]), epoch(state["FinishedAt"]), state["ExitCode"])
        return found

    def stops(self, since: float, until: float) -> list[dict]:
        """Return the engine's events of containers that were stopped; it keeps the last 256 events of all kinds."""
        filters = {"type": ["container"], "event": ["stop"], "label": [f"quayside.app={self.app}"]}
        said = self.engine.get("/events", since=f"{since:.9f}", until=f"{until:.9f}", filters=filters)
        return [said] if isinstance(said, dict) else [json.loads(line) for line in (said or "").splitlines()]

    def forgotten_stops(self, since: float, containers: Iterable[Container]) -> list[dict]:
        """Return, as events, the stops since the last look that an engine which was started anew after them no longer tells.

        Its file of a container says that a person ended it, and not how: a kill, which is a crash, has another status.
        """
        begun = 0.0
        with contextlib.suppress(OSError):
            begun = os.stat(ENGINE).st_mtime
        ended = [one for one in containers if one.state not in UP and since <= one.ended < begun and one.status != KILLED]
        folder = self.engine.get("/info")["DockerRootDir"] if ended else ""
        return [{"Actor": {"ID": one.id}, "timeNano": one.ended * 1e9} for one in ended if is_ended_by_hand(f"{folder}/containers/{one.id}/config.v2.json")]

    def idle(self) -> bool:
        """Return whether no deploy is at work."""
        with open("/proc/locks", encoding="ascii") as file:
            return idle(self.config["lock"], file.read(), time.time(), host_started())

    # What is remembered from one look to the next, until the host boots

    def recall(self) -> dict:
        """Return {seen: when the last look was, stopped: what an operator has stopped, away: whether the engine was}."""
        with contextlib.suppress(OSError, ValueError), open(self.file, encoding="utf-8") as file:
            return json.load(file)
        return {"seen": time.time(), "stopped": {}, "away": False}

    def remember(self, **state: Any) -> None:
        """Write what the next look needs."""
        if self.file:
            with open(f"{self.file}.new", "w", encoding="utf-8") as file:
                json.dump(state, file)
            os.replace(f"{self.file}.new", self.file)

    # What is done

    def make_networks(self) -> None:
        """Make those networks of the app again that somebody has removed, as they were."""
        for network in self.config["networks"]:
            if not self.engine.get("/networks", filters={"name": [f"^{network['Name']}$"]}):
                say(f"the network {network['Name']} was gone, it is made again")
                self.engine.post("/networks/create", network)

    def create(self, release: str, names: list[str]) -> None:
        """Make containers of a release as its compose project describes them."""
        path, project = f"{self.root}/releases/{release}/compose.yaml", f"{self.app}-{release}"
        argv = [*self.config["compose"], "-f", path, "up", "--no-start", "--no-deps", "--no-build", "--no-recreate", *services(names, project)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ, LC_ALL="C.UTF-8", HOME="/tmp"))
        if done.returncode:
            raise EngineError(0, f"docker compose could not make the containers of {release}: {done.stderr.strip()}")

    def start(self, release: str, name: str) -> None:
        """Start a container; one whose network was removed is made anew first."""
        try:
            self.engine.post(f"/containers/{name}/start")
        except EngineError as error:
            if "network" not in error.message or "not found" not in error.message:
                raise
            self.engine.delete(f"/containers/{name}", force=True)
            self.create(release, [name])
            self.engine.post(f"/containers/{name}/start")

    def carry_out(self, release: str, plan: Plan) -> list[str]:
        """Do what a plan says, with the live release at once and the others meanwhile; return what went wrong."""
        wrong: list[str] = []
        other = threading.Thread(target=lambda: wrong.extend(self.stop(plan.stop)))
        other.start()
        try:
            if plan.create or plan.start:
                self.make_networks()
            if plan.create:
                self.create(release, plan.create)
            for name in plan.start:
                wrong += attempt(name, lambda name=name: self.start(release, name))
            for name in plan.keep:
                wrong += attempt(name, lambda name=name: self.set_policy(name, LIVE))
        finally:
            other.join()
        return wrong

    def set_policy(self, name: str, policy: str) -> None:
        """Give a container a restart policy."""
        self.engine.post(f"/containers/{name}/update", {"RestartPolicy": {"Name": policy}})

    def stop(self, names: list[str]) -> list[str]:
        """Stop containers all at once, each within its own time; return what went wrong."""
        wrong: list[str] = []

        def end(name: str) -> None:
            wrong.extend(attempt(name, lambda: self.engine.call("POST", f"/containers/{name}/stop", timeout=STOP)))

        threads = [threading.Thread(target=end, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return wrong

    def end_late(self) -> None:
        """Stop one-offs whose time is over: whoever was to end them has died."""
        for one in self.engine.get("/containers/json", all=True, filters={"label": [f"quayside.app={self.app}", "quayside.until"]}):
            if float(one["Labels"]["quayside.until"]) + LATE < time.time():
                name = one["Names"][0].lstrip("/")
                say(f"{name} goes on after its time, or was left: it is ended")
                attempt(name, lambda one=one: self.engine.post(f"/containers/{one['Id']}/stop", None, t=10))
                attempt(name, lambda one=one: self.engine.delete(f"/containers/{one['Id']}", force=True))

    # What systemd asks for

    def do_start(self) -> int:
        """Let the live release run, and nothing else. What an operator had stopped is started too."""
        self.remember(seen=time.time(), stopped={}, away=False)
        if not self.idle():
            say("a deploy is at work: what it leaves is looked after when it has ended")
            return 0
        live = self.live()
        say(f"live is {live}")
        known = self.containers()
        plan = decide(self.read(live, "units").split(), known, {}, list_helpers(self.app)["stop"])
        return complain(self.carry_out(live, plan))

    def do_keep(self) -> int:
        """Bring back what is gone of the live release, unless an operator has stopped it; stop what was left of others."""
        before, now = self.recall(), time.time()
        try:
            known = self.containers()
            events = self.stops(before["seen"], now)
        except EngineError as error:
            if not before["away"]:
                say(f"the engine is away, and the containers run on without it: {error.message}")
            self.remember(**dict(before, away=True))
            return 0
        helpers, live = list_helpers(self.app), self.live()
        if not self.idle() or live in helpers["replace"] or not is_active(self.app):
            return 0
        units = self.read(live, "units").split()
        mine = [known[name] for name in units if name in known]
        stopped = stopped_by_hand(before["stopped"], [*events, *self.forgotten_stops(before["seen"], mine)], mine)
        for name in units:
            if name in known and known[name].id in stopped and known[name].id not in before["stopped"]:
                say(f"{name} was stopped by hand, and stays so until {self.app} is started again or has its next release")
        self.remember(seen=now, stopped=stopped, away=False)
        spared = helpers["stop"] | {one.release for one in known.values() if self.is_made(one.release)}
        plan = decide(units, known, stopped, spared)
        for name in plan.start:
            say(f"{name} was gone ({known[name].state if name in known else 'removed'}), it is started again")
        for name in plan.stop:
            say(f"{name} is of no live release: it is stopped")
        wrong = self.carry_out(live, plan)
        self.end_late()
        return complain(wrong)

    def do_stop(self) -> int:
        """Stop all instances of the app; what an engine that is away leaves running is told."""
        wrong: list[str] = []
        for _round in range(2):  # a look that had begun before may have started one
            try:
                names = [one.name for one in self.containers().values() if one.state in UP]
            except EngineError as error:
                say(f"nothing was stopped, the engine is away: {error.message}")
                return 0
            wrong = self.stop(names)
        return complain(wrong)

    def do_reload(self) -> int:
        """Restart all of the live release; what an operator had stopped is started too."""
        self.remember(seen=time.time(), stopped={}, away=False)
        live = self.live()
        known, units = self.containers(), self.read(live, "units").split()
        wrong = self.stop([name for name in units if name in known and known[name].state in UP])
        return complain(wrong + self.carry_out(live, decide(units, self.containers(), {}, [one.release for one in known.values()])))


def attempt(name: str, action: Callable[[], Any]) -> list[str]:
    """Do something to a container; return what went wrong."""
    try:
        action()
    except EngineError as error:
        return [f"{name}: {error.message}"]
    return []


def say(text: str) -> None:
    """Print a line for the journal, as a notice."""
    print(f"<5>{text}", flush=True)


def complain(wrong: list[str]) -> int:
    """Print what went wrong as errors; return the exit status."""
    for line in wrong:
        print(f"<3>{line}", flush=True)
    return 1 if wrong else 0


def main(argv: list[str] | None = None) -> int:
    """Do what systemd asks for; return the exit status."""
    verb, path = sys.argv[1:] if argv is None else argv
    with open(path, encoding="utf-8") as file:
        supervisor = Supervisor(json.load(file), folder=os.environ.get("RUNTIME_DIRECTORY", ""))
    try:
        return getattr(supervisor, f"do_{verb}")()
    except EngineError as error:
        return complain([error.message])


if __name__ == "__main__":
    sys.exit(main())
