# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository and a library that are reached by SSH alone: the deploy key reads the one, and is lent for the other while it is built."""
import re

import git_by_ssh
import projects
import pytest
from conftest import FOLDER

NAME = "vcs"


@pytest.fixture(scope="module")
def repositories(server):
    """Return the git server, with both repositories; nobody may read them yet."""
    found = git_by_ssh.GitBySsh(server)
    found.push("lib", projects.library("", 1))
    found.push(NAME, projects.vcs(1))
    found.allow()
    return found


@pytest.fixture
def public():
    return git_by_ssh.made_key(FOLDER / "keys" / NAME)


def deploy(server, *words, **options):
    return server.play("deploy", "-e", f"django_app={NAME}", *words, **options)


@pytest.mark.proves("0.11")
def test_a_repository_that_refuses_the_key_says_what_to_do_and_that_helps(server, repositories, public):
    run = deploy(server, ok=False)
    assert run.rc != 0
    said = re.sub(r"\s+", " ", run.out)
    assert git_by_ssh.url(NAME) in said
    fingerprint = re.search(r"SOURCE_KEY \((SHA256:[^)]+)\)", said)
    assert fingerprint, run.out[-3000:]
    assert fingerprint[1] in server.inside(f"echo '{public}' | ssh-keygen -lf -")
    named = re.search(r"Give its public half to the repository: (ssh-ed25519 \S+)", said)
    assert named[1] == public
    repositories.allow(named[1])
    # The command that is named is typed with the file of the key, on a machine that reaches the server.
    command = re.search(r"GIT_SSH_COMMAND='ssh -i FILE -o IdentitiesOnly=yes' git ls-remote \S+", said)[0]
    private = (FOLDER / "keys" / NAME).read_text()
    tried = server.inside(f"umask 077; cat >/run/tried <<'EOT'\n{private}EOT\n"
                          + command.replace("FILE", "/run/tried -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/run/tried.hosts")
                          + "; rm -f /run/tried /run/tried.hosts")
    assert "refs/heads/main" in tried


@pytest.mark.proves("0.11")
def test_a_build_has_no_key_until_the_model_lends_it(server, app, repositories, public):
    repositories.allow(public)
    run = deploy(server, "-e", "vcs_lends=false", ok=False)
    assert run.rc != 0
    assert "source.build_ssh: true lends it the deploy key" in re.sub(r"\s+", " ", run.out)
    deploy(server)
    health = app(NAME).health()
    assert (health["version"], health["library"]) == (1, 1)
    # What the build could do with the agent: see the public half and nothing that changes it.
    listed = server.inside(f"cat /opt/{NAME}/live/code/agent")
    assert listed.count(public) == 2


def test_no_key_and_no_agent_stay_on_the_host(server):
    body = (FOLDER / "keys" / NAME).read_text().splitlines()[2]
    found = server.inside(f"grep -rlsF --exclude-dir=proc --exclude-dir=sys '{body}' /opt /etc /run /tmp /var /home /root /srv || true")
    assert found == ""
    assert server.inside("pgrep -x ssh-agent; ls -A /run/quayside") == ""
