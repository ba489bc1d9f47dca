# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables and properties of the plan of a whole host, in module_utils/sizing.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.filter.sizing import FilterModule
from ansible_collections.quayside.django.plugins.module_utils import model, sizing
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SECRETS, written

ROOT = Path(__file__).resolve().parents[2]
MEMORY = {1: 961, 2: 1967, 4: 3915, 8: 7946, 16: 15990}  # what the kernel sees of so many GB
WEB, WORKER, BEAT = ({"name": "web", "command": "gunicorn shop.wsgi"}, {"name": "worker", "command": "celery -A shop worker"},
                     {"name": "beat", "command": "celery -A shop beat"})
COMPOSE = {"runtime": "compose", "edge": "nginx_container", "database": {"engine": "container"}, "cache": {"engine": "container"}}
EXTERNAL = {"secrets": {"SECRET_KEY": "k" * 50, "DATABASE_URL": "postgresql://db.example.com/shop"}}


def size(cores, gigabytes, **more):
    return {"cores": cores, "memory": MEMORY[gigabytes], **more}


def load(*apps):
    return model.load([written(**app) for app in apps])


def planned(host, **fields):
    """Return the plan of a host with one app, and the app's part of it."""
    found = sizing.plan(host, load(fields))
    return found, found["apps"]["pos"]


def managed(connections, *members, **more):
    return {"processes": list(members), "database": {"engine": "external", "connections": connections}, **EXTERNAL, **more}


# Workers


@pytest.mark.proves("2.78")
@pytest.mark.parametrize(("cores", "workers", "children"), [(1, 3, 1), (2, 5, 2), (4, 9, 4), (8, 17, 8)])
def test_a_server_gets_twice_the_cores_and_one_and_celery_one_for_each_core(cores, workers, children):
    _plan, app = planned(size(cores, 16), processes=[WEB, WORKER, BEAT])
    assert {name: found["workers"] for name, found in app["processes"].items()} == {"web": workers, "worker": children, "beat": 1}


@pytest.mark.proves("2.78", "2.80")
def test_memory_caps_workers_and_a_larger_server_gives_more():
    found = [planned(size(8, gigabytes), processes=[WEB])[1]["processes"]["web"]["workers"] for gigabytes in (1, 2, 4, 8)]
    assert found == [3, 9, 17, 17]


@pytest.mark.proves("2.78")
@pytest.mark.parametrize(("process", "workers"), [
    ({**WEB, "workers": "4"}, 4),
    ({**WEB, "workers": "40"}, 40),
    ({**WEB, "command": "gunicorn shop.wsgi --workers 4"}, 4),
    ({**WEB, "command": "gunicorn shop.wsgi --workers=4", "workers": "7"}, 4),
    ({**WEB, "command": "gunicorn -w4 shop.wsgi"}, 4),
    ({**WEB, "command": "uvicorn shop.asgi --workers 2"}, 2),
    ({**WEB, "command": "daphne shop.asgi:application"}, 1),
    ({**WORKER, "name": "web", "command": "celery -A shop worker -c 6"}, 6),
    ({**WORKER, "name": "web", "command": "celery -A shop worker --autoscale=10,2"}, 10),
    ({**WORKER, "name": "web", "command": "celery -A shop worker -P solo"}, 1),
])
def test_what_is_written_wins(process, workers):
    _plan, app = planned(size(2, 2), edge="none", processes=[process])
    assert app["processes"]["web"]["workers"] == workers


def test_workers_fit_the_memory_that_their_process_is_given():
    _plan, app = planned(size(4, 16), processes=[{**WEB, "memory": "200M"}])
    assert app["processes"]["web"] == {"workers": 3, "memory": 200, "limit": 200}


def test_too_little_memory_for_the_workers_that_are_given_is_a_warning():
    plan, _app = planned(size(4, 16), processes=[{**WEB, "memory": "200M", "workers": "8"}])
    assert plan["findings"] == []
    assert plan["warnings"] == ["app pos: processes[web].memory is 200M, and with its workers it takes about 472 MiB: raise memory or lower workers"]


