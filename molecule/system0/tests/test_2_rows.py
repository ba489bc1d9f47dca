# SPDX-License-Identifier: GPL-3.0-or-later
"""What system 0 is, beyond the story: two images built on the server, SQLite, build-time values, secrets that stay apart."""
import json
import re
import time

import pytest

DOMAIN = "matcher.example.com"


def container(server, process) -> str:
    """Return the container of a process of the live release."""
    return server.inside(f"docker ps --filter label=quayside.app=matcher --filter label=quayside.process={process} --format '{{{{.Names}}}}' | head -1")


@pytest.mark.proves("0.09", "0.10")
def test_backend_and_frontend_have_their_ports_on_loopback(server):
    assert json.loads(server.inside("curl -sf http://127.0.0.1:8000/api/health/"))["status"] == "ok"
    assert "Scent matcher" in server.inside("curl -sf http://127.0.0.1:3000/")
    assert server.inside("ss -Htln 'sport = 8000 or sport = 3000' | awk '{print $4}' | sort").split() == ["127.0.0.1:3000", "127.0.0.1:8000"]


@pytest.mark.proves("0.01")
def test_both_answer_the_world(server):
    status, _headers, body = server.get("/", DOMAIN, tls=True)
    assert status == 200
    assert b"Scent matcher" in body
    assert {one["name"] for one in server.json("/api/scents/?mood=bright", DOMAIN, tls=True)} == {"First sun"}


@pytest.mark.proves("0.28")
def test_the_backends_address_is_in_the_bundle(server):
    page = server.get("/", DOMAIN, tls=True)[2].decode()
    scripts = re.findall(r'src="(/_next/static/[^"]+\.js)"', page)
    assert any(f"https://{DOMAIN}".encode() in server.get(script, DOMAIN, tls=True)[2] for script in scripts)


@pytest.mark.proves("0.15", "0.19")
def test_the_images_run_python_and_node(server):
    assert server.inside(f"docker exec {container(server, 'web')} python -V").startswith("Python 3.11.")
    assert server.inside(f"docker exec {container(server, 'frontend')} node -v").startswith("v20.")


@pytest.mark.proves("0.20")
def test_no_build_tools_are_in_what_runs(server):
    assert server.inside(f"docker exec {container(server, 'frontend')} ls node_modules/.bin 2>/dev/null || true") == ""
    assert server.inside(f"docker exec {container(server, 'web')} sh -c 'command -v gcc || echo none'") == "none"


@pytest.mark.proves("0.16")
def test_what_is_installed_fits_together(server):
    assert "No broken requirements" in server.inside(f"docker exec {container(server, 'web')} python -m pip check")


@pytest.mark.proves("0.22", "0.25", "0.27")
def test_secrets_are_in_the_container_and_in_no_image(server):
    web = container(server, "web")
    image = server.inside(f"docker inspect --format '{{{{.Image}}}}' {web}")
    for name, value in server.local["vault_matcher"].items():
        assert server.inside(f"docker exec {web} printenv {name}") == value
        assert server.inside(f"docker history --no-trunc {image} | grep -cF {value} || true") == "0"
        assert server.inside(f"ps -eo args | grep -vE 'grep|bash -c' | grep -cF {value} || true") == "0"
        assert server.inside(f"journalctl --namespace='*' --no-pager | grep -vF sudo | grep -cF {value} || true") == "0"


@pytest.mark.proves("0.26")
def test_the_model_has_its_default(server):
    assert server.json("/api/health/", DOMAIN, tls=True)["ai_model"] == "gpt-4o-mini"


@pytest.mark.proves("0.27")
def test_the_admin_key_adds_a_scent_that_survives_new_containers(server):
    key, name = server.local["vault_matcher"]["ADMIN_ACCESS_KEY"], f"Old library {time.time_ns()}"
    server.inside(f"curl -sf -H 'X-Admin-Key: {key}' -d name='{name}' -d mood=calm -d notes=paper http://127.0.0.1:8000/api/scents/")
    server.inside("systemctl restart matcher")
    server.until(lambda: server.get("/api/health/", DOMAIN, tls=True)[0] == 200, 60, "the backend")
    assert name in [one["name"] for one in server.json("/api/scents/", DOMAIN, tls=True)]


@pytest.mark.proves("0.33")
def test_a_frontend_that_cannot_be_built_leaves_all_serving(server, example):
    before = example.health(server)
    run = example.deploy(server, "unbuildable", ok=False)
    assert run.rc != 0
    assert "./footer" in run.out
    assert example.health(server) == before
