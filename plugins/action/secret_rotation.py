# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The vault file's part in the change of a secret; runs on the controller only."""
from __future__ import annotations

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.quayside.django.plugins.module_utils import env_file, model, printed, rotation, secret_needs, vault_file
from ansible_collections.quayside.django.plugins.plugin_utils import declared, vault_store


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    @printed.cleaned
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(argument_spec={
            "step": {"type": "str", "required": True, "choices": ["plan", "stage", "abort", "commit", "finish"]},
            "app": {"type": "str", "default": ""},
            "secret": {"type": "str", "default": ""},
            "value_file": {"type": "path", "default": ""},
            "new": {"type": "dict", "default": {}, "no_log": True},
            "keep": {"type": "int", "default": rotation.KEEP},
        })
        try:
            self._read(task_vars, args["app"])
            return self._plan(args) if args["step"] == "plan" else self._write(args)
        except model.ModelError as error:
            return refused(error.findings)
        except (vault_file.VaultFileError, rotation.RotationError, env_file.EnvError, AnsibleError) as error:
            return refused([declared.first_line(error)])

    def _read(self, task_vars, name):
        """Find the app, its secrets and the file that they are in."""
        host = (task_vars["groups"].get("apps") or task_vars["groups"]["all"])[0]
        here = task_vars["inventory_hostname"]
        variables = task_vars["hostvars"].raw_get(here if here in task_vars["groups"].get("apps", []) else host)
        templar = self._templar.copy_with_new_env(available_variables=variables)
        self.app = model.choose(model.load(templar.template(variables.get("django_apps", []))), name)
        found = declared.Declared(self._templar, variables)
        self.raw = next((one["raw"] for one in found.apps if one["name"] == self.app["name"]), {})
        self.folder, self.environment = task_vars["inventory_dir"], templar.template(variables.get("django_environment", ""))

    def _store(self, name):
        """Return the file that holds a secret, and the secret's place in it."""
        place = secret_needs.place(self.raw, name)
        if not place:
            raise rotation.RotationError(f"the secrets of {self.app['name']} come from no variable of a vault file, so no play can write them: change {name} "
                                         "where it is kept, then quayside.django.deploy; for what a server knows too see docs/secrets.md, \"By hand\"")
        store = vault_store.find(self.folder, self.environment, place[0])
        if store is None or vault_file.get(vault_file.parse(store.text), place) is None:
            raise rotation.RotationError(f"{'.'.join(place)} is in no vault file of {self.folder}/group_vars: {name} comes from elsewhere, change it "
                                         "there")
        if isinstance(self.raw, dict) and name in model.ROTATED:
            raise rotation.RotationError(f"the app names its secrets one by one, and a rotation needs room for two values of {name}: write them as one "
                                         f"variable, secrets: \"{{{{ vault_{self.app['name'].replace('-', '_')} }}}}\"")
        return store, place

    def _plan(self, args):
        """Return what is to be changed, and where a rotation goes on that was interrupted."""
        secrets = self.app["secrets"]
        step, names = rotation.pending(secrets)
        if step:
            new = {name: secrets[f"{name}_NEXT"] if step == "stage" else secrets[name] for name in names}
            old = {name: secrets[name] if step == "stage" else secrets[f"{name}_PREVIOUS"] for name in names}
        else:
            names = rotation.chosen(self.app, args["secret"])
            new = {name: self._value(name, args) for name in names}
            old = {name: secrets.get(name, "") for name in names}
        store, _place = self._store(names[0]) if names else (None, None)
        for name in names:
            self._store(name)
        if store is not None and not step:
            store.write({secret_needs.place(self.raw, name): value for name, value in new.items()}, dry=True)
        listed = ", ".join(names)
        what = f"{'would be' if self._task.check_mode else 'to be'} changed: {listed}" if names else "no secret can be changed here"
        lines = [f"{self.app['name']}: " + (f"a rotation was interrupted, and goes on: {listed}" if step else what)]
        later = [name for name in rotation.chosen(self.app, args["secret"]) if name not in names] if step and args["secret"] else []
        if later:
            lines.append(f"{', '.join(later)}: not changed by this run, type it again afterwards")
        return {"_ansible_no_log": True, "changed": False, "at": step or "prepare", "names": names, "new": new, "lines": lines,
                "passwords": {name: {"old": old[name], "new": new[name]} for name in names}, "twofold": any(name in model.ROTATED for name in names)}

    def _value(self, name, args):
        """Return a new value: made here, or that of a person."""
        if name in model.ROTATED and not args["value_file"]:
            return secret_needs.make(name)
        if self._task.check_mode and not args["value_file"]:
            return secret_needs.make(name)  # for a look at what would be done
        return vault_store.given(name, args["value_file"])

    def _write(self, args):
        """Write one step into the file; return the variable as it is now."""
        new, secrets = args["new"], self.app["secrets"]
        changes = {"stage": lambda: rotation.staged(new), "abort": lambda: {"SECRET_KEY_NEXT": None},
                   "commit": lambda: rotation.committed(secrets, new, args["keep"]), "finish": lambda: rotation.finished(list(new))}[args["step"]]()
        store, place = self._store(next(iter(new)))
        changes = {secret_needs.place(self.raw, name): value for name, value in changes.items()}
        data = vault_file.parse(store.text)
        changes = {where: value for where, value in changes.items() if vault_file.get(data, where) != value}
        if changes:
            store.write(changes)
        roots = {where[0] for where in [place, *changes]}
        return {"_ansible_no_log": True, "changed": bool(changes), "variables": {root: vault_file.parse(store.text)[root] for root in roots}}


def refused(findings):
    """Return a failure."""
    return {"failed": True, "msg": "nothing was changed, because:\n" + "\n".join(f"- {finding}" for finding in findings)}
