# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model
from samples import CELERY, RELEASE, SECRETS, loaded, written

WEB = {"name": "web", "command": "gunicorn pos.wsgi"}
AWKWARD = "p@ss/w:rd x#1?&%"


def findings(*apps):
    """Return what the model finds wrong."""
    with pytest.raises(model.ModelError) as error:
        model.load(list(apps))
    assert str(error.value) == "\n".join(error.value.findings)
    return error.value.findings


# Defaults and what is derived


def test_a_small_app_gets_everything_else():
    app = loaded()
    assert (app["root"], app["user"], app["edge_group"]) == ("/opt/pos", "pos", 33)
    assert (app["runtime"], app["edge"], app["manage"], app["keep"]) == ("systemd", "nginx", "manage.py", 5)
    assert (app["scheme"], app["url"], app["health"]["host"]) == ("http", "http://pos.example.com/", "pos.example.com")
    assert (app["database"]["name"], app["database"]["user"], app["database"]["engine"]) == ("pos", "pos", "postgresql")
    assert app["source"] == {"repo": "https://git.example.com/pos.git", "folder": "", "version": "main", "subdir": "", "without": [], "build_ssh": False}
    assert app["cache"]["databases"] == {"cache": 0, "session": 1, "broker": 2, "result": 3}


def test_a_small_app_runs_gunicorn_migrate_and_collectstatic():
    app = loaded(settings="till.settings.production")
    assert [(process["name"], process["command"], process["route"]) for process in app["processes"]] == [("web", "gunicorn till.wsgi", "/")]
    assert [(command["name"], command["manage"], command["once"]) for command in app["commands"]] == [
        ("migrate", "migrate --noinput", True), ("collectstatic", "collectstatic --noinput", False)]


@pytest.mark.parametrize(("fields", "path", "value"), [
    ({"name": "pos-admin"}, ("database", "name"), "pos_admin"),
    ({"name": "pos-admin"}, ("database", "user"), "pos_admin"),
    ({"database": {"name": "till"}}, ("database", "user"), "till"),
    ({"database": {"name": "till", "user": "clerk"}}, ("database", "user"), "clerk"),
    ({"root": "/srv/pos/"}, ("root",), "/srv/pos"),
    ({"user": "clerk"}, ("user",), "clerk"),
    ({"domains": ["Pos.Example.COM"]}, ("domains",), ["pos.example.com"]),
    ({"domains": ["A.example.com", "B.example.com"], "canonical": "B.example.com"}, ("url",), "http://b.example.com/"),
    ({"domains": ["a.example.com", "b.example.com"], "canonical": "b.example.com"}, ("health", "host"), "b.example.com"),
    ({"health": {"host": "probe.example.com"}}, ("health", "host"), "probe.example.com"),
    ({"tls": {"mode": "selfsigned"}}, ("url",), "https://pos.example.com/"),
    ({"edge": "none", "domains": []}, ("url",), ""),
    ({"edge": "none", "domains": []}, ("health", "host"), "localhost"),
    ({"commands": [{"manage": "loaddata first"}]}, ("commands", 0, "name"), "loaddata"),
    ({"commands": [{"name": "fixtures", "manage": "loaddata first"}]}, ("commands", 0, "name"), "fixtures"),
])
def test_what_follows_from_a_field(fields, path, value):
    found = loaded(**fields)
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(("process", "kind", "socket", "single", "drain", "route"), [
    (WEB, "server", True, False, 30, "/"),
    ({"name": "api", "command": "uvicorn pos.asgi"}, "server", True, False, 30, ""),
    ({"name": "api", "command": "uvicorn pos.asgi", "route": "/api/"}, "server", True, False, 30, "/api/"),
    ({"name": "worker", "command": "celery -A pos worker"}, "celery-worker", False, False, 300, ""),
    ({"name": "worker", "command": "celery -A pos worker", "drain": 5}, "celery-worker", False, False, 5, ""),
    ({"name": "beat", "command": "celery -A pos beat"}, "celery-beat", False, True, 20, ""),
    ({"name": "beat", "command": "celery -A pos beat", "single": False}, "celery-beat", False, False, 20, ""),
    ({"name": "bot", "command": "python bot.py"}, "other", False, False, 30, ""),
    ({"name": "node", "command": "node server.js --socket $SOCKET"}, "server", True, False, 30, ""),
])
def test_what_follows_from_a_process(process, kind, socket, single, drain, route):
    first = [] if process["name"] == "web" else [WEB]
    found = loaded(processes=[*first, process])["processes"][-1]
    assert (found["kind"], found["socket"], found["single"], found["drain"], found["route"]) == (kind, socket, single, drain, route)


