# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_engine, image_prune, lock
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.image_prune import Image, PruneError, checked, moment, plan, refers, repository, run

OURS = {"quayside.app": "shop", "quayside.environment": "prod"}


def sha(number):
    return f"sha256:{number:064x}"


def image(number, *names, labels=None, tagged=None, **others):
    """An image that came to the host at `number`."""
    return Image(sha(number), names, labels or {}, tagged=number if tagged is None else tagged, **others)


def versions(*numbers, repo="a"):
    return [image(number, f"{repo}:v{number}") for number in numbers]


def uses(number, name="web", state="running", **others):
    return {"ImageID": sha(number), "Image": "", "Names": [f"/{name}"], "State": state, **others}


def planned(images, containers=(), keep=2, repositories=("a",), protected=()):
    return plan(images, containers, keep, repositories, protected, "shop", "prod")


def gone(found):
    return [(removal.names, removal.whole) for removal in found.removals]


def reasons(found):
    return {kept.image.names: kept.reason for kept in found.kept}


# plan


@pytest.mark.proves("3.65")
@pytest.mark.parametrize(("what", "images", "containers", "keep", "protected", "wanted"), [
    ("five versions, two stay", versions(1, 2, 3, 4, 5), [], 2, [], ["a:v1", "a:v2", "a:v3"]),
    ("one stays", versions(1, 2, 3), [], 1, [], ["a:v1", "a:v2"]),
    ("fewer than there may be", versions(1), [], 2, [], []),
    ("as many as there may be", versions(1, 2), [], 2, [], []),
    ("none at all", [], [], 2, [], []),
    ("the order of the engine does not matter", versions(3, 5, 1, 4, 2), [], 2, [], ["a:v1", "a:v2", "a:v3"]),
    ("an old one that runs stays and counts", versions(1, 2, 3, 4, 5), [uses(1)], 2, [], ["a:v2", "a:v3", "a:v4"]),
    ("a stopped container counts as well", versions(1, 2, 3), [uses(1, state="exited")], 1, [], ["a:v2", "a:v3"]),
    ("a container that says the name only", versions(1, 2, 3), [{"ImageID": "", "Image": "a:v1", "Names": ["/x"]}], 1, [], ["a:v2", "a:v3"]),
    ("more are used than may stay", versions(1, 2, 3, 4), [uses(1), uses(2), uses(3)], 2, [], ["a:v4"]),
    ("a container of another repository's image", versions(1, 2, 3), [uses(9)], 2, [], ["a:v1"]),
    ("protected by tag", versions(1, 2, 3, 4), [], 2, ["a:v1"], ["a:v2", "a:v3"]),
    ("protected by id", versions(1, 2, 3, 4), [], 2, [sha(1)], ["a:v2", "a:v3"]),
    ("all that is protected stays", versions(1, 2, 3, 4), [], 1, ["a:v1", "a:v2"], ["a:v3", "a:v4"]),
    ("protected and used is counted once", versions(1, 2, 3, 4), [uses(1)], 2, ["a:v1"], ["a:v2", "a:v3"]),
    ("what is protected and not here", versions(1, 2, 3), [], 2, ["a:v9", sha(99), "zzz"], ["a:v1"]),
    ("another repository is untouched", versions(1, 2, 3) + versions(4, 5, 6, repo="b"), [], 2, [], ["a:v1"]),
    ("a name that begins alike is another repository", versions(1, 2, 3) + versions(4, 5, 6, repo="a/b") + versions(7, 8, repo="aa"), [], 2, [],
     ["a:v1"]),
], ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "")
def test_what_goes(what, images, containers, keep, protected, wanted):
    assert [names for names, _whole in gone(planned(images, containers, keep, protected=protected))] == [(name,) for name in wanted]


