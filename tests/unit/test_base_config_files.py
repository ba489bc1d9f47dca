# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import getpass
import grp
import os

import pytest
from ansible_collections.quayside.django.plugins.module_utils import config_files

OWNER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


def state(content, mode=0o640):
    return config_files.State(content, mode, OWNER, GROUP)


def test_what_was_written_is_read(tmp_path):
    path = str(tmp_path / "new" / "folder" / "file")
    assert config_files.read(path) == config_files.ABSENT
    config_files.write(path, state(b"one\n"))
    assert config_files.read(path) == state(b"one\n")
    config_files.write(path, config_files.ABSENT)
    assert config_files.read(path) == config_files.ABSENT


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    config_files.write(str(link), state(b"x"))
    assert link.is_symlink()
    assert target.read_bytes() == b"x"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(KeyError):
        config_files.write(str(path), config_files.State(b"x", 0o600, "nobody-has-this-name", GROUP))
    assert list(tmp_path.iterdir()) == []


def test_diff_names_mode_and_owner():
    shown = config_files.diff("/f", config_files.ABSENT, config_files.State(b"x\n", 0o440, "root", "adm"))
    assert (shown["before_header"], shown["after_header"]) == ("/f (absent)", "/f (0440 root:adm)")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("ActiveState=active\nUnitFileState=enabled", ([], [])),
        ("ActiveState=inactive\nUnitFileState=enabled", ([], ["a"])),
        ("ActiveState=active\nUnitFileState=disabled", (["a"], [])),
        ("ActiveState=activating\nUnitFileState=static", ([], [])),
        ("ActiveState=inactive\nUnitFileState=", (["a"], ["a"])),
        ("", (["a"], ["a"])),
    ],
)
def test_repairs(shown, expected):
    assert config_files.repairs(["a"], shown) == expected


@pytest.mark.parametrize(("now", "most", "then"), [(0o755, 0o700, 0o700), (0o600, 0o644, 0o600), (0o2755, 0o750, 0o2750), (0o777, 0o755, 0o755)])
def test_a_mode_only_loses_rights(now, most, then):
    assert config_files.stricter(now, most) == then


def test_links_are_no_files_of_a_pattern(tmp_path):
    (tmp_path / "one").write_text("")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert config_files.existing(f"{tmp_path}/*") == [f"{tmp_path}/one"]