@pytest.mark.parametrize(("fields", "sorts"), [
    ({"processes": [WEB, WORKER, BEAT, {"name": "bot", "command": "python manage.py bot"}]}, ["server", "celery", "beat", "other"]),
    ({"processes": [WEB, {"name": "next", "command": "node server.js --socket $SOCKET"}]}, ["server", "node"]),
    ({"processes": [WEB, {"name": "api", "command": "python api.py $SOCKET"}]}, ["server", "other"]),
    ({"runtime": "compose", "images": [{"name": "app"}, {"name": "ui"}],
      "processes": [{"name": "web", "route": "/api/"}, {"name": "ui", "image": "ui", "route": "/"}]}, ["server", "node"]),
])
def test_what_a_process_is(fields, sorts):
    (app,) = load(fields)
    assert [sizing.sort(app, process) for process in app["processes"]] == sorts


# Connections


@pytest.mark.proves("3.10")
@pytest.mark.parametrize(("members", "workers", "connections"), [
    ([WEB], {"web": 9}, 20),
    ([{**WEB, "threads": 2}], {"web": 5}, 22),
    ([{**WEB, "threads": 2}, WORKER, BEAT], {"web": 3, "worker": 1, "beat": 1}, 17),
    ([WEB, WORKER, BEAT], {"web": 6, "worker": 3, "beat": 1}, 21),
    ([{**WEB, "workers": "4", "threads": 2}], {"web": 4}, 18),
    ([WEB, {"name": "next", "command": "node server.js $SOCKET"}], {"web": 9, "next": 1}, 20),
])
def test_auto_goes_down_until_a_managed_database_has_connections_for_two_instances(members, workers, connections):
    plan, app = planned(size(4, 16), **managed(22, *members))
    assert plan["findings"] == []
    assert {name: found["workers"] for name, found in app["processes"].items()} == workers
    assert app["connections"] == connections <= 22


@pytest.mark.proves("3.10")
@pytest.mark.parametrize(("members", "text"), [
    ([{**WEB, "workers": "3", "threads": 2}, {**WORKER, "workers": "4"}, BEAT],
     "app pos: database.connections is 22, and a deploy, with its two instances, wants 23: web 3 workers x 2 threads x 2 instances = 12, "
     "worker 4 workers x 2 instances = 8, beat 1 = 1, commands 2; 23 > 22: lower workers of web or threads of web or workers of worker, "
     "or raise database.connections to what the server allows"),
    ([{**WEB, "threads": 12}],
     "app pos: database.connections is 22, and a deploy, with its two instances, wants 26: web 1 worker x 12 threads x 2 instances = 24, commands 2; "
     "26 > 22: lower threads of web, or raise database.connections to what the server allows"),
    ([WEB, {"name": "bot", "command": "python bot.py", "count": 10}],
     "app pos: database.connections is 22, and a deploy, with its two instances, wants 24: web 1 worker x 2 instances = 2, "
     "bot 10 copies x 2 instances = 20, commands 2; 24 > 22: lower count of bot, or raise database.connections to what the server allows"),
])
def test_what_cannot_fit_a_managed_database_is_refused_with_its_sum(members, text):
    apps = load(managed(22, *members))
    assert sizing.connection_findings(apps) == [text]
    assert text in sizing.plan(size(4, 16), apps)["findings"]


def test_without_a_limit_or_a_server_there_is_nothing_to_refuse():
    many = [{**WEB, "workers": "50", "threads": 8}]
    assert sizing.connection_findings(load(managed(0, *many), {"name": "till", "domains": ["till.example.com"], "processes": many, "database": {
        "engine": "none", "connections": 1}})) == []


@pytest.mark.parametrize(("workers", "threads", "most"), [("5", 1, 100), ("20", 2, 100), ("21", 2, 100), ("22", 2, 100), ("23", 2, 150), ("50", 4, 450)])
def test_postgresql_of_our_own_takes_as_many_as_the_apps_may_open(workers, threads, most):
    plan, _app = planned(size(8, 16), processes=[{**WEB, "workers": workers, "threads": threads}])
    assert plan["postgresql"]["max_connections"] == most >= int(workers) * threads * 2 + 2
    assert plan["postgresql"]["settings"] == sizing.postgresql_settings(MEMORY[16], 8, max_connections=most)
    _plan, app = planned(size(8, 16), **{**COMPOSE, "processes": [{**WEB, "workers": workers, "threads": threads}]})
    assert app["database"]["max_connections"] == most


# Services