def test_each_repository_has_its_own_count():
    found = planned(versions(1, 2, 3) + versions(4, 5, 6, repo="b"), repositories=["a", "b"])
    assert gone(found) == [(("a:v1",), True), (("b:v4",), True)]
    assert found.removals[0].reason == "a: 2 to keep, and this is none of them"


def test_what_stays_has_a_reason():
    images = [*versions(1, 2, 3, 4, 5), image(6, "a:blog", labels={"quayside.app": "blog"})]
    found = planned(images, [uses(1, "shop-web-1")], 3, protected={"a:v2": "the release r2 needs it"})
    assert reasons(found) == {("a:blog",): "it belongs to the app blog", ("a:v5",): "it is one of the newest of a",
                              ("a:v2",): "the release r2 needs it", ("a:v1",): "the container shop-web-1 (running) uses it"}
    assert [kept.image.names[0] for kept in found.kept] == ["a:blog", "a:v5", "a:v2", "a:v1"]


@pytest.mark.parametrize(("labels", "reason"), [
    ({"quayside.app": "blog"}, "it belongs to the app blog"),
    ({"quayside.app": "shop", "quayside.environment": "uat"}, "it belongs to the environment uat"),
    ({"quayside.environment": "uat"}, "it belongs to the environment uat"),
])
def test_what_another_owns_neither_goes_nor_counts(labels, reason):
    images = [*versions(1, 2, 3), image(4, "a:v4", labels=labels), image(0, "a:v0", labels=labels)]
    found = planned(images)
    assert gone(found) == [(("a:v1",), True)]
    assert reasons(found)[("a:v4",)] == reasons(found)[("a:v0",)] == reason


def test_without_an_environment_what_names_one_stays():
    images = [image(1, "a:v1", labels=OURS), image(2, "a:v2", labels={"quayside.app": "shop"}), *versions(3)]
    assert gone(plan(images, [], 1, ["a"], app="shop")) == [(("a:v2",), True)]


def test_images_with_our_labels_go_as_those_without():
    assert gone(planned([image(1, "a:v1", labels=OURS), *versions(2, 3)])) == [(("a:v1",), True)]


def test_an_image_of_several_tags_goes_with_all_of_them():
    images = [image(1, "a:v1", "a:old", f"a@{sha(71)}"), *versions(2, 3)]
    assert gone(planned(images)) == [(("a:v1", "a:old", f"a@{sha(71)}"), True)]


def test_one_tag_of_several_keeps_them_all():
    assert gone(planned([image(1, "a:v1", "a:old"), *versions(2, 3, 4)], protected=["a:old"])) == [(("a:v2",), True), (("a:v3",), True)]


def test_an_image_with_names_elsewhere_loses_ours_only():
    found = planned([image(1, "a:v1", "other:1", f"other@{sha(71)}"), *versions(2, 3)])
    assert gone(found) == [(("a:v1",), False)]
    assert found.removals[0].reason.endswith(f"; the image stays as other:1, other@{sha(71)}")


def test_an_image_that_is_new_in_one_of_two_repositories_stays_there():
    images = [image(1, "a:1", "b:1"), *versions(2, 3), *versions(0, repo="b")]
    assert gone(planned(images, repositories=["a", "b"])) == [(("a:1",), False)]


def test_a_pulled_image_is_known_by_its_digest():
    images = [image(1, f"a@{sha(71)}"), image(2, f"a@{sha(72)}"), image(3, f"a@{sha(73)}"), image(4, f"a@{sha(74)}")]
    found = planned(images, protected=[f"a@{sha(71)}"])
    assert gone(found) == [((f"a@{sha(72)}",), True), ((f"a@{sha(73)}",), True)]


def test_pulled_images_have_no_time_of_a_tag_and_go_by_their_build():
    images = [image(1, "a:v1", tagged=0, created=300), image(2, "a:v2", tagged=0, created=100), image(3, "a:v3", tagged=0, created=200)]
    assert gone(planned(images)) == [(("a:v2",), True)]


