# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables a project's settings read, told from their source."""

from __future__ import annotations

import re

import pytest
from ansible_collections.quayside.django.plugins.module_utils import django_probe

ENVIRON = "import environ\nenv = environ.Env(DEBUG=(bool, False), TOKEN=str)\n"
ENVIRONS = "from environs import Env\nenv = Env()\nenv.read_env()\n"
HELPER = "import os\ndef need(name, default=None):\n    try:\n        return os.environ[name]\n    except KeyError:\n        raise RuntimeError(name)\n"


def read(tmp_path, source, **others):
    """Return name -> required, guarded or optional of a settings module, and the patterns."""
    (tmp_path / "config").mkdir()
    for name, text in {"settings": source, "__init__": "", **others}.items():
        (tmp_path / "config" / f"{name}.py").write_text(text)
    reads, patterns = django_probe.reads_of(str(tmp_path), "config.settings")
    return {one["name"]: "required" if one["required"] else "guarded" if one["guarded"] else "optional" for one in reads}, patterns


@pytest.mark.parametrize(("source", "found"), [
    ("import os\nA = os.environ['A']", {"A": "required"}),
    ("from os import environ\nA = environ['A']", {"A": "required"}),
    ("import os as system\nA = system.environ['A']", {"A": "required"}),
    ("import os\ne = os.environ\nA = e['A']", {"A": "required"}),
    ("import os\nA = os.environ.get('A')\nB = os.getenv('B', 'b')", {"A": "optional", "B": "optional"}),
    ("from os import getenv\nA = getenv('A')", {"A": "optional"}),
    ("import os\nget = os.environ.get\nA = get('A')", {"A": "optional"}),
    ("import os\nif 'A' in os.environ:\n    A = os.environ['B']", {"A": "optional", "B": "guarded"}),
    ("import os\nA = os.environ['A'] if 'R' in os.environ else 'x'", {"A": "guarded", "R": "optional"}),
    ("import os\nA = os.environ.get('A') or os.environ['B']", {"A": "optional", "B": "guarded"}),
    ("import os\ntry:\n    A = os.environ['A']\nexcept KeyError:\n    A = 1", {"A": "guarded"}),
    ("import os\ntry:\n    A = os.environ['A']\nexcept KeyError:\n    raise SystemExit('A')", {"A": "required"}),
    ("import os\nos.environ['A'] = '1'", {}),
    ("import os\ndef later():\n    return os.environ['A']", {"A": "guarded"}),
    ("import os\nclass Base:\n    A = os.environ['A']", {"A": "required"}),
    # Helpers of the project's own
    (HELPER + "A = need('A')", {"A": "required"}),
    (HELPER + "A = need('A', 'x')\nB = need(name='B')", {"A": "optional", "B": "required"}),
    ("import os\nenv = os.environ.get\ndef words(name, default=''):\n    return env(name, default).split()\nA = words('A')", {"A": "optional"}),
    # django-environ
    (ENVIRON + "A = env('A')\nB = env('B', default='')\nC = env('C', cast=int)\nD = env('D', int)", {"A": "required", "B": "optional", "C": "required",
                                                                                                    "D": "required"}),
    (ENVIRON + "DEBUG = env('DEBUG')\nT = env('TOKEN')", {"DEBUG": "optional", "TOKEN": "required"}),
    (ENVIRON + "A = env.str('A')\nB = env.list('B', default=[])\nC = env.bool('C', False)", {"A": "required", "B": "optional", "C": "optional"}),
    (ENVIRON + "DB = env.db()\nC = env.cache(default='locmem://')\nE = env.db('OTHER_URL')", {"DATABASE_URL": "required", "CACHE_URL": "optional",
                                                                                             "OTHER_URL": "required"}),
    (ENVIRON + "environ.Env.read_env('.env')\nenv.read_env('.env')", {}),
    # environs
    (ENVIRONS + "A = env('A')\nB = env.int('B', 3)\nwith env.prefixed('S3_'):\n    C = env('KEY')", {"A": "required", "B": "optional", "S3_KEY": "required"}),
    # decouple
    ("from decouple import config\nA = config('A')\nB = config('B', default=1, cast=int)\nC = config('C', 'x')", {"A": "required", "B": "optional",
                                                                                                          "C": "optional"}),
    ("import decouple\nA = decouple.config('A')", {"A": "required"}),
    ("from decouple import AutoConfig\nconfig = AutoConfig('.')\nA = config('A', cast=bool)", {"A": "required"}),
    # pydantic-settings
    ("from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    token: str\n    debug: bool = False\n    _own: int", {"TOKEN": "required",
                                                                                                                          "DEBUG": "optional"}),
    ("class S(pydantic.BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='SHOP_')\n    token: str = Field(...)\n    b: str = Field(default='')",
     {"SHOP_TOKEN": "required", "SHOP_B": "optional"}),
    ("class S(BaseSettings):\n    key: str = Field(validation_alias='API_KEY')\n    class Config:\n        env_prefix = 'x_'\n    n: int",
     {"API_KEY": "required", "X_N": "required"}),
    # No Python that could be read
    ("import os\nA = os.environ['A'", {}),
])
def test_what_settings_read(tmp_path, source, found):
    assert read(tmp_path, source)[0] == found


