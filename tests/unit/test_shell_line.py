# SPDX-License-Identifier: GPL-3.0-or-later
"""A command is a line of a shell whose last program is the process: run by a real shell, and refused where that cannot be."""
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import processes, shell_line
from ansible_collections.quayside.django.plugins.module_utils.model import ModelError
from samples import loaded


@pytest.mark.parametrize(("command", "program"), [
    ("gunicorn x", "gunicorn x"), ("cd config && sleep 1000", "sleep 1000"), ("a; b;c d", "c d"), ("umask 027\nnode server.js", "node server.js"),
    ("echo 'a && b'", "echo 'a && b'"), ('echo "a; b" && node x', "node x"), ("echo $(date; date)", "echo $(date; date)"), ("echo a\\;b", "echo a\\;b"),
    ("node x 2>&1", "node x 2>&1"), ("node x >&2", "node x >&2"), ("node x &>/dev/null", "node x &>/dev/null"),
])
def test_the_program_that_a_line_ends_in(command, program):
    assert shell_line.program(command) == program
    assert shell_line.refusal(command) == ""


@pytest.mark.parametrize("command", ["a | b", "a & b", "a &", "a || b", "cd x && a | b"])
def test_more_than_one_program_is_refused_with_what_to_do(command):
    assert "`exec PROGRAM`" in shell_line.refusal(command)
    with pytest.raises(ModelError, match=r"processes\[bot\]: .*exec PROGRAM"):
        loaded(processes=[{"name": "web", "command": "gunicorn x"}, {"name": "bot", "command": command}])


def test_a_line_without_its_program_is_refused():
    assert shell_line.refusal("cd x &&") == "the command ends with an operator and no program"


@pytest.mark.parametrize(("command", "seen"), [
    ("cd /usr && sh -c 'echo $$ $(pwd)'", "/usr"), ("X=1; cd /usr; sh -c 'echo $$ $(pwd)'", "/usr"), ("cd /usr\nsh -c 'echo $$ $(pwd)'", "/usr"),
    ("WHERE=/usr sh -c 'echo $$ $WHERE'", "/usr"), ("export WHERE=/usr && sh -c 'echo $$ $WHERE'", "/usr"), ("sh -c 'echo $$ /usr' 2>&1", "/usr"),
])
@pytest.mark.parametrize("before", ["", "env"])
def test_the_program_takes_the_place_of_the_shell(command, seen, before):
    with subprocess.Popen(["/bin/sh", "-c", shell_line.exec_line(command, before)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.read().split() == [str(process.pid), seen]


def test_a_server_in_another_folder_is_known_and_gets_its_flags():
    app = loaded(processes=[{"name": "web", "command": "cd backend && gunicorn pos.wsgi"}])
    (process,) = app["processes"]
    assert process["kind"] == "server"
    assert 'cd backend && exec gunicorn pos.wsgi --bind "unix:$SOCKET"' in processes.script(app, process, "1", "/venv", 3)
