# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse a wrong inventory or app model before anything changes; runs on the controller only."""
from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.quayside.django.plugins.module_utils import doctor, doctor_inventory, model, preflight, printed
from ansible_collections.quayside.django.plugins.plugin_utils import braces, spelling

CFG = doctor.finding("controller.settings", "warning", "ansible.cfg of your project",
                     "it lacks pipelining or ServerAlive: runs take longer, and one whose connection is cut may hang",
                     "copy the lines that docs/getting-started.md has")


def reason(error):
    """Return the first line of an error of Ansible, without where it comes from."""
    return str(error).splitlines()[0].removeprefix("Error while resolving value for 'django_apps': ")


class Inventory(ActionBase):
    """An action on the controller that finds what is wrong with the inventory."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def inventory_findings(self, task_vars, app="", one=False, allow_localhost=False):
        """Return findings of the doctor: errors, for which no host is touched, and warnings."""
        try:
            found = [doctor.of_text("inventory.wrong", "error", text) for text in self._inventory(task_vars, allow_localhost)]
            found = found or self._apps(task_vars, app, one)
        except AnsibleError as error:
            found = [doctor.finding("inventory.wrong", "error", "the variables", f"they cannot be read: {reason(error)}", "correct them in the inventory")]
        return found + ([] if self._well_configured() else [CFG])

    def write_report(self, path, task_vars, findings, fail_on="error"):
        """Write the JSON for CI, when a path is given."""
        if path:
            hosts = list(task_vars["ansible_play_hosts_all"])
            environment = self._variable(task_vars, "django_environment", "")
            checked = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            try:
                with open(os.path.expanduser(path), "w", encoding="utf-8") as file:
                    json.dump(doctor.report(environment, hosts, findings, fail_on, checked), file, indent=2)
                    file.write("\n")
            except OSError as error:
                raise AnsibleError(f"doctor_report: {path} cannot be written: {error.strerror}: give a path in a folder that is there") from error

    def _apps(self, task_vars, name, one):
        """Return what is wrong with the apps."""
        environment = self._variable(task_vars, "django_environment", "")
        allowed = self._variable(task_vars, "django_debug_environments", ["dev", "local"])
        try:
            declared = self._variable(task_vars, "django_apps", [])
        except AnsibleError as error:
            wrong = braces.findings(task_vars, self._templar.template)
            if wrong or not isinstance(error, AnsibleUndefinedVariable):
                return [doctor.of_text("inventory.wrong", "error", text) for text in wrong or [f"django_apps cannot be read: {reason(error)}"]]
            return [doctor.finding("inventory.wrong", "error", "django_apps", f"it cannot be read: {reason(error)}",
                                   f"define it in inventories/{environment}/group_vars/{environment}/ (secrets: quayside.django.secrets makes them in "
                                   "vault.yml there)")]
        findings = [doctor.of_text("inventory.wrong", "error", text) for text in braces.findings(task_vars)]
        findings = findings or doctor.of_apps(preflight.apps(declared, name, one, environment, allowed)) or [
            doctor.of_text("model.wrong", "error", text) for app in declared for text in spelling.findings(app)]
        if findings:
            return findings
        apps = model.load(declared)
        if one:
            wrong = preflight.run_findings(*(self._as_given(task_vars, name_) for name_ in ("version", "release")))
            if wrong:
                return [doctor.of_text("inventory.wrong", "error", text) for text in wrong]
            hosts = [host for host in task_vars["ansible_play_hosts_all"] if host in task_vars["groups"].get("apps", [])]
            findings = [doctor.of_text("services.shared", "error", text) for text in preflight.shared_services(model.choose(apps, name), hosts)]
        return findings + [finding for app in apps if app["name"] == name or not name for finding in
                           [*doctor_inventory.findings(app), *(doctor.of_text("database.unencrypted", "warning", text)
                                                               for text in preflight.unencrypted(app))]]

    def _variable(self, task_vars, name, default):
        """Return a variable of this host with everything in it templated."""
        value = task_vars.get(name, default)
        return self._templar.template(value)

    def _as_given(self, task_vars, name):
        """Return a variable as -e gives it, not rendered: Ansible would run the template that somebody has named a branch after."""
        given = load_extra_vars(self._loader)
        return given[name] if name in given else self._variable(task_vars, name, "")

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
        lists = {name: {one: self._templar.template(values[one]) for one in preflight.ADDRESS_LISTS if one in values}
                 for name, values in everyone.items() if name in task_vars["ansible_play_hosts_all"]}
        return ([] if allow_localhost else preflight.local(targets)) + preflight.address_lists(lists)

    def _well_configured(self):
        """Return True when the ssh connection is set up as docs/getting-started.md asks for."""
        options = C.config.get_plugin_options("connection", "ssh")
        return bool(options.get("pipelining")) and "ServerAlive" in (options.get("ssh_args") or "")


class ActionModule(Inventory):
    """Every playbook begins with it."""

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec={
            "app": {"type": "str", "default": ""},
            "one": {"type": "bool", "default": False},
            "allow_localhost": {"type": "bool", "default": False},
            "report": {"type": "path", "default": ""},
        })
        found = doctor.ordered(self.inventory_findings(task_vars, args["app"], args["one"], args["allow_localhost"]))
        warnings = [doctor.line(one) for one in found if one["severity"] == "warning"]
        errors = [doctor.line(one) for one in found if one["severity"] == "error"]
        if errors:
            self.write_report(args["report"], task_vars, found)
            return {"failed": True, "warnings": warnings, "findings": found, "msg": "nothing was changed, because:\n" + "\n".join(f"- {one}" for one in errors)}
        now = time.gmtime()
        who = os.environ.get("GITHUB_ACTOR") or getpass.getuser()
        run = {"id": f"{time.strftime('%Y%m%d%H%M%S', now)}-{secrets.token_hex(4)}", "stamp": time.strftime("%Y%m%d%H%M%S", now),
               "who": f"{who}@{socket.gethostname()}", "command": preflight.whole_command(context.CLIARGS.get("extra_vars") or ())}
        return {"changed": False, "warnings": warnings, "findings": found, "ansible_facts": {"django_run": run}}
