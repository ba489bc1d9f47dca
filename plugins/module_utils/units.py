# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of an app: a template for each process, one unit for the whole, and the sandbox of both. Pure.

``%i`` is always the id of a release, so a deploy writes no unit and needs no daemon-reload unless the model has changed.
"""
from __future__ import annotations

import os
import re

from ansible_collections.quayside.django.plugins.module_utils import drain, local_packages, model, outbound, processes, shell_line, supervisor


def mark(app: dict) -> str:
    """Return the first line of every unit of an app: it tells whose the file is."""
    return f"# Written by quayside.django for the app {app['name']}; the app model decides what stands here."


def helper(app: dict, verb: str, *more: str) -> str:
    """Return the name, without its suffix, of a unit that does something for an app: no app and no process of one can have it.

    An app's own units are ``<app>.service`` and ``<app>-<process>@<release>.service``, and no app's name begins with ``quayside``.
    ``more``: what tells this one from others with the same verb, such as the id of a release. What systemd takes in no name becomes a line.
    """
    return re.sub(r"[^A-Za-z0-9:_.@-]", "_", f"quayside-{verb.replace('@', '_')}@{'-'.join([app['name'], *more])}")


# `systemd-analyze security` rates a unit with these at 1.2 to 1.5. @chown: gunicorn gives its socket an owner.
SANDBOX = [
    ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", ""), ("AmbientCapabilities", ""), ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"), ("PrivateTmp", "yes"), ("PrivateDevices", "yes"), ("PrivateUsers", "yes"), ("ProtectHostname", "yes"),
    ("ProtectClock", "yes"), ("ProtectKernelTunables", "yes"), ("ProtectKernelModules", "yes"), ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"), ("ProtectProc", "invisible"), ("ProcSubset", "pid"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"), ("RestrictNamespaces", "yes"), ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"), ("LockPersonality", "yes"), ("MemoryDenyWriteExecute", "yes"), ("RemoveIPC", "yes"),
    ("KeyringMode", "private"), ("SystemCallArchitectures", "native"), ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"), ("SystemCallFilter", "@chown"), ("SystemCallErrorNumber", "EPERM"),
    # Secrets are in the memory of a process, and an image of it would lie in its folder.
    ("LimitCORE", "0"),
]

# For units of ours that run as root and only tell systemd or Docker what to do, over a socket of this host.
MESSENGER = [
    ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", ""), ("ProtectSystem", "strict"), ("ProtectHome", "yes"), ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"), ("PrivateNetwork", "yes"), ("IPAddressDeny", "any"), ("ProtectHostname", "yes"), ("ProtectClock", "yes"),
    ("ProtectKernelTunables", "yes"), ("ProtectKernelModules", "yes"), ("ProtectKernelLogs", "yes"), ("ProtectControlGroups", "yes"),
    ("ProtectProc", "invisible"), ("ProcSubset", "pid"), ("RestrictAddressFamilies", "AF_UNIX"), ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"), ("RestrictSUIDSGID", "yes"), ("LockPersonality", "yes"), ("MemoryDenyWriteExecute", "yes"),
    ("KeyringMode", "private"), ("SystemCallArchitectures", "native"), ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged"), ("SystemCallErrorNumber", "EPERM"), ("UMask", "0077"), ("LimitCORE", "0"),
]


# Programs that compile while they run, into memory that is written and then executed.
COMPILES = {"node", "npm", "npx", "pnpm", "yarn", "bun", "deno", "java", "pypy", "pypy3", "luajit"}


def messenger(writable: str = "", sees_processes: bool = False, network: str = "") -> list[str]:
    """Return the directives of the sandbox of a unit that only sends messages, with a folder that may be written to.

    ``network``: the path of a network namespace whose sockets it sees, in the place of an empty one.
    """
    left_out = {"ProtectProc", "ProcSubset"} if sees_processes else set()
    left_out |= {"PrivateNetwork", "RestrictAddressFamilies"} if network else set()
    found = [f"{name}={value}" for name, value in MESSENGER if name not in left_out]
    found += [f"NetworkNamespacePath={network}", "RestrictAddressFamilies=AF_UNIX AF_NETLINK"] if network else []
    return found + ([f"ReadWritePaths={writable}"] if writable else [])


def sandbox(app: dict, writable: list[str], command: str = "") -> list[str]:
    """Return the directives of the sandbox of a command, with the folders that may be written to."""
    if not app["sandbox"]["enabled"]:
        return []
    relax = set(app["sandbox"]["relax"])
    if command and shell_line.words(command)[0].rsplit("/", 1)[-1] in COMPILES:
        relax.add("MemoryDenyWriteExecute")
    lines = [f"{name}={value}" for name, value in SANDBOX if name not in relax] + outbound_directives(app)
    # shared/ is root's: what can be written there are the leaves. In check mode nothing may change, but SQLite writes beside its file to read it.
    shared = app["shared"] if not app.get("rehearsal") else os.path.dirname(model.sqlite_path(app)) if app["database"]["engine"] == "sqlite" else ""
    return lines + ["ReadWritePaths=" + " ".join([shared] * bool(shared) + writable + app["sandbox"]["writable"])]


def outbound_directives(app: dict) -> list[str]:
    """Return the directives that close private networks and the provider's metadata service to a command of the app."""
    return outbound.directives(app)


