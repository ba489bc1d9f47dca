# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.quayside.django.plugins.module_utils import vault_file
from ansible_collections.quayside.django.plugins.plugin_utils import vault_store

ONE, TWO = VaultSecret(b"password-one"), VaultSecret(b"password-two")
CHANGE = {("vault_shop", "NEW"): "the-new-value"}


@pytest.fixture
def passwords(monkeypatch):
    """Give the passwords of a run."""
    def give(*known):
        monkeypatch.setattr(vault_store, "known_secrets", lambda: list(known))
    give(("default", ONE))
    return give


def encrypted(path, text, secret=ONE, vault_id=None):
    """Write an encrypted file."""
    path.write_bytes(VaultLib().encrypt(text, secret=secret, vault_id=vault_id))
    return str(path)


def plain(path, secret=ONE):
    """Return what is in an encrypted file."""
    return VaultLib(secrets=[("any", secret)]).decrypt(path.read_bytes()).decode()


@pytest.mark.parametrize(("known", "secret", "header"), [
    ([("default", ONE)], ONE, "1.1;AES256"),
    ([("prod", ONE)], ONE, "1.2;AES256;prod"),
    ([("uat", TWO), ("prod", ONE)], ONE, "1.2;AES256;prod"),
])
def test_a_new_file_is_encrypted_for_its_environment(tmp_path, passwords, known, secret, header):
    passwords(*known)
    store = vault_store.Store(str(tmp_path / "group_vars/prod/vault.yml"), "prod")
    assert store.kind == "missing"
    store.write(CHANGE)
    path = tmp_path / "group_vars/prod/vault.yml"
    assert path.read_text().splitlines()[0] == f"$ANSIBLE_VAULT;{header}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert vault_file.parse(plain(path, secret)) == {"vault_shop": {"NEW": "the-new-value"}}
    assert os.listdir(path.parent) == ["vault.yml"]


@pytest.mark.parametrize(("secret", "vault_id", "header"), [(ONE, None, "1.1;AES256"), (TWO, "uat", "1.2;AES256;uat")])
def test_a_file_stays_encrypted_as_it_was_with_its_mode_and_comments(tmp_path, passwords, secret, vault_id, header):
    passwords(("prod", ONE), ("uat", TWO))
    path = tmp_path / "vault.yml"
    encrypted(path, "# mine\nvault_shop:\n  A: b  # why\n", secret, vault_id)
    path.chmod(0o640)
    vault_store.Store(str(path), "prod").write(CHANGE)
    assert path.read_text().splitlines()[0] == f"$ANSIBLE_VAULT;{header}"
    assert plain(path, secret) == '# mine\nvault_shop:\n  A: b  # why\n  NEW: "the-new-value"\n'
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("known", "reason"), [([], "no vault password"), ([("a", ONE), ("b", TWO)], "several vault ids")])
def test_without_a_clear_password_nothing_is_written(tmp_path, passwords, known, reason):
    passwords(*known)
    with pytest.raises(vault_file.VaultFileError, match=reason):
        vault_store.Store(str(tmp_path / "vault.yml"), "prod").write(CHANGE)
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_clear_is_left_alone_unless_it_may_be_encrypted(tmp_path, passwords):
    path = tmp_path / "vault.yml"
    path.write_text("vault_shop:\n  A: b\n")
    with pytest.raises(vault_file.VaultFileError, match="ansible-vault encrypt"):
        vault_store.Store(str(path), "prod").write(CHANGE)
    assert path.read_text() == "vault_shop:\n  A: b\n"
    vault_store.Store(str(path), "prod").write(CHANGE, encrypt=True)
    assert vault_file.parse(plain(path)) == {"vault_shop": {"A": "b", "NEW": "the-new-value"}}


def test_a_dry_run_writes_nothing_and_refuses_the_same(tmp_path, passwords):
    path = tmp_path / "vault.yml"
    vault_store.Store(str(path), "prod").write(CHANGE, dry=True)
    assert not path.exists()
    passwords()
    with pytest.raises(vault_file.VaultFileError, match="no vault password"):
        vault_store.Store(str(path), "prod").write(CHANGE, dry=True)


def test_what_somebody_else_has_written_meanwhile_is_not_lost(tmp_path, passwords):
    path = tmp_path / "vault.yml"
    encrypted(path, "vault_shop: {A: b}\n")
    store = vault_store.Store(str(path), "prod")
    encrypted(path, "vault_shop: {A: c}\n")
    with pytest.raises(vault_file.VaultFileError, match="somebody else"):
        store.write(CHANGE)
    assert plain(path) == "vault_shop: {A: c}\n"


def test_a_wrong_password_is_told_without_a_value(tmp_path, passwords):
    path = encrypted(tmp_path / "vault.yml", "vault_shop: {A: b}\n", TWO)
    with pytest.raises(vault_file.VaultFileError, match="cannot be decrypted"):
        vault_store.Store(path, "prod")


def test_the_file_of_a_variable_is_found(tmp_path, passwords):
    for group, name, text in (("prod", "vault.yml", "vault_shop: {A: b}\n"), ("all", "vault.yml", "vault_common: {C: d}\n")):
        (tmp_path / "group_vars" / group).mkdir(parents=True, exist_ok=True)
        encrypted(tmp_path / "group_vars" / group / name, text)
    assert vault_store.find(str(tmp_path), "prod", "vault_common").path == str(tmp_path / "group_vars/all/vault.yml")
    assert vault_store.find(str(tmp_path), "prod", "vault_blog") is None
    assert vault_store.default_path(str(tmp_path), "prod") == str(tmp_path / "group_vars/prod/vault.yml")


def test_a_project_of_sops_gets_a_file_of_sops(tmp_path, passwords):
    passwords()
    (tmp_path / ".sops.yaml").write_text("creation_rules: []\n")
    assert vault_store.default_path(str(tmp_path / "inventories/prod"), "prod").endswith("/group_vars/prod/vault.sops.yml")
    passwords(("default", ONE))
    assert vault_store.default_path(str(tmp_path / "inventories/prod"), "prod").endswith("/group_vars/prod/vault.yml")
