# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import docker_daemon


@pytest.mark.parametrize(("existing", "ours", "wanted", "expected"), [
    ({}, {}, {"a": 1}, {"a": 1}),
    ({"theirs": 1}, {}, {"a": 1}, {"theirs": 1, "a": 1}),
    ({"a": 2}, {}, {"a": 1}, {"a": 1}),
    # What we wrote goes with its declaration, unless somebody has changed it since.
    ({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1}),
    ({"a": 1, "b": 3}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 3}),
])
def test_merged(existing, ours, wanted, expected):
    assert docker_daemon.merged(existing, ours, wanted) == expected


@pytest.mark.parametrize(("before", "after", "expected"), [
    ({"debug": True}, {"debug": True}, "none"),
    ({}, {"registry-mirrors": ["https://m"], "live-restore": True}, "reload"),
    ({"insecure-registries": ["r:5000"]}, {}, "reload"),
    ({}, {"log-opts": {"max-size": "10m"}}, "restart"),
    ({"debug": True}, {"debug": False, "default-address-pools": []}, "restart"),
])
def test_consequence(before, after, expected):
    assert docker_daemon.consequence(before, after) == expected


@pytest.mark.parametrize(("content", "expected"), [(None, {}), (b"", {}), (b"{}", {}), (b'{"a": 1}', {"a": 1})])
def test_a_file_is_read(content, expected):
    assert docker_daemon.parse(content, "daemon.json") == expected


@pytest.mark.parametrize(("content", "why"), [(b'{"a": 1,}', "is no JSON: .*line 1"), (b"[]", "has to hold an object"), (b"\xff", "is no JSON")])
def test_a_file_that_cannot_be_is_named(content, why):
    with pytest.raises(docker_daemon.BadInput, match=f"daemon.json {why}.*Next"):
        docker_daemon.parse(content, "daemon.json")


@pytest.mark.parametrize(("host", "good"), [
    ("registry.example.com", True), ("registry.example.com:5000", True), ("10.0.0.5:5000", True), ("localhost", True), ("[fd00::1]:5000", True),
    ("https://registry.example.com", False), ("registry.example.com/team", False), ("../../etc", False), ("", False), (".", False), ("a:b", False),
])
def test_names_of_registries(host, good):
    assert (docker_daemon.bad_registry(host) is None) is good


def test_certificates():
    good = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert docker_daemon.bad_certificate(good + good) is None
    assert "no PEM" in docker_daemon.bad_certificate("/etc/ssl/ca.pem")
    assert "private key" in docker_daemon.bad_certificate(good + "-----BEGIN PRIVATE KEY-----")
