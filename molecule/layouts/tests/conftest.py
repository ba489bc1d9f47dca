# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario."""
import json
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).absolute().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared")]

import projects  # noqa: E402 - the paths have to be there first
from lab import ROOT, servers  # noqa: E402

FOLDER = ROOT / ".cache/layouts"


class App:
    """One of the projects on the server."""

    def __init__(self, server, name: str):
        self.server, self.name, self.host = server, name, f"{name}.example.com"

    def deploy(self, version: int, *words: str, **options):
        """Write the project in a version and deploy it."""
        projects.write(FOLDER, self.name, version)
        return self.server.play("deploy", "-e", f"django_app={self.name}", *words, **options)

    def rollback(self):
        return self.server.play("rollback", "-e", f"django_app={self.name}")

    def health(self) -> dict:
        """Return what the app says of itself."""
        status, _headers, body = self.server.get("/healthz/", self.host)
        return json.loads(body) if status == 200 else {"status": status, "body": body}

    def page(self) -> tuple[int, str]:
        """Return what the page answers that names a static file, and what that file holds."""
        status, _headers, body = self.server.get("/", self.host)
        return status, self.server.get(body.decode().strip(), self.host)[2].decode() if status == 200 else body.decode()

    def live(self) -> str:
        return self.server.inside(f"basename $(readlink /opt/{self.name}/live)")

    def restart(self) -> None:
        """Restart the live release as a crash or a reboot would, and wait for it."""
        self.server.inside(f"systemctl restart {' '.join(self.server.inside(f'cat /opt/{self.name}/live/units').split())}")
        self.server.until(lambda: self.health().get("status") == "ok", 30, f"{self.name} after a restart")


@pytest.fixture(scope="session")
def server():
    """The one server."""
    (server,) = servers(HERE.parent)
    return server


@pytest.fixture(scope="session")
def app(server):
    """Return a project by its name."""
    return lambda name: App(server, name)
