# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of the doctor: what they are and how they are told; those of the inventory alone; the page that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.quayside.django.plugins.action.doctor import shown
from ansible_collections.quayside.django.plugins.module_utils import doctor, doctor_inventory, preflight
from samples import loaded, written

ROOT = Path(__file__).resolve().parents[2]
NOTE = doctor.finding("release.none", "note", "app shop: release", "none is live", "deploy", "shop")
WARNING = dict(doctor.finding("disk.low", "warning", "disk of /", "5 MiB are free", "remove some"), host="web1")
ERROR = dict(doctor.finding("disk.full", "error", "disk of /", "1 MiB is free", "remove some"), host="web2")


@pytest.mark.parametrize(("code", "severity", "item", "reason", "fix", "error"), [
    ("no.such-code", "error", "a", "b", "c", KeyError), ("disk.full", "fatal", "a", "b", "c", ValueError), ("disk.full", "error", "", "b", "c", ValueError),
    ("disk.full", "error", "a", "", "c", ValueError), ("disk.full", "error", "a", "b", "", ValueError),
])
def test_a_finding_is_whole_and_known(code, severity, item, reason, fix, error):
    with pytest.raises(error):
        doctor.finding(code, severity, item, reason, fix)


def test_a_check_of_django_has_the_code_of_its_id():
    assert doctor.finding("check.security.W012", "warning", "a", "b", "c")["code"] == "check.security.W012"


@pytest.mark.parametrize(("findings", "policy", "fails"), [
    ([NOTE, WARNING, ERROR], "error", True), ([NOTE, WARNING], "error", False), ([NOTE, WARNING], "warning", True), ([NOTE], "warning", False),
    ([ERROR], "never", False), ([], "warning", False),
])
def test_what_fails_a_run(findings, policy, fails):
    assert doctor.fails(findings, policy) is fails


def test_the_worst_comes_first_and_each_once():
    assert doctor.ordered([NOTE, WARNING, ERROR, dict(NOTE)]) == [ERROR, WARNING, NOTE]


def test_the_text_is_for_people():
    assert doctor.text([NOTE, ERROR]) == "\n".join([
        "doctor: 1 error, 1 note", "error   disk.full", "        web2: disk of /: 1 MiB is free", "        fix: remove some",
        "note    release.none", "        app shop: release: none is live", "        fix: deploy"])
    assert doctor.text([]) == "doctor: nothing is wrong"


def test_the_report_is_for_programs():
    report = doctor.report("prod", ["web1", "web2"], [NOTE, ERROR], "error", "2026-11-21T12:00:00Z")
    assert report["counts"] == {"error": 1, "warning": 0, "note": 1}
    assert (report["failed"], report["format"], [one["code"] for one in report["findings"]]) == (True, 1, ["disk.full", "release.none"])


def test_secrets_are_hidden_wherever_they_stand():
    assert doctor.scrub([{"reason": "password hunter2hunter2 is wrong", "n": 1}, "hunter2hunter2-long"], {"hunter2hunter2", "hunter2hunter2-long", "is"}) == [
        {"reason": "password (hidden) is wrong", "n": 1}, "(hidden)"]


@pytest.mark.parametrize(("text", "item", "reason", "fix"), [
    ("app shop: env DEBUG is on in prod: it shows code: set it to False", "app shop", "env DEBUG is on in prod: it shows code", "set it to False"),
    ("app shop: domains: give at least one name", "app shop", "domains", "give at least one name"),
    ("app shop: it is wrong", "app shop", "it is wrong", "correct it in the inventory (docs/app-model.md)"),
    ("two environments at once: a and b. A run is for one: give one", "two environments at once", "a and b. A run is for one", "give one"),
    ("no environment: set django_environment", "the inventory", "no environment", "set django_environment"),
    ("one text", "the inventory", "one text", "correct it in the inventory (docs/app-model.md)"),
])
def test_a_sentence_of_preflight_becomes_a_finding(text, item, reason, fix):
    found = doctor.of_text("model.wrong", "error", text)
    assert (found["item"], found["reason"], found["fix"]) == (item, reason, fix)


