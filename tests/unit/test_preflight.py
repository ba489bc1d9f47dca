# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.quayside.django.plugins.action import preflight as action_preflight
from ansible_collections.quayside.django.plugins.module_utils import preflight
from samples import SECRETS, loaded, written


def host(environment, *groups):
    return {"environment": environment, "groups": list(groups)}


def target(address="10.0.0.2", port=None, connection="ssh"):
    return {"address": address, "port": port, "connection": connection}


WEB, DB = host("prod", "prod", "apps"), host("prod", "prod", "databases")


@pytest.mark.parametrize(("hosts", "groups", "sources"), [
    ({"web": WEB}, ["all", "prod", "apps"], ["/x/inventories/prod"]),
    ({"web": WEB, "db": DB}, ["all", "prod"], ["/x/inventories/prod/"]),
    ({"web": WEB}, ["all", "prod"], ["/x/inventories/prod/hosts.yml"]),
    ({"web": WEB}, ["all", "prod"], ["/x/inventories/prod", "/x/more/hosts.yml"]),
    ({"web": WEB}, ["all", "prod"], []),
])
def test_one_environment_is_right(hosts, groups, sources):
    assert preflight.environments(hosts, groups, sources) == []


@pytest.mark.parametrize(("hosts", "groups", "sources"), [
    ({"a": host("prod", "prod"), "b": host("uat", "uat")}, ["prod", "uat"], []),
    ({"a": host("prod", "prod")}, ["prod", "uat"], ["/x/inventories/prod/hosts.yml", "/x/inventories/uat/hosts.yml"]),
    ({"a": host("prod", "prod", "uat")}, ["prod", "uat"], ["/x/prod/hosts.yml", "/x/uat/hosts.yml"]),
])
def test_two_environments_at_once_are_refused(hosts, groups, sources):
    assert preflight.environments(hosts, groups, sources) == [
        "two environments at once: prod and uat. A run is for one: give one of them, -i inventories/prod"]


def test_folders_count_as_environments_when_they_are_there(tmp_path):
    for name in ("prod", "uat"):
        (tmp_path / name).mkdir()
    (found,) = preflight.environments({"a": host("prod", "prod")}, ["prod", "uat"], [str(tmp_path / "prod"), str(tmp_path / "uat")])
    assert found.startswith("two environments at once: prod and uat")


@pytest.mark.parametrize("environment", ["", None])
def test_no_environment_is_refused_with_the_file_to_write(environment):
    (found,) = preflight.environments({"web": host(environment, "apps")}, ["all", "apps"], [])
    assert found.startswith("no environment: set django_environment in inventories/<env>/group_vars/<env>/main.yml")


@pytest.mark.parametrize(("other", "text"), [
    (host("", "apps"), "host b: it has no django_environment, the others are of prod: put it into the group prod"),
    (host(None), "host b: it has no django_environment, the others are of prod: put it into the group prod"),
    (host("prod", "apps"), "host b: it is not in the group prod, which holds all hosts of the environment: add it in hosts.yml"),
])
def test_a_host_outside_its_environment_is_named(other, text):
    assert preflight.environments({"a": WEB, "b": other}, ["prod"], []) == [text]


@pytest.mark.parametrize("where", [target("localhost"), target("127.0.0.1"), target("::1"), target(connection="local"),
                                   target("10.0.0.2", 22, "local")])
def test_the_controller_is_no_target(where):
    (found,) = preflight.local({"here": where})
    assert found.startswith("host here: this is the machine that runs Ansible")
    assert "django_allow_localhost" in found


@pytest.mark.parametrize("where", [target(), target("127.0.0.1", 2222), target("web.example.com")])
def test_another_machine_or_a_forwarded_port_is_one(where):
    assert preflight.local({"web": where}) == []


