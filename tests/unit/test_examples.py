# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The example systems: their versions apply, their Dockerfiles keep to good practice, their inventories describe apps that can run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import model

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples"
DOCKERFILES = sorted(EXAMPLES.rglob("Dockerfile"))
LOCKS = sorted(path for path in EXAMPLES.rglob("package-lock.json") if "node_modules" not in path.parts)
REPOSITORIES = sorted(path.parent for path in EXAMPLES.glob("**/make-repository") if path.parent != EXAMPLES)
INVENTORIES = sorted(path.parent for path in EXAMPLES.glob("*/inventories/*/hosts.yml"))
# What playbooks/lab.yml writes into local.yml, with lab_secrets.
LAB = {"lab_private_key": "key", "lab_git_url": "git://172.28.0.2", "lab_mirrors": ["http://172.28.0.3:5001"], "lab_registry": "172.28.0.3:5000",
       "lab_registry_user": "deployer", "lab_registry_password": "a password of the lab", "lab_acme": "https://172.28.0.3:14000/dir",
       "lab_acme_roots": "https://172.28.0.3:15000/roots/0"}


def name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


@pytest.mark.parametrize("folder", REPOSITORIES, ids=name)
def test_every_version_can_be_made(folder, tmp_path):
    done = subprocess.run([folder / "make-repository", tmp_path / "it.git"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [line.split()[1] for line in done.stdout.splitlines()]
    lines = (folder / "versions" / "history").read_text().splitlines()
    assert made == ["v1", *[line.split()[0] for line in lines if not line.startswith(("#", "main "))]]
    assert {path.stem for path in (folder / "versions").glob("*.patch")} == set(made) - {"v1"}
    listed = subprocess.run(["git", f"--git-dir={tmp_path / 'it.git'}", "ls-tree", "-r", "--name-only", "v1"], capture_output=True, text=True, check=True)
    assert not [path for path in listed.stdout.split() if path.startswith(("inventories/", "group_vars/", "versions/", "make-repository"))]


def stages(dockerfile: Path) -> list[list[str]]:
    """Return the instructions of each stage, its FROM first."""
    text = re.sub(r"\\\n\s*", " ", dockerfile.read_text())
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("FROM "):
            found.append([])
        if found and line and not line.startswith("#"):
            found[-1].append(line)
    return found


@pytest.mark.proves("0.15", "0.18", "0.19", "0.20", "0.21", "1.11", "1.34", "4.68", "4.69", "4.70", "4.72")
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_a_dockerfile_keeps_to_good_practice(dockerfile):
    found = stages(dockerfile)
    assert len(found) >= 2
    for stage in found:
        assert re.match(r"FROM (python:3\.\d\d-slim|node:20-slim|nginx:alpine)( AS \w+)?$", stage[0])
    last = found[-1]
    users = [line.split()[1] for line in last if line.startswith("USER ")]
    assert users and re.match(r"[1-9][0-9]*(:[0-9]+)?$", users[-1])
    assert isinstance(json.loads(next(line for line in last if line.startswith("CMD "))[4:]), list)
    assert [line for line in last if line.startswith("EXPOSE ")]
    assert not [line for line in last if re.search(r"\bapt-get\b|\bnpm\b|\bpip install\b", line)]
    assert (dockerfile.parent / ".dockerignore").is_file() or (dockerfile.parent.parent / ".dockerignore").is_file()


@pytest.mark.proves("0.16", "1.51")
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name)
def test_dependencies_are_installed_before_the_code_comes(dockerfile):
    builder = stages(dockerfile)[0]
    installed = next(number for number, line in enumerate(builder) if re.search(r"npm ci|pip install", line))
    assert not [line for line in builder[:installed] if line.startswith("COPY . ")]


@pytest.mark.parametrize("lock", LOCKS, ids=name)
def test_npm_packages_come_from_anywhere_and_are_what_they_were(lock):
    packages = {path: one for path, one in json.loads(lock.read_text())["packages"].items() if path}
    assert all(one.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/") for one in packages.values())
    assert not [path for path, one in packages.items() if not one.get("integrity", "").startswith("sha512-")]


def lab_variables(inventory: Path) -> dict:
    """Return what local.yml would say of the servers of an inventory."""
    environment = inventory.name
    declared = yaml.safe_load((inventory / "hosts.yml").read_text())["all"]["children"][environment]["hosts"]
    addresses = {host: f"172.28.0.{number}" for number, host in enumerate(declared, 10)}
    secrets = yaml.safe_load((inventory / "group_vars" / "all" / "lab.yml").read_text())["lab_secrets"]
    made = {variable: {key: "x" * length for key, length in keys.items()} for variable, keys in secrets.items()}
    return {**LAB, **made, "lab_addresses": addresses, "lab_ssh_args": dict.fromkeys(addresses, "")}


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """Return a function that renders a variable of the first app server of an inventory as Ansible does."""
    folder = tmp_path_factory.mktemp("variables")
    authority = folder / "ca.crt"
    authority.write_text("a certificate")
    known: dict[tuple, object] = {}

    def render(inventory: Path, variable: str):
        if (inventory, variable) not in known:
            play = folder / "play.yml"
            play.write_text(yaml.safe_dump([{"hosts": "apps", "gather_facts": False, "connection": "local", "tasks": [
                {"ansible.builtin.copy": {"content": "{{ " + variable + " | to_json }}", "dest": str(folder / "answer"), "mode": "0600"},
                 "vars": {"ansible_python_interpreter": sys.executable}}]}]))
            lab = folder / "lab.json"
            lab.write_text(json.dumps({**lab_variables(inventory), "lab_ca": str(authority)}))
            command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "-e", f"@{lab}", str(play)]
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")})
            assert done.returncode == 0, done.stdout + done.stderr
            known[inventory, variable] = json.loads((folder / "answer").read_text())
        return known[inventory, variable]

    return render


@pytest.mark.parametrize("inventory", INVENTORIES, ids=name)
def test_an_inventory_describes_an_app_that_can_run(inventory, variables):
    (app,) = model.load(variables(inventory, "django_apps"))
    assert app["name"] == inventory.parts[-3]
    assert app["tls"]["mode"] != "none"


def app_of(example: str, environment: str, variables) -> dict:
    """Return the app of an example, as the model has it."""
    return model.load(variables(EXAMPLES / example / "inventories" / environment, "django_apps"))[0]


@pytest.mark.proves("0.09", "0.10", "0.23", "0.28")
def test_matcher_is_two_images_of_one_source(variables):
    app = app_of("matcher", "prod", variables)
    assert {one["name"]: (one["from"], one["context"]) for one in app["images"]} == {"backend": ("build", "backend"), "frontend": ("build", "frontend")}
    assert app["images"][1]["args"] == {"NEXT_PUBLIC_BACKEND_BASE_URL": "https://matcher.example.com"}
    assert {one["name"]: (one["route"], one["port"], one["listen"]) for one in app["processes"]} == \
        {"web": ("/api/", 8000, 8000), "frontend": ("/", 3000, 3000)}
    assert app["env"]["DEBUG"] == "False"
    assert set(app["secrets"]) == {"SECRET_KEY", "OPENAI_API_KEY", "ADMIN_ACCESS_KEY"}


@pytest.mark.proves("3.02", "3.05")
def test_uat_differs_from_prod_in_names_and_secrets_only(variables):
    uat, prod = (app_of("trio", environment, variables) for environment in ("uat", "prod"))
    same = set(uat) - {"domains", "secrets", "url", "health", "certificates"}
    assert {key: uat[key] for key in same} == {key: prod[key] for key in same}
    assert (uat["domains"], prod["domains"]) == (["uat.trio.example.com"], ["trio.example.com"])


@pytest.mark.proves("3.10", "3.11", "3.58")
def test_dev_has_sqlite_and_the_others_a_managed_database(variables):
    dev, prod = (app_of("trio", environment, variables) for environment in ("dev", "prod"))
    assert dev["database"]["engine"] == "sqlite"
    assert (prod["database"]["engine"], prod["database"]["connections"]) == ("external", 22)
    assert "sslmode=require" in prod["secrets"]["DATABASE_URL"]
    assert "collectstatic" not in [one["name"] for one in dev["commands"]]
    assert "collectstatic" in [one["name"] for one in prod["commands"]]
    assert dev["keep"] == prod["keep"] == 2


@pytest.mark.proves("4.02", "4.09", "4.48", "4.49")
def test_duo_serves_two_domains_by_four_workers_of_two_threads(variables):
    app = app_of("duo", "prod", variables)
    env = model.environment(app)
    assert env["ALLOWED_HOSTS"] == "diving.example.com,buceo.example.com"
    assert env["CSRF_TRUSTED_ORIGINS"] == "https://diving.example.com,https://buceo.example.com"
    assert (app["processes"][0]["workers"], app["processes"][0]["threads"]) == ("4", 2)


def test_nothing_secret_is_committed():
    text = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "examples"], cwd=CHECKOUT, capture_output=True, text=True,
                          check=True).stdout.split()
    assert not [path for path in text if Path(path).name in ("local.yml", "vault.yml", ".env", ".env.local")]
