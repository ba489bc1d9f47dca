# SPDX-License-Identifier: GPL-3.0-or-later
"""An example system as its scenario sees it: how its versions are deployed, and where it says which one is live."""
from __future__ import annotations

import dataclasses
import shutil
import subprocess

from lab import ROOT, Run, Server


@dataclasses.dataclass
class Example:
    """An app of examples/: its folder's name, an environment, its domain and its health page."""

    app: str
    environment: str
    domain: str
    path: str
    host: str = ""

    def server(self) -> Server:
        """Return its server, which runs."""
        return Server(ROOT / "examples" / self.app / "inventories" / self.environment, self.host or f"{self.app}1")

    def version(self, name: str) -> str:
        """Return what a deploy calls a version: the commit's name for trio, as a pipeline would."""
        if self.app != "trio":
            return name
        return subprocess.run(["git", "--git-dir", str(ROOT / ".lab/git/bookshop.git"), "rev-parse", f"{name}^{{commit}}"],
                              check=True, capture_output=True, text=True).stdout.strip()

    def deploy(self, server: Server, name: str, *words: str, **options) -> Run:
        """Deploy a version; that of matcher is a folder, made from its repository, and v1 the one that its inventory names."""
        version = self.version(name)
        if self.app == "matcher" and name != "v1":
            words = ("-e", f"matcher_folder={self.folder(name)}", "-e", f"matcher_version={name}", *words)
        return server.deploy(version, "-e", f"{self.app}_version={version}", *words, app=self.app, **options)

    def folder(self, name: str) -> str:
        """Return a folder with a version of the app's source."""
        bare, target = ROOT / ".cache" / f"{self.app}.git", ROOT / ".cache" / f"{self.app}-{name}"
        subprocess.run([str(ROOT / "examples" / self.app / "make-repository"), str(bare)], check=True, capture_output=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        packed = subprocess.run(["git", f"--git-dir={bare}", "archive", name], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(target)], input=packed, check=True)
        return str(target)

    def health(self, server: Server) -> dict:
        """Return what the health page answers to the world."""
        return server.json(self.path, self.domain, tls=True)
