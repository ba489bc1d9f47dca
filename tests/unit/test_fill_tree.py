# SPDX-License-Identifier: GPL-3.0-or-later
"""What may lie in a release's folders, and what of it is published."""
from __future__ import annotations

import io
import os
import socket
import sys
import tarfile
from types import SimpleNamespace

import pytest
from ansible_collections.quayside.django.plugins.module_utils import fill_tree
from ansible_collections.quayside.django.plugins.module_utils.fill_tree import Refused


@pytest.fixture
def tree(tmp_path):
    """Return a folder with a built frontend in it, and an empty target."""
    (tmp_path / "code/dist/assets").mkdir(parents=True)
    (tmp_path / "code/dist/index.html").write_text("page")
    (tmp_path / "code/dist/assets/app.js").write_text("script")
    (tmp_path / "target").mkdir()
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def copy(tree, source="dist"):
    return fill_tree.copy({"tree": str(tree / "code"), "folders": [{"what": "frontends[site]", "source": source, "target": str(tree / "target")}]})


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_folders_and_files_are_published(tree):
    assert copy(tree) == {"files": 2}
    assert files(tree / "target") == {"index.html": "page", "assets/app.js": "script"}


def test_the_top_folder_may_be_a_link_inside_the_source(tree):
    (tree / "code/build").symlink_to("dist")
    copy(tree, "build")
    assert "index.html" in files(tree / "target")


@pytest.mark.parametrize(("target", "source"), [("/etc", "away"), ("../..", "away"), ("../../secret", "away"), ("/", "away/etc")])
def test_a_top_folder_that_leads_out_of_the_source_is_refused(tree, target, source):
    (tree / "code/away").symlink_to(target)
    with pytest.raises(Refused, match=r"frontends\[site\]: away.* leads out of the source by a link"):
        copy(tree, source)
    assert not files(tree / "target")


@pytest.mark.parametrize("source", ["none", "dist/index.html"])
def test_a_folder_that_the_build_did_not_make_is_named(tree, source):
    with pytest.raises(Refused, match=f"the build made no folder {source}: see build"):
        copy(tree, source)


def plant(path, kind, target="/etc/shadow"):
    if kind == "a link":
        path.symlink_to(target)
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as one:
            here = os.getcwd()
            os.chdir(path.parent)
            one.bind(path.name)
            os.chdir(here)
    elif kind == "a device":
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a socket", pytest.param("a device", marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))])
@pytest.mark.parametrize("name", ["dist/x", "dist/assets/x"])
def test_what_is_no_file_is_refused_by_its_name_and_nothing_is_published(tree, kind, name):
    plant(tree / "code" / name, kind)
    with pytest.raises(Refused) as error:
        copy(tree)
    assert f"{name.partition('/')[2]} ({kind})" in error.value.reason
    assert not files(tree / "target")


@pytest.mark.parametrize("target", ["index.html", "assets", "/etc", "none", "x"])
def test_every_link_is_refused_wherever_it_leads(tree, target):
    plant(tree / "code/dist/x", "a link", target)
    with pytest.raises(Refused, match=r"x \(a link\)"):
        copy(tree)


def test_many_names_are_counted(tree):
    for number in range(9):
        plant(tree / f"code/dist/{number}", "a link")
    with pytest.raises(Refused, match=r"4 \(a link\) and 4 more: let the build write files instead"):
        copy(tree)


def test_folders_in_one_another_without_end_are_refused(tree):
    deep = tree / "code/dist"
    for _level in range(fill_tree.DEPTH + 2):
        deep /= "d"
    deep.mkdir(parents=True)
    with pytest.raises(Refused, match="lie in one another"):
        copy(tree)


# A tar


