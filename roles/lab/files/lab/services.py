# SPDX-License-Identifier: GPL-3.0-or-later
"""One more container, for inventories that ask for it: a mirror and a registry of images, and an ACME server with a resolver."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from pathlib import Path

import image
import network
import standin
from engine import LabError, docker
from server import free_port

NAMES = ("images", "registry", "acme")
REGISTRY, MIRROR, ACME, ACME_MANAGEMENT, RESOLVER, DNS = 5000, 5001, 14000, 15000, 8055, 53
ACME_KINDS = {"acme": 0, "acme_short": 1, "acme_eab": 2, "acme_dns": 3}  # each at the next port
USER = "deployer"
FILES = Path(__file__).resolve().parent.parent / "services"
INSIDE = "srv/lab"
KEPT = ("ca.crt", "ca.key", "password")
START_SECONDS = 30


def check(wanted):
    """Refuse services that the lab does not have."""
    for one in wanted:
        if one not in NAMES:
            raise LabError(f"lab_services: {one} is unknown: write one of {', '.join(NAMES)}")


def files():
    """:returns: {path: (content, mode)} of the services' settings and programs."""
    found = sorted(path for path in FILES.iterdir() if path.is_file())
    return {f"{INSIDE}/{path.name}": (path.read_bytes(), 0o644 if path.suffix else 0o755) for path in found}


def recipe():
    """:returns: a short hash of the settings that the container is made with."""
    return hashlib.sha256(repr(files()).encode()).hexdigest()[:10]


def kept(lab):
    """:returns: {name: path} of what outlives the container: the lab's own CA and the registry's password."""
    return {name: lab.folder / "services" / name for name in KEPT}


def usable(containers, lab):
    """:returns: the container where it is made from the image and the settings of today, else None."""
    one = containers.get(lab.services)
    today = one and one["Config"]["Image"] == lab.image(image.tag_of("services"))
    return one if today and one["Config"]["Labels"].get("quayside.recipe") == recipe() and one["State"]["Status"] != "created" else None


def running(containers, lab):
    """:returns: True where the services are up, as they would be made today."""
    one = usable(containers, lab)
    return bool(one and one["State"]["Running"])


def published(lab, port):
    """:returns: the port of 127.0.0.1 at which the engine itself reaches a registry; a loopback address needs no trust."""
    found = docker("inspect", "--format", "{{json .HostConfig.PortBindings}}", lab.services)
    return json.loads(found)[f"{port}/tcp"][0]["HostPort"]


def ensure(lab, containers):
    """Have the services run.

    :returns: what was done, in words.
    """
    address = str(network.ensure(lab)[network.SERVICES_HOST])
    if running(containers, lab):
        return []
    # One that was stopped has its images still; where its port was taken meanwhile it does not start, and is made anew.
    if not (usable(containers, lab) and docker("start", lab.services, check=False) is not None):
        create(lab, address)
    listens(lab)
    for name, path in kept(lab).items():
        if not path.exists():
            keep(path, docker("exec", lab.services, "cat", f"/{INSIDE}/{name}").encode() + b"\n")
    return [f"services at {address}"]


def create(lab, address):
    """Make the container anew and start it."""
    docker("rm", "-f", "-v", lab.services, check=False)
    if not kept(lab)["password"].exists():
        keep(kept(lab)["password"], secrets.token_urlsafe(24).encode() + b"\n")
    own = {f"{INSIDE}/{name}": (path.read_bytes(), 0o600) for name, path in kept(lab).items() if path.exists()}
    docker(
        "create", "--init", "--name", lab.services, "--hostname", "services", "--network", lab.network, "--ip", address,
        *(f"--publish=127.0.0.1:{free_port()}:{port}" for port in (REGISTRY, MIRROR)),
        "--label", lab.label, "--label", "quayside.role=services", "--label", f"quayside.recipe={recipe()}",
        lab.image(image.tag_of("services")), f"/{INSIDE}/start", address,
    )  # fmt: skip
    folders = {f"{INSIDE}/": (b"", 0o755), "srv/pushed/": (b"", 0o755)}
    docker("cp", "-", f"{lab.services}:/", given=image.archive({**folders, **files(), **own}))
    docker("start", lab.services)


def keep(path, content):
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)


def listens(lab):
    """Return as soon as all services accept connections, asked inside since their address may be out of reach from here."""
    give_up = time.monotonic() + START_SECONDS
    probe = " && ".join(f"exec 3<>/dev/tcp/127.0.0.1/{port}" for port in (REGISTRY, MIRROR, RESOLVER, DNS, *acme_ports()))
    while docker("exec", lab.services, "bash", "-c", probe, check=False) is None:
        if time.monotonic() > give_up:
            raise LabError(f"The lab's services do not listen:\n{docker('logs', '--tail', '10', lab.services, check=False)}")
        time.sleep(0.2)


