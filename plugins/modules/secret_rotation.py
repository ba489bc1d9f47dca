#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: secret_rotation
short_description: Change a secret in the vault file, in steps that a server can follow
version_added: 0.1.0
description:
  - Runs on the controller. The role P(quayside.django.app#role) puts its steps together in C(tasks/rotate.yml), with M(quayside.django.rotation) and deploys
    between them; use that.
  - The file holds at each moment what the server uses, or both values. Each write is whole or not at all, and encrypted as before.
options:
  step:
    description:
      - C(plan) says what changes, makes or asks for the new values, and finds a rotation that was interrupted. Nothing is written.
      - C(stage) writes NAME_NEXT. C(abort) takes SECRET_KEY_NEXT out, which the settings do not read.
      - C(commit) makes NAME_NEXT the value, and the old one NAME_PREVIOUS and, of SECRET_KEY, the first of SECRET_KEY_FALLBACKS.
      - C(finish) takes NAME_PREVIOUS out.
    type: str
    required: true
    choices: [plan, stage, abort, commit, finish]
  app:
    description: Name of the app. Empty when there is only one.
    type: str
    default: ""
  secret:
    description: With C(plan), the secret, or C(all).
    type: str
    default: ""
  value_file:
    description: With C(plan), a file that holds the new value. Without it the value is made or asked for.
    type: path
    default: ""
  new:
    description: With the other steps, name to new value, as C(plan) has returned them.
    type: dict
    default: {}
  keep:
    description: With C(commit), the most keys in SECRET_KEY_FALLBACKS.
    type: int
    default: 2
attributes:
  check_mode:
    support: partial
    description: C(plan) changes nothing in any mode.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: What changes is known
  quayside.django.secret_rotation:
    step: plan
    secret: SECRET_KEY
  run_once: true
  register: plan
"""

RETURN = r"""
lines:
  description: With C(plan), what changes, for people.
  type: list
  elements: str
  returned: success
at:
  description: With C(plan), the step to go on with, C(prepare), C(stage) or C(commit).
  type: str
  returned: success
new:
  description: With C(plan), name to new value; secret.
  type: dict
  returned: success
passwords:
  description: With C(plan), name to C(old) and C(new); secret.
  type: dict
  returned: success
variables:
  description: With the other steps, the variables of the file as they are now; secret.
  type: dict
  returned: success
"""
