# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes small Django projects, each laid out in another way that people do. ``write(FOLDER, NAME, VERSION)``; as a program all of them in version 1.

Each answers /healthz/ with its version and that of its library, and / with a page that names a static file. A version above 9 is sick.
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
    return JsonResponse({{"status": "ok", "release": os.environ["RELEASE"], "version": VERSION, "library": LIBRARY}}, status=200 if VERSION < 10 else 500)

def slow(request):
    time.sleep(float(request.GET.get("seconds", 2)))
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


def asynchronous(version: int, server: str) -> dict:
    """Return a project whose slow page awaits five seconds, by one of the servers that speak ASGI."""
    files = base(version, protocol="asgi")
    files["config/urls.py"] = files["config/urls.py"].replace("def slow(request):\n    time.sleep(", "async def slow(request):\n    await asyncio.sleep(") \
        .replace('"seconds", 2', '"seconds", 5').replace("import os, time", "import asyncio, os")
    return {**files, "requirements.txt": f"{DJANGO}\n{server}\n"}


def daphne(version: int) -> dict:
    return asynchronous(version, "daphne==4.2.3")


def uvicorn(version: int) -> dict:
    return asynchronous(version, "uvicorn==0.54.0")


def hypercorn(version: int) -> dict:
    return asynchronous(version, "hypercorn==0.18.0")


def granian(version: int) -> dict:
    return asynchronous(version, "granian==2.8.9")


def waitress(version: int) -> dict:
    return {**base(version), "requirements.txt": f"{DJANGO}\nwaitress==3.0.2\n"}


def configured(version: int) -> dict:
    """Return a project with a gunicorn.conf.py that says what the model leaves open."""
    return {**base(version), "gunicorn.conf.py": "workers = 3\nthreads = 2\ntimeout = 77\nbind = '127.0.0.1:9'\n"}


def boxed(version: int) -> dict:
    """Return a project in an image."""
    dockerfile = "FROM python:3.12-slim\nENV PYTHONDONTWRITEBYTECODE=1\nWORKDIR /app\nCOPY requirements.txt ./\n" \
                 "RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt\nCOPY . .\n"
    return {**base(version), "Dockerfile": dockerfile}


def scheduled(version: int) -> dict:
    """Return a project with Celery: two queues, each with its worker, and a beat whose schedule is in the database. Each task writes down that it ran."""
    files = with_database(base(version, library="from jobs.tasks import asked"), "django_celery_beat", "jobs")
    files["config/urls.py"] = files["config/urls.py"].replace('"library": LIBRARY', '"library": 0').replace(
        "urlpatterns = [", 'urlpatterns = [path("ask/", lambda request: HttpResponse(asked(request.GET["queue"], request.GET["number"]))), ')
    files["config/__init__.py"] += "from config.celery import app\n"
    files["config/celery.py"] = """import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("config", broker=os.environ.get("CELERY_BROKER_URL", ""))
app.conf.update(task_ignore_result=True, task_acks_late=False, broker_connection_retry_on_startup=True, task_default_queue="usual",
                beat_max_loop_interval=1, timezone="UTC")
app.autodiscover_tasks()
"""
    files["jobs/__init__.py"] = files["jobs/migrations/__init__.py"] = ""
    files["jobs/models.py"] = "from django.db import models\nclass Done(models.Model):\n    name = models.TextField()\n" \
                              "    at = models.DateTimeField(auto_now_add=True)\n"
    files["jobs/migrations/0001_initial.py"] = """from django.db import migrations, models

def plan(apps, editor):
    interval = apps.get_model("django_celery_beat", "IntervalSchedule").objects.create(every=1, period="seconds")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.create(interval=interval, name="tick", task="jobs.tasks.note", args='["tick"]', queue="rare")

class Migration(migrations.Migration):
    initial = True
    dependencies = [("django_celery_beat", "0018_improve_crontab_helptext")]
    operations = [migrations.CreateModel("Done", [("id", models.AutoField(primary_key=True)), ("name", models.TextField()),
                                                  ("at", models.DateTimeField(auto_now_add=True))]),
                  migrations.RunPython(plan)]
"""
    files["jobs/tasks.py"] = """import time
from celery import shared_task
from jobs.models import Done

@shared_task
def note(name):
    time.sleep(0.2)
    Done.objects.create(name=name)

def asked(queue, number):
    note.apply_async((f"{queue} {number}",), queue=queue)
    return number
"""
    return {**files, "requirements.txt": files["requirements.txt"] + "celery[redis]==5.7.0\ndjango-celery-beat==2.9.0\n"}


