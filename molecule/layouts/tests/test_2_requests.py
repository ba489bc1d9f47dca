# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are under way or wait in a queue while releases come and go are answered."""
import threading

import pytest


class Askers:
    """Ask a slow page at a steady pace, each in a thread of its own; ``statuses`` are the answers."""

    def __init__(self, site, pause: float, timeout: float):
        self.site, self.pause, self.timeout = site, pause, timeout
        self.statuses, self.threads, self.end = [], [], threading.Event()

    def ask(self):
        self.statuses.append(self.site.server.get("/slow/", self.site.host, timeout=self.timeout)[0])

    def run(self):
        while not self.end.is_set():
            self.threads.append(threading.Thread(target=self.ask))
            self.threads[-1].start()
            self.end.wait(self.pause)

    def __enter__(self):
        self.runner = threading.Thread(target=self.run)
        self.runner.start()
        return self

    def __exit__(self, *_error):
        self.end.set()
        self.runner.join()
        for thread in self.threads:
            thread.join()


@pytest.mark.proves("0.34")
def test_a_queue_at_a_single_worker_is_answered_through_a_deploy_and_a_rollback(app):
    site = app("queue")
    site.deploy(1)
    # A worker that takes 2 s for each, and a new one every 2.2 s beside a burst: the queue lasts far beyond the switch.
    for step in (lambda: site.deploy(2), site.rollback):
        with Askers(site, 2.2, 120) as askers:
            burst = [threading.Thread(target=askers.ask) for _ in range(12)]
            for thread in burst:
                thread.start()
            step()
        for thread in burst:
            thread.join()
        assert len(askers.statuses) > 12
        assert set(askers.statuses) == {200}, askers.statuses
    live = site.live()
    site.server.until(lambda: site.server.inside("systemctl list-units --plain --no-legend 'queue-web@*' | awk '{print $1}'") == f"queue-web@{live}.service",
                      90, "the end of the old instances")


@pytest.mark.proves("0.34")
def test_a_server_without_a_graceful_end_cuts_nothing_off(app):
    site = app("daphne")
    site.deploy(1)
    with Askers(site, 0.5, 60) as askers:
        site.server.until(lambda: len(askers.threads) > 5, 20, "requests that are under way")
        site.deploy(2)
        site.rollback()
    assert len(askers.statuses) > 12
    assert set(askers.statuses) == {200}, askers.statuses
