# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks of the reviews, each as it was carried out. ``walls`` also compares all files outside of the app's folders, and asks PID 1 and the neighbour."""
import json
import re
import shlex

import pytest
from hostile import APP, CANARY_FILE, CANARY_FOLDER, HOME, MARKER, VICTIM
from lab import ROOT

SHELL = f"#!/bin/sh\nlogger -t {MARKER} \"$(id -u) $(grep NoNewPrivs /proc/self/status | tr -d '\\n\\t')\"\n"
CONFIG = "[core]\\n\\tgitproxy = {program}\\n\\tsshCommand = {program}\\n\\tfsmonitor = {program}\\n\\thooksPath = {hooks}\\n"
FAILING = {"config/settings.py": "raise SystemExit('this release is broken')\n"}


def swap(path: str, target: str) -> str:
    """Return a shell line that puts a link at a path where something is."""
    return f"mv -T {path} {path}.hostile-gone 2>/dev/null; rm -rf {path}; ln -sfn {target} {path}"


def test_00_what_an_attack_runs_is_seen(walls):
    walls.broken_into(f"logger -t {MARKER} sandbox")
    walls.as_user(f"logger -t {MARKER} user")
    seen = walls.markers()
    # A container has no socket of a journal: what runs in one cannot mark itself, and what an attack brings to the host can.
    assert walls.containers or '"MESSAGE":"sandbox"' in seen, "no test that asks for markers could fail"
    assert '"MESSAGE":"user"' in seen


# 1: root follows links, and git runs code


@pytest.mark.parametrize("check", [False, True], ids=["site", "check"])
def test_01_a_shared_folder_that_is_a_link_gives_nothing_away(walls, check):
    for name in ("media", "logs", "data", "database"):
        walls.both(swap(f"{HOME}/shared/{name}", CANARY_FOLDER))
    play = walls.play("site", *["--check"] * check, "-e", "exposure_check=false")
    assert not play.unclear()


def test_01_the_shared_folder_itself_as_a_link(walls):
    walls.both(swap(f"{HOME}/shared", CANARY_FOLDER))
    assert not walls.play("site", "-e", "exposure_check=false").unclear()


def plant_git(target, home: str, before: str = "") -> str:
    """Return a script that plants a configuration of git and of ssh, with hooks, in a folder."""
    program, hooks = f"{home}/planted", f"{home}/planted-hooks"
    lines = [before, f"printf '%s' {shlex.quote(SHELL)} > {program}", f"chmod 755 {program}", f"mkdir -p {hooks} {home}/.ssh {home}/.config/git"]
    lines += [f"cp {program} {hooks}/{hook}" for hook in ("reference-transaction", "post-checkout", "post-fetch", "fsmonitor-watchman")]
    lines += [f"printf '{CONFIG.format(program=program, hooks=hooks)}' > {home}/{name}" for name in (".gitconfig", ".config/git/config")]
    lines += [f"printf 'Host *\\n\\tProxyCommand {program}\\n' > {home}/.ssh/config"]
    return "; ".join(line for line in lines if line)


@pytest.mark.parametrize("verb", ["deploy", "check"])
def test_01_a_planted_git_configuration_runs_nothing(walls, verb):
    home = walls.inside(f"getent passwd {APP} | cut -d: -f6")
    for folder in (home, f"{HOME}/shared", f"{HOME}/shared/data", f"{HOME}/cache"):
        walls.both(plant_git(walls, folder))
    commit = walls.push("main-again", {"assets/again.txt": "again"})
    play = walls.deploy(commit, *["--check"] * (verb == "check"))
    assert not play.unclear()
    assert not walls.markers()


def test_01_a_planted_mirror_runs_nothing_outside_of_a_sandbox(walls):
    found = walls.inside(f"find {HOME}/cache /var/cache -type d -name refs -path '*{APP}*' 2>/dev/null; echo {HOME}/cache/repository.git/refs")
    for mirror in [path.removesuffix("/refs") for path in found.splitlines()]:
        walls.both(f"printf '{CONFIG.format(program=mirror + '/planted', hooks=mirror + '/hooks')}' >> {mirror}/config; "
                   f"printf '%s' {shlex.quote(SHELL)} > {mirror}/planted; chmod 755 {mirror}/planted; mkdir -p {mirror}/hooks; "
                   f"cp {mirror}/planted {mirror}/hooks/reference-transaction; cp {mirror}/planted {mirror}/hooks/post-fetch")
    play = walls.deploy(walls.push("mirrored", {"assets/mirrored.txt": "x"}))
    assert not play.unclear()
    assert "NoNewPrivs:0" not in walls.markers()


