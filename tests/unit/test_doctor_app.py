# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds in the settings of a live release."""

from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.action.doctor import shown
from ansible_collections.quayside.django.plugins.module_utils import doctor_app
from samples import loaded

PROXY = ["HTTP_X_FORWARDED_PROTO", "https"]
TLS = {"mode": "provided", "certificate": "/c", "key": "/k"}
FOLDERS = {"static": ["/opt/pos/releases/r/static"], "media": ["/opt/pos/shared/media"]}
SETTINGS = {"ALLOWED_HOSTS": ["pos.example.com"], "CSRF_TRUSTED_ORIGINS": [], "SECURE_PROXY_SSL_HEADER": PROXY, "SECURE_SSL_REDIRECT": False,
            "SECURE_REDIRECT_EXEMPT": [], "STATIC_ROOT": FOLDERS["static"][0], "STATIC_URL": "/static/", "MEDIA_ROOT": FOLDERS["media"][0],
            "MEDIA_URL": "/media/", "DEBUG": False, "USE_X_FORWARDED_HOST": False, "SESSION_COOKIE_SECURE": True, "CSRF_COOKIE_SECURE": True,
            "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"], "INSTALLED_APPS": ["django.contrib.staticfiles"],
            "static_in_files": True, "media_in_files": True}


def look(settings=None, seen=None, **fields):
    """Return code -> finding of a release with these settings, of an app with TLS unless said otherwise."""
    app = shown(loaded(**{"tls": TLS, **fields}))
    answer = {"settings": {**SETTINGS, **(settings or {})}, "names": [], "reads": [], "patterns": [], "mentioned": [], "own": [], "live": [], **(seen or {})}
    return {one["code"]: one for one in doctor_app.findings(app, answer, FOLDERS)}