def journal(app: dict) -> list[str]:
    """Return the directives by which all that an app says goes into a journal of its own, where it pushes out nobody's lines but its own.

    A limit of rate would not do: it counts lines, and one may have megabytes. ``journalctl --namespace='*'`` reads all journals.
    """
    return [f"LogNamespace={app['name']}"]


def journal_socket(app: dict) -> str:
    """Return the unit of the sockets of the app's journal."""
    return f"systemd-journald@{app['name']}.socket"


def journal_files(app: dict) -> dict:
    """Return path under the folder of units -> text of what closes the sockets of the app's journal to other apps: systemd opens them to everybody."""
    return {f"{journal_socket(app)}.d/quayside.conf": f"{mark(app)}\n[Socket]\nSocketMode=0660\nSocketGroup={app['user']}\n"}


def journal_limits(size: str, days: int, keep_free: str) -> str:
    """Return the settings of the journal of one app: the most that it takes and leaves of the disk, as journald writes sizes, and how long it is kept."""
    return ("# Written by quayside.django.\n[Journal]\nStorage=persistent\nCompress=yes\n"
            f"SystemMaxUse={size}\nSystemKeepFree={keep_free}\nMaxRetentionSec={days}day\n")


# Of the CPU, when all want it: a single process has nobody beside it while a deploy hands over, so it starts and ends before the busy ones have their turn.
# As systemd counts (100 is usual). Seen on two busy cores: a celery beat needed 5 s to start with 100, 1 s on an idle host.
SINGLE_WEIGHT = 500


# Where the host itself is short of memory, the kernel ends a process of an app before one of the database's, the edge's or sshd.
OOM_SCORE = 300


