# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field of the model that takes text has a check, and names and paths that would reach beyond the app are refused."""
from __future__ import annotations

import re

import pytest
from ansible_collections.quayside.django.plugins.module_utils import fields, model, units
from samples import SECRETS, loaded, written

COMPOSE = {"runtime": "compose", "edge": "nginx"}
WEB = {"name": "web", "command": "gunicorn pos.wsgi"}
# Written by whoever may set variables of a run, or by a slip of the keyboard; no field of one line means any of these.
HOSTILE = ("a\x1b[2Jb", "a\x00b", "a\u202eb", "a\rb")


def of_text(spec, prefix=""):
    """Yield (path, whether it is required) of each field that takes text; those with choices are checked by Ansible."""
    for name, option in spec.items():
        path = f"{prefix}{name}"
        if "options" in option:
            yield from of_text(option["options"], f"{path}[]." if option["type"] == "list" else f"{path}.")
        elif option["type"] == "dict" or (option["type"] == "str" and "choices" not in option):
            yield path, option.get("required", False)
        elif option["type"] == "list" and option["elements"] != "int":
            yield f"{path}[]", False


PATHS = dict(of_text(model.SPEC))


def put(path, value):
    """Return a small app as it is derived, with a value in one field."""
    app = loaded(**COMPOSE)
    target = app
    for part in path.split(".")[:-1]:
        if part.endswith("[]"):
            target[part[:-2]] = [{"name": "x"}]
            target = target[part[:-2]][0]
        else:
            target = target[part]
    last = path.split(".")[-1]
    target[last.removesuffix("[]")] = [value] if last.endswith("[]") else value
    return app


def findings(*apps):
    """Return what the model finds wrong."""
    with pytest.raises(model.ModelError) as error:
        model.load(list(apps))
    return error.value.findings


def test_every_field_that_takes_text_has_a_check():
    assert set(fields.CHECKS) == set(PATHS)


def test_the_fields_that_are_required_are_those_of_the_model():
    # The others are judged when they are empty, too, by functions of the model.
    assert set(fields.REQUIRED) - {path for path, required in PATHS.items() if required} == {"root"}
    assert {path for path, required in PATHS.items() if required} - set(fields.REQUIRED) == {"processes[].name", "commands[].manage"}


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize("path", sorted(PATHS))
def test_no_field_takes_signs_that_steer_a_terminal(path, value):
    if path in ("secrets", "tls.dns.credentials", "env", "headers", "allow[].users", "health.json") or path.endswith((".env", ".args")):
        assert fields.findings(put(path, {value: "value"}), (path,)) != []
    elif path in ("processes[].name", "processes[].workers"):
        assert findings(written(processes=[WEB, {**WEB, path.split(".")[1]: value}]))
    else:
        assert fields.findings(put(path, value), (path,)) != []


@pytest.mark.parametrize("path", [path for path in sorted(PATHS) if path not in ("site_extra", "build[].command", "secrets", "images[].args")])
def test_no_field_of_one_line_takes_two(path):
    value = "a\nExecStartPre=/bin/id"
    if path in ("processes[].name", "processes[].workers"):
        assert findings(written(processes=[WEB, {**WEB, path.split(".")[1]: value}]))
        return
    names = ("tls.dns.credentials", "env", "headers", "allow[].users", "health.json")
    assert fields.findings(put(path, {value: "v"} if path in names or path.endswith(".env") else value), (path,)) != []


# Names


@pytest.mark.parametrize("name", ["ssh", "sshd", "nginx", "docker", "root", "postgres", "backup", "cron", "default", "quayside", "quayside-keep", "acme",
                                  "systemd-networkd", "redis-server", "user-runtime-dir", "dbus"])
def test_names_of_the_system_are_refused(name):
    assert any(re.match(rf"app {name}: (name|user): {name} is ", found) for found in findings(written(name=name)))


@pytest.mark.parametrize("user", ["root", "postgres", "www-data", "backup", "docker", "sudo", "video", "deploy", "nobody", "redis"])
def test_users_and_groups_of_the_system_are_refused(user):
    assert f"app pos: user: {user} is a user or a group of the system's: name one of the app's own, such as user: my-{user}" in findings(written(user=user))


