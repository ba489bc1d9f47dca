# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import random

import pytest
from ansible_collections.quayside.django.plugins.module_utils import releases


class History:
    """Releases as deploy.py makes them: a deploy notes what was live before, a rollback copies a record under a new id."""

    def __init__(self):
        self.records, self.live, self.number = {}, "", 0

    def id(self):
        self.number += 1
        return releases.make_id(str(20260101000000 + self.number), f"{self.number:07x}")

    def deploy(self, version, outcome=releases.GOOD):
        new = self.id()
        before = releases.origin(self.live, self.records) if self.live else ""
        self.records[new] = {"id": new, "version": version, "origin": new, "before": before, "outcome": outcome}
        if outcome == releases.GOOD:
            self.live = new
        return new

    def rollback(self, **pick):
        target = releases.rollback_target(self.live, self.records, **pick)
        new = self.id()
        self.records[new] = dict(self.records[target], of=target, id=new)
        self.live = new
        return target

    def prune(self, keep, running=()):
        gone = releases.to_prune(self.live, self.records, keep, set(running))
        for release in gone:
            del self.records[release]
        return gone

    def version(self):
        return self.records[self.live]["version"] if self.live else ""


def history(*versions):
    made = History()
    for version in versions:
        made.deploy(version.strip("!"), releases.FAILED if version.endswith("!") else releases.GOOD)
    return made


# Ids


def test_an_id_is_the_time_and_seven_of_the_commit():
    assert releases.make_id("20261121072900", "0123abcdef" * 4) == "20261121072900-0123abc"


@pytest.mark.parametrize(("stamp", "sha"), [("", "0123abc"), ("2026", "0123abc"), ("20261121072900", "xyz"), ("20261121072900", "012"),
                                            ("20261121072900", ""), ("20261121072900", "0123ab\n"),
                                            ("../../../../tmp", "0123abc"), ("20261121072900", "0123ABC")])
def test_what_is_no_id_is_refused(stamp, sha):
    with pytest.raises(releases.ReleaseError, match="is no id of a release"):
        releases.make_id(stamp, sha)


def test_ids_sort_by_time():
    assert releases.make_id("20261121072900", "f" * 7) < releases.make_id("20261121072901", "0" * 7)


def test_a_fingerprint_knows_no_order_of_keys_but_every_value():
    assert releases.fingerprint({"a": 1, "b": 2}) == releases.fingerprint({"b": 2, "a": 1})
    assert len({releases.fingerprint(value) for value in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"a": None}, {})}) == 5


# Rollback


@pytest.mark.parametrize(("deployed", "expected"), [
    (["v1", "v2"], ["v1"]),
    (["v1", "v2", "v3"], ["v2", "v1"]),
    (["v1", "v2", "v3", "v4"], ["v3", "v2", "v1"]),
    (["v1", "v2", "broken!"], ["v1"]),
    (["v1", "broken!", "v2", "sick!", "v3"], ["v2", "v1"]),
    (["v1", "v2", "v2"], ["v2", "v1"]),
])
def test_each_rollback_goes_one_further_back_and_never_to_a_failed_one(deployed, expected):
    made = history(*deployed)
    for version in expected:
        made.rollback()
        assert made.version() == version
    with pytest.raises(releases.ReleaseError, match="is the first that was live, nothing is before it"):
        made.rollback()


def test_a_rollback_after_a_deploy_after_a_rollback_goes_to_what_was_live_then():
    made = history("v1", "v2", "v3")
    made.rollback()
    made.rollback()
    made.deploy("v4")
    made.rollback()
    assert made.version() == "v1"


def test_of_several_copies_the_newest_comes_back():
    made = history("v1", "v2")
    made.rollback()
    copy = made.live
    made.deploy("v3")
    assert releases.rollback_target(made.live, made.records) == copy


def test_a_rollback_picks_by_id_or_by_version():
    made = history("v1", "v2", "v3", "v4")
    second = sorted(made.records)[1]
    assert releases.rollback_target(made.live, made.records, wanted=second) == second
    assert releases.rollback_target(made.live, made.records, version="v2") == second


def test_the_newest_good_release_of_a_version_is_picked():
    made = history("v1", "v2", "v1", "v1!", "v3")
    assert releases.rollback_target(made.live, made.records, version="v1") == sorted(made.records)[2]


@pytest.mark.parametrize("pick", [{"wanted": "20200101000000-0000000"}, {"version": "v9"}, {"version": "broken"}])
def test_a_pick_that_is_not_there_says_what_is(pick):
    made = history("v1", "broken!", "v2", "v3")
    with pytest.raises(releases.ReleaseError, match="there is no kept release .* to go back to; kept are: .*v2.*, .*v1") as error:
        releases.rollback_target(made.live, made.records, **pick)
    assert "(v3)" not in str(error.value)


def test_the_live_release_is_no_target():
    made = history("v1", "v2")
    with pytest.raises(releases.ReleaseError, match="there is no kept release"):
        releases.rollback_target(made.live, made.records, wanted=made.live)


def test_without_a_live_release_there_is_nothing_to_go_back_from():
    with pytest.raises(releases.ReleaseError, match="no release is live"):
        releases.rollback_target("", history("broken!").records)


def test_a_target_that_was_pruned_is_named():
    made = history("v1", "v2", "v3")
    second = sorted(made.records)[1]
    del made.records[second]
    with pytest.raises(releases.ReleaseError, match=f"{second}, which was live before, is no longer kept; kept are: .*v1.* Pick one"):
        made.rollback()