@pytest.mark.parametrize(("fields", "code"), [
    ({"env": {"DEBUG": "True"}}, "env.debug"), ({"health": {"pth": "/"}}, "model.wrong"),
    ({"database": {"connections": 2}, "processes": [{"name": "web", "command": "gunicorn a.wsgi", "workers": "4"}]}, "connections.too-few"),
])
def test_findings_of_preflight_have_codes(fields, code):
    found = doctor.of_apps(preflight.apps([written(**fields)], "", False, "prod", ["dev"]))
    assert [one["code"] for one in found] == [code]


# The inventory alone

TLS = {"mode": "provided", "certificate": "/c", "key": "/k"}


@pytest.mark.parametrize(("fields", "codes"), [
    ({}, []),
    ({"env": {"ALLOWED_HOSTS": "pos.example.com"}}, []),
    ({"env": {"ALLOWED_HOSTS": '["pos.example.com", "b"]'}}, []),
    ({"env": {"ALLOWED_HOSTS": ".example.com"}}, []),
    ({"env": {"ALLOWED_HOSTS": "*"}}, []),
    ({"env": {"ALLOWED_HOSTS": "www.example.org"}}, ["hosts.missing-domain"]),
    ({"env": {"ALLOWED_HOSTS": ""}}, ["hosts.missing-domain"]),
    ({"domains": ["*.example.com"], "env": {"ALLOWED_HOSTS": "www.example.com"}}, ["hosts.missing-domain"]),
    ({"domains": ["fd00::1"], "env": {"ALLOWED_HOSTS": "[fd00::1]"}}, []),
    ({"env": {"ALLOWED_HOSTS": "pos.example.com"}, "health": {"host": "localhost"}}, ["hosts.missing-domain"]),
    ({"tls": TLS, "env": {"CSRF_TRUSTED_ORIGINS": "https://pos.example.com"}}, []),
    ({"tls": TLS, "env": {"CSRF_TRUSTED_ORIGINS": "https://*.example.com"}}, []),
    ({"tls": TLS, "env": {"CSRF_TRUSTED_ORIGINS": "http://pos.example.com"}}, ["csrf.missing-origin"]),
    ({"env": {"CSRF_TRUSTED_ORIGINS": ""}}, []),
    ({"secrets": {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "SIM_PIN": "1234"}}, ["secrets.short"]),
    ({"secrets": {"SECRET_KEY": "k" * 50, "SECRET_KEY_NEXT": "n" * 50, "DATABASE_PASSWORD": "d" * 12}}, ["rotation.interrupted"]),
    ({"secrets": {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "DATABASE_PASSWORD_PREVIOUS": "e" * 12}}, ["rotation.interrupted"]),
    ({"env": {"STATIC_URL": "/static/"}}, []),
    ({"env": {"STATIC_URL": "https://cdn.example.com/"}}, []),
    ({"env": {"STATIC_URL": "/assets/"}}, ["static.url"]),
    ({"env": {"MEDIA_URL": "/files/", "MEDIA_ROOT": "/srv/files"}}, ["media.url", "media.root"]),
    ({"env": {"MEDIA_ROOT": "/srv/files"}, "media": {"url": ""}}, []),
    ({"env": {"SECURE_SSL_REDIRECT": "True"}}, ["redirect.loop"]),
    ({"env": {"SECURE_SSL_REDIRECT": "True"}, "tls": TLS}, []),
    ({"env": {"SECURE_SSL_REDIRECT": "False"}}, []),
    ({"env": {"ALOWED_HOSTS": "a"}}, ["env.misspelled"]),
    ({"env": {"static_root": "a"}}, ["env.misspelled"]),
    ({"env": {"DATABASE_URL": "sqlite:///x"}, "database": {"engine": "none"}}, []),
    ({"env": {"CACHE_URL2": "a", "MEDIA_HOST": "b", "LANG": "C", "SENTRY_DSN": "c"}}, []),
])
def test_what_the_env_says_against_the_model(fields, codes):
    found = doctor_inventory.findings(loaded(**fields))
    assert [one["code"] for one in found] == codes
    assert {one["app"] for one in found} <= {"pos"}


