# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml makes of a bare server, seen from outside and by asking the programs themselves."""
import json
import socket

import pytest

APP = "bookshop"


@pytest.fixture(scope="module", autouse=True)
def deployed(server):
    """v1 of both apps is live."""
    server.deploy("v1")
    server.deploy("v1", app="annex")


def opens(server, port):
    """Return True when a TCP port answers from outside."""
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex((server.address, port)) == 0


@pytest.mark.proves("2.52", "2.53", "2.54", "2.04", "0.40")
@pytest.mark.parametrize("port", [80, 443, 7822])
def test_a_declared_port_answers_from_outside(server, port):
    assert opens(server, port)


@pytest.mark.proves("2.55", "2.56", "2.17", "2.18", "1.39")
@pytest.mark.parametrize("port", [22, 5432, 6379, 8000])
def test_no_other_port_answers_from_outside(server, port):
    assert not opens(server, port)


@pytest.mark.proves("2.58")
def test_the_firewall_has_exactly_the_declared_rules(server):
    status = server.inside("ufw status verbose")
    assert "Default: deny (incoming)" in status
    ports = {line.split()[0] for line in status.splitlines() if "ALLOW" in line}
    assert ports == {"80/tcp", "443/tcp", "7822/tcp"}, status


@pytest.mark.proves("1.36")
def test_only_a_key_logs_in_and_never_root(server):
    settings = server.inside("sshd -T")
    for line in ("passwordauthentication no", "permitrootlogin no", "port 7822"):
        assert line in settings.splitlines()


def test_a_second_deploy_of_the_same_version_changes_nothing(server):
    run = server.deploy("v1")
    assert run.count("changed") == 0
    assert "was live already" in run.out


def test_check_mode_of_a_deploy_says_what_it_would_do_and_changes_nothing(server):
    before = server.inside("readlink /opt/bookshop/live; ls /opt/bookshop/releases /opt/bookshop/venvs; cat /opt/bookshop/ledger.jsonl")
    run = server.deploy("v4", "--check", "--diff")
    assert "migrate: books.0003" in run.out
    assert "switch: /opt/bookshop/live" in run.out
    assert server.inside("readlink /opt/bookshop/live; ls /opt/bookshop/releases /opt/bookshop/venvs; cat /opt/bookshop/ledger.jsonl") == before


@pytest.mark.proves("2.08", "4.07")
def test_the_page_shows_version_and_release(server):
    status, _headers, body = server.get("/")
    assert status == 200
    assert b"v1" in body
    assert server.inside("basename $(readlink /opt/bookshop/live)").encode() in body


@pytest.mark.proves("2.14")
def test_the_api_writes_to_postgresql_and_reads_back(server):
    book = server.json("/api/books/", data={"title": "Persuasion", "price": "7.50"})
    assert book["title"] == "Persuasion"
    assert server.inside("runuser -u postgres -- psql -qAt bookshop -c \"select count(*) from books_book where title = 'Persuasion'\"") != "0"


def test_an_unknown_name_gets_no_answer(server):
    assert server.get("/", host="nobody.example.com")[0] == 0


@pytest.mark.proves("2.10", "2.57", "2.60")
def test_the_web_process_listens_on_a_socket_that_only_the_edge_reaches(server):
    listening = server.inside("ss -xlH | grep -c '/opt/bookshop/releases/.*/run/web.sock'")
    assert listening == "1"
    refused = server.inside("runuser -u annex -- curl -sS --unix-socket /opt/bookshop/live/run/web.sock http://localhost/healthz/ 2>&1 || true")
    assert "denied" in refused.lower() or "couldn't connect" in refused.lower() or "could not connect" in refused.lower(), refused


@pytest.mark.proves("2.79")
def test_the_celery_worker_has_the_declared_concurrency(server):
    children = server.inside("systemctl show -p MainPID --value bookshop-worker-1@$(basename $(readlink /opt/bookshop/live)) | xargs pgrep -P | wc -l")
    assert children == "2"


