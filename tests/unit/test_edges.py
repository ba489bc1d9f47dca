# SPDX-License-Identifier: GPL-3.0-or-later
"""Edges are switched whole or not at all: the link, and what the edge reads through it."""
from __future__ import annotations

import os

import pytest
from ansible_collections.quayside.django.plugins.module_utils import edges, host, releases, traefik
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.http_health import CLOSED, Answer
from samples import loaded

OLD, NEW = "20261121000001-aaaaaaa", "20261121000002-bbbbbbb"
PROCESSES = [{"name": "web", "command": "gunicorn pos.wsgi", "listen": 8000}, {"name": "frontend", "port": 3000, "route": "/app/", "command": "node s.js"}]


@pytest.fixture(autouse=True)
def as_anyone(monkeypatch):
    """Files belong to whoever runs the tests."""
    for name in ("fchown", "chown"):
        monkeypatch.setattr(host.os, name, lambda *args: None)


@pytest.fixture
def shelf(tmp_path):
    """The releases of an app that has none live."""
    for release in (OLD, NEW):
        (tmp_path / "releases" / release).mkdir(parents=True)
    return releases.Shelf(str(tmp_path))


def app(shelf, **fields):
    return dict(loaded(runtime="compose", **{"processes": PROCESSES, **fields}), root=shelf.root)


