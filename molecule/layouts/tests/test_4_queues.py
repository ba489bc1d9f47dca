# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery with queues of their own and a schedule in the database: each task runs, once, through deploys and rollbacks."""
import itertools
import threading
import time

SQL = "runuser -u postgres -- psql -XqAt scheduled -c"


def test_each_task_of_each_queue_runs_once(app, server):
    site, asked, end, began = app("scheduled"), {"usual": 0, "rare": 0}, threading.Event(), time.time()
    site.deploy(1)
    server.inside(f"{SQL} 'delete from jobs_done'")

    def ask(queue):
        while not end.is_set():
            status, _headers, _body = server.get(f"/ask/?queue={queue}&number={asked[queue] + 1}", site.host, timeout=60)
            assert status == 200, f"the page that queues a task answered {status}"
            asked[queue] += 1
            end.wait(0.3)

    askers = [threading.Thread(target=ask, args=(queue,)) for queue in asked]
    for thread in askers:
        thread.start()
    try:
        site.deploy(2)
        site.rollback()
        site.deploy(2)
    finally:
        end.set()
        for thread in askers:
            thread.join()
    for queue, number in asked.items():
        counts = f"{SQL} \"select count(*), count(distinct name) from jobs_done where name like '{queue} %'\""
        server.until(lambda counts=counts, number=number: server.inside(counts) == f"{number}|{number}", 60, f"{number} tasks of {queue}")
    # The schedule says once a second, and there never were two that follow it. A worker runs a backlog without a pause, so what counts is when beat sent.
    sent = [float(one) for one in server.inside(f"journalctl --namespace={site.name} -t {site.name}-beat --since @{began:.0f} --no-pager -o short-unix"
                                                  " | awk '/Sending due task tick/ {print $1}'").splitlines()]
    assert len(sent) > 10
    pauses = [after - before for before, after in itertools.pairwise(sent)]
    assert min(pauses) > 0.4, f"two ticks within {min(pauses)} s"
    assert max(pauses) < 30, f"no tick for {max(pauses)} s"
