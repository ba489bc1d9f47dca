#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_server
short_description: Change sshd's port and settings so that nobody is locked out
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - "A change is made in steps, between which the controller tries new logins: V(look) says what is to be done; V(open) makes
    sshd listen on the new ports too; V(close) takes the old ports away and puts the settings in place; V(keep) ends the change;
    V(restore) takes it back."
  - After V(open) and V(close) the host itself takes the step back after O(patience) seconds unless V(keep) comes, so that a
    controller that dies in between locks nobody out.
  - It writes C(/etc/ssh/sshd_config.d/00-quayside.conf), makes sure that C(sshd_config) reads it first, and comments out what sets
    a port elsewhere. The whole is tested with C(sshd -t) before a file is touched, and a server that does not listen where it
    should is taken back at once.
  - Where C(ssh.socket) listens, the socket moves too.
options:
  step:
    description: What to do.
    type: str
    choices: [look, open, close, keep, restore]
    required: true
  ports:
    description: The ports that sshd listens on in the end.
    type: list
    elements: int
    default: [22]
  settings:
    description:
      - Keywords of C(sshd_config) and their values. Booleans become yes and no.
      - A list for C(KexAlgorithms), C(Ciphers), C(MACs), C(HostKeyAlgorithms) or C(PubkeyAcceptedAlgorithms) keeps the names that
        this host knows. Any other list becomes a line for each element.
    type: dict
    default: {}
  algorithms:
    description:
      - V(strict) takes the lists of ssh-audit's hardening guides in their order, a host key of Ed25519 and one of RSA with 4096 bits (made
        where there is none; the old one stays beside it), no ECDSA, and no groups below 3072 bits. Servers that know ML-KEM (OpenSSH 9.9,
        Debian 13) then take post-quantum key exchanges only, which every client since OpenSSH 9.0 has.
      - V(compatible) lets older clients in there too. V(distribution) leaves all of it to the distribution.
      - What O(settings) names wins.
    type: str
    choices: [strict, compatible, distribution]
    default: distribution
  friends:
    description:
      - Addresses and networks that a server which punishes addresses (C(PerSourcePenalties), OpenSSH 9.8) spares. The one that Ansible
        comes from is among them by itself.
    type: list
    elements: str
    default: []
  patience:
    description: Seconds after which the host takes the step back by itself.
    type: int
    default: 120
attributes:
  check_mode:
    description: O(step=look) says what would be changed. The other steps do nothing.
    support: full
  diff_mode:
    description: Shows the files.
    support: full
seealso:
  - module: quayside.django.way_in
    description: Tries the logins in between.
"""

EXAMPLES = r"""
- name: What differs is known
  quayside.django.ssh_server:
    step: look
    ports: [7822]
    settings: {PermitRootLogin: false, PasswordAuthentication: false}
  register: ssh
"""

RETURN = r"""
open_needed:
  description: Whether sshd does not listen on all of O(ports) yet, or an earlier change was left unfinished.
  type: bool
  returned: success
close_needed:
  description: Whether anything differs.
  type: bool
  returned: success
listening:
  description: The ports that lead to sshd now.
  type: list
  elements: int
  returned: success
client:
  description: The address that this session comes from, empty when it is none by ssh.
  type: str
  returned: success
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

from ansible_collections.quayside.django.plugins.module_utils import config_files, ssh_server, ssh_session
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

SAVED = "/var/lib/quayside/ssh-before"
UNIT = "quayside-ssh-restore"
GENERATOR = "/usr/lib/systemd/system-generators/sshd-socket-generator"
SSHD = "/usr/sbin/sshd"


class Refused(Exception):
    """The change cannot be; the message says why and what to type next."""


