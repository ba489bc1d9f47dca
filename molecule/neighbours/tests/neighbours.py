# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: a box with its victim and its hostile app, asked from outside, and attacked from inside the hostile one."""
from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import time

import yaml
from lab import ROOT, UNVERIFIED, Server

HERE = pathlib.Path(__file__).resolve().parent
APP = HERE.parent / "app"
SCRATCH = ROOT / ".cache/neighbours"
VICTIM, HOSTILE = "victim.test", "hostile.test"
# The note of this run: what the victim must still say after every attack.
NOTE = secrets.token_hex(16)
EDGES = {"nb-host": "nginx", "nb-nginx": "nginx_container", "nb-traefik": "traefik"}  # of the boxes
RESTART_SECONDS = 60  # the time in which a victim has to be well again after an attack has ended


@dataclasses.dataclass
class Answer:
    """An answer as it came: status (0 when there was none), header lines and body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first value of a header, empty without it."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def seen(self) -> dict:
        """What the victim says that it has seen of the request; empty when somebody else answered."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.body)
            return found if isinstance(found, dict) else {}
        return {}


class Box:
    """A server with a victim and a hostile app."""

    def __init__(self, server: Server):
        self.server, self.name, self.address = server, server.name, server.address
        self.address6 = server.local["lab_addresses6"].get(server.name, "")
        self.edge = EDGES[server.name]
        self.containers = self.name != "nb-host"
        self.inside = server.inside
        self.ready = False

    def __repr__(self) -> str:
        return self.name

    # From outside

    def connect(self, tls: bool = True, name: str = VICTIM, six: bool = False, timeout: float = 20):
        """Return a connection to the edge; ``name`` is the name that TLS asks for."""
        link = socket.create_connection((self.address6 if six else self.address, 443 if tls else 80), timeout)
        if not tls:
            return link
        return UNVERIFIED.wrap_socket(link, server_hostname=name)

    def raw(self, request: bytes, tls: bool = True, name: str = VICTIM, six: bool = False, timeout: float = 20) -> Answer:
        """Send bytes and return the first answer to them; status 0 when none came."""
        try:
            with self.connect(tls, name, six, timeout) as link:
                link.sendall(request)
                data = b""
                with contextlib.suppress(OSError):
                    while chunk := link.recv(65536):
                        data += chunk
        except OSError:
            return Answer(0, [], b"")
        return parsed(data)

    def ask(self, path: str, host: str = VICTIM, method: str = "GET", headers: list | tuple = (), body: bytes = b"", name: str = "", **options) -> Answer:
        """Ask the edge; path, host and headers go out as they stand here."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{key}: {value}" for key, value in headers), "Connection: close"]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body, name=name or host.split(":")[0].rstrip("."), **options)

    def note(self) -> dict:
        """Return the victim's note, as its database and its Redis have it."""
        return self.ask("/note/").seen

    def well(self) -> bool:
        """Return True when the victim answers, with its note as it was."""
        return self.ask("/healthz/").seen.get("status") == "ok" and self.note() == {"row": NOTE, "cached": NOTE}

    def until_well(self) -> None:
        """Wait until the victim is well; fail when it does not come back by itself."""
        self.server.until(self.well, RESTART_SECONDS, f"the victim's health ({self.ask('/note/').body[:200]!r})")

    # Playbooks

    def deploy(self, app: str, *words: str, **options):
        """Deploy an app as the inventory has it."""
        return self.server.play("deploy", "-e", f"django_app={app}", *words, **options)

    def apps(self) -> list[str]:
        """Return the names of the apps of this box."""
        return {"nb-host": ["victim", "hostile", "intruder"], "nb-nginx": ["victim", "hostile"], "nb-traefik": ["victim", "hostile", "side"]}[self.name]

    def make_ready(self) -> None:
        """Have all apps live, and the victim's note written."""
        if self.ready:
            return
        for app in self.apps():
            self.deploy(app)
        written = self.ask("/note/", method="POST", body=json.dumps({"text": NOTE}).encode())
        assert written.status == 200, written
        self.ready = True

    def changed(self, name: str, change) -> list[str]:
        """Return -e @FILE with the apps of this box, of which one is changed by a function on its entry."""
        apps = self.entries()
        change(apps[name])
        return self.given(list(apps.values()))

    def entries(self) -> dict:
        """Return name -> entry of the apps of this box, as the inventory has them before they are rendered."""
        shown = subprocess.run([str(ROOT / ".venv/bin/ansible-inventory"), "-i", str(self.server.inventory), "--host", self.name], check=True,
                               capture_output=True, text=True, cwd=ROOT)
        variables = json.loads(shown.stdout)
        found = [dict(variables["neighbours_victim_base"], **variables["neighbours_victim"]),
                 dict(variables["neighbours_hostile_base"], **variables["neighbours_hostile"]), *variables["neighbours_beside"]]
        return {app["name"]: app for app in found}

    def given(self, apps: list[dict]) -> list[str]:
        """Return -e @FILE with these apps."""
        SCRATCH.mkdir(parents=True, exist_ok=True)
        path = SCRATCH / f"apps-{self.name}.yml"
        path.write_text(yaml.safe_dump({"django_apps": apps}))
        return ["-e", f"@{path}"]

    # From inside the hostile app

    def run(self, source: str, app: str = "hostile", seconds: float = 60, how: str = "") -> str:
        """Run Python in an app's sandbox, as somebody who has broken into it; return its output. ``how``: background or loud."""
        path = f"/run/?seconds={seconds:.0f}{'&' + how + '=1' if how else ''}"
        if app == "side":
            done = subprocess.run([str(ROOT / "scripts/lab"), "ssh", self.name, "curl", "-sS", "--max-time", f"{seconds + 10:.0f}", "--unix-socket",
                                   "/opt/side/live/run/web.sock", "--data-binary", source, f"http://side.test{path}"],
                                  check=True, capture_output=True, env=self.environment)
            return json.loads(done.stdout)["out"]
        answer = self.ask(path, f"{app}.test", "POST", body=source.encode(), timeout=seconds + 20)
        assert answer.status == 200, f"the hostile app does not answer: {answer}"
        return answer.seen["out"]

    @property
    def environment(self) -> dict:
        """The environment for scripts/lab."""
        return dict(os.environ, LAB_ENVIRONMENT=self.server.environment)

    def output(self, log: str, app: str = "hostile") -> str:
        """Return what a program in the background has printed so far."""
        return self.run(f"print(open({log!r}, errors='replace').read())", app)

    def write(self, path: str, text: str) -> None:
        """Write a file of root's on the box, in place."""
        self.inside(f"base64 -d > {path} <<'EOF'\n{base64.b64encode(text.encode()).decode()}\nEOF")

    def pid(self, app: str, process: str) -> int:
        """Return the process id, on the server, of the first process of a live app."""
        if app in ("victim", "hostile") and self.containers or app == "intruder":
            return int(self.inside("docker inspect -f '{{.State.Pid}}' $(docker ps -q --filter label=quayside.app=" + app +
                                   f" --filter label=quayside.process={process} | head -1)"))
        return int(self.inside(f"systemctl show -P MainPID \"{app}-{process}@$(basename $(readlink -f /opt/{app}/live))\""))

    def network_of(self, container: str) -> str:
        """Return the start of a shell line that runs in a container's network."""
        return f"nsenter -n -t $(docker inspect -f '{{{{.State.Pid}}}}' {container})"


