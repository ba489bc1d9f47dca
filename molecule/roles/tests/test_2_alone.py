# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role alone, in an order in which none stands on another: what it brings, and that a second run changes nothing."""
import http.client
import socket
import ssl

import pytest
from conftest import SERVERS, enters, play

PSQL = "PGPASSWORD='a b'\\''c\"d\\e%f' psql -h 127.0.0.1 -U keeper -qAt"


def twice(role):
    """Run a role for the first and the second time; return the second run."""
    play(role).good(changed=True)
    return play(role)


def idle(run, role):
    """Assert that a second run changed nothing, and that check mode agrees."""
    run.good(changed=False)
    play(role, "--check", "--diff").good(changed=False)


@pytest.fixture(scope="module")
def postgresql():
    return twice("postgresql")


@pytest.fixture(scope="module")
def redis():
    return twice("redis")


@pytest.fixture(scope="module")
def nginx():
    return twice("nginx")


@pytest.fixture(scope="module")
def app():
    return twice("app")


@pytest.fixture(scope="module")
def base():
    return twice("base")


def test_a_second_run_of_postgresql_changes_nothing(postgresql):
    idle(postgresql, "postgresql")


@pytest.mark.usefixtures("postgresql")
class TestPostgresql:
    def test_an_app_uses_its_database_by_its_password(self, server):
        assert server.inside(f"{PSQL} ledger -c 'create table if not exists t (a citext); select count(*) from t'") == "0"

    def test_it_uses_no_other(self, server):
        assert "no pg_hba.conf entry" in server.inside(f"{PSQL} other -c 'select 1' 2>&1 || true")
        assert "password authentication failed" in server.inside("PGPASSWORD=wrong psql -h 127.0.0.1 -U keeper ledger -c 'select 1' 2>&1 || true")

    def test_its_role_may_nothing_more(self, server):
        asked = "select rolsuper, rolcreatedb, rolcreaterole, left(rolpassword, 13) from pg_authid where rolname = 'keeper'"
        assert server.inside(f'runuser -u postgres -- psql -qAtc "{asked}"') == "f|f|f|SCRAM-SHA-256"

    def test_only_this_host_reaches_it(self, server):
        addresses = server.inside("ss -Hltn 'sport = :5432' | awk '{print $4}'").splitlines()
        assert set(addresses) <= {"127.0.0.1:5432", "[::1]:5432"}
        assert addresses

    def test_slow_statements_are_logged_and_counted(self, server):
        server.inside(f"{PSQL} ledger -c 'select pg_sleep(0.6)'")
        assert "pg_sleep(0.6)" in server.inside("tail -n 20 /var/log/postgresql/*.log")
        assert server.inside("runuser -u postgres -- psql -qAtc 'select count(*) > 0 from pg_stat_statements' ledger") == "t"

    def test_no_password_is_in_its_log(self, server):
        assert server.inside("grep -l -e of-a-stranger -e 'd.e%f' /var/log/postgresql/*.log || true") == ""


@pytest.mark.usefixtures("postgresql")
def test_a_new_password_in_the_inventory_is_one_in_postgresql():
    play("postgresql", "-e", "keeper_password=a-new-password").good(changed=True)
    for server in SERVERS:
        assert server.inside("PGPASSWORD=a-new-password psql -h 127.0.0.1 -U keeper -qAt ledger -c 'select 1'") == "1"


def test_a_second_run_of_redis_changes_nothing(redis):
    idle(redis, "redis")


@pytest.mark.usefixtures("redis")
class TestRedis:
    def test_the_group_reaches_the_socket(self, server):
        assert server.inside("runuser -u www-data -- redis-cli -s /run/redis-jobs/redis.sock ping") == "PONG"

    def test_nobody_else_does(self, server):
        assert "ermission denied" in server.inside("runuser -u nobody -- redis-cli -s /run/redis-jobs/redis.sock ping 2>&1 || true")

    def test_the_port_asks_for_a_password(self, server):
        assert "NOAUTH" in server.inside("redis-cli -p 6379 ping 2>&1 || true")
        assert server.inside("REDISCLI_AUTH=pass-of-open redis-cli -p 6379 ping") == "PONG"

    def test_only_this_host_reaches_it(self, server):
        assert set(server.inside("ss -Hltn 'sport = :6379' | awk '{print $4}'").splitlines()) <= {"127.0.0.1:6379", "[::1]:6379"}

    def test_its_settings_are_the_declared_ones(self, server):
        asked = "redis-cli -s /run/redis-jobs/redis.sock config get {0} | tail -1"
        found = {name: server.inside(asked.format(name)) for name in ("maxmemory", "maxmemory-policy", "appendonly", "databases")}
        assert found == {"maxmemory": str(32 * 1024 * 1024), "maxmemory-policy": "volatile-lru", "appendonly": "yes", "databases": "4"}

    def test_what_it_keeps_outlives_a_restart(self, server):
        asked = "redis-cli -s /run/redis-jobs/redis.sock"
        server.inside(f"{asked} set kept yes; sleep 1.2; systemctl restart redis-server@jobs")
        assert server.inside(f"{asked} get kept") == "yes"

    def test_debians_own_instance_is_off(self, server):
        assert "active" not in server.inside("systemctl is-active redis-server.service || true").split()


