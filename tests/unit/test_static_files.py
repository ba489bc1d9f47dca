# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible_collections.quayside.django.plugins.module_utils import static_files

A, B, C = "site.0123456789ab.css", "js/app.abcdef012345.js", "deep/er/x.fedcba987654.woff2"


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of static files; each file's content is its own name."""
    def make(name, *files):
        (tmp_path / name).mkdir()
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name}: {file}")
        return str(tmp_path / name)
    return make


@pytest.mark.parametrize("name", ["site.0123456789ab.css", "main.0123abcd.js", "main.0123abcd.chunk.js", "a.0123456789abcdef0123456789abcdef.js",
                                  "site.0123456789ab.css.gz", "index-BxJ3_k-9.js", "index-DkP0aB1c.css", "vendor-_0aBcDe-.js", "x.y.0123456789ab.png"])
def test_a_name_with_a_hash_is_told(name):
    assert static_files.HASHED.search(name)


@pytest.mark.parametrize("name", ["site.css", "jquery.min.js", "bootstrap-icons.css", "my-component.css", "x-abcdefgh.js", "staticfiles.json",
                                  "jquery-3.7.1.min.js", "app.1234567.js", "x.0123456789AB.css", "LICENSE", "a.deadbee.css"])
def test_a_name_without_one_is_told(name):
    assert not static_files.HASHED.search(name)


def test_hashed_files_are_found_with_their_folders(folder):
    assert static_files.hashed(folder("one", A, B, C, "site.css", "js/app.js")) == {A, B, C}


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert static_files.hashed(str(tmp_path / "none")) == set()


def test_hashed_files_are_linked_into_the_pool_and_others_are_not(folder):
    pool, one = folder("pool"), folder("one", A, B, "site.css")
    static_files.add(pool, one)
    assert static_files.hashed(pool) == {A, B}
    assert not os.path.exists(f"{pool}/site.css")
    assert os.path.samefile(f"{pool}/{B}", f"{one}/{B}")


def test_adding_twice_and_adding_what_another_release_has_changes_nothing(folder):
    pool, one, two = folder("pool"), folder("one", A), folder("two", A, B)
    for release in (one, one, two):
        static_files.add(pool, release)
    assert open(f"{pool}/{A}", encoding="utf-8").read() == f"one: {A}"
    assert static_files.hashed(pool) == {A, B}


def test_the_pool_outlives_the_release(folder):
    pool, one = folder("pool"), folder("one", A)
    static_files.add(pool, one)
    os.unlink(f"{one}/{A}")
    assert open(f"{pool}/{A}", encoding="utf-8").read() == f"one: {A}"


def test_what_no_kept_release_has_goes_with_its_empty_folders(folder):
    pool, one, two = folder("pool"), folder("one", A, C), folder("two", A, B)
    static_files.add(pool, one)
    static_files.add(pool, two)
    assert static_files.prune(pool, [two]) == 1
    assert static_files.hashed(pool) == {A, B}
    assert not os.path.exists(f"{pool}/deep")
    assert os.path.isdir(f"{pool}/js")


def test_pruning_a_second_time_takes_nothing(folder):
    pool, one = folder("pool"), folder("one", A, B)
    static_files.add(pool, one)
    assert static_files.prune(pool, [one]) == 0
    assert static_files.prune(pool, [one]) == 0


def test_without_kept_releases_the_pool_is_emptied_but_stays(folder):
    pool, one = folder("pool"), folder("one", A, B, C)
    static_files.add(pool, one)
    assert static_files.prune(pool, []) == 3
    assert os.listdir(pool) == []


def test_a_file_that_somebody_put_there_stays(folder):
    pool = folder("pool", "robots.txt")
    assert static_files.prune(pool, []) == 0
    assert os.listdir(pool) == ["robots.txt"]


@pytest.mark.parametrize("name", ["a.0123456789ab.JPG", "LICENSE.0123456789ab"])
def test_django_hashes_these_too(name):
    assert static_files.HASHED.search(name)
