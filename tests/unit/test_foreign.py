# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has under the names of an app is refused unless the collection made it."""
from __future__ import annotations

import json
import os
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from ansible_collections.quayside.django.plugins.module_utils import container_units, foreign, units
from samples import CELERY, loaded

EMPTY = {"files": {}, "loaded": {}, "user": None, "group": None, "redis_user": None, "root": {"kind": "missing", "names": [], "above": {}}, "network": None,
         "images": {}, "roles": {}, "known": False}
OURS = {"uid": 998, "gid": 997, "home": "/opt/pos/shared", "shell": "/usr/sbin/nologin"}
ROLE = {"strong": False, "owns": ["pos"]}


def judged(app=None, **seen):
    """Return what is said of a host."""
    return foreign.judge(app or loaded(), {**EMPTY, **seen})


@pytest.mark.parametrize("seen", [
    {}, {"user": OURS, "group": {"gid": 997}}, {"user": {**OURS, "home": "/srv/before/shared"}, "group": {"gid": 997}},
    {"user": {**OURS, "home": "/var/lib/quayside/pos"}, "group": {"gid": 997}},
    # A run of site.yml that ended after the Redis of the app and before the app itself.
    {"group": {"gid": 997}, "redis_user": {"uid": 996, "gid": 65534, "home": "/nonexistent", "shell": "/usr/sbin/nologin"}},
    {"root": {"kind": "folder", "names": ["releases", "shared", "live", "anything"], "above": {}}},
    {"root": {"kind": "folder", "names": [], "above": {}}}, {"root": {"kind": "folder", "names": ["lost+found", "shared"], "above": {}}},
    {"network": "pos"}, {"roles": {"pos": ROLE}}, {"roles": {"pos": {"strong": False, "owns": []}}}, {"roles": {"postgres": {"strong": True, "owns": ["x"]}}},
    {"known": True, "roles": {"before": ROLE, "pos": {"strong": False, "owns": ["other"]}}},
])
def test_an_empty_host_and_what_earlier_versions_made_are_fine(seen):
    assert judged(**seen) == []


@pytest.mark.parametrize(("seen", "words"), [
    ({"files": {"/lib/systemd/system/pos.service": " but of a package's"}}, "/lib/systemd/system/pos.service is there and not of this app's making but of a "
                                                                           "package's: give the app another name (name: my-pos)"),
    ({"loaded": {"pos.service": "/run/systemd/transient/pos.service"}}, "the unit pos.service runs and is not of this app's making (it is from /run/systemd"),
    ({"user": {**OURS, "shell": "/bin/bash"}, "group": {"gid": 997}}, "user: pos is an account that people log in by (shell /bin/bash): name one of"),
    ({"user": {**OURS, "shell": ""}}, "user: pos is an account that people log in by (shell /bin/sh)"),
    ({"user": {**OURS, "shell": "/usr/bin/git-shell", "home": "/home/git"}}, "user: pos is an account that people log in by (shell /usr/bin/git-shell)"),
    ({"user": {**OURS, "home": "/var/lib/gitea"}}, "user: pos is an account of the system's or of another program's (home /var/lib/gitea)"),
    ({"user": {**OURS, "uid": 0}}, "user: pos is an account that people log in by"),
    ({"user": {**OURS, "home": "/var/lib/postgresql"}}, "user: pos is an account of the system's or of another program's (home /var/lib/postgresql)"),
    ({"user": {**OURS, "home": "/nonexistent"}}, "user: pos is an account of the system's"),
    ({"user": OURS, "group": {"gid": 27}}, "user: the group pos is not the one of the user pos"),
    ({"group": {"gid": 999}}, "user: the group pos is there without a user of that name"),
    ({"root": {"kind": "link", "names": [], "above": {}}}, "root: /opt/pos is a link, and a folder of its own is needed"),
    ({"root": {"kind": "folder", "names": ["bin", "etc"], "above": {}}}, "root: /opt/pos is there and not of this app's making (it holds bin, etc)"),
    ({"root": {"kind": "missing", "names": [], "above": {"/opt": "ann"}}}, "root: /opt belongs to ann, who could put another folder in the place of /opt/pos: "
                                                                           "chown root:root /opt; chmod go-w /opt"),
    ({"network": ""}, "network: there is a Docker network pos that is not of this app's making: name another one (network: my-pos), or remove it if nothing "
                      "needs it (docker network rm pos)"),
    ({"network": "till"}, "network: there is a Docker network pos that is not of this app's making"),
    ({"images": {"quayside/pos-app": "till"}}, "images: quayside/pos-app on this host is of the app till: name another repository"),
    ({"images": {"quayside/pos-app": ""}}, "images: quayside/pos-app on this host is not of this app's making"),
    ({"roles": {"pos": {"strong": True, "owns": []}}}, "database.user: the role pos has rights beyond a database of its own"),
    ({"known": True, "roles": {"pos": {"strong": True, "owns": ["pos"]}}}, "database.user: the role pos has rights beyond"),
    ({"roles": {"pos": {"strong": False, "owns": ["warehouse"]}}}, "database.user: the role pos owns warehouse and not pos"),
    ({"roles": {"ann": ROLE}}, "database.name: the database pos belongs to ann: name another one"),
])
def test_what_somebody_else_made_is_refused_with_the_reason(seen, words):
    (found,) = judged(**seen)
    assert found.startswith(f"app pos: {words}"), found