@pytest.mark.parametrize("name", ["shop", "shop-keep", "shop-images", "bookshop", "annex", "pos", "my-shop", "api", "duo", "backend", "redis-cache"])
def test_names_of_apps_are_taken(name):
    assert loaded(name=name)["name"] == name


@pytest.mark.parametrize("verb", ["keep", "images", "stop", "replace", "build", "command", "control-1", "manage-shell_plus", "migrate"])
@pytest.mark.parametrize("name", ["shop", "shop-keep", "a--b"])
def test_no_app_and_no_process_can_have_the_unit_of_a_helper(verb, name):
    unit = units.helper({"name": name}, verb, "20261121072900-0123abc")
    assert unit.startswith("quayside-")
    assert fields.app_name(unit.partition("@")[0], {}) != ""  # a template of a process is <app>-<process>@
    assert fields.app_name(unit.partition("-")[0], {}) != ""
    assert re.match(r"^[A-Za-z0-9:_.-]+@[A-Za-z0-9:_.@-]+\Z", units.helper({"name": name}, verb + "/x y", "r"))


def test_helpers_of_two_apps_never_meet():
    release = "20261121072900-0123abc"
    apps = [{"name": name} for name in ("a", "a-20261121072900", "a-b", "a--b")]
    found = [units.helper(app, verb, release) for app in apps for verb in ("keep", "stop", "build")]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("extra", "words"), [
    ({"database": {"user": "postgres"}}, "database.user: postgres belongs to the server itself"),
    ({"database": {"user": "pg_read_all_data"}}, "database.user: pg_read_all_data belongs to the server itself"),
    ({"database": {"name": "template1"}}, "database.name: template1 belongs to the server itself"),
    ({"database": {"user": 'a"; DROP ROLE x'}}, "is no name of a role"),
    ({**COMPOSE, "network": "host"}, "network: host is a network of Docker's own or of ours"),
    ({**COMPOSE, "network": "quayside-edge_default"}, "is a network of Docker's own or of ours"),
    ({**COMPOSE, "images": [{"name": "app", "repository": "quayside/other-app"}]}, "images[app].repository: quayside/other-app is for an app of another name"),
    ({**COMPOSE, "images": [{"name": "app", "repository": "nginx"}]}, "images[app].repository: nginx is the name of an image of Docker Hub's"),
    ({**COMPOSE, "images": [{"name": "app", "repository": "postgres", "archive": "a.tar"}]}, "would take its place"),
    ({**COMPOSE, "database": {"engine": "container", "image": "postgres:16 --privileged"}}, "database.image: 'postgres:16 --privileged' is no image"),
    ({"sandbox": {"relax": ["NoNewPrivilege"]}}, "sandbox.relax: 'NoNewPrivilege' is no directive of the sandbox; there are AmbientCapabilities"),
    ({"source": {"repo": "ext::sh -c id"}}, "source.repo: 'ext::sh -c id' is no URL of a git repository"),
    ({"source": {"repo": "--upload-pack=id"}}, "source.repo: '--upload-pack=id' is no URL"),
    ({"source": {"repo": "ssh://-oProxyCommand=id/x"}}, "is no URL of a git repository"),
    ({"source": {"repo": "https://x/y.git", "version": "../../../etc"}}, "source.version: '../../../etc' is no name of a branch, a tag, a commit or a digest"),
    ({"source": {"repo": "https://x/y.git", "version": "--help"}}, "source.version: '--help' is no name"),
    ({"packages": ["libpq5; id"]}, "packages: 'libpq5; id' is no name of a package"),
    ({"python": {"packages": ["--index-url=http://x"]}}, "python.packages: '--index-url=http://x' begins with a dash"),
    ({"processes": [{**WEB, "memory": "1G\nUser=root"}]}, "processes[web].memory: '1G\\nUser=root' is no size such as 512M"),
    ({"processes": [{**WEB, "cpu": "lots"}]}, "processes[web].cpu: 'lots' is no share such as 150%"),
    ({"cache": {"policy": "volatile-lru\nrequirepass x"}}, "cache.policy: 'volatile-lru\\nrequirepass x' is no policy of Redis; there are noeviction"),
    ({"processes": [WEB, {"name": "api", "command": "gunicorn x", "route": "/a/{"}]}, "processes[api].route: '/a/{' is no path as an edge compares it"),
    ({"processes": [WEB, {"name": "api", "command": "gunicorn x", "route": "/a/../b"}]}, "is no path as an edge compares it"),
    ({"allow": [{"path": "/admin%2f", "addresses": ["10.0.0.1"]}]}, "allow[0].path: '/admin%2f' is no path as an edge compares it"),
    ({"headers": {"X-A: b\nSet-Cookie": "x"}}, "is no name of a header"),
    ({"body_size": "20m; root /"}, "body_size: '20m; root /' is no size such as 20m"),
])
def test_names_that_belong_to_others_or_end_a_line_are_refused(extra, words):
    assert any(words in found for found in findings(written(**extra))), findings(written(**extra))


