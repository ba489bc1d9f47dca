# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as other people write them: a health check and volumes of their own, start scripts, an entrypoint that waits for the database."""
import pytest
from test_2_requests import Askers


def containers(site) -> list[str]:
    """Return the containers of the live release."""
    return site.server.inside(f"cat /opt/{site.name}/live/units").split()


def settle(site) -> None:
    """Wait until only the containers of the live release are there."""
    every = f"docker ps -aq --filter label=quayside.app={site.name} --filter label=quayside.process | wc -l"
    site.server.until(lambda: int(site.server.inside(every)) == len(containers(site)), 90, "the end of the old containers")


def volumes(site) -> int:
    """Return how many volumes without a name are left that no container uses."""
    return int(site.server.inside("docker volume ls -q --filter dangling=true | grep -cE '^[0-9a-f]{64}$' || true"))


def said(run) -> str:
    """Return what a run printed, in one line."""
    return " ".join(run.out.split())


def test_a_health_check_of_the_image_makes_no_worker_unhealthy(app):
    site = app("uwsgi")
    site.deploy(1)
    assert site.health()["version"] == 1
    ticker = next(name for name in containers(site) if "ticker" in name)
    assert site.server.inside(f"docker inspect --format '{{{{json .State.Health}}}} {{{{json .Config.Healthcheck.Test}}}}' {ticker}") == 'null ["NONE"]'
    web = next(name for name in containers(site) if "-web-" in name)
    site.server.until(lambda: site.server.inside(f"docker inspect --format '{{{{.State.Health.Status}}}}' {web}") == "healthy", 60, "a good health of web")
    live = site.live()
    assert site.deploy(1).count("changed") == 0
    assert site.live() == live


def test_requests_at_uwsgi_are_answered_through_a_deploy_and_a_rollback(app):
    site = app("uwsgi")
    site.deploy(1)
    with Askers(site, 60, pause=1.2) as askers:
        site.server.until(lambda: len(askers.threads) > 3, 20, "requests that are under way")
        site.deploy(2)
        site.rollback()
    assert len(askers.statuses) > 6
    assert set(askers.statuses) == {200}, askers.statuses
    assert site.health()["version"] == 1


def test_uploads_and_fixtures_outlive_releases_and_volumes_do_not(app):
    site = app("uploads")
    others = volumes(site)
    run = site.deploy(1)
    assert "declares VOLUME /var/lib/uploads: what is written there is gone with the next deploy" in said(run)
    assert site.server.json("/shops/", site.host) == {"shops": ["Corner"]}
    name = site.server.get(f"/upload/{site.live()}/", site.host)[2].decode()
    site.deploy(2)
    settle(site)
    assert site.server.json("/shops/", site.host) == {"shops": ["Corner"]}
    assert site.server.get(f"/media/{name}", site.host)[::2] == (200, b"picture")
    assert volumes(site) == others
    site.rollback()
    settle(site)
    assert volumes(site) == others


def test_a_volume_inside_media_is_refused_and_leaves_nothing(app):
    site = app("uploads")
    site.deploy(2)
    settle(site)
    live, before = site.live(), volumes(site)
    run = site.deploy(3, ok=False)
    assert run.rc != 0
    assert "declares VOLUME /app/media/thumbs, inside /app/media (media.root)" in said(run)
    assert (site.live(), volumes(site)) == (live, before)
    assert site.health()["version"] == 2


@pytest.fixture(scope="module")
def template(app):
    """The project in the shape of a template, live in its first version."""
    site = app("template")
    site.deploy(1)
    return site


def test_a_project_of_start_scripts_runs_whole(template):
    assert template.health()["version"] == 1
    assert template.server.json("/add/2/3/", template.host) == {"sum": 5}
    template.server.until(lambda: template.server.get("/flower/healthcheck", template.host)[0] == 200, 60, "flower, which waits for the workers")
    ticks = f"journalctl --namespace=template -t template-worker --since -10s --no-pager | grep -c 'tick.*{template.live()}'"
    template.server.until(lambda: int(template.server.inside(ticks, check=False)) >= 2, 30, "what beat sends")
    template.deploy(2)
    assert template.health()["version"] == 2
    assert template.server.json("/add/2/3/", template.host) == {"sum": 5}
    settle(template)


def test_an_entrypoint_that_waits_for_its_database_without_end_is_named(template):
    live = template.live()
    run = template.deploy(1, "-e", "template_password=not-the-password-at-all", ok=False)
    assert run.rc != 0
    assert "given to the ENTRYPOINT of the image, /entrypoint, which did not start it within 30 s" in said(run)
    assert "Waiting for PostgreSQL to become available" in run.out
    assert run.seconds < 120
    assert template.live() == live
    assert template.server.inside("cat /opt/template/lock") == ""
    assert template.server.inside("docker ps -aq --filter label=quayside.oneoff | wc -l") == "0"
    assert template.server.json("/add/2/3/", template.host) == {"sum": 5}