def test_loading_changes_neither_what_was_written_nor_the_spec():
    app, spec = written(processes=copy.deepcopy(CELERY), env={"A": 1}), copy.deepcopy(model.SPEC)
    before = copy.deepcopy(app)
    model.load([app])
    assert app == before
    assert spec == model.SPEC


def test_two_apps_share_no_default():
    one, two = model.load([written(), written(name="till", domains=["till.example.com"])])
    one["health"]["status"].append(500)
    one["cache"]["databases"]["cache"] = 9
    assert two["cache"]["databases"]["cache"] == 0
    assert loaded()["cache"]["databases"]["cache"] == 0


# What is refused


@pytest.mark.parametrize(("fields", "text"), [
    ({"domain": ["x"]}, "domain is no field of the model: did you mean domains?"),
    ({"databse": {}}, "databse is no field of the model: did you mean database?"),
    ({"database": {"engin": "postgresql"}}, "database.engin is no field of the model: did you mean database.engine?"),
    ({"cache": {"databases": {"brokr": 1}}}, "cache.databases.brokr is no field of the model: did you mean cache.databases.broker?"),
    ({"processes": [{"name": "web", "comand": "x"}]}, "processes[web].comand is no field of the model: did you mean processes[web].command?"),
    ({"processes": [{"comand": "x"}]}, "processes[0].comand is no field of the model: did you mean processes[0].command?"),
    ({"allow": [{"path": "/", "adresses": []}]}, "allow[0].adresses is no field of the model: did you mean allow[0].addresses?"),
    ({"zzz": 1}, "zzz is no field of the model: known are allow, "),
])
def test_a_typo_names_its_path_and_the_nearest_field(fields, text):
    (found,) = findings(written(**fields))
    assert found.startswith(f"app pos: {text}")
    assert found.endswith("(docs/app-model.md)")


@pytest.mark.parametrize(("fields", "text"), [
    ({"database": {"engine": "mysql"}}, "value of engine must be one of: postgresql, container, external, sqlite, none, got: mysql found in database"),
    ({"runtime": "docker"}, "value of runtime must be one of: systemd, compose, got: docker"),
    ({"keep": "many"}, "argument 'keep' is of type str and we were unable to convert to int"),
    ({"processes": [{"name": "web"}]}, "processes[web]: its command is empty"),
    ({"source": {}}, "source: give repo, the URL of a git repository, or folder, one on this machine"),
])
def test_types_and_choices_are_checked(fields, text):
    assert any(found.startswith(f"app pos: {text}") for found in findings(written(**fields)))


@pytest.mark.parametrize("apps", [None, {}, "pos", [1], ["pos"], {"name": "pos"}])
def test_what_is_no_list_of_apps_is_refused(apps):
    with pytest.raises(model.ModelError, match="django_apps is no list of apps"):
        model.load(apps)


def test_no_app_is_no_mistake():
    assert model.load([]) == []


def test_an_app_without_a_name_is_called_by_its_number():
    nameless = {key: value for key, value in written().items() if key != "name"}
    assert findings(written(), nameless) == ["app number 2: missing required arguments: name"]


@pytest.mark.parametrize("name", ["", "Pos", "1pos", "-pos", "pos_1", "pos.x", "pos x", "pos/x", "p" * 25, "pos\n", "Ünder"])
def test_names_that_no_unit_and_no_user_can_have_are_refused(name):
    assert any("name: at most 24 of a-z, 0-9 and the dash" in found for found in findings(written(name=name)))


@pytest.mark.parametrize("domain", ["https://pos.example.com", "pos.example.com:80", "pos.example.com/x", "pos example", "", "-pos.com", "pos..com",
                                    "pos.com.", "pos_x.com", "user@pos.com", "*", "a.*.com", "pos.example.com\n", "10.0.0.0/8"])
def test_what_is_neither_name_nor_address_is_no_domain(domain):
    assert any(found.startswith(f"app pos: domains: {domain.lower()!r} is neither") for found in findings(written(domains=[domain])))


@pytest.mark.parametrize("domain", ["pos.example.com", "localhost", "10.0.0.2", "2001:db8::1", "xn--ber-goa.example", "*.example.com", "a1.b-2.c"])
def test_names_and_addresses_are_domains(domain):
    assert loaded(domains=[domain])["domains"] == [domain]


