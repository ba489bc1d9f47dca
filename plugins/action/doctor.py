# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at one host: the controller's side of quayside.django.doctor, which knows the inventory and the time."""
from __future__ import annotations

import socket
import time

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import doctor, doctor_host, model, printed

LOOK = "quayside.django.doctor_look"


def shown(app: dict) -> dict:
    """Return an app as a host may see it: names of secrets, and no values."""
    provides = {*model.release_environment(app, "0", "0"), *model.secret_environment(app)}
    secret_names = set(app["secrets"]) - set(model.unseen(app))
    # Credentials of a DNS plugin may stand there as they are.
    return dict(model.public(app), tls=dict(app["tls"], dns={}), provides=sorted(provides), secret_names=sorted(secret_names))


def resolved(address: str) -> list[str]:
    """Return the addresses of what the inventory calls a host; none when its name has none here."""
    try:
        return sorted({entry[4][0].partition("%")[0] for entry in socket.getaddrinfo(address, None)})
    except OSError:
        return []


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec={
            "app": {"type": "str", "default": ""},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "resolver": {"type": "str", "default": ""},
            "certificate_days": {"type": "int", "default": 21},
        })
        host = task_vars["inventory_hostname"]
        try:
            apps, sound = model.load(self._templar.template(task_vars.get("django_apps", []))), True
        except (AnsibleError, model.ModelError):
            apps, sound = [], False  # quayside.django.doctor_report says what is wrong with them
        address = self._templar.template(task_vars.get("ansible_host", host))
        # A name may lead to all hosts that serve it.
        edges = [self._templar.template(task_vars["hostvars"][one].get("ansible_host", one)) for one in task_vars["groups"].get("edges", [])]
        addresses = {one for name in [address, *edges] for one in resolved(name)}
        options = {"apps": [shown(app) for app in apps], "app": args["app"], "groups": list(task_vars.get("group_names", [])),
                   "addresses": [*args["addresses"], *sorted(addresses)], "resolver": args["resolver"], "certificate_days": args["certificate_days"],
                   "orphans": sound}
        before = time.time()
        try:
            seen = self._execute_module(module_name=LOOK, module_args=options, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            seen = {"unreachable": True, "msg": str(error)}
        after = time.time()
        if seen.get("unreachable") or "findings" not in seen:
            found = [self._lost(seen, address)]
        else:
            found = seen["findings"] + doctor_host.clock(before, seen["now"], after, seen["synchronized"])
        result.update(changed=False, findings=[dict(one, host=host) for one in found])
        return result

    @staticmethod
    def _lost(seen, address):
        """Return the finding of a host that could not be looked at."""
        why = " ".join(str(seen.get("msg") or seen.get("module_stderr") or "no answer").split())[:300]
        if seen.get("unreachable"):
            return doctor.finding("host.unreachable", "error", f"host {address}", why,
                                  "try ssh by hand with the user, port and key of the inventory; quayside.django.site --check tells which way in it finds")
        return doctor.finding("doctor.incomplete", "error", f"host {address}", why, "run the doctor again with -vvv; if it stays so, please report it")