def test_an_old_build_that_was_tagged_last_is_new():
    images = [image(1, "a:v1", created=50, tagged=900), image(2, "a:v2", created=100, tagged=100), image(3, "a:v3", created=200, tagged=200)]
    assert gone(planned(images)) == [(("a:v2",), True)]


def test_equal_times_give_the_same_plan_in_any_order():
    images = [image(number, f"a:v{number}", tagged=0, created=5) for number in (1, 2, 3, 4)]
    assert gone(planned(images)) == gone(planned(images[::-1])) == [(("a:v1",), True), (("a:v2",), True)]


@pytest.mark.proves("1.52")
@pytest.mark.parametrize(("labels", "containers", "protected", "goes"), [
    (OURS, [], [], True),
    ({"quayside.app": "shop"}, [], [], True),
    ({}, [], [], False),
    ({"quayside.environment": "prod"}, [], [], False),
    ({"quayside.app": "blog"}, [], [], False),
    ({"quayside.app": "shop", "quayside.environment": "uat"}, [], [], False),
    (OURS, [uses(1)], [], False),
    (OURS, [], [sha(1)], False),
])
def test_nameless_images_go_when_they_are_ours_and_unused(labels, containers, protected, goes):
    found = planned([image(1, labels=labels), *versions(2, 3)], containers, protected=protected)
    assert gone(found) == ([((), True)] if goes else [])
    assert [removal.reason for removal in found.removals] == (["left over from a build of shop"] if goes else [])


def test_nameless_images_go_without_any_repository():
    assert gone(planned([image(1, labels=OURS)], repositories=[])) == [((), True)]


def test_the_steps_of_a_build_are_not_left_over():
    images = [image(1, labels=OURS), image(2, labels=OURS, parent=sha(1)), image(3, "a:v3", labels=OURS, parent=sha(2))]
    assert gone(planned(images)) == []


def test_an_image_that_another_is_built_on_stays():
    images = [*versions(1, 2, 3), image(8, parent=sha(1)), image(9, "mine:1", parent=sha(8))]
    found = planned(images)
    assert gone(found) == []
    assert reasons(found)[("a:v1",)] == "mine:1 is built on it"


def test_a_base_goes_after_what_is_built_on_it():
    images = [image(1, "a:v1"), image(5, parent=sha(1)), image(2, "a:v2", parent=sha(5)), *versions(3, 4)]
    assert gone(planned(images)) == [(("a:v2",), True), (("a:v1",), True)]


def test_what_is_built_on_by_an_image_that_only_loses_a_name_stays():
    images = [image(1, "a:v1"), image(2, "a:v2", "other:2", parent=sha(1)), *versions(3, 4)]
    assert gone(planned(images)) == [(("a:v2",), False)]


@pytest.mark.parametrize(("keep", "repositories", "message"), [
    (0, ["a"], "keep is 0: at least 1 image"),
    (-1, ["a"], "keep is -1"),
    (2, ["a:v1"], "'a:v1' carries a tag or a digest: write 'a'"),
    (2, ["host:5000/a:v1"], "write 'host:5000/a'"),
    (2, [f"a@{sha(1)}"], "carries a tag or a digest: write 'a'"),
    (2, ["Shop"], "'Shop' is no name of a repository"),
    (2, [""], "'' is no name of a repository"),
    (2, ["a b"], "is no name of a repository"),
    (2, ["a//b"], "is no name of a repository"),
])
def test_bad_input_is_refused(keep, repositories, message):
    with pytest.raises(PruneError) as raised:
        planned([], keep=keep, repositories=repositories)
    assert message in str(raised.value)


@pytest.mark.parametrize(("name", "wanted"), [
    ("a:v1", "a"), ("a", "a"), ("host:5000/a", "host:5000/a"), ("host:5000/a/b:v1", "host:5000/a/b"), (f"host:5000/a@{sha(1)}", "host:5000/a"),
    (f"a:v1@{sha(1)}", "a"),
])
def test_the_repository_of_a_name(name, wanted):
    assert repository(name) == wanted


