# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose project of an instance: what stands in it for which model, and that YAML reads what was meant."""
from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import compose_project, container_units, images, runtime_compose, units
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.releases import Shelf
from samples import CELERY, RELEASE, loaded

FACTS = {"user": "998:997", "images": {"app": "quayside/pos-app:0123", "front": "quayside/pos-front:0123"}, "ports": {"web": 20001},
         "addresses": {}, "services": {}, "env": {"TIME_ZONE": "UTC"},
         "secrets": {"SECRET_KEY": "a$b"}, "workers": {"web": 3, "worker": 2}, "memory": {"web": 384}, "search": {}}


def project(facts=None, **fields):
    """Return the project of an app in containers, read back from its YAML as compose reads it."""
    app = loaded(runtime="compose", **{"processes": CELERY, **fields})
    return yaml.safe_load(compose_project.render(compose_project.project(app, RELEASE, {**FACTS, **(facts or {})})))


def mounts(service):
    """Return target -> read-only of a service's mounts."""
    return {one["target"]: one.get("read_only", False) for one in service["volumes"]}


def test_each_copy_of_a_process_is_a_service():
    assert list(project()["services"]) == ["web", "worker", "worker-2", "beat", "manage"]


def test_the_project_is_named_after_the_release_and_joins_the_networks_of_the_app():
    made = project()
    assert made["name"] == f"pos-{RELEASE}"
    assert made["networks"] == {"default": {"name": "pos", "external": True}, "edge": {"name": "edge-pos", "external": True}}
    assert made["services"]["web"]["networks"]["default"]["aliases"] == [f"web-{RELEASE}"]


TWO_IMAGES = [{"name": "app"}, {"name": "front"}]


@pytest.mark.parametrize(("process", "networks", "sockets"), [
    ({"name": "web", "command": "gunicorn pos.wsgi"}, {"default", "edge"}, True),
    ({"name": "worker", "command": "celery -A pos worker"}, {"default"}, True),
    ({"name": "front", "image": "front", "port": 3000, "routes": ["/next/"]}, {"edge"}, False),
    ({"name": "front", "image": "front", "port": 3000, "routes": ["/next/"], "data": True}, {"default", "edge"}, True),
    ({"name": "timer", "image": "front", "command": "node timer.js"}, {"edge"}, False),
    ({"name": "web", "command": "gunicorn pos.wsgi", "data": False}, {"edge"}, False),
])
def test_only_what_needs_the_data_is_in_its_network_and_has_its_sockets(process, networks, sockets):
    others = [] if process["name"] == "web" else [{"name": "web", "command": "gunicorn pos.wsgi"}]
    app = loaded(runtime="compose", images=TWO_IMAGES, processes=[*others, process])
    facts = {**FACTS, "images": {"app": "app:1", "front": "front:1"}}
    made = compose_project.project(app, RELEASE, facts)["services"][process["name"]]
    assert set(made["networks"]) == networks
    assert all(one["aliases"] == [f"{process['name']}-{RELEASE}"] for one in made["networks"].values())
    mounted = {one["source"] for one in made["volumes"] if isinstance(one, dict)}
    assert ({"/run/postgresql", "/run/redis-pos"} <= mounted) is sockets
    assert bool({"/run/postgresql", "/run/redis-pos"} & mounted) is sockets


