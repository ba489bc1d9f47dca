# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a process back, what stops it, and what an operator's stop means."""
from __future__ import annotations

import datetime
import fcntl
import json
import os
import shutil
import time

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, host, releases, supervisor, units
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.supervisor import LIVE, OTHER, Container, Plan
from samples import CELERY, loaded

LIVE_ID, OLD, NEW = "20261128000001-bbbbbbb", "20261128000000-aaaaaaa", "20261128000002-ccccccc"
WEB, WORKER, BEAT = (f"pos-{LIVE_ID}-{name}-1" for name in ("web", "worker", "beat"))
OLD_WEB = f"pos-{OLD}-web-1"


# Both runtimes

@pytest.mark.parametrize(("state", "runs"), [
    ("active", True), ("active (unhealthy)", True), ("activating", True), ("deactivating", False), ("inactive", False), ("failed", False)])
def test_a_leftover_runs_also_when_docker_calls_it_unhealthy(state, runs):
    found = supervisor.leftovers(LIVE_ID, {LIVE_ID: {"web": "active"}, OLD: {"web": state}}, lambda release: False)
    assert found == ({OLD: ["web"]} if runs else {})


def test_what_drains_is_no_leftover():
    running = {OLD: {"web": "active", "worker": "active (unhealthy)"}, NEW: {"web": "active"}}
    assert supervisor.leftovers(LIVE_ID, running, lambda release: release == OLD) == {NEW: ["web"]}


def test_a_helper_that_works_says_which_release_drains():
    listed = (f"quayside-stop@pos-{OLD}-123.service loaded activating start a b\nquayside-stop@pos-admin-{NEW}-9.service loaded activating start x\n"
              f"quayside-replace@pos-{LIVE_ID}-5.service loaded active x\n")
    assert supervisor.at_work("pos", listed) == {"stop": {OLD}, "replace": {LIVE_ID}}
    for verb in ("stop", "replace"):  # as the helpers are called
        assert supervisor.at_work("pos", f"{units.helper({'name': 'pos'}, verb, OLD, '7')}.service loaded active")[verb] == {OLD}


@pytest.mark.parametrize("runtime", ["systemd", "compose"])
def test_a_process_of_the_live_release_comes_back_whatever_it_ended_with(runtime):
    """Restart=on-failure and on-failure would leave what ends with 0, as celery does when its broker goes."""
    if runtime == "systemd":
        assert "Restart=always" in units.files(loaded())["pos-web@.service"].splitlines()
    assert LIVE == "unless-stopped"


class Runtime:
    """Notes what a deploy asks for."""

    def __init__(self, running, draining=()):
        self.found, self.draining, self.did = running, draining, []

    def running(self):
        return self.found

    def ending(self, release):
        return release in self.draining

    def stop(self, release, wanted, wait):
        self.did.append((release, wanted))

    def end_one_off(self, *words):
        self.did.append(words)


@pytest.mark.parametrize(("draining", "did"), [((OLD,), []), ((), [(OLD, [OLD_WEB])])])
def test_a_deploy_within_the_drain_of_the_last_one_leaves_it(tmp_path, draining, did):
    made = deploy.Deploy.__new__(deploy.Deploy)
    made.options, made.shelf, made.release, made.notes = {}, releases.Shelf(str(tmp_path)), "", []
    made.runtime = Runtime({OLD: {OLD_WEB: "active (unhealthy)"}}, draining)
    made.clear_leftovers()
    assert made.runtime.did == did
    assert len(made.notes) == len(did)


@pytest.mark.parametrize(("handing", "whole"), [((), False), ((LIVE_ID,), True), ((OLD,), False)])
@pytest.mark.parametrize("kind", ["systemd", "compose"])
def test_a_release_is_whole_while_its_single_processes_wait_for_those_before_them(tmp_path, monkeypatch, kind, handing, whole):
    """After a rollback the old beat may end its task: the same deploy again within that time has nothing to do."""
    app = dict(loaded(runtime=kind, processes=CELERY), root=str(tmp_path))
    runtime = deploy.RUNTIMES[kind](app, releases.Shelf(app["root"]))
    (tmp_path / "releases" / LIVE_ID).mkdir(parents=True)
    (tmp_path / "releases" / LIVE_ID / "units").write_text("\n".join(runtime.members(LIVE_ID)))
    monkeypatch.setattr(supervisor, "list_helpers", lambda app: {"stop": set(), "replace": set(handing)})
    singles = runtime.members(LIVE_ID, "singles")
    monkeypatch.setattr(runtime, "running", lambda: {LIVE_ID: {unit: "active" for unit in runtime.members(LIVE_ID) if unit not in singles}})
    assert runtime.whole(LIVE_ID) is whole


