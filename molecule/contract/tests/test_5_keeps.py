# SPDX-License-Identifier: GPL-3.0-or-later
"""What outlives a release, and what holds a process in."""
import http.client
import json

import pytest
from cgroups import memory_limit, process_limit

GIF = b"GIF89a" + bytes(20)


@pytest.fixture(scope="module")
def cover(server):
    """Upload a cover as a browser does and return its path."""
    book = server.json("/api/books/", data={"title": "Covered", "price": "1.00"})["id"]
    boundary = "quayside"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="cover"; filename="cover.gif"\r\nContent-Type: image/gif\r\n\r\n'.encode()
    body += GIF + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(server.address, timeout=10)
    connection.request("POST", f"/api/books/{book}/cover/", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    path = json.loads(text)["cover"]
    return path[path.index("/media/"):]


@pytest.mark.promise("media")
def test_uploads_are_served_after_a_deploy_a_rollback_and_a_reboot(server, cover):
    def reboot():
        server.power("off")
        server.power("on")
        server.until(lambda: server.get("/healthz/")[0] == 200, 60, "the site")

    for step in (lambda: server.deploy("v2"), lambda: server.play("rollback", "-e", "django_app=bookshop"), reboot):
        step()
        status, _headers, body = server.get(cover)
        assert (status, body) == (200, GIF)


@pytest.mark.promise("logs")
@pytest.mark.parametrize("app", ["bookshop", "till"])
def test_the_journal_of_an_app_has_a_limit(server, app):
    assert server.inside(f"grep -c '^SystemMaxUse=[1-9]' /etc/systemd/journald@{app}.conf") == "1"
    # What journald itself says of the limits that it goes by.
    told = server.inside(f"journalctl --namespace={app} -t systemd-journald --no-pager -o cat | grep 'System Journal' | tail -1")
    limit = server.inside(f"sed -n 's/^SystemMaxUse=//p' /etc/systemd/journald@{app}.conf")
    assert f"max {limit}" in told.replace(".0", ""), (told, limit)


@pytest.mark.promise("logs")
def test_output_goes_to_the_journal_and_to_no_other_file(server):
    server.get("/healthz/?where=does-it-go")
    server.until(lambda: "where=does-it-go" in server.inside("journalctl --namespace=bookshop -t bookshop-web --no-pager -n 200"), 10, "the line")
    folders = "/var/log /opt/bookshop /var/lib/docker/containers"
    found = server.inside(f"grep -rl --exclude-dir=journal 'where=does-it-go' {folders} 2>/dev/null || true").splitlines()
    caches = [path for path in found if path.endswith("/container-cached.log")]
    assert [path for path in found if "/nginx/" not in path and path not in caches] == []
    for path in caches:
        options = json.loads(server.inside(f"docker inspect --format '{{{{json .HostConfig.LogConfig.Config}}}}' {path.split('/')[-2]}"))
        assert (options["cache-max-size"], options["cache-max-file"]) == ("10m", "2")


@pytest.mark.promise("limits")
@pytest.mark.parametrize(("app", "process"), [("bookshop", "web"), ("bookshop", "worker"), ("bookshop", "beat"), ("till", "trouble")])
def test_a_process_is_held_in_by_the_kernel(server, app, process):
    pid = server.pid(process, app)
    assert process_limit(server, pid) > 0
    if process == "trouble":
        assert memory_limit(server, pid) == 128 * 1024 * 1024
    elif server.containers:
        assert memory_limit(server, pid) > 0
