# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process of an app runs: the flags that well-known servers need and were not given, and its exec script."""
from __future__ import annotations

import posixpath
import shlex

from ansible_collections.quayside.django.plugins.module_utils import env_file, shell_line

# First word of a command -> how it is told where to listen: the flags that say so, for a socket, and for a port.
LISTEN = {
    "gunicorn": (("-b", "--bind"), '--bind "unix:$SOCKET"', "--bind {address}:$PORT"),
    "uvicorn": (("--uds", "--port", "--host"), '--uds "$SOCKET"', "--host {address} --port $PORT"),
    "hypercorn": (("-b", "--bind"), '--bind "unix:$SOCKET"', "--bind {address}:$PORT"),
    "daphne": (("-u", "-p", "-b"), '-u "$SOCKET"', "-b {address} -p $PORT"),
    "granian": (("--uds", "--host", "--port"), '--uds "$SOCKET"', "--host {address} --port $PORT"),
}
# First word of a command -> the flags that let the edge open a socket of it, where the server leaves the mode to its umask; only its group reaches the folder.
OPEN = {
    "hypercorn": (("-m", "--umask"), "--umask 7"),
    "granian": (("--uds-permissions",), "--uds-permissions 660"),
}
# First word of a command -> the other flags that it needs.
HTTP_SERVERS = {
    "gunicorn": [(("-w", "--workers"), "--workers {workers}"), (("--threads",), "--threads {threads}"),
                 (("--graceful-timeout",), "--graceful-timeout {drain}"), (("--timeout", "-t"), "--timeout {timeout}")],
    "uvicorn": [(("--workers",), "--workers {workers}"), (("--timeout-graceful-shutdown",), "--timeout-graceful-shutdown {drain}")],
    "hypercorn": [(("-w", "--workers"), "--workers {workers}"), (("--graceful-timeout",), "--graceful-timeout {drain}")],
    "daphne": [],
    "granian": [(("--workers",), "--workers {workers}"), (("--interface",), "--interface wsgi")],
}


# What a process is, as the model names it, and how records of before this field name it.
KINDS = ("server", "celery-worker", "celery-beat", "other")
FORMER_KINDS = {"http": "server", "worker": "celery-worker", "beat": "celery-beat"}
# Programs that only start another one: what runs in the end is not in the command.
RUNNERS = {"sh", "bash", "dash", "ash", "zsh", "env", "nice", "ionice", "uv", "poetry", "pipenv", "pdm", "hatch", "newrelic-admin", "ddtrace-run",
           "opentelemetry-instrument", "dumb-init", "tini", "catatonit", "gosu", "su-exec", "supervisord", "honcho", "watchfiles", "make"}
NOT_PYTHON = ("node", "java", "ruby", "php", "deno", "bun", "npm", "npx", "yarn", "pnpm")
INTERPRETERS = (*NOT_PYTHON, "python", "pypy", "celery")
# These read WEB_CONCURRENCY where no flag says how many workers they have.
READ_CONCURRENCY = ("gunicorn", "uvicorn")

# The fields of a process behind those flags of gunicorn: where the model is silent, the project's gunicorn.conf.py wins over our defaults.
FIELDS = {"--workers": "workers", "--threads": "threads", "--graceful-timeout": "drain", "--timeout": "timeout"}
# Behind a Unix socket gunicorn's own format has no address: the edge says who asks (roles/nginx, site.j2).
ACCESS_LOG = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
GUNICORN = """\
# Written by quayside.django for {app}: defaults for gunicorn, then the project's own file, which wins.
import importlib
import os
import sys

workers = int(os.environ.get("WEB_CONCURRENCY") or {workers})
threads = {threads}
timeout = {timeout}
graceful_timeout = {drain}
worker_tmp_dir = "/dev/shm"
accesslog = "-"
access_log_format = {format!r}


def _read(own, default="./gunicorn.conf.py"):
    # As gunicorn reads its --config: a path, file:PATH or python:MODULE; the default may be missing.
    path = os.path.expandvars(own) or default
    if path.startswith("python:"):
        sys.path.insert(0, os.getcwd())
        return dict(vars(importlib.import_module(path[7:])))
    path = path[5:] if path.startswith("file:") else path
    if not own and not os.path.exists(path):
        return {{}}
    found = {{"__name__": "__config__", "__file__": path}}
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), found)
    return found


# Where it listens, and that it stays in the foreground without a file of its own, is for whoever starts it.
globals().update({{name: value for name, value in _read({own!r}).items() if not name.startswith("__") and name not in ("bind", "daemon", "pidfile")}})
"""


