# SPDX-License-Identifier: GPL-3.0-or-later
"""How the variables of an app are written in the files of the inventory, where YAML reads a number or a truth and so another text arrives.

Ansible keeps for each key where it was read (since 2.19). What comes from an encrypted file, an expression or a plugin is not looked at.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ansible_collections.quayside.django.plugins.module_utils import env_file, fields

try:
    from ansible._internal._datatag._tags import Origin  # no public way is known (ansible-core 2.19 to 2.21)
except ImportError:
    Origin = None

# Documented to arrive as Django's settings expect them (docs/app-model.md).
EXPECTED = {"true", "false", "True", "False", "TRUE", "FALSE", "null", "Null", "NULL", "~", ""}
SCALAR = r"^(?:\"{0}\"|'{0}'|{0})\s*:\s+([^\s#,}}\"'{{\[!&*|>][^\s#,}}]*)"


def written(key) -> str:
    """Return the plain scalar behind a key as its file has it, empty where that is not known."""
    origin = Origin.get_tag(key) if Origin else None
    if origin is None or not origin.path or not origin.line_num or not origin.col_num:
        return ""
    try:
        with open(origin.path, encoding="utf-8") as file:
            line = file.read().split("\n")[origin.line_num - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
    found = re.match(SCALAR.format(re.escape(str(key))), line[origin.col_num - 1:])
    return found[1] if found else ""


def file_of(value) -> str:
    """Return the file that a value was read from, empty where that is not known."""
    origin = Origin.get_tag(value) if Origin else None
    return os.path.relpath(origin.path) if origin is not None and origin.path else ""


def of_variables(env, label: str, read=written) -> list[str]:
    """Return a text for each variable that does not arrive as it is written; ``read`` returns the scalar behind a key."""
    found = []
    for key, value in env.items() if isinstance(env, Mapping) else []:
        if isinstance(value, (bool, int)):
            scalar = read(key)
            if scalar not in EXPECTED and scalar != env_file.text(value):
                found.append(f"{label}: {key} is written {scalar} without quotes, and arrives as {env_file.text(value)}: write it in quotes, \"{scalar}\"")
    return found


def findings(app, read=written) -> list[str]:
    """Return what is changed by YAML in one app as the inventory has it: everything that becomes a variable, an argument of a build or a header."""
    if not isinstance(app, Mapping):
        return []
    found, label = [], f"app {app.get('name', '')}"
    for path, check in fields.CHECKS.items():
        if check in (fields.variables, fields.arguments, fields.headers):
            for field, value in fields.raw_values(app, path.split(".")):
                found += of_variables(value, f"{label}: {field}", read)
    return found
