# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: what a version means, and the words for each way in which a registry, an archive or a build can refuse."""
from __future__ import annotations

import io
import json
import tarfile

import pytest
from ansible_collections.quayside.django.plugins.module_utils import images
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from samples import SECRETS, loaded

DIGEST = "sha256:" + "a" * 64


class Engine:
    """Answers as the Docker engine would, from a table of path -> answer or error; remembers what was asked."""

    def __init__(self, answers=None):
        self.answers, self.asked = answers or {}, []

    def call(self, method, path, query=None, body=None, headers=None, timeout=None):
        self.asked.append((method, path, query, headers))
        answer = self.answers[path]
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def get(self, path, **query):
        return self.call("GET", path, query)

    def post(self, path, body=None, **query):
        return self.call("POST", path, query, body)


def pulled(engine=None, registry=None, **image):
    """Return the images of an app that pulls its one image."""
    secrets = {**SECRETS, "REGISTRY_PASSWORD": "long enough"}
    app = loaded(runtime="compose", source={"version": "v1"}, images=[{"name": "app", "repository": "ghcr.io/acme/pos", **image}], registry=registry or {},
                 secrets=secrets)
    made = images.Images(app, secrets, "long enough")
    made.engine = engine or Engine()
    return made


def built(**image):
    """Return the images of an app that builds its one image."""
    return images.Images(loaded(runtime="compose", images=[{"name": "app", **image}]), {})


def test_a_tag_is_resolved_to_its_digest():
    engine = Engine({"/distribution/ghcr.io/acme/pos:v2/json": {"Descriptor": {"digest": DIGEST}}})
    assert pulled(engine).resolve("v2", "")["app"] == {"ref": f"ghcr.io/acme/pos@{DIGEST}", "digest": DIGEST, "tag": "v2"}


def test_a_tag_may_hold_more_than_the_version():
    engine = Engine({"/distribution/ghcr.io/acme/pos:web-v2/json": {"Descriptor": {"digest": DIGEST}}})
    assert pulled(engine, tag="web-{version}").resolve("v2", "")["app"]["tag"] == "web-v2"


def test_a_digest_needs_no_registry():
    engine = Engine()
    assert pulled(engine).resolve(DIGEST, "")["app"]["ref"] == f"ghcr.io/acme/pos@{DIGEST}"
    assert engine.asked == []


def test_a_login_travels_in_a_header():
    engine = Engine({"/distribution/ghcr.io/acme/pos:v2/json": {"Descriptor": {"digest": DIGEST}}})
    pulled(engine, registry={"server": "ghcr.io", "user": "deployer"}).resolve("v2", "")
    header = engine.asked[0][3]["X-Registry-Auth"]
    assert json.loads(__import__("base64").urlsafe_b64decode(header)) == {"username": "deployer", "password": "long enough", "serveraddress": "ghcr.io"}


@pytest.mark.proves("3.66")
@pytest.mark.parametrize(("status", "said", "user", "words"), [
    (401, "unauthorized: incorrect username or password", "deployer", "refused ghcr.io/acme/pos:v2 to the user deployer"),
    (500, "Head https://ghcr.io/v2/: no basic auth credentials", "", "without a login"),
    (403, "denied: requested access to the resource is denied", "", "set registry.user, and REGISTRY_PASSWORD"),
    (404, "manifest unknown", "deployer", "there is no image ghcr.io/acme/pos:v2 (manifest unknown): was it pushed?"),
    (500, "Get https://ghcr.io/v2/: dial tcp: connection refused", "", "does not answer as it should"),
    (500, "x509: certificate signed by unknown authority", "", "docker_registry_certificates"),
    (0, "the Docker engine does not answer at /run/x: is it installed?", "", "the Docker engine does not answer"),
])
def test_each_refusal_of_a_registry_has_words_of_its_own(status, said, user, words):
    engine = Engine({"/distribution/ghcr.io/acme/pos:v2/json": EngineError(status, said)})
    with pytest.raises(PhaseError) as error:
        pulled(engine, registry={"server": "ghcr.io", "user": user}).resolve("v2", "")
    assert words in str(error.value)


@pytest.mark.parametrize("tag", ["no such", "-x", "a/b", "ä", "x" * 129, ""])
def test_a_version_that_is_no_tag_is_refused_before_anybody_is_asked(tag):
    engine = Engine()
    with pytest.raises(PhaseError, match="is no tag of an image"):
        pulled(engine).resolve(tag, "")
    assert engine.asked == []


