#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: port_scan
short_description: Ask which ports of a host answer
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Asks TCP and UDP ports of a host, from the machine that the module runs on, all at once. It needs no rights and no nmap.
  - A UDP port is asked by the usual protocol of its number (QUIC, DNS, NTP, SNMP), else with an empty line. Most services that get what they do not
    know say nothing, so that silence of a UDP port proves nothing.
options:
  host:
    description: Names and addresses, IPv4 and IPv6. Each is asked once.
    type: list
    elements: str
    required: true
  tcp:
    description: The TCP ports.
    type: list
    elements: int
    default: []
  udp:
    description: The UDP ports.
    type: list
    elements: int
    default: []
  all:
    description: Asks all 65535 TCP ports, not only those of O(tcp). It takes about half a minute for each address.
    type: bool
    default: false
  again:
    description: Ports such as V(443) and V(443/udp) that are asked a second time before they count as silent.
    type: list
    elements: str
    default: []
  sources:
    description: Addresses of the machine to ask from, one after the other. An empty one, and an empty list, is the one that the routes choose.
    type: list
    elements: str
    default: []
  seconds:
    description: How long an answer may take.
    type: float
    default: 1.5
attributes:
  check_mode:
    description: Asks all the same; it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: What answers at the web server is known
  quayside.django.port_scan:
    host: [www.example.com]
    tcp: [22, 80, 443, 5432]
    udp: [443]
  delegate_to: localhost
"""

RETURN = r"""
scans:
  description:
    - For each address and source, C(address), C(source) (empty where no road leads to the address), and C(tcp) and C(udp), each a dict of port to
      V(open), V(quic), V(closed) (the host's kernel says that nobody listens) or V(refused). Ports that said nothing are left out.
  type: list
  elements: dict
  returned: always
unknown:
  description: Names that mean no address here.
  type: list
  elements: str
  returned: always
seconds:
  description: How long it took.
  type: float
  returned: always
"""

import time

from ansible_collections.quayside.django.plugins.module_utils import port_scan
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "list", "elements": "str", "required": True},
            "tcp": {"type": "list", "elements": "int", "default": []},
            "udp": {"type": "list", "elements": "int", "default": []},
            "all": {"type": "bool", "default": False},
            "again": {"type": "list", "elements": "str", "default": []},
            "sources": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "float", "default": 1.5},
        },
        supports_check_mode=True,
    )
    params, began = module.params, time.monotonic()
    tcp = range(1, 65536) if params["all"] else sorted(set(params["tcp"]))
    again = {(one.partition("/")[2] or "tcp", int(one.partition("/")[0])) for one in params["again"]}
    known = {name: port_scan.resolve(name) for name in params["host"]}
    addresses = dict.fromkeys(address for found in known.values() for address in found)
    roads = [(address, source) for address in addresses for source in params["sources"] or [""] if not source or (":" in source) == (":" in address)]
    scans = port_scan.scan(roads, tcp, sorted(set(params["udp"])), params["seconds"], again)
    module.exit_json(changed=False, scans=scans, unknown=[name for name, found in known.items() if not found], seconds=round(time.monotonic() - began, 2))


if __name__ == "__main__":
    main()