def test_names_of_the_hub_are_short_as_the_engine_shows_them():
    assert checked(["docker.io/library/redis", "docker.io/quay/side", "redis", "my_app__x-y/z"]) == ["redis", "quay/side", "my_app__x-y/z"]


@pytest.mark.parametrize(("reference", "wanted"), [
    ("a:v1", True), ("docker.io/library/a:v1", True), ("a", True), (sha(1), True), (sha(1)[7:], True), (sha(1)[7:19], True), (sha(1)[:19], True),
    (f"a@{sha(71)}", True), (f"a:v1@{sha(71)}", True), (f"a:gone@{sha(71)}", True),
    ("a:v2", False), ("b", False), (sha(2), False), (sha(1)[7:18], False), (f"a@{sha(72)}", False), (f"b@{sha(71)}", False), ("", False),
])
def test_a_reference_means_an_image(reference, wanted):
    assert refers(reference, image(1, "a:v1", "a:latest", f"a@{sha(71)}")) is wanted


@pytest.mark.parametrize(("text", "wanted"), [
    ("2026-11-21T10:25:32.519317305Z", 1795256732.519317), ("2026-11-21T11:25:32.5+01:00", 1795256732.5), ("2026-11-21T08:25:32-02:00", 1795256732),
    ("0001-01-01T00:00:00Z", 0), ("", 0), (None, 0), ("yesterday", 0),
])
def test_times_of_the_engine(text, wanted):
    assert moment(text) == pytest.approx(wanted)


# run


class Engine:
    """An engine with images as `name -> id`; it removes as Docker does."""

    def __init__(self, names, containers=(), refuse=None, df=((100, 0), (60, 0)), silent=()):
        self.names, self.containers, self.refuse, self.silent = dict(names), list(containers), refuse or {}, set(silent)
        self.df, self.deleted, self.layers = list(df), [], None

    def listed(self):
        return [{"Id": number, "RepoTags": [name for name, one in self.names.items() if one == number] or None, "RepoDigests": None, "Labels": None,
                 "ParentId": "", "Created": 1, "Size": 50} for number in sorted(set(self.names.values()))]

    def call(self, method, path, query, timeout):
        assert (method, timeout) == ("GET", image_prune.USAGE_SECONDS)
        return self.get(path, **query)

    def get(self, path, **query):
        if path == "/images/json":
            assert query == {"all": True}
            return self.listed()
        if path == "/containers/json":
            assert query == {"all": True}
            return self.containers
        if path == "/system/df":
            if query["type"] == "build-cache":
                return {"BuildCache": [{"Size": self.layers[1]}, {"Size": 1000, "Shared": True}]}
            if not self.df:
                raise EngineError(500, "no")
            self.layers = self.df.pop(0)
            return {"LayersSize": self.layers[0]}
        name = path[len("/images/"):-len("/json")]
        found = self.names.get(name, name)
        if found not in self.names.values():
            raise EngineError(404, f"No such image: {name}")
        return {"Id": found, "Metadata": {"LastTagTime": f"2026-11-21T10:00:{int(found[7:], 16):02}Z"}}

    def delete(self, path, **_query):
        name = path[len("/images/"):]
        if name in self.silent:
            raise EngineError(0, "silent")
        if name in self.refuse:
            raise EngineError(409, self.refuse[name])
        self.deleted.append(name)
        number = self.names.pop(name)
        return [{"Untagged": name}] + ([] if number in self.names.values() else [{"Deleted": number}, {"Deleted": "sha256:layer"}])


def names(*numbers):
    return {f"a:v{number}": sha(number) for number in numbers}


def prune(engine, check=False, keep=2, protect=()):
    return run(engine, ["a"], keep, lambda: protect, "shop", "prod", check)


