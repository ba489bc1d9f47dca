# SPDX-License-Identifier: GPL-3.0-or-later
"""Edges: what takes requests from the world and gives them to the live instance. All have the same verbs.

``switch(app, shelf, release)`` points the edge at an instance, ``check(app)`` returns how to ask the app through it, ``missing(app)`` what
site.yml has to make first, ``look(app)`` the command that shows its log, ``addresses(app, record, release)`` where a release is reached.

Whatever an edge has to know of a release lies in the release's own folder, and the edge reads it through the link ``live``. So the rename
of that one link is the whole switch, also for what a power loss leaves behind; telling the edge to read again is all that follows.
"""
from __future__ import annotations

import contextlib
import os
import signal
import time

from ansible_collections.quayside.django.plugins.module_utils import host, model, served, traefik
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from ansible_collections.quayside.django.plugins.module_utils.http_health import CLOSED, Check, ask

FOLDER = "/opt/quayside/edge"
PROJECT = "quayside-edge"
TAKE_OVER = 5  # seconds; on a quiet machine it takes a tenth of one
MARK = "# Made by quayside.django"


def loopback(app: dict, record: dict, release: str) -> dict:
    """Return process -> address of a release on this host: of its own where it has one, else a port of the loopback."""
    ports, own = record.get("ports") or {}, record.get("addresses") or {}
    found = {process["name"]: f"127.0.0.1:{ports[process['name']]}" for process in reached(app, record) if process["name"] in ports}
    # A published port is answered by a program of the engine's, and ends with it.
    return {**found, **{process["name"]: f"{own[process['name']]}:{process['port']}" for process in reached(app, record) if process["name"] in own}}


def networked(app: dict, record: dict, release: str) -> dict:
    """Return process -> address of a release on the Docker network that its app and the edge have together.

    A release of before has names there alone, for which nginx asks the engine. The network is part of those: an edge is in the networks of several apps, and
    two releases of the same commit may have one id.
    """
    places = {process["name"]: f"{process['name']}-{release}.{app['edge_network']}" for process in reached(app, record)}
    places.update(record.get("addresses") or {})
    return {process["name"]: f"{places[process['name']]}:{process['port']}" for process in reached(app, record)}


def reached(app: dict, record: dict) -> list[dict]:
    """Return the processes of a release that are reached by an address; those of the app when the record names none."""
    return [process for process in record.get("processes") or app["processes"] if process.get("tcp")]


def upstreams(app: dict, found: dict) -> str:
    """Return the addresses of a release as the site of nginx reads them: lines of a map, keyed by the name of the variable."""
    lines = [f"{model.variable(app, {'name': name})} {address};\n" for name, address in sorted(found.items())]
    return f"{MARK}: where this release of {app['name']} is reached.\n" + "".join(lines) if lines else ""


def point(shelf, release: str) -> None:
    """Make ``release`` the live one; an empty text: none is."""
    if release:
        host.link(f"{shelf.root}/live", f"releases/{release}")
    else:
        host.remove(f"{shelf.root}/live")
        host.sync_folder(shelf.root)


def keep(shelf, release: str, name: str, text: str) -> None:
    """Write what the edge has to know of a release into the release's folder; an empty text: nothing."""
    folder = shelf.path(release, "edge")
    if text:
        host.folder(folder, 0o755)
        host.write(f"{folder}/{name}", text)
        host.sync_folder(shelf.path(release))
    else:
        host.remove(f"{folder}/{name}")


def asked(app: dict, **wanted) -> Check:
    """Return the check of the public way, on this host: over HTTP while the name has no certificate that is for it."""
    secure = app["scheme"] == "https" and served.look(app["health"]["host"])["fits"]
    return Check(url=f"{'https' if secure else 'http'}://127.0.0.1{app['health']['path']}", verify=False, **wanted)


def refused(app: dict) -> str:
    """Return the name by which health is asked, when an nginx that runs serves no site of that name: it closes the connection (444)."""
    question = Check(url=f"http://127.0.0.1{app['health']['path']}", host=app["health"]["host"])
    # Twice: an nginx without a free connection closes one now and then.
    return app["health"]["host"] if all(ask(question).error == CLOSED for _time in range(2)) else ""


