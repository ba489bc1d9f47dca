# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes the images of an app that no release needs any more.

`plan` decides and is pure; `run` reads and acts. As a script, beside docker_engine.py: `python3 image_prune.py CONFIG.json [--check]`,
where the file is {"socket", "apps": [{"app", "repositories", "keep", "environment", "protect", "root", "lock"}]}; socket, environment,
protect, root and lock may be missing. With `root` what the records in {root}/releases name under "images" is protected too, and an app that is being
deployed is left for the next time.
"""
from __future__ import annotations

import calendar
import contextlib
import fcntl
import glob
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

try:
    from ansible_collections.quayside.django.plugins.module_utils.docker_engine import SOCKET, Engine, EngineError
except ImportError:  # a script on a host, beside its one neighbour
    from docker_engine import SOCKET, Engine, EngineError

REPOSITORY = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*\Z")
HUB = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")
USAGE_SECONDS = 20  # an engine with many layers counts for minutes, and the figure is only told
LEASE = 60  # seconds: module_utils/lock.py


class PruneError(ValueError):
    """Nothing can be pruned; the text says why and what to do."""


@dataclass(frozen=True)
class Image:
    """An image on a host. `names` are its repo:tag and repo@digest; times are epoch seconds, `tagged` is 0 where the engine knows none."""

    id: str
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""
    created: float = 0
    tagged: float = 0
    size: int = 0


@dataclass(frozen=True)
class Removal:
    """`names` go from an image, and the image itself where `whole`."""

    image: Image
    names: tuple[str, ...]
    whole: bool
    reason: str


@dataclass(frozen=True)
class Kept:
    """An image that stays."""

    image: Image
    reason: str


@dataclass(frozen=True)
class Plan:
    """Removals in the order in which they can be done, and what stays of the same repositories, newest first."""

    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]


def familiar(name: str) -> str:
    """Return a name as the engine shows it: without the address of the Docker Hub."""
    for prefix in HUB:
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def repository(name: str) -> str:
    """Return the repository of repo:tag or repo@digest."""
    name = name.split("@")[0]
    head, _, tail = name.rpartition(":")
    return head if head and "/" not in tail else name


def checked(repositories: Iterable[str]) -> list[str]:
    """Return repositories as the engine names them; raises PruneError for what is none."""
    for name in repositories:
        if name != repository(name) and REPOSITORY.match(repository(name)):
            raise PruneError(f"the repository {name!r} carries a tag or a digest: write {repository(name)!r}")
        if not REPOSITORY.match(name):
            raise PruneError(f"{name!r} is no name of a repository: write it as registry.example.com/shop/web, in small letters and without a tag")
    return list(dict.fromkeys(familiar(name) for name in repositories))


def refers(reference: str, image: Image) -> bool:
    """Return whether an id, the beginning of one (12 digits or more), repo:tag, repo@digest or repo (its latest) means this image."""
    digits = reference[7:] if reference.startswith("sha256:") else reference
    if re.match(r"[0-9a-f]{12,64}\Z", digits) and image.id.startswith(f"sha256:{digits}"):
        return True
    name = familiar(reference)
    if "@" in name:
        return f"{repository(name)}@{name.split('@')[1]}" in image.names
    return (name if name != repository(name) else f"{name}:latest") in image.names


def user_of(image: Image, containers: Iterable[Mapping[str, Any]]) -> str:
    """Return the container that uses an image, in words; empty when none does."""
    for container in containers:
        if container.get("ImageID") == image.id or refers(container.get("Image") or "", image):
            name = (container.get("Names") or [container.get("Id", "")[:12]])[0].lstrip("/")
            return f"{name} ({container.get('State') or 'unknown'})"
    return ""


def foreign(image: Image, app: str, environment: str) -> str:
    """Return whose image it is when its labels name another app or environment; empty otherwise."""
    for what, label, own in (("app", "quayside.app", app), ("environment", "quayside.environment", environment)):
        if image.labels.get(label, own) != own:
            return f"it belongs to the {what} {image.labels[label]}"
    return ""


def newness(image: Image) -> tuple[float, float, str]:
    """Return what images are sorted by: when it got a tag on this host, or when it was built where that is not known (pulled ones)."""
    return (image.tagged or image.created, image.created, image.id)


def plan(images: Iterable[Image], containers: Iterable[Mapping[str, Any]], keep: int, repositories: Iterable[str],
         protected: Mapping[str, str] | Iterable[str] = (), app: str = "", environment: str = "") -> Plan:
    """Return what goes and what stays.

    Of each repository `keep` images stay: what a container uses and what is protected first, then the newest. When more than `keep` are
    used or protected, all of those stay. An image that another one is built on stays as well. Images with labels of another app or
    environment (of any, where `environment` is empty) are neither removed nor counted. Nameless images with the label of this app go when nothing needs them.
    `protected`: references, or references with the reason of each. Raises PruneError.
    """
    if keep < 1:
        raise PruneError(f"keep is {keep}: at least 1 image of each repository has to stay")
    images, containers, repositories = list(images), list(containers), checked(repositories)
    reasons = protected if isinstance(protected, Mapping) else {reference: f"{reference} is protected" for reference in protected}
    parents = {image.id: image.parent for image in images}
    bases = set(parents.values())
    mine = [image for image in images if any(repository(name) in repositories for name in image.names)
            or (not image.names and image.id not in bases and app and image.labels.get("quayside.app") == app)]
    stay: dict[str, str] = {}
    strange = {image.id: foreign(image, app, environment) for image in mine}
    for image in mine:
        user = user_of(image, containers)
        why = strange[image.id] or (f"the container {user} uses it" if user else "")
        why = why or next((reason for reference, reason in reasons.items() if refers(reference, image)), "")
        if why:
            stay[image.id] = why
    old: dict[str, list[str]] = {}
    newest: dict[str, str] = {}
    for name in repositories:
        members = [image for image in mine if not strange[image.id] and name in {repository(one) for one in image.names}]
        free = sorted((image for image in members if image.id not in stay), key=newness, reverse=True)
        room = max(0, keep - (len(members) - len(free)))
        newest.update((image.id, f"it is one of the newest of {name}") for image in free[:room])
        for image in free[room:]:
            old.setdefault(image.id, []).append(name)

    removals = {}
    for image in mine:
        gone = old.get(image.id, [])
        names = tuple(name for name in image.names if repository(name) in gone)
        if image.id in stay or (image.names and not names):
            continue
        left = [name for name in image.names if name not in names]
        reason = f"{' and '.join(gone)}: {keep} to keep, and this is none of them" if gone else f"left over from a build of {app}"
        removals[image.id] = Removal(image, names, not left, reason + (f"; the image stays as {', '.join(left)}" if left else ""))
    for base, child in built_on(images, parents, bases, {key for key, removal in removals.items() if removal.whole}).items():
        if base in removals and removals[base].whole:
            del removals[base]
            stay[base] = f"{called(child)} is built on it"
    order = sorted(removals.values(), key=lambda removal: (-depth(removal.image.id, parents), newness(removal.image)))
    kept = [Kept(image, stay.get(image.id) or newest.get(image.id, "")) for image in sorted(mine, key=newness, reverse=True) if image.id not in removals]
    return Plan(tuple(order), tuple(kept))


def built_on(images: Iterable[Image], parents: Mapping[str, str], bases: set[str], going: set[str]) -> dict[str, Image]:
    """Return id -> an image that stays and is built on it. A nameless base stays only for what is built on it."""
    found: dict[str, Image] = {}
    for image in images:
        if image.id in going or (not image.names and image.id in bases):
            continue
        parent = image.parent
        while parent and parent not in found:
            found[parent] = image
            parent = parents.get(parent, "")
    return found


def depth(image: str, parents: Mapping[str, str]) -> int:
    """Return how many images an image is built on."""
    count = 0
    while parents.get(image):
        image = parents[image]
        count += 1
    return count


def called(image: Image) -> str:
    """Return what people call an image."""
    return image.names[0] if image.names else image.id[:19]


def moment(text: str | None) -> float:
    """Return epoch seconds of a time of the engine; 0 for none and for year 1, which is how Go says none."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(?:Z|([+-])(\d\d):(\d\d))\Z", text or "")
    if not found or found[1].startswith("0001"):
        return 0
    shift = (int(found[4]) * 3600 + int(found[5]) * 60) * (-1 if found[3] == "-" else 1) if found[3] else 0
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + float(found[2] or 0) - shift


