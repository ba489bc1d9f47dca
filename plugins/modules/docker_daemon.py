#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon
short_description: Options of the Docker engine, validated, with a reload where that is enough
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Merges options into C(/etc/docker/daemon.json). Options that somebody else put there stay, those that this module wrote once and
    that are no longer declared go.
  - The engine itself judges the new file before it is put in place (C(dockerd --validate)).
  - The engine is reloaded where it reads the changed options again, and restarted where it does not. Before a restart a
    C(live-restore) that is new is switched on by a reload, so that running containers survive that restart already. When the
    restart fails, all files are as they were and the engine runs with them.
  - The engine runs, and at each boot.
options:
  options:
    description: Options by the names of C(daemon.json).
    type: dict
    default: {}
  certificates:
    description:
      - Certificates of authorities in PEM by registry (V(registry.example.com:5000)), kept as C(quayside-ca.crt) beside what else is
        in the registry's folder of C(/etc/docker/certs.d). The engine reads them at each connection.
      - Those that are no longer declared are removed.
    type: dict
    default: {}
  drop_in:
    description: What is in C(/etc/systemd/system/docker.service.d/quayside.conf). Empty for no such file.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what it would do. Where Docker is not installed yet, the options are not validated.
    support: full
  diff_mode:
    description: Shows each file that differs.
    support: full
seealso:
  - name: dockerd
    description: The options of daemon.json.
    link: https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file
"""

EXAMPLES = r"""
- name: Containers survive a restart of the engine, and their logs are bounded
  quayside.django.docker_daemon:
    options:
      live-restore: true
      log-driver: json-file
      log-opts: {max-size: 10m, max-file: "3"}
"""

RETURN = r"""
action:
  description: What the engine was told, or would be. V(start) where it did not run.
  type: str
  returned: always
  sample: reload
options:
  description: All options of the file, foreign ones too.
  type: dict
  returned: always
"""

import glob
import os
import tempfile

from ansible_collections.quayside.django.plugins.module_utils import config_files, docker_daemon
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

DAEMON = "/etc/docker/daemon.json"
OURS = "/var/lib/quayside/docker-daemon.json"
CERTIFICATES = "/etc/docker/certs.d"
CERTIFICATE = "quayside-ca.crt"
DROP_IN = "/etc/systemd/system/docker.service.d/quayside.conf"


def file_state(text):
    return config_files.State(text.encode(), 0o644, "root", "root") if text else config_files.ABSENT


def certificate_files(module):
    """The wanted state of each file of a certificate, by path."""
    wanted = dict.fromkeys(glob.glob(os.path.join(CERTIFICATES, "*", CERTIFICATE)), config_files.ABSENT)
    for host, text in module.params["certificates"].items():
        why = docker_daemon.bad_registry(host) or docker_daemon.bad_certificate(str(text))
        if why:
            module.fail_json(msg="The certificate for registry %s cannot be used: %s. Next: correct docker_registry_certificates" % (host, why))
        wanted[os.path.join(CERTIFICATES, host, CERTIFICATE)] = file_state(str(text).strip() + "\n")
    return wanted


def refusal(module, text):
    """What the engine says against the options, or None."""
    dockerd = module.get_bin_path("dockerd")
    if not dockerd:
        return None if module.check_mode else "dockerd is not installed"
    with tempfile.NamedTemporaryFile(prefix="quayside-", dir=module.tmpdir) as temporary:
        temporary.write(text.encode())
        temporary.flush()
        rc, out, err = module.run_command([dockerd, "--validate", "--config-file", temporary.name])
    return (err or out).strip().replace(temporary.name, DAEMON) if rc else None


def service(module):
    """(whether the engine runs, units to enable, units to start)"""
    rc, out, _err = module.run_command(["systemctl", "show", "-p", "ActiveState,UnitFileState", "--", "docker.service"])
    enable, start = config_files.repairs(["docker.service"], out)
    return rc == 0 and not start, enable, start


def main():
    module = AnsibleModule(
        argument_spec={
            "options": {"type": "dict", "default": {}},
            "certificates": {"type": "dict", "default": {}},
            "drop_in": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    wanted = module.params["options"]
    try:
        before = docker_daemon.parse(config_files.read(DAEMON).content, DAEMON)
        ours = docker_daemon.parse(config_files.read(OURS).content, OURS)
    except docker_daemon.BadInput as error:
        module.fail_json(msg=str(error))
    after = docker_daemon.merged(before, ours, wanted)
    action = docker_daemon.consequence(before, after)
    if action != "none":
        why = refusal(module, docker_daemon.rendered(after))
        if why:
            module.fail_json(msg="The engine does not accept these options, nothing was changed: %s. Next: correct docker_options" % why)

    files = {} if action == "none" else {DAEMON: file_state(docker_daemon.rendered(after))}
    files.update(certificate_files(module))
    files[DROP_IN] = file_state(module.params["drop_in"].strip() + "\n" if module.params["drop_in"].strip() else "")
    todo = [(path, config_files.read(path), state) for path, state in files.items() if config_files.read(path) != state]
    runs, enable, start = service(module)
    if any(path == DROP_IN for path, _before, _after in todo):
        action = "restart"
    if not runs:
        action = "start"
    result = {
        "changed": bool(todo or enable or start),
        "action": action,
        "options": after,
        "diff": [config_files.diff(*one) for one in todo],
    }
    if not module.check_mode:
        write(todo)
        tell(module, todo, action, enable, after.get("live-restore") and not before.get("live-restore"), result)
        if ours != wanted:
            config_files.write(OURS, file_state(docker_daemon.rendered(wanted)))
    module.exit_json(**result)


def write(todo):
    for path, _before, after in todo:
        config_files.write(path, after)
        folder = os.path.dirname(path)
        if after == config_files.ABSENT and folder.startswith(CERTIFICATES) and not os.listdir(folder):
            os.rmdir(folder)


def tell(module, todo, action, enable, newly_restoring, result):
    """Make the engine know. When it does not start with the new files, the former ones come back."""
    commands = [["systemctl", "daemon-reload"]] if any(path == DROP_IN for path, _before, _after in todo) else []
    if enable:
        commands.append(["systemctl", "enable", "--", "docker.service"])
    if action == "restart" and newly_restoring:
        commands.append(["systemctl", "reload", "--", "docker.service"])
    if action != "none":
        # A restart that failed a moment ago may have used up systemd's patience.
        commands += [["systemctl", "reset-failed", "--", "docker.service"]] if action == "start" else []
        commands.append(["systemctl", action, "--", "docker.service"])
    for command in commands:
        rc, out, err = module.run_command(command)
        if rc and command[1] != "reset-failed":
            _rc, log, _err = module.run_command(["journalctl", "-u", "docker.service", "-n", "8", "-o", "cat", "--no-pager"])
            write([(path, after, before) for path, before, after in todo])
            module.run_command(["systemctl", "daemon-reload"])
            if action in ("restart", "reload"):
                module.run_command(["systemctl", "reset-failed", "--", "docker.service"])
                module.run_command(["systemctl", "restart", "--", "docker.service"])
            module.fail_json(msg="%s failed, the files are as they were: %s\n%s\nNext: journalctl -u docker -n 50" % (
                " ".join(command), (err or out).strip(), log.strip()), **result)


if __name__ == "__main__":
    main()
