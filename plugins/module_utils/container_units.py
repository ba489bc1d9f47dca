# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of an app in containers: one starts what ``live`` names, a timer brings back what was killed. Pure.

Docker's own restart policy brings a crashed container back. It does not come back by it after `docker kill`, nor after a boot: which
release comes back then is for the link to say.
"""
from __future__ import annotations

import json

from ansible_collections.quayside.django.plugins.module_utils import lock, units

KEEP_SECONDS = 10


def journal_files(app: dict) -> dict:
    """Return path under the folder of units -> text of what keeps the sockets open by which the app's containers log, to Docker alone.

    systemd's own unit closes them when no unit of systemd needs them, and opens them to everybody.
    """
    return {f"{units.journal_socket(app)}.d/quayside.conf": f"{units.mark(app)}\n[Unit]\nStopWhenUnneeded=no\n[Socket]\nSocketMode=0600\n"}


def umbrella(app: dict) -> str:
    """Return the unit of the whole app: it starts what ``live`` names, at boot too, and stops every instance."""
    root, name = app["root"], app["name"]
    drain = max(process["drain"] for process in app["processes"]) + 5
    mine = f"docker ps -q --filter label=quayside.app={name} --filter label=quayside.release"
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={name}: the live release", "Requires=docker.service",
        f"Wants=network-online.target {units.journal_socket(app)} {' '.join(timers(app))}",
        f"After=docker.service {units.journal_socket(app)} network-online.target postgresql.service redis-server@{name}.service",
        f"ConditionPathExists={root}/live/units", "",
        "[Service]", "Type=oneshot", "RemainAfterExit=yes", "Restart=on-failure", "RestartSec=5", f"TimeoutStopSec={drain + 10}",
        f"ExecStart=/bin/sh -c 'echo \"live is $$(readlink {root}/live)\"; exec docker start $$(cat {root}/live/units)'",
        f"ExecStop=/bin/sh -c 'mine=$$({mine}); [ -z \"$$mine\" ] || exec docker stop $$mine'",
        f"ExecReload=/bin/sh -c 'exec docker restart $$(cat {root}/live/units)'",
        f"SyslogIdentifier={name}", *units.messenger(), "", "[Install]", "WantedBy=multi-user.target", ""])


def idle(path: str) -> str:
    """Return the shell line that is true while no deploy is at work: no process holds the lock, and no run has renewed its lease just now.

    The list of the kernel's locks is read: to try the lock would take it for a moment, and a deploy that begins then would be turned away. What an old
    lease says does not count, since the run that wrote it may have died.
    """
    held = f'grep -q "FLOCK .*:$$(stat -c %%i {path}) " /proc/locks'
    renewed = f"[ $$(($$(date +%%s) - $$(stat -c %%Y {path}))) -lt {lock.LEASE} ]"
    return f"[ ! -s {path} ] || {{ ! {held} && ! {renewed}; }}"


def keeper(app: dict) -> str:
    """Return the unit that starts again what was killed of the live release, while no deploy is at work and the app is not stopped."""
    root, name = app["root"], app["name"]
    look = 'docker inspect --format "{{.Name}} {{.State.Status}} {{.State.ExitCode}}" ' + f"$$(cat {root}/live/units)"
    # 0 and 143 are ends that somebody asked for by `docker stop`.
    return "\n".join([
        units.mark(app), "[Unit]", f"Description={name}: what was killed of the live release comes back", f"ConditionPathExists={root}/live/units", "",
        "[Service]", "Type=oneshot", "LogLevelMax=notice", f"SyslogIdentifier={name}", f"ExecCondition=/bin/sh -c '{idle(lock.path(app))}'",
        f"ExecStart=/bin/sh -c '{look} | while read -r name state code; do case \"$$state $$code\" in \"exited 0\"|\"exited 143\"|running*|restarting*) ;; "
        "*) echo \"<5>$$name was gone ($$state $$code), it is started again\"; docker start \"$$name\" >/dev/null;; esac; done'",
        *units.messenger(sees_processes=True), ""])


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
