#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Exactly the declared rules in UFW
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Makes the rules of UFW the declared ones, sets the policies and switches it on, in one call. M(community.general.ufw) sets
    one rule a call and cannot know which rules nobody declared.
  - New rules come first and old ones go last, so that no wanted connection is refused in between.
  - It refuses rules that would shut out the SSH session that it runs in.
  - Where C(ufw) is not installed yet, check mode plans for an empty firewall.
options:
  rules:
    description: The rules. Everything else that comes in meets O(incoming).
    type: list
    elements: dict
    required: true
    suboptions:
      port:
        description:
          - Ports (V(80)) and ranges (V(8000:8010)), a rule of UFW for each. Without O(rules[].port) every port is meant, and an
            empty list is no rule.
        type: list
        elements: str
      proto:
        description: The protocol.
        type: str
        choices: [tcp, udp, any]
        default: tcp
      from:
        description: The addresses and networks that may come in, a rule of UFW for each. Empty, or V(any), is everybody.
        type: list
        elements: str
        default: []
      interface:
        description: Only what comes in by this interface, such as V(eth1).
        type: str
        default: ""
      action:
        description: V(limit) refuses an address that came six times in 30 seconds.
        type: str
        choices: [allow, limit]
        default: allow
      comment:
        description: What UFW shows beside the rule.
        type: str
        default: ""
  incoming:
    description: What happens to connections that come in and fit no rule.
    type: str
    choices: [deny, reject]
    default: deny
  outgoing:
    description: What happens to connections that go out.
    type: str
    choices: [allow, deny, reject]
    default: allow
  strays:
    description: What happens to rules of UFW that are not declared. They are named in the diff and in RV(strays) either way.
    type: str
    choices: [remove, report]
    default: remove
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
seealso:
  - module: community.general.ufw
    description: Single rules, applications and routes.
"""

EXAMPLES = r"""
- name: SSH from the office, HTTP from everywhere, nothing else
  quayside.django.firewall:
    rules:
      - {port: 22, from: 198.51.100.0/24, comment: ssh}
      - {port: [80, 443], comment: web}
"""

RETURN = r"""
strays:
  description: Rules of UFW that were not declared.
  type: list
  elements: str
  returned: always
commands:
  description: The C(ufw) commands that were run, or would be.
  type: list
  elements: str
  returned: always
"""

import os
import re
import shlex

from ansible_collections.quayside.django.plugins.module_utils import firewall, ssh_session
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

POLICY_WORDS = {"DROP": "deny", "REJECT": "reject", "ACCEPT": "allow"}


def policies(path="/etc/default/ufw"):
    """The default policies as UFW keeps them."""
    found = {}
    if os.path.exists(path):
        with open(path) as file:
            for key, value in re.findall(r'^DEFAULT_(INPUT|OUTPUT)_POLICY="?(\w+)', file.read(), re.M):
                found["incoming" if key == "INPUT" else "outgoing"] = POLICY_WORDS.get(value, value)
    return found


def enabled_at_boot(path="/etc/ufw/ufw.conf"):
    if not os.path.exists(path):
        return False
    with open(path) as file:
        return re.search(r"^ENABLED=yes", file.read(), re.M | re.I) is not None


def interface_of(module, address):
    """The name of the interface that has the address, or an empty string."""
    ip = module.get_bin_path("ip")
    if not ip or not address:
        return ""
    out = module.run_command([ip, "-o", "addr", "show", "to", address.split("%")[0]])[1]
    return out.split()[1] if out.strip() else ""


def main():
    rule = {
        "port": {"type": "list", "elements": "str"},
        "proto": {"type": "str", "choices": ["tcp", "udp", "any"], "default": "tcp"},
        "from": {"type": "list", "elements": "str", "default": []},
        "interface": {"type": "str", "default": ""},
        "action": {"type": "str", "choices": ["allow", "limit"], "default": "allow"},
        "comment": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "rules": {"type": "list", "elements": "dict", "required": True, "options": rule},
            "incoming": {"type": "str", "choices": ["deny", "reject"], "default": "deny"},
            "outgoing": {"type": "str", "choices": ["allow", "deny", "reject"], "default": "allow"},
            "strays": {"type": "str", "choices": ["remove", "report"], "default": "remove"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    ufw = module.get_bin_path("ufw")
    if not ufw and not module.check_mode:
        module.fail_json(msg="ufw is not installed. Next: apt-get install ufw")
    rules, remove = firewall.single(module.params["rules"]), module.params["strays"] == "remove"
    wanted = {direction: module.params[direction] for direction in ("incoming", "outgoing")}

    session = ssh_session.find()
    try:
        lets_in = not session.port or firewall.admits(rules, session.port, session.client, interface_of(module, session.server))
    except firewall.BadRule as error:
        module.fail_json(msg=str(error))
    if not lets_in:
        module.fail_json(msg="The declared rules would shut out this very session: no rule lets %s in to port %d. Next: add %s "
                             "to base_ssh_allow, or a rule for that port to base_firewall_rules."
                             % (session.client, session.port, session.client))

    now, active = [], False
    if ufw:
        _rc, out, _err = module.run_command([ufw, "show", "added"], check_rc=True)
        now = firewall.added(out)
        iptables = module.get_bin_path("iptables")
        # ufw may be on by its own file while somebody flushed the kernel's rules.
        active = enabled_at_boot() and bool(iptables) and module.run_command([iptables, "-nL", "ufw-user-input"])[0] == 0
    policies_now = policies()
    try:
        commands, strays = firewall.plan(rules, now, active, policies_now, wanted, remove)
    except firewall.BadRule as error:
        module.fail_json(msg=str(error))

    after = {tuple(firewall.words(rule)): rule["comment"] for rule in reversed(rules)}
    if not remove:
        after.update({tuple(one): comment for one, comment in now if tuple(one) not in after})
    result = {
        "changed": bool(commands),
        "strays": strays,
        "commands": [shlex.join(["ufw"] + command) for command in commands],
        "diff": {
            "before": firewall.shown(now, active, policies_now),
            "after": firewall.shown(after.items(), True, wanted),
            "before_header": "ufw", "after_header": "ufw",
        },
    }
    strangers = [shlex.join(one) for one, comment in now if shlex.join(one) in strays and comment != firewall.MOVING]
    if strangers:
        module.warn("Rules that nobody declared %s: %s" % ("are removed" if remove else "stay", "; ".join(strangers)))
    if not module.check_mode:
        for command in commands:
            rc, out, err = module.run_command([ufw] + command)
            if rc:
                module.fail_json(msg="%s failed: %s. Next: ufw status verbose" % (
                    shlex.join(["ufw"] + command), (err or out).strip()), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
