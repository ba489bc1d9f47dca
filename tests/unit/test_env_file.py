# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import env_file

HOSTILE = {
    "plain": "value",
    "empty": "",
    "spaces": "a  b   c",
    "spaces at both ends": "  a  ",
    "only spaces": "   ",
    "tabs": "\ta\t",
    "single quotes": "it's 'so'",
    "double quotes": 'say "hi"',
    "one double quote": '"',
    "hash": "#not a comment # at all",
    "dollar": "$HOME ${HOME} $(id) $$ $",
    "percent": "100% %h %%i %",
    "backslash": r"C:\new\table \\ \" \$",
    "backslash at the end": "\\",
    "backslash n": r"line\nline",
    "backtick": "`id`",
    "globs": "? * [a-z] ~ {a,b}",
    "bang": "!! !x wow!",
    "equals": "a=b=c==",
    "semicolon and friends": "a;b&c|d<e>f(g)",
    "redis url": "redis://:p%40ss@127.0.0.1:6379/0?x=1&y=2",
    "json": '{"a": ["b", 1], "c": null}',
    "unicode": "Grüße, 你好, 🚢",
    "bytes that dash uses inside": "\x81 \x88 Á",
    "breaks that are no line breaks": "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg",
    "escape and delete": "\x1b[31m \x7f \x01",
    "a number": 12,
    "a float": 0.5,
    "yes": True,
    "no": False,
    "nothing": None,
    "a PEM key": "-----BEGIN PRIVATE KEY-----\nMIIEvQ+/=\n-----END PRIVATE KEY-----\n",
    "lines with signs": "a \"b\"\n$HOME `id` \\\\\nNAME=\"x\"\n\n  indented\n# no comment",
    "a backslash at the end of a line": "a\\\nb",
    "ends of lines of Windows": "a\r\nb\r\n",
    "only line breaks": "\n\n",
    "words that YAML reads": "yes no on off null ~",
    "long": "x y'z\"$" * 14000,
}
SHELLS = [shell for shell in ("dash", "bash", "sh") if shutil.which(shell)]


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_what_is_rendered_is_parsed_to_the_same_text(value):
    assert env_file.parse(env_file.render({"A": value, "B": "after"})) == {"A": env_file.text(value), "B": "after"}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_reads_the_same(shell, tmp_path):
    env = {f"V{number}": value for number, value in enumerate(HOSTILE.values())}
    (tmp_path / "env").write_text(env_file.render(env), encoding="utf-8")
    done = subprocess.run([shell, "-c", 'set -a; . "$1"; exec /usr/bin/env -0', shell, str(tmp_path / "env")],
                          env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, capture_output=True, check=True)
    assert done.stderr == b""
    seen = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
    assert {name: seen.get(name) for name in env} == {name: env_file.text(value) for name, value in env.items()}


@pytest.mark.parametrize(("value", "text"), [(True, "True"), (False, "False"), (None, ""), (0, "0"), ("true", "true"), ("True", "True")])
def test_values_become_the_text_that_django_expects(value, text):
    assert env_file.text(value) == text


def test_lines_are_sorted_so_that_the_order_in_the_inventory_does_not_matter():
    assert env_file.render({"B": 1, "A": 2}) == 'A="2"\nB="1"\n' == env_file.render({"A": 2, "B": 1})


@pytest.mark.parametrize("value", ["\0", "a\0b"])
def test_nul_is_refused(value):
    with pytest.raises(env_file.EnvError, match="A holds a NUL byte"):
        env_file.render({"A": value})


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], ("a",), {}, []])
def test_what_is_no_line_of_text_is_refused(value):
    with pytest.raises(env_file.EnvError, match="A is a (dict|list|tuple): give a text"):
        env_file.render({"A": value})


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A.B", "$A", 1, "A;B"])
def test_names_that_no_shell_has_are_refused(name):
    with pytest.raises(env_file.EnvError, match="is no name for a variable"):
        env_file.render({name: "x"})


@pytest.mark.parametrize("name", ["A", "_", "_A1", "a", "DATABASE_URL"])
def test_names_that_a_shell_has_are_taken(name):
    assert env_file.parse(env_file.render({name: "x"})) == {name: "x"}


@pytest.mark.parametrize("line", ["A=hunter2", 'A="hunter2" c', 'export A="hunter2"', 'A="hunter2', "A='hunter2'", ' A="hunter2"'])
def test_a_line_of_another_hand_is_refused_without_its_value(line):
    with pytest.raises(env_file.EnvError, match="not a line of ours") as error:
        env_file.parse(line + "\n")
    assert "hunter2" not in str(error.value)