@pytest.mark.parametrize("value", [True, "True", "true", " TRUE ", 1, "1", "yes", "on"])
@pytest.mark.parametrize("name", ["DEBUG", "DJANGO_DEBUG"])
def test_debug_is_refused_where_it_does_not_belong(name, value):
    (found,) = preflight.debug(loaded(env={name: value}), "prod", ["dev"])
    assert found.startswith(f"app pos: env {name} is on in prod")


@pytest.mark.parametrize(("env", "environment"), [({"DEBUG": False}, "prod"), ({"DEBUG": "0"}, "prod"), ({"DEBUG": ""}, "prod"), ({}, "prod"),
                                                 ({"DEBUG": None}, "prod"), ({"DEBUG": True}, "dev"), ({"DEBUG_TOOLBAR": True}, "prod")])
def test_debug_that_is_off_or_allowed_is_right(env, environment):
    assert preflight.debug(loaded(env=env), environment, ["dev", "local"]) == []


def test_debug_of_one_process_counts():
    app = loaded(processes=[{"name": "web", "command": "gunicorn x", "env": {"DEBUG": "on"}}])
    assert len(preflight.debug(app, "prod", [])) == 1


@pytest.mark.parametrize(("apps", "name", "one", "text"), [
    ([written(secrets={})], "", False, "app pos: secrets: SECRET_KEY is missing"),
    ([written()], "till", False, "no app is called 'till'"),
    ([written(), written(name="till", domains=["till.example.com"])], "", True, "which app? There are pos, till: add -e django_app=pos"),
    ([], "", True, "no app is declared"),
    ("nonsense", "", False, "django_apps is no list of apps"),
    ([written(env={"DEBUG": True})], "", False, "app pos: env DEBUG is on in prod"),
    ([written(env={"DEBUG": True})], "pos", True, "app pos: env DEBUG is on in prod"),
])
def test_what_is_wrong_with_the_apps_is_found(apps, name, one, text):
    assert preflight.apps(apps, name, one, "prod", ["dev"])[0].startswith(text)


@pytest.mark.parametrize(("apps", "name", "one"), [
    ([written()], "", True), ([written()], "pos", True), ([], "", False),
    ([written(), written(name="till", domains=["till.example.com"])], "", False),
    ([written(), written(name="till", domains=["till.example.com"])], "till", True),
])
def test_sound_apps_are_right(apps, name, one):
    assert preflight.apps(apps, name, one, "prod", ["dev"]) == []


def test_all_findings_come_at_once():
    assert len(preflight.apps([written(keep=1, secrets=dict(SECRETS, SECRET_KEY="short"))], "", False, "prod", [])) == 2


@pytest.mark.parametrize(("given", "command"), [
    (["command=showmigrations"], "showmigrations"),
    (["command=migrate --plan"], "migrate --plan"),
    (["command='migrate --plan'"], "migrate --plan"),
    (['command="migrate books 0003 --database=default"'], "migrate books 0003 --database=default"),
    (["version=v2", "command=check --deploy"], "check --deploy"),
    (["version=v2", "@file.yml"], ""),
    ([], ""),
])
def test_the_command_of_manage_is_taken_whole(given, command):
    assert preflight.whole_command(given) == command