def test_01_a_build_that_plants_a_git_configuration_runs_nothing_at_the_next_deploy(walls):
    if walls.containers:
        pytest.skip("an image's build sees no folder of the host")
    script = "\n".join(plant_git(walls, folder) for folder in ("$HOME", f"{HOME}/cache", f"{HOME}/cache/home", f"{HOME}/shared", "$PWD"))
    script += f"\nfor mirror in {HOME}/cache/*.git {HOME}/cache/*/*.git; do\n" + plant_git(walls, "$mirror") + "\ncp $mirror/.gitconfig $mirror/config\n" \
              "cp $mirror/planted $mirror/hooks/reference-transaction\ndone\ntrue\n"
    walls.deploy(walls.push("builder", {"build.sh": script}))
    play = walls.deploy(walls.push("after-builder", {"assets/after.txt": "x"}))
    assert not play.unclear()
    assert "NoNewPrivs:0" not in walls.markers()


# 2: what a branch publishes


def loot_links(target, folder: str) -> dict:
    """Return path -> target of links to all that must not be served."""
    links = {f"{folder}/loot-{number}.txt": path for number, path in enumerate(target.secret_paths)}
    return {**links, f"{folder}/loot-root": "/root", f"{folder}/loot-etc": "/etc", f"{folder}/loot-victim": f"/opt/{VICTIM}", f"{folder}/loot-top": "/"}


def ask_for_all(target, base: str, links: dict, folder: str) -> None:
    """Ask for each link by its name, and for files below those that lead to folders."""
    for path, leads in links.items():
        name = path.removeprefix(folder).strip("/")
        below = [p.removeprefix(leads).strip("/") for p in target.secret_paths if p.startswith(leads.rstrip("/") + "/")]
        for url in [f"{base}{name}", *(f"{base}{name}/{one}" for one in below)]:
            _status, body = target.get(url)
            assert [token for token, text in target.tokens.items() if text.encode() in body] == [], url


@pytest.mark.parametrize("where", ["frontend", "assets"])
def test_02_committed_links_publish_nothing(walls, where):
    links = loot_links(walls, where)
    play = walls.deploy(walls.push(f"links-{where}", {"frontend/index.html": "<p>links</p>"}, links))
    assert not play.unclear()
    ask_for_all(walls, "/app/" if where == "frontend" else "/static/", links, where)


@pytest.mark.parametrize("leads", ["/etc", "../../../../../.."])
def test_02_a_published_folder_that_is_a_link_publishes_nothing(walls, leads):
    play = walls.deploy(walls.push("folder", {}, {"frontend": leads}))
    assert not play.unclear()
    if play.rc == 0:
        top = "/" if leads.startswith(".") else leads
        below = [path.removeprefix(top).strip("/") for path in walls.secret_paths if path.startswith(top.rstrip("/") + "/")]
        for name in below:
            _status, body = walls.get(f"/app/{name}")
            assert [token for token, text in walls.tokens.items() if text.encode() in body] == [], name


@pytest.mark.parametrize("where", ["frontend", "assets"])
def test_02_links_that_the_build_makes_publish_nothing(walls, where):
    links = loot_links(walls, where)
    script = "\n".join(f"ln -sf {leads} {path}; ln {leads} {path}.hard 2>/dev/null" for path, leads in links.items()) + "\ntrue\n"
    play = walls.deploy(walls.push(f"built-{where}", {"build.sh": script}))
    assert not play.unclear()
    ask_for_all(walls, "/app/" if where == "frontend" else "/static/", links, where)


def test_02_links_that_collectstatic_and_the_settings_make_publish_nothing(walls):
    links = loot_links(walls, "x")
    code = "\nimport contextlib\nfor _path, _leads in " + repr(sorted(links.items())) + ":\n    for _top in {STATIC_ROOT, MEDIA_ROOT}:\n" \
           "        with contextlib.suppress(OSError):\n            os.symlink(_leads, os.path.join(_top, _path[2:]))\n"
    settings = walls.inside(f"cat {HOME}/live/code/config/settings.py") if not walls.containers else \
        walls.post(["cat", "/app/config/settings.py"])["out"]
    play = walls.deploy(walls.push("settings", {"config/settings.py": settings + code}))
    assert not play.unclear()
    for base in ("/static/", "/media/"):
        ask_for_all(walls, base, links, "x")