def test_services_of_the_host_have_the_sizes_of_their_roles():
    apps = load({}, {"name": "till", "domains": ["till.example.com"]})
    found = sizing.plan(size(2, 4), apps)
    assert found["postgresql"]["settings"] == sizing.postgresql_settings(MEMORY[4], 2)
    assert [app["cache"]["maxmemory"] for app in found["apps"].values()] == [sizing.redis_memory_mb(MEMORY[4], 2)] * 2


@pytest.mark.parametrize(("text", "maxmemory"), [("auto", 240), ("256mb", 256), ("1gb", 1024), ("64m", 64)])
def test_a_redis_gets_what_is_written(text, maxmemory):
    _plan, app = planned(size(2, 4), **{**COMPOSE, "cache": {"engine": "container", "memory": text}})
    assert app["cache"]["maxmemory"] == maxmemory
    assert app["cache"]["memory"] > maxmemory * 1.5


@pytest.mark.proves("1.49", "4.16", "4.17")
@pytest.mark.parametrize(("cores", "gigabytes"), [(1, 2), (2, 2), (2, 4), (4, 8), (8, 16)])
def test_all_containers_and_a_second_instance_fit_beside_the_system(cores, gigabytes):
    plan, app = planned(size(cores, gigabytes), processes=[{**WEB, "threads": 2}, WORKER, BEAT], **COMPOSE)
    limits = [app["database"]["memory"], app["cache"]["memory"], *plan["edges"].values()]
    limits += [process["memory"] * (1 if name == "beat" else 2) for name, process in app["processes"].items()]
    assert plan["findings"] == []
    assert sum(limits) + sizing.SYSTEM_MB + sizing.DOCKER_MB <= plan["total"] <= MEMORY[gigabytes]
    shared, maintenance = (int(app["database"]["settings"][name][:-2]) for name in ("shared_buffers", "maintenance_work_mem"))
    assert shared + maintenance < app["database"]["memory"]


@pytest.mark.proves("4.16")
def test_the_stack_of_system_4_fits_its_two_servers():
    web = {"name": "web", "command": "gunicorn shop.wsgi", "workers": "4", "threads": 2}
    small, _app = planned(size(1, 2, disk=19000), processes=[{**web, "workers": "auto"}], **COMPOSE)
    full, app = planned(size(2, 4, disk=39000), processes=[web], **COMPOSE)
    assert (small["profile"], full["profile"]) == ("small", "prod")
    assert small["findings"] == full["findings"] == full["warnings"] == []
    assert app["processes"]["web"]["workers"] == 4


@pytest.mark.proves("3.06")
def test_the_large_server_has_larger_limits():
    small, large = (planned(host, processes=[WEB, WORKER], **COMPOSE)[1] for host in (size(2, 2), size(4, 8)))
    for name in ("web", "worker"):
        assert small["processes"][name]["limit"] < large["processes"][name]["limit"]
    assert small["limit"] < large["limit"]
    assert small["database"]["limit"] < large["database"]["limit"]
    assert small["cache"]["maxmemory"] < large["cache"]["maxmemory"]


def test_a_memory_finding_has_its_sum():
    plan, _app = planned(size(1, 1), processes=[{**WEB, "workers": "9"}])
    (found,) = plan["findings"]
    numbers = [int(number) for number in re.findall(r" (\d+)(?:,|;)", found.split(":", 2)[2])]
    assert sum(numbers) == plan["total"] > MEMORY[1]
    assert found.startswith(f"memory: the apps need {plan['total']} MiB at least, and there are 961: system 192, PostgreSQL ")
    assert "pos web with 9 workers 528, a deploy of pos 528; " in found


def test_one_deploy_at_a_time_is_counted_that_of_the_largest_app():
    apps = load({"processes": [{**WEB, "workers": "6"}]}, {"name": "till", "domains": ["till.example.com"], "processes": [{**WEB, "workers": "2"}]})
    assert sizing.plan(size(2, 4), apps)["parts"][-1] == ("a deploy of pos", 360)


# The minimum


@pytest.mark.proves("1.48", "4.96", "4.97")
@pytest.mark.parametrize(("host", "name"), [
    (size(1, 1), "tiny"), (size(1, 2, disk=19000), "small"), (size(2, 2, disk=39000), "small"), (size(2, 4, disk=39000), "prod"), (size(4, 8), "prod"),
    (size(2, 4, disk=19000), "small"), (size(1, 2, disk=9000), "tiny"), ({"cores": 1, "memory": 899}, ""), ({"cores": 1, "memory": 900}, "tiny"),
])
def test_the_profile_is_a_name_for_a_point(host, name):
    assert sizing.profile(host) == name


