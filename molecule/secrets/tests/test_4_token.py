# SPDX-License-Identifier: GPL-3.0-or-later
"""A new token of the registry: the registry knows it first, then the vault; the host never keeps one."""
import json
import os
import subprocess

import pytest
from story import App

NEW = "a-new-token-of-the-registry-0123456789"


def registry(server, password: str) -> None:
    """Let the lab's registry know another password of its only user."""
    address = server.local["lab_registry"].split(":")[0]
    names = subprocess.run(["docker", "ps", "--filter", "label=quayside.role=services", "--format", "{{.Names}}"], check=True, capture_output=True, text=True)
    for name in names.stdout.split():
        networks = json.loads(subprocess.run(["docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", name], check=True, capture_output=True,
                                             text=True).stdout)
        if address in [one["IPAddress"] for one in networks.values()]:
            subprocess.run(["docker", "exec", "-i", name, "sh", "-c", f"cd /srv/lab && htpasswd -Bin {server.local['lab_registry_user']} > htpasswd.new "
                            "&& mv htpasswd.new htpasswd"], check=True, input=f"{password}\n", text=True, capture_output=True)
            return
    raise AssertionError("the lab's services do not run")


def test_a_new_token_is_asked_before_it_is_kept(server, tmp_path):
    app = App(server)
    if not app.compose:
        pytest.skip("this app comes from no registry")
    app.publish("v1", "v2")
    old, path = server.local["lab_registry_password"], tmp_path / "token"
    path.write_text(f"{NEW}\n")
    os.chmod(path, 0o600)
    words = ("-e", "secret=REGISTRY_PASSWORD", "-e", f"value_file={path}")
    # The registry does not know it yet: nothing is written.
    run = server.play("rotate", *words, ok=False)
    assert run.rc
    assert app.secrets()["REGISTRY_PASSWORD"] == old
    registry(server, NEW)
    try:
        run = server.play("rotate", *words, "-vvv")
        assert NEW not in run.out
        assert app.secrets()["REGISTRY_PASSWORD"] == NEW
        # A deploy of an image that is not there yet needs it.
        server.inside("docker image prune --all --force")
        server.play("deploy", "-e", "django_app=annex", "-e", "version=v2")
        assert server.version() == "v2"
        assert server.inside(f"grep -rl {NEW} /root /home /etc /srv/annex 2>/dev/null || true") == ""
    finally:
        registry(server, old)
        path.write_text(f"{old}\n")
        server.play("rotate", *words)
    assert app.secrets()["REGISTRY_PASSWORD"] == old