def read_images(engine: Engine, repositories: Iterable[str]) -> list[Image]:
    """Return all images of a host, those of the repositories with the time of their last tag; raises EngineError."""
    wanted, images = set(checked(repositories)), []
    for found in engine.get("/images/json", all=True) or []:
        names = [name for name in (found.get("RepoTags") or []) + (found.get("RepoDigests") or []) if not name.startswith("<none>")]
        tagged = 0.0
        if wanted & {repository(name) for name in names}:
            try:
                tagged = moment((engine.get(f"/images/{found['Id']}/json").get("Metadata") or {}).get("LastTagTime"))
            except EngineError as error:
                if error.status != 404:
                    raise
                continue
        images.append(Image(found["Id"], tuple(names), found.get("Labels") or {}, found.get("ParentId") or "", found.get("Created") or 0, tagged,
                            found.get("Size") or 0))
    return images


def usage(engine: Engine) -> tuple[int, int] | None:
    """Return the bytes of all image layers, and those of the build cache that no image shares; None where the engine does not say.

    A layer that BuildKit made here lives on in its cache when its image goes: the first shrinks, the second grows, the disk is as full.
    """
    try:
        images, builds = (engine.call("GET", "/system/df", {"type": kind}, timeout=USAGE_SECONDS) or {} for kind in ("image", "build-cache"))
    except EngineError:
        return None
    layers = images["LayersSize"] if "LayersSize" in images else (images.get("ImageUsage") or {}).get("TotalSize")
    cache = builds.get("BuildCache") or (builds.get("BuildCacheUsage") or {}).get("Items") or []
    return None if layers is None else (layers, sum(one.get("Size") or 0 for one in cache if not one.get("Shared")))


