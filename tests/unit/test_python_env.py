# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import python_env
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from samples import loaded

VERSIONS = ["3.8.20", "3.9.2", "3.10.0", "3.10.12", "3.11.0", "3.11.2", "3.12.3", "3.13.5", "3.14.0", "4.0.0"]
SIGNS = [">=", "<=", ">", "<", "==", "!=", "~="]
NUMBERS = ["3", "3.9", "3.10", "3.10.0", "3.10.12", "3.11", "3.11.2", "3.13", "4"]
COMBINED = ["", ">=3.10,<3.13", ">=3.10, <4, !=3.11.*", "==3.*", "==3.11.*", "!=3.11.*", ">=3.9,!=3.9.2", "~=3.10,!=3.12.3", " >= 3.10 , < 3.12 ",
            ">=3.10,", "==3.10.0.*"]
LOCKED = {"uv.lock": "lock", "pyproject.toml": "project"}
UV = python_env.UV


PEP621 = '[build-system]\nrequires = ["hatchling"]\n\n[project]\nname = "shop"\ndependencies = [\n  "django>=5",\n]\n\n'
PEP621 += '[project.optional-dependencies]\ns3 = []\n'
POETRY = '[tool.poetry]\nname = "shop"\n[tool.poetry.dependencies]\ndjango = "^5"\n'


def python(**fields):
    """Return the python section of the model."""
    return loaded(python=fields)["python"]


def specifiers():
    for text in [f"{sign}{number}" for sign in SIGNS for number in NUMBERS] + COMBINED:
        try:
            yield text, SpecifierSet(text.rstrip(","))
        except InvalidSpecifier:
            assert text.startswith("~=")


@pytest.mark.parametrize(("text", "standard"), list(specifiers()), ids=[text or "none" for text, _standard in specifiers()])
def test_versions_are_allowed_as_pep_440_says(text, standard):
    for version in VERSIONS:
        assert python_env.allows(text, version) == standard.contains(version), version


@pytest.mark.parametrize("specifier", ["^3.10", "3.10", ">=3.10.0rc1", "whatever"])
def test_what_is_not_understood_is_left_to_the_installer(specifier):
    assert python_env.allows(specifier, "3.9.2")


@pytest.mark.parametrize(("text", "found"), [
    ('[project]\nname = "x"\nrequires-python = ">=3.10"\n', ">=3.10"), ("[project]\nrequires-python='>=3.10,<4'", ">=3.10,<4"),
    ('requires-python   =   ">=3.9"  # why', ">=3.9"), ('# requires-python = ">=3.9"', ""), ("[project]\nname = 'x'", ""), ("", ""),
    ('description = "requires-python = 3"', ""),
])
def test_requires_python_is_read_from_a_pyproject(text, found):
    assert python_env.requires_python(text) == found


@pytest.mark.parametrize(("fields", "files", "names"), [
    ({}, {**LOCKED, "requirements.txt": "x"}, ["uv.lock", "pyproject.toml"]),
    ({}, {"requirements.txt": "x", "pyproject.toml": "x"}, ["requirements.txt"]),
    ({"installer": "pip"}, {**LOCKED, "requirements.txt": "x"}, ["requirements.txt"]),
    ({"requirements": ["requirements/production.txt"]}, {**LOCKED, "requirements/production.txt": "x"}, ["requirements/production.txt"]),
    ({}, {}, []),
    ({}, {"pyproject.toml": PEP621}, ["pyproject.toml"]),
    ({}, {"pyproject.toml": POETRY}, []),
    ({"installer": "pip"}, {"pyproject.toml": PEP621}, []),
])
def test_what_the_venv_is_built_from(fields, files, names):
    assert list(python_env.inputs(python(**fields), files)) == names


# The key


def key(version="3.11.2", files=None, **fields):
    return python_env.key(python(**fields), version, LOCKED if files is None else files)


def test_the_key_is_the_same_for_the_same_inputs():
    assert key() == key(files=dict(reversed(LOCKED.items()))) == key(files={**LOCKED, "requirements.txt": "not used", "README": "x"})


