# SPDX-License-Identifier: GPL-3.0-or-later
"""Something is planted at every path that the hostile app can write, as far as a walk with its rights and a trace of root's own calls show; then every
playbook meets it.

No path stands here: what somebody adds later to an app's folders is attacked too. QUAYSIDE_PLANTS names the rounds (link-top,…), for a shorter run; with
QUAYSIDE_TRACED=1 the trace of the run before is taken, where there is one.
"""
import collections
import json
import os
import re
import shlex
import time

import pytest
from hostile import APP, CANARY_FILE, CANARY_FOLDER, HOME, PROGRAMS

ROUNDS = [f"{kind}-{depth}" for kind in ("link", "fifo", "mixed") for depth in ("top", "deep")]
ROUNDS += [f"{kind}-deep" for kind in ("socket", "device", "hard", "sparse", "unreadable", "immutable")]
ROUNDS = os.environ.get("QUAYSIDE_PLANTS", " ".join(ROUNDS)).split()
BROKEN = {"config/settings.py": "raise SystemExit('this release is broken')\n"}
TRACE = "/run/hostile-trace"
FAIL = {"failing deploy", "move-database"}  # also where nothing is planted; this inventory has no other database


def tour(target) -> list:
    """Return (what, how it ends, the playbook's words) of all playbooks, in the order of a day."""
    one = ["-e", f"django_app={APP}"]
    fresh = target.push("tour", {"assets/tour.txt": f"{time.time()}"})
    broken = target.push("tour-broken", BROKEN)
    site = ["-e", "exposure_check=false"]
    target.make_vault()
    return [
        ("status", "status", []), ("doctor", "doctor", ["-e", "doctor_fail_on=never"]), ("site --check", "site", [*site, "--check"]),
        ("deploy --check", "deploy", [*one, "-e", f"version={fresh}", "--check"]), ("site", "site", site),
        ("rotate --check", "rotate", [*one, "-e", "secret=SECRET_KEY", "--check"]), ("rotate", "rotate", [*one, "-e", "secret=SECRET_KEY"]),
        ("deploy", "deploy", [*one, "-e", f"version={fresh}"]), ("failing deploy", "deploy", [*one, "-e", f"version={broken}"]),
        ("manage --check", "manage", [*one, "-e", "command=check", "--check"]), ("manage", "manage", [*one, "-e", "command=check"]),
        ("rollback --check", "rollback", [*one, "--check"]), ("rollback", "rollback", one),
        ("certificates --check", "certificates", ["--check"]),
        ("certificates", "certificates", []), ("move-database", "move-database", [*one, "-e", "sqlite=shared/database/db.sqlite3", "--check"]),
    ]


def trace(target) -> None:
    """Run all playbooks with nothing planted, and write down what root, PID 1 and the engine open meanwhile."""
    target.heal()
    target.inside("command -v strace >/dev/null || apt-get install -qq -y strace >/dev/null 2>&1", timeout=300)
    traced = "$(pgrep -o -x sshd) 1" + (" $(pgrep -o -x dockerd)" if target.containers else "")
    target.inside(f"rm -f {TRACE}; pids=; for pid in {traced}; do pids=\"$pids -p $pid\"; done; "
                  f"nohup strace -f -qq -y -s 300 -e trace=%file -o {TRACE} $pids >/dev/null 2>&1 & echo $! > {TRACE}.pid; "
                  f"for pid in {traced}; do for try in $(seq 100); do grep -q '^TracerPid:.0$' /proc/$pid/status || break; sleep 0.1; done; done; "
                  "! grep '^TracerPid:.0$' /proc/1/status")
    try:
        for what, playbook, words in tour(target):
            play = target.play(playbook, *words)
            assert (play.rc == 0) == (what not in FAIL), f"{what}: {play.out[-3000:]}"
    finally:
        target.inside(f"pid=$(cat {TRACE}.pid); kill -INT $pid; for try in $(seq 100); do [ -e /proc/$pid ] || exit 0; sleep 0.1; done; exit 1", check=False)