# Addresses


@pytest.mark.parametrize(("address", "words"), [
    ("203.0.113.0/33", "'203.0.113.0/33' is neither an address nor a network, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32"),
    ("203.0.113.256", "'203.0.113.256' is neither"),
    ("10.1.2.3/8", "'10.1.2.3/8' has bits of a single address behind its prefix: write 10.1.2.3 for the one address, or 10.0.0.0/8 for the network"),
    ("2001:db8::1/32", "write 2001:db8::1 for the one address, or 2001:db8::/32 for the network"),
    ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0' has a mask instead of the number of its bits: write 10.0.0.0/8"),
    ("10.0.0.0/0.255.255.255", "has a mask instead of the number of its bits: write 10.0.0.0/8"),
    ("10.0.0.0/08", "has a mask instead of the number of its bits: write 10.0.0.0/8"),
    ("::ffff:10.0.0.1", "'::ffff:10.0.0.1' is an IPv4 address in the form of IPv6, which no visitor has: write 10.0.0.1"),
    ("fe80::1%eth0", "is neither"), ("010.0.0.1", "is neither"), ("office.example.com", "is neither"), ("all", "is neither"), ("", "is neither"),
    ("10.0.0.1;", "is neither"), ("10.0.0.1\n", "is neither"), ("1", "is neither"),
])
def test_addresses_that_an_edge_would_read_otherwise_are_refused(address, words):
    found = findings(written(allow=[{"path": "/admin/", "addresses": [address]}]))
    assert any(one.startswith("app pos: allow[0].addresses: ") and words in one for one in found), found


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "2001:db8::1", "2001:DB8:0::1/128", "0.0.0.0/0", "::/0"])
def test_addresses_and_networks_are_taken(address):
    assert loaded(allow=[{"path": "/admin/", "addresses": [address]}])["allow"][0]["addresses"] == [address]


# Paths


@pytest.mark.parametrize("root", ["/etc/nginx", "/opt/../etc", "/opt/./pos", "/opt//pos", "/opt", "/srv", "/var/www", "/usr/local/pos", "/ro" "ot/pos",
                                  "/home/pos", "/var/lib/postgresql", "/opt/quayside", "/opt/quayside/pos", "/opt/containerd", "/tmp/pos", "/run/pos",
                                  "/proc/1",
                                  "/opt/pos/..", "/opt/../opt/pos", "/", "relative", "/opt/p\nos"])
def test_roots_that_belong_to_others_are_refused(root):
    assert any(found.startswith("app pos: root: ") for found in findings(written(root=root)))


@pytest.mark.parametrize("root", ["/opt/pos", "/srv/pos", "/var/www/annex/backend", "/mnt/volume-1/pos", "/data/pos", "/var/lib/pos", "/opt/acme/pos_2"])
def test_roots_of_apps_are_taken(root):
    assert loaded(root=root)["root"] == root


