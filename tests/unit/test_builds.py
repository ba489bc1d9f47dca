# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app builds beside its venv: once from the same inputs, with nothing lost of what it wrote, and root's before it is used."""
from __future__ import annotations

import os
import stat
import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.quayside.django.plugins.module_utils import builds, contained, host, model, releases, sandbox
from ansible_collections.quayside.django.plugins.module_utils.builds import Build
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import SECRETS, loaded

FIRST, SECOND = "20261128000000-aaaaaaa", "20261128000001-bbbbbbb"
APP = 4242  # a uid and gid that nobody has
NPM = {"command": "mkdir -p dist; cat app.js >dist/app.js; mkdir -p ../node_modules; echo lib >../node_modules/lib", "folder": "frontend",
       "inputs": ["frontend", "package.json"]}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="owners are changed, which only root can do")


@pytest.mark.parametrize(("inputs", "found"), [
    ([["."]], [((0,), (".",))]),
    ([["a"], ["b"]], [((0,), ("a",)), ((1,), ("b",))]),
    ([["a"], ["a/b"]], [((0, 1), ("a",))]),
    ([["a", "x"], ["b"], ["c", "x"]], [((0, 2), ("a", "c", "x")), ((1,), ("b",))]),
    ([["a"], ["b"], ["a", "b"]], [((0, 1, 2), ("a", "b"))]),
    ([["a"], ["."], ["b"]], [((0, 1, 2), (".",))]),
    ([["app"], ["app-2"]], [((0,), ("app",)), ((1,), ("app-2",))]),
    ([], []),
])
def test_commands_that_could_read_what_another_wrote_are_one_build(inputs, found):
    assert builds.grouped(inputs) == [Build(*one) for one in found]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that gives the runtime of an app, and makes the code of a release; commands run on this machine, in the build's folder."""
    monkeypatch.setattr(host, "ids", lambda _user: (os.geteuid(), os.getegid()) if os.geteuid() else (APP, APP))
    monkeypatch.setattr(builds, "programs", lambda: "the packages of today")
    monkeypatch.setattr(sandbox, "run", lambda unit, command, _env: subprocess.run(command, cwd=unit.folder, capture_output=True, text=True, check=False))
    ran = []

    def run(_release, _verb, command, shown, env, writable, folder, _timeout):
        (seen,) = writable
        real, _colon, place = seen.partition(":")
        ran.append(shown)
        subprocess.run(command, cwd=folder.replace(place, real, 1), env={**os.environ, **env}, check=True)
        for path, _folder, _name, have in contained.walk(real):
            if os.geteuid() == 0 and not have.st_uid:
                os.chown(f"{real}/{path}", APP, APP, follow_symlinks=False)

    def make(release, files=None, **fields):
        app = dict(loaded(**{"build": [NPM], **fields}), root=str(tmp_path), shared=str(tmp_path / "shared"))
        runtime = Systemd(app, releases.Shelf(app["root"]), {"SECRET_KEY": "k", **model.secret_environment(app)}, [app])
        runtime.build_command = run
        code = tmp_path / "releases" / release / "code"
        for name, text in {"manage.py": "1", "frontend/app.js": "1", "package.json": "{}", "static/site.css": "1", **(files or {})}.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(text)
        return runtime, code

    def build(release, files=None, **fields):
        runtime, code = make(release, files, **fields)
        others = runtime.others(release, {"rebuilt": ""})
        said = [runtime.make(release, made, one) for made, one in others.items()]
        for made, one in others.items():
            builds.place(str(tmp_path), made, one, str(code), *host.ids(""))
        return SimpleNamespace(code=code, keys=list(others), said=said, runtime=runtime)

    return SimpleNamespace(make=make, build=build, ran=ran, root=tmp_path)


def test_the_same_inputs_are_built_once_and_nothing_that_was_written_is_lost(site):
    first = site.build(FIRST)
    second = site.build(SECOND, {"manage.py": "2"})
    assert len(site.ran) == 1
    assert "reused" in second.said[0]
    for one in (first, second):
        assert (one.code / "frontend/dist/app.js").read_text() == "1"
        assert (one.code / "node_modules/lib").read_text() == "lib\n"
        assert (one.code / "static/site.css").read_text() == "1"
    assert (second.code / "manage.py").read_text() == "2"
    assert (first.code / "frontend/dist/app.js").stat().st_ino == (second.code / "frontend/dist/app.js").stat().st_ino