@pytest.mark.proves("1.48", "4.96")
@pytest.mark.parametrize(("host", "fields", "texts"), [
    ({"cores": 1, "memory": 899}, {}, ["memory: 899 MiB, and this collection needs 1 GB at least"]),
    ({"cores": 1, "memory": 900}, {"database": {"engine": "none"}, "cache": {"engine": "none"}}, []),
    ({"cores": 1, "memory": 1799}, COMPOSE, ["memory: 1799 MiB, and a database in a container needs 2 GB at least"]),
    (size(1, 2), COMPOSE, []),
    (size(1, 2, cpu=0.5), {}, ["cpu: 0.5 of a core, and this collection needs 1 at least"]),
    (size(1, 2, free=5119, first=True), {}, ["disk: 5119 MiB are free on /, and a first set-up needs 5120"]),
    (size(1, 2, free=5120, first=True), {}, []),
    (size(1, 2, free=100, first=False), {}, []),
])
def test_below_the_minimum_is_refused(host, fields, texts):
    found = planned(host, processes=[WEB], **fields)[0]["findings"]
    assert [text.rsplit(":", 1)[0] for text in found] == texts


@pytest.mark.proves("1.48", "4.97")
@pytest.mark.parametrize(("host", "fields", "text"), [
    (size(2, 4, disk=39000), COMPOSE, None),
    (size(2, 4, disk=19000), {}, None),
    (size(2, 4, disk=19000), COMPOSE, "below what is recommended: 19000 MiB of 40 GB disk (docs/sizing.md)"),
    (size(1, 2, disk=9000), {}, "below what is recommended: 1 core of 2, 1967 MiB of 4 GB memory, 9000 MiB of 20 GB disk (docs/sizing.md)"),
    (size(2, 4, free=100), {}, "disk: only 100 MiB are free on /"),
])
def test_below_what_is_recommended_is_a_warning(host, fields, text):
    assert planned(host, processes=[WEB], **fields)[0]["warnings"] == [text][:text is not None]


def test_a_host_without_apps_has_to_be_a_host_all_the_same():
    assert sizing.plan(size(1, 1), [])["findings"] == sizing.plan(size(1, 1), [])["warnings"] == []
    assert sizing.plan({"cores": 1, "memory": 500}, [])["findings"]


def test_swap_is_that_of_the_role_base():
    rows = yaml.safe_load((ROOT / "roles" / "base" / "defaults" / "main.yml").read_text(encoding="utf-8"))["base_swap_sizes"]
    assert [(row["memory_up_to"], row["swap"]) for row in rows[:-1]] == list(sizing.SWAP)
    assert rows[-1]["swap"] == sizing.swap_mb(100000) == 0


# Sizes as text


@pytest.mark.parametrize(("text", "found"), [
    ("512M", 512), ("1G", 1024), ("256mb", 256), ("1.5g", 1536), ("1048576", 1), ("25%", 1000), ("64MiB", 64), ("2048k", 2)])
def test_sizes_are_read(text, found):
    assert sizing.megabytes(text, 4000) == found


