# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import vault_file

NEW = ("vault_shop", "NEW")
KEY = "-----BEGIN KEY-----\nx\n-----END KEY-----\n"


@pytest.mark.parametrize(("before", "after"), [
    ("", 'vault_shop:\n  NEW: "v"\n'),
    ("---\n# mine\n", '---\n# mine\nvault_shop:\n  NEW: "v"\n'),
    ("vault_shop:\nother: 1\n", 'vault_shop:\n  NEW: "v"\nother: 1\n'),
    ("vault_shop: ~\n", 'vault_shop: \n  NEW: "v"\n'),
    ("vault_shop: {}\n", 'vault_shop: {NEW: "v"}\n'),
    ("vault_shop: {A: b}  # mine\n", 'vault_shop: {A: b, NEW: "v"}  # mine\n'),
    ("vault_shop:\n  # why\n  A: b  # mine\n\n# next\nvault_blog:\n  C: d\n",
     'vault_shop:\n  # why\n  A: b  # mine\n  NEW: "v"\n\n# next\nvault_blog:\n  C: d\n'),
    ("vault_shop:\n    A: 'x'\nz: 1", "vault_shop:\n    A: 'x'\n    NEW: \"v\"\nz: 1\n"),
    ("vault_shop:\n  K: |\n    a\n    b\nz: 1\n", 'vault_shop:\n  K: |\n    a\n    b\n  NEW: "v"\nz: 1\n'),
    ("vault_shop:\n  B: {c: d}\n  L:\n    - a\n", 'vault_shop:\n  B: {c: d}\n  L:\n    - a\n  NEW: "v"\n'),
    ("vault_shop:\n  A: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    6162\n",
     'vault_shop:\n  A: !vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    6162\n  NEW: "v"\n'),
])
def test_a_new_value_leaves_all_else_byte_for_byte(before, after):
    assert vault_file.apply(before, {NEW: "v"}) == after


@pytest.mark.parametrize("value", ["plain", "a: b # c", "'\"\\", "{{ x }}", "- a", "2026-11-21", "yes", "ünï", KEY, "%&*!|>@`"])
@pytest.mark.parametrize("before", ["vault_shop: {A: b}\n", "vault_shop:\n  A: b\n", ""])
def test_any_text_comes_back_as_it_was(value, before):
    assert vault_file.parse(vault_file.apply(before, {NEW: value}))["vault_shop"]["NEW"] == value


@pytest.mark.parametrize(("before", "after"), [
    ("vault_shop:\n  # why\n  NEW: old  # mine\n  B: c\n", 'vault_shop:\n  # why\n  NEW: "v"  # mine\n  B: c\n'),
    ("vault_shop: {NEW: 'old', B: c}\n", "vault_shop: {NEW: \"v\", B: c}\n"),
    ("vault_shop:\n  NEW: |\n    a\n    b\n  B: c\n", 'vault_shop:\n  NEW: "v"\n  B: c\n'),
])
def test_a_value_is_replaced_in_its_place(before, after):
    assert vault_file.apply(before, {NEW: "v"}) == after


@pytest.mark.parametrize(("before", "after"), [
    ("vault_shop:\n  A: b\n  # why\n  NEW: old  # mine\n  B: c\n", "vault_shop:\n  A: b\n  # why\n  B: c\n"),
    ("vault_shop:\n  A: b\n  NEW: |\n    a\n\nz: 1\n", "vault_shop:\n  A: b\nz: 1\n"),
    ("vault_shop: {NEW: old, B: c}\n", "vault_shop: {B: c}\n"),
    ("vault_shop: {A: b, NEW: old}\n", "vault_shop: {A: b}\n"),
    ("vault_shop:\n  A: b\n", "vault_shop:\n  A: b\n"),
    ("z: 1\n", "z: 1\n"),
])
def test_a_value_is_taken_out(before, after):
    assert vault_file.apply(before, {NEW: None}) == after


@pytest.mark.parametrize(("text", "reason"), [
    ("a: &x {A: b}\nvault_shop: *x\n", "alias"),
    ("a: &x\n  A: b\nvault_shop: &y\n  A: c\nvault_blog: *y\n", "alias"),
    ("vault_shop: text\n", "is a text"),
    ("- a\n", "no variables"),
    ("a: [secret-value\n", "no YAML"),
    ("vault_shop:\n  NEW: [a]\n", "a list"),
])
def test_what_cannot_be_changed_safely_is_refused_without_a_value(text, reason):
    with pytest.raises(vault_file.VaultFileError, match=reason) as refused:
        vault_file.apply(text, {NEW: "the-new-value"})
    assert "value" not in str(refused.value).replace("NAME: value", "")


def test_several_changes_are_one():
    text = vault_file.apply("vault_shop:\n  A: b\n  C: d\n", {("vault_shop", "A"): "x", ("vault_shop", "C"): None, NEW: "v", ("vault_blog", "E"): "f"})
    assert vault_file.parse(text) == {"vault_shop": {"A": "x", "NEW": "v"}, "vault_blog": {"E": "f"}}
