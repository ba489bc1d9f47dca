# SPDX-License-Identifier: GPL-3.0-or-later
"""A process's command is a line of a shell, and the program that it ends in takes the place of the shell: it gets the signals, and its end is the end. Pure."""
from __future__ import annotations

import re
import shlex

OPERATORS = ("&&", "||", ";", "|", "&", "\n")
# After these the next program runs when the one before has ended; the others leave a shell, or a program without anybody who ends it.
IN_ORDER = {"&&", ";", "\n"}
ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")


def split(command: str) -> list[tuple[str, str]]:
    """Return the commands of a line, each with the operator before it, which is empty for the first. What is quoted or in brackets is no operator.

    >>> split("cd config && sleep 1")
    [('', 'cd config'), ('&&', 'sleep 1')]
    """
    command = command.strip()
    found, start, operator, position, quote, depth = [], 0, "", 0, "", 0
    while position < len(command):
        char = command[position]
        if char == "\\" and quote != "'":
            position += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif not depth:
            seen = next((one for one in OPERATORS if command.startswith(one, position)), "")
            redirects = seen == "&" and (command[position - 1:position] in ("<", ">") or command[position + 1:position + 2] == ">")
            if seen and not redirects:
                found.append((operator, command[start:position].strip()))
                operator, position = seen, position + len(seen)
                start = position
                continue
        position += 1
    return [*found, (operator, command[start:].strip())]


def program(command: str) -> str:
    """Return the last command of a line: what the process is.

    >>> program("cd config && gunicorn wsgi")
    'gunicorn wsgi'
    """
    return split(command)[-1][1]


def refusal(command: str) -> str:
    """Return why a line cannot be a process, an empty text where it can."""
    parts = split(command)
    wrong = next((operator for operator, _text in parts if operator and operator not in IN_ORDER), "")
    if wrong:
        return (f"`{wrong}` in the command leaves more than one program, and a process is one: write a script into the project that ends with "
                "`exec PROGRAM`, and name that")
    return "the command ends with an operator and no program" if len(parts) > 1 and not parts[-1][1] else ""


def exec_line(command: str, before: str = "") -> str:
    """Return the shell line whose last program takes the shell's place, with ``before`` (a wrapper and its words) ahead of it.

    >>> exec_line("cd config && MODE=a sleep 1", "flock x")
    'cd config && exec flock x env MODE=a sleep 1'
    """
    parts = split(command)
    last = parts[-1][1]
    wrapper = " ".join(word for word in (before, "env" if ASSIGNMENT.match(last) else "") if word)
    first = "".join(f"{text} {operator} ".replace(" ; ", "; ").replace(" \n ", "\n") for (_none, text), (operator, _next) in zip(parts, parts[1:]))
    return f"{first}exec {wrapper + ' ' if wrapper else ''}{last}"


def words(command: str) -> list[str]:
    """Return the words of the program that a line ends in; raise ValueError for what no shell reads."""
    return shlex.split(program(command))
