# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true of the whole collection."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = "ansible_collections.quayside.django.plugins"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (ROOT / "plugins" / "action").glob("*.py"))
FILTERS = sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("*.py"))
PLATFORMS = {"Debian": {"bookworm", "trixie"}, "Ubuntu": {"jammy", "noble"}}


def tracked():
    """Return the files that git has or would take, and that are there."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=False)
    return sorted(path for path in {ROOT / name for name in done.stdout.decode().split("\0") if name} if path.is_file() and not path.is_symlink())


FILES = tracked()
YAML = [path for path in FILES if path.suffix in (".yml", ".yaml")]


def read(path, missing=None):
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else missing


def places(pattern, files):
    """Return file:line of each line that matches."""
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if re.search(pattern, line)]
    return found


# Roles


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ["README.md", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "defaults/main.yml"])
def test_every_role_has(role, name):
    assert (ROOT / "roles" / role / name).is_file()


@pytest.mark.parametrize("role", ROLES)
def test_every_role_says_where_it_runs(role):
    info = read(ROOT / "roles" / role / "meta" / "main.yml")["galaxy_info"]
    assert (info["license"], info["min_ansible_version"]) == ("GPL-3.0-or-later", "2.19")
    assert info["description"]
    if role != "lab":
        assert {platform["name"]: set(platform["versions"]) for platform in info["platforms"]} == PLATFORMS


def options(role):
    """Return the options of all entry points of a role."""
    specs = read(ROOT / "roles" / role / "meta" / "argument_specs.yml", {"argument_specs": {}})["argument_specs"]
    return {name: spec for entry in specs.values() for name, spec in (entry.get("options") or {}).items()}


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_a_spec(role):
    assert sorted(set(read(ROOT / "roles" / role / "defaults" / "main.yml", {})) - set(options(role))) == []


@pytest.mark.parametrize("role", ROLES)
def test_every_spec_has_a_default_or_is_required(role):
    defaults = read(ROOT / "roles" / role / "defaults" / "main.yml", {})
    assert [name for name, spec in options(role).items() if name not in defaults and not spec.get("required") and not name.startswith("django_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_default_is_the_same_in_both_places(role):
    defaults = read(ROOT / "roles" / role / "defaults" / "main.yml", {})
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert {name: spec["default"] for name, spec in options(role).items() if name in plain and "default" in spec} == {
        name: value for name, value in plain.items() if name in options(role) and (value not in (None, "", [], {}) or "default" in options(role)[name])}


@pytest.mark.parametrize("role", ROLES)
def test_every_spec_has_a_type_and_a_description(role):
    assert [name for name, spec in options(role).items() if not spec.get("type") or not spec.get("description")] == []


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_wear_the_name_of_their_role(role):
    names = set(options(role)) | set(read(ROOT / "roles" / role / "defaults" / "main.yml", {}))
    assert [name for name in names if not name.startswith((f"{role}_", "django_"))] == []
    assert [name for name in read(ROOT / "roles" / role / "vars" / "main.yml", {}) or {} if not name.startswith(f"__{role}_") and name != "__app"] == []


# Modules and filters


def documentation(name):
    return importlib.import_module(f"{PLUGINS}.modules.{name}")


def fragments(doc):
    """Return the options that documentation fragments bring."""
    found = {}
    for fragment in doc.get("extends_documentation_fragment", []):
        module = importlib.import_module(f"{PLUGINS}.doc_fragments.{fragment.split('.')[-1]}")
        found.update(yaml.safe_load(module.ModuleDocFragment.DOCUMENTATION).get("options", {}))
    return found


class SeenError(Exception):
    pass


def argument_spec(name, monkeypatch):
    """Return the argument spec of a module, or of the action plugin that stands in for it, and what else AnsibleModule is given."""
    def see(*_args, argument_spec=None, **others):
        raise SeenError(argument_spec, others)

    if not hasattr(documentation(name), "main"):
        plugin = importlib.import_module(f"{PLUGINS}.action.{name}").ActionModule
        monkeypatch.setattr(ActionBase, "run", lambda *_args, **_options: {})
        monkeypatch.setattr(plugin, "validate_argument_spec", see)
        with pytest.raises(SeenError) as seen:
            plugin.__new__(plugin).run(None, {})
        return seen.value.args[0], {"supports_check_mode": True}
    module = documentation(name)
    monkeypatch.setattr(module, "AnsibleModule", see)
    with pytest.raises(SeenError) as seen:
        module.main()
    return seen.value.args


def described(options):
    """Return what a documentation says of options, in the words of an argument spec."""
    return {name: {"type": option.get("type", "str"), "required": option.get("required", False), "default": option.get("default"),
                   "choices": sorted(map(str, option.get("choices", []))), "elements": option.get("elements"),
                   "options": described(option["suboptions"]) if option.get("suboptions") else None} for name, option in options.items()}


def specified(spec):
    """Return the same of an argument spec."""
    return {name: {"type": option.get("type", "str"), "required": option.get("required", False), "default": option.get("default"),
                   "choices": sorted(map(str, option.get("choices") or [])), "elements": option.get("elements"),
                   "options": specified(option["options"]) if option.get("options") else None} for name, option in spec.items()}


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_of_a_module_is_its_argument_spec(name, monkeypatch):
    doc = yaml.safe_load(documentation(name).DOCUMENTATION)
    spec, _others = argument_spec(name, monkeypatch)
    assert described({**fragments(doc), **doc.get("options", {})}) == specified(spec)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_documented_whole(name):
    doc = yaml.safe_load(documentation(name).DOCUMENTATION)
    assert doc["module"] == name
    assert doc["version_added"] == "0.1.0"
    assert doc["short_description"]
    assert doc["description"]
    assert doc["author"]
    assert doc["attributes"]["check_mode"]["support"] in ("full", "partial", "none")
    assert doc["attributes"]["diff_mode"]["support"] in ("full", "partial", "none")
    assert all(option["description"] for option in doc.get("options", {}).values())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_check_mode_as_it_says(name, monkeypatch):
    _spec, others = argument_spec(name, monkeypatch)
    support = yaml.safe_load(documentation(name).DOCUMENTATION)["attributes"]["check_mode"]["support"]
    assert others.get("supports_check_mode", False) is (support != "none")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_tasks_of_it(name):
    tasks = yaml.safe_load(documentation(name).EXAMPLES)
    assert [task for task in tasks if not task.get("name")] == []
    assert any(f"quayside.django.{name}" in task for task in tasks)
    spec_names = set(fragments(doc := yaml.safe_load(documentation(name).DOCUMENTATION))) | set(doc.get("options", {}))
    for task in tasks:
        assert set(task.get(f"quayside.django.{name}") or {}) <= spec_names


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_returns_is_documented(name):
    values = yaml.safe_load(documentation(name).RETURN)
    assert values
    assert [key for key, value in values.items() if not value.get("description") or not value.get("type") or not value.get("returned")] == []


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_the_module_that_documents_it(name):
    assert name in MODULES


@pytest.mark.parametrize("file", FILTERS)
def test_every_filter_is_documented_in_a_file_of_its_name(file):
    for name in importlib.import_module(f"{PLUGINS}.filter.{file}").FilterModule().filters():
        found = read(ROOT / "plugins" / "filter" / f"{name}.yml")
        assert found["DOCUMENTATION"]["name"] == name
        assert found["DOCUMENTATION"]["description"]
        assert f"quayside.django.{name}" in found["EXAMPLES"]
        assert found["RETURN"]["_value"]["description"]


def test_no_filter_is_documented_that_is_not_there():
    there = {name for file in FILTERS for name in importlib.import_module(f"{PLUGINS}.filter.{file}").FilterModule().filters()}
    assert {path.stem for path in (ROOT / "plugins" / "filter").glob("*.yml")} == there


# What modules send to a host has to run there.


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_plugin_has_its_licence_and_postponed_annotations(path):
    text = path.read_text(encoding="utf-8")
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in text.split("\n\n")[0]
    assert "from __future__ import annotations" in text or path.stem in ("django_run", "celery_control")
    if path.parent.name in ("modules", "action", "filter"):
        assert "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)" in text


# All files


def test_there_are_files_to_look_at():
    assert ROOT / "galaxy.yml" in FILES


def test_the_version_is_in_the_changelog():
    assert re.search(rf"\bv?{re.escape(read(ROOT / 'galaxy.yml')['version'])}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def test_no_yaml_has_tabs():
    assert places(r"^\s*\t", YAML) == []


def test_no_file_names_a_place_of_this_machine():
    # Two scenarios look after the home of root on servers of the lab.
    files = [path for path in FILES if path.name != "LICENSE" and not {"hostile-app", "neighbours"} & set(path.parts)]
    assert places("/work/" + r"main\b|/root" + r"/(?!\.)", files) == []


def test_no_file_holds_a_private_key_or_a_token():
    secret = re.compile(rb"PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}|\bghp_[A-Za-z0-9]{30}|\bAKIA[0-9A-Z]{16}\b")
    assert [path.relative_to(ROOT) for path in FILES if secret.search(path.read_bytes())] == []


def test_errors_are_not_ignored():
    assert places(r"^\s*ignore_errors:", YAML) == []


def test_no_work_is_left_behind():
    assert places(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", [path for path in FILES if path.suffix in (".py", ".yml", ".j2", ".md", ".sh")]) == []


@pytest.mark.parametrize("path", sorted((ROOT / "roles").glob("*/tasks/**/*.yml")), ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_a_task_file_is_short_and_all_its_tasks_are_named(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 90
    assert [task for task in every_task(read(path)) if not task.get("name")] == []


def every_task(tasks):
    for task in tasks or []:
        yield task
        for inner in ("block", "rescue", "always"):
            yield from every_task(task.get(inner))


def test_the_page_of_the_app_model_is_current():
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "app-model-doc"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_messages_name_playbooks_as_who_has_installed_the_collection_calls_them():
    """There is no folder playbooks/ in the project of a user; ``quayside.django.site`` works there and in a checkout."""
    paths = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "roles" / "app").rglob("*.yml")]
    wrong = [str(path.relative_to(ROOT)) for path in paths if re.search(r"playbooks/[a-z-]+\.yml", path.read_text(encoding="utf-8"))]
    assert wrong == []