def test_an_error_within_a_pull_is_an_error():
    one = {"ref": f"ghcr.io/acme/pos@{DIGEST}", "tag": "v2"}
    engine = Engine({"/images/create": '{"status": "Pulling"}\n{"error": "unexpected EOF", "errorDetail": {}}\n'})
    with pytest.raises(PhaseError, match="unexpected EOF"):
        pulled(engine).pull(one)


@pytest.mark.parametrize("other", [{"args": {"A": "1"}}, {"target": "final"}, {"dockerfile": "docker/Dockerfile"}, {"context": "back"}])
def test_an_image_that_is_built_otherwise_has_another_name(other):
    sha = "0123456789abcdef"
    before = built().resolve("v1", sha)["app"]
    assert before["ref"].startswith("quayside/pos-app:0123456789ab-")
    assert before == built().resolve("v2", sha)["app"]
    assert built(**other).resolve("v1", sha)["app"]["ref"] != before["ref"]


def test_an_image_of_the_same_name_and_other_inputs_is_not_the_same():
    one = built().resolve("v1", "0123456789abcdef")["app"]
    made = pulled(Engine({f"/images/{one['ref']}/json": {"Config": {"Labels": {"quayside.inputs": "others"}}}}))
    assert made.here(one) is False


def archive(path, listed):
    """Write a file as `docker save` does, with this manifest."""
    text = json.dumps(listed).encode()
    entry = tarfile.TarInfo("manifest.json")
    entry.size = len(text)
    with tarfile.open(path, "w") as tar:
        tar.addfile(entry, io.BytesIO(text))


def archived(tmp_path):
    """Return the images of an app whose image comes in an archive, and where that lies."""
    app = loaded(runtime="compose", images=[{"name": "app", "archive": "pos-{version}.tar"}])
    app["source_cache"] = str(tmp_path)
    (tmp_path / "archives").mkdir(parents=True)
    return images.Images(app, {}), tmp_path / "archives/app.tar"


@pytest.mark.parametrize("config", ["{}.json", "blobs/sha256/{}"])
def test_an_archive_names_its_image(tmp_path, config):
    made, path = archived(tmp_path)
    archive(path, [{"Config": config.format("b" * 64), "RepoTags": ["x:1"]}])
    assert made.resolve("v1", "")["app"] == {"ref": f"quayside/pos-app:{'b' * 12}", "id": f"sha256:{'b' * 64}", "tag": "b" * 12}


@pytest.mark.parametrize(("listed", "words"), [
    ([], "holds 0 images"), ([{"Config": "a"}, {"Config": "b"}], "holds 2 images"), ([{"Config": "none"}], "names no image"), ({"a": 1}, "is no archive"),
])
def test_an_archive_that_holds_something_else_is_refused(tmp_path, listed, words):
    made, path = archived(tmp_path)
    archive(path, listed)
    with pytest.raises(PhaseError, match=words):
        made.resolve("v1", "")


def test_an_archive_that_is_none_and_one_that_is_not_there(tmp_path):
    made, path = archived(tmp_path)
    with pytest.raises(PhaseError, match="has not been sent"):
        made.resolve("v1", "")
    path.write_text("no tar")
    with pytest.raises(PhaseError, match="is no archive of `docker save`"):
        made.resolve("v1", "")


@pytest.mark.parametrize(("path", "context", "words"), [
    ("Dockerfile", "elsewhere", "has no elsewhere/Dockerfile"), ("link/Dockerfile", "link", "leads out of the source by a link"),
])
def test_a_build_stays_inside_its_source(tmp_path, path, context, words):
    code, outside = tmp_path / "code", tmp_path / "outside"
    code.mkdir()
    outside.mkdir()
    (outside / "Dockerfile").write_text("FROM scratch\n")
    (code / "link").symlink_to(outside)
    made = built(context=context)
    with pytest.raises(PhaseError, match=words):
        made.build(made.app["images"][0], made.resolve("v1", "0" * 40)["app"], str(code), "0" * 40, "v1")


def test_the_log_of_a_build_is_told_without_its_progress():
    log = "#1 [internal] load\n#1 DONE 0.0s\n#7 0.312 ModuleNotFoundError: No module named 'x'\n#7 ERROR: exit code: 1\n#2 sha256:1234 1MB / 2MB\n"
    assert images.readable(log) == "[internal] load\nModuleNotFoundError: No module named 'x'\nERROR: exit code: 1"
