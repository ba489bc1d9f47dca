# SPDX-License-Identifier: GPL-3.0-or-later
"""The builder of one app: an engine of its own for the time of a build, in a network of its own, with limits.

The engine of the host has one cache and one list of images for all, fetches ``ADD http://…`` from the host's own network, and lets a RUN take all of the host's
memory. So a build gets a second engine, of the same program: its cache and its images lie in a folder of the app's, it sees no image of another app and none
of the host's; it runs in a network namespace behind a bridge, so that its loopback is empty and the firewall closes private networks to it; and all of it, each
RUN too, is in one unit of systemd with limits of memory, processes and CPU. When the build is done the engine of the host gets the image, and the unit ends.
"""
from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import shlex

from ansible_collections.quayside.django.plugins.module_utils import docker_network, host, outbound, sandbox
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError, UnixConnection

DAEMON = "/etc/docker/daemon.json"
RUN = "/run/quayside-build"
INSIDE = "198.19.255.1/24"  # of the range for tests of networks (RFC 2544), which nobody routes: the bridge between a RUN and its namespace
MEMORY = 0.5  # of the host's: the live instance goes on beside a build
TASKS = 4096
START = 180  # seconds, on a busy host with a slow disk
CHUNK = 1 << 20


def names(app: dict) -> dict:
    """Return what a builder is called on its host: unit, namespace, the host's end of the cable, socket, and its files."""
    return {"unit": f"quayside-build@{app['name']}.service", "namespace": f"quayside-build-{app['name']}",
            "cable": f"qv{hashlib.sha256(app['name'].encode()).hexdigest()[:10]}", "socket": f"{RUN}/{app['name']}.sock",
            "config": f"{RUN}/{app['name']}.json", "resolver": f"{RUN}/{app['name']}.resolv"}


def config(app: dict, root: str, daemon: dict) -> dict:
    """Return the configuration of a builder. ``root``: the folder of the host's engine; ``daemon``: its configuration, of which the registries count."""
    kept = {key: daemon[key] for key in ("registry-mirrors", "insecure-registries", "dns", "dns-opts", "dns-search", "builder", "proxies") if key in daemon}
    return {**kept, "data-root": f"{root}/quayside-build/{app['name']}", "exec-root": f"{RUN}/{app['name']}", "pidfile": f"{RUN}/{app['name']}.pid",
            "hosts": [f"unix://{names(app)['socket']}"], "bip": INSIDE, "exec-opts": ["native.cgroupdriver=cgroupfs"], "log-driver": "none",
            "features": {"buildkit": True}}


def command(app: dict) -> str:
    """Return the shell line of the unit. What it runs is put below the unit's own group of processes, so that its limits hold for each RUN."""
    own = "own=$(sed -n 's/^[0-9]*:memory://p; s/^0:://p' /proc/self/cgroup | head -n 1)"
    space = names(app)["namespace"]
    return (f"{own}; exec dockerd --config-file={names(app)['config']} --cgroup-parent=\"$own\" --containerd-namespace={space} "
            f"--containerd-plugins-namespace={space}-plugins")


def unit(app: dict, memory: int, cores: int, seconds: int, environment: list[str]) -> list[str]:
    """Return the argv that starts the unit. ``memory``: MiB of the host; ``cores``: its number; ``environment``: NAME=value, such as a proxy."""
    called = names(app)
    properties = ["Type=notify", "NotifyAccess=all", f"NetworkNamespacePath=/run/netns/{called['namespace']}", "Delegate=yes",
                  f"MemoryMax={int(memory * MEMORY)}M", f"TasksMax={TASKS}", f"CPUQuota={max(80, cores * 100 - 50)}%", "CPUWeight=20", "IOWeight=20",
                  f"LimitFSIZE={sandbox.FILE_LIMIT}", f"RuntimeMaxSec={seconds}", f"TimeoutStartSec={START}", "TimeoutStopSec=20", "KillMode=control-group",
                  "OOMScoreAdjust=500", f"BindReadOnlyPaths={called['resolver']}:/etc/resolv.conf", *(f"Environment={one}" for one in environment)]
    return ["systemd-run", "--quiet", "--collect", f"--unit={called['unit']}", f"--description=Builds images of {app['name']}",
            *(f"--property={one}" for one in properties), "--", "/bin/sh", "-c", command(app)]


def address(subnet: str) -> str:
    """Return the builder's own address in a network, with its length: the last one, since Docker gives them away from the first."""
    network = ipaddress.ip_network(subnet)
    return f"{network[-2]}/{network.prefixlen}"


def resolver_text(texts: list[str]) -> str:
    """Return the file of name servers for a network in which the host's loopback is out of reach: those that are not on it. ``texts``: the host's files."""
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    servers = [line for line in lines if line.split()[:1] == ["nameserver"] and len(line.split()) > 1
               and not (outbound.is_address(line.split()[1]) and ipaddress.ip_address(line.split()[1]).is_loopback)]
    others = [line for line in lines if line.split()[:1] in (["search"], ["options"], ["domain"])]
    # Without any, dockerd and what it runs would ask the loopback. These are what Docker itself falls back on.
    servers = list(dict.fromkeys(servers))[:3] or ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    return "".join(f"{line}\n" for line in [*servers, *dict.fromkeys(others)])