def record(shelf, release, wanted, **fields):
    """Write the record of a release."""
    text = releases.json.dumps({"processes": wanted["processes"], "ports": {"web": 20001, "frontend": 20002}, **fields})
    with open(shelf.path(release, "release.json"), "w", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def nginx(monkeypatch):
    """Stands for the host's nginx: notes what it is told, and what the link says in that moment."""
    told = []

    def run(argv, check=True, **options):
        told.append(argv)
        return host.subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(edges.host, "run", run)
    monkeypatch.setattr(edges.Nginx, "reload", staticmethod(lambda: told.append(["reload"])))
    return told


def test_addresses_on_the_host_and_on_a_network(shelf):
    wanted = app(shelf, network="lan")
    assert edges.Nginx.addresses(wanted, {"ports": {"web": 20001}}, NEW) == {"web": "127.0.0.1:20001"}
    assert edges.NginxContainer.addresses(wanted, {}, NEW) == {"web": f"web-{NEW}.edge-pos:8000", "frontend": f"frontend-{NEW}.edge-pos:3000"}
    assert edges.Traefik.addresses is edges.NginxContainer.addresses
    assert [edge.publishes({}) for edge in edges.EDGES.values()] == [True, False, False, True]


@pytest.mark.parametrize("edge", ["nginx", "nginx_container", "traefik"])
def test_an_edge_of_ours_reaches_a_container_by_an_address_of_its_own(shelf, edge):
    """A port is answered by a program of the engine's, and a name by its name server: both are gone while the engine is."""
    record = {"addresses": {"web": "172.18.0.9", "frontend": "172.18.0.10"}, "ports": {"web": 20001}}
    assert edges.EDGES[edge].addresses(app(shelf), record, NEW) == {"web": "172.18.0.9:8000", "frontend": "172.18.0.10:3000"}
    assert not edges.EDGES[edge].publishes(record["addresses"])


def test_an_edge_of_somebody_else_reaches_ports_of_the_host():
    assert edges.EDGES["none"].publishes({"web": "172.18.0.9"})


def test_a_release_is_reached_by_the_processes_that_it_has(shelf):
    wanted = app(shelf)
    before = {"processes": [dict(wanted["processes"][0], name="old", port=9000)]}
    assert edges.NginxContainer.addresses(wanted, before, OLD) == {"old": f"old-{OLD}.edge-pos:9000"}
    assert edges.upstreams(wanted, {"old": "127.0.0.1:1"}).splitlines()[1:] == ["quayside_pos_old 127.0.0.1:1;"]


def test_one_rename_switches_and_nginx_reads_again(shelf, nginx):
    wanted = app(shelf)
    for release in (OLD, NEW, OLD):
        record(shelf, release, wanted)
        edges.Nginx.switch(wanted, shelf, release)
        assert os.readlink(f"{shelf.root}/live") == f"releases/{release}"
        with open(f"{shelf.root}/live/edge/upstreams.conf", encoding="utf-8") as file:
            assert "quayside_pos_web 127.0.0.1:20001;\n" in file.read()
    assert nginx == [["nginx", "-t"], ["reload"]] * 3


def test_sockets_need_no_reload(shelf, nginx):
    wanted = dict(loaded(), root=shelf.root)
    record(shelf, NEW, wanted)
    edges.Nginx.switch(wanted, shelf, NEW)
    assert shelf.live() == NEW
    assert nginx == []
    assert not os.path.exists(shelf.path(NEW, "edge"))


def test_without_a_release_the_link_goes_and_nginx_reads_that(shelf, nginx):
    wanted = app(shelf)
    record(shelf, NEW, wanted)
    edges.Nginx.switch(wanted, shelf, NEW)
    edges.Nginx.switch(wanted, shelf, "")
    assert not os.path.lexists(f"{shelf.root}/live")
    assert nginx[-1] == ["reload"]
    edges.Nginx.switch(wanted, shelf, "")


def test_what_nginx_would_refuse_is_found_before_anything_has_changed(shelf, monkeypatch):
    wanted = app(shelf)
    record(shelf, NEW, wanted)
    monkeypatch.setattr(edges.host, "run", lambda argv, **_: host.subprocess.CompletedProcess(argv, 1, "", "unknown directive"))
    with pytest.raises(PhaseError, match="refuses its configuration") as error:
        edges.Nginx.switch(wanted, shelf, NEW)
    assert error.value.look == "nginx -t"
    assert shelf.live() == ""


@pytest.mark.parametrize("before", [OLD, ""])
def test_the_link_comes_back_when_nginx_cannot_be_reloaded(shelf, nginx, monkeypatch, before):
    wanted = app(shelf)
    for release in (OLD, NEW):
        record(shelf, release, wanted)
    edges.Nginx.switch(wanted, shelf, before)
    def dead():
        raise PhaseError("nginx does not run")

    monkeypatch.setattr(edges.Nginx, "reload", staticmethod(dead))
    with pytest.raises(PhaseError, match="nginx does not run"):
        edges.Nginx.switch(wanted, shelf, NEW)
    assert shelf.live() == before


class Engine:
    """Stands for Docker: one nginx, whose test ends with ``code``."""

    def __init__(self, code=0, names=("quayside-edge-nginx-1",)):
        self.code, self.names, self.told = code, names, []

    def get(self, path, **query):
        if path == "/containers/json":
            assert query["filters"] == {"label": ["com.docker.compose.project=quayside-edge", "com.docker.compose.service=nginx"], "status": ["running"]}
            return [{"Names": [f"/{name}"]} for name in self.names]
        return {"ExitCode": self.code, "State": {"Pid": 1}}

    def post(self, path, body=None, **query):
        self.told.append((path, body.get("Cmd")))
        return {"Id": "e1"} if path.endswith("/exec") else "nginx: [emerg] bad" if self.code else None


def test_nginx_in_a_container_is_tested_and_told(shelf, monkeypatch):
    engine, wanted = Engine(), app(shelf, edge="nginx_container")
    monkeypatch.setattr(edges, "Engine", lambda: engine)
    record(shelf, NEW, wanted)
    edges.NginxContainer.switch(wanted, shelf, NEW)
    conf = "/opt/quayside/edge/nginx/nginx.conf"
    assert [told for _, told in engine.told if told] == [["nginx", "-t", "-c", conf], ["nginx", "-s", "reload", "-c", conf]]
    # Docker would take a container that was sent a signal for stopped by hand.
    assert not any(path.endswith("/kill") for path, _ in engine.told)
    with open(f"{shelf.root}/live/edge/upstreams.conf", encoding="utf-8") as file:
        assert f"quayside_pos_web web-{NEW}.edge-pos:8000;\n" in file.read()


@pytest.mark.parametrize(("engine", "words"), [(Engine(code=1), "refuses its configuration"), (Engine(names=()), "does not run: docker compose -f")])
def test_nginx_in_a_container_that_would_not_follow(shelf, monkeypatch, engine, words):
    wanted = app(shelf, edge="nginx_container")
    monkeypatch.setattr(edges, "Engine", lambda: engine)
    record(shelf, NEW, wanted)
    with pytest.raises(PhaseError, match=words):
        edges.NginxContainer.switch(wanted, shelf, NEW)
    assert shelf.live() == ""


def test_an_engine_that_is_away_is_told_in_words(monkeypatch):
    def away():
        raise EngineError(0, "it does not answer")
    monkeypatch.setattr(edges, "Engine", away)
    with pytest.raises(PhaseError, match="Docker: it does not answer"):
        edges.NginxContainer.reload()


def test_a_reload_is_done_when_no_old_worker_takes_connections_any_more(monkeypatch):
    titles = {"11": "nginx: worker process", "12": "nginx: worker process", "13": "nginx: cache manager process"}
    files = {"/proc/7/task/7/children": "11 12 13 "}
    monkeypatch.setattr(edges.host, "text", lambda path: files.get(path) or titles.get(path.split("/")[2], ""))
    assert edges.workers(7) == {"11", "12"}
    slept = []

    def sleep(_seconds):
        slept.append(1)
        files["/proc/7/task/7/children"] = "11 12 13 21 22 "
        titles.update({"21": "nginx: worker process", "22": "nginx: worker process"})
        if len(slept) == 2:
            titles["11"] = titles["12"] = "nginx: worker process is shutting down"

    monkeypatch.setattr(edges.time, "sleep", sleep)
    with edges.taken_over(7):
        pass
    assert len(slept) == 2


@pytest.mark.proves("3.17")
def test_the_nginx_behind_traefik_is_switched(shelf, monkeypatch):
    engine, wanted = Engine(), app(shelf, edge="traefik")
    monkeypatch.setattr(edges, "Engine", lambda: engine)
    record(shelf, NEW, wanted)
    edges.Traefik.switch(wanted, shelf, NEW)
    assert [told[1] for _, told in engine.told if told] == ["-t", "-s"]
    with open(f"{shelf.root}/live/edge/upstreams.conf", encoding="utf-8") as file:
        assert f"quayside_pos_web web-{NEW}.edge-pos:8000;\n" in file.read()


def test_no_edge_moves_the_link(shelf):
    wanted = app(shelf, edge="none")
    edges.NoEdge.switch(wanted, shelf, NEW)
    assert shelf.live() == NEW
    edges.NoEdge.switch(wanted, shelf, "")
    assert shelf.live() == ""
    assert (edges.NoEdge.check(wanted), edges.NoEdge.missing(wanted)) == (None, "")


@pytest.mark.proves("4.38")
@pytest.mark.parametrize("edge", [edges.Nginx, edges.NginxContainer, edges.Traefik])
def test_a_name_without_its_certificate_is_asked_by_http(monkeypatch, edge):
    good: set = set()
    monkeypatch.setattr(edges.served, "look", lambda name: {"fits": name in good, "secure": name in good})
    wanted = loaded(tls={"mode": "provided", "certificate": "/c", "key": "/k"}, health={"path": "/up/"})
    assert edge.check(wanted, host="a.b").url == "http://127.0.0.1/up/"
    good.add("pos.example.com")
    assert edge.check(wanted).url == "https://127.0.0.1/up/"
    assert edge.check(loaded()).url == "http://127.0.0.1/"


@pytest.mark.proves("4.38")
@pytest.mark.parametrize(("fields", "good", "secure"), [
    ({}, {"a.test", "b.test"}, True), ({}, {"a.test"}, False), ({}, set(), False), ({"canonical": "a.test"}, {"a.test"}, True),
    ({"canonical": "b.test"}, {"a.test"}, False), ({"edge": "none"}, {"a.test", "b.test"}, False), ({"tls": {"mode": "none"}}, {"a.test", "b.test"}, False)])
def test_an_app_sends_to_https_only_where_all_its_names_have_it(monkeypatch, fields, good, secure):
    monkeypatch.setattr(edges.served, "look", lambda name: {"fits": name in good, "secure": name in good})
    assert edges.secure(loaded(**{"domains": ["a.test", "b.test"], "tls": {"mode": "selfsigned"}, **fields})) is secure


@pytest.mark.parametrize("edge", [edges.Nginx, edges.NginxContainer, edges.Traefik])
def test_what_site_yml_has_to_make_is_told(tmp_path, monkeypatch, edge):
    monkeypatch.setattr(edge, "folder", str(tmp_path))
    assert "pos" in edge.missing(loaded())
    assert edge.look(loaded())


@pytest.mark.parametrize(("error", "told"), [(CLOSED, "nginx does not serve pos.example.com"), ("", ""), ("nothing listens there", "")])
def test_a_name_that_nginx_does_not_know_is_told_before_a_deploy(tmp_path, monkeypatch, error, told):
    monkeypatch.setattr(edges.Nginx, "folder", str(tmp_path))
    monkeypatch.setattr(edges, "ask", lambda check: Answer(error=error))
    (tmp_path / "sites-enabled").mkdir()
    (tmp_path / "sites-enabled" / "pos").touch()
    assert edges.Nginx.missing(loaded()) == told


@pytest.mark.parametrize(("domains", "told"), [
    (["pos.example.com"], ""), (["new.example.com", "pos.example.com"], "Traefik does not serve new.example.com"), (["os.example.com"],
     "Traefik does not serve os.example.com"), (["10.0.0.2"], "Traefik does not serve 10.0.0.2")])
def test_a_name_that_traefik_does_not_know_is_told_before_a_deploy(tmp_path, monkeypatch, domains, told):
    monkeypatch.setattr(edges.Traefik, "routes", str(tmp_path))
    monkeypatch.setattr(edges.Traefik, "folder", str(tmp_path))
    (tmp_path / "sites-enabled").mkdir()
    (tmp_path / "sites-enabled" / "pos").touch()
    text = traefik.routes(loaded(runtime="compose", edge="traefik"), {}, [], ())
    (tmp_path / "pos.yml").write_text(text)
    assert edges.Traefik.missing(loaded(runtime="compose", edge="traefik", domains=domains)) == told
    # A server that an earlier version made: a deploy alone would switch what Traefik does not read.
    (tmp_path / "pos.yml").write_text(text.replace("http://nginx:8080", "http://files:8080"))
    assert "asks the app itself" in edges.Traefik.missing(loaded(runtime="compose", edge="traefik", domains=domains))