def test_a_release_without_a_record_is_no_target():
    made = history("v1", "v2")
    made.records["20260101000000-0000000"] = {}
    assert made.rollback() == sorted(made.records)[1]


# Pruning


@pytest.mark.parametrize(("deployed", "keep", "kept"), [
    (["v1", "v2", "v3"], 5, ["v1", "v2", "v3"]),
    (["v1", "v2", "v3", "v4", "v5"], 3, ["v3", "v4", "v5"]),
    (["v1", "v2", "v3"], 2, ["v2", "v3"]),
    (["v1", "v2", "v3"], 0, ["v2", "v3"]),
    (["v1", "bad!", "v2", "bad!"], 5, ["v1", "v2"]),
    (["bad!"], 5, []),
    ([], 5, []),
])
def test_the_newest_good_releases_stay(deployed, keep, kept):
    made = history(*deployed)
    made.prune(keep)
    assert [made.records[release]["version"] for release in sorted(made.records)] == kept


def test_copies_of_one_release_count_once():
    made = history("v1", "v2", "v3")
    for _turn in range(2):
        made.rollback()
    made.prune(3)
    assert {record["version"] for record in made.records.values()} == {"v1", "v2", "v3"}


def test_what_still_drains_stays_even_when_it_failed():
    made = history("v1", "bad!", "v2", "v3")
    first, bad = sorted(made.records)[:2]
    assert not {first, bad} & set(made.prune(2, running={first, bad}))


def randomly(seed):
    """Yield a history after each of many random steps, with what runs then."""
    chance, made = random.Random(seed), History()
    for _step in range(40):
        what = chance.random()
        if what < 0.25 and made.live:
            with contextlib.suppress(releases.ReleaseError):
                made.rollback(**chance.choice([{}, {}, {"version": f"v{chance.randrange(6)}"}]))
        else:
            made.deploy(f"v{chance.randrange(6)}", releases.FAILED if what > 0.8 else releases.GOOD)
        running = set(chance.sample(sorted(made.records), chance.randrange(min(3, len(made.records) + 1)))) | ({made.live} - {""})
        keep = chance.randrange(1, 6)
        yield made, running, keep
        made.prune(keep, running)


@pytest.mark.parametrize("seed", range(60))
def test_pruning_never_takes_what_is_needed_and_leaves_no_more(seed):
    for made, running, keep in randomly(seed):
        try:
            target = {releases.rollback_target(made.live, made.records)}
        except releases.ReleaseError:
            target = set()
        gone = releases.to_prune(made.live, made.records, keep, running)
        stay = set(made.records) - set(gone)
        needed = (running | target | {made.live}) & set(made.records)
        assert sorted(gone) == gone
        assert needed <= stay
        assert all(made.records[release]["outcome"] == releases.GOOD for release in stay - running)
        origins = {releases.origin(release, made.records) for release in stay}
        needed_origins = {releases.origin(release, made.records) for release in needed}
        assert len(origins) <= max(keep, 2, len(needed_origins))
        good = {releases.origin(r, made.records) for r in made.records if made.records[r]["outcome"] == releases.GOOD}
        assert len(origins) >= min(max(keep, 2), len(good))
        assert releases.to_prune(made.live, {key: made.records[key] for key in stay}, keep, running) == []


@pytest.mark.parametrize("seed", range(20))
def test_the_target_of_a_rollback_survives_pruning(seed):
    for made, running, keep in randomly(1000 + seed):
        try:
            target = releases.rollback_target(made.live, made.records)
        except releases.ReleaseError:
            continue
        gone = releases.to_prune(made.live, made.records, keep, running)
        assert releases.rollback_target(made.live, {key: made.records[key] for key in made.records if key not in gone}) == target


# The shelf


@pytest.fixture
def shelf(tmp_path):
    for name in ("20260101000000-0000001", "20260101000001-0000002", "not-a-release"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    (tmp_path / "releases" / "20260101000000-0000001" / "release.json").write_text('{"version": "v1"}')
    (tmp_path / "releases" / "20260101000001-0000002" / "release.json").write_text('{"version": ')
    return releases.Shelf(str(tmp_path))


def test_the_shelf_reads_records_and_takes_a_torn_one_for_empty(shelf):
    assert shelf.records() == {"20260101000000-0000001": {"version": "v1"}, "20260101000001-0000002": {}}


@pytest.mark.parametrize(("target", "live"), [("releases/20260101000000-0000001", "20260101000000-0000001"), ("releases/gone", ""), (None, "")])
def test_the_link_says_what_is_live(shelf, tmp_path, target, live):
    if target:
        (tmp_path / "live").symlink_to(target)
    assert shelf.live() == live


def test_a_host_without_the_app_has_no_releases(tmp_path):
    empty = releases.Shelf(str(tmp_path / "nothing"))
    assert (empty.live(), empty.records(), empty.units("x"), empty.ledger()) == ("", {}, [], [])


def test_the_ledger_gives_its_last_lines_without_a_torn_one(shelf, tmp_path):
    for number in range(5):
        shelf.note({"number": number})
    with open(tmp_path / "ledger.jsonl", "a", encoding="utf-8") as file:
        file.write('{"torn": ')
    assert [entry["number"] for entry in shelf.ledger(4)] == [2, 3, 4]
    assert json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[0]) == {"number": 0}


def test_a_ledger_with_a_torn_line_takes_the_next_entry(shelf, tmp_path):
    (tmp_path / "ledger.jsonl").write_text('{"number": 1}\n{"torn": ')
    shelf.note({"number": 2})
    assert {"number": 2} in shelf.ledger()
