# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of servers and of the lab's own containers: from the engine's registry where that answers, else from Debian's archive."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from engine import LabError, docker

RELEASES = {"debian12": ("debian:12", "bookworm"), "debian13": ("debian:13", "trixie")}
SERVER = ["systemd", "systemd-sysv", "dbus", "python3", "ca-certificates", "openssh-server", "iproute2", "sudo"]
# Where containers cannot be reached from here (Docker Desktop), netcat is the way through to the servers.
GIT_SERVER = [*SERVER, "git", "netcat-openbsd"]
# The containers that are no servers: the packages that each has on top of GIT_RELEASE.
MORE = {"git": GIT_SERVER, "services": [*SERVER, "docker-registry", "apache2-utils", "pebble", "knot"]}
GIT_RELEASE = "debian13"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
RECIPE = Path(__file__).resolve().parent.parent / "prepare-server"


def certificates(folder=CERTIFICATES):
    """:returns: {file name: content} of the controller's extra CA certificates, which servers need for PyPI too."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.crt"))}


def recipe(release, packages):
    """:returns: a short hash of all that an image is made from."""
    parts = [release, *packages, RECIPE.read_text(encoding="utf-8"), *(repr(one) for one in certificates().items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def tag_of(name):
    """:returns: the tag of an image by its name: debian12, debian13, git or services."""
    if name in MORE:
        return f"{name}-{recipe(GIT_RELEASE, MORE[name])}"
    if name not in RELEASES:
        raise LabError(f"lab_image {name} is unknown: write one of {', '.join(RELEASES)}")
    return f"{name}-{recipe(name, SERVER)}"


def snapshot_tag(snapshot, name):
    """:returns: the tag of a prepared server that was put away under a name of the user's, for one recipe of its image."""
    return f"snapshot-{snapshot}-{tag_of(name)}"


def exists(reference):
    """:returns: True where the engine has the image."""
    return docker("image", "inspect", "--format", "ok", reference, check=False) is not None


def missing(lab, names):
    """:returns: those of the names whose image is not there yet."""
    return [name for name in names if not exists(lab.image(tag_of(name)))]


def build(lab, name):
    """Make one image, or take it over from another checkout that made the same one.

    :returns: how it was come by, in words.
    """
    tag, target = tag_of(name), lab.image(tag_of(name))
    same = taken_over(tag, target)
    if same:
        return f"{name}: the same as {same}"
    if name in MORE:
        base = lab.image(tag_of(GIT_RELEASE))
        if not exists(base):
            build(lab, GIT_RELEASE)
        return prepare(lab, base, target, tag, MORE[name], f"{name}: Debian's packages onto {GIT_RELEASE}")
    image, suite = RELEASES[name]
    if exists(image) or pull(image):
        return prepare(lab, image, target, tag, SERVER, f"{name}: made from {image}")
    base = bootstrap(lab, suite)
    try:
        return prepare(lab, base, target, tag, SERVER, f"{name}: bootstrapped from Debian's archive")
    finally:
        docker("rmi", base, check=False)


def taken_over(tag, target):
    """:returns: the name of another checkout's image with that tag, which now is called `target` too; None where there is none."""
    same = docker("images", "--filter", f"label=quayside.recipe={tag}", "--format", "{{.Repository}}:{{.Tag}}").split()
    same = [one for one in same if one.endswith(f":{tag}")]
    if not same:
        return None
    docker("tag", same[0], target)
    return same[0]


def pull(image):
    """:returns: True where the engine could pull the image; a registry out of reach costs seconds, not minutes."""
    if not registry_answers():
        return False
    try:
        return subprocess.run(["docker", "pull", "-q", image], capture_output=True, timeout=120).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def registry_answers():
    """:returns: True where a pull is worth trying: Docker Hub answers, or the engine has a mirror or a proxy of its own."""
    info = json.loads(docker("info", "--format", "{{json .}}"))
    if (info.get("RegistryConfig") or {}).get("Mirrors") or info.get("HttpsProxy"):
        return True
    try:
        urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=5)
    except urllib.error.HTTPError:
        return True  # it asks for a login: it is there
    except OSError:
        return False
    return True


