# SPDX-License-Identifier: GPL-3.0-or-later
"""What system 3 is, beyond the story: Traefik with ACME, a backend and a single-page app, images by commit, two kept."""
import json
import socket
import ssl

import pytest

DOMAIN = "dev.trio.example.com"


@pytest.mark.proves("3.16")
def test_a_deep_link_is_the_page(server):
    page = server.get("/", DOMAIN, tls=True)
    deep = server.get("/books/1/edit", DOMAIN, tls=True)
    assert (page[0], deep[0]) == (200, 200)
    assert page[2] == deep[2]


@pytest.mark.proves("3.17")
def test_the_api_is_the_backends(server):
    assert server.json("/api/books/", DOMAIN, tls=True)


@pytest.mark.proves("3.18")
def test_the_certificate_is_of_the_acme_server(server):
    anyone = ssl._create_unverified_context()

    def issuer() -> str:
        with socket.create_connection((server.address, 443), 5) as link, anyone.wrap_socket(link, server_hostname=DOMAIN) as tls:
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))

    text = server.until(lambda: issuer() or "", 30, "the certificate")
    server.inside(f"cat > /tmp/leaf.pem <<'PEM'\n{text}PEM")
    assert "Pebble" in server.inside("openssl x509 -in /tmp/leaf.pem -noout -issuer")


@pytest.mark.proves("3.11")
def test_dev_has_its_sqlite_in_a_shared_folder(server):
    assert server.inside("head -c 15 /opt/trio/shared/database/db.sqlite3") == "SQLite format 3"


@pytest.mark.proves("3.46")
def test_images_are_named_by_the_commit(server, example):
    names = server.inside("docker ps --filter label=quayside.app=trio --filter label=quayside.release -q | xargs docker inspect --format '{{.Config.Image}}'")
    live = server.json("/api/healthz", DOMAIN, tls=True)["version"]
    assert len(live) == 40
    assert len(names.split()) == 2
    assert live == example.version("v1")


@pytest.mark.proves("3.63")
def test_the_backend_is_on_port_8000_of_the_host(server):
    assert json.loads(server.inside("curl -sf http://127.0.0.1:8000/healthz"))["status"] == "ok"


@pytest.mark.proves("3.65")
def test_two_images_of_each_repository_are_kept(server):
    for repository in ("bookshop", "trio-frontend"):
        found = server.inside(f"docker images --format '{{{{.Repository}}}} {{{{.ID}}}}' | grep '/{repository} ' | sort -u").splitlines()
        assert 1 <= len(found) <= 2, found


@pytest.mark.proves("3.64", "3.15")
def test_the_health_page_is_public_over_tls(server):
    assert server.json("/healthz", DOMAIN, tls=True)["status"] == "ok"


@pytest.mark.proves("3.21", "3.56", "3.59")
def test_all_lies_under_one_folder_and_all_containers_run(server):
    assert server.inside("stat -c '%U %a' /opt/trio /opt/trio/live/compose.yaml") == "root 711\nroot 600"
    states = server.inside("docker ps --format '{{.Names}} {{.Status}}'")
    for name in ("-web-1 Up", "-frontend-1 Up", "quayside-edge-traefik-1 Up"):
        assert name in states
