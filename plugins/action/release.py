# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Send the code of a deploy to the host in one archive where the host does not have it yet, and print where it is while it runs.

Ansible would parse each of its sixty files at each run, to find what they import (docs/architecture.md has the figures).
"""
from __future__ import annotations

import base64
import hashlib
import io
import pathlib
import zipfile

from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import printed
from ansible_collections.quayside.django.plugins.plugin_utils import follower

FOLDER = pathlib.Path(printed.__file__).parent


def archive() -> bytes:
    """Return all of ``module_utils`` as a zip file, the same one each time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in sorted(FOLDER.glob("*.py")):
            file.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        following = follower.begin((task_vars or {}).get("inventory_hostname", "host"), self._task.args, self._connection)
        packed = archive()
        code = {"code_hash": hashlib.sha256(packed).hexdigest()}
        try:
            done = self._execute_module(module_args={**self._task.args, **code}, task_vars=task_vars)
            if done.get("code_missing"):
                code["code"] = base64.b64encode(packed).decode()
                done = self._execute_module(module_args={**self._task.args, **code}, task_vars=task_vars)
            result = {**result, **done}
        finally:
            if following:
                following.stop(result)
        return result
