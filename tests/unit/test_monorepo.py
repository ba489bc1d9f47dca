# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths beside the app's root, in a repository that holds more than the app."""
from __future__ import annotations

import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model, python_env, releases, runtime_systemd, source
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import RELEASE, loaded

SOURCE = {"repo": "https://git.example.com/x.git", "subdir": "apps/shop"}


def fields(path):
    return [("build[0].folder", {"build": [{"command": "make", "folder": path}]}), ("python.requirements", {"python": {"requirements": [path]}}),
            ("frontends[spa].folder", {"frontends": [{"name": "spa", "folder": path, "route": "/app/"}]})]


@pytest.mark.parametrize("path", ["../frontend", "../../requirements/base.txt", "../../x", "a/../b", "web", "./web"])
@pytest.mark.parametrize("number", range(3))
def test_what_lies_inside_the_repository_is_taken(path, number):
    assert loaded(source=SOURCE, **fields(path)[number][1])


@pytest.mark.parametrize("path", ["../../../x", "/etc", "../..//../x", "a/../../../../x", "../x y", "../$x"])
@pytest.mark.parametrize("number", range(3))
def test_what_leads_out_of_it_is_refused_before_any_host_is_touched(path, number):
    label, field = fields(path)[number]
    with pytest.raises(model.ModelError, match="is no path inside the repository") as error:
        loaded(source=SOURCE, **field)
    assert label in str(error.value)


def test_without_a_subdir_nothing_lies_above():
    with pytest.raises(model.ModelError, match="build.0..folder: '../frontend' is no path inside the repository"):
        loaded(build=[{"command": "make", "folder": "../frontend"}])


def test_the_whole_repository_is_no_frontend():
    with pytest.raises(model.ModelError, match="is the whole repository"):
        loaded(source=SOURCE, frontends=[{"name": "spa", "folder": "../..", "route": "/app/"}])


def test_systemd_gets_folders_without_dots(monkeypatch):
    app = loaded(source=SOURCE, build=[{"command": "make", "folder": "../frontend"}, {"command": "make"}],
                 frontends=[{"name": "spa", "folder": "../frontend/dist", "route": "/app/"}])
    runtime, ran, published = Systemd(app, releases.Shelf(app["root"]), apps=[app]), [], []
    runtime.build_command = lambda _release, _verb, _command, _shown, _env, _writable, folder, _timeout: ran.append(folder)
    monkeypatch.setattr(runtime_systemd.sandbox, "run", lambda *_words: subprocess.CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(runtime_systemd.host, "ids", lambda _user: (0, 0))
    for name in ("folder", "remove", "seal", "write"):
        monkeypatch.setattr(runtime_systemd.contained, name, lambda *_words: False)
    monkeypatch.setattr(runtime_systemd.release_tree, "publish", lambda _app, _release, request, *_more: published.append(request["folders"][0]["source"]))
    runtime.make(RELEASE, "key", runtime_systemd.builds.Build((0, 1), (".",)))
    runtime.publish(RELEASE)
    assert ran == ["/opt/pos/code/apps/frontend", "/opt/pos/code/apps/shop"]
    assert published == ["apps/frontend/dist"]


def test_requirements_above_the_app_are_read_and_nothing_above_the_repository(tmp_path):
    (tmp_path / "code" / "apps" / "shop").mkdir(parents=True)
    (tmp_path / "code" / "requirements.txt").write_text("-r ../outside.txt\ndjango\n")
    (tmp_path / "outside.txt").write_text("secret\n")
    found = python_env.gather(loaded(python={"requirements": ["../../requirements.txt"]}, source=SOURCE)["python"],
                              lambda name, limit: source.text_inside(str(tmp_path / "code"), f"apps/shop/{name}", limit), "apps/shop")
    assert list(found) == ["../../requirements.txt"]