def mirrors():
    """:returns: the mirrors that the engine pulls through and that a server can reach too, not those on its own loopback."""
    info = json.loads(docker("info", "--format", "{{json .}}"))
    found = (info.get("RegistryConfig") or {}).get("Mirrors") or []
    return [one for one in found if not one.split("://")[-1].startswith(("127.", "localhost", "[::1]"))]


def bootstrap(lab, suite, packages=SERVER, options=()):
    """Make a base system with mmdebstrap.

    :param options: more of its options.
    :returns: the name of the imported image.
    """
    install_mmdebstrap(suite)
    reference = lab.image(f"base-{suite}")
    sources = "".join(
        f"deb {mirror} {name} main\n"
        for mirror, name in (
            ("http://deb.debian.org/debian", suite),
            ("http://deb.debian.org/debian", f"{suite}-updates"),
            ("http://security.debian.org/debian-security", f"{suite}-security"),
        )
    )
    log = lab.folder / f"mmdebstrap-{suite}.log"
    argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", "--aptopt=Acquire::Retries 3", *options, suite, "-", "-"]
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if keyring.exists():
        argv.insert(2, f"--keyring={keyring}")
    with log.open("wb") as err:
        made = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err)
        taken = subprocess.Popen(["docker", "import", "-", reference], stdin=made.stdout, stdout=subprocess.DEVNULL, stderr=err)
        made.stdout.close()
        made.stdin.write(sources.encode())
        made.stdin.close()
        failed = (made.wait() != 0, taken.wait() != 0)
    if any(failed):
        docker("rmi", reference, check=False)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise LabError(f"No Debian {suite} from http://deb.debian.org (log: {log}):\n{tail}")
    return reference


def install_mmdebstrap(suite):
    """Have mmdebstrap here, or say how to get a base image without it."""
    if shutil.which("mmdebstrap"):
        return
    why = f"debian:{'12' if suite == 'bookworm' else '13'} could not be pulled and mmdebstrap is not installed"
    command = "apt-get install --yes mmdebstrap debian-archive-keyring"
    if not shutil.which("apt-get"):
        raise LabError(f"{why}. Bring the image by hand: docker load < debian.tar")
    if os.geteuid() != 0:
        raise LabError(f"{why}. Type: sudo {command}")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "-qq", "update"], env=env, capture_output=True)
    done = subprocess.run(command.split(), env=env, capture_output=True)
    if done.returncode:
        raise LabError(f"{why}, and `{command}` failed: {done.stderr.decode().strip()}")


def prepare(lab, base, target, tag, packages, how):
    """Run the recipe in a container of the base image and keep what comes out under the target's name.

    :returns: `how`, as the caller words it.
    """
    script = {"prepare-server": (RECIPE.read_bytes(), 0o755)}
    certs = {f"usr/local/share/ca-certificates/{name}": (content, 0o644) for name, content in certificates().items()}
    container = f"{lab.prefix}-build-{tag}"
    docker("rm", "-f", "-v", container, check=False)
    docker("create", "--name", container, "--label", lab.label, base, "/bin/sh", "/prepare-server", *packages)
    try:
        docker("cp", "-", f"{container}:/", given=archive({**script, **certs}))
        docker("start", "-a", container)
        done = docker("inspect", "--format", "{{.State.ExitCode}}", container)
        if done != "0":
            raise LabError(f"The image {tag} was not prepared:\n{docker('logs', '--tail', '10', container)}")
        label = f"LABEL quayside.recipe={tag}"
        docker("commit", "--change", 'CMD ["/sbin/init"]', "--change", label, container, target)
    finally:
        docker("rm", "-f", "-v", container, check=False)
    return how


def archive(files):
    """:returns: bytes of a tar archive of {path: (content, mode)}, all owned by root; a path that ends with / is a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.type = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
