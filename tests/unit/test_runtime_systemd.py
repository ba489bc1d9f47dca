# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd runtime: what it writes for a release."""
import os
import stat

import pytest
from ansible_collections.quayside.django.plugins.module_utils import contained, host, releases, runtime_systemd
from samples import RELEASE, loaded

APP = 4242  # a gid that nobody has


@pytest.mark.skipif(os.geteuid() != 0, reason="groups are changed, which only root can do")
def test_programs_of_a_release_are_read_by_root_and_the_app_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "ids", lambda _user: (APP, APP))
    monkeypatch.setattr(runtime_systemd, "source_of", lambda module: f"# {module.__name__}\n")
    app = dict(loaded(), root=str(tmp_path))
    runtime = runtime_systemd.Systemd(app, releases.Shelf(app["root"]))
    folder = tmp_path / "releases" / RELEASE
    for name in ("bin", "lib", "ports"):
        contained.folder(str(folder / name), 0o755)
    runtime.write_scripts(RELEASE, f"{tmp_path}/venvs/abc", {})
    written = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in written} == {"bin", "lib"}
    wrong = {name: have for name, have in written.items()
             if (have.st_uid, have.st_gid, stat.S_IMODE(have.st_mode)) != (0, APP, 0o750 if name.startswith("bin/") else 0o640)}
    assert not wrong
