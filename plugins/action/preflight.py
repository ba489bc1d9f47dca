# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse a wrong inventory or app model before anything changes; runs on the controller only."""
from __future__ import annotations

import getpass
import os
import secrets
import socket
import time

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import model, preflight

CFG = ("ansible.cfg of your project lacks pipelining or ServerAlive: runs take longer, and one whose connection is cut may hang. "
       "docs/getting-started.md has the lines to copy")


def reason(error):
    """Return the first line of an error of Ansible, without where it comes from."""
    return str(error).splitlines()[0].removeprefix("Error while resolving value for 'django_apps': ")


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        self.doubts = []
        _checked, args = self.validate_argument_spec(argument_spec={
            "app": {"type": "str", "default": ""},
            "one": {"type": "bool", "default": False},
            "allow_localhost": {"type": "bool", "default": False},
        })
        try:
            findings = self._inventory(task_vars, args["allow_localhost"]) or self._apps(task_vars, args["app"], args["one"])
        except AnsibleError as error:
            findings = [f"the variables cannot be read: {reason(error)}"]
        warnings = self.doubts + ([] if self._well_configured() else [CFG])
        if findings:
            return {"failed": True, "warnings": warnings, "findings": findings,
                    "msg": "nothing was changed, because:\n" + "\n".join(f"- {finding}" for finding in findings)}
        now = time.gmtime()
        who = os.environ.get("GITHUB_ACTOR") or getpass.getuser()
        run = {"id": f"{time.strftime('%Y%m%d%H%M%S', now)}-{secrets.token_hex(4)}", "stamp": time.strftime("%Y%m%d%H%M%S", now),
               "who": f"{who}@{socket.gethostname()}", "command": preflight.whole_command(context.CLIARGS.get("extra_vars") or ())}
        return {"changed": False, "warnings": warnings, "ansible_facts": {"django_run": run}}

    def _apps(self, task_vars, name, one):
        """Return what is wrong with the apps."""
        environment = self._variable(task_vars, "django_environment", "")
        allowed = self._variable(task_vars, "django_debug_environments", ["dev", "local"])
        try:
            declared = self._variable(task_vars, "django_apps", [])
        except AnsibleUndefinedVariable as error:
            return [f"django_apps cannot be read: {reason(error)}. Define it in inventories/{environment}/group_vars/{environment}/ "
                    "(secrets in vault.yml there; docs/getting-started.md tells how to make them)"]
        findings = preflight.apps(declared, name, one, environment, allowed)
        if one and not findings:
            hosts = [host for host in task_vars["ansible_play_hosts_all"] if host in task_vars["groups"].get("apps", [])]
            findings = preflight.shared_services(model.choose(model.load(declared), name), hosts)
        if not findings:
            self.doubts += [warning for app in model.load(declared) for warning in preflight.unencrypted(app)]
        return findings

    def _variable(self, task_vars, name, default):
        """Return a variable of this host with everything in it templated."""
        value = task_vars.get(name, default)
        return self._templar.template(value)

    def _inventory(self, task_vars, allow_localhost):
        """Return what is wrong with the hosts of the play."""
        everyone = {name: task_vars["hostvars"][name] for name in task_vars["groups"]["all"]}
        hosts = {name: {"environment": self._templar.template(values.get("django_environment", "")), "groups": values.get("group_names", [])}
                 for name, values in everyone.items()}
        findings = preflight.environments(hosts, list(task_vars["groups"]), list(task_vars.get("ansible_inventory_sources") or []))
        if findings:
            return findings
        targets = {name: {"address": self._templar.template(everyone[name].get("ansible_host", name)), "port": everyone[name].get("ansible_port"),
                          "connection": everyone[name].get("ansible_connection", "")}
                   for name in task_vars["ansible_play_hosts_all"] if not everyone[name].get("django_allow_localhost")}
        return [] if allow_localhost else preflight.local(targets)

    def _well_configured(self):
        """Return True when the ssh connection is set up as docs/getting-started.md asks for."""
        options = C.config.get_plugin_options("connection", "ssh")
        return bool(options.get("pipelining")) and "ServerAlive" in (options.get("ssh_args") or "")
