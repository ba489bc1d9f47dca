# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a release stands on its own, and a live release that does not is noticed."""
import json
import os
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import contained, host, releases
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import loaded

OLD, NEW = "20261128000000-aaaaaaa", "20261128000001-bbbbbbb"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An app with one release, whose settings have the folder of static files fixed."""
    app = dict(loaded(static={"root": "staticfiles"}, media={"root": "media"}), root=str(tmp_path / "shop"))
    shelf = releases.Shelf(app["root"])
    code, venv = tmp_path / "shop/releases" / OLD / "code", tmp_path / "shop/venvs/1"
    for folder in (code / "static", code / "node_modules/.bin", venv, tmp_path / "shop/shared/media", tmp_path / "shop/releases" / OLD / "static"):
        folder.mkdir(parents=True)
    (code / "manage.py").write_text("")
    (code / "staticfiles").symlink_to(shelf.path(OLD, "static"))
    (code / "media").symlink_to(f"{app['root']}/shared/media")
    (code / "node_modules/.bin/vite").symlink_to("../vite/bin/vite.js")
    (code / "absolute").symlink_to(shelf.path(OLD, "code", "manage.py"))
    (tmp_path / "shop/releases" / OLD / "release.json").write_text(json.dumps({"venv": str(venv)}))
    runtime = Systemd(app, shelf)
    monkeypatch.setattr(runtime, "choose_ports", lambda release: {})
    monkeypatch.setattr(runtime, "write_ports", lambda release, ports: None)
    monkeypatch.setattr(runtime, "install", lambda only_missing: [])
    return runtime


def copied(runtime, target=OLD, release=NEW):
    os.makedirs(runtime.shelf.path(release, "code"))
    subprocess.run(["cp", "-a", runtime.shelf.path(target, "release.json"), runtime.shelf.path(release)], check=True)
    runtime.copy(target, release, {})


@pytest.mark.proves("0.46")
def test_a_copy_has_no_link_into_what_it_was_copied_from(shop):
    copied(shop)
    code = shop.shelf.path(NEW, "code")
    assert os.readlink(f"{code}/staticfiles") == shop.shelf.path(NEW, "static")
    assert os.readlink(f"{code}/absolute") == shop.shelf.path(NEW, "code", "manage.py")
    assert os.readlink(f"{code}/media") == f"{shop.app['root']}/shared/media"
    assert os.readlink(f"{code}/node_modules/.bin/vite") == "../vite/bin/vite.js"
    # What it was copied from goes on as it was: the live release may be restarted while it is copied.
    assert os.readlink(shop.shelf.path(OLD, "code", "staticfiles")) == shop.shelf.path(OLD, "static")
    host.remove(shop.shelf.path(OLD))
    assert shop.damage(NEW) == []


def test_a_copy_of_a_copy_that_an_earlier_version_made_is_mended(shop):
    contained.link(shop.shelf.path(OLD, "code", "staticfiles"), shop.shelf.path("20261127000000-ccccccc", "static"))
    copied(shop)
    assert os.readlink(shop.shelf.path(NEW, "code", "staticfiles")) == shop.shelf.path(NEW, "static")


@pytest.mark.parametrize(("harm", "reason"), [
    (lambda shop: contained.link(shop.shelf.path(OLD, "code", "staticfiles"), shop.shelf.path(NEW, "static")), f"leads into another release, {NEW}"),
    (lambda shop: host.remove(f"{shop.app['root']}/venvs/1"), "venvs/1 is gone"),
    (lambda shop: host.remove(shop.shelf.path(OLD, "code")), "code is gone"),
], ids=["link", "venv", "code"])
def test_a_release_that_would_not_start_again_is_noticed(shop, harm, reason):
    assert shop.damage(OLD) == []
    harm(shop)
    (found,) = shop.damage(OLD)
    assert found.endswith(reason)


def test_links_are_found_without_being_followed(tmp_path):
    assert contained.target_of(str(tmp_path / "nothing")) == ""
    (tmp_path / "file").write_text("")
    assert contained.target_of(str(tmp_path / "file")) == ""
    (tmp_path / "link").symlink_to("/etc/shadow")
    assert contained.target_of(str(tmp_path / "link")) == "/etc/shadow"


def test_a_command_may_write_what_a_process_may_and_static_files(shop):
    argv = shop.one_off(OLD, ["true"], "commands", 60)
    (writable,) = [word for word in argv if word.startswith("--property=ReadWritePaths=")]
    release = shop.shelf.path(OLD)
    assert writable.partition("=")[2].partition("=")[2].split() == [shop.app["shared"], f"{release}/run", f"{release}/static"]
    assert f"--property=BindReadOnlyPaths={release}/code:{shop.app['shared'].rpartition('/')[0]}/code" in argv


def test_a_release_in_containers_needs_its_project(tmp_path):
    app = dict(loaded(runtime="compose"), root=str(tmp_path))
    runtime = Compose(app, releases.Shelf(app["root"]))
    project = tmp_path / "releases" / OLD / "compose.yaml"
    project.parent.mkdir(parents=True)
    assert runtime.damage(OLD) == [f"{project} is gone"]
    project.write_text("{}")
    assert runtime.damage(OLD) == []
