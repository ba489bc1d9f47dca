# SPDX-License-Identifier: GPL-3.0-or-later
"""A venv that many releases share holds nothing of one release's code."""
import pytest
from ansible_collections.quayside.django.plugins.module_utils import local_packages, python_env, sandbox, units
from samples import loaded

LOCK = """
[[package]]
name = "shop"
source = { editable = "." }

[[package]]
name = "lib"
source = { editable = "libs/lib" }

[[package]]
name = "other"
source = { directory = "libs/other" }

[[package]]
name = "django"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "top"
source = { virtual = "." }
"""


@pytest.mark.parametrize(("line", "found"), [
    ("-e .", (".", True)), ("--editable=./libs/x", ("libs/x", True)), ("-e ./libs/x[dev]", ("libs/x", True)), ("-e file:libs/x", ("libs/x", True)),
    ("  -e libs/x  # ours", ("libs/x", True)), ('-e "libs/x" ; python_version > "3"', ("libs/x", True)),
    (".", (".", False)), ("./libs/x", ("libs/x", False)), ("libs/x/", ("libs/x", False)), (".[prod]", (".", False)),
    ("wheels/x-1.0-py3-none-any.whl", ("wheels/x-1.0-py3-none-any.whl", False)),
    ("x @ file:libs/x", ("libs/x", False)), ("../other", ("../other", False)),
    ("django==5.2", None), ("psycopg[binary]>=3", None), ("-r other.txt", None), ("--index-url https://a.test/simple", None), ("-c ./limits.txt", None),
    ("lib @ git+https://a.test/x.git@main", None), ("-e git+ssh://git@a.test/x.git#egg=x", None), ("lib @ https://a.test/lib-1.0.whl", None),
    ("    --hash=sha256:aa/bb", None), ("", None), ("# ./x", None), ('typing; python_version < "3.8"', None),
])
def test_what_a_line_takes_from_the_source(line, found):
    assert local_packages.requirement(line) == found


@pytest.mark.parametrize(("files", "words", "found"), [
    ({"uv.lock": LOCK, "pyproject.toml": ""}, [], {".": True, "libs/lib": True, "libs/other": False}),
    ({"requirements.txt": "-e .\n-r requirements/base.txt\n", "requirements/base.txt": "-e libs/x\n"}, [], {".": True, "libs/x": True}),
    ({"requirements.txt": "-e ../../outside\n/etc/x\n"}, [], {}),
    ({"requirements.txt": "django\n"}, ["./libs/x"], {"libs/x": False}),
    ({"requirements.txt": "-e libs/x\n./libs/x\n"}, [], {"libs/x": False}),
])
def test_the_packages_of_the_source(files, words, found):
    assert local_packages.named(files, words) == found


def test_a_package_beside_the_apps_root_is_of_the_source_too():
    assert local_packages.named({"requirements.txt": "-e ../libs/x\n./y\n../../z/\n"}, [], "backend") == {"../libs/x": True, "y": False}


@pytest.mark.parametrize(("files", "words"), [
    ({"pyproject.toml": '[build-system]\nrequires = []\n[project]\ndependencies = ["django"]'}, ["-e ."]),
    ({"pyproject.toml": '[project]\ndependencies = ["django"]'}, []),
    ({"pyproject.toml": "[build-system]", "requirements.txt": "django"}, []), ({"pyproject.toml": "[build-system]", "uv.lock": LOCK}, []),
])
def test_a_project_that_is_a_package_is_installed_with_its_pyproject(files, words):
    assert python_env.itself(loaded()["python"], files) == words


@pytest.mark.parametrize(("line", "url"), [
    ("lib @ git+https://a.test/x.git@main", ["git+https://a.test/x.git@main"]), ("git+https://me:secret@a.test/x.git", ["git+https://a.test/x.git"]),
    ("-e git+ssh://git@a.test/x.git@v1#egg=x", ["git+ssh://a.test/x.git@v1"]), (f"lib @ git+https://a.test/x.git@{'a' * 40}", []), ("django==5.2", []),
    ("# lib @ git+https://a.test/x.git@main", []),
])
def test_what_moves_without_a_line_of_the_project_is_named_without_its_login(line, url):
    assert local_packages.moving({"requirements.txt": f"django\n{line}\n"}, []) == url


@pytest.fixture
def package(tmp_path):
    for name in ("src/lib/__init__.py", "tests/test_x.py", "pyproject.toml", "setup.cfg", "manage.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    return tmp_path


@pytest.mark.parametrize(("name", "copied", "editable"), [
    ("src/lib/__init__.py", True, False),  # code that is pointed to is each release's own
    ("src/lib/more.py", True, False), ("pyproject.toml", True, True), ("src/added/__init__.py", True, True), ("top/__init__.py", True, True),
    ("top.py", True, True),
    (".github/x.yml", True, False), ("README.md", True, False),
])
def test_which_change_makes_another_venv(package, name, copied, editable):
    before = [local_packages.digest(str(package), kind) for kind in (False, True)]
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_text("2")
    after = [local_packages.digest(str(package), kind) for kind in (False, True)]
    assert [one != other for one, other in zip(before, after)] == [copied, editable]


def test_a_package_is_hashed_without_following_its_links(package):
    (package / "src/lib/passwords").symlink_to("/etc/shadow")
    (package / "src/lib/loop").symlink_to("..")
    before = local_packages.digest(str(package), False)
    (package / "src/lib/passwords").unlink()
    assert local_packages.digest(str(package), False) != before


def test_what_is_not_there_and_a_wheel_have_a_hash_too(tmp_path):
    missing = local_packages.digest(str(tmp_path / "x.whl"), False)
    (tmp_path / "x.whl").write_bytes(b"1")
    one = local_packages.digest(str(tmp_path / "x.whl"), False)
    (tmp_path / "x.whl").write_bytes(b"2")
    assert len({missing, one, local_packages.digest(str(tmp_path / "x.whl"), False)}) == 3


def test_the_key_of_a_project_without_local_packages_is_that_of_before():
    python = loaded()["python"]
    assert python_env.key(python, "3.11.2", {"requirements.txt": "x"}, own={}, rebuilt="") == python_env.key(python, "3.11.2", {"requirements.txt": "x"})
    keys = {python_env.key(python, "3.11.2", {"requirements.txt": "x"}, **more) for more in ({}, {"own": {".": "1"}}, {"own": {".": "2"}}, {"rebuilt": "1"})}
    assert len(keys) == 4


@pytest.mark.proves("0.46")
def test_each_release_finds_its_own_code_where_the_venv_points_to():
    app = loaded()
    (process,) = app["processes"][:1]
    assert "BindReadOnlyPaths=/opt/pos/releases/%i/code:/opt/pos/code" in units.template(app, process, 1).splitlines()
    lines = sandbox.build(app, ["/opt/pos/releases/1/code:/opt/pos/code", "/opt/pos/venvs/2"], [])
    assert "BindPaths=/opt/pos/releases/1/code:/opt/pos/code" in lines
    assert "ReadWritePaths=/opt/pos/code /opt/pos/venvs/2" in lines