@pytest.mark.parametrize(("allowed", "host", "takes"), [
    (["a.b"], "a.b", True), (["a.b"], "x.a.b", False), ([".a.b"], "x.a.b", True), ([".a.b"], "a.b", True), (["*"], "x", True), ([], "x", False),
    (["A.B"], "a.b", True), (["a.b"], "a.b.", True), ([".a.b"], "*.a.b", True), (["x.a.b"], "*.a.b", False),
])
def test_allowed_hosts_by_the_rule_of_django(allowed, host, takes):
    assert doctor_inventory.takes(allowed, host) is takes


@pytest.mark.parametrize(("one", "other", "near"), [
    ("ALOWED_HOSTS", "ALLOWED_HOSTS", True), ("ALLOWED_HSOTS", "ALLOWED_HOSTS", True), ("ALLOWED_HOSTZ", "ALLOWED_HOSTS", True),
    ("ALLOWED_HOSTSS", "ALLOWED_HOSTS", True), ("allowed_hosts", "ALLOWED_HOSTS", True), ("ALLOWED_HOSTS", "ALLOWED_HOSTS", False),
    ("CACHE_URL2", "CACHE_URL", False), ("CACHE_1", "CACHE_2", False), ("MEDIA_ROOT", "MEDIA_URL", False), ("ALOWED_HOTS", "ALLOWED_HOSTS", False),
])
def test_what_a_slip_of_a_key_is(one, other, near):
    assert doctor_inventory.near(one, other) is near
    assert doctor_inventory.near(other, one) is near


def test_a_host_sees_names_of_secrets_and_no_values():
    app = shown(loaded(secrets={"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "hunter2hunter2", "SOURCE_KEY": "PRIVATE-PRIVATE"}))
    assert "hunter2hunter2" not in repr(app)
    assert "PRIVATE-PRIVATE" not in repr(app)
    assert {"SECRET_KEY", "DATABASE_URL", "CACHE_URL", "STATIC_ROOT", "ALLOWED_HOSTS"} <= set(app["provides"])
    assert app["secret_names"] == ["DATABASE_PASSWORD", "SECRET_KEY"]


# The page, and the playbooks


def test_the_page_explains_every_code_and_no_other():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([a-z.*-]+)` \|", page, re.MULTILINE))
    assert {code.removesuffix(".*") for code in told if not code.endswith(".yml")} == set(doctor.CODES)


def test_every_code_is_one_that_something_finds():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "plugins").rglob("*.py")) if path.name != "doctor.py" or "action" in str(path))
    text += "".join((ROOT / "plugins" / "module_utils" / "doctor.py").read_text(encoding="utf-8").split("def finding")[1:])
    made = re.compile(r"\{(?:field|kind)\}")
    ways = {"static.root", "media.root", "static.url", "media.url", "static.unreadable", "media.unreadable", "static.not-served", "media.not-served",
            "certificate.expired", "certificate.not-yet", "certificate.wrong-name"}
    assert made.search(text)
    assert [code for code in doctor.CODES if f'"{code}"' not in text and code not in ways and f'f"{code}.' not in text] == []


def test_only_preflight_and_the_doctor_look_at_hosts():
    found = []
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            imported = play.get("ansible.builtin.import_playbook", "")
            if imported in ("preflight.yml", "doctor.yml") and path.name != "preflight.yml":
                found.append(f"{path.name} imports {imported}, which asks hosts: import preflight-inventory.yml")
    assert found == []
