# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of ``docker save``, read as something that a stranger made: what reaches the engine is a new archive of its one image, without a name.

``docker load`` gives every name that an archive brings along to its images: those in ``manifest.json``, in the older file ``repositories``, and in the
annotations ``io.containerd.image.name`` and ``org.opencontainers.image.ref.name`` of an OCI index. An archive could so take the name of the edge's image.
The archive that is written here holds the configuration and the layers of one image and nothing else, so no name is left to be given.
"""
from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import stat
import tarfile
from dataclasses import dataclass

MEMBERS = 10_000  # a layer is at most three of them, and an image has at most 127 layers
MANIFEST_BYTES = 4 << 20  # the limit of Docker's own registry for a manifest
CONFIG_BYTES = 8 << 20
HEADER_BYTES = 1 << 20  # of one extended header, which tarfile reads into memory
EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LAYERS = 127  # overlay2's own limit
CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"^[a-z0-9][A-Za-z0-9._/:@-]{0,254}\Z")
INDEX_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class ArchiveError(Exception):
    """What is wrong with an archive, as the end of a sentence that begins with its name."""


class Header(tarfile.TarInfo):
    """A member whose extended headers have a limit."""

    def _proc_member(self, tar):
        if self.type in EXTENDED and self.size > HEADER_BYTES:
            raise ArchiveError(f"has a header of {self.size} bytes, and {HEADER_BYTES} are the most")
        return super()._proc_member(tar)


@dataclass(frozen=True)
class Contents:
    """The one image of an archive: its id (``sha256:…``), its configuration, its layers in order, and the names that the archive would give away.

    ``diff_ids`` are the digests of its layers as the configuration has them: by those every engine knows what it has loaded.
    """

    image: str
    config: bytes
    diff_ids: tuple
    layers: tuple
    names: tuple


def opened(path: str):
    """Open an archive for reading; raise ArchiveError when it is no regular file, FileNotFoundError when it is not there.

    Neither a link nor a FIFO is followed or waited for.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArchiveError(f"cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ArchiveError("is no regular file")
    return os.fdopen(handle, "rb")


def entered(file) -> tarfile.TarFile:
    """Return the open file as an archive; raise ArchiveError."""
    try:
        return tarfile.open(fileobj=file, tarinfo=Header)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ArchiveError(f"is no archive of `docker save`: {error}") from error


def contents(tar: tarfile.TarFile) -> Contents:
    """Return what an archive holds; raise ArchiveError unless it is exactly one image that can be told from all else in it."""
    try:
        members = listed(tar)
        if "manifest.json" not in members:
            oci = " It is an OCI layout: save it by `docker save -o FILE IMAGE`" if "index.json" in members else ""
            raise ArchiveError(f"is no archive of `docker save`: it has no manifest.json.{oci}")
        manifest = document(tar, members, "manifest.json")
        if not isinstance(manifest, list) or not all(isinstance(one, dict) for one in manifest):
            raise ArchiveError("is no archive of `docker save`: its manifest is no list")
        if len(manifest) != 1:
            raise ArchiveError(f"holds {len(manifest)} images, and one is wanted: docker save -o FILE IMAGE")
        config, layers = manifest[0].get("Config"), manifest[0].get("Layers")
        if not isinstance(config, str) or not DIGEST.search(config):
            raise ArchiveError("is no archive of `docker save`: it names no image")
        if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
            raise ArchiveError("is no archive of `docker save`: its manifest has no list of layers")
        if len(layers) > LAYERS:
            raise ArchiveError(f"has {len(layers)} layers, and {LAYERS} are the most")
        text = read(tar, member(members, config), CONFIG_BYTES)
        digest = hashlib.sha256(text).hexdigest()
        if digest != DIGEST.search(config)[0]:
            raise ArchiveError(f"is damaged or forged: the configuration of its image is {digest[:12]} and not {DIGEST.search(config)[0][:12]}")
        rootfs = json.loads(text).get("rootfs") or {}
        return Contents(f"sha256:{digest}", text, tuple(rootfs.get("diff_ids") or ()), tuple(member(members, layer) for layer in layers),
                        tuple(names(tar, members, manifest[0])))
    except (tarfile.TarError, EOFError, OSError, ValueError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"is no archive of `docker save`: {error}") from error


def listed(tar: tarfile.TarFile) -> dict:
    """Return name -> member. A name that stands there twice is refused: two readers could take two of them."""
    found: dict = {}
    for number, entry in enumerate(tar):
        if number >= MEMBERS:
            raise ArchiveError(f"holds more than {MEMBERS} files")
        name = posixpath.normpath(entry.name)
        if name in found and not entry.isdir():
            raise ArchiveError(f"holds {name} twice")
        found[name] = entry
    return found


def member(members: dict, name: str) -> tarfile.TarInfo:
    """Return the regular file ``name``; a link counts only when it names one in the same archive, as `docker save` writes for a layer that is there twice."""
    name = posixpath.normpath(name)
    entry = members.get(name)
    if entry is not None and entry.issym():
        entry = members.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.linkname)))
    elif entry is not None and entry.islnk():
        entry = members.get(posixpath.normpath(entry.linkname))
    if entry is None:
        raise ArchiveError(f"lacks {name}, which its manifest names")
    if not entry.isreg() or entry.issparse():
        raise ArchiveError(f"is refused: {name} is no regular file in it")
    return entry


