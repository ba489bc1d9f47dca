# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody is locked out: a file that somebody broke, a controller that dies in the middle of a move. Of the role base only SSH and the firewall run."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from lab import BIN, ROOT

HERE = pathlib.Path(__file__).absolute().parent
PATIENCE = 20
OFF = ["auditd", "aide", "coredumps", "debsums", "hashes", "idle", "journal", "locale", "logrotate", "modes", "modules", "needrestart", "news", "swap",
       "sysctl", "sysstat", "time", "tmpdir", "upgrades"]
ONLY_SSH = json.dumps({f"base_{name}_enabled": False for name in OFF} | {"base_size_check": "off", "base_ssh_patience": PATIENCE})
BROKEN = "/etc/ssh/sshd_config.d/10-by-hand.conf"


def argv(server, *words):
    return [str(BIN / "ansible-playbook"), str(ROOT / "molecule/roles/playbooks/base.yml"), "-i", str(HERE.parent / "inventory"), "--limit", server.name,
            "-e", ONLY_SSH, *words]


def play(server, *words):
    """Run the role; return its status and what it printed."""
    env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", NO_COLOR="1")
    done = subprocess.run(argv(server, *words), check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                          env=env, timeout=1200)
    return done.returncode, " ".join(done.stdout.split())


def enters(server, port):
    """Return whether a new login works."""
    words = server.ssh_argv("true")
    words[words.index("7822")] = str(port)
    return subprocess.run([*words[:1], "-o", "ControlPath=none", "-o", "ConnectTimeout=10", *words[1:]], check=False, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60).returncode == 0


def killed(server, task, *words):
    """Start the role and kill its whole process group once it has come to a task; return what it had printed."""
    env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANSIBLE_NOCOLOR="1", NO_COLOR="1", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(argv(server, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env,
                               start_new_session=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("TASK [") and task in line:
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.communicate(timeout=30)
    return "".join(said)


@pytest.fixture(autouse=True)
def as_declared(server):
    """In the end SSH is as declared."""
    yield
    server.inside(f"rm -f {BROKEN}")
    rc, said = play(server)
    assert rc == 0, said[-4000:]
    assert enters(server, 7822)
    assert not enters(server, 22)


@pytest.mark.proves("2.04")
def test_a_file_that_somebody_broke_is_named_and_the_old_server_goes_on(server):
    daemon = server.inside("systemctl show -p MainPID ssh")
    server.inside(f"echo 'PermitRootLogin perhaps' > {BROKEN}")
    rc, said = play(server)
    assert rc != 0
    assert BROKEN in said
    assert "the old server goes on" in said
    assert server.inside("systemctl show -p MainPID ssh") == daemon
    assert enters(server, 7822)


@pytest.mark.proves("2.04")
@pytest.mark.parametrize("task", ["SSH listens on the new port too", "The old port and the old ways of logging in are closed", "A login works still",
                                  "The firewall forgets the old port"])
def test_a_controller_that_dies_in_a_move_leaves_a_way_in_and_the_next_run_ends_the_move(server, task):
    said = killed(server, task, "-e", "port=22")
    assert task in said, said[-3000:]
    deadline = time.monotonic() + PATIENCE + 10
    while time.monotonic() < deadline:
        assert enters(server, 7822) or enters(server, 22)
        time.sleep(1)
    rc, said = play(server, "-e", "port=22")
    assert rc == 0, said[-4000:]
    assert enters(server, 22)
    assert not enters(server, 7822)
    assert server.inside("ls -d /var/lib/quayside/ssh-before 2>/dev/null; systemctl list-units --plain --no-legend 'quayside-ssh*'", check=False) == ""
