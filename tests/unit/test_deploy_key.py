# SPDX-License-Identifier: GPL-3.0-or-later
"""The deploy key for a build: an agent that signs for one command, and nothing that could give the key away."""
from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.quayside.django.plugins.module_utils import contained, host, images, model, releases, sandbox, ssh_agent
from ansible_collections.quayside.django.plugins.module_utils.runtime_systemd import Systemd
from samples import RELEASE, SECRETS, loaded

LENDING = {"source": {"repo": "git@git.example.com:pos.git", "build_ssh": True}, "secrets": {**SECRETS, "SOURCE_KEY": "KEY"}}


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """Return the path of a private key."""
    path = tmp_path_factory.mktemp("key") / "source"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploys", "-f", path], check=True)
    return path


def started(folder, text):
    """Start the agent as a build's unit does: the program and its request in memory, its input open for as long as the build runs."""
    request = {"__name__": "__main__", "REQUEST": {"folder": str(folder), "key": text}}
    program = f"exec(compile({Path(ssh_agent.__file__).read_text()!r}, 'agent', 'exec'), {request!r})"
    return subprocess.Popen([sys.executable, "-I", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def agent(key, tmp_path):
    """Return the environment of a build that has an agent."""
    with started(tmp_path, key.read_text()) as process:
        assert json.loads(process.stdout.readline()) == {"ready": True}
        yield {"PATH": os.defpath, "SSH_AUTH_SOCK": str(tmp_path / "socket")}
        process.stdin.close()
        assert process.wait(10) == 0


def run(env, *argv):
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL)


@pytest.mark.proves("0.11")
def test_a_build_sees_the_public_half_and_has_things_signed(agent, key, tmp_path):
    assert run(agent, "ssh-add", "-L").stdout.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    (tmp_path / "text").write_text("text")
    assert run(agent, "ssh-keygen", "-Y", "sign", "-n", "file", "-f", key.with_suffix(".pub"), tmp_path / "text").returncode == 0


@pytest.mark.parametrize("argv", [["ssh-add", "-D"], ["ssh-add", "-d", "{key}.pub"], ["ssh-add", "{other}"], ["ssh-add", "-t", "1", "{other}"]])
def test_it_changes_nothing_of_the_agent(agent, key, tmp_path, argv):
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert run(agent, *(word.format(key=key, other=other) for word in argv)).returncode != 0
    assert len(run(agent, "ssh-add", "-L").stdout.splitlines()) == 1


@pytest.mark.parametrize("asked", [bytes([22]) + b"\0\0\0\4word", bytes([27]) + b"\0\0\0\1x", bytes([17]), bytes([25]), bytes([20])])
def test_a_lock_an_extension_and_all_else_fail(agent, asked):
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(agent["SSH_AUTH_SOCK"])
        ssh_agent.send(asker, asked)
        assert ssh_agent.message(asker) == bytes([ssh_agent.FAILURE])
        ssh_agent.send(asker, bytes([ssh_agent.LIST]))
        assert ssh_agent.message(asker)[0] == 12


def test_a_message_that_is_too_long_ends_the_connection_alone(agent):
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(agent["SSH_AUTH_SOCK"])
        asker.sendall((2**31).to_bytes(4, "big"))
        assert ssh_agent.message(asker) == b""
    assert run(agent, "ssh-add", "-L").returncode == 0


def test_the_build_reaches_the_socket_from_where_root_has_moved_it(agent, tmp_path):
    (tmp_path / "build").mkdir()
    contained.rename(str(tmp_path / "socket"), str(tmp_path / "build/socket"))
    assert run({**agent, "SSH_AUTH_SOCK": str(tmp_path / "build/socket")}, "ssh-add", "-L").returncode == 0


@pytest.mark.parametrize("text", ["no key", "-----BEGIN OPENSSH PRIVATE KEY----- AAAA -----END OPENSSH PRIVATE KEY-----", ""])
def test_what_is_no_key_is_told_by_the_name_of_the_secret(tmp_path, text):
    with started(tmp_path, text) as process:
        assert "SOURCE_KEY is no private key" in json.loads(process.stdout.readline())["error"]


def test_it_ends_with_the_build(key, tmp_path):
    with started(tmp_path, key.read_text()) as process:
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(10) == 0
    with socket.socket(socket.AF_UNIX) as asker, pytest.raises(ConnectionRefusedError):
        asker.connect(str(tmp_path / "socket"))


@pytest.fixture
def lending(monkeypatch, tmp_path):
    """Let nothing run on this machine; return what would, in its order."""
    seen = SimpleNamespace(order=[], units=[], env={}, folder=str(tmp_path / "agent"))

    class Process:
        stdout = SimpleNamespace(readline=lambda: '{"ready": true}')

    class Started:
        def __init__(self, unit, module, request, feed):
            seen.units.append(unit)
            seen.module, seen.request, seen.feed = module, request, feed

        def __enter__(self):
            seen.order.append("agent")
            return Process()

        def __exit__(self, *_error):
            seen.feed(None)  # hangs unless it was told to end
            seen.order.append("agent ends")

    def ran(unit, command, env):
        seen.order.append(command[0])
        seen.units.append(unit)
        seen.env = env
        return subprocess.CompletedProcess(command, seen.status, "", seen.log)

    seen.status, seen.log, seen.mode = 0, "", stat.S_IFSOCK
    monkeypatch.setattr(sandbox, "started", Started)
    monkeypatch.setattr(sandbox, "run", ran)
    monkeypatch.setattr(sandbox, "leaf", lambda path, user, mode=0: path)
    monkeypatch.setattr(contained, "folder", lambda *_words: False)
    monkeypatch.setattr(contained, "write", lambda path, text, mode: seen.order.append(os.path.basename(path)))
    monkeypatch.setattr(contained, "rename", lambda source, target: seen.order.append(f"{source.rpartition('own')[2]} moved"))
    monkeypatch.setattr(contained, "state", lambda path: SimpleNamespace(st_mode=seen.mode) if path.endswith("socket") else None)
    monkeypatch.setattr(contained, "remove", lambda path: seen.order.append("home is gone" if "home" in path else "folder is gone"))
    return seen


def build(seen, **fields):
    runtime = Systemd(loaded(**fields), releases.Shelf("/opt/pos"), apps=[])
    runtime.source_key = "KEY"
    seen.order.clear()
    runtime.build_command(RELEASE, "venv-0", ["uv", "sync"], "`uv sync`", {}, ["/opt/pos/x:/opt/pos/code"], "/opt/pos/code", 60)


def test_a_build_has_no_key_unless_the_model_says_so(lending):
    build(lending, secrets=LENDING["secrets"])
    assert "agent" not in lending.order
    assert not {"SSH_AUTH_SOCK", "GIT_SSH_COMMAND"} & set(lending.env)


@pytest.mark.proves("0.11")
def test_a_build_that_is_lent_the_key_gets_a_socket_for_that_one_command(lending):
    build(lending, **LENDING)
    assert lending.order == ["home is gone", "known_hosts", "agent", "/socket moved", "uv", "agent ends", "folder is gone", "home is gone"]
    agent, unit = lending.units
    assert lending.module is ssh_agent
    assert lending.request["key"] == "KEY"
    # The key is at git's account alone; the build, as another one, sees a folder with the socket, read-only.
    assert agent.user == "quayside-git" != unit.user == "pos"
    assert unit.properties[-1].startswith("BindReadOnlyPaths=/run/quayside/")
    assert unit.properties[-1].endswith(":/opt/pos/agent")
    assert lending.env["SSH_AUTH_SOCK"] == "/opt/pos/agent/socket"
    assert "StrictHostKeyChecking=accept-new" in lending.env["GIT_SSH_COMMAND"]
    assert "GlobalKnownHostsFile=/opt/pos/agent/known_hosts" in lending.env["GIT_SSH_COMMAND"]
    assert "KEY" not in repr((agent.argv(["x"]), unit.argv(["x"]), lending.env.values()))


def test_what_is_no_socket_is_lent_to_nobody(lending):
    """buildx takes a file for a private key: a link in the place of the socket could lead to one of root's."""
    lending.mode = stat.S_IFLNK
    with pytest.raises(host.PhaseError, match="a link in the place of its socket"):
        build(lending, **LENDING)
    assert "uv" not in lending.order
    assert lending.order[-2:] == ["folder is gone", "home is gone"]


@pytest.mark.parametrize(("fields", "log", "hint"), [
    ({}, "Host key verification failed.", "source.build_ssh: true lends it the deploy key"),
    ({}, "git@x: Permission denied (publickey).", "source.build_ssh: true"),
    (LENDING, "git@x: Permission denied (publickey,password).", "its server refuses the deploy key, the secret SOURCE_KEY"),
    (LENDING, "REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.", "remove /opt/pos/cache/build/known_hosts"),
    (LENDING, "error: no space left", None), ({}, "npm ERR! 404", None),
])
def test_a_failure_of_ssh_says_what_to_write(lending, fields, log, hint):
    lending.status, lending.log = 1, log
    with pytest.raises(host.PhaseError) as error:
        build(lending, **fields)
    assert (hint or "`uv sync` ended with 1") in error.value.reason
    assert hint or error.value.reason == "`uv sync` ended with 1"
    assert lending.order[-1] == "home is gone"


@pytest.mark.proves("0.11")
def test_an_image_is_built_with_the_socket_and_the_host_keys(lending, monkeypatch, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    app = loaded(runtime="compose", edge="none", **LENDING)
    one = images.Images(app, {}, source_key="KEY")
    one.builder, argvs = "/run/quayside-build/pos.sock", []
    monkeypatch.setattr(images.host, "watched", lambda argv, *_words: argvs.append(argv) or subprocess.CompletedProcess(argv, 0, "", ""))
    monkeypatch.setattr(images.builder, "hand_over", lambda *_words: None)
    monkeypatch.setattr(images, "Engine", lambda *_words, **_options: SimpleNamespace(delete=lambda *_w, **_o: None, socket=""))
    monkeypatch.setattr(one, "here", lambda _one: True)
    monkeypatch.setattr(one, "docker_config", lambda: contextlib.nullcontext("/run/config"))
    one.build(app["images"][0], {"ref": "quayside/pos-app:1", "inputs": "1"}, str(tmp_path), "a" * 40, "v1")
    (argv,) = argvs
    place = lending.request["folder"].removesuffix("/own")
    assert argv[argv.index("--ssh") + 1] == f"default={place}/socket"
    assert f"id=known_hosts,src={place}/known_hosts" in argv
    assert "KEY" not in argv
    argvs.clear()
    one.app = loaded(runtime="compose", edge="none", source={"repo": "https://git.example.com/pos.git"})
    one.build(one.app["images"][0], {"ref": "quayside/pos-app:1", "inputs": "1"}, str(tmp_path), "a" * 40, "v1")
    assert "--ssh" not in argvs[0]


@pytest.mark.parametrize(("fields", "text"), [
    ({"source": LENDING["source"]}, "SOURCE_KEY is missing (source.build_ssh lends it to builds)"),
    ({**LENDING, "runtime": "compose", "edge": "none", "source": {"build_ssh": True}, "images": [{"name": "app", "repository": "ghcr.io/acme/pos"}]},
     "source.build_ssh: no image of the app is built on the host"),
])
def test_a_key_that_nobody_could_use_is_refused(fields, text):
    with pytest.raises(model.ModelError) as error:
        loaded(**fields)
    assert text in str(error.value)


def test_it_is_off_by_default_and_makes_no_new_release():
    assert loaded()["source"]["build_ssh"] is False
    assert model.identity(loaded(**LENDING)) == model.identity(loaded(source={"repo": LENDING["source"]["repo"]}, secrets=LENDING["secrets"]))


def test_the_text_of_the_program_needs_nothing_of_ours():
    assert "ansible" not in textwrap.dedent(Path(ssh_agent.__file__).read_text())
