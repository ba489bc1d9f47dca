# SPDX-License-Identifier: GPL-3.0-or-later
"""Git on real repositories: what a version is, and that nothing planted in a mirror, a HOME or a repository runs."""
from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.quayside.django.plugins.module_utils import git_mirror
from ansible_collections.quayside.django.plugins.module_utils.git_mirror import Mirror, Refused

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
    shas["v2"] = commit(folder, manage_py="second", pyproject_toml="[project]")
    git(folder, "tag", "-am", "annotated", "v2")
    git(folder, "branch", "release/2", "v2")
    shas["both, branch"] = commit(folder, manage_py="branch")
    git(folder, "branch", "both")
    (folder / "link.toml").symlink_to("pyproject.toml")
    (folder / "out.toml").symlink_to("../../../../../../etc/passwd")
    (folder / "absolute.toml").symlink_to("/etc/passwd")
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "large.toml").write_text("x" * (git_mirror.FILE_LIMIT + 1))
    shas["main"] = commit(folder, manage_py="third")
    git(folder, "tag", "both", "v1")
    # Names that a pusher chose to be taken for a commit.
    git(folder, "update-ref", f"refs/heads/{shas['v1']}", shas["main"])
    git(folder, "update-ref", "refs/tags/" + "d" * 40, shas["main"])
    git(folder, "update-ref", f"refs/heads/{shas['v2'][:9]}", shas["main"])
    git(folder, "update-ref", f"refs/tags/{shas['main'][:10]}", shas["main"])
    git(folder, "update-ref", "refs/heads/0ddba11", shas["v2"])
    git(folder, "update-ref", "refs/heads/refs/tags/v9", shas["main"])
    git(folder, "replace", shas["v1"], shas["main"])
    return folder, shas


@pytest.fixture(scope="module")
def mirror(repository, tmp_path_factory):
    one = Mirror(str(tmp_path_factory.mktemp("git")), "file")
    fetch(one, repository[0])
    return one


def fetch(one, repository):
    """Fetch from a folder, which no mirror of a host may."""
    one.settle()
    one.fetch(f"file://{repository}")


@pytest.mark.parametrize(("version", "name"), [
    ("v1", "v1"), ("v2", "v2"), ("main", "main"), ("release/2", "v2"), ("both", "v1"), ("refs/heads/both", "both, branch"), ("refs/tags/both", "v1"),
    ("refs/heads/release/2", "v2"), ("0ddba11", "v2"),
])
def test_tags_come_before_branches_and_annotated_tags_lead_to_their_commit(mirror, repository, version, name):
    assert mirror.commit(version, "repo") == repository[1][name]


@pytest.mark.parametrize(("name", "length"), [("v2", 7), ("v2", 8), ("v2", 12), ("v2", 40), ("v1", 40), ("both, branch", 11), ("main", 10), ("main", 40)])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_hex_that_is_a_commit_is_that_commit_whatever_a_branch_is_called(mirror, repository, name, length, case):
    assert mirror.commit(case(repository[1][name][:length]), "repo") == repository[1][name]


def test_what_is_a_commit_and_a_branch_is_refused_with_both_meanings(mirror, repository):
    short = repository[1]["v2"][:9]
    with pytest.raises(Refused) as error:
        mirror.commit(short, "repo")
    assert repository[1]["v2"] in error.value.reason
    assert f"refs/heads/{short}" in error.value.reason
    assert mirror.commit(f"refs/heads/{short}", "repo") == repository[1]["main"]


def test_forty_hex_digits_are_never_the_name_of_a_tag(mirror):
    with pytest.raises(Refused, match="has no commit d{40}.*refs/tags/d{40}, and 40 hex digits are only ever a commit"):
        mirror.commit("d" * 40, "repo")


def test_the_beginning_of_two_commits_is_refused(mirror, monkeypatch):
    monkeypatch.setattr(mirror, "commits", lambda prefix: ["a" * 40, "a" * 39 + "b"])
    with pytest.raises(Refused, match="is the beginning of 2 commits"):
        mirror.commit("aaaaaaa", "repo")


