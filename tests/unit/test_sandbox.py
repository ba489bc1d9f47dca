# SPDX-License-Identifier: GPL-3.0-or-later
"""The units in which code that is not ours runs: exact argv, what they see, and what never stands in them."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host, release_tree, sandbox, units
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError
from samples import RELEASE, loaded

NEIGHBOUR = {"name": "shop", "root": "/srv/shop"}


def values(properties, name):
    return [line.partition("=")[2] for line in properties if line.startswith(name + "=")]


@pytest.fixture
def build():
    return sandbox.build(loaded(), ["/opt/pos/releases/1/code", "/opt/pos/cache/build"], [loaded(), NEIGHBOUR])


def test_the_argv_of_a_unit():
    unit = sandbox.Unit("quayside-x-pos-1", "pos", "/opt/pos/code", 60, ("NoNewPrivileges=yes",))
    assert unit.argv(["/bin/sh", "-ec", "make"], "/run/quayside/env") == [
        "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--unit=quayside-x-pos-1", "--description=quayside-x-pos-1", "--service-type=exec",
        "--property=User=pos", "--property=WorkingDirectory=/opt/pos/code", "--property=RuntimeMaxSec=60", "--property=UMask=0027",
        "--property=KillMode=control-group", "--property=EnvironmentFile=/run/quayside/env", "--property=NoNewPrivileges=yes", "--", "/bin/sh", "-ec", "make"]


def test_a_build_sees_of_the_apps_root_only_what_it_writes(build):
    assert values(build, "TemporaryFileSystem") == ["/opt/pos:ro"]
    assert values(build, "BindPaths") == ["/opt/pos/releases/1/code", "/opt/pos/cache/build"]
    assert values(build, "ReadWritePaths") == ["/opt/pos/releases/1/code /opt/pos/cache/build"]


def test_a_build_reads_no_secret_no_other_app_and_no_service(build):
    closed = values(build, "InaccessiblePaths")[0].split()
    assert {"-/etc/quayside", "-/var/cache/quayside", "-/run/quayside", "-/srv/shop", "-/run/redis-pos", "-/run/postgresql", "-/run/docker.sock"} <= set(closed)
    assert "-/opt/pos" not in closed


def test_check_mode_builds_in_a_shadow_and_hides_the_real_root():
    app = dict(loaded(), root="/opt/pos/cache/check")
    build = sandbox.build(app, ["/opt/pos/cache/check/releases/1/code"], [loaded(), NEIGHBOUR])
    assert values(build, "TemporaryFileSystem") == ["/opt/pos:ro"]
    assert "-/opt/pos" not in values(build, "InaccessiblePaths")[0].split()


@pytest.mark.parametrize("line", ["NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
                                  "PrivateDevices=yes", "PrivateUsers=yes", "ProtectProc=invisible", "RestrictNamespaces=yes", "RestrictSUIDSGID=yes",
                                  "LimitFSIZE=16G"])
def test_a_build_has_no_right(build, line):
    assert line in build


@pytest.mark.parametrize("name", ["MemoryDenyWriteExecute", "ProcSubset"])
def test_a_build_may_compile_and_count_cores(build, name):
    assert not values(build, name)


def test_relax_of_the_model_counts_for_builds_but_never_for_their_walls():
    app = loaded(sandbox={"relax": ["PrivateUsers", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "CapabilityBoundingSet"]})
    build = sandbox.build(app, ["/opt/pos/x"], [])
    assert not values(build, "PrivateUsers")
    assert {"NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "CapabilityBoundingSet="} <= set(build)


def test_a_sandbox_that_is_off_for_processes_is_on_for_builds():
    assert "NoNewPrivileges=yes" in sandbox.build(loaded(sandbox={"enabled": False}), ["/opt/pos/x"], [])


def test_git_sees_the_system_its_mirror_and_nothing_else():
    found = sandbox.git("/var/cache/quayside/pos/git")
    assert {f"{name}={value}" for name, value in units.SANDBOX if name not in ("ProtectSystem", "ProtectHome")} <= set(found)
    assert not values(found, "ProtectSystem")  # it would bring the host's root back
    assert values(found, "TemporaryFileSystem") == ["/:ro"]
    assert values(found, "BindPaths") == values(found, "ReadWritePaths") == ["/var/cache/quayside/pos/git"]
    assert {path.lstrip("-") for path in values(found, "BindReadOnlyPaths")} == {
        "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/run/systemd/resolve"}
    assert values(found, "InaccessiblePaths") == ["-/etc/quayside"]


def test_variables_are_in_a_file_of_roots_in_memory_that_is_gone_afterwards(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(sandbox, "RUNTIME", str(tmp_path / "quayside"))

    def run(argv, **_options):
        path = next(word for word in argv if "EnvironmentFile" in word).rpartition("=")[2]
        seen.update(argv=argv, path=path, text=open(path, encoding="utf-8").read(), mode=stat.S_IMODE(os.stat(path).st_mode))
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(host, "run", run)
    sandbox.run(sandbox.Unit("x", "pos", "/", 60, ()), ["true"], {"UV_INDEX": "https://u:hunter2@x"})
    assert "hunter2" not in repr(seen["argv"])
    assert (seen["text"], seen["mode"], os.path.exists(seen["path"])) == ('UV_INDEX="https://u:hunter2@x"\n', 0o600, False)
    assert stat.S_IMODE(os.stat(tmp_path / "quayside").st_mode) == 0o700


# A program of ours, with its input


class Module:
    """A module whose text is that of a program."""

    __name__ = "program"

    def __init__(self, text):
        self.text = text
        self.__loader__ = self

    def get_source(self, _name):
        return self.text


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Run programs here, without a unit."""
    monkeypatch.setattr(sandbox, "RUNTIME", str(tmp_path / "quayside"))
    monkeypatch.setattr(sandbox.Unit, "argv", lambda _self, command, _environment="": [sys.executable, *command[1:]])
    return sandbox.Unit("quayside-x", "pos", "/", 60, ())