@pytest.mark.parametrize(("fields", "text"), [
    ({"canonical": "www.example.com"}, "canonical: 'www.example.com' is not one of domains"),
    ({"domains": []}, "domains: give at least one name or address, or edge: none"),
    ({"root": "opt/pos"}, "root: 'opt/pos' is no path of its own"),
    ({"root": "/"}, "root: '' is no path of its own"),
    ({"root": "/opt"}, "root: '/opt' is no path of its own"),
    ({"root": "/opt/p os"}, "root: '/opt/p os' is no path of its own"),
    ({"root": "/opt/%h"}, "root: '/opt/%h' is no path of its own"),
    ({"root": "/opt/" + "p" * 60}, "is too long: a socket's path has to stay under 100 bytes"),
    ({"build": [{"command": "make", "secrets": ["TOKEN"]}]}, "build[0].secrets: TOKEN is none of the app's secrets; there are "),
    ({"build": [{"command": "make", "secrets": ["SOURCE_KEY"]}], "secrets": {**SECRETS, "SOURCE_KEY": "k" * 30}}, "build[0].secrets: SOURCE_KEY is none of"),
    ({"python": {"options": ["--proxy http://u:secret@x"]}}, "python.options: a login stands in it, and every user of the host would see it"),
    ({"python": {"packages": ["x @ git+https://u:secret@x/y"]}}, "python.packages: a login stands in it"),
    ({"source": {"repo": "git@x:y", "subdir": "../x"}}, "source.subdir: '../x' is no path inside the repository"),
    ({"source": {"repo": "git@x:y", "subdir": "/x"}}, "source.subdir: '/x' is no path inside the repository"),
    ({"source": {"repo": "git@x:y", "subdir": "a/../b"}}, "source.subdir: 'a/../b' is no path inside the repository"),
    ({"static": {"root": "/var/www"}}, "static.root: '/var/www' is no path inside the repository"),
    ({"media": {"root": "a//b"}}, "media.root: 'a//b' is no path inside the repository"),
    ({"manage": "manage.py; id"}, "manage: 'manage.py; id' is no path inside the repository"),
    ({"static": {"url": "static/"}}, "static.url: 'static/' is no path that begins and ends with a slash"),
    ({"media": {"url": "/media"}}, "media.url: '/media' is no path that begins and ends with a slash"),
    ({"media": {"url": "/"}}, "media.url: '/' is no path that begins and ends with a slash"),
    ({"static": {"url": "https://cdn/"}}, "static.url: 'https://cdn/' is no path that begins and ends with a slash"),
    ({"tls": {"mode": "provided", "key": "/k"}}, "tls: mode provided needs certificate and key"),
    ({"keep": 1}, "keep: at least 2"),
    ({"env": {"A-B": 1}}, "env: 'A-B' is no name for a variable"),
    ({"env": {"A": "x\x07y"}}, "env: A holds a control character"),
    ({"env": {"A": "x\0y"}}, "env: A holds a NUL byte"),
    ({"secrets": dict(SECRETS, DATABASE_PASSWORD="d" * 12 + "\n")}, "secrets: DATABASE_PASSWORD holds a line break, and a service or a URL takes one line"),
    ({"allow": [{"path": "/x/", "users": {"me": "LOGIN"}}], "secrets": dict(SECRETS, LOGIN="l" * 12 + "\n")}, "secrets: LOGIN holds a line break"),
    ({"processes": [dict(WEB, secrets=["SECRET_KEY"])]}, "processes[web].secrets: is for runtime: compose"),
    ({"secret_files": ["GCP_KEY"]}, "secret_files: GCP_KEY is none of the app's own secrets; there are none but those that the deploy itself reads"),
    ({"secret_files": ["SECRET_KEY"]}, "secret_files: SECRET_KEY is none of the app's own secrets"),
    ({"secret_files": ["GCP_KEY"], "secrets": dict(SECRETS, GCP_KEY="g" * 9), "env": {"GCP_KEY_FILE": "/x"}},
     "secret_files: GCP_KEY_FILE is the path of the file of GCP_KEY: leave it out of env"),
    ({"env": {"A": [1]}}, "env: A is a list"),
    ({"env": {"SECRET_KEY": "x"}}, "env: SECRET_KEY is also in secrets; keep it in one of them"),
    ({"processes": [dict(WEB, env={"A": {}})]}, "processes[web].env: A is a dict"),
])
def test_what_cannot_work_is_refused(fields, text):
    assert any(text in found for found in findings(written(**fields)))