def freed(before: tuple[int, int] | None, after: tuple[int, int] | None) -> dict[str, int | None]:
    """Return by how many bytes the engine's disk shrank, and how many moved into the build cache; None where it is not known."""
    if before is None or after is None:
        return {"bytes_freed": None, "bytes_cached": None}
    return {"bytes_freed": max(0, sum(before) - sum(after)), "bytes_cached": max(0, after[1] - before[1])}


def remove(engine: Engine, removal: Removal) -> tuple[list[str], bool, list[dict[str, Any]]]:
    """Do a removal; return the names that went, whether the image went, and what was refused."""
    gone, whole, refused = [], False, []
    for target in removal.names or (removal.image.id,):
        try:
            if engine.get(f"/images/{target}/json").get("Id") != removal.image.id:
                continue  # the tag has moved to another image since
            records = engine.delete(f"/images/{target}") or []
        except EngineError as error:
            if error.status == 404:  # the last tag of a repository takes its digests along, and somebody else may be quicker
                gone += [target] if gone and target not in gone else []
                continue
            refused.append({"image": removal.image.id, "name": target, "status": error.status, "message": error.message})
            if not error.status:
                break
            continue
        gone += [record["Untagged"] for record in records if record.get("Untagged") in removal.names and record["Untagged"] not in gone]
        whole = whole or removal.image.id in [record.get("Deleted") for record in records]
    return gone, whole, refused


def run(engine: Engine, repositories: Iterable[str], keep: int, protected: Callable[[], Mapping[str, str] | Iterable[str]] = tuple, app: str = "",
        environment: str = "", check: bool = False, measure: bool = True) -> dict[str, Any]:
    """Remove what `plan` says, or only say it with `check`. With `measure` it is told how many bytes that has freed.

    `protected` is asked after the images are known, so whatever comes to the host meanwhile is safe. Return `changed`, `removed`, `kept`,
    `refused`, what `freed` says and `diff`. Raises EngineError when the engine cannot be asked, PruneError.
    """
    images = read_images(engine, repositories)
    needed = protected()
    planned = plan(images, engine.get("/containers/json", all=True) or [], keep, repositories, needed, app, environment)
    removed: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    before = usage(engine) if planned.removals and measure and not check else (0, 0)
    for removal in planned.removals:
        gone, whole, said = (list(removal.names), removal.whole, []) if check else remove(engine, removal)
        refused += said
        if gone or whole:
            removed.append({"image": removal.image.id, "tags": gone, "whole": whole, "reason": removal.reason, "size": removal.image.size if whole else 0})
        if any(not one["status"] for one in said):  # the engine is gone or stuck: asking on would only cost time
            break
    after = usage(engine) if removed and measure and not check else before
    kept = [{"image": one.image.id, "tags": list(one.image.names), "reason": one.reason} for one in planned.kept]
    gone_names = {one["image"]: set(one["tags"]) for one in removed}
    gone_images = {one["image"] for one in removed if one["whole"]}
    every = [one.image for one in planned.kept] + [one.image for one in planned.removals]
    return {
        "changed": bool(removed), "removed": removed, "kept": kept, "refused": refused,
        **freed(before, after),
        "diff": {"before": listing((image, image.names) for image in every),
                 "after": listing((image, [name for name in image.names if name not in gone_names.get(image.id, ())])
                                  for image in every if image.id not in gone_images)},
    }


