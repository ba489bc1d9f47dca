# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: what is installed, its options, and what happens to containers when they change."""
import json
import os
import pathlib
import re

import pytest

ROLE = str(pathlib.Path(__file__).resolve().parents[1] / "docker.yml")
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def run(host, *words, ok=True, **variables):
    """Run the role with other variables."""
    return host.play(ROLE, "-e", json.dumps(variables), *words, ok=ok)


def pids(host):
    """Return the process of the engine and that of a container."""
    return host.inside("systemctl show -P MainPID docker"), host.inside("docker inspect -f '{{.State.Pid}}' one")


@pytest.mark.proves("3.30")
def test_engine_compose_and_buildx_report_their_versions(host):
    assert re.match(r"\d+\.\d+", host.inside("docker version -f '{{.Server.Version}}'"))
    assert "version 2." in host.inside("docker compose version")
    assert "buildx" in host.inside("docker buildx version")
    assert host.inside("python3 --version").startswith("Python 3.")
    assert host.inside("git --version").startswith("git version")


def test_a_second_run_changes_nothing(host):
    assert host.play("site").count("changed") == 0


def test_check_mode_works_where_docker_is_not_installed(pair):
    seen = run(pair[1], "--check", "--diff")
    assert "docker.io" in seen.out
    assert pair[1].inside("command -v docker; ls /etc/docker /etc/quayside /usr/local/sbin/quayside-docker-firewall 2>/dev/null", check=False) == ""


def test_nobody_is_in_the_group(host):
    assert host.inside("getent group docker").endswith(":")


def test_logs_of_containers_have_a_limit_and_the_journal_takes_all(host):
    assert json.loads(host.inside("docker inspect -f '{{json .HostConfig.LogConfig}}' one")) == {
        "Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    # The journal's own limit is 10,000 lines in 30 s, or a few times that on a large disk.
    tag = f"chatty-{os.getpid()}"
    host.inside(f"docker run --rm --log-driver journald --log-opt tag={tag} tiny:1 seq 80000 >/dev/null")
    host.until(lambda: host.inside(f"journalctl -q -o cat SYSLOG_IDENTIFIER={tag} | wc -l") == "80000", 30, "all lines")


def test_a_mirror_is_a_reload_and_a_log_size_a_restart_and_containers_survive_both(host):
    engine, container = pids(host)
    run(host, docker_registry_mirrors=["https://mirror.example.com"])
    assert "https://mirror.example.com/" in host.inside("docker info -f '{{.RegistryConfig.Mirrors}}'")
    assert pids(host) == (engine, container)
    run(host, docker_log_max_size="5m")
    assert pids(host)[0] != engine
    assert pids(host)[1] == container
    assert "mirror.example.com" not in host.inside("cat /etc/docker/daemon.json; docker info -f '{{.RegistryConfig.Mirrors}}'")
    assert host.play("site").count("changed") == 1


def test_options_of_others_stay(host):
    host.inside("sed -i '0,/{/s//{\\n    \"max-concurrent-uploads\": 2,/' /etc/docker/daemon.json")
    assert host.play("site").count("changed") == 0
    run(host, docker_registry_mirrors=["https://mirror.example.com"])
    host.play("site")
    assert json.loads(host.inside("cat /etc/docker/daemon.json"))["max-concurrent-uploads"] == 2


@pytest.mark.parametrize(("options", "why"), [
    ({"no-such-option": 1}, "no-such-option"),
    ({"hosts": ["tcp://127.0.0.1:1"]}, "specified both as a flag and in the configuration file"),
])
def test_options_that_the_engine_refuses_change_nothing(host, options, why):
    before, (_engine, container) = host.inside("cat /etc/docker/daemon.json"), pids(host)
    refused = run(host, ok=False, docker_options=options)
    assert refused.rc != 0
    assert why in " ".join(refused.out.split())
    assert host.inside("cat /etc/docker/daemon.json") == before
    host.until(lambda: host.inside("docker info >/dev/null && echo yes", check=False), 20, "the engine")
    assert pids(host)[1] == container


def test_a_registrys_certificate_comes_and_goes_and_a_foreign_one_stays(host):
    host.inside("mkdir -p /etc/docker/certs.d/other.example.com && echo theirs > /etc/docker/certs.d/other.example.com/ca.crt")
    engine = pids(host)[0]
    run(host, docker_registry_certificates={"registry.example.com:5000": CERTIFICATE, "other.example.com": CERTIFICATE})
    assert host.inside("cat /etc/docker/certs.d/registry.example.com:5000/quayside-ca.crt").startswith("-----BEGIN")
    host.play("site")
    assert host.inside("cd /etc/docker/certs.d && find -type f") == "./other.example.com/ca.crt"
    assert pids(host)[0] == engine
    host.inside("rm -r /etc/docker/certs.d/other.example.com")


def test_an_engine_from_elsewhere_is_left_alone(host):
    refused = run(host, ok=False, docker_source="docker")
    assert refused.rc != 0
    assert "Set docker_source: distribution" in " ".join(refused.out.split())