def test_the_switch_says_at_once_what_docker_brings_back(tmp_path):
    did = []
    made = deploy.Deploy.__new__(deploy.Deploy)
    made.app, made.shelf, made.release, made.record = {}, releases.Shelf(str(tmp_path)), LIVE_ID, {"of": OLD}
    made.store = lambda **values: None
    made.edge = type("Edge", (), {"switch": lambda self, app, shelf, release: did.append(("switch", release))})()
    made.runtime = type("Runtime", (), {"supervise": lambda self, release: did.append(("supervise", release))})()
    made.switch()
    assert did == [("switch", LIVE_ID), ("supervise", LIVE_ID)]


@pytest.mark.parametrize("phase", ["join", "relieve"])
def test_an_app_that_an_operator_has_stopped_is_supervised_again_from_its_next_release_on(phase):
    """A rollback too: its unit would stay inactive, and nothing would bring back what is gone."""
    did = []

    class Any:
        def __getattr__(self, verb):
            return lambda *_words, **_more: did.append(verb) or []

    made = deploy.Deploy.__new__(deploy.Deploy)
    made.options, made.release, made.record, made.runtime = {"first": True}, LIVE_ID, {"from": OLD, "started": 0}, Any()
    made.store, made.old = lambda **values: None, Any
    getattr(made, phase)()
    assert "enliven" in did


# Whether a deploy is at work

@pytest.mark.parametrize(("lease", "age", "held", "booted", "idle"), [
    (None, 0, False, 99999, True), ("", 0, False, 99999, True), ("{}", 0, False, 99999, False), ("{}", 59, False, 99999, False), ("{}", 61, False, 99999, True),
    ("{}", 3600, False, 99999, True), ("{}", 3600, True, 99999, False), ("{}", 0, True, 99999, False), ('{"renewed": 99999999999}', 3600, False, 99999, True),
    ("{}", -3600, False, 99999, True), ("{}", 30, False, 10, True),
], ids=["no lock", "free", "new", "renewed", "stale", "old", "old but held", "held", "garbage", "of a clock that was wrong", "of before the boot"])
def test_the_supervisor_waits_for_a_run_that_lives_and_for_no_other(tmp_path, lease, age, held, booted, idle):
    path, now = tmp_path / "lock", time.time()
    if lease is not None:
        path.write_text(lease)
        os.utime(path, (now - age,) * 2)
    with open(path if lease is not None else os.devnull, "r+", encoding="utf-8") as file:
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
        with open("/proc/locks", encoding="ascii") as locks:
            assert supervisor.idle(str(path), locks.read(), now, now - booted) is idle


# Containers

def container(name, state="running", policy=LIVE, started=100.0):
    """Return a container of the release in its name."""
    return Container(name, f"id-{name}", name.removeprefix("pos-")[:22], state, policy, started)


def plan(create=(), start=(), keep=(), stop=()):
    return Plan(list(create), list(start), list(keep), list(stop))


def known(*found):
    return {one.name: one for one in found}


def stop_event(name, when):
    return {"Actor": {"ID": f"id-{name}"}, "timeNano": int(when * 1e9)}


@pytest.mark.parametrize(("found", "stopped", "spared", "wanted"), [
    ([container(WEB), container(WORKER)], {}, set(), plan()),
    ([container(WEB, "exited"), container(WORKER, "created", OTHER)], {}, set(), plan(start=[WEB, WORKER], keep=[WORKER])),
    ([container(WORKER)], {}, set(), plan(create=[WEB], start=[WEB], keep=[WEB])),
    ([container(WEB, "exited"), container(WORKER)], {f"id-{WEB}": 1.0}, set(), plan()),
    ([container(WEB, "restarting"), container(WORKER, "paused")], {}, set(), plan()),
    ([container(WEB, policy=OTHER), container(WORKER)], {}, set(), plan(keep=[WEB])),
    ([container(WEB), container(WORKER), container(OLD_WEB, policy=OTHER)], {}, set(), plan(stop=[OLD_WEB])),
    ([container(WEB), container(WORKER), container(OLD_WEB, policy=OTHER)], {}, {OLD}, plan()),
    ([container(WEB), container(WORKER), container(OLD_WEB, "exited")], {}, set(), plan()),
    ([], {}, set(), plan(create=[WEB, WORKER], start=[WEB, WORKER], keep=[WEB, WORKER])),
], ids=["whole", "down", "removed", "stopped by hand", "restarting", "policy", "leftover", "drains", "ended", "compose down"])
def test_what_live_names_runs_and_nothing_else(found, stopped, spared, wanted):
    assert supervisor.decide([WEB, WORKER], known(*found), stopped, spared) == wanted


