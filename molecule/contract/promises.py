# SPDX-License-Identifier: GPL-3.0-or-later
"""The promises of a runtime and an edge: a row each, asserted by tests/ on each combination of inventory/hosts.yml, and told by docs/contract.md."""
from __future__ import annotations

import dataclasses
import pathlib

import yaml

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Combination:
    """A runtime and an edge, and the server of the lab that has them."""

    server: str
    runtime: str
    edge: str

    def __str__(self) -> str:
        return f"{self.runtime} + {self.edge}"


@dataclasses.dataclass(frozen=True)
class Gap:
    """Why a promise cannot be kept by a runtime or by an edge; an empty one stands for all."""

    why: str
    runtime: str = ""
    edge: str = ""


@dataclasses.dataclass(frozen=True)
class Promise:
    """One row: what happens, and what holds then."""

    name: str
    kept: str
    engine: bool = False          # it is about a container engine, which only some runtimes have
    quick: bool = False           # part of every test run, on one combination
    gaps: tuple[Gap, ...] = ()

    def applies(self, combination: Combination) -> bool:
        """Return whether the row means anything for a combination."""
        return not self.engine or combination.runtime in ENGINES

    def gap(self, combination: Combination) -> Gap | None:
        """Return why a combination cannot keep it, None where it does."""
        return next((gap for gap in self.gaps if gap.runtime in ("", combination.runtime) and gap.edge in ("", combination.edge)), None)


ENGINES = ("compose",)  # runtimes whose processes run in a container engine
PROMISES = (
    Promise("deploy", "0 requests are lost, under load. A release that is broken, sick or cannot migrate never goes live, "
                      "and leaves all as it was."),
    Promise("rollback", "0 requests are lost, under load."),
    Promise("drain", "Requests that are under way or queued at the old instance are answered: at one sync worker with a full "
                     "queue, and at a server that ends at once when it is told to.", quick=True),
    Promise("deploy within a drain", "An instance that still answers is not taken for a leftover, and nothing is cut off.",
            quick=True),
    Promise("health", "A release goes live when each of its workers has answered, not one of them."),
    Promise("exit 0", "A process that ends well comes back within 15 s.", quick=True),
    Promise("exit 1", "A process that fails comes back within 15 s, each time.", quick=True),
    Promise("kill -9", "A process that is killed comes back within 10 s."),
    Promise("OOM kill", "A process that the kernel kills for memory, itself or a child of it, runs again within 15 s. "
                        "`doctor` names it, and the field `memory`."),
    Promise("kill by hand", "`docker kill`, `systemctl kill -s KILL`: the process comes back within 30 s.", quick=True),
    Promise("reboot", "After a reboot or a power loss the site answers within 20 s of the boot, and then all of the live "
                      "release runs."),
    Promise("engine restart", "`systemctl restart docker`: 0 requests are lost, no process is started anew, a task under way "
                              "runs once.", engine=True, quick=True),
    Promise("engine stop", "`systemctl stop docker.socket docker`, later a start: the site answers all along, and nothing "
                           "needs a hand.", engine=True),
    Promise("engine crash", "`kill -9` of dockerd: 0 requests are lost, no process is started anew, the next deploy works.",
            engine=True, quick=True),
    Promise("stop by hand", "What `systemctl stop APP`, or the stop of one unit or container, has stopped stays so, also over "
                            "a restart of the engine, and comes back when it is started.", quick=True),
    Promise("prune by hand", "`docker system prune -f` takes nothing that is live, or that a stopped app needs to start again. "
                             "What `docker compose down` has removed comes back within a minute.", engine=True),
    Promise("time-out of a one-off", "A command of a deploy that takes longer than its own `timeout` fails the deploy, and "
                                     "nothing of it goes on.", quick=True),
    Promise("single processes", "There are never two beats, also while a deploy hands over. Ticks are at most 10 s apart, of "
                                "a schedule of 5 s."),
    Promise("tasks under way", "Each task runs once, over deploys, rollbacks and failing deploys."),
    Promise("static files", "The hashed files of the release before are served."),
    Promise("media", "What was uploaded is served after a deploy, a rollback and a reboot."),
    Promise("logs", "The output of all processes goes to a journal of the app's own, whose size has a limit, and to no file but "
                    "what Docker keeps for `docker logs`, which has a limit too."),
    Promise("limits", "The kernel limits how many processes each one has, and its memory where the model says a number; in "
                      "containers always."),
)
# Server -> the rows that all tests of the row have been seen to pass on it; the others have yet to run there, or to run whole.
SEEN = {
    "ct-systemd": ("drain", "deploy within a drain", "exit 0", "exit 1", "kill by hand", "stop by hand"),
    "ct-compose": ("drain", "deploy within a drain", "health", "exit 0", "exit 1", "kill -9", "OOM kill", "kill by hand", "engine restart", "engine stop",
                   "engine crash", "stop by hand", "prune by hand", "time-out of a one-off", "media", "logs", "limits"),
    "ct-traefik": ("drain", "deploy within a drain", "health", "exit 0", "exit 1", "kill -9", "OOM kill", "kill by hand", "reboot", "engine restart",
                   "engine stop", "engine crash", "stop by hand", "prune by hand", "time-out of a one-off", "media", "logs", "limits"),
}


