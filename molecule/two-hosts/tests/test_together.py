# SPDX-License-Identifier: GPL-3.0-or-later
"""One app on two hosts: all go live together, or none does; what runs once runs on the first."""
import shutil
import subprocess

import pytest
import yaml
from lab import BIN, Load, Server

HOST = "bookshop.example.com"


def deploy(pair, version, *words, ok=True):
    """Deploy to both hosts in one run."""
    return pair[0].play("deploy", "--limit", "all", "-e", f"version={version}", *words, ok=ok)


def live(pair):
    """Return version and release that each host serves."""
    answers = [server.json("/healthz/", host=HOST) for server in pair]
    return [(answer["version"], answer["release"]) for answer in answers]


@pytest.fixture(scope="module", autouse=True)
def first(pair):
    """v1 is live on both."""
    deploy(pair, "v1")


def test_both_have_the_same_release(pair):
    assert live(pair)[0] == live(pair)[1]
    assert live(pair)[0][0] == "v1"


@pytest.mark.proves("2.32")
def test_migrations_run_once_and_both_hosts_serve_the_next_version_without_a_failed_request(pair):
    with Load(pair[0], "--host", HOST) as one, Load(pair[1], "--host", HOST) as two:
        run = deploy(pair, "v4")
    assert [version for version, _release in live(pair)] == ["v4", "v4"]
    assert one.report["failed"] == 0, one.report
    assert two.report["failed"] == 0, two.report
    assert run.out.count("Its commands run on the first host") == 1


def test_a_second_run_changes_nothing(pair):
    assert deploy(pair, "v4").count("changed") == 0


def test_the_single_process_runs_on_the_first_host_only(pair):
    running = [server.inside("pgrep -cu bookshop -f 'sleep infinity' || true") for server in pair]
    assert running == ["1", "0"]


def test_when_one_host_fails_none_goes_live(pair):
    before = live(pair)
    pair[1].inside("mount -t tmpfs -o size=8m tmpfs /opt/bookshop/venvs")
    try:
        run = deploy(pair, "v2", ok=False)
    finally:
        pair[1].inside("umount /opt/bookshop/venvs")
    assert run.rc != 0
    assert "8 MiB free" in run.out
    assert live(pair) == before
    assert [server.inside("cat /opt/bookshop/lock") for server in pair] == ["", ""]


def test_when_one_host_fails_after_its_switch_all_switch_back(pair):
    before = live(pair)
    # nginx of the second host answers by itself: its release is healthy at its socket, and not through the edge.
    wrong = f"server {{ listen 80; listen [::]:80; server_name {HOST}; return 503; }}"
    pair[1].inside(f"mv /etc/nginx/sites-enabled/bookshop* /srv/ && echo '{wrong}' > /etc/nginx/sites-enabled/bookshop")
    pair[1].reload_nginx()
    try:
        run = deploy(pair, "v3", ok=False)
    finally:
        pair[1].inside("rm -f /etc/nginx/sites-enabled/bookshop; mv /srv/bookshop* /etc/nginx/sites-enabled/")
        pair[1].reload_nginx()
    assert run.rc != 0
    assert "It failed in the phase verify" in run.out
    pair[1].until(lambda: pair[1].get("/healthz/", host=HOST)[0] == 200, 10, "the edge")
    assert live(pair) == before
    for server in pair:
        now = server.inside("basename $(readlink /opt/bookshop/live)")
        running = server.inside("systemctl list-units --plain --no-legend --state=active 'bookshop-*@*' | awk '{print $1}'")
        assert all(now in unit for unit in running.splitlines()), running
        assert server.inside("cat /opt/bookshop/lock") == ""


def test_a_rollback_brings_both_back(pair):
    run = pair[0].play("rollback", "--limit", "all")
    assert run.rc == 0
    assert live(pair)[0] == live(pair)[1]
    assert live(pair)[0][0] == "v1"


def test_a_key_is_rotated_on_both_at_once(pair, tmp_path, monkeypatch):
    """With the secrets in a vault file, where a rotation can write; the database of the two is nobody's here, and its password not for us."""
    inventory, password = tmp_path / "inventory", tmp_path / "password"
    shutil.copytree(pair[0].inventory, inventory)
    main, vault = (inventory / "group_vars/twohosts" / name for name in ("main.yml", "vault.yml"))
    wanted = yaml.safe_load(main.read_text())
    wanted["django_apps"][0]["secrets"] = "{{ vault_bookshop }}"
    main.write_text(yaml.safe_dump(wanted))
    held = dict(pair[0].local["vault_bookshop"])
    held["DATABASE_URL"] = f"postgresql://bookshop:{held['DATABASE_PASSWORD']}@{pair[0].address}/bookshop"
    vault.write_text(yaml.safe_dump({"vault_bookshop": held}))
    password.write_text("nobody's\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    subprocess.run([BIN / "ansible-vault", "encrypt", vault], check=True, capture_output=True)
    both = Server(inventory, pair[0].name)
    with Load(pair[0], "--host", HOST) as one, Load(pair[1], "--host", HOST) as two:
        both.play("rotate", "--limit", "all", "-e", "secret=all")
    assert one.report["failed"] == 0, one.report
    assert two.report["failed"] == 0, two.report
    now = yaml.safe_load(subprocess.run([BIN / "ansible-vault", "view", vault], check=True, capture_output=True, text=True).stdout)["vault_bookshop"]
    assert now["SECRET_KEY"] != held["SECRET_KEY"]
    assert {name: value for name, value in now.items() if not name.startswith("SECRET_KEY")} == {
        name: value for name, value in held.items() if name != "SECRET_KEY"}
    for server in pair:
        env = server.inside("cat /etc/quayside/bookshop/secrets.env")
        assert f'SECRET_KEY="{now["SECRET_KEY"]}"' in env
        assert held["SECRET_KEY"] in env.partition("SECRET_KEY_FALLBACKS=")[2].splitlines()[0]
    assert live(pair)[0] == live(pair)[1]
    assert both.play("deploy", "--limit", "all", "-e", "version=v1").count("changed") == 0
