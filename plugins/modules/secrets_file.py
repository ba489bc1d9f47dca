#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: secrets_file
short_description: Make the secrets that are missing, in the environment's vault file
version_added: 0.1.0
description:
  - Runs on the controller and touches no host, so the hosts need not be there yet.
  - Knows from the app model which secrets each app needs, and from the text of C(django_apps) under which variable the app reads them. Makes those that are
    missing, of letters and digits, 64 for SECRET_KEY and 32 for others, and writes them into the file that holds the variable, or into
    C(group_vars/<environment>/vault.yml).
  - What is in the file stays as it is, with its order and its comments. The file is encrypted as it was before, with the same vault id and password; a new one
    with the vault id of the environment's name, the one of E(ANSIBLE_VAULT_ENCRYPT_IDENTITY), or the only one that is given. SOPS files are written by C(sops).
  - A file in the clear is refused. Plain text is never written to a disk.
options:
  path:
    description: The file, where it is another one.
    type: path
    default: ""
  encrypt:
    description: Encrypt a file that is in the clear, together with what is added.
    type: bool
    default: false
  also:
    description: Names of secrets to make beside those that the model asks for, such as a REDIS_PASSWORD for a cache in a container.
    type: list
    elements: str
    default: []
  length:
    description: Characters of what O(also) names and what is made; 0 for the usual 32.
    type: int
    default: 0
  value_file:
    description: A file on the controller with the value of the one secret that O(also) names, such as a token. Without it a value is made.
    type: path
    default: ""
  app:
    description: The app that O(also) is for. Empty for all.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says which secrets it would make, and whether it could encrypt them.
  diff_mode:
    support: full
    description: Shows names, never values.
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: All secrets that can be made are in the vault file
  quayside.django.secrets_file:
  run_once: true
"""

RETURN = r"""
made:
  description: The places of the new secrets, C(variable.NAME).
  type: list
  elements: str
  returned: success
  sample: [vault_shop.SECRET_KEY]
ask:
  description: "Secrets that only a person can know, C(app: NAME)."
  type: list
  elements: str
  returned: success
files:
  description: The files that were written.
  type: list
  elements: str
  returned: success
lines:
  description: All of it for people.
  type: list
  elements: str
  returned: success
"""
