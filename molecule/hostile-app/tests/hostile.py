# SPDX-License-Identifier: GPL-3.0-or-later
"""What the attacks share: the rights of an app that is broken into, hostile branches, plants, and what has to hold around all of it."""
from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

import yaml
from lab import BIN, ROOT, Server

PROGRAMS = pathlib.Path(__file__).absolute().parent / "programs"
APP, VICTIM = "mallory", "victim"
HOME = f"/opt/{APP}"
LIMIT = int(os.environ.get("QUAYSIDE_LIMIT", "300"))  # seconds for one playbook; site.yml takes 40 s on two idle cores
ANSWER = int(os.environ.get("QUAYSIDE_ANSWER", "10"))  # seconds in which PID 1, Docker and sshd have to answer
CANARY_FOLDER, CANARY_FILE = "/usr/local/lib/hostile-canary", "/root/hostile-canary"
BACKUP = "/root/hostile-backup"
# Thousands of files that are only moved aside as a whole, and so need no copy.
COPIED = ("rsync -aHAX --delete --exclude=/releases/*/run/* --exclude=/venvs --exclude=/cache/uv --exclude=/cache/pip --exclude=/cache/*/uv "
          "--exclude=/cache/*/pip --exclude=*.hostile-gone")
MARKER = "hostile-marker"
# Each journal has written what it was sent. One of an app has a daemon only while the app logs.
SYNCED = f"journalctl --sync; for app in {APP} {VICTIM}; do timeout 10 journalctl --namespace=$app --sync 2>/dev/null; done"
PLAIN = "/usr/bin/python3"


class Play:
    """A playbook that has run, or was ended because it took too long."""

    def __init__(self, rc: int, out: str, seconds: float, ended: bool):
        self.rc, self.out, self.seconds, self.ended = rc, out, seconds, ended

    @property
    def reason(self) -> str:
        """The message of the task that failed."""
        found = re.findall(r"(?ms)^fatal: .*?(?=^\S|\Z)|^\s*(?:failed|fatal): \[.*?(?=^\S|\Z)", self.out)
        return "\n".join(found)

    def unclear(self) -> str:
        """Return what is wrong with how it ended, empty when it is a success or a message that a person can use."""
        if self.ended:
            return f"did not end within {LIMIT} s"
        if self.rc == 0:
            return ""
        for bad in ("Traceback (most recent call last)", "MODULE FAILURE", "Unexpected failure", "UNREACHABLE", "An exception occurred during task",
                    "unhandled exception"):
            if bad in self.out:
                return f"ended with {self.rc} and {bad!r}: {self.out[self.out.index(bad):][:700]}"
        if not re.search(rf"{HOME}|{APP}", self.reason or self.out):
            return f"ended with {self.rc} and names neither the app nor a path: {self.out[-700:]}"
        return ""


