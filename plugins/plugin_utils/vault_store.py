# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with secrets on the controller: read, changed and written again, encrypted by ansible-vault or by SOPS. Plain text never reaches a disk."""
from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile

from ansible import constants as C
from ansible.errors import AnsibleError, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.parsing.vault import VaultLib, VaultSecretsContext
from ansible.utils.display import Display
from ansible_collections.quayside.django.plugins.module_utils import model, vault_file
from ansible_collections.quayside.django.plugins.module_utils.vault_file import VaultFileError

PASSWORD = ("no vault password is known: make one, (umask 077; openssl rand -base64 32 > ~/.{env}-vault), keep a copy where the team keeps passwords, and "
            "give it by ANSIBLE_VAULT_PASSWORD_FILE=~/.{env}-vault, --vault-password-file or --ask-vault-pass")


class Store:
    """One file with secrets. ``kind``: vault, sops, plain, or missing."""

    def __init__(self, path: str, environment: str):
        self.path, self.environment = os.path.realpath(path), environment
        self.kind, self.vault_id, self.secret = "missing", None, None
        self.before = b""
        self.text = self.read()

    def read(self) -> str:
        """Return the text in the clear; raise VaultFileError."""
        try:
            with open(self.path, "rb") as file:
                self.before = file.read()
        except FileNotFoundError:
            return ""
        text = self.before.decode()
        if VaultLib.is_encrypted(self.before):
            self.kind = "vault"
            try:
                plain, vault_id, self.secret = VaultLib(secrets=known_secrets()).decrypt_and_get_vault_id(text)
            except AnsibleError as error:
                raise VaultFileError(f"it cannot be decrypted: {str(error).splitlines()[0]}") from None
            self.vault_id = vault_id if text.split("\n", 1)[0].count(";") > 2 else None  # a header without an id stays without
            return plain.decode()
        if re.search(r"^sops:\s*$", text, re.M):
            self.kind = "sops"
            return self.sops("decrypt", "--input-type", "yaml", "--output-type", "yaml", self.path)
        self.kind = "plain"
        return text

    def write(self, changes: dict, encrypt: bool = False, dry: bool = False) -> None:
        """Bring about ``changes`` (place -> text or None), whole or not at all; ``dry``: only see whether that could be done. Raise VaultFileError."""
        edit = "sops" if self.wants_sops() else "ansible-vault edit"
        new = vault_file.apply(self.text or vault_file.HEADER.format(edit=f"{edit} {os.path.basename(self.path)}"), changes)
        if self.kind == "plain" and not encrypt and vault_file.parse(self.text):
            raise VaultFileError(f"it is not encrypted, and is left as it is: ansible-vault encrypt {self.path}, or add -e encrypt=true to have that done "
                                 "now. If it was ever committed, what is in it is known: rotate it (docs/secrets.md)")
        sops = self.kind == "sops" or self.kind == "missing" and self.wants_sops()
        secret, vault_id = (None, None) if sops else self.encryption()
        if dry:
            return
        if self.kind == "sops":
            self.put_sops(changes)
        elif sops:
            words = ["--input-type", "yaml", "--output-type", "yaml", "--filename-override", self.path, "/dev/stdin"]
            self.replace(self.sops("encrypt", *words, text=new).encode())
        else:
            self.replace(VaultLib().encrypt(new.encode(), secret=secret, vault_id=vault_id))
        self.text = new
        self.kind, self.secret, self.vault_id = "sops" if sops else "vault", secret, vault_id

    def encryption(self) -> tuple:
        """Return secret and vault id to encrypt with: those of the file; else the one of the environment's name, the one asked for, or the only one."""
        if self.secret is not None:
            return self.secret, self.vault_id
        secrets = known_secrets()
        if not secrets:
            raise VaultFileError(PASSWORD.format(env=self.environment))
        wanted = C.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        by_id = dict(reversed(secrets))
        chosen = wanted or (self.environment if self.environment in by_id else "")
        if chosen and chosen not in by_id:
            raise VaultFileError(f"no password is given for the vault id {chosen} (vault_encrypt_identity): --vault-id {chosen}@PATH")
        if not chosen and len({secret.bytes for secret in by_id.values()}) > 1:
            raise VaultFileError(f"there are several vault ids ({', '.join(sorted(by_id))}): say which is for this file, "
                                 f"ANSIBLE_VAULT_ENCRYPT_IDENTITY={sorted(by_id)[0]}")
        chosen = chosen or next(iter(by_id))
        return by_id[chosen], None if chosen == C.DEFAULT_VAULT_IDENTITY else chosen

    def replace(self, content: bytes, temporary: str = "") -> None:
        """Put encrypted content in the file's place, in one step, unless somebody else has changed the file meanwhile."""
        folder = os.path.dirname(self.path)
        os.makedirs(folder, exist_ok=True)
        mode = 0o600
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(self.path).st_mode & 0o7777
            with open(self.path, "rb") as file:
                if file.read() != self.before:
                    raise VaultFileError("it was changed by somebody else meanwhile, and is left as it is: run this again")
        handle, made = tempfile.mkstemp(dir=folder, prefix=".new-", suffix=os.path.basename(self.path))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(made, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        self.before = content

    # SOPS

    def wants_sops(self) -> bool:
        """Return True for a file that SOPS encrypts by its name."""
        return bool(re.search(r"\.sops\.ya?ml$", self.path))

    def put_sops(self, changes: dict) -> None:
        """Let SOPS change a copy, value by value, so that all others keep their ciphertext; then the copy takes the file's place."""
        folder = tempfile.mkdtemp(dir=os.path.dirname(self.path), prefix=".new-")
        try:
            copy = os.path.join(folder, os.path.basename(self.path))
            with open(copy, "wb") as file:
                file.write(self.before)
            for place, value in changes.items():
                index = "".join(f"[{json.dumps(key)}]" for key in place)
                if value is not None:
                    self.sops("set", "--value-stdin", copy, index, text=json.dumps(value))
                elif vault_file.get(vault_file.parse(self.text), place) is not None:
                    self.sops("unset", copy, index)
            with open(copy, "rb") as file:
                content = file.read()
            self.replace(content)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sops(self, *words: str, text: str | None = None) -> str:
        """Return what sops prints; values go over stdin, since everybody may list processes."""
        try:
            done = subprocess.run(["sops", *words], check=False, capture_output=True, text=True, input=text or "",
                                  cwd=os.path.dirname(self.path) if os.path.isdir(os.path.dirname(self.path)) else "/")
        except FileNotFoundError:
            raise VaultFileError("it is for SOPS, and there is no program sops here: install it (docs/secrets.md, \"SOPS\")") from None
        if done.returncode:
            raise VaultFileError(f"sops {words[0]} refused: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
        return done.stdout


def known_secrets() -> list:
    """Return the vault passwords of this run, as (vault id, secret)."""
    current = VaultSecretsContext.current(optional=True)
    return list(current.secrets) if current else []


def candidates(folder: str, environment: str) -> list[str]:
    """Return the files of an inventory that may hold secrets, the likeliest first."""
    found = []
    for group in (environment, "all"):
        found += [f"{folder}/group_vars/{group}/vault.yml", *sorted(glob.glob(f"{folder}/group_vars/{group}/*vault*.y*ml")),
                  *sorted(glob.glob(f"{folder}/group_vars/{group}/*.sops.y*ml"))]
    return [path for path in dict.fromkeys(found) if os.path.isfile(path)]


def default_path(folder: str, environment: str) -> str:
    """Return the file that new secrets go to: the one that is there, or vault.yml; vault.sops.yml where the project has SOPS's rules and no vault password."""
    there = [path for path in candidates(folder, environment) if f"/group_vars/{environment}/" in path]
    if there:
        return there[0]
    above = os.path.realpath(folder)
    while above != os.path.dirname(above):
        if os.path.isfile(f"{above}/.sops.yaml") and not known_secrets():
            return f"{folder}/group_vars/{environment}/vault.sops.yml"
        above = os.path.dirname(above)
    return f"{folder}/group_vars/{environment}/vault.yml"


def find(folder: str, environment: str, root: str, chosen: str = "") -> Store | None:
    """Return the store that holds the variable ``root``, None when none of the inventory's does."""
    for path in [chosen] if chosen else candidates(folder, environment):
        try:
            store = Store(path, environment)
            if root in vault_file.parse(store.text):
                return store
        except VaultFileError as error:
            raise VaultFileError(f"{path}: {error}") from None
    return None


def given(name: str, path: str, passwords=()) -> str:
    """Return a value that only a person knows: from a file, or asked for; raise VaultFileError. ``passwords``: names of those that are no short ones."""
    if path:
        try:
            with open(os.path.expanduser(path), encoding="utf-8") as file:
                value = file.read()
                value = value if "\n" in value.strip("\n") else value.strip("\n")
        except OSError as error:
            raise VaultFileError(f"{path} cannot be read: {error.strerror}") from error
    else:
        try:
            value = Display().prompt_until(f"the new value of {name} (it is not shown): ", private=True).decode().strip("\r\n")
        except (AnsiblePromptNoninteractive, AnsiblePromptInterrupt) as error:
            raise VaultFileError(f"only you know the new value of {name}, and nobody can be asked here: give a file, -e value_file=PATH") from error
    if "\n" in value and name in (*model.ONE_LINE, *model.IN_ROTATION):
        raise VaultFileError(f"the new value of {name} holds a line break, and a service or a URL takes one line")
    if not value:
        raise VaultFileError(f"the new value of {name} is empty")
    if len(value) < model.SECRET_LENGTH and name in (*model.ROTATED, *passwords):
        raise VaultFileError(f"the new value of {name} is shorter than {model.SECRET_LENGTH} characters")
    return value
