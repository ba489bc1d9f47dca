# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the doctor judges on a host. It changes nothing, and whatever hangs is left alone after some seconds."""
from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from ansible_collections.quayside.django.plugins.module_utils import (
    certificates,
    contained,
    django_probe,
    django_run,
    dns_query,
    doctor_app,
    doctor_host,
    doctor_processes,
    edges,
    env_file,
    host,
    http_health,
    model,
    orphans,
    processes,
    releases,
    runtime,
    served,
    sizing,
    traefik_api,
)
from ansible_collections.quayside.django.plugins.module_utils import lock as locks
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.doctor import finding

PROBE_TIMEOUT, TOOL_TIMEOUT, SOURCES = 60, 15, 8
EDGE_USER = "www-data"
MARKED = ("apt/apt.conf.d", "logrotate.d", "sysctl.d", "systemd/journald.conf.d")  # where site.yml leaves files of ours, whatever is switched off
ONE_AT_A_TIME = threading.Lock()  # each release that is asked takes the memory of a worker
SOME = 200  # files that are looked at, of how many there may be

# As the user who serves files, since only the kernel knows what modes, groups and access lists say together.
READ_AS = """
import json, os, sys
path, some = sys.argv[1], int(sys.argv[2])
place, blocked, folder = "", "", True
for part in path.split("/")[1:]:
    if not os.access(place or "/", os.X_OK):
        blocked = place or "/"
        break
    place += "/" + part
if not blocked and os.path.isdir(path) and not os.access(path, os.X_OK):
    blocked = path
count = 0
for base, folders, names in os.walk(path) if not blocked else ():
    for name in folders:
        if not blocked and not os.access(os.path.join(base, name), os.X_OK):
            blocked = os.path.join(base, name)
    for name in names:
        count += 1
        if not blocked and not os.access(os.path.join(base, name), os.R_OK):
            blocked, folder = os.path.join(base, name), False
    if blocked or count > some:
        break
print(json.dumps({"blocked": blocked, "folder": folder}))
"""


def look(options: dict) -> dict:
    """Return ``findings`` and ``now`` (this host's clock) of what there is on this host.

    ``options``: apps (of the model, without secrets, each with ``provides`` and ``secret_names``), app (the name of the only one to look at), groups,
    addresses, resolver, certificate_days, orphans (tell apps that are none of these).
    """
    now, groups = time.time(), set(options["groups"])
    known = {app["name"] for app in options["apps"]}
    everyone = options["apps"] if "apps" in groups else []  # they share the host's memory and its database
    apps = [app for app in options["apps"] if options["app"] in ("", app["name"])]
    options = dict(options, apps=apps)
    if not any(glob.glob(f"/etc/{folder}/*quayside*") for folder in MARKED) and not any(os.path.isdir(app["root"]) for app in apps):
        note = finding("host.bare", "note", "host", "nothing is set up here yet, so only the host itself was looked at", "run quayside.django.site")
        return {"now": now, "synchronized": synchronized(), "findings": [note, *together([("size", lambda: size(everyone)), ("packages", packages),
                                                                                         *names(options), ("disks", lambda: disks([]))])]}
    served = [app for app in apps if "edges" in groups and app["edge"] != "none"]
    jobs = [("size", lambda: size(everyone)), ("disks", lambda: disks(apps)), ("packages", packages), ("units", lambda: units(apps))]
    jobs += names(options)
    jobs += [(f"certificates of {app['name']}", lambda app=app: served_certificates(app, options["certificate_days"], now)) for app in served]
    if any(app["edge"] == "traefik" for app in served):
        jobs.append(("traefik", left_out))
    if options["orphans"]:
        jobs.append(("orphans", lambda: orphans.findings(orphans.look(known))))
    if "apps" in groups and any(app["runtime"] == "compose" for app in everyone):
        jobs.append(("volumes", unused_volumes))
    if "apps" in groups:
        jobs += [(f"app {app['name']}", lambda app=app: application(app, everyone)) for app in apps]
    return {"now": now, "synchronized": synchronized(), "findings": together(jobs)}


