# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: what a version means, and the words for each way in which a registry, an archive or a build can refuse."""
from __future__ import annotations

import hashlib
import io
import json
import os
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


CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
ID = hashlib.sha256(CONFIG).hexdigest()


def archive(path, listed, others=(), mode="w"):
    """Write a file as `docker save` does, with this manifest and other members: (name, text), or whole headers."""
    with tarfile.open(path, mode) as tar:
        for entry in [("manifest.json", json.dumps(listed)), *others]:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            header = tarfile.TarInfo(entry[0])
            text = entry[1] if isinstance(entry[1], bytes) else entry[1].encode()
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text))


def linked(name, target, kind=tarfile.SYMTYPE):
    """Return the header of a link."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def saved(path, config=f"{ID}.json", layers=("l1/layer.tar",), tags=("x:1",), others=(), mode="w"):
    """Write a whole archive of one image with layers."""
    listed = [{"Config": config, "RepoTags": list(tags), "Layers": list(layers)}]
    archive(path, listed, [(config, CONFIG), ("l1/layer.tar", b"layer one" * 1000), *others], mode)


def archived(tmp_path):
    """Return the images of an app whose image comes in an archive, and where that lies."""
    app = loaded(runtime="compose", images=[{"name": "app", "archive": "pos-{version}.tar"}])
    app["source_cache"] = str(tmp_path)
    (tmp_path / "archives").mkdir(parents=True)
    return images.Images(app, {}), tmp_path / "archives/app.tar"


@pytest.mark.parametrize("config", [f"{ID}.json", f"blobs/sha256/{ID}"])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_names_its_image(tmp_path, config, mode):
    made, path = archived(tmp_path)
    saved(path, config, mode=mode)
    assert made.resolve("v1", "")["app"] == {"ref": f"quayside/pos-app:{ID[:12]}", "id": f"sha256:{ID}", "tag": ID[:12]}


@pytest.mark.parametrize(("listed", "words"), [
    ([], "holds 0 images"), ([{"Config": "a"}, {"Config": "b"}], "holds 2 images"), ([{"Config": "none"}], "names no image"), ({"a": 1}, "is no archive"),
    ([{"Config": f"{ID}.json"}], "no list of layers"), ([{"Config": f"{ID}.json", "Layers": ["x"] * 128}], "128 layers"),
    ([{"Config": f"{ID}.json", "Layers": []}], "lacks"), ([{"Config": 7, "Layers": []}], "names no image"), ([7], "is no archive"),
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


def test_an_archive_that_is_a_link_or_a_fifo_is_not_opened(tmp_path):
    made, path = archived(tmp_path)
    saved(tmp_path / "elsewhere.tar")
    path.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(PhaseError, match="cannot be opened"):
        made.resolve("v1", "")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PhaseError, match="is no regular file"):
        made.resolve("v1", "")


def long_header(size):
    """Return a member whose extended header says that it is this long."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, size
    return header


@pytest.mark.parametrize(("others", "layers", "words"), [
    ([linked("l2/layer.tar", "/etc/shadow")], ["l2/layer.tar"], "lacks l2/layer.tar"),
    ([linked("l2/layer.tar", "../../../etc/shadow")], ["l2/layer.tar"], "lacks l2/layer.tar"),
    ([linked("l2/layer.tar", "etc/shadow", tarfile.LNKTYPE)], ["l2/layer.tar"], "lacks l2/layer.tar"),
    ([linked("l2/layer.tar", "../l3/layer.tar"), linked("l3/layer.tar", "../l1/layer.tar")], ["l2/layer.tar"], "is no regular file"),
    ([linked("l2/layer.tar", "", tarfile.FIFOTYPE)], ["l2/layer.tar"], "is no regular file"),
    ([linked("l2/layer.tar", "", tarfile.CHRTYPE)], ["l2/layer.tar"], "is no regular file"),
    ([("l1/layer.tar", "another")], ["l1/layer.tar"], "holds l1/layer.tar twice"),
    ([("./l1/../l1/layer.tar", "another")], ["l1/layer.tar"], "holds l1/layer.tar twice"),
    ([("manifest.json", "[]")], ["l1/layer.tar"], "holds manifest.json twice"),
    ([long_header(2 << 20)], ["l1/layer.tar"], "header of 2097152 bytes"),
])
def test_a_hostile_archive_is_refused(tmp_path, others, layers, words):
    made, path = archived(tmp_path)
    saved(path, layers=layers, others=others)
    with pytest.raises(PhaseError, match=words):
        made.resolve("v1", "")


