# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of an app on a host: who owns what, and how a server of an earlier version gets them.

Whatever root, systemd or dockerd opens by name lies in a folder of root's. What the app may write to is a leaf: a folder below which nobody
but the app opens anything.
"""
from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import contained, env_file, local_packages, model, releases

Folder = tuple[int, int, int]  # mode, uid, gid
VENV_MARK = ".complete"  # what version 0.1.0 wrote into a venv, where the app could write it as well


def folders(app: dict, uid: int, gid: int) -> dict[str, Folder]:
    """Return path -> (mode, uid, gid) of an app's folders, parents first; ``uid`` and ``gid`` are those of its user."""
    root, shared = app["root"], app["shared"]
    found: dict[str, Folder] = {
        model.PRIVATE: (0o755, 0, 0),  # other parts of the collection keep files in it; each app has a folder of its own
        app["etc"]: (0o700, 0, 0),
        root: (0o711, 0, 0),
        f"{root}/releases": (0o711, 0, 0),
        f"{root}/static": (0o755, 0, 0),
        f"{root}/cache": (0o711, 0, 0),
        f"{root}/cache/build": (0o700, uid, gid),
        shared: (0o711, 0, 0),
        **dict.fromkeys(model.leaf_folders(app), (0o750, uid, gid)),
        f"{shared}/media": (0o2750, uid, app["edge_group"]),
    }
    if app["runtime"] == "systemd":
        found[f"{root}/venvs"] = (0o711, 0, 0)
        found[local_packages.place(app)] = (0o711, 0, 0)  # always empty: what runs has the code of its release there
    return found


def outdated_folders(wanted: dict[str, Folder]) -> list[str]:
    """Return the paths that are no folders, or have another mode or owner. Nothing is followed."""
    found = []
    for path, folder in wanted.items():
        try:
            have = contained.state(path)
        except OSError:
            have = None
        if have is None or not stat.S_ISDIR(have.st_mode) or (stat.S_IMODE(have.st_mode), have.st_uid, have.st_gid) != folder:
            found.append(path)
    return found


def obstacles(wanted: dict[str, Folder]) -> list[str]:
    """Return what lies where a folder has to be, as texts for people. A link of root's own leads to a disk that an operator has chosen."""
    found = []
    for path in wanted:
        try:
            have = contained.state(path)
        except OSError as error:
            found.append(f"{path}: {error.strerror}")
            continue
        if have is not None and not stat.S_ISDIR(have.st_mode) and not (stat.S_ISLNK(have.st_mode) and have.st_uid == 0):
            found.append(f"{path} is {contained.kind(have.st_mode)} where a folder has to be")
    return found


