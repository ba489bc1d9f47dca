# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the ports of a host from the controller, and judge what it and others found."""
from __future__ import annotations

import ipaddress
import subprocess

from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import exposure, firewall, port_scan, printed

SPEC = {
    "host": {"type": "dict", "required": True},
    "doors": {"type": "list", "elements": "dict", "required": True},
    "published": {"type": "list", "elements": "str", "default": []},
    "container_doors": {"type": "list", "elements": "dict", "default": []},
    "others": {"type": "list", "elements": "dict", "default": []},
    "firewall": {"type": "bool", "default": True},
    "strays": {"type": "bool", "default": True},
    "container_firewall": {"type": "bool", "default": True},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "sources": {"type": "list", "elements": "str", "default": []},
    "controller": {"type": "bool", "default": True},
    "all": {"type": "bool", "default": False},
    "more": {"type": "list", "elements": "str", "default": []},
    "silent": {"type": "list", "elements": "str", "default": []},
    "late": {"type": "list", "elements": "int", "default": []},
    "seconds": {"type": "float", "default": 1.5},
    "unproven": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
    "findings": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
}
ROAD = ("No machine could ask this host's ports, so nothing of its firewall was proven from outside. Next: have another host of the inventory ask, "
        "-e '{\"exposure_from\": [\"NAME\"]}'; or switch the check off, exposure_check: false")


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec=SPEC)
        host, name = args["host"], (task_vars or {}).get("inventory_hostname", "")
        try:
            doors = exposure.doors(args["doors"], args["published"], args["container_doors"])
        except firewall.BadRule as error:
            return dict(result, failed=True, msg="%s. Next: correct base_firewall_rules or docker_firewall_rules" % error)
        self.notes = []
        views = [self._controller(args, host, exposure.ports(doors, host, args["more"]))] if args["controller"] else []
        mute = ["%s could not ask: %s. Next: correct exposure_from, or see why Ansible does not reach it" % (one.get("asker"), one.get("msg"))
                for one in args["others"] if "scans" not in one]
        views += [{"name": one["asker"], "source": {}, "scans": one["scans"]} for one in args["others"] if "scans" in one]
        verdict = exposure.judge(doors, host, views, {
            "firewall": args["firewall"], "strays": args["strays"], "late": args["late"], "silent": args["silent"],
            "chain": args["container_firewall"] and host["chain"]["installed"]})
        notes = self.notes + verdict["notes"]
        result.update(changed=False, findings=verdict["findings"], notes=notes, roads=verdict["roads"], proven=verdict["proven"], warnings=[])
        result["msg"] = "what answers at %s is what was declared" % name
        wrong = mute + ([] if verdict["proven"] else [ROAD + "".join("\n- " + note for note in notes)])
        if wrong and args["unproven"] == "warn":
            result["warnings"], wrong = wrong, []
        if verdict["findings"]:
            wrong.append(exposure.told(verdict, name) + "".join("\n  %s" % note for note in notes))
        if wrong and args["findings"] == "warn":
            result["warnings"] = result["warnings"] + wrong
        elif wrong:
            result.update(failed=True, msg="\n".join(wrong))
        return result

    def _controller(self, args, host, ports):
        """Ask from this machine."""
        target, direct = self._target()
        more = [address for one in args["addresses"] for address in port_scan.resolve(one)]
        addresses, left = exposure.targets(port_scan.resolve(target) if target else [], [one["address"] for one in host["addresses"]], more, direct)
        self.notes += ["%s is private%s, and was not asked, for it may be another machine's here. Next: exposure_addresses, or exposure_from"
                       % (one, "" if direct else " and behind another machine") for one in left]
        roads = [(address, source) for address in addresses for source in args["sources"] or [""] if not source or (":" in source) == (":" in address)]
        again = {(one.partition("/")[2] or "tcp", int(one.partition("/")[0])) for one in ports["again"]}
        tcp = range(1, 65536) if args["all"] else ports["tcp"]
        client, told = host["client"]["address"], {}
        # Behind a jump host the session comes from there, and not from here.
        if client and direct and not args["sources"]:
            told[ipaddress.ip_address(client.split("%")[0]).version] = client
        return {"name": exposure.CONTROLLER, "source": told, "scans": port_scan.scan(roads, tcp, ports["udp"], args["seconds"], again)}

    def _target(self):
        """The name or address that ssh goes to, empty without ssh, and whether it goes there without a machine in between."""
        connection = self._connection
        if connection.transport not in ("ssh", "ansible.builtin.ssh"):
            return "", True
        host = connection.get_option("host") or self._play_context.remote_addr
        argv = [connection.get_option("ssh_executable"), "-G"]
        for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            argv += connection._split_ssh_args(connection.get_option(option) or "")
        try:
            shown = subprocess.run(argv + ["--", host], capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return host, True
        config = dict(line.partition(" ")[::2] for line in shown.splitlines())
        return config.get("hostname", host), config.get("proxyjump", "none") == "none" and config.get("proxycommand", "none") == "none"