@pytest.mark.parametrize("text", ["", "much", "-1M", "0", "12 apples", "1e3M"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size: write 512M or 1G"):
        sizing.megabytes(text)


@pytest.mark.parametrize("host", [{"cores": 0, "memory": 961}, {"cores": 1, "memory": 0}])
def test_no_host_is_refused(host):
    with pytest.raises(ValueError, match="at least 1 core"):
        sizing.plan(host, [])


def test_the_filter_gives_the_plan_and_the_findings_of_the_model():
    plan = FilterModule().filters()["host_plan"]
    assert plan(size(2, 4), [written()]) == sizing.plan(size(2, 4), load({}))
    with pytest.raises(AnsibleFilterError, match="did you mean domains"):
        plan(size(2, 4), [written(domain="x")])
    assert SECRETS["SECRET_KEY"] not in str(plan(size(2, 4), [written()]))


# Properties

counts = st.one_of(st.just("auto"), st.integers(1, 12).map(str))
memories = st.sampled_from(["", "", "", "128M", "512M", "1G"])
servers = st.fixed_dictionaries({
    "name": st.just("web"), "workers": counts, "threads": st.integers(1, 4), "memory": memories,
    "command": st.sampled_from(["gunicorn a.wsgi", "uvicorn a.asgi", "gunicorn a.wsgi --threads 4", "daphne a.asgi"])})
workers = st.fixed_dictionaries({
    "name": st.integers(1, 3).map("worker{}".format), "workers": counts, "count": st.integers(1, 3), "memory": memories,
    "command": st.sampled_from(["celery -A a worker", "celery -A a worker -P threads", "celery -A a worker -P solo"])})
others = st.sampled_from([BEAT, {"name": "bot", "command": "python manage.py bot", "count": 2}, {"name": "single", "command": "python x.py", "single": True}])


@st.composite
def hosts_apps(draw):
    """Return apps of one host, as the model loads them."""
    apps = []
    for number in range(draw(st.integers(1, 4))):
        members = [draw(servers), *draw(st.lists(workers, max_size=2, unique_by=lambda process: process["name"])),
                   *draw(st.lists(others, max_size=2, unique_by=lambda process: process["name"]))]
        runtime = draw(st.sampled_from(["systemd", "compose"]))
        engines = ["postgresql", "external", "sqlite", "none"] + ["container"] * (runtime == "compose")
        caches = ["redis", "external", "none"] + ["container"] * (runtime == "compose")
        apps.append(written(
            name=f"app{number}", domains=[f"app{number}.example.com"], runtime=runtime, processes=members, edge="none",
            secrets={**SECRETS, **EXTERNAL["secrets"], "CACHE_URL": "redis://cache.example.com/0"},
            database={"engine": draw(st.sampled_from(engines)), "connections": draw(st.sampled_from([0, 0, 10, 22, 97]))},
            cache={"engine": draw(st.sampled_from(caches)), "memory": draw(st.sampled_from(["auto", "auto", "256mb"]))}))
    return model.load(apps)


hosts = st.fixed_dictionaries({"cores": st.integers(1, 32), "memory": st.one_of(st.integers(1024, 6 * 1024), st.integers(1024, 64 * 1024))})


def automatic(app):
    return [process["name"] for process in app["processes"] if not sizing.written_workers(app, process)]


def real_sum(plan, apps):
    """Return the MiB that a plan gives away, added up anew from what it returns."""
    total = sizing.SYSTEM_MB + sizing.DOCKER_MB * any(app["runtime"] == "compose" for app in apps) + sum(plan["edges"].values())
    deploys = [0]
    for app in apps:
        found = plan["apps"][app["name"]]
        mine = [(process, found["processes"][process["name"]]["memory"] * process["count"]) for process in app["processes"]]
        total += sum(size for _process, size in mine) + sum((found[name] or {"memory": 0})["memory"] for name in ("database", "cache"))
        deploys.append(sum(size for process, size in mine if not process["single"]))
    if plan["postgresql"]:
        total += int(plan["postgresql"]["settings"]["shared_buffers"][:-2])
    return total + max(deploys)


@pytest.mark.proves("1.49", "2.78", "4.17")
@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, hosts_apps())
def test_everything_fits_or_is_refused(host, apps):
    plan = sizing.plan(host, apps)
    assert plan["total"] == sum(part for _name, part in plan["parts"])
    assert any(text.startswith("memory: the apps need") for text in plan["findings"]) is (plan["total"] > host["memory"])
    assert real_sum(plan, apps) <= plan["total"]
    for app in apps:
        limit, found = app["database"]["connections"], plan["apps"][app["name"]]
        if limit and app["database"]["engine"] in ("postgresql", "container", "external"):
            assert found["connections"] <= limit or any(text.startswith(f"app {app['name']}: database.connections") for text in plan["findings"])


@pytest.mark.proves("2.78")
@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, hosts_apps())
def test_workers_are_between_one_and_twice_the_cores_and_one_and_what_is_written_wins(host, apps):
    plan = sizing.plan(host, apps)
    for app in apps:
        for process in app["processes"]:
            found = plan["apps"][app["name"]]["processes"][process["name"]]["workers"]
            fixed = sizing.written_workers(app, process)
            assert found == fixed or (not fixed and 1 <= found <= 2 * host["cores"] + 1)