class Move:
    """The move of an app from the folders of an earlier version: what has to be done, and doing it.

    The app serves meanwhile and may be hostile. ``moved`` says what was or would be moved, a line each; ``left`` what stays where it is and
    why; with ``restart``, the single processes of the live release have to start again, since their files lie elsewhere now. ``manage(release)``
    returns the text of the script ``bin/manage`` of a release.
    """

    def __init__(self, app: dict, uid: int, gid: int, manage: Callable[[str], str], check: bool = False):
        self.app, self.uid, self.gid, self.manage, self.check = app, uid, gid, manage, check
        self.shelf = releases.Shelf(app["root"])
        self.moved: list[str] = []
        self.left: list[str] = []
        self.restart = False

    def run(self) -> None:
        """Move everything that lies where it lay before; a second run finds nothing."""
        if not contained.is_folder(self.app["root"]):
            return
        self.close(self.app["shared"], 0o711)
        self.secrets()
        self.state_files()
        self.cache()
        if self.app["runtime"] == "systemd":
            self.venvs()
        self.kept_releases()
        self.lock()
        gone = {line.partition(" to ")[0].partition(": removed")[0] for line in self.moved}
        self.left += [f"{path} lies in a folder of root's now: the app still reaches it, and makes nothing beside it (name a folder of its own in folders)"
                      for path in unknown_entries(self.app) if path not in gone]

    def do(self, line: str, act, *arguments) -> None:
        """Say what is moved, and do it but in check mode."""
        self.moved.append(line)
        if not self.check:
            act(*arguments)

    def close(self, path: str, mode: int) -> bool:
        """Give a folder that was the app's to root; return whether it was the app's."""
        have = contained.state(path)
        if have is None or not stat.S_ISDIR(have.st_mode) or have.st_uid == 0:
            return False
        self.do(f"{path} belongs to root", contained.folder, path, mode)
        return True

    def secrets(self) -> None:
        """Move the secrets out of the folder that was the app's."""
        for name in ("secrets.env", "secrets.env.before"):
            source, target = f"{self.app['shared']}/{name}", f"{self.app['etc']}/{name}"
            if contained.state(source) is None:
                continue
            if contained.is_file(source) and contained.state(target) is None:
                self.do(f"{source} to {target}", self.move_secrets, source, target)
            else:
                self.do(f"{source}: removed", contained.remove, source)

    def move_secrets(self, source: str, target: str) -> None:
        """Write what is an env file of ours anew, as root's."""
        try:
            text = env_file.render(env_file.parse(contained.read(source, 2**20).decode("utf-8", errors="replace")))
        except (env_file.EnvError, OSError) as error:
            self.left.append(f"{source} is no file of secrets ({error}); the next deploy writes them anew")
            return
        contained.folder(model.PRIVATE, 0o755)
        contained.folder(self.app["etc"], 0o700)
        contained.write(target, text, 0o600)
        contained.remove(source)

    def state_files(self) -> None:
        """Move schedules and locks of single processes into their leaf. A lock is held on the file itself, so it is held on."""
        shared, state = self.app["shared"], self.app["state"]
        names = {process["name"] for process in self.app["processes"]}
        names |= {process["name"] for record in self.shelf.records().values() for process in record.get("processes") or []}
        for name in contained.names(shared) if contained.is_folder(shared) else []:
            stem, _dot, ending = name.partition(".")
            if stem in names and ending.split(".")[0].split("-")[0] in ("lock", "schedule"):
                if contained.is_file(f"{shared}/{name}"):
                    self.do(f"{shared}/{name} to {state}/{name}", self.move_state, f"{shared}/{name}", f"{state}/{name}")
                else:
                    self.do(f"{shared}/{name}: removed, it was no file", contained.remove, f"{shared}/{name}")

    def move_state(self, source: str, target: str) -> None:
        """Move a file into the leaf of the single processes."""
        contained.folder(self.app["state"], 0o750, self.uid, self.gid)
        self.restart = True
        if contained.state(target) is None:
            contained.rename(source, target)
        else:
            contained.remove(source)

    def cache(self) -> None:
        """Take the cache away that the app could write: mirror, deploy key and packages come anew."""
        path = f"{self.app['root']}/cache"
        if self.close(path, 0o711):
            for name in contained.names(path):
                self.do(f"{path}/{name}: removed, it comes anew", contained.remove, f"{path}/{name}")

    def venvs(self) -> None:
        """Give the venvs to root, and put the mark of the complete ones where only root writes."""
        top = f"{self.app['root']}/venvs"
        self.close(top, 0o711)
        for name in contained.names(top):
            venv = f"{top}/{name}"
            if not contained.is_folder(venv) or contained.is_file(f"{venv}.complete"):
                continue
            if contained.is_file(f"{venv}/{VENV_MARK}"):
                self.do(f"{venv} belongs to root", self.seal_venv, venv)
            else:
                self.do(f"{venv}: removed, it was not complete", contained.remove, venv)

    def seal_venv(self, venv: str) -> None:
        """Give a venv to root."""
        contained.seal(venv, {self.uid}, self.gid)
        contained.write(f"{venv}.complete", "moved\n")

    def kept_releases(self) -> None:
        """Give what the kept releases run and serve to root, and tell their scripts where things lie now."""
        for release, record in self.shelf.records().items():
            if record.get("sealed") or record.get("outcome") != releases.GOOD:
                continue
            self.do(f"{self.shelf.path(release)} belongs to root", self.move_release, release, record)

    def move_release(self, release: str, record: dict) -> None:
        """Move one kept release."""
        folder = self.shelf.path(release)
        self.rewrite(release)
        env = contained.text(f"{folder}/env")
        if env:
            contained.write(f"{folder}/env", env, 0o640, 0, self.gid)
        for name, group, public in (("code", self.gid, False), ("static", self.app["edge_group"], True), ("frontends", self.app["edge_group"], True)):
            try:
                if contained.is_folder(f"{folder}/{name}"):
                    contained.seal(f"{folder}/{name}", {self.uid}, group, public)
            except OSError as error:
                self.left.append(f"{folder}/{name} still belongs to the app: {error.strerror}; deploy once more, and it is pruned in time")
                return
        contained.write(f"{folder}/release.json", releases.dumped(dict(record, sealed=True)), 0o640)

    def rewrite(self, release: str) -> None:
        """Tell the scripts and the compose project of a release where schedules, locks and secrets lie now; close them to other users."""
        shared, state, folder = self.app["shared"], self.app["state"], self.shelf.path(release)
        for path, mode, gid in [*((f"{folder}/bin/{name}", 0o750, self.gid) for name in contained.names(f"{folder}/bin")),
                                *((f"{folder}/ports/{name}", 0o640, self.gid) for name in contained.names(f"{folder}/ports")),
                                (f"{folder}/compose.yaml", 0o600, 0), (f"{folder}/units", 0o640, 0)]:
            text = contained.text(path)
            if not text:
                continue
            for name in {process["name"] for process in self.app["processes"]}:
                for ending in ("lock", "schedule"):
                    text = text.replace(f"{shared}/{name}.{ending}", f"{state}/{name}.{ending}")
            text = text.replace(f"{shared}/secrets.env", model.secrets_file(self.app))
            contained.write(path, self.manage(release) if path == f"{folder}/bin/manage" else text, mode, 0, gid)
        for name in ("bin", "ports"):
            if contained.is_folder(f"{folder}/{name}"):
                contained.folder(f"{folder}/{name}", 0o750, 0, self.gid)

    def lock(self) -> None:
        """Make the lock anew where others could open it: who has it open could hold it for ever."""
        path = f"{self.app['root']}/lock"
        have = contained.state(path)
        if have is not None and have.st_mode & 0o077:
            self.do(f"{path} is closed to other users", contained.write, path, contained.text(path), 0o600)
        ledger = f"{self.app['root']}/ledger.jsonl"
        have = contained.state(ledger)
        if have is not None and have.st_mode & 0o007:
            self.do(f"{ledger} is closed to other users", contained.write, ledger, contained.text(ledger, 2**30), 0o640)


def unknown_entries(app: dict) -> list[str]:
    """Return the paths in shared/ that are neither a leaf nor moved: the app wrote them there while it could."""
    leaves = {os.path.basename(path) for path in model.leaf_folders(app)}
    if not contained.is_folder(app["shared"]):
        return []
    return [f"{app['shared']}/{name}" for name in contained.names(app["shared"]) if name not in leaves]
