# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, paths and addresses of the app model: what would meet the host's own, or another app's, is refused before anything changes."""
import re

import pytest
import yaml
from lab import ROOT
from neighbours import SCRATCH, Box

APP = {"edge": "none", "source": {"repo": "git://172.28.0.2/bookshop.git"}, "settings": "config.settings", "database": {"engine": "none"},
       "cache": {"engine": "none"}, "secrets": {"SECRET_KEY": "k" * 50}}
WITH_DATABASE = {**APP["secrets"], "DATABASE_PASSWORD": "p" * 20}
COMPOSE = {"runtime": "compose"}
EDGE = {"edge": "traefik", "runtime": "compose", "domains": ["own.test"]}
# label -> fields of an app, none of which may be accepted.
BAD = {
    **{f"name-{name}": {"name": name, "root": f"/opt/app-{name}"} for name in
       ("ssh", "sshd", "nginx", "docker", "containerd", "root", "postgres", "postgresql", "redis", "backup", "cron", "daemon", "www-data", "deploy", "quayside",
        "quayside-edge", "systemd-journald", "fail2ban", "traefik", "sudo", "nobody")},
    "root-etc": {"name": "own", "root": "/etc/nginx"},
    "root-dots": {"name": "own", "root": "/opt/../etc"},
    "root-usr": {"name": "own", "root": "/usr/local"},
    "root-var": {"name": "own", "root": "/var/lib/docker"},
    "root-home": {"name": "own", "root": "/home/deploy"},
    "root-edge": {"name": "own", "root": "/opt/quayside/edge"},
    "root-of-root": {"name": "own", "root": "/root/own"},
    "user-root": {"name": "own", "user": "root"},
    "user-postgres": {"name": "own", "user": "postgres"},
    "user-edge": {"name": "own", "user": "www-data"},
    "folder-dots": {"name": "own", "folders": [{"name": "../../etc"}]},
    "folder-slash": {"name": "own", "folders": [{"name": "a/../../b"}]},
    "folder-absolute": {"name": "own", "folders": [{"name": "/etc"}]},
    "folder-path-dots": {"name": "own", "folders": [{"name": "data", "path": "../../data"}]},
    "frontend-dots": {"name": "own", "frontends": [{"name": "spa", "route": "/spa/", "folder": "../../../etc"}]},
    "frontend-name": {"name": "own", "frontends": [{"name": "../spa", "route": "/spa/", "folder": "dist"}]},
    "database-user": {"name": "own", "database": {"engine": "postgresql", "user": "postgres"}, "secrets": WITH_DATABASE},
    "database-name": {"name": "own", "database": {"engine": "postgresql", "name": "template1"}, "secrets": WITH_DATABASE},
    "network-host": {"name": "own", **COMPOSE, "network": "host"},
    "network-none": {"name": "own", **COMPOSE, "network": "none"},
    "network-bridge": {"name": "own", **COMPOSE, "network": "bridge"},
    "network-edge": {"name": "own", **COMPOSE, "network": "quayside-edge_inside"},
    "network-container": {"name": "own", **COMPOSE, "network": "container:x"},
    "image-of-another": {"name": "own", **COMPOSE, "images": [{"name": "app", "repository": "quayside/other-app"}]},
    "image-of-the-edge": {"name": "own", **COMPOSE, "images": [{"name": "app", "repository": "nginx", "from": "build"}]},
    "allow-mask": {"name": "own", **EDGE, "allow": [{"path": "/admin/", "addresses": ["203.0.113.0/33"]}]},
    "allow-word": {"name": "own", **EDGE, "allow": [{"path": "/admin/", "addresses": ["office"]}]},
    "allow-octet": {"name": "own", **EDGE, "allow": [{"path": "/admin/", "addresses": ["203.0.113.256"]}]},
    "allow-six": {"name": "own", **EDGE, "allow": [{"path": "/admin/", "addresses": ["2001:db8::/129"]}]},
    "allow-path": {"name": "own", **EDGE, "allow": [{"path": "/a`)||PathPrefix(`/", "addresses": ["203.0.113.1"]}]},
    "route-rule": {"name": "own", **EDGE, "processes": [{"name": "web", "command": "gunicorn a.wsgi", "routes": ["/x`) || Host(`victim.test"]}]},
    "header-line": {"name": "own", **EDGE, "headers": {"X-A": "b\r\nSet-Cookie: c=d"}},
}
# Two apps that may not stand beside each other: their units, folders or images would meet.
PAIRS = {
    "nested-roots": [{"name": "shop", "root": "/opt/shop"}, {"name": "inner", "root": "/opt/shop/inner"}],
    "root-in-shared": [{"name": "shop", "root": "/opt/shop"}, {"name": "inner", "root": "/opt/shop/shared/inner"}],
    "same-image": [{"name": "shop", **COMPOSE, "images": [{"name": "app", "repository": "acme/one"}]},
                   {"name": "other", **COMPOSE, "images": [{"name": "app", "repository": "acme/one"}]}],
    "same-database-role": [{"name": "shop", "database": {"engine": "postgresql"}, "secrets": WITH_DATABASE},
                           {"name": "other", "database": {"engine": "postgresql", "user": "shop"},
                            "secrets": WITH_DATABASE}],
    "rotation-role": [{"name": "shop", "database": {"engine": "postgresql"}, "secrets": WITH_DATABASE},
                      {"name": "other", "database": {"engine": "postgresql", "user": "shop_rotation"},
                       "secrets": WITH_DATABASE}],
}