def together(jobs: list[tuple]) -> list[dict]:
    """Return the findings of jobs that run beside each other; one that breaks is a finding too."""
    found = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        for name, job in [(name, pool.submit(one)) for name, one in jobs]:
            try:
                found += job.result()
            except Exception as error:  # one check that breaks must not hide what the others found
                found.append(finding("doctor.incomplete", "warning", name, f"it could not be looked at: {type(error).__name__}: {error}",
                                     "run the doctor again; if it stays so, please report it"))
    return found


def tool(argv: list[str], timeout: float = TOOL_TIMEOUT) -> str:
    """Return what a program prints, an empty text when it is not there, fails or hangs."""
    try:
        done = host.run(argv, check=False, timeout=timeout)
    except host.PhaseError:
        return ""
    return done.stdout if not done.returncode else ""


# The host


def size(apps: list[dict]) -> list[dict]:
    """Return what the host's size lacks."""
    cores, memory = host.size()
    root = os.statvfs("/")
    facts = {"cores": cores, "cpu": round(host.cpu(), 2), "memory": memory, "disk": root.f_blocks * root.f_frsize // 2 ** 20,
             "free": root.f_bavail * root.f_frsize // 2 ** 20}
    return doctor_host.size(sizing.plan(facts, apps))


def disks(apps: list[dict]) -> list[dict]:
    """Return which file systems lack room, each once."""
    wanted = {"/": 0, "/var": 0, "/tmp": 0, "/var/lib/docker": 0, "/var/lib/containerd": 0, "/var/lib/postgresql": 0}
    for app in apps:
        wanted.update({f"{app['root']}/releases": app["disk"] * 2 ** 20, **dict.fromkeys(model.leaf_folders(app), 0)})
    seen, found = set(), []
    for path, need in sorted(wanted.items(), key=lambda one: -one[1]):
        with contextlib.suppress(OSError), contained.opened(path) as folder:
            device = os.fstat(folder).st_dev
            if device not in seen:
                seen.add(device)
                room = os.fstatvfs(folder)
                found.append({"path": path.rstrip("/") or "/", "total": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize, "need": need,
                              "inodes": room.f_files, "inodes_free": room.f_favail})
    return doctor_host.disks(found)


def synchronized():
    """Return whether a time server is followed; None in a container, which has the clock of its machine."""
    if tool(["systemd-detect-virt", "--container"]).strip() not in ("", "none"):
        return None
    known = doctor_host.tracking(tool(["chronyc", "-c", "tracking"]))
    if known is not None:
        return known
    answer = tool(["timedatectl", "show", "--property=NTPSynchronized", "--value"]).strip()
    return {"yes": True, "no": False}.get(answer)


def units(apps: list[dict]) -> list[dict]:
    """Return which units have failed."""
    shown = tool(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"])
    return doctor_host.units([line.split()[0] for line in shown.splitlines() if line.strip()], apps, os.path.exists("/run/systemd/container"))


def packages() -> list[dict]:
    """Return what is wrong with packages and their sources."""
    sources = []
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list")), *sorted(glob.glob("/etc/apt/sources.list.d/*.sources"))]:
        sources += doctor_host.sources(host.text(path), path.endswith(".sources"))
    release = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', host.text("/etc/os-release"), re.MULTILINE))
    periodic = tool(["apt-config", "dump", "APT::Periodic::Unattended-Upgrade"])
    times = [os.stat(path).st_mtime for path in ("/var/lib/apt/lists", "/var/lib/apt/lists/partial", "/var/lib/apt/periodic/update-success-stamp")
             if os.path.exists(path)]
    fetched = bool(glob.glob("/var/lib/apt/lists/*Release"))
    waiting = [line for line in tool(["apt-get", "--simulate", "-o", "Debug::NoLocking=1", "upgrade"], 30).splitlines() if line.startswith("Inst ")]
    reboot = next((host.text(f"{path}.pkgs").split() for path in ("/run/reboot-required", "/var/run/reboot-required") if os.path.exists(path)), None)
    interrupted = ["dpkg was interrupted"] if glob.glob("/var/lib/dpkg/updates/[0-9]*") else []
    seen = {"system": [release.get("ID", ""), release.get("VERSION_ID", "")], "sources": sources, "unreachable": unreachable(sources),
            "lists": max(times) if fetched and times else 0, "broken": [*tool(["dpkg", "--audit"]).split("\n")[:3], *interrupted],
            "automatic": '"1"' in periodic, "security": sum("ecurity" in line for line in waiting), "reboot": reboot}
    return doctor_host.packages(dict(seen, broken=[line for line in seen["broken"] if line.strip()]), time.time())


def unreachable(sources: list[dict]) -> dict:
    """Return uri and suite -> why, of the sources that apt itself, with its proxies, does not reach."""
    places = list(dict.fromkeys((one["uri"].rstrip("/"), one["suite"]) for one in sources if one["uri"].startswith("http") and not one["suite"].endswith("/")))
    helper = "/usr/lib/apt/apt-helper"
    if not os.path.exists(helper):
        return {}

    def ask(place: tuple) -> str:
        target = os.path.join(folder, str(places.index(place)))
        argv = ["timeout", "12", helper, "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=6", "-o", "Acquire::https::Timeout=6", "-o",
                "APT::Sandbox::User=root", "download-file", f"{place[0]}/dists/{place[1]}/InRelease", target]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", env=host.LOCALE, stdin=subprocess.DEVNULL)
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("E:")] or lines
        return (errors[0].removeprefix("E: ") if errors else "no answer within 12 s") if done.returncode else ""

    with tempfile.TemporaryDirectory(prefix="doctor-") as folder, ThreadPoolExecutor(max_workers=SOURCES) as pool:
        answers = dict(zip(places[:SOURCES], pool.map(ask, places[:SOURCES])))
    return {" ".join(place): why for place, why in answers.items() if why}


# Names and certificates


def names(options: dict) -> list[tuple]:
    """Return a job for each domain that is to lead to this host."""
    if "edges" not in options["groups"]:
        return []
    ours = [*own_addresses(), *options["addresses"]]
    servers = [options["resolver"]] if options["resolver"] else dns_query.servers(host.text("/etc/resolv.conf"))
    return [(f"domain {domain}", lambda app=app, domain=domain: name(app, domain, servers, ours))
            for app in options["apps"] if app["edge"] != "none" for domain in app["domains"] if not model.is_address(domain)]


def name(app: dict, domain: str, servers: list[str], ours: list[str]) -> list[dict]:
    """Return what is wrong with where a domain leads."""
    asked, answer = domain.replace("*", "quayside-doctor", 1), {}
    try:
        answer = {kind: dns_query.ask(asked, kind, servers) for kind in dns_query.KINDS}
    except dns_query.DnsError as error:
        answer = {"error": str(error)}
    return doctor_host.dns(app, domain, answer, ours)


def own_addresses() -> list[str]:
    """Return the addresses of this host's interfaces."""
    shown = json.loads(tool(["ip", "-json", "address"]) or "[]")
    return [one["local"] for link in shown for one in link.get("addr_info", []) if one.get("local") and one.get("scope") == "global"]


def served_certificates(app: dict, early: float, now: float) -> list[dict]:
    """Return what is wrong with the certificates that the edge of this host serves."""
    if app["tls"]["mode"] == "none":
        return []
    found = []
    for domain in [one for one in app["domains"] if not model.is_address(one)]:
        found += doctor_host.certificate(app, domain, handshake(domain.replace("*", "quayside-doctor", 1)), now, early)
    return found


def left_out() -> list[dict]:
    """Return what Traefik leaves out of what it was told to serve."""
    return [finding("edge.left-out", "error", f"traefik: {name_}", f"Traefik cannot build it, and serves nothing by it: {why}",
                    f"run quayside.django.site, which writes the routes of the apps anew; files of your own are beside them in {edges.Traefik.routes}")
            for name_, why in traefik_api.faults(traefik_api.state()).items()]


def handshake(name_: str) -> dict:
    """Return what is known of the certificate that is served for a name."""
    der = served.certificate(name_)
    if not der:
        return {"error": "no TLS handshake with this name at port 443"}
    shown = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-startdate", "-enddate", "-ext", "subjectAltName"], input=der, check=False,
                           capture_output=True, timeout=TOOL_TIMEOUT).stdout.decode(errors="replace")
    has, begins, ends = certificates.read(shown)
    why = certificates.why_not([name_], has, begins, ends, time.time())
    untrusted = ""
    try:
        with socket.create_connection(("127.0.0.1", 443), 5) as sock, ssl.create_default_context().wrap_socket(sock, server_hostname=name_):
            pass
    except ssl.SSLCertVerificationError as error:
        untrusted = error.verify_message
    except (OSError, ValueError):
        untrusted = ""
    return {"why": why, "begins": begins, "ends": ends, "untrusted": untrusted}


# An app


def application(app: dict, apps: list[dict]) -> list[dict]:
    """Return what is wrong with an app on this host."""
    shelf = releases.Shelf(app["root"])
    lease = locks.Lock(f"{app['root']}/lock")
    holder = lease.read()
    stale = locks.stale(holder, lease.busy(), time.time(), locks.host_started()) if holder else ""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.get("since", 0)))
    found = doctor_host.lock(app, holder, stale, since)
    live = shelf.live()
    if not live:
        return [*found, finding("release.none", "note", f"app {app['name']}: release", "none is live, so its settings could not be asked",
                                "run quayside.django.deploy, then the doctor again", app["name"])]
    record = shelf.record(live)
    if record.get("identity") != releases.fingerprint(model.identity(app)):
        found.append(finding("release.outdated", "note", f"app {app['name']}: release {live}",
                             "the inventory says other things than at its deploy, so the live release does not have them yet",
                             "run quayside.django.deploy", app["name"]))
    found += [finding("release.damaged", "error", f"app {app['name']}: release {live}", f"{text}, so its next start fails", "run quayside.django.deploy, which "
                      "makes it anew", app["name"]) for text in RUNTIMES[app["runtime"]](app, shelf).damage(live)]
    found += of_processes(app, apps, shelf, live, bool(holder) and not stale)
    seen = ask(app, shelf, live)
    folders = {"static": [app["static"]["root"] if app["static"]["root"].startswith("/") else shelf.path(live, "static")],
               "media": [app["media"]["root"] if app["media"]["root"].startswith("/") else f"{app['shared']}/media"]}
    if app["runtime"] == "systemd":
        code = processes.code_folder(app, live)
        folders = {field: [*paths, *([f"{code}/{app[field]['root']}", os.path.realpath(f"{code}/{app[field]['root']}")] if app[field]["root"] else []),
                           *map(os.path.realpath, paths)] for field, paths in folders.items()}
    found += doctor_app.findings(app, seen, folders) if seen else [finding(
        "doctor.incomplete", "warning", f"app {app['name']}: settings", "the live release's own Python gave no answer",
        f"try {by_hand(app, shelf, live)}", app["name"])]
    wanted, others = connections(app, apps)
    found += doctor_app.connections(app, seen, wanted, others)
    return [*found, *public(app, shelf, live, record)]


def of_processes(app: dict, apps: list[dict], shelf, live: str, deploying: bool) -> list[dict]:
    """Return what is wrong with what runs of an app. ``deploying``: a run is at work, whose instances come and go."""
    current = dict(app, processes=shelf.record(live).get("processes", app["processes"]))
    made = RUNTIMES[app["runtime"]](current, shelf)
    seen, running = made.describe(live), made.running()
    cores, memory = host.size()
    plan = sizing.plan({"cores": cores, "memory": memory}, apps)
    found = doctor_processes.findings(current, seen) + doctor_processes.services(current, made.describe_services())
    found += doctor_processes.room(current, seen, plan["apps"][app["name"]]["processes"], plan["reserve"], memory)
    return found + ([] if deploying else doctor_processes.leftovers(current, running, live, {release for release in running if made.ending(release)}))


def unused_volumes() -> list[dict]:
    """Return the volumes that no container uses and nobody has named."""
    listed = Engine().get("/volumes", filters={"dangling": ["true"]}).get("Volumes") or []
    return doctor_processes.unused_volumes([one["Name"] for one in listed if "com.docker.volume.anonymous" in (one.get("Labels") or {})])


def by_hand(app: dict, shelf, live: str) -> str:
    """Return what a person types to have a look."""
    return RUNTIMES[app["runtime"]](app, shelf).by_hand(live, "check")


def connections(app: dict, apps: list[dict]) -> tuple[int, int]:
    """Return what an app takes of its database's connections at a deploy, and what the others take that share the host's server."""
    cores, memory = host.size()
    sizes = sizing.plan({"cores": cores, "memory": memory}, apps)["apps"]
    shared = [one for one in apps if one["name"] != app["name"] and one["database"]["engine"] == app["database"]["engine"] == "postgresql"]
    return sizes[app["name"]]["connections"], sum(sizes[one["name"]]["connections"] for one in shared)


def ask(app: dict, shelf, live: str) -> dict:
    """Return what the live release says of itself: it runs in its own Python, env and sandbox. Empty when it gave no answer."""
    made = RUNTIMES[app["runtime"]](app, shelf)
    names = json.dumps(doctor_app.candidates(app) + ["SECRET_KEY"])
    argv = made.one_off(live, [*made.python(live), "-", app["manage"], app["settings"], names, django_run.INVALID_INDEXES, json.dumps(made.programs(live)),
                               *([shelf.path(live, "code")] if app["runtime"] == "systemd" else [])],
                        f"doctor-{os.getpid()}", PROBE_TIMEOUT)
    try:
        with ONE_AT_A_TIME:
            done = subprocess.run(argv, check=False, input=runtime.source_of(django_probe), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=host.LOCALE, text=True, errors="replace", timeout=PROBE_TIMEOUT + 15)
    except subprocess.TimeoutExpired:
        return {}
    # Not splitlines: for that, the mark's first letter ends a line.
    line = next((one for one in done.stdout.split("\n") if one.startswith(django_probe.MARK)), "")
    return dict(json.loads(line[len(django_probe.MARK):]), live=live_names(app, shelf, live)) if line else {}


def live_names(app: dict, shelf, live: str) -> list[str]:
    """Return the names of the variables that the live release was given."""
    found = set()
    for path in (shelf.path(live, "env"), model.secrets_file(app)) if app["runtime"] == "systemd" else (shelf.path(live, "env"),):
        with contextlib.suppress(env_file.EnvError):
            found |= set(env_file.parse(host.text(path)))
    if app["runtime"] == "compose":
        found |= set(re.findall(r"^\s+([A-Za-z_][A-Za-z0-9_]*):", host.text(shelf.path(live, "compose.yaml")), re.MULTILINE))
    return sorted(found)


def secret_values(apps: list[dict]) -> set[str]:
    """Return the values that no finding may hold."""
    found = set()
    for app in apps:
        shelf = releases.Shelf(app["root"])
        texts = [host.text(model.secrets_file(app))]
        with contextlib.suppress(env_file.EnvError):
            found |= set(env_file.parse(texts[0]).values())
        if app["runtime"] == "compose" and shelf.live():
            text = host.text(shelf.path(shelf.live(), "compose.yaml"))
            for name_ in {*app.get("secret_names", []), *doctor_app.NEEDED}:
                for value in re.findall(rf"^\s+{re.escape(name_)}: (.+)$", text, re.MULTILINE):
                    with contextlib.suppress(ValueError):
                        found.add((json.loads(value) if value.startswith('"') else value).replace("$$", "$"))
    return {value for value in found if len(value) >= 8}


def public(app: dict, shelf, live: str, record: dict) -> list[dict]:
    """Return what does not come through the edge: the health path, a static file, an uploaded one; and what the edge's user cannot read."""
    found, item = [], f"app {app['name']}"
    try:
        check = edges.EDGES[app["edge"]].check(app, **model.wanted_answer(app, live, record.get("version", "")))
        if check and app["scheme"] == "https" and check.url.startswith("http:") and served.certificate(app["health"]["host"]):
            # A certificate that does not fit is a finding of its own; what lies behind it can be well.
            check = dataclasses.replace(check, url=check.url.replace("http:", "https:", 1))
        health = http_health.judge(check, http_health.ask(check)) if check else ""
    except (host.PhaseError, EngineError) as error:
        check, health = None, str(error)
    if health:
        found.append(finding("release.unhealthy", "error", f"{item}: health.path {app['health']['path']}", f"asked through the edge: {health}",
                             "run quayside.django.status for its units and the commands that show their logs", app["name"]))
    if app["edge"] == "none":
        return found
    for field, folder in (("static", shelf.path(live, "static")), ("media", f"{app['shared']}/media")):
        if not app[field]["url"]:
            continue
        blocked = doctor_host.unreadable(app, field, folder, readable(folder))
        found += blocked
        if check is not None and not blocked:
            found += through(app, field, folder, check)
    return found


def readable(path: str) -> dict:
    """Return what keeps the edge's user from a folder's files."""
    argv = ["setpriv", "--reuid", EDGE_USER, "--regid", EDGE_USER, "--init-groups", sys.executable, "-I", "-c", READ_AS, path, str(SOME)]
    shown = tool(argv)
    seen = json.loads(shown) if shown else {}
    if seen.get("blocked"):
        have = contained.state(seen["blocked"])
        if have is not None:
            seen.update(mode=f"{have.st_mode & 0o7777:04o}", owner=tool(["stat", "-c", "%U:%G", "--", seen["blocked"]]).strip())
    return seen


def through(app: dict, field: str, folder: str, check) -> list[dict]:
    """Return a finding when a file that lies there does not come through the edge."""
    first = first_file(folder)
    path = f"{app[field]['url']}{quote(first)}"
    if not first or any(path.startswith(one["path"]) for one in app["allow"]):
        return []
    wanted = dataclasses.replace(check, url=f"{check.url.split('//')[0]}//127.0.0.1{path}", path="", status=(200,), text="", json=None)
    answer = http_health.ask(wanted)
    why = http_health.judge(wanted, answer)
    return [finding(f"{field}.not-served", "error", f"app {app['name']}: {path}", f"it lies in {folder}, and the edge answers: {why}",
                    "run quayside.django.site, which writes the site anew; the log of the edge says which file it looked for", app["name"])] if why else []


def first_file(folder: str) -> str:
    """Return the path below a folder of one file that an edge would serve, an empty text when there is none among the first."""
    with contextlib.suppress(OSError):
        for path, _folder, name, have in itertools.islice(contained.walk(folder), SOME * 10):
            hidden = any(part.startswith(".") for part in path.split("/"))
            if stat.S_ISREG(have.st_mode) and not hidden and re.search(r"\.(css|js|png|jpe?g|svg|txt|woff2?|pdf|webp|gif|ico)$", name):
                return path
    return ""
