# SPDX-License-Identifier: GPL-3.0-or-later
"""The same story for each layout: two versions, back, a restart. What runs is always the code, the library and the static files of one release."""
import pytest

USUAL = ["fixedstatic", "editable", "copied", "workspace", "package", "hashes", "onefile"]
WITH_LIBRARY = {"editable", "copied", "workspace", "package"}


@pytest.mark.proves("0.46", "0.34")
@pytest.mark.parametrize("name", USUAL)
def test_each_release_is_its_own(app, name):
    site = app(name)

    def right(version):
        health = site.health()
        assert (health["version"], health["library"]) == (version, version if name in WITH_LIBRARY else 0)
        status, css = site.page()
        assert status == 200
        assert f"/* {version} */" in css

    site.deploy(1)
    right(1)
    first = site.live()
    site.deploy(2)
    right(2)
    site.rollback()
    right(1)
    site.restart()
    right(1)
    # What it was copied from is not needed: nothing of the app leads into it.
    assert site.live() != first
    links = site.server.inside(f"find /opt/{name}/releases/{site.live()}/code -type l -printf '%l\\n'").splitlines()
    assert [link for link in links if link.startswith("/") and site.live() not in link and "/shared/" not in link] == []
    back = site.live()
    site.deploy(1)
    assert site.live() == back
    site.deploy(2)
    site.restart()
    right(2)


def test_a_damaged_live_release_is_noticed_and_made_anew(app):
    site = app("fixedstatic")
    site.deploy(2)
    live = site.live()
    site.server.inside(f"ln -sfn /opt/fixedstatic/releases/20200101000000-aaaaaaa/static /opt/fixedstatic/releases/{live}/code/staticfiles")
    report = site.server.play("doctor", "-e", "django_app=fixedstatic", ok=False)
    assert "leads into another release, 20200101000000-aaaaaaa" in report.out
    run = site.deploy(2)
    assert "damaged" in run.out
    assert site.live() != live
    site.restart()
    assert site.page()[0] == 200


def test_a_rebuild_takes_the_dependencies_anew_and_the_next_deploy_keeps_them(app):
    site = app("onefile")
    site.deploy(1)
    venv = site.server.inside("readlink -f /opt/onefile/live/bin/web; grep -o '/opt/onefile/venvs/[0-9a-f]*' /opt/onefile/live/bin/web | head -1")
    assert site.deploy(1, "-e", "rebuild=true").count("changed") > 0
    rebuilt = site.server.inside("readlink -f /opt/onefile/live/bin/web; grep -o '/opt/onefile/venvs/[0-9a-f]*' /opt/onefile/live/bin/web | head -1")
    assert rebuilt.split()[1] != venv.split()[1]
    site.deploy(2)
    assert site.server.inside("grep -o '/opt/onefile/venvs/[0-9a-f]*' /opt/onefile/live/bin/web | head -1") == rebuilt.split()[1]


def test_gunicorn_takes_what_the_projects_own_file_says(app):
    site = app("configured")
    site.deploy(1)
    # Its address is ours to say, whatever the file has.
    assert site.health()["version"] == 1
    workers = site.server.inside(f"pgrep -c -P $(systemctl show -p MainPID --value configured-web@{site.live()}.service)")
    assert workers == "3"