@pytest.mark.proves("2.80", "3.06")
@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, st.integers(0, 4), st.one_of(st.integers(0, 300), st.integers(0, 16384)), hosts_apps())
def test_a_larger_host_never_gives_less(host, more_cores, more_memory, apps):
    small = sizing.plan(host, apps)
    large = sizing.plan({"cores": host["cores"] + more_cores, "memory": host["memory"] + more_memory}, apps)
    fits = small["total"] <= host["memory"]
    assert large["total"] <= host["memory"] + more_memory or not fits
    for app in apps:
        before, after = small["apps"][app["name"]], large["apps"][app["name"]]
        for name, process in before["processes"].items():
            assert process["workers"] <= after["processes"][name]["workers"]
            assert process["memory"] <= after["processes"][name]["memory"]
            assert process["limit"] <= after["processes"][name]["limit"]
        assert before["limit"] <= after["limit"]
        for service in ("database", "cache"):
            for figure in ("memory", "limit"):
                assert (before[service] or {figure: 0})[figure] <= (after[service] or {figure: 0})[figure]


@pytest.mark.proves("2.80")
@pytest.mark.parametrize("fields", [{}, COMPOSE], ids=["systemd", "compose"])
def test_one_megabyte_more_never_gives_less(fields):
    """PostgreSQL and Redis grow by steps of 256 MiB; a worker must not be lost to such a step."""
    apps = load(*({"name": f"app{number}", "domains": [f"app{number}.example.com"], "processes": [WEB, WORKER, BEAT], **fields} for number in range(3)))
    before = 0
    for step in range(2048 + 128, 9000, 256):
        for memory in (step - 2, step - 1, step, step + 1):
            level = sizing.plan({"cores": 32, "memory": memory}, apps)["level"]
            assert level >= before, memory
            before = level


# Limits


@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, hosts_apps())
def test_a_limit_is_a_share_of_the_host_or_a_number_of_the_model(host, apps):
    plan, whole = sizing.plan(host, apps), host["memory"] // 256 * 256
    for app in apps:
        for process in app["processes"]:
            found = plan["apps"][app["name"]]["processes"][process["name"]]
            if process["memory"]:
                assert found["limit"] == found["memory"] == sizing.megabytes(process["memory"])
            else:
                assert found["limit"] >= max(found["memory"], int(whole * 3 / 8))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, hosts_apps())
def test_no_app_can_take_what_the_host_the_database_and_the_edge_need(host, apps):
    plan, whole = sizing.plan(host, apps), host["memory"] // 256 * 256
    kept = sizing.SYSTEM_MB + sizing.DOCKER_MB * any(app["runtime"] == "compose" for app in apps) + sum(plan["edges"].values())
    kept += sum((plan["apps"][app["name"]]["cache"] or {"maxmemory": 0})["maxmemory"] for app in apps)
    if plan["postgresql"]:
        kept += int(sizing.postgresql_settings(whole, host["cores"])["shared_buffers"][:-2])
    for app in apps:
        given = sum(sizing.megabytes(process["memory"]) * process["count"] * (1 if process["single"] else 2)
                    for process in app["processes"] if process["memory"])
        limit = plan["apps"][app["name"]]["limit"]
        # A cache counts in whole steps of 256 MiB there, and an odd one may be half a step more here.
        assert limit <= max(given, whole / 2 + 1, whole - kept + 128)
        assert limit >= given


def test_a_killed_app_of_the_issue_has_room_now():
    """(24 + 57 x workers) x 4/3 was the limit of a container, and an app with 150 MiB more a worker lost its requests to it."""
    _plan, app = planned(size(2, 4), processes=[WEB, {"name": "worker", "command": "/start-worker"}], **COMPOSE)
    assert app["processes"]["web"]["limit"] > 24 + 5 * (57 + 150)
    assert app["processes"]["worker"]["limit"] > 10 * 96


@pytest.mark.parametrize(("process", "need"), [(WEB, 24 + 3 * 56), (WORKER, 72 + 44), (BEAT, 56)])
def test_a_third_more_counts_for_a_container(process, need):
    plain, contained = (planned(size(1, 16), edge="none", processes=[process], **fields)[1]["processes"][process["name"]]["memory"]
                        for fields in ({}, {"runtime": "compose"}))
    assert plain == need
    assert need * 4 / 3 <= contained < need * 4 / 3 + 16


@settings(max_examples=100, deadline=None, derandomize=True)
@given(hosts, hosts_apps())
def test_no_worker_is_held_back_without_a_reason(host, apps):
    plan = sizing.plan(host, apps)
    free = all(not app["database"]["connections"] and not process["memory"] for app in apps for process in app["processes"])
    if plan["level"] < 2 * host["cores"] + 1 and free and any(automatic(app) for app in apps):
        one_more = sizing.plan({"cores": host["cores"], "memory": plan["total"] + 64 * 1024}, apps)
        assert one_more["level"] > plan["level"]