@pytest.mark.parametrize(("source", "others", "found"), [
    ("from .base import *\nB = os.environ['B']", {"base": "import os\nA = os.environ['A']"}, {"A": "required", "B": "required"}),
    ("from config.env import env\nA = env('A')", {"env": ENVIRON}, {"A": "required"}),
    ("from .env import env\nA = env('DEBUG')", {"env": ENVIRON}, {"DEBUG": "optional"}),
    ("from . import helpers\nA = helpers.need('A')", {"helpers": HELPER}, {"A": "required"}),
    ("import config.helpers as helpers\nA = helpers.need('A')", {"helpers": HELPER}, {"A": "required"}),
    ("import os\nif os.environ.get('ENV') == 'prod':\n    from .prod import *",
     {"prod": "import os\nX = os.environ['X']"}, {"ENV": "optional", "X": "guarded"}),
    ("try:\n    from .local import *\nexcept ImportError:\n    pass", {"local": "from .deep import *", "deep": "import os\nX = os.environ['X']"},
     {"X": "guarded"}),
    ("def f():\n    from .prod import X", {"prod": "import os\nX = os.environ['X']"}, {"X": "guarded"}),
    ("if DEBUG:\n    from .base import *\nfrom .base import *", {"base": "import os\nX = os.environ['X']"}, {"X": "required"}),
    ("from .a import *", {"a": "from .b import *", "b": "from .a import *\nimport os\nA = os.environ['A']"}, {"A": "required"}),
])
def test_modules_of_the_project_count_too(tmp_path, source, others, found):
    wanted = dict(found)
    reads = read(tmp_path, source, **others)[0]
    assert {name: how for name, how in reads.items() if name in wanted} == wanted


@pytest.mark.parametrize(("source", "names"), [
    ("import os\nx = [os.environ.get(f'DATABASE_{part}') for part in ('A', 'B')]", {"DATABASE_A": True, "CACHE_A": False}),
    ("import os\nx = os.getenv('DB_' + part)", {"DB_HOST": True, "HOST": False}),
    ("import os\nx = os.getenv('DB_%s' % part)", {"DB_HOST": True}),
])
def test_names_that_are_put_together_are_patterns(tmp_path, source, names):
    patterns = read(tmp_path, source)[1]
    assert {name: any(re.fullmatch(one, name) for one in patterns) for name in names} == names


def test_where_a_variable_is_read_is_told(tmp_path):
    (tmp_path / "settings.py").write_text("import os\n\nA = os.environ['A']\n")
    assert django_probe.reads_of(str(tmp_path), "settings")[0][0]["where"] == "settings.py:3"


def test_a_settings_module_that_is_not_there_reads_nothing(tmp_path):
    assert django_probe.reads_of(str(tmp_path), "config.settings") == ([], [])


def test_names_are_looked_for_in_all_code_but_that_of_others(tmp_path):
    for path, text in {"shop/views.py": "KEY = os.environ['STRIPE_KEY']", "start.sh": "echo $GREETING", "node_modules/x.js": "OTHER", "README.md": "WORDS",
                       "settings.py": "max_size: int"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / ".env").write_text("# x\nexport OWN=1\nMORE = 2\n")
    found, own = django_probe.mentioned(str(tmp_path), ["STRIPE_KEY", "GREETING", "OTHER", "WORDS", "MAX_SIZE"])
    assert (found, own) == (["GREETING", "MAX_SIZE", "STRIPE_KEY"], ["MORE", "OWN"])


def test_names_are_looked_for_in_start_scripts_too(tmp_path):
    """Those of a project without an ending, and those that a command or an image names."""
    for path, text in {"app/bin/start": "#!/bin/sh\nexec gunicorn --timeout $TIMEOUT_OF_WEB", "app/LICENSE": "NOT_CODE",
                       "entrypoint": "#!/bin/sh\necho $WAIT_FOR"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    names = ["TIMEOUT_OF_WEB", "NOT_CODE", "WAIT_FOR"]
    assert django_probe.mentioned(str(tmp_path / "app"), names) == (["TIMEOUT_OF_WEB"], [])
    assert django_probe.mentioned(str(tmp_path / "app"), names, [str(tmp_path / "entrypoint"), "--no-such", "none"]) == (["TIMEOUT_OF_WEB", "WAIT_FOR"], [])
