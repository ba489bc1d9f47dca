# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of an app, and the move from those of version 0.1.0, where the app owned what root opened by name."""
import json
import os
import stat
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.quayside.django.plugins.module_utils import contained, layout, model, releases, runtime_systemd
from ansible_collections.quayside.django.plugins.modules import app_root
from samples import CELERY, RELEASE, loaded

APP = 4242  # a uid that nobody has
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are changed, which only root can do")


@pytest.fixture
def app(tmp_path, monkeypatch):
    """An app as version 0.1.0 left it on a host, with a live release, and a victim outside."""
    root = tmp_path / "opt"
    monkeypatch.setattr(model, "PRIVATE", str(tmp_path / "etc"))
    app = dict(loaded(processes=CELERY), root=str(root), shared=f"{root}/shared", etc=f"{tmp_path}/etc/pos", state=f"{root}/shared/state")
    release = root / "releases" / RELEASE
    made = {root: 0, root / "releases": 0, release: 0, release / "bin": 0, release / "code": APP, release / "static": APP, root / "shared": APP,
            root / "shared" / "media": APP, root / "cache": APP, root / "venvs": APP, root / "venvs" / "abc": APP, tmp_path / "victim": 0}
    for path, owner in made.items():
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        os.chown(path, owner, owner)
    files = {root / "shared" / "secrets.env": ('SECRET_KEY="s"\n', APP), root / "shared" / "beat.lock": ("", APP),
             root / "shared" / "beat.schedule": ("x", APP), root / "shared" / "own.txt": ("x", APP), root / "cache" / "source_key": ("key", APP),
             root / "venvs" / "abc" / ".complete": ("", APP),
             release / "code" / "manage.py": ("x", APP), release / "static" / "a.css": ("x", APP), release / "env": ("", APP),
             release / "bin" / "beat": (f"exec flock {root}/shared/beat.lock celery --schedule {root}/shared/beat.schedule\n", 0),
             release / "bin" / "manage": (f". {root}/shared/secrets.env\n", 0), root / "lock": ("", 0), root / "ledger.jsonl": ("{}\n", 0),
             tmp_path / "victim" / "secret": ("secret", 0)}
    for path, (text, owner) in files.items():
        path.write_text(text)
        path.chmod(0o644)
        os.chown(path, owner, owner)
    (release / "release.json").write_text(releases.dumped({"outcome": releases.GOOD, "processes": app["processes"], "venv": str(root / "venvs" / "abc")}))
    (tmp_path / "victim" / "secret").chmod(0o600)
    return app


def moved(app, check=False) -> layout.Move:
    """Move the app, and make its folders, as the module app_root does."""
    move = layout.Move(app, APP, APP, lambda release: f"manage of {release}\n", check)
    move.run()
    if not check:
        for path in layout.outdated_folders(layout.folders(app, APP, APP)):
            contained.folder(path, *layout.folders(app, APP, APP)[path])
    return move


def owned(path: str) -> tuple[int, int]:
    """Return uid and mode of what lies at a path."""
    have = os.lstat(path)
    return have.st_uid, stat.S_IMODE(have.st_mode)


def test_what_root_opens_by_name_is_roots_afterwards(app):
    moved(app)
    folder = f"{app['root']}/releases/{RELEASE}"
    wanted = {app["shared"]: (0, 0o711), f"{app['shared']}/media": (APP, 0o2750), app["state"]: (APP, 0o750), f"{app['root']}/cache": (0, 0o711),
              f"{app['root']}/venvs": (0, 0o711), f"{app['root']}/venvs/abc": (0, 0o750), f"{app['root']}/venvs/abc.complete": (0, 0o644),
              f"{folder}/code": (0, 0o750), f"{folder}/code/manage.py": (0, 0o640), f"{folder}/static/a.css": (0, 0o644), f"{folder}/bin": (0, 0o750),
              f"{folder}/bin/beat": (0, 0o750), app["etc"]: (0, 0o700), f"{app['etc']}/secrets.env": (0, 0o600), f"{app['root']}/lock": (0, 0o600),
              f"{app['root']}/ledger.jsonl": (0, 0o640)}
    assert {path: owned(path) for path in wanted} == wanted
    assert not os.listdir(f"{app['root']}/cache") or os.listdir(f"{app['root']}/cache") == ["build"]
    assert contained.text(f"{app['etc']}/secrets.env") == 'SECRET_KEY="s"\n'
    assert not os.path.lexists(f"{app['shared']}/secrets.env")


def test_scripts_find_what_has_moved(app):
    move = moved(app)
    folder = f"{app['root']}/releases/{RELEASE}/bin"
    assert contained.text(f"{folder}/beat") == f"exec flock {app['state']}/beat.lock celery --schedule {app['state']}/beat.schedule\n"
    assert contained.text(f"{folder}/manage") == f"manage of {RELEASE}\n"
    assert sorted(os.listdir(app["state"])) == ["beat.lock", "beat.schedule"]
    assert move.restart


