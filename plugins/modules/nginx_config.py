#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Install a whole nginx configuration after nginx has accepted it
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Applies all files and sites to a copy of the folder, lets C(nginx -t) judge that copy, and only then changes the folder
    itself. What nginx refuses never reaches the place that a reload reads.
  - An error in one site harms no other. Where nginx refuses the whole, each site is tried with the ones before it. A site that it refuses keeps its last
    good version, or is left out where there is none, and RV(verdict) says so; fail with it when all else is done.
  - The copy is tested at each run, also when nothing changes, because a folder that others broke would stop nginx at its next start.
  - The copy stands elsewhere, so nginx sees the candidate only where includes are relative (C(include sites-enabled/*)).
  - Nothing is reloaded; notify a handler.
options:
  folder:
    description: The folder of the configuration.
    type: path
    default: /etc/nginx
  files:
    description: Paths below the folder, with the whole text of each.
    type: dict
    default: {}
  sites:
    description:
      - Names of sites with their text. Each is a file in C(sites-available) with a link in C(sites-enabled).
      - The text has to begin with O(marker), or the site could not be recognised when it is declared no more.
    type: dict
    default: {}
  marker:
    description: A site whose file begins with this and is not in O(sites) is removed.
    type: str
    default: "# Made by quayside.django"
  disabled:
    description: Sites whose link is removed, whoever made it. Their files stay.
    type: list
    elements: str
    default: []
  test:
    description:
      - The command that judges the copy. C({folder}) stands for the folder of the copy.
      - A command that mounts the copy at O(folder) into a container (C(docker run --rm -v {folder}:/etc/nginx:ro nginx:alpine nginx -t))
        lets the nginx of an image judge it, in a container that is thrown away.
      - By default C(nginx -t -c {folder}/nginx.conf).
    type: list
    elements: str
attributes:
  check_mode:
    description: The candidate is tested where nginx is installed.
    support: full
  diff_mode:
    description: Shows the text of each file before and after.
    support: full
"""

EXAMPLES = r"""
- name: The configuration is what the apps declare
  quayside.django.nginx_config:
    files:
      nginx.conf: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
    sites:
      shop: |
        # Made by quayside.django
        server { listen 80; server_name shop.example.com; location / { proxy_pass http://127.0.0.1:8000; } }
    disabled: [default]
  notify: Reload nginx
"""

RETURN = r"""
changes:
  description: Paths that changed, below the folder.
  returned: success
  type: list
  elements: str
  sample: [sites-available/shop, sites-enabled/shop]
refused:
  description: Sites that nginx refuses, with its words.
  returned: success
  type: dict
  sample: {shop: 'unknown directive "lissten" in /etc/nginx/sites-available/shop:2'}
verdict:
  description: A message about the refused sites; empty when there are none.
  returned: success
  type: str
  sample: ""
tested:
  description: Whether nginx judged the candidate. False only in check mode, where nginx, its image or a certificate is not there yet.
  returned: success
  type: bool
  sample: true
"""

import os
import shutil
import tempfile

from ansible_collections.quayside.django.plugins.module_utils.nginx_config import (
    AVAILABLE,
    ENABLED,
    Change,
    File,
    Link,
    accepted,
    advice,
    complaint,
    plan,
    verdict,
    wanted,
)
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def read(path: str) -> File | Link | None:
    """The entry at a path; None for nothing or for what is neither a file nor a link."""
    if os.path.islink(path):
        return Link(os.readlink(path))
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            return File(handle.read())
    return None


def read_folder(folder: str, paths: list[str]) -> dict[str, File | Link]:
    """The entries at the paths and in the folders of the sites."""
    for sites in (AVAILABLE, ENABLED):
        if os.path.isdir(f"{folder}/{sites}"):
            paths = paths + [f"{sites}/{name}" for name in os.listdir(f"{folder}/{sites}")]
    entries = {path: read(f"{folder}/{path}") for path in paths}
    return {path: entry for path, entry in entries.items() if entry is not None}


def apply(folder: str, changes: list[Change]) -> None:
    """Make the changes, each by one rename."""
    for change in changes:
        path = f"{folder}/{change.path}"
        if change.after is None:
            os.unlink(path)
            continue
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        # The name begins with a dot: `include sites-enabled/*` does not see it.
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.quayside")
        if os.path.lexists(temporary):
            os.unlink(temporary)
        if isinstance(change.after, Link):
            os.symlink(change.after.target, temporary)
        else:
            with open(temporary, "w", encoding="utf-8") as handle:
                handle.write(change.after.text)
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)


class Judge:
    """nginx as a judge of candidates. ``blind`` is why it could not judge in check mode, where a package or a certificate is not there yet."""

    def __init__(self, module: AnsibleModule, folder: str):
        self.module, self.folder, self.blind = module, folder, ""
        self.command = module.params["test"] or ["nginx", "-t", "-c", "{folder}/nginx.conf"]
        self.program = module.get_bin_path(self.command[0], opt_dirs=["/usr/sbin"])
        if self.program is None or not os.path.isdir(folder):
            self.blind = f"{self.command[0]} is not installed here (no {self.command[0] if self.program is None else folder})"
            if not module.check_mode:
                module.fail_json(msg=f"{self.blind}: apt-get install {self.command[0]}")

    @property
    def shown(self) -> str:
        """The command that shows what nginx says to what lies there."""
        return " ".join(self.command).replace("{folder}", self.folder) if self.module.params["test"] else "nginx -t"

    def complaint(self, changes: list[Change], declared: dict[str, File | Link]) -> str:
        """What nginx says against a copy of the folder with the changes; empty when it takes it, or could not say."""
        if self.blind:
            return ""
        with tempfile.TemporaryDirectory(prefix="nginx-candidate-") as parent:
            candidate = f"{parent}/nginx"
            shutil.copytree(self.folder, candidate, symlinks=True)
            apply(candidate, changes)
            argv = [self.program] + [word.replace("{folder}", candidate) for word in self.command[1:]]
            code, out, words = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
            if code == 0:
                return ""
            said = complaint(words or out, candidate, self.folder, {path: entry.text for path, entry in declared.items() if isinstance(entry, File)})
        if self.module.check_mode and "No such image" in words:
            self.blind = "its image is not there yet"
        elif self.module.check_mode and "cannot load certificate" in said:
            self.blind = f"a certificate is not there yet: {said}"
        elif self.module.check_mode and 'unknown directive "brotli' in said:
            self.blind = f"nginx's module for brotli is not there yet: {said}"
        return "" if self.blind else said


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/etc/nginx"},
            "files": {"type": "dict", "default": {}},
            "sites": {"type": "dict", "default": {}},
            "marker": {"type": "str", "default": "# Made by quayside.django"},
            "disabled": {"type": "list", "elements": "str", "default": []},
            "test": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    params = module.params
    folder = params["folder"]
    for name, text in params["sites"].items():
        if "/" in name or name.startswith("."):
            module.fail_json(msg=f"site {name!r}: a name without / and without a leading dot is needed")
        if not text.startswith(params["marker"]):
            module.fail_json(msg=f"site {name!r}: its text has to begin with {params['marker']!r}")
    everything = wanted(params["files"], params["sites"])
    current = read_folder(folder, list(everything))
    judge = Judge(module, folder)

    def changed(declared: dict) -> list[Change]:
        return plan(current, declared, params["marker"], params["disabled"])

    sites, refused = params["sites"], {}
    if judge.complaint(changed(everything), everything):
        try:
            sites, refused = accepted(params["files"], params["sites"], current, lambda declared: judge.complaint(changed(declared), declared))
        except ValueError as error:
            said = str(error)
            touched = ", ".join(change.path for change in changed(wanted(params["files"], {})))
            what = f"nginx refuses the new configuration ({touched})" if touched else f"{folder} is broken as it stands"
            module.fail_json(msg=f"{what}: {said}.{advice(said)} Nothing was changed, and the running nginx keeps what it has. "
                                 f"See what stands there now with: {judge.shown}")
    if judge.blind and os.path.isdir(folder) and judge.program:
        module.warn(f"Not tested, {judge.blind}")
    changes = changed(wanted(params["files"], sites))
    if not module.check_mode:
        apply(folder, changes)
    module.exit_json(
        changed=bool(changes),
        changes=[change.path for change in changes],
        tested=not judge.blind,
        refused=refused,
        verdict=verdict(refused, sites) if refused else "",
        diff=[change.diff for change in changes],
    )


if __name__ == "__main__":
    main()