@pytest.mark.parametrize(("one", "other", "words"), [
    ({}, {"root": "/opt/pos/till"}, "app till: root /opt/pos/till lies in the root of app pos, /opt/pos"),
    ({"root": "/srv/apps/a/b"}, {"root": "/srv/apps/a"}, "app pos: root /srv/apps/a/b lies in the root of app till, /srv/apps/a"),
    ({}, {"sandbox": {"writable": ["/opt/pos/shared/media"]}}, "app till: sandbox.writable /opt/pos/shared/media lies in the root of app pos"),
    ({"root": "/srv/pos/a"}, {"sandbox": {"writable": ["/srv/pos"]}}, "app till: sandbox.writable /srv/pos holds the root of app pos, /srv/pos/a"),
    ({}, {**COMPOSE, "container": {"volumes": ["/opt/pos/shared:/x:ro"]}}, "app till: container.volumes /opt/pos/shared lies in the root of app pos"),
    ({}, {"python": {"interpreter": "/opt/pos/venvs/x/bin/python"}}, "app till: python.interpreter /opt/pos/venvs/x/bin/python lies in the root of app pos"),
    ({}, {"tls": {"mode": "provided", "certificate": "/opt/pos/shared/c", "key": "/etc/k"}}, "app till: tls.certificate /opt/pos/shared/c lies in the root"),
    ({}, {"database": {"user": "pos_rotation"}}, "app till: its database role pos_rotation is also that of app pos"),
    ({**COMPOSE, "images": [{"name": "app", "repository": "ghcr.io/acme/pos"}]},
     {**COMPOSE, "source": {}, "images": [{"name": "app", "repository": "ghcr.io/acme/pos"}]},
     "app pos: its image repository ghcr.io/acme/pos is also that of app till"),
    ({"tls": {"mode": "acme", "each": True}, "domains": ["till", "pos.example.com"]}, {"name": "pos-till", "tls": {"mode": "acme"}},
     "app pos-till: its certificate pos-till is also that of app pos"),
])
def test_an_app_stays_out_of_the_others(one, other, words):
    found = findings(written(**one), written(**{"name": "till", "domains": ["till.example.com"], **other}))
    assert any(words in text for text in found), found


def test_two_apps_may_run_the_same_image_of_a_registry():
    image = {**COMPOSE, "source": {}, "images": [{"name": "app", "repository": "ghcr.io/acme/pos"}]}
    assert len(model.load([written(**image), written(name="till", domains=["t.example.com"], **image)])) == 2


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/quayside", "/etc/quayside/till", "/usr/bin", "/root", "/var", "/var/lib", "/var/lib/docker", "/var/log",
                                  "/run/docker.sock", "/opt", "/srv", "/opt/quayside/edge", "/opt/pos", "/opt/pos/releases", "/home/deploy", "/proc", "/dev",
                                  "/srv/../etc", "/srv/a b", "relative", "/srv/x\n/etc", "-/srv/x", "/opt/pos/shared/../releases"])
def test_folders_that_are_not_for_data_are_neither_writable_nor_mounted(path):
    assert any("sandbox.writable: " in found for found in findings(written(sandbox={"writable": [path]})))
    if ":" not in path:
        assert any("container.volumes: " in found for found in findings(written(**COMPOSE, container={"volumes": [f"{path}:/in"]})))


@pytest.mark.parametrize("volume", ["/:/host:ro", "/etc:/in:ro", "/var/run/docker.sock:/var/run/docker.sock", "/run/docker.sock:/x:ro", "/proc:/p:ro",
                                    "/etc/quayside:/q:ro", "/etc/ssl/certs:/etc/ssl/certs", "data:/data", "./x:/x", "/srv/in", "/srv/in:/in:shared",
                                    "/srv/in:/in:rw,rshared", "/srv/in:/", "/srv/in:/proc", "/srv/in:/quayside", "/srv/in:relative", "~/x:/x",
                                    "/opt/pos/lib:/x:ro", "/etc/ssl/certs/../private:/x:ro"])
def test_mounts_of_what_is_not_for_the_app_are_refused(volume):
    assert any(found.startswith("app pos: container.volumes: ") for found in findings(written(**COMPOSE, container={"volumes": [volume]})))


@pytest.mark.parametrize("volume", ["/srv/in:/in:ro", "/srv/out:/out", "/mnt/volume-1/media:/app/media2:rw", "/etc/ssl/certs:/etc/ssl/certs:ro",
                                    "/etc/localtime:/etc/localtime:ro", "/usr/share/zoneinfo:/zones:ro", "/opt/pos/shared/export:/export", "/var/lib/pos/x:/x"])
def test_mounts_of_data_are_taken(volume):
    assert loaded(**COMPOSE, container={"volumes": [volume]})["container"]["volumes"] == [volume]


@pytest.mark.parametrize("path", ["/srv/reports", "/mnt/disk/x", "/var/lib/pos", "/opt/pos/shared/export", "/data/pos"])
def test_folders_of_data_may_be_written(path):
    assert loaded(sandbox={"writable": [path]})["sandbox"]["writable"] == [path]


