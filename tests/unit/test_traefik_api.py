# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik says that it left out, and how a server whose Traefik asked the apps itself is moved."""
from __future__ import annotations

import os

import pytest
from ansible_collections.quayside.django.plugins.module_utils import edges, host, releases, traefik, traefik_api, traefik_files
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from samples import RELEASE, loaded

BROKEN = {"routers": {"pos@file": {"status": "disabled", "error": ["the middleware \"x@file\" does not exist"]}, "pos-tls@file": {"status": "enabled"},
                      "api@internal": {"status": "disabled"}},
          "middlewares": {"own@file": {"status": "disabled", "error": ["invalid CIDR address: 203.0.113.0/33"]}},
          "services": {"pos-nginx@file": {"status": "warning"}}}


def test_what_is_in_error_is_named_with_its_reason():
    assert traefik_api.faults(BROKEN) == {"router pos": 'the middleware "x@file" does not exist', "middleware own": "invalid CIDR address: 203.0.113.0/33",
                                          "service pos-nginx": "its status is warning"}
    assert traefik_api.faults({"routers": {"pos@file": {"status": "enabled"}}, "services": {"pos-nginx@file": {}}}) == {}


@pytest.mark.parametrize("fields", [
    {}, {"tls": {"mode": "provided", "certificate": "/c", "key": "/k"}}, {"domains": ["*.a.test", "a.test"], "canonical": "a.test"}])
def test_the_routers_of_a_file_are_those_that_were_written(fields):
    wanted = loaded(runtime="compose", edge="traefik", **fields)
    held = [{"names": wanted["domains"]}] if wanted["scheme"] == "https" else []
    names = traefik_api.declared(traefik.routes(wanted, {"X-A": "b"}, held))
    assert sorted(names) == sorted(traefik.routers(wanted, [name for one in held for name in one["names"]]))
    assert traefik_api.absent({"routers": {f"{names[0]}@file": {}}}, names) == names[1:]


class Engine:
    """Stands for Docker: the containers of the edge as an earlier version made them."""

    def __init__(self, refuses=""):
        self.told, self.refuses = [], refuses

    def get(self, path, **query):
        service = query["filters"]["label"][1].rpartition("=")[2]
        return [{"Names": [f"/quayside-edge-{service}-1"]}] if service in ("traefik", "files") else []

    def post(self, path, body=None, **query):
        if self.refuses and path.endswith("/connect"):
            raise EngineError(403, self.refuses)
        self.told.append((path, body))
        return {"Id": "e1"}


@pytest.fixture
def older(tmp_path, monkeypatch):
    """An app whose live release an earlier version switched."""
    for name in ("fchown", "chown"):
        monkeypatch.setattr(host.os, name, lambda *args: None)
    (tmp_path / "releases" / RELEASE).mkdir(parents=True)
    os.symlink(f"releases/{RELEASE}", tmp_path / "live")
    return dict(loaded(runtime="compose", edge="traefik"), root=str(tmp_path))


def test_nginx_knows_the_live_release_and_is_reached_before_traefik_asks_it(older, monkeypatch):
    engine = Engine()
    monkeypatch.setattr(edges, "Engine", lambda: engine)
    traefik_files.hand_over([older])
    text = host.text(releases.Shelf(older["root"]).path(RELEASE, "edge", "upstreams.conf"))
    assert f"quayside_pos_web web-{RELEASE}.{older['edge_network']}:8000;" in text
    joined = [(path, body["Container"], body["EndpointConfig"]["Aliases"]) for path, body in engine.told if path.endswith("/connect")]
    assert joined == [("/networks/quayside-edge-proxy/connect", "quayside-edge-traefik-1", []),
                      ("/networks/quayside-edge-proxy/connect", "quayside-edge-files-1", ["nginx"]),
                      (f"/networks/{older['edge_network']}/connect", "quayside-edge-files-1", [])]
    # It reads its configuration again when it is in all of them.
    assert engine.told[-2][1]["Cmd"][:3] == ["nginx", "-s", "reload"]


def test_a_network_that_it_is_in_already_is_no_error_and_others_are(older, monkeypatch):
    monkeypatch.setattr(edges, "Engine", lambda: Engine("endpoint with name quayside-edge-files-1 already exists in network pos"))
    traefik_files.hand_over([older])
    monkeypatch.setattr(edges, "Engine", lambda: Engine("no such network"))
    with pytest.raises(host.PhaseError, match="no such network"):
        traefik_files.hand_over([older])


def test_only_a_server_of_an_earlier_version_is_moved(tmp_path):
    (tmp_path / "dynamic").mkdir()
    assert not traefik_files.asks_apps_itself(str(tmp_path), {"name": "pos"})
    os.symlink("/nowhere/live/edge/services.yml", tmp_path / "dynamic" / "pos.live.yml")
    assert traefik_files.asks_apps_itself(str(tmp_path), {"name": "pos"})
