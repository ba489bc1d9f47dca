"""A laptop: SQLite, cache in memory, mail on the console."""
from duo.settings.base import *  # noqa: F403
from duo.settings.base import BASE_DIR

DEBUG = True
SECRET_KEY = "django-insecure-for-a-laptop-only"
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
