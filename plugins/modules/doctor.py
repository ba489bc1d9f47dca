#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Look for what is wrong with a host and the apps that are live on it
version_added: 0.1.0
description:
  - Reads C(django_apps), looks at the host in one go, and asks the live release of each app for its settings, in its own Python and env.
  - Fails never. M(quayside.django.doctor_report) tells the findings of all hosts together, and fails by them.
  - Changes nothing on the host. A host without a login is a finding, and so is one where nothing is set up yet.
options:
  app:
    description: Name of the app to look at; empty for all.
    type: str
    default: ""
  addresses:
    description: Addresses that lead to the host beside those of its interfaces and the one that the inventory has, such as those of a proxy, a CDN or NAT.
    type: list
    elements: str
    default: []
  resolver:
    description: Name server to ask for domains, as C(address) or C(address:port). Empty for those in the host's C(/etc/resolv.conf).
    type: str
    default: ""
  certificate_days:
    description: Days of life below which a certificate is a warning.
    type: int
    default: 21
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The host is looked at
  quayside.django.doctor:
    certificate_days: 30
  become: true
  register: looked
"""

RETURN = r"""
findings:
  description: What was found. docs/doctor.md explains the codes.
  type: list
  elements: dict
  returned: always
  contains:
    code:
      description: Its kind, a name that stays the same.
      type: str
    severity:
      description: C(error), C(warning) or C(note).
      type: str
    host:
      description: The host in the inventory; empty for what the inventory alone tells.
      type: str
    app:
      description: The app; empty for what is not about one.
      type: str
    item:
      description: What it is about.
      type: str
    reason:
      description: What is wrong with it.
      type: str
    fix:
      description: What to do.
      type: str
"""
