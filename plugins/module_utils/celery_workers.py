# SPDX-License-Identifier: GPL-3.0-or-later
"""The celery workers of an instance, seen from the host: are they there, let them take no more, let them take again."""
from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import host, processes
from ansible_collections.quayside.django.plugins.module_utils.celery_control import MARK


def nodes(app: dict, release: str) -> list[str]:
    """Return the names, without their hosts, of the celery workers of a release."""
    return [processes.node(app, process).replace("$COPY", str(copy)).replace("$RELEASE", release).removesuffix("@%h")
            for process in app["processes"] if process["kind"] == "celery-worker" for copy in processes.copies(process)]


class Control:
    """A running celery_control.py in the venv of a release; it imports the app while other things start. ``end`` stops what runs it on the host."""

    def __init__(self, app: dict, argv: list[str], end: Callable[[], None]):
        self.end = end
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=host.LOCALE)
        self.name = app["name"]

    def ask(self, order: dict, timeout: float = 30) -> dict:
        """Send an order and return its answer; raise PhaseError when none comes."""
        self.process.stdin.write((json.dumps(order) + "\n").encode())
        self.process.stdin.flush()
        deadline, received = time.monotonic() + timeout, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(deadline - time.monotonic()):
                    break
                chunk = os.read(self.process.stdout.fileno(), 65536)
                received += chunk
                for line in received.decode(errors="replace").split("\n")[:-1]:
                    if line.startswith(MARK):
                        return json.loads(line[len(MARK):])
                if not chunk:
                    break
        raise host.PhaseError(f"the celery app of {self.name} could not be asked", self.log())

    def log(self) -> str:
        """End the process and return what it wrote to stderr."""
        self.end()
        with contextlib.suppress(OSError):
            self.process.kill()
        return self.process.communicate()[1].decode(errors="replace")

    def close(self) -> None:
        """Let the process end by itself."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
            return
        self.end()
        self.process.kill()
        self.process.wait()
