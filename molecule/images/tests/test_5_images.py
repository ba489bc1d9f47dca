# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: from a registry with a login, from an archive, from a folder of the controller; how many stay; what a bad one leaves behind."""
import contextlib
import hashlib
import json
import re
import subprocess

import pytest
import yaml
from lab import ROOT

HOST = "annex.example.com"
STATE = ("readlink /srv/annex/live; ls /srv/annex/releases; cat /srv/annex/lock; docker images --format '{{.ID}} {{.Repository}}:{{.Tag}}' | sort; "
         "docker ps -a --format '{{.Names}} {{.State}}' | sort; ls -a /root/.docker 2>&1 || true")
RUNNING = "docker ps -aq --filter label=quayside.app=annex --filter label=quayside.release | wc -l"


def push(version, tag=""):
    """Put a version of the bookshop into the lab's registry; return its name there."""
    done = subprocess.run([str(ROOT / "scripts/lab"), "push", "bookshop", version, *[tag] * bool(tag)], check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def annex(server, **fields):
    """Return words for a run in which the annex differs."""
    apps = yaml.safe_load((server.inventory / "group_vars" / server.environment / "main.yml").read_text())["django_apps"]
    for name, value in fields.items():
        apps[1][name] = {**apps[1].get(name, {}), **value} if isinstance(value, dict) and name != "secrets" else value
    path = ROOT / ".cache" / f"annex-{server.name}.yml"
    path.write_text(yaml.safe_dump({"django_apps": apps}))
    return ["-e", f"@{path}"]


def settle(server):
    """Wait until the annex has the two containers of its live release, and no other."""
    server.until(lambda: server.inside(RUNNING) == "2", 60, "the end of the old containers")


def live(server):
    """Return the record of the annex's live release."""
    return json.loads(server.inside("cat /srv/annex/live/release.json"))


@contextlib.contextmanager
def no_registry(server):
    """Cut the server off from the registry while the block runs."""
    address, port = server.local["lab_registry"].split(":")
    server.inside(f"iptables -I OUTPUT -p tcp -d {address} --dport {port} -j REJECT --reject-with tcp-reset")
    try:
        yield
    finally:
        server.inside(f"iptables -D OUTPUT -p tcp -d {address} --dport {port} -j REJECT --reject-with tcp-reset")


@pytest.fixture(scope="module", autouse=True)
def pushed(server):
    """v1 to v4 are in the registry and v1 is live."""
    found = {version: push(version) for version in ("v1", "v2", "v3", "v4")}
    server.deploy("v1", app="annex")
    return found


@pytest.mark.proves("1.12", "4.23", "3.47")
def test_a_tag_is_deployed_by_its_digest(server, pushed):
    server.deploy("v2", app="annex")
    digest = pushed["v2"].split("@")[1]
    assert live(server)["images"]["app"]["ref"].endswith(f"@{digest}")
    assert f"@{digest}" in server.inside("docker inspect --format '{{.Config.Image}}' $(grep -- -web-1 /srv/annex/live/units)")
    assert server.json("/healthz/", HOST, tls=True)["version"] == "v2"


@pytest.mark.proves("1.10")
def test_a_tag_that_moves_is_another_release_and_one_that_stays_is_none(server):
    push("v3", "stable")
    server.deploy("stable", app="annex")
    assert server.deploy("stable", app="annex").count("changed") == 0
    push("v4", "stable")
    assert server.deploy("stable", app="annex").count("changed") == 1


def test_a_digest_is_deployed_without_asking_for_a_tag(server, pushed):
    server.deploy(pushed["v3"].split("@")[1], app="annex")
    assert live(server)["images"]["app"]["digest"] == pushed["v3"].split("@")[1]


@pytest.mark.proves("4.24", "1.31", "3.62", "3.66")
@pytest.mark.parametrize(("fields", "version", "words"), [
    ({"secrets": {"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 20, "REDIS_PASSWORD": "r" * 20, "REGISTRY_PASSWORD": "not the password"}}, "v4",
     ["the registry refused", "REGISTRY_PASSWORD"]),
    ({"registry": {"server": "", "user": ""}}, "v4", ["without a login", "registry.user"]),
    ({}, "v77", ["there is no image", "bookshop:v77", "was it pushed?"]),
    ({}, "v1!", ["is no tag of an image"]),
], ids=["wrong password", "no login", "unknown tag", "impossible tag"])
def test_what_the_registry_does_not_give_changes_nothing(server, fields, version, words):
    settle(server)
    before = server.inside(STATE)
    run = server.deploy(version, *annex(server, **fields), app="annex", ok=False)
    assert run.rc != 0
    for word in words:
        assert word in " ".join(run.out.split()), run.out[-3000:]
    assert server.inside(STATE) == before


@pytest.mark.proves("4.24")
def test_a_registry_that_is_down_changes_nothing_and_a_rollback_needs_none(server):
    server.deploy("v1", app="annex")
    server.deploy("v2", app="annex")
    settle(server)
    before = server.inside(STATE)
    with no_registry(server):
        run = server.deploy("v4", app="annex", ok=False)
        assert run.rc != 0
        assert "does not answer" in " ".join(run.out.split())
        assert server.inside(STATE) == before
        server.play("rollback", "-e", "django_app=annex")
        assert server.json("/healthz/", HOST, tls=True)["version"] == "v1"


@pytest.mark.proves("1.31", "3.62")
def test_no_login_stays_on_the_host(server):
    password = server.local["lab_registry_password"]
    assert server.inside("cat /root/.docker/config.json 2>/dev/null || true") == ""
    assert server.inside(f"grep -rls {password} /root /home /etc /opt /srv /run /var/log 2>/dev/null || true") == ""


@pytest.mark.proves("3.65", "1.35", "4.32", "0.46")
def test_after_five_deploys_the_declared_number_of_images_remains_and_others_are_untouched(server, pushed):
    server.inside("for tag in 1 2 3; do tar -C /etc -c hostname | docker import - busy:$tag >/dev/null; done")
    others = "docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}' | grep -v /bookshop | sort"
    before = server.inside(others)
    for version in ("v1", "v2", "v3", "v4", "v1"):
        server.deploy(version, app="annex")
    settle(server)
    server.deploy("v2", app="annex")
    images = server.inside("docker images --digests --format '{{.Repository}} {{.ID}}' | grep '/bookshop ' | sort -u | wc -l")
    assert images == "2"
    assert server.inside(others) == before
    with no_registry(server):
        server.play("rollback", "-e", "django_app=annex")
    assert server.json("/healthz/", HOST, tls=True)["version"] == "v1"


@pytest.mark.proves("1.52")
def test_a_timer_prunes_too(server):
    assert "quayside-images@annex.timer" in server.inside("systemctl list-timers --all --no-pager")
    server.inside("systemctl start quayside-images@annex.service")
    assert server.inside("systemctl show -p Result --value quayside-images@annex.service") == "success"


def test_an_archive_is_deployed_without_a_registry(server):
    push("v4")
    archive = ROOT / ".cache" / "annex-v4.tar"
    subprocess.run(["docker", "tag", engine_image("v4"), "annex-archive:v4"], check=True)
    subprocess.run(["docker", "save", "-o", str(archive), "annex-archive:v4"], check=True)
    with no_registry(server):
        words = annex(server, images=[{"name": "app", "archive": str(archive).replace("v4", "{version}"), "repository": "quayside/annex"}])
        run = server.deploy("v4", *words, app="annex")
        assert "loaded" in run.out
        assert server.deploy("v4", *words, app="annex").count("changed") == 0
    assert server.json("/healthz/", HOST, tls=True)["version"] == "v4"


def engine_image(version):
    """Return the image of the bookshop that this machine's engine has of a version."""
    found = subprocess.run(["docker", "images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"], check=True, capture_output=True, text=True).stdout
    return next(line.split()[0] for line in found.splitlines() if re.search(rf":app-bookshop-{version}$", line))


@pytest.mark.proves("0.05", "0.31", "0.33", "0.16", "1.09", "1.51")
def test_a_folder_of_the_controller_is_built_on_the_server(server, tmp_path):
    folder = tmp_path / "shop"
    subprocess.run([str(ROOT / "examples/bookshop/make-repository"), str(tmp_path / "shop.git")], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["git", "clone", "-q", "--branch", "v4", str(tmp_path / "shop.git"), str(folder)], check=True, capture_output=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, cwd=folder, capture_output=True, text=True).stdout.strip()
    words = annex(server, source={"folder": str(folder), "version": ""}, images=[{"name": "app"}])
    server.play("deploy", "-e", "django_app=annex", *words)
    assert live(server)["images"]["app"]["ref"].startswith("quayside/annex-app:")
    assert live(server)["sha"] == commit
    assert server.json("/healthz/", HOST, tls=True)["version"] == commit
    second = server.play("deploy", "-e", "django_app=annex", *words)
    assert second.count("changed") == 0
    # A file that is gone goes, what git ignores stays at home, and a build that fails leaves all serving.
    (folder / "Dockerfile").write_text("FROM python:3.12-slim\nRUN exit 3\n")
    (folder / "README.md").unlink()
    (folder / "db.sqlite3").write_text("local")
    broken = server.play("deploy", "-e", "django_app=annex", *words, ok=False)
    assert broken.rc != 0
    assert "could not be built" in broken.out
    assert server.json("/healthz/", HOST, tls=True)["version"] == commit
    sent = server.inside("ls -a /var/cache/quayside/annex/source")
    assert "README.md" not in sent
    assert "db.sqlite3" not in sent
    assert ".git\n" not in sent


@pytest.mark.proves("4.68", "0.28")
def test_a_private_base_image_build_arguments_and_a_build_secret(server, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    base = f"{server.local['lab_registry']}/bookshop:v3"
    # By its hash: what a Dockerfile says stands in the history of the image.
    known = hashlib.sha256(b"sesame-sesame").hexdigest()
    (folder / "Dockerfile").write_text(f"FROM {base}\nARG FLAVOUR=none\nRUN --mount=type=secret,id=PIP_TOKEN,uid=10001 "
                                       f"tr -d '\\n' < /run/secrets/PIP_TOKEN | sha256sum | grep -q {known}\nENV FLAVOUR=$FLAVOUR\n")
    secrets = {"SECRET_KEY": server.local["vault_annex"]["SECRET_KEY"], "DATABASE_PASSWORD": server.local["vault_annex"]["DATABASE_PASSWORD"],
               "REDIS_PASSWORD": server.local["vault_annex"]["REDIS_PASSWORD"], "REGISTRY_PASSWORD": server.local["lab_registry_password"],
               "PIP_TOKEN": "sesame-sesame"}
    image = {"name": "app", "from": "build", "args": {"FLAVOUR": "a $sweet 'one'"}, "secrets": ["PIP_TOKEN"]}
    server.play("deploy", "-e", "django_app=annex", *annex(server, source={"folder": str(folder), "version": ""}, images=[image], secrets=secrets))
    assert server.inside("docker exec $(grep -- -web-1 /srv/annex/live/units) printenv FLAVOUR") == "a $sweet 'one'"
    reference = live(server)["images"]["app"]["ref"]
    assert "sesame" not in server.inside(f"docker history --no-trunc {reference}; docker save {reference} | grep -ac sesame-sesame || true")
    assert "sesame" not in server.inside("cat /root/.docker/config.json 2>/dev/null; ls /run/quayside-docker-* 2>/dev/null || true")
