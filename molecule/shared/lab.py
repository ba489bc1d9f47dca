# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios share: playbooks as a user runs them, a server seen from outside and from inside, and load on a site."""
from __future__ import annotations

import fcntl
import http.client
import json
import os
import pathlib
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time

import testinfra
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname, UNVERIFIED.verify_mode = False, ssl.CERT_NONE


class Machine:
    """The cores that all servers share: a playbook takes them together with others, what is timed takes them for itself. A process may nest it."""

    alone = 0

    def __init__(self, how: int = fcntl.LOCK_EX):
        self.how = how

    def __enter__(self) -> Machine:
        self.file = None
        if not Machine.alone:
            (ROOT / ".cache").mkdir(exist_ok=True)
            self.file = (ROOT / ".cache/machine").open("w")
            fcntl.flock(self.file, self.how)
        Machine.alone += self.how == fcntl.LOCK_EX
        return self

    def __exit__(self, *_error) -> None:
        Machine.alone -= self.how == fcntl.LOCK_EX
        if self.file:
            self.file.close()


class Run:
    """A playbook that has run: ``rc``, ``out``, and the counts of its recap."""

    def __init__(self, done: subprocess.CompletedProcess, seconds: float):
        self.rc, self.out, self.seconds = done.returncode, done.stdout, seconds

    def count(self, what: str) -> int:
        """Return ok, changed, failed… of all hosts together."""
        return sum(int(number) for number in re.findall(rf"\b{what}=(\d+)", self.out))