def names(app: dict) -> list[str]:
    """Return the names by which requests reach the app itself."""
    return [app["canonical"]] if app["canonical"] else app["domains"]


def secure(app: dict) -> bool:
    """Return True when the edge serves each of these names by HTTPS now: then the app may send whoever asks by HTTP there."""
    return app["edge"] != "none" and app["scheme"] == "https" and bool(names(app)) and all(served.look(name)["secure"] for name in names(app))


class Nginx:
    """nginx on the host.

    It connects to sockets through the link ``live`` at each request, so for those the renamed link is all. Addresses it reads when it is
    reloaded; the site reads them through the link as well.
    """

    folder = "/etc/nginx"
    addresses = staticmethod(loopback)

    @staticmethod
    def publishes(addresses: dict) -> bool:
        """Return whether containers need ports of this host for it, when they have these addresses in its network."""
        return not addresses

    @classmethod
    def switch(cls, app: dict, shelf, release: str) -> None:
        """Point the edge at ``release`` (an empty text: at none); raise PhaseError, and leave all as it was, when nginx would not follow."""
        before = shelf.live()
        text = upstreams(app, cls.addresses(app, shelf.record(release), release)) if release else ""
        if release:
            keep(shelf, release, "upstreams.conf", text)
        follow = bool(text or host.text(shelf.path(before, "edge", "upstreams.conf")))
        if follow:
            cls.test()
        point(shelf, release)
        if follow:
            try:
                cls.reload()
            except PhaseError:
                point(shelf, before)
                raise

    @staticmethod
    def test() -> None:
        """Raise PhaseError when nginx would refuse to read its configuration again."""
        done = host.run(["nginx", "-t"], check=False)
        if done.returncode:
            raise PhaseError("nginx refuses its configuration as it lies there, so it could not follow the switch", done.stderr, look="nginx -t")

    @staticmethod
    def reload() -> None:
        """Let nginx read its configuration again; raise PhaseError when it does not run. `systemctl reload` would take a second, for its sandbox."""
        master = host.text("/run/nginx.pid").strip()
        if host.text(f"/proc/{master}/comm").strip() != "nginx":
            raise PhaseError("nginx does not run", look="systemctl status nginx; journalctl -u nginx -n 50 --no-pager")
        with taken_over(int(master)):
            os.kill(int(master), signal.SIGHUP)

    @classmethod
    def site(cls, app: dict) -> str:
        """Return the path of the app's site, empty when there is none."""
        paths = (f"{cls.folder}/sites-enabled/{app['name']}", f"{cls.folder}/sites-enabled/{app['name']}.conf")
        return next((path for path in paths if os.path.exists(path)), "")

    @staticmethod
    def check(app: dict, **wanted):
        """Return the check of the public way."""
        return asked(app, **wanted)

    @classmethod
    def missing(cls, app: dict) -> str:
        """Return what site.yml has to make before the edge can serve the app, or an empty text."""
        if not cls.site(app):
            return f"nginx has no site {app['name']}"
        name = refused(app)
        return f"nginx does not serve {name}" if name else ""

    @staticmethod
    def look(app: dict) -> str:
        """Return the command that shows the edge's log of the app."""
        return f"tail /var/log/nginx/{app['name']}_error.log"


