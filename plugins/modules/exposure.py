#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: exposure
short_description: Fail when what answers from outside is not what was declared
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Asks TCP and UDP ports of the host from the controller, over IPv4 and IPv6, adds what other machines found by M(quayside.django.port_scan), and compares
    it with the declared doors. It runs on the controller and changes nothing.
  - Fails with every finding at once, each with the item, the reason and what to do.
  - A port that answers and nobody declared is C(extra), also where somebody else may reach it and this machine may not. A declared port that does not
    answer is C(missing). A firewall of the host that is off is C(open).
  - Silence of a UDP port proves nothing. A declared one counts as missing where the host says that nobody listens, and where port 443 answers no QUIC.
options:
  host:
    description: What M(quayside.django.listeners) returned.
    type: dict
    required: true
  doors:
    description: The rules of the host's firewall, as for M(quayside.django.firewall).
    type: list
    elements: dict
    required: true
  published:
    description: The ports that containers may publish for everybody, as for M(quayside.django.docker_firewall).
    type: list
    elements: str
    default: []
  container_doors:
    description: The rules for ports of containers, as for M(quayside.django.docker_firewall).
    type: list
    elements: dict
    default: []
  others:
    description: Results of M(quayside.django.port_scan) on other machines, each with C(asker), the name of the machine.
    type: list
    elements: dict
    default: []
  firewall:
    description: Whether UFW has to be on.
    type: bool
    default: true
  strays:
    description: Whether rules of UFW that nobody declared are findings.
    type: bool
    default: true
  container_firewall:
    description: Whether the chain of M(quayside.django.docker_firewall) has to be in force, where it is installed.
    type: bool
    default: true
  addresses:
    description: Names and addresses that the host is reached by, besides its own.
    type: list
    elements: str
    default: []
  sources:
    description: Addresses of the controller to ask from. Empty is the one that its routes choose.
    type: list
    elements: str
    default: []
  controller:
    description: Whether the controller asks too.
    type: bool
    default: true
  all:
    description: Whether all 65535 TCP ports are asked.
    type: bool
    default: false
  more:
    description: Further ports to ask.
    type: list
    elements: str
    default: []
  silent:
    description: Declared ports that need not answer.
    type: list
    elements: str
    default: []
  late:
    description: Ports on which nothing may listen yet.
    type: list
    elements: int
    default: []
  seconds:
    description: How long an answer may take.
    type: float
    default: 1.5
  unproven:
    description: What happens where no machine could ask the host, or one of those that were to ask could not.
    type: str
    choices: [fail, warn]
    default: fail
  findings:
    description: What happens with findings.
    type: str
    choices: [fail, warn]
    default: fail
attributes:
  check_mode:
    description: Asks all the same; it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: What answers is what was declared
  quayside.django.exposure:
    host: "{{ listening }}"
    doors:
      - {port: [22], from: [198.51.100.0/24]}
      - {port: [80, 443]}
"""

RETURN = r"""
findings:
  description: Each with C(kind) (extra, missing or open), C(item), C(reason), C(fix) and C(seen), the addresses and machines that saw it.
  type: list
  elements: dict
  returned: always
roads:
  description: What was asked from where, and what answered.
  type: list
  elements: str
  returned: always
notes:
  description: What could not be told, and why.
  type: list
  elements: str
  returned: always
proven:
  description: Whether any machine could ask.
  type: bool
  returned: always
"""