@contextlib.contextmanager
def running(app: dict, engine: Engine, seconds: int):
    """Yield the socket of the app's builder, which runs for as long; raise PhaseError when it does not start."""
    called = names(app)
    clear(app)
    try:
        start(app, engine, seconds)
        yield called["socket"]
    finally:
        clear(app)


def start(app: dict, engine: Engine, seconds: int) -> None:
    """Make network, namespace and configuration, and start the unit; raise PhaseError."""
    called = names(app)
    if not docker_network.known(engine, app["build_network"]):
        docker_network.make(app, app["build_network"], engine)
    known = docker_network.known(engine, app["build_network"])
    place = next(one for one in known["IPAM"]["Config"] if ":" not in one["Subnet"])
    bridge = docker_network.interface(engine, app["build_network"])
    space = called["namespace"]
    steps = [["ip", "netns", "add", space], ["ip", "link", "add", called["cable"], "type", "veth", "peer", "name", "eth0", "netns", space],
             ["ip", "link", "set", called["cable"], "master", bridge, "up"],
             ["ip", "-n", space, "address", "add", address(place["Subnet"]), "dev", "eth0"], ["ip", "-n", space, "link", "set", "lo", "up"],
             ["ip", "-n", space, "link", "set", "eth0", "up"], ["ip", "-n", space, "route", "add", "default", "via", place["Gateway"]],
             # What comes from there to an address of the host itself: its SSH, its databases, its edge.
             *([program, "-w", "-I", "INPUT", "-i", bridge, "-j", "REJECT"] for program in firewalls())]
    for step in steps:
        host.run(step)
    host.folder(RUN, 0o700)
    root = engine.get("/info")["DockerRootDir"]
    host.folder(f"{root}/quayside-build", 0o700)
    host.write(called["config"], json.dumps(config(app, root, json.loads(host.text(DAEMON) or "{}")), indent=1) + "\n", 0o600)
    host.write(called["resolver"], resolver_text([host.text(path) for path in outbound.RESOLVERS]), 0o644)
    said = host.run(["systemctl", "show", "--property=Environment", "--value", "docker.service"], check=False).stdout
    environment = [one for one in shlex.split(said) if one.partition("=")[0].upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")]
    cores, memory = host.size()
    done = host.run(unit(app, memory, cores, seconds, environment), check=False, timeout=START + 30)
    if done.returncode:
        log = host.run(["journalctl", "--unit", called["unit"], "--lines", str(host.LOG_LINES), "--output=cat", "--no-pager"], check=False).stdout
        raise host.PhaseError(f"the builder of {app['name']} did not start", log or done.stderr, f"journalctl -u {called['unit']}")


def clear(app: dict) -> None:
    """End a builder, one of a run that died too, and what was made for it. Its cache and its network stay."""
    called = names(app)
    host.run(["systemctl", "stop", called["unit"]], check=False, timeout=60)
    host.run(["systemctl", "reset-failed", called["unit"]], check=False)
    bridge = None
    with contextlib.suppress(EngineError):
        bridge = docker_network.interface(Engine(), app["build_network"])
    for program in firewalls() if bridge else []:
        while host.run([program, "-w", "-D", "INPUT", "-i", bridge, "-j", "REJECT"], check=False).returncode == 0:
            pass
    if os.path.exists(f"/sys/class/net/{called['cable']}"):
        host.run(["ip", "link", "delete", called["cable"]], check=False)
    if os.path.exists(f"/run/netns/{called['namespace']}"):
        host.run(["ip", "netns", "delete", called["namespace"]], check=False)


def firewalls() -> list[str]:
    """Return the programs of the kernel's address families."""
    return ["iptables", *["ip6tables"] * os.path.exists("/proc/net/if_inet6")]


def hand_over(source: str, reference: str, target: str) -> None:
    """Give an image of one engine to another one, as a stream; both are sockets. Raise EngineError."""
    giver, taker = UnixConnection(source, 600), UnixConnection(target, 600)
    try:
        giver.request("GET", f"/images/{reference}/get")
        given = giver.getresponse()
        if given.status != 200:
            raise EngineError(given.status, given.read(4096).decode("utf-8", "replace"))
        taker.request("POST", "/images/load?quiet=true", body=iter(lambda: given.read(CHUNK), b""), headers={"Content-Type": "application/x-tar"},
                      encode_chunked=True)
        taken = taker.getresponse()
        said = taken.read().decode("utf-8", "replace")
        if taken.status != 200 or '"errorDetail"' in said:
            raise EngineError(taken.status, said.strip())
    except OSError as error:
        raise EngineError(0, f"the image {reference} could not be handed over: {error}") from error
    finally:
        giver.close()
        taker.close()