def program(command: str) -> str:
    """Return the name of the program that a command line runs, without its folder."""
    words = shell_line.words(command)
    return words[0].rsplit("/", 1)[-1] if words else ""


def kind(command: str) -> str:
    """Return what a command line runs, one of KINDS; ``other`` where it does not say."""
    words, first = shell_line.words(command), program(command)
    if first in HTTP_SERVERS:
        return "server"
    rest = [word for before, word in zip(words, words[1:]) if before not in ("-A", "--app")]  # the project may be called so
    if first == "celery" and "worker" in rest:
        return "celery-worker"
    if first == "celery" and "beat" in rest:
        return "celery-beat"
    return "other"


def is_wrapper(command: str) -> bool:
    """Return whether a command line starts something that it does not name: a script, a shell, the image's own command, or a program that runs another one.

    >>> is_wrapper("/start-worker"), is_wrapper("bash -c 'celery -A x worker'"), is_wrapper("python manage.py bot"), is_wrapper("celery -A x flower")
    (True, True, False, False)
    """
    words, first = shell_line.words(command), program(command)
    if not words:
        return True
    if kind(command) != "other":
        return False
    if first.startswith("python") and words[1:2] == ["-m"]:
        return words[2:3] == ["celery"] or "".join(words[2:3]) in HTTP_SERVERS
    return bool(first in RUNNERS or first.endswith(".sh") or shell_line.ASSIGNMENT.match(words[0]) or
                ("/" in words[0] and not first.startswith(INTERPRETERS) and not first.endswith((".py", ".js", ".mjs"))))


def of_record(found: list[dict]) -> list[dict]:
    """Return the processes of a release's record with what records of earlier versions do not say."""
    return [{"serves": process.get("socket", False), "tcp": False, "routes": [process["route"]] * bool(process.get("route")), "probe": True, **process,
             "kind": FORMER_KINDS.get(process.get("kind"), process.get("kind"))} for process in found]


def runs_python_server(app: dict, process: dict) -> bool:
    """Return whether a process is a server of the app's own Python, also behind a start script or as the command of its first image."""
    if process["kind"] != "server":
        return False
    if server(process):
        return True
    if program(process["command"]).startswith(NOT_PYTHON) or (app["runtime"] == "compose" and process["image"] != app["images"][0]["name"]):
        return False
    return process["workers"] != "auto" or is_wrapper(process["command"])


def own_concurrency(app: dict, process: dict) -> str:
    """Return the WEB_CONCURRENCY that the env of the app or of the process sets, empty without one."""
    found = {**app["env"], **process["env"]}.get("WEB_CONCURRENCY", "")
    return env_file.text(found) if found != "" else ""


def concurrency(app: dict, process: dict, workers: int, image_env=()) -> dict:
    """Return WEB_CONCURRENCY for a process, or nothing where a value of its own stays. A number in the model is never changed.

    ``workers``: the number for ``workers: auto``; ``image_env``: the names of the variables that its image sets.
    """
    if process["workers"] != "auto":
        return {"WEB_CONCURRENCY": process["workers"]}
    if own_concurrency(app, process) or "WEB_CONCURRENCY" in image_env or not runs_python_server(app, process):
        return {}
    return {"WEB_CONCURRENCY": str(workers)}


def celery_variables(app: dict, process: dict, workers: int) -> dict:
    """Return the variables by which Celery 5 behind a start script gets the options that a plain command gets as flags.

    Its command line reads CELERY_<COMMAND>_<OPTION> (celery.bin.celery.main: auto_envvar_prefix). $COPY and $RELEASE stand for those of the process.
    """
    if kind(process["command"]) != "other":
        return {}
    if process["kind"] == "celery-worker":
        found = {"CELERY_WORKER_HOSTNAME": node(app, process), "CELERY_WORKER_WITHOUT_MINGLE": "true",
                 "CELERY_WORKER_CONCURRENCY": str(flag_values(process, workers)["workers"])}
    elif process["kind"] == "celery-beat":
        found = {"CELERY_BEAT_SCHEDULE": f"{app['state']}/{process['name']}.schedule"}
    else:
        return {}
    return {name: value for name, value in found.items() if name == "CELERY_WORKER_HOSTNAME" or name not in {**app["env"], **process["env"]}}


def node(app: dict, process: dict) -> str:
    """Return the node name of a celery worker, with ``$COPY`` and ``$RELEASE`` in it."""
    return f"{app['name']}-{process['name']}-$COPY.$RELEASE@%h"


def given(words: list[str], flags) -> bool:
    """Return True when one of ``flags`` stands in ``words``, as ``--flag``, ``--flag=value``, ``-f`` or ``-fvalue``."""
    return any(word == flag or word.startswith(flag if len(flag) == 2 else flag + "=") for word in words for flag in flags)


