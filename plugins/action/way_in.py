# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import socket
import subprocess
import time

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import printed, way_in

SPEC = {
    "user": {"type": "str"},
    "port": {"type": "int"},
    "bootstrap_users": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "int", "default": [22]},
    "only": {"type": "bool", "default": False},
    "fresh": {"type": "bool", "default": False},
    "sudo": {"type": "bool", "default": False},
    "accept_new": {"type": "bool", "default": False},
    "connect_timeout": {"type": "int", "default": 5},
    "timeout": {"type": "int", "default": 60},
}


class ActionModule(ActionBase):
    """Logs in by the ssh connection plugin itself, so that a later task finds the connection open."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _valid, args = self.validate_argument_spec(argument_spec=SPEC)
        if self._connection.transport not in ("ssh", "ansible.builtin.ssh"):
            return dict(result, changed=False, moved=False, user=None, port=None, sudo=True, uid=None, client="", tried=[],
                        declared={"user": None, "port": None},
                        msg="This host is reached by %s, not by ssh." % self._connection.transport)
        connection = self._connection
        user = args["user"] or connection.get_option("remote_user") or None
        port = args["port"] or connection.get_option("port") or None
        self._host = connection.get_option("host") or self._play_context.remote_addr
        self._args = args
        self._prepare()

        ways = [(user, port)] if args["only"] else way_in.candidates(user, port, args["bootstrap_users"], args["ports"])
        started = time.monotonic()
        found, answers = self._round(ways[:1])
        if not found:
            found, answers = self._search(ways, answers, started + args["timeout"])
        tried = ["%s: %s" % (_name(one_user, one_port), reason) for one_user, one_port, _verdict, reason in answers]
        result.update(changed=False, tried=tried, declared={"user": user, "port": port})
        if not found:
            key = connection.get_option("private_key_file")
            result.update(failed=True, msg="No way into %s (%s) was found.\n%s\n%s" % (
                task_vars.get("inventory_hostname"), self._host, "\n".join("  " + line for line in tried),
                way_in.advice(answers, self._host, key)))
            return result
        (now_user, now_port), seen = found
        asks = seen.pop("asks")
        given = self._play_context.become_pass or any(task_vars.get(name) for name in BECOME_PASSWORDS)
        if asks and seen["uid"] != 0 and not given:
            return dict(result, failed=True, msg=way_in.password_advice(now_user, self._host))
        result.update(user=now_user, port=now_port, moved=(now_user, now_port) != (user, port), **seen)
        result["msg"] = "%s answers %s%s." % (
            self._host, _name(now_user, now_port), ", not yet %s" % _name(user, port) if result["moved"] else "")
        return result

    def _prepare(self):
        connection, args = self._connection, self._args
        connection.set_option("timeout", args["connect_timeout"])
        connection.set_option("reconnection_retries", 0)
        ssh_args = connection.get_option("ssh_args") or ""
        if args["fresh"]:
            # ssh takes the first value that it meets, so that these go before the configured ones.
            ssh_args = "-o ControlMaster=no -o ControlPath=none " + ssh_args
        said = " ".join(connection.get_option(name) or "" for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"))
        if args["accept_new"] and connection.get_option("host_key_checking") and "StrictHostKeyChecking" not in said:
            ssh_args = "-o StrictHostKeyChecking=accept-new " + ssh_args
        if not connection.get_option("password"):
            ssh_args = "-o BatchMode=yes " + ssh_args
        connection.set_option("ssh_args", ssh_args)

    def _login(self, user, port):
        """One real login. Returns (verdict, reason, what was seen)."""
        connection = self._connection
        connection.set_option("remote_user", user)
        connection.set_option("port", port)
        connection.user, connection.port, connection.control_path = user, port, None
        try:
            rc, stdout, stderr = connection.exec_command(way_in.command(self._args["sudo"]), sudoable=False)
        except AnsibleError as error:
            text = to_text(error)
            return way_in.judge(text), way_in.telling(text), None
        seen = way_in.parse(to_text(stdout))
        if seen:
            return way_in.IN, "", seen
        return way_in.DENIED, "the login works, but %s" % (way_in.telling(to_text(stderr) or to_text(stdout)) if rc or stderr
                                                            else "it runs no command"), None

    def _round(self, ways):
        """Tries each way once. Returns (((user, port), what was seen) or None, answers)."""
        answers = []
        dead = set()
        for user, port in ways:
            if port in dead:
                continue
            verdict, reason, seen = self._login(user, port)
            if seen:
                return ((user, port), seen), answers
            answers.append((user, port, verdict, reason))
            if verdict == way_in.SILENT:
                dead.add(port)
            if verdict in (way_in.STRANGER, way_in.UNKNOWN):
                break
        return None, answers

    def _search(self, ways, answers, deadline):
        if answers[0][2] in (way_in.STRANGER, way_in.UNKNOWN) or (answers[0][2] == way_in.DENIED and len(ways) == 1):
            return None, answers
        if answers[0][2] == way_in.DENIED:
            found, more = self._round(ways[1:])
            if found or not _worth_waiting(more):
                return found, answers + more
        before = [] if answers[0][2] == way_in.SILENT else answers
        ports = list(dict.fromkeys(port for _user, port in ways))
        while True:
            # A port that is shut costs a millisecond to ask and seconds to log in at, eight users long.
            open_ports = [port for port in ports if self._answers(port)]
            if open_ports:
                found, answers = self._round([way for way in ways if way[1] in open_ports])
                if found or not _worth_waiting(answers):
                    return found, before + answers
            if time.monotonic() >= deadline:
                break
            time.sleep(1)
        silent = [(ways[0][0], port, way_in.SILENT, "no answer for %d seconds" % self._args["timeout"])
                  for port in ports if port not in [answer[1] for answer in answers]]
        return None, answers + silent

    def _answers(self, port):
        """Whether a TCP connection is taken. Always true where only ssh knows the road (a jump host or a proxy)."""
        target = self._target(port)
        if target is None:
            return True
        try:
            socket.create_connection(target, timeout=self._args["connect_timeout"]).close()
        except OSError:
            return False
        return True

    def _target(self, port):
        connection = self._connection
        argv = [connection.get_option("ssh_executable"), "-G"]
        for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            argv += connection._split_ssh_args(connection.get_option(option) or "")
        argv += ["-p", str(port)] if port else []
        try:
            shown = subprocess.run(argv + ["--", self._host], capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        config = dict(line.partition(" ")[::2] for line in shown.splitlines())
        if config.get("proxyjump", "none") != "none" or config.get("proxycommand", "none") != "none":
            return None
        return config.get("hostname", self._host), int(config.get("port", port or 22))


BECOME_PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")


def _worth_waiting(answers):
    verdicts = {verdict for _user, _port, verdict, _reason in answers}
    return way_in.BOOTING in verdicts or verdicts <= {way_in.SILENT}


def _name(user, port):
    return "%s%s" % ("as " + user if user else "as ssh's own user", " at port %d" % port if port else "")
