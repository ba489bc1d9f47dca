# SPDX-License-Identifier: GPL-3.0-or-later
"""An app in containers on a bare server: what a person finds there by hand, what the containers may do, what the world reaches."""
import json
import socket
import subprocess

import pytest
from lab import ROOT

FOLDER = "cd /opt/bookshop &&"
WEB = "$(grep -- -web-1 /opt/bookshop/live/units)"


@pytest.fixture(scope="module", autouse=True)
def deployed(server):
    """v1 of both apps is live."""
    for version in ("v1", "v2"):
        subprocess.run([str(ROOT / "scripts/lab"), "push", "bookshop", version], check=True, stdout=subprocess.DEVNULL)
    server.deploy("v1")
    server.deploy("v1", app="annex")


def inspect(server, container):
    """Return what the engine knows of a container."""
    return json.loads(server.inside(f"docker inspect {container}"))[0]


def opens(server, port):
    """Return True when a TCP port answers from outside."""
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex((server.address, port)) == 0


@pytest.mark.proves("0.40", "1.39", "4.10", "4.12")
@pytest.mark.parametrize("port", [80, 443, 7822, 22, 2375, 5432, 6379, 8000])
def test_the_world_reaches_the_declared_ports_alone(server, port):
    assert opens(server, port) == (port in (80, 443, 7822))


@pytest.mark.proves("0.40", "1.18")
def test_no_port_of_a_container_is_published(server):
    """nginx reaches each by an address of its own: a published port is answered by a program of the engine's, and ends with it."""
    assert server.inside("docker ps --format '{{.Ports}}' | tr ',' '\\n' | grep -e '->' | sort -u || true") == ""


@pytest.mark.proves("0.09", "1.18", "3.63")
def test_the_stable_port_of_localhost_is_the_edges(server):
    assert server.inside("curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/healthz/") == "200"


@pytest.mark.proves("0.11", "1.14")
def test_a_second_deploy_of_the_same_version_changes_nothing(server):
    for app in ("bookshop", "annex"):
        run = server.deploy("v1", app=app)
        assert run.count("changed") == 0
        assert "was live already" in run.out


def test_check_mode_of_a_deploy_says_what_it_would_do_and_changes_nothing(server):
    look = "readlink /opt/bookshop/live; ls /opt/bookshop/releases /opt/bookshop/cache; cat /opt/bookshop/ledger.jsonl; docker images -aq; docker ps -aq"
    before = server.inside(look)
    run = server.deploy("v4", "--check", "--diff")
    assert "would be built" in run.out
    assert "switch: /opt/bookshop/live" in run.out
    run = server.deploy("v2", "--check", "--diff", app="annex")
    assert "would be pulled" in run.out
    assert server.inside(look) == before


@pytest.mark.proves("0.11", "4.86", "4.92", "0.43")
def test_compose_works_by_hand_in_the_apps_folder(server):
    assert server.inside(f"{FOLDER} docker compose config --quiet && echo good") == "good"
    assert {line.split()[0] for line in server.inside(f"{FOLDER} docker compose ps --format '{{{{.Service}}}} {{{{.State}}}}'").splitlines()} == {
        "web", "worker", "beat"}


@pytest.mark.proves("4.88", "0.42")
def test_compose_shows_the_logs_of_a_service(server):
    server.get("/healthz/?marker=4711")
    assert "marker=4711" in server.inside(f"{FOLDER} docker compose logs --tail 20 web")


@pytest.mark.proves("4.89", "4.87")
def test_compose_opens_djangos_shell_in_the_live_release(server):
    code = "from books.models import Book; print(\"rows\", Book.objects.count() >= 0)"
    said = server.inside(f"{FOLDER} echo '{code}' | docker compose exec -T web python manage.py shell")
    assert "rows True" in said


def test_the_manage_command_of_a_release_runs_by_hand(server):
    assert "[X] 0001_initial" in server.inside("/opt/bookshop/live/bin/manage showmigrations books")


def test_the_manage_playbook_runs_in_the_live_image(server):
    run = server.play("manage", "-e", "django_app=bookshop", "-e", "command=showmigrations")
    assert "[X] 0001_initial" in run.out
    assert run.count("changed") == 0


def test_the_status_playbook_says_what_is_live(server):
    run = server.play("status", "-e", "django_app=bookshop")
    for words in ("bookshop: v1 is live as", "health    good", "-web-1  active"):
        assert words in run.out


