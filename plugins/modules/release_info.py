#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is live, what is kept and what runs of an app on a host."""
from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: What is live, what is kept and what runs of an app
version_added: 0.1.0
description:
  - Reads the releases, the lock, the ledger and the units of an app on a host, asks its health path, and reads the size of its folders.
extends_documentation_fragment:
  - quayside.django.app
options:
  entries:
    description: How many of the last lines of the ledger to return.
    type: int
    default: 5
  secret_days:
    description: Days after which a secret is named as old; 0 for never.
    type: int
    default: 365
  known:
    description: Names of all apps that the inventory has of this host. With them, apps that are installed on it beside these are told too.
    type: list
    elements: str
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The state of the shop is known
  quayside.django.release_info:
    app: "{{ django_apps | quayside.django.app('shop') }}"
  become: true
  register: shop
"""

RETURN = r"""
live:
  description: The live release with C(id), C(version), C(sha), C(since) (UTC) and C(how), what it is a copy of; empty before the first deploy.
  type: dict
  returned: success
healthy:
  description: The health path answers as the model wants, through the edge.
  type: bool
  returned: success
health:
  description: Why it does not; empty when it does.
  type: str
  returned: success
units:
  description: Unit to its state, for each unit of the live release, and for those of older ones that still run.
  type: dict
  returned: success
processes:
  description: >-
    Units or containers of the live release, with C(name), C(process), C(state), C(health), C(image), C(since), C(restarts), C(used) and C(limit) (bytes of
    memory, without cached files; a limit of 0 is none) and C(kills) (processes that the kernel has killed for memory).
  type: list
  elements: dict
  returned: success
findings:
  description: What is wrong with them, with C(code), C(severity), C(item), C(reason) and C(fix), as the doctor tells it.
  type: list
  elements: dict
  returned: success
releases:
  description: The kept releases, newest first, with C(id), C(version), C(outcome) and, for a rollback, C(of).
  type: list
  elements: dict
  returned: success
lock:
  description: Who holds the lock, with C(who), C(since) and C(phase); empty when it is free.
  type: dict
  returned: success
ledger:
  description: The last entries of the ledger, oldest first.
  type: list
  elements: dict
  returned: success
memory:
  description: Bytes of memory that the app's units take together.
  type: int
  returned: success
certificates:
  description: >-
    For an app with HTTPS, each of its names with what the edge serves for it now, asked by a handshake: C(days) that the certificate has left (none
    without one), its C(serial), whether it is C(secure), and C(why) not.
  type: dict
  returned: success
stale:
  description: Django is told other names, or another thing of HTTPS, than the edge serves (ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS, SECURE_SSL_REDIRECT).
  type: bool
  returned: success
bases:
  description: Image of the live release to the days since the oldest layer of its base was made.
  type: dict
  returned: success
  sample: {app: 40}
disk_free:
  description: Bytes free under the app's root.
  type: int
  returned: success
secrets:
  description: Name of a secret to the days since its value has changed on this host, as deploys have seen it.
  type: dict
  returned: success
  sample: {SECRET_KEY: 12}
orphans:
  description: Apps that are installed on the host and not among O(known), with C(name) and what is there of each.
  type: list
  elements: dict
  returned: success
text:
  description: All of it for people, some lines.
  type: str
  returned: success
"""

import os
import time

from ansible_collections.quayside.django.plugins.module_utils import (
    doctor_processes,
    edges,
    env_file,
    host,
    http_health,
    model,
    orphans,
    releases,
    secret_ages,
    served,
)
from ansible_collections.quayside.django.plugins.module_utils.deploy import RUNTIMES
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.lock import Lock
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

OLD_BASE = 60  # days; Debian and Docker's official images are built anew every few weeks


def read(app: dict, entries: int) -> dict:
    """Return the state of an app on this host."""
    shelf = releases.Shelf(app["root"])
    live, records = shelf.live(), shelf.records()
    record = records.get(live, {})
    runtime = RUNTIMES[app["runtime"]](dict(app, processes=record.get("processes", app["processes"])), shelf)
    running = runtime.running() if live else {}
    wanted = shelf.units(live) if live else []
    states = {unit: running.get(live, {}).get(unit, "not running") for unit in wanted}
    states.update({unit: state for release, found in running.items() if release != live for unit, state in found.items()})
    health = "no release is live"
    if live:
        check = edges.EDGES[app["edge"]].check(app, **model.wanted_answer(app, live, record.get("version", "")))
        health = http_health.judge(check, http_health.ask(check)) if check else ""
    seen = runtime.describe(live) if live else []
    disk = os.statvfs(app["root"]) if os.path.isdir(app["root"]) else None
    return {
        "live": {"id": live, "version": record.get("version", ""), "sha": record.get("sha", ""), "since": utc(record.get("switched")),
                 "how": how(record)} if live else {},
        "processes": [{key: value for key, value in one.items() if key != "commands"} for one in seen],
        "findings": doctor_processes.findings(runtime.app, seen) + doctor_processes.services(runtime.app, runtime.describe_services() if live else []),
        "certificates": {name: served.look(name) for name in app["domains"]} if app["scheme"] == "https" and app["edge"] != "none" else {},
        "stale": bool(live) and not model.told(app, edges.secure(app)).items() <= env_file.parse(host.text(shelf.path(live, "env"))).items(),
        "healthy": not health, "health": health, "units": states, "lock": Lock(f"{app['root']}/lock").read(), "ledger": shelf.ledger(entries),
        "releases": [{"id": release, "version": found.get("version", ""), "outcome": found.get("outcome", ""), "of": found.get("of", "")}
                     for release, found in sorted(records.items(), reverse=True)],
        "secrets": secret_ages.days(secret_ages.read(app), time.time()),
        "bases": runtime.base_ages(live) if live else {},
        "memory": runtime.memory() if live else 0, "disk_free": disk.f_bavail * disk.f_frsize if disk else 0,
    }


def utc(seconds) -> str:
    """Return a time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else ""