class Server:
    """A server of a scenario's inventory."""

    def __init__(self, inventory: pathlib.Path, name: str):
        self.inventory, self.name = inventory, name
        self.environment = next(inventory.glob("group_vars/*/local.yml")).parent.name
        self.local = yaml.safe_load(next(inventory.glob("group_vars/*/local.yml")).read_text())
        self.address = self.local["lab_addresses"][name]
        self.url = f"http://{self.address}"

    def __repr__(self) -> str:
        return self.name

    def play(self, playbook: str, *words: str, ok: bool = True, timeout: int = 900, root: pathlib.Path = ROOT) -> Run:
        """Run a playbook of the checkout ``root`` on this server only, as a user types it; with ``ok`` it has to succeed."""
        path = playbook if playbook.endswith(".yml") and "/" in playbook else str(root / "playbooks" / f"{playbook}.yml")
        argv = [str(BIN / "ansible-playbook"), path, "-i", str(self.inventory), "--limit", self.name, *words]
        env = dict(os.environ, ANSIBLE_CONFIG=str(root / "ansible.cfg"), ANSIBLE_NOCOLOR="1")
        env.pop("ANSIBLE_FORCE_COLOR", None)
        if root != ROOT:
            env["ANSIBLE_COLLECTIONS_PATH"] = str(root / ".ansible/collections")
        with Machine(fcntl.LOCK_SH):
            began = time.monotonic()
            done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root,
                                  env=env, timeout=timeout)
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return Run(done, time.monotonic() - began)

    def deploy(self, version: str, *words: str, app: str = "bookshop", **options) -> Run:
        """Deploy a version of an app."""
        return self.play("deploy", "-e", f"django_app={app}", "-e", f"version={version}", *words, **options)

    def changed_app(self, change) -> str:
        """Return the path of a file for -e @PATH with the inventory's first app, changed by a function."""
        app = yaml.safe_load((self.inventory / "group_vars" / self.environment / "main.yml").read_text())["django_apps"][0]
        change(app)
        path = ROOT / ".cache" / f"apps-{self.environment}-{self.name}.yml"
        path.write_text(yaml.safe_dump({"django_apps": [app]}))
        return str(path)

    def inside(self, command: str, check: bool = True) -> str:
        """Return what a root shell on the server prints; it needs no sshd."""
        done = subprocess.run([str(ROOT / "scripts/lab"), "ssh", self.name, "bash", "-c", command], check=False, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=dict(os.environ, LAB_ENVIRONMENT=self.environment))
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def power(self, verb: str) -> None:
        """Switch the server off, on, or cut its power."""
        subprocess.run([str(ROOT / "scripts/lab"), verb, self.name], check=True, env=dict(os.environ, LAB_ENVIRONMENT=self.environment))

    def ssh_argv(self, *command: str) -> list[str]:
        """Return the argv of a login of its own as the deploy user by the lab's key."""
        words = shlex.split(self.local["lab_ssh_args"][self.name])
        known = [value for value in words[1::2] if not value.startswith("ControlPath")]
        return ["ssh", "-i", self.local["lab_private_key"], "-p", "7822", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new",
                *(word for value in known for word in ("-o", value)), f"deploy@{self.address}", *command]

    @property
    def containers(self) -> bool:
        """True where the bookshop's instances are containers."""
        return "compose" in self.inside("head -c 1 /opt/bookshop/compose.yaml >/dev/null 2>&1 && echo compose || echo units")

    def instances(self, app: str = "bookshop") -> dict:
        """Return release -> its units, or containers, that run, start or stop."""
        if self.containers:
            lines = self.inside(f"docker ps --filter label=quayside.app={app} --filter label=quayside.release "
                                "--format '{{.Label \"quayside.release\"}} {{.Names}}'")
        else:
            lines = self.inside(f"systemctl list-units --plain --no-legend --state=active,activating,deactivating '{app}-*@*' | awk '{{print $1}}' | "
                                "sed -E 's/(.*)@(.*).service/\\2 \\1/'")
        found: dict = {}
        for line in lines.splitlines():
            release, unit = line.split()
            found.setdefault(release, []).append(unit)
        return found

    def active(self, unit: str) -> bool:
        """Return True when a line of a release's file `units` runs."""
        question = f"docker inspect --format '{{{{.State.Status}}}}' {unit}" if self.containers else f"systemctl is-active {unit}"
        return self.inside(question, check=False) in ("running", "active")

    def unit(self, process: str, app: str = "bookshop") -> str:
        """Return the first unit or container of a process of an app's live release."""
        pattern = f"-{process}-1$" if self.containers else rf"^{app}-{process}(-1)?@"
        return self.inside(f"grep -E -- '{pattern}' /opt/{app}/live/units")

    def pid(self, process: str, app: str = "bookshop") -> int:
        """Return the pid of a process of an app's live release, 0 when it does not run."""
        unit = self.unit(process, app)
        if self.containers:
            return int(self.inside(f"docker inspect --format '{{{{.State.Pid}}}}' {unit}", check=False) or 0)
        return int(self.inside(f"systemctl show -p MainPID --value {unit}"))

    def whole(self, release: str, seconds: float = 60) -> None:
        """Wait until a release of the bookshop serves, for so many seconds, and then until all of it runs and works."""
        self.until(lambda: self.get("/healthz/")[0] == 200, seconds, "the app")
        assert self.json("/healthz/")["release"] == release
        for unit in self.inside("cat /opt/bookshop/live/units").splitlines():
            self.until(lambda unit=unit: self.active(unit), 30, unit)
        self.until(lambda: self.inside("systemctl is-active bookshop.service", check=False) == "active", 30, "bookshop.service")
        keys = set(self.json("/api/jobs/", data={"count": 3, "seconds": 0})["keys"])
        self.until(lambda: {run["key"] for run in self.json("/api/jobs/?prefix=job-") if run["finished"]} >= keys, 30, "the tasks")

    def watch(self, process: str) -> None:
        """Begin to note when containers of a process begin and end, for ``changes``: Docker itself remembers 256 events, and health checks are events."""
        if self.containers:
            self.inside(f"systemctl stop watch-{process} 2>/dev/null; rm -f /run/watch-{process}; systemd-run --quiet --collect --unit=watch-{process} "
                        f"--property=StandardOutput=file:/run/watch-{process} docker events --filter label=quayside.app=bookshop "
                        f"--filter label=quayside.process={process} --filter event=start --filter event=die --format '{{{{.Action}}}}'")

    def changes(self, process: str, since: float) -> list[str]:
        """Return `start` and `end` for each time that a process of the bookshop began and ended, in their order; of containers since ``watch``."""
        if self.containers:
            return ["start" if line == "start" else "end" for line in self.inside(f"cat /run/watch-{process}").splitlines()]
        lines = self.inside(f"journalctl --namespace='*' -u 'bookshop-{process}@*' --since @{since:.0f} --no-pager | grep -E 'Started|Deactivated' || true")
        return ["start" if "Started " in line else "end" for line in lines.splitlines()]

    def host(self):
        """Return testinfra's view of the server, as root by sudo."""
        config = ROOT / ".lab" / f"ssh-{self.environment}-{self.name}.conf"
        known = ROOT / ".lab" / "known_hosts" / self.environment / self.name
        config.write_text(f"Host *\n  UserKnownHostsFile \"{known}\"\n  StrictHostKeyChecking accept-new\n  ControlMaster auto\n"
                          f"  ControlPath ~/.ssh/quayside-test-%C\n  ControlPersist 60\n  IdentityFile {self.local['lab_private_key']}\n")
        pathlib.Path("~/.ssh").expanduser().mkdir(mode=0o700, exist_ok=True)
        return testinfra.get_host(f"ssh://deploy@{self.address}:7822", ssh_config=str(config), sudo=True)

    def get(self, path: str, host: str = "", data=None, timeout: float = 10, tls: bool = False, limit: int | None = None) -> tuple[int, dict, bytes]:
        """Return status, headers and body (``limit``: its first bytes) of a request from outside; status 0 when nothing answered. No redirect is followed."""
        name = host or self.address
        headers = {"Host": name} | ({} if data is None else {"Content-Type": "application/json"})
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            connection.sock = socket.create_connection((self.address, 443 if tls else 80), timeout)
            if tls:
                connection.sock = UNVERIFIED.wrap_socket(connection.sock, server_hostname=name)
            connection.request("GET" if data is None else "POST", path, None if data is None else json.dumps(data), headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read(limit)
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    def json(self, path: str, host: str = "", data=None, tls: bool = False):
        """Return the JSON of a good answer."""
        status, _headers, body = self.get(path, host, data, tls=tls)
        assert 200 <= status < 300, f"{path}: {status} {body[:300]!r}"
        return json.loads(body)

    def version(self) -> str:
        """Return the version that answers."""
        return self.json("/healthz/")["version"]

    def reload_nginx(self):
        """Reload nginx of the host and wait until no worker with the settings of before takes a request."""
        self.inside("workers() { pgrep -f '^nginx: worker process$'; }; old=$(workers); nginx -s reload; "
                    "for try in $(seq 200); do workers | grep -qxF \"$old\" || exit 0; sleep 0.05; done; echo 'nginx keeps its workers' >&2; exit 1")

    def until(self, question, seconds: float = 30, what: str = "it"):
        """Ask until the answer is true and return it."""
        deadline = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            assert time.monotonic() < deadline, f"{self.name}: {what} did not come within {seconds} s"
            time.sleep(0.2)

    def always(self, question, seconds: float, what: str = "it"):
        """Ask for so many seconds, and fail when an answer is not true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert question(), f"{self.name}: {what} did not last for {seconds} s"
            time.sleep(0.2)


class Load:
    """Open-loop load on a server from outside while the block runs; ``report`` is what tests/load/load.py prints."""

    def __init__(self, server: Server, *words: str):
        self.server, self.words = server, words
        self.stop = ROOT / ".cache" / f"stop-{server.environment}-{server.name}"
        self.report: dict = {}

    def __enter__(self) -> Load:
        self.machine = Machine().__enter__()
        self.stop.unlink(missing_ok=True)
        argv = [sys.executable, str(ROOT / "tests/load/load.py"), self.server.url, "--until", str(self.stop), *self.words]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        time.sleep(2)  # some requests before anything changes
        return self

    def __exit__(self, *_error) -> None:
        time.sleep(3)  # and some after it
        self.stop.touch()
        try:
            out, _ = self.process.communicate(timeout=120)
        finally:
            self.machine.__exit__()
        self.report = json.loads(out)


def servers(folder: pathlib.Path, chosen: list[str] | None = None) -> list[Server]:
    """Return the servers of a scenario's inventory, or only those that are chosen."""
    inventory = folder / "inventory"
    found = yaml.safe_load((inventory / "hosts.yml").read_text())["all"]["children"]
    names = dict.fromkeys(name for group in found.values() for name in group.get("hosts", {}))
    return [Server(inventory, name) for name in names if not chosen or name in chosen]