@pytest.mark.proves("1.35", "3.65", "4.32")
def test_a_run_does_what_check_mode_lists_and_the_second_does_nothing():
    engine = Engine(names(1, 2, 3, 4, 5), [uses(2)])
    listed = prune(engine, check=True)
    assert engine.deleted == []
    done = prune(engine)
    assert engine.deleted == ["a:v1", "a:v3", "a:v4"]
    assert listed["changed"] is done["changed"] is True
    for key in ("removed", "kept", "diff"):
        assert listed[key] == done[key]
    assert (listed["bytes_freed"], done["bytes_freed"]) == (0, 40)
    assert done["removed"][0] == {"image": sha(1), "tags": ["a:v1"], "whole": True, "reason": "a: 2 to keep, and this is none of them", "size": 50}
    assert done["diff"]["before"].splitlines() == [f"a:v{number} {sha(number)[:19]}" for number in (1, 2, 3, 4, 5)]
    assert done["diff"]["after"].splitlines() == [f"a:v{number} {sha(number)[:19]}" for number in (2, 5)]
    again = prune(engine)
    assert (again["changed"], again["removed"], again["bytes_freed"]) == (False, [], 0)
    assert again["diff"]["before"] == again["diff"]["after"]


def test_a_refused_removal_is_told_and_the_others_go_on():
    engine = Engine(names(1, 2, 3, 4), refuse={"a:v1": "conflict: in use"})
    done = prune(engine)
    assert done["refused"] == [{"image": sha(1), "name": "a:v1", "status": 409, "message": "conflict: in use"}]
    assert engine.deleted == ["a:v2"]
    assert f"a:v1 {sha(1)[:19]}" in done["diff"]["after"]


def test_when_all_is_refused_nothing_has_changed():
    done = prune(Engine(names(1, 2, 3), refuse={"a:v1": "conflict"}))
    assert (done["changed"], done["removed"], done["bytes_freed"]) == (False, [], 0)
    assert done["diff"]["before"] == done["diff"]["after"]


def test_an_engine_that_falls_silent_is_not_asked_again():
    engine = Engine(names(1, 2, 3, 4), silent=["a:v1"])
    assert prune(engine)["refused"] == [{"image": sha(1), "name": "a:v1", "status": 0, "message": "silent"}]
    assert engine.deleted == []


def test_an_image_loses_the_names_one_by_one():
    engine = Engine({"a:v1": sha(1), "a:old": sha(1), "other:1": sha(1), **names(2, 3)})
    done = prune(engine)
    assert [(one["tags"], one["whole"], one["size"]) for one in done["removed"]] == [(["a:v1", "a:old"], False, 0)]
    assert f"other:1 {sha(1)[:19]}\n" in done["diff"]["after"]


def test_a_tag_that_moved_meanwhile_is_left_alone():
    engine = Engine(names(1, 2, 3))
    run(engine, ["a"], 2, lambda: engine.names.update({"a:v1": sha(9)}) or [], "shop", "prod")
    assert (engine.deleted, engine.names["a:v1"]) == ([], sha(9))


def test_an_image_that_another_removes_meanwhile_is_no_failure():
    engine = Engine(names(1, 2, 3))
    done = run(engine, ["a"], 2, lambda: [engine.names.pop("a:v1")][1:], "shop", "prod")
    assert (done["changed"], done["removed"], done["refused"]) == (False, [], [])


def test_what_comes_while_the_plan_is_made_is_safe():
    engine = Engine(names(1, 2, 3))

    def arrive():
        engine.names["a:v4"] = sha(4)
        return ["a:v1"]

    run(engine, ["a"], 1, arrive, "shop", "prod")
    assert engine.deleted == ["a:v2", "a:v3"]
    assert sorted(engine.names) == ["a:v1", "a:v4"]


