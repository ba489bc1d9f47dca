#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Files of one component, made known to what reads them
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Writes the files of a component, and where one of them changed, runs the commands that make it known. Units are on.
  - One call does what a task for each file, a handler and a task for the service would do. A handler is lost when the
    controller dies between the file and the end of the play, and the next run sees nothing to do; here the command belongs to
    the file. When a command fails, the files are put back, so that the next run tries again.
options:
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is. Missing folders are made.
        type: path
        required: true
      content:
        description: What is in it.
        type: str
        default: ""
      state:
        description: Whether there is such a file.
        type: str
        choices: [present, absent]
        default: present
      mode:
        description: Its mode, as a quoted octal number.
        type: str
        default: "0644"
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      validate:
        description: A command that has to accept the new file before it is put in place. V(%s) is its path.
        type: list
        elements: str
        default: []
      secret:
        description: Keep the content out of the diff.
        type: bool
        default: false
  apply:
    description:
      - Commands to run in this order when a file changed. Where the program of one is not installed, it and those after it are
        passed over. So a file can be there before its package, which then never starts without it.
    type: list
    elements: list
    default: []
  modes:
    description: Paths that lose the rights which their mode does not have. What is not there, and what is stricter already, is left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: A path, or a pattern of the shell for several. Links are passed over.
        type: path
        required: true
      mode:
        description: The most that it may have, as a quoted octal number.
        type: str
        required: true
  units:
    description: Units of systemd that run and start at boot.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Says what it would do. A validator that is not installed yet is passed over.
    support: full
  diff_mode:
    description: Shows each file that differs.
    support: full
"""

EXAMPLES = r"""
- name: The journal is limited
  quayside.django.config_files:
    files:
      - path: /etc/systemd/journald.conf.d/quayside.conf
        content: "{{ lookup('ansible.builtin.template', 'etc/systemd/journald.conf.d/quayside.conf.j2') }}"
    apply:
      - [systemctl, restart, systemd-journald]
"""

RETURN = r"""
changed_files:
  description: The paths that were changed, or would be.
  type: list
  elements: str
  returned: always
units:
  description: The units that were switched on, or would be.
  type: list
  elements: str
  returned: always
"""

import os
import shlex
import stat
import tempfile

from ansible_collections.quayside.django.plugins.module_utils import config_files
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def wanted_state(file):
    if file["state"] == "absent":
        return config_files.ABSENT
    return config_files.State(file["content"].encode(), int(file["mode"], 8), file["owner"], file["group"])


def refusal(module, file, state):
    """What the validator says against the new file, or None."""
    if not file["validate"] or state.content is None:
        return None
    program = module.get_bin_path(file["validate"][0])
    if not program:
        return None if module.check_mode else "%s is not installed" % file["validate"][0]
    with tempfile.NamedTemporaryFile(prefix="quayside-", dir=module.tmpdir) as temporary:
        temporary.write(state.content)
        temporary.flush()
        rc, out, err = module.run_command([program] + [word.replace("%s", temporary.name) for word in file["validate"][1:]])
    return (err or out).strip() if rc else None


def units_off(module, units):
    """The commands that switch on what is off of units, and the names."""
    if not units:
        return [], []
    _rc, out, _err = module.run_command(["systemctl", "show", "-p", "ActiveState,UnitFileState", "--"] + units)
    enable, start = config_files.repairs(units, out)
    commands = [["systemctl", "enable", "--"] + enable] if enable else []
    commands += [["systemctl", "start", "--"] + start] if start else []
    return commands, list(dict.fromkeys(enable + start))


def loose(module):
    """The paths with rights to lose, list of (path, mode now, mode then)."""
    found = {}
    for entry in module.params["modes"]:
        for path in config_files.existing(entry["path"]):
            now = found.get(path, (0, stat.S_IMODE(os.lstat(path).st_mode)))[1]
            then = config_files.stricter(now, int(entry["mode"], 8))
            if then != now:
                found[path] = (now, then)
    return [(path, now, then) for path, (now, then) in sorted(found.items())]


def main():
    file_spec = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "default": ""},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "list", "elements": "str", "default": []},
        "secret": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_spec},
            "apply": {"type": "list", "elements": "list", "default": []},
            "modes": {"type": "list", "elements": "dict", "default": [],
                      "options": {"path": {"type": "path", "required": True}, "mode": {"type": "str", "required": True}}},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    todo, diffs = [], []
    for file in module.params["files"]:
        before, after = config_files.read(file["path"]), wanted_state(file)
        if before == after:
            continue
        why = refusal(module, file, after)
        if why is not None:
            module.fail_json(msg="The new %s is not valid, nothing was changed: %s" % (file["path"], why))
        todo.append((file["path"], before, after))
        hidden = [state._replace(content=b"(secret)\n") if file["secret"] and state.content else state for state in (before, after)]
        diffs.append(config_files.diff(file["path"], *hidden))

    strict = loose(module)
    diffs += [{"before": "%04o\n" % now, "after": "%04o\n" % then, "before_header": path, "after_header": path} for path, now, then in strict]
    result = {"changed_files": [path for path, _before, _after in todo] + [path for path, _now, _then in strict], "diff": diffs}
    if not module.check_mode:
        run(module, todo, result)
        for path, _now, then in strict:
            os.chmod(path, then)
    commands, result["units"] = units_off(module, module.params["units"])
    if result["units"]:
        diffs.append({"before": "", "after": "".join("%s is on\n" % unit for unit in result["units"]), "after_header": "units"})
    if not module.check_mode:
        for command in commands:
            rc, out, err = module.run_command(command)
            if rc:
                module.fail_json(msg="%s failed: %s. Next: systemctl status %s" % (
                    shlex.join(command), (err or out).strip(), " ".join(result["units"])), **result)
    module.exit_json(changed=bool(result["changed_files"] or result["units"]), **result)


def run(module, todo, result):
    written = []
    try:
        for path, before, after in todo:
            written.append((path, before))
            config_files.write(path, after)
    except (OSError, KeyError) as error:
        put_back(written)
        module.fail_json(msg="%s could not be written: %s. All files are as they were." % (path, error), **result)
    for command in module.params["apply"] if todo else []:
        if not module.get_bin_path(str(command[0])):
            break
        rc, out, err = module.run_command([str(word) for word in command])
        if rc:
            put_back(written)
            module.fail_json(msg="%s failed after %s changed; the files are as they were. It said: %s" % (
                shlex.join(str(word) for word in command), ", ".join(os.path.basename(path) for path, _before in written),
                (err or out).strip()), **result)


def put_back(written):
    for path, before in reversed(written):
        config_files.write(path, before)


if __name__ == "__main__":
    main()
