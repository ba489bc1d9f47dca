# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os

import pytest
from ansible_collections.quayside.django.plugins.module_utils import env_file, model
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.modules import move_database
from samples import RELEASE, loaded


def moving(tmp_path, env=(("DATABASE_PATH", "/nowhere/db.sqlite3"),), live=True, **fields):
    """Return a move of an app whose live release has ``env``."""
    root = tmp_path / "pos"
    release = root / "releases" / RELEASE
    release.mkdir(parents=True)
    (release / "env").write_text(env_file.render(dict(env)))
    (release / "release.json").write_text(json.dumps({"version": "v1", "venv": "/venv"}))
    if live:
        os.symlink(f"releases/{RELEASE}", root / "live")
    app = dict(model.public(loaded(**fields)), root=str(root), shared=f"{root}/shared")
    return move_database.Move({"app": app, "source": "", "secrets": {"DATABASE_URL": "postgresql://x"}, "timeout": 9}, False)


@pytest.mark.parametrize(("fields", "text"), [
    ({"database": {"engine": "sqlite"}}, "database.engine of pos is sqlite: set it to postgresql, container or external"),
    ({"live": False}, "no release of pos is live here, so there is nothing to move: run quayside.django.deploy"),
    ({"env": [("DATABASE_NAME", "pos")]}, f"the live release {RELEASE} does not run on SQLite"),
    ({}, "there is no SQLite database at /nowhere/db.sqlite3"),
])
def test_what_cannot_be_moved_is_told(tmp_path, fields, text):
    with pytest.raises(PhaseError, match=text):
        moving(tmp_path, **fields).refuse()


def test_the_release_is_led_to_the_new_database_alone(tmp_path):
    order = moving(tmp_path, env=[("DATABASE_PATH", "/x"), ("DATABASE_URL", "sqlite:////x"), ("DEBUG", "0")]).order("move", "/copy")
    assert sorted(order["unset"]) == ["DATABASE_PATH", "DATABASE_URL"]
    assert (order["env"]["DATABASE_NAME"], order["env"]["DATABASE_URL"]) == ("pos", "postgresql://x")
    assert "DATABASE_PATH" not in order["env"] and (order["do"], order["source"]) == ("move", "/copy")


def test_a_container_gets_the_socket_of_the_host():
    app = loaded(runtime="compose")
    argv = ["docker", "compose", "-f", "x", "run", "--rm", "manage"]
    assert move_database.reach(app, argv) == ["docker", "compose", "-f", "x", "run", "--volume", "/run/postgresql:/run/postgresql", "--rm", "manage"]
    assert move_database.reach(loaded(), argv) == argv
