#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The phases of a deploy and of a rollback."""
from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Run phases of a deploy or a rollback of an app
version_added: 0.1.0
description:
  - Runs phases of the release contract on one host, in the order given, and stops at the first that fails. The role P(quayside.django.app#role)
    puts them together in C(tasks/deploy.yml) and C(tasks/rollback.yml); use those rather than this module.
  - Before C(switch) a failure leaves the live release untouched. C(abandon) undoes what the run has done.
  - What one task leaves for the next is in the release's C(release.json) on the host.
extends_documentation_fragment:
  - quayside.django.app
options:
  phases:
    description:
      - C(lock) takes the app's lock. C(resolve) finds the commit and refuses what cannot work here. C(fetch) writes code and env.
        C(build) makes the venv and the units. C(check) checks the code and reads the migration plan. Where migrations are pending, C(boot)
        sees the servers start, and stops them again. C(migrate) runs the release's commands.
        C(start), C(probe), C(workers), C(quiet), C(hand_over), C(switch), C(verify), C(join), C(prune), C(retire) replace the live instance.
        C(record) writes the ledger and frees the lock. C(choose) and C(copy) are a rollback's resolve and fetch, C(relieve) its
        quiet, hand_over and join.
    type: list
    elements: str
    required: true
    choices:
      [lock, resolve, choose, fetch, copy, build, check, boot, migrate, start, probe, workers, quiet, hand_over, switch, verify, join, relieve, prune, retire,
       record, abandon]
  run:
    description: Id of the run that deploys; the lock belongs to it.
    type: str
    required: true
  who:
    description: Who deploys, for the lock's message and the ledger.
    type: str
    required: true
  stamp:
    description: Time of the run as YYYYMMDDHHMMSS in UTC, the same on every host. The release's id begins with it.
    type: str
    default: ""
  version:
    description: Branch, tag or commit to deploy.
    type: str
    default: ""
  release:
    description: Id of the release, once C(resolve) or C(choose) has given it.
    type: str
    default: ""
  target:
    description: With C(choose), the id of the kept release to bring back. By default what was live before.
    type: str
    default: ""
  target_version:
    description: With C(choose), bring back the newest kept release of this version.
    type: str
    default: ""
  refresh:
    description: With C(choose), copy the live release itself, to run it with the secrets of today; nothing is done where it has them already.
    type: bool
    default: false
  first:
    description: This host runs what runs once (migrations, single processes).
    type: bool
    default: true
  allow_hazards:
    description: Run migrations that the live release cannot live with.
    type: bool
    default: false
  rebuild:
    description: >-
      Build the dependencies anew, also where nothing that they are built from has changed, such as a requirement that names a branch. Images are
      built without Docker's cache.
    type: bool
    default: false
  secrets:
    description: The app's secret variables, as the filter P(quayside.django.app_secrets#filter) returns them.
    type: dict
    default: {}
  source_key:
    description: Private key that may read the repository.
    type: str
    default: ""
  apps:
    description: All apps of the host, as the filter P(quayside.django.apps#filter) returns them; they share its memory and its ports.
    type: list
    elements: dict
    required: true
  registry_password:
    description: Password or token of the registry's user.
    type: str
    default: ""
  failure:
    description: With C(abandon), C(phase) and C(reason) of what failed, for the ledger.
    type: dict
    default: {}
  code:
    description: Our own code, as the action of this name sends it to a host that does not have it.
    type: str
    default: ""
  code_hash:
    description: SHA-256 of that code, in hexadecimal digits. Where the host has it, C(code) need not be sent.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Resolves the version, builds in the app's cache to read the migration plan, and says what each phase would do.
  diff_mode:
    support: full
author:
  - The quayside.django authors (@quayside)
"""

EXAMPLES = r"""
- name: The new release is fetched and built
  quayside.django.release:
    app: "{{ django_apps | quayside.django.app('shop') }}"
    apps: "{{ django_apps | quayside.django.apps }}"
    secrets: "{{ django_apps | quayside.django.app_secrets('shop') }}"
    phases: [lock, resolve, fetch, build]
    run: "{{ ansible_facts.django_run.id }}"
    who: "{{ ansible_facts.django_run.who }}"
    stamp: "{{ ansible_facts.django_run.stamp }}"
    version: v2
  become: true
"""

RETURN = r"""
release:
  description: Id of the release; empty when a phase before C(resolve) failed.
  type: str
  returned: always
  sample: 20261121072900-0123abc
version:
  description: The version that was asked for.
  type: str
  returned: success
sha:
  description: The commit.
  type: str
  returned: success
from:
  description: Id of the release that was live before, empty for the first.
  type: str
  returned: success
noop:
  description: The version is live already, with the same env, processes and secrets. The lock is free again.
  type: bool
  returned: success
notes:
  description: What a person may want to know.
  type: list
  elements: str
  returned: success
seconds:
  description: Phase to the seconds that it took.
  type: dict
  returned: success
migrations:
  description: Migrations of the plan, as app.name.
  type: list
  elements: str
  returned: success
phase:
  description: The phase that failed.
  type: str
  returned: failure
reason:
  description: Why it failed, without its log.
  type: str
  returned: failure
code_missing:
  description: Nothing was done, since the host does not have the code of C(code_hash). The action sends it then.
  type: bool
  returned: when only C(code_hash) is given, and the host does not have it
"""

import base64
import contextlib
import importlib
import io
import os
import shutil
import sys
import tempfile
import time
import zipfile

from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

HERE = AnsibleModule.__module__.rpartition(".")[0]
# Imported once they are there: what is imported here, Ansible parses at each run.
PHASES = ["lock", "resolve", "choose", "fetch", "copy", "build", "check", "boot", "migrate", "start", "probe", "workers", "quiet", "hand_over", "switch",
          "verify", "join", "relieve", "prune", "retire", "record", "abandon"]

CACHE = "/var/cache/quayside-code"  # root's alone; a folder for each archive, named by its hash
UNUSED_SECONDS = 7 * 24 * 3600  # then the folder of an archive is removed: another controller may have another version


def load(code: str, code_hash: str, folder: str, keep: bool):
    """Return our modules ``deploy``, ``progress`` and ``versions``; None where the host does not have the code and it was not sent.

    They come from the archive that the action has sent, or from where Python finds them when none was. ``folder``: where the archive is put for
    this run. ``keep``: unpack it for later runs too, so that it is sent once, and Python compiles it only once (a second of CPU).
    """
    place = os.path.join(CACHE, code_hash)
    if code_hash and os.path.isdir(place):
        if keep:
            os.utime(place)
        sys.modules[HERE].__path__.append(place)
    elif code:
        packed = base64.b64decode(code)
        sys.modules[HERE].__path__.append(unpacked(packed, place) if keep else archived(packed, folder))
    elif code_hash:
        return None
    return tuple(importlib.import_module(f"{HERE}.{name}") for name in ("deploy", "progress", "versions"))


def archived(packed: bytes, folder: str) -> str:
    """Return the path of the archive, which is of use for this run only."""
    path = os.path.join(folder, "code.zip")
    with open(path, "xb") as file:
        file.write(packed)
    return path


def unpacked(packed: bytes, place: str) -> str:
    """Unpack the archive into ``place``, below ``CACHE``, and return that; remove what nobody has used for long."""
    os.makedirs(CACHE, 0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as half:
        with zipfile.ZipFile(io.BytesIO(packed)) as file:
            file.extractall(os.path.join(half, "code"))
        try:
            os.rename(os.path.join(half, "code"), place)
        except OSError:
            if not os.path.isdir(place):  # else a run beside this one was the first
                raise
    for entry in os.scandir(CACHE):
        with contextlib.suppress(FileNotFoundError):  # what a run beside this one unpacks has another name then
            if entry.stat().st_mtime < time.time() - UNUSED_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
    return place


def rehearse(module: AnsibleModule, core, deploy) -> None:
    """Say what the phases would do, and end."""
    phases = module.params["phases"]
    if "abandon" in phases:
        module.exit_json(changed=False, notes=["check mode: nothing was done"], release=deploy.release, noop=False)
    if "resolve" not in phases and "choose" not in phases:
        module.exit_json(changed=True, notes=[f"would {phase}" for phase in phases], release=deploy.release, noop=False)
    try:
        lines = deploy.rehearse_rollback() if "choose" in phases else deploy.rehearse()
    except core.REASONS as error:
        failed = core.failure(phases[1], error, deploy.app)
        module.fail_json(msg=str(failed), phase=failed.phase, reason=failed.reason, release="")
    finally:
        deploy.runtime.close()
    live = deploy.shelf.live()
    before = {"live": f"{live} ({deploy.shelf.record(live).get('version', '')})" if live else "nothing"}
    after = {"live": f"{deploy.release} ({deploy.record.get('version', '')})", "phases": lines} if deploy.release else {"phases": lines}
    module.exit_json(changed=not deploy.noop, noop=deploy.noop, notes=lines, release=deploy.release, version=deploy.record.get("version", ""),
                     diff={"before": before, "after": before if deploy.noop else after})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "dict", "required": True},
            "phases": {"type": "list", "elements": "str", "required": True, "choices": PHASES},
            "run": {"type": "str", "required": True},
            "who": {"type": "str", "required": True},
            "stamp": {"type": "str", "default": ""},
            "version": {"type": "str", "default": ""},
            "release": {"type": "str", "default": ""},
            "target": {"type": "str", "default": ""},
            "target_version": {"type": "str", "default": ""},
            "refresh": {"type": "bool", "default": False},
            "first": {"type": "bool", "default": True},
            "allow_hazards": {"type": "bool", "default": False},
            "rebuild": {"type": "bool", "default": False},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "source_key": {"type": "str", "default": "", "no_log": True},
            "apps": {"type": "list", "elements": "dict", "required": True},
            "registry_password": {"type": "str", "default": "", "no_log": True},
            "failure": {"type": "dict", "default": {}},
            "code": {"type": "str", "default": "", "no_log": True},
            "code_hash": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    ours = load(module.params.pop("code"), module.params.pop("code_hash"), module.tmpdir, keep=os.geteuid() == 0 and not module.check_mode)
    if ours is None:
        module.exit_json(changed=False, code_missing=True)
    core, progress, versions = ours
    options = dict(module.params, hazards=module.params["allow_hazards"], check=module.check_mode)
    wrong = [versions.refusal(module.params[name]) for name in ("version", "target_version")]
    wrong += [versions.release_refusal(module.params[name]) for name in ("release", "target")]
    if any(wrong) and "abandon" not in module.params["phases"]:
        module.fail_json(msg=next(text for text in wrong if text), phase=module.params["phases"][0], reason="the version is no name of one")
    with progress.opened(progress.path(options["run"], options["app"].get("name", ""), options["phases"]), progress.caller()) as options["progress"]:
        perform(module, core, core.Deploy(options.pop("app"), options))


def perform(module: AnsibleModule, core, deploy) -> None:
    """Run the phases, or rehearse them, and end."""
    if module.check_mode:
        rehearse(module, core, deploy)
    try:
        result = deploy.run(module.params["phases"])
    except core.Failure as error:
        module.fail_json(msg=str(error), phase=error.phase, reason=error.reason, release=deploy.release, seconds=deploy.seconds)
    for note in result["notes"]:
        if note.startswith("warning: "):
            module.warn(note[9:])
    diff = {"before": {"live": result["from"] or "nothing"}, "after": {"live": result["release"]}} if "switch" in module.params["phases"] else {}
    module.exit_json(changed=not result["noop"], diff=diff, **result)


if __name__ == "__main__":
    main()