@pytest.mark.proves("2.06", "2.35", "2.50", "2.51")
def test_the_edges_site_is_valid_linked_and_the_apps_name(server):
    assert "test is successful" in server.inside("nginx -t 2>&1")
    assert server.inside("ls /etc/nginx/sites-available /etc/nginx/sites-enabled | grep -c bookshop") == "2"


@pytest.mark.proves("2.05")
def test_it_is_served_under_its_address_alone(server):
    assert server.get("/healthz/", host=server.address)[0] == 200


@pytest.mark.proves("2.33", "2.41")
def test_static_files_are_roots_and_the_edge_reads_them(server):
    assert server.inside("stat -Lc '%U %G %a' /opt/bookshop/live/static") == "root www-data 755"
    assert server.inside("find /opt/bookshop/live/static/ /opt/bookshop/live/code/ ! -user root | wc -l") == "0"  # sealed
    assert server.inside("runuser -u www-data -- find /opt/bookshop/live/static/ -name '*.css' | head -1")


@pytest.mark.proves("2.39", "2.40", "2.46", "2.32")
def test_several_django_apps_are_migrated_in_order(server):
    assert server.inside("runuser -u postgres -- psql -qAt bookshop -c \"select count(distinct app) from django_migrations where app in "
                         "('books', 'jobs', 'pages')\"") == "3"


@pytest.mark.proves("2.11", "2.74")
def test_three_workers_serve(server):
    workers = server.inside("systemctl show -p ControlGroup --value bookshop-web@$(basename $(readlink /opt/bookshop/live)) | "
                            "xargs -I{} cat /sys/fs/cgroup/systemd{}/cgroup.procs /sys/fs/cgroup{}/cgroup.procs 2>/dev/null | sort -u | wc -l")
    assert workers == "4"  # and their master


@pytest.mark.proves("2.36")
def test_the_env_file_is_read_alike_by_systemd_and_a_shell(server):
    read = "python3 -c 'import json, os; print(json.dumps({k: os.environ.get(k) for k in (\"HOSTILE\", \"TRUTH\", \"DJANGO_SETTINGS_MODULE\")}))'"
    systemd = server.inside(f"systemd-run --quiet --wait --pipe --collect -p EnvironmentFile=/opt/bookshop/live/env -- {read}")
    shell = server.inside(f"set -a; . /opt/bookshop/live/env; {read}")
    assert json.loads(systemd) == json.loads(shell)
    assert json.loads(shell) == {"HOSTILE": "a b'c\"d#e$f%g\\h`i!j*k?l;m=n&o|p<q>r(s)t{u}v[w]x~y", "TRUTH": "True", "DJANGO_SETTINGS_MODULE": "config.settings"}
    assert server.inside("stat -c '%U:%G %a' /opt/bookshop/live/env /etc/quayside/bookshop/secrets.env") == "root:bookshop 640\nroot:root 600"


@pytest.mark.proves("2.47", "2.48")
def test_systemd_accepts_the_units(server):
    said = server.inside("systemd-analyze verify bookshop.service $(cat /opt/bookshop/live/units) 2>&1 || true")
    assert [line for line in said.splitlines() if "bookshop" in line] == []


@pytest.mark.proves("2.12", "2.68")
def test_units_journal_and_status_do_what_a_person_expects(server):
    assert server.inside("systemctl is-active bookshop.service") == "active"
    assert server.inside("systemctl is-enabled bookshop.service") == "enabled"
    # By its tag: a line of a process that has ended before the journal looked is in no unit.
    assert "live is releases/" in server.inside("journalctl -t bookshop -n 20 --no-pager")
    server.inside("systemctl status bookshop --no-pager")
    assert server.inside("journalctl --namespace='*' -t bookshop-web -n 5 --no-pager | wc -l") != "0"
    before = server.inside("pgrep -u bookshop -f 'gunicorn config.wsgi' | sort")
    server.inside("systemctl restart bookshop")
    server.until(lambda: server.get("/healthz/")[0] == 200, 20, "the restarted app")
    after = server.inside("pgrep -u bookshop -f 'gunicorn config.wsgi' | sort")
    assert not set(before.split()) & set(after.split())