def combinations() -> list[Combination]:
    """Return the combinations of the inventory, in its order."""
    hosts = yaml.safe_load((HERE / "inventory/hosts.yml").read_text(encoding="utf-8"))["all"]["children"]["contract"]["hosts"]
    return [Combination(name, values["contract_runtime"], values["contract_edge"]) for name, values in hosts.items()]


def of_day(day: int) -> Combination:
    """Return the combination whose turn it is on a day, a number that grows by one each day."""
    columns = combinations()
    return columns[day % len(columns)]


def promise(name: str) -> Promise:
    """Return a promise by its name; raise KeyError when there is none."""
    return {one.name: one for one in PROMISES}[name]


def page() -> str:
    """Return the text of docs/contract.md."""
    columns = combinations()
    lines = [HEAD, "| | | " + " | ".join(f"{one.runtime}<br>{one.edge}" for one in columns) + " |", "|---|---|" + ":---:|" * len(columns)]
    notes: list[str] = []
    for row in PROMISES:
        marks = []
        for column in columns:
            gap = row.gap(column)
            if not row.applies(column):
                marks.append("–")
            elif gap is None:
                marks.append("✓" if row.name in SEEN.get(column.server, ()) else "○")
            else:
                if gap.why not in notes:
                    notes.append(gap.why)
                marks.append(f"✗ {notes.index(gap.why) + 1}")
        lines.append(f"| **{row.name}** | {row.kept} | " + " | ".join(marks) + " |")
    legend = "✓ kept, seen by this scenario. ○ built to be kept, and not yet seen by it. – does not apply: there is no container engine."
    lines += ["", legend + (" ✗ cannot be kept:" if notes else "")]
    lines += ["", *(f"{number}. {why}" for number, why in enumerate(notes, 1))] if notes else []
    return "\n".join(lines) + "\n" + TAIL


HEAD = """\
# The contract of runtimes and edges

What holds on every server, whatever runs the processes and whatever takes the requests. The scenario `contract` asserts each row on each combination:

```sh
scripts/test contract                          # all of it, on four servers
QUAYSIDE_SERVER=ct-traefik scripts/test contract
scripts/test contract-quick                    # some rows on one combination, another one each day
```

This page is written by `scripts/contract-doc` from `molecule/contract/promises.py`; change it there.
"""
TAIL = """
## Another runtime or edge

A line in `molecule/contract/inventory/hosts.yml`. Where it cannot keep a promise, a `Gap` with the reason goes into
that row of `promises.py`. The tests of the row have to fail there then, so a reason that is no longer true is found.
"""
