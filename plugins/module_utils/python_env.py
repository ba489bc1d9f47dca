# SPDX-License-Identifier: GPL-3.0-or-later
"""The venv of a release: what it is built from, how, and whether the host's Python is one that the project allows."""
from __future__ import annotations

import hashlib
import json
import posixpath
import re

UV = "/opt/quayside/uv/bin/uv"
REQUIRES = re.compile(r'^\s*requires-python\s*=\s*["\']([^"\']*)["\']', re.M)
INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]*([^\s#;]+)", re.M)
CLAUSE = re.compile(r"^(===|==|~=|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?$")


def requires_python(pyproject: str) -> str:
    """Return the requires-python of a pyproject.toml's text, or an empty text."""
    found = REQUIRES.search(pyproject)
    return found[1] if found else ""


def allows(specifier: str, version: str) -> bool:
    """Return True when ``version`` (3.11.2) fits ``specifier`` (``>=3.10,<3.13``), after PEP 440's rules for final releases.

    A clause that is not of that kind is taken as fitting: the installer will judge.
    """
    have = numbers(version)
    for clause in filter(None, (part.strip() for part in specifier.split(","))):
        found = CLAUSE.match(clause)
        if not found:
            continue
        sign, text, star = found.groups()
        want = numbers(text)
        width = max(len(have), len(want))
        left, right = have + [0] * (width - len(have)), want + [0] * (width - len(want))
        prefix = have[:len(want)] == want
        fits = {"===": left == right, "==": prefix if star else left == right, "!=": not prefix if star else left != right,
                "~=": left >= right and have[:len(want) - 1] == want[:-1], "<=": left <= right, ">=": left >= right,
                "<": left < right, ">": left > right}
        if not fits[sign]:
            return False
    return True


def numbers(version: str) -> list[int]:
    """Return 3.11.2 as [3, 11, 2]."""
    return [int(part) for part in re.findall(r"\d+", version)]


def inputs(python: dict, files: dict) -> dict:
    """Return what the venv is built from. ``files``: name -> text of the files under the app's root that may matter."""
    chosen = list(python["requirements"])
    if not chosen:
        locked = python["installer"] == "uv" and "uv.lock" in files
        chosen = ["uv.lock", "pyproject.toml"] if locked else ["requirements.txt"]
    return {name: files[name] for name in chosen if name in files}


def included(name: str, text: str) -> list[str]:
    """Return the files that a requirements file names with -r or -c, as paths under the app's root."""
    return [posixpath.normpath(posixpath.join(posixpath.dirname(name), found)) for found in INCLUDE.findall(text)]


def everything(python: dict, files: dict) -> dict:
    """Return ``inputs``, and the files that they include."""
    found, todo = {}, list(inputs(python, files))
    while todo:
        name = todo.pop()
        if name in files and name not in found:
            found[name] = files[name]
            todo += included(name, files[name]) if name not in ("uv.lock", "pyproject.toml") else []
    return found


def locked(python: dict, names) -> bool:
    """Return True when the venv comes from uv.lock."""
    return python["installer"] == "uv" and "uv.lock" in names and not python["requirements"]


def key(python: dict, version: str, files: dict) -> str:
    """Return the name of the venv: a hash of the interpreter, the installer's options and the files it is built from."""
    parts = {"python": version, "model": {name: python[name] for name in sorted(python) if name != "env"}, "files": everything(python, files)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def build_commands(python: dict, venv: str, files: dict, cache: str) -> tuple[list[list[str]], dict]:
    """Return the commands that build ``venv``, run in the app's root, and the variables that they need.

    uv uses the host's interpreter and never downloads one; bytecode is compiled now, since a sandboxed process cannot write it.
    """
    env = {"UV_CACHE_DIR": f"{cache}/uv", "PIP_CACHE_DIR": f"{cache}/pip", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1",
           "UV_LINK_MODE": "hardlink", "UV_PROJECT_ENVIRONMENT": venv, "UV_PYTHON": python["interpreter"], "HOME": cache,
           "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    env.update({name: str(value) for name, value in python["env"].items()})
    options = [word for option in python["options"] for word in option.split()]
    requirements = [word for name in sorted(inputs(python, files)) if python["requirements"] or name not in ("uv.lock", "pyproject.toml")
                    for word in ("-r", name)]
    wanted = requirements + python["packages"]
    target = ["--python", f"{venv}/bin/python"]
    if python["installer"] == "pip":
        commands = [[python["interpreter"], "-m", "venv", venv]]
        if wanted:
            commands.append([f"{venv}/bin/pip", "install", "--quiet", *options, *wanted])
        return commands, env
    if locked(python, files):
        extras = [word for name in python["extras"] for word in ("--extra", name)] + \
                 [word for name in python["groups"] for word in ("--group", name)]
        commands = [[UV, "sync", "--frozen", "--no-install-project", "--no-default-groups", "--compile-bytecode", *extras, *options]]
        wanted = python["packages"]
    else:
        commands = [[UV, "venv", "--quiet", "--python", python["interpreter"], venv]]
    if wanted:
        commands.append([UV, "pip", "install", "--quiet", "--compile-bytecode", *target, *options, *wanted])
    return commands, env
