# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes small Django projects, each laid out in another way that people do. ``write(FOLDER, NAME, VERSION)``; as a program all of them in version 1.

Each answers /healthz/ with its version and that of its library, and / with a page that names a static file.
"""
import json
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).absolute().parents[2] / "shared"))

import git_by_ssh  # noqa: E402 - the path has to be there first

DJANGO, GUNICORN = "django==5.2.19", "gunicorn==27.0.1"
BASE = {
    "manage.py": """import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "{package}/__init__.py": "",
    "{settings_file}": """import os
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parents[{depth}]
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.staticfiles"]
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"]}}]
ROOT_URLCONF = "{package}.urls"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "assets"]
STATIC_ROOT = {static_root}
STORAGES = {{"staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
""",
    "{package}/urls.py": """import os, time
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from {package} import VERSION
{library}

def health(request):
    return JsonResponse({{"status": "ok", "release": os.environ["RELEASE"], "version": VERSION, "library": LIBRARY}})

def slow(request):
    time.sleep(2)
    return HttpResponse(os.environ["RELEASE"])

urlpatterns = [path("healthz/", health), path("slow/", slow), path("", lambda request: render(request, "page.html"))]
""",
    "{package}/{server}.py": """import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
from django.core.{protocol} import get_{protocol}_application
application = get_{protocol}_application()
""",
    "templates/page.html": "{{% load static %}}{{% static 'site.css' %}}",
    "assets/site.css": "body {{}} /* {version} */",
    "requirements.txt": f"{DJANGO}\n{GUNICORN}\n",
}
LIBRARY = "from lib import VERSION as LIBRARY"
HATCH = '[build-system]\nrequires = ["hatchling==1.33.0"]\nbuild-backend = "hatchling.build"\n'


def library(folder: str, version: int) -> dict:
    """Return the files of a package ``lib`` in the src layout."""
    return {f"{folder}src/lib/__init__.py": f"VERSION = {version}\n",
            f"{folder}pyproject.toml": f'[project]\nname = "lib"\nversion = "1"\n{HATCH}[tool.hatch.build.targets.wheel]\npackages = ["src/lib"]\n'}


def base(version: int, package: str = "config", settings: str = "config.settings", library: str = "LIBRARY = 0", protocol: str = "wsgi",
         server: str = "", static_root: str = 'os.environ["STATIC_ROOT"]') -> dict:
    """Return the files of a project that differ in names only."""
    words = {"version": version, "package": package, "settings": settings, "library": library, "protocol": protocol, "server": server or protocol,
             "static_root": static_root, "settings_file": settings.replace(".", "/") + ".py", "depth": settings.count(".")}
    files = {name.format(**words): text.format(**words) if name != "requirements.txt" else text for name, text in BASE.items()}
    files[f"{package}/__init__.py"] = f"VERSION = {version}\n"
    return files


def fixedstatic(version: int) -> dict:
    return base(version, static_root='BASE_DIR / "staticfiles"')


def editable(version: int) -> dict:
    files = {**base(version, library=LIBRARY), **library("", version)}
    return {**files, "requirements.txt": files["requirements.txt"] + "-e .\n"}


def copied(version: int) -> dict:
    files = {**base(version, library=LIBRARY), **library("libs/lib/", version)}
    return {**files, "requirements.txt": files["requirements.txt"] + "./libs/lib\n"}


def workspace(version: int) -> dict:
    files = {**base(version, library=LIBRARY), **library("libs/lib/", version)}
    del files["requirements.txt"]
    pyproject = f'[project]\nname = "site"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{DJANGO}", "{GUNICORN}", "lib"]\n' \
                '[tool.uv.workspace]\nmembers = ["libs/*"]\n[tool.uv.sources]\nlib = { workspace = true }\n'
    return {**files, "pyproject.toml": pyproject, "uv.lock": None}


def package(version: int) -> dict:
    files = {**base(version, library=LIBRARY), **library("", version)}
    del files["requirements.txt"]
    files["pyproject.toml"] = files["pyproject.toml"].replace('version = "1"\n', f'version = "1"\ndependencies = ["{DJANGO}", "{GUNICORN}"]\n', 1)
    return files