def template(app: dict, process: dict, copy: int, memory: int = 0) -> str:
    """Return the unit template of one copy of a process. ``memory``: MiB at which it is killed where the model does not say it, 0 for no limit."""
    root = app["root"]
    release = f"{root}/releases/%i"
    code = "/".join(part for part in (release, "code", app["source"]["subdir"]) if part)
    notify = processes.server(process) == "gunicorn"
    most = process["memory"] or (f"{memory}M" if memory else "")
    limits = ([f"MemoryMax={most}"] if most else []) + ([f"CPUQuota={process['cpu']}"] if process["cpu"] else [])
    # A killed worker is started anew by its server; systemd's default would end the server and all that it answers.
    limits += ["OOMPolicy=continue", f"OOMScoreAdjust={OOM_SCORE}"]
    limits += [f"CPUWeight={SINGLE_WEIGHT}"] if process["single"] else []
    service = [
        f"Type={'notify' if notify else 'exec'}",
        f"User={app['user']}", f"Group={app['user']}", "UMask=0027", f"WorkingDirectory={code}",
        f"EnvironmentFile={release}/env", f"EnvironmentFile={model.secrets_file(app)}",
        f"ExecStart={release}/bin/{process['name']} {copy}", *drain.before_stop(process, release),
        # mixed: only the main process is told to stop, so that celery's children finish their tasks.
        "KillMode=mixed", f"TimeoutStopSec={process['drain'] + 5}", *supervisor.RESTART,
        f"SyslogIdentifier={app['name']}-{process['name']}", f"Slice={slice_name(app)}", *limits, *journal(app),
        local_packages.bound(app, f"{release}/code"),
        *sandbox(app, [f"{release}/run"], process["command"]),
    ]
    return "\n".join([
        mark(app), "[Unit]", f"Description={app['name']}: {process['name']}{'' if copy == 1 else f' {copy}'} of release %i",
        f"After=network.target postgresql.service redis-server@{app['name']}.service", "StartLimitIntervalSec=0", "", "[Service]", *service, ""])


def slice_name(app: dict) -> str:
    """Return the app's slice: stopping it stops every process of the app. A dash means a slice inside another one."""
    return f"quayside-{app['name'].replace('-', '_')}.slice"


def umbrella(app: dict) -> str:
    """Return the unit of the whole app: it starts what ``live`` names, at boot too, and stops every instance."""
    root = app["root"]
    return "\n".join([
        mark(app), "[Unit]", f"Description={app['name']}: the live release", "Wants=network-online.target",
        f"After=network-online.target postgresql.service redis-server@{app['name']}.service", f"ConditionPathExists={root}/live/units", "",
        "[Service]", "Type=oneshot", "RemainAfterExit=yes",
        f"ExecStart=/bin/sh -c 'echo \"live is $$(readlink {root}/live)\"; exec systemctl start -- $$(cat {root}/live/units)'",
        f"ExecStop=/bin/systemctl stop -- {slice_name(app)}",
        f"ExecReload=/bin/sh -c 'exec systemctl restart -- $$(cat {root}/live/units)'",
        f"SyslogIdentifier={app['name']}", *messenger(), "", "[Install]", "WantedBy=multi-user.target", ""])


def template_names(app: dict) -> list[str]:
    """Return the names of the app's unit templates, without ``@.service``."""
    return [processes.unit_name(app, process, copy) for process in app["processes"] for copy in processes.copies(process)]


def files(app: dict, sizes: dict | None = None) -> dict:
    """Return file name -> text of all units of an app. ``sizes``: what sizing.plan says of it."""
    limits = {name: size["limit"] for name, size in sizes["processes"].items()} if sizes else {}
    wanted = {f"{processes.unit_name(app, process, copy)}@.service": template(app, process, copy, limits.get(process["name"], 0))
              for process in app["processes"] for copy in processes.copies(process)}
    wanted[f"{app['name']}.service"] = umbrella(app)
    if sizes:
        wanted[f"{slice_name(app)}.d/memory.conf"] = f"{mark(app)}\n[Slice]\nMemoryMax={sizes['limit']}M\n"
    return wanted


def instance(app: dict, release: str, wanted) -> list[str]:
    """Return the units of those processes of an instance for which ``wanted`` is true."""
    return [f"{processes.unit_name(app, process, copy)}@{release}.service" for process in app["processes"] if wanted(process)
            for copy in processes.copies(process)]


def logrotate(app: dict) -> str:
    """Return the logrotate rule for the log files that an app writes into shared/logs by itself; the journal needs none.

    copytruncate: the programs keep their files open, and none of them has to be told.
    """
    return (f"{mark(app)}\n{app['root']}/shared/logs/*.log {{\n    su {app['user']} {app['user']}\n    daily\n    rotate 14\n    maxsize 50M\n"
            "    compress\n    delaycompress\n    missingok\n    notifempty\n    copytruncate\n}\n")
