# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deploy: a neighbour cannot hold it, and what a dead run has left stops nothing."""
import json
import threading
import time

import pytest
from neighbours import wait

LOCKS = ("/etc/quayside/victim/lock", "/run/quayside/victim/lock", "/opt/victim/lock")


def lock(box) -> str:
    """Return the path of the victim's lock."""
    return next(path for path in LOCKS if box.inside(f"test -e {path} && echo yes; true") == "yes")


@pytest.mark.on("nb-host")
def test_a_neighbour_does_not_hold_the_deploy_lock(box):
    """Finding 22: flock from another app's sandbox."""
    source = """
import fcntl, time
kept = []
for path in {paths}:
    try:
        kept.append(open(path))
        fcntl.flock(kept[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("holds", path, flush=True)
    except OSError as error:
        print("refused", path, error, flush=True)
print("tried", flush=True)
time.sleep(40)
print("done", flush=True)
"""
    log = box.run(source.format(paths=[lock(box), "/opt/victim/releases", "/opt/victim/live", "/opt/victim"]), how="background")
    box.server.until(lambda: "tried" in box.output(log), 30, "the attack")
    said = box.output(log)
    run = box.deploy("victim", ok=False)
    box.server.until(lambda: "done" in box.output(log), 120, "the end of the attack")
    assert f"holds {lock(box)}" not in said
    assert run.rc == 0, run.out[-2000:]


@pytest.mark.on("nb-nginx", "nb-traefik")
def test_the_lease_of_a_dead_run_does_not_keep_killed_containers_away(box):
    """Finding 28: the lock names a run that has not renewed its lease for two minutes."""
    path = lock(box)
    old = time.time() - 120
    lease = json.dumps({"run": "dead", "who": "nobody", "since": old, "renewed": old, "phase": "switch"})
    box.inside(f"printf '%s\\n' '{lease}' > {path}; touch -d @{old:.0f} {path}")
    try:
        box.inside("docker kill $(docker ps -q --filter label=quayside.app=victim --filter label=quayside.process=web)")
        back = wait(box.well, 60, 1)
    finally:
        box.inside(f": > {path}; systemctl start victim; docker start $(docker ps -aq --filter label=quayside.app=victim --filter label=quayside.release "
                   "--filter status=exited) 2>/dev/null", check=False)
    assert back, "the victim's container did not come back within 60 s"


@pytest.mark.on("nb-nginx")
def test_a_deploy_takes_over_what_a_dead_run_has_left(box):
    """What held: a stale lease is told, and the next run goes on."""
    path, old = lock(box), time.time() - 120
    lease = json.dumps({"run": "dead", "who": "nobody of before", "since": old, "renewed": old, "phase": "build"})
    box.inside(f"printf '%s\\n' '{lease}' > {path}; touch -d @{old:.0f} {path}")
    run = box.deploy("victim")
    assert "nobody of before" in run.out
    assert box.inside(f"cat {path} 2>/dev/null; true") == ""


@pytest.mark.on("nb-host")
def test_two_operators_at_once(box):
    """What held: one of two deploys goes on, the other ends with who holds the lock, and neither leaves anything half done."""
    runs = []
    folder = box.changed("victim", lambda app: app["env"].update(ROUND=str(time.time())))
    threads = [threading.Thread(target=lambda: runs.append(box.deploy("victim", *folder, ok=False))) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bad = [run for run in runs if run.rc]
    assert len(bad) <= 1
    assert all("holds the lock" in run.out for run in bad), bad[0].out[-2000:]
    box.until_well()
    box.deploy("victim")
