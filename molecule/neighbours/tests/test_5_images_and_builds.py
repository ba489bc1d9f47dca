# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and builds: an archive that brings names along, a Dockerfile of somebody who can push, and what containers run from."""
import os
import re
import threading

import pytest
from archive import write
from neighbours import APP, SCRATCH, copied

DOCKERFILE = (APP / "Dockerfile").read_text()
CONTAINED = ("nb-nginx", "nb-traefik")


def images(box) -> dict:
    """Return name -> id of all images of a box that have a name and are not the hostile app's."""
    lines = box.inside("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'").splitlines()
    return dict(line.split() for line in lines if "hostile" not in line and "<none>" not in line)


def deployed_from(box, files: dict, app: str = "hostile", ok: bool = False):
    """Deploy an app from a copy of its source with other files."""
    folder = copied(f"evil-{box.name}", files)
    return box.deploy(app, *box.changed(app, lambda entry: entry.update(source={"folder": folder})), ok=ok)


@pytest.fixture
def repaired(box):
    """The hostile app, and the victim, as the inventory has them, when the test is over."""
    yield
    for app in ("hostile", "victim"):
        box.deploy(app)


@pytest.mark.on(*CONTAINED)
@pytest.mark.parametrize("names", [["nginx:alpine"], ["traefik:v3"], ["postgres:16-alpine", "redis:7-alpine"], ["python:3.12-slim"], ["victim"]])
def test_an_archive_renames_no_image_of_the_host(box, names, repaired):
    """Finding 18: RepoTags that say the edge's image, a service's, a base image or the neighbour's own."""
    before = images(box)
    if names == ["victim"]:
        names = [name for name in before if name.startswith("quayside/victim-app:")][:1]
    path = SCRATCH / f"evil-{box.name}.tar"
    write(path, [*names, "quayside/hostile-app:stolen"], ",".join(names))
    words = box.changed("hostile", lambda entry: entry.update(
        source={}, images=[{"name": "app", "archive": str(path)}], processes=[entry["processes"][0]]))
    run = box.deploy("hostile", *words, ok=False)
    after = images(box)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in names if name not in before and name in after]
    assert run.rc != 0 and "Traceback" not in run.out


@pytest.mark.on(*CONTAINED)
def test_the_edge_and_the_services_run_from_a_digest(box):
    """Finding 18: a tag that moves changes nothing of theirs."""
    ids = box.inside("docker ps -q --filter label=com.docker.compose.project=quayside-edge; docker ps -q --filter name=-services-").split()
    assert ids
    named = box.inside(f"docker inspect -f '{{{{.Name}}}} {{{{.Config.Image}}}}' {' '.join(ids)}").splitlines()
    assert [line for line in named if not re.search(r"(^| |@)sha256:[0-9a-f]{64}$", line)] == []


@pytest.mark.on(*CONTAINED)
def test_the_instances_run_from_an_image_that_no_tag_can_change(box):
    """Finding 18: what the project of a release names, and what it names after somebody has moved the tag."""
    ids = box.inside("docker ps -q --filter label=quayside.app=victim --filter label=quayside.release").split()
    named = box.inside(f"docker inspect -f '{{{{.Image}}}} {{{{.Config.Image}}}}' {' '.join(ids)}").splitlines()
    images_of = {line.split()[0] for line in named}
    tag = next(line.split()[1] for line in named)
    assert len(images_of) == 1
    if "sha256:" in tag:
        return
    box.inside(f"docker tag $(docker images -q quayside/hostile-app | head -1) {tag}")
    try:
        box.inside("docker kill $(docker ps -q --filter label=quayside.app=victim --filter label=quayside.process=web) && systemctl restart victim")
        box.until_well()
        after = box.inside("docker inspect -f '{{.Image}}' $(docker ps -q --filter label=quayside.app=victim --filter label=quayside.process=web)")
    finally:
        box.inside(f"docker tag {next(iter(images_of))} {tag}")
        box.inside("systemctl restart victim")
    assert after in images_of


@pytest.mark.on("nb-nginx")
def test_a_build_reads_no_cache_of_a_neighbours_build(box, repaired):
    """Finding 23: a cache mount of one app, poisoned for another."""
    mount = "RUN --mount=type=cache,id=pip,target=/cache"
    poison = deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", f"{mount} echo poisoned > /cache/marker\nCOPY . .")})
    assert poison.rc == 0, poison.out[-2000:]
    built = deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", f"{mount} cp /cache/marker /app/found 2>/dev/null || true\nCOPY . .")}, "victim")
    assert built.rc == 0, built.out[-2000:]
    found = box.inside("docker exec $(docker ps -q --filter label=quayside.app=victim --filter label=quayside.process=web | head -1) cat /app/found 2>&1; true")
    assert "poisoned" not in found


