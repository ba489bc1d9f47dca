# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are under way or wait in a queue while releases come and go are answered."""
import contextlib
import threading

import pytest

SERVERS = ["daphne", "uvicorn", "hypercorn", "granian"]
SINGLES = ["queue", "boxed"]  # one sync worker, as a unit and as a container
SICK = 10  # a version whose health is bad


class Askers:
    """Ask a slow page, each in a thread of its own; ``statuses`` are the answers.

    ``pause``: seconds from one question to the next, whatever comes of it; ``together``: how many ask again as soon as they are answered.
    """

    def __init__(self, site, timeout: float, pause: float = 0, together: int = 0, page: str = "/slow/"):
        self.site, self.timeout, self.pause, self.together, self.page = site, timeout, pause, together, page
        self.statuses, self.threads, self.end = [], [], threading.Event()

    def ask(self):
        self.statuses.append(self.site.server.get(self.page, self.site.host, timeout=self.timeout)[0])

    def go_on(self):
        while not self.end.is_set():
            self.ask()

    def begin(self, work):
        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def run(self):
        while not self.end.is_set():
            self.begin(self.ask)
            self.end.wait(self.pause)

    def __enter__(self):
        for _ in range(self.together):
            self.begin(self.go_on)
        self.runner = threading.Thread(target=self.run if self.pause else lambda: None)
        self.runner.start()
        return self

    def __exit__(self, *_error):
        self.end.set()
        self.runner.join()
        for thread in self.threads:
            thread.join()


def instances(site) -> set[str]:
    """Return the releases of which a server runs or ends."""
    units = f"systemctl list-units --plain --no-legend '{site.name}-web@*' | sed -E 's/.*@(.*).service.*/\\1/'"
    boxes = f"docker ps --filter label=quayside.app={site.name} --filter label=quayside.process=web --format '{{{{.Label \"quayside.release\"}}}}'"
    return set(site.server.inside(f"{units}; command -v docker >/dev/null && {boxes}; true").split())


@contextlib.contextmanager
def saturated(server):
    """Keep all cores of the server busy with work that goes on without end, at the weight of any other service."""
    server.inside("for core in $(seq $(nproc)); do systemd-run --quiet --collect --unit=busy-$core sh -c 'while :; do :; done'; done")
    try:
        yield
    finally:
        server.inside("systemctl stop 'busy-*'")


@pytest.mark.proves("0.34")
def test_a_queue_at_a_single_worker_is_answered_through_a_deploy_and_a_rollback(app):
    site = app("queue")
    site.deploy(1)
    # A worker that takes 2 s for each, and a new one every 2.2 s beside a burst: the queue lasts far beyond the switch.
    for step in (lambda: site.deploy(2), site.rollback):
        with Askers(site, 120, pause=2.2) as askers:
            burst = [threading.Thread(target=askers.ask) for _ in range(12)]
            for thread in burst:
                thread.start()
            step()
        for thread in burst:
            thread.join()
        assert len(askers.statuses) > 12
        assert set(askers.statuses) == {200}, askers.statuses
    site.server.until(lambda: instances(site) == {site.live()}, 90, "the end of the old instances")


@pytest.mark.parametrize("name", SINGLES)
def test_a_saturated_host_loses_no_request_of_a_single_worker(app, server, name):
    site = app(name)
    site.deploy(1)
    # Eight that ask again as soon as they are answered: the queue of the one worker is never empty.
    with saturated(server), Askers(site, 120, together=8, page="/slow/?seconds=0.3") as askers:
        for step in (lambda: site.deploy(2), site.rollback, lambda: site.deploy(SICK, ok=False), lambda: site.deploy(2)):
            before = len(askers.statuses)
            step()
            site.server.until(lambda before=before: len(askers.statuses) > before + 8, 60, "answers after a step")
        assert site.health()["version"] == 2
    assert set(askers.statuses) == {200}, {status: askers.statuses.count(status) for status in set(askers.statuses)}
    print(f"{name}: 0 of {len(askers.statuses)} lost")


@pytest.mark.proves("0.34")
@pytest.mark.parametrize("name", SERVERS)
def test_a_request_that_waits_is_answered_by_the_instance_that_took_it(app, name):
    site = app(name)
    site.deploy(1)
    with Askers(site, 60, pause=0.5) as askers:
        site.server.until(lambda: len(askers.threads) > 5, 20, "requests that are under way")
        site.deploy(2)
        site.rollback()
    assert len(askers.statuses) > 12
    assert set(askers.statuses) == {200}, askers.statuses
    print(f"{name}: 0 of {len(askers.statuses)} lost")


def test_a_server_that_we_do_not_know_is_waited_for_too(app):
    site = app("waitress")
    site.deploy(1)
    with Askers(site, 60, pause=1, page="/slow/?seconds=3") as askers:
        site.server.until(lambda: len(askers.threads) > 3, 20, "requests that are under way")
        site.deploy(2)
        site.rollback()
    assert set(askers.statuses) == {200}, askers.statuses