def test_without_inputs_all_of_the_source_counts(site):
    whole = {"command": "cat manage.py static/site.css >built; rm static/site.css"}
    same = [site.build(FIRST, build=[whole]), site.build(SECOND, build=[whole])]
    assert len(site.ran) == 1
    for one in same:
        assert (one.code / "built").read_text() == "11"
        assert not (one.code / "static/site.css").exists()
    site.build("20261128000002-ccccccc", {"manage.py": "2"}, build=[whole])
    assert len(site.ran) == 2


def test_a_command_sees_its_inputs_and_nothing_else(site):
    with pytest.raises(subprocess.CalledProcessError):
        site.build(FIRST, build=[{**NPM, "command": "cat ../manage.py"}])
    assert contained.names(str(site.root / "builds")) == []


def test_a_build_that_failed_is_not_there_for_the_next_one(site):
    for _again in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            site.build(FIRST, build=[{**NPM, "command": "echo half >dist; false"}])
    assert len(site.ran) == 2
    assert contained.names(str(site.root / "builds")) == []


@pytest.mark.parametrize(("fields", "files", "record"), [
    ({"build": [{**NPM, "command": "true"}]}, {}, {}),
    ({"build": [{**NPM, "env": {"API": "x"}}]}, {}, {}),
    ({"env": {"API": "x"}}, {}, {}),
    ({"build": [{**NPM, "inputs": ["frontend"]}]}, {}, {}),
    ({"build": [{**NPM, "folder": "frontend/x"}]}, {}, {}),
    ({"build": [NPM, {**NPM, "command": "true"}]}, {}, {}),
    ({}, {"frontend/app.js": "2"}, {}), ({}, {"frontend/new.js": ""}, {}), ({}, {"package.json": "{} "}, {}),
    ({}, {}, {"rebuilt": "20261128000000"}),
])
def test_what_a_build_is_made_from_makes_another_one(site, fields, files, record):
    usual = list(site.make(FIRST)[0].others(FIRST, {}))
    assert list(site.make(SECOND, files, **fields)[0].others(SECOND, record)) != usual


def test_secrets_and_the_programs_of_the_host_count_too(site, monkeypatch):
    def keys(token):
        fields = {"build": [{**NPM, "secrets": ["TOKEN"]}], "secrets": {**SECRETS, "TOKEN": token}}
        return list(site.make(FIRST, **fields)[0].others(FIRST, {}))

    assert keys("one") == keys("one") != keys("two")
    before = keys("one")
    monkeypatch.setattr(builds, "programs", lambda: "another node")
    assert keys("one") != before


def test_what_a_build_is_not_made_from_makes_no_other(site):
    usual = list(site.make(FIRST)[0].others(FIRST, {}))
    other = site.make(SECOND, {"manage.py": "2"}, build=[{**NPM, "timeout": 60}], processes=[{"name": "web", "command": "gunicorn x.wsgi"}])[0]
    assert list(other.others(SECOND, {})) == usual