@pytest.mark.on("nb-nginx")
def test_a_build_starts_from_no_image_of_a_neighbour(box, repaired):
    """Finding 23: FROM and COPY --from with the victim's image, which holds its code."""
    tag = next(name for name in images(box) if name.startswith("quayside/victim-app:"))
    tried = {"FROM": f"FROM {tag}\nUSER 10001:10001\n", "COPY --from": DOCKERFILE.replace("COPY . .", f"COPY --from={tag} /app /stolen\nCOPY . .")}
    for label, text in tried.items():
        run = deployed_from(box, {"Dockerfile": text, "only-mine": label})
        assert run.rc != 0, f"{label} was built"
        assert "victim-app" in run.out, run.out[-2000:]


@pytest.mark.on("nb-nginx", "nb-traefik")
def test_a_build_reaches_nothing_of_the_hosts_loopback(box, repaired):
    """Finding 23: ADD http://127.0.0.1 reads what listens for the host alone. The victim's `listen` is there."""
    assert box.inside("curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8100/healthz/") == "200"
    run = deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", "ADD http://127.0.0.1:8100/healthz/ /stolen\nCOPY . .")})
    stolen = box.inside("docker run --rm --entrypoint cat $(docker images -q quayside/hostile-app | head -1) /stolen 2>&1; true")
    assert '"status"' not in stolen and run.rc != 0, stolen


@pytest.mark.on("nb-nginx")
def test_a_build_reaches_no_container_of_a_neighbour_and_no_metadata(box, repaired):
    """Findings 23 and 31: RUN has a network of the app's builder."""
    addresses = box.inside("docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' $(docker ps -q --filter label=quayside.app=victim) "
                           "$(docker ps -q --filter name=victim-services)").split()
    places = [(address, port) for address in addresses for port in (8000, 5432, 6379)]
    probe = (f"import socket\nfor place in {places!r}:\n    try:\n        socket.create_connection(place, 2)\n        print('REACHED', place)\n"
             "    except OSError:\n        print('closed', place)\n")
    run = deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", "COPY . .\nRUN python probe.py > /reached"), "probe.py": probe})
    reached = box.inside("docker run --rm --entrypoint cat $(docker images -q quayside/hostile-app | head -1) /reached 2>&1; true")
    assert run.rc == 0, run.out[-2000:]
    assert "closed" in reached and "REACHED" not in reached, reached


@pytest.mark.on("nb-nginx")
def test_a_build_has_a_limit_of_memory_and_of_processes(box, repaired):
    """Finding 23: seen from the host while RUN sleeps: some cgroup between it and the server has each limit."""
    number, found = f"17.{os.getpid():07d}", []  # another one each time, or the build would take the layer of before

    def look():
        script = f"NUMBER = {number!r}\n" + """
import os, time
LIMITS = {"memory.limit_in_bytes": "memory", "memory.max": "memory", "pids.max": "processes"}  # of both versions of cgroups
own = {names: os.path.dirname(path) for _number, names, path in (line.split(":", 2) for line in open("/proc/1/cgroup").read().split())}
def above(root, path, top):
    found = set()
    while path.startswith(top) and path != top:
        for name in LIMITS:
            try:
                value = open(root + path + "/" + name).read().strip()
            except OSError:
                continue
            if value != "max" and int(value) < 1 << 60:
                found.add(LIMITS[name])
        path = os.path.dirname(path)
    return found
end = time.time() + 240
while time.time() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline").read().split(chr(0))
        except OSError:
            continue
        if line[:2] == ["sleep", NUMBER]:
            limits = set()
            for entry in open(f"/proc/{pid}/cgroup").read().split():
                _number, names, path = entry.split(":", 2)
                if names or os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
                    limits |= above("/sys/fs/cgroup/" + names, path, own[names])
            print(sorted(limits))
            raise SystemExit
    time.sleep(0.5)
print("no such process")
"""
        found.append(box.inside(f"python3 - <<'EOF'\n{script}\nEOF"))

    watcher = threading.Thread(target=look)
    watcher.start()
    deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", f"RUN sleep {number}\nCOPY . .")})
    watcher.join()
    assert found == ["['memory', 'processes']"]


@pytest.mark.on("nb-nginx")
@pytest.mark.parametrize("flag", ["--security=insecure", "--network=host", "--device=/dev/fuse"])
def test_a_build_gets_no_entitlement(box, flag, repaired):
    """What held: RUN --security=insecure and --network=host are refused."""
    run = deployed_from(box, {"Dockerfile": DOCKERFILE.replace("COPY . .", f"RUN {flag} id > /as\nCOPY . .")})
    assert run.rc != 0
    assert "Traceback" not in run.out
