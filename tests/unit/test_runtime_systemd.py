# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd runtime: what it writes for a release."""
import os
import stat
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.quayside.django.plugins.module_utils import contained, host, releases, runtime_systemd
from ansible_collections.quayside.django.plugins.modules import app_root
from samples import RELEASE, loaded

APP = 4242  # a gid that nobody has


@pytest.mark.skipif(os.geteuid() != 0, reason="groups are changed, which only root can do")
def test_programs_of_a_release_are_read_by_root_and_the_app_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "ids", lambda _user: (APP, APP))
    monkeypatch.setattr(runtime_systemd, "source_of", lambda module: f"# {module.__name__}\n")
    app = dict(loaded(), root=str(tmp_path))
    runtime = runtime_systemd.Systemd(app, releases.Shelf(app["root"]), apps=[app])
    folder = tmp_path / "releases" / RELEASE
    for name in ("bin", "lib", "ports"):
        contained.folder(str(folder / name), 0o755)
    runtime.write_scripts(RELEASE, f"{tmp_path}/venvs/abc", {})
    written = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in written} == {"bin", "lib"}
    wrong = {name: have for name, have in written.items()
             if (have.st_uid, have.st_gid, stat.S_IMODE(have.st_mode)) != (0, APP, 0o750 if name.startswith("bin/") else 0o640)}
    assert not wrong


def test_the_units_that_site_writes_are_those_of_the_next_deploy(monkeypatch, tmp_path):
    """What one app may take of a host depends on the others."""
    app, other = loaded(), loaded(name="annex", domains=["annex.example.com"], runtime="compose")
    monkeypatch.setattr(runtime_systemd, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(host, "size", lambda: (2, 4096))
    written = {}
    monkeypatch.setattr(host, "write", lambda path, text, *_mode: written.update({os.path.basename(path): text}))
    monkeypatch.setattr(host, "folder", lambda *_arguments: None)
    monkeypatch.setattr(app_root.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=APP, pw_gid=APP))
    monkeypatch.setattr(runtime_systemd.Systemd, "outdated", lambda _self: {"x": ("", "x")})
    monkeypatch.setattr(app_root.layout.Move, "run", lambda _self: None)
    monkeypatch.setattr(runtime_systemd.host, "run", lambda *_arguments, **_more: SimpleNamespace(stdout="", returncode=0))
    with patch_module_args({"app": app, "apps": [app, other]}), pytest.raises(SystemExit):
        app_root.main()
    of_deploy = runtime_systemd.Systemd(app, releases.Shelf(app["root"]), apps=[app, other]).files()
    assert {name: written.get(os.path.basename(name)) for name in of_deploy} == of_deploy


def test_what_speaks_with_workers_may_write_nothing_that_is_sealed_later(monkeypatch, tmp_path):
    app = dict(loaded(), root=str(tmp_path))
    runtime = runtime_systemd.Systemd(app, releases.Shelf(app["root"]), apps=[app])
    monkeypatch.setattr(runtime.shelf, "record", lambda _release: {"venv": "/venv"})
    folder = f"{tmp_path}/releases/{RELEASE}"
    writable = {}
    for verb in ("one_off", "onlooker"):
        words = getattr(runtime, verb)(RELEASE, ["true"], "x", 1)
        writable[verb] = {path for word in words if "ReadWritePaths=" in word for path in word.partition("ReadWritePaths=")[2].split()
                          if path.lstrip("-+").startswith(folder)}
    assert f"{folder}/static" in " ".join(writable["one_off"])
    assert [path.lstrip("-+") for path in writable["onlooker"]] == [f"{folder}/run"]