@pytest.mark.proves("2.23", "2.07", "4.04")
def test_static_files_come_from_the_edge(server):
    status, headers, body = server.get("/")
    path = body.decode().split('href="')[1].split('"')[0]
    status, headers, _body = server.get(path)
    assert status == 200
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.proves("2.16", "2.24", "2.42", "4.05")
def test_an_upload_is_served_by_the_edge_also_while_the_app_is_down(server):
    book = server.json("/api/books/", data={"title": "Emma", "price": "4.20"})
    png = server.inside("cd /tmp && printf '\\211PNG\\r\\n\\032\\n0000000000' > cover.png && curl -sS -F cover=@cover.png "
                        f"-H 'Host: {server.address}' http://127.0.0.1/api/books/{book['id']}/cover/")
    url = json.loads(png)
    path = next(value for value in url.values() if isinstance(value, str) and "/media/" in value)
    path = "/media/" + path.split("/media/")[1]
    server.inside("systemctl stop bookshop")
    try:
        status, headers, _body = server.get(path)
    finally:
        server.inside("systemctl start bookshop")
    assert status == 200
    assert "max-age=86400" in headers["Cache-Control"]
    server.until(lambda: server.get("/healthz/")[0] == 200, 20, "the app")


@pytest.mark.proves("2.63", "2.64")
def test_the_edge_keeps_logs_of_each_app(server):
    server.get("/healthz/")
    assert server.inside("tail -n 1 /var/log/nginx/bookshop_access.log")
    assert server.inside("test -f /var/log/nginx/bookshop_error.log && echo there") == "there"


@pytest.mark.proves("2.19")
def test_a_session_survives_a_restart(server):
    status, headers, body = server.get("/")
    cookie = headers["Set-Cookie"].split(";")[0]
    server.inside("systemctl restart bookshop")
    server.until(lambda: server.get("/healthz/")[0] == 200, 20, "the restarted app")
    key = cookie.split("=", 1)[1]
    assert server.inside(f"redis-cli -s /run/redis-bookshop/redis.sock -n 1 --raw keys '*' | grep -c {key}") == "1"


@pytest.mark.proves("2.83", "2.93", "1.45")
def test_a_slow_query_is_logged(server):
    server.inside("runuser -u postgres -- psql -q bookshop -c 'select pg_sleep(0.7)'")
    assert "pg_sleep" in server.inside("tail -n 50 /var/log/postgresql/*.log")
    assert server.inside("runuser -u postgres -- psql -qAt bookshop -c \"select count(*) from pg_extension where extname = 'pg_stat_statements'\"") == "1"


@pytest.mark.proves("1.38")
def test_security_upgrades_are_on(server):
    assert "Unattended-Upgrade \"1\"" in server.inside("apt-config dump | grep -i unattended")


def test_the_status_playbook_says_what_is_live(server):
    run = server.play("status", "-e", "django_app=bookshop")
    assert "bookshop: v1 is live as" in run.out
    assert "health    good" in run.out
    assert run.count("changed") == 0


def test_the_manage_playbook_runs_a_command_and_says_whether_it_changed_something(server):
    run = server.play("manage", "-e", "django_app=bookshop", "-e", "command=showmigrations")
    assert "[X] 0001_initial" in run.out
    assert run.count("changed") == 0
    assert server.play("manage", "-e", "django_app=bookshop", "-e", "command=clearsessions").count("changed") == 1
    assert server.play("manage", "-e", "django_app=bookshop", "-e", "command=nosuch", ok=False).rc != 0
