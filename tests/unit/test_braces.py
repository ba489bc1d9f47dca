# SPDX-License-Identifier: GPL-3.0-or-later
"""Braces in a password are no template: the message says which value, where, and what to write."""
from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.quayside.django.plugins.module_utils import vault_file
from ansible_collections.quayside.django.plugins.plugin_utils import braces

FILE = """\
vault_shop:
  SECRET_KEY: aaaa
  API: {value}
django_apps:
  - name: shop
    secrets: "{{{{ vault_shop }}}}"
    env: {{MAIL: "{{{{ mail_host }}}}"}}
mail_host: mail.example.com
"""


def findings(tmp_path, value, comments_only=False, **variables):
    (tmp_path / "vault.yml").write_text(FILE.format(value=value))
    loader = DataLoader()
    known = {**loader.load_from_file(str(tmp_path / "vault.yml"), trusted_as_template=True), **variables}
    render = Templar(loader, variables=known).template
    try:
        render(known["django_apps"])[0]["secrets"]["API"]
    except Exception:
        assert not comments_only
    return braces.findings(known, None if comments_only else render)


@pytest.mark.parametrize("value", ["'pa{{ss}}word'", "'x{% y'", "'{{ss}}'", "'a}b{{'"])
def test_the_value_its_file_and_the_tag_are_named_and_the_value_is_not(tmp_path, value):
    (found,) = findings(tmp_path, value)
    assert found.startswith("vault_shop.API holds {")
    assert "write !unsafe before its quotes in" in found and "vault.yml (API then has the value !unsafe '…')" in found
    assert "word" not in found and ": " in found


def test_a_comment_that_would_be_dropped_is_told(tmp_path):
    (found,) = findings(tmp_path, "'pa{# ss #}word'", comments_only=True)
    assert found.startswith("vault_shop.API holds {#, which Ansible takes for a template")


@pytest.mark.parametrize("value", ["!unsafe 'pa{{ss}}word{% {#'", "'plain'", "'{{ mail_host }}'", "'a{b}c}}'"])
def test_what_can_be_read_is_left_alone(tmp_path, value):
    assert findings(tmp_path, value) == []


def test_the_message_for_secrets_that_are_not_made_yet_stays(tmp_path):
    assert findings(tmp_path, "x", vault_shop={}, django_apps=[{"name": "shop", "secrets": trust_as_template("{{ vault_other }}")}]) == []


def test_a_variable_that_is_not_there_is_named(tmp_path):
    (found,) = findings(tmp_path, "x", django_apps=[{"name": "shop", "env": {"A": trust_as_template("{{ nope }}")}}])
    assert found.startswith("django_apps[shop].env.A holds {{, which Ansible takes for a template, and nope is not defined: ")


@pytest.mark.parametrize("text", ["vault_shop:\n  API: old\n", "vault_shop: {API: old}\n", "vault_shop:\n  API: !unsafe 'old{{'\n", "vault_shop:\n", ""])
def test_a_new_value_with_braces_is_written_so_that_ansible_leaves_it(tmp_path, text):
    new = vault_file.apply(text, {("vault_shop", "API"): 'a{{b"}}'})
    (tmp_path / "vault.yml").write_text(new)
    loader = DataLoader()
    known = loader.load_from_file(str(tmp_path / "vault.yml"), trusted_as_template=True)
    assert Templar(loader, variables=known).template(known)["vault_shop"]["API"] == 'a{{b"}}'