@pytest.mark.proves("0.39")
@pytest.mark.parametrize("name", ["web", "worker", "beat", "manage"])
def test_a_container_has_as_few_rights_as_possible(name):
    service = project()["services"][name]
    assert (service["user"], service["read_only"], service["cap_drop"]) == ("998:997", True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0


@pytest.mark.proves("1.18")
def test_a_port_is_published_on_localhost_alone_and_only_where_one_was_chosen():
    services = project()["services"]
    assert services["web"]["ports"] == ["127.0.0.1:20001:8000"]
    assert all("ports" not in services[name] for name in ("worker", "beat", "manage"))


@pytest.mark.proves("4.83")
def test_the_health_check_has_the_declared_figures_and_knows_host_and_scheme():
    check = project(health={"path": "/healthz/", "status": [200, 204]}, tls={"mode": "selfsigned"})["services"]["web"]["healthcheck"]
    assert check["test"] == ["CMD", "/bin/sh", "/quayside/health", "8000", "/healthz/", "pos.example.com", "https", "200", "204"]
    assert [check[key] for key in ("interval", "timeout", "retries", "start_period")] == ["30s", "10s", 3, "5s"]


@pytest.mark.parametrize(("process", "command"), [
    ({"command": "gunicorn pos.wsgi -w 4"}, ["gunicorn", "pos.wsgi", "-w", "4", "--bind", "0.0.0.0:8000"]),
    ({"command": "uvicorn pos.asgi", "port": 9000}, ["uvicorn", "pos.asgi", "--host", "0.0.0.0", "--port", "9000"]),
    ({"command": "node server.js --port $PORT --name ${RELEASE}x"}, ["node", "server.js", "--port", "8000", "--name", f"{RELEASE}x"]),
    ({"command": "a && b $PORTS"}, ["/bin/sh", "-c", "a && exec b $PORTS"]),
])
def test_a_command_is_a_list_unless_it_needs_a_shell(process, command):
    made = project(processes=[{"name": "web", **process}])["services"]["web"]["command"]
    assert [word.replace("$$", "$") for word in made][: len(command)] == command


def test_an_image_without_a_command_runs_its_own():
    service = project(processes=[{"name": "web"}])["services"]["web"]
    assert "command" not in service
    assert service["environment"]["WEB_CONCURRENCY"] == "3"


def test_a_single_process_holds_a_lock_for_as_long_as_it_lives():
    command = project()["services"]["beat"]["command"]
    assert command[:2] == ["/bin/sh", "-c"]
    assert "exec flock --no-fork --timeout 30 /opt/pos/shared/state/beat.lock celery -A shop beat" in command[2]


def test_the_celery_worker_has_a_name_for_each_copy():
    services = project()["services"]
    assert f"pos-worker-1.{RELEASE}@%h" in services["worker"]["command"]
    assert f"pos-worker-2.{RELEASE}@%h" in services["worker-2"]["command"]


def test_every_dollar_is_doubled_since_compose_replaces_what_stands_behind_one():
    assert project()["services"]["web"]["environment"]["SECRET_KEY"] == "a$$b"


def test_host_services_are_reached_by_their_mounted_folders():
    assert {"/run/postgresql", "/run/redis-pos", "/opt/pos/shared"} <= set(mounts(project()["services"]["web"]))
    none = mounts(project(database={"engine": "container"}, cache={"engine": "none"})["services"]["web"])
    assert not {"/run/postgresql", "/run/redis-pos"} & set(none)


@pytest.mark.proves("4.79", "4.80", "4.81")
def test_static_media_and_folders_are_where_the_image_looks_for_them():
    services = project(static={"root": "/app/staticfiles"}, media={"root": "/app/media"}, folders=[{"name": "logs", "path": "/app/logs"}])["services"]
    found = mounts(services["web"])
    assert (found["/app/staticfiles"], found["/app/media"], found["/app/logs"]) == (True, False, False)
    assert mounts(services["manage"])["/app/staticfiles"] is False


@pytest.mark.proves("0.12")
def test_a_later_server_finds_an_earlier_one_of_its_own_release_by_its_name():
    services = project(images=[{"name": "app"}, {"name": "front"}],
                       processes=[{"name": "web", "command": "gunicorn x"}, {"name": "frontend", "image": "front", "port": 3000}])["services"]
    assert services["frontend"]["links"] == ["web"]
    assert "links" not in services["web"]
    assert services["frontend"]["image"] == "quayside/pos-front:0123"


def test_nobody_asks_the_engine_for_a_name_where_networks_take_addresses_of_ours():
    """The engine's name server is gone while the engine is."""
    facts = {"addresses": {"web": "172.18.0.9", "frontend": "172.18.0.10"}, "services": {"db": "172.19.0.2", "redis": ""}}
    services = project(facts, images=[{"name": "app"}, {"name": "front"}], processes=[
        {"name": "web", "command": "gunicorn x"}, {"name": "frontend", "image": "front", "port": 3000},
        {"name": "worker", "command": "celery -A pos worker"}])["services"]
    assert services["web"]["networks"]["edge"] == {"aliases": [f"web-{RELEASE}"], "ipv4_address": "172.18.0.9"}
    assert "ipv4_address" not in services["web"]["networks"]["default"]
    assert "ipv4_address" not in services["worker"]["networks"]["default"]
    assert services["frontend"]["extra_hosts"] == ["web:172.18.0.9"]
    assert services["web"]["extra_hosts"] == services["worker"]["extra_hosts"] == ["db:172.19.0.2"]
    assert not any("links" in service for service in services.values())


@pytest.mark.parametrize("init", [True, False])
def test_dockers_init_is_process_1_unless_the_image_brings_one(init):
    """Without one a process that handles no SIGTERM works on beside the next release until it is killed."""
    fields = {} if init else {"container": {"init": False}}
    assert {service["init"] for service in project(**fields)["services"].values()} == {init}


def test_no_container_comes_back_before_it_is_live():
    assert {service["restart"] for service in project()["services"].values()} == {"no"}


def test_a_process_of_another_image_gets_only_the_secrets_that_it_names():
    images = [{"name": "app"}, {"name": "front"}]
    services = project(images=images, processes=[{"name": "web", "command": "gunicorn x"}, {"name": "frontend", "image": "front", "port": 3000},
                                                 {"name": "node", "image": "front", "port": 3001, "secrets": ["SECRET_KEY"]}])["services"]
    assert ["SECRET_KEY" in services[name]["environment"] for name in ("web", "frontend", "node", "manage")] == [True, False, True, True]


@pytest.mark.proves("1.49")
def test_limits_are_those_of_the_model_else_those_of_the_host():
    services = project(processes=[{"name": "web", "command": "gunicorn x"}, {"name": "bot", "command": "x", "memory": "1.5G", "cpu": "150%"}])["services"]
    assert services["web"]["mem_limit"] == "384m"
    assert (services["bot"]["mem_limit"], services["bot"]["cpus"]) == ("1536m", 1.5)


@pytest.mark.proves("2.22")
def test_a_single_process_goes_before_the_others_when_all_want_the_cpu():
    services = project(processes=[{"name": "web", "command": "gunicorn x"}, {"name": "bot", "command": "x", "single": True}])["services"]
    assert [services[name].get("cpu_shares") for name in ("web", "bot")] == [None, 10240]


@pytest.mark.parametrize("value", [
    "plain", "", "yes", "NULL", "1.5", "0x1F", "a: b", "a #b", "- x", "'single'", '"double"', "back\\slash", "tab\there", "ünïcode ☃ 🙂", "{a: b}", "[x]",
    "*anchor",
    "a -  b",
    "&anchor", "!tag", "%directive", "@at", "`tick`", "  spaces  ", "1_000", "12:30:45", "2026-11-21", "~", "=", "<<", "null", "on", "No", "|", ">", "?",
])
def test_a_text_stays_the_same_text_in_yaml(value):
    text = compose_project.render({"a": {"b": value}, "list": [value, {"c": value}]})
    assert yaml.safe_load(text) == {"a": {"b": value}, "list": [value, {"c": value}]}


@pytest.mark.parametrize("value", [True, False, 0, 3, 1.5, [], {}, [1, "a"], {"a": {"b": [{"c": 1, "d": ["x"]}, {"e": {}}]}}])
def test_other_values_stay_the_same_in_yaml(value):
    assert yaml.safe_load(compose_project.render({"key": value})) == {"key": value}


@pytest.mark.parametrize(("text", "megabytes"), [("512M", 512), ("1.5G", 1536), ("2048K", 2), ("", 0), ("lots", 0), ("1T", 2**20), ("1048576", 1)])
def test_sizes_as_systemd_writes_them(text, megabytes):
    assert compose_project.megabytes(text) == megabytes


@pytest.mark.parametrize("tool", ["sh", "dash", "bash"])
def test_the_health_script_is_one_for_every_shell(tool, tmp_path):
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    path = tmp_path / "health"
    path.write_text(compose_project.health_script(loaded(runtime="compose", container={"timeout": 40})))
    assert "SECONDS" not in path.read_text() and path.read_text().count("39") == 5
    assert subprocess.run([tool, "-n", str(path)], check=False).returncode == 0


def test_the_apps_unit_lets_run_what_live_names_and_a_timer_watches():
    files = container_units.files(loaded(runtime="compose"))
    assert set(files) == {"pos.service", "quayside-keep@pos.service", "quayside-keep@pos.timer", "quayside-images@pos.service", "quayside-images@pos.timer",
                          "systemd-journald@pos.socket.d/quayside.conf"}
    assert "PartOf=pos.service" in files["quayside-keep@pos.timer"]
    for unit, verbs in (("pos.service", ["start", "stop", "reload"]), ("quayside-keep@pos.service", ["keep"])):
        assert re.findall(r"^Exec\w+=/usr/bin/python3 /opt/pos/lib/supervisor.py (\w+) /opt/pos/lib/supervisor.json$", files[unit], re.M) == verbs
        assert "RuntimeDirectoryPreserve=yes" in files[unit]  # what an operator has stopped is not forgotten when a look ends
        assert "ProcSubset" not in files[unit]  # it would hide the list of locks


@pytest.mark.parametrize("unit", ["pos.service", "quayside-keep@pos.service", "quayside-keep@pos.timer", "quayside-images@pos.service"])
def test_no_unit_ends_because_its_engine_does(unit):
    """Requires=, BindsTo= and PartOf= hand a stop of docker.service on."""
    lines = container_units.files(loaded(runtime="compose"))[unit].splitlines()
    assert [line for line in lines if "docker" in line and line.split("=")[0] not in ("Wants", "After")] == []


def test_helper_units_of_before_give_way_to_those_whose_name_no_app_can_have(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runtime_compose, "UNITS", str(tmp_path))
    monkeypatch.setattr(runtime_compose.host, "systemctl", lambda *words, **_more: asked.append(words) or SimpleNamespace(returncode=0))
    monkeypatch.setattr(runtime_compose, "source_of", lambda module: module.__name__)
    monkeypatch.setattr(runtime_compose.host, "folder", lambda path, *_more: Path(path).mkdir(exist_ok=True))
    monkeypatch.setattr(runtime_compose.host, "write", lambda path, text, *_more: text != runtime_compose.host.text(path) and bool(Path(path).write_text(text)))
    app, neighbour = dict(loaded(runtime="compose"), root=str(tmp_path)), loaded(runtime="compose", name="pos-images", root="/opt/pos-images")
    mine = [tmp_path / name for name in ("pos-keep.timer", "pos-keep.service", "pos-images.timer")]
    for path in mine:
        path.write_text(units.mark(app) + "\n")
    other = tmp_path / "pos-images.service"
    other.write_text(container_units.umbrella(neighbour))
    runtime = runtime_compose.Compose(app, Shelf(app["root"]))
    assert {path for path, (_before, after) in runtime.outdated().items() if not after} == {str(path) for path in mine}
    runtime.install()
    assert [path for path in mine if path.exists()] == []
    assert other.read_text() == container_units.umbrella(neighbour)
    assert [words for words in asked if words[0] in ("stop", "start") and "journald" not in words[1]] == [
        ("stop", "--", "pos-keep.timer", "pos-images.timer"), ("start", "--", "quayside-keep@pos.timer", "quayside-images@pos.timer")]
    assert runtime.outdated() == {}


@pytest.mark.parametrize(("manage", "env", "config", "path"), [
    ("manage.py", {}, {"WorkingDir": "/app"}, None),
    ("src/manage.py", {}, {"WorkingDir": "/app"}, "/app/src"),
    ("/srv/site/manage.py", {}, {"WorkingDir": "/app"}, "/srv/site"),
    ("src/manage.py", {}, {}, "/src"),
    ("src/manage.py", {}, {"WorkingDir": "/app", "Env": ["A=b", "PYTHONPATH=/app/libs"]}, "/app/src:/app/libs"),
    ("src/manage.py", {"PYTHONPATH": "/mine"}, {"WorkingDir": "/app", "Env": ["PYTHONPATH=/app/libs"]}, "/app/src:/mine"),
])
def test_every_process_of_the_image_finds_what_lies_beside_manage_py(manage, env, config, path):
    app = loaded(runtime="compose", images=TWO_IMAGES, manage=manage, env=env,
                 processes=[*CELERY, {"name": "front", "image": "front", "port": 3000, "routes": ["/next/"]}])
    facts = {**FACTS, "env": env, "search": compose_project.search_path(app, env, config)}
    services = compose_project.project(app, RELEASE, facts)["services"]
    assert {services[name]["environment"].get("PYTHONPATH") for name in ("web", "worker", "beat", "manage")} == {path}
    assert services["front"]["environment"].get("PYTHONPATH") == env.get("PYTHONPATH")


@pytest.mark.parametrize(("name", "disabled"), [("web", False), ("worker", True), ("beat", True), ("manage", True)])
def test_only_what_takes_requests_has_a_health_check_also_where_the_image_brings_one(name, disabled):
    """Docker would run the image's own HEALTHCHECK in workers, and call them unhealthy for ever."""
    check = project()["services"][name]["healthcheck"]
    assert check == {"disable": True} if disabled else check["test"][0] == "CMD"


@pytest.mark.parametrize(("declared", "wrong", "told"), [
    (["/app/media"], "", ""),
    (["/app/media/"], "", ""),
    (["/app/media/thumbs"], "declares VOLUME /app/media/thumbs, inside /app/media (media.root)", ""),
    (["/app/static/x"], "inside /app/static (static.root)", ""),
    (["/app/data/a/b"], "inside /app/data (folders[data].path)", ""),
    (["/in/today"], "inside /in (container.volumes)", ""),
    (["/app"], "", "declares VOLUME /app:"),
    (["/app/mediathek"], "", "folders: [{name: mediathek, path: /app/mediathek}]"),
    (["/tmp", "/app/cache"], "", ""),
    ([], "", ""),
])
def test_a_volume_of_an_image_that_would_hide_a_folder_is_refused(declared, wrong, told):
    app = loaded(runtime="compose", media={"root": "/app/media"}, static={"root": "/app/static"}, folders=[{"name": "data", "path": "/app/data"}],
                 container={"volumes": ["/srv/in:/in:ro"], "writable": ["/app/cache"]})
    refused, notes = compose_project.volume_findings(app, {"pos:1": declared})
    assert (bool(refused), bool(notes)) == (bool(wrong), bool(told))
    assert wrong in "".join(refused)
    assert told in "".join(notes)


class Disk:
    """Stands in for the engine: the live image has 900 MiB, and the one to come is not here unless ``there``."""

    def __init__(self, there, driver):
        self.there, self.driver = there, driver

    def get(self, path, **_query):
        if path == "/info":
            return {"DockerRootDir": "/var/lib/docker", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]] if self.driver else []}
        if path == "/images/pos:live/json" or self.there:
            return {"Size": 900 * 2**20}
        raise EngineError(404, "No such image")