class Target:
    """A server with the hostile app and its neighbour."""

    def __init__(self, server: Server):
        self.server, self.name = server, server.name
        self.containers = server.name == "ho13"
        self.served: list = []

    def __repr__(self) -> str:
        return self.name

    # What is there before any attack

    def prepare(self) -> None:
        """Have both apps live, what may not be touched or read, and a copy of the app to come back to."""
        inside = self.inside
        inside(f"mkdir -p {CANARY_FOLDER} && echo canary > {CANARY_FOLDER}/program && chmod 755 {CANARY_FOLDER} && chmod 700 {CANARY_FOLDER}/program")
        inside(f"[ -s {CANARY_FILE} ] || (umask 077; head -c 24 /dev/urandom | base64 > {CANARY_FILE})")
        if inside(f"[ -e {BACKUP}.dirty ] && echo dirty", check=False):  # a run that was ended has left its plants
            self.heal()
        for app in (VICTIM, APP):
            if self.get("/healthz/", app)[0] != 200 or not inside(f"readlink /opt/{app}/live", check=False):
                play = self.play("deploy", "-e", f"django_app={app}")
                assert play.rc == 0, play.out[-4000:]
        good = f"cd {HOME}/releases && grep -l '\"outcome\": \"live\"' $(readlink {HOME}/live | xargs basename)/release.json */release.json | sort -u | wc -l"
        if int(self.inside(good)) < 2 or self.running_version() != "main":  # a second release, so that there is something to go back to
            self.push("second", {"frontend/second.txt": "second"})
            for version in ("second", "main"):
                play = self.play("deploy", "-e", f"django_app={APP}", "-e", f"version={version}")
                assert play.rc == 0, play.out[-4000:]
        self.settled()
        # Old images are pruned by deploys, and the releases of the copy need theirs.
        inside(f"for one in $(docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep '^quayside/{APP}'); do "
               f"docker tag $one hostile-kept/$(echo $one | tr / -); done" if self.containers else "true")
        inside(f"rm -rf {BACKUP} && mkdir -p {BACKUP} && {COPIED} {HOME}/ {BACKUP}/root/ && "
               f"if [ -d /etc/quayside/{APP} ]; then rsync -aHAX --delete /etc/quayside/{APP}/ {BACKUP}/secrets/; fi")

    def running_version(self) -> str:
        """Return the version that answers, empty when none does."""
        status, body = self.get("/healthz/")
        return json.loads(body)["version"] if status == 200 else ""

    def settled(self) -> None:
        """Wait until the release before has ended what it had begun."""
        self.server.until(lambda: self.get("/healthz/")[0] == 200, 60, "the app")

    @functools.cached_property
    def tokens(self) -> dict:
        """Name -> a text that only root or the neighbour may know."""
        secrets = self.server.local
        found = {"secret key of the neighbour": secrets["vault_victim"]["SECRET_KEY"], "login of the neighbour": secrets["vault_victim"]["ADMIN_LOGIN"],
                 "canary of root": self.inside(f"cat {CANARY_FILE}"), "shadow": self.inside("grep ^root: /etc/shadow"),
                 "SSH host key": self.inside("sed -n 4p /etc/ssh/ssh_host_ed25519_key")}
        for number, path in enumerate(self.inside(f"grep -rlE 'BEGIN .*PRIVATE KEY' /etc --include='*{VICTIM}*' --include='*.key' 2>/dev/null || "
                                                  "true").splitlines()):
            found[f"TLS key {number} {path}"] = self.inside(f"sed -n 3p {shlex.quote(path)}")
        login = self.inside(f"grep -rhoE '\\$(6|2y|apr1)\\$[^ ]{{20,}}' /etc/nginx /etc/quayside --include='*{VICTIM}*' 2>/dev/null | head -1", check=False)
        return {**found, **({"login file of the neighbour": login} if login else {})}

    @functools.cached_property
    def secret_paths(self) -> list:
        """Where those texts stand on this server."""
        with_tokens = " ".join(f"-e {shlex.quote(text)}" for text in self.tokens.values() if len(text) > 8)
        passed = " ".join(f"--exclude-dir={name}" for name in ("hostile-backup", ".ansible", "venvs", "cache"))
        listed = self.inside(f"grep -rlF {with_tokens} /etc /root /opt/{VICTIM} {passed} 2>/dev/null || true")
        return [path for path in listed.splitlines() if f"/{APP}" not in path]

    # From outside

    def inside(self, command: str, check: bool = True, timeout: float = 120) -> str:
        """Return what a root shell prints that needs neither sshd nor systemd."""
        argv = [str(ROOT / "scripts/lab"), "ssh", self.name, "timeout", str(int(timeout)), "bash", "-c", command]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              env=dict(os.environ, LAB_ENVIRONMENT=self.server.environment))
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command[:300]} ended with {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
        return done.stdout.strip()

    def get(self, path: str, app: str = APP, timeout: float = 10) -> tuple[int, bytes]:
        """Return status and body, without what a sparse file would send, of a request from outside; HTTPS for the neighbour."""
        status, _headers, body = self.server.get(path, f"{app}.example.com", timeout=timeout, tls=app == VICTIM, limit=2**21)
        return status, body

    def play(self, playbook: str, *words: str, limit: float = LIMIT) -> Play:
        """Run a playbook on this server, and end it when it takes too long."""
        inventory = self.vault_inventory if playbook == "rotate" else self.server.inventory
        argv = [str(BIN / "ansible-playbook"), str(ROOT / "playbooks" / f"{playbook}.yml"), "-i", str(inventory), "--limit", self.name, *words]
        env = self.environment(ANSIBLE_CALLBACK_RESULT_FORMAT="yaml")
        began, ended = time.monotonic(), False
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT,
                                   env=env, start_new_session=True)
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            ended = True
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            self.end_modules()
        return Play(process.returncode, out, time.monotonic() - began, ended)

    def environment(self, **more: str) -> dict:
        """Return the variables that Ansible's commands run with."""
        env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", **more)
        env.pop("ANSIBLE_FORCE_COLOR", None)
        return dict(env, ANSIBLE_VAULT_PASSWORD_FILE=str(self.vault_password)) if self.vault_password.exists() else env

    @property
    def vault_inventory(self) -> pathlib.Path:
        """The path of a copy of the inventory whose secrets of the hostile app can be rotated."""
        return ROOT / ".cache" / f"hostile-inventory-{self.name}"

    @property
    def vault_password(self) -> pathlib.Path:
        return ROOT / ".cache" / f"hostile-vault-{self.name}"

    @property
    def vault(self) -> pathlib.Path:
        return self.vault_inventory / "group_vars" / self.server.environment / "vault.yml"

    def make_vault(self) -> None:
        """Copy the inventory, with the secrets of the hostile app in an encrypted file: the only kind that rotate.yml changes."""
        shutil.rmtree(self.vault_inventory, ignore_errors=True)
        shutil.copytree(self.server.inventory, self.vault_inventory)
        self.vault_password.write_text("only-for-this-test\n")
        local = self.vault.parent / "local.yml"
        values = yaml.safe_load(local.read_text())
        secret = yaml.safe_dump({f"vault_{APP}": values.pop(f"vault_{APP}")})
        local.write_text(yaml.safe_dump(values))
        subprocess.run([str(BIN / "ansible-vault"), "encrypt", "--output", str(self.vault)], check=True, capture_output=True, text=True, input=secret,
                       env=self.environment())

    def keys(self) -> Iterator[str]:
        """Yield the secret keys that the hostile app may run with: its own, one that it has stolen, one of a rotation."""
        yield self.server.local[f"vault_{APP}"]["SECRET_KEY"]
        yield self.server.local[f"vault_{VICTIM}"]["SECRET_KEY"]
        if self.vault.exists():
            shown = subprocess.run([str(BIN / "ansible-vault"), "view", str(self.vault)], check=True, capture_output=True, text=True, env=self.environment())
            yield yaml.safe_load(shown.stdout)[f"vault_{APP}"]["SECRET_KEY"]

    def end_modules(self) -> None:
        """End what a playbook that was ended has left on the server, by its ids."""
        self.inside("for pid in $(pgrep -f AnsiballZ); do [ $pid = $$ ] || kill -9 $pid; done; true", check=False)

    def deploy(self, version: str = "main", *words: str, app: str = APP, **options) -> Play:
        """Deploy a version of the hostile app."""
        return self.play("deploy", "-e", f"django_app={app}", "-e", f"version={version}", *words, **options)

    def changed(self, change) -> str:
        """Return an argument for -e with the inventory's apps, the hostile one changed by a function."""
        apps = yaml.safe_load((self.server.inventory / "group_vars" / self.server.environment / "main.yml").read_text())["django_apps"]
        change(apps[0])
        path = ROOT / ".cache" / f"hostile-{self.name}-{time.monotonic_ns()}.yml"
        path.write_text(yaml.safe_dump({"django_apps": apps}))
        return f"@{path}"

    def push(self, branch: str, files: dict, links: dict | None = None, onto: str = "main") -> str:
        """Push a branch that differs from main in files (path -> text) and links (path -> target); return its commit."""
        url = f"{self.server.local['lab_git_url']}/mallory.git"
        with tempfile.TemporaryDirectory() as scratch:
            def git(*words: str) -> str:
                done = subprocess.run(["git", "-C", scratch, "-c", "user.name=lab", "-c", "user.email=lab@example.com", *words], check=True,
                                      capture_output=True, text=True)
                return done.stdout.strip()

            git("init", "--quiet")
            git("fetch", "--quiet", url, onto)
            git("checkout", "--quiet", "FETCH_HEAD")
            for path in [*files, *(links or {})]:
                target = pathlib.Path(scratch, path)
                if target.is_dir() and not target.is_symlink():
                    subprocess.run(["rm", "-rf", str(target)], check=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                if path in files:
                    target.write_text(files[path])
                else:
                    target.symlink_to(links[path])
            git("add", "--all", "--force")
            git("commit", "--quiet", "--allow-empty", "-m", f"Attack {time.time()}")
            git("push", "--quiet", "--force", url, f"HEAD:refs/heads/{branch}")
            return git("rev-parse", "HEAD")

    # The rights of a broken app

    def post(self, argv: list[str], stdin: str = "", timeout: float = 40) -> dict:
        """Run a command by the view of the hostile app, in whatever sandbox its process has; raise AssertionError when it does not answer."""
        for key in self.keys():
            connection = http.client.HTTPConnection(self.server.address, 80, timeout=timeout + 10)
            try:
                body = json.dumps({"argv": argv, "stdin": stdin, "timeout": timeout})
                connection.request("POST", "/run/", body, {"Host": f"{APP}.example.com", "X-Key": key, "Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise AssertionError(f"the hostile app does not answer: {error}") from error
            finally:
                connection.close()
            if answer.status == 200:
                return json.loads(text)
        raise AssertionError(f"the hostile app answered {answer.status}: {text[:200]!r}")

    def broken_into(self, script: str, timeout: float = 40) -> str:
        """Return what a shell script prints that runs with the rights of the broken app; what it may not do fails by itself."""
        return self.post(["sh", "-c", script], timeout=timeout)["out"]

    def as_user(self, script: str, timeout: float = 60) -> str:
        """Return what a shell script prints that runs as the app's Unix user without a sandbox."""
        return self.inside(f"runuser -u {APP} -- sh -c {shlex.quote(script)} 2>&1", check=False, timeout=timeout)

    def both(self, script: str) -> None:
        """Do the same as the broken app and, since a sandbox may be switched off, as its Unix user."""
        with contextlib.suppress(AssertionError):
            self.broken_into(script)
        self.as_user(script)

    def program(self, name: str, config: dict, who: str) -> dict:
        """Run one of our programs as root, user or app (the broken one); return the JSON that it prints."""
        text = f"CONFIG = {config!r}\n" + (PROGRAMS / f"{name}.py").read_text()
        if who == "app":
            answer = self.post(["python3", "-"], text, 50)
            assert answer["status"] == 0, answer
            return json.loads(answer["out"])
        path = f"/run/hostile-{name}.py"
        for start in range(0, len(text), 60000):  # an argument has a longest length
            part = base64.b64encode(text[start:start + 60000].encode()).decode()
            self.inside(f"echo {part} | base64 -d {'>' if start == 0 else '>>'} {path}")
        run = {"root": f"{PLAIN} {path}", "user": f"runuser -u {APP} -- {PLAIN} - < {path}"}[who]
        out = self.inside(run)
        return json.loads(out) if out else {}

    # What has to hold

    def remember(self) -> None:
        """Remember all that lies outside of the app's folders."""
        self.inside(f"touch {BACKUP}.dirty")
        self.program("snapshot", self.snapshot_config("remember"), "root")
        self.inside("journalctl --rotate >/dev/null 2>&1; true", check=False)
        self.began = int(self.inside("date +%s"))

    def snapshot_config(self, verb: str) -> dict:
        return {"verb": verb, "app": APP, "root": HOME, "uid": int(self.inside(f"id -u {APP}"))}

    def broken_walls(self, web: bool = True) -> list[str]:
        """Return what has gone wrong: changed files, readable or served secrets, a PID 1 or a login that hangs, a neighbour that failed."""
        failures = [f"changed: {line}" for line in self.program("snapshot", self.snapshot_config("compare"), "root")]
        failures += [f"readable: {line}" for line in self.loot()]
        failures += self.deaf()
        if web:
            failures += [f"served: {line}" for line in self.leaks()]
        failures += [f"the neighbour failed: {line}" for line in self.served[:5]]
        return failures

    def loot(self) -> list[str]:
        """Return which secrets the app can read: by its user on the host, in its processes, and by the broken app."""
        config = {"tokens": self.tokens, "own": [HOME, "/tmp", "/var/tmp", "/dev/shm", "/app"], "paths": self.secret_paths}
        found = [f"by its user: {line}" for line in self.program("loot", config, "user")["found"]]
        with contextlib.suppress(AssertionError):
            found += [f"by the broken app: {line}" for line in self.program("loot", config, "app")["found"]]
        environments = self.inside(f"for pid in $(pgrep -u {APP}); do tr '\\0' '\\n' < /proc/$pid/environ; done 2>/dev/null; true", check=False)
        return found + [f"in the environment of a process: {name}" for name, text in self.tokens.items() if text in environments]

    def deaf(self) -> list[str]:
        """Return which of systemd, a new login and Docker does not answer within seconds."""
        failures = []
        if "ok" not in self.inside(f"timeout {ANSWER} systemctl daemon-reload && timeout {ANSWER} systemctl list-jobs >/dev/null && echo ok", check=False):
            failures.append(f"PID 1 does not answer within {ANSWER} s")
        argv = [word for word in self.server.ssh_argv("true") if not word.startswith("ControlPath")]
        argv[1:1] = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        try:
            done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=2 * ANSWER, stdin=subprocess.DEVNULL)
            failures += [f"a new login fails: {done.stderr[-300:]}"] if done.returncode else []
        except subprocess.TimeoutExpired:
            failures.append(f"a new login does not come within {2 * ANSWER} s")
        if self.containers and not self.inside(f"timeout {ANSWER} docker info --format ok", check=False):
            failures.append(f"Docker does not answer within {ANSWER} s")
        return failures

    def leaks(self) -> list[str]:
        """Return which secrets are served: every name below what the edge serves is asked for, with what is behind links."""
        listed = self.inside(
            f"cd {HOME} && for top in $(ls -d live/frontends/* live/static static shared/media 2>/dev/null); do echo \"= $top\"; "
            "timeout 20 find -L $top/ -maxdepth 3 -mindepth 1 -printf '%P\\n' 2>/dev/null | head -150; "
            "find $top/ -type l -printf '%P\\n' 2>/dev/null | head -50; done; true", check=False)
        found, base = [], ""
        urls = {"frontends": "/app/", "static": "/static/", "media": "/media/"}
        asked = set()
        for line in listed.splitlines():
            if line.startswith("= "):
                base = next(url for word, url in urls.items() if word in line)
                continue
            for path in (base + line, base + line + "/"):
                if path in asked or len(asked) > 400:
                    continue
                asked.add(path)
                status, body = self.get(http_path(path))
                found += [f"{path} ({status}): {name}" for name, text in self.tokens.items() if text.encode() in body]
        return found

    @contextlib.contextmanager
    def neighbour(self):
        """Ask the neighbour all the time, five times a second at most, while the block runs; what failed stands in ``served``."""
        self.served, stop = [], threading.Event()

        def ask() -> None:
            while not stop.wait(0.2):
                status, body = self.get("/healthz/", VICTIM)
                if status != 200:
                    self.served.append(f"{time.strftime('%H:%M:%S')} status {status} {body[:80]!r}")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def markers(self) -> str:
        """Return who ran what an attacker has planted, since the attack began: lines of the journals, an app's own among them, with the uid."""
        return self.inside(f"{SYNCED}; journalctl --namespace='*' -t {MARKER} --since @{self.began} -o json --output-fields=_UID,MESSAGE --no-pager | "
                           "grep -oE '\"(_UID|MESSAGE)\":\"[^\"]*\"' | paste - - || true", check=False)

    def heal(self) -> None:
        """Bring the app back to what it was before all attacks."""
        # A FIFO that PID 1 hangs on lets it go when somebody writes.
        self.inside(f"for fifo in $(find {HOME} /etc/quayside -type p 2>/dev/null); do timeout 2 sh -c \": > $fifo\"; rm -f $fifo; done; true", check=False)
        self.inside(f"find {HOME} -xdev -not -path '*/site-packages/*' -not -path '*/uv/*' -exec lsattr -d {{}} + 2>/dev/null | "
                    "awk '$1 ~ /i/ {print $2}' | xargs -r chattr -i; true", check=False)
        self.inside(f"find {HOME} -depth -name '*.hostile-gone' | while read -r one; do rm -rf \"${{one%.hostile-gone}}\"; "
                    "mv \"$one\" \"${one%.hostile-gone}\"; done", check=False)
        same = self.inside(f"{COPIED} -ni --exclude=/shared/database/* {BACKUP}/root/ {HOME}/ | head -3", check=False)
        healthy = self.get("/healthz/")[0] == 200
        if same or not healthy:
            stop = (f"docker ps -q --filter label=quayside.app={APP} | xargs -r docker stop -t 2" if self.containers
                    else f"systemctl stop {APP}.service quayside-{APP}.slice")
            self.inside(f"timeout 60 sh -c '{stop}' >/dev/null 2>&1; true", check=False)
            self.inside(f"{COPIED} {BACKUP}/root/ {HOME}/ && "
                        f"if [ -d {BACKUP}/secrets ]; then rsync -aHAX --delete {BACKUP}/secrets/ /etc/quayside/{APP}/; fi")
            self.inside(f"rm -rf {CANARY_FOLDER} && mkdir -p {CANARY_FOLDER} && echo canary > {CANARY_FOLDER}/program && chmod 755 {CANARY_FOLDER} && "
                        f"chmod 700 {CANARY_FOLDER}/program")
            if self.containers:
                self.inside("for one in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep ^hostile-kept/); do "
                            "docker tag $one $(echo $one | sed 's,hostile-kept/quayside-,quayside/,'); done")
                self.inside(f"cd {HOME}/live && timeout 100 docker compose up -d --force-recreate --no-deps web >/dev/null 2>&1; true", check=False)
            # Last: the unit starts containers by their names, and those of the release that comes back may have been removed.
            self.inside(f"systemctl reset-failed '{APP}*' 2>/dev/null; timeout 60 systemctl restart {APP}.service")
            self.settled()
        self.inside(f"find /tmp /var/tmp /dev/shm -user {APP} -delete 2>/dev/null; rm -f {BACKUP}.dirty", check=False)


def http_path(path: str) -> str:
    """Return a path as a request line can hold it."""
    from urllib.parse import quote

    return quote(path)