@pytest.fixture(scope="session")
def names(target):
    """Return the paths below the app's folders that root, PID 1 and the engine name while all playbooks run and nothing is planted."""
    if not (os.environ.get("QUAYSIDE_TRACED") and target.inside(f"[ -s {TRACE} ] && echo there", check=False)):
        trace(target)
    # Root opens by a descriptor of the folder, which strace shows with its path: openat(5</opt/mallory/shared>, "media", …).
    listed = target.inside(f"(grep -oE '\"({HOME}|/etc/quayside)/[^\"]+\"' {TRACE} | tr -d '\"'; "
                           f"grep -oE '<({HOME}|/etc/quayside)[^>]*>, \"[^\"/][^\"]*\"' {TRACE} | sed -E 's,<(.*)>.*\"(.*)\",\\1/\\2,') | "
                           "grep -vE 'site-packages|/venvs/|/lib/python|__pycache__' | sort -u | head -20000")
    # What is named after a release or a run will have another name next time.
    target.heal()
    found = sorted({path.rstrip("/") for path in listed.splitlines() if not re.search(r"\.new-\w+$|/\.\.?$", path)})
    assert any(path.startswith(f"{HOME}/shared") for path in found), "the trace has seen nothing"
    return found


def config(kind: str, depth: str, names: list) -> dict:
    """Return what the planting program has to know."""
    names = sorted({"/".join(path.split("/")[:end]) for path in names for end in range(3, path.count("/") + 2)})  # with the folders that they lie in
    return {"kind": "plain" if kind == "immutable" else kind, "depth": depth, "names": names, "folder": CANARY_FOLDER, "file": CANARY_FILE, "make": False,
            "own": [HOME, "/app", "/dev/shm", "/var/tmp", "/tmp"]}


def freeze(target, answers: list[dict]) -> None:
    """Make what was planted in the app's folders immutable, and the folders that it writes to. Only root can, so an app would need a flaw of the kernel."""
    paths = sorted({path for answer in answers for path in [*answer["planted"], *answer["folders"]] if path.startswith(f"{HOME}/")})
    for start in range(0, len(paths), 200):
        target.inside(f"chattr -f +i -- {' '.join(shlex.quote(path) for path in paths[start:start + 200])}", check=False)
    frozen = target.inside(f"find {HOME} -xdev -not -path '*/site-packages/*' -exec lsattr -d {{}} + 2>/dev/null | awk '$1 ~ /i/' | wc -l")
    assert int(frozen) > 3, "nothing is immutable: the test could not fail"


def build_script(kind: str, depth: str, names: list, image: bool) -> str:
    """Return a build that plants, in its own place too, and then pretends to have worked. In an ``image`` it is root, and makes what the host has there."""
    program = (PROGRAMS / "plant.py").read_text()
    asked = dict(config(kind, depth, [name for name in names if name.startswith(HOME)][:400]), make=image)
    text = f"CONFIG = {asked!r}\nimport os\nCONFIG['own'].append(os.getcwd())\n{program}"
    return "cat > /tmp/plant.py <<'HOSTILE-END'\n" + text + "\nHOSTILE-END\npython3 /tmp/plant.py > /dev/null 2>&1\ntrue\n"


def check_tour(walls, steps: list) -> list[str]:
    """Run the playbooks and return what is wrong after each."""
    failures = []
    for what, playbook, words in steps:
        play = walls.play(playbook, *words)
        wrong = play.unclear()
        failures += [f"{what}: {wrong}"] if wrong else []
        failures += [f"{what}: {line}" for line in walls.deaf()]
        if any("PID 1" in line for line in failures[-3:]):
            break  # all that follows would wait for it, too
    return failures


