# SPDX-License-Identifier: GPL-3.0-or-later
"""The apps as an inventory declares them, also while some of what they name is not there yet: secrets, addresses of hosts to come."""
from __future__ import annotations

import copy
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible_collections.quayside.django.plugins.module_utils import fields, model, secret_needs


class Declared:
    """The apps of one host's variables. ``templar``: one of Ansible's; ``variables``: raw ones."""

    def __init__(self, templar, variables: dict):
        self.findings: list[str] = []
        self.variables = dict(variables)
        self.templar = templar
        self.apps = [app for app in (self.read(raw) for raw in self.raw_apps()) if app]

    def render(self, value, extra: dict | None = None):
        """Return a value with all in it filled in; raise AnsibleError."""
        missing = {name: empty for name, empty in (extra or {}).items() if self.variables.get(name) is None}
        return model.plain(self.templar.copy_with_new_env(available_variables={**self.variables, **missing}).template(value))

    def as_far_as_known(self, value):
        """Return a value with all in it filled in that can be; what cannot stays as it is written, for the model to judge."""
        try:
            return self.render(value)
        except AnsibleError:
            if isinstance(value, Mapping):
                return {str(key): self.as_far_as_known(item) for key, item in value.items()}
            return [self.as_far_as_known(item) for item in value] if isinstance(value, list) else value

    def follow(self, raw):
        """Return what a template that is one variable leads to, as it is written there; anything else as it is."""
        for _step in range(8):
            steps = secret_needs.path(raw)
            found = self.variables if steps else None
            for step in steps:
                found = found.get(step) if isinstance(found, Mapping) else None
            if found is None:
                return raw
            raw = found
        return raw

    def raw_apps(self) -> list:
        """Return the apps as they are written, templates and all."""
        raw = self.follow(self.variables.get("django_apps") or [])
        if not isinstance(raw, list):
            return self.in_expression(raw)
        return [app for app in (self.follow(one) for one in raw) if isinstance(app, Mapping)]

    def in_expression(self, text) -> list:
        """Return the apps as they are written in the variables that an expression is made from, those of them that it comes to where that can be known."""
        found = []
        for name in secret_needs.names(text):
            value = self.follow("{{ " + name + " }}")
            several = [self.follow(one) for one in (value if isinstance(value, list) else [value])]
            found += [app for app in several if isinstance(app, Mapping) and "name" in app]
        try:
            chosen = {app.get("name") for app in self.render(text)}
        except AnsibleError as error:
            if not found:
                self.findings.append(f"django_apps cannot be read: {first_line(error)}")
            return found
        return [app for app in found if app["name"] in chosen]

    def read(self, raw: Mapping) -> dict | None:
        """Return one app, None when it is wrong: ``name``, ``raw`` (its secrets as they are written), ``have`` (their values), ``needed``, ``app``."""
        known, label = {}, str(raw.get("name", "without a name"))
        for key, value in raw.items():
            if key == "secrets":
                continue
            known[str(key)] = self.as_far_as_known(value)
        known.setdefault("settings", "unknown")
        secrets = raw.get("secrets") or {}
        have = self.values(secrets)
        wrong, params = model.validate(dict(known, secrets={}))
        # A name that cannot be rendered yet is judged by the playbook that needs it.
        wrong = wrong or ([] if "{{" in f"{params['name']}{params['user']}" else fields.findings(model.derive(copy.deepcopy(params)), ("name", "user")))
        if wrong:
            self.findings += [f"app {label}: {text}" for text in wrong]
            return None
        app = model.derive(params)
        app["secrets"] = have
        return {"name": app["name"], "raw": secrets, "have": have, "app": app, "needed": secret_needs.needed(app)}

    def values(self, secrets) -> dict:
        """Return name -> text of the secrets that are there; what cannot be read is not there."""
        try:
            found = self.render(secrets, secret_needs.roots(secrets))
        except AnsibleError:
            found = {}
            for name, value in secrets.items() if isinstance(secrets, Mapping) else []:
                try:
                    found[name] = self.render(value)
                except AnsibleError:
                    continue
            base = secret_needs.path(secrets)
            if base:  # `vault_shop | combine(…)`, of which the second part is not known here
                found = self.follow("{{ " + base[0] + " }}")
                for step in base[1:]:
                    found = found.get(step) if isinstance(found, Mapping) else None
        return {str(name): "" if value is None else str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def first_line(error: Exception) -> str:
    """Return the first line of an error of Ansible."""
    return str(error).splitlines()[0]


def of_hosts(templar, task_vars: dict) -> tuple[list[dict], list[str]]:
    """Return the apps of all hosts that carry some, each once for each way in which hosts differ, and what is wrong."""
    groups = task_vars["groups"]
    apps, findings = {}, []
    for host in groups.get("apps") or groups["all"]:
        declared = Declared(templar, task_vars["hostvars"].raw_get(host))
        findings += [text for text in declared.findings if text not in findings]
        for app in declared.apps:
            apps.setdefault((app["name"], str(sorted(app["needed"])), str(app["raw"])), app)
    return list(apps.values()), findings
