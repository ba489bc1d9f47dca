# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which ways into a host are tried in which order, and what ssh's answers mean. No Ansible in here."""

from __future__ import annotations

import re

MARK = "quayside-way-in"

# What ssh said, from the least to the most that is known about the host.
SILENT, BOOTING, DENIED, UNKNOWN, STRANGER, IN = "silent", "booting", "denied", "unknown", "stranger", "in"

# Lines that ssh writes on every connection and that explain nothing.
_NOISE = re.compile(
    r"^(Warning: Permanently added|debug\d:|OpenSSH_|\*\* |Pseudo-terminal|Connection to \S+ closed|Failed to connect to the host"
    r"|mux_client|ControlSocket|Shared connection to|Killed by signal|@+|\s*$)"
)


def candidates(user, port, others, ports):
    """The ways to try, best first, none twice.

    :param user: the declared user or None for ssh's own choice
    :param port: the declared port or None for ssh's own choice
    :param others: users that a new host may know, list of str
    :param ports: further ports, list of int
    :returns: list of (user, port). The declared way comes first, then every user at the declared port, then at the others.
    """
    users = list(others) + [user]
    ways = [(user, port)]
    for one_port in [port] + [other for other in ports if other != (port or 22)]:
        ways += [(one_user, one_port) for one_user in users]
    return list(dict.fromkeys(ways))


def command(sudo):
    """The shell line that a login runs. It prints MARK, the numeric user, whether sudo is there and asks for a password, and SSH_CONNECTION.

    :param sudo: whether sudo without a password has to work too
    """
    how = "if ! command -v sudo >/dev/null; then echo bare; elif sudo -n true 2>/dev/null; then echo sudo; else echo asks; fi"
    answer = 'echo "%s $(id -u) $(%s) $SSH_CONNECTION"' % (MARK, how)
    if sudo:
        answer = 'why=$(sudo -n true 2>&1) && %s || echo "$why" >&2' % answer
    return "/bin/sh -c '%s'" % answer


def parse(stdout):
    """What the login said, or None when it was no shell (AWS images answer root with a sentence and exit 142).

    :returns: dict of uid (int), sudo and asks (bool), client and server addresses (str) and server_port (int), the last three empty
        or 0 without SSH_CONNECTION
    """
    for line in stdout.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == MARK and words[1].isdigit():
            client, _port, server, server_port = words[3:7] if len(words) >= 7 else ("", "", "", "0")
            return {"uid": int(words[1]), "sudo": words[2] != "bare", "asks": words[2] == "asks", "client": client, "server": server,
                    "server_port": int(server_port)}
    return None


def password_advice(user, host, playbook="quayside.django.site"):
    """What to do where sudo asks for a password and none was given."""
    return ("The login as %s at %s works, but sudo asks for a password there, and this run has none: add -K (--ask-become-pass) to the command and type the "
            "password of that user. %s makes a user who needs none, so that later runs go without." % (user or "ssh's own user", host, playbook))


def telling(text):
    """The lines of ssh's stderr that say why, joined to one line of at most 300 characters."""
    text = re.sub(r"^Failed to connect to the host via ssh: ", "", text.strip())
    lines = [line.strip() for line in text.splitlines() if not _NOISE.match(line)]
    return " ".join(lines)[-300:] or "no reason given"


def judge(text):
    """What ssh's error text says about the host.

    :returns: SILENT (nothing answered, or it hung up before it said anything), BOOTING (it asks to come back), DENIED (a
        server answered and does not want this user or key), UNKNOWN (its host key was never seen) or STRANGER (its host key is
        not the known one)
    """
    if re.search(r"REMOTE HOST IDENTIFICATION|host key for \S+ has changed|HOST KEY CHANGED", text, re.I):
        return STRANGER
    if re.search(r"Host key verification failed|No \S+ host key is known", text):
        return UNKNOWN
    if re.search(r"booting up|pam_nologin|shutting down", text, re.I):
        return BOOTING
    if re.search(
        r"Connection refused|timed out|No route to host|Network is unreachable|Could not resolve|kex_exchange_identification"
        r"|banner exchange|Connection reset|closed by UNKNOWN|port \d+: (Broken pipe|Bad file)|Host is down", text,
    ):
        return SILENT
    return DENIED


def advice(answers, host, key):
    """What to do when no way works.

    :param answers: list of (user, port, verdict, reason)
    :param host: the address
    :param key: path of the private key or None
    :returns: one sentence or two
    """
    verdicts = {verdict for _user, _port, verdict, _reason in answers}
    stranger = next((answer for answer in answers if answer[2] == STRANGER), None)
    if stranger:
        name = host if stranger[1] in (None, 22) else "[%s]:%d" % (host, stranger[1])
        return (
            "The server shows another host key than the one that is known. Was it installed anew? Then: ssh-keygen -R '%s'. "
            "If not, find out who answers there." % name
        )
    if UNKNOWN in verdicts:
        return (
            "The host key of the server was never seen here, and ssh is set to ask about such keys. Log in once by hand to write it "
            "down, or set StrictHostKeyChecking=accept-new in ssh_args of ansible.cfg."
        )
    if DENIED in verdicts:
        return (
            "A server answers, but takes no login with %s. Put its public part there (ssh-copy-id%s USER@%s), or name the right "
            "key in ansible_ssh_private_key_file, or the user that your provider made in base_bootstrap_users."
            % (key or "the keys of this account", " -i %s" % key if key else "", host)
        )
    if BOOTING in verdicts:
        return "The server is still starting. Try again, or give it more time (base_way_in_timeout)."
    return (
        "Nothing answered like an SSH server. Is the server on, is ansible_host (%s) right, and does a firewall of the provider "
        "let these ports through? Does it listen on a port that is not among base_bootstrap_ports?" % host
    )
