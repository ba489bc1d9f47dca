# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps that are on a host and in no inventory of it: found by what they left, told with what is there."""
import json
import pwd
from types import SimpleNamespace

import pytest
from ansible_collections.quayside.django.plugins.module_utils import foreign, orphans, units
from ansible_collections.quayside.django.plugins.modules import local_firewall
from samples import loaded

NOTHING = {"name": "old", "units": [], "containers": [], "volumes": [], "umbrella": "", "databases": [], "redis": "", "folders": [], "user": ""}
TEXTS = [
    ({"units": ["old-beat@1.service", "old-web@1.service"], "umbrella": "old.service"},
     "running units old-beat@1.service, old-web@1.service; old.service, which starts it at boot"),
    ({"databases": [("old", "old_role", 35)], "redis": "redis-server@old.service (runs, user redis_old)"},
     "database old (35 MiB, role old_role); Redis redis-server@old.service (runs, user redis_old)"),
    ({"containers": ["old-1-web"], "volumes": ["old-db"]}, "running containers old-1-web; volumes old-db"),
    ({"user": "old", "folders": [("/opt/old", 512), ("/etc/quayside/old", None)]}, "user old; /opt/old (512 MiB); /etc/quayside/old"),
]


@pytest.mark.parametrize(("there", "told"), TEXTS)
def test_what_is_there_is_told(there, told):
    assert orphans.text({**NOTHING, **there}) == told
    (finding,) = orphans.findings([{**NOTHING, **there}])
    assert (finding["code"], finding["severity"], finding["item"]) == ("app.orphan", "warning", "app old")
    assert told in finding["reason"]
    assert told in orphans.line({**NOTHING, **there})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a host with nothing of ours on it, as a folder; ``run`` is what programs answer."""
    for name in ("units", "etc", "opt"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(orphans, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(orphans.model, "PRIVATE", str(tmp_path / "etc"))
    monkeypatch.setattr(orphans.ports, "read", dict)
    monkeypatch.setattr(orphans, "databases", dict)
    monkeypatch.setattr(orphans, "ask", lambda *_words, **_query: None)
    monkeypatch.setattr(orphans, "size", lambda path: 7)
    monkeypatch.setattr(orphans.host, "systemctl", lambda *words, **_options: SimpleNamespace(returncode=1, stdout=""))
    return tmp_path


def install(place, name, *processes, record=None):
    """Make the units of an app, and its record."""
    app = loaded(name=name)
    for unit in [name, *(f"{name}-{process}@" for process in processes)]:
        (place / "units" / f"{unit}.service").write_text(f"{units.mark(app)}\n[Unit]\nConditionPathExists={place}/opt/{name}/live/units\n")
    (place / "opt" / name).mkdir()
    if record is not None:
        (place / "etc" / name).mkdir()
        (place / "etc" / name / "app.json").write_text(json.dumps(record))


def names(found):
    return [one["name"] for one in found]


def test_an_app_that_left_the_inventory_is_found(place):
    install(place, "shop", "web")
    install(place, "old", "web")
    (place / "units" / "other.service").write_text("[Unit]\nDescription=of somebody else\n")
    (place / "units" / "linked.service").symlink_to("/dev/null")
    assert names(orphans.look({"shop"})) == ["old"]
    assert orphans.look({"shop", "old"}) == []


def test_one_without_a_record_is_told_by_its_units(place):
    install(place, "old", "web")
    (one,) = orphans.look(set())
    assert one["folders"] == [(f"{place}/opt/old", 7)]


def test_one_with_a_record_is_told_by_it(place, monkeypatch):
    (place / "srv").mkdir()
    install(place, "old", "web", record=json.loads(orphans.record(dict(loaded(name="old"), root=f"{place}/srv"))))
    monkeypatch.setattr(orphans, "databases", lambda: {"old": {"owner": "old", "size": 35}, "another": {"owner": "x", "size": 1}})
    (one,) = orphans.look(set())
    assert one["folders"][0] == (f"{place}/srv", 7)
    assert one["databases"] == [("old", "old", 35)]


def test_what_is_gone_but_for_its_ports_is_no_orphan(place, monkeypatch):
    monkeypatch.setattr(orphans.ports, "read", lambda: {"old": {"first": 20000, "user": "old"}})
    assert orphans.look(set()) == []
    monkeypatch.setattr(orphans.foreign, "user", lambda name: {"uid": 990} if name == "old" else None)
    assert names(orphans.look(set())) == ["old"]


def test_a_user_that_a_renamed_app_has_kept_is_none_of_the_orphans(place, monkeypatch):
    monkeypatch.setattr(orphans.foreign, "user", lambda name: {"uid": 990})
    record = {**json.loads(orphans.record(loaded(name="old"))), "user": "shop"}
    install(place, "old", "web", record=record)
    install(place, "shop", "web", record=dict(record, name="shop"))
    (one,) = orphans.look({"shop"})
    assert one["user"] == ""


def test_units_of_an_app_whose_name_begins_alike_are_not_counted(place, monkeypatch):
    install(place, "old", "web")
    install(place, "old-admin", "web")
    shown = "old-web@1.service loaded active running\nold-admin-web@2.service loaded active running\n"
    monkeypatch.setattr(orphans.host, "systemctl", lambda *words, **_options: SimpleNamespace(returncode=1, stdout=shown if "list-units" in words else ""))
    found = {one["name"]: one["units"] for one in orphans.look(set())}
    assert found == {"old": ["old-web@1.service"], "old-admin": ["old-admin-web@2.service"]}


def test_an_orphan_in_containers_keeps_the_socket_of_postgresql(place):
    me = pwd.getpwuid(0).pw_name
    of = json.loads(orphans.record(loaded(name="old")))
    install(place, "old", "web", record=dict(of, runtime="compose", user=me))
    install(place, "native", "web", record=dict(of, runtime="systemd", user=me))
    install(place, "shop", "web", record=dict(of, runtime="compose", user=me))
    assert orphans.socket_uids({"shop"}) == [0]


def test_a_folder_is_measured_and_one_that_takes_long_is_not(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x" * 3 * 2**20)
    assert orphans.size(str(tmp_path)) in (3, 4)

    def slow(*_words, **_options):
        raise foreign.host.PhaseError("`du` did not end within 5 s")

    monkeypatch.setattr(orphans.host, "run", slow)
    assert orphans.size(str(tmp_path)) is None


def test_containers_of_the_inventory_and_of_orphans_reach_postgresql_by_its_socket(place, monkeypatch):
    install(place, "old", "web", record=dict(json.loads(orphans.record(loaded(name="old", runtime="compose"))), user="old_user"))
    uids = {"pos": 990, "old_user": 991}
    monkeypatch.setattr(local_firewall, "uid_of", uids.get)
    monkeypatch.setattr(orphans.foreign, "user", lambda name: {"uid": uids[name]} if name in uids else None)
    files, _digest = local_firewall.desired([loaded(runtime="compose")], {"pos": {"first": 20000, "user": "pos"}}, [])
    assert "user:990:--x,user:991:--x" in files[local_firewall.TMPFILES]
