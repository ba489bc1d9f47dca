# SPDX-License-Identifier: GPL-3.0-or-later
"""What root does below an app's root: the attacks are made here, and nothing outside may change."""
import os
import stat

import pytest
from ansible_collections.quayside.django.plugins.module_utils import contained
from ansible_collections.quayside.django.plugins.module_utils.contained import ContainedError

APP = 4242  # a uid that nobody has
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are changed, which only root can do")


@pytest.fixture
def tree(tmp_path):
    """A folder of root's with one of an app's in it, and a victim outside."""
    os.chmod(tmp_path, 0o755)
    shared, app, victim = tmp_path / "shared", tmp_path / "shared" / "app", tmp_path / "victim"
    for path in (shared, app, victim):
        path.mkdir()
        path.chmod(0o755)
    (victim / "secret").write_text("secret")
    (victim / "secret").chmod(0o600)
    os.chown(app, APP, APP)
    return tmp_path


def plant(tree, what: str):
    """Put something at shared/app/x, as the app would, and return its path."""
    path = tree / "shared" / "app" / "x"
    if what == "link to a folder":
        path.symlink_to(tree / "victim")
    elif what == "link to a file":
        path.symlink_to(tree / "victim" / "secret")
    elif what == "dangling link":
        path.symlink_to(tree / "nothing")
    elif what == "FIFO":
        os.mkfifo(path)
    elif what == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif what == "sparse file":
        with open(path, "wb") as file:
            file.truncate(2**40)
    elif what == "folder":
        path.mkdir()
    os.chown(path, APP, APP, follow_symlinks=False)
    return str(path)


PLANTED = ["link to a folder", "link to a file", "dangling link", "FIFO", "device", "sparse file", "folder"]


def untouched(tree) -> bool:
    victim, secret = os.stat(tree / "victim"), os.stat(tree / "victim" / "secret")
    return (victim.st_uid, stat.S_IMODE(victim.st_mode), secret.st_uid, stat.S_IMODE(secret.st_mode), (tree / "victim" / "secret").read_text(),
            sorted(os.listdir(tree / "victim")), os.path.lexists(tree / "nothing")) == (0, 0o755, 0, 0o600, "secret", ["secret"], False)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("do", ["read", "folder", "write", "write below", "folder below", "remove", "remove below", "link", "seal", "publish", "names"])
def test_nothing_outside_changes_and_nothing_hangs(tree, what, do):
    path = plant(tree, what)
    actions = {
        "read": lambda: contained.read(path, 1000), "folder": lambda: contained.folder(path, 0o750, APP, APP),
        "write": lambda: contained.write(path, "new", 0o600, APP, APP), "write below": lambda: contained.write(f"{path}/secret", "new", 0o666, APP, APP),
        "folder below": lambda: contained.folder(f"{path}/deep/deeper", 0o777, APP, APP), "remove": lambda: contained.remove(path),
        "remove below": lambda: contained.remove(f"{path}/secret"), "link": lambda: contained.link(path, "target"),
        "seal": lambda: contained.seal(str(tree / "shared" / "app"), {APP}, APP),
        "publish": lambda: contained.seal(str(tree / "shared" / "app"), {APP}, 33, public=True),
        "names": lambda: contained.names(path),
    }
    try:
        actions[do]()
    except OSError as error:
        assert str(tree) in str(error)
    assert untouched(tree)


@pytest.mark.parametrize("what,says", [("link to a file", "is a link"), ("FIFO", "is a FIFO"), ("device", "is a device"), ("sparse file", "is larger than"),
                                       ("folder", "is a folder")])
def test_what_is_read_is_a_small_regular_file(tree, what, says):
    with pytest.raises(ContainedError, match=says):
        contained.read(plant(tree, what), 1000)


@pytest.mark.parametrize("what", ["link to a folder", "link to a file", "dangling link", "FIFO", "device"])
def test_what_is_published_holds_files_and_folders_only(tree, what):
    plant(tree, what)
    with pytest.raises(ContainedError, match=r"x \(a"):
        contained.seal(str(tree / "shared" / "app"), {APP}, 33, public=True)