def celery_app(command: str) -> str:
    """Return what a celery command names with -A or --app, or an empty text."""
    words = shlex.split(command)
    for position, word in enumerate(words):
        if word in ("-A", "--app") and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("--app="):
            return word[6:]
    return ""


def celery_app_of(app: dict, process: dict) -> str:
    """Return the Celery app of a process. A start script does not name it: CELERY_APP of the env does, another process, or else it is the settings' package."""
    named = [celery_app(other["command"]) for other in [process, *app["processes"]] if kind(other["command"]).startswith("celery")]
    env = {**app["env"], **process["env"]}
    first = [named[0]] if kind(process["command"]).startswith("celery") else [str(env.get("CELERY_APP", "")), *named]
    return next((name for name in first if name), app["settings"].split(".")[0])


def server(process: dict) -> str:
    """Return the name of the server that a process runs, empty for one that we do not know."""
    name = program(process["command"])
    return name if name in HTTP_SERVERS else ""


def config_name(process: dict) -> str:
    """Return the name of the file in ``lib/`` of a release that holds gunicorn's defaults for a process; empty for other servers."""
    return f"gunicorn-{process['name']}.py" if server(process) == "gunicorn" else ""


def config_file(app: dict, process: dict, workers: int) -> str:
    """Return the text of that file. ``workers`` is the number for ``workers: auto``."""
    own = flag(shell_line.words(process["command"]), ("-c", "--config"))
    return GUNICORN.format(app=app["name"], format=ACCESS_LOG, own=own, **flag_values(process, workers))


def flag_values(process: dict, workers: int) -> dict:
    """Return what stands for the names in HTTP_SERVERS."""
    return {"workers": process["workers"] if process["workers"] != "auto" else workers, "threads": process["threads"],
            "drain": process["drain"], "timeout": process["timeout"]}


def flag(words: list[str], names: tuple) -> str:
    """Return the value of a flag, the last one where it stands several times; empty where it is not given."""
    found = ""
    for position, word in enumerate(words):
        for name in names:
            if word == name and position + 1 < len(words):
                found = words[position + 1]
            elif word.startswith(f"{name}=") or (len(name) == 2 and word.startswith(name) and word != name):
                found = word[len(name):].removeprefix("=")
    return found


def full_command(app: dict, process: dict, workers: int, lib: str = "", image_env=()) -> str:
    """Return the command with the flags that its server needs and that were not given.

    ``workers`` is the number for ``workers: auto``, which only the host knows; ``lib`` is the folder of our programs as the process sees it;
    ``image_env``: the names of the variables that its image sets.
    """
    command = process["command"].strip()
    words = shell_line.words(command)
    what = kind(command)
    added = []
    if what == "server":
        values, name = flag_values(process, workers), server(process)
        flags, socket, port = LISTEN[name]
        if not given(words, flags):
            # In a container 0.0.0.0 is the app's own network; on a host it would be the world.
            added.append(socket if process["socket"] else port.format(address="0.0.0.0" if app["runtime"] == "compose" else "127.0.0.1"))
        if process["socket"] and name in OPEN and not given(words, OPEN[name][0]):
            added.append(OPEN[name][1])
        silent = process.get("silent", []) if name == "gunicorn" else []
        if name in READ_CONCURRENCY and process["workers"] == "auto" and (own_concurrency(app, process) or "WEB_CONCURRENCY" in image_env):
            silent = [*silent, "workers"]
        for flags, text in HTTP_SERVERS[name]:
            if not given(words, flags) and FIELDS.get(text.split()[0]) not in silent:
                added.append(text.format(**values))
        if name == "gunicorn":
            added.append(f"--config {shlex.quote(f'{lib}/{config_name(process)}')}")
    elif what == "celery-worker":
        if not given(words, ("-n", "--hostname")):
            added.append(f'--hostname "{node(app, process)}"')
        if not given(words, ("--without-mingle",)):
            # A second of waiting for neighbours. What it is for, the deploy does: new workers are told which tasks were revoked.
            added.append("--without-mingle")
        if not given(words, ("-c", "--concurrency", "--autoscale")):
            added.append("--concurrency {}".format(process["workers"] if process["workers"] != "auto" else workers))
        if not given(words, ("-l", "--loglevel")):
            added.append("--loglevel INFO")
    elif what == "celery-beat":
        if not given(words, ("-s", "--schedule")):
            added.append('--schedule "{}/{}.schedule"'.format(app["state"], process["name"]))
        if not given(words, ("--pidfile",)):
            added.append("--pidfile=")
        if not given(words, ("-l", "--loglevel")):
            added.append("--loglevel INFO")
    return " ".join([command] + added)


