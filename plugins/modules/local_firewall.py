#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: local_firewall
short_description: Apps of one host are kept from each other's local ports
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Gives each app a block of local ports, writes them down in C(/etc/quayside/ports.json), and keeps a table of nftables that looks at the owner of
    the socket behind each packet on the loopback interface, IPv4 and IPv6.
  - On a port of an app's block only that app and root can answer. Whoever else binds one, after a crash for example, completes no handshake, and
    those who ask are refused at once.
  - A port of an app, one that the edge listens on for it (C(listen)) or that of its Redis refuses every other app. Root, login users, the edge and
    the app itself may ask.
  - An app opens no more connections to PostgreSQL than its share of them, whether it logs in or not.
  - The folder of PostgreSQL's socket lets nobody pass but PostgreSQL, root, and containers that are told that socket.
  - Where the kernel has cgroup v2 and BPF, no process of an app's slice can bind a port of another app's block or that of PostgreSQL at all.
  - The table is put in force at boot before the network, by C(quayside-local-firewall.service). UFW and Docker do not touch it.
options:
  apps:
    description: All apps of the host, as C(django_apps | quayside.django.apps) gives them.
    type: list
    elements: dict
    required: true
  postgresql_users:
    description: Users that open PostgreSQL's Unix socket, such as one that reads statistics. Containers that are told that socket do anyway.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Says what it would do, also before the users of the apps exist.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
"""

EXAMPLES = r"""
- name: The apps are kept from each other's local ports
  quayside.django.local_firewall:
    apps: "{{ django_apps | quayside.django.apps }}"
  become: true
"""

RETURN = r"""
blocks:
  description: App -> the first port of its block.
  type: dict
  returned: success
restored:
  description: Whether the files were right and the kernel's rules were not, or would not be.
  type: bool
  returned: success
"""

import hashlib
import os
import pwd

from ansible_collections.quayside.django.plugins.module_utils import config_files, host, local_firewall, orphans, ports, sizing, units
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

RULES = f"{ports.FOLDER}/local-firewall.nft"
UNIT = "quayside-local-firewall.service"
# Connections to PostgreSQL of an app that has no database of ours in it.
FEW = 5
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
# Its start, reload and stop begin with `flush ruleset`, which means the tables of everybody.
TMPFILES = "/etc/tmpfiles.d/quayside-postgresql.conf"
DROP_IN = "/etc/systemd/system/nftables.service.d/quayside.conf"


def uid_of(user: str) -> int | None:
    """Return the uid of a user, None when there is none such."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def described(apps: list[dict], allotted: dict) -> tuple[list[dict], list[int]]:
    """Return what ``local_firewall.text`` takes: the apps of this host, those that left the inventory too, and the uids of their Redis."""
    cores, memory = host.size()
    plan = sizing.plan({"cores": cores, "memory": memory}, apps)
    limits = plan["postgresql"]["limits"] if plan["postgresql"] else None
    known = {app["name"]: app for app in apps}
    blocks = {port: name for name in allotted for port in ports.block(allotted, name)}
    used = ports.listening(apps)
    found, strangers = [], {uid_of("redis")}
    for name, entry in sorted(allotted.items()):
        strangers.add(uid_of(local_firewall.redis_user(name)))
        uid, app = uid_of(entry["user"]), known.get(name)
        if uid is None:
            continue
        # Instances from before there were blocks go on under the ports that they have.
        own = {*ports.block(allotted, name), *(port for port, owner in used.items() if owner == name and blocks.get(port, name) == name)}
        asked = [process["listen"] for process in app["processes"] if process["listen"]] + [app["cache"]["port"]] * (app["cache"]["engine"] == "redis") \
            if app else []
        most = 0 if limits is None else limits.get(name) or max(FEW, plan["apps"][name]["connections"] if app else 0)
        found.append({"name": name, "uid": uid, "own": own, "asked": [port for port in asked if port], "connections": most})
    return found, sorted(strangers - {None})