@pytest.mark.parametrize(("source", "there", "live", "need"), [
    ("registry", True, True, 300), ("registry", False, True, 1200), ("registry", False, False, 812), ("build", False, True, 2100),
    ("build", False, False, 1324)])
@pytest.mark.parametrize("driver", [False, True])
def test_images_that_have_to_come_need_room_where_the_engine_keeps_them(tmp_path, monkeypatch, source, there, live, need, driver):
    image = {"name": "app", "repository": "ghcr.io/acme/pos", "from": source}
    runtime = runtime_compose.Compose(loaded(runtime="compose", images=[image]), Shelf(str(tmp_path)))
    runtime.engine = Disk(there, driver)
    monkeypatch.setattr(images, "Engine", lambda timeout: runtime.engine)
    monkeypatch.setattr(Shelf, "live", lambda self: "before" if live else "")
    monkeypatch.setattr(Shelf, "record", lambda self, release: {"images": {"app": {"ref": "pos:live"}}} if release else {})
    found = runtime.disks({"images": {"app": {"ref": "pos:new"}}})
    assert found == {"/opt/pos/releases": 300, "/var/lib/docker": need, **({"/var/lib/containerd": need} if driver else {})}


@pytest.mark.parametrize(("addresses", "words"), [
    (["0.0.0.0:8000", "127.0.0.11:39411"], ""), (["*:8000"], ""), (["[::]:8000"], ""), (["10.0.0.2:8000"], ""), (["127.0.0.11:39411"], ""), ([], ""),
    (["127.0.0.1:8000"], "let it listen on 0.0.0.0"), (["[::1]:8000", "127.0.0.11:39411"], "let it listen on 0.0.0.0"),
    (["0.0.0.0:5000", "127.0.0.11:39411"], "it listens on 0.0.0.0:5000, and processes[web].port is 8000"),
])
def test_where_a_server_listens_inside_its_container_is_told(addresses, words):
    app = loaded(runtime="compose", processes=CELERY)
    found = compose_project.misplaced(app["processes"][0], addresses)
    assert words in found
    assert bool(found) is bool(words)


