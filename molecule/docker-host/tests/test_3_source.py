# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine from Docker's own repository, for which a signed one on the neighbour stands in."""
import json
import pathlib

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROLE = str(HERE.parent / "docker.yml")
URL = "http://127.0.0.1:8000/linux/debian"


@pytest.fixture(scope="module")
def bare(pair):
    """The neighbour, without Docker and with a repository; its checksum of the key."""
    script = (HERE / "make-repository").read_text()
    pair[1].inside(f"cat > /srv/make-repository <<'SCRIPT'\n{script}\nSCRIPT")
    checksum = pair[1].inside("sh /srv/make-repository /srv/mirror").split()[-1]
    pair[1].inside("systemd-run -q --unit mirror python3 -m http.server -d /srv/mirror -b 127.0.0.1 8000")
    yield pair[1], checksum
    pair[1].inside("systemctl stop mirror")


def run(server, checksum, *words, ok=True, **variables):
    """Run the role with the repository that stands in."""
    return server.play(ROLE, "-e", json.dumps({"docker_source": "docker", "docker_repository_url": URL,
                                               "docker_repository_key_checksum": f"sha256:{checksum}"} | variables), *words, ok=ok)


def test_a_key_with_another_checksum_is_refused(bare):
    refused = run(bare[0], "0" * 64, ok=False)
    assert refused.rc != 0
    assert "did not match" in " ".join(refused.out.split())
    assert bare[0].inside("ls /etc/apt/sources.list.d/docker.sources", check=False) == ""


def test_check_mode_says_what_would_be_installed(bare):
    assert "docker-ce" in run(*bare, "--check").out
    assert bare[0].inside("ls /etc/apt/keyrings/docker.asc", check=False) == ""


def test_the_engine_comes_from_it_and_runs(bare):
    server = bare[0]
    run(*bare)
    assert "Signed-By: /etc/apt/keyrings/docker.asc" in server.inside("cat /etc/apt/sources.list.d/docker.sources")
    assert "127.0.0.1:8000" in server.inside("apt-cache policy docker-ce")
    assert server.inside("systemctl is-active docker") == "active"
    assert "version 2." in server.inside("docker compose version")
    assert server.inside("docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' bridge") == "10.210.0.0/24"
    server.inside("quayside-docker-firewall check")
    assert run(*bare).count("changed") == 0


def test_it_is_not_replaced_by_that_of_the_distribution(bare):
    refused = bare[0].play(ROLE, "-e", "docker_source=distribution", ok=False)
    assert refused.rc != 0
    assert "Set docker_source: docker to keep" in " ".join(refused.out.split())
    assert bare[0].inside("systemctl is-active docker") == "active"
