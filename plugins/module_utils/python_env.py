# SPDX-License-Identifier: GPL-3.0-or-later
"""The venv of a release: what it is built from, how, and whether the host's Python is one that the project allows."""
from __future__ import annotations

import hashlib
import json
import posixpath
import re

LIMITS = {"uv.lock": 16 * 2**20}  # bytes; a lock of 1000 packages has 2 MiB
LIMIT = 2**20
INCLUDES = 100  # requirements files of one project
# Options that may hold a login: they travel by variables, since arguments are seen by every user of the host.
BY_VARIABLE = {
    "uv": {"--index-url": "UV_INDEX_URL", "-i": "UV_INDEX_URL", "--extra-index-url": "UV_EXTRA_INDEX_URL", "--index": "UV_INDEX",
           "--default-index": "UV_DEFAULT_INDEX", "--find-links": "UV_FIND_LINKS", "-f": "UV_FIND_LINKS"},
    "pip": {"--index-url": "PIP_INDEX_URL", "-i": "PIP_INDEX_URL", "--extra-index-url": "PIP_EXTRA_INDEX_URL", "--find-links": "PIP_FIND_LINKS",
            "-f": "PIP_FIND_LINKS"},
}
BUILD_SYSTEM = re.compile(r"^\s*\[build-system\]", re.M)
UV = "/opt/quayside/uv/bin/uv"
REQUIRES = re.compile(r'^\s*requires-python\s*=\s*["\']([^"\']*)["\']', re.M)
INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]*([^\s#;]+)", re.M)
CLAUSE = re.compile(r"^(===|==|~=|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?$")


# Locks of other tools, and what makes a requirements file of one, with hashes where the tool can.
EXPORTS = {"poetry.lock": "poetry export -o requirements.txt (poetry self add poetry-plugin-export brings it)", "pdm.lock": "pdm export -o requirements.txt",
           "Pipfile.lock": "pipenv requirements --hash > requirements.txt"}
PROJECT = re.compile(r"^\[project\]\s*$(?P<body>.*?)(?=^\[|\Z)", re.M | re.S)
DEPENDENCIES = re.compile(r"^\s*(dependencies\s*=|dynamic\s*=.*[\"']dependencies[\"'])", re.M)


# What a build from source prints where a compiler or a library lacks -> what it lacks, and the operating system packages that have it.
LACKS = [
    (re.compile(r"pg_config executable not found|libpq-fe\.h|pg_config is required"), "the headers of PostgreSQL", ("libpq-dev",)),
    (re.compile(r"mysql_config|mysqlclient\.pc|Can not find valid pkg-config name|mysql\.h"), "the headers of MySQL",
     ("default-libmysqlclient-dev", "pkg-config")),
    (re.compile(r"\bPython\.h\b"), "the headers of Python", ("python3-dev",)),
    (re.compile(r"\bffi\.h\b"), "the headers of libffi", ("libffi-dev",)),
    (re.compile(r"xmlsec1? development|libxml/\w+\.h|xslt-config|libxslt development"), "the headers of libxml2", ("libxml2-dev", "libxslt1-dev")),
    (re.compile(r"\bldap\.h\b|\blber\.h\b"), "the headers of OpenLDAP", ("libldap-dev", "libsasl2-dev")),
    (re.compile(r"(?:gcc|g\+\+|\bcc|c\+\+|clang)['`\"]?(?: failed)?: (?:command not found|not found|No such file)|"
                r"(?:unable to execute|Unknown compiler|No such file or directory: )['\[( ]*(?:\w+-linux-gnu-)?(?:gcc|g\+\+|cc|c\+\+)"),
     "a compiler", ()),
]
BUILT = re.compile(r"Failed to build [`'\"]?([A-Za-z0-9._-]+)|Failed building wheel for ([A-Za-z0-9._-]+)|Could not build wheels for ([A-Za-z0-9._-]+)")
WHEELS = {"psycopg2": "psycopg2-binary (or psycopg[binary])", "psycopg-c": "psycopg[binary]", "mysqlclient": "PyMySQL"}


def hint(output: str) -> str:
    """Return what a build from source lacks and what to write in the app model, empty for any other failure."""
    lacks = [(what, packages) for pattern, what, packages in LACKS if pattern.search(output)]
    if not lacks:
        return ""
    names = [name for found in BUILT.findall(output) for name in found if name]
    name = names[0].lower() if names else ""
    packages = ", ".join(dict.fromkeys(["build-essential", "python3-dev", *(package for _what, needed in lacks for package in needed)]))
    wheel = f"require {WHEELS[name]}, which is built already, or " if name in WHEELS else f"take a version of {name} that has a wheel, or " if name else ""
    missing = " and ".join(what for what, _packages in lacks)
    return f"{name or 'a package'} is built from source and lacks {missing}: {wheel}set packages: [{packages}] and run quayside.django.site"


def declares(pyproject: str) -> bool:
    """Return True when a pyproject.toml says what its project depends on, as PEP 621 has it."""
    found = PROJECT.search(pyproject)
    return bool(found and DEPENDENCIES.search(found["body"]))


def without_lock(python: dict, files: dict) -> bool:
    """Return True when a venv would come from a pyproject.toml alone, or from nothing."""
    return not python["requirements"] and not {"uv.lock", "requirements.txt"} & set(inputs(python, files))


def refusal(python: dict, files: dict, others: list[str]) -> str:
    """Return why no venv can be built from these files, and what to do; empty when one can. ``others``: the locks of other tools that are there."""
    missing = [name for name in python["requirements"] if name not in files]
    if missing:
        return f"has no {', '.join(missing)}, which python.requirements names: correct it, or commit the file"
    if without_lock(python, files) and others:
        return f"has {others[0]}, which is not read here: {EXPORTS[others[0]]}, and commit that"
    if inputs(python, files):
        return ""
    if python["installer"] == "pip" and {"uv.lock", "pyproject.toml"} & set(files):
        return "has no requirements.txt, and pip reads no other list: leave out python.installer, so that uv reads uv.lock or pyproject.toml"
    return ("has no uv.lock, no requirements.txt and no dependencies under [project] in a pyproject.toml: commit one of them (uv lock, "
            "pip freeze > requirements.txt), name its files in python.requirements, or set source.subdir to the folder that has them")


def itself(python: dict, files: dict) -> list[str]:
    """Return the requirement that installs the project, as ``uv sync`` would: of a pyproject.toml alone, where it says how it is built."""
    return ["-e ."] if list(inputs(python, files)) == ["pyproject.toml"] and not python["requirements"] and \
        BUILD_SYSTEM.search(files["pyproject.toml"]) else []


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
        declared = python["installer"] == "uv" and "requirements.txt" not in files and declares(files.get("pyproject.toml", ""))
        chosen = ["uv.lock", "pyproject.toml"] if locked else ["pyproject.toml"] if declared else ["requirements.txt"]
    return {name: files[name] for name in chosen if name in files}


def included(name: str, text: str) -> list[str]:
    """Return the files that a requirements file names with -r or -c, as paths under the app's root."""
    return [posixpath.normpath(posixpath.join(posixpath.dirname(name), found)) for found in INCLUDE.findall(text)]


def gather(python: dict, read, subdir: str = "") -> dict:
    """Return name -> text of the files under the app's root that the venv is built from, and of those that they include, as far as they are there.

    ``read(name, limit)`` returns a text, or None where there is no such file. ``subdir`` is the app's
    root in the repository: what lies beside it in there is read too. Raise ValueError for a file that includes itself, and for too many.
    """
    found: dict = {}

    def take(name: str, above: tuple = ()) -> bool:
        if name in above:
            raise ValueError(f"{name} includes itself, through {' and '.join(above[above.index(name):])}")
        if name in found:
            return True
        inside = not name.startswith("/") and "://" not in name and not posixpath.normpath(posixpath.join(subdir, name)).startswith("..")
        text = read(name, LIMITS.get(name.rpartition("/")[2], LIMIT)) if inside else None
        if text is None:
            return False
        found[name] = text
        if len(found) > INCLUDES:
            raise ValueError(f"requirements files include more than {INCLUDES} files; {name} is one of them")
        if name.rpartition("/")[2] not in ("uv.lock", "pyproject.toml"):
            for other in included(name, text):
                take(other, (*above, name))
        return True

    if python["requirements"]:
        for name in python["requirements"]:
            take(name)
    elif python["installer"] == "uv" and take("uv.lock"):
        take("pyproject.toml")
    elif not take("requirements.txt"):
        for name in ("pyproject.toml", "uv.lock"):
            take(name)
    return found


def everything(python: dict, files: dict) -> dict:
    """Return ``inputs``, and the files that they include."""
    found, todo = {}, list(inputs(python, files))
    while todo:
        name = todo.pop()
        if name in files and name not in found:
            found[name] = files[name]
            todo += included(name, files[name]) if name not in ("uv.lock", "pyproject.toml") else []
    return found


def options(python: dict) -> tuple[list[str], dict]:
    """Return the installer's options that stand on its command line, and those that travel by variables."""
    words = [word for option in python["options"] for word in option.split()]
    known, kept, env = BY_VARIABLE[python["installer"]], [], {}
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name not in known or not (equals or words):
            kept.append(word)
            continue
        value = value if equals else words.pop(0)
        env[known[name]] = f"{env[known[name]]} {value}" if known[name] in env else value
    return kept, env


def locked(python: dict, names) -> bool:
    """Return True when the venv comes from uv.lock."""
    return python["installer"] == "uv" and "uv.lock" in names and not python["requirements"]


def key(python: dict, version: str, files: dict, **others) -> str:
    """Return the name of the venv: a hash of the interpreter, the installer's options and variables, the files it is built from, and what else it depends on.

    ``others``: values that count when they are not empty, such as what it takes from the app's source.
    """
    parts = {"python": version, "model": {name: python[name] for name in sorted(python) if name != "env" or python[name]}, "files": everything(python, files),
             **{name: value for name, value in others.items() if value}}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def build_commands(python: dict, venv: str, files: dict) -> tuple[list[list[str]], dict]:
    """Return the commands that build ``venv``, run in the app's root, and the variables that they need.

    uv uses the host's interpreter and never downloads one; bytecode is compiled now, since a sandboxed process cannot write it. Files are copied
    out of the cache: a hard link would let a later build change a venv that serves.
    """
    env = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1",
           "UV_LINK_MODE": "copy", "UV_PROJECT_ENVIRONMENT": venv, "UV_PYTHON": python["interpreter"],
           "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    kept, by_variable = options(python)
    env.update(by_variable)
    env.update({name: str(value) for name, value in python["env"].items()})
    sync = locked(python, files)
    requirements = [word for name in sorted(inputs(python, files)) if not sync for word in ("-r", name)]
    wanted = requirements + [word for line in itself(python, files) for word in line.split()] + python["packages"]
    target = ["--python", f"{venv}/bin/python"]
    if python["installer"] == "pip":
        commands = [[python["interpreter"], "-m", "venv", venv]]
        if wanted:
            commands.append([f"{venv}/bin/pip", "install", "--quiet", *kept, *wanted])
        return commands, env
    extras = [word for name in python["extras"] for word in ("--extra", name)] + [word for name in python["groups"] for word in ("--group", name)]
    if sync:
        commands = [[UV, "sync", "--frozen", "--no-default-groups", "--compile-bytecode", *extras, *kept]]
        wanted = python["packages"]
    else:
        commands = [[UV, "venv", "--quiet", "--python", python["interpreter"], venv]]
    if wanted:
        of_project = extras if "pyproject.toml" in requirements else []
        commands.append([UV, "pip", "install", "--quiet", "--compile-bytecode", *target, *of_project, *kept, *wanted])
    return commands, env
