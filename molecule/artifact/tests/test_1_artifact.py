# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artifact holds, and what its documentation says where it is installed."""
import json
import re
import tarfile

import pytest
from lab import ROOT

FILES = {"README.md", "CHANGELOG.md", "LICENSE", "MANIFEST.json", "FILES.json"}
FOLDERS = {"roles", "plugins", "playbooks", "meta", "docs", "changelogs"}
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))


@pytest.fixture(scope="module")
def members(artifact):
    """What the tarball holds, a list of tarfile.TarInfo."""
    with tarfile.open(artifact) as tar:
        return tar.getmembers()


def test_it_holds_the_collection_and_nothing_else(members):
    top = {member.name.split("/")[0] for member in members}
    assert top - FILES - FOLDERS == set()
    assert FILES | FOLDERS - {"changelogs"} <= top


def test_it_holds_no_links(members):
    assert [member.name for member in members if not member.isfile() and not member.isdir()] == []


def test_nothing_of_this_machine_is_in_it(members):
    parts = re.compile(r"(^|/)(\.[^/]+|__pycache__|tests|inventories|group_vars|local\.yml|.*\.(pyc|retry|key|pem|orig|rej|swp))(/|$)")
    assert [member.name for member in members if parts.search(member.name)] == []


def test_no_file_names_this_checkout(members, artifact):
    with tarfile.open(artifact) as tar:
        assert [member.name for member in members if member.isfile() and str(ROOT).encode() + b"/" in tar.extractfile(member).read()] == []


def test_its_version_is_that_of_the_changelog(artifact):
    with tarfile.open(artifact) as tar:
        info = json.load(tar.extractfile("MANIFEST.json"))["collection_info"]
        changelog = tar.extractfile("CHANGELOG.md").read().decode()
    assert info["version"] in changelog
    assert info["license"] == ["GPL-3.0-or-later"]


@pytest.mark.usefixtures("other")
def test_the_ansible_core_is_the_other_one(project):
    from ansible.release import __version__ as ours

    theirs = re.search(r"core ([\d.]+)", project.run("ansible", "--version").out).group(1)
    assert theirs.split(".")[:2] != ours.split(".")[:2]
    assert theirs.startswith(("2.19.", "2.21."))


def test_the_installed_collection_is_the_one_that_runs(project):
    listed = json.loads(project.run("ansible-galaxy", "collection", "list", "quayside.django", "--format", "json").out)
    assert list(listed) == [str(project.folder / "collections/ansible_collections")]


@pytest.mark.parametrize("kind", ["module", "filter", "role"])
def test_ansible_doc_shows_everything(project, kind):
    filters = sorted(re.findall(r'"(\w+)":', (ROOT / "plugins/filter/apps.py").read_text().partition("def filters")[2]))
    names = {"module": MODULES, "filter": filters, "role": ROLES}[kind]
    run = project.run("ansible-doc", "-t", kind, "--json", *(f"quayside.django.{name}" for name in names))
    shown = json.loads(run.out[run.out.index("{"):])
    for name in names:
        found = shown[f"quayside.django.{name}"]
        assert found.get("entry_points") or found["doc"]["short_description"], name


@pytest.mark.parametrize("words", [["quayside.django.release"], ["quayside.django.http_health"], ["-t", "filter", "quayside.django.app"],
                                   ["-t", "role", "quayside.django.base"]], ids=" ".join)
def test_ansible_doc_reads_well(project, words):
    out = project.run("ansible-doc", *words).out
    assert words[-1].rpartition(".")[2] in re.search(r"^> .*", out, re.M).group(0).lower()
    assert re.search(r"^\[ERROR\]|^\[WARNING\].*quayside", out, re.M) is None