def test_a_second_run_of_nginx_changes_nothing(nginx):
    idle(nginx, "nginx")


@pytest.mark.usefixtures("nginx")
class TestNginx:
    def test_a_site_without_a_release_says_so(self, server):
        status, headers, _body = server.get("/", host="plain.example.com")
        assert status == 503
        assert headers["Server"] == "nginx"

    def test_other_names_of_the_site_lead_to_the_canonical(self, server):
        connection = http.client.HTTPConnection(server.address, timeout=5)
        connection.request("GET", "/x?y", headers={"Host": "old.example.com"})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Location")) in [(301, "http://plain.example.com/x?y"), (308, "http://plain.example.com/x?y")]

    def test_unknown_names_get_no_answer(self, server):
        assert server.get("/", host="unknown.example.com")[0] == 0

    def test_tls_is_there_for_its_name_only(self, server):
        context = ssl._create_unverified_context()
        with socket.create_connection((server.address, 443), 5) as plain, context.wrap_socket(plain, server_hostname="sealed.example.com") as sealed:
            assert sealed.version() in ("TLSv1.2", "TLSv1.3")
        with pytest.raises(ssl.SSLError), socket.create_connection((server.address, 443), 5) as plain:
            context.wrap_socket(plain, server_hostname="unknown.example.com")


@pytest.mark.usefixtures("nginx")
def test_a_configuration_that_nginx_refuses_changes_nothing():
    asked = "find /etc/nginx -type f | sort | xargs md5sum; systemctl show -p MainPID nginx"
    before = {server: server.inside(asked) for server in SERVERS}
    outcome = play("nginx", "-e", "body=20q")
    assert outcome.rc != 0
    assert "20q" in outcome.flat
    assert {server: server.inside(asked) for server in SERVERS} == before


def test_a_second_run_of_app_changes_nothing(app):
    idle(app, "app")


@pytest.mark.usefixtures("app")
class TestApp:
    def test_its_user_and_folders(self, server):
        assert server.inside("stat -c '%U:%G %a' /opt/shop") == "root:root 711"
        assert server.inside("stat -c '%U:%G %a' /opt/shop/shared/media") == "shop:www-data 2750"
        assert server.inside("getent passwd shop").endswith("/usr/sbin/nologin")

    def test_its_units_are_sound_and_nothing_runs(self, server):
        server.inside("systemd-analyze verify /etc/systemd/system/shop.service 'shop-web@.service' 2>&1 | grep -i -E 'unknown|invalid' && exit 1 || true")
        assert server.inside("systemctl is-enabled shop.service") == "enabled"
        assert server.inside("systemctl list-units --plain --no-legend --state=active,failed 'shop-*@*'") == ""

    def test_its_packages_are_there(self, server):
        server.inside("dpkg-query -W libpq5")


def test_a_second_run_of_base_changes_nothing(base):
    idle(base, "base")


@pytest.mark.usefixtures("base")
class TestBase:
    def test_the_way_in_is_the_declared_one(self, server):
        assert enters(server, 7822)
        assert not enters(server, 7822, user="root")
        assert not enters(server, 22, user="root")

    def test_the_firewall_is_on(self, server):
        shown = server.inside("ufw status verbose")
        assert "Status: active" in shown
        assert "deny (incoming)" in shown
        assert "7822/tcp" in shown

    def test_its_services_run(self, server):
        for unit in ("fail2ban", "unattended-upgrades", "logrotate.timer", "apt-daily-upgrade.timer"):
            assert server.inside(f"systemctl is-active {unit}; systemctl is-enabled {unit}").split() == ["active", "enabled"], unit

    def test_its_files_are_taken_by_their_programs(self, server):
        server.inside("sshd -t; visudo -c; fail2ban-client -t; logrotate --debug /etc/logrotate.conf")
        assert "quayside" in server.inside("systemd-analyze cat-config systemd/journald.conf")
        assert server.inside("sshd -T | grep -i -E '^(passwordauthentication|permitrootlogin)'").split() == [
            "permitrootlogin", "no", "passwordauthentication", "no"]
