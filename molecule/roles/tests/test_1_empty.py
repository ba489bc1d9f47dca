# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on hosts that have nothing yet: it passes, says what would come, and changes nothing. First, while they are bare."""
import pytest
from conftest import HERE, SERVERS, play, run
from lab import ROOT

STATE = ("{ dpkg-query -W; getent passwd; getent group; systemctl list-unit-files --no-legend --plain; ss -Hltn 2>/dev/null | awk '{print $4}' | sort; "
         "find /etc /opt /srv /usr/local /var/www /var/lib/quayside \\( -type f -o -type l \\) -printf '%p %s %m %u %T@\\n' 2>/dev/null | sort; }")


@pytest.fixture(autouse=True)
def untouched():
    """The servers are as before after each run."""
    before = {server: server.inside(STATE) for server in SERVERS}
    yield
    for server in SERVERS:
        assert set(server.inside(STATE).splitlines()) ^ set(before[server].splitlines()) == set()


def test_they_are_bare():
    for server in SERVERS:
        said = server.inside("dpkg-query -W -f '${Status}\\n' nginx postgresql redis-server ufw fail2ban chrony 2>/dev/null || true")
        assert "install ok installed" not in said


def test_site():
    outcome = run(ROOT / "playbooks/site.yml", "--check", "--diff", "-e", f"@{HERE.parent / 'vars/apps.yml'}").good(changed=True)
    assert "not-secret" not in outcome.out


@pytest.mark.parametrize("role", ["postgresql", "redis", "nginx", "app", "base"])
def test_a_role_alone(role):
    outcome = play(role, "--check", "--diff").good(changed=True)
    assert "pass-of-open" not in outcome.out
    assert "of-a-stranger" not in outcome.out