def test_02_links_in_the_folder_of_static_files_of_a_live_app_publish_nothing(walls):
    links = loot_links(walls, "x")
    for folder in (f"{HOME}/live/static", f"{HOME}/static", f"{HOME}/live/frontends/spa", f"{HOME}/shared/media"):
        walls.both("; ".join(f"ln -sf {leads} {folder}/{path[2:]}" for path, leads in links.items()))
    for base in ("/static/", "/media/", "/app/"):
        ask_for_all(walls, base, links, "x")
    assert not walls.deploy(walls.push("again-static", {"assets/x.txt": "x"})).unclear()
    for base in ("/static/", "/media/", "/app/"):
        ask_for_all(walls, base, links, "x")


# 3: what PID 1 opens


def env_files(target) -> list[str]:
    """Return what PID 1 reads as it starts a process of the hostile app, in which the app may take part."""
    if target.containers:
        return [f"{HOME}/shared/secrets.env", f"{HOME}/live/env"]
    unit = target.inside(f"systemctl list-units --plain --no-legend '{APP}-web@*' | awk '{{print $1}}' | head -1")
    shown = target.inside(f"systemctl show -p EnvironmentFiles,LoadCredential {unit} | grep -oE '/[^ )]*'")
    return sorted({*shown.split(), f"{HOME}/shared/secrets.env", f"{HOME}/shared/secrets.env.before"})


@pytest.mark.parametrize("kind", ["link", "fifo", "zero"])
def test_03_a_crash_after_the_secrets_file_was_replaced(walls, kind):
    victim = next(path for path in walls.secret_paths if f"/{VICTIM}/" in path)
    make = {"link": f"ln -sfn {victim}", "fifo": "mkfifo", "zero": "ln -sfn /dev/zero"}[kind]
    for path in env_files(walls):
        walls.both(f"mv -T {path} {path}.hostile-gone; rm -f {path}; {make} {path}")
    before = main_process(walls)
    if walls.containers:  # the kernel lets nobody in a container kill its first process
        walls.server.inside("docker kill $(cat /opt/mallory/live/units)")
    else:  # the main process is killed by its own workers
        walls.both("kill -9 $(ps -o ppid= -p $PPID) $PPID; pkill -9 -U $(id -u) gunicorn")
    walls.server.until(lambda: main_process(walls) not in (before, "0", ""), 90, "another process in the killed one's place")
    walls.server.until(lambda: walls.get("/healthz/")[0] == 200, 90, "an answer of the app after the crash")


def main_process(target) -> str:
    """Return the pid of the hostile app's web process, as the host counts."""
    if target.containers:
        return target.inside(f"docker inspect -f '{{{{.State.Pid}}}}' $(docker ps -q --filter label=quayside.app={APP} | head -1)", check=False)
    return target.inside(f"pgrep -o -U {APP} gunicorn || echo 0", check=False)


# 4: what a failed deploy brings back


def test_04_a_failed_deploy_hands_over_nothing(walls):
    for path in env_files(walls):
        for suffix in (".before", ".new", "~", ".bak", ".old"):
            walls.both(f"ln -sfn {CANARY_FILE} {path}{suffix}; ln -sfn {CANARY_FILE} {HOME}/shared/secrets.env{suffix}")
    play = walls.deploy(walls.push("failing", FAILING))
    assert play.rc != 0
    assert not play.unclear()


def test_04_a_failed_deploy_with_a_new_secret_hands_over_nothing(walls):
    for suffix in (".before", ".new"):
        walls.both(f"ln -sfn {CANARY_FILE} {HOME}/shared/secrets.env{suffix}")
    apps = walls.changed(lambda app: app.update(secrets={"SECRET_KEY": "another-key-of-mallory-for-this-test-only-0123456789"}))
    play = walls.deploy(walls.push("failing", FAILING), "-e", apps)
    assert play.rc != 0
    assert not play.unclear()


# 5: a rehearsal


def test_05_a_rehearsal_gives_nothing_away(walls):
    names = walls.inside(f"ls -A {HOME}/cache", check=False).split()
    for name in dict.fromkeys([*names, "check", "source", "archives", "rehearsal"]):
        walls.both(swap(f"{HOME}/cache/{name}", CANARY_FOLDER))
    play = walls.deploy(walls.push("rehearsed", {"assets/rehearsed.txt": "x"}), "--check")
    assert not play.unclear()