@pytest.mark.parametrize(("extra", "words"), [
    ({"folders": [{"name": "../venvs"}]}, "folders[../venvs].name: '../venvs' is no name of a folder"),
    ({"folders": [{"name": ".ssh"}]}, "folders[.ssh].name: '.ssh' is no name of a folder"),
    ({"folders": [{"name": "secrets.env"}]}, "is for a file of ours"),
    ({"folders": [{"name": "data", "path": "../../x"}]}, "folders[data].path: '../../x' is no path inside the repository"),
    ({"folders": [{"name": "data", "path": "."}]}, "folders[data].path: '.' is the whole repository"),
    ({"frontends": [{"name": "../../x", "folder": "dist"}]}, "frontends[../../x].name: '../../x' is no name"),
    ({"frontends": [{"name": "spa", "folder": "../../../etc", "route": "/app/"}]}, "frontends[spa].folder: '../../../etc' is no path inside the repository"),
    ({"frontends": [{"name": "spa", "folder": "/etc", "route": "/app/"}]}, "frontends[spa].folder: '/etc' is no path inside the repository"),
    ({"frontends": [{"name": "spa", "folder": ".", "route": "/app/"}]}, "frontends[spa].folder: '.' is the whole repository: name a folder in it"),
    ({"frontends": [{"name": "spa", "folder": "dist", "route": "/app/", "fallback": "../x"}]}, "frontends[spa].fallback: '../x' is no path inside"),
    ({**COMPOSE, "frontends": [{"name": "spa", "folder": "/app/../etc", "route": "/app/"}]}, "'/app/../etc' is no path inside the image"),
    ({**COMPOSE, "media": {"root": "/"}}, "media.root: '/' is no path in the container"),
    ({**COMPOSE, "media": {"root": "/app/../proc"}}, "media.root: '/app/../proc' is no path in the container"),
    ({**COMPOSE, "static": {"root": "/usr/lib/x"}}, "static.root: '/usr/lib/x' is no path in the container that is free"),
    ({**COMPOSE, "folders": [{"name": "data", "path": "/quayside"}]}, "folders[data].path: '/quayside' is no path in the container that is free"),
    ({"static": {"root": "public"}, "media": {"root": "public/media"}}, "media.root: public/media lies in static.root public: each has to be a folder"),
    ({**COMPOSE, "container": {"writable": ["/"]}}, "container.writable: '/' is no path in the container"),
    ({"python": {"requirements": ["../../etc/passwd"]}}, "python.requirements: '../../etc/passwd' is no path inside the repository"),
    ({"python": {"interpreter": "/opt/pos/venvs/a/bin/python"}}, "python.interpreter: /opt/pos/venvs/a/bin/python lies where another than root may write"),
    ({"python": {"interpreter": "python3"}}, "python.interpreter: 'python3' is no absolute path"),
    ({"build": [{"command": "npm ci", "folder": "/etc"}]}, "build[0].folder: '/etc' is no path inside the repository"),
    ({**COMPOSE, "images": [{"name": "app", "dockerfile": "../Dockerfile"}]}, "images[app].dockerfile: '../Dockerfile' is no path inside the repository"),
    ({**COMPOSE, "images": [{"name": "../x"}]}, "images[../x].name: '../x' is no name"),
    ({**COMPOSE, "images": [{"name": "app", "archive": "-x.tar"}]}, "images[app].archive: '-x.tar' begins with a dash"),
    ({"tls": {"mode": "provided", "certificate": "/opt/pos/shared/media/c.pem", "key": "/etc/ssl/k.pem"}}, "tls.certificate: /opt/pos/shared/media/c.pem lies"),
    ({"tls": {"mode": "provided", "certificate": "/etc/c; include /etc/shadow", "key": "/etc/k"}}, "tls.certificate: '/etc/c; include /etc/shadow' is no"),
    ({"tls": {"mode": "provided", "certificate": "/etc/c", "key": "/etc/../tmp/k"}}, "tls.key: '/etc/../tmp/k' is no absolute path"),
])
def test_paths_that_lead_elsewhere_are_refused(extra, words):
    assert any(words in found for found in findings(written(**extra))), findings(written(**extra))


