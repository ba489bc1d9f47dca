#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_report
short_description: Tell the findings of the doctor, and fail by them
version_added: 0.1.0
description:
  - Runs on the controller, once. Adds what the inventory alone tells to what M(quayside.django.doctor) found on the hosts.
options:
  looked:
    description: Name of the variable in which each host has what M(quayside.django.doctor) returned. Empty for the inventory alone.
    type: str
    default: ""
  app:
    description: Name of the app to look at; empty for all.
    type: str
    default: ""
  report:
    description: Path on the controller of a JSON file to write, for CI. Empty for none.
    type: path
    default: ""
  fail_on:
    description: The least severity that fails.
    type: str
    choices: [error, warning, never]
    default: error
attributes:
  check_mode:
    support: full
    description: Reports in every mode; the JSON file is written too.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The findings are told
  quayside.django.doctor_report:
    looked: looked
    report: doctor.json
    fail_on: warning
  run_once: true
"""

RETURN = r"""
findings:
  description: All findings, the worst first, as M(quayside.django.doctor) returns them.
  type: list
  elements: dict
  returned: when it does not fail; the JSON file has them in any case
counts:
  description: How many there are of each severity.
  type: dict
  returned: always
msg:
  description: All findings for people; when it fails, how many there are, since they stand above then.
  type: str
  returned: always
"""