class NginxContainer(Nginx):
    """nginx in a container of the project ``quayside-edge``: it reaches the processes by their names on the app's network."""

    folder = f"{FOLDER}/nginx"
    addresses = staticmethod(networked)

    @staticmethod
    def publishes(addresses: dict) -> bool:
        """Return whether containers need ports of this host for it."""
        return False

    @classmethod
    def test(cls) -> None:
        """Raise PhaseError when nginx would refuse to read its configuration again, or does not run."""
        cls.inside("refuses its configuration as it lies there, so it could not follow the switch", "-t")

    @classmethod
    def reload(cls) -> None:
        """Let nginx read its configuration again; raise PhaseError when it does not run."""
        # Not by a signal from outside: Docker takes a container that was sent any for stopped by hand, and does not start it after a power loss.
        with engine_words() as engine:
            master = engine.get(f"/containers/{running(engine, 'nginx')}/json")["State"]["Pid"]
        with taken_over(master):
            cls.inside("could not be reloaded", "-s", "reload")

    @classmethod
    def inside(cls, wrong: str, *options: str) -> None:
        """Run nginx with these options in its container; raise PhaseError that it is ``wrong`` when that fails."""
        with engine_words() as engine:
            container = running(engine, "nginx")
            argv = ["nginx", *options, "-c", f"{cls.folder}/nginx.conf"]
            made = engine.post(f"/containers/{container}/exec", {"Cmd": argv, "AttachStdout": True, "AttachStderr": True, "Tty": True})
            said = engine.post(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": True})
            if engine.get(f"/exec/{made['Id']}/json")["ExitCode"]:
                raise PhaseError(f"nginx {wrong}", said or "", look=f"docker exec {container} {' '.join(argv)}")

    @staticmethod
    def look(app: dict) -> str:
        """Return the command that shows the edge's log."""
        return f"docker compose -f {FOLDER}/compose.yaml logs --tail 50 nginx"

    @classmethod
    def missing(cls, app: dict) -> str:
        """Return what site.yml has to make before the edge can serve the app, or an empty text."""
        return super().missing(app) if os.path.exists(f"{FOLDER}/compose.yaml") else f"the edge's nginx has no site {app['name']}"


class Traefik(NginxContainer):
    """Traefik, and the nginx beside it that knows where the live release is: Traefik hands it every request, so a switch is nginx's alone."""

    routes = f"{FOLDER}/dynamic"

    @staticmethod
    def look(app: dict) -> str:
        """Return the command that shows the edge's log."""
        return f"docker compose -f {FOLDER}/compose.yaml logs --tail 50 traefik nginx"

    @classmethod
    def missing(cls, app: dict) -> str:
        """Return what site.yml has to make before the edge can serve the app, or an empty text."""
        text, name = host.text(f"{cls.routes}/{app['name']}.yml"), app["health"]["host"]
        if not text or not cls.site(app):
            return f"Traefik has no routes for {app['name']}"
        if traefik.NGINX not in text:
            return "Traefik still asks the app itself, and not the nginx beside it"
        return f"Traefik does not serve {name}" if name in app["domains"] and traefik.host_rule([name]) not in text else ""


class NoEdge:
    """No edge of ours: the link is still what says which release is live."""

    addresses = staticmethod(loopback)

    @staticmethod
    def publishes(addresses: dict) -> bool:
        """Return whether containers need ports of this host for it: whoever has no edge of ours reaches them by those."""
        return True

    @staticmethod
    def switch(app: dict, shelf, release: str) -> None:
        """Make ``release`` the live one."""
        point(shelf, release)

    @staticmethod
    def check(app: dict, **wanted):
        return None

    @staticmethod
    def missing(app: dict) -> str:
        return ""

    @staticmethod
    def look(app: dict) -> str:
        return ""


@contextlib.contextmanager
def taken_over(master: int):
    """Wait, after a reload, until no worker of before takes connections any more: until then some requests still go the old way."""
    before = workers(master)
    yield
    deadline = time.monotonic() + TAKE_OVER
    while before & workers(master) and time.monotonic() < deadline:
        time.sleep(0.01)


def workers(master: int) -> set:
    """Return the pids of the workers of an nginx that take connections."""
    children = host.text(f"/proc/{master}/task/{master}/children").split()
    return {pid for pid in children if host.text(f"/proc/{pid}/cmdline").startswith("nginx: worker process") and
            "shutting down" not in host.text(f"/proc/{pid}/cmdline")}


EDGES = {"nginx": Nginx, "nginx_container": NginxContainer, "traefik": Traefik, "none": NoEdge}


@contextlib.contextmanager
def engine_words():
    """Give an Engine; what it refuses becomes a PhaseError."""
    try:
        yield Engine()
    except EngineError as error:
        raise PhaseError(f"Docker: {error.message}", look=f"docker compose -f {FOLDER}/compose.yaml ps") from error


def running(engine: Engine, service: str) -> str:
    """Return the name of the edge's container of a service; raise PhaseError when it does not run."""
    labels = [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}"]
    found = engine.get("/containers/json", filters={"label": labels, "status": ["running"]})
    if not found:
        raise PhaseError(f"the edge's container {service} does not run: docker compose -f {FOLDER}/compose.yaml up -d",
                         look=f"docker compose -f {FOLDER}/compose.yaml ps -a")
    return found[0]["Names"][0].lstrip("/")
