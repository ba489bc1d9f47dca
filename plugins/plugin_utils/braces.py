# SPDX-License-Identifier: GPL-3.0-or-later
"""Which value of the inventory Ansible takes for a template and cannot read, such as a password with braces in it. For the controller."""
from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.template import is_trusted_as_template
from ansible_collections.quayside.django.plugins.module_utils import secret_needs
from ansible_collections.quayside.django.plugins.plugin_utils import spelling

MARKS = ("{{", "{%", "{#")
DEPTH = 12  # variables that name each other


class Search:
    """A search among ``variables``, raw ones, for the value that cannot be rendered; ``render`` renders one and raises AnsibleError.

    Without ``render`` only comments are looked for: Ansible drops what stands in them without a word.
    """

    def __init__(self, variables: Mapping, render=None):
        self.render, self.variables = render, variables

    def culprit(self, value, where: str, depth: int = 0) -> tuple | None:
        """Return (where, value) of the innermost value that is no good template, None where there is none."""
        if isinstance(value, (Mapping, list)):
            for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
                label = item.get("name", key) if isinstance(item, Mapping) and isinstance(value, list) else key
                found = self.culprit(item, f"{where}[{label}]" if isinstance(value, list) else f"{where}.{label}", depth)
                if found:
                    return found
            return None
        if not isinstance(value, str) or not is_trusted_as_template(value) or not any(mark in value for mark in MARKS) or depth > DEPTH:
            return None
        for name in secret_needs.names(value):
            found = self.culprit(self.variables[name], name, depth + 1) if name in self.variables else None
            if found:
                return found
        if "{#" in value:
            return where, value
        try:
            if self.render:
                self.render(value)
        except AnsibleError:
            return where, value
        return None


def reason(where: str, value, names: set) -> str:
    """Return what is wrong with a value that is no good template, without the value; empty where it is a variable that is simply not there.

    ``names``: the variables that are there.
    """
    path = secret_needs.path(value)
    if path and path[0] not in names and where.endswith(".secrets"):
        return ""
    key, file = where.rpartition(".")[2], spelling.file_of(value)
    place = f"in {file}" if file else "where it is written"
    unknown = [name for name in secret_needs.names(value) if name not in names] if path else []
    meant = f"{', '.join(unknown)} is not defined" if unknown else "it cannot be read as one"
    return (f"{where} holds {' or '.join(mark for mark in MARKS if mark in value)}, which Ansible takes for a template, and {meant}: "
            f"if the braces belong to the value, write !unsafe before its quotes {place} ({key} then has the value !unsafe '…'), else correct the template")


def findings(variables: Mapping, render=None) -> list[str]:
    """Return what is wrong with the braces in ``django_apps``; empty where another reason has to be told."""
    found = Search(variables, render).culprit(variables.get("django_apps"), "django_apps")
    text = reason(*found, set(variables)) if found else ""
    return [text] if text else []
