# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery with queues of their own and a schedule in the database: each task runs, once, through deploys and rollbacks."""
import threading

SQL = "runuser -u postgres -- psql -XqAt scheduled -c"


def test_each_task_of_each_queue_runs_once(app, server):
    site, asked, end = app("scheduled"), {"usual": 0, "rare": 0}, threading.Event()
    site.deploy(1)

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
    # The schedule says once a second, and there never were two that follow it.
    gaps = f"{SQL} \"select min(gap), max(gap) from (select extract(epoch from at - lag(at) over (order by at)) gap from jobs_done where name = 'tick') t\""
    shortest, longest = map(float, server.inside(gaps).split("|"))
    assert shortest > 0.4, f"two ticks within {shortest} s"
    assert longest < 30, f"no tick for {longest} s"
