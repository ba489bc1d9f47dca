# SPDX-License-Identifier: GPL-3.0-or-later
"""The module release runs from the archive that its action sends, and Ansible has next to nothing to pack."""
from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.quayside.django.plugins.module_utils import deploy
from ansible_collections.quayside.django.plugins.modules import release
from samples import loaded

ROOT = Path(__file__).resolve().parents[2]


def test_the_phases_are_those_of_a_deploy():
    assert tuple(release.PHASES) == deploy.PHASES


def test_ansible_packs_nothing_but_what_prints():
    tree = ast.parse((ROOT / "plugins/modules/release.py").read_text())
    ours = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "quayside" in node.module]
    assert [name.rpartition(".")[2] for name in ours] == ["printed"]


def test_the_code_comes_with_the_arguments_and_is_not_shown(tmp_path):
    app = dict(loaded(), root=str(tmp_path / "pos"))
    arguments = {"app": app, "apps": [app], "phases": ["lock", "resolve"], "run": "1", "who": "me", "version": "main", "secrets": {"A": "hush-hush"}}
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {ROOT}/.ansible/collections\nlocal_tmp = {tmp_path}/local\n"
                                          f"remote_tmp = {tmp_path}/remote\n")
    argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "--check", "-vvv", "-e",
            f"ansible_python_interpreter={sys.executable}", "-m", "quayside.django.release", "-a", json.dumps(arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "ANSIBLE_CONFIG": f"{tmp_path}/ansible.cfg", "ANSIBLE_NOCOLOR": "1"})
    assert f"plan unknown until site.yml ran: {app['root']} is not there yet" in done.stdout, done.stdout + done.stderr
    assert '"module_args"' in done.stdout
    assert '"code"' not in done.stdout
    assert "hush-hush" not in done.stdout