def test_nothing_can_be_written_outside_of_the_apps_own_folders(target):
    nothing = config("nothing", "top", [])
    found = {who: target.program("plant", nothing, who) for who in ("app", "user")}
    shared = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue", "/var/lock", "/run/user", "/var/lib/php")
    for who, seen in found.items():
        outside = [path for path in seen["folders"] + seen["files"] if not path.startswith((*shared, f"{HOME}/", "/app/"))]
        assert outside == [], f"writable by the {who}"


@pytest.mark.parametrize("planted", ROUNDS)
def test_planted_at_every_path_by_the_broken_app_and_by_its_user(walls, names, planted):
    kind, depth = planted.split("-")
    steps = tour(walls)
    answer = walls.program("plant", config(kind, depth, names), "app")
    also = walls.program("plant", config(kind, depth, names), "user")
    planted_kinds = collections.Counter([*answer["planted"].values(), *also["planted"].values()])
    print(f"{walls}: {planted}: planted at {len(answer['planted'])} paths by the broken app, {len(also['planted'])} by its user: {dict(planted_kinds)}")
    assert sum(planted_kinds.values()) > 3, "nothing was planted: the test could not fail"
    assert kind in ("mixed", "immutable", "device") or planted_kinds[kind] > 3, "a device is made where it can be, all else at each path"
    if kind == "immutable":
        freeze(walls, [answer, also])
    assert check_tour(walls, steps) == []


@pytest.mark.parametrize("planted", ROUNDS)
def test_planted_at_every_path_by_a_build(walls, names, planted):
    kind, depth = planted.split("-")
    steps = [step for step in tour(walls) if step[0] in ("site", "status", "failing deploy", "deploy", "rollback", "site --check", "deploy --check", "rotate")]
    commit = walls.push("planting", {"build.sh": build_script(kind, depth, names, walls.containers)})
    failures = []
    for words in (["--check"], []):
        play = walls.deploy(commit, *words)
        failures += [f"the planting deploy {words}: {play.unclear()}"] if play.unclear() else []
    # A settings module runs in the sandbox of one-off commands: check, migrate and collectstatic.
    program = f"CONFIG = {config(kind, depth, [])!r}\n" + (PROGRAMS / "plant.py").read_text()
    plants = f"\nimport subprocess as _s\n_s.run(['python3', '-c', {program!r}])\n"
    settings = (walls.server.inventory.parent / "app/config/settings.py").read_text()
    play = walls.deploy(walls.push("planting-settings", {"config/settings.py": settings + plants}))
    failures += [f"planting settings: {play.unclear()}"] if play.unclear() else []
    assert failures + check_tour(walls, steps) == []


def test_planted_one_at_a_time(walls, names):
    """With all of them planted a playbook may stop at the first: here each topmost path is the only one."""
    found = walls.program("plant", config("nothing", "top", []), "user")["folders"]
    tops = [path for path in found if path.startswith(f"{HOME}/") and os.path.dirname(path) not in found and "/releases/" not in path]
    entries = walls.inside(f"for top in {' '.join(tops)}; do echo $top; find $top -mindepth 1 -maxdepth 1; done; true").splitlines()
    named = [name for name in names if os.path.dirname(name) in tops]
    entries = sorted(path for path in {*entries, *named} if re.match(r"/[\w./-]+\Z", path))[:int(os.environ.get("QUAYSIDE_SINGLES", "24"))]
    failures = []
    for number, path in enumerate(entries):
        walls.both(f"mv {path} {path}.hostile-gone; rm -rf {path}; ln -sfn {CANARY_FOLDER if '.' not in os.path.basename(path) else CANARY_FILE} {path}")
        commit = walls.push("single", {"assets/single.txt": f"{number}"})
        for playbook, words in (("site", ["-e", "exposure_check=false"]), ("deploy", ["-e", f"django_app={APP}", "-e", f"version={commit}"])):
            wrong = walls.play(playbook, *words).unclear()
            failures += [f"{path}: {playbook}: {wrong}"] if wrong else []
        failures += [f"{path}: {line}" for line in walls.broken_walls(web=False)]
        walls.heal()
    print(json.dumps(entries))
    assert failures == []
