# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a .dockerignore keeps out of an image, and which files of variables are told because none does."""
import os
import tarfile

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_ignore, releases, source
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from samples import loaded


@pytest.mark.parametrize(("text", "path", "ignored"), [
    ("", ".env", False),
    (".env", ".env", True),
    ("/.env", ".env", True),
    (".env\r\n", ".env", True),
    (".env", "backend/.env", False),
    ("**/.env", "backend/.env", True),
    ("**/.env", ".env", True),
    ("**/.env*", "a/b/.env.production", True),
    (".env*", ".env.production", True),
    ("*.env", ".env", True),
    ("backend", "backend/.env", True),
    ("backend/", "backend/.env", True),
    ("*", ".env", True),
    ("*\n!src", ".env", True),
    ("*\n!.env", ".env", False),
    ("**\n!backend/.env", "backend/.env", False),
    ("!.env\n.env", ".env", True),
    ("# .env\n.envrc\nenv", ".env", False),
    ("./.env", ".env", True),
    (".en?", ".env", True),
    (".en[uv]", ".env", True),
    ("\ufeff.env", ".env", True),
])
def test_the_last_line_that_matches_a_file_or_its_folder_counts(text, path, ignored):
    assert docker_ignore.ignored(path, text) is ignored


@pytest.mark.parametrize(("path", "found"), [
    (".env", True), ("backend/.env", True), (".env.production", True), (".env.local", True), (".env.example", False), (".env.sample", False), (".envrc", False),
    ("env", False), ("x.env", False), (".env.dist", False), (".env/x", False)])
def test_a_file_of_variables_is_told_from_its_example(path, found):
    assert source.is_env_file(path) is found


class Sent:
    """A folder that was sent: name -> text."""

    def __init__(self, **files):
        self.files = {name.replace("__", "/"): text for name, text in files.items()}
        self.env_files = [".env", "backend/.env"]

    def read_file(self, path):
        return self.files.get(path.replace("/.", "/").lstrip("."))


@pytest.mark.parametrize(("files", "image", "told"), [
    ({}, {}, ".env, backend/.env of /shop can get into the image app"),
    ({"dockerignore": "**/.env"}, {}, ""),
    ({"dockerignore": ".env"}, {}, "warning: backend/.env of"),
    ({"dockerignore": "**/.env", "Dockerfile.dockerignore": "x"}, {}, ".env, backend/.env of"),
    ({}, {"context": "backend"}, "warning: backend/.env of"),
    ({"backend__dockerignore": ".env"}, {"context": "backend"}, ""),
    ({}, {"context": "frontend"}, ""),
    ({}, {"repository": "ghcr.io/acme/pos", "from": "registry"}, ""),
])
def test_files_of_variables_that_no_ignore_file_names_are_told(files, image, told):
    app = loaded(runtime="compose", source={"folder": "/shop"}, images=[{"name": "app", **image}])
    runtime = Compose(app, releases.Shelf("/opt/pos"))
    runtime.source = Sent(**files)
    found = runtime.baked()
    assert bool(found) is bool(told)
    assert told in "".join(found)


def test_what_only_its_owner_may_read_is_readable_in_a_release(tmp_path):
    """A file of mode 0600 on the controller was not readable in the container."""
    (tmp_path / "folder").mkdir(mode=0o700)
    for path, mode in (("secret.py", 0o600), ("folder/run", 0o700)):
        (tmp_path / path).write_text("x")
        os.chmod(tmp_path / path, mode)
    made = source.Folder(loaded(source={"folder": "/shop"}))
    made.folder = str(tmp_path)
    with open(tmp_path.with_suffix(".tar"), "wb") as stream:
        made.send({}, stream)
    with tarfile.open(tmp_path.with_suffix(".tar")) as tar:
        assert {member.name: member.mode for member in tar} == {"secret.py": 0o644, "folder": 0o755, "folder/run": 0o755}