def parsed(data: bytes) -> Answer:
    """Return the first answer in some bytes, its body as it came but for chunks."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not lines[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
        return Answer(0, [], data)
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if ":" in line]
    if any(key.lower() == "transfer-encoding" for key, _value in headers):
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size.split(b";")[0] or b"0", 16)
            whole, body = whole + rest[:length], rest[length + 2:]
            if not length:
                break
        body = whole
    return Answer(int(words[1]), headers, body)


def copied(name: str, files: dict) -> str:
    """Return the path of a copy of the app's source with some files changed or added."""
    folder = SCRATCH / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(APP, folder)
    for key, text in files.items():
        (folder / key).write_text(text)
    return str(folder)


VISITS = """
import socket, ssl, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    began, status = time.time(), 0
    try:
        with socket.create_connection(({address!r}, 443), 5) as plain, context.wrap_socket(plain, server_hostname={host!r}) as link:
            link.sendall(b"GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n")
            status = int(link.recv(65536).split(b" ")[1])
    except (OSError, IndexError, ValueError):
        pass
    print(began, status, flush=True)
    time.sleep(0.5)
"""


def visitors(box: Box, visitor: Server, seconds: float, path: str = "/note/") -> list[tuple[float, int]]:
    """Ask the victim twice a second from another machine; return when each began and its status, 0 for none within 5 s."""
    source = VISITS.format(seconds=seconds, address=box.address, host=VICTIM, path=path)
    return [(float(line.split()[0]), int(line.split()[1])) for line in visitor.inside(f"python3 - <<'EOF'\n{source}\nEOF").splitlines()]


def wait(question, seconds: float, pause: float = 0.2):
    """Ask until the answer is true; return it, or the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(pause)