def with_database(files: dict, *apps: str) -> dict:
    """Return the files of a project that has a PostgreSQL database and these apps."""
    named = "".join(f', "{app}"' for app in apps)
    files["config/settings.py"] = files["config/settings.py"].replace('staticfiles"]', f'staticfiles"{named}]', 1) + (
        "import urllib.parse\nurl = urllib.parse.urlsplit(os.environ['DATABASE_URL'])\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': url.path[1:], 'USER': url.username,\n"
        "    'PASSWORD': urllib.parse.unquote(url.password), 'HOST': url.hostname or '', 'PORT': url.port or ''}}\n")
    return {**files, "requirements.txt": files["requirements.txt"] + "psycopg[binary]==3.3.9\n"}


def slowindex(version: int) -> dict:
    """Return a project whose second version builds an index beside the traffic."""
    files = with_database(base(version), "django.contrib.postgres", "books")
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
    return files


def vcs(version: int) -> dict:
    """Return a project whose repository and whose library are reached by SSH alone. The commit of the library is ``main``."""
    files = base(version, library=LIBRARY)
    return {**files, "requirements.txt": files["requirements.txt"] + f"lib @ git+{git_by_ssh.url('lib')}@main\n"}


def image(version: int, requirements: str, dockerfile: str, **files) -> dict:
    """Return a project with a Dockerfile, and files of its own beside those that all have."""
    start = "FROM python:3.12-slim\nENV PYTHONDONTWRITEBYTECODE=1\nWORKDIR /app\nCOPY requirements.txt .\nRUN pip install --no-cache-dir -r requirements.txt\n"
    return {**base(version), **files, "requirements.txt": requirements, "Dockerfile": start + dockerfile, ".dockerignore": ".env\n"}


def uwsgi(version: int) -> dict:
    """Return a project whose image has a HEALTHCHECK, a server that does not drain by itself, and a worker."""
    check = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/')"
    return image(version, f"{DJANGO}\npyuwsgi==2.0.30.post1\n", f"""COPY . .
HEALTHCHECK --interval=2s --timeout=2s --retries=1 CMD ["python", "-c", "{check}"]
CMD ["uwsgi", "--http-socket", "0.0.0.0:8000", "--module", "config.wsgi", "--master", "--processes", "2", "--die-on-term"]
""", **{"ticker.py": "import time\nwhile True:\n    time.sleep(1)\n"})


def uploads(version: int) -> dict:
    """Return a project that keeps uploads, whose image has volumes: the third version one inside media. Its first release loads fixtures."""
    files = image(version, f"{DJANGO}\n{GUNICORN}\n", "COPY . .\nVOLUME /app/media /var/lib/uploads" + (" /app/media/thumbs" if version == 3 else "") + "\n")
    files["config/settings.py"] = files["config/settings.py"].replace('staticfiles"]', 'staticfiles", "shops"]', 1) + (
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['DATABASE_PATH']}}\n"
        "MEDIA_ROOT = '/app/media'\nMEDIA_URL = '/media/'\nSTORAGES['default'] = {'BACKEND': 'django.core.files.storage.FileSystemStorage'}\n")
    files["config/urls.py"] += """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from shops.models import Shop
def upload(request, name):
    return HttpResponse(default_storage.save(f"thumbs/{name}", ContentFile(b"picture")))
urlpatterns += [path("upload/<str:name>/", upload), path("shops/", lambda request: JsonResponse({"shops": [shop.name for shop in Shop.objects.all()]}))]
"""
    files["shops/__init__.py"] = files["shops/migrations/__init__.py"] = ""
    files["shops/models.py"] = "from django.db import models\nclass Shop(models.Model):\n    name = models.TextField()\n"
    files["shops/migrations/0001_initial.py"] = """from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Shop", [("id", models.AutoField(primary_key=True)), ("name", models.TextField())])]
"""
    files["shops/fixtures/shops.json"] = json.dumps([{"model": "shops.shop", "pk": 1, "fields": {"name": "Corner"}}])
    return files