def test_a_folder_of_environments_is_no_inventory(tmp_path):
    for name in ("demo", "prod"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.yml").write_text("all: {}\n")
    assert preflight.within(str(tmp_path)) == ["demo", "prod"]
    assert preflight.within(str(tmp_path / "prod")) == []
    found = preflight.environments({}, [], [str(tmp_path)])
    assert "is a folder of environments (demo, prod)" in found[0]


@pytest.mark.parametrize(("database", "cache", "hosts", "findings"), [
    ("postgresql", "redis", ["one"], 0),
    ("external", "none", ["one", "two"], 0),
    ("postgresql", "external", ["one", "two"], 1),
    ("postgresql", "redis", ["one", "two"], 2),
])
def test_an_app_on_several_hosts_shares_its_services(database, cache, hosts, findings):
    app = {"name": "shop", "database": {"engine": database}, "cache": {"engine": cache}}
    assert len(preflight.shared_services(app, hosts)) == findings


@pytest.mark.parametrize(("url", "told"), [
    ("postgresql://u:geheim99@db.example.com:25060/shop", "has no sslmode, so passwords and rows may go to db.example.com unencrypted: append ?ssl"),
    ("postgres://u:geheim99@db.example.com/shop?connect_timeout=5", "has no sslmode, so passwords and rows may go to db.example.com unencrypted: append &ssl"),
    ("postgresql://u:geheim99@198.51.100.5:5432/shop?sslmode=prefer", "has sslmode=prefer, so passwords and rows may go to 198.51.100.5 unencrypted"),
])
def test_a_database_elsewhere_without_tls_is_warned_of(url, told):
    app = loaded(database={"engine": "external"}, secrets=dict(SECRETS, DATABASE_URL=url))
    (warning,) = preflight.unencrypted(app)
    assert warning.startswith(f"app pos: DATABASE_URL {told}")
    assert "geheim99" not in warning


@pytest.mark.parametrize("url", [
    "postgresql://u:geheim99@db.example.com/shop?sslmode=require", "postgresql://u:geheim99@db.example.com/shop?sslmode=verify-full&sslrootcert=/etc/ca.crt",
    "postgresql://u:geheim99@127.0.0.1:5432/shop", "postgresql://u:geheim99@%2Frun%2Fpostgresql:5432/shop", "postgresql://u:geheim99@[::1]:5432/shop",
    "postgresql:///shop?host=/run/postgresql", "mysql://u:geheim99@db.example.com/shop"])
def test_a_local_database_or_one_with_tls_is_right(url):
    assert preflight.unencrypted(loaded(database={"engine": "external"}, secrets=dict(SECRETS, DATABASE_URL=url))) == []


# What is given on the command line


@pytest.mark.parametrize("version", ["", "v2", "main", "feature/cart", "1.0+build.7", "0123abc", "a" * 40, "sha256:" + "0" * 64, "user@host", 2, None])
def test_versions_are_taken(version):
    assert preflight.run_findings(version, "") == []


@pytest.mark.parametrize("version", ["../../../etc", "a/../b", "-v", "--upload-pack=id", "/etc", "a//b", "a\nb", "v2\x1b[2J", "v 2", "a;id", "$(id)", "a`id`",
                                     "x.lock", "a@{1}", ".hidden", "a/.b", "a.", "a/", "refs:x", "sha256:12", "a" * 201, "{{ x }}", "HEAD~1", "v2^", "@"])
def test_versions_that_are_more_than_a_name_are_refused(version):
    (found,) = preflight.run_findings(version, "")
    assert found == (f"-e version: {version!r} is no name of a branch, a tag, a commit or a digest: letters, digits and ._/@+- without `..`, at most 200, "
                     "such as v2 or feature/cart")


def test_a_version_is_judged_as_it_was_given_and_not_as_ansible_renders_it(monkeypatch):
    """A branch may be called like a template, which would run on the controller."""
    asked = action_preflight.ActionModule.__new__(action_preflight.ActionModule)
    asked._loader, asked._templar = None, SimpleNamespace(template=lambda value: value.replace("{{ x }}", "rendered"))
    monkeypatch.setattr(action_preflight, "load_extra_vars", lambda _loader: {"version": "{{ x }}"})
    variables = {"version": "{{ x }}", "release": "{{ x }}"}
    assert asked._as_given(variables, "version") == "{{ x }}"
    assert asked._as_given(variables, "release") == "rendered"


@pytest.mark.parametrize("release", ["../x", "20261121072900", "20261121072900-0123abc/..", "20261121072900-0123abc\n"])
def test_ids_that_no_release_has_are_refused(release):
    (found,) = preflight.run_findings("", release)
    assert found.startswith(f"-e release: {release!r} is no id of a release")
    assert preflight.run_findings("", "20261121072900-0123abc") == []
