# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The example's git repository: the versions that the demo and the scenarios deploy are what they claim to be."""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import tomllib

BOOKSHOP = Path(__file__).resolve().parents[2] / "examples" / "bookshop"
# version -> its parent
PARENTS = {"v2": "v1", "v3": "v2", "v4": "v3", "v5": "v4", "broken": "v3", "sick": "v3", "slow": "v3", "badmigration": "v3"}
VERSIONS = ["v1", *PARENTS]
LOCKS = ["pyproject.toml", "requirements.txt", "uv.lock"]


def make(dest: Path, folder: Path = BOOKSHOP, **env: str) -> subprocess.CompletedProcess:
    """Run make-repository of a copy of the example."""
    return subprocess.run([str(folder / "make-repository"), str(dest)], env={**os.environ, **env}, capture_output=True, text=True)


class Repository:
    """What a bare repository holds."""

    def __init__(self, path: Path):
        self.path = path

    def git(self, *words: str) -> str:
        return subprocess.run(["git", f"--git-dir={self.path}", *words], check=True, capture_output=True, text=True).stdout.strip()

    def refs(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
        return dict(line.split() for line in lines)

    @functools.cache  # noqa: B019 - lives as long as the module's only repository
    def files(self, version: str) -> dict[str, str]:
        """Return the text of each file of a version."""
        archive = subprocess.run(["git", f"--git-dir={self.path}", "archive", version], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
            return {member.name: tree.extractfile(member).read().decode() for member in tree if member.isfile()}

    def changes(self, version: str) -> list[str]:
        """Return the paths in which a version differs from its parent."""
        old, new = self.files(PARENTS[version]), self.files(version)
        return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    dest = tmp_path_factory.mktemp("bookshop") / "bookshop.git"
    done = make(dest)
    assert done.returncode == 0, done.stderr
    return Repository(dest)


def test_every_version_is_a_tag_and_main_is_v4(repository):
    refs = repository.refs()
    assert sorted(refs) == sorted([*VERSIONS, "main"])
    assert refs["main"] == refs["v4"]
    assert repository.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert len(set(refs.values())) == len(VERSIONS)
    assert all(repository.git("rev-parse", f"{version}^") == refs[parent] for version, parent in PARENTS.items())


def test_its_own_tools_are_not_in_it(repository):
    assert not [path for path in repository.files("v1") if path.startswith(("versions/", "make-repository"))]
    assert {"manage.py", "README.md", "uv.lock", "config/wsgi.py", "books/migrations/0001_initial.py"} <= set(repository.files("v1"))


def test_commits_are_the_same_from_any_clone_user_and_configuration(repository, tmp_path):
    clone = tmp_path / "clone"
    shutil.copytree(BOOKSHOP, clone, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    for junk in (".venv/lib.py", "books/__pycache__/x.pyc", "db.sqlite3", "media/covers/1.png", "staticfiles/a.css"):
        (clone / junk).parent.mkdir(parents=True, exist_ok=True)
        (clone / junk).touch()
    home = tmp_path / "home"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "ignore").write_text("*.css\n")
    (home / ".gitconfig").write_text("[user]\nuseConfigOnly = true\n[commit]\ngpgSign = true\n[core]\nautocrlf = true\nfileMode = false\n"
                                     "[init]\ndefaultBranch = trunk\n[apply]\nwhitespace = error-all\n")
    done = make(tmp_path / "other.git", clone, HOME=str(home), GIT_DIR="/nowhere", GIT_AUTHOR_NAME="Someone", TZ="Asia/Tokyo")
    assert done.returncode == 0, done.stderr
    assert Repository(tmp_path / "other.git").refs() == repository.refs()


def test_a_repository_that_is_there_is_brought_up_to_date(repository, tmp_path):
    dest = tmp_path / "bookshop.git"
    assert make(dest).returncode == 0
    before = Repository(dest)
    before.git("update-ref", "refs/heads/main", repository.refs()["v1"])
    before.git("update-ref", "-d", "refs/tags/v3")
    assert make(dest).returncode == 0
    assert before.refs() == repository.refs()


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = make(tmp_path)
    assert done.returncode == 1
    assert "name another folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_python(repository, version):
    for path, text in repository.files(version).items():
        if path.endswith(".py"):
            compile(text, f"{version}:{path}", "exec")


@pytest.mark.parametrize("version", VERSIONS)
def test_pip_and_uv_install_the_same_from_pypi(repository, version):
    lock = tomllib.loads(repository.files(version)["uv.lock"])
    packages = [package for package in lock["package"] if package["name"] != "bookshop"]
    assert {package["source"]["registry"] for package in packages} == {"https://pypi.org/simple"}
    urls = re.findall(r'url = "([^"]+)"', repository.files(version)["uv.lock"])
    assert all(url.startswith("https://files.pythonhosted.org/") for url in urls)
    pins = dict(re.findall(r"(?m)^([\w.-]+)==([^ ;\n]+)", repository.files(version)["requirements.txt"]))
    assert pins == {package["name"]: package["version"] for package in packages}
    project = tomllib.loads(repository.files(version)["pyproject.toml"])["project"]
    assert lock["requires-python"] == project["requires-python"] == ">=3.11"


@pytest.mark.parametrize("version", [version for version in PARENTS if version != "v3"])
def test_only_v3_changes_dependencies(repository, version):
    assert not set(repository.changes(version)) & set(LOCKS)


@pytest.mark.parametrize("version", [version for version in PARENTS if version not in ("v4", "v5", "badmigration")])
def test_no_migration_comes_by_surprise(repository, version):
    assert not [path for path in repository.changes(version) if "/migrations/" in path]


def migration(repository: Repository, version: str) -> str:
    """Return the text of the one migration that a version adds."""
    (path,) = [path for path in repository.changes(version) if "/migrations/" in path]
    assert path not in repository.files(PARENTS[version])
    return repository.files(version)[path]


def test_v2_changes_page_and_style_sheet_and_queues_a_new_task(repository):
    assert {"pages/static/pages/site.css", "pages/templates/pages/home.html"} <= set(repository.changes("v2"))
    assert "def count_visit(" not in repository.files("v1")["jobs/tasks.py"]
    assert "def count_visit(" in repository.files("v2")["jobs/tasks.py"]
    assert "tasks.count_visit.delay(" in repository.files("v2")["pages/views.py"]


def test_v3_needs_a_new_package(repository):
    assert set(LOCKS) <= set(repository.changes("v3"))
    assert "\nimport humanize\n" in repository.files("v3")["books/models.py"]


def test_v4_adds_a_column_that_the_release_before_can_live_with(repository):
    text = migration(repository, "v4")
    assert text.count("migrations.AddField(") == text.count("migrations.") - text.count("migrations.Migration") == 1
    assert "db_default=" in text


def test_v5_drops_the_column(repository):
    assert "migrations.RemoveField(" in migration(repository, "v5")
    assert "language" not in repository.files("v5")["books/models.py"]


def test_badmigration_fails_in_its_second_operation_of_two(repository):
    text = migration(repository, "badmigration")
    assert re.findall(r"^ +migrations\.(\w+)\(", text, re.M) == ["AddField", "RunSQL"]
    assert "stars" in text
    assert "stars" not in repository.files("badmigration")["books/models.py"]
    assert "atomic" not in text


def test_broken_imports_what_is_not_there(repository):
    assert "from books.isbn import" in repository.files("broken")["books/models.py"]
    assert "books/isbn.py" not in repository.files("broken")


def test_sick_and_slow_change_one_file_each(repository):
    assert repository.changes("sick") == ["config/health.py"]
    assert repository.changes("slow") == ["config/wsgi.py"]
    assert "time.sleep(8)" in repository.files("slow")["config/wsgi.py"]