def test_a_configuration_that_is_not_what_its_name_says_is_refused(tmp_path):
    made, path = archived(tmp_path)
    archive(path, [{"Config": f"{ID}.json", "Layers": []}], [(f"{ID}.json", CONFIG + b" ")])
    with pytest.raises(PhaseError, match="damaged or forged"):
        made.resolve("v1", "")


class Loading(Engine):
    """Takes in what is loaded, and knows it by ``known``: the digest of its configuration, or of its manifest where containerd keeps the images."""

    def __init__(self, known=f"sha256:{ID}", layers=()):
        super().__init__()
        self.known, self.layers = known, list(layers)

    def call(self, method, path, query=None, body=None, headers=None, timeout=None):
        self.asked.append((method, path, query, headers))
        if path == "/images/load":
            self.sent = b"".join(body)
            self.length = int(headers["Content-Length"])
            return {"stream": f"Loaded image ID: {self.known}\n"}
        if path == "/info":
            return {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]] if self.known == MANIFEST else [["Backing Filesystem", "extfs"]]}
        if path == f"/images/{self.known}/json" or path.startswith("/images/quayside/"):
            return {"Id": self.known, "RootFS": {"Layers": self.layers}}
        if path == f"/images/{self.known}/tag":
            return None
        raise EngineError(404, f"No such image: {path}")