@pytest.mark.parametrize(("df", "freed", "cached"), [
    (((100, 0), (60, 0)), 40, 0),
    (((100, 10), (60, 50)), 0, 40),     # BuildKit's cache holds what the images held
    (((100, 10), (60, 20)), 30, 10),
    (((100, 0), (200, 0)), 0, 0),       # a pull came between
    ((), None, None),
])
def test_freed_is_what_the_disk_has_more(df, freed, cached):
    done = prune(Engine(names(1, 2, 3), df=df))
    assert (done["bytes_freed"], done["bytes_cached"]) == (freed, cached)
    assert done["changed"] is True


def test_newer_engines_give_their_sizes_in_other_words():
    class Newer:
        def call(self, _method, _path, query, timeout):
            assert timeout <= 20  # an engine with many layers counts for minutes
            return {"image": {"ImageUsage": {"TotalSize": 7}}, "build-cache": {"BuildCacheUsage": {"Items": [{"Size": 3}]}}}[query["type"]]

    assert image_prune.usage(Newer()) == (7, 3)


def test_a_deploy_does_not_have_the_engine_count_its_bytes():
    done = run(Engine(names(1, 2, 3), df=()), ["a"], 2, measure=False)  # it would answer with an error
    assert (done["changed"], done["bytes_freed"]) == (True, 0)


# As a script


def record(root, release, **values):
    folder = root / "releases" / release
    folder.mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps(values), encoding="utf-8")


def test_the_images_of_kept_releases_are_protected(tmp_path):
    record(tmp_path, "r1", outcome="live", images={"web": {"ref": "a:v1", "id": sha(1)}, "frontend": f"b@{sha(2)}"})
    record(tmp_path, "r2", outcome="failed")
    record(tmp_path, "r0", outcome="live", venv="/opt/shop/venvs/1")  # from when the app ran without containers
    (tmp_path / "releases" / "r3").mkdir()
    why = "the release r1 needs it"
    assert image_prune.of_releases(str(tmp_path)) == {"a:v1": why, sha(1): why, f"b@{sha(2)}": why}


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read, so nobody knows which images it needs"),
                                               ('{"outcome": "live"}', "names no images, so nobody knows which ones it needs")])
def test_a_record_that_does_not_say_its_images_stops_it(tmp_path, text, message):
    record(tmp_path, "r1")
    (tmp_path / "releases" / "r1" / "release.json").write_text(text, encoding="utf-8")
    with pytest.raises(PruneError, match=message):
        image_prune.of_releases(str(tmp_path))


@pytest.mark.parametrize(("lease", "busy"), [(None, False), ("", False), ({"renewed": 0}, False), ({"renewed": -30}, True), ({"renewed": -90}, False)])
def test_an_app_that_is_being_deployed_is_left(tmp_path, lease, busy):
    if lease is not None:
        text = json.dumps({"renewed": time.time() + lease["renewed"] if lease["renewed"] else 0}) if lease else ""
        (tmp_path / "lock").write_text(text, encoding="utf-8")
    assert image_prune.deploying(str(tmp_path / "lock")) is busy


def test_a_module_that_works_for_long_holds_the_lock_too(tmp_path):
    (tmp_path / "lock").write_text('{"renewed": 1}', encoding="utf-8")
    with open(tmp_path / "lock", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert image_prune.deploying(str(tmp_path / "lock")) is True


def test_the_lease_is_that_of_the_lock():
    assert image_prune.LEASE == lock.LEASE


def script(tmp_path, monkeypatch, capsys, engine, *arguments, **app):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"apps": [{"app": "shop", "environment": "prod", "repositories": ["a"], "keep": 1, **app}]}), encoding="utf-8")
    monkeypatch.setattr(image_prune, "Engine", lambda _socket: engine)
    status = image_prune.main([str(config), *arguments])
    return status, *capsys.readouterr()


