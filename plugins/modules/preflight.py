#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Refuse a wrong inventory or app model before anything changes
version_added: 0.1.0
description:
  - Runs on the controller and touches no host. Every playbook begins with it, by C(quayside.django.preflight-inventory).
  - Refuses hosts of two environments at once, hosts that are not in their environment's group, the controller itself as a target, an unknown app,
    a model with mistakes, missing secrets, and DEBUG outside the environments that may have it.
  - All findings are reported at once, each with the item, the reason and what to do. They are those of the doctor (docs/doctor.md) that need no host.
options:
  app:
    description: Name of the app that the play is about; empty for all.
    type: str
    default: ""
  one:
    description: The play is about one app, so with several its name has to be given.
    type: bool
    default: false
  allow_localhost:
    description: Let the machine that runs Ansible be a target.
    type: bool
    default: false
  report:
    description: Path of a JSON file to write when it refuses, as M(quayside.django.doctor_report) writes it. Empty for none.
    type: path
    default: ""
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
- name: The inventory and the apps are sound
  quayside.django.preflight:
    app: shop
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: C(django_run) with C(id), C(who) and C(stamp) of this run, and C(command), the whole text of C(-e command=…).
  type: dict
  returned: success
findings:
  description: What was found, as M(quayside.django.doctor) returns it.
  type: list
  elements: dict
  returned: always
warnings:
  description: What is allowed but not wise.
  type: list
  elements: str
  returned: always
"""
