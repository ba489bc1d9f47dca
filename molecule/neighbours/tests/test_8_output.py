# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app prints, on the operator's terminal and in the CI log; and what a folder of somebody else's does on the controller."""
import json
import os
import re
import shutil
import subprocess

import pytest
from neighbours import APP, SCRATCH, copied

# Printed by manage.py, by a build, or by a process that dies.
NASTY = ("\\x1b[2J\\x1b[31mred\\x1b]0;title\\x07 \\x9b31m \\u202eevil\\u2066 \\u200b\\rPLAY RECAP ***\\n"
         "nb-host                    : ok=99   changed=0    unreachable=0    failed=0\\n"
         "::add-mask::secret\\n::set-output name=a::b\\n   ::error file=a::b\\n##[error]fake\\n##vso[task.setvariable]x\\n"
         "{{ 71911 * 3 }} {% for x in [1] %}loop{% endfor %} \\x00 \\x08\\x08 end\\n")
PRINTS = f"import sys; sys.stdout.write(\"{NASTY}\"); sys.stderr.write(\"{NASTY}\"); sys.stdout.flush(); sys.exit(3)\n"


def breaches(text: str) -> list[str]:
    """Return what is wrong with some output: one word for each kind."""
    found = []
    for label, pattern in {"control characters": r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]",
                           "bidi or invisible marks": r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]",
                           "a workflow command": r"(?m)^\s*::[a-z-]+.*::", "a command of a runner": r"##\[|##vso\[",
                           "a fake recap": r"(?m)^nb-host +: ok=99|^PLAY RECAP \*\*\*$", "Jinja was evaluated": "215733"}.items():
        if re.search(pattern, text):
            found.append(label)
    return found


def raw(box, playbook: str, *words: str):
    """Return what a playbook prints, as the bytes came."""
    return box.server.play(playbook, *words, ok=False)


@pytest.fixture
def repaired(box):
    """The hostile app as the inventory has it."""
    yield
    box.deploy("hostile")


def source(name: str, files: dict) -> str:
    """Return a folder."""
    return copied(f"nasty-{name}", files)


@pytest.mark.parametrize("words", [[], ["-vvv", "--diff"]])
def test_output_of_a_command_that_fails_is_cleaned(box, words, repaired):
    """Finding 29: manage.py prints it, and a deploy ends with it."""
    folder = source(box.name, {"manage.py": "#!/usr/bin/env python3\n" + PRINTS})
    run = raw(box, "deploy", "-e", "django_app=hostile", *box.changed("hostile", lambda app: app.update(source={"folder": folder})), *words)
    assert run.rc != 0 and "red" in run.out and "end" in run.out, run.out[-2000:]
    assert breaches(run.out) == []


@pytest.mark.on("nb-nginx")
def test_output_of_a_build_that_fails_is_cleaned(box, repaired):
    """Finding 29."""
    text = (APP / "Dockerfile").read_text().replace("COPY . .", "COPY . .\nRUN python manage.py")
    folder = source("build", {"Dockerfile": text, "manage.py": PRINTS})
    run = raw(box, "deploy", "-e", "django_app=hostile", *box.changed("hostile", lambda app: app.update(source={"folder": folder})))
    assert run.rc != 0 and "red" in run.out, run.out[-2000:]
    assert breaches(run.out) == []


def test_output_of_a_process_that_dies_is_cleaned(box, repaired):
    """Finding 29: the log of an instance that did not come up."""
    folder = source(f"dies-{box.name}", {"config/wsgi.py": PRINTS})
    run = raw(box, "deploy", "-e", "django_app=hostile", *box.changed("hostile", lambda app: app.update(source={"folder": folder})))
    assert run.rc != 0 and "red" in run.out, run.out[-2000:]
    assert breaches(run.out) == []


def test_an_answer_to_the_health_question_is_cleaned(box, repaired):
    """Finding 29: the body of an answer that is not as declared."""
    view = (APP / "config/hostile.py").read_text().replace(
        'return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", "")})', f'return HttpResponse("{NASTY}", status=500)')
    folder = source(f"health-{box.name}", {"config/hostile.py": view})
    words = box.changed("hostile", lambda app: app.update(source={"folder": folder}, health={"path": "/healthz/", "timeout": 8}))
    run = raw(box, "deploy", "-e", "django_app=hostile", *words)
    assert run.rc != 0, run.out[-2000:]
    assert breaches(run.out) == []


def test_output_of_the_manage_playbook_is_cleaned(box, repaired):
    """Finding 29: what a command prints that an operator runs."""
    settings = (APP / "config/settings.py").read_text()
    noisy = f"\nimport sys\nif 'check' in sys.argv:\n    sys.stdout.write(\"{NASTY}\")\n"
    folder = source(f"manage-{box.name}", {"config/settings.py": settings + noisy})
    box.deploy("hostile", *box.changed("hostile", lambda app: app.update(source={"folder": folder})))
    run = raw(box, "manage", "-e", "django_app=hostile", "-e", "command=check")
    assert run.rc == 0 and "red" in run.out, run.out[-2000:]
    assert breaches(run.out) == []


def test_the_name_of_a_version_is_cleaned_or_refused(box):
    """Findings 29 and 30: a version goes into file names, labels and messages."""
    for version in ("../../../etc", "a\x1b[31mb", "a b", "-rf", "a\nb", "$(id)", "::add-mask::x", "{{ 71911 * 3 }}"):
        run = raw(box, "deploy", "-e", "django_app=hostile", "-e", json.dumps({"version": version}), "--check")
        assert run.rc != 0, f"{version!r} was accepted"
        assert breaches(run.out) == [], version
        assert "Traceback" not in run.out
    assert box.inside("ls -d /opt/hostile/releases/*etc* 2>/dev/null; true") == ""


@pytest.mark.on("nb-host")
@pytest.mark.parametrize(("setting", "words"), [
    ("core.fsmonitor", []), *((setting, ["--check"]) for setting in (
        "core.fsmonitor", "core.hooksPath", "core.sshCommand", "filter.evil.clean", "diff.external", "core.pager", "include.path"))])
def test_the_settings_of_a_source_folder_run_nothing_on_the_controller(box, setting, words, repaired):
    """Finding 30: the .git/config of a folder is whoever's made it."""
    folder = copied(f"git-{setting.replace('.', '-')}", {".gitattributes": "* filter=evil\n"} if setting.startswith("filter") else {})
    marker = SCRATCH / f"ran-{setting}"
    marker.unlink(missing_ok=True)
    program = SCRATCH / "program"
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\ncat\n")
    program.chmod(0o755)
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", **who}
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a"]):
        subprocess.run(["git", *argv], cwd=folder, env=env, check=True)
    hooks = SCRATCH / "hooks"
    shutil.rmtree(hooks, ignore_errors=True)
    hooks.mkdir()
    for name in ("post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
        (hooks / name).write_text(program.read_text())
        (hooks / name).chmod(0o755)
    included = SCRATCH / "included"
    included.write_text(f"[core]\n\tfsmonitor = {program}\n")
    value = {"core.hooksPath": str(hooks), "include.path": str(included)}.get(setting, str(program))
    subprocess.run(["git", "config", setting, value], cwd=folder, env=env, check=True)
    for name in ("manage.py", "requirements.txt"):
        os.utime(f"{folder}/{name}", (1, 1))
    marker.unlink(missing_ok=True)
    box.deploy("hostile", *box.changed("hostile", lambda app: app.update(source={"folder": folder})), *words, ok=False)
    assert not marker.exists(), f"{setting} ran a program on the controller"