@pytest.mark.parametrize(("settings", "fields", "codes"), [
    ({}, {}, {}),
    # Who may ask
    ({"ALLOWED_HOSTS": ["www.example.org"]}, {}, {"hosts.missing-domain": "error"}),
    ({"ALLOWED_HOSTS": []}, {}, {"hosts.missing-domain": "error"}),
    ({"ALLOWED_HOSTS": ["*"]}, {}, {"hosts.any": "warning"}),
    ({"ALLOWED_HOSTS": [], "DEBUG": True}, {}, {"settings.debug": "error"}),
    ({"DEBUG": True}, {"env": {"DJANGO_DEBUG": "True"}}, {"settings.debug": "note"}),
    ({"USE_X_FORWARDED_HOST": True}, {}, {}),
    ({"USE_X_FORWARDED_HOST": True}, {"edge": "none"}, {"proxy.wrong-header": "warning"}),
    # How it hears of HTTPS
    ({"SECURE_PROXY_SSL_HEADER": None, "CSRF_TRUSTED_ORIGINS": ["https://pos.example.com"]}, {}, {"proxy.missing-header": "warning"}),
    ({"SECURE_PROXY_SSL_HEADER": None}, {}, {"proxy.missing-header": "warning", "csrf.missing-origin": "error"}),
    ({"SECURE_PROXY_SSL_HEADER": None}, {"tls": {}}, {"tls.none": "warning", "cookies.secure-without-tls": "warning"}),
    ({"SECURE_PROXY_SSL_HEADER": ["HTTP_X_SCHEME", "https"]}, {}, {"proxy.wrong-header": "error", "csrf.missing-origin": "error"}),
    ({"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "on"]}, {}, {"proxy.wrong-header": "error", "csrf.missing-origin": "error"}),
    ({"SECURE_SSL_REDIRECT": True}, {}, {}),
    ({"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": None, "CSRF_TRUSTED_ORIGINS": ["https://pos.example.com"]}, {},
     {"proxy.missing-header": "error", "redirect.health": "error"}),
    ({"SECURE_SSL_REDIRECT": True, "SECURE_PROXY_SSL_HEADER": None, "SECURE_REDIRECT_EXEMPT": ["^healthz/$"],
      "CSRF_TRUSTED_ORIGINS": ["https://pos.example.com"]}, {"health": {"path": "/healthz/"}}, {"proxy.missing-header": "error"}),
    ({"SECURE_SSL_REDIRECT": True, "MIDDLEWARE": []}, {"tls": {}}, {"tls.none": "warning", "cookies.secure-without-tls": "warning"}),
    ({"SECURE_SSL_REDIRECT": True, "SESSION_COOKIE_SECURE": False, "CSRF_COOKIE_SECURE": False}, {"tls": {}}, {"tls.none": "warning",
                                                                                                              "redirect.loop": "error"}),
    # Files
    ({"STATIC_ROOT": "/srv/static"}, {}, {"static.root": "error"}),
    ({"STATIC_ROOT": None}, {}, {"static.root": "error"}),
    ({"STATIC_ROOT": FOLDERS["static"][0] + "/"}, {}, {}),
    ({"STATIC_ROOT": None, "static_in_files": False}, {}, {}),
    ({"STATIC_ROOT": None, "INSTALLED_APPS": ["shop"]}, {}, {}),
    ({"STATIC_ROOT": None}, {"static": {"url": ""}}, {}),
    ({"STATIC_URL": "/assets/"}, {}, {"static.url": "error"}),
    ({"STATIC_URL": "static/"}, {}, {}),
    ({"STATIC_URL": "https://cdn.example.com/"}, {}, {}),
    ({"MEDIA_ROOT": "/srv/media", "MEDIA_URL": "/uploads/"}, {}, {"media.root": "error", "media.url": "error"}),
    ({"MEDIA_ROOT": "", "MEDIA_URL": ""}, {}, {}),
    ({"MEDIA_ROOT": "/srv/media", "media_in_files": False}, {}, {}),
])
def test_settings_against_the_model_and_the_edge(settings, fields, codes):
    assert {code: one["severity"] for code, one in look(settings, **fields).items()} == codes


def read(name, how="required"):
    return {"name": name, "required": how == "required", "guarded": how == "guarded", "where": "settings.py:3"}


@pytest.mark.parametrize(("env", "seen", "codes"), [
    ({"A_KEY": "1"}, {"reads": [read("A_KEY")]}, {}),
    ({}, {"reads": [read("A_KEY")]}, {"env.missing": "error"}),
    ({}, {"reads": [read("A_KEY", "optional")]}, {}),
    ({}, {"reads": [read("A_KEY"), read("A_KEY", "optional")]}, {"env.missing": "error"}),
    ({}, {"reads": [read("A_KEY", "guarded")]}, {}),
    ({}, {"reads": [read("A_KEY", "guarded")], "live": ["A_KEY"], "names": ["A_KEY"]}, {"env.removed": "warning"}),
    # Set by the image, by systemd or by a file of the project, and not by an older deploy
    ({}, {"reads": [read("A_KEY")], "names": ["A_KEY", "PATH"]}, {}),
    ({}, {"reads": [read("A_KEY")], "names": ["A_KEY"], "live": ["A_KEY"]}, {"env.missing": "error"}),
    ({}, {"reads": [read("A_KEY")], "own": ["A_KEY"]}, {}),
    ({}, {"reads": [read("DATABASE_URL"), read("SECRET_KEY"), read("STATIC_ROOT"), read("RELEASE")]}, {}),
    ({"a_key": "1"}, {"reads": [read("A_KEY")], "mentioned": ["a_key"]}, {}),
    ({"A_KYE": "1"}, {"reads": [read("A_KEY")]}, {"env.missing": "error"}),
    ({"A_LONG_KYE": "1"}, {"reads": [read("A_LONG_KEY", "optional")]}, {"env.misspelled": "warning"}),
    ({"COLOUR": "1"}, {}, {"env.unread": "note"}),
    ({"COLOUR": "1"}, {"mentioned": ["COLOUR"]}, {}),
    ({"DB_COLOUR": "1"}, {"patterns": ["DB_.*"]}, {}),
    ({"SENTRY_DSN": "1", "TZ": "UTC", "WEB_CONCURRENCY": "2", "PYTHONHASHSEED": "0"}, {}, {}),
])
def test_variables_that_are_read_and_set(env, seen, codes):
    seen = {**seen, "reads": [*seen.get("reads", []), read("SECRET_KEY")]}
    assert {code: one["severity"] for code, one in look(seen=seen, env=env).items()} == codes


def test_a_key_of_another_name_is_guessed():
    found = look(seen={"reads": [read("DJANGO_SECRET_KEY")]})["env.missing"]
    assert found["fix"].startswith("SECRET_KEY is set and nothing reads it: rename it to DJANGO_SECRET_KEY")
    assert "settings.py:3" in found["reason"]


def test_settings_that_cannot_be_read_are_one_error():
    found = look(seen={"error": "KeyError: 'X' (config/settings.py:9)"})
    assert list(found) == ["settings.unreadable"]
    assert "KeyError: 'X' (config/settings.py:9)" in found["settings.unreadable"]["reason"]


def check(code, level=30, hint=""):
    return {"id": code, "level": level, "message": "It is\nso.", "hint": hint, "object": ""}


@pytest.mark.parametrize(("checks", "fields", "codes"), [
    ([check("security.W012")], {}, {"check.security.W012": "warning"}),
    ([check("security.W012")], {"tls": {}}, {"check.security.W012": "note", "tls.none": "warning", "cookies.secure-without-tls": "warning"}),
    ([check("security.W008")], {}, {"check.security.W008": "note"}),
    ([check("security.W004")], {}, {"check.security.W004": "warning"}),
    ([check("security.W004")], {"tls": {"mode": "selfsigned"}}, {"check.security.W004": "note"}),
    ([check("shop.E001", 40, "do it")], {}, {"check.shop.E001": "error"}),
    ([check("security.W002")], {}, {"check.security.W002": "note"}),
    ([check("security.W002")], {"edge": "none"}, {"check.security.W002": "warning"}),
    ([check("security.W005"), check("security.W021")], {}, {"check.security.W005": "note", "check.security.W021": "note"}),
    ([check("shop.I001", 20)], {}, {"check.shop.I001": "note"}),
    ([check("security.W018"), check("security.W020")], {}, {}),
])
def test_checks_of_django_are_findings(checks, fields, codes):
    found = look(seen={"checks": checks}, **fields)
    assert {code: one["severity"] for code, one in found.items()} == codes
    assert all("\n" not in one["reason"] for one in found.values())


def test_many_findings_of_one_check_are_one_with_some_of_its_objects():
    checks = [dict(check("drf_spectacular.W001"), object=f"view{number}") for number in range(155)]
    found = doctor_app.checks(shown(loaded()), {"checks": [*checks, check("shop.W001")]})
    assert [(one["code"], one["item"]) for one in found] == [
        ("check.drf_spectacular.W001", "app pos: view0, view1, view2 and 152 more"), ("check.shop.W001", "app pos: manage.py check --deploy")]
    assert found[0]["reason"] == "It is so. (155 times)"


def test_a_variable_of_a_process_that_runs_no_python_is_not_called_unread():
    app = loaded(processes=[{"name": "web", "command": "gunicorn x", "env": {"OURS": "1"}}, {"name": "ssr", "command": "node x", "env": {"NUXT": "1"}}])
    assert doctor_app.candidates(app) == ["OURS"]


def test_a_variable_of_the_app_may_be_read_in_another_image():
    app = loaded(runtime="compose", images=[{"name": "app"}, {"name": "ui"}], env={"NUXT_PUBLIC_URL": "1"},
                 processes=[{"name": "web", "command": "gunicorn x", "env": {"OURS": "1"}}, {"name": "ui", "image": "ui", "port": 3000, "routes": ["/ui/"]}])
    assert doctor_app.candidates(app) == ["OURS"]
    assert doctor_app.candidates(loaded(runtime="compose", env={"COLOUR": "1"})) == ["COLOUR"]


@pytest.mark.parametrize(("error", "reason"), [
    ('connection to server at "127.0.0.1", port 5432 failed: Connection refused', "it is down"),
    ('connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory', "it is down"),
    ('connection failed: FATAL: password authentication failed for user "shop"', "it refuses the login"),
    ('could not translate host name "db.example.com" to address: Name or service not known', "the network does not lead to it"),
    ("connection timeout expired", "the network does not lead to it"),
    ('FATAL: database "shop" does not exist', "the database, role or table is not there"),
    ("FATAL: remaining connection slots are reserved", "it has no connection left"),
    ("something else", "it fails"),
])
def test_why_a_database_is_out_of_reach(error, reason):
    found = look(seen={"database": {"vendor": "postgresql", "error": f"OperationalError: {error}"}})["database.unreachable"]
    assert found["reason"].startswith(reason)


def test_migrations_that_are_not_applied_are_named():
    found = look(seen={"database": {"unapplied": [f"a.{number}" for number in range(1, 7)]}})["migrations.unapplied"]
    assert "6 are not applied: a.1, a.2, a.3, a.4, a.5, …" in found["reason"]


@pytest.mark.parametrize(("known", "wanted", "others", "code"), [
    ({}, 20, 0, ""), ({"used": 20, "own": 20}, 97, 0, ""), ({}, 98, 0, "connections.too-few"), ({}, 60, 60, "connections.too-few"),
    ({"used": 50, "own": 10}, 60, 0, "connections.too-few"), ({"used": 50, "own": 10}, 40, 20, ""), ({"role_limit": 10}, 20, 0, "connections.too-few"),
    ({"database_limit": 10}, 20, 0, "connections.too-few"), ({"role_limit": 20}, 20, 0, ""), ({"used": 80, "own": 80}, 20, 0, "connections.nearly-used"),
    ({"vendor": "sqlite"}, 500, 0, ""),
])
def test_connections_against_the_server(known, wanted, others, code):
    seen = {"database": {"vendor": "postgresql", "max": 100, "reserved": 3, "used": 5, "own": 5, "role_limit": -1, "database_limit": -1, **known}}
    found = doctor_app.connections(shown(loaded()), seen, wanted, others)
    assert [one["code"] for one in found] == [code] * bool(code)