def test_programs_are_the_packages_and_what_lies_beside_them(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(builds, "LOCAL_PROGRAMS", str(tmp_path))
    monkeypatch.setattr(host, "run", lambda argv: asked.append(argv) or SimpleNamespace(stdout="nodejs amd64 20.19\n"))
    first = builds.programs()
    assert builds.programs() == first
    (tmp_path / "node").symlink_to("/opt/node-20/bin/node")
    assert builds.programs() != first
    assert asked[0][0] == "dpkg-query"


def test_what_inputs_name_and_the_source_lacks_is_told_before_anything_runs(site):
    runtime, _code = site.make(FIRST, build=[{**NPM, "inputs": ["frontend", "yarn.lock"]}])
    with pytest.raises(host.PhaseError, match=r"has no yarn.lock, which inputs names"):
        runtime.others(FIRST, {})
    assert site.ran == []


@pytest.mark.parametrize(("command", "text"), [
    ({"folder": "frontend", "inputs": ["templates"]}, "build[0].inputs: the command runs in frontend"),
    ({"inputs": ["frontend"]}, "build[0].inputs: the command runs in ."),
    ({"folder": "front", "inputs": ["frontend"]}, "runs in front and"),
    ({"inputs": ["../x"]}, "is no path inside the repository"), ({"inputs": ["/etc"]}, "is no path inside the repository"),
])
def test_inputs_that_cannot_be_right_are_refused(command, text):
    with pytest.raises(model.ModelError) as error:
        loaded(build=[{"command": "make", **command}])
    assert text in str(error.value)


@pytest.mark.parametrize("command", [{"folder": "frontend", "inputs": ["frontend"]}, {"folder": "a/b", "inputs": ["a", "x.json"]}, {"inputs": ["."]},
                                     {"folder": "../frontend", "inputs": ["../frontend", "templates"]}])
def test_inputs_that_hold_the_folder_are_taken(command):
    assert loaded(build=[{"command": "make", **command}], source={"repo": "https://git.example.com/x.git", "subdir": "backend"})


# The app is hostile


@AS_ROOT
def test_what_is_reused_is_roots_and_closed_to_the_app(site):
    first = site.build(FIRST)
    top = site.root / "builds"
    assert (stat.S_IMODE(top.stat().st_mode), top.stat().st_uid) == (0o700, 0)
    (made,) = first.keys
    assert {path.lstat().st_uid for path in (top / made).rglob("*")} == {0}
    assert not [path for path in (top / made).rglob("*") if path.stat().st_mode & 0o022]
    # The folders of the code are the app's, as the rest of it is until it is sealed; what is linked there is not.
    assert (first.code / "frontend/dist").stat().st_uid == APP
    assert (first.code / "frontend/dist/app.js").stat().st_uid == 0


@AS_ROOT
@pytest.mark.parametrize("command", ["ln -s /etc/passwd ../static", "mkdir ../static; ln -s /etc/passwd ../static/site.css"])
def test_a_link_of_a_build_leads_nowhere_else(site, command):
    before = os.stat("/etc/passwd")
    one = site.build(FIRST, build=[{**NPM, "command": command}])
    assert os.stat("/etc/passwd") == before
    contained.seal(str(one.code), {APP}, APP)
    assert os.stat("/etc/passwd") == before


@AS_ROOT
def test_a_device_or_a_fifo_ends_the_deploy(site):
    with pytest.raises(contained.ContainedError, match="FIFO"):
        site.build(FIRST, build=[{**NPM, "command": "mkfifo pipe"}])
    assert contained.names(str(site.root / "builds")) == []


@pytest.mark.parametrize("what", ["file", "link", "link to a folder", "folder"])
def test_what_lies_in_the_way_of_a_tree_is_replaced_and_never_followed(tmp_path, what):
    outside, source, target = tmp_path / "outside", tmp_path / "source", tmp_path / "target"
    for folder in (outside, source / "a/b", target):
        folder.mkdir(parents=True)
    (outside / "b").mkdir()
    (source / "a/b/new").write_text("new")
    (source / "a/link").symlink_to("b/new")
    {"file": lambda: (target / "a").write_text(""), "link": lambda: (target / "a").symlink_to("nowhere"),
     "link to a folder": lambda: (target / "a").symlink_to(outside),
     "folder": lambda: ((target / "a/b/new").mkdir(parents=True), (target / "a/kept").write_text("kept"))}[what]()
    contained.link_tree(str(source), str(target))
    assert (target / "a/b/new").stat().st_ino == (source / "a/b/new").stat().st_ino
    assert os.readlink(target / "a/link") == "b/new"
    assert not list((outside / "b").iterdir())
    assert (what != "folder") or (target / "a/kept").read_text() == "kept"


def test_the_mark_of_what_is_removed_goes_first(tmp_path, monkeypatch):
    for name in ("old", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.complete").write_text("")
    removed = []
    monkeypatch.setattr(contained, "remove", lambda path: removed.append(os.path.basename(path)))
    builds.prune(str(tmp_path), {"kept"})
    assert removed == ["old.complete", "old"]
