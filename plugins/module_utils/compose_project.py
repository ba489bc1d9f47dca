# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose project of an instance, from the app model alone. Pure.

What it holds is what runs: ``docker compose ps``, ``logs`` and ``exec`` work in its folder without Ansible.
"""
from __future__ import annotations

import json
import posixpath
import re
import shlex

from ansible_collections.quayside.django.plugins.module_utils import env_file, model, processes, shell_line, supervisor, units

HELPERS = "/quayside"  # where our programs are mounted in a container
NEEDS_SHELL = re.compile(r"[|&;<>()$`*?\[\]#~]|^\w+=")
PLAIN = re.compile(r"^[A-Za-z/][A-Za-z0-9_./@+-]*\Z")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # YAML 1.1 reads these as something else

# Asks the process that a container runs, as the edge would. What it needs is in the image already: Python, Node, wget or curl.
HEALTH = r"""#!/bin/sh
# Written by quayside.django. Usage: health PORT-OR-SOCKET PATH HOST SCHEME LOWEST HIGHEST; good is a status between the last two.
if command -v python3 >/dev/null 2>&1; then
    exec python3 -I -S -c '
import http.client, socket, sys
place, path, host, scheme, lowest, highest = sys.argv[1:]
link = http.client.HTTPConnection("127.0.0.1", 0 if "/" in place else int(place), timeout=SECONDS)
if "/" in place:
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.settimeout(SECONDS)
    link.sock.connect(place)
link.request("GET", path, headers={"Host": host, "X-Forwarded-Proto": scheme})
status = link.getresponse().status
print(status)
sys.exit(not int(lowest) <= status <= int(highest))' "$@"
fi
if command -v node >/dev/null 2>&1; then
    exec node -e '