def hashes(version: int) -> dict:
    return {**base(version), "requirements.txt": None}


def onefile(version: int) -> dict:
    return {**base(version, package="project", settings="project.conf.production", server="server"), "project/conf/__init__.py": ""}


def queue(version: int) -> dict:
    return base(version)


def daphne(version: int) -> dict:
    files = base(version, protocol="asgi")
    files["config/urls.py"] = files["config/urls.py"].replace("def slow(request):\n    time.sleep(2)", "async def slow(request):\n    await asyncio.sleep(5)") \
        .replace("import os, time", "import asyncio, os")
    return {**files, "requirements.txt": f"{DJANGO}\ndaphne==4.2.3\n"}


def slowindex(version: int) -> dict:
    """Return a project whose second version builds an index beside the traffic."""
    files = base(version)
    files["config/settings.py"] = files["config/settings.py"].replace('staticfiles"]', 'staticfiles", "django.contrib.postgres", "books"]', 1) + (
        "import urllib.parse\nurl = urllib.parse.urlsplit(os.environ['DATABASE_URL'])\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': url.path[1:], 'USER': url.username,\n"
        "    'PASSWORD': urllib.parse.unquote(url.password), 'HOST': url.hostname or '', 'PORT': url.port or ''}}\n")
    files["books/__init__.py"] = files["books/migrations/__init__.py"] = ""
    index = "indexes = [models.Index(fields=['title'], name='by_title')]" if version > 1 else "pass"
    files["books/models.py"] = f"from django.db import models\nclass Book(models.Model):\n    title = models.TextField()\n    class Meta:\n        {index}\n"
    files["books/migrations/0001_initial.py"] = """from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Book", [("id", models.AutoField(primary_key=True)), ("title", models.TextField())])]
"""
    if version > 1:
        files["books/migrations/0002_by_title.py"] = """from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
class Migration(migrations.Migration):
    atomic = False
    dependencies = [("books", "0001_initial")]
    operations = [AddIndexConcurrently("book", models.Index(fields=["title"], name="by_title"))]
"""
    return {**files, "requirements.txt": files["requirements.txt"] + "psycopg[binary]==3.3.9\n"}


def vcs(version: int) -> dict:
    """Return a project whose repository and whose library are reached by SSH alone. The commit of the library is ``main``."""
    files = base(version, library=LIBRARY)
    return {**files, "requirements.txt": files["requirements.txt"] + f"lib @ git+{git_by_ssh.url('lib')}@main\n"}


ALL = (fixedstatic, editable, copied, workspace, package, hashes, onefile, queue, daphne, slowindex, vcs)
# What only a tool can write: file -> how, in the folder of the project.
MADE = {
    "uv.lock": lambda folder: subprocess.run([pathlib.Path(sys.executable).with_name("uv"), "lock", "--quiet"], cwd=folder, check=True),
    "requirements.txt": lambda folder: (folder / "requirements.txt").write_text(hashed(DJANGO, GUNICORN)),
}


def hashed(*wanted: str) -> str:
    """Return a requirements file with the hash of each package and of all that it needs."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", *wanted]
    report = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return "".join(f"{one['metadata']['name']}=={one['metadata']['version']} --hash=sha256:{one['download_info']['archive_info']['hashes']['sha256']}\n"
                   for one in report["install"])


def write(folder: pathlib.Path, name: str, version: int) -> None:
    """Write one project in one version; nothing of another version stays."""
    (project,) = [one for one in ALL if one.__name__ == name]
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    files = project(version)
    for path, text in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (target / path).write_text(text)
    for path in [path for path, text in files.items() if text is None]:
        MADE[path](target)


if __name__ == "__main__":
    for one in ALL:
        write(pathlib.Path(sys.argv[1]), one.__name__, 1)
    git_by_ssh.made_key(pathlib.Path(sys.argv[1]) / "keys" / "vcs")
