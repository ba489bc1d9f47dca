#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The folders and units of an app, before any release of it."""
from __future__ import annotations

DOCUMENTATION = r"""
module: app_root
short_description: The folders and units that an app has before any release
version_added: 0.1.0
description:
  - Makes the app's root with its folders, the units that its releases run as, and the rotation of its log files. Nothing is started or stopped.
  - The root and C(releases/) belong to root and let others pass, not look; only C(shared/), C(venvs/) and C(cache/) belong to the app.
extends_documentation_fragment:
  - quayside.django.app
attributes:
  check_mode:
    support: full
    description: Also before the app's user exists.
  diff_mode:
    support: full
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The folders and units of the shop are there
  quayside.django.app_root:
    app: "{{ django_apps | quayside.django.app('shop') }}"
  become: true
"""

RETURN = r"""
folders:
  description: Paths that were made, or got another owner or mode.
  type: list
  elements: str
  returned: success
networks:
  description: Names of the Docker networks that were made.
  type: list
  elements: str
  returned: success
joined:
  description: Names of running containers that were put into the network of the edge, since their release was made before there was one.
  type: list
  elements: str
  returned: success
units:
  description: Names of the unit files that were written, and the path of the rotation's file when that was.
  type: list
  elements: str
  returned: success
"""

import os
import pwd
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils import docker_network, host, outbound, releases
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.units import logrotate


def wanted_folders(app: dict, uid: int, gid: int) -> dict:
    """Return path -> (mode, owner, group) of an app's folders; uid and gid are those of its user."""
    root = app["root"]
    folders = {
        root: (0o711, 0, 0),
        f"{root}/releases": (0o711, 0, 0),
        f"{root}/static": (0o755, 0, 0),
        f"{root}/shared": (0o711, uid, gid),
        f"{root}/shared/media": (0o2750, uid, app["edge_group"]),
        f"{root}/shared/logs": (0o750, uid, gid),
        f"{root}/cache": (0o750, uid, gid),
    }
    folders.update({f"{root}/shared/{folder['name']}": (0o750, uid, gid) for folder in app["folders"] if folder["name"] not in ("media", "logs")})
    if app["database"]["engine"] == "sqlite":
        folders[f"{root}/shared/database"] = (0o750, uid, gid)
    if app["runtime"] == "systemd":
        folders[f"{root}/venvs"] = (0o755, uid, gid)
    return folders


def outdated_folders(wanted: dict) -> list[str]:
    """Return the paths that are not there, or have another mode or owner."""
    found = []
    for path, (mode, uid, gid) in wanted.items():
        try:
            have = os.stat(path)
        except OSError:
            found.append(path)
            continue
        if not stat.S_ISDIR(have.st_mode) or (stat.S_IMODE(have.st_mode), have.st_uid, have.st_gid) != (mode, uid, gid):
            found.append(path)
    return found


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "dict", "required": True}}, supports_check_mode=True)
    app = module.params["app"]
    runtime = RUNTIMES[app["runtime"]](app, releases.Shelf(app["root"]))
    try:
        entry = pwd.getpwnam(app["user"])
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"the user {app['user']} of the app {app['name']} does not exist: the role quayside.django.app makes it")
        uid = gid = -1
    unreachable = outbound.unreachable(app)
    if unreachable:
        module.fail_json(msg=". ".join(unreachable))
    wanted = wanted_folders(app, uid, gid)
    folders, units = outdated_folders(wanted), runtime.outdated()
    rotation, rotated = f"/etc/logrotate.d/{app['name']}", logrotate(app)
    before = host.text(rotation)
    if before != rotated:
        units[rotation] = (before, rotated)
    diff = [{"before_header": path, "after_header": path, "before": "", "after": f"folder with mode {wanted[path][0]:o}\n"} for path in folders]
    diff += [{"before_header": name, "after_header": name, "before": before, "after": after} for name, (before, after) in units.items()]
    try:
        networks = docker_network.missing(app) if app["runtime"] == "compose" else []
        joined = list(docker_network.strays(app)) if app["runtime"] == "compose" else []
    except EngineError as error:
        if not module.check_mode:
            module.fail_json(msg=error.message)
        networks, joined = docker_network.names(app), []  # site.yml would install the engine first
    diff += [{"before_header": name, "after_header": name, "before": "", "after": f"Docker network {name}\n"} for name in networks]
    diff += [{"before_header": name, "after_header": name, "before": "", "after": f"also in the network {app['edge_network']}\n"} for name in joined]
    if not module.check_mode:
        for name in networks:
            docker_network.make(app, name)
        if joined:
            docker_network.join(app)
    if not module.check_mode:
        for path in folders:
            host.folder(path, *wanted[path])
        if rotation in units:
            host.write(rotation, rotated)
        if units:
            runtime.install()
    module.exit_json(changed=bool(folders or units or networks or joined), networks=networks, joined=joined, folders=folders, units=sorted(units),
                     diff=diff)


if __name__ == "__main__":
    main()