@pytest.mark.proves("0.39", "1.34", "0.15", "4.69")
@pytest.mark.parametrize("process", ["web", "worker", "beat"])
def test_a_container_may_do_as_little_as_possible(server, process):
    found = inspect(server, f"$(grep -- -{process}-1 /opt/bookshop/live/units)")
    how = found["HostConfig"]
    assert how["ReadonlyRootfs"] is True
    assert how["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in how["SecurityOpt"]
    assert how["PidsLimit"] > 0
    assert how["Memory"] > 0
    assert how["RestartPolicy"]["Name"] == "unless-stopped"
    assert how["Init"] is True
    assert how["LogConfig"]["Config"]["syslog-address"] == "unixgram:///run/systemd/journal.bookshop/dev-log"
    status = server.inside(f"cat /proc/{found['State']['Pid']}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == server.inside("id -u bookshop") != "0"
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.proves("0.13", "4.83", "1.40")
def test_docker_asks_for_the_health_as_declared(server):
    found = inspect(server, WEB)
    health = found["Config"]["Healthcheck"]
    assert [health[key] / 1e9 for key in ("Interval", "Timeout", "StartPeriod")] == [30, 10, 5]
    assert health["Retries"] == 3
    server.until(lambda: inspect(server, WEB)["State"]["Health"]["Status"] == "healthy", 20, "Docker's health")


@pytest.mark.proves("4.72", "4.76", "4.09")
def test_the_server_is_the_one_child_of_the_containers_init(server):
    assert server.inside("docker exec " + WEB + " cat /proc/1/cmdline | tr '\\0' ' '").split()[:3] == ["/sbin/docker-init", "--", "gunicorn"]
    assert server.inside(f"docker top {WEB} | grep -c 'bin/gunicorn'") == "4"  # three workers and their master


@pytest.mark.proves("0.33")
def test_the_image_carries_the_commit(server):
    label = server.inside(f"docker inspect --format '{{{{index .Config.Labels \"org.opencontainers.image.revision\"}}}}' {WEB}")
    assert label == json.loads(server.inside("cat /opt/bookshop/live/release.json"))["sha"]


def test_hostile_values_arrive_as_they_are_written(server):
    said = server.inside(f"docker exec {WEB} python -c 'import json, os; print(json.dumps([os.environ[\"HOSTILE\"], os.environ[\"TRUTH\"]]))'")
    assert json.loads(said) == ["a b'c\"d#e$f%g\\h`i!j*k?l;m=n&o|p<q>r(s)t{u}v[w]x~y", "True"]


@pytest.mark.proves("0.07")
def test_no_secret_is_in_the_image_a_file_for_all_or_the_process_list(server):
    key = server.local["vault_bookshop"]["SECRET_KEY"]
    assert key in server.inside("cat /opt/bookshop/live/compose.yaml")  # the one place, and it is root's
    assert server.inside("stat -Lc '%U %a' /opt/bookshop/live/compose.yaml") == "root 600"
    assert key not in server.inside("docker history --no-trunc $(docker images -q quayside/bookshop-app | head -1); ps -eo args")
    assert server.inside(f"find /opt /etc /var/log /usr/local -perm -004 -type f -exec grep -l {key} {{}} + || true") == ""


@pytest.mark.proves("2.16", "4.05", "4.80", "4.04")
def test_uploads_and_static_files_come_from_the_edge_also_while_the_app_is_down(server):
    book = server.json("/api/books/", data={"title": "Emma", "price": "4.20"})
    said = server.inside("cd /tmp && printf '\\211PNG\\r\\n\\032\\n0000000000' > cover.png && curl -sS -F cover=@cover.png "
                         f"-H 'Host: {server.address}' http://127.0.0.1/api/books/{book['id']}/cover/")
    media = "/media/" + next(value for value in json.loads(said).values() if isinstance(value, str) and "/media/" in value).split("/media/")[1]
    static = server.get("/")[2].decode().split('href="')[1].split('"')[0]
    server.inside("systemctl stop bookshop")
    try:
        assert server.inside("docker ps -q --filter label=quayside.app=bookshop --filter label=quayside.release") == ""
        answers = {path: server.get(path) for path in (media, static)}
    finally:
        server.inside("systemctl start bookshop")
    assert [answers[path][0] for path in (media, static)] == [200, 200]
    assert "max-age=86400" in answers[media][1]["Cache-Control"]
    assert answers[static][1]["Cache-Control"] == "public, max-age=31536000, immutable"
    server.until(lambda: server.get("/healthz/")[0] == 200, 30, "the app")


@pytest.mark.proves("0.12", "4.08")
def test_an_app_does_not_reach_the_containers_of_another_one(server):
    address = json.loads(server.inside("docker inspect $(grep -- -web-1 /srv/annex/live/units)"))[0]["NetworkSettings"]["Networks"]["annex"]["IPAddress"]
    ask = "import socket; s = socket.socket(); s.settimeout(2); print(s.connect_ex((\"{}\", 8000)))"
    assert server.inside(f"docker exec {WEB} python -c '{ask.format(address)}' || true") != "0"
    assert server.inside(f"docker exec {WEB} python -c 'import socket; socket.gethostbyname(\"db\")' 2>&1 | tail -1").startswith("socket.gaierror")


@pytest.mark.proves("0.44")
def test_a_container_that_hangs_turns_unhealthy_and_status_shows_it(server):
    def change(app):
        app["container"] = {"interval": 1, "timeout": 1, "retries": 2}

    path = server.changed_app(change)
    server.play("deploy", "-e", "version=v1", "-e", f"@{path}")
    server.inside(f"docker top {WEB} -eo pid | tail -n +2 | xargs kill -STOP")
    try:
        server.until(lambda: inspect(server, WEB)["State"]["Health"]["Status"] == "unhealthy", 15, "unhealthy")
        assert "(unhealthy)" in server.play("status", "-e", "django_app=bookshop").out
    finally:
        server.inside(f"docker top {WEB} -eo pid | tail -n +2 | xargs kill -CONT")
    server.deploy("v1")


@pytest.mark.proves("0.14", "1.17", "4.80", "1.41")
def test_rows_files_and_logs_outlive_all_containers(server):
    book = server.json("/api/books/", data={"title": "Kept", "price": "1.00"})
    server.inside("echo kept > /opt/bookshop/shared/media/kept.txt && chown bookshop:www-data /opt/bookshop/shared/media/kept.txt")
    server.get("/healthz/?marker=0815")
    server.deploy("v2")
    server.until(lambda: len(server.instances()) == 1, 60, "the end of v1")
    assert book["id"] in [found["id"] for found in server.json("/api/books/")]
    assert server.get("/media/kept.txt")[2] == b"kept\n"
    assert "marker=0815" in server.inside("journalctl --namespace='*' -t bookshop-web --no-pager -n 500")
    server.deploy("v1")


@pytest.mark.proves("1.21", "4.77", "4.78", "4.84", "4.90", "4.93")
def test_the_database_and_the_cache_of_the_annex_outlive_their_containers_and_work_by_hand(server):
    services = "cd /srv/annex/services &&"
    health = inspect(server, "annex-services-db-1")["Config"]["Healthcheck"]
    assert [health[key] / 1e9 for key in ("Interval", "Timeout")] + [health["Retries"]] == [10, 5, 5]
    assert "pg_isready -U annex -d annex" in " ".join(health["Test"])
    assert server.inside(f"{services} docker compose exec -T db psql -U annex -d annex -tAc 'select 1'") == "1"
    server.inside(f"{services} docker compose exec -T db pg_isready")
    server.inside(f"{services} docker compose exec -T db psql -U annex -d annex -qc 'create table kept (x int)' -c 'insert into kept values (7)'")
    redis = f"docker compose exec -T -e REDISCLI_AUTH={server.local['vault_annex']['REDIS_PASSWORD']} redis redis-cli"
    assert "NOAUTH" in server.inside(f"{services} docker compose exec -T redis redis-cli get kept 2>&1")
    server.inside(f"{services} {redis} set kept 7 && docker compose down -v 2>&1")
    server.play("site")
    assert server.inside(f"{services} docker compose exec -T db psql -U annex -d annex -tAc 'select x from kept'") == "7"
    assert server.inside(f"{services} {redis} get kept") == "7"
    server.until(lambda: server.get("/healthz/", "annex.example.com", tls=True)[0] == 200, 30, "the annex")


def test_deploys_never_recreate_the_services(server):
    look = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' annex-services-db-1 annex-services-redis-1"
    before = server.inside(look)
    server.deploy("v2", app="annex")
    assert server.inside(look) == before


@pytest.mark.proves("0.49")
def test_the_cache_is_in_redis(server):
    before = int(server.inside("redis-cli -s /run/redis-bookshop/redis.sock info commandstats | grep -E 'cmdstat_(set|get|incr)' | wc -l"))
    server.get("/")
    assert before or int(server.inside("redis-cli -s /run/redis-bookshop/redis.sock -n 0 dbsize")) > 0


@pytest.mark.proves("0.24")
def test_a_name_that_is_not_declared_gets_no_answer(server):
    assert server.get("/", host="nobody.example.com")[0] == 0
    assert server.get("/healthz/")[0] == 200


@pytest.mark.proves("1.19")
def test_what_docker_kill_has_ended_comes_back(server):
    pid = inspect(server, WEB)["State"]["Pid"]
    server.inside(f"docker kill {WEB}")
    server.until(lambda: inspect(server, WEB)["State"]["Pid"] not in (0, pid), 30, "the container")
    server.until(lambda: server.get("/healthz/")[0] == 200, 30, "the app")