def tar_of(*members):
    """Return a tar of (name, kind or content)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.type, member.linkname = content, "/etc/shadow"
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    return io.BytesIO(data.getvalue())


def unpack(tree, monkeypatch, *members):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=tar_of(*members)))
    return fill_tree.unpack({"what": "frontends[site]", "target": str(tree / "target"), "strip": True})


@pytest.mark.parametrize("top", [".", "dist"])
def test_a_tar_is_published_without_its_first_name(tree, monkeypatch, top):
    unpack(tree, monkeypatch, (top, tarfile.DIRTYPE), (f"{top}/index.html", "page"), (f"{top}/a/b/c.js", "script"), (f"{top}/empty", tarfile.DIRTYPE))
    assert files(tree / "target") == {"index.html": "page", "a/b/c.js": "script"}
    assert (tree / "target/empty").is_dir()


@pytest.mark.parametrize(("kind", "word"), [(tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.FIFOTYPE, "a FIFO"),
                                            (tarfile.CHRTYPE, "a device"), (tarfile.BLKTYPE, "a device")])
def test_what_is_no_file_in_a_tar_is_refused_by_its_name(tree, monkeypatch, kind, word):
    with pytest.raises(Refused, match=rf"frontends\[site\]: .*a/x \({word}\)"):
        unpack(tree, monkeypatch, ("./a/x", kind), ("./a/x/passwd", "written"))
    assert not files(tree / "target")


@pytest.mark.parametrize("name", ["./../secret", "dist/../../secret", "x/../../../etc/passwd", "./a/../../secret"])
def test_a_name_in_a_tar_that_leads_out_is_refused(tree, monkeypatch, name):
    with pytest.raises(Refused, match="leads out of the folder"):
        unpack(tree, monkeypatch, (name, "written"))
    assert (tree / "secret").read_text() == "secret"


def test_a_folder_that_became_a_link_is_not_followed(tree, monkeypatch):
    (tree / "target/a").symlink_to(tree)
    with pytest.raises(OSError, match="a"):
        unpack(tree, monkeypatch, ("./a/secret", "written"))
    assert (tree / "secret").read_text() == "secret"


# Links of ours in the code


@pytest.mark.parametrize(("path", "target", "expected"), [
    ("staticfiles", "/o/releases/1/static", "../static"), ("a/b/media", "/o/shared/media", "../../../../../shared/media"),
    ("dist", "/o/releases/1/static", "../static"), ("dist/index.html", "/o/releases/1/static", "../../static"),
])
def test_a_link_is_relative_and_takes_the_place_of_what_is_there(tmp_path, path, target, expected):
    code = tmp_path / "o/releases/1/code"
    (code / "dist").mkdir(parents=True)
    (code / "dist/index.html").write_text("x")
    fill_tree.link(str(code), path, str(tmp_path) + target)
    assert os.readlink(code / path) == expected


@pytest.mark.parametrize("path", ["away/static", "dist/index.html/static", "away"])
def test_a_link_is_never_put_through_one_of_the_repository(tree, path):
    (tree / "code/away").symlink_to(tree)
    if path == "away":
        fill_tree.link(str(tree / "code"), path, str(tree / "static"))
        assert os.readlink(tree / "code/away") == "../static"
        return
    with pytest.raises(Refused, match="leads out of the release by a link in the repository"):
        fill_tree.link(str(tree / "code"), path, "/static")
    assert not (tree / "static").exists()


def test_code_has_the_modes_of_a_checkout_whatever_the_mask(tree):
    archive = tree / "code.tar"
    with tarfile.open(archive, "w") as tar:
        for name, mode in (("manage.py", 0o775), ("config.py", 0o664)):
            member = tarfile.TarInfo(name)
            member.mode = mode
            tar.addfile(member, io.BytesIO())
    (tree / "new").mkdir()
    before, held = os.umask(0o027), os.dup(0)
    try:
        with open(archive, "rb") as file:
            os.dup2(file.fileno(), 0)
        fill_tree.code({"folder": str(tree / "new"), "needs": [], "links": []})
    finally:
        os.dup2(held, 0)
        os.close(held)
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tree / "new").iterdir()} == {"manage.py": 0o755, "config.py": 0o644}


def test_a_sparse_file_is_refused_before_its_zeros_fill_the_disk(tree):
    with open(tree / "code/dist/huge", "wb") as file:
        file.truncate(2**43)
    with pytest.raises(Refused, match=r"frontends\[site\] has 8388608 MiB, and the disk has \d+ MiB free"):
        copy(tree)
    assert not files(tree / "target")


def test_a_member_of_an_image_that_does_not_fit_on_the_disk_is_refused(tree, monkeypatch):
    disk = os.statvfs(tree)
    monkeypatch.setattr(fill_tree.os, "fstatvfs", lambda _folder: SimpleNamespace(f_bavail=1, f_frsize=disk.f_frsize))
    with pytest.raises(Refused, match=r"frontends\[site\]: huge has \d+ MiB"):
        unpack(tree, monkeypatch, ("./huge", "x" * 2 * disk.f_frsize))
    assert not files(tree / "target")