def test_a_lock_that_is_held_is_held_on(app):
    import fcntl

    with open(f"{app['shared']}/beat.lock", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        moved(app)
        with open(f"{app['state']}/beat.lock", encoding="utf-8") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_second_run_changes_nothing(app):
    assert moved(app).moved
    again = moved(app)
    assert (again.moved, layout.outdated_folders(layout.folders(app, APP, APP))) == ([], [])
    assert [line.split(" lies in ")[0] for line in again.left] == [f"{app['shared']}/own.txt"]


def test_check_mode_says_the_same_and_changes_nothing(app):
    before = {path: os.lstat(path) for path, _folders, _names in os.walk(app["root"])}
    said = moved(app, check=True).moved
    assert {path: os.lstat(path)[:5] for path in before} == {path: have[:5] for path, have in before.items()}
    assert said and set(said) <= set(moved(app).moved) | {f"{app['root']}/cache/source_key: removed, it comes anew"}


PLANTS = {"link": lambda path, victim: os.symlink(f"{victim}/secret", path), "link to the folder": lambda path, victim: os.symlink(victim, path),
          "FIFO": lambda path, _victim: os.mkfifo(path), "folder": lambda path, _victim: os.mkdir(path)}


@pytest.mark.parametrize("what", PLANTS)
@pytest.mark.parametrize("where", ["shared/secrets.env", "shared/secrets.env.before", "shared/beat.lock", "shared/beat.schedule", "cache/source_key",
                                   "shared/media", "shared/state", "cache/build", "venvs/abc/.complete", "venvs/abc/lib",
                                   "releases/{}/static/x", "releases/{}/code/x"])
def test_nothing_follows_what_the_app_has_planted(app, tmp_path, what, where):
    path, victim = f"{app['root']}/{where.format(RELEASE)}", str(tmp_path / "victim")
    contained.remove(path)
    PLANTS[what](path, victim)
    os.chown(path, APP, APP, follow_symlinks=False)
    try:
        moved(app)
    except contained.ContainedError as error:
        assert where.rsplit("/", 1)[1].split(".")[0] in str(error)
    assert owned(victim) == (0, 0o755)
    assert owned(f"{victim}/secret") == (0, 0o600)
    assert os.listdir(victim) == ["secret"]
    assert "secret" not in contained.text(f"{app['etc']}/secrets.env").replace("SECRET", "")
    assert owned(app["shared"]) == (0, 0o711)


@pytest.mark.parametrize("what", [name for name in PLANTS if name != "folder"])
@pytest.mark.parametrize("where", ["shared/media", "shared/state", "cache/build", "shared", "venvs"])
def test_what_lies_in_the_way_is_told_before_anything_moves(app, tmp_path, what, where):
    path = f"{app['root']}/{where}"
    contained.remove(path)
    PLANTS[what](path, str(tmp_path / "victim"))
    os.chown(path, APP, APP, follow_symlinks=False)
    assert any(text.startswith(path) for text in layout.obstacles(layout.folders(app, APP, APP)))


def test_a_disk_that_an_operator_has_linked_is_no_obstacle(app, tmp_path):
    contained.remove(f"{app['shared']}/media")
    os.symlink(tmp_path / "victim", f"{app['shared']}/media")
    assert layout.obstacles(layout.folders(app, APP, APP)) == []


def snapshot(top: str) -> dict:
    """Return path -> owner, mode, and target or size of all below a folder."""
    paths = [os.path.join(base, name) for base, folders, names in os.walk(top) for name in [*folders, *names]]
    return {path: (*os.lstat(path)[:6], os.readlink(path) if os.path.islink(path) else "") for path in sorted(paths)}


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize("what", ["link to the folder", "FIFO"])
@pytest.mark.parametrize("where", ["shared/media", "shared/state", "cache/build"])
def test_the_module_refuses_before_it_changes_anything(app, tmp_path, monkeypatch, capsys, check, what, where):
    path = f"{app['root']}/{where}"
    contained.remove(path)
    PLANTS[what](path, str(tmp_path / "victim"))
    os.chown(path, APP, APP, follow_symlinks=False)
    monkeypatch.setattr(runtime_systemd, "UNITS", str(tmp_path / "etc"))
    monkeypatch.setattr(app_root.host, "write", lambda *_arguments: pytest.fail("a file was written"))  # not on the machine that tests, either
    monkeypatch.setattr(app_root.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=APP, pw_gid=APP))
    before = snapshot(str(tmp_path))
    with patch_module_args({"app": app, "apps": [app], "_ansible_check_mode": check}), pytest.raises(SystemExit):
        app_root.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"]
    assert path in answer["msg"]
    assert "Nothing was changed" in answer["msg"]
    assert snapshot(str(tmp_path)) == before