@pytest.mark.parametrize("other", [
    {"version": "3.11.3"}, {"files": {**LOCKED, "uv.lock": "changed"}}, {"files": {**LOCKED, "pyproject.toml": "changed"}}, {"installer": "pip"},
    {"interpreter": "/usr/bin/python3.12"}, {"extras": ["s3"]}, {"groups": ["production"]}, {"packages": ["gevent"]}, {"options": ["--no-binary x"]},
    {"env": {"CFLAGS": "-O2"}},
    {"requirements": ["requirements.txt"], "files": {"requirements.txt": "x"}},
])
def test_another_input_is_another_key(other):
    assert key(**other) != key()


@pytest.mark.parametrize("content", ["-r base.txt\n", "--requirement base.txt\n", "-c base.txt\n"])
def test_a_change_in_an_included_requirements_file_is_another_key(content):
    wanted = ["requirements/production.txt"]
    keys = {key(requirements=wanted, files={"requirements/production.txt": content, "requirements/base.txt": base}) for base in ("django==5.1", "django==5.2")}
    assert len(keys) == 2


# The commands


def commands(files, **fields):
    return python_env.build_commands(python(**fields), "/v", files)[0]


UV_VENV = [UV, "venv", "--quiet", "--python", "/usr/bin/python3", "/v"]
UV_SYNC = [UV, "sync", "--frozen", "--no-default-groups", "--compile-bytecode"]
UV_PIP = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", "/v/bin/python"]


@pytest.mark.parametrize(("fields", "files", "expected"), [
    ({}, LOCKED, [UV_SYNC]),
    ({"extras": ["a", "b"], "groups": ["prod"], "options": ["--index-url https://x/simple", "--no-binary x"]}, LOCKED,
     [[*UV_SYNC, "--extra", "a", "--extra", "b", "--group", "prod", "--no-binary", "x"]]),
    ({"packages": ["gevent==24.1"]}, LOCKED, [UV_SYNC, [*UV_PIP, "gevent==24.1"]]),
    ({}, {"requirements.txt": ""}, [UV_VENV, [*UV_PIP, "-r", "requirements.txt"]]),
    ({"interpreter": "/usr/bin/python3.12"}, {"requirements.txt": ""},
     [[*UV_VENV[:4], "/usr/bin/python3.12", "/v"], [*UV_PIP, "-r", "requirements.txt"]]),
    ({"requirements": ["b.txt", "a.txt"], "packages": ["gevent"], "options": ["--no-deps"]}, {"a.txt": "", "b.txt": "", **LOCKED},
     [UV_VENV, [*UV_PIP, "--no-deps", "-r", "a.txt", "-r", "b.txt", "gevent"]]),
    ({"installer": "pip"}, {"requirements.txt": "", **LOCKED},
     [["/usr/bin/python3", "-m", "venv", "/v"], ["/v/bin/pip", "install", "--quiet", "-r", "requirements.txt"]]),
    ({"installer": "pip", "options": ["--prefer-binary"], "packages": ["gevent"]}, {"requirements.txt": ""},
     [["/usr/bin/python3", "-m", "venv", "/v"], ["/v/bin/pip", "install", "--quiet", "--prefer-binary", "-r", "requirements.txt", "gevent"]]),
    ({"installer": "pip"}, {}, [["/usr/bin/python3", "-m", "venv", "/v"]]),
])
def test_the_commands_that_build_a_venv(fields, files, expected):
    assert commands(files, **fields) == expected


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_pyproject_that_is_named_as_requirements_is_installed_from(installer):
    assert len(commands({"pyproject.toml": ""}, installer=installer, requirements=["pyproject.toml"])) == 2


def test_uv_takes_the_hosts_interpreter_and_never_downloads_one():
    env = python_env.build_commands(python(interpreter="/usr/bin/python3.12"), "/v", LOCKED)[1]
    assert (env["UV_PYTHON"], env["UV_PYTHON_DOWNLOADS"], env["UV_PROJECT_ENVIRONMENT"]) == ("/usr/bin/python3.12", "never", "/v")


def test_a_venv_shares_no_file_with_the_cache_and_variables_of_the_user_win():
    env = python_env.build_commands(python(env={"UV_LINK_MODE": "symlink", "N": 1}), "/v", LOCKED)[1]
    assert (python_env.build_commands(python(), "/v", LOCKED)[1]["UV_LINK_MODE"], env["UV_LINK_MODE"], env["N"]) == ("copy", "symlink", "1")


