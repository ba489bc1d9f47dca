# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of the log of a process that ended."""
import pytest
from ansible_collections.quayside.django.plugins.module_utils import last_words

APP = ["[10] [ERROR] Exception in worker process", "Traceback (most recent call last):",
       *[f'  File "/opt/x/{number}.py", line 1, in y' for number in range(30)],
       "    import nosuch", "ModuleNotFoundError: No module named 'nosuch'"]
GIVEN_UP = ["[10] [INFO] Worker exiting (pid: 10)", "[9] [ERROR] Worker (pid:10) exited with code 3", "[9] [ERROR] Shutting down: Master",
            "[9] [ERROR] Reason: Worker failed to boot."]
ARBITER = ["Traceback (most recent call last):", *[f'  File "/opt/x/gunicorn/{number}.py", line 1, in z' for number in range(12)],
           "gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>"]
CHAINED = ["", "During handling of the above exception, another exception occurred:", ""]


def told(*parts, limit=15):
    found = last_words.cause("\n".join(line for part in parts for line in part), limit).splitlines()
    assert len(found) <= limit
    return found


@pytest.mark.parametrize("rest", [[], ARBITER, [*ARBITER, *CHAINED, *ARBITER]], ids=["none", "one", "two"])
def test_the_exception_of_the_app_is_shown_and_not_the_stack_of_who_gave_up(rest):
    found = told(["[9] [INFO] Starting gunicorn"], APP, GIVEN_UP, rest)
    assert "ModuleNotFoundError: No module named 'nosuch'" in found
    assert found[-1] == "[9] [ERROR] Reason: Worker failed to boot."
    assert not [line for line in found if "HaltServer" in line or "/gunicorn/" in line]


def test_the_same_exception_of_two_workers_is_shown_once():
    found = told(APP, GIVEN_UP[:1], APP, GIVEN_UP, ARBITER)
    assert found.count("ModuleNotFoundError: No module named 'nosuch'") == 1


def test_a_short_log_is_shown_whole():
    lines = ["starting", "Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no", "gave up"]
    assert told(lines) == lines


@pytest.mark.parametrize(("lines", "found"), [
    ([], []), (["one", "two"], ["one", "two"]), ([f"line {number}" for number in range(40)], [f"line {number}" for number in range(25, 40)]),
    (["Traceback (most recent call last):", "  File x"], ["Traceback (most recent call last):", "  File x"]),  # torn off
])
def test_a_log_without_a_traceback_gives_its_last_lines(lines, found):
    assert told(lines) == found


def test_a_stack_that_only_echoes_is_left_out_where_nothing_else_is_told():
    assert told(GIVEN_UP, ARBITER) == GIVEN_UP


@pytest.mark.parametrize("between", ["The above exception was the direct cause of the following exception:", CHAINED[1]])
def test_why_stands_before_what_followed_from_it(between):
    """Django says which handler of the log cannot be made; that its file is read-only is the exception before it."""
    why = ["Traceback (most recent call last):", *[f'  File "/usr/lib/{number}.py", line 1' for number in range(20)],
           "OSError: [Errno 30] Read-only: '/app/x.log'"]
    follows = ["Traceback (most recent call last):", *[f'  File "/usr/lib/{number}.py", line 2' for number in range(20)], "ValueError: no handler 'file'"]
    found = told(why, ["", between, ""], follows)
    assert found[0] == why[-1]
    assert found[-1] == follows[-1]
    assert len(found) == 15


def test_an_exception_of_another_time_is_not_why():
    before = ["Traceback (most recent call last):", '  File "x.py", line 1', "KeyError: 'other'", *[f"line {number}" for number in range(3)]]
    follows = ["Traceback (most recent call last):", *[f'  File "/usr/lib/{number}.py", line 2' for number in range(20)], "ValueError: no"]
    assert "KeyError: 'other'" not in told(before, follows)
