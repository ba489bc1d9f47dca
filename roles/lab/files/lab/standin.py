# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for images of Docker Hub, where that is out of reach: the same names, made from Debian's packages."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import image
from engine import LabError, docker

FILES = Path(__file__).resolve().parent.parent / "images"
# image: (folder of its recipe, release of Debian that it is made from)
KNOWN = {
    "python:3.13-slim": ("python", "debian13"),
    "python:3.12-slim": ("python", "debian13"),
    "python:3.11-slim": ("python", "debian12"),
    "node:20-slim": ("node", "debian13"),
    "node:20-alpine": ("node", "debian13"),
    "nginx:alpine": ("nginx", "debian13"),
    "postgres:16-alpine": ("postgres", "debian13"),
    "redis:7-alpine": ("redis", "debian13"),
    "traefik:v3": ("traefik", "debian13"),
}
STORE = "/etc/ssl/certs/ca-certificates.crt"
# Each tool that a build fetches packages with has its own idea of a CA store.
STORE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "npm_config_cafile")
# What a container image leaves out of Debian's packages.
LEAN = [f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in ("man", "doc", "locale", "info")]
LEAN += ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=path-include=/usr/share/locale/locale.alias"]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def check(references):
    """Refuse names for which there is no stand-in."""
    for reference in references:
        if reference not in KNOWN:
            raise LabError(f"lab_images: there is no stand-in for {reference}, and Docker Hub is out of reach. Known: {', '.join(sorted(KNOWN))}")


def folder(name):
    """:returns: {path: (content, mode)} of the files of a recipe."""
    found = sorted(path for path in (FILES / name).rglob("*") if path.is_file())
    return {str(path.relative_to(FILES / name)): (path.read_bytes(), 0o755 if path.suffix == ".sh" else 0o644) for path in found}


def base_files(certificates):
    """:returns: {path: (content, mode)} of what the base image is built from, with the CA certificates given."""
    files = {"certificates/": (b"", 0o755), **folder("base")}
    files.update({f"certificates/{name}": (content, 0o644) for name, content in certificates.items()})
    if certificates:
        settings = "ENV " + " ".join(f"{name}={STORE}" for name in STORE_VARIABLES) + "\n"
        files["Dockerfile"] = (files["Dockerfile"][0] + settings.encode(), 0o644)
    return files


def digest(*parts):
    """:returns: a short hash of strings and of {path: (content, mode)}."""
    return hashlib.sha256("\0".join(repr(one) for one in parts).encode()).hexdigest()[:10]


def base_tag(release):
    """:returns: the tag of the base image of a Debian release."""
    return f"base-{release}-{digest(release, LEAN, base_files(image.certificates()))}"


def tag_of(reference):
    """:returns: the tag of a stand-in, which changes with all that it is made from."""
    name, release = KNOWN[reference]
    return f"standin-{reference.replace(':', '-')}-{digest(base_tag(release), folder(name))}"


def missing(pushed, references):
    """:returns: those of the images that the mirror has not as they would be made today; ``pushed`` is {image: tag}."""
    return [one for one in references if pushed.get(one) != tag_of(one)]


def build(lab, reference):
    """Have a stand-in on the engine.

    :returns: its name there.
    """
    name, release = KNOWN[reference]
    target = lab.image(tag_of(reference))
    if image.exists(target) or image.taken_over(tag_of(reference), target):
        return target
    return run(target, image.archive(folder(name)), {"BASE": base(lab, release)}, tag_of(reference))


def base(lab, release):
    """:returns: the name of the base image of a Debian release, which is made where it is missing."""
    tag, target = base_tag(release), lab.image(base_tag(release))
    if image.exists(target) or image.taken_over(tag, target):
        return target
    official, suite = image.RELEASES[release]
    bootstrapped = official if image.exists(official) else image.bootstrap(lab, suite, ["ca-certificates"], LEAN)
    try:
        return run(target, image.archive(base_files(image.certificates())), {"BOOTSTRAPPED": bootstrapped}, tag)
    finally:
        if bootstrapped != official:
            docker("rmi", bootstrapped, check=False)


def run(target, context, arguments, recipe=""):
    """Build an image from a tar archive of its files.

    :param arguments: {name: value} for the Dockerfile's ARGs.
    :returns: `target`.
    """
    arguments = {**{name: os.environ[name] for name in PROXIES if name in os.environ}, **arguments}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    words += ["--label", f"quayside.recipe={recipe}"] if recipe else []
    argv = ["docker", "build", "--tag", target, *words, "-"]
    done = subprocess.run(argv, input=context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        tail = "\n".join(done.stdout.decode(errors="replace").splitlines()[-15:])
        raise LabError(f"The image {target} was not built:\n{tail}")
    return target