@pytest.mark.parametrize("files", [LOCKED, {"requirements.txt": ""}])
@pytest.mark.parametrize(("installer", "options", "variables"), [
    ("uv", ["--index-url https://u:token@x/simple"], {"UV_INDEX_URL": "https://u:token@x/simple"}),
    ("uv", ["--default-index=https://u:token@x/a", "--index https://u:token@x/b --index https://u:token@x/c"],
     {"UV_DEFAULT_INDEX": "https://u:token@x/a", "UV_INDEX": "https://u:token@x/b https://u:token@x/c"}),
    ("pip", ["-i https://u:token@x/simple", "--extra-index-url=https://u:token@y/simple"],
     {"PIP_INDEX_URL": "https://u:token@x/simple", "PIP_EXTRA_INDEX_URL": "https://u:token@y/simple"}),
    ("pip", ["-f https://u:token@x/wheels"], {"PIP_FIND_LINKS": "https://u:token@x/wheels"}),
])
def test_an_index_travels_by_a_variable_since_arguments_are_seen(installer, options, variables, files):
    argvs, env = python_env.build_commands(python(installer=installer, options=options, packages=["gevent"]), "/v", files)
    assert "token" not in repr(argvs)
    assert {name: env[name] for name in variables} == variables


# What is read of the source


def reader(files):
    """Return a reader of these files that notes which it read, and with which limit."""
    seen = {}

    def read(name, limit):
        seen[name] = limit
        return files.get(name)

    return read, seen


@pytest.mark.parametrize(("fields", "files", "names"), [
    ({}, {**LOCKED, "requirements.txt": ""}, ["pyproject.toml", "uv.lock"]), ({}, {"requirements.txt": "-r a/b.txt", "a/b.txt": "-c c.txt", "a/c.txt": ""},
                                                                             ["a/b.txt", "a/c.txt", "requirements.txt"]),
    ({"installer": "pip"}, {**LOCKED, "requirements.txt": ""}, ["requirements.txt"]), ({}, {}, []),
    ({"requirements": ["p.txt"]}, {"p.txt": "-r ../../etc/passwd\n-r /etc/passwd\n-r https://x/y.txt", "etc/passwd": "x"}, ["p.txt"]),
    ({"requirements": ["a.txt", "b.txt"]}, {"a.txt": "-r base.txt", "b.txt": "-r base.txt", "base.txt": ""}, ["a.txt", "b.txt", "base.txt"]),
])
def test_only_what_matters_is_read_and_never_outside_the_source(fields, files, names):
    read, seen = reader(files)
    assert sorted(python_env.gather(python(**fields), read)) == names
    assert not [name for name in seen if name.startswith(("/", "..")) or "://" in name]
    assert {name: limit for name, limit in seen.items() if name in files} == {name: 2**24 if name == "uv.lock" else 2**20 for name in names}


@pytest.mark.parametrize("files", [{"requirements.txt": "-r requirements.txt"}, {"requirements.txt": "-r a.txt", "a.txt": "-r b.txt", "b.txt": "-c ./a.txt"}])
def test_a_file_that_includes_itself_is_named(files):
    with pytest.raises(ValueError, match=r"(requirements|a)\.txt includes itself, through "):
        python_env.gather(python(), reader(files)[0])


def test_too_many_includes_are_refused():
    files = {"requirements.txt": "".join(f"-r {number}.txt\n" for number in range(200)), **{f"{number}.txt": "" for number in range(200)}}
    with pytest.raises(ValueError, match=r"include more than 100 files; \d+\.txt is one of them"):
        python_env.gather(python(), reader(files)[0])


# Projects without a list that is read


@pytest.mark.parametrize(("text", "yes"), [
    (PEP621, True), (POETRY, False), ("", False), ('[project]\nname = "x"\n[tool.x]\ndependencies = []\n', False),
    ('[project]\ndynamic = ["version", "dependencies"]\n', True), ('[project]\ndependencies=["django"]', True),
    ('[project]\noptional-dependencies = {}', False),
])
def test_whether_a_pyproject_says_its_dependencies(text, yes):
    assert python_env.declares(text) is yes


