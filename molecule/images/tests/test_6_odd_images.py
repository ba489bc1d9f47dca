# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with something wrong in them: what it is and what to do is told, the release before serves on, and each command that is printed works."""
import re
import sys

import pytest
from lab import ROOT
from test_5_images import HOST, annex, live

sys.path.insert(0, str(ROOT / "molecule/layouts/tests"))
import projects  # noqa: E402 - the path has to be there first

GUNICORN = "gunicorn config.wsgi --workers 1"
LOGGING = """
LOGGING = {"version": 1, "handlers": {"file": {"class": "logging.FileHandler", "filename": "/app/logs/django.log"}}, "root": {"handlers": ["file"]}}
"""
ODD = {
    "listens on localhost": ({"command": f"{GUNICORN} --bind 127.0.0.1:8000"}, "", "It listens on 127.0.0.1:8000 inside its container"),
    "listens elsewhere": ({"command": f"{GUNICORN} --bind 0.0.0.0:5000"}, "", "it listens on 0.0.0.0:5000, and processes[web].port is 8000"),
    "ends at once": ({"command": "python -c 'import sys; print(123); sys.exit(7)'"}, "", "died at its start (status 7)"),
    "logs into the image": ({}, "RUN mkdir -m 777 logs\n", "/app/logs/django.log is read-only: let a log go to the console"),
    "a home of its own": ({}, "RUN chmod 700 /app\n", "/app of the image is open to another user only"),
    "swallows arguments": ({}, 'ENTRYPOINT ["python", "-c", "print(456)"]\n', "given to the ENTRYPOINT of the image, python -c print(456), which ended with 1"),
    "no shell": ({}, "RUN rm /bin/sh\n", "has no /bin/sh"),
    "no python": ({}, 'RUN printf "#!/bin/sh\\nwhile sleep 1; do :; done\\n" >/bin/serve && chmod 755 /bin/serve\nENV PATH=/bin:/sbin\n'
                      "RUN rm -f /usr/bin/python /bin/python\n", "has no `python` in its PATH"),
    "another processor": ({"command": "/bin/x"},
                          "RUN printf '\\177ELF\\2\\1\\1garbage' >/bin/x && chmod 755 /bin/x\n", "for another processor than this host's"),
    "no such program": ({"command": "gunicron config.wsgi"}, "", "the image has no program gunicron"),
    "a build that is killed": ({}, "RUN kill -9 $$\n", "the build was killed for its memory"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project whose image is good."""
    return tmp_path_factory.mktemp("odd")


def write(folder, dockerfile, settings=""):
    """Write the project with these lines at the end of its Dockerfile and of its settings."""
    files = projects.image(1, f"{projects.DJANGO}\n{projects.GUNICORN}\n", f"COPY . .\n{dockerfile}")
    files["config/settings.py"] += settings
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def odd(server, folder, **process):
    """Return the words of a deploy of the project."""
    return annex(server, source={"folder": str(folder), "version": ""}, images=[{"name": "app"}], health={"path": "/healthz/", "timeout": 15},
                 processes=[{"name": "web", "command": GUNICORN, **process}], commands=[{"manage": "collectstatic --noinput", "once": False}])


@pytest.fixture(scope="module", autouse=True)
def good(server, folder):
    """The project is live in an image that is good; a file of variables was left in it, and one that only its owner may read."""
    write(folder, "")
    (folder / ".dockerignore").unlink()
    (folder / ".env").write_text("SECRET_KEY=of-my-own-machine\n")
    (folder / "config/private.py").write_text("X = 1\n")
    (folder / "config/private.py").chmod(0o600)
    run = server.play("deploy", "-e", "django_app=annex", *odd(server, folder))
    assert ".env of" in " ".join(run.out.split())
    assert "write it into .dockerignore" in " ".join(run.out.split())
    container = server.inside("grep -- -web-1 /srv/annex/live/units")
    assert server.inside(f"docker exec {container} python -c 'import config.private as p; print(p.X)'") == "1"
    (folder / ".env").unlink()
    settle_one(server)


def settle_one(server):
    """Wait until the annex has one container."""
    server.until(lambda: server.inside("docker ps -aq --filter label=quayside.app=annex --filter label=quayside.process | wc -l") == "1", 60,
                 "the end of the other containers")


@pytest.mark.parametrize("what", ODD)
def test_what_is_wrong_with_an_image_is_told(server, folder, what):
    process, dockerfile, words = ODD[what]
    write(folder, dockerfile, LOGGING if what == "logs into the image" else "")
    before = live(server)["id"]
    run = server.play("deploy", "-e", "django_app=annex", *odd(server, folder, **process), ok=False)
    assert run.rc != 0
    assert words in " ".join(run.out.split()), run.out[-4000:]
    assert live(server)["id"] == before
    assert server.json("/healthz/", HOST, tls=True)["status"] == "ok"
    settle_one(server)
    assert server.inside("docker ps -aq --filter label=quayside.oneoff | wc -l") == "0"
    for command in re.findall(r"to look further, on the host: ([^\n\\]+)", run.out):
        said = server.inside(f"{command} 2>&1; echo \"ended with $?\"")
        assert "No such container" not in said
        assert "ended with 127" not in said
        if "journalctl --namespace" in command:
            assert "-- No entries --" not in said


def test_the_same_commit_is_built_anew_and_the_age_of_its_base_is_told(server, folder):
    write(folder, "ARG SETUPTOOLS_SCM_PRETEND_VERSION\nRUN echo $SETUPTOOLS_SCM_PRETEND_VERSION >/version\n")
    server.play("deploy", "-e", "django_app=annex", *odd(server, folder))
    first = live(server)["images"]["app"]["ref"]
    assert server.play("deploy", "-e", "django_app=annex", *odd(server, folder)).count("changed") == 0
    server.play("deploy", "-e", "django_app=annex", "-e", "rebuild=true", *odd(server, folder))
    assert live(server)["images"]["app"]["ref"] != first
    container = server.inside("grep -- -web-1 /srv/annex/live/units")
    assert server.inside(f"docker exec {container} cat /version").startswith("0.0.0+g")
    assert re.search(r"image +app +its base is \d+ days old", server.play("status", "-e", "django_app=annex", *odd(server, folder)).out)