def test_a_hard_link_to_the_file_of_somebody_else_is_refused(tree):
    other = tree / "victim" / "other"
    other.write_text("theirs")
    os.chown(other, APP + 1, APP + 1)
    os.link(other, tree / "shared" / "app" / "x")
    with pytest.raises(ContainedError, match="of another user"):
        contained.seal(str(tree / "shared" / "app"), {APP}, 33, public=True)
    assert os.stat(other).st_uid == APP + 1


def test_a_hard_link_to_a_file_of_roots_is_not_opened_to_anybody(tree):
    os.link(tree / "victim" / "secret", tree / "shared" / "app" / "x")
    contained.seal(str(tree / "shared" / "app"), {APP}, 33, public=True)
    assert untouched(tree)


def test_a_sealed_tree_is_roots_and_read_by_its_group(tree):
    app = tree / "shared" / "app"
    (app / "bin").mkdir()
    (app / "bin" / "tool").write_text("x")
    (app / "bin" / "tool").chmod(0o4777)
    (app / "note").write_text("x")
    (app / "note").chmod(0o600)
    (app / "link").symlink_to("note")
    for path in (app / "bin", app / "bin" / "tool", app / "note", app / "link"):
        os.chown(path, APP, APP, follow_symlinks=False)
    contained.seal(str(app), {APP}, APP)
    found = {name: (have.st_uid, have.st_gid, stat.S_IMODE(have.st_mode)) for name, _folder, _name, have in contained.walk(str(app))}
    assert found["bin"] == (0, APP, 0o750)
    assert found["bin/tool"] == (0, APP, 0o750)
    assert found["note"] == (0, APP, 0o640)
    assert found["link"][0] == 0
    assert stat.S_IMODE(os.stat(app).st_mode) == 0o750
    contained.seal(str(app), {APP}, APP)  # a run that died in the middle does it again


def test_a_link_of_roots_in_a_folder_of_roots_is_followed(tree):
    (tree / "real").mkdir()
    (tree / "real" / "file").write_text("text")
    (tree / "live").symlink_to("real")
    assert contained.text(str(tree / "live" / "file")) == "text"
    assert contained.write(str(tree / "live" / "file"), "new")
    assert (tree / "real" / "file").read_text() == "new"


def test_a_folder_that_others_can_write_to_makes_no_link_that_root_follows(tree):
    (tree / "open").mkdir()
    (tree / "open").chmod(0o1777)
    (tree / "open" / "x").symlink_to(tree / "victim")
    with pytest.raises(ContainedError):
        contained.read(str(tree / "open" / "x" / "secret"))


def test_deep_folders_are_removed_and_refused(tree):
    path = tree / "shared" / "app"
    handle = os.open(path, os.O_RDONLY)
    for _time in range(1500):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    with pytest.raises(ContainedError, match="lie in one another"):
        contained.seal(str(path), {APP}, APP)
    contained.remove(str(path))
    assert not path.exists()


def test_a_second_write_changes_nothing(tree):
    path = str(tree / "file")
    assert contained.write(path, "x", 0o640, 0, APP)
    assert not contained.write(path, "x", 0o640, 0, APP)
    assert contained.write(path, "x", 0o644, 0, APP)
    assert sorted(os.listdir(tree)) == ["file", "shared", "victim"]


def test_a_second_name_is_that_of_the_file_itself(tree):
    plant(tree, "link to a file")
    with pytest.raises(ContainedError):
        contained.hard_link(str(tree / "shared" / "app" / "x"), str(tree / "pool" / "x"))
    (tree / "file").write_text("x")
    assert contained.hard_link(str(tree / "file"), str(tree / "pool" / "deep" / "file"))
    assert not contained.hard_link(str(tree / "file"), str(tree / "pool" / "deep" / "file"))


def test_a_linked_tree_has_the_mode_of_its_source(tmp_path):
    """The static files of a copied release are read by its app: with the mode of a new folder each page was 500 after a rollback."""
    source, target = tmp_path / "source", tmp_path / "target"
    for folder, mode in ((source, 0o755), (target, 0o2750)):
        folder.mkdir()
        folder.chmod(mode)
    (source / "staticfiles.json").write_text("{}")
    contained.link_tree(str(source), str(target))
    assert target.stat().st_mode & 0o7777 == 0o755
    assert (target / "staticfiles.json").read_text() == "{}"