def acme_ports():
    """:returns: the ports of all ACME servers."""
    return [port + step for port in (ACME, ACME_MANAGEMENT) for step in ACME_KINDS.values()]


def account():
    """:returns: key id and HMAC key to which the third ACME server wants accounts to be bound."""
    return next(iter(json.loads((FILES / "pebble-eab.json").read_text())["pebble"]["externalAccountMACKeys"].items()))


def zone_key():
    """:returns: name, algorithm and secret of the key with which records are written into the lab's zone."""
    found = dict(re.findall(r"(id|algorithm|secret): (\S+)", (FILES / "knot.conf").read_text().partition("key:\n")[2].partition("acl:")[0]))
    return found["id"], found["algorithm"], found["secret"]


def resolve(names, addresses):
    """Turn the inventory's names into addresses.

    :param names: {name: server} as ``lab_names`` has it.
    :param addresses: {server: address} of the environment's servers, the inventory's first one first.
    :returns: {name: address}; the name '' stands for all others, which the first server gets.
    """
    for name, server in names.items():
        if server not in addresses:
            raise LabError(f"lab_names: {name} is to be at {server}, which is no server of the lab. Write one of {', '.join(addresses)}")
    first = {"": next(iter(addresses.values()))} if addresses else {}
    return {**first, **{name: addresses[server] for name, server in names.items()}}


def tell(lab, names):
    """Tell the ACME server's resolver names, {name: address}.

    :returns: what was new to it, in words.
    """
    new = json.loads(docker("exec", "-i", lab.services, f"/{INSIDE}/names", given=json.dumps(names).encode()))
    return [f"{name or 'any other name'} is {address}" for name, address in new.items()]


def pushed(lab, containers):
    """:returns: {image: tag of the stand-in} of what the mirror holds."""
    if not running(containers, lab):
        return {}
    script = 'cd /srv/pushed && for one in *; do [ ! -f "$one" ] || echo "$one $(cat "$one")"; done'
    listed = docker("exec", lab.services, "sh", "-c", script)
    return dict(line.split() for line in listed.splitlines())


def serve(lab, reference):
    """Have a stand-in at the mirror.

    :returns: what was done, in words.
    """
    began = time.monotonic()
    made = standin.build(lab, reference)
    push(lab, made, MIRROR, f"library/{reference}")
    stamp = {f"srv/pushed/{reference}": (standin.tag_of(reference).encode(), 0o644)}
    docker("cp", "-", f"{lab.services}:/", given=image.archive(stamp))
    return f"{reference}: a stand-in from Debian's packages, in {time.monotonic() - began:.0f} s"


def push(lab, reference, port, name):
    """Push an image of the engine to one of the registries under a name, such as library/python:3.12-slim.

    :returns: its digest there.
    """
    address = f"127.0.0.1:{published(lab, port)}"
    there = f"{address}/{name}"
    login = lab.folder / "services" / "docker"
    password = kept(lab)["password"].read_text().strip()
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    keep(login / "config.json", json.dumps({"auths": {address: {"auth": token}}} if port == REGISTRY else {}).encode())
    # Settings of its own for the login: they would hide which engine the user's settings choose.
    host = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}", check=False)
    docker("tag", reference, there)
    try:
        said = docker("--config", str(login), *(["--host", host] if host else []), "push", there)
    finally:
        docker("rmi", "--no-prune", there, check=False)
    return next((word for line in said.splitlines() for word in line.split() if word.startswith("sha256:")), "")


def variables(lab, wanted, mirrors):
    """:returns: {name: value} of what local.yml says of the services asked for; what is not there yet is empty."""
    subnet = network.subnet(lab)
    address = str(subnet[network.SERVICES_HOST]) if subnet else ""
    own, found = kept(lab), {}
    if "images" in wanted:
        found["mirrors"] = [f"http://{address}:{MIRROR}"] if mirrors is None else mirrors
    if "registry" in wanted:
        password = own["password"].read_text().strip() if own["password"].exists() else ""
        found.update(registry=f"{address}:{REGISTRY}", registry_user=USER, registry_password=password)
    if "acme" in wanted:
        for name, step in ACME_KINDS.items():
            found.update({name: f"https://{address}:{ACME + step}/dir", f"{name}_roots": f"https://{address}:{ACME_MANAGEMENT + step}/roots/0"})
        found["acme_eab_id"], found["acme_eab_key"] = account()
        found["dns"] = f"{address}:{DNS}"
        found["dns_key"], found["dns_algorithm"], found["dns_secret"] = zone_key()
    if {"registry", "acme"} & set(wanted):
        found["ca"] = str(own["ca.crt"])
    return found
