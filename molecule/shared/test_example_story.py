# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of each example: v1 is live, the same again changes nothing, v2, a version that cannot go live, and back to v1."""
import pytest


class Day:
    """What happened: runs by name, and the version that answered after each."""

    def __init__(self):
        self.runs, self.live = {}, {}


@pytest.fixture(scope="module")
def day(server, example):
    """Live through the day once."""
    day = Day()

    def note(name, run):
        day.runs[name], day.live[name] = run, example.health(server)

    day.live["begin"] = example.health(server)
    note("again", example.deploy(server, "v1"))
    note("v2", example.deploy(server, "v2"))
    note("broken", example.deploy(server, "broken", ok=False))
    note("rollback", server.play("rollback", "-e", f"django_app={example.app}"))
    day.end = example.health(server)
    return day


def test_it_came_up_with_v1(day, example):
    assert day.live["begin"]["version"] == example.version("v1")


def test_the_same_again_is_no_new_release(day):
    assert day.runs["again"].count("changed") == 0
    assert day.live["again"]["release"] == day.live["begin"]["release"]


def test_the_second_deploy_goes_live(day, example):
    assert day.live["v2"]["version"] == example.version("v2")
    assert day.live["v2"]["release"] > day.live["begin"]["release"]


def test_a_broken_version_leaves_the_live_one_serving(day):
    assert day.runs["broken"].rc != 0
    assert day.live["broken"]["release"] == day.live["v2"]["release"]


def test_a_rollback_brings_v1_back_under_a_new_id(day, example):
    assert day.live["rollback"]["version"] == example.version("v1")
    assert day.live["rollback"]["release"] > day.live["v2"]["release"]


def test_site_has_nothing_left_to_do(day, server):
    assert server.play("site").count("changed") == 0


def test_each_container_is_as_small_as_it_can_be(day, server, example):
    """Not root, nothing writable, no capabilities, no new privileges, limits on its log."""
    names = server.inside(f"docker ps --filter label=quayside.app={example.app} --filter label=quayside.release --format '{{{{.Names}}}}'").split()
    assert names
    for name in names:
        line = server.inside(f"docker inspect {name} --format '{{{{.Config.User}}}} {{{{.HostConfig.ReadonlyRootfs}}}} {{{{.HostConfig.CapDrop}}}} "
                             f"{{{{.HostConfig.SecurityOpt}}}} {{{{.HostConfig.LogConfig.Type}}}} {{{{.State.Health.Status}}}}'")
        user, rest = line.split(maxsplit=1)
        assert user.split(":")[0] not in ("", "0", "root")
        assert rest.startswith("true [ALL] [no-new-privileges:true] syslog"), line
        assert rest.endswith("healthy"), line


def test_only_the_web_is_open(day, server):
    """Docker publishes on loopback only, the edge's ports apart."""
    lines = server.inside("docker ps --format '{{.Ports}}'").replace(",", "\n").split("\n")
    world = {line.split("->")[0].strip() for line in lines if "->" in line and not line.strip().startswith("127.0.0.1:")}
    assert {one.rsplit(":", 1)[-1] for one in world} <= {"80", "443"}