def test_a_pyproject_alone_is_installed_by_uv_with_its_extras():
    commands, _env = python_env.build_commands(python(extras=["s3"], groups=["prod"], packages=["gevent"]), "/v", {"pyproject.toml": PEP621})
    assert commands == [[UV, "venv", "--quiet", "--python", "/usr/bin/python3", "/v"],
                        [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", "/v/bin/python", "--extra", "s3", "--group", "prod",
                         "-r", "pyproject.toml", "-e", ".", "gevent"]]


@pytest.mark.parametrize(("fields", "files", "others", "words"), [
    ({}, {"pyproject.toml": POETRY}, ["poetry.lock"], "has poetry.lock, which is not read here: poetry export -o requirements.txt"),
    ({}, {"pyproject.toml": PEP621}, ["pdm.lock"], "has pdm.lock, which is not read here: pdm export -o requirements.txt, and commit that"),
    ({}, {}, ["Pipfile.lock"], "pipenv requirements --hash > requirements.txt"),
    ({"requirements": ["base.txt"]}, {}, ["poetry.lock"], "has no base.txt, which python.requirements names"),
    ({}, {"pyproject.toml": POETRY}, [], "no dependencies under [project] in a pyproject.toml"),
    ({"installer": "pip"}, {"pyproject.toml": PEP621}, [], "has no requirements.txt, and pip reads no other list: leave out python.installer"),
    ({}, {"pyproject.toml": PEP621}, [], ""),
    ({}, {"requirements.txt": "x"}, ["poetry.lock"], ""),
    ({}, LOCKED, ["poetry.lock"], ""),
    ({"requirements": ["base.txt"]}, {"base.txt": "x"}, ["poetry.lock"], ""),
])
def test_what_is_said_of_a_project_that_cannot_be_installed(fields, files, others, words):
    found = python_env.refusal(python(**fields), files, others)
    assert words in found and bool(words) == bool(found)


def test_files_of_a_project_without_requirements_are_gathered():
    assert python_env.gather(python(), lambda name, _limit: {"pyproject.toml": PEP621}.get(name)) == {"pyproject.toml": PEP621}


UV_PSYCOPG = """  \u00d7 Failed to build `psycopg2==2.9.10`
  \u251c\u2500\u25b6 The build backend returned an error
      Error: pg_config executable not found.
      If you prefer to avoid building psycopg2 from source, please install the PyPI 'psycopg2-binary' package instead.
"""
PIP_GCC = "  error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\n  ERROR: Failed building wheel for uwsgi\n"
NEEDS = "set packages: [build-essential, python3-dev"


@pytest.mark.parametrize(("output", "words"), [
    (UV_PSYCOPG, ["psycopg2 is built from source and lacks the headers of PostgreSQL: require psycopg2-binary",
                  f"{NEEDS}, libpq-dev] and run quayside.django.site"]),
    (PIP_GCC, ["uwsgi is built from source and lacks a compiler: take a version of uwsgi that has a wheel", f"{NEEDS}] and run quayside.django.site"]),
    ("error: [Errno 2] No such file or directory: 'gcc'\n", ["a package is built from source and lacks a compiler: set packages"]),
    ("unable to execute 'gcc': No such file or directory", ["lacks a compiler"]),
    ("sh: 1: gcc: not found", ["lacks a compiler"]),
    ("Failed to build `mysqlclient==2.2.7`\nException: Can not find valid pkg-config name.", ["require PyMySQL", "default-libmysqlclient-dev, pkg-config]"]),
    ("src/x.c:1:10: fatal error: Python.h: No such file or directory", ["lacks the headers of Python"]),
    ("Failed to build python-ldap\nfatal error: lber.h: No such file", ["libldap-dev, libsasl2-dev"]),
])
def test_a_build_that_lacks_a_compiler_or_headers_says_which_packages(output, words):
    found = python_env.hint(output)
    assert all(word in found for word in words), found


@pytest.mark.parametrize("output", ["", "No solution found when resolving dependencies", "No module named 'x'", "success: gcc 12 was found"])
def test_other_failures_keep_their_log(output):
    assert python_env.hint(output) == ""