# The page


TABLES = {
    "systemd": {"processes": [{**WEB, "threads": 2}, WORKER, BEAT]},
    "compose": {"processes": [{**WEB, "threads": 2}, WORKER, BEAT], **COMPOSE},
}


def table(runtime):
    """Return a table of docs/sizing.md as the function says."""
    lines = ["| cores / GB | profile | web workers | celery | shared_buffers | Redis | web | worker | beat | counted | limit of a process, of the app |",
             "|" + "---|" * 11]
    for cores, gigabytes in ((1, 1), (1, 2), (2, 4), (4, 8), (8, 16)):
        if runtime == "compose" and gigabytes == 1:
            continue
        plan, app = planned(size(cores, gigabytes), **TABLES[runtime])
        web, worker, beat = (app["processes"][name] for name in ("web", "worker", "beat"))
        shared = (app["database"] or plan["postgresql"])["settings"]["shared_buffers"][:-2]
        cells = [f"{cores} / {gigabytes}", plan["profile"], web["workers"], worker["workers"],
                 f"{shared}, limit {app['database']['limit']}" if app["database"] else shared,
                 f"{app['cache']['maxmemory']}, limit {app['cache']['limit']}" if app["database"] else app["cache"]["maxmemory"],
                 web["memory"], worker["memory"], beat["memory"],
                 f"{plan['total']} of {MEMORY[gigabytes]}{': refused' * bool(plan['findings'])}", f"{web['limit']}, {app['limit']}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


@pytest.mark.parametrize("runtime", list(TABLES))
def test_the_tables_of_the_page_are_what_the_function_says(runtime):
    page = (ROOT / "docs" / "sizing.md").read_text(encoding="utf-8")
    assert table(runtime) in page, f"docs/sizing.md has to hold:\n{table(runtime)}"


def test_the_figures_of_the_page_are_those_of_the_code():
    page = (ROOT / "docs" / "sizing.md").read_text(encoding="utf-8")
    code = ast.parse(Path(sizing.__file__).read_text(encoding="utf-8"))
    names = {target.id for node in code.body if isinstance(node, ast.Assign) for part in node.targets for target in getattr(part, "elts", [part])}
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| ([0-9.]+) \|", page, re.M))
    assert {"SYSTEM_MB", "WORKER_MB", "CHILD_MB"} <= set(told) <= names
    assert {name: float(number) for name, number in told.items()} == {name: float(getattr(sizing, name)) for name in told}


@pytest.mark.parametrize(("planned", "most", "promised", "limits"), [
    ({}, 100, {}, {}),
    ({"shop": 14}, 100, {}, {"shop": 92}),
    ({"shop": 14, "blog": 9}, 100, {}, {"shop": 48, "blog": 43}),
    # The server is small: each has what it needs, as the plan promised.
    ({"shop": 14, "blog": 9}, 20, {}, {"shop": 14, "blog": 9}),
    ({"shop": 14, "blog": 9}, 100, {"shop": 20, "blog": 0}, {"shop": 20, "blog": 43}),
])
def test_the_connections_of_one_app_leave_the_others_theirs(planned, most, promised, limits):
    assert sizing.connection_limits(planned, most, promised) == limits


def test_the_limits_of_a_plan_fit_its_server():
    plan = sizing.plan({"cores": 2, "memory": 3915}, model.load([written(name=name, domains=[f"{name}.test"]) for name in ("shop", "blog", "pos")]))
    limits = plan["postgresql"]["limits"]
    assert sum(limits.values()) <= plan["postgresql"]["max_connections"] - sizing.RESERVED_CONNECTIONS
    assert all(limits[name] >= plan["apps"][name]["connections"] for name in limits)


def test_the_journal_of_each_app_has_a_limit_on_both_runtimes():
    apps = [written(name="shop"), written(name="cafe", runtime="compose", domains=["cafe.test"])]
    files = FilterModule().filters()["journals"](apps, "200M", 30, "1G")
    assert [file["path"] for file in files] == ["/etc/systemd/journald@shop.conf", "/etc/systemd/journald@cafe.conf"]
    assert all("SystemMaxUse=200M" in file["content"] for file in files)
