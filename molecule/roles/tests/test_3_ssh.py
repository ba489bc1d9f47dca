# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody is locked out: many logins, strays in the firewall, settings that sshd refuses or that would shut out, and a port that moves."""
import json
import subprocess
import threading
import time

import pytest
from conftest import SERVERS, enters, login, play


@pytest.fixture(scope="module", autouse=True)
def based():
    """The role has run, and in the end finds all as declared."""
    if not all(enters(server, 7822) for server in SERVERS):
        play("base").good()
    yield
    play("base").good(changed=False)


def test_twenty_logins_in_ten_seconds_all_pass(server):
    began = time.monotonic()
    running = []
    for number in range(20):
        running.append(subprocess.Popen(login(server, 7822), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        time.sleep(max(0, began + 0.45 * (number + 1) - time.monotonic()))
    assert time.monotonic() - began < 10
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 20, said


def test_a_stray_rule_is_named_and_removed():
    for server in SERVERS:
        server.inside("ufw allow 9999/tcp comment by-hand")
    outcome = play("base", "--check", "--diff").good(changed=True)
    assert "9999" in outcome.flat
    for server in SERVERS:
        assert "9999" in server.inside("ufw status")
    outcome = play("base").good(changed=True)
    assert "Rules that nobody declared are removed" in outcome.flat
    assert "9999" in outcome.flat
    for server in SERVERS:
        assert "9999" not in server.inside("ufw status; iptables-save")


@pytest.mark.parametrize(("settings", "words"), [
    ({"NoSuchWord": True}, ["sshd refuses the new configuration", "NoSuchWord", "base_ssh_settings"]),
    ({"AllowUsers": ["nobody-here"]}, ["SSH on bare12 is as it was before", "SSH on bare13 is as it was before", "nobody is locked out"]),
], ids=["a word that sshd does not know", "a setting that shuts out"])
def test_a_setting_that_cannot_be_leaves_the_server_as_it_was(settings, words):
    asked = "find /etc/ssh -type f | sort | xargs md5sum; sshd -T | sort"
    before = {server: (server.inside(asked), server.inside("systemctl show -p MainPID ssh")) for server in SERVERS}
    outcome = play("base", "-e", json.dumps({"base_ssh_settings": settings}))
    assert outcome.rc != 0
    for word in words:
        assert word in outcome.flat, outcome.out[-5000:]
    for server in SERVERS:
        assert (server.inside(asked), server.inside("systemctl show -p MainPID ssh")) == before[server]
        assert enters(server, 7822)
        assert server.inside("ls /var/lib/quayside/ssh-before 2>/dev/null; systemctl list-units --plain --no-legend 'quayside-ssh*'", check=False) == ""


class Watch:
    """Logs in again and again by both ports; ``locked_out`` are the times of rounds in which neither let anybody in."""

    def __init__(self, server):
        self.server, self.rounds, self.locked_out, self.ways = server, 0, [], set()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self.stop.is_set():
            # Twice, since the port may move in the direction of the try, in between.
            ways = [port for _again in range(2) for port in (7822, 22)]
            found = next((port for port in ways if enters(self.server, port)), None)
            self.rounds += 1
            self.ways.add(found)
            if found is None:
                self.locked_out.append(time.time())
            time.sleep(0.3)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.stop.set()
        self.thread.join()


def test_a_move_of_the_port_and_back_keeps_a_way_in():
    watches = [Watch(server) for server in SERVERS]
    for watch in watches:
        watch.__enter__()
    try:
        play("base", "-e", "port=22").good(changed=True)
        for server in SERVERS:
            assert enters(server, 22)
            assert not enters(server, 7822)
            assert "7822" not in server.inside("ufw status")
        play("base", "-e", "port=22").good(changed=False)
        play("base").good(changed=True)
    finally:
        for watch in watches:
            watch.__exit__()
    for watch in watches:
        assert watch.rounds > 20
        assert watch.locked_out == []
        assert watch.ways == {22, 7822}
        assert not enters(watch.server, 22)
        assert "22/tcp" not in watch.server.inside("ufw status | grep -v 7822 || true")