def test_05_a_rehearsal_gives_nothing_away_one_level_deeper(walls):
    walls.both(f"rm -rf {HOME}/cache/check; mkdir -p {HOME}/cache/check; cd {HOME}/cache/check && "
               f"for below in shared cache venvs releases; do ln -sfn {CANARY_FOLDER} $below; done")
    play = walls.deploy(walls.push("rehearsed", {"assets/rehearsed.txt": "x"}), "--check")
    assert not play.unclear()


# 6: a documented command


def test_06_manage_that_root_types_does_not_run_as_root(walls):
    for path in env_files(walls):
        walls.both(f"printf '\\nlogger -t {MARKER} sourced\\n' >> {path}")
    home = walls.inside(f"getent passwd {APP} | cut -d: -f6")
    walls.both(f"echo 'import os; os.system(\"logger -t {MARKER} rc\")' > {home}/.pythonrc.py; cp {home}/.pythonrc.py {home}/usercustomize.py")
    out = walls.inside(f"cd /; PYTHONSTARTUP={home}/.pythonrc.py {HOME}/live/bin/manage shell -c 'import os; print(\"uid\", os.getuid())' 2>&1", check=False)
    assert "uid 0" not in out
    assert '"_UID":"0"' not in walls.markers()
    assert "uid " in out, f"the command did not run: {out}"


# 7: mounts


@pytest.mark.parametrize("verb", ["deploy", "restart", "rollback"])
def test_07_a_mounted_folder_that_is_a_link_mounts_nothing_of_the_host(walls, verb):
    if not walls.containers:
        pytest.skip("units mount nothing")
    for name in ("data", "media"):
        walls.both(swap(f"{HOME}/shared/{name}", "/"))
    if verb == "restart":
        walls.inside(f"docker ps -q --filter label=quayside.app={APP} | xargs docker restart -t 2", check=False)
    else:
        words = ["-e", f"django_app={APP}"]
        play = walls.play("rollback", *words) if verb == "rollback" else walls.deploy(walls.push("mounted", {"assets/m.txt": "x"}))
        assert not play.unclear()
    seen = walls.inside(f"for one in $(docker ps -q --filter label=quayside.app={APP}); do docker exec $one "
                        "ls /app/data/etc/shadow /app/media/etc/shadow "
                        f"{HOME}/shared/data/etc/shadow {HOME}/shared/media/etc/shadow 2>/dev/null; "
                        "docker inspect -f '{{json .Mounts}}' $one; done", check=False)
    assert "/etc/shadow" not in seen
    sources = [mount["Source"] for line in seen.splitlines() if line.startswith("[") for mount in json.loads(line)]
    assert [path for path in sources if not path.startswith((f"{HOME}/", "/run/", "/var/lib/docker/"))] == []


# 8: who reads secrets

READER = """
find / -xdev -type f \\( -name 'secrets.env*' -o -name '*key*' -o -name 'env' -o -name '*.before' \\) -not -path '/usr/*' -not -path '/proc/*' 2>/dev/null |
    while read -r path; do cat "$path" 2>/dev/null; done > frontend/loot.txt
env >> frontend/loot.txt
cat /proc/[0-9]*/environ >> frontend/loot.txt 2>/dev/null
cat %s >> frontend/loot.txt 2>/dev/null
true
"""
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUtdGhlLWRlcGxveS1rZXktb2YtdGhlLWxhYg\n-----END OPENSSH PRIVATE KEY-----"


def with_key(app: dict) -> None:
    """Give the app a deploy key; the URL of its repository does not need it."""
    app["secrets"] = "{{ vault_mallory | combine({'SOURCE_KEY': hostile_key}) }}"


def test_08_neither_a_build_nor_the_app_reads_the_secrets_of_the_build_or_the_deploy_key(walls):
    named = " ".join(f"{place}/{name}" for place in (f"{HOME}/shared", f"{HOME}/cache", f"/etc/quayside/{APP}")
                     for name in ("secrets.env", "secrets.env.before", "source_key", "deploy_key", "env"))
    commit = walls.push("reader", {"build.sh": READER % named})
    play = walls.deploy(commit, "-e", walls.changed(with_key), "-e", json.dumps({"hostile_key": KEY}))
    assert play.rc == 0, play.out[-3000:]
    status, loot = walls.get("/app/loot.txt")
    assert status == 200
    middle = KEY.splitlines()[1]
    assert walls.server.local["vault_mallory"]["SECRET_KEY"].encode() not in loot
    assert middle.encode() not in loot
    tokens = {"deploy key": middle}
    config = {"tokens": tokens, "own": [HOME, "/tmp", "/app"], "paths": walls.inside(f"grep -rlF {middle} {HOME} /etc/quayside 2>/dev/null; true").split()}
    assert walls.program("loot", config, "app")["found"] == []