@pytest.mark.parametrize(("version", "text"), [
    ("v11", "did you mean v1?"), ("mian", "did you mean main?"), ("release2", "did you mean release/2?"), ("zzz", "there are "), ("0123456", "there are "),
    ("HEAD", "there are "), ("v1..v2", "there are "), ("V1", "there are"), ("refs/tags/nine", ""), ("refs/heads/v1", ""), ("v9", ""),
    ("tags/v1", "v1"), ("*", ""), ("v?", ""),
])
def test_an_unknown_version_names_those_that_are_near(mirror, version, text):
    with pytest.raises(Refused, match="has no branch, tag or commit|is no name") as error:
        mirror.commit(version, "repo")
    assert text in error.value.reason


@pytest.mark.parametrize("version", ["", "-v1", "--upload-pack=id", "v1^{commit}", "v1~1", "a b", "v1:manage.py", "$(id)", "v1\n", "main@{1}"])
def test_what_is_no_name_never_reaches_git(mirror, version, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_argv, **_options: pytest.fail("git was called"))
    with pytest.raises(Refused, match="is no name of a branch, a tag or a commit"):
        mirror.commit(version, "repo")


@pytest.mark.parametrize(("path", "text"), [
    ("manage.py", "third"), ("backend/manage.py", "backend first"), ("none", ""), ("backend", ""), ("link.toml", "[project]"), ("out.toml", ""),
    ("absolute.toml", ""), ("loop.toml", ""),
])
def test_a_file_is_read_inside_the_repository(mirror, repository, path, text):
    assert mirror.read(repository[1]["main"], path) == text


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Return the mirror of a repository that holds pointers only of some of its files, and its commits."""
    inner, folder = tmp_path_factory.mktemp("inner"), tmp_path_factory.mktemp("partial")
    for one in (inner, folder):
        git(one, "init", "-q", "-b", "main")
    commit(inner, readme="inner")
    shas = {"whole": commit(folder, manage_py="first")}
    git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "libs/theme")
    shas["submodule"] = commit(folder, manage_py="second")
    git(folder, "rm", "-qf", "libs/theme")
    (folder / "assets").mkdir()
    (folder / "assets/logo.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n")
    (folder / "assets/.gitattributes").write_text("*.txt text\n")
    shas["no lfs"] = commit(folder, manage_py="third")  # a text about LFS is no file of LFS
    (folder / "assets/.gitattributes").write_text("*.png filter=lfs diff=lfs merge=lfs -text\n")
    git(folder, "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.smudge=cat", "add", "-A")
    shas["lfs"] = commit(folder, manage_py="fourth")
    one = Mirror(str(tmp_path_factory.mktemp("git")), "file")
    fetch(one, folder)
    return one, shas


@pytest.mark.parametrize(("name", "without", "reason"), [
    ("whole", [], ""), ("no lfs", [], ""),
    ("submodule", [], "v1 has submodules (libs/theme)"), ("submodule", ["lfs"], "v1 has submodules"), ("submodule", ["submodules"], ""),
    ("lfs", [], "v1 has files of Git LFS (assets/logo.png)"), ("lfs", ["submodules"], "Git LFS"), ("lfs", ["lfs"], ""),
])
def test_what_a_release_would_lack_without_a_word_is_refused_by_name(partial, name, without, reason):
    mirror, shas = partial
    left_out = mirror.left_out(shas[name])
    if not reason:
        git_mirror.complete("v1", left_out, without)
        return
    with pytest.raises(Refused) as error:
        git_mirror.complete("v1", left_out, without)
    assert reason in error.value.reason
    assert "source.without" in error.value.reason


def test_a_large_file_is_refused_by_its_name(mirror, repository):
    with pytest.raises(Refused, match="large.toml has 1024 KiB"):
        mirror.read(repository[1]["main"], "large.toml")


def archive(mirror, sha):
    done = subprocess.run(["git", "archive", "--format=tar", sha], env=mirror.environment(), capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {member.name: tar.extractfile(member).read().decode() for member in tar if member.isfile()}


def test_a_commit_has_the_tree_that_its_hash_stands_for(mirror, repository):
    assert archive(mirror, repository[1]["v1"]) == {"manage.py": "first", "backend/manage.py": "backend first"}


def test_a_fetch_follows_moved_and_removed_names(repository, tmp_path):
    folder, one = tmp_path / "repository", Mirror(str(tmp_path), "file")
    subprocess.run(["git", "clone", "-q", "--mirror", repository[0], folder], env=AUTHOR, check=True)
    one.git_dir = str(tmp_path / "mirror.git")
    fetch(one, folder)
    git(folder, "tag", "-f", "v1", "main")
    git(folder, "update-ref", "-d", "refs/heads/release/2")
    fetch(one, folder)
    assert one.commit("v1", "repo") == repository[1]["main"]
    with pytest.raises(Refused):
        one.commit("release/2", "repo")


@pytest.mark.parametrize("repo", ["{repository}", "file://{repository}", "ext::touch {mark}", "fd::3"])
def test_a_path_of_the_host_and_a_command_are_no_repository(repository, tmp_path, repo):
    one, mark = Mirror(str(tmp_path)), tmp_path / "ran"
    one.settle()
    with pytest.raises(Refused, match="cannot be read"):
        one.fetch(repo.format(repository=repository[0], mark=mark))
    assert not mark.exists()


def test_a_repository_that_cannot_be_read_is_named_without_its_password(tmp_path):
    one = Mirror(str(tmp_path))
    one.settle()
    with pytest.raises(Refused, match="cannot be read") as error:
        one.fetch("http://ann:hunter2@127.0.0.1:1/none.git")
    assert "hunter2" not in error.value.reason + error.value.look + error.value.log


def test_a_login_in_a_url_is_no_argument_of_git(tmp_path, monkeypatch):
    seen = {}
    one = Mirror(str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda argv, **options: seen.update(options, argv=argv) or subprocess.CompletedProcess(argv, 0, b"", b""))
    one.fetch("https://ann:hunter%402@git.example.com:8443/x.git")
    assert "https://git.example.com:8443/x.git" in seen["argv"]
    assert not [word for word in seen["argv"] if "hunter" in word]
    assert {"http.https://git.example.com:8443/.extraHeader", "Authorization: Basic YW5uOmh1bnRlckAy"} <= set(seen["env"].values())


def test_a_git_server_that_does_not_answer_is_told_at_once():
    with pytest.raises(Refused, match=r"the repository git://127.0.0.1:1/x does not answer \(Connection refused\)"):
        git_mirror.reach("git://127.0.0.1:1/x")


@pytest.mark.parametrize(("repo", "shown"), [
    ("https://ann:secret@git.example.com/x.git", "https://***@git.example.com/x.git"), ("https://git.example.com/x.git", "https://git.example.com/x.git"),
    ("git@git.example.com:x.git", "git@git.example.com:x.git"), ("ssh://git@git.example.com/x", "ssh://git@git.example.com/x"),
    ("ssh://git:secret@git.example.com:22/x", "ssh://git@git.example.com:22/x"), ("https://token@git.example.com/x", "https://***@git.example.com/x"),
    ("https://git.example.com/a@b", "https://git.example.com/a@b"),
])
def test_a_password_in_a_url_is_not_shown(repo, shown):
    assert git_mirror.shown(repo) == shown


@pytest.fixture(scope="module")
def deploy_key(tmp_path_factory):
    """Return the path of a private key."""
    path = tmp_path_factory.mktemp("key") / "shop-source"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "shop deploys", "-f", path], check=True)
    return path


def unreadable(folder, monkeypatch, repo, log, key=""):
    """Return what is said of a repository that git cannot read with this log."""
    one, run = Mirror(str(folder), key=key), subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda argv, **options: subprocess.CompletedProcess(argv, 128, b"", log.encode()) if argv[0] == "git"
                        else run(argv, **options))
    with pytest.raises(Refused) as error:
        one.fetch(repo)
    return error.value


DENIED = "git@git.example.com: Permission denied (publickey).\nfatal: Could not read from remote repository."


@pytest.mark.proves("0.11")
@pytest.mark.parametrize("repo", ["git@git.example.com:acme/shop.git", "ssh://git@git.example.com:2222/acme/shop.git"])
def test_a_repository_that_refuses_the_key_names_user_key_and_what_to_type(tmp_path, monkeypatch, deploy_key, repo):
    said = unreadable(tmp_path, monkeypatch, repo, DENIED, deploy_key.read_text())
    public = deploy_key.with_suffix(".pub").read_text()
    fingerprint = subprocess.run(["ssh-keygen", "-l", "-f", deploy_key], capture_output=True, text=True, check=True).stdout.split()[1]
    assert f"the repository {repo} cannot be read by the deploy key, the secret SOURCE_KEY ({fingerprint})" in said.reason
    assert " ".join(public.split()[:2]) in said.reason
    assert deploy_key.read_text().splitlines()[1] not in said.reason + said.look + said.log
    assert said.reason.endswith(f"GIT_SSH_COMMAND='ssh -i FILE -o IdentitiesOnly=yes' git ls-remote {repo}")


def test_the_command_that_is_named_runs_with_the_file_of_the_key(tmp_path, monkeypatch, deploy_key):
    """It is typed as it stands, with a program in the place of ssh that says how it was called."""
    said = unreadable(tmp_path, monkeypatch, "ssh://git@git.example.com:2222/acme/shop.git", DENIED, deploy_key.read_text())
    (tmp_path / "ssh").write_text('#!/bin/sh\necho "$@" >>"$0.called"\nexit 255\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.undo()
    command = said.reason.rpartition("is: ")[2].replace("FILE", str(deploy_key))
    subprocess.run(["/bin/sh", "-c", command], env={**AUTHOR, "PATH": f"{tmp_path}:{os.defpath}"}, check=False, capture_output=True)
    called = (tmp_path / "ssh.called").read_text()
    assert f"-i {deploy_key} -o IdentitiesOnly=yes" in called
    assert "-p 2222 git@git.example.com git-upload-pack '/acme/shop.git'" in called


@pytest.mark.parametrize(("repo", "key", "log", "reason", "look"), [
    ("git@git.example.com:x.git", "", DENIED, "the app has no deploy key. Give it one as the secret SOURCE_KEY", ""),
    ("git@git.example.com:x.git", "torn in two", DENIED, "the secret SOURCE_KEY is no private key that ssh takes", ""),
    ("git@git.example.com:x.git", "", "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "another host key than before", "-R 'git.example.com'"),
    ("ssh://git@git.example.com:2222/x", "", "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "another host key", "-R '[git.example.com]:2222'"),
    ("git@git.example.com:x.git", "", "ssh: Could not resolve hostname", "cannot be read", "git ls-remote git@git.example.com:x.git"),
    ("https://ann:hunter2@git.example.com/x.git", "", "fatal: Authentication failed", "cannot be read", "git ls-remote https://git.example.com/x.git"),
])
def test_other_reasons_are_told_apart(tmp_path, monkeypatch, repo, key, log, reason, look):
    said = unreadable(tmp_path, monkeypatch, repo, log, key)
    assert reason in said.reason
    assert said.look.endswith(look) if look else not said.look


def test_a_deploy_key_is_in_memory_alone_and_one_that_ssh_takes(tmp_path):
    one = Mirror(str(tmp_path), key="THE KEY")
    path = one.environment()["GIT_SSH_COMMAND"].rpartition(" -i ")[2]
    assert path.startswith(f"/proc/{os.getpid()}/fd/")
    assert Path(path).read_text() == "THE KEY\n"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert not list(tmp_path.iterdir())
    assert " -i " not in Mirror(str(tmp_path)).environment()["GIT_SSH_COMMAND"]


# Planted settings. Each of them would make a mark, if git ran it.


def planted(mark):
    """Return the text of a git configuration that runs a program in every way that git knows."""
    return (f'[core]\n\tfsmonitor = touch {mark}\n\tsshCommand = touch {mark} #\n\thooksPath = {mark}.hooks\n\tpager = touch {mark}\n'
            f'\tgitProxy = {mark}.hooks/any\n'
            f'\taskPass = {mark}.hooks/any\n\tattributesFile = {mark}.attributes\n\teditor = touch {mark}\n\talternateRefsCommand = touch {mark}\n'
            f'[filter "evil"]\n\tsmudge = touch {mark}\n\tclean = touch {mark}\n\tprocess = touch {mark}\n[diff "evil"]\n\ttextconv = touch {mark}\n'
            f'[uploadpack]\n\tpackObjectsHook = touch {mark}\n[credential]\n\thelper = !touch {mark}\n[tar "tar"]\n\tcommand = touch {mark}\n'
            f'[url "ext::touch {mark} "]\n\tinsteadOf = file://\n\tinsteadOf = git://\n[protocol]\n\tallow = always\n[alias]\n\tfetch = !touch {mark}\n'
            f'[include]\n\tpath = {mark}.include\n[gc]\n\tauto = 1\n\tautoDetach = false\n[trace2]\n\teventTarget = {mark}\n')


@pytest.fixture
def hooks(tmp_path):
    """Return the mark that planted programs make, with a folder of hooks that make it too."""
    mark, folder = tmp_path / "ran", tmp_path / "ran.hooks"
    folder.mkdir()
    for name in ("any", "post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman", "update", "post-update"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "ran.include").write_text(f"[core]\n\tsshCommand = touch {mark}\n")
    (tmp_path / "ran.attributes").write_text("* filter=evil diff=evil\n")
    return mark


def everything(one, repository, sha):
    """Do all that a deploy does with a mirror, and what a fetch from a server by ssh would."""
    fetch(one, repository)
    one.commit("v1", "repo")
    one.read(sha, "manage.py")
    subprocess.run(["git", "archive", "--format=tar", sha], env=one.environment(), capture_output=True, check=True)
    for repo in ("ssh://127.0.0.1:1/x", "http://127.0.0.1:1/x"):
        one.settle()
        with pytest.raises(Refused):
            Mirror(one.folder).fetch(repo)


def test_the_marks_would_be_made_without_what_keeps_git_from_it(repository, hooks, tmp_path):
    """The attack itself works: a git that reads this configuration runs it."""
    folder = tmp_path / "naive.git"
    subprocess.run(["git", "clone", "-q", "--mirror", repository[0], folder], env=AUTHOR, check=True)
    (folder / "config").write_text(planted(hooks) + "\n[core]\n\tbare = true\n")
    subprocess.run(["git", "--git-dir", folder, "fetch", "ssh://127.0.0.1:1/x"], env=AUTHOR, cwd=folder, capture_output=True, check=False)
    assert hooks.exists()


@pytest.mark.parametrize("place", ["config", "config.worktree", "hooks", "attributes", "home", "xdg", "environment"])
def test_what_is_planted_for_git_never_runs(repository, hooks, tmp_path, monkeypatch, place):
    (tmp_path / "leaf").mkdir()
    one = Mirror(str(tmp_path / "leaf"), "file")
    fetch(one, repository[0])
    inside, home = tmp_path / "leaf/repository.git", tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".config/git").mkdir(parents=True)
    places = {"config": inside / "config", "config.worktree": inside / "config.worktree", "home": home / ".gitconfig", "xdg": home / ".config/git/config"}
    if place in places:
        places[place].write_text(planted(hooks) + ("[core]\n\tbare = true\n" if place == "config" else "") + "[extensions]\n\tworktreeConfig = true\n")
    if place == "hooks":
        (inside / "hooks").symlink_to(f"{hooks}.hooks")
    if place == "attributes":
        (inside / "info").mkdir(exist_ok=True)
        (inside / "info/attributes").write_text("* filter=evil\n")
        (inside / "config").write_text(planted(hooks))
    (home / ".ssh/config").write_text(f"Host *\n\tProxyCommand touch {hooks}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    if place == "environment":
        monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {hooks}")
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {hooks}")
        monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.sshCommand=touch {hooks}'")
    everything(one, repository[0], repository[1]["v1"])
    assert not hooks.exists()


def test_what_a_repository_says_of_itself_runs_nothing(hooks, tmp_path):
    """Attributes, submodules and a committed configuration are files like others."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("* filter=evil diff=evil export-subst\n*.x export-ignore\n")
    (folder / ".gitconfig").write_text(planted(hooks))
    (folder / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {hooks}\n\tupdate = !touch {hooks}\n')
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
    sha = commit(folder, manage_py="$Format:%H$")
    git(folder, "tag", "v1")
    (tmp_path / "leaf").mkdir()
    everything(Mirror(str(tmp_path / "leaf"), "file"), folder, sha)
    assert not hooks.exists()


def test_a_mirror_borrows_no_objects_from_another(repository, tmp_path):
    one = Mirror(str(tmp_path), "file")
    fetch(one, repository[0])
    path = tmp_path / "repository.git/objects/info/alternates"
    path.parent.mkdir(exist_ok=True)
    path.write_text("/somewhere/else\n")
    one.settle()
    assert not path.exists()