@pytest.mark.parametrize(("processes", "text"), [
    ([WEB, {"name": "worker", "command": "celery worker"}], "processes[worker]: celery needs to know the app: celery -A <package> worker"),
    ([WEB, {"name": "beat", "command": "celery beat"}], "processes[beat]: celery needs to know the app: celery -A <package> beat"),
    ([WEB, {"name": "worker", "command": "celery -A pos worker -B"}], "processes[worker]: a worker with --beat would run beat twice"),
    ([WEB, {"name": "worker", "command": "celery -A pos worker --beat"}], "processes[worker]: a worker with --beat would run beat twice"),
    ([WEB, {"name": "Bot", "command": "x"}], "processes[Bot]: a name is a-z, 0-9 and the dash"),
    ([WEB, {"name": "manage", "command": "x"}], "processes[manage]: a name is a-z, 0-9 and the dash, a letter first, and not `manage`"),
    ([WEB, {"name": "web", "command": "x"}], "processes[web]: two processes have this name"),
    ([dict(WEB, workers="many")], "processes[web]: workers is a number or auto, not 'many'"),
    ([dict(WEB, workers="-1")], "processes[web]: workers is a number or auto, not '-1'"),
    ([dict(WEB, count=2)], "processes[web]: count is for processes that serve no HTTP"),
    ([WEB, {"name": "beat", "command": "celery -A pos beat", "count": 2}], "processes[beat]: count is for processes"),
    ([WEB, {"name": "bot", "command": "x", "count": 0}], "processes[bot]: count is for processes"),
    ([WEB, {"name": "api", "command": "gunicorn x", "route": "/"}], "processes: two have the route /"),
    ([{"name": "api", "command": "gunicorn x"}], "processes: none has route: / (a server named web has it by itself)"),
    ([{"name": "worker", "command": "celery -A pos worker"}], "processes: none has route: /"),
])
def test_processes_that_cannot_work_are_refused(processes, text):
    assert any(found.startswith(f"app pos: {text}") for found in findings(written(processes=processes)))


def test_an_app_without_an_edge_needs_no_route():
    assert loaded(edge="none", domains=[], processes=[{"name": "bot", "command": "python bot.py"}])["processes"][0]["kind"] == "other"


@pytest.mark.parametrize("command", ["gunicorn 'pos.wsgi", 'celery -A pos worker "'])
def test_a_command_that_no_shell_reads_is_refused(command):
    assert findings(written(processes=[WEB, {"name": "x", "command": command}]))


@pytest.mark.parametrize("manage", ["", "  "])
def test_an_empty_manage_command_is_refused(manage):
    assert findings(written(commands=[{"manage": manage}]))


@pytest.mark.parametrize("fields", [
    pytest.param({"commands": [{"manage": "loaddata 'x"}]}, id="a manage command that no shell reads"),
    pytest.param({"processes": [WEB, {"name": "bot", "command": ""}]}, id="an empty command"),
    pytest.param({"processes": [dict(WEB, workers="0")]}, id="a server without workers"),
    pytest.param({"processes": [WEB, {"name": "worker", "command": "celery -A pos worker -n me@%h"}]}, id="a node name that the probe does not know"),
    pytest.param({"processes": [WEB, {"name": "worker", "command": "celery -A pos worker"}, {"name": "worker-1", "command": "celery -A pos beat"}]},
                 id="two processes of one app with the same unit"),
    pytest.param({"secrets": dict(SECRETS, SECRET_KEY=["a", "list", "of", "words"])}, id="a secret that is no text"),
])
def test_what_would_fail_later_is_refused_before(fields):
    assert findings(written(**fields))


@pytest.mark.parametrize("domain", ["*.example.com", "2001:db8::1"])
def test_allowed_hosts_are_written_as_django_reads_them(domain):
    assert model.environment(loaded(domains=[domain]))["ALLOWED_HOSTS"] in (".example.com", "[2001:db8::1]")


# Secrets


@pytest.mark.parametrize(("fields", "name", "reason"), [
    ({"secrets": {"DATABASE_PASSWORD": "d" * 12}}, "SECRET_KEY", "Django signs sessions with it"),
    ({"secrets": {"SECRET_KEY": "", "DATABASE_PASSWORD": "d" * 12}}, "SECRET_KEY", "Django signs sessions with it"),
    ({"secrets": {"SECRET_KEY": None, "DATABASE_PASSWORD": "d" * 12}}, "SECRET_KEY", "Django signs sessions with it"),
    ({"secrets": {"SECRET_KEY": "k" * 50}}, "DATABASE_PASSWORD", "database.engine is postgresql"),
    ({"database": {"engine": "external"}}, "DATABASE_URL", "database.engine is external"),
    ({"cache": {"port": 6380}}, "REDIS_PASSWORD", "cache.port opens a TCP port"),
])
def test_a_missing_secret_is_named_with_the_reason(fields, name, reason):
    assert (f"app pos: secrets: {name} is missing ({reason}): quayside.django.secrets puts what can be made into the environment's vault file, "
            "and tells the rest") in findings(written(**fields))


