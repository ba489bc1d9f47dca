# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as started before the migrations have run, and what the commands of a release may mend."""
from __future__ import annotations

import contextlib
import http.server
import threading
import time

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host, http_health, release_commands, releases
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import RELEASE, loaded

PROCESSES = [{"name": "web", "command": "gunicorn pos.wsgi"}, {"name": "live", "command": "node live.js", "route": "/live/", "probe": False}]
RUNTIMES = pytest.mark.parametrize(("kind", "runtime"), [("systemd", Systemd), ("compose", Compose)])


@pytest.fixture
def server():
    """Return a function that starts a server with a status for all answers and returns its address."""
    made = []

    def serve(status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_words):
                pass

        made.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=made[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{made[-1].server_port}"

    yield serve
    for one in made:
        one.shutdown()
        one.server_close()


def instance(runtime, kind, url, died=""):
    """Return a runtime whose servers answer at ``url``; ``died`` is the log of one that has died."""
    class Here(runtime):
        def place(self, _release, _process):
            return {"url": url}

        def dead(self, _wanted, _since):
            if died:
                raise host.PhaseError("web died at its start", died)
            return ""

    app = loaded(runtime=kind, processes=PROCESSES, health={"path": "/healthz/", "timeout": 5, "json": {"release": "$RELEASE"}})
    app["health"]["timeout"] = 0.3
    return Here(app, releases.Shelf(app["root"]))


@RUNTIMES
@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_any_answer_tells_that_a_server_has_started(server, kind, runtime, status):
    assert instance(runtime, kind, server(status)).booted(RELEASE, time.time()) == ""


@RUNTIMES
def test_a_server_that_lives_and_says_nothing_is_told(kind, runtime):
    assert instance(runtime, kind, "http://127.0.0.1:9").booted(RELEASE, time.time()).startswith("web did not answer within ")


@RUNTIMES
@pytest.mark.parametrize("status", [0, 500])
def test_one_that_died_is_an_error_whatever_another_answers(server, kind, runtime, status):
    url = server(status) if status else "http://127.0.0.1:9"
    with pytest.raises(host.PhaseError) as caught:
        instance(runtime, kind, url, "its log").booted(RELEASE, time.time())
    assert caught.value.log == "its log"


@pytest.mark.parametrize(("mode", "edge", "words"), [
    (0o660, "nginx", ""), (0o666, "nginx", ""), (0o777, "nginx", ""), (0o600, "none", ""),
    (0o600, "nginx", "its socket has the mode 0600"), (0o750, "nginx", "its socket has the mode 0750"),
])
@pytest.mark.parametrize("phase", ["booted", "ready"])
def test_a_socket_that_the_edge_cannot_open_is_an_error_before_the_switch(tmp_path, monkeypatch, phase, mode, edge, words):
    app = loaded(processes=PROCESSES[:1], edge=edge, health={"path": "/healthz/", "timeout": 5})
    runtime = Systemd(app, releases.Shelf(str(tmp_path)), apps=[app])
    monkeypatch.setattr(runtime, "dead", lambda _wanted, _since: "")
    monkeypatch.setattr(runtime, "asked", lambda _release, _checks, _started: http_health.Result(True, "", 1, 0.1))
    path = tmp_path / "releases" / RELEASE / "run" / "web.sock"
    path.parent.mkdir(parents=True)
    path.touch()  # only its mode counts
    path.chmod(mode)
    ask = runtime.booted if phase == "booted" else lambda release, started: runtime.ready(release, started, "v1")
    with pytest.raises(host.PhaseError, match=words) if words else contextlib.nullcontext():
        ask(RELEASE, time.time())


MIGRATE, STATIC = {"manage": "migrate --noinput"}, {"manage": "collectstatic --noinput"}
OWN, SASS = {"manage": "build_index --all"}, {"manage": "compilescss"}


@pytest.mark.parametrize(("commands", "ahead"), [
    ([], []), ([MIGRATE], []), ([MIGRATE, STATIC], [STATIC]), ([STATIC, MIGRATE], [STATIC]), ([MIGRATE, STATIC, OWN], [STATIC]),
    ([MIGRATE, SASS, STATIC], []), ([SASS, STATIC, MIGRATE], []), ([STATIC, SASS, STATIC], [STATIC]),
])
def test_static_files_are_made_ahead_unless_a_command_of_the_apps_own_comes_first(commands, ahead):
    assert release_commands.ahead(commands) == ahead


@pytest.mark.parametrize(("line", "plain", "own"), [
    ("django.db.utils.ProgrammingError: relation \"a\" does not exist", True, True),
    ("django.db.utils.OperationalError: no such table: a", True, True),
    ("psycopg2.errors.UndefinedColumn: column a.b does not exist", True, True),
    ("  sqlite3.OperationalError: no such table: a", True, True),
    ("ModuleNotFoundError: No module named 'x'", False, False),
    ("ImportError: cannot import name 'x'", False, False),
    ("  SyntaxError: invalid syntax", False, False),
    ("FileNotFoundError: [Errno 2] No such file or directory: 'index.bin'", False, True),
    ("ValueError: Missing staticfiles manifest entry for 'a.css'", False, True),
    ("", False, True),
    ("myproject.errors.DatabaseError: x", False, True),
    ("the text of a page about django.db.utils.ProgrammingError: x", False, True),
])
def test_what_the_commands_of_a_release_may_mend(line, plain, own):
    log = f"Traceback (most recent call last):\n  File \"x.py\", line 1\n{line}\n[2026-11-28] [ERROR] Reason: Worker failed to boot."
    assert release_commands.may_mend(log, [MIGRATE, STATIC]) == plain
    assert release_commands.may_mend(log, [MIGRATE, STATIC, OWN]) == own
