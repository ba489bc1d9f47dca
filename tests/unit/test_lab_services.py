# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's services and images: what is asked for, what is made anew, and what local.yml says of it."""
from __future__ import annotations

import io
import pathlib
import re
import sys
import tarfile

import pytest

LAB = pathlib.Path(__file__).resolve().parents[2] / "roles/lab/files/lab"
sys.path.insert(0, str(LAB))

import app_image  # noqa: E402 - the path has to be there first
import engine  # noqa: E402
import image  # noqa: E402
import network  # noqa: E402
import services  # noqa: E402
import standin  # noqa: E402


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Return a lab in an empty folder whose network is 172.28.7.0/24."""
    monkeypatch.setattr(network, "subnet", lambda _lab: network.ipaddress.ip_network("172.28.7.0/24"))
    return engine.Lab(tmp_path / ".lab")


@pytest.fixture
def certificates(monkeypatch):
    """Return the dictionary of the controller's extra CA certificates, empty, to be filled."""
    found = {}
    monkeypatch.setattr(image, "certificates", lambda: found)
    return found


# Services


def test_the_services_that_there_are_pass():
    services.check(["images", "registry", "acme"])


def test_an_unknown_service_is_refused_with_those_that_there_are():
    with pytest.raises(engine.LabError, match="lab_services: registy is unknown: write one of images, registry, acme"):
        services.check(["images", "registy"])


@pytest.mark.parametrize(("names", "addresses", "told"), [
    ({}, {"one": "172.28.7.10", "two": "172.28.7.11"}, {"": "172.28.7.10"}),
    ({"shop.example.com": "two"}, {"one": "172.28.7.10", "two": "172.28.7.11"}, {"": "172.28.7.10", "shop.example.com": "172.28.7.11"}),
    ({}, {}, {}),
])
def test_a_name_leads_to_its_server_and_all_others_to_the_first(names, addresses, told):
    assert services.resolve(names, addresses) == told


def test_a_name_at_a_server_that_is_not_there_is_refused():
    with pytest.raises(engine.LabError, match=r"shop.example.com is to be at three, which is no server of the lab. Write one of one, two"):
        services.resolve({"shop.example.com": "three"}, {"one": "172.28.7.10", "two": "172.28.7.11"})


@pytest.mark.parametrize(("wanted", "mirrors", "said"), [
    (["images"], None, {"mirrors": ["http://172.28.7.3:5001"]}),
    (["images"], [], {"mirrors": []}),
    (["images"], ["https://mirror.example.com/"], {"mirrors": ["https://mirror.example.com/"]}),
    (["acme"], None, {"acme": "https://172.28.7.3:14000/dir", "acme_roots": "https://172.28.7.3:15000/roots/0",
                      "acme_short": "https://172.28.7.3:14001/dir", "acme_short_roots": "https://172.28.7.3:15001/roots/0",
                      "acme_eab": "https://172.28.7.3:14002/dir", "acme_eab_roots": "https://172.28.7.3:15002/roots/0",
                      "acme_dns": "https://172.28.7.3:14003/dir", "acme_dns_roots": "https://172.28.7.3:15003/roots/0",
                      "dns": "172.28.7.3:53", "dns_key": "lab-dns", "dns_algorithm": "hmac-sha256", "dns_secret": services.zone_key()[2],
                      "acme_eab_id": "lab-key", "acme_eab_key": services.account()[1], "ca": "{lab}/services/ca.crt"}),
    (["registry"], None, {"registry": "172.28.7.3:5000", "registry_user": "deployer", "registry_password": "", "ca": "{lab}/services/ca.crt"}),
])
def test_the_inventory_knows_what_it_asked_for_and_no_more(lab, wanted, mirrors, said):
    here = {name: value.format(lab=lab.folder) if isinstance(value, str) else value for name, value in said.items()}
    assert services.variables(lab, wanted, mirrors) == here


def test_the_registrys_password_is_the_one_that_was_kept(lab):
    path = services.kept(lab)["password"]
    services.keep(path, b"s3cret\n")
    assert services.variables(lab, ["registry"], None)["registry_password"] == "s3cret"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def container(lab, status="running", **labels):
    """Return what docker inspect says of the services' container."""
    return {lab.services: {
        "Config": {"Image": lab.image(image.tag_of("services")), "Labels": {"quayside.recipe": services.recipe(), **labels}},
        "State": {"Status": status, "Running": status == "running"}}}


@pytest.mark.parametrize(("status", "labels", "usable", "running"), [
    ("running", {}, True, True),
    ("exited", {}, True, False),
    ("created", {}, False, False),
    ("running", {"quayside.recipe": "of yesterday"}, False, False),
])
def test_a_container_of_other_settings_or_half_made_is_made_anew(lab, status, labels, usable, running):
    containers = container(lab, status, **labels)
    assert (services.usable(containers, lab) is not None, services.running(containers, lab)) == (usable, running)


def test_without_a_container_nothing_runs(lab):
    assert (services.running({}, lab), services.pushed(lab, {})) == (False, {})


def test_the_programs_of_the_container_can_be_run():
    assert {path: mode for path, (_content, mode) in services.files().items() if mode == 0o755} == {"srv/lab/start": 0o755, "srv/lab/names": 0o755}


def test_the_container_has_an_address_that_no_server_gets():
    assert len({network.GIT_HOST, network.SERVICES_HOST}) == 2
    assert network.SERVICES_HOST < network.FIRST_HOST


# Stand-ins


@pytest.mark.parametrize("reference", sorted(standin.KNOWN))
def test_a_stand_in_has_a_recipe(reference):
    name, release = standin.KNOWN[reference]
    assert "FROM ${BASE}" in standin.folder(name)["Dockerfile"][0].decode()
    assert release in image.RELEASES
    assert re.fullmatch(r"standin-[\w.-]+-[0-9a-f]{10}", standin.tag_of(reference))