def test_an_app_without_database_and_cache_needs_the_secret_key_only():
    assert loaded(secrets={"SECRET_KEY": "k" * 50}, database={"engine": "none"}, cache={"engine": "none"})


def test_a_short_secret_is_refused_without_being_shown():
    (found,) = findings(written(secrets=dict(SECRETS, SECRET_KEY="hunter2")))
    assert found.startswith("app pos: secrets: SECRET_KEY is shorter than 8 characters")
    assert "hunter2" not in found


def test_a_short_password_of_basic_auth_is_refused():
    (found,) = findings(written(secrets=dict(SECRETS, ADMIN="hunter2"), allow=[{"path": "/x/", "users": {"me": "ADMIN"}}]))
    assert found.startswith("app pos: secrets: ADMIN is shorter than 8 characters")


def test_a_short_secret_that_somebody_else_chose_is_taken():
    assert model.short_secrets(loaded(secrets=dict(SECRETS, SIM_PIN="1234", CLIENT="id-1", LONG="l" * 8, EMPTY=""))) == ["CLIENT", "SIM_PIN"]


def test_a_deploy_key_may_have_lines_and_reaches_no_process():
    app = loaded(secrets=dict(SECRETS, SOURCE_KEY="-----BEGIN\nKEY-----\n"))
    assert "SOURCE_KEY" not in model.secret_environment(app)


def test_all_findings_of_all_apps_come_at_once():
    found = findings(written(keep=1, canonical="x.y"), written(name="till", domians=[]))
    assert [text.split(":")[0] + ":" + text.split(":")[1].split(" ")[1] for text in found] == ["app pos:canonical", "app pos:keep", "app till:domians"]


# Two apps


@pytest.mark.parametrize(("other", "text"), [
    ({"domains": ["pos.example.com"]}, "app till: its domain pos.example.com is also that of app pos"),
    ({"domains": ["POS.example.com"]}, "app till: its domain pos.example.com is also that of app pos"),
    ({"root": "/opt/pos"}, "app till: its root /opt/pos is also that of app pos"),
    ({"user": "pos"}, "app till: its user pos is also that of app pos"),
    ({"database": {"name": "pos"}}, "app till: its database pos is also that of app pos"),
    ({"database": {"user": "pos"}}, "app till: its database role pos is also that of app pos"),
    ({"name": "pos"}, "app pos: its name pos is also that of app pos"),
])
def test_two_apps_cannot_share(other, text):
    assert text in findings(written(), written(**{"name": "till", "domains": ["till.example.com"], **other}))


def test_the_same_app_twice_is_refused():
    assert findings(written(), written()) == ["app pos: its name pos is also that of app pos"]


def test_two_apps_cannot_share_a_unit():
    one = written(processes=[WEB, {"name": "admin-web", "command": "gunicorn x"}])
    assert findings(one, written(name="pos-admin", domains=["admin.example.com"])) == ["app pos-admin: its unit pos-admin-web is also that of app pos"]


def test_two_apps_cannot_share_a_redis_port():
    port = {"cache": {"port": 6380}, "secrets": dict(SECRETS, REDIS_PASSWORD="r" * 12)}
    assert findings(written(**port), written(name="till", domains=["till.example.com"], **port)) == [
        "app till: its Redis port 6380 is also that of app pos"]


def test_two_apps_with_sockets_and_external_databases_share_nothing():
    external = {"database": {"engine": "external", "name": "pos"}, "secrets": dict(SECRETS, DATABASE_URL="postgresql://x/y")}
    assert len(model.load([written(**external), written(name="till", domains=["till.example.com"], **external)])) == 2


# One of several


APPS = [{"name": "bookshop"}, {"name": "till"}]


@pytest.mark.parametrize(("apps", "name", "chosen"), [(APPS, "till", "till"), (APPS[:1], "", "bookshop"), (APPS[:1], "bookshop", "bookshop")])
def test_an_app_is_chosen(apps, name, chosen):
    assert model.choose(apps, name)["name"] == chosen


