# SPDX-License-Identifier: GPL-3.0-or-later
"""What system 1 is, beyond the story: a private registry, one container, PostgreSQL on the host, a stable port on loopback."""
import json

import pytest

API = "api.example.com"


def running(server) -> list[str]:
    """Return the containers of the live release."""
    return server.inside("docker ps --filter label=quayside.app=api --filter label=quayside.release --format '{{.Names}}'").split()


@pytest.mark.proves("1.01", "1.20")
def test_what_is_posted_is_stored_in_postgresql(server):
    book = server.json("/api/books/", API, {"title": "Emma", "price": "4.20"}, tls=True)
    assert server.inside(f"runuser -u postgres -- psql -qAt api -c 'select title from books_book where id = {book['id']}'") == "Emma"
    assert "5432" not in server.inside("ss -Htln '! src 127.0.0.1 and ! src [::1]'")


@pytest.mark.proves("1.16")
def test_one_container_serves(server):
    assert len(running(server)) == 1


@pytest.mark.proves("1.18")
def test_port_8000_is_on_loopback_only(server):
    assert json.loads(server.inside("curl -sf http://127.0.0.1:8000/healthz/"))["status"] == "ok"
    assert server.inside("ss -Htln 'sport = 8000' | awk '{print $4}'") == "127.0.0.1:8000"


@pytest.mark.proves("1.19")
def test_a_killed_container_comes_back(server):
    (name,) = running(server)
    before = server.inside(f"docker inspect --format '{{{{.State.Pid}}}}' {name}")
    server.inside(f"kill -9 {before}")
    server.until(lambda: server.get("/healthz/", API, tls=True)[0] == 200, 30, "the API")
    assert server.inside(f"docker inspect --format '{{{{.State.Pid}}}}' {name}") != before


@pytest.mark.proves("1.12", "1.31")
def test_the_login_is_nowhere_on_the_host(server):
    password = server.local["lab_registry_password"]
    assert server.inside(f"grep -rlsF {password} /root /home /etc /opt/api /var/log || true") == ""
    assert server.inside("find / -xdev -path '*/.docker/config.json' 2>/dev/null | xargs -r grep -l auths || true") == ""
