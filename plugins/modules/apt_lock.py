#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: apt_lock
short_description: Wait until nobody else installs packages
description:
  - Waits for apt's and dpkg's locks, says for whom, and brings apt's binding for Python, which M(ansible.builtin.apt) needs and
    would install without waiting.
  - A fresh server of a cloud installs its updates for some minutes after its start.
version_added: 0.1.0
author: Quayside developers (@quayside)
options:
  timeout:
    description: Seconds to wait at most.
    type: int
    default: 300
attributes:
  check_mode:
    description: Nothing is waited for, and nothing is installed.
    support: full
  diff_mode:
    description: It changes no file.
    support: none
"""

EXAMPLES = r"""
- name: Nobody else installs packages
  quayside.django.apt_lock:
"""

RETURN = r"""
waited_for:
  description: The processes that were waited for.
  type: list
  elements: str
  returned: success
seconds:
  description: How long it took.
  type: float
  returned: success
"""

import importlib.util
import os
import subprocess

from ansible_collections.quayside.django.plugins.module_utils import apt_lock
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

BINDING = "python3-apt"


def binding_is_there() -> bool:
    """Return True when the system's Python has apt's binding; Ansible itself may run in another one."""
    if importlib.util.find_spec("apt"):
        return True
    return subprocess.run(["/usr/bin/python3", "-c", "import apt"], check=False, capture_output=True).returncode == 0


def main():
    module = AnsibleModule(argument_spec={"timeout": {"type": "int", "default": 300}}, supports_check_mode=True)
    timeout = module.params["timeout"]
    if module.check_mode:
        module.exit_json(changed=False, waited_for=[], seconds=0.0)
    free, waited, seconds = apt_lock.wait(timeout)
    if not free:
        module.fail_json(msg="%s has held the lock of apt for %d s, so no package can be installed: wait until it has ended (on the host: journalctl -f -u "
                             "'apt-daily*'), then run this again" % (" and ".join(waited), seconds))
    if waited:
        module.warn("waited %d s for %s, which installed packages" % (seconds, " and ".join(waited)))
    changed = not binding_is_there()
    if changed:
        options = ["-o", "DPkg::Lock::Timeout=%d" % timeout, "-o", "Acquire::Retries=3"]
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", BINDING]):
            done = subprocess.run(["apt-get", *options, *words], check=False, capture_output=True, text=True, errors="replace", env=env)
            if done.returncode and words[0] == "install":
                module.fail_json(msg="%s cannot be installed: %s. Next, on the host: apt-get update; apt-get install %s"
                                     % (BINDING, (done.stderr.strip() or done.stdout.strip()).splitlines()[-1], BINDING))
    module.exit_json(changed=changed, waited_for=waited, seconds=seconds)


if __name__ == "__main__":
    main()
