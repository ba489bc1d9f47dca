#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Django commands of the live release."""
from __future__ import annotations

DOCUMENTATION = r"""
module: manage
short_description: Run a manage.py command in the live release of an app
version_added: 0.1.0
description:
  - Runs a command as the app's user, with the env, the venv and the sandbox of the live release and a time limit, and returns what it printed.
  - Tells the truth about C(changed) for the commands of Django that it knows; any other command counts as a change.
extends_documentation_fragment:
  - quayside.django.app
options:
  command:
    description: Arguments of manage.py, as in a shell.
    type: str
    required: true
  timeout:
    description: Seconds after which the command is ended, and the task fails.
    type: int
    default: 900
attributes:
  check_mode:
    support: partial
    description: Commands that only read run. For C(migrate) the plan is shown. Others are not run.
  diff_mode:
    support: partial
    description: For C(migrate), the plan.
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The migrations are listed
  quayside.django.manage:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    command: showmigrations --plan
  become: true

- name: Old sessions are removed
  quayside.django.manage:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    command: clearsessions
    timeout: 60
  become: true
"""

RETURN = r"""
stdout:
  description: What the command printed, errors included.
  type: str
  returned: always
rc:
  description: Its exit status.
  type: int
  returned: when it ran
release:
  description: The release in which it ran.
  type: str
  returned: always
"""

import os
import shlex
import subprocess

from ansible_collections.quayside.django.plugins.module_utils import host, manage_command, releases
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            "command": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    app = module.params["app"]
    try:
        argv = shlex.split(module.params["command"])
    except ValueError as error:
        module.fail_json(msg=f"command {module.params['command']!r} cannot be read as a shell line: {error}", release="", stdout="")
    if not argv:
        module.fail_json(msg='command is empty: add -e command="showmigrations"', release="", stdout="")
    shelf = releases.Shelf(app["root"])
    live = shelf.live()
    if not live:
        if module.check_mode:
            module.exit_json(changed=False, release="", stdout="no release is live yet: nothing would run", rc=0)
        module.fail_json(msg=f"no release of {app['name']} is live here: run quayside.django.deploy first", release="", stdout="")
    plan = module.check_mode and argv[0] == "migrate"
    if plan:
        argv = [*argv, "--plan"]
    if module.check_mode and not plan and not manage_command.reads_only(argv):
        module.exit_json(changed=True, release=live, stdout=f"not run in check mode: {' '.join(argv)}")
    runtime = RUNTIMES[app["runtime"]](app, shelf)
    name = f"manage-{argv[0][:20]}-{os.getpid()}"
    command = runtime.one_off(live, runtime.manage_argv(live, argv), name, module.params["timeout"])
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=host.LOCALE,
                          text=True, errors="replace")
    output = done.stdout.strip()
    if done.returncode:
        last = output.splitlines()[-1] if output else "it printed nothing; perhaps its time was over"
        module.fail_json(msg=f"manage.py {' '.join(argv)} failed with {done.returncode}: {last}", rc=done.returncode, stdout=output, release=live)
    changed = manage_command.planned(output) if plan else manage_command.changed(argv, output)
    diff = {"before": "", "after": output + "\n"} if plan and changed else {}
    module.exit_json(changed=changed, rc=0, stdout=output, release=live, diff=diff)


if __name__ == "__main__":
    main()
