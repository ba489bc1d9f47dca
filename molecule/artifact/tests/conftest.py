# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as a user gets it: built, installed in a folder of its own, and run from there by an ansible of its own."""
from __future__ import annotations

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import BIN, ROOT, Run, servers  # noqa: E402 - the path has to be there first

OLD = sys.version_info < (3, 12)


def outside():
    """Return the variables of a shell that knows nothing of the checkout, of molecule and of the ansible that started this."""
    names = ("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    env["PATH"] = os.pathsep.join(path for path in env["PATH"].split(os.pathsep) if not path.startswith(str(ROOT)))
    return env


def other_python():
    """Return a Python of the line of requirements.txt that this one does not fall under; shims of versions that are not there do not count."""
    wanted = ["3.13", "3.12", "3.14"] if OLD else ["3.11"]
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in wanted:
        for candidate in [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]:
            if candidate and subprocess.run([candidate, "-c", "import ensurepip, venv"], check=False, capture_output=True).returncode == 0:
                return str(candidate), wanted
    return None, wanted


class Project:
    """A user's folder with an ansible.cfg, an inventory and the installed collection."""

    def __init__(self, folder: pathlib.Path, programs: pathlib.Path):
        self.folder, self.env, self.said = folder, outside(), {}
        # The user's own ~/.ansible could hold the collection too.
        self.env.update(PATH=f"{programs}{os.pathsep}{self.env['PATH']}", ANSIBLE_HOME=str(folder / ".home"), NO_COLOR="1", ANSIBLE_NOCOLOR="1")

    def run(self, *argv: str, ok: bool = True, timeout: int = 900) -> Run:
        """Run a command in the folder."""
        done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=self.folder, env=self.env, timeout=timeout)
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return Run(done, 0)

    def play(self, name: str, *words: str, ok: bool = True) -> Run:
        """Run a playbook of the collection by its name, and keep what it said."""
        run = self.run("ansible-playbook", f"quayside.django.{name}", "-i", "inventory", *words, ok=ok)
        self.said[" ".join((name, *words))] = run.out
        return run


@pytest.fixture(scope="session")
def server():
    """The server of the scenario."""
    return servers(HERE.parent)[0]


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """The built artifact."""
    folder = tmp_path_factory.mktemp("artifact")
    subprocess.run([str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(folder)], check=True, cwd=ROOT, env=outside(),
                   capture_output=True)
    return next(folder.glob("quayside-django-*.tar.gz"))


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """Programs of the ansible that requirements.txt pins for the Pythons that this is none of."""
    python, wanted = other_python()
    if python is None:
        pytest.skip(f"no Python {', '.join(wanted)} with venv on this machine, so only one ansible-core can be tried")
    pins = re.findall(r'^(ansible==\S+?); *python_version ([<>=]+) "3\.12"', (ROOT / "requirements.txt").read_text(), re.M)
    pin = next(pin for pin, sign in pins if (sign == ">=") == OLD)
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([python, "-m", "venv", str(folder)], check=True, env=outside())
    subprocess.run([str(folder / "bin/pip"), "install", "--quiet", "--no-compile", "--disable-pip-version-check", pin], check=True, env=outside())
    return folder / "bin"


@pytest.fixture(scope="session")
def programs(request):
    """Programs of the other ansible; of this one where there is no other."""
    try:
        return request.getfixturevalue("other")
    except pytest.skip.Exception:
        return BIN


def documented_config():
    """Return the ansible.cfg that docs/getting-started.md says to write."""
    text = (ROOT / "docs/getting-started.md").read_text()
    return re.search(r"`ansible\.cfg`:\n\n```ini\n(.*?)```", text, re.S).group(1)


@pytest.fixture(scope="session")
def project(tmp_path_factory, artifact, programs, server):
    """A project folder made as docs/getting-started.md says."""
    folder = tmp_path_factory.mktemp("project")
    config = documented_config()
    (folder / "ansible.cfg").write_text(config)
    shutil.copytree(server.inventory, folder / "inventory")
    made = Project(folder, programs)
    parser = configparser.ConfigParser()
    parser.read_string(config)
    made.run("ansible-galaxy", "collection", "install", "--offline", "--no-deps", str(artifact), "-p", parser["defaults"]["collections_path"])
    return made
