# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of an app in containers: one lets run what ``live`` names, a timer brings back what is gone of it. Pure.

Docker's restart policy brings back what ended by itself. It brings back nothing after `docker kill`, `docker compose down` or a prune, and does not
know which release is live: that is the supervisor's (``supervisor``).
"""
from __future__ import annotations

import json

from ansible_collections.quayside.django.plugins.module_utils import docker_network, lock, units

KEEP_SECONDS = 10


def journal_files(app: dict) -> dict:
    """Return path under the folder of units -> text of what keeps the sockets open by which the app's containers log, to Docker alone.

    systemd's own unit closes them when no unit of systemd needs them, and opens them to everybody.
    """
    return {f"{units.journal_socket(app)}.d/quayside.conf": f"{units.mark(app)}\n[Unit]\nStopWhenUnneeded=no\n[Socket]\nSocketMode=0600\n"}


def umbrella(app: dict) -> str:
    """Return the unit of the whole app: it lets the live release run, at boot too, and stops every instance.

    The engine is a tool and not a parent: where it is stopped, restarted or killed, the containers run on, and so does this unit.
    """
    root, name = app["root"], app["name"]
    drain = max(process["drain"] for process in app["processes"]) + 5
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={name}: the live release",
        f"Wants=docker.service network-online.target {units.journal_socket(app)} {' '.join(timers(app))}",
        f"After=docker.service {units.journal_socket(app)} network-online.target postgresql.service redis-server@{name}.service",
        f"ConditionPathExists={root}/live/units", "",
        "[Service]", "Type=oneshot", "RemainAfterExit=yes", "Restart=on-failure", "RestartSec=5", f"TimeoutStopSec={drain + 10}",
        f"ExecStart={supervise(app, 'start')}", f"ExecStop={supervise(app, 'stop')}", f"ExecReload={supervise(app, 'reload')}",
        *supervised(app), "", "[Install]", "WantedBy=multi-user.target", ""])


def supervise(app: dict, verb: str) -> str:
    """Return the command of a unit by which the supervisor does something."""
    return f"/usr/bin/python3 {app['root']}/lib/supervisor.py {verb} {docker_network.file(app)}"


def supervised(app: dict) -> list[str]:
    """Return the directives of a unit that runs the supervisor. What it remembers lies in memory, and a unit that ends takes it not along."""
    return [f"SyslogIdentifier={app['name']}", f"RuntimeDirectory=quayside-supervisor/{app['name']}", "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes", *units.messenger(sees_processes=True)]


def keeper(app: dict) -> str:
    """Return the unit that brings back what is gone of the live release, while no deploy is at work and the app is not stopped."""
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={app['name']}: what is gone of the live release comes back",
        f"ConditionPathExists={app['root']}/live/units", "",
        "[Service]", "Type=oneshot", "LogLevelMax=notice", f"ExecStart={supervise(app, 'keep')}", *supervised(app), ""])


def supervisor_config(app: dict, networks: list[dict]) -> str:
    """Return what the supervisor reads. ``networks``: how the engine is asked to make those of the app."""
    return json.dumps({"app": app["name"], "root": app["root"], "lock": lock.path(app), "networks": networks,
                       "compose": ["docker", "compose", "--progress", "quiet"]}, indent=1) + "\n"


def timer(app: dict) -> str:
    """Return the timer of the keeper."""
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={app['name']}: looks whether all of the live release runs", f"PartOf={app['name']}.service", "",
        "[Timer]", f"OnActiveSec={KEEP_SECONDS}", f"OnUnitInactiveSec={KEEP_SECONDS}", "AccuracySec=1", ""])


def pruner(app: dict) -> str:
    """Return the unit that removes images which no kept release needs."""
    lib = f"{app['root']}/lib"
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={app['name']}: images that no kept release needs are removed", "After=docker.service", "",
        "[Service]", "Type=oneshot", f"SyslogIdentifier={app['name']}", f"ExecStart=/usr/bin/python3 {lib}/image_prune.py {lib}/images.json",
        *units.messenger(app["root"]), ""])


def pruner_timer(app: dict) -> str:
    """Return the timer of the pruner."""
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={app['name']}: once a day, images that no kept release needs are removed",
        f"PartOf={app['name']}.service", "", "[Timer]", "OnCalendar=daily", "RandomizedDelaySec=2h", "Persistent=true", ""])


def files(app: dict) -> dict:
    """Return file name -> text of all units of an app."""
    keep, prune = units.helper(app, "keep"), units.helper(app, "images")
    return {f"{app['name']}.service": umbrella(app), f"{keep}.service": keeper(app), f"{keep}.timer": timer(app),
            f"{prune}.service": pruner(app), f"{prune}.timer": pruner_timer(app), **journal_files(app)}


def timers(app: dict) -> list[str]:
    """Return the names of the app's timers."""
    return [f"{units.helper(app, verb)}.timer" for verb in ("keep", "images")]


def former_files(app: dict) -> list[str]:
    """Return the names that the helper units had while another app's name could be one of them."""
    return [f"{app['name']}-{verb}.{kind}" for verb in ("keep", "images") for kind in ("timer", "service")]


def prune_config(app: dict) -> str:
    """Return what the pruner reads."""
    repositories = sorted({image["repository"] for image in app["images"]})
    return json.dumps({"apps": [{"app": app["name"], "repositories": repositories, "keep": app["keep"], "root": app["root"],
                                 "lock": lock.path(app)}]}, indent=1) + "\n"
