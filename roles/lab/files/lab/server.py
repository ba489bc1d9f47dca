# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers: containers that boot systemd and run sshd on port 22, as a VPS does on its first day."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import image
from engine import LabError, docker

# What systemd needs in a container; each was found necessary or found to be the least that works (docs/lab.md).
BOOTS_SYSTEMD = [
    "--cap-add=ALL",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=host",
    "--env=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--volume=/var/lib/docker",
    "--tmpfs=/run",
    "--tmpfs=/tmp:exec",
]
# A machine that lacks the first could not give it; with the second a server would set the machine's clock.
DROPPED = ["SYS_RESOURCE", "SYS_TIME"]
PUBLISHED = (80, 443)
BOOT_SECONDS = 60


class Server:
    """One server of an environment, as the inventory wants it."""

    def __init__(self, lab, environment, wanted):
        """:param wanted: dict of name, image, port (of sshd once it has moved), memory, snapshot."""
        self.lab, self.environment = lab, environment
        self.name, self.image, self.port = wanted["name"], wanted["image"], int(wanted.get("port") or 22)
        self.memory, self.snapshot = wanted.get("memory") or "", wanted.get("snapshot") or ""
        self.container = lab.container(environment, self.name)
        self.known_hosts = lab.known_hosts(environment) / self.name

    def source(self):
        """:returns: the image that it is made from: its snapshot where there is one, else the bare one."""
        if self.snapshot:
            kept = self.lab.image(image.snapshot_tag(self.snapshot, self.image))
            if image.exists(kept):
                return kept
        return self.lab.image(image.tag_of(self.image))

    def create(self, address, publish, six=""):
        """Make the server anew and start it.

        :param six: its IPv6 address, empty where the network has none.
        :param publish: True where its web ports have to be had at 127.0.0.1, since its address cannot be reached.
        """
        self.remove()
        ports = [f"--publish=127.0.0.1:{free_port()}:{port}" for port in PUBLISHED] if publish else []
        memory = [f"--memory={self.memory}", f"--memory-swap={self.memory}"] if self.memory else []
        labels = {"lab": self.lab.id, "role": "server", "name": self.name, "environment": self.environment, "image": self.image}
        create_without(
            DROPPED, "--name", self.container, "--hostname", self.name, "--network", self.lab.network, "--ip", address,
            *(f"--label=quayside.{key}={value}" for key, value in labels.items()),
            *([f"--ip6={six}"] if six else []), *BOOTS_SYSTEMD, *memory, *ports, self.source(), "/sbin/init",
        )  # fmt: skip
        try:
            public, private = host_keys()
            key = self.lab.key.with_suffix(".pub").read_bytes()
            login = {"root/.ssh/": (b"", 0o700), "root/.ssh/authorized_keys": (key, 0o600)}
            fresh = {"etc/machine-id": (b"", 0o444)}
            docker("cp", "-", f"{self.container}:/", given=image.archive({**login, **private, **public, **fresh}))
            docker("start", self.container)
        except LabError:
            self.remove()
            raise
        self.remember([address, six] if six else [address], [content for content, _mode in public.values()])

    def remember(self, addresses, keys):
        """Write down the host keys for both of sshd's ports, so that no login has to trust what it first sees."""
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts = ",".join(f"{address},[{address}]:{self.port}" for address in addresses)
        self.known_hosts.write_text("".join(f"{hosts} {key.decode()}" for key in keys), encoding="utf-8")

    def start(self):
        """Switch it on."""
        docker("start", self.container)

    def power_off(self):
        """Shut it down as a person would, and wait for it."""
        docker("kill", "-s", "SIGRTMIN+3", self.container)
        give_up = time.monotonic() + BOOT_SECONDS
        while docker("inspect", "--format", "{{.State.Running}}", self.container) == "true":
            if time.monotonic() > give_up:
                raise LabError(f"{self.name} did not power off in {BOOT_SECONDS} s. See: docker logs {self.container}")
            time.sleep(0.1)

    def keep(self):
        """Put the server's disk away under its snapshot's name; it is powered off for that and started again.

        :returns: the image's name.
        """
        kept = self.lab.image(image.snapshot_tag(self.snapshot, self.image))
        self.power_off()
        docker("commit", self.container, kept)
        self.start()
        return kept

    def remove(self):
        """Remove the server with its volumes, and all by which it was remembered."""
        docker("rm", "-f", "-v", self.container, check=False)
        self.known_hosts.unlink(missing_ok=True)
        hang_up(self.lab, self.environment, self.name)

    def wait(self, address, reach):
        """Return as soon as sshd greets, on its first port or on the one that it moves to."""
        give_up = time.monotonic() + BOOT_SECONDS
        ports = dict.fromkeys((self.port, 22))
        while not any(greets(address, port) if reach == "direct" else self.greets_inside(port) for port in ports):
            if time.monotonic() > give_up:
                raise LabError(
                    f"{self.name}: no sshd at {address} in {BOOT_SECONDS} s. "
                    f"See: docker exec {self.container} journalctl -b -p warning. "
                    "Many servers at once need sysctl fs.inotify.max_user_instances=1024 on the engine's machine."
                )
            time.sleep(0.05)

    def greets_inside(self, port):
        """:returns: True where sshd greets on the server's own loopback."""
        probe = f"exec 3<>/dev/tcp/127.0.0.1/{port} && head -c 4 <&3"
        return docker("exec", self.container, "bash", "-c", probe, check=False) == "SSH-"


def create_without(capabilities, *argv):
    """Run `docker create` and drop the capabilities; an engine since 24 refuses to drop one that its machine lacks anyhow."""
    drop = [f"--cap-drop={one}" for one in capabilities]
    try:
        docker("create", *drop, *argv)
    except LabError as error:
        lacking = [one for one in capabilities if "invalid CapDrop" in str(error) and f"CAP_{one}" in str(error)]
        if not lacking:
            raise
        create_without([one for one in capabilities if one not in lacking], *argv)


def greets(address, port):
    """:returns: True where an sshd answers; a port that a firewall drops costs half a second."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=0.5) as link:
        return link.recv(4) == b"SSH-"
    return False


def host_keys():
    """:returns: two dicts {path: (content, mode)}: public and private host keys of sshd, new ones."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "etc" / "ssh"
        made.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-A", "-f", folder], check=True, capture_output=True)
        files = {f"etc/ssh/{path.name}": path for path in sorted(made.iterdir())}
        public = {name: (path.read_bytes(), 0o644) for name, path in files.items() if path.suffix == ".pub"}
        private = {name: (path.read_bytes(), 0o600) for name, path in files.items() if path.suffix != ".pub"}
        return public, private


def free_port():
    """:returns: a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def control_path(lab, environment, name):
    """:returns: the path of the shared ssh connections to a server, short enough for a unix socket, and its tokens of ssh."""
    return f"{Path.home()}/.ansible/cp/{lab.id}-{environment}-{name}-%r-%p"


def hang_up(lab, environment, name):
    """Close the shared ssh connections to a server: one that is left over would hang until it times out."""
    pattern = Path(control_path(lab, environment, name).replace("%r", "*").replace("%p", "*"))
    for path in pattern.parent.glob(pattern.name):
        subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "lab"], capture_output=True)
        path.unlink(missing_ok=True)
