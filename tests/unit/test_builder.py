# SPDX-License-Identifier: GPL-3.0-or-later
"""The builder of an app: what its engine is told, the limits of its unit, its place in the network, and how its image reaches the host's engine."""
from __future__ import annotations

import http.server
import os
import socketserver
import subprocess
import threading

import pytest
from ansible_collections.quayside.django.plugins.module_utils import builder
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from samples import loaded

APP, OTHER = loaded(runtime="compose"), loaded(runtime="compose", name="annex")


def test_two_builders_share_nothing():
    ours, theirs = builder.config(APP, "/var/lib/docker", {}), builder.config(OTHER, "/var/lib/docker", {})
    for key in ("data-root", "exec-root", "pidfile", "hosts"):
        assert ours[key] != theirs[key]
    assert set(builder.names(APP).values()).isdisjoint(builder.names(OTHER).values())
    assert builder.command(APP) != builder.command(OTHER)
    assert len(builder.names(loaded(runtime="compose", name="a" * 24))["cable"]) <= 15


def test_of_the_hosts_engine_only_the_registries_are_taken_over():
    daemon = {"registry-mirrors": ["http://10.0.0.3:5001"], "insecure-registries": ["10.0.0.3:5001"], "live-restore": True, "hosts": ["tcp://0.0.0.0"],
              "data-root": "/srv", "iptables": False, "userland-proxy": False, "log-driver": "json-file"}
    made = builder.config(APP, "/srv", daemon)
    assert made["registry-mirrors"] == ["http://10.0.0.3:5001"]
    assert made["hosts"] == ["unix:///run/quayside-build/pos.sock"]
    assert made["data-root"] == "/srv/quayside-build/pos"
    assert not {"live-restore", "iptables", "userland-proxy"} & set(made)


@pytest.mark.parametrize(("cores", "quota"), [(1, "80%"), (2, "150%"), (8, "750%")])
def test_a_build_has_limits_and_a_network_of_its_own(cores, quota):
    argv = builder.unit(APP, 4000, cores, 3600, ["HTTPS_PROXY=http://proxy.example.com:3128"])
    for word in ("MemoryMax=2000M", "TasksMax=4096", f"CPUQuota={quota}", "NetworkNamespacePath=/run/netns/quayside-build-pos", "Delegate=yes",
                 "LimitFSIZE=16G", "RuntimeMaxSec=3600", "Environment=HTTPS_PROXY=http://proxy.example.com:3128"):
        assert f"--property={word}" in argv
    assert argv[-3:-1] == ["/bin/sh", "-c"]


@pytest.mark.parametrize(("lines", "group"), [
    (["4:memory:/docker/x/system.slice/b.service", "0::/docker/x"], "/docker/x/system.slice/b.service"),
    (["0::/system.slice/b.service"], "/system.slice/b.service"),
    (["12:cpu,memory:/y", "4:memory:/x", "0::/z"], "/x"),
])
def test_what_a_run_starts_is_below_the_unit(tmp_path, lines, group):
    (tmp_path / "cgroup").write_text("\n".join(lines) + "\n")
    (tmp_path / "dockerd").write_text('#!/bin/sh\nfor word; do case $word in --cgroup-parent=*) echo "${word#*=}";; esac; done\n')
    os.chmod(tmp_path / "dockerd", 0o755)
    line = builder.command(APP).replace("/proc/self/cgroup", str(tmp_path / "cgroup"))
    done = subprocess.run(["/bin/sh", "-c", line], check=True, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.stdout.strip() == group


@pytest.mark.parametrize(("subnet", "address"), [
    ("172.18.0.0/16", "172.18.255.254/16"), ("10.210.3.0/24", "10.210.3.254/24"), ("192.168.0.16/28", "192.168.0.30/28"),
])
def test_it_takes_the_last_address(subnet, address):
    assert builder.address(subnet) == address


@pytest.mark.parametrize(("texts", "text"), [
    (["nameserver 127.0.0.53\noptions edns0\n", "nameserver 10.0.0.2\nsearch example.com\n"], "nameserver 10.0.0.2\noptions edns0\nsearch example.com\n"),
    (["nameserver 127.0.0.11\n", ""], "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"), (["# nameserver 10.0.0.1\nnameserver ::1\nnameserver\n"],
                                                                            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    (["nameserver 1.1.1.1\nnameserver 1.1.1.1\n"], "nameserver 1.1.1.1\n"),
])
def test_it_asks_the_hosts_name_servers_but_for_those_on_its_loopback(texts, text):
    assert builder.resolver_text(texts) == text


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An engine that gives or takes one image."""

    daemon_threads = True


@pytest.fixture
def engines(tmp_path):
    """Return the sockets of an engine that gives and of one that takes, what was taken, and the answers that may be changed."""
    taken, answers = [], {"give": (200, b"tar" * 1_000_000), "take": (200, b'{"stream": "Loaded"}')}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.reply(*answers["give"])

        def do_POST(self):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            taken.append(body)
            self.reply(*answers["take"])

        def reply(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self):
            return "unix"

        def log_message(self, *_words):
            pass

    servers = [Server(str(tmp_path / name), Handler) for name in ("give", "take")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield str(tmp_path / "give"), str(tmp_path / "take"), taken, answers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_image_is_handed_over_whole(engines):
    give, take, taken, _answers = engines
    builder.hand_over(give, "quayside/pos-app:1", take)
    assert taken == [b"tar" * 1_000_000]


@pytest.mark.parametrize(("side", "answer", "words"), [
    ("give", (404, b"no such image"), "no such image"), ("take", (500, b"no space left"), "no space left"),
    ("take", (200, b'{"errorDetail": {"message": "no space left"}}'), "no space left"),
])
def test_an_image_that_is_not_handed_over_is_an_error(engines, side, answer, words):
    give, take, _taken, answers = engines
    answers[side] = answer
    with pytest.raises(EngineError, match=words):
        builder.hand_over(give, "quayside/pos-app:1", take)