const [place, path, host, scheme, lowest, highest] = process.argv.slice(1);
const where = place.includes("/") ? {socketPath: place} : {host: "127.0.0.1", port: place};
require("http").get({...where, path, headers: {Host: host, "X-Forwarded-Proto": scheme}, timeout: MILLISECONDS}, answer => {
  console.log(answer.statusCode);
  process.exit(answer.statusCode >= lowest && answer.statusCode <= highest ? 0 : 1);
}).on("error", error => { console.log(error.message); process.exit(1); }).on("timeout", () => process.exit(1));' -- "$@"
fi
case $1 in */*) exit 0 ;; esac
if command -v curl >/dev/null 2>&1; then
    status=$(curl -s -o /dev/null -m SECONDS -w '%{http_code}' -H "Host: $3" -H "X-Forwarded-Proto: $4" "http://127.0.0.1:$1$2") || exit 1
    echo "$status"
    [ "$status" -ge "$5" ] && [ "$status" -le "$6" ]
    exit
fi
exec wget -q -O /dev/null -T SECONDS --header "Host: $3" --header "X-Forwarded-Proto: $4" "http://127.0.0.1:$1$2"
"""


# Of the CPU, when all want it, as Docker counts: what units.SINGLE_WEIGHT is for systemd. runc 1.1 writes 391 into the group's cpu.weight.
SINGLE_SHARES = 10240


def health_script(app: dict) -> str:
    """Return the program by which Docker asks a container, with a little less time than Docker gives it."""
    seconds = max(1, app["container"]["timeout"] - 1)
    return HEALTH.replace("MILLISECONDS", str(seconds * 1000)).replace("SECONDS", str(seconds))


def project_name(app: dict, release: str) -> str:
    """Return the name of the compose project of a release."""
    return f"{app['name']}-{release}"


def keys(process: dict) -> list[str]:
    """Return the names of the services of a process: its own, and one with a number for each copy beyond the first."""
    return [process["name"] if copy == 1 else f"{process['name']}-{copy}" for copy in processes.copies(process)]


def containers(app: dict, release: str, wanted: list[dict]) -> list[str]:
    """Return the names of the containers of some processes of a release."""
    return [f"{project_name(app, release)}-{key}-1" for process in wanted for key in keys(process)]


def one_off_name(app: dict, release: str, name: str) -> str:
    """Return the name of the container of a one-off. No process of a release has it: the names of those end in ``-1``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{project_name(app, release)}-run-{name}")


def command(app: dict, process: dict, release: str, workers: int, copy: int, image_env=()) -> list[str]:
    """Return the command of a container, empty for that of the image. A single process holds a lock for as long as it lives."""
    if not process["command"]:
        return []
    line = filled_in(processes.full_command(app, process, workers, HELPERS, image_env), variables(app, process, release, copy))
    if process["single"]:
        lock = shlex.quote(processes.single_lock(app, process))
        with_lock, without = shell_line.exec_line(line, f"flock --no-fork --timeout 30 {lock}"), shell_line.exec_line(line)
        return ["/bin/sh", "-c", f"if flock --version 2>/dev/null | grep -q util-linux; then {with_lock}; else {without}; fi"]
    return ["/bin/sh", "-c", shell_line.exec_line(line)] if NEEDS_SHELL.search(line) else shlex.split(line)


def filled_in(text: str, values: dict) -> str:
    """Return a text with the variables filled in that it names with a dollar."""
    for name, value in values.items():
        text = re.sub(r"\$(\{" + name + r"\}|" + name + r"(?![A-Za-z0-9_]))", lambda _found, value=value: value, text)
    return text


def variables(app: dict, process: dict, release: str, copy: int) -> dict:
    """Return the variables that a process has beside those of its app and release."""
    found = {"RELEASE": release, "PROCESS": process["name"], "COPY": str(copy), "LOGS": f"{app['shared']}/logs",
             "SOCKET": f"{app['root']}/releases/{release}/run/{process['name']}.sock"}
    return dict(found, PORT=str(process["port"])) if process["tcp"] else found


def project(app: dict, release: str, facts: dict) -> dict:
    """Return the compose project of a release, as ``render`` writes it.

    ``facts``: user (uid:gid), images (name -> reference), ports (process -> port of localhost, where its edge needs that), addresses (process -> its
    address in the edge's network) and services (name -> address) where their networks take any, env and secrets (name -> text), workers
    (process -> number for ``auto``), memory (process -> MiB of its limit, or 0), image_env (image -> names of the variables that it sets), search
    (what ``search_path`` returns).
    """
    services = {}
    before: list[str] = []
    for process in app["processes"]:
        for copy, key in zip(processes.copies(process), keys(process)):
            services[key] = service(app, process, release, facts, copy)
            # By its plain name each finds those of its own release: without asking the engine, where they have addresses of ours.
            if before and process["serves"] and facts["addresses"]:
                services[key]["extra_hosts"] = services[key].get("extra_hosts", []) + [f"{name}:{facts['addresses'][name]}" for name in before]
            elif before and process["serves"]:
                services[key]["links"] = list(before)
        if process["serves"]:
            before += [process["name"]]
    services["manage"] = one_off(app, release, facts)
    return {"name": project_name(app, release), "services": services,
            "networks": {"default": {"name": app["network"], "external": True}, "edge": {"name": app["edge_network"], "external": True}}}


def networks(process: dict, alias: str, address: str) -> dict:
    """Return the networks of a process: that of the data for what needs them, and that of the edge for all that takes requests or has no other."""
    joined = (["default"] if process["data"] else []) + (["edge"] if process["serves"] or not process["data"] else [])
    made: dict = {name: {"aliases": [alias]} for name in joined}
    if address:
        made["edge"]["ipv4_address"] = address
    return made


def service(app: dict, process: dict, release: str, facts: dict, copy: int) -> dict:
    """Return the service of one copy of a process."""
    name = process["name"]
    made = common(app, release, facts, process["image"], writable_static=False, data=process["data"])
    workers, image_env = facts["workers"].get(name, 1), facts.get("image_env", {}).get(process["image"], ())
    argv = command(app, process, release, workers, copy, image_env)
    if argv:
        made["command"] = argv
    own = process["image"] == app["images"][0]["name"]  # a frontend has no business with the database's password
    secrets = {key: value for key, value in facts["secrets"].items() if own or key in process["secrets"]}
    # What lies in a file reaches those that would get the variable.
    unread = [secret for secret in app.get("secret_files", []) if not own and secret not in process["secrets"]]
    made["volumes"] = made["volumes"] + secret_files(app, release, [secret for secret in app.get("secret_files", []) if secret not in unread])
    env = {key: value for key, value in facts["env"].items() if key.removesuffix("_FILE") not in unread}
    env.update(facts["search"] if own else {})
    given = variables(app, process, release, copy)
    celery = {key: filled_in(value, given) for key, value in processes.celery_variables(app, process, workers).items()}
    made["environment"] = {**env, **secrets, "HOME": "/tmp", **given, **processes.concurrency(app, process, workers, image_env), **celery,
                           **{key: env_file.text(value) for key, value in process["env"].items()}}
    made["environment"].update({key: made["environment"].get(target, "") for key, target in process.get("aliases", {}).items()})
    made["networks"] = networks(process, f"{name}-{release}", facts["addresses"].get(name, ""))
    if process["data"] and any(facts["services"].values()):
        made["extra_hosts"] = [f"{service}:{address}" for service, address in facts["services"].items() if address]
    made["labels"] = {"quayside.app": app["name"], "quayside.release": release, "quayside.process": name}
    made["restart"] = supervisor.OTHER  # until it is live
    made["stop_grace_period"] = f"{process['drain'] + 5}s"
    made["logging"] = logging(app, name)
    memory = megabytes(process["memory"]) or facts["memory"].get(name, 0)
    if memory:
        made["mem_limit"] = f"{memory}m"
    made["oom_score_adj"] = units.OOM_SCORE
    if process["cpu"]:
        made["cpus"] = float(process["cpu"].rstrip("%")) / 100
    if process["single"]:
        made["cpu_shares"] = SINGLE_SHARES
    if name in facts["ports"]:
        made["ports"] = [f"127.0.0.1:{facts['ports'][name]}:{process['port']}"]
    # An image's own HEALTHCHECK asks its server, and would call each worker of the same image unhealthy.
    made["healthcheck"] = healthcheck(app, process, release) if process["serves"] else {"disable": True}
    return made


def misplaced(process: dict, addresses: list[str]) -> str:
    """Return what is wrong with where a process listens inside its container, empty where nothing is. ``addresses``: those of `ss -Htln`.

    127.0.0.11 is Docker's own name server.
    """
    places = [address.rpartition(":")[::2] for address in addresses if not address.startswith("127.0.0.11:")]
    ports = {port for _host, port in places}
    if any(port == str(process["port"]) and not host.startswith(("127.", "[::1]")) for host, port in places) or not places:
        return ""
    if str(process["port"]) in ports:
        return (f". It listens on 127.0.0.1:{process['port']} inside its container, where nobody else reaches it: let it listen on 0.0.0.0 "
                f"(processes[{process['name']}].command)")
    return (f". Inside its container it listens on {', '.join(sorted(f'{host}:{port}' for host, port in places))}, and processes[{process['name']}].port is "
            f"{process['port']}: make one of them the other")


def logging(app: dict, process: str) -> dict:
    """Return how a container logs: into the app's own journal, where a flood pushes out no lines but its own. `docker logs` reads what Docker keeps beside it.

    Docker's driver for the journal writes into that of the host, whatever namespace the app has, so the line goes by the syslog socket of the app's.
    """
    return {"driver": "syslog", "options": {"syslog-address": f"unixgram:///run/systemd/journal.{app['name']}/dev-log", "tag": f"{app['name']}-{process}",
                                            "cache-max-size": "10m", "cache-max-file": "2"}}


def healthcheck(app: dict, process: dict, release: str) -> dict:
    """Return how Docker asks a container for its health."""
    health, how = app["health"], app["container"]
    place = variables(app, process, release, 1)["SOCKET"] if process["socket"] else str(process["port"])
    if process["name"] == processes.belongs_to(health["path"], app):
        path, lowest, highest = health["path"], min(health["status"]), max(health["status"])
    else:
        path, lowest, highest = process["check"] or "/", 200, 399 if process["check"] else 499
    return {"test": ["CMD", "/bin/sh", f"{HELPERS}/health", place, path, health["host"], app["scheme"], str(lowest), str(highest)],
            "interval": f"{how['interval']}s", "timeout": f"{how['timeout']}s", "retries": how["retries"],
            "start_period": f"{how['start_period']}s", "start_interval": "1s"}


def one_off(app: dict, release: str, facts: dict) -> dict:
    """Return the service of commands: it is never started by itself, and may write the release's static files."""
    made = common(app, release, facts, app["images"][0]["name"], writable_static=True)
    made["volumes"] = made["volumes"] + secret_files(app, release, app.get("secret_files", []))
    made["profiles"] = ["manage"]
    made["environment"] = {**facts["env"], **facts["search"], **facts["secrets"], "HOME": "/tmp", "PROCESS": "manage", "COPY": "1"}
    made["networks"] = {"default": {}}
    made["labels"] = {"quayside.app": app["name"], "quayside.process": "manage"}
    made["restart"] = "no"
    made["logging"] = {"driver": "none"}
    made["healthcheck"] = {"disable": True}
    made["command"] = ["python", app["manage"], "help"]
    return made


def common(app: dict, release: str, facts: dict, image: str, writable_static: bool, data: bool = True) -> dict:
    """Return what all containers of a release have: image, user, files, and as few rights as possible; with ``data`` the sockets of host's services."""
    folder = f"{app['root']}/releases/{release}"
    static = app["static"]["root"] or f"{folder}/static"
    # shared/ is root's, so no app can put a link where the engine would mount its target; what can be written there are the leaves.
    volumes = [bind(app["shared"], app["shared"], read_only=bool(app.get("rehearsal"))), bind(f"{folder}/lib", HELPERS, read_only=True),
               bind(f"{folder}/static", static, read_only=not writable_static)]
    if any(process["socket"] for process in app["processes"]):
        volumes.append(bind(f"{folder}/run", f"{folder}/run"))
    if app["media"]["root"]:
        volumes.append(bind(f"{app['shared']}/media", app["media"]["root"]))
    volumes += [bind(f"{app['shared']}/{kept['name']}", kept["path"]) for kept in app["folders"] if kept["path"]]
    if data and app["database"]["engine"] == "postgresql":
        volumes.append(bind("/run/postgresql", "/run/postgresql"))
    if data and app["cache"]["engine"] == "redis":
        volumes.append(bind(f"/run/redis-{app['name']}", f"/run/redis-{app['name']}"))
    return {
        "image": facts["images"][image], "pull_policy": "never", "user": facts["user"],
        "init": app["container"]["init"], "read_only": app["container"]["read_only"],
        "tmpfs": ["/tmp:mode=1777", *(f"{path}:mode=1777" for path in app["container"]["writable"])],
        "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "pids_limit": 1024,
        "volumes": volumes + app["container"]["volumes"],
    }


def volume_findings(app: dict, images: dict) -> tuple[list[str], list[str]]:
    """Return what is wrong with the volumes that images declare, and what is to be told of them. ``images``: reference -> the paths of its VOLUME lines.

    Docker gives each container an empty volume for such a path, unless something of ours is mounted at the very same one.
    """
    places = {app["static"]["root"]: "static.root", app["media"]["root"]: "media.root",
              **{folder["path"]: f"folders[{folder['name']}].path" for folder in app["folders"]},
              **{line.split(":")[1]: "container.volumes" for line in app["container"]["volumes"]}}
    wrong, told = [], []
    for reference, declared in images.items():
        for path in sorted(posixpath.normpath(path) for path in declared):
            above = [place for place in places if place and path.startswith(place + "/")]
            if above:
                wrong.append(f"the image {reference} declares VOLUME {path}, inside {above[0]} ({places[above[0]]}): an empty volume of each container would "
                             f"hide that part of it, and what is written there would be gone with the next deploy. Take {path} out of VOLUME in the Dockerfile")
            elif path not in places and path not in ("/tmp", *app["container"]["writable"]):
                told.append(f"warning: the image {reference} declares VOLUME {path}: what is written there is gone with the next deploy. Where it has to stay, "
                            f"name it in the app model: folders: [{{name: {posixpath.basename(path)}, path: {path}}}]")
    return wrong, told


def secret_files(app: dict, release: str, names: list[str]) -> list[dict]:
    """Return the mounts of secrets that arrive as files, each under the path that its variable has on the host too."""
    return [bind(path, path, read_only=True) for name, path in model.secret_file_paths(app, release).items() if name in names]


def bind(source: str, target: str, read_only: bool = False) -> dict:
    """Return a mount of a folder of the host, which has to be there."""
    mount = {"type": "bind", "source": source, "target": target, "bind": {"create_host_path": False}}
    return dict(mount, read_only=True) if read_only else mount


def megabytes(text: str) -> int:
    """Return the MiB of a size as systemd writes it (``512M``, ``1.5G``), 0 for an empty text."""
    found = re.match(r"^(\d+(?:\.\d+)?)([KMGT]?)\Z", text.strip())
    return int(float(found[1]) * {"": 1 / 2**20, "K": 1 / 1024, "M": 1, "G": 1024, "T": 2**20}[found[2]]) if found else 0


def facts_of(app: dict, release: str, record: dict, env: dict, secrets: dict, user: str, sizes: dict, configs: dict | None = None) -> dict:
    """Return what ``project`` wants to know; ``sizes``: process -> {workers, limit}; ``configs``: image -> its Config, as the engine has it."""
    configs = configs or {}
    return {"user": user, "images": {name: image["ref"] for name, image in record["images"].items()},
            "image_env": {name: [line.partition("=")[0] for line in config.get("Env") or []] for name, config in configs.items()},
            "ports": record.get("ports", {}), "addresses": record.get("addresses", {}), "services": {},
            "env": {key: env_file.text(value) for key, value in env.items()},
            "secrets": {key: env_file.text(value) for key, value in secrets.items()},
            "workers": {name: size["workers"] for name, size in sizes.items()}, "memory": {name: size["limit"] for name, size in sizes.items()},
            "search": search_path(app, env, configs.get(app["images"][0]["name"], {}))}


def search_path(app: dict, env: dict, config: dict) -> dict:
    """Return the variable by which Python finds the folder of manage.py, where that is not the working folder of the image; ``config`` is the image's."""
    folder = posixpath.dirname(app["manage"])
    if not folder:
        return {}
    before = env.get("PYTHONPATH") or next((line.partition("=")[2] for line in config.get("Env") or [] if line.startswith("PYTHONPATH=")), "")
    place = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", folder))
    return {"PYTHONPATH": ":".join(part for part in (place, before) if part)}


def render(value: dict, header: str = "") -> str:
    """Return a project as YAML. Every dollar is doubled, since compose would replace what stands behind it."""
    return header + "\n".join(lines(value, 0)) + "\n"


def lines(value, depth: int):
    """Yield the lines of a dict or a list."""
    pad = "  " * depth
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        start = f"{pad}-" if key is None else f"{pad}{scalar(str(key))}:"
        if isinstance(item, list) and all(not isinstance(one, (dict, list)) for one in item):
            yield f"{start} [{', '.join(scalar(one) for one in item)}]"
        elif isinstance(item, dict) and not item:
            yield f"{start} {{}}"
        elif isinstance(item, (dict, list)) and key is None:
            inner = list(lines(item, depth + 1))
            yield f"{pad}- {inner[0].lstrip()}"
            yield from inner[1:]
        elif isinstance(item, (dict, list)):
            yield start
            yield from lines(item, depth + 1)
        else:
            yield f"{start} {scalar(item)}"


def scalar(value) -> str:
    """Return a text, a number or a truth as YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("$", "$$")
    return text if PLAIN.match(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def mark(app: dict, release: str) -> str:
    """Return the first lines of a project file."""
    return (f"# Written by quayside.django for release {release} of the app {app['name']}; the app model decides what stands here.\n"
            f"# By hand, as root in {app['root']}: docker compose ps; docker compose logs -f web; docker compose exec web python {app['manage']} shell\n")