class Containers:
    """Stands in for the engine: one container of web in a state."""

    def __init__(self, state, restarts):
        self.state, self.restarts = state, restarts

    def get(self, path, **_query):
        if not self.state:
            raise EngineError(404, "No such container")
        return {"State": self.state, "RestartCount": self.restarts, "Config": {"Labels": {"quayside.process": "web"}}}


@pytest.mark.parametrize(("state", "restarts", "words"), [
    ({"Status": "exited", "ExitCode": 1}, 0, "died at its start (status 1)"),
    ({"Status": "restarting", "ExitCode": 7}, 2, "died at its start (status 7)"),
    ({"Status": "running", "ExitCode": 0}, 1, "died at its start (status 7)"),
    ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, 0, "killed by the kernel for memory"),
    ({"Status": "created", "ExitCode": 127, "Error": "exec: \"x\": not found"}, 0, 'exec: "x": not found'),
    ({}, 0, "there is no container"),
])
def test_what_died_is_told_with_its_status_and_a_command_that_works_when_it_is_gone(monkeypatch, state, restarts, words):
    """The container goes when the deploy is undone: its log is in the journal then."""
    monkeypatch.setattr(runtime_compose.host, "run",
                        lambda argv, **_more: SimpleNamespace(stdout="die 7\n" if argv[1] == "events" else "", stderr="", returncode=0))
    runtime = runtime_compose.Compose(loaded(runtime="compose"), Shelf("/opt/pos"))
    runtime.engine = Containers(state, restarts)
    with pytest.raises(runtime_compose.host.PhaseError) as caught:
        runtime.dead([f"pos-{RELEASE}-web-1"], 0)
    assert words in caught.value.reason
    look = {caught.value.look, runtime.log(RELEASE, runtime.app["processes"][0], 0)[1]}
    assert look <= {"journalctl --namespace=pos -t pos-web -n 100 --no-pager", "journalctl --namespace=pos -t 'pos-*' -n 100 --no-pager"}