def read(tar: tarfile.TarFile, entry: tarfile.TarInfo, most: int) -> bytes:
    """Return a member of at most ``most`` bytes."""
    if entry.size > most:
        raise ArchiveError(f"is refused: {entry.name} has {entry.size} bytes, and {most} are the most")
    text = tar.extractfile(entry).read(most + 1)
    if len(text) != entry.size:
        raise ArchiveError(f"is cut off within {entry.name}")
    return text


def document(tar: tarfile.TarFile, members: dict, name: str):
    """Return a member that is JSON."""
    return json.loads(read(tar, member(members, name), MANIFEST_BYTES))


def names(tar: tarfile.TarFile, members: dict, manifest: dict) -> list[str]:
    """Return the names that `docker load` would give to images of the archive, each once. What cannot be read names nothing: it is not passed on."""
    found = [tag for tag in manifest.get("RepoTags") or [] if isinstance(tag, str)]
    if "repositories" in members:
        legacy = document(tar, members, "repositories")
        found += [f"{name}:{tag}" for name, tags in legacy.items() if isinstance(tags, dict) for tag in tags] if isinstance(legacy, dict) else []
    if "index.json" in members:
        index = document(tar, members, "index.json")
        described = index.get("manifests") if isinstance(index, dict) else None
        for one in described if isinstance(described, list) else []:
            notes = one.get("annotations") if isinstance(one, dict) else None
            found += [str(notes[key]) for key in INDEX_NAMES if key in notes] if isinstance(notes, dict) else []
    return list(dict.fromkeys(found))


def foreign(found: Contents, repository: str) -> list[str]:
    """Return those names of an archive that are not in ``repository``, for a message. What could be no name of an image is left out."""
    return [name for name in found.names if NAME.match(name) and not name.startswith((f"{repository}:", f"{repository}@", f"docker.io/{repository}:"))]


def plan(found: Contents) -> tuple[list, int]:
    """Return the members of the archive that the engine gets, (header, text or member of the archive), and the bytes of the whole."""
    digest = found.image.split(":")[1]
    layers = [f"{number}/layer.tar" for number in range(len(found.layers))]
    manifest = json.dumps([{"Config": f"{digest}.json", "RepoTags": None, "Layers": layers}]).encode()
    parts = [(plain("manifest.json", len(manifest)), manifest), (plain(f"{digest}.json", len(found.config)), found.config)]
    parts += [(plain(name, entry.size), entry) for name, entry in zip(layers, found.layers)]
    headers = [(header.tobuf(tarfile.GNU_FORMAT), header.size, source) for header, source in parts]
    return headers, sum(len(head) + size + -size % BLOCK for head, size, _source in headers) + 2 * BLOCK


def plain(name: str, size: int) -> tarfile.TarInfo:
    """Return the header of a regular file that only root reads."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    return header


def stream(tar: tarfile.TarFile, parts: list):
    """Yield the bytes of the archive that ``plan`` has planned; raise ArchiveError when the one that is read has become shorter."""
    for head, size, source in parts:
        yield head
        if isinstance(source, bytes):
            yield source
        else:
            yield from copied(tar, source)
        yield b"\0" * (-size % BLOCK)
    yield b"\0" * (2 * BLOCK)


def copied(tar: tarfile.TarFile, entry: tarfile.TarInfo):
    """Yield the bytes of a member, no more and no fewer than its header says."""
    left, file = entry.size, tar.extractfile(entry)
    while left:
        try:
            chunk = file.read(min(CHUNK, left))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ArchiveError(f"is cut off within {entry.name}: {error}") from error
        if not chunk:
            raise ArchiveError(f"is cut off within {entry.name}")
        left -= len(chunk)
        yield chunk
