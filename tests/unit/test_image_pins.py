# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tag stands for on a host: first met, kept, moved in the registry, taken over by an image of another origin, updated."""
from __future__ import annotations

import json

import pytest
from ansible_collections.quayside.django.plugins.module_utils import image_pins
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError

OLD, NEW, OTHER = ("sha256:" + letter * 64 for letter in "abc")


class Engine:
    """An engine with images and a registry: tag -> digest."""

    def __init__(self, images=None, registry=None):
        self.images, self.registry, self.pulled = images or {}, registry or {}, []

    def get(self, path, **_query):
        name = path.removeprefix("/images/").removesuffix("/json")
        if name in self.images:
            return self.images[name]
        raise EngineError(404, "no such image")

    def call(self, method, path, query=None, **_other):
        if method == "POST":
            self.pulled.append(f"{query['fromImage']}@{query['tag']}")
            if query["tag"] not in self.registry.values():
                return '{"error": "manifest unknown"}\n'
            self.images[self.pulled[-1]] = {"Id": "sha256:" + "9" * 64}
            return '{"status": "done"}\n'
        name = path.removeprefix("/distribution/").removesuffix("/json")
        if name not in self.registry:
            raise EngineError(500, "no route to host")
        return {"Descriptor": {"digest": self.registry[name]}}


def pins(tmp_path, engine, update=False, kept=None):
    """Return the pins of a host whose file holds ``kept``."""
    path = tmp_path / "etc/images.json"
    if kept is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(kept if isinstance(kept, str) else json.dumps(kept))
    return image_pins.Pins(update, str(path), engine)


REGISTRY = {"nginx:alpine": NEW}
KEPT = {"nginx:alpine": f"nginx@{OLD}"}
PULLED = {"Id": OTHER, "RepoDigests": [f"nginx@{OLD}"]}
FOREIGN = {"Id": OTHER, "RepoDigests": []}
ELSEWHERE = {"Id": OTHER, "RepoDigests": [f"quay.io/evil/nginx@{OTHER}"]}


@pytest.mark.parametrize(("local", "registry", "kept", "update", "reference"), [
    ({}, REGISTRY, None, False, f"nginx@{NEW}"),                                  # a new host
    ({"nginx:alpine": PULLED}, REGISTRY, None, False, f"nginx@{OLD}"),            # what was pulled before runs on
    ({"nginx:alpine": FOREIGN}, REGISTRY, None, False, f"nginx@{NEW}"),           # an archive has taken the name
    ({"nginx:alpine": ELSEWHERE}, REGISTRY, None, False, f"nginx@{NEW}"),         # a tag on an image of another repository
    ({"nginx:alpine": FOREIGN}, {}, None, False, OTHER),                          # loaded by hand on a host without a registry
    ({}, REGISTRY, KEPT, False, f"nginx@{OLD}"),                                  # the tag has moved in the registry
    ({"nginx:alpine": FOREIGN}, REGISTRY, KEPT, False, f"nginx@{OLD}"),           # or on the host
    ({"nginx:alpine": PULLED}, REGISTRY, KEPT, True, f"nginx@{NEW}"),             # somebody says so
    ({}, REGISTRY, {"nginx:alpine": "nginx:evil"}, False, f"nginx@{NEW}"),        # what is no digest does not count
    ({}, REGISTRY, "no json", False, f"nginx@{NEW}"),
    ({}, REGISTRY, "[]", False, f"nginx@{NEW}"),
])
def test_what_a_tag_stands_for(tmp_path, local, registry, kept, update, reference):
    assert pins(tmp_path, Engine(local, registry), update, kept).reference("nginx:alpine") == reference


@pytest.mark.parametrize("name", [f"nginx@{OLD}", OLD, f"registry.example.com:5000/x@{OLD}"])
def test_a_digest_stands_for_itself_also_in_an_update(tmp_path, name):
    assert pins(tmp_path, Engine(), True).reference(name) == name


@pytest.mark.parametrize(("name", "repository", "tagged"), [
    ("nginx", "nginx", "nginx:latest"), ("nginx:1", "nginx", "nginx:1"), ("r.example.com:5000/nginx", "r.example.com:5000/nginx",
                                                                     "r.example.com:5000/nginx:latest"),
    ("r.example.com:5000/a/nginx:2", "r.example.com:5000/a/nginx", "r.example.com:5000/a/nginx:2"),
])
def test_names(name, repository, tagged):
    assert (image_pins.repository(name), image_pins.tagged(name)) == (repository, tagged)


def test_a_registry_that_is_silent_is_an_error_in_an_update(tmp_path):
    with pytest.raises(image_pins.PinError, match="could not be asked"):
        pins(tmp_path, Engine({"nginx:alpine": PULLED}), True, KEPT).reference("nginx:alpine")


def test_a_registry_that_is_silent_is_an_error_where_there_is_nothing_else(tmp_path):
    with pytest.raises(image_pins.PinError, match="could not be asked"):
        pins(tmp_path, Engine()).reference("nginx:alpine")


def test_what_is_kept_is_pulled_by_its_digest_and_written_once(tmp_path):
    engine = Engine({}, REGISTRY)
    made = pins(tmp_path, engine)
    assert made.pull("nginx:alpine") is True
    assert engine.pulled == [f"nginx@{NEW}"]
    assert image_pins.lines(made.changes()) == [f"nginx:alpine: not pinned -> {NEW[:19]}"]
    made.save()
    again = pins(tmp_path, engine)
    assert (again.reference("nginx:alpine"), again.pull("nginx:alpine"), again.changes(), again.diff()) == (f"nginx@{NEW}", False, {}, [])


def test_an_update_shows_both_digests(tmp_path):
    made = pins(tmp_path, Engine({}, REGISTRY), True, KEPT)
    made.reference("nginx:alpine")
    assert image_pins.lines(made.changes()) == [f"nginx:alpine: {OLD[:19]} -> {NEW[:19]}"]
    assert OLD in made.diff()[0]["before"]
    assert NEW in made.diff()[0]["after"]


def test_an_image_that_nobody_has_any_longer_says_what_to_do(tmp_path):
    with pytest.raises(image_pins.PinError, match="images_update=true"):
        pins(tmp_path, Engine({}, REGISTRY), False, KEPT).pull("nginx:alpine")
    with pytest.raises(image_pins.PinError, match="came from no registry"):
        pins(tmp_path, Engine({}, REGISTRY), False, {"nginx:alpine": OTHER}).pull("nginx:alpine")


def test_what_another_run_has_written_meanwhile_stays(tmp_path):
    made = pins(tmp_path, Engine({}, REGISTRY), False, {"redis:7": f"redis@{OLD}"})
    made.reference("nginx:alpine")
    (tmp_path / "etc/images.json").write_text(json.dumps({"redis:7": f"redis@{OLD}", "postgres:16": f"postgres@{OTHER}"}))
    made.save()
    assert set(image_pins.read(str(tmp_path / "etc/images.json"))) == {"redis:7", "postgres:16", "nginx:alpine"}
