# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a health check waits, and what a person is told when it was not long enough."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host, http_health, model, releases
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from ansible_collections.quayside.django.plugins.modules import release_info
from samples import RELEASE, loaded


@pytest.mark.parametrize(("health", "seconds"), [({}, 60), ({"timeout": 90}, 90), ({"timeout": 90, "request_timeout": 5}, 5)])
def test_one_answer_may_take_as_long_as_the_model_says(health, seconds):
    app = loaded(health=health, processes=[{"name": "web", "command": "gunicorn x"}, {"name": "api", "command": "gunicorn y", "route": "/api/"}])
    runtime = Systemd(app, releases.Shelf(app["root"]), apps=[app])
    runtime.place = lambda release, process: {"socket": "/run/x.sock"}
    assert {runtime.check_of(RELEASE, process, "main").timeout for process in app["processes"]} == {float(seconds)}
    assert model.wanted_answer(app, RELEASE, "main")["timeout"] == seconds  # through the edge, in status and in doctor


@pytest.mark.parametrize(("seconds", "named"), [(60.0, True), (59.2, True), (3.0, False)])
def test_a_deploy_that_waited_in_vain_names_the_field(monkeypatch, seconds, named):
    app = loaded()
    runtime = Systemd(app, releases.Shelf(app["root"]), apps=[app])
    runtime.place = lambda release, process: {"socket": "/run/x.sock"}
    runtime.dead = runtime.log = lambda *_words: ""
    monkeypatch.setattr(http_health, "wait", lambda *_checks, **_how: http_health.Result(False, "no whole answer", 1, seconds))
    with pytest.raises(host.PhaseError) as error:
        runtime.ready(RELEASE, 0.0, "main")
    assert ("set health.timeout in the app model" in error.value.reason) is named


@pytest.mark.parametrize("field", ["timeout", "request_timeout"])
def test_no_time_at_all_is_refused(field):
    with pytest.raises(model.ModelError, match=f"health.{field}: -1 is no number of seconds"):
        loaded(health={field: -1})


@pytest.mark.parametrize(("entry", "text"), [
    ({"of": "r1", "from": "r2"}, "a rollback to r1"), ({"of": "r2", "from": "r2"}, "r2 anew"), ({"of": "", "from": "r2"}, ""), ({}, "")])
def test_status_tells_a_rollback_from_a_deploy(entry, text):
    assert release_info.how(entry) == text


@pytest.mark.parametrize(("workers", "asked"), [(1, [(1, False)]), (5, [(1, False), (5, True)]), (500, [(1, False), (64, True)])])
def test_after_the_first_answer_every_worker_is_asked_at_once(monkeypatch, workers, asked):
    app = loaded(processes=[{"name": "web", "command": "gunicorn x", "workers": str(workers)}])
    runtime, order = Systemd(app, releases.Shelf(app["root"]), apps=[app]), []
    runtime.place = lambda release, process: {"socket": "/run/x.sock"}
    runtime.dead = lambda *_words: order.append("dead") or ""

    def wait(checks, together, **_how):
        order.append((len(checks), together))
        return http_health.Result(True, "", 1, 0.1)

    monkeypatch.setattr(http_health, "wait", wait)
    runtime.ready(RELEASE, 0.0, "main")
    assert order == [*asked, "dead"]  # what was killed or restarted meanwhile fails the probe


def test_a_worker_that_fails_is_told_with_the_number_that_was_asked(monkeypatch):
    app = loaded(processes=[{"name": "web", "command": "gunicorn x", "workers": "3"}])
    runtime = Systemd(app, releases.Shelf(app["root"]), apps=[app])
    runtime.place = lambda release, process: {"socket": "/run/x.sock"}
    runtime.dead = runtime.log = lambda *_words: ""
    monkeypatch.setattr(http_health, "wait", lambda checks, **_how: http_health.Result(len(checks) == 1, "status 500", 1, 0.1))
    with pytest.raises(host.PhaseError, match=r"processes\[web\]: asked 3 times at once, as it has 3 workers: status 500"):
        runtime.ready(RELEASE, 0.0, "main")
