# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside an app's venv, not in Ansible's Python: talks to the app's celery workers over the broker.

Importing the app takes as long as a worker takes to start, so this is started beside the new worker and then told what to do.
Usage: ``celery_control.py APP``, then a JSON object a line on stdin; after each a line on stdout that begins with MARK, with JSON:
  {"do": "ping", "nodes": [...]}            -> {"nodes": those that answered}
  {"do": "quiet", "nodes": [...]}           -> {"queues": {node: [queue names that it no longer consumes]}, "revoked": [task ids]}
  {"do": "resume", "queues": {node: [...]}} -> {"nodes": those that consume again}
  {"do": "revoke", "nodes": [...], "tasks": [...]} -> {"nodes": those that were told}
A node is named without its host: ``shop-worker-1.20261121072900-0123456``.
"""
import json
import sys

MARK = "\x1equayside "
WAIT = 1.0  # seconds for answers; the broker is on the same host or network
KNOCK = 0.2  # seconds for the answer to a ping of a worker that may still be starting


def full(app, nodes):
    """Return node -> full name of those of ``nodes`` that answer a ping."""
    answers = app.control.inspect(timeout=KNOCK, limit=len(nodes), pattern=pattern(nodes), matcher="pcre").ping() or {}
    return {name.split("@", 1)[0]: name for name in answers if name.split("@", 1)[0] in nodes}


def pattern(nodes):
    """Return a regular expression for the names of ``nodes``."""
    import re

    return "^(" + "|".join(re.escape(node) for node in nodes) + ")@"


def quiet(app, nodes):
    """Tell workers to take no more tasks; they finish what they have. Return what they consumed, and which tasks are revoked."""
    names = sorted(full(app, nodes).values())
    if not names:
        return {"queues": {}, "revoked": []}
    inspect = app.control.inspect(destination=names, timeout=WAIT, limit=len(names))
    queues = {name: [queue["name"] for queue in found] for name, found in (inspect.active_queues() or {}).items()}
    for name, found in queues.items():
        for queue in found:
            app.control.cancel_consumer(queue, destination=[name], reply=True, timeout=WAIT, limit=1)
    revoked = {task for found in (inspect.revoked() or {}).values() for task in found}
    return {"queues": queues, "revoked": sorted(revoked)}


def resume(app, queues):
    """Tell workers to take tasks again."""
    for name, found in queues.items():
        for queue in found:
            app.control.add_consumer(queue, destination=[name], reply=True, timeout=WAIT, limit=1)
    return sorted(queues)


def main():
    from celery.app.utils import find_app

    app = find_app(sys.argv[1])
    for line in sys.stdin:
        if not line.strip():
            break
        order = json.loads(line)
        try:
            if order["do"] == "ping":
                answer = {"nodes": sorted(full(app, order["nodes"]))}
            elif order["do"] == "quiet":
                answer = quiet(app, order["nodes"])
            elif order["do"] == "revoke":
                names = sorted(full(app, order["nodes"]).values())
                app.control.revoke(order["tasks"], destination=names)
                answer = {"nodes": names}
            else:
                answer = {"nodes": resume(app, order["queues"])}
        except Exception as error:  # the broker may be away: that is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
