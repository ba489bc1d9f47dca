# SPDX-License-Identifier: GPL-3.0-or-later
"""What is Docker's alone in bringing containers back and stopping them. What holds for every runtime is in molecule/contract."""
import json
import os

import pytest

pytestmark = pytest.mark.skipif("QUAYSIDE_USUAL" in os.environ, reason="takes long: `scripts/test compose` and make test-all run it")
UNITS = "/opt/bookshop/live/units"
NETWORKS = "docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}}{{end}}' bookshop edge-bookshop"


def name(server, process):
    """Return the name of the container of a process of the live release."""
    return server.inside(f"grep -- -{process}-1 {UNITS}")


def state(server, container):
    """Return what the engine knows of a container, empty when there is none."""
    found = json.loads(server.inside(f"docker inspect {container} 2>/dev/null || true"))  # an empty list when there is none
    return found[0] if found else {}


def started(server, container):
    """Return when a container was started last, empty while it does not run."""
    found = state(server, container).get("State", {})
    return found["StartedAt"] if found.get("Running") and not found.get("Restarting") else ""


@pytest.fixture(scope="module", autouse=True)
def deployed(server):
    """v1 is live, alone."""
    server.deploy("v1")
    server.until(lambda: len(server.instances()) == 1, 60, "the end of other instances")


def whole(server, seconds):
    """Wait until all of the live release runs and answers."""
    units = server.inside(f"cat {UNITS}").splitlines()
    server.until(lambda: all(server.active(unit) for unit in units) and server.get("/healthz/")[0] == 200, seconds, "the live release")


@pytest.mark.parametrize("harm", [
    "docker rm -f $(grep -- -worker-1 live/units)",
    "docker compose down && docker network prune -f",
], ids=["rm", "network prune"])
def test_what_was_removed_is_made_again(server, harm):
    networks = server.inside(NETWORKS)
    server.inside(f"cd /opt/bookshop && {{ {harm}; }} 2>&1")
    whole(server, 60)
    assert server.inside(NETWORKS) == networks
    assert server.inside("systemctl is-active bookshop") == "active"


def test_a_stop_is_an_operators_and_a_kill_is_a_crash(server):
    beat, worker = name(server, "beat"), name(server, "worker")
    server.inside(f"docker stop {beat}; docker kill {worker}")
    server.until(lambda: started(server, worker), 30, "what was killed")
    server.until(lambda: "stopped by hand" in server.inside("journalctl -t bookshop -n 5 -o cat --no-pager"), 30, "a line in the journal")
    assert not started(server, beat)
    server.inside("systemctl reload bookshop")
    whole(server, 40)


def test_a_drain_is_no_leftover_for_what_comes_within_it(server):
    """A deploy, the same again, and a rollback, while a task of the first release is under way."""
    key = server.json("/api/jobs/", data={"count": 1, "seconds": 90})["keys"][0]
    live = server.inside("readlink /opt/bookshop/live").rpartition("/")[2]
    server.until(lambda: any(run["key"] == key and not run["finished"] for run in server.json("/api/jobs/?prefix=job-")), 30, "the task")
    outs = [server.deploy("v2").out, server.deploy("v2").out, server.play("rollback", "-e", "django_app=bookshop").out]
    if server.inside(f"docker ps -q --filter label=quayside.release={live} --filter label=quayside.process=worker"):
        server.inside("systemctl start quayside-keep@bookshop.service")
    assert not [out for out in outs if "left by a run that died" in out]
    server.until(lambda: any(run["key"] == key and run["finished"] for run in server.json("/api/jobs/?prefix=job-")), 150, "the task")
    assert [run["runs"] for run in server.json("/api/jobs/?prefix=job-") if run["key"] == key] == [1]
    server.until(lambda: len(server.instances()) == 1, 120, "the end of the others")


def test_a_leftover_that_docker_calls_unhealthy_is_stopped(server):
    old = server.inside("readlink /opt/bookshop/live").rpartition("/")[2]
    server.deploy("v2")
    server.until(lambda: len(server.instances()) == 1, 60, "the end of the old one")
    left = f"bookshop-{old}-web-1"
    image = state(server, name(server, "web"))["Config"]["Image"]
    server.inside(f"docker run -d --name {left} --label quayside.app=bookshop --label quayside.release={old} --label quayside.process=web --init "
                  f"--health-cmd false --health-interval 1s --health-retries 1 {image} sleep 600")
    server.until(lambda: (state(server, left).get("State", {}).get("Health") or {}).get("Status") == "unhealthy" or not started(server, left), 30, "unhealthy")
    server.until(lambda: not started(server, left), 40, "the end of what was left")
    server.inside(f"docker rm -f {left}")


def test_a_command_whose_caller_died_ends_after_its_time(server):
    labels = "--label quayside.oneoff=left --label quayside.until=$(date +%s)"
    server.inside(f"cd /opt/bookshop && docker compose run -d --name left {labels} manage sleep 600")
    server.until(lambda: not state(server, "left"), 90, "the end of the container")
