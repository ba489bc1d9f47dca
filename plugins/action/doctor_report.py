# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell the findings of all hosts and of the inventory together, and fail by them; runs on the controller only."""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.action import preflight
from ansible_collections.quayside.django.plugins.module_utils import doctor, printed


class ActionModule(preflight.Inventory):
    """The last task of the doctor."""

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec={
            "looked": {"type": "str", "default": ""},
            "app": {"type": "str", "default": ""},
            "report": {"type": "path", "default": ""},
            "fail_on": {"type": "str", "choices": ["error", "warning", "never"], "default": "error"},
        })
        found = self.inventory_findings(task_vars, args["app"])
        for host in task_vars["ansible_play_hosts_all"] if args["looked"] else ():
            found += self._of_host(task_vars, host, args["looked"])
        found = doctor.ordered(found)
        self.write_report(args["report"], task_vars, found, args["fail_on"])
        text = doctor.text(found)
        self._display.display(printed.clean(text))
        if doctor.fails(found, args["fail_on"]):
            # Neither the list nor the text: Ansible prints all that a failed task returns, its message even twice.
            return dict(result, failed=True, counts=doctor.counts(found), msg=f"{doctor.summary(found)}: see above")
        return dict(result, changed=False, findings=found, counts=doctor.counts(found), msg=text)

    @staticmethod
    def _of_host(task_vars, host, looked):
        """Return the findings of a host; that it was not looked at is one."""
        seen = task_vars["hostvars"][host].get(looked)
        if seen and "findings" in seen:
            return seen["findings"]
        return [dict(doctor.finding("host.unreachable", "error", f"host {host}", "it could not be looked at: the run says why above",
                                    "try ssh by hand with the user, port and key of the inventory"), host=host)]