def test_no_two_stand_ins_have_one_tag():
    assert len({standin.tag_of(one) for one in standin.KNOWN}) == len(standin.KNOWN)


def test_an_image_without_stand_in_is_refused_with_those_that_there_are():
    with pytest.raises(engine.LabError, match=r"no stand-in for mysql:8, and Docker Hub is out of reach. Known: nginx:alpine, .*, traefik:v3"):
        standin.check(["nginx:alpine", "mysql:8"])


def test_what_the_mirror_has_as_of_today_is_not_made_again():
    there = {"nginx:alpine": standin.tag_of("nginx:alpine"), "redis:7-alpine": "standin-redis-7-alpine-0123456789"}
    assert standin.missing(there, ["nginx:alpine", "redis:7-alpine", "traefik:v3"]) == ["redis:7-alpine", "traefik:v3"]


def test_another_ca_certificate_makes_other_images(certificates):
    before = standin.tag_of("nginx:alpine")
    certificates["proxy.crt"] = b"a certificate"
    assert standin.tag_of("nginx:alpine") != before


def test_tools_are_told_the_store_only_where_there_are_extra_certificates():
    assert b"PIP_CERT" not in standin.base_files({})["Dockerfile"][0]
    files = standin.base_files({"proxy.crt": b"a certificate"})
    assert files["certificates/proxy.crt"] == (b"a certificate", 0o644)
    said = files["Dockerfile"][0].decode().splitlines()[-1]
    assert said == ("ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "
                    "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_cafile=/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize(("mirrors", "usable"), [
    (["https://mirror.example.com/"], ["https://mirror.example.com/"]),
    (["http://127.0.0.1:5000/", "http://localhost:5000/", "http://[::1]:5000/"], []),
    (None, []),
])
def test_a_mirror_on_the_engines_loopback_is_none_for_servers(monkeypatch, mirrors, usable):
    monkeypatch.setattr(image, "docker", lambda *_argv: image.json.dumps({"RegistryConfig": {"Mirrors": mirrors}}))
    assert image.mirrors() == usable


# Images of apps


@pytest.mark.parametrize(("line", "becomes"), [
    ("FROM python:3.12-slim", "FROM <python:3.12-slim>"),
    ("FROM python:3.12-slim AS builder", "FROM <python:3.12-slim> AS builder"),
    ("from --platform=linux/amd64 docker.io/library/python:3.12-slim as b", "from --platform=linux/amd64 <python:3.12-slim> as b"),
    ("COPY --chown=1:1 --from=node:20-slim /a /b", "COPY --chown=1:1 --from=<node:20-slim> /a /b"),
    ("COPY --from=builder /venv /venv", "COPY --from=builder /venv /venv"),
    ("FROM builder", "FROM builder"),
    ("FROM scratch", "FROM scratch"),
    ("FROM registry.example.com/python:3.12-slim", "FROM registry.example.com/python:3.12-slim"),
    ("# syntax=docker/dockerfile:1", ""),
    ("RUN echo FROM python:3.12-slim", "RUN echo FROM python:3.12-slim"),
])
def test_a_dockerfile_begins_with_the_stand_ins(line, becomes):
    assert app_image.from_standins(f"{line}\nRUN true\n", lambda one: f"<{one}>") == f"{becomes}\nRUN true\n"


def test_every_stage_wears_the_label_by_which_it_is_removed():
    assert app_image.labelled("ARG A\nFROM x AS builder\nRUN from y\n\nfrom builder\n", "a=b") == (
        "ARG A\nFROM x AS builder\nLABEL a=b\nRUN from y\n\nfrom builder\nLABEL a=b\n")


def packed(**files):
    """Return a tar archive as `git archive` makes them, with a pax header in front."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a commit"}) as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.parametrize("name", ["Dockerfile", "docker/Dockerfile"])
def test_only_the_dockerfile_of_a_version_is_changed(name):
    changed = app_image.change(packed(**{name: "FROM a\n", "other": "FROM a\n"}), lambda text: text.replace("a", "bcd"))
    with tarfile.open(fileobj=io.BytesIO(changed)) as tar:
        assert {entry.name: tar.extractfile(entry).read() for entry in tar} == {"Dockerfile": b"FROM bcd\n", "other": b"FROM a\n"}
    # The docker command looks at these 512 bytes to tell an archive from a Dockerfile, and wants a file in them.
    assert tarfile.TarInfo.frombuf(changed[:512], "utf-8", "strict").name == "Dockerfile"


def test_a_version_without_dockerfile_is_refused():
    with pytest.raises(engine.LabError, match="none of Dockerfile, docker/Dockerfile"):
        app_image.change(packed(other=""), str)


@pytest.mark.parametrize(("wanted", "said"), [
    ({"repository": "bookshop", "version": "feature/x"}, "bookshop:feature/x is no name of an image. Type: scripts/lab push bookshop feature/x TAG"),
    ({"repository": "bookshop", "version": "v2"}, r"registry does not run. Write lab_services: \[registry\] into the inventory"),
])
def test_what_cannot_be_pushed_is_said_before_anything_is_built(lab, wanted, said):
    with pytest.raises(engine.LabError, match=said):
        app_image.push(lab, wanted, {}, pullable=False)


def test_a_repository_that_the_lab_lacks_is_named(lab):
    with pytest.raises(engine.LabError, match="The lab has no repository shop: lab_repositories names those that it has"):
        app_image.push(lab, {"repository": "shop", "version": "v2"}, container(lab), pullable=False)
