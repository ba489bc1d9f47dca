# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server or an app says steers neither a terminal nor a CI runner, wherever a module or an action ends."""
from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.quayside.django.plugins.module_utils import printed

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
ACTIONS = sorted((ROOT / "plugins" / "action").glob("*.py"))

TABLE = [
    ("", ""),
    ("all is well: 3 of 4 (75%)", "all is well: 3 of 4 (75%)"),
    ("Grüße, 你好, नमस्ते, نمی‌خواهم, 👩‍💻", "Grüße, 你好, नमस्ते, نمی‌خواهم, 👩‍💻"),
    ("line\n\tindented\n\nlast\n", "line\n\tindented\n\nlast\n"),
    ("::1", "::1"), ("[::]:80 and ::1", "[::]:80 and ::1"), ("::ffff:10.0.0.1", "::ffff:10.0.0.1"), ("## a heading", "## a heading"),
    ("a::b::c", "a::b::c"), ("std::vector<int>", "std::vector<int>"), ("PLAYERS: 3", "PLAYERS: 3"), ("TASKS\nok", "TASKS\nok"),
    # Terminals
    ("\x1b[31mred\x1b[0m", "red"), ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"), ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\x1b]8;;http://x\x1b\\a", "\\x1b]8;;http://x\\x1b\\a"), ("a\x08\x08b\x7f", "a\\x08\\x08b\\x7f"), ("\x9b31m", "\\x9b31m"), ("a\x00b", "a\\x00b"),
    ("10%\r100%\r\ndone", "10%\n100%\ndone"), ("safe\rfatal", "safe\nfatal"), ("\x85a\u2028b\u2029c", "\\x85a\\u2028b\\u2029c"), ("\x0b\x0c", "\\x0b\\x0c"),
    # Signs that hide or reorder others
    ("\u202egpj.exe", "\\u202egpj.exe"), ("\u2066a\u2069", "\\u2066a\\u2069"), ("a\u200bb\u2060c\ufeffd", "a\\u200bb\\u2060c\\ufeffd"),
    ("\u200e\u200f\u061c\u00ad", "\\u200e\\u200f\\u061c\\xad"), ("\U000e0041", "\\U000e0041"), ("\udce9", "\\udce9"),
    # CI runners
    ("::add-mask::x", ": :add-mask::x"), ("  ::error file=a::x", "  : :error file=a::x"), ("ok\n\t::set-env name=PATH::x", "ok\n\t: :set-env name=PATH::x"),
    ("::stop-commands::x\n::123::", ": :stop-commands::x\n: :123::"), ("\u00a0::warning::x", "\u00a0: :warning::x"), ("a\r::debug::b", "a\n: :debug::b"),
    ("a ::add-mask::b ::error line=1::c", "a : :add-mask::b : :error line=1::c"), (":::add-mask::b", ": : :add-mask::b"),
    ("from ::ffff:10.0.0.1 to ::1", "from ::ffff:10.0.0.1 to ::1"),
    ("##[command]x", "# #[command]x"), ("a ##vso[task.setvariable variable=A]b", "a # #vso[task.setvariable variable=A]b"),
    ("##teamcity[buildStop]", "# #teamcity[buildStop]"), ("####[x]", "### #[x]"), ("section_start:1:a\r\x1b[0Kb", "section_start:1:a\n\\x1b[0Kb"),
    ("\x1b[0m::add-mask::x", ": :add-mask::x"),
    # Ansible's own lines
    ("PLAY RECAP *********", "| PLAY RECAP *********"), ("PLAY RECAP", "| PLAY RECAP"), ("TASK [Deploy] ***", "| TASK [Deploy] ***"),
    ("x\nweb1   : ok=3    changed=0    unreachable=0    failed=0", "x\n| web1   : ok=3    changed=0    unreachable=0    failed=0"),
    ("changed: [web1]", "| changed: [web1]"), ("fatal: [web1]: FAILED!", "| fatal: [web1]: FAILED!"), ("  ok: [web1] => x", "|   ok: [web1] => x"),
    ("[WARNING]: run this", "| [WARNING]: run this"), ("ERROR! x", "| ERROR! x"), ("RUNNING HANDLER [x]", "| RUNNING HANDLER [x]"),
    # Jinja is text
    ("{{ lookup('pipe', 'id') }} {% raw %}", "{{ lookup('pipe', 'id') }} {% raw %}"),
]


