# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images as `docker save` writes them, with whatever names in them; made without an engine."""
from __future__ import annotations

import hashlib
import io
import json
import pathlib
import tarfile


def packed(files: dict) -> bytes:
    """Return a tar of name -> bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def write(path: pathlib.Path, names: list[str], label: str = "") -> str:
    """Write an archive of one small image that brings these names along; return the image's id."""
    layer = packed({"marker": b"from the archive " + label.encode()})
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/marker"], "Labels": {"label": label}},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}, "history": [{"created_by": "hostile"}]}).encode()
    identity = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": f"{identity}.json", "RepoTags": names, "Layers": [f"{digest}/layer.tar"]}]).encode()
    repositories: dict = {}
    for name in names:
        repository, _, tag = name.rpartition(":")
        repositories.setdefault(repository, {})[tag] = digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed({f"{identity}.json": config, f"{digest}/layer.tar": layer, "manifest.json": manifest,
                             "repositories": json.dumps(repositories).encode()}))
    return f"sha256:{identity}"