ECHO = "import json, sys\nprint(json.dumps({'asked': REQUEST, 'input': sys.stdin.read()}))"


def test_a_program_gets_its_request_and_then_its_own_input(local):
    answer = sandbox.program(local, Module(ECHO), {"a": "ä" * 70000}, lambda stream: stream.write(b"input" * 100000))
    assert answer == {"asked": {"a": "ä" * 70000}, "input": "input" * 100000}


def test_a_program_that_refuses_is_a_failed_phase(local):
    text = "print('{\"error\": \"no such thing\", \"log\": \"a line\"}')"
    with pytest.raises(PhaseError, match="no such thing") as error:
        sandbox.program(local, Module(text), {}, lambda stream: stream.write(b"x" * 10**7))
    assert error.value.log == "a line"


@pytest.mark.parametrize(("text", "reason"), [
    ("raise SystemExit(3)", "ended with 3"), ("print('no json')", "gave no answer"), ("1/0", "ended with 1"), ("", "gave no answer"),
])
def test_a_program_that_dies_is_a_failed_phase(local, text, reason):
    with pytest.raises(PhaseError, match=reason):
        sandbox.program(local, Module(text), {})


def test_what_feeds_a_program_and_fails_is_the_reason(local):
    def feed(stream):
        stream.write(b"half")
        raise PhaseError("git ended with 128")

    with pytest.raises(PhaseError, match="git ended with 128"):
        sandbox.program(local, Module(ECHO), {}, feed)


def test_published_folders_are_made_by_the_app_and_then_given_to_root(monkeypatch):
    calls = []
    monkeypatch.setattr(host, "ids", lambda _user: (990, 991))
    monkeypatch.setattr(release_tree.contained, "folder", lambda *words: calls.append(("folder", *words)))
    monkeypatch.setattr(release_tree.contained, "seal", lambda *words, **more: calls.append(("seal", *words, more)))
    monkeypatch.setattr(sandbox, "program", lambda unit, module, request, feed: calls.append((unit.user, json.dumps(request))))
    release_tree.publish(loaded(), RELEASE, {"do": "copy"}, ["/r/code"], ["/r/frontends/site"], [])
    assert calls == [("folder", "/r/frontends/site", 0o750, 990, 991), ("pos", '{"do": "copy"}'), ("seal", "/r/frontends/site", {990}, 33, {"public": True})]