@pytest.mark.proves("1.52")
def test_the_script_prunes_what_no_release_needs(tmp_path, monkeypatch, capsys):
    record(tmp_path, "r1", outcome="live", images={"web": "a:v1"})
    engine = Engine(names(1, 2, 3, 4))
    status, out, _err = script(tmp_path, monkeypatch, capsys, engine, root=str(tmp_path), protect=["a:v2"])
    assert status == 0
    assert engine.deleted == ["a:v3", "a:v4"]
    assert out.splitlines()[0].startswith("shop: removed a:v3 sha256:000000000000: a: 1 to keep")
    assert out.splitlines()[-1] == "shop: 2 removed, 2 kept, 0.0 MB freed"


def test_the_script_only_says_with_check(tmp_path, monkeypatch, capsys):
    engine = Engine(names(1, 2))
    status, out, _err = script(tmp_path, monkeypatch, capsys, engine, "--check")
    assert (status, engine.deleted) == (0, [])
    assert out.splitlines() == ["shop: would remove a:v1 sha256:000000000000: a: 1 to keep, and this is none of them", "shop: 1 to remove, 1 kept"]


def test_the_script_does_not_fail_for_a_refusal(tmp_path, monkeypatch, capsys):
    status, out, _err = script(tmp_path, monkeypatch, capsys, Engine(names(1, 2), refuse={"a:v1": "conflict"}))
    assert status == 0
    assert "shop: refused a:v1: conflict" in out


def test_the_script_leaves_an_app_that_is_being_deployed(tmp_path, monkeypatch, capsys):
    (tmp_path / "lock").write_text(json.dumps({"renewed": time.time()}), encoding="utf-8")
    engine = Engine(names(1, 2))
    assert script(tmp_path, monkeypatch, capsys, engine, root=str(tmp_path)) == (0, "shop: it is being deployed, which prunes too; nothing done\n", "")
    assert engine.deleted == []


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ("[]", 'has no list "apps"'),
                                               ('{"apps": [{"app": "shop"}]}', "apps[0] (shop) lacks repositories, keep")])
def test_the_script_says_what_is_wrong_with_its_file(tmp_path, capsys, text, message):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert image_prune.main([str(tmp_path / "config.json")]) == 1
    assert message in capsys.readouterr().err


def test_the_two_files_run_on_their_own(tmp_path):
    for module in (image_prune, docker_engine):
        shutil.copy(module.__file__, tmp_path)
    config = tmp_path / "config.json"
    app = {"app": "shop", "repositories": ["a"], "keep": 1}
    config.write_text(json.dumps({"socket": str(tmp_path / "none.sock"), "apps": [app]}), encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", "-c", f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['x', {str(config)!r}]; "
                           f"runpy.run_path({str(tmp_path / 'image_prune.py')!r}, run_name='__main__')"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"shop: the Docker engine does not answer at {tmp_path}/none.sock: is it installed?")


# The module


def module(tmp_path, check=False, **parameters):
    """Run the module as Ansible does; return what it says."""
    path = Path(image_prune.__file__).parents[1] / "modules" / "image_prune.py"
    arguments = {"ANSIBLE_MODULE_ARGS": {"app": "shop", "environment": "prod", "repositories": ["a"], "socket": str(tmp_path / "none.sock"),
                                         "_ansible_check_mode": check, **parameters}}
    # With a socket that does not answer, so that nothing here can touch the engine of the machine.
    done = subprocess.run([sys.executable, str(path)], input=json.dumps(arguments), capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / ".ansible" / "collections")})
    return json.loads(done.stdout)


def test_check_mode_passes_on_a_host_without_an_engine(tmp_path):
    done = module(tmp_path, check=True)
    assert (done["changed"], done["removed"], done.get("failed", False)) == (False, [], False)


def test_a_host_without_an_engine_is_said(tmp_path):
    done = module(tmp_path)
    assert done["failed"] is True
    assert done["msg"].startswith("The images of shop cannot be pruned: the Docker engine does not answer at")
