# SPDX-License-Identifier: GPL-3.0-or-later
"""What system 4 is, beyond the story: all in containers, two domains, cache times, headers, limits, volumes."""
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

ENGLISH, SPANISH = "diving.example.com", "buceo.example.com"


def get(server, path, host=ENGLISH, **options):
    """Return status, headers in small letters, and body."""
    status, headers, body = server.get(path, host, tls=True, **options)
    return status, {name.lower(): value for name, value in headers.items()}, body.decode()


@pytest.mark.proves("4.02", "4.58")
def test_each_domain_is_served_in_its_language(server):
    assert "The wreck" in get(server, "/")[2]
    assert "El naufragio" in get(server, "/", SPANISH)[2]


@pytest.mark.proves("4.37", "4.56")
def test_http_becomes_https_with_path_and_query(server):
    status, headers, _body = server.get("/api/trips/?page=2", ENGLISH)
    assert (status, headers["Location"]) == (301, f"https://{ENGLISH}/api/trips/?page=2")


@pytest.mark.proves("4.04")
def test_static_files_are_kept_for_a_year(server):
    style = re.search(r'href="(/static/[^"]+)"', get(server, "/")[2])[1]
    status, headers, _body = get(server, style)
    assert status == 200
    assert "max-age=31536000" in headers["cache-control"]


@pytest.mark.proves("4.05", "4.80")
def test_media_lie_in_the_apps_folder_and_are_kept_for_a_day(server):
    server.inside("runuser -u duo -- sh -c 'mkdir -p /opt/duo/shared/media/trips && echo photo > /opt/duo/shared/media/trips/one.txt'")
    status, headers, body = get(server, "/media/trips/one.txt")
    assert (status, body) == (200, "photo\n")
    assert "max-age=86400" in headers["cache-control"]


@pytest.mark.proves("4.61", "4.62", "4.63", "4.65")
@pytest.mark.parametrize("path", ["/", "/not-there/", "/static/trips/site.css"])
def test_headers_are_on_every_answer(server, path):
    headers = get(server, path)[1]
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-xss-protection"] == "1; mode=block"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"


def burst(server, path, count=100) -> list[int]:
    """Return the statuses of so many requests at once."""
    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(lambda _number: get(server, path)[0], range(count)))


@pytest.mark.proves("4.66")
def test_the_api_is_limited(server):
    statuses = burst(server, "/api/trips/")
    assert statuses.count(200) >= 20
    assert set(statuses) - {200} <= {429, 503}
    assert len(set(statuses)) > 1


@pytest.mark.proves("4.06", "4.67")
def test_the_health_page_is_not(server):
    assert set(burst(server, "/health/")) == {200}


@pytest.mark.proves("4.08", "4.10", "4.11", "4.12")
def test_only_the_edge_is_published(server):
    lines = server.inside("docker ps --format '{{.Names}} {{.Ports}}'").splitlines()
    published = {line.split()[0] for line in lines if "->" in line}
    assert len(published) == 1
    assert "edge" in published.pop()


@pytest.mark.proves("4.09")
def test_four_workers_serve(server):
    name = server.inside("docker ps --filter label=quayside.app=duo --filter label=quayside.process=web --format '{{.Names}}' | head -1")
    processes = server.inside(f"docker top {name} -o pid,args").splitlines()[1:]
    assert len(processes) == 5
    assert all("--workers 4" in line and "--threads 2" in line for line in processes)


@pytest.mark.proves("4.14")
def test_a_session_survives_a_restart_of_web(server):
    cookie = get(server, "/")[1]["set-cookie"].split(";")[0]
    name = server.inside("docker ps --filter label=quayside.app=duo --filter label=quayside.process=web --format '{{.Names}}' | head -1")
    server.inside(f"docker restart {name}")
    server.until(lambda: get(server, "/health/")[0] == 200, 60, "web")
    page = server.inside(f"curl -sk --resolve {ENGLISH}:443:127.0.0.1 -H 'Cookie: {cookie}' https://{ENGLISH}/")
    assert "Your visits: 2" in page


@pytest.mark.proves("4.77", "4.78")
def test_rows_and_keys_survive_new_containers_of_the_services(server):
    before = server.json("/api/trips/", ENGLISH, tls=True)
    server.inside("cd /opt/duo/services && docker compose up -d --force-recreate --wait")
    server.until(lambda: get(server, "/health/")[0] == 200, 60, "web")
    assert server.json("/api/trips/", ENGLISH, tls=True) == before


@pytest.mark.proves("4.86", "4.88", "4.89")
def test_compose_works_by_hand(server):
    assert "web" in server.inside("cd /opt/duo && docker compose ps")
    assert server.inside("cd /opt/duo && docker compose logs --tail 1 web") is not None
    assert "3" in server.inside("cd /opt/duo && docker compose exec -T web python manage.py shell -c 'print(1 + 2)'")
