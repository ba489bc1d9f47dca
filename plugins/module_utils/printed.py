# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes from a server or an app reaches a terminal and a CI log as text that steers neither. ``clean`` is pure.

Each module ends by the ``AnsibleModule`` of this file and each action by ``cleaned``, so that nobody has to remember which text is whose.
"""
from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping

from ansible.module_utils import basic

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# GitHub's runner trims a line before it looks for ::command::, and looks for ##[command] anywhere in it, as Azure's does for ##vso[
# (actions/runner, ActionCommand.cs). TeamCity: ##teamcity[
ANYWHERE = re.compile(r"##(?=[A-Za-z0-9_.-]*\[)")
AT_START = re.compile(r"^(\s*)::(?=[^\n]*::)")
# Ansible's YAML breaks long lines at spaces, so that what stands behind one may begin a line.
AT_SPACE = re.compile(r"(?<=\s)::(?=[A-Za-z][A-Za-z0-9_-]*(?:\s[^\n]*)?::)")
# What Ansible's own callback begins a line with, and the line of a host in its recap.
ANSIBLE = re.compile(
    r"^\s*(?:(?:PLAY|TASK|HANDLER|RUNNING HANDLER|PLAY RECAP|NO MORE HOSTS LEFT|NO HOSTS MATCHED|STATS|META)(?:\b[^\n]*)?(?:\[|\*{2,}|\Z)"
    r"|(?:ok|changed|fatal|failed|skipping|unreachable|included|rescued|ignored): \[|\[(?:ERROR|WARNING|DEPRECATION WARNING)\]:|ERROR! "
    r"|\S+\s+:\s+ok=[0-9])")
QUOTE = "| "
ALLOWED = "\n\t\u200c\u200d"  # the last two join signs in Persian, Hindi and emoji


def clean(value):
    """Return a text, or any JSON with all texts in it, that steers no terminal and no CI runner. What is harmless is returned as it is.

    Colours go, other control characters, marks that hide or reorder signs and halves of surrogates are shown as their escapes, a carriage return
    ends a line. What a runner would take for a command gets a space, and a line that a reader would take for Ansible's own a bar. Twice is the same
    as once.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def _text(value: str) -> str:
    """Return a text that is safe to print."""
    if value.isascii() and value.isprintable() and "::" not in value and "##" not in value and not ANSIBLE.match(value):
        return value
    shown = re.sub(r"\r+\n", "\n", COLOUR.sub("", value)).replace("\r", "\n")
    shown = "".join(sign if sign in ALLOWED or not _steers(sign) else _escape(sign) for sign in shown)
    shown = "\n".join(_line(line) for line in shown.split("\n"))
    return value if shown == value else shown


def _line(line: str) -> str:
    """Return a line that is no command."""
    line = AT_SPACE.sub(": :", AT_START.sub(r"\1: :", ANYWHERE.sub("# #", line)))
    return QUOTE + line if ANSIBLE.match(line) else line


def _steers(sign: str) -> bool:
    """Return True for what is not a sign that one sees: controls, formats, surrogates, separators of lines."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(sign: str) -> str:
    """Return a sign as Python writes it."""
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cleaned(run):
    """Return the ``run`` of an action with a result that is safe to print. A result that Ansible does not print is left alone: it holds secrets."""
    @functools.wraps(run)
    def wrapper(self, tmp=None, task_vars=None):
        result = run(self, tmp, task_vars)
        return result if result.get("_ansible_no_log") else clean(result)

    return wrapper


class AnsibleModule(basic.AnsibleModule):
    """Ansible's, whose results and warnings are safe to print."""

    def exit_json(self, **kwargs) -> None:
        super().exit_json(**clean(kwargs))

    def fail_json(self, msg, **kwargs) -> None:
        super().fail_json(clean(str(msg)), **clean(kwargs))

    def warn(self, warning: str, **kwargs) -> None:
        super().warn(clean(warning), **kwargs)
