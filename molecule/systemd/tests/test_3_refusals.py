# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input is refused before anything changes, with the item, the reason and what to do."""
import json
import subprocess

import pytest
from lab import ROOT

pytestmark = pytest.mark.once
STATE = ("readlink /opt/bookshop/live; ls /opt/bookshop/releases /opt/bookshop/venvs; cat /opt/bookshop/lock; md5sum /etc/systemd/system/bookshop*; "
         "systemctl list-units --plain --no-legend 'bookshop*' | awk '{print $1, $4}'")


@pytest.fixture(autouse=True)
def untouched(server):
    """The server is as before after each refusal."""
    server.until(lambda: "deactivating" not in server.inside("systemctl list-units --all --plain --no-legend 'bookshop*'"), 60, "the end of old instances")
    before = server.inside(STATE)
    yield
    assert server.inside(STATE) == before


def refused(run, *words):
    """Assert that a run was refused, and said so with these words."""
    assert run.rc != 0
    flat = " ".join(run.out.split())
    for word in words:
        assert word in flat, run.out[-3000:]


def test_an_unknown_app(server):
    refused(server.play("deploy", "-e", "django_app=bookshp", ok=False), "no app is called 'bookshp'", "did you mean bookshop?")


def test_which_of_two_apps(server):
    refused(server.play("deploy", ok=False), "which app? There are bookshop, annex", "-e django_app=bookshop")


def test_an_unknown_version(server):
    refused(server.deploy("v77", ok=False), "has no branch, tag or commit 'v77'", "there are", "v4")
    refused(server.deploy("badmigraton", ok=False), "did you mean badmigration?")


def test_an_option_as_a_version(server):
    refused(server.deploy("--upload-pack=touch", ok=False), "is no name of a branch")


def test_two_environments_at_once(server):
    run = server.play("deploy", "-i", str(ROOT / "inventories/demo"), "-e", "django_app=bookshop", ok=False)
    refused(run, "two environments at once", "systemd")


MISTAKES = [
    ({"domians": ["a.example.com"]}, ["domians is no field of the model", "did you mean domains?"]),
    ({"source": {"repo": "git://x/y", "verison": "v1"}}, ["source.verison is no field", "source.version"]),
    ({"runtime": "kubernetes"}, ["runtime", "kubernetes"]),
    ({"secrets": {"DATABASE_PASSWORD": "long enough"}}, ["SECRET_KEY is missing", "vault"]),
    ({"secrets": {"SECRET_KEY": "short", "DATABASE_PASSWORD": "long enough"}}, ["SECRET_KEY is shorter than 8"]),
    ({"env": {"MOTD": "a bell\a"}}, ["MOTD holds a control character"]),
    ({"secrets": {"SECRET_KEY": "0123456789\n", "DATABASE_PASSWORD": "long enough"}}, ["SECRET_KEY holds a line break"]),
    ({"domains": ["https://a.example.com"]}, ["is neither a name nor an address"]),
]


def sound(name):
    """Return an app without a mistake."""
    return {"name": name, "domains": [f"{name}.example.com"], "settings": "config.settings", "source": {"repo": "git://x/y"},
            "secrets": {"SECRET_KEY": "0123456789", "DATABASE_PASSWORD": "0123456789"}}


def test_mistakes_in_the_model_are_told_all_at_once_each_with_its_app(server):
    apps = [dict(sound(f"app{number}"), **change) for number, (change, _words) in enumerate(MISTAKES)]
    run = server.play("deploy", "-e", json.dumps({"django_apps": apps}), "-e", "django_app=app0", ok=False)
    refused(run, "nothing was changed")
    for number, (_change, words) in enumerate(MISTAKES):
        told = " ".join(line for line in run.out.splitlines() if f"- app app{number}: " in line)
        for word in words:
            assert word in told, run.out[-5000:]


def test_debug_in_an_environment_that_serves(server):
    app = dict(sound("bookshop"), env={"DEBUG": True})
    refused(server.play("deploy", "-e", json.dumps({"django_apps": [app]}), ok=False), "nothing was changed", "DEBUG is on in systemd")


@pytest.mark.proves("0.22")
def test_a_secret_that_is_not_defined(server):
    refused(server.deploy("v2", "-e", '{"vault_bookshop": "{{ vault_nosuch }}"}', ok=False), "vault_nosuch is not defined", "vault_bookshop holds {{")


@pytest.mark.proves("1.46")
def test_no_room_for_a_release(server):
    run = server.play("deploy", "-e", "version=v2", "-e", "@" + server.changed_app(lambda app: app.update(disk=99999999)), ok=False)
    refused(run, "MiB free, and a release needs 99999999", "keep")