@pytest.mark.parametrize(("without", "words"), [
    ("", ""), ("front", "images[front] has no /bin/sh, which runs commands and the health check of processes[front]")])
def test_an_image_without_a_shell_is_refused_before_its_servers_start(without, words):
    app = loaded(runtime="compose", images=TWO_IMAGES, processes=[*CELERY, {"name": "front", "image": "front", "port": 3000, "routes": ["/next/"]},
                                                                  {"name": "more", "image": "front", "port": 3001, "routes": ["/more/"]}])
    runtime, said = runtime_compose.Compose(app, Shelf("/opt/pos")), []

    class Asked:
        def call(self, method, path, query):
            said.append((method, path, query))
            if without and f"-{without}-" in path.replace("more", "front"):
                raise EngineError(404, "Could not find the file /bin/sh in container")

        def post(self, path):
            said.append(("POST", path, None))

    runtime.engine = Asked()
    runtime.created = lambda release: None
    with pytest.raises(runtime_compose.host.PhaseError) if words else contextlib.nullcontext() as caught:
        runtime.start(RELEASE, "servers")
    assert words in (caught.value.reason.replace("more", "front") if caught else "")
    asked = [path for method, path, query in said if method == "HEAD" and query == {"path": "/bin/sh"}]
    assert len(asked) == 2  # once for each image
    assert [method for method, *_others in said][:2] == ["HEAD", "HEAD"]
    assert bool([method for method, *_others in said if method == "POST"]) is not bool(words)


def test_memory_of_a_container_follows_from_all_apps_of_the_host(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime_compose.host, "size", lambda: (2, 4096))
    app, other = dict(loaded(runtime="compose"), root=str(tmp_path)), loaded(name="annex", domains=["annex.example.com"])
    alone, beside = (runtime_compose.Compose(app, Shelf(app["root"]), apps=apps).with_processes(app["processes"]) for apps in ([app], [app, other]))
    assert (alone.neighbours, beside.neighbours) == ([], [other])
    assert alone.plan() != beside.plan()
    with pytest.raises(ValueError, match="made without the apps of its host"):
        runtime_compose.Compose(app, Shelf(app["root"])).sizes()
