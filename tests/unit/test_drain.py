# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait before a server ends, run by a real shell against what `ss` prints."""
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils import drain, processes
from ansible_collections.quayside.django.plugins.module_utils.releases import Shelf
from ansible_collections.quayside.django.plugins.module_utils.runtime import OLD_EDGE
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from samples import RELEASE, loaded

SOCKET = "/opt/pos/releases/1/run/web.sock"
QUEUED, EMPTY = f"u_str LISTEN 2      2048 {SOCKET} 3031369 * 0", f"u_str LISTEN 0      2048 {SOCKET} 3031369 * 0"
OPEN = f"u_str ESTAB  0      0      {SOCKET} 3031373 * 3031370"
OTHER = "u_str LISTEN 9      2048 /opt/pos/releases/2/run/web.sock 3031369 * 0"
TCP_QUEUED, TCP_EMPTY, TCP_OPEN = ("LISTEN 1      5      127.0.0.1:9999   0.0.0.0:*", "LISTEN 0      5      127.0.0.1:9999   0.0.0.0:*",
                                   "ESTAB  0      0      127.0.0.1:9999 127.0.0.1:60676")


def process(command="gunicorn pos.wsgi", **fields):
    return loaded(processes=[{"name": "web", "command": command, "drain": 1, **fields}])["processes"][0]


def waited(tmp_path, looks, made):
    """Return how many looks a wait took; `ss` prints ``looks`` one after the other, and the last for ever."""
    for number, lines in enumerate(looks):
        (tmp_path / str(number)).write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "ss").write_text(f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
n=$(($(wc -l < {tmp_path}/asked) - 1)); [ -f {tmp_path}/$n ] || n={len(looks) - 1}
cat {tmp_path}/$n
""")
    (tmp_path / "ss").chmod(0o755)
    subprocess.run(["/bin/sh", "-euc", made], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=30)
    return len((tmp_path / "asked").read_text().splitlines())


@pytest.mark.parametrize(("command", "looks", "expected"), [
    ("gunicorn pos.wsgi", [[EMPTY]], 2), ("gunicorn pos.wsgi", [[]], 2), ("gunicorn pos.wsgi", [[OTHER, EMPTY]], 2),
    ("gunicorn pos.wsgi", [[QUEUED], [QUEUED], [EMPTY]], 4), ("gunicorn pos.wsgi", [[EMPTY], [QUEUED], [EMPTY]], 4),
    ("gunicorn pos.wsgi", [[EMPTY, OPEN]], 2), ("cd x && gunicorn pos.wsgi", [[EMPTY, OPEN]], 2), ("uvicorn pos.asgi", [[EMPTY, OPEN], [EMPTY]], 3),
    ("daphne pos.asgi:application", [[EMPTY, OPEN], [EMPTY, OPEN], [EMPTY]], 4), ("daphne pos.asgi:application", [[OTHER.replace("LISTEN", "ESTAB")]], 2),
    ("waitress-serve --unix-socket=$SOCKET pos.wsgi:application", [[EMPTY, OPEN], [EMPTY]], 3),
])
def test_a_server_ends_when_nobody_waits_for_it(tmp_path, command, looks, expected):
    assert waited(tmp_path, looks, drain.script(process(command), SOCKET, "")) == expected


@pytest.mark.parametrize(("looks", "expected"), [([[TCP_QUEUED], [TCP_EMPTY]], 3), ([[TCP_EMPTY, TCP_OPEN], [TCP_EMPTY]], 3)])
def test_the_same_by_a_port(tmp_path, looks, expected):
    assert waited(tmp_path, looks, drain.script(process("node server.js $PORT", port=9999), "", "$(echo 9999)")) == expected
    assert "sport = :9999" in (tmp_path / "asked").read_text()


def test_the_wait_has_an_end(tmp_path):
    began = time.monotonic()
    assert waited(tmp_path, [[QUEUED]], drain.script(process(), SOCKET, "")) == 10
    assert time.monotonic() - began < 5


def test_a_unit_waits_with_the_same_lines():
    (line,) = drain.before_stop(process(), "/opt/pos/releases/%i")
    assert line.startswith("ExecStop=+/bin/sh -c ")
    # systemd's own words: a pair of dollars is one, and quotes are taken as a shell does.
    (_shell, _flag, text) = shlex.split(line.removeprefix("ExecStop=+").replace("$$", "$"))
    assert text == drain.script(process(), "/opt/pos/releases/%i/run/web.sock", "")


def test_what_serves_nothing_ends_at_once():
    app = loaded(processes=[{"name": "web", "command": "gunicorn x"}, {"name": "worker", "command": "celery -A pos worker"}])
    assert [bool(drain.before_stop(one, "/x")) for one in app["processes"]] == [True, False]


@pytest.mark.parametrize("edge", ["nginx", "nginx_container", "traefik", "none"])
@pytest.mark.parametrize("command", [
    "gunicorn x", "uvicorn x:app", "daphne x:app", "hypercorn x:app", "granian x:app", "uwsgi --http :8000", "waitress-serve x:app", "node server.js",
    "/start"])
def test_a_container_is_asked_for_its_connections_before_it_is_told_to_end_behind_every_edge(edge, command, monkeypatch):
    """In its own network namespace: what the edge in a container has open there, no socket of the host shows."""
    app = loaded(runtime="compose", edge=edge, processes=[{"name": "web", "command": command, "drain": 1, "port": 8000}, {"name": "bot", "command": "bot"}])
    runtime, did = Compose(app, Shelf("/opt/pos")), []
    monkeypatch.setattr(runtime, "known", lambda name: {"State": {"Pid": 7 if "web" in name else 8}})
    monkeypatch.setattr(runtime, "background", lambda verb, release, steps, wait, network: did.append((steps, network)))
    runtime.stop(RELEASE, wait=False)
    (web, namespace), (bot, none) = did
    assert (namespace, none) == ("/proc/7/ns/net", "")
    assert web[0] == bot[0] == OLD_EDGE  # no old worker of nginx sends anything more
    assert web[1] == drain.script(runtime.wanted("servers")[0], f"/opt/pos/releases/{RELEASE}/run/web.sock", "8000")
    assert [line.split(" ")[1] for line in web[2:]] == [line.split(" ")[1] for line in bot[1:]] == ["update", "stop", "rm"]
    assert ("ESTAB" in web[1]) == (command != "gunicorn x")  # it ends what it has taken by itself


def test_the_table_of_servers_has_each_that_is_known():
    rows = [line.strip("|").split("|") for line in (Path(__file__).parents[2] / "docs/deploys.md").read_text().splitlines() if line.startswith("| ")]
    # Other tables of the page have other numbers of columns.
    needs = {name.strip(): before for names, _flags, before in (row for row in rows if len(row) == 3) for name in names.split(",")}
    assert {name for name in processes.LISTEN if "no connection is open" in needs[name]} == set(processes.LISTEN) - drain.GRACEFUL
    assert all("queue is empty" in needs[name] for name in drain.GRACEFUL)
