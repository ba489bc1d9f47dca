# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of a release that hold what is not ours: made by the app's user in the sandbox of a build, and given to root when they are whole."""
from __future__ import annotations

from collections.abc import Callable

from ansible_collections.quayside.django.plugins.module_utils import contained, fill_tree, host, sandbox, units

SECONDS = 900  # a source or a frontend of a few GiB


def unit(app: dict, verb: str, release: str, folder: str, writable: list[str], neighbours: list[dict], timeout: int = SECONDS) -> sandbox.Unit:
    """Return the unit of a step of a build, which writes to the folders ``writable`` only."""
    return sandbox.Unit(units.helper(app, verb, release), app["user"], folder, timeout, sandbox.build(app, writable, neighbours))


def export(app: dict, source, release: str, record: dict, code: str, neighbours: list[dict], links: list | None = None, needs: list | None = None) -> list[str]:
    """Write the source of a release into ``code``; return which of the files ``needs`` are not in it.

    ``links``: pairs of a path under ``code`` and the path that a link there leads to.
    """
    contained.folder(code, 0o750, *host.ids(app["user"]))
    request = {"do": "code", "folder": code, "links": links or [], "needs": needs or []}
    step = unit(app, "export", release, code, [code], neighbours)
    return sandbox.program(step, fill_tree, request, lambda stream: source.send(record, stream))["missing"]


def publish(app: dict, release: str, request: dict, readable: list[str], targets: list[str], neighbours: list[dict], feed: Callable | None = None) -> None:
    """Fill the folders ``targets`` by a ``request`` to ``fill_tree``, and give them to root; ``readable`` is what it reads of the release."""
    uid, gid = host.ids(app["user"])
    for target in targets:
        contained.folder(target, 0o750, uid, gid)
    step = unit(app, "publish", release, targets[0], [*readable, *targets], neighbours)
    sandbox.program(step, fill_tree, request, feed)
    for target in targets:
        contained.seal(target, {uid}, app["edge_group"], public=True)