def test_the_group_of_a_changed_user_is_not_taken_over():
    (found,) = judged(loaded(user="till"), group={"gid": 103}, redis_user={"uid": 996, "gid": 65534, "home": "/nonexistent", "shell": "/usr/sbin/nologin"})
    assert found.startswith("app pos: user: the group till is there without a user of that name")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Return a host of four folders of units and nothing else."""
    made = [tmp_path / name for name in ("etc", "run", "local", "lib")]
    for path in made:
        path.mkdir()
    monkeypatch.setattr(foreign, "UNIT_FOLDERS", (*(str(path) for path in made), str(made[-1])))
    monkeypatch.setattr(foreign, "OWN_UNITS", str(made[0]))
    return made


@pytest.mark.parametrize("app", [loaded(processes=CELERY), loaded(runtime="compose")], ids=["systemd", "compose"])
def test_the_units_of_the_collection_are_its_own(folders, app):
    wanted = units.files(app) if app["runtime"] == "systemd" else container_units.files(app)
    for name, text in wanted.items():
        (folders[0] / name).parent.mkdir(exist_ok=True)
        (folders[0] / name).write_text(text)
    assert foreign.files(app, list(wanted)) == {}


@pytest.mark.parametrize(("folder", "name"), [(0, "pos.service"), (0, "pos-web@.service"), (1, "pos.service"), (2, "pos-web@.service"), (3, "pos.service"),
                                              (0, "pos.timer"), (3, "pos.socket")])
def test_units_of_others_are_found(folders, folder, name):
    (folders[folder] / name).write_text("[Unit]\nDescription=of somebody\n")
    assert list(foreign.files(loaded(), ["pos.service", "pos-web@.service"])) == [str(folders[folder] / name)]


def test_the_unit_of_another_app_and_a_link_are_of_others(folders):
    (folders[0] / "pos.service").write_text(units.umbrella(loaded(name="till")))
    (folders[0] / "pos-web@.service").symlink_to("/dev/null")
    assert foreign.files(loaded(), ["pos.service", "pos-web@.service"]) == {
        str(folders[0] / "pos.service"): "", str(folders[0] / "pos-web@.service"): " (a link to /dev/null)"}


@pytest.mark.parametrize(("shown", "found"), [
    ("Id=pos.service\nLoadState=not-found\nFragmentPath=\n", {}),
    ("Id=pos.service\nLoadState=loaded\nFragmentPath=/etc/systemd/system/pos.service\n", {}),
    ("Id=pos.service\nLoadState=loaded\nFragmentPath=/run/systemd/transient/pos.service\n", {"pos.service": "/run/systemd/transient/pos.service"}),
    ("Id=dbus-broker.service\nLoadState=loaded\nFragmentPath=/usr/lib/systemd/system/dbus-broker.service\n",
     {"pos.service": "/usr/lib/systemd/system/dbus-broker.service"}),
    ("", {}),
])
def test_what_systemd_knows_under_the_name(monkeypatch, shown, found):
    monkeypatch.setattr(foreign.host, "systemctl", create_autospec(foreign.host.systemctl, return_value=SimpleNamespace(stdout=shown)))
    assert foreign.loaded("pos.service") == found


def test_the_root_is_looked_at_without_following_it(tmp_path):
    (tmp_path / "pos").symlink_to("/etc")
    assert foreign.root(str(tmp_path / "pos"))["kind"] == "link to /etc"
    (tmp_path / "file").write_text("")
    assert foreign.root(str(tmp_path / "file"))["kind"] == "file"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "till").mkdir()
    assert str(tmp_path / "open") in foreign.root(str(tmp_path / "open" / "till"))["above"]
    assert foreign.root(str(tmp_path / "none" / "till"))["kind"] == "missing"


def test_images_of_others_are_found(monkeypatch):
    listed = [{"RepoTags": ["quayside/pos-app:1", "x:2"], "Labels": {"quayside.app": "pos"}}, {"RepoTags": None, "Labels": None}]
    monkeypatch.setattr(foreign, "Engine", lambda **_options: SimpleNamespace(get=lambda _path: listed))
    app = loaded(runtime="compose")
    assert foreign.images(app) == {}
    listed.append({"RepoTags": ["quayside/pos-app:3"], "Labels": None})
    assert foreign.images(app) == {"quayside/pos-app": ""}
    listed.append({"RepoTags": ["reg:5000/pos:3"], "Labels": {"quayside.app": "till"}})
    assert foreign.images(loaded(runtime="compose", images=[{"name": "app", "repository": "reg:5000/pos", "archive": "a"}])) == {"reg:5000/pos": "till"}
    assert foreign.images(loaded(runtime="compose", source={}, images=[{"name": "app", "repository": "reg:5000/pos"}])) == {}


def test_a_server_of_postgresql_that_does_not_answer_has_no_roles(monkeypatch):
    monkeypatch.setattr(foreign.glob, "glob", lambda _pattern: ["/run/postgresql/.s.PGSQL.5432"])
    answer = create_autospec(foreign.host.run, return_value=SimpleNamespace(returncode=2, stdout=""))
    monkeypatch.setattr(foreign.host, "run", answer)
    assert foreign.roles() == {}
    answer.return_value = SimpleNamespace(returncode=0, stdout=json.dumps({"pos": ROLE}))
    assert foreign.roles() == {"pos": ROLE}
    assert answer.call_args.args[0][:5] == ["runuser", "-u", "postgres", "--", "psql"]


def test_a_host_that_has_nothing_is_looked_at():
    seen = foreign.look(loaded(name="quite-unknown-app"), ["apps"])
    assert (seen["user"], seen["group"], seen["network"], seen["roles"], seen["known"]) == (None, None, None, {}, False)
    assert foreign.look(loaded(), []) == {**EMPTY, "known": os.path.exists("/etc/systemd/system/pos.service")}