@pytest.mark.parametrize(("said", "shown"), TABLE, ids=[ascii(said) for said, _shown in TABLE])
def test_what_is_shown(said, shown):
    assert printed.clean(said) == shown
    assert printed.clean(shown) == shown
    assert printed.clean({"a": [{said: (said, 1, None, True)}]}) == {"a": [{shown: [shown, 1, None, True]}]}


@pytest.mark.parametrize("line", ["##[a]", "x##vso[a]", "::a::", " \t::a b=c::d"])
@pytest.mark.parametrize("before", ["", "text", "text\n", "\r", "\x1b[1m", "\u200b", "\x0b", " ", "#"])
def test_no_line_is_a_command_of_a_runner_whatever_stands_before_it(line, before):
    for shown in printed.clean(before + line).split("\n"):
        assert not re.search(r"##(vso|teamcity)?\[", shown)
        assert not re.match(r"\s*::.*::", shown)


def commands(said):
    """Return the lines of Ansible's YAML that a runner would take for a command."""
    return [line for line in yaml.safe_dump({"msg": said}, width=1000).splitlines() if re.match(r"\s*::.*::", line)]


def test_a_long_line_that_yaml_breaks_begins_no_command():
    said = ["x" * length + " ::add-mask::secret " + "y" * 40 for length in range(985, 1015)]
    assert [text for text in said if commands(text)] != []
    assert [text for text in said if commands(printed.clean(text))] == []


def test_what_is_harmless_is_the_same_object():
    for said in ("plain", "two\nlines", "Grüße", "::1"):
        assert printed.clean(said) is said


@pytest.mark.parametrize("ending", ["module.exit_json(changed=False, stdout=SAID)", "module.fail_json(msg=SAID, log=[SAID])", "module.fail_json(SAID)",
                                    "module.warn(SAID); module.exit_json()"])
def test_a_module_ends_with_what_is_safe_to_print(ending, tmp_path):
    said = "\x1b[2J\n::add-mask::x\nPLAY RECAP ***"
    program = tmp_path / "ends.py"
    program.write_text("import sys\nfrom ansible.plugins.loader import init_plugin_loader\n"
                       f"init_plugin_loader([{str(ROOT / '.ansible' / 'collections')!r}])\n"
                       "from ansible.module_utils import basic\n"
                       "from ansible.module_utils.testing import patch_module_args\n"
                       "from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule\n"
                       f"SAID = {said!r}\n"
                       "with patch_module_args({}):\n    module = AnsibleModule(argument_spec={})\n"
                       f"    {ending}\n")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=60)
    json.loads(done.stdout)
    shown = done.stdout.replace("\\n", "\n") + done.stderr  # without a controller, warnings go to stderr
    assert "\x1b" not in shown
    assert r"\u001b" not in shown
    assert "\n: :add-mask::x\n| PLAY RECAP ***" in shown


def names_imported(tree):
    """Yield (module, name) of each import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def calls(tree, name):
    """Return the lines of calls of a function by its plain name."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_ends_by_the_cleaning_one(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set(names_imported(tree))
    assert [one for one in imported if one[0].startswith("ansible.module_utils.basic")] == []
    assert calls(tree, "print") == []
    assert not any(isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in (("sys", "stdout"), ("sys", "stderr"))
                   for node in ast.walk(tree))
    assert calls(tree, "AnsibleModule") == [] or ("ansible_collections.quayside.django.plugins.module_utils.printed", "AnsibleModule") in imported


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.stem)
def test_every_action_ends_by_the_cleaning_one(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    runs = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "run"]
    assert [ast.unparse(one) for node in runs for one in node.decorator_list] == ["printed.cleaned"] * len(runs)
    assert runs != []
    assert calls(tree, "print") == []
    shown = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
             and isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "_display"]
    assert [ast.unparse(node) for node in shown if not ast.unparse(node.args[0]).startswith("printed.clean(")] == []
    for helper in ("warning", "display", "error"):
        assert calls(tree, helper) == []


def test_no_other_code_of_ours_ends_a_module():
    found = [path.name for path in (ROOT / "plugins" / "module_utils").glob("*.py") if path.name != "printed.py"
             and any(module == "ansible.module_utils.basic" for module, _name in names_imported(ast.parse(path.read_text(encoding="utf-8"))))]
    assert found == []


def test_a_result_with_secrets_is_left_alone():
    result = {"_ansible_no_log": True, "variables": {"KEY": "a\x1bb"}}
    assert printed.cleaned(lambda *_args: result)(None) is result
    assert printed.cleaned(lambda *_args: {"msg": "a\x1bb"})(None) == {"msg": "a\\x1bb"}