def how(entry: dict) -> str:
    """Return what a copied release came from, for people: a rollback, or the live one anew with the secrets and names of its day."""
    of = entry.get("of", "")
    return f"a rollback to {of}" if of and of != entry.get("from", "") else f"{of} anew" if of else ""


def text(app: dict, state: dict, oldest: int = 365) -> str:
    """Return the state for people; secrets older than ``oldest`` days are named."""
    live = state["live"]
    came = f", {live['how']}" if live.get("how") else ""
    lines = [f"{app['name']}: {live['version']} is live as {live['id']} since {live['since']}{came}" if live else f"{app['name']}: no release is live"]
    lines.append(f"  health    {'good' if state['healthy'] else state['health']}" + (f"  {app['url']}" if app["url"] else ""))
    sizes = {one["name"]: one for one in state["processes"]}
    lines += [f"  {'unit':<9} {unit.removesuffix('.service')}  {status}{memory(sizes.get(unit))}" for unit, status in sorted(state["units"].items())]
    lines += [f"  {one['severity']:<9} {one['item'].removeprefix('app ' + app['name'] + ': ')}: {one['reason']}: {one['fix']}" for one in state["findings"]]
    lines += [f"  {'kept':<9} {kept['id']}  {kept['version']}  {kept['outcome']}" + (f", a copy of {kept['of']}" if kept["of"] else "")
              for kept in state["releases"]]
    lines += [f"  {'ledger':<9} {entry['at']}  {entry['ref']}  {entry['result']}{', ' + how(entry) if how(entry) else ''}  {entry['who']}  {entry['seconds']} s"
              + (f"  {entry['phase']}: {first_line(entry['reason'])}" if entry["reason"] else "") for entry in state["ledger"]]
    lines += [f"  {'https':<9} {name}  {served.left(one['days']) + ' left' if one['secure'] else 'no: ' + one['why']}"
              for name, one in state["certificates"].items()]
    if state["stale"]:
        lines.append(f"  {'env':<9} Django is told other names, or another thing of HTTPS, than the edge serves: quayside.django.certificates, or deploy")
    anew = {image["name"]: "deploy with -e rebuild=true" if image["from"] == "build" else "build it anew with --pull" for image in app["images"]}
    lines += [f"  {'image':<9} {name}  its base is {days} days old" + (f": {anew[name]}" if days > OLD_BASE else "")
              for name, days in state["bases"].items() if name in anew]
    lines += secret_ages.lines(state["secrets"], oldest)
    lock = state["lock"]
    lines.append(f"  lock      {lock['who']} since {utc(lock['since'])}, in phase {lock['phase']}" if lock else "  lock      free")
    lines.append(f"  memory    {state['memory'] // 2**20} MiB, disk {state['disk_free'] // 2**20} MiB free")
    return "\n".join(lines)


def memory(one: dict | None) -> str:
    """Return what a unit takes of its memory, for people; nothing where that is not known."""
    if not one or not one["used"]:
        return ""
    return f"  {one['used'] // 2**20}{' of ' + str(one['limit'] // 2**20) if one['limit'] else ''} MiB"


def first_line(reason: str) -> str:
    """Return the first line of a reason, cut at 160 characters."""
    return reason.splitlines()[0][:160]


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "dict", "required": True}, "entries": {"type": "int", "default": 5},
                                          "secret_days": {"type": "int", "default": 365, "no_log": False},
                                          "known": {"type": "list", "elements": "str"}},
                           supports_check_mode=True)
    app = module.params["app"]
    try:
        state = read(app, module.params["entries"])
    except (host.PhaseError, EngineError) as error:
        module.fail_json(msg=str(error))
    known = module.params["known"]
    state["orphans"] = orphans.look(set(known)) if known is not None else []
    told = "\n".join([text(app, state, module.params["secret_days"]), *map(orphans.line, state["orphans"])])
    module.exit_json(changed=False, text=told, **state)


if __name__ == "__main__":
    main()