def listing(images: Iterable[tuple[Image, Iterable[str]]]) -> str:
    """Return images for a diff, a line each."""
    return "".join(sorted(f"{' '.join(names) or '<none>'} {image.id[:19]}\n" for image, names in images))


def lines(app: str, result: Mapping[str, Any], check: bool) -> list[str]:
    """Return a result for people."""
    verb = "would remove" if check else "removed"
    text = [f"{app}: {verb} {' '.join(one['tags']) or '<none>'} {one['image'][:19]}: {one['reason']}" for one in result["removed"]]
    text += [f"{app}: refused {one['name']}: {one['message']}" for one in result["refused"]]
    kept = f"{len(result['kept'])} kept"
    if check:
        return text + [f"{app}: {len(result['removed'])} to remove, {kept}"]
    size = "freed bytes are not known" if result["bytes_freed"] is None else f"{result['bytes_freed'] / 1e6:.1f} MB freed"
    cached = f", {result['bytes_cached'] / 1e6:.1f} MB more in the build cache: docker builder prune" if (result["bytes_cached"] or 0) > 1e5 else ""
    return text + [f"{app}: {len(result['removed'])} removed, {kept}, {size}{cached}"]


def leaves(value: Any) -> list[str]:
    """Return all texts in a value, at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [text for one in value for text in leaves(one)]
    return [value] if isinstance(value, str) and value else []


def of_releases(root: str) -> dict[str, str]:
    """Return reference -> reason for the images of the releases under an app's root; raises PruneError when a record does not say them."""
    found: dict[str, str] = {}
    for path in sorted(glob.glob(f"{glob.escape(root)}/releases/*/release.json")):
        release = os.path.basename(os.path.dirname(path))
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        except FileNotFoundError:
            continue  # a release that was removed since
        except (OSError, ValueError) as error:
            raise PruneError(f"{path} cannot be read, so nobody knows which images it needs: {error}") from error
        references = leaves(record.get("images"))
        if record.get("outcome") == "live" and not references and not record.get("venv"):  # with a venv it never ran in containers
            raise PruneError(f"{path} names no images, so nobody knows which ones it needs; deploy the app anew, or remove that release")
        found.update((reference, f"the release {release} needs it") for reference in references)
    return found


def deploying(path: str) -> bool:
    """Return whether a run holds the lock in ``path``."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        if time.time() - json.load(file).get("renewed", 0) <= LEASE:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class BusyError(Exception):
    """The app is being deployed."""


def guard(root: str, protect: Iterable[str], lock: str = "") -> dict[str, str]:
    """Return what is protected of an app with this root; raises BusyError while it is deployed, PruneError. ``lock``: where its lock lies."""
    if root and deploying(lock or f"{root}/lock"):
        raise BusyError
    return {**{reference: f"{reference} is protected" for reference in protect}, **(of_releases(root) if root else {})}


def configuration(path: str) -> dict[str, Any]:
    """Return the configuration in a file; raises PruneError with what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise PruneError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("apps"), list):
        raise PruneError(f'{path} has no list "apps"; quayside.django.site writes it')
    for number, app in enumerate(found["apps"]):
        missing = [key for key in ("app", "repositories", "keep") if key not in app]
        if missing:
            raise PruneError(f"{path}: apps[{number}] ({app.get('app', 'nameless')}) lacks {', '.join(missing)}; quayside.django.site writes it")
    return found


def main(argv: list[str] | None = None) -> int:
    """Prune the apps of a configuration; return the exit status: 1 when an app could not be pruned, never for a refused removal."""
    arguments = sys.argv[1:] if argv is None else argv
    check, paths = "--check" in arguments, [argument for argument in arguments if argument != "--check"]
    if len(paths) != 1:
        print("usage: image_prune.py CONFIG.json [--check]", file=sys.stderr)
        return 2
    try:
        found = configuration(paths[0])
    except PruneError as error:
        print(error, file=sys.stderr)
        return 1
    status = 0
    engine = Engine(found.get("socket") or SOCKET)
    for app in found["apps"]:
        try:
            result = run(engine, app["repositories"], app["keep"], lambda app=app: guard(app.get("root", ""), app.get("protect", []), app.get("lock", "")),
                         app["app"], app.get("environment", ""), check)
        except BusyError:
            print(f"{app['app']}: it is being deployed, which prunes too; nothing done")
        except (EngineError, PruneError) as error:
            print(f"{app['app']}: {error}", file=sys.stderr)
            status = 1
        else:
            print("\n".join(lines(app["app"], result, check)))
    return status


if __name__ == "__main__":
    sys.exit(main())
