# SPDX-License-Identifier: GPL-3.0-or-later
"""What YAML reads as another value than the one that is written, and where that is said."""
from __future__ import annotations

import datetime

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.quayside.django.plugins.module_utils import model
from ansible_collections.quayside.django.plugins.plugin_utils import spelling
from samples import SECRETS, loaded, written

FILE = """\
apps:
  - name: shop
    env:
      A: off
      "B": 012
      C: 12_345_678   # a comment
      D: true
      E: 15
      F: "off"
      G: 0x1F
      H: word
    processes:
      - {name: web, command: gunicorn x, env: {PIN: 0777, LEVEL: 5}}
    build: [{command: make, env: {NODE_ENV: yes}}]
    headers: {X-Level: 010}
"""


def refusals(**fields):
    try:
        loaded(**fields)
    except model.ModelError as error:
        return error.findings
    return []


def test_a_variable_that_arrives_as_another_text_is_told_with_its_quotes(tmp_path):
    (tmp_path / "apps.yml").write_text(FILE)
    found = spelling.findings(DataLoader().load_from_file(str(tmp_path / "apps.yml"))["apps"][0])
    assert [text.split(": ", 2)[1:] for text in found] == [
        ["processes[web].env", 'PIN is written 0777 without quotes, and arrives as 511: write it in quotes, "0777"'],
        ["build[0].env", 'NODE_ENV is written yes without quotes, and arrives as True: write it in quotes, "yes"'],
        ["env", 'A is written off without quotes, and arrives as False: write it in quotes, "off"'],
        ["env", 'B is written 012 without quotes, and arrives as 10: write it in quotes, "012"'],
        ["env", 'C is written 12_345_678 without quotes, and arrives as 12345678: write it in quotes, "12_345_678"'],
        ["env", 'G is written 0x1F without quotes, and arrives as 31: write it in quotes, "0x1F"'],
        ["headers", 'X-Level is written 010 without quotes, and arrives as 8: write it in quotes, "010"'],
    ]


def test_what_comes_from_no_file_is_left_alone():
    assert spelling.findings({"name": "shop", "env": {"A": False, "B": 10}, "processes": "{{ x }}"}) == []
    assert spelling.findings("{{ app }}") == []


@pytest.mark.parametrize("value", [1402433619, 1.1, False, datetime.date(2026, 1, 2)])
def test_a_secret_without_quotes_is_refused_and_not_told(value):
    (found,) = refusals(secrets=dict(SECRETS, PIN=value))
    assert found.startswith("app pos: secrets: PIN is written without quotes, and YAML reads it as another value")
    assert str(value) not in found.replace("off is False", "").replace("1.10 is 1.1", "")


@pytest.mark.parametrize(("fields", "label"), [
    ({"env": {"VERSION": 1.1}}, "env: VERSION"),
    ({"env": {"SINCE": datetime.datetime(2026, 1, 2, 3, 4)}}, "env: SINCE"),
    ({"processes": [{"name": "web", "command": "gunicorn x", "env": {"VERSION": 1.1}}]}, "processes[web].env: VERSION"),
    ({"build": [{"command": "make", "env": {"VERSION": 1.1}}]}, "build[0].env: VERSION"),
    ({"python": {"env": {"VERSION": 1.1}}}, "python.env: VERSION"),
    ({"headers": {"X-Version": 1.1}}, "headers: X-Version"),
    ({"source": {"repo": "git@x:y", "version": 1.1}}, "source.version"),
    ({"source": {"repo": "git@x:y", "version": 1234567}}, "source.version"),
    ({"packages": [3.1]}, "packages[0]"),
    ({"health": {"text": True}}, "health.text"),
    ({"runtime": "compose", "images": [{"name": "app", "repository": "quayside/pos-app", "tag": 10}]}, "images[app].tag"),
])
def test_a_text_without_quotes_that_yaml_has_changed_is_refused(fields, label):
    (found,) = refusals(**fields)
    assert found.startswith(f"app pos: {label}: YAML has read it as another value, ")
    assert found.endswith(": write it in quotes")


def test_what_stays_the_same_needs_no_quotes():
    app = loaded(env={"PORT": 8000, "DEBUG": False, "NOTHING": None}, processes=[{"name": "web", "command": "gunicorn x", "workers": 4}])
    assert model.environment(app)["PORT"] == "8000" and model.environment(app)["DEBUG"] == "False"
    assert written()["secrets"] == SECRETS
