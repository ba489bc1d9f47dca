# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of the example apps, for tests: built on the engine from a version of their repository, pushed to the lab's registry."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile

import git
import network
import services
import standin
from engine import LabError

# What a Dockerfile takes from other images: FROM [--platform=…] IMAGE, COPY --from=IMAGE.
FROM = re.compile(r"^(\s*FROM\s+(?:--\S+\s+)*)(\S+)", re.IGNORECASE | re.MULTILINE)
STAGE = re.compile(r"^\s*FROM\s.*$", re.IGNORECASE | re.MULTILINE)
COPY = re.compile(r"^(\s*(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=)(\S+)", re.IGNORECASE | re.MULTILINE)
# A frontend of its own would be pulled too.
SYNTAX = re.compile(r"^\s*#\s*syntax\s*=.*$", re.IGNORECASE | re.MULTILINE)
# Where repositories have it: at the top, or beside their compose files.
DOCKERFILES = ("Dockerfile", "docker/Dockerfile")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
TAG = re.compile(r"\w[\w.-]{0,99}", re.ASCII)


def push(lab, wanted, containers, pullable):
    """Build a version of a repository that the git server carries, and push it to the lab's registry.

    :param wanted: dict of repository and version (a tag, branch or commit), then name and tag of the image (the same, if not given).
    :param pullable: True where the engine can pull from Docker Hub, so that no stand-ins are needed.
    :returns: the image's full name with its digest, ADDRESS:5000/NAME:TAG@sha256:…
    """
    repository, version = wanted["repository"], wanted["version"]
    name, tag = wanted.get("name") or repository, wanted.get("tag") or version
    if not NAME.fullmatch(name) or not TAG.fullmatch(tag):
        raise LabError(f"{name}:{tag} is no name of an image. Type: scripts/lab push {repository} {version} TAG")
    if not services.running(containers, lab):
        raise LabError("The lab's registry does not run. Write lab_services: [registry] into the inventory, then run playbooks/lab.yml")
    context = checkout(git.stamp(lab, repository).with_name(f"{repository}.git"), version)

    def rewrite(text):
        return labelled(text if pullable else from_standins(text, lambda one: standin.build(lab, one)), lab.stage)

    context = change(context, rewrite)
    made = standin.run(lab.image(f"app-{name}-{tag}"), context, {})
    digest = services.push(lab, made, services.REGISTRY, f"{name}:{tag}")
    address = network.subnet(lab)[network.SERVICES_HOST]
    return f"{address}:{services.REGISTRY}/{name}:{tag}@{digest}"


def checkout(bare, version):
    """:returns: a tar archive of a version of a bare repository."""
    if not bare.is_dir():
        raise LabError(f"The lab has no repository {bare.stem}: lab_repositories names those that it has. Type: make lab")
    done = subprocess.run(["git", "--git-dir", str(bare), "archive", "--format=tar", version], capture_output=True)
    if done.returncode:
        raise LabError(f"{bare.stem} has no version {version}: {done.stderr.decode().strip()}")
    return done.stdout


def change(context, rewrite):
    """:returns: the tar archive with its Dockerfile rewritten by a function of its text."""
    changed = io.BytesIO()
    # `docker build -` takes an archive that begins with git's pax header for a Dockerfile.
    with tarfile.open(fileobj=io.BytesIO(context)) as old, tarfile.open(fileobj=changed, mode="w", format=tarfile.GNU_FORMAT) as new:
        names = old.getnames()
        dockerfile = next((one for one in DOCKERFILES if one in names), None)
        if dockerfile is None:
            raise LabError(f"That version has none of {', '.join(DOCKERFILES)}")
        for entry in old:
            content = old.extractfile(entry) if entry.isfile() else None
            if content and entry.name == dockerfile:
                entry.name = "Dockerfile"  # where `docker build -` looks for it
                text = rewrite(content.read().decode()).encode()
                entry.size, content = len(text), io.BytesIO(text)
            new.addfile(entry, content)
    return changed.getvalue()


def from_standins(dockerfile, local):
    """:returns: a Dockerfile that names an image of the engine, `local(image)`, wherever it named one that has a stand-in."""

    def known(match):
        reference = match[2].removeprefix("docker.io/").removeprefix("library/")
        return match[1] + (local(reference) if reference in standin.KNOWN else match[2])

    return COPY.sub(known, FROM.sub(known, SYNTAX.sub("", dockerfile)))


def labelled(dockerfile, label):
    """:returns: a Dockerfile whose stages all wear a label: what builders without BuildKit leave of them has no other name."""
    return STAGE.sub(lambda match: f"{match[0]}\nLABEL {label}", dockerfile)