@pytest.mark.parametrize(("apps", "name", "text"), [
    (APPS, "bookshp", "no app is called 'bookshp': did you mean bookshop?"),
    (APPS, "zzz", "no app is called 'zzz': there are bookshop, till"),
    (APPS, "", "which app? There are bookshop, till: add -e django_app=bookshop"),
    ([], "", "no app is declared: describe one in django_apps (docs/getting-started.md)"),
    ([], "till", "no app is declared: describe one in django_apps (docs/getting-started.md)"),
])
def test_a_choice_that_cannot_be_made_says_what_there_is(apps, name, text):
    with pytest.raises(model.ModelError) as error:
        model.choose(apps, name)
    assert error.value.findings == [text]


# Variables


def test_the_plain_variables_of_a_small_app():
    assert model.release_environment(loaded(), RELEASE, "v1") == {
        "DJANGO_SETTINGS_MODULE": "pos.settings", "ALLOWED_HOSTS": "pos.example.com", "CSRF_TRUSTED_ORIGINS": "http://pos.example.com",
        "STATIC_URL": "/static/", "STATIC_ROOT": f"/opt/pos/releases/{RELEASE}/static", "MEDIA_URL": "/media/",
        "MEDIA_ROOT": "/opt/pos/shared/media", "LOGS": "/opt/pos/shared/logs", "PYTHONUNBUFFERED": "1", "RELEASE": RELEASE, "VERSION": "v1",
        "SECURE_SSL_REDIRECT": "False",
        "DATABASE_HOST": "127.0.0.1",
        "DATABASE_PORT": "5432", "DATABASE_NAME": "pos", "DATABASE_USER": "pos"}


def test_several_domains_over_https_are_trusted_by_their_scheme():
    env = model.environment(loaded(domains=["a.example.com", "10.0.0.2"], tls={"mode": "selfsigned"}))
    assert env["ALLOWED_HOSTS"] == "a.example.com,10.0.0.2"
    assert env["CSRF_TRUSTED_ORIGINS"] == "https://a.example.com,https://10.0.0.2"


@pytest.mark.parametrize(("fields", "secure", "given", "told"), [
    ({}, False, (), {"SECURE_SSL_REDIRECT": "False", "ALLOWED_HOSTS": "pos.example.com", "CSRF_TRUSTED_ORIGINS": "http://pos.example.com"}),
    ({"domains": ["a.test", "*.a.test"], "tls": {"mode": "provided", "certificate": "/c", "key": "/k"}}, True, (),
     {"SECURE_SSL_REDIRECT": "True", "ALLOWED_HOSTS": "a.test,.a.test", "CSRF_TRUSTED_ORIGINS": "https://a.test,https://*.a.test"}),
    ({"env": {"ALLOWED_HOSTS": "*", "SECURE_SSL_REDIRECT": False}}, False, (), {"CSRF_TRUSTED_ORIGINS": "http://pos.example.com"}),
    ({}, True, ("CSRF_TRUSTED_ORIGINS", "SECURE_SSL_REDIRECT"), {"ALLOWED_HOSTS": "pos.example.com"})])
def test_how_it_is_reached_is_told_unless_the_user_says_it(fields, secure, given, told):
    assert model.told(loaded(**fields), secure, frozenset(given)) == told


def test_what_the_user_says_wins_and_is_text():
    env = model.release_environment(loaded(env={"STATIC_ROOT": "/srv/x", "DEBUG": False, "N": 3, "NOTHING": None, "ALLOWED_HOSTS": "*"}), RELEASE, "v1")
    assert (env["STATIC_ROOT"], env["DEBUG"], env["N"], env["NOTHING"], env["ALLOWED_HOSTS"]) == ("/srv/x", "False", "3", "", "*")


@pytest.mark.parametrize("engine", ["external", "none"])
def test_without_our_database_there_are_no_variables_of_it(engine):
    app = loaded(database={"engine": engine}, secrets=dict(SECRETS, DATABASE_URL="postgresql://elsewhere/x"))
    assert not [name for name in model.environment(app) if name.startswith("DATABASE")]
    assert model.secret_environment(app)["DATABASE_URL"] == "postgresql://elsewhere/x"


