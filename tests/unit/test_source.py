# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import host, source
from ansible_collections.quayside.django.plugins.module_utils.host import PhaseError

real_run = host.run
AUTHOR = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@x", "GIT_CONFIG_GLOBAL": "/dev/null",
          "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.defpath, "HOME": "/nonexistent"}


def git(folder, *words):
    done = subprocess.run(["git", "-C", folder, *words], env=AUTHOR, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "change")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a repository, and what its names stand for."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "-b", "main")
    shas = {"v1": commit(folder, manage_py="first", backend__manage_py="backend first")}
    git(folder, "tag", "v1")
    shas["v2"] = commit(folder, manage_py="second", requirements_txt="django")
    git(folder, "tag", "-am", "annotated", "v2")
    git(folder, "branch", "release/2", "v2")
    shas["both, branch"] = commit(folder, manage_py="branch")
    git(folder, "branch", "both")
    shas["main"] = commit(folder, manage_py="third")
    git(folder, "tag", "both", "v1")
    return folder, shas


@pytest.fixture(scope="module")
def mirror(repository, tmp_path_factory):
    """Return the root of an app that has fetched the repository."""
    root = tmp_path_factory.mktemp("root")
    (root / "cache").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "run", as_nobody_else)
        of(root, repository).fetch()
    return root


def as_nobody_else(argv, **options):
    """Run without runuser."""
    return real_run(argv, **{**options, "user": "", "env": {**options.get("env", {}), "HOME": "/nonexistent"}})


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr(host, "run", as_nobody_else)


def of(root, repository, subdir="", repo=""):
    return source.Source({"name": "pos", "root": str(root), "user": "pos", "source": {"repo": repo or str(repository[0]), "subdir": subdir}})


@pytest.fixture
def here(mirror, repository):
    return of(mirror, repository)


@pytest.mark.parametrize(("version", "name"), [("v1", "v1"), ("v2", "v2"), ("main", "main"), ("release/2", "v2"), ("both", "v1")])
def test_tags_come_before_branches_and_annotated_tags_lead_to_their_commit(here, repository, version, name):
    assert here.commit(version) == repository[1][name]


@pytest.mark.parametrize("length", [7, 12, 40])
def test_a_commit_is_known_by_its_name(here, repository, length):
    assert here.commit(repository[1]["v2"][:length]) == repository[1]["v2"]


@pytest.mark.parametrize(("version", "text"), [
    ("v11", "did you mean v1?"), ("mian", "did you mean main?"), ("release2", "did you mean release/2?"), ("zzz", "there are "), ("0123456", "there are "),
    ("HEAD", "there are "), ("f" * 40, "there are "), ("v1..v2", "there are "), ("V1", "there are"),
])
def test_an_unknown_version_names_those_that_are_near(here, version, text):
    with pytest.raises(PhaseError, match="has no branch, tag or commit") as error:
        here.commit(version)
    assert text in error.value.reason


def test_an_unknown_version_lists_all_when_none_is_near(here):
    with pytest.raises(PhaseError) as error:
        here.commit("zzz")
    assert set(error.value.reason.split("there are ")[1].split(", ")) >= {"v1", "v2", "main", "release/2", "both"}


@pytest.mark.parametrize("version", ["", "-v1", "--upload-pack=id", "v1^{commit}", "v1~1", "a b", "v1:manage.py", "$(id)", "v1\n", "*", "main@{1}"])
def test_what_is_no_name_never_reaches_git(here, version, monkeypatch):
    monkeypatch.setattr(host, "run", lambda *_argv, **_options: pytest.fail("git was called"))
    with pytest.raises(PhaseError, match="is no name of a branch, a tag or a commit"):
        here.commit(version)


def test_all_git_runs_as_the_user_of_the_app_and_never_asks(here, monkeypatch):
    seen = {}
    monkeypatch.setattr(host, "run", lambda argv, **options: seen.update(options, argv=argv))
    here.git("status")
    assert (seen["user"], seen["argv"], seen["env"]["GIT_TERMINAL_PROMPT"]) == ("pos", ["git", "status"], "0")
    assert "BatchMode=yes" in seen["env"]["GIT_SSH_COMMAND"]


