# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is anywhere but where docs/secrets.md says: everything is done once with -vvv, and then all that it left behind is read."""
import pathlib
import re
import shlex
import subprocess

import pytest
from lab import ROOT
from story import App, Watcher

# What root or the app's own user reads, as docs/secrets.md has it; as patterns of paths on the server.
PLACES = [
    r"/etc/quayside/{name}/secrets\.env(\.before)?", r"{root}/releases/[^/]+/compose\.yaml", r"{root}/services/secrets/(redis\.conf|superuser)",
    r"/etc/redis/redis-{name}\.conf", r"/var/lib/docker/containers/[^/]+/config\.v2\.json",
    r"/run/containerd/[^/]+/moby/[0-9a-f]+/config\.json",
]


@pytest.fixture(scope="module")
def sentinels(server):
    """Do everything once, loudly; return what was said, which processes were seen, and every value that any secret has had."""
    app = App(server)
    said, values = "", set()
    app.publish("v1", "v2", "broken", "sick", "badmigration")

    def do(playbook, *words, ok=True):
        nonlocal said
        values.update(app.secrets().values())
        run = server.play(playbook, "-e", f"django_app={app.name}", *words, "-vvv", "--diff", ok=ok)
        said += run.out
        values.update(app.secrets().values())

    with Watcher() as watcher:
        do("site")
        do("deploy", "-e", "version=v1", "--check")
        do("deploy", "-e", "version=v1")
        for bad in ("broken", "sick", "badmigration"):
            do("deploy", "-e", f"version={bad}", ok=False)
        do("manage", "-e", "command=check")
        do("rotate", "-e", "secret=all", "--check")
        do("rotate", "-e", "secret=all")
        do("deploy", "-e", "version=v2")
        do("rollback")
        do("status")
        do("secrets")
    if app.compose:
        values.add(server.local["lab_registry_password"])
    values = {part for value in values for part in str(value).split(",") if len(part) > 7}
    return {"app": app, "said": said, "lines": watcher.lines, "values": values}


def hits(text: str, values: set) -> list[str]:
    """Return the beginnings of the values that a text holds, with what stands before."""
    return [f"{text[max(0, text.index(value) - 120):text.index(value)]}{value[:4]}…" for value in values if value in text]


def searched(server, values: set, command: str) -> list[str]:
    """Return what a command of root's prints that reads the values, one a line, from its standard input."""
    done = subprocess.run(server.ssh_argv(f"sudo bash -c {shlex.quote(command)}"), input="\n".join(values) + "\n", check=False, capture_output=True,
                          text=True, errors="replace", timeout=900)
    assert done.returncode in (0, 1, 2, 123), done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_there_are_values_to_look_for(sentinels):
    assert len(sentinels["values"]) >= 7


@pytest.mark.proves("0.22", "3.49")
def test_nothing_is_in_what_ansible_says(sentinels):
    assert hits(sentinels["said"], sentinels["values"]) == []


@pytest.mark.proves("0.25", "1.31")
def test_nothing_is_in_the_arguments_of_a_process(sentinels):
    app, lines = sentinels["app"], sentinels["lines"]
    assert [line for line in lines if "gunicorn" in line], "the watcher sees the processes of the server"
    assert [line for line in lines if "ansible-playbook" in line]
    assert [line for line in lines if "psql" in line and ("runuser" in line or app.compose)]
    assert [hits(line, sentinels["values"]) for line in lines if hits(line, sentinels["values"])] == []


@pytest.mark.proves("0.25")
def test_nothing_is_in_a_log(server, sentinels):
    command = "cat > /run/sentinels; journalctl --namespace='*' -a --no-pager | grep -aF -f /run/sentinels | cut -c1-80; rm /run/sentinels"
    assert searched(server, sentinels["values"], f"umask 077; {command}") == []
    assert searched(server, {"Accepted publickey"}, f"umask 077; {command}"), "the search finds what is there"
    assert searched(server, sentinels["values"], "grep -raslF -f /dev/stdin /var/log") == []


@pytest.mark.proves("0.22")
def test_nobody_reads_one(server, sentinels):
    command = ("runuser -u nobody -- grep -raslF -f - --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev "
               "/etc /home /opt /root /run /srv /tmp /var /usr/local 2>/dev/null")
    assert searched(server, sentinels["values"], command) == []
    assert "/etc/passwd" in searched(server, {"nobody:x:"}, command)


@pytest.mark.proves("0.07")
def test_what_root_reads_is_where_the_docs_say(server, sentinels):
    app = sentinels["app"]
    folders = "/etc /home /opt /root /srv /tmp /run /var/tmp /var/lib/systemd /var/spool /var/www /var/lib/redis /var/lib/postgresql"
    found = searched(server, sentinels["values"], f"grep -raslF -f /dev/stdin {folders} 2>/dev/null")
    allowed = [re.compile(pattern.format(root=app.root, name=app.name)) for pattern in PLACES]
    assert [path for path in found if not any(pattern.fullmatch(path) for pattern in allowed)] == []
    assert found, "at least the app's own file"


@pytest.mark.proves("0.07", "0.25", "3.49")
def test_the_files_that_hold_them_are_not_for_everybody(server, sentinels):
    app = sentinels["app"]
    paths = f"/etc/quayside/{app.name}/secrets.env {app.root}/releases/*/compose.yaml {app.root}/secrets.json"
    modes = server.inside(f"stat -c '%a %n' {paths} 2>/dev/null", check=False)
    assert {line.split()[0] for line in modes.splitlines()} == {"600"}
    assert server.inside("getent group docker | cut -d: -f4", check=False) == ""


@pytest.mark.proves("0.07", "0.25")
def test_nothing_is_in_an_image(server, sentinels):
    app = sentinels["app"]
    if not app.compose:
        pytest.skip("there is no image")
    command = ("umask 077; cat > /run/sentinels; for image in $(docker images -q | sort -u); do docker history --no-trunc $image | "
               "grep -qF -f /run/sentinels && echo history $image; docker save $image | grep -qaF -f /run/sentinels && echo layers $image; done; "
               "rm /run/sentinels")
    assert searched(server, sentinels["values"], command) == []
    assert searched(server, {"gunicorn"}, command), "the search finds what is there"
    config = "docker info --format '{{.DockerRootDir}}'; ls ~root/.docker/config.json ~deploy/.docker/config.json 2>/dev/null"
    assert "config.json" not in server.inside(config, check=False)


@pytest.mark.proves("0.22")
def test_nothing_is_in_the_clear_in_the_project(server, sentinels):
    """The lab's own file of this machine holds the registry's login, and is for root alone."""
    folders = [str(ROOT), str(pathlib.Path("~/.ansible").expanduser())]
    listed = subprocess.run(["grep", "-raslF", "-f", "/dev/stdin", "--exclude-dir=.venv", "--exclude-dir=.git", *folders],
                            input="\n".join(sentinels["values"]) + "\n", check=False, capture_output=True, text=True)
    lab = {server.inventory / "group_vars" / server.environment / "local.yml"}
    others = [path for path in map(pathlib.Path, listed.stdout.splitlines()) if path not in lab and ".lab" not in path.parts and path.name != "local.yml"]
    assert others == []
    vault = server.inventory / "group_vars" / server.environment / "vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.")