def test_the_secret_variables_of_a_small_app_lead_to_its_sockets():
    assert model.secret_environment(loaded()) == {
        **SECRETS, "DATABASE_URL": f"postgresql://pos:{SECRETS['DATABASE_PASSWORD']}@127.0.0.1:5432/pos",
        "CACHE_URL": "unix:///run/redis-pos/redis.sock?db=0", "SESSION_URL": "unix:///run/redis-pos/redis.sock?db=1",
        "CELERY_BROKER_URL": "redis+socket:///run/redis-pos/redis.sock?virtual_host=2",
        "CELERY_RESULT_URL": "redis+socket:///run/redis-pos/redis.sock?virtual_host=3", "REDIS_URL": "unix:///run/redis-pos/redis.sock"}


def test_with_a_port_the_urls_are_tcp_with_a_password():
    env = model.secret_environment(loaded(cache={"port": 6380, "databases": {"broker": 7}}, secrets=dict(SECRETS, REDIS_PASSWORD="r" * 8)))
    assert env["CACHE_URL"] == "redis://:rrrrrrrr@127.0.0.1:6380/0"
    assert env["CELERY_BROKER_URL"] == "redis://:rrrrrrrr@127.0.0.1:6380/7"


@pytest.mark.parametrize("port", [0, 6380])
def test_awkward_passwords_come_out_of_every_url_as_they_went_in(port):
    env = model.secret_environment(loaded(cache={"port": port}, secrets={"SECRET_KEY": AWKWARD, "DATABASE_PASSWORD": AWKWARD, "REDIS_PASSWORD": AWKWARD}))
    for name in ("DATABASE_URL", "CACHE_URL", "SESSION_URL", "CELERY_BROKER_URL", "CELERY_RESULT_URL"):
        assert unquote(urlsplit(env[name]).password) == AWKWARD
        assert " " not in env[name]
    assert env["DATABASE_PASSWORD"] == AWKWARD


def test_a_url_that_is_given_in_secrets_wins():
    assert model.secret_environment(loaded(secrets=dict(SECRETS, CACHE_URL="redis://elsewhere/0")))["CACHE_URL"] == "redis://elsewhere/0"


@pytest.mark.parametrize("engine", ["external", "none"])
def test_without_our_redis_there_are_no_urls_of_it(engine):
    assert set(model.secret_environment(loaded(cache={"engine": engine}))) == {*SECRETS, "DATABASE_URL"}


# What the roles get


def test_the_databases_that_postgresql_makes():
    apps = model.load([written(database={"extensions": ["pg_trgm"]}),
                       written(name="till", domains=["t.example.com"], database={"engine": "none"})])
    assert model.databases(apps) == [{"name": "pos", "user": "pos", "password": SECRETS["DATABASE_PASSWORD"], "extensions": ["pg_trgm"]}]


def test_the_instances_that_redis_makes():
    apps = model.load([written(user="clerk"), written(name="till", domains=["t.example.com"], cache={"engine": "external"})])
    assert model.caches(apps) == [{"name": "pos", "group": "clerk", "port": 0, "password": "", "other_password": "", "memory": "auto", "policy": "volatile-lru",
                                   "persistence": "aof", "databases": 16}]


def test_redis_has_as_many_databases_as_the_highest_number_needs():
    assert model.caches([loaded(cache={"databases": {"result": 40}})])[0]["databases"] == 41


def test_the_site_that_nginx_serves():
    app = loaded(processes=[WEB, {"name": "live", "command": "daphne x", "route": "/ws/", "websocket": True, "timeout": 5}], allow=[
        {"path": "/admin/", "addresses": ["10.0.0.0/8"]}], static={"max_age": 60})
    site = model.sites([app])[0]
    assert (site["name"], site["domains"], site["canonical"], site["tls"]["mode"]) == ("pos", ["pos.example.com"], "", "none")
    assert [(one["name"], one["server"], one["address"]) for one in site["upstreams"]] == [
        ("pos-web", "unix:/opt/pos/live/run/web.sock", "http://pos-web"), ("pos-live", "unix:/opt/pos/live/run/live.sock", "http://pos-live")]
    assert site["routes"] == [{"path": "/", "upstream": "pos-web", "timeout": 60, "websocket": False},
                              {"path": "/ws/", "upstream": "pos-live", "timeout": 5, "websocket": True}]
    assert site["static"] == {"url": "/static/", "folder": "/opt/pos/live/static", "pool": "/opt/pos/static", "max_age": 60}
    assert site["media"] == {"url": "/media/", "folder": "/opt/pos/shared/media", "max_age": 86400}
    assert (site["body_size"], site["headers"], site["extra"]) == ("20m", {}, "")
    assert site["allow"] == [{"path": "/admin/", "addresses": ["10.0.0.0/8"], "users": {}, "login": ""}]
    assert (site["listen"], site["frontends"], site["limits"]) == ([], [], [])