def test_a_disk_that_is_full(server):
    server.inside("mount -t tmpfs -o size=8m,mode=711 tmpfs /opt/bookshop/venvs")
    try:
        refused(server.deploy("v2", ok=False), "/opt/bookshop/venvs has 8 MiB free")
    finally:
        server.inside("umount /opt/bookshop/venvs")


@pytest.mark.proves("2.38")
def test_a_python_that_does_not_fit(server):
    server.inside("printf '#!/bin/sh\\necho 3.8.1\\n' > /usr/local/bin/python-old.sh; chmod 755 /usr/local/bin/python-old.sh")
    path = server.changed_app(lambda app: app.update(python={"interpreter": "/usr/local/bin/python-old.sh"}))
    run = server.play("deploy", "-e", "version=v2", "-e", f"@{path}", ok=False)
    refused(run, "requires Python >=3.11", "/usr/local/bin/python-old.sh is 3.8.1", "python.interpreter")


# What the host has and the collection did not make


THEIRS = [
    ("printf '[Service]\\nExecStart=/bin/sleep 9\\n' > /etc/systemd/system/till.service", "rm /etc/systemd/system/till.service",
     "/etc/systemd/system/till.service is there and not of this app's making: give the app another name (name: my-till)"),
    ("useradd --system --shell /bin/bash till", "userdel till", "user: till is an account that people log in by (shell /bin/bash)"),
    ("echo /var/log/till.log > /etc/logrotate.d/till", "rm /etc/logrotate.d/till", "/etc/logrotate.d/till is there and not of this app's making"),
    ("ln -s /etc /opt/till", "rm /opt/till", "root: /opt/till is a link"),
    ("runuser -u postgres -- psql -qc 'CREATE ROLE till CREATEROLE'", "runuser -u postgres -- psql -qc 'DROP ROLE till'",
     "database.user: the role till has rights beyond a database of its own"),
]


@pytest.mark.parametrize("mode", [(), ("--check",)], ids=["site", "check"])
def test_names_that_the_host_has_for_something_else(server, mode):
    for plant, _remove, _words in THEIRS:
        server.inside(plant)
    try:
        path = server.changed_app(lambda app: app.update(name="till"))
        refused(server.play("site", "-e", f"@{path}", *mode, ok=False), "nothing was changed, because", *(words for _plant, _remove, words in THEIRS))
    finally:
        for _plant, remove, _words in THEIRS:
            server.inside(remove, check=False)


def test_names_of_the_system(server):
    names = ["ssh", "nginx", "docker", "root", "postgres", "backup"]
    run = server.play("site", "-e", json.dumps({"django_apps": [sound(name) for name in names]}), ok=False)
    refused(run, "nothing was changed, because", *(f"{name} is" for name in names))


def test_what_an_app_prints_steers_neither_the_terminal_nor_a_ci_runner(server):
    said = ["chr(27)+'[2J'", "'::add-mask::x'", "'  ##[error]x'", "'PLAY RECAP '+'*'*30", "chr(8238)+'x'", "'{{ lookup(1) }}'", "'a'+chr(9)+'b'"]
    command = 'shell -c "print(' + ", ".join(said) + ', sep=chr(10))"'
    for run in (server.play("manage", "-e", "django_app=bookshop", "-e", f"command={command}"),
                server.play("manage", "-e", "django_app=bookshop", "-e", f"command={command[:-1]}; 1/0\"", ok=False)):
        assert "\x1b" not in run.out
        assert "\u202e" not in run.out
        assert "##[" not in run.out
        assert [line for line in run.out.splitlines() if line.strip().startswith("::")] == []
        # Its name stands in the command, too, which a failure repeats; as a line of its own it is Ansible's alone.
        assert len([line for line in run.out.splitlines() if line.strip().startswith("PLAY RECAP")]) == 1
        assert "| PLAY RECAP" in run.out
        assert "\\x1b[2J" in run.out
        assert "{{ lookup(1) }}" in run.out


def test_the_machine_itself(server):
    inventory = ROOT / ".cache" / "localhost" / "hosts.yml"
    inventory.parent.mkdir(exist_ok=True)
    inventory.write_text("all: {children: {local: {hosts: {localhost: {}}, vars: {django_environment: local}}}}\n")
    done = subprocess.run([str(ROOT / ".venv/bin/ansible-playbook"), str(ROOT / "playbooks/site.yml"), "-i", str(inventory)], check=False,
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode
    assert "this is the machine that runs Ansible" in done.stdout + done.stderr
