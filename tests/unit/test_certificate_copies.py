# SPDX-License-Identifier: GPL-3.0-or-later
"""A renewed certificate goes to the edge, or stays out of it."""
from __future__ import annotations

import datetime
import json
import os
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import certificate_copies
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NEVER = ["false"]


def make(folder, name, *words):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-addext",
                    "subjectAltName=DNS:a.test", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt", *words], check=True, capture_output=True)


def ended(folder, name):
    key, now, who = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc), x509.Name([])
    made = x509.CertificateBuilder(who, who, key.public_key(), 7, now - datetime.timedelta(9), now - datetime.timedelta(2)).sign(key, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@pytest.fixture
def host(tmp_path):
    for name in ("theirs", "edge"):
        (tmp_path / name).mkdir()
    make(tmp_path / "theirs", "a")

    def config(test=("true",), **paths):
        theirs = tmp_path / "theirs"
        entry = {"name": "shop", "certificate": f"{theirs}/{paths.get('certificate', 'a')}.crt", "key": f"{theirs}/{paths.get('key', 'a')}.key"}
        path = tmp_path / "certificates.json"
        path.write_text(json.dumps({"folder": f"{tmp_path}/edge", "group": os.getgid(), "certificates": [entry], "test": list(test),
                                    "reload": ["sh", "-c", f"echo reloaded >> {tmp_path}/log"]}))
        return str(path)

    config.folder = tmp_path
    return config


def copy(host, ending="crt"):
    path = host.folder / "edge" / f"shop.{ending}"
    return path.read_text() if path.exists() else ""


@pytest.mark.skipif(os.getuid() != 0, reason="files are root's")
@pytest.mark.proves("4.36", "4.82")
def test_a_new_certificate_is_brought_once(host):
    for _again in range(2):
        assert certificate_copies.main(host()) == 0
    assert copy(host) == (host.folder / "theirs/a.crt").read_text()
    assert copy(host, "key") == (host.folder / "theirs/a.key").read_text()
    assert os.stat(host.folder / "edge/shop.key").st_mode & 0o777 == 0o640
    assert (host.folder / "log").read_text() == "reloaded\n"


@pytest.mark.skipif(os.getuid() != 0, reason="files are root's")
def test_one_that_the_edge_refuses_is_taken_back(host):
    certificate_copies.main(host())
    make(host.folder / "theirs", "b")
    assert certificate_copies.main(host(NEVER, certificate="b", key="b")) == 1
    assert copy(host) == (host.folder / "theirs/a.crt").read_text()
    assert (host.folder / "log").read_text() == "reloaded\n"


@pytest.mark.skipif(os.getuid() != 0, reason="files are root's")
@pytest.mark.proves("4.26")
@pytest.mark.parametrize("paths", [{"certificate": "none"}, {"key": "b"}, {"certificate": "old", "key": "old"}])
def test_one_that_cannot_serve_is_passed_over(host, paths, capsys):
    certificate_copies.main(host())
    make(host.folder / "theirs", "b")
    ended(host.folder / "theirs", "old")
    assert certificate_copies.main(host(**paths)) == 0
    assert "passed over" in capsys.readouterr().out
    assert copy(host) == (host.folder / "theirs/a.crt").read_text()