def out_of(*argv):
    """The output of a command; empty when it fails or is not there."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ, LC_ALL="C.UTF-8")).stdout
    except OSError:
        return ""


def checked(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ, LC_ALL="C.UTF-8"))
    if done.returncode:
        raise Refused((done.stderr or done.stdout).strip() or "%s failed" % " ".join(argv))


class Host:
    """The SSH server as it is now."""

    def __init__(self):
        paths = [ssh_server.MAIN] + sorted(glob.glob(ssh_server.FOLDER + "/*.conf")) + [ssh_server.SOCKET, ssh_server.OWN_MODULI]
        self.states = {path: config_files.read(path) for path in paths}
        self.files = {path: state.content.decode("utf-8", "surrogateescape") for path, state in self.states.items()
                      if state.content is not None and path not in (ssh_server.SOCKET, ssh_server.OWN_MODULI)}
        shown = out_of("systemctl", "show", "-p", "ActiveState,Listen", "ssh.socket")
        self.by_socket = "ActiveState=active" in shown
        self.socket_file = self.by_socket and not os.path.exists(GENERATOR)
        self.armed = os.path.isdir(SAVED)
        self._socket_ports = ssh_server.socket_ports(shown) if self.by_socket else set()
        self.look()

    def look(self):
        if self.by_socket:
            self._socket_ports = ssh_server.socket_ports(out_of("systemctl", "show", "-p", "Listen", "ssh.socket"))
        shown, configured = out_of("ss", "-Hltnp"), set()
        self.programs = ssh_server.listeners(shown)
        if not self.programs:
            # A bare server may have no ss.
            for table in ("/proc/net/tcp", "/proc/net/tcp6"):
                if os.path.exists(table):
                    with open(table) as file:
                        self.programs.update(ssh_server.tcp_listeners(file.read()))
            configured = {int(port) for port in re.findall(r"^port (\d+)", out_of(SSHD, "-T"), re.M)}
        self.listening = ssh_server.own_ports(self.programs, self._socket_ports, configured, self.others(ssh_server.listener_pids(shown)))

    @staticmethod
    def others(pids):
        """The ports whose process belongs to another unit than ssh.service, set of int."""
        found = set()
        for port, pid in pids.items():
            try:
                with open("/proc/%d/cgroup" % pid) as file:
                    if ssh_server.of_another(file.read()):
                        found.add(port)
            except OSError:
                continue
        return found

    def changes(self, texts):
        """The files that differ, dict of path to (before, after)."""
        found = {}
        for path, text in texts.items():
            before = self.states.get(path, config_files.ABSENT)
            mode, owner, group = (0o644, "root", "root") if before.content is None else before[1:]
            if path == ssh_server.OWN:
                mode, owner, group = 0o600, "root", "root"
            after = config_files.State(text.encode("utf-8", "surrogateescape"), mode, owner, group)
            if before != after:
                found[path] = (before, after)
        return found


def known_algorithms(settings):
    return {keyword.lower(): set(out_of("ssh", "-Q", ssh_server.ALGORITHMS[keyword.lower()]).split())
            for keyword in settings if keyword.lower() in ssh_server.ALGORITHMS}


def completed(params, client):
    """The settings of the end with the lists of algorithms and the host keys, and the text of the own moduli file."""
    profile = params["algorithms"]
    more = ssh_server.algorithms(profile, set(out_of("ssh", "-Q", "kex").split()))
    bits = re.match(r"\d+", out_of("ssh-keygen", "-l", "-f", ssh_server.RSA + ".pub"))
    more.update(ssh_server.host_keys(profile, int(bits.group()) if bits else 0))
    friends = ([client] if client else []) + params["friends"]
    if friends:
        more["PerSourcePenaltyExemptList"] = ",".join(dict.fromkeys(friends))
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
    settings = ssh_server.completed(params["settings"], more, ssh_server.version(said.stderr + said.stdout))
    moduli = ""
    exchanges = settings.get("KexAlgorithms") or []
    if profile != "distribution" and "diffie-hellman-group-exchange-sha256" in exchanges and os.path.exists(ssh_server.MODULI):
        with open(ssh_server.MODULI) as file:
            moduli = ssh_server.large_moduli(file.read())
    return settings, moduli


def missing_keys(settings):
    """The paths of host keys that are to be made: those that are named here, not those of a user."""
    return [path for path in (ssh_server.ED25519, ssh_server.OWN_RSA)
            if path in (settings.get("HostKey") or []) and not os.path.exists(path)]


def make_keys(paths):
    for path in paths:
        kind = ["-t", "ed25519"] if path == ssh_server.ED25519 else ["-t", "rsa", "-b", str(ssh_server.RSA_BITS)]
        checked("ssh-keygen", "-q", *kind, "-N", "", "-C", "root@" + os.uname().nodename, "-f", path)


def test_config(host, changes):
    """sshd -t for the files as they would be, in a folder of their own."""
    os.makedirs("/run/sshd", 0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="quayside-sshd-") as folder:
        texts = dict(host.files)
        texts.update({path: after.content.decode("utf-8", "surrogateescape") for path, (_before, after) in changes.items()
                      if path not in (ssh_server.SOCKET, ssh_server.OWN_MODULI)})
        os.mkdir(folder + "/d")
        for path, text in texts.items():
            name = "/main" if path == ssh_server.MAIN else "/d/" + os.path.basename(path)
            with open(folder + name, "w", errors="surrogateescape") as file:
                file.write(text.replace(ssh_server.FOLDER + "/", folder + "/d/"))
        done = subprocess.run([SSHD, "-t", "-f", folder + "/main"], capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr.strip().replace(folder + "/d/", ssh_server.FOLDER + "/").replace(folder + "/main", ssh_server.MAIN)
            raise Refused("sshd refuses the new configuration, nothing was changed and the old server goes on. sshd -t says: %s. "
                          "Next: look at base_ssh_settings, or at the file that it names" % why)


def apply(host):
    """Make sshd read its files. Open sessions live on."""
    if host.by_socket:
        checked("systemctl", "daemon-reload")
        # A socket does not start while its service runs.
        checked("systemctl", "stop", "ssh.service")
        try:
            checked("systemctl", "restart", "ssh.socket")
        except Refused:
            subprocess.run(["systemctl", "start", "ssh.service"], check=False)
            raise
    else:
        checked("systemctl", "reload-or-restart", "ssh.service")


def wait_for(host, ports, gone):
    """Wait until sshd listens on ports and not on gone."""
    deadline = time.monotonic() + 8
    while True:
        host.look()
        if set(ports) <= set(host.listening) and not set(gone) & set(host.listening):
            return
        if time.monotonic() > deadline:
            log = out_of("journalctl", "-u", "ssh", "-n", "6", "-o", "cat", "--no-pager").strip()
            raise Refused("sshd listens on %s instead of %s. Its log says: %s" % (host.listening, ports, log))
        time.sleep(0.05)


def save(states):
    """Keep the files as they are, with a script that puts them back."""
    shutil.rmtree(SAVED, ignore_errors=True)
    os.makedirs(SAVED + ".new", 0o700, exist_ok=True)
    script = ["#!/bin/sh", "# Puts sshd's files back as they were before a change that nobody confirmed."]
    for number, (path, state) in enumerate(states.items()):
        if state.content is None:
            script.append("rm -f '%s'" % path)
            continue
        config_files.write("%s.new/%d" % (SAVED, number), state)
        script.append("cp -p '%s/%d' '%s.quayside' && mv '%s.quayside' '%s'" % (SAVED, number, path, path, path))
    script += [
        "if systemctl is-active --quiet ssh.socket; then",
        "  systemctl daemon-reload; systemctl stop ssh.service; systemctl restart ssh.socket || systemctl start ssh.service",
        "else",
        "  systemctl reload-or-restart ssh.service",
        "fi",
        "rm -rf '%s'" % SAVED,
        "logger -t quayside 'sshd was put back: the change was not confirmed'",
    ]
    config_files.write(SAVED + ".new/restore", config_files.State("\n".join(script).encode() + b"\n", 0o700, "root", "root"))
    os.rename(SAVED + ".new", SAVED)


def arm(seconds):
    checked("systemd-run", "--unit=" + UNIT, "--on-active=%d" % seconds, "--timer-property=AccuracySec=1s", "--collect",
            "--quiet", "/bin/sh", SAVED + "/restore")


def disarm():
    """Stop the clock. What it would have put back stays until it is forgotten."""
    subprocess.run(["systemctl", "stop", UNIT + ".timer"], capture_output=True, check=False)
    subprocess.run(["systemctl", "reset-failed", UNIT + ".service", UNIT + ".timer"], capture_output=True, check=False)


def refuse_taken(host, ports):
    for port in ports:
        if port in host.programs and port not in host.listening:
            raise Refused("Port %d, which SSH is to have, is taken by %s; nothing was changed. Next: ss -ltnp sport = :%d"
                          % (port, host.programs[port] or "another program", port))


def change(host, step, params, changes):
    refuse_taken(host, params["ports"])
    test_config(host, changes)
    disarm()
    save({path: before for path, (before, _after) in changes.items()})
    arm(params["patience"])
    try:
        for path, (_before, after) in changes.items():
            config_files.write(path, after)
        apply(host)
        gone = set(host.listening) - set(params["ports"]) if step == "close" else set()
        wait_for(host, params["ports"], gone)
    except Exception:
        restore()
        raise


def restore():
    disarm()
    if os.path.exists(SAVED + "/restore"):
        checked("/bin/sh", SAVED + "/restore")


def main():
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": ["look", "open", "close", "keep", "restore"], "required": True},
            "ports": {"type": "list", "elements": "int", "default": [22]},
            "settings": {"type": "dict", "default": {}},
            "patience": {"type": "int", "default": 120},
            "algorithms": {"type": "str", "choices": ["strict", "compatible", "distribution"], "default": "distribution"},
            "friends": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params, step = module.params, module.params["step"]
    if not os.path.exists(SSHD):
        if module.check_mode:
            module.exit_json(changed=True, open_needed=True, close_needed=True, listening=[], msg="sshd is not installed yet")
        module.fail_json(msg="sshd is not installed. Next: apt-get install openssh-server")
    try:
        host = Host()
        if step in ("keep", "restore") and not module.check_mode:
            if step == "keep":
                disarm()
                shutil.rmtree(SAVED, ignore_errors=True)
            else:
                restore()
            host.look()
        client = ssh_session.find().client
        settings, moduli = completed(params, client)
        final = ssh_server.wanted(host.files, "close", params["ports"], host.listening, settings, known_algorithms(settings),
                                  host.socket_file, moduli)
        changes, keys = host.changes(final), missing_keys(settings)
        same_ports = set(host.listening) == set(params["ports"])
        result = {
            "open_needed": host.armed or not set(params["ports"]) <= set(host.listening),
            "close_needed": host.armed or bool(changes) or bool(keys) or not same_ports,
            "listening": host.listening,
            "client": client,
        }
        result["changed"] = result["close_needed"]
        if step == "look":
            result["diff"] = [config_files.diff(path, before, after) for path, (before, after) in sorted(changes.items())
                              if path != ssh_server.OWN_MODULI]
            result["diff"] += [{"before": "", "after": "made\n", "after_header": path} for path in keys + sorted(
                set(changes) & {ssh_server.OWN_MODULI})]
            if not same_ports:
                result["diff"].append({"before": "%s\n" % host.listening, "after": "%s\n" % params["ports"],
                                       "before_header": "sshd listens on", "after_header": "sshd listens on"})
            refuse_taken(host, params["ports"])
            # Also without a change of ours: with a file that somebody broke, sshd would not come back from the next reboot.
            test_config(host, changes)
        elif step == "open":
            if result["open_needed"] and not module.check_mode:
                changes = host.changes(ssh_server.wanted(host.files, "open", params["ports"], host.listening, {}, {},
                                                         host.socket_file))
                change(host, step, params, changes)
        elif step == "close":
            if result["close_needed"] and not module.check_mode:
                make_keys(keys)
                change(host, step, params, changes)
        else:
            result["changed"] = step == "restore"
        result["listening"] = host.listening
        module.exit_json(**result)
    except Refused as error:
        module.fail_json(msg=re.sub(r"\s*\n\s*", "; ", str(error)))


if __name__ == "__main__":
    main()