def test_a_process_with_a_port_is_reached_by_a_variable_that_each_switch_sets():
    app = loaded(processes=[WEB, {"name": "front-end", "command": "node server.js", "port": 1, "route": "/shop/", "listen": 3000}],
                 limits=[{"path": "/api/", "rate": 10}], frontends=[{"name": "spa", "route": "/app/", "folder": "dist"}])
    site = model.sites([app])[0]
    assert site["upstreams"][1]["address"] == "http://$quayside_pos_front_end"
    assert site["upstreams"][1]["server"] == ""
    assert [(one["port"], one["upstream"]) for one in site["listen"]] == [(3000, "pos-front-end")]
    assert (site["frontends"][0]["path"], site["frontends"][0]["folder"]) == ("/app/", "/opt/pos/live/frontends/spa")
    assert site["limits"] == [{"path": "/api/", "rate": 10, "burst": 20, "exempt": []}]
    assert site["health"] == "/"


def test_a_site_without_static_and_media_has_none():
    site = model.site(loaded(static={"url": ""}, media={"url": ""}))
    assert (site["static"], site["media"]) == (None, None)


def test_an_app_without_an_edge_has_no_site():
    assert model.sites([loaded(edge="none")]) == []


@pytest.mark.parametrize(("apps", "ports"), [
    ([], []),
    ([{"edge": "none"}], []),
    ([{}], [80]),
    ([{"tls": {"mode": "selfsigned"}}], [80, 443]),
    ([{}, {"name": "till", "domains": ["t.example.com"], "tls": {"mode": "selfsigned"}}], [80, 443]),
    ([{}, {"name": "till", "edge": "none", "tls": {"mode": "selfsigned"}, "domains": []}], [80]),
])
def test_the_public_ports_are_those_of_the_sites(apps, ports):
    assert model.web_ports(model.load([written(**app) for app in apps])) == ports


def test_packages_of_all_apps_come_once():
    assert model.packages([{"packages": ["b", "a"]}, {"packages": ["a", "c"]}]) == ["a", "b", "c"]


# What tells two releases apart, and what may be shown


@pytest.mark.parametrize("fields", [
    {"env": {"A": 1}}, {"settings": "pos.other"}, {"domains": ["other.example.com"]}, {"processes": [dict(WEB, workers="5")]},
    {"processes": CELERY}, {"python": {"packages": ["gevent"]}},
    {"source": {"repo": "git@x:y", "subdir": "backend"}}, {"manage": "src/manage.py"},
    {"static": {"root": "public"}}, {"media": {"root": "uploads"}}, {"tls": {"mode": "selfsigned"}}, {"database": {"name": "other"}},
])
def test_a_change_of_what_runs_is_another_identity(fields):
    assert model.identity(loaded(**fields)) != model.identity(loaded())


@pytest.mark.parametrize("fields", [
    {"secrets": dict(SECRETS, SECRET_KEY="other" * 10)}, {"source": {"repo": "https://git.example.com/pos.git", "version": "v2"}},
    {"keep": 9}, {"body_size": "1m"}, {"headers": {"X": "y"}}, {"health": {"path": "/healthz/"}},
])
def test_a_change_of_secrets_or_of_what_is_around_it_is_the_same_identity(fields):
    assert model.identity(loaded(**fields)) == model.identity(loaded())


def test_the_public_app_holds_no_secret():
    app = loaded(secrets={"SECRET_KEY": "topsecret-1", "DATABASE_PASSWORD": "topsecret-2", "REDIS_PASSWORD": "topsecret-3"}, cache={"port": 6380})
    assert "topsecret" not in json.dumps(model.public(app))
    assert {**model.public(app), "secrets": app["secrets"]} == app


def test_the_identity_holds_no_secret():
    assert "topsecret" not in json.dumps(model.identity(loaded(secrets={"SECRET_KEY": "topsecret-1", "DATABASE_PASSWORD": "topsecret-2"})))


def fields_of(spec, path=""):
    for name, field in spec.items():
        yield path + name, field
        yield from fields_of(field.get("options", {}), f"{path}{name}.")


@pytest.mark.parametrize(("path", "field"), list(fields_of(model.SPEC)), ids=[path for path, _field in fields_of(model.SPEC)])
def test_every_field_is_described(path, field):
    assert field["description"], path
    assert field["type"] != "list" or field["elements"], path
