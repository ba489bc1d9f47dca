# SPDX-License-Identifier: GPL-3.0-or-later
"""Something is planted at every path that the hostile app can write, as far as a walk with its rights and a trace of root's own calls show; then every
playbook meets it.

No path stands here: what somebody adds later to an app's folders is attacked too. Before each playbook all is planted anew, and each path gets the next
kind: within a round each path has had each kind, and each playbook has met each kind; in nine rounds each playbook has met each kind at each path.
QUAYSIDE_PLANTS names the rounds (deep-0, …, deep-8, top-0, …, immutable-0); with QUAYSIDE_TRACED=1 the trace of the run before is taken, where there is one.
"""
import collections
import contextlib
import json
import os
import re
import shlex
import time

import pytest
from hostile import APP, CANARY_FILE, CANARY_FOLDER, HOME, PROGRAMS

ROUNDS = os.environ.get("QUAYSIDE_PLANTS", "deep-0 top-0 deep-3 top-3 deep-6 top-6 immutable-0").split()
KINDS = {"link", "fifo", "socket", "hard", "sparse", "unreadable", "plain", "loop"}  # a device is made where it can be
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
        # strace doubles the time of each. A rehearsal names nothing that the real run does not, but that of a deploy has folders of its own.
        for what, playbook, words in [step for step in tour(target) if not step[0].endswith("--check") or step[0] == "deploy --check"]:
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


def config(names: list, depth: str, turn: int, **more) -> dict:
    """Return what the planting program has to know."""
    names = sorted({"/".join(path.split("/")[:end]) for path in names for end in range(3, path.count("/") + 2)})  # with the folders that they lie in
    kind, depth = ("plain", "deep") if depth == "immutable" else ("turn", depth)
    return {"kind": kind, "depth": depth, "turn": turn, "names": names, "folder": CANARY_FOLDER, "file": CANARY_FILE, "make": False, "before": [], "skip": [],
            "own": [HOME, "/app", "/dev/shm", "/var/tmp", "/tmp"], **more}


NOTHING = {**config([], "top", 0), "kind": "nothing"}


class Plants:
    """What the broken app and its user plant, one turn after the other."""

    def __init__(self, target, names: list, depth: str):
        self.target, self.names, self.depth = target, names, depth
        self.paths: set = set()  # with a plant
        self.kinds: collections.Counter = collections.Counter()
        self.by_app = 0

    def turn(self, number: int) -> None:
        """Plant the kinds of a turn at every path. The app can do so only while it answers: plants at its own sockets end that."""
        asked = config(self.names, self.depth, number, before=sorted(self.paths))
        answers = []
        with contextlib.suppress(AssertionError):
            answers.append(self.target.program("plant", asked, "app"))
            self.by_app += len(answers[0]["planted"])
        done = [path for answer in answers for path in answer["planted"]]
        answers.append(self.target.program("plant", dict(asked, before=sorted(self.paths.difference(done)), skip=done), "user"))
        for answer in answers:
            self.paths.update(path for path, kind in answer["planted"].items() if kind != "appended")
            self.kinds.update(answer["planted"].values())
        if self.depth == "immutable":
            freeze(self.target, answers)


def freeze(target, answers: list[dict]) -> None:
    """Make what was planted in the app's folders immutable, and the folders that it writes to. Only root can, so an app would need a flaw of the kernel."""
    paths = sorted({path for answer in answers for path in [*answer["planted"], *answer["folders"]] if path.startswith(f"{HOME}/")})
    for start in range(0, len(paths), 200):
        target.inside(f"chattr -f +i -- {' '.join(shlex.quote(path) for path in paths[start:start + 200])}", check=False)
    frozen = target.inside(f"find {HOME} -xdev -not -path '*/site-packages/*' -exec lsattr -d {{}} + 2>/dev/null | awk '$1 ~ /i/' | wc -l")
    assert int(frozen) > 3, "nothing is immutable: the test could not fail"


def build_script(depth: str, turn: int, names: list, image: bool) -> str:
    """Return a build that plants, in its own place too, and then pretends to have worked. In an ``image`` it is root, and makes what the host has there."""
    program = (PROGRAMS / "plant.py").read_text()
    asked = config([name for name in names if name.startswith(HOME)][:400], depth, turn, make=image)
    text = f"CONFIG = {asked!r}\nimport os\nCONFIG['own'].append(os.getcwd())\n{program}"
    return "cat > /tmp/plant.py <<'HOSTILE-END'\n" + text + "\nHOSTILE-END\npython3 /tmp/plant.py > /dev/null 2>&1\ntrue\n"


def planting_releases(target, names: list, depth: str, turn: int) -> list:
    """Return the steps that deploy a build that plants, and settings that plant: these run in the sandbox of one-off commands."""
    script = build_script(depth, turn, names, target.containers)
    program = f"CONFIG = {config([], depth, turn)!r}\n" + (PROGRAMS / "plant.py").read_text()
    settings = (target.server.inventory.parent / "app/config/settings.py").read_text() + f"\nimport subprocess as _s\n_s.run(['python3', '-c', {program!r}])\n"
    one = ["-e", f"django_app={APP}"]
    commit = target.push("planting", {"build.sh": script})
    return [("deploy --check of a planting build", "deploy", [*one, "-e", f"version={commit}", "--check"]),
            ("deploy of a planting build", "deploy", [*one, "-e", f"version={commit}"]),
            ("deploy of planting settings", "deploy", [*one, "-e", f"version={target.push('planting-settings', {'config/settings.py': settings})}"])]


def run_step(walls, what: str, playbook: str, words: list) -> list[str]:
    """Run a playbook and return what is wrong after it."""
    play = walls.play(playbook, *words)
    wrong = play.unclear()
    print(f"{walls}: {what}: {play.rc} after {play.seconds:.0f} s", flush=True)
    return [f"{what}: {line}" for line in [*([wrong] if wrong else []), *walls.deaf()]]


def test_nothing_can_be_written_outside_of_the_apps_own_folders(target):
    found = {who: target.program("plant", NOTHING, who) for who in ("app", "user")}
    shared = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue", "/var/lock", "/run/user", "/var/lib/php")
    for who, seen in found.items():
        outside = [path for path in seen["folders"] + seen["files"] if not path.startswith((*shared, f"{HOME}/", "/app/"))]
        assert outside == [], f"writable by the {who}"


@pytest.mark.parametrize("planted", ROUNDS)
def test_planted_at_every_path_before_every_playbook(walls, names, planted):
    """By a build and by settings first, then before each playbook by the broken app and, outside of its sandbox, by its user."""
    depth, first = planted.split("-")
    failures, plants = [], Plants(walls, names, depth)
    steps, releases = tour(walls), planting_releases(walls, names, depth, int(first))
    for number, step in enumerate([*releases, *steps]):
        if number >= len(releases):
            plants.turn(int(first) + number)
        failures += run_step(walls, *step)
        if any("PID 1" in line for line in failures[-3:]):
            break  # all that follows would wait for it, too
    print(f"{walls}: {planted}: at {len(plants.paths)} paths, {plants.by_app} times by the broken app: {dict(plants.kinds)}")
    assert failures == []
    assert plants.by_app > 3, "the broken app has planted nothing: the test could not fail"
    assert all(plants.kinds[kind] > 3 for kind in (KINDS if depth != "immutable" else {"plain"})), "each kind is planted"


def test_planted_one_at_a_time(walls, names):
    """With all of them planted a playbook may stop at the first: here each topmost path is the only one."""
    found = walls.program("plant", NOTHING, "user")["folders"]
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
