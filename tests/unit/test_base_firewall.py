# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import firewall

POLICIES = {"incoming": "deny", "outgoing": "allow"}
SSH = {"port": "7822", "comment": "ssh"}
WEB = {"port": "80"}


def plan(declared, now=(), active=True, policies=POLICIES, remove=True):
    lines = firewall.added("".join("ufw %s\n" % line for line in now))
    commands, strays = firewall.plan(declared, lines, active, policies, POLICIES, remove)
    return [" ".join(command) for command in commands], strays


# The right side is what `ufw show added` of ufw 0.36.2 printed for each of these.
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"port": 80}, "allow 80/tcp"),
        ({"port": "53", "proto": "any"}, "allow 53"),
        ({"port": "8000:8010", "proto": "udp"}, "allow 8000:8010/udp"),
        ({"port": 22, "from": "10.1.2.3/8"}, "allow from 10.0.0.0/8 to any port 22 proto tcp"),
        ({"port": 22, "from": "10.9.9.9/32"}, "allow from 10.9.9.9 to any port 22 proto tcp"),
        ({"port": 22, "from": "2001:db8::/32"}, "allow from 2001:db8::/32 to any port 22 proto tcp"),
        ({"port": "8000:8010", "interface": "eth0"}, "allow in on eth0 to any port 8000:8010 proto tcp"),
        ({"port": 99, "interface": "eth0", "from": "10.0.0.0/8"}, "allow in on eth0 from 10.0.0.0/8 to any port 99 proto tcp"),
        ({"from": "10.0.0.0/8"}, "allow from 10.0.0.0/8"),
        ({"port": 22, "action": "limit"}, "limit 22/tcp"),
    ],
)
def test_words_are_those_that_ufw_shows(rule, expected):
    assert " ".join(firewall.words(rule)) == expected


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"port": "http"}, "no number"),
        ({"port": 70000}, "within 1 and 65535"),
        ({"port": 22, "from": "office"}, "no address or network"),
        ({"port": "1:2", "proto": "any"}, "needs proto"),
        ({}, "needs a port"),
    ],
)
def test_bad_rules_are_refused(rule, reason):
    with pytest.raises(firewall.BadRule, match=reason):
        firewall.words(rule)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"port": ["80", "443"], "from": []}, [("80", "any"), ("443", "any")]),
        ({"port": ["22"], "from": ["10.0.0.1", "10.0.0.2"]}, [("22", "10.0.0.1"), ("22", "10.0.0.2")]),
        ({"port": [], "from": []}, []),
        ({"port": None, "from": ["10.0.0.1"]}, [("", "10.0.0.1")]),
    ],
)
def test_single(rule, expected):
    assert [(one["port"], one["from"]) for one in firewall.single([rule])] == expected


def test_nothing_to_do():
    assert plan([SSH, WEB], ["allow 80/tcp", "allow 7822/tcp comment 'ssh'"]) == ([], [])


def test_a_bare_host_is_opened_before_it_is_closed():
    commands, _strays = plan([SSH, WEB], active=False, policies={})
    assert commands == ["allow 7822/tcp comment ssh", "allow 80/tcp", "default deny incoming", "default allow outgoing",
                        "--force enable"]


def test_strays_go_last():
    commands, strays = plan([SSH], ["allow 22/tcp", "allow OpenSSH"])
    assert commands == ["allow 7822/tcp comment ssh", "--force delete allow 22/tcp", "--force delete allow OpenSSH"]
    assert strays == ["allow 22/tcp", "allow OpenSSH"]


def test_a_stray_that_denies_cannot_win_meanwhile():
    commands, _strays = plan([SSH], ["deny 7822/tcp", "route allow from 1.2.3.4"])
    assert commands == ["prepend allow 7822/tcp comment ssh", "--force delete deny 7822/tcp",
                        "--force route delete allow from 1.2.3.4"]


def test_strays_may_stay():
    assert plan([WEB], ["allow 80/tcp", "allow 22/tcp"], remove=False) == ([], ["allow 22/tcp"])


@pytest.mark.parametrize(
    ("now", "declared", "expected"),
    [
        ("allow 80/tcp", {"port": "80", "comment": "web"}, "allow 80/tcp comment web"),
        ("allow 80/tcp comment 'old'", {"port": "80", "comment": "web"}, "allow 80/tcp comment web"),
        ("allow 80/tcp comment 'old'", {"port": "80"}, "allow 80/tcp comment "),
    ],
)
def test_a_comment_changes(now, declared, expected):
    assert plan([declared], [now]) == ([expected], [])


def test_allows_come_before_limits():
    declared = [{"port": "22", "from": "10.0.0.1"}, {"port": "22", "from": "10.0.0.2"}, {"port": "22", "action": "limit"}]
    commands, _strays = plan(declared, ["limit 22/tcp"])
    assert commands == ["prepend allow from 10.0.0.2 to any port 22 proto tcp", "prepend allow from 10.0.0.1 to any port 22 proto tcp"]


@pytest.mark.parametrize(
    ("rule", "port", "client", "expected"),
    [
        ({"port": "22"}, 22, "10.0.0.1", True),
        ({"port": "22"}, 7822, "10.0.0.1", False),
        ({"port": "20:30"}, 22, "10.0.0.1", True),
        ({"port": "22", "proto": "udp"}, 22, "10.0.0.1", False),
        ({"port": "22", "from": "10.0.0.0/8"}, 22, "10.0.0.1", True),
        ({"port": "22", "from": "10.0.0.0/8"}, 22, "::ffff:10.0.0.1", True),
        ({"port": "22", "from": "10.0.0.0/8"}, 22, "192.0.2.1", False),
        ({"port": "22", "from": "10.0.0.0/8"}, 22, "2001:db8::1", False),
        ({"port": "22", "interface": "wg0"}, 22, "10.0.0.1", False),
        ({"port": "22", "interface": "eth0"}, 22, "10.0.0.1", True),
    ],
)
def test_admits(rule, port, client, expected):
    assert firewall.admits([rule], port, client, "eth0") is expected
