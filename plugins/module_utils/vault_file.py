# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a vault file: values put in, replaced and taken out, while all else in it stays byte for byte. Pure; for the controller.

A place is a tuple of keys from the top of the file: ``("vault_shop", "SECRET_KEY")``.
"""
from __future__ import annotations

import json

import yaml

HEADER = "---\n# Secrets of this environment, encrypted: {edit}. quayside.django.secrets adds what is missing.\n"


class VaultFileError(ValueError):
    """What is in the file cannot be read or changed safely; the text never holds a value."""


class Loader(yaml.SafeLoader):
    """Reads YAML as Ansible does, and leaves tags of Ansible's own (``!vault``, ``!unsafe``) as text."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def parse(text: str) -> dict:
    """Return what is in the file; raise VaultFileError."""
    try:
        found = yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise VaultFileError(f"it is no YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise VaultFileError("it holds no variables: write `vault_<app>:` and below it `NAME: value`")
    return found


def get(data: dict, place: tuple):
    """Return the value at a place, None where there is none."""
    for key in place:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def quoted(value: str) -> str:
    """Return a text as YAML that no reader takes for anything else: a text of several lines too, and one with braces, which Ansible would fill in."""
    return "!unsafe " * any(mark in value for mark in ("{{", "{%", "{#")) + json.dumps(value, ensure_ascii=False)


def apply(text: str, changes: dict) -> str:
    """Return the text with ``changes`` (place -> text, or None to take it out) brought about; raise VaultFileError.

    The result is read again: it has to hold what was there and what was asked for, and nothing else.
    """
    text += "" if not text or text.endswith("\n") else "\n"
    wanted = parse(text)
    for place, value in changes.items():
        wanted = changed(wanted, place, value)
        text = edit(text, place, value)
    if parse(text) != wanted:
        raise VaultFileError("it is written in a way that cannot be changed without a risk to what is in it (an alias, a merge key, or keys twice): "
                             "change it by hand, ansible-vault edit")
    return text


def changed(data: dict, place: tuple, value: str | None) -> dict:
    """Return a copy of ``data`` with the value at a place set, or taken out for None."""
    key, rest = place[0], place[1:]
    copy = dict(data)
    if rest:
        below = copy.get(key)
        if below is not None and not isinstance(below, dict):
            raise VaultFileError(f"{key} is a text, and has to hold NAME: value below it")
        if value is None and not below:
            return copy
        copy[key] = changed(below or {}, rest, value)
    elif value is None:
        copy.pop(key, None)
    else:
        copy[key] = value
    return copy


def edit(text: str, place: tuple, value: str | None) -> str:
    """Return the text with one value put in, replaced or taken out."""
    root = yaml.compose(text, Loader=Loader)
    node, depth = root, 0
    while isinstance(node, yaml.MappingNode) and depth < len(place):
        pair = next(((key, below) for key, below in node.value if key.value == place[depth]), None)
        if pair is None:
            return text if value is None else insert(text, node, place[depth:], value)
        parent, (key, node) = node, pair
        depth += 1
    if not depth:  # nothing but comments
        return text if value is None else append(text, place, value)
    if depth < len(place):  # a key without a value: `vault_shop:`
        return text if value is None else fill(text, node, key, place[depth:], value)
    return take_out(text, parent, key, node) if value is None else replace(text, node, value)


def lines(place: tuple, value: str, indent: int) -> str:
    """Return the lines of a new value in block style, its last without an end."""
    made = [f"{' ' * (indent + 2 * depth)}{key}:" for depth, key in enumerate(place)]
    return "\n".join(made) + f" {quoted(value)}"


def flow(place: tuple, value: str) -> str:
    """Return a new value in flow style."""
    return f"{place[0]}: " + (f"{{{flow(place[1:], value)}}}" if place[1:] else quoted(value))


def append(text: str, place: tuple, value: str) -> str:
    """Return the text with a value at its end."""
    return text + lines(place, value, 0) + "\n"


def insert(text: str, node: yaml.MappingNode, place: tuple, value: str) -> str:
    """Return the text with a new key at the end of a mapping."""
    if node.flow_style:
        close = node.end_mark.index - 1
        if not node.value:
            return f"{text[:close].rstrip()}{flow(place, value)}{text[close:]}"
        last = node.value[-1][1].end_mark.index
        return f"{text[:last]}, {flow(place, value)}{text[last:]}"
    indent, at = node.value[0][0].start_mark.column, after(text, node.value[-1][1])
    start = "" if not at or text[at - 1] == "\n" else "\n"
    return text[:at] + start + lines(place, value, indent) + "\n" + text[at:]


def after(text: str, node) -> int:
    """Return the index of the line behind the last one of a node."""
    while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    at = node.end_mark.index
    if at and text[at - 1:at] == "\n" and getattr(node, "style", None) in ("|", ">"):
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def fill(text: str, node, key, place: tuple, value: str) -> str:
    """Return the text with a first key below one that had nothing."""
    if node.value not in ("", "~", "null"):
        raise VaultFileError(f"{key.value} is a text, and has to hold NAME: value below it")
    start, end = node.start_mark.index, node.end_mark.index
    text = text[:start] + text[end:]
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    return text[:line_end] + "\n" + lines(place, value, key.start_mark.column + 2) + text[line_end:]


def replace(text: str, node, value: str) -> str:
    """Return the text with another value at a node."""
    if not isinstance(node, yaml.ScalarNode):
        raise VaultFileError("a secret holds a list or a mapping, and has to be a text")
    start, end = node.start_mark.index, node.end_mark.index
    if node.style in ("|", ">"):
        tail = text[start:end]
        return text[:start] + quoted(value) + "\n" * (len(tail) - len(tail.rstrip("\n")) if tail.endswith("\n") else 0) + text[end:]
    return text[:start] + quoted(value) + text[end:]


def take_out(text: str, parent: yaml.MappingNode, key, node) -> str:
    """Return the text without a key. One that stands alone leaves an empty mapping."""
    if not parent.flow_style and len(parent.value) > 1:
        line = text.rfind("\n", 0, key.start_mark.index) + 1
        return text[:line] + text[after(text, node):]
    if not parent.flow_style:
        return text[:key.start_mark.index] + "{}" + text[node.end_mark.index:]
    number = next(index for index, pair in enumerate(parent.value) if pair[0] is key)
    if number:
        return text[:parent.value[number - 1][1].end_mark.index] + text[node.end_mark.index:]
    if len(parent.value) > 1:
        return text[:key.start_mark.index] + text[parent.value[1][0].start_mark.index:]
    return text[:key.start_mark.index] + text[node.end_mark.index:]


def names(places) -> str:
    """Return places for people."""
    return ", ".join(".".join(place) for place in places)