def desired(apps: list[dict], allotted: dict, users: list[str]) -> tuple[dict, str]:
    """Return path -> text of the files, and the digest of the rules. ``users`` may open PostgreSQL's socket beside the apps that need it."""
    body = local_firewall.text(*described(apps, allotted))
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    files = {RULES: local_firewall.labelled(body, digest), UNIT_FILE: local_firewall.unit(RULES), DROP_IN: local_firewall.drop_in(RULES)}
    # Beside the slice's own file, which systemd makes up.
    files.update({f"/etc/systemd/system/{units.slice_name({'name': name})}.d/quayside.conf": local_firewall.slice_drop_in(ports.block(allotted, name))
                  for name in allotted})
    if any(app["database"]["engine"] == "postgresql" for app in apps):
        contained = [app for app in apps if app["runtime"] == "compose" and app["database"]["engine"] == "postgresql"]
        uids = [uid_of(app["user"]) for app in contained]
        uids += orphans.socket_uids({app["name"] for app in apps})
        files[TMPFILES] = local_firewall.socket_folder(uid for uid in [*uids, *map(uid_of, users)] if uid is not None)
    return files, digest


def in_force(module: AnsibleModule, digest: str) -> bool:
    """Return True when the kernel has the rules with this digest."""
    nft = module.get_bin_path("nft")
    _rc, out, _err = module.run_command([nft, "list", "table", "inet", local_firewall.TABLE]) if nft else (1, "", "")
    return digest in out and "oifname" in out


def folder_is_closed(files: dict) -> bool:
    """Return True when not everybody passes the folder of PostgreSQL's socket, where it is there and there is a rule for it."""
    try:
        return TMPFILES not in files or not os.stat(local_firewall.SOCKET_FOLDER).st_mode & 0o007
    except FileNotFoundError:
        return True


def main() -> None:
    module = AnsibleModule(argument_spec={
        "apps": {"type": "list", "elements": "dict", "required": True},
        "postgresql_users": {"type": "list", "elements": "str", "default": []},
    }, supports_check_mode=True)
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
    apps = module.params["apps"]
    try:
        before, allotted = ports.read(), ports.wanted(apps) if module.check_mode else ports.settle(apps)
    except ports.NoBlock as error:
        module.fail_json(msg=str(error))
    files, digest = desired(apps, allotted, module.params["postgresql_users"])
    todo = [(path, config_files.read(path), config_files.State(text.encode(), 0o600 if path == RULES else 0o644, "root", "root"))
            for path, text in files.items()]
    todo = [entry for entry in todo if entry[1] != entry[2]]
    restored = not todo and not (in_force(module, digest) and folder_is_closed(files))
    diff = [config_files.diff(*entry) for entry in todo]
    if before != allotted:
        diff.append({"before": ports.text(before), "after": ports.text(allotted), "before_header": ports.FILE, "after_header": ports.FILE})
    if restored:
        diff.append({"before": "", "after": f"the table {local_firewall.TABLE} is in force again\n", "after_header": "the kernel's rules"})
    result = {"changed": bool(diff), "restored": restored, "diff": diff, "blocks": {name: entry["first"] for name, entry in allotted.items()}}
    if (todo or restored) and not module.check_mode:
        act(module, todo, result)
    module.exit_json(**result)


def act(module: AnsibleModule, todo: list, result: dict) -> None:
    """Write the files and put them in force; when that fails the files are as they were, and so are the kernel's rules."""
    for path, _before, after in todo:
        config_files.write(path, after)
    nft = module.get_bin_path("nft") or "nft"
    for command in ([nft, "--check", "--file", RULES], ["systemctl", "daemon-reload"], ["systemctl", "enable", "--quiet", UNIT],
                    ["systemctl", "restart", UNIT], *[["systemd-tmpfiles", "--create", TMPFILES]] * os.path.exists(local_firewall.SOCKET_FOLDER)):
        rc, out, err = module.run_command(command)
        if rc:
            for path, before, _after in todo:
                config_files.write(path, before)
            module.fail_json(msg=f"The rules for local ports are not accepted, the former ones stay: `{' '.join(command)}`: {(err or out).strip()}. "
                                 f"Next: journalctl -u {UNIT} -n 20", **result)


if __name__ == "__main__":
    main()