# As a template that many projects come from has it: everything behind a start script, and an entrypoint that waits for the database without end.
TEMPLATE = {
    "compose/entrypoint": """#!/bin/bash
set -o errexit -o pipefail -o nounset
export DATABASE_URL="postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@${POSTGRES_HOST}:${POSTGRES_PORT}/${POSTGRES_DB}"
python << END
import sys, time
import psycopg
while True:
    try:
        psycopg.connect(dbname="${POSTGRES_DB}", user="${POSTGRES_USER}", password="${POSTGRES_PASSWORD}", host="${POSTGRES_HOST}", port="${POSTGRES_PORT}")
        break
    except psycopg.OperationalError as error:
        sys.stderr.write(f"Waiting for PostgreSQL to become available... {error}\\n")
    time.sleep(1)
END
>&2 echo 'PostgreSQL is available'
exec "$@"
""",
    "compose/start": "#!/bin/bash\nset -o errexit -o pipefail -o nounset\nexec gunicorn config.wsgi --bind 0.0.0.0:5000 --chdir=/app\n",
    "compose/start-celeryworker": "#!/bin/bash\nset -o errexit -o pipefail -o nounset\nexec celery -A config.celery_app worker -l INFO\n",
    "compose/start-celerybeat": "#!/bin/bash\nset -o errexit -o pipefail -o nounset\nexec celery -A config.celery_app beat -l INFO\n",
    "compose/start-flower": """#!/bin/bash
set -o errexit -o nounset
until timeout 10 celery -A config.celery_app inspect ping; do
    >&2 echo "Celery workers not available"
done
exec celery -A config.celery_app -b "${CELERY_BROKER_URL}" flower --port=5555 --url_prefix=flower
""",
    "config/celery_app.py": """import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("config", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_URL"])
app.conf.beat_schedule = {"tick": {"task": "config.celery_app.tick", "schedule": 1.0}}

@app.task
def tick():
    return os.environ["RELEASE"]

@app.task
def add(first, second):
    return first + second
""",
}


def template(version: int) -> dict:
    """Return a project in the shape of a widespread template: start scripts, DJANGO_* names, worker, beat and flower on one image."""
    files = image(version, f"{DJANGO}\n{GUNICORN}\ncelery[redis]==5.7.0\nflower==2.2.0\npsycopg[binary]==3.3.9\n", """
RUN addgroup --system django && adduser --system --ingroup django django
COPY --chown=django:django compose/ /
RUN chmod +x /entrypoint /start /start-celeryworker /start-celerybeat /start-flower
COPY --chown=django:django . .
USER django
ENTRYPOINT ["/entrypoint"]
CMD ["/start"]
""", **TEMPLATE)
    settings = files["config/settings.py"].replace('os.environ["SECRET_KEY"]', 'os.environ["DJANGO_SECRET_KEY"]')
    settings = settings.replace('os.environ["ALLOWED_HOSTS"]', 'os.environ["DJANGO_ALLOWED_HOSTS"]')
    files["config/settings.py"] = settings + (
        "import urllib.parse\nurl = urllib.parse.urlsplit(os.environ['DATABASE_URL'])\nassert url.scheme == 'postgres'\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': url.path[1:], 'USER': url.username,\n"
        "    'PASSWORD': urllib.parse.unquote(url.password), 'HOST': url.hostname, 'PORT': url.port}}\n")
    files["config/urls.py"] += """
from config.celery_app import add
urlpatterns += [path("add/<int:first>/<int:second>/", lambda request, first, second: JsonResponse({"sum": add.delay(first, second).get(timeout=20)}))]
"""
    return files


ALL = (fixedstatic, editable, copied, workspace, package, hashes, onefile, queue, daphne, uvicorn, hypercorn, granian, waitress, configured, boxed, scheduled,
       slowindex, vcs, uwsgi, uploads, template)
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
