"""The tests: nothing outside of the process."""
from duo.settings.base import *  # noqa: F403

SECRET_KEY = "django-insecure-for-tests-only"
ALLOWED_HOSTS = ["*"]
SPANISH_DOMAINS = ["buceo.example.com"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
