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
  - Whatever root, systemd or Docker opens by name lies in a folder of root's. Below C(shared/) and C(cache/) only leaf folders belong to the app.
  - A server of an earlier version is moved to these folders while the app serves. Nothing follows a link meanwhile.
extends_documentation_fragment:
  - quayside.django.app
options:
  apps:
    description: All apps of the host, as the filter P(quayside.django.apps#filter) returns them; they share its memory, so the limits of one follow from all.
    type: list
    elements: dict
    required: true
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
    apps: "{{ django_apps | quayside.django.apps }}"
  become: true
"""

RETURN = r"""
folders:
  description: Paths that were made, or got another owner or mode.
  type: list
  elements: str
  returned: success
moved:
  description: What was moved from the folders of an earlier version, a line each.
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

import pwd

from ansible_collections.quayside.django.plugins.module_utils import docker_network, host, layout, orphans, outbound, releases
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils.units import logrotate


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "dict", "required": True}, "apps": {"type": "list", "elements": "dict", "required": True}},
                           supports_check_mode=True)
    app = module.params["app"]
    shelf = releases.Shelf(app["root"])
    runtime = RUNTIMES[app["runtime"]](app, shelf, apps=module.params["apps"])
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
    wanted = layout.folders(app, uid, gid)
    obstacles = layout.obstacles(wanted)
    if obstacles:
        module.fail_json(msg=f"app {app['name']}: {'; '.join(obstacles)}. Nothing was changed; look where it comes from, remove it, and "
                             "run quayside.django.site again")
    folders, units = layout.outdated_folders(wanted), runtime.outdated()
    move = layout.Move(app, uid, gid, runtime.manage_text, module.check_mode)
    rotation, rotated = f"/etc/logrotate.d/{app['name']}", logrotate(app)
    others = {rotation: (rotated, 0o644), orphans.record_path(app["name"]): (orphans.record(app), 0o600)}
    for path, (text, _mode) in others.items():
        before = host.text(path)
        if before != text:
            units[path] = (before, text)
    diff = [{"before_header": path, "after_header": path, "before": "", "after": f"folder with mode {wanted[path][0]:o}\n"} for path in folders]
    diff += [{"before_header": name, "after_header": name, "before": before, "after": after} for name, (before, after) in units.items()]
    try:
        networks = docker_network.missing(app) if app["runtime"] == "compose" else []
        joined = list(docker_network.strays(app)) if app["runtime"] == "compose" else []
        larger = docker_network.too_large(app) if app["runtime"] == "compose" else []
    except EngineError as error:
        if not module.check_mode:
            module.fail_json(msg=error.message)
        networks, joined, larger = docker_network.names(app), [], []  # site.yml would install the engine first
    diff += [{"before_header": name, "after_header": name, "before": "", "after": f"Docker network {name}\n"} for name in networks]
    diff += [{"before_header": name, "after_header": name, "before": "", "after": f"also in the network {app['edge_network']}\n"} for name in joined]
    try:
        if uid >= 0:
            move.run()
        if not module.check_mode:
            for path in folders:
                host.folder(path, *wanted[path])
    except (OSError, host.PhaseError) as error:
        module.fail_json(msg=f"app {app['name']}: {f'{error.strerror}: {error.filename}' if isinstance(error, OSError) else error}", moved=move.moved)
    if not module.check_mode:
        for name in networks:
            docker_network.make(app, name)
        if joined:
            docker_network.join(app)
        for path, (text, mode) in others.items():
            host.write(path, text, mode)
        if units or networks:
            runtime.install()
        if move.restart and shelf.live():
            runtime.with_processes(shelf.record(shelf.live()).get("processes", app["processes"])).restart_singles(shelf.live())
    for line in [*move.left, *larger]:
        module.warn(line)
    diff += [{"before_header": line, "after_header": line, "before": "", "after": "moved\n"} for line in move.moved]
    module.exit_json(changed=bool(folders or units or networks or joined or move.moved), moved=move.moved, networks=networks, joined=joined,
                     folders=folders, units=sorted(units), diff=diff)


if __name__ == "__main__":
    main()
