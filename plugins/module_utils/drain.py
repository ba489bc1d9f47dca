# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait before a server of an old instance is told to end: what has asked it is answered first. Pure.

A server that is told to end closes its socket, and the kernel resets every connection that waits there to be taken (listen(2)). The edge sends
nothing more to an instance that is no longer live, so the queue only becomes shorter. A server that ends what it has taken needs no more than
that; of others nothing is cut off while a connection is open.
"""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils import processes

# It answers what it has taken before it ends, within its graceful timeout: seen under load (molecule/systemd, molecule/layouts). Others may as well, but
# for a server that is not in here a connection is only ever cut off when the time is over.
GRACEFUL = {"gunicorn"}
PAUSE = 0.1  # seconds between two looks: a look costs some 5 ms of CPU
QUIET = 2    # looks in a row that have to find nothing: a connection that the edge is about to make


def script(process: dict, socket: str, port: str) -> str:
    """Return the shell lines that wait until a server has nothing to answer, for ``process['drain']`` seconds at most; they need ``ss`` and ``awk``.

    :param process: a process of the model: command, socket (bool), drain (seconds)
    :param socket: path of its Unix socket; what systemd puts in may stand in it
    :param port: the number of its port, or a shell expression that prints it; used when it has no socket
    """
    open_too = "" if processes.server(process) in GRACEFUL else ' || $%d == "ESTAB"'
    if process["socket"]:
        look = f"""ss -xaH | awk '$5 == "{socket}" && ($2 == "LISTEN" && $3 > 0{open_too % 2 if open_too else ""}) {{ n = 1 }} END {{ exit n }}'"""
    else:
        look = f"""ss -taH "sport = :{port}" | awk '$1 == "LISTEN" && $2 > 0{open_too % 1 if open_too else ""} {{ n = 1 }} END {{ exit n }}'"""
    looks = max(QUIET, int(process["drain"] / PAUSE))
    return (f"looks=0; quiet=0; while [ $quiet -lt {QUIET} ] && [ $looks -lt {looks} ]; do "
            f"if {look}; then quiet=$((quiet + 1)); else quiet=0; fi; looks=$((looks + 1)); sleep {PAUSE}; done")


def before_stop(process: dict, release: str) -> list[str]:
    """Return the line of a unit that lets systemd wait before it stops a server; none for a process that serves nothing.

    ``release``: the folder of the release, with systemd's ``%i`` in it. The wait is root's, outside of the app's sandbox, and opens nothing of the app's.
    """
    if not process["serves"]:
        return []
    text = script(process, f"{release}/run/{process['name']}.sock", f"$(cat {release}/ports/{process['name']})")
    return ["ExecStop=+/bin/sh -c " + '"' + text.replace("$", "$$").replace('"', '\\"') + '"']
