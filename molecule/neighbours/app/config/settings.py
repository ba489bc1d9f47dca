"""Settings of both projects: PROJECT says which of them an app is."""
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
PROJECT = os.environ.get("PROJECT", "victim")
SECRET_KEY = os.environ.get("SECRET_KEY", "for-a-laptop-only")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
INSTALLED_APPS = ["django.contrib.staticfiles"]
ROOT_URLCONF = f"config.{PROJECT}"
WSGI_APPLICATION = "config.wsgi.application"
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "static")
DATABASES = {}
if "DATABASE_NAME" in os.environ:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["DATABASE_NAME"], "USER": os.environ["DATABASE_USER"],
        "PASSWORD": os.environ["DATABASE_PASSWORD"], "HOST": os.environ["DATABASE_HOST"], "PORT": os.environ["DATABASE_PORT"], "CONN_MAX_AGE": 0,
    }
if "CACHE_URL" in os.environ:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["CACHE_URL"]}}