@pytest.mark.parametrize(("one", "before", "events", "by_hand"), [
    (container(WEB, "exited"), {}, [stop_event(WEB, 200)], True),                    # docker stop, whatever the status
    (container(WEB, "exited"), {}, [], False),                                        # docker kill
    (container(WEB, "exited", OTHER), {}, [stop_event(WEB, 200)], False),             # a deploy that died has stopped it
    (container(WEB, "exited", started=300.0), {}, [stop_event(WEB, 200)], False),     # stopped, started again, killed
    (container(WEB), {f"id-{WEB}": 200.0}, [], False),                               # started again
    (container(WEB, "exited"), {f"id-{WEB}": 200.0}, [], True),                      # still
], ids=["stop", "kill", "by a deploy", "killed after it", "started", "still"])
def test_a_stop_by_hand_is_what_the_engine_tells_and_no_guess(one, before, events, by_hand):
    assert (one.id in supervisor.stopped_by_hand(before, events, [one])) is by_hand


class Engine:
    """An engine with containers: name -> [state, policy]; ``gone`` are those whose network was removed."""

    timeout = 60

    def __init__(self, containers, events=(), networks=("pos",), up=True, gone=(), late=()):
        self.state, self.events, self.networks, self.up, self.gone, self.did = containers, list(events), list(networks), up, set(gone), []
        self.ended, self.folder = {"FinishedAt": "0001-01-01T00:00:00Z", "ExitCode": 0}, ""
        self.late = late

    def get(self, path, **query):
        if not self.up:
            raise EngineError(0, "no answer")
        if path == "/info":
            return {"DockerRootDir": self.folder}
        if path == "/events":
            return "".join(json.dumps(one) + "\n" for one in self.events if query["since"] < f"{one['timeNano'] / 1e9:.9f}" <= query["until"])
        if path == "/networks":
            return [name for name in self.networks if query["filters"]["name"] == [f"^{name}$"]]
        if path == "/containers/json":
            if "quayside.until" in query["filters"]["label"]:
                return [{"Id": name, "Names": [f"/{name}"], "Labels": {"quayside.until": str(until)}} for name, until in self.late]
            return [{"Id": f"id-{name}", "Names": [f"/{name}"], "Labels": {"quayside.release": name.removeprefix("pos-")[:22]}} for name in self.state]
        state, policy = self.state[path.split("/")[2].removeprefix("id-")]
        return {"State": {"Status": state, "StartedAt": "2026-11-28T00:00:00.5Z", **self.ended}, "HostConfig": {"RestartPolicy": {"Name": policy}}}

    def post(self, path, body=None, **_query):
        if path == "/networks/create":
            self.networks.append(body["Name"])
            self.did.append(("network", body["Name"]))
            return
        _empty, _containers, name, verb = path.split("/")
        if verb == "start" and name in self.gone:
            raise EngineError(404, f"network 0123 not found: {name}")
        self.did.append((verb, name))
        if name in self.state:
            self.state[name] = {"start": ["running", self.state[name][1]], "stop": ["exited", self.state[name][1]],
                                "update": [self.state[name][0], (body or {}).get("RestartPolicy", {}).get("Name")]}[verb]

    def call(self, _method, path, timeout):
        self.post(path)

    def delete(self, path, **_query):
        name = path.rpartition("/")[2]
        self.did.append(("remove", name))
        self.state.pop(name, None)
        self.gone.discard(name)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that makes a supervisor of an app whose release with a server and a worker is live; ``created`` is what compose made."""
    root = tmp_path / "pos"
    for release, outcome in ((OLD, "live"), (LIVE_ID, "live"), (NEW, "building")):
        (root / "releases" / release).mkdir(parents=True)
        (root / "releases" / release / "release.json").write_text(json.dumps({"outcome": outcome, "began": time.time()}))
    (root / "releases" / LIVE_ID / "units").write_text(f"{WEB}\n{WORKER}\n")
    (root / "live").symlink_to(f"releases/{LIVE_ID}")
    (tmp_path / "run").mkdir()
    helpers = {"stop": set(), "replace": set()}
    monkeypatch.setattr(supervisor, "list_helpers", lambda app: helpers)
    monkeypatch.setattr(supervisor, "is_active", lambda app: helpers.get("active", True))

    def make(containers, **more):
        engine = Engine(containers, **more)
        config = {"app": "pos", "root": str(root), "lock": str(root / "lock"), "networks": [{"Name": "pos"}], "compose": ["docker", "compose"]}
        one = supervisor.Supervisor(config, engine, str(tmp_path / "run"))

        def create(release, names):
            engine.did.append(("create", *names))
            engine.state.update({name: ["created", OTHER] for name in names})
        one.create = create
        one.helpers = helpers
        return one
    return make


def running(**more):
    return {WEB: ["running", LIVE], WORKER: ["running", LIVE], **more}


def test_a_look_at_a_whole_app_changes_nothing(made):
    one = made(running())
    assert one.do_keep() == 0
    assert one.engine.did == []


@pytest.mark.parametrize(("harm", "did"), [
    ({WEB: ["exited", LIVE], WORKER: ["running", LIVE]}, [("start", WEB)]),
    ({WORKER: ["running", LIVE]}, [("create", WEB), ("start", WEB), ("update", WEB)]),
    ({}, [("create", WEB, WORKER), ("start", WEB), ("start", WORKER), ("update", WEB), ("update", WORKER)]),
], ids=["killed", "removed", "compose down"])
def test_what_is_gone_comes_back_by_itself(made, harm, did):
    one = made(harm)
    assert one.do_keep() == 0
    assert one.engine.did == did
    assert one.engine.state == running()
    one.engine.did.clear()
    assert one.do_keep() == 0
    assert one.engine.did == []


def test_a_network_that_was_pruned_is_made_again_and_what_knew_it_by_its_id_too(made):
    one = made({WEB: ["exited", LIVE], WORKER: ["exited", LIVE]}, networks=(), gone=(WEB,))
    assert one.do_keep() == 0
    assert one.engine.did == [("network", "pos"), ("remove", WEB), ("create", WEB), ("start", WEB), ("start", WORKER)]
    assert one.do_keep() == 0
    assert one.engine.state == running()


def test_an_operators_stop_lasts_until_the_app_is_started_again(made):
    one = made(running())
    one.do_start()
    one.engine.state[WORKER] = ["exited", LIVE]
    one.engine.events = [stop_event(WORKER, time.time())]
    for _look in range(2):
        assert one.do_keep() == 0
        one.engine.events = []
    assert one.engine.did == []
    assert one.do_start() == 0
    assert one.engine.did == [("start", WORKER)]


@pytest.mark.parametrize(("begun", "by_hand", "status", "did"), [
    (2, True, 0, []), (2, True, 143, []), (2, True, 137, [("start", WORKER)]), (2, False, 0, [("start", WORKER)]), (-9, True, 0, [("start", WORKER)]),
    (2, None, 0, [("start", WORKER)]),
], ids=["stop", "stop of what ends by the signal", "kill", "ended while the engine was away", "no restart of the engine", "no file"])
def test_a_stop_that_a_restart_of_the_engine_made_forgotten_lasts(made, tmp_path, monkeypatch, begun, by_hand, status, did):
    """Between two looks: somebody stops a container, then the engine, whose events are gone with it."""
    one = made(running())
    one.do_start()
    ended = time.time() + 1
    stamp = datetime.datetime.fromtimestamp(ended, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    one.engine.state[WORKER], one.engine.ended, one.engine.folder = ["exited", LIVE], {"FinishedAt": stamp, "ExitCode": status}, str(tmp_path)
    if by_hand is not None:
        place = tmp_path / "containers" / f"id-{WORKER}"
        place.mkdir(parents=True)
        (place / "config.v2.json").write_text(json.dumps({"HasBeenManuallyStopped": by_hand}))
    (tmp_path / "docker.pid").write_text("7")
    os.utime(tmp_path / "docker.pid", (ended + begun, ended + begun))
    monkeypatch.setattr(supervisor, "ENGINE", str(tmp_path / "docker.pid"))
    for _look in range(2):
        assert one.do_keep() == 0
    assert one.engine.did == did


def test_what_drains_or_is_being_made_is_left_and_what_died_is_stopped(made):
    left, new, old = f"pos-{OLD}-worker-1", f"pos-{NEW}-web-1", OLD_WEB
    one = made(running(**{old: ["running", OTHER], new: ["running", OTHER]}))
    one.helpers["stop"].add(OLD)
    assert one.do_keep() == 0
    assert one.engine.did == []
    one.helpers["stop"].clear()
    one.engine.state[left] = ["running", OTHER]
    one.do_keep()
    assert sorted(one.engine.did) == [("stop", old), ("stop", left)]


def test_a_release_that_is_being_made_for_an_hour_was_left(made):
    new = f"pos-{NEW}-worker-1"
    one = made(running(**{new: ["running", OTHER]}))
    record = f"{one.root}/releases/{NEW}/release.json"
    for began, did in ((time.time() - supervisor.MADE + 60, []), (time.time() - supervisor.MADE - 60, [("stop", new)])):
        with open(record, "w", encoding="utf-8") as file:
            json.dump({"outcome": "building", "began": began}, file)
        one.do_keep()
        assert one.engine.did == did


def test_nothing_is_touched_while_single_processes_are_handed_over(made):
    one = made({WEB: ["running", LIVE], WORKER: ["exited", OTHER]})
    one.helpers["replace"].add(LIVE_ID)
    assert one.do_keep() == 0
    assert one.engine.did == []


@pytest.mark.parametrize("verb", ["keep", "start"])
def test_nothing_is_touched_while_a_deploy_is_at_work(made, verb):
    one = made({})
    (_lock := open(one.config["lock"], "w", encoding="utf-8")).write("{}")
    _lock.close()
    assert getattr(one, f"do_{verb}")() == 0
    assert one.engine.did == []


def test_nothing_comes_back_while_the_app_is_stopped(made):
    one = made({WEB: ["exited", LIVE], WORKER: ["running", LIVE]})
    one.helpers["active"] = False
    assert one.do_keep() == 0
    assert one.engine.did == []


def test_a_stop_ends_what_a_look_has_started_meanwhile(made):
    one = made(running())
    post, late = one.engine.post, [WEB]

    def stop(path, body=None, **query):
        post(path, body, **query)
        if late:
            one.engine.state[late.pop()] = ["running", LIVE]
    one.engine.post = stop
    assert one.do_stop() == 0
    assert {state for state, _policy in one.engine.state.values()} == {"exited"}


def test_an_engine_that_is_away_is_told_once_and_stops_nothing(made, capsys):
    one = made(running())
    one.engine.up = False
    assert [one.do_keep() for _look in range(3)] == [0, 0, 0]
    assert capsys.readouterr().out.count("the engine is away") == 1
    assert one.do_stop() == 0
    one.engine.up = True
    assert one.do_keep() == 0
    assert one.engine.did == []


def test_a_boot_starts_the_live_release_and_ends_what_docker_started_of_others(made):
    one = made({WEB: ["exited", LIVE], WORKER: ["exited", LIVE], OLD_WEB: ["running", LIVE]})
    assert one.do_start() == 0
    assert sorted(one.engine.did) == [("start", WEB), ("start", WORKER), ("stop", OLD_WEB)]


def test_a_stop_ends_all_instances_and_a_reload_starts_the_live_one_again(made):
    one = made(running(**{OLD_WEB: ["running", OTHER]}))
    assert one.do_reload() == 0
    assert sorted(one.engine.did[:2]) + one.engine.did[2:] == [("stop", WEB), ("stop", WORKER), ("start", WEB), ("start", WORKER)]
    one.engine.did.clear()
    assert one.do_stop() == 0
    assert {name for verb, name in one.engine.did if verb == "stop"} == {WEB, WORKER, OLD_WEB}


def test_a_one_off_whose_time_is_over_is_ended(made):
    one = made(running(), late=[("pos-old", time.time() - 60), ("pos-now", time.time() + 60)])
    assert one.do_keep() == 0
    assert one.engine.did == [("stop", "pos-old"), ("remove", "pos-old")]


def test_what_cannot_be_started_does_not_keep_the_others_down(made, capsys):
    one = made({WEB: ["exited", LIVE], WORKER: ["exited", LIVE]})
    start = one.engine.post
    one.engine.post = lambda path, body=None, **query: (_ for _ in ()).throw(EngineError(400, "no such mount")) if WEB in path else start(path, body, **query)
    assert one.do_keep() == 1
    assert one.engine.did == [("start", WORKER)]
    assert f"{WEB}: no such mount" in capsys.readouterr().out


def test_the_program_runs_beside_its_neighbours_alone(tmp_path):
    """On a host there is no collection: systemd runs the file."""
    from ansible_collections.quayside.django.plugins.module_utils import docker_engine, lock

    for name, module in (("supervisor", supervisor), ("docker_engine", docker_engine), ("lock", lock)):
        shutil.copy(module.__file__, tmp_path / f"{name}.py")
    (tmp_path / "supervisor.json").write_text(json.dumps({"app": "pos", "root": str(tmp_path), "lock": str(tmp_path / "lock"), "networks": [], "compose": []}))
    done = host.run(["/usr/bin/python3", str(tmp_path / "supervisor.py"), "wrong", str(tmp_path / "supervisor.json")], check=False)
    assert "has no attribute 'do_wrong'" in done.stderr