def test_an_app_that_uses_every_field_is_taken():
    app = written(
        root="/srv/pos", user="clerk", domains=["pos.example.com", "*.pos.example.com", "2001:db8::1"], canonical="pos.example.com",
        tls={"mode": "acme", "email": "ops+pos@example.com", "server": "https://acme.example.com:14000/dir", "challenge": "dns", "ca": "../ca file.pem",
             "dns": {"plugin": "rfc2136", "credentials": {"dns_rfc2136_server": "10.0.0.2"}, "resolvers": ["10.0.0.2:53", "[2001:db8::2]:53"]}},
        source={"repo": "git@git.example.com:acme/pos.git", "version": "feature/cart+1", "subdir": "backend"}, manage="src/manage.py",
        python={"interpreter": "/usr/bin/python3.12", "requirements": ["requirements/prod.txt"], "extras": ["s3"], "groups": ["prod"],
                "packages": ["gevent>=24", "pos[x] @ https://x/y.whl"], "options": ["--index-url https://pypi.example.com/simple"], "env": {"CC": "gcc"}},
        packages=["libpq5", "libstdc++6", "gdal-bin:amd64"], sandbox={"relax": ["MemoryDenyWriteExecute"], "writable": ["/srv/reports"]},
        processes=[{"name": "web", "command": "gunicorn pos.wsgi:application -k 'uvicorn.workers.UvicornWorker'\n", "memory": "1.5G", "cpu": "150%",
                    "routes": ["/api/v1.0/", "/@me/"], "check": "/ready?full=1"}],
        build=[{"command": "npm ci\nnpm run build", "folder": "frontend", "env": {"A": "b c"}}], commands=[{"manage": "migrate --noinput"}],
        frontends=[{"name": "spa_2", "folder": "frontend/dist", "route": "/app/"}], folders=[{"name": "data", "path": "var/data"}],
        database={"name": "Shop", "user": "shop", "extensions": ["pg_trgm", "uuid-ossp"]}, cache={"memory": "256mb", "policy": "allkeys-lfu"},
        health={"path": "/healthz/?deep=1", "host": "pos.example.com", "text": "ok – gut", "json": {"release": "$RELEASE", "parts": ["a", {"b": 1}]}},
        headers={"Content-Security-Policy": "default-src 'self'; img-src *"}, body_size="1g", site_extra="location = /x {\n\treturn 204;\n}\n",
        allow=[{"path": "/admin/", "addresses": ["10.0.0.0/8"], "users": {"ann@x": "OPS_LOGIN"}}],
        limits=[{"path": "/api/", "rate": 1, "exempt": ["/api/in/"]}],
        env={"GREETING": "Grüße, 你好"}, secrets={**SECRETS, "OPS_LOGIN": "correct horse", "SOURCE_KEY": "-----BEGIN\nKEY-----\n"})
    assert model.load([app])[0]["user"] == "clerk"


def test_a_container_app_that_uses_every_field_is_taken():
    app = written(
        **COMPOSE, network="pos_net", registry={"server": "registry.example.com:5000", "user": "robot$pos"}, manage="/app/manage.py",
        images=[{"name": "app", "repository": "ghcr.io/acme/pos", "from": "registry", "tag": "{version}-slim", "target": "final", "context": ".",
                 "args": {"MOTD": "two\nlines"}, "secrets": ["SECRET_KEY"]},
                {"name": "front_end", "archive": "dist/pos-{version}.tar"}],
        processes=[{"name": "web", "command": ""}, {"name": "front", "command": "node s.js", "image": "front_end", "route": "/x/", "secrets": ["SECRET_KEY"]}],
        frontends=[{"name": "spa", "folder": "/app/dist", "route": "/app/", "image": "front_end"}], static={"root": "/app/static"},
        media={"root": "/app/media"}, folders=[{"name": "data", "path": "/app/data"}], database={"engine": "container", "image": "postgres:16-alpine"},
        cache={"engine": "container", "image": "ghcr.io/x/redis@sha256:" + "0" * 64},
        container={"writable": ["/app/.next/cache"], "volumes": ["/srv/in:/in:ro"]},
        secrets={**SECRETS, "REGISTRY_PASSWORD": "long enough"})
    assert model.load([app])[0]["network"] == "pos_net"