# 9: names of commits


@pytest.mark.parametrize("digits", [7, 12, 40])
def test_09_a_name_like_a_commit_is_the_commit_or_refused(walls, digits):
    good = walls.push("good", {"assets/good.txt": "good"})
    bad = walls.push("bad", {"assets/bad.txt": "bad"}, onto="good")
    url = f"{walls.server.local['lab_git_url']}/mallory.git"
    name = good[:digits]
    for kind in ("heads", "tags"):
        git_push(url, bad, f"refs/{kind}/{name}")
    try:
        play = walls.deploy(name)
        live = json.loads(walls.inside(f"cat {HOME}/live/release.json"))
    finally:
        for kind in ("heads", "tags"):
            git_push(url, "", f"refs/{kind}/{name}")
    assert not play.unclear()
    assert live["sha"] != bad, "the name won over the commit"
    assert play.rc != 0 or live["sha"] == good
    if digits == 40:
        assert live["sha"] == good, "a whole commit has to be deployed"


def git_push(url: str, commit: str, name: str) -> None:
    """Set a name of the repository to a commit, or remove it."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["git", "-C", scratch, "init", "--quiet", "--bare"], check=True)
        if commit:
            subprocess.run(["git", "-C", scratch, "fetch", "--quiet", url, commit], check=False)
            subprocess.run(["git", "-C", scratch, "fetch", "--quiet", url, "+refs/heads/*:refs/heads/*"], check=True)
        subprocess.run(["git", "-C", scratch, "push", "--quiet", "--force", url, f"{commit}:{name}"], check=True)


# 14: files that do not end


@pytest.mark.parametrize(("name", "leads"), [("requirements.txt", "/dev/zero"), ("requirements.txt", "fifo"), ("requirements.txt", "sparse"),
                                             ("requirements.txt", "folder"), ("pyproject.toml", "/dev/zero"), ("uv.lock", "fifo")])
def test_14_a_requirements_file_that_does_not_end(walls, name, leads):
    if walls.containers and name != "requirements.txt":
        pytest.skip("an image reads its own files")
    walls.both(f"cd {HOME}/shared/data; rm -rf fifo sparse folder; mkfifo fifo; truncate -s 1T sparse; mkdir folder")
    target = leads if leads.startswith("/") else f"{HOME}/shared/data/{leads}"
    play = walls.deploy(walls.push("endless", {}, {name: target}), limit=120)
    assert not play.unclear()
    assert play.rc != 0 or name != "requirements.txt"


@pytest.mark.parametrize("files", [
    {"requirements.txt": "-r a.txt\n-r /dev/zero\n-r ../../../../../dev/zero\n", "a.txt": "-r b.txt\n", "b.txt": "-r a.txt\n-r requirements.txt\n"},
    {"requirements.txt": "".join(f"-r {number}.txt\n" for number in range(400)), **{f"{number}.txt": f"-r {number + 1}.txt\n" for number in range(400)}},
    {"requirements.txt": "# x\n" * 2_000_000},
], ids=["loop", "many", "large"])
def test_14_requirements_that_include_one_another(walls, files):
    play = walls.deploy(walls.push("including", files), limit=120)
    assert not play.unclear()


# 22: the lock


def test_22_a_neighbour_cannot_hold_the_lock(walls):
    locks = walls.inside(f"find /opt/{VICTIM} /etc/quayside /run/quayside /var/lib/quayside /run/lock -name '*lock*' -type f 2>/dev/null; "
                         f"echo /opt/{VICTIM}/lock /etc/quayside/{VICTIM}/lock", check=False).split()
    program = f"""
import fcntl, os, sys, time
held, mark = [], sys.argv[1]
for path in {sorted(set(locks))!r}:
    try:
        held.append(open(path))
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass
open(mark, "w").close()
while os.path.exists(mark):
    time.sleep(0.5)
