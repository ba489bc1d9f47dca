#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: listeners
short_description: What a host says of its open ports
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Reads which programs listen at which addresses and ports, what containers publish, where NAT leads ports elsewhere, the addresses of the
    host, and whether the firewalls of this collection are in force. It changes nothing.
  - What can be reached from outside is another question, which M(quayside.django.port_scan) asks.
attributes:
  check_mode:
    description: Reads all the same.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: What listens is known
  quayside.django.listeners:
  become: true
"""

RETURN = r"""
listeners:
  description: Each with C(proto), C(address), C(port), C(process), C(pid), C(unit) and C(container); the last four are empty where nothing is known.
  type: list
  elements: dict
  returned: always
published:
  description: Ports that containers publish, each with C(container), C(proto), C(address) and C(port).
  type: list
  elements: dict
  returned: always
redirected:
  description: Ports that NAT leads elsewhere, each with C(proto) and C(port).
  type: list
  elements: dict
  returned: always
addresses:
  description: The host's addresses with C(interface); no loopback and no bridges of containers.
  type: list
  elements: dict
  returned: always
client:
  description: The address that the host sees this session come from, and the one that it came to (C(server)). Empty without SSH.
  type: dict
  returned: always
ufw:
  description: Of UFW, C(installed), C(active), C(incoming) (deny, reject or allow) and C(rules), lists of the words after C(ufw).
  type: dict
  returned: always
chain:
  description: Of the chain of M(quayside.django.docker_firewall), whether it is C(installed) and C(active).
  type: dict
  returned: always
"""

import json
import os
import re

from ansible_collections.quayside.django.plugins.module_utils import firewall, listeners, ssh_session
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

CHAIN = "/usr/local/sbin/quayside-docker-firewall"


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def owners(wanted, proc="/proc"):
    """Who holds sockets.

    :param wanted: set of inodes, str
    :returns: dict of inode to dict of process, pid, unit and container
    """
    found = {}
    for pid in filter(str.isdigit, os.listdir(proc)):
        if len(found) == len(wanted):
            break
        folder = "%s/%s/fd" % (proc, pid)
        try:
            handles = os.listdir(folder)
        except OSError:
            continue
        for handle in handles:
            try:
                link = re.fullmatch(r"socket:\[(\d+)\]", os.readlink("%s/%s" % (folder, handle)))
            except OSError:
                continue
            if link and link.group(1) in wanted and link.group(1) not in found:
                unit, container = listeners.unit(read("%s/%s/cgroup" % (proc, pid)))
                found[link.group(1)] = {"process": read("%s/%s/comm" % (proc, pid)).strip(), "pid": int(pid), "unit": unit, "container": container}
    return found


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}

    def said(*argv):
        path = module.get_bin_path(argv[0]) if not argv[0].startswith("/") else argv[0]
        if not path or not os.path.exists(path):
            return ""
        rc, out, _err = module.run_command([path] + list(argv[1:]))
        return out if rc == 0 else ""

    waiting = [one for proto in ("tcp", "udp") for suffix in ("", "6") for one in listeners.sockets(read("/proc/net/%s%s" % (proto, suffix)), proto)]
    known = owners({one["inode"] for one in waiting})
    nobody = {"process": "", "pid": 0, "unit": "", "container": ""}
    shown = [dict({key: one[key] for key in ("proto", "address", "port")}, **known.get(one["inode"], nobody)) for one in waiting]
    session = ssh_session.find()
    docker = module.get_bin_path("docker") and os.path.exists("/run/docker.sock")
    module.exit_json(
        changed=False,
        listeners=[one for number, one in enumerate(shown) if one not in shown[:number]],
        published=listeners.published(said("docker", "ps", "--format", "{{.Names}}\t{{.Ports}}")) if docker else [],
        redirected=listeners.redirected(said("iptables", "-t", "nat", "-S") + said("ip6tables", "-t", "nat", "-S")),
        addresses=listeners.addresses(json.loads(said("ip", "-j", "address") or "[]")),
        client={"address": session.client, "server": session.server},
        ufw=dict(listeners.ufw(said("ufw", "status", "verbose")), installed=bool(module.get_bin_path("ufw")),
                 rules=[words for words, _comment in firewall.added(said("ufw", "show", "added"))]),
        chain={"installed": os.path.exists(CHAIN), "active": os.path.exists(CHAIN) and module.run_command([CHAIN, "check"])[0] == 0},
    )


if __name__ == "__main__":
    main()
