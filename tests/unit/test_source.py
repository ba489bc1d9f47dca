# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import pwd
import tarfile

import pytest
from ansible_collections.quayside.django.plugins.module_utils import contained, host, sandbox, source
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from samples import loaded

SHA = "0123abc" + "4" * 33


@pytest.fixture
def asked(monkeypatch):
    """Return what git's unit is asked, and answer it; nothing is made on this machine."""
    seen = {}

    def program(unit, _module, request):
        seen.update(unit=unit, request=request)
        return {"sha": SHA, "files": dict.fromkeys(request["read"], "[project]")}

    monkeypatch.setattr(contained, "folder", lambda *_words: False)
    monkeypatch.setattr(sandbox, "leaf", lambda path, user: seen.update(leaf=(path, user)))
    monkeypatch.setattr(sandbox, "program", program)
    return seen


@pytest.mark.parametrize(("subdir", "read"), [("", "pyproject.toml"), ("backend", "backend/pyproject.toml")])
def test_git_runs_once_as_an_account_that_is_neither_root_nor_the_app(asked, subdir, read):
    app = loaded(source={"repo": "https://git.example.com/pos.git", "subdir": subdir})
    one = source.of(app)
    assert one.resolve("v1") == {"sha": SHA, "repo": "https://git.example.com/pos.git"}
    assert one.read("pyproject.toml") == "[project]"
    assert asked["leaf"] == ("/var/cache/quayside/pos/git", "quayside-git")
    assert asked["request"]["read"] == [read]
    assert asked["unit"].user == "quayside-git" != app["user"]


def test_the_deploy_key_goes_to_that_one_command_by_its_input(asked):
    one = source.of(loaded())
    one.key = "KEY"
    one.resolve("v1")
    assert asked["request"]["key"] == "KEY"
    assert "KEY" not in repr(asked["unit"].argv(["x"]))


def test_what_is_no_commit_is_not_taken_from_the_sandbox(asked, monkeypatch):
    monkeypatch.setattr(sandbox, "program", lambda *_words: {"sha": "v1; id", "files": {}})
    with pytest.raises(PhaseError, match="git gave no commit"):
        source.of(loaded()).resolve("v1")


def folder_source(root, content="print()"):
    sent = root / "source"
    (sent / "app").mkdir(parents=True)
    (sent / "app" / "run.py").write_text(content)
    (sent / "link").symlink_to("app/run.py")
    return source.of({"source_cache": str(root), "user": "root", "source": {"repo": "", "folder": "app", "subdir": ""}})


def test_a_folder_is_known_by_its_content(tmp_path):
    first, same, other = (folder_source(tmp_path / name, text) for name, text in (("a", "one"), ("b", "one"), ("c", "two")))
    found = [one.resolve("") for one in (first, same, other)]
    assert found[0]["sha"] == found[1]["sha"] != found[2]["sha"]
    assert found[0]["version"] == found[0]["sha"][:12]


def test_a_folder_of_a_commit_is_that_commit_and_still_known_by_its_content(tmp_path):
    found = folder_source(tmp_path).resolve("a" * 40)
    assert (found["sha"], found["version"]) == ("a" * 40, "a" * 40)
    assert found["tree"] != found["sha"]


def test_a_file_that_becomes_executable_is_another_tree(tmp_path):
    one = folder_source(tmp_path)
    before = one.resolve("")["tree"]
    (tmp_path / "source" / "app" / "run.py").chmod(0o755)
    assert one.resolve("")["tree"] != before


def test_a_folder_that_was_not_sent_is_named(tmp_path):
    one = source.of({"source_cache": str(tmp_path), "user": "root", "source": {"repo": "", "folder": "../shop", "subdir": ""}})
    with pytest.raises(source.host.PhaseError, match="../shop has not been sent"):
        one.resolve("")


def test_a_folder_is_sent_on_as_a_tar_with_its_links_and_nothing_else(tmp_path):
    one, data = folder_source(tmp_path), io.BytesIO()
    os.mkfifo(tmp_path / "source/fifo")
    one.send({}, data)
    with tarfile.open(fileobj=io.BytesIO(data.getvalue())) as tar:
        assert {member.name: (member.isdir(), member.linkname) for member in tar} == {
            "app": (True, ""), "app/run.py": (False, ""), "link": (False, "app/run.py")}
        assert tar.extractfile("app/run.py").read() == b"print()"


def test_what_is_roots_alone_is_sent_on_with_the_modes_of_a_checkout(tmp_path):
    """The user of an image that is built from it is not ours."""
    sent, data = folder_source(tmp_path), io.BytesIO()
    (tmp_path / "source/app").chmod(0o700)
    (tmp_path / "source/app/run.py").chmod(0o700)
    (tmp_path / "source/app/other.py").write_text("")
    (tmp_path / "source/app/other.py").chmod(0o600)
    sent.send({}, data)
    with tarfile.open(fileobj=io.BytesIO(data.getvalue())) as tar:
        assert {member.name: member.mode for member in tar if not member.issym()} == {"app": 0o755, "app/run.py": 0o755, "app/other.py": 0o644}


def test_images_alone_need_no_source():
    assert source.of({"source": {"repo": "", "folder": "", "subdir": ""}}) is None


# What root reads of a source


@pytest.fixture
def code(tmp_path):
    """Return a source with links in and out of it."""
    folder = tmp_path / "code"
    (folder / "requirements").mkdir(parents=True)
    (folder / "requirements/base.txt").write_text("django")
    (tmp_path / "secret").write_text("secret")
    for name, target in {"requirements.txt": "requirements/base.txt", "again.txt": "requirements.txt", "deps": "requirements", "out.txt": "../secret",
                         "absolute.txt": "/etc/passwd", "zero.txt": "/dev/zero", "loop.txt": "loop.txt", "requirements/up.txt": "../requirements/base.txt",
                         "far.txt": "requirements/../../secret", "hanging.txt": "none.txt"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo.txt")
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(2**40)
    return folder


@pytest.mark.parametrize(("path", "text"), [
    ("requirements/base.txt", "django"), ("requirements.txt", "django"), ("again.txt", "django"), ("deps/base.txt", "django"),
    ("./deps/../again.txt", "django"),
    ("requirements/up.txt", "django"), ("out.txt", None), ("far.txt", None), ("hanging.txt", None), ("none.txt", None), ("../secret", None),
    ("requirements/base.txt/x", None), ("", None),
])
def test_a_link_is_followed_inside_the_source_only(code, path, text):
    assert source.text_inside(str(code), path, 100) == text


@pytest.mark.parametrize(("path", "text"), [
    ("absolute.txt", "is a link that leads to /etc/passwd"), ("zero.txt", "is a link that leads to /dev/zero"),
    ("loop.txt", "is a link that leads to loop.txt"),
    ("fifo.txt", "fifo.txt in the source: fifo.txt is a FIFO and not a file"), ("huge.txt", "is larger than the"),
    ("requirements", "is a folder and not a file"),
])
def test_what_is_no_file_of_the_source_is_refused_by_its_name_at_once(code, path, text):
    with pytest.raises(PhaseError) as error:
        source.text_inside(str(code), path, 2**20)
    assert text in error.value.reason
    assert path in error.value.reason


def test_ids_of_an_account_that_site_has_to_make(monkeypatch):
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)
    with pytest.raises(PhaseError, match=r"quayside-git does not exist here: run quayside.django.site"):
        host.ids(sandbox.GIT_USER)