def test_a_deploy_key_is_used_when_there_is_one(repository, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(host, "run", lambda argv, **options: seen.update(options))
    (tmp_path / "cache").mkdir()
    there = of(tmp_path, repository)
    there.git("status")
    assert "-i " not in seen["env"]["GIT_SSH_COMMAND"]
    (tmp_path / "cache" / "source_key").touch()
    there.git("status")
    assert f"-o IdentitiesOnly=yes -i {there.key}" in seen["env"]["GIT_SSH_COMMAND"]


@pytest.mark.parametrize(("subdir", "version", "name", "text"), [
    ("", "v1", "manage.py", "first"), ("", "v2", "manage.py", "second"), ("backend", "v2", "manage.py", "backend first"), ("", "v1", "requirements.txt", ""),
    ("", "v2", "requirements.txt", "django"), ("backend", "v2", "requirements.txt", ""), ("nowhere", "v1", "manage.py", ""),
])
def test_a_file_is_read_under_the_apps_root(mirror, repository, subdir, version, name, text):
    assert of(mirror, repository, subdir).read(repository[1][version], name) == text


def test_a_commit_is_written_into_a_folder(here, repository, tmp_path):
    here.export({"sha": repository[1]["v1"]}, str(tmp_path))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["backend", "backend/manage.py", "manage.py"]
    assert (tmp_path / "manage.py").read_text() == "first"


def test_an_export_that_fails_half_way_fails(here, tmp_path):
    with pytest.raises(PhaseError):
        here.export({"sha": "f" * 40}, str(tmp_path))
    with pytest.raises(PhaseError):
        here.export({"sha": "HEAD; id"}, str(tmp_path))


def test_a_fetch_follows_moved_and_removed_names(repository, tmp_path):
    folder = tmp_path / "repository"
    subprocess.run(["git", "clone", "-q", "--mirror", repository[0], folder], env=AUTHOR, check=True)
    (tmp_path / "cache").mkdir()
    there = of(tmp_path, repository, repo=str(folder))
    there.fetch()
    git(folder, "tag", "-f", "v1", "main")
    git(folder, "update-ref", "-d", "refs/heads/release/2")
    there.fetch()
    assert there.commit("v1") == repository[1]["main"]
    with pytest.raises(PhaseError):
        there.commit("release/2")


def test_a_repository_that_cannot_be_read_is_named_without_its_password(repository, tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(PhaseError, match="cannot be read by pos") as error:
        of(tmp_path, repository, repo=f"file://ann:hunter2@{tmp_path}/none.git").fetch()
    assert "hunter2" not in error.value.reason + error.value.look
    assert error.value.look.startswith("sudo -u pos git ls-remote ")


def test_a_git_server_that_does_not_answer_is_told_at_once(repository, tmp_path):
    with pytest.raises(PhaseError, match=r"the repository git://127.0.0.1:1/x does not answer \(Connection refused\)"):
        of(tmp_path, repository, repo="git://127.0.0.1:1/x").fetch()


@pytest.mark.parametrize(("repo", "shown"), [
    ("https://ann:secret@git.example.com/x.git", "https://***@git.example.com/x.git"), ("https://git.example.com/x.git", "https://git.example.com/x.git"),
    ("git@git.example.com:x.git", "git@git.example.com:x.git"), ("ssh://git@git.example.com/x", "ssh://***@git.example.com/x"),
    ("https://git.example.com/a@b", "https://git.example.com/a@b"),
])
def test_a_password_in_a_url_is_not_shown(repo, shown):
    assert source.shown(repo) == shown


def folder_source(root, content="print()"):
    sent = root / "cache" / "source"
    (sent / "app").mkdir(parents=True)
    (sent / "app" / "run.py").write_text(content)
    (sent / "link").symlink_to("app/run.py")
    return source.of({"root": str(root), "user": "root", "source": {"repo": "", "folder": "app", "subdir": ""}})


def test_a_folder_is_known_by_its_content(tmp_path):
    first, same, other = (folder_source(tmp_path / name, text) for name, text in (("a", "one"), ("b", "one"), ("c", "two")))
    found = [one.resolve("") for one in (first, same, other)]
    assert found[0]["sha"] == found[1]["sha"] != found[2]["sha"]
    assert found[0]["version"] == found[0]["sha"][:12]


def test_a_folder_of_a_commit_is_that_commit_and_still_known_by_its_content(tmp_path):
    found = folder_source(tmp_path).resolve("a" * 40)
    assert (found["sha"], found["version"]) == ("a" * 40, "a" * 40)
    assert found["tree"] != found["sha"]


def test_a_file_that_becomes_executable_is_another_tree(tmp_path):
    one = folder_source(tmp_path)
    before = one.resolve("")["tree"]
    (tmp_path / "cache" / "source" / "app" / "run.py").chmod(0o755)
    assert one.resolve("")["tree"] != before


def test_a_folder_that_was_not_sent_is_named(tmp_path):
    one = source.of({"root": str(tmp_path), "user": "root", "source": {"repo": "", "folder": "../shop", "subdir": ""}})
    with pytest.raises(source.host.PhaseError, match="../shop has not been sent"):
        one.fetch()


def test_images_alone_need_no_source():
    assert source.of({"root": "/opt/x", "source": {"repo": "", "folder": "", "subdir": ""}}) is None