def script(app: dict, process: dict, release: str, venv: str, workers: int) -> str:
    """Return the text of ``releases/<id>/bin/<process>``; its one argument is the number of the copy.

    A single process holds a lock for as long as it lives, so that two of it never run, whatever starts them.
    """
    root, name = app["root"], process["name"]
    folder = f"{root}/releases/{release}"
    exports = {"PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": python_path(app, release),
               "RELEASE": release, "PROCESS": name, "SOCKET": f"{folder}/run/{name}.sock"}
    # gunicorn puts its control socket into its HOME, and two instances must not share one.
    exports["HOME"] = f"{folder}/run" if process["serves"] else app["state"]
    exports.update(concurrency(app, process, workers))
    exports.update({key: env_file.text(value) for key, value in process["env"].items()})
    lines = ["#!/bin/sh"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in exports.items()]
    lines += ['export COPY="${1:-1}"', 'rm -f "$SOCKET"']
    if process["tcp"]:
        lines.append(f'PORT="$(cat {shlex.quote(f"{folder}/ports/{name}")})" && export PORT')
    lines += [f'export {key}="{value}"' for key, value in celery_variables(app, process, workers).items()]
    # The shell fills these in, so a secret stands in no file of the release.
    lines += [f'export {key}="${target}"' for key, target in process.get("aliases", {}).items()]
    run = full_command(app, process, workers, f"{folder}/lib")
    lines.append(shell_line.exec_line(run, f"flock --no-fork --timeout 30 {shlex.quote(single_lock(app, process))}" if process["single"] else ""))
    return "\n".join(lines) + "\n"


def single_lock(app: dict, process: dict) -> str:
    """Return the path of the file that a single process holds locked for as long as it lives."""
    return f"{app['state']}/{process['name']}.lock"


def manage_script(argv: list[str], env: dict, hint: str) -> str:
    """Return the text of ``releases/<id>/bin/manage``: manage.py with the env and the sandbox of the release, for people.

    ``argv`` is that of a one-off command, with ``--pipe`` where a terminal wants ``--pty``; its code runs as the app's user, whoever calls it.
    ``env`` are the variables that ``argv`` takes from its caller; ``hint`` is what to type where somebody else than root calls it.
    """
    # Two people may have a shell open at once.
    words = ['"$how"' if word == "--pipe" else shlex.quote(word) + "-$$" if word.startswith("--unit=") else shlex.quote(word) for word in argv]
    return ("#!/bin/sh\n"
            f"[ \"$(id -u)\" = 0 ] || {{ echo {shlex.quote('only root reads the secrets of the app; type: ' + hint)} >&2; exit 1; }}\n"
            "how=--pipe; [ ! -t 0 ] || [ ! -t 1 ] || how=--pty\n"
            + "".join(f"export {key}={shlex.quote(value)}\n" for key, value in env.items()) + f"exec {' '.join(words)} \"$@\"\n")


def code_folder(app: dict, release: str) -> str:
    """Return the folder of a release in which its processes start: its code, or the sub-folder that is the app's root."""
    return "/".join(part for part in (app["root"], "releases", release, "code", app["source"]["subdir"]) if part)


def python_path(app: dict, release: str) -> str:
    """Return PYTHONPATH of what runs of a release: the folder of manage.py, as when manage.py itself starts, the app's root, and what the app's env adds."""
    code = code_folder(app, release)
    return ":".join(dict.fromkeys([posixpath.normpath(f"{code}/{posixpath.dirname(app['manage'])}"), code,
                                   *env_file.text(app["env"].get("PYTHONPATH")).split(":")])).rstrip(":")


def copies(process: dict) -> list[int]:
    """Return the numbers of the copies of a process: 1..count."""
    return list(range(1, process["count"] + 1))


def unit_name(app: dict, process: dict, copy: int) -> str:
    """Return the name of a unit template without ``@.service``: one without a number for what serves or is single."""
    name = f"{app['name']}-{process['name']}"
    return name if process["serves"] or process["single"] else f"{name}-{copy}"


def group(process: dict) -> str:
    """Return the group in which a process is started: ``servers``, then ``workers``, then ``singles``."""
    return "singles" if process["single"] else "servers" if process["serves"] else "workers"


def belongs_to(path: str, app: dict) -> str:
    """Return the process that the edge would give ``path`` to: the one with the longest route that it begins with."""
    routed = [(len(route), process["name"]) for process in app["processes"] for route in process["routes"] if path.startswith(route)]
    if routed:
        return max(routed)[1]
    return next((process["name"] for process in app["processes"] if process["serves"]), "")
