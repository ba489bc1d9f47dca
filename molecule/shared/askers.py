# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that take long, while something happens."""
import threading


class Askers:
    """Ask a slow page at a steady pace, each in a thread of its own; ``statuses`` are the answers."""

    def __init__(self, server, host: str, path: str, pause: float, timeout: float):
        self.server, self.host, self.path, self.pause, self.timeout = server, host, path, pause, timeout
        self.statuses: list[int] = []
        self.threads: list[threading.Thread] = []
        self.end = threading.Event()

    def ask(self) -> None:
        self.statuses.append(self.server.get(self.path, self.host, timeout=self.timeout)[0])

    def burst(self, count: int) -> None:
        """Ask so many times at once."""
        for _ in range(count):
            self.threads.append(threading.Thread(target=self.ask))
            self.threads[-1].start()

    def run(self) -> None:
        while not self.end.is_set():
            self.burst(1)
            self.end.wait(self.pause)

    def __enter__(self):
        self.runner = threading.Thread(target=self.run)
        self.runner.start()
        return self

    def __exit__(self, *_error) -> None:
        self.end.set()
        self.runner.join()
        for thread in self.threads:
            thread.join()