MANIFEST = "sha256:" + "e" * 64
INDEX = {"manifests": [{"annotations": {"io.containerd.image.name": "docker.io/library/nginx:alpine", "org.opencontainers.image.ref.name": "alpine"}},
                       {"annotations": {"org.opencontainers.image.ref.name": "postgres:16-alpine"}}]}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_no_name_of_an_archive_reaches_the_engine(tmp_path, mode):
    made, path = archived(tmp_path)
    made.engine = Loading()
    others = [("repositories", json.dumps({"redis": {"7-alpine": "l1"}})), ("index.json", json.dumps(INDEX)), ("oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
              linked("l2/layer.tar", "../l1/layer.tar")]
    saved(path, layers=("l1/layer.tar", "l2/layer.tar"), tags=["nginx:alpine", "quayside/pos-app:1"], others=others, mode=mode)
    note = made.load(made.app["images"][0], made.resolve("v1", "")["app"])
    for name in ("nginx:alpine", "redis:7-alpine", "docker.io/library/nginx:alpine", "postgres:16-alpine"):
        assert name in note
    assert "pos-app" not in note
    assert len(made.engine.sent) == made.engine.length
    with tarfile.open(fileobj=io.BytesIO(made.engine.sent)) as tar:
        assert sorted(tar.getnames()) == sorted(["manifest.json", f"{ID}.json", "0/layer.tar", "1/layer.tar"])
        assert json.load(tar.extractfile("manifest.json")) == [{"Config": f"{ID}.json", "RepoTags": None, "Layers": ["0/layer.tar", "1/layer.tar"]}]
        assert tar.extractfile("0/layer.tar").read() == tar.extractfile("1/layer.tar").read() == b"layer one" * 1000
        assert tar.extractfile(f"{ID}.json").read() == CONFIG
    assert ("POST", f"/images/sha256:{ID}/tag", {"repo": "quayside/pos-app", "tag": ID[:12]}, None) in made.engine.asked


@pytest.mark.parametrize("known", [f"sha256:{ID}", MANIFEST], ids=["by its configuration", "by its manifest"])
def test_an_image_is_tagged_by_the_id_under_which_the_engine_has_loaded_it(tmp_path, known):
    made, path = archived(tmp_path)
    made.engine = Loading(known)
    saved(path)
    one = made.resolve("v1", "")["app"]
    made.load(made.app["images"][0], one)
    assert ("POST", f"/images/{known}/tag", {"repo": "quayside/pos-app", "tag": ID[:12]}, None) in made.engine.asked
    assert made.here(one)


def test_an_image_with_other_layers_than_those_of_the_archive_is_not_tagged(tmp_path):
    made, path = archived(tmp_path)
    made.engine = Loading(MANIFEST, layers=["sha256:" + "f" * 64])
    saved(path)
    with pytest.raises(PhaseError, match="is not there"):
        made.load(made.app["images"][0], made.resolve("v1", "")["app"])
    assert not [path for _method, path, *_others in made.engine.asked if path.endswith("/tag")]


def test_an_archive_that_another_one_has_replaced_meanwhile_is_not_loaded(tmp_path):
    made, path = archived(tmp_path)
    made.engine = Loading()
    saved(path)
    with pytest.raises(PhaseError, match="has changed since this deploy began"):
        made.load(made.app["images"][0], {"id": "sha256:" + "0" * 64, "tag": "0"})
    assert made.engine.asked == []


def test_an_archive_that_is_cut_off_is_refused(tmp_path):
    made, path = archived(tmp_path)
    made.engine = Loading()
    saved(path)
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(PhaseError, match="is (no archive|cut off)"):
        made.load(made.app["images"][0], made.resolve("v1", "")["app"])


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


@pytest.mark.parametrize(("version", "packaged"), [
    ("v1.2.3", "1.2.3"), ("2026.11", "2026.11"), ("1.0rc1", "1.0rc1"), ("main", "0.0.0+g0123abc"), ("v2-hotfix", "0.0.0+g0123abc"),
    ("0123abcd", "0.0.0+g0123abc")])
def test_a_build_is_told_its_version_in_a_form_that_packages_have(version, packaged):
    found = images.version_arguments(version, "0123abc" + "0" * 33)
    assert (found["QUAYSIDE_VERSION"], found["SETUPTOOLS_SCM_PRETEND_VERSION"], found["PDM_BUILD_SCM_VERSION"]) == (version, packaged, packaged)


DAY = 86400


@pytest.mark.parametrize(("created", "days"), [
    ([1800000000, 1800000000 - 40 * DAY, 1800000000 - 10 * DAY], 40), ([1800000000 - DAY - 5], 1), ([0, 0], None), ([], None), ([0, 1800000000 - 3 * DAY], 3)])
def test_the_age_of_a_base_is_that_of_its_oldest_layer(created, days):
    assert images.base_age([{"Created": seconds} for seconds in created], 1800000000) == days


@pytest.mark.parametrize(("fresh", "words"), [(False, []), (True, ["--no-cache", "--pull"])])
def test_a_build_that_is_asked_anew_takes_the_base_anew_too(tmp_path, monkeypatch, fresh, words):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    made, said = built(args={"QUAYSIDE_VERSION": "mine"}), {}
    made.fresh, made.builder = fresh, "/run/b.sock"

    def run(argv, _tell, _seconds, env):
        said.update(argv=argv, env=env)
        return images.subprocess.CompletedProcess(argv, 1, "", "")

    monkeypatch.setattr(images.host, "watched", run)
    monkeypatch.setattr(images.tempfile, "mkdtemp", lambda **_more: str(tmp_path / "config"))
    with pytest.raises(PhaseError, match="could not be built"):
        made.build(made.app["images"][0], made.resolve("v1", "0" * 40)["app"], str(tmp_path), "0" * 40, "v1.0")
    assert [word for word in said["argv"] if word in ("--no-cache", "--pull")] == words
    asked = {said["argv"][number + 1] for number, word in enumerate(said["argv"]) if word == "--build-arg"}
    assert {"SETUPTOOLS_SCM_PRETEND_VERSION", "QUAYSIDE_COMMIT", "QUAYSIDE_VERSION"} <= asked
    assert (said["env"]["SETUPTOOLS_SCM_PRETEND_VERSION"], said["env"]["QUAYSIDE_VERSION"]) == ("1.0", "mine")
