# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the units or containers of a live release, for doctor and status alike. Pure.

``seen`` is what ``Runtime.describe`` returns; what a process is comes from the model.
"""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils import cgroup
from ansible_collections.quayside.django.plugins.module_utils.doctor import finding

NEAR = 0.9  # of the limit; cached files, which the kernel gives back, do not count
MB = 2 ** 20


def findings(app: dict, seen: list[dict]) -> list[dict]:
    """Return what is wrong with each unit or container of the live release."""
    known = {process["name"]: process for process in app["processes"]}
    found: list[dict] = []
    for one in seen:
        process = known.get(one["process"])
        found += state(app, one) + memory(app, one, process) + volumes(app, one) + (content(app, one, process) if process else [])
    return found


def services(app: dict, seen: list[dict]) -> list[dict]:
    """Return what is wrong with the containers of an app's database and cache; ``seen`` is what ``Runtime.describe_services`` returns."""
    fixes = {"process.ended": "run quayside.django.site, which starts it",
             "process.killed": "its limit follows the memory of the host: give the server more, or lower workers and with them connections (docs/sizing.md)"}
    fixes["process.memory"] = fixes["process.killed"]
    return [dict(one, fix=fixes.get(one["code"], one["fix"])) for container in seen for one in state(app, container) + memory(app, container, None)]


def of(app: dict, one: dict, code: str, severity: str, reason: str, fix: str) -> dict:
    """Return a finding of a unit or container."""
    return finding(code, severity, f"app {app['name']}: {one['name'].removesuffix('.service')}", reason, fix, app["name"])


def logs(app: dict, one: dict) -> str:
    """Return the command that shows why a process ended."""
    return f"journalctl --namespace='*' -t {app['name']}-{one['process'] or '*'} -n 100"


def state(app: dict, one: dict) -> list[dict]:
    """Return that it does not run, does not stay up, or is not healthy."""
    if one["runs"] in ("inactive", "failed", "missing", "paused"):
        how = one["state"] if one["runs"] in ("missing", "paused") else f"{one['state']}, status {one['status']}"
        return [of(app, one, "process.ended", "error", f"it does not run ({how})",
                   f"systemctl start {app['name']}; why it ended is in {logs(app, one)}")]
    found = []
    if one["runs"] == "activating":
        found.append(of(app, one, "process.restarting", "error", f"it does not stay up: it was restarted {times(one['restarts'])}", f"see {logs(app, one)}"))
    elif one["restarts"]:
        found.append(of(app, one, "process.restarting", "warning", f"it ended by itself and was restarted {times(one['restarts'])} since it was made",
                        f"see {logs(app, one)}"))
    if one["health"] == "unhealthy":
        found.append(of(app, one, "process.unhealthy", "error", "Docker's health check fails",
                        f"docker inspect --format '{{{{json .State.Health}}}}' {one['name']} shows the last answers"))
    return found


def times(number: int) -> str:
    """Return a number of times in words."""
    return "once" if number == 1 else f"{number} times"


def memory(app: dict, one: dict, process: dict | None) -> list[dict]:
    """Return that the kernel has killed some of it for memory, or will soon."""
    what = cgroup.advice(process) if process else "raise its memory in the app model"
    if one["kills"] or one["killed"]:
        return [of(app, one, "process.killed", "error", cgroup.told(one), what)]
    if one["limit"] and one["used"] >= NEAR * one["limit"]:
        return [of(app, one, "process.memory", "warning",
                   f"it takes {one['used'] // MB} MiB of the {one['limit'] // MB} at which the kernel kills some of it", what)]
    return []


def volumes(app: dict, one: dict) -> list[dict]:
    """Return the volumes that nobody has named, which the image makes for itself."""
    if not one["volumes"]:
        return []
    return [of(app, one, "process.volume", "warning", f"its image declares a VOLUME at {', '.join(one['volumes'])}: what is written there is gone with "
               "the next release", "name the folder in folders of the app model, with this path, or remove VOLUME from the Dockerfile")]


def content(app: dict, one: dict, process: dict) -> list[dict]:
    """Return where another program runs than the model says, or behind a shell that hands no signal on."""
    runs = cgroup.kind(one["commands"])
    found = []
    if runs and process["kind"] != runs:
        found.append(of(app, one, "process.kind", "error" if runs == "celery-beat" and not process["single"] else "warning",
                        f"it is a {runs}, and the model says {process['kind']}: a deploy handles it as such",
                        f"set processes[{process['name']}].kind: {runs}, then deploy"))
    if cgroup.lacks_exec(one["commands"]):
        found.append(of(app, one, "process.exec", "warning", "a shell is its first process, which hands no signal on: what it has begun is killed when it is "
                        "told to end", "let the start script end with `exec PROGRAM`"))
    return found


def room(app: dict, seen: list[dict], sizes: dict, reserve: int, total: int) -> list[dict]:
    """Return that a deploy, with its second instance, will not fit the memory, by what the processes take now.

    ``sizes``: process -> memory (MiB) that the plan counts for one copy; ``reserve``: MiB for system and services; ``total``: MiB of the host.
    """
    single = {process["name"]: process["single"] for process in app["processes"]}
    used: dict = {}
    for one in seen:
        used[one["process"]] = used.get(one["process"], 0) + one["used"] // MB
    wanted = sum(size * (1 if single.get(name) else 2) for name, size in used.items())
    if not used or wanted + reserve <= total:
        return []
    shown = ", ".join(f"{name} {size} MiB (counted: {sizes.get(name, {}).get('memory', 0)} a copy)" for name, size in sorted(used.items()))
    return [finding("memory.short", "warning", f"app {app['name']}: memory", f"a deploy runs two instances, which take {wanted} MiB by what the live one takes "
                    f"now, beside {reserve} for system and services: {wanted + reserve} of {total}: {shown}",
                    "lower workers in the app model, or give the server more memory (docs/sizing.md)", app["name"])]


def leftovers(app: dict, running: dict, live: str, draining: set[str]) -> list[dict]:
    """Return the releases that run beside the live one without an end. ``running`` as ``Runtime.running`` returns it; ``draining``: those told to end."""
    found, verb = [], "docker stop" if app["runtime"] == "compose" else "systemctl stop"
    for release, states in sorted(running.items()):
        units = sorted(unit for unit, state in states.items() if state.startswith(("active", "activating")))
        if units and release != live and release not in draining:
            found.append(finding("release.leftover", "warning", f"app {app['name']}: release {release}",
                                 f"it is not live, and runs all the same: {', '.join(units)}",
                                 f"a run that died has left it: the next deploy stops it, or by hand {verb} {' '.join(units)}", app["name"]))
    return found


def unused_volumes(names: list[str]) -> list[dict]:
    """Return the volumes that the engine has named itself and that no container uses."""
    return [finding("volumes.unused", "note", "Docker", f"{len(names)} volumes without a name are used by no container: images with a VOLUME have left them",
                    "docker volume prune, which removes these and none with a name")] if names else []
