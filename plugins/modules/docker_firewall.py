#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_firewall
short_description: Only declared ports of containers are reached from outside
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Docker's own rules come before those of UFW, so that a published port is open whatever UFW says, and a port published on
    127.0.0.1 is reached by a neighbour that routes to the container's address.
  - This module keeps a chain of its own in C(DOCKER-USER), for IPv4 and IPv6, which drops what comes from outside to a container
    unless the client asked for a declared port. Private source addresses are nothing special.
  - The rules are in files that O(script) reads. Where the kernel's rules differ from them, because somebody flushed them, they
    are put in force again.
options:
  ports:
    description: The published ports that everybody may reach, such as V(443), V(443/udp) or V(8000:8010).
    type: list
    elements: str
    default: []
  rules:
    description: Published ports that only some may reach.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: Ports (V(80)) and ranges (V(8000:8010)) of the host. Without O(rules[].port) every published port is meant.
        type: list
        elements: str
      proto:
        description: The protocol.
        type: str
        choices: [tcp, udp, any]
        default: tcp
      from:
        description: The addresses and networks that may come in. Empty, or V(any), is everybody.
        type: list
        elements: str
        default: []
      interface:
        description: Only what comes in by this interface, such as V(eth1).
        type: str
        default: ""
      comment:
        description: What is written beside the rule.
        type: str
        default: ""
  outbound:
    description:
      - The apps in containers, as the filter P(quayside.django.apps#filter) returns them. Their containers reach the private networks in C(outbound.private).
      - All other private and link-local addresses are closed to every container, but for the host's name servers.
      - Fails before anything is changed when a URL among an app's variables leads to a name that is closed to it.
    type: list
    elements: dict
    default: []
  registries:
    description: Registries and mirrors, with their ports, that the builders of those apps reach also where they have private addresses.
    type: list
    elements: str
    default: []
  connections:
    description: Connections of one client, by IPv6 of its network of 64 bits, to a port that is declared for everybody. V(0) is any number.
    type: int
    default: 0
  connections_total:
    description: Connections of all clients to such a port. V(0) is any number.
    type: int
    default: 0
  exempt:
    description: Addresses and networks of load balancers, behind which many clients are. O(connections) does not hold for them.
    type: list
    elements: str
    default: []
  bridges:
    description: The interfaces of Docker's networks. V(br-+) is all that begin with C(br-).
    type: list
    elements: str
    default: [docker0, docker_gwbridge, br-+]
  script:
    description: The program that puts the rules in force, as C(docker.service) runs it at each start.
    type: path
    default: /usr/local/sbin/quayside-docker-firewall
  state:
    description: Whether there is such a chain.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
"""

EXAMPLES = r"""
- name: The web is public, a dashboard is for the office
  quayside.django.docker_firewall:
    ports: [80, 443]
    rules:
      - {port: [3000], from: [198.51.100.0/24], comment: dashboard}
"""

RETURN = r"""
restored:
  description: Whether the files were right and the kernel's rules were not, or would not be.
  type: bool
  returned: always
"""

import json
import os

from ansible_collections.quayside.django.plugins.module_utils import config_files, docker_firewall, docker_network, firewall, outbound
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

FILES = {4: "/etc/quayside/docker-firewall.iptables", 6: "/etc/quayside/docker-firewall.ip6tables"}
FOREIGN = ("/etc/ufw/after.rules", "/etc/ufw/after6.rules", "/etc/ufw/before.rules", "/etc/ufw/before6.rules")


def default_interfaces(module):
    """The interfaces of the default routes."""
    ip = module.get_bin_path("ip")
    found = []
    for family in ("-4", "-6") if ip else ():
        _rc, out, _err = module.run_command([ip, "-j", family, "route", "show", "default"])
        found += [route["dev"] for route in json.loads(out.strip() or "[]") if route.get("dev")]
    return found


def emptied_by(paths=FOREIGN):
    """The files of UFW that declare DOCKER-USER, and so empty it at each reload."""
    found = []
    for path in paths:
        if os.path.exists(path):
            with open(path) as file:
                if any(line.startswith(":DOCKER-USER") for line in file):
                    found.append(path)
    return found


def interfaces(app):
    """The interfaces of an app's networks, also before Docker is there."""
    try:
        return [docker_network.interface(Engine(), name) for name in [*docker_network.names(app), app["build_network"]]]
    except EngineError:
        return [docker_network.bridge(name) for name in [*docker_network.names(app), app["build_network"]]]


def check_input(module):
    bridges = module.params["bridges"]
    bad = docker_firewall.bad_bridge(bridges)
    if bad is not None:
        module.fail_json(msg="%r is no name of an interface. Next: correct docker_bridges" % bad)
    mistaken = docker_firewall.mistaken(bridges, default_interfaces(module))
    if mistaken:
        module.fail_json(msg="The default route goes by %s, which %s means too: whoever comes in there would pass for a container. Next: name "
                             "Docker's own interfaces in docker_bridges" % (", ".join(mistaken), ", ".join(bridges)))
    foreign = emptied_by()
    if foreign:
        module.fail_json(msg="%s declares the chain DOCKER-USER (as ufw-docker does), and so would empty it at each `ufw reload`. Next: take that "
                             "block out; the ports it opens belong in docker_published_ports" % " and ".join(foreign))


def main():
    rule = {
        "port": {"type": "list", "elements": "str"},
        "proto": {"type": "str", "choices": ["tcp", "udp", "any"], "default": "tcp"},
        "from": {"type": "list", "elements": "str", "default": []},
        "interface": {"type": "str", "default": ""},
        "comment": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "str", "default": []},
            "rules": {"type": "list", "elements": "dict", "default": [], "options": rule},
            "outbound": {"type": "list", "elements": "dict", "default": []},
            "registries": {"type": "list", "elements": "str", "default": []},
            "connections": {"type": "int", "default": 0},
            "connections_total": {"type": "int", "default": 0},
            "exempt": {"type": "list", "elements": "str", "default": []},
            "bridges": {"type": "list", "elements": "str", "default": ["docker0", "docker_gwbridge", "br-+"]},
            "script": {"type": "path", "default": "/usr/local/sbin/quayside-docker-firewall"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    present, script = module.params["state"] == "present", module.params["script"]
    if present:
        check_input(module)
        unreachable = [text for app in module.params["outbound"] for text in outbound.unreachable(app)]
        if unreachable:
            module.fail_json(msg=". ".join(unreachable))
    try:
        rules = docker_firewall.declared(module.params["ports"], module.params["rules"]) if present else []
        opened = [rule for app in module.params["outbound"] for rule in outbound.rules(app, interfaces(app))]
        registries = outbound.registries(module.params["registries"])
        opened += [dict(one, interface=docker_network.bridge(app["build_network"])) for app in module.params["outbound"] for one in registries]
    except firewall.BadRule as error:
        module.fail_json(msg="%s. Next: correct docker_published_ports or docker_firewall_rules" % error)

    limits = {"each": module.params["connections"], "total": module.params["connections_total"], "exempt": module.params["exempt"]}
    todo = []
    for family, path in FILES.items():
        before, after = config_files.read(path), config_files.ABSENT
        if present:
            text = docker_firewall.text(rules, module.params["bridges"], family, opened, outbound.resolvers(), limits)
            after = config_files.State(text.encode(), 0o644, "root", "root")
        if before != after:
            todo.append((path, before, after))
    installed = os.path.exists(script) and bool(module.get_bin_path("iptables"))
    restored = present and installed and not todo and module.run_command([script, "check"])[0] != 0
    diffs = [config_files.diff(*one) for one in todo]
    if restored:
        diffs.append({"before": "", "after": "the chain %s is in force again\n" % docker_firewall.CHAIN, "after_header": "the kernel's rules"})
    result = {"changed": bool(todo) or restored, "restored": restored, "diff": diffs}
    if result["changed"] and not module.check_mode:
        act(module, todo, installed, present, result)
    module.exit_json(**result)


def act(module, todo, installed, present, result):
    """Write the files and put them in force; when that fails the files are as they were, and so are the kernel's rules."""
    script = module.params["script"]
    for path, _before, after in todo:
        config_files.write(path, after)
    if not installed:
        if present:
            module.fail_json(msg="iptables or %s is not there: the rules are written, and not in force. Next: apt-get install iptables" % script, **result)
        return
    rc, out, err = module.run_command([script, "apply" if present else "remove"])
    if rc:
        for path, before, _after in todo:
            config_files.write(path, before)
        module.run_command([script, "apply"])
        module.fail_json(msg="The rules for containers are not accepted, the former ones stay: %s. Next: %s apply" % ((err or out).strip(), script), **result)


if __name__ == "__main__":
    main()
