# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make the secrets that are missing, in the environment's vault file; runs on the controller only."""
from __future__ import annotations

import os

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import model, preflight, printed, secret_needs, vault_file
from ansible_collections.quayside.django.plugins.plugin_utils import declared, vault_store


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec={
            "path": {"type": "path", "default": ""},
            "encrypt": {"type": "bool", "default": False},
            "app": {"type": "str", "default": ""},
            "also": {"type": "list", "elements": "str", "default": []},
            "value_file": {"type": "path", "default": ""},
            "length": {"type": "int", "default": 0},
        })
        try:
            return self._make(task_vars, args)
        except (vault_file.VaultFileError, AnsibleError) as error:
            return refused([declared.first_line(error) if isinstance(error, AnsibleError) else str(error)])

    def _make(self, task_vars, args):
        """Make what is missing and return what came of it."""
        hosts = {name: {"environment": self._templar.template(task_vars["hostvars"].raw_get(name).get("django_environment", "")),
                        "groups": task_vars["hostvars"].raw_get(name).get("group_names", [])} for name in task_vars["groups"]["all"]}
        wrong = preflight.environments(hosts, list(task_vars["groups"]), list(task_vars.get("ansible_inventory_sources") or []))
        if wrong:
            return refused(wrong)
        environment = next(iter(hosts.values()))["environment"]
        apps, findings = declared.of_hosts(self._templar, task_vars)
        if not apps and not findings:
            findings = ["no app is declared: describe one in django_apps (docs/getting-started.md)"]
        if findings:
            return refused(findings)
        for app in apps if args["also"] else []:
            if args["app"] in ("", app["name"]):
                app["needed"].update(dict.fromkeys(args["also"], "asked for"))
        if args["length"] and (not args["also"] or not model.SECRET_LENGTH <= args["length"] <= 1024):
            return refused([f"secret_length is for what -e secret=NAME makes, from {model.SECRET_LENGTH} to 1024 characters"])
        passwords = {name for app in apps for name in model.made_here(app["app"])}
        values = {name: vault_store.given(name, args["value_file"], passwords) for name in args["also"] if args["value_file"]}
        plan = secret_needs.plan(apps, set(values))
        made = self._write(plan["make"], task_vars["inventory_dir"], environment, args, apps, values)
        lines = [f"{file}: {'would get' if self._task.check_mode else 'has got'} {vault_file.names(places)}" for file, places in made.items()]
        asked = [one for one in plan["ask"] if not self._there(one[-1], task_vars["inventory_dir"], environment, args["path"])]
        lines += [f"only you can know {name} of the app {app} ({reason}), {who}: put it into {'.'.join(where) if where else 'its secrets'}"
                  for app, name, reason, who, where in asked]
        lines += hints(apps)
        after = {file: [f"{'.'.join(place)}: (not shown)" for place in places] for file, places in made.items()}
        result = {"changed": bool(made), "files": sorted(made), "made": sorted(".".join(place) for places in made.values() for place in places),
                  "ask": [f"{app}: {name}" for app, name, _reason, _who, _where in asked], "lines": lines or ["no secret is missing"],
                  "diff": {"before": dict.fromkeys(made, []), "after": after}}
        return dict(result, **refused(plan["stuck"])) if plan["stuck"] else result

    def _write(self, wanted, folder, environment, args, apps, values):
        """Write new values; return file -> places. Places whose variable is in no file of the inventory go to the environment's own."""
        chosen, stores, found = args["path"], {}, {}
        known = {root for app in apps for root in secret_needs.roots(app["raw"])}
        for place, name in wanted.items():
            store = vault_store.find(folder, environment, place[0], chosen)
            path = store.path if store else os.path.realpath(chosen or vault_store.default_path(folder, environment))
            if store is None and place[0] in known and self._defined(place[0]):
                raise vault_file.VaultFileError(f"{place[0]} is defined, but in no vault file of {folder}/group_vars: add {name} to it there, or name its "
                                                "file with -e vault_file=PATH")
            if path not in stores:
                stores[path] = store or self._open(path, environment)
            if vault_file.get(vault_file.parse(stores[path].text), place):
                continue  # written since this run has read its variables
            found.setdefault(path, {})[place] = values.get(name) or secret_needs.make(name, args["length"] if name in args["also"] else 0)
        for path, changes in found.items():
            try:
                stores[path].write(changes, args["encrypt"], dry=self._task.check_mode)
            except vault_file.VaultFileError as error:
                raise vault_file.VaultFileError(f"{path}: {error}") from None
        return {os.path.relpath(path): list(changes) for path, changes in found.items()}

    def _there(self, place, folder, environment, chosen):
        """Return True when a file holds a value at a place by now."""
        store = vault_store.find(folder, environment, place[0], chosen) if place else None
        return bool(store) and bool(vault_file.get(vault_file.parse(store.text), place))

    def _open(self, path, environment):
        """Return the store of a file."""
        try:
            return vault_store.Store(path, environment)
        except vault_file.VaultFileError as error:
            raise vault_file.VaultFileError(f"{path}: {error}") from None

    def _defined(self, root):
        """Return True when a variable has a value on this run's first host."""
        return self._templar.available_variables.get(root) is not None


def hints(apps):
    """Return what may be missing, which nobody but the user can tell."""
    found = []
    for app in apps:
        repo = app["app"]["source"]["repo"]
        if repo and "{{" not in repo and "://" not in repo.replace("ssh://", "") and not app["have"].get("SOURCE_KEY"):
            found.append(f"{repo} is reached by SSH: if it is private, the app {app['name']} needs SOURCE_KEY, {secret_needs.GIVEN['SOURCE_KEY']}")
        made = model.made_here(app["app"])
        found += [f"the app {app['name']} has short secrets, which are left as they are: {name}" +
                  (f" (at least {model.SECRET_LENGTH} characters, or every playbook refuses it)" if name in made else "")
                  for name, value in app["have"].items() if value and len(value) < model.SECRET_LENGTH]
    return list(dict.fromkeys(found))


def refused(findings):
    """Return a failure."""
    return {"failed": True, "findings": findings, "msg": "\n".join(findings)}