"""
    hold = f"python3 -c {shlex.quote(program)} {{mark}} >/dev/null 2>&1 & for try in $(seq 200); do [ -e {{mark}} ] && exit 0; sleep 0.1; done; exit 1"
    mark = "/tmp/hostile-holds"
    assert walls.post(["sh", "-c", hold.format(mark=mark)])["status"] == 0, "the broken app holds nothing: the test could not fail"
    walls.inside(f"runuser -u {APP} -- sh -c {shlex.quote(hold.format(mark=mark))}")
    try:
        play = walls.deploy(app=VICTIM)
        assert play.rc == 0, play.out[-2500:]
        assert walls.play("status").rc == 0
    finally:
        walls.both(f"rm -f {mark}")


# What the reviews called low


def test_low_a_neighbour_opens_no_file_of_an_app_by_its_name(walls):
    places = f"/opt/{VICTIM} /etc/quayside/{VICTIM}"
    paths = walls.inside(f"find {places} -type f -not -path '*/venvs/*' -not -path '*/site-packages/*' 2>/dev/null; true").splitlines()
    config = {"tokens": walls.tokens, "own": [], "paths": paths}
    opened = {*walls.program("loot", config, "user")["opened"], *walls.program("loot", config, "app")["opened"]}
    published = rf"/opt/{VICTIM}/(releases/[^/]+/)?(static|frontends)/"
    # A container of the app has another uid, so the programs of the collection that are mounted there are open to all.
    ours = {path for path in opened if walls.containers and re.fullmatch(rf"/opt/{VICTIM}/(releases/[^/]+/)?lib/[\w.]+", path)}
    assert sorted(path for path in opened - ours if not re.match(published, path)) == []
    texts = [path.read_text() for path in (ROOT / "plugins/module_utils").glob("*.py")]
    assert [path for path in sorted(ours) if not any(walls.inside(f"cat {path}") in text for text in texts)] == []


def test_low_the_copy_of_a_database_that_is_a_link_to_one_of_root(walls):
    walls.inside("rm -f /root/hostile.sqlite3*; python3 -c 'import sqlite3; d = sqlite3.connect(\"/root/hostile.sqlite3\"); "
                 "d.execute(\"create table canary (x)\"); d.commit()'")
    walls.remember()
    database = f"{HOME}/shared/database/db.sqlite3"
    walls.both(f"rm -f {database}-wal {database}-shm; {swap(database, '/root/hostile.sqlite3')}; ln -sfn {CANARY_FILE} {database}.copy; "
               f"ln -sfn {CANARY_FILE} {database}.copy.new")
    migration = ("from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    dependencies = [('notes', '0001_initial')]\n"
                 "    operations = [migrations.AddField('Note', 'more', models.TextField(default=''))]\n")
    models = "from django.db import models\n\n\nclass Note(models.Model):\n    text = models.TextField()\n    more = models.TextField(default='')\n"
    play = walls.deploy(walls.push("migrating", {"notes/migrations/0002_more.py": migration, "notes/models.py": models}))
    assert not play.unclear()
    copies = walls.inside(f"grep -l canary {HOME}/releases/*/*.sqlite3 /etc/quayside/{APP}/*.sqlite3 2>/dev/null; true")
    assert copies == ""


def test_low_what_is_sent_by_rsync_follows_no_link(walls):
    for folder in (f"{HOME}/cache", f"/var/cache/quayside/{APP}"):
        for name in ("source", "archives"):
            walls.both(f"mkdir -p {folder}; " + swap(f"{folder}/{name}", CANARY_FOLDER))
    apps = walls.changed(lambda app: app.update(source={"folder": str(walls.server.inventory.parent / "app")}))
    play = walls.play("deploy", "-e", f"django_app={APP}", "-e", apps)
    assert not play.unclear()


def test_low_what_is_sent_by_rsync_follows_no_link_one_level_deeper(walls):
    apps = walls.changed(lambda app: app.update(source={"folder": str(walls.server.inventory.parent / "app")}))
    first = walls.play("deploy", "-e", f"django_app={APP}", "-e", apps)
    assert first.rc == 0, first.out[-2500:]
    for folder in walls.inside(f"find {HOME}/cache /var/cache -type d -name source -path '*{APP}*' 2>/dev/null; echo {HOME}/cache/source").splitlines():
        walls.both(swap(f"{folder}/assets", CANARY_FOLDER) + "; " + swap(f"{folder}/frontend", CANARY_FOLDER))
    play = walls.play("deploy", "-e", f"django_app={APP}", "-e", apps)
    assert not play.unclear()
