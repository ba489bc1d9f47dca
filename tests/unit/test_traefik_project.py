# SPDX-License-Identifier: GPL-3.0-or-later
"""The project of the edge with Traefik, rendered as the role renders it: who is in which network, and who sees what."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from samples import loaded

ROLE = Path(__file__).parents[2] / "roles" / "traefik"
INNER = "172.30.0.0/24 172.30.0.1 \n"

init_plugin_loader([str(ROLE.parents[1] / ".ansible" / "collections")])


def known(memory=2048, said=INNER, check=False, **fields):
    """Return the variables of the role for one app."""
    loader, variables = DataLoader(), {}
    for path in ("defaults", "vars"):
        variables.update(loader.load_from_file(str(ROLE / path / "main.yml"), trusted_as_template=True))
    app = loaded(runtime="compose", edge="traefik", **fields)
    given = {"traefik_apps": [app], "ansible_facts": {"memtotal_mb": memory}, "ansible_check_mode": check, "__traefik_network": {"stdout": said},
             "__traefik_routes": {"settings": "5f2b"}, "__nginx_edge_network": "0-quayside-edge",
             "__traefik_pins": {"images": {"traefik:v3": "traefik@sha256:1", "nginx:alpine": "nginx@sha256:2"}}}
    return Templar(loader, variables={**variables, **given}), app


def project(**fields):
    """Return the project as compose reads it, and its app."""
    templar, app = known(**fields)
    text = (ROLE / "templates/opt/quayside/edge/compose.yaml.j2").read_text()
    return yaml.safe_load(templar.template(trust_as_template(text))), app


@pytest.mark.parametrize("listen", [None, 8100])
def test_traefik_is_in_no_network_of_an_app_and_nginx_publishes_nothing_to_the_world(listen):
    made, app = project(processes=[{"name": "web", "command": "gunicorn pos.wsgi", **({"listen": listen} if listen else {})}])
    traefik, nginx = made["services"]["traefik"], made["services"]["nginx"]
    assert set(traefik["networks"]) == {"outside", "inner"}
    assert set(nginx["networks"]) == {"inner", app["edge_network"]}
    # The engine is not asked for a name, and an address is no other container's.
    address = nginx["networks"]["inner"]["ipv4_address"]
    assert traefik["extra_hosts"] == [f"nginx:{address}"]
    assert (address, traefik["networks"]["inner"]["ipv4_address"]) == ("172.30.0.2", "172.30.0.3")
    assert made["networks"]["outside"] == {"external": True, "name": "0-quayside-edge"}
    assert made["networks"]["inner"] == {"external": True, "name": "quayside-edge-proxy"}
    assert traefik["ports"] == ["80:80"]
    assert nginx.get("ports", []) == ([f"127.0.0.1:{listen}:{listen}"] if listen else [])
    for service in (traefik, nginx):
        assert (service["user"], service["read_only"], service["cap_drop"]) == ("33:33", True, ["ALL"])
    # What holds the code and the files of an app is not before Traefik's eyes.
    assert not any(volume["source"].startswith(app["root"]) for volume in traefik["volumes"])
    # Bodies that are waited for are no memory.
    assert {"source": "/opt/quayside/edge/tmp", "target": "/tmp"}.items() <= next(one for one in nginx["volumes"] if one["target"] == "/tmp").items()


@pytest.mark.parametrize(("memory", "limit"), [(961, 256), (8192, 512), (65536, 2048)])
def test_traefik_frees_memory_before_its_limit(memory, limit):
    traefik = project(memory=memory)[0]["services"]["traefik"]
    assert traefik["mem_limit"] == f"{limit}m"
    assert 0.8 * limit < int(traefik["environment"]["GOMEMLIMIT"]) / 2 ** 20 < 0.9 * limit


@pytest.mark.parametrize(("said", "found"), [
    (INNER, ("172.30.0.0/24", "172.30.0.1")), ("fd51::/64 fd51::1 172.30.0.0/24 172.30.0.1", ("172.30.0.0/24", "172.30.0.1")), ("", ("192.0.2.0/32", ""))])
def test_nginx_answers_the_network_that_docker_chose(said, found):
    value = known(said=said)[0].template(trust_as_template("{{ __traefik_inner }}"))
    assert (value["subnet"], value["gateway"]) == found


def test_the_network_is_made_with_what_docker_has_chosen(tmp_path):
    """Only a subnet that was asked for takes addresses of ours, and an engine that was asked for no gateway names none."""
    (tmp_path / "docker").write_text(f"""#!/bin/sh
echo "$@" >>{tmp_path}/said
case "$*" in
*inspect*) [ -e {tmp_path}/there ] && cat {tmp_path}/there ;;
*create*--subnet*) echo "$5 $7 " >{tmp_path}/there ;;
*create*) echo "172.30.0.0/24 172.30.0.1 " >{tmp_path}/there ;;
*rm*) rm {tmp_path}/there ;;
esac
""")
    (tmp_path / "docker").chmod(0o755)
    command = known()[0].template(trust_as_template("{{ __traefik_network_command }}"))
    done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (done.stdout.split(), done.stderr) == (["172.30.0.0/24", "172.30.0.1"], "made\n")
    assert "network create --internal --subnet 172.30.0.0/24 --gateway 172.30.0.1 quayside-edge-proxy" in (tmp_path / "said").read_text().splitlines()
    again = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.parametrize(("check", "makes"), [(True, False), (False, True)])
def test_check_mode_makes_no_network(check, makes):
    command = known(check=check)[0].template(trust_as_template("{{ __traefik_network_command }}"))
    assert ("docker network create --internal" in command) == makes
