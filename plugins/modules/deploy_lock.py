#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of an app on a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Hold, free or look at the deploy lock of an app
version_added: 0.1.0
description:
  - Two runs never change the same app at once. The lock is a lease in C(lock) under the app's root, which says who holds it, since when and in
    which phase. It is stale, and is taken over, when nobody works under it and it was not renewed for 60 seconds, or when the host has started since.
options:
  root:
    description: The app's root.
    type: path
    required: true
  state:
    description:
      - C(held) takes the lock, or renews one's own; it fails when another run holds it.
      - C(free) frees the lock if this run holds it, with O(force) whoever holds it.
    type: str
    choices: [held, free]
    default: held
  run:
    description: Id of the run.
    type: str
    required: true
  who:
    description: Who runs it, for the message that others get.
    type: str
    default: somebody
  force:
    description: Free the lock of another run, too; but never while that run works on this host.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says whether the lock would be taken or freed; fails where it would fail.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: Nobody deploys the shop while we restore it
  quayside.django.deploy_lock:
    root: /opt/shop
    run: "{{ ansible_facts.django_run.id }}"
    who: "{{ ansible_facts.django_run.who }}"
  become: true

- name: Free what a run left that will not come back
  quayside.django.deploy_lock:
    root: /opt/shop
    state: free
    force: true
    run: "{{ ansible_facts.django_run.id }}"
  become: true
"""

RETURN = r"""
holder:
  description: The lease that was found, with C(run), C(who), C(since), C(renewed) (seconds of the epoch) and C(phase); empty when the lock was free.
  type: dict
  returned: always
taken_over:
  description: Why an older lease was taken over; empty when there was none.
  type: str
  returned: success
"""

import os
import time

from ansible_collections.quayside.django.plugins.module_utils.lock import Lock, LockedError, host_started, refusal, stale
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
            "run": {"type": "str", "required": True},
            "who": {"type": "str", "default": "somebody"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    root = module.params["root"]
    if not os.path.isdir(root):
        module.fail_json(msg=f"{root} is not there: run quayside.django.site for this host first", holder={})
    lock = Lock(f"{root}/lock", module.params["run"], module.params["who"])
    holder, busy = lock.read(), lock.busy()
    mine = holder.get("run") == module.params["run"]
    if module.params["state"] == "free":
        if busy and not mine:
            module.fail_json(msg=f"not freed: {refusal(holder, busy, time.time())}", holder=holder)
        free = bool(holder) and (mine or module.params["force"])
        if free and not module.check_mode:
            Lock(lock.path, holder["run"]).release()
        module.exit_json(changed=free, holder=holder, taken_over="")
    if module.check_mode:
        if holder and not mine and not stale(holder, busy, time.time(), host_started()):
            module.fail_json(msg=refusal(holder, busy, time.time()), holder=holder)
        module.exit_json(changed=not mine, holder=holder, taken_over="")
    try:
        taken_over = lock.acquire("held")
    except LockedError as error:
        module.fail_json(msg=str(error), holder=error.holder)
    lock.close()
    module.exit_json(changed=not mine, holder=holder, taken_over=taken_over)


if __name__ == "__main__":
    main()
