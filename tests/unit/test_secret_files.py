# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of several lines, and secrets that arrive as files, on both runtimes."""
from __future__ import annotations

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import compose_project, env_file, host, model, releases
from ansible_collections.quayside.django.plugins.module_utils.runtime_compose import Compose
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from ansible_collections.quayside.django.plugins.module_utils.vault_file import VaultFileError
from ansible_collections.quayside.django.plugins.plugin_utils import vault_store
from samples import RELEASE, SECRETS, loaded

PEM = "-----BEGIN KEY-----\nab$c\n-----END KEY-----\n"
PATH = f"/opt/pos/releases/{RELEASE}/secrets/GCP"


def app(**fields):
    return loaded(secrets=dict(SECRETS, GCP=PEM, PEM=PEM), secret_files=["GCP"], **fields)


@pytest.fixture
def written(monkeypatch):
    found = {}
    monkeypatch.setattr(host, "write", lambda path, text, *rest: found.update({path: (text, *rest)}))
    monkeypatch.setattr(host, "folder", lambda path, *rest: found.update({path: rest}))
    monkeypatch.setattr(host, "ids", lambda user: (1001, 1001))
    return found


def runtime(kind, one, **secrets):
    return kind(one, releases.Shelf(one["root"]), {**model.secret_environment(one), **secrets})


def test_a_release_knows_the_path_and_the_variables_lack_the_value():
    one = app()
    assert model.release_environment(one, RELEASE, "main")["GCP_FILE"] == PATH
    assert "GCP" not in runtime(Systemd, one).variables() and runtime(Systemd, one).variables()["PEM"] == PEM


@pytest.mark.parametrize(("kind", "fields"), [(Systemd, {}), (Compose, {"runtime": "compose"})])
def test_only_the_processes_read_the_file(written, kind, fields):
    runtime(kind, app(**fields)).write_secret_files(RELEASE)
    assert written == {f"/opt/pos/releases/{RELEASE}/secrets": (0o711,), PATH: (PEM, 0o440, 0, 1001)}


def test_without_such_secrets_nothing_is_written(written):
    runtime(Systemd, loaded()).write_secret_files(RELEASE)
    assert written == {}


def project(**fields):
    one = app(runtime="compose", images=[{"name": "app"}, {"name": "front"}], processes=[
        {"name": "web"}, {"name": "ssr", "image": "front", "port": 3000, "route": "/ssr/"},
        {"name": "mail", "image": "front", "command": "mail", "secrets": ["GCP"]}], **fields)
    facts = {"user": "1:1", "images": {"app": "a", "front": "f"}, "ports": {}, "addresses": {}, "services": {},
             "env": model.release_environment(one, RELEASE, "main"), "secrets": runtime(Compose, one).variables(),
             "workers": {}, "memory": {}, "search": {}, "image_env": {}}
    return yaml.safe_load(compose_project.render(compose_project.project(one, RELEASE, facts)))["services"]


def test_containers_of_the_app_and_those_that_name_it_have_the_file():
    services = project()
    has = {name: any(volume["source"] == PATH and volume["read_only"] for volume in one["volumes"]) for name, one in services.items()}
    assert has == {"web": True, "ssr": False, "mail": True, "manage": True}
    assert {name: "GCP_FILE" in one["environment"] for name, one in services.items()} == has


def test_lines_and_dollars_reach_a_container_as_they_are():
    assert project()["web"]["environment"]["PEM"] == PEM.replace("$", "$$")  # compose undoes the second dollar


def test_lines_reach_a_unit_as_they_are():
    values = runtime(Systemd, app()).variables()
    assert env_file.parse(env_file.render(values)) == values


@pytest.mark.parametrize(("name", "text", "value"), [("GCP", PEM, PEM), ("TOKEN", "12345678\n", "12345678"), ("SOURCE_KEY", PEM, PEM)])
def test_a_file_of_several_lines_can_be_given(tmp_path, name, text, value):
    (tmp_path / "value").write_text(text)
    assert vault_store.given(name, str(tmp_path / "value")) == value


def test_a_password_of_a_service_has_one_line(tmp_path):
    (tmp_path / "value").write_text(PEM)
    with pytest.raises(VaultFileError, match="DATABASE_PASSWORD holds a line break"):
        vault_store.given("DATABASE_PASSWORD", str(tmp_path / "value"))


@pytest.mark.parametrize(("name", "passwords", "wrong"), [
    ("SIM_PIN", (), ""), ("DATABASE_PASSWORD", (), "is shorter than 8 characters"), ("ADMIN", ("ADMIN",), "is shorter than 8 characters")])
def test_the_length_of_a_value_that_a_person_gives(tmp_path, name, passwords, wrong):
    (tmp_path / "value").write_text("1234\n")
    if not wrong:
        assert vault_store.given(name, str(tmp_path / "value"), passwords) == "1234"
        return
    with pytest.raises(VaultFileError, match=wrong):
        vault_store.given(name, str(tmp_path / "value"), passwords)