@pytest.fixture(scope="module")
def preflight(boxes):
    """Return a function that judges a list of apps as every playbook does first; it gives status and output."""
    box: Box = next(iter(boxes.values()))

    def judge(label, apps):
        SCRATCH.mkdir(parents=True, exist_ok=True)
        path = SCRATCH / f"names-{label}.yml"
        path.write_text(yaml.safe_dump({"django_apps": apps}))
        run = box.server.play(str(ROOT / "playbooks/preflight-inventory.yml"), "-e", f"@{path}", ok=False, timeout=120)
        return run.rc, run.out

    return judge


def whole(fields: dict) -> dict:
    """Return an app with these fields."""
    return {**APP, **fields}


@pytest.fixture(scope="module")
def refused(preflight):
    """Return label -> what preflight says of that app; all rows of the table are judged in one run, each under a name and a domain of its own."""
    apps = {label: whole(dict(fields, name=fields["name"].replace("own", f"own-{number}"))) for number, (label, fields) in enumerate(BAD.items())}
    for label, app in apps.items():
        if app.get("domains"):
            app["domains"] = [f"{label}.test"]
    _status, said = preflight("table", list(apps.values()))
    assert "Traceback" not in said
    found = re.findall(r"(?m)^ *- app ([a-z0-9-]+): (.*)$", said)
    return {label: [text for name, text in found if name == app["name"] and "is also that of app" not in text] for label, app in apps.items()}


@pytest.mark.parametrize("label", BAD)
def test_a_name_a_path_or_an_address_that_is_not_the_apps_is_refused(refused, label):
    """Findings 17 and 19: the message names the app, and no host is touched."""
    assert refused[label], f"{label} was accepted"


@pytest.mark.parametrize("label", PAIRS)
def test_two_apps_that_would_meet_are_refused(preflight, label):
    """Finding 19."""
    status, said = preflight(label, [whole(fields) for fields in PAIRS[label]])
    assert status != 0, f"{label} was accepted"
    assert PAIRS[label][0]["name"] in said and PAIRS[label][1]["name"] in said


@pytest.mark.parametrize(("first", "second"), [("shop", "shop-keep"), ("shop", "shop-images"), ("shop", "shop-web"), ("shop", "shop-logs")])
def test_no_unit_of_an_app_is_that_of_another_whose_name_begins_alike(preflight, first, second):
    """Finding 19: either the pair is refused, or none of their files meet."""
    from ansible_collections.quayside.django.plugins.module_utils import container_units, model, units

    apps = [whole({"name": first, **COMPOSE}), whole({"name": second, **COMPOSE})]
    if preflight(f"pair-{second}", apps)[0] != 0:
        return
    loaded = model.load(apps)
    names = [set(container_units.files(app)) | set(units.files(dict(app, runtime="systemd"))) for app in loaded]
    assert names[0] & names[1] == set()


def test_the_app_beside_these_is_accepted(preflight):
    """The table above refuses for its reasons, and not because of what all its rows share."""
    assert preflight("good", [whole({"name": "own"}), whole({"name": "other", **COMPOSE})])[0] == 0


@pytest.mark.on("nb-host")
def test_a_unit_of_the_host_that_is_not_ours_is_never_taken_over(box):
    """Finding 19: what the host has, and we did not make, is refused on the host itself."""
    name = "nbstray"
    unit = f"/etc/systemd/system/{name}.service"
    text = "[Unit]\\nDescription=not ours\\n[Service]\\nExecStart=/bin/sleep infinity\\n"
    box.inside(f"printf '{text}' > {unit}")
    try:
        def change(app):
            app.update(name=name, domains=[f"{name}.test"], secrets="{{ vault_intruder }}", database={"engine": "none"})
        words = box.changed("intruder", change)
        run = box.server.play("site", *words, ok=False, timeout=1500)
        assert box.inside(f"head -n 2 {unit} | tail -n 1") == "Description=not ours"
        assert run.rc != 0 and name in run.out, run.out[-3000:]
    finally:
        box.inside(f"rm -f {unit}; systemctl daemon-reload")
        box.server.play("site", timeout=1500)
