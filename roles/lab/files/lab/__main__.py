# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles/lab and scripts/ call: one verb, a request as JSON on stdin, an answer as JSON on stdout.

The request: folder (of the lab: .lab), environment, servers [{name, image, port, memory, snapshot}], repositories [{name,
command}], reach (auto, direct or proxy), fresh (make servers anew that are there), image (for the verbs image and standin),
services (some of images, registry, acme) with images (for the mirror) and names ({name: server}, for the ACME server), push
({repository, version, name, tag}, for that verb). It uses Python's standard library only, since demo-clean works without a venv
too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import app_image
import git
import image
import network
import services
import standin
from engine import Lab, LabError, docker
from server import Server, control_path, hang_up


class Job:
    """One request against one checkout's lab."""

    def __init__(self, request):
        self.request = request
        self.lab = Lab(request["folder"])
        self.environment = request.get("environment", "")
        self.repositories = request.get("repositories", [])
        self.servers = [Server(self.lab, self.environment, wanted) for wanted in request.get("servers", [])]
        self.containers = self.lab.containers()
        self.services = request.get("services") or []
        self.images = request.get("images") or []

    def reach(self):
        """:returns: direct or proxy, as asked for or as found."""
        asked = self.request.get("reach", "auto")
        return git.reach(self.lab, self.containers) if asked == "auto" else asked

    def addresses(self):
        """:returns: {name: address} of the servers that are there."""
        found = network.addresses(self.lab, self.containers)
        return {one.name: found[one.container] for one in self.servers if one.container in found}

    def addresses6(self):
        """:returns: {name: IPv6 address} of the servers that are there and have one."""
        found = network.addresses6(self.lab, self.containers)
        return {one.name: found[one.container] for one in self.servers if one.container in found}

    def neighbours(self):
        """:returns: {name: address} of all servers of the environment, those of this request first."""
        found = network.addresses(self.lab, self.containers)
        labels = {name: self.containers[name]["Config"]["Labels"] for name in found}
        others = {one.get("quayside.name"): found[name] for name, one in labels.items()
                  if one.get("quayside.role") == "server" and one.get("quayside.environment") == self.environment}  # fmt: skip
        return {**self.addresses(), **others}

    def absent(self):
        """:returns: the servers to make: those that are not there or only half made, and all where fresh ones are asked for."""
        if self.request.get("fresh"):
            return self.servers
        made = {name for name, one in self.containers.items() if one["State"]["Status"] != "created"}
        return [one for one in self.servers if one.container not in made]

    def stopped(self):
        """:returns: the servers that are there and switched off."""
        if self.request.get("fresh"):
            return []
        off = {name for name, one in self.containers.items() if one["State"]["Status"] not in ("created", "running")}
        return [one for one in self.servers if one.container in off]

    def state(self):
        """:returns: what ssh and a browser have to know about the servers as they are now."""
        addresses, direct = self.addresses(), self.reach() == "direct"
        return {
            "addresses": addresses,
            "addresses6": self.addresses6(),
            "git": network.addresses(self.lab, self.containers).get(self.lab.git, ""),
            "urls": {name: self.url(name, address, direct) for name, address in addresses.items()},
            "domains": {name: [address] if direct else [address, "127.0.0.1"] for name, address in addresses.items()},
            "ssh": {one.name: self.ssh_arguments(one, direct) for one in self.servers},
            "services": services.variables(self.lab, self.services, self.mirrors) if self.services else {},
        }

    @cached_property
    def mirrors(self):
        """The mirrors that the engine has of its own, none where it asks Docker Hub itself; None where that is out of reach."""
        return image.mirrors() if "images" in self.services and image.registry_answers() else None

    def standins(self):
        """:returns: the images of the inventory that have no stand-in at the mirror yet; none are needed where pulls work."""
        if "images" not in self.services or self.mirrors is not None:
            return []
        standin.check(self.images)
        return standin.missing(services.pushed(self.lab, self.containers), self.images)

    def needs_container(self):
        """:returns: True where the inventory asks for something that the services' container does."""
        return bool({"registry", "acme"} & set(self.services)) or ("images" in self.services and self.mirrors is None)

    def url(self, name, address, direct):
        """:returns: where a browser on this machine finds the server."""
        if direct:
            return f"http://{address}/"
        bindings = self.containers[self.lab.container(self.environment, name)]["HostConfig"]["PortBindings"] or {}
        published = bindings.get("80/tcp") or [{}]
        return f"http://127.0.0.1:{published[0].get('HostPort', 80)}/"

    def ssh_arguments(self, server, direct):
        """:returns: the arguments of ssh that belong to this server alone."""
        shared = control_path(self.lab, self.environment, server.name)
        options = [f'UserKnownHostsFile="{server.known_hosts}"', f'ControlPath="{shared}"']
        if not direct:
            options.append(f"ProxyCommand=docker exec -i {self.lab.git} nc %h %p")
        return " ".join(f"-o '{option}'" for option in options)

    def plan(self):
        """:returns: what is missing: images, repositories, servers; and the state as it is."""
        up = git.running(self.containers, self.lab)
        services.check(self.services)
        serving = not self.needs_container() or services.running(self.containers, self.lab)
        images = [name for name in image.RELEASES if name in {one.image for one in self.absent()}]
        images += [name for name, done in (("git", up), ("services", serving)) if not done]
        return {
            "images": image.missing(self.lab, images),
            "git": not up,
            "services": not serving,
            "standins": self.standins(),
            "repositories": [one["name"] for one in git.stale(self.lab, self.repositories, up)],
            "servers": [one.name for one in self.absent() + self.stopped()],
            "notes": self.notes(),
            "state": self.state(),
        }

    def notes(self):
        """:returns: lines on servers that are there, but not as the inventory has them now."""
        found = [f"{one['command']} is not there, so the git server has no {one['name']}" for one in self.repositories
                 if not Path(one["command"]).is_file()]  # fmt: skip
        for one in self.servers:
            image.tag_of(one.image)  # refuses an unknown name before anything is made
            made = self.containers.get(one.container)
            was = made and made["Config"]["Labels"].get("quayside.image")
            if made and was != one.image:
                remedy = "-e lab_state=fresh makes it anew and loses its data"
                found.append(f"{one.name} is {was}, the inventory says {one.image}: {remedy}")
        return found

    def image(self):
        """Build one image. :returns: how."""
        return {"done": [image.build(self.lab, self.request["image"])]}

    def git(self):
        """Have the git server run and carry the repositories of today."""
        up = git.running(self.containers, self.lab)
        address = git.ensure(self.lab, self.containers)
        todo = git.stale(self.lab, self.repositories, up)
        for one in todo:
            git.refresh(self.lab, one)
        return {"done": [f"git://{address}/{one['name']}.git" for one in todo]}

    def up(self):
        """Make and start servers, all at once, and wait for their sshd."""
        self.login_key()
        subnet, there = network.ensure(self.lab), network.addresses(self.lab, self.containers)
        others = [address for name, address in there.items() if name not in {one.container for one in self.servers}]
        addresses = network.assign([one.name for one in self.servers], self.addresses(), others, subnet)
        absent, stopped, reach = self.absent(), self.stopped(), self.reach()
        six = network.subnets(self.lab).get(6)

        def bring(server):
            if server in absent:
                server.create(addresses[server.name], reach == "proxy", network.six_address(addresses[server.name], six) if six else "")
            elif server in stopped:
                hang_up(self.lab, self.environment, server.name)
                server.start()
            server.wait(addresses[server.name], reach)
            return f"{server.name} ({server.image}): {addresses[server.name]}"

        done = each(bring, absent + stopped)
        self.containers = self.lab.containers()
        return {"done": done, "state": self.state()}

    def serve(self):
        """Have the services run and know the names of today."""
        done = []
        if self.needs_container():
            done = services.ensure(self.lab, self.containers)
            self.containers = self.lab.containers()
        if "acme" in self.services:
            done += services.tell(self.lab, services.resolve(self.request.get("names") or {}, self.neighbours()))
        return {"done": done, "state": self.state()}

    def standin(self):
        """Have one stand-in at the mirror. :returns: how long it took."""
        return {"done": [services.serve(self.lab, self.request["image"])]}

    def push(self):
        """Have a version of an example in the registry. :returns: its name there, with its digest."""
        return {"done": [app_image.push(self.lab, self.request["push"], self.containers, image.registry_answers())]}

    def login_key(self):
        """Have the key of the lab, by which root logs in, and the folder of the shared connections."""
        (Path.home() / ".ansible" / "cp").mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.lab.key.exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.lab.prefix, "-f", str(self.lab.key)]
            subprocess.run(argv, check=True, capture_output=True)

    def down(self):
        """Remove the servers of this inventory."""
        there = [one for one in self.servers if one.container in self.containers]
        return {"done": each(lambda one: one.remove() or one.name, there)}

    def snapshot(self):
        """Put the disks of the servers that name a snapshot away."""
        wanted = [one for one in self.servers if one.snapshot and one.container in self.containers]
        if not wanted:
            raise LabError("No running server of this inventory has a lab_snapshot. Name one: -e lab_snapshot=NAME")
        return {"done": each(lambda one: f"{one.name}: {one.keep()}", wanted)}

    def absent_all(self):
        """Remove all containers and the network of this checkout."""
        done = []
        for name, one in self.containers.items():
            docker("rm", "-f", "-v", name)
            labels = one["Config"]["Labels"]
            if labels.get("quayside.role") == "server":
                hang_up(self.lab, labels["quayside.environment"], labels["quayside.name"])
            done.append(f"container {name}")
        if network.subnet(self.lab):
            docker("network", "rm", self.lab.network)
            done.append(f"network {self.lab.network}")
        shutil.rmtree(self.lab.folder / "known_hosts", ignore_errors=True)
        return {"done": done}

    def purge(self):
        """Remove all of this checkout, its images too."""
        done = self.absent_all()["done"]
        for reference in self.lab.images():
            docker("rmi", reference)
            done.append(f"image {reference}")
        left = docker("images", "--quiet", "--filter", "dangling=true", "--filter", f"label={self.lab.stage}").split()
        done += [f"image {one}" for one in dict.fromkeys(left) if docker("rmi", one, check=False) is not None]
        return {"done": done}


def each(work, items):
    """:returns: the results of work for all items, done at once, in their order."""
    with ThreadPoolExecutor(max_workers=max(1, min(8, len(items)))) as pool:
        return list(pool.map(work, items))


@contextlib.contextmanager
def alone(folder):
    """Hold the lab's lock: two runs in one checkout would give one address twice."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main(verb):
    """Do one verb. :returns: an exit status."""
    verbs = {"plan": Job.plan, "image": Job.image, "git": Job.git, "up": Job.up, "serve": Job.serve,
             "standin": Job.standin, "push": Job.push, "down": Job.down, "snapshot": Job.snapshot,
             "absent": Job.absent_all, "purge": Job.purge}  # fmt: skip
    try:
        request = json.load(sys.stdin)
        with alone(Lab(request["folder"]).folder):
            print(json.dumps(verbs[verb](Job(request))))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
