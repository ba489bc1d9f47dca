# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the app of a server, what its vault holds, a visitor who stays logged in, and who watches processes."""
from __future__ import annotations

import contextlib
import http.cookiejar
import os
import pathlib
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml
from lab import BIN, ROOT, Run

HERE = pathlib.Path(__file__).absolute().parent.parent
VAULT = HERE / "inventory/group_vars/secrets/vault.yml"
os.environ.setdefault("ANSIBLE_VAULT_PASSWORD_FILE", str(HERE / "vault-password"))
LOGIN = "warden"
PASSWORD = "a-long-password-of-nobody"


class App:
    """The app of a server."""

    def __init__(self, server):
        self.server = server
        self.compose = server.name == "se13"
        self.name = "annex" if self.compose else "bookshop"
        self.root = "/srv/annex" if self.compose else "/opt/bookshop"

    def secrets(self) -> dict:
        """Return what the vault file holds for it."""
        done = subprocess.run([BIN / "ansible-vault", "view", VAULT], check=True, capture_output=True, text=True)
        return yaml.safe_load(done.stdout)[f"vault_{self.name}"]

    def publish(self, *versions: str) -> None:
        """Have the images of these versions in the registry, where the app comes from there."""
        for version in versions if self.compose else ():
            subprocess.run([ROOT / "scripts/lab", "push", "bookshop", version], check=True, capture_output=True)

    def live(self) -> str:
        """Return the id of the live release."""
        return self.server.inside(f"basename $(readlink {self.root}/live)")

    def sql(self, text: str, login: str, password: str, check: bool = False) -> str:
        """Return what PostgreSQL answers to a login with a password, by the way that the app takes."""
        command = f"PGPASSWORD={password} psql -qAt -h 127.0.0.1 -U {login} {self.name} -c \"{text}\" 2>&1"
        if self.compose:
            command = f"docker exec --env PGPASSWORD={password} annex-services-db-1 psql -qAt -h annex-services-db-1 -U {login} {self.name} -c \"{text}\" 2>&1"
        return self.server.inside(command, check=check)

    def roles(self) -> list[str]:
        """Return the roles of PostgreSQL that can log in."""
        start = "docker exec --user postgres annex-services-db-1" if self.compose else "runuser -u postgres --"
        return self.server.inside(f"{start} psql -qAt -d postgres -c 'select rolname from pg_roles where rolcanlogin'").split()

    def redis(self, password: str) -> str:
        """Return what Redis says to a password."""
        start = "docker exec annex-services-redis-1 redis-cli" if self.compose else "redis-cli -p 6379"
        return self.server.inside(f"{start} --no-auth-warning -a {password} ping 2>&1", check=False)

    def visitor(self) -> Visitor:
        """Make the user, and return one who is logged in."""
        code = (f"from django.contrib.auth.models import User; u, _ = User.objects.get_or_create(username='{LOGIN}', is_staff=True, is_superuser=True); "
                f"u.check_password('{PASSWORD}') or u.set_password('{PASSWORD}'); u.save()")
        self.server.inside(f"{self.root}/live/bin/manage shell -c \"{code}\" </dev/null")
        visitor = Visitor(self.server.url)
        visitor.log_in()
        return visitor


class Visitor:
    """Somebody in the admin, in a browser of their own. ``refused`` holds what went wrong while they looked around."""

    def __init__(self, url: str):
        self.url, self.refused, self.seen = url, [], 0
        self.jar = http.cookiejar.CookieJar()
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self.stop = threading.Event()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page."""
        try:
            with self.browser.open(self.url + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError as error:
            return 0, str(error)

    def log_in(self) -> None:
        """Log in by the form."""
        _status, page = self.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, "username": LOGIN, "password": PASSWORD, "next": "/admin/"}).encode()
        request = urllib.request.Request(f"{self.url}/admin/login/", data, {"Referer": f"{self.url}/admin/login/"})
        with self.browser.open(request, timeout=60) as answer:
            assert "logout" in answer.read().decode()

    def inside(self) -> bool:
        """Return True while they are logged in."""
        status, page = self.get("/admin/")
        return status == 200 and "logout" in page

    def __enter__(self) -> Visitor:
        self.thread = threading.Thread(target=self.look_around)
        self.thread.start()
        return self

    def look_around(self) -> None:
        while not self.stop.is_set():
            status, page = self.get("/admin/")
            self.seen += 1
            if status != 200 or "logout" not in page:
                self.refused.append((time.strftime("%H:%M:%S"), status, page[:120]))
            self.stop.wait(0.3)

    def __exit__(self, *_error) -> None:
        self.stop.set()
        self.thread.join()


class Watcher:
    """Remembers every command line on this machine, those of the lab's servers among them, while the block runs."""

    def __init__(self):
        self.lines: set[str] = set()
        self.stop = threading.Event()

    def __enter__(self) -> Watcher:
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(0.03):
            for name in os.listdir("/proc"):
                if name.isdigit():
                    with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                        self.lines.add(file.read().decode("utf-8", "replace"))

    def __exit__(self, *_error) -> None:
        self.stop.set()
        self.thread.join()


def killed(server, secret: str, task: str) -> Run:
    """Rotate, and kill the controller with all its children as soon as a task begins."""
    argv = [str(BIN / "ansible-playbook"), str(ROOT / "playbooks/rotate.yml"), "-i", str(server.inventory), "--limit", server.name, "-e", f"secret={secret}"]
    env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env,
                               start_new_session=True)
    out = ""
    for line in process.stdout:
        out += line
        if f": {task}]" in line:
            time.sleep(0.7)
            os.killpg(process.pid, 9)
            break
    process.stdout.close()
    return Run(subprocess.CompletedProcess(argv, process.wait(), out), 0)
