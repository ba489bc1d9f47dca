"""Settings of every environment. What differs comes from the process environment; without any, a laptop is assumed."""
import os
import time
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from celery.beat import BeatLazyFunc

BASE_DIR = Path(__file__).resolve().parent.parent
env = os.environ.get


def words(name: str, default: str = "") -> list[str]:
    """Return the comma separated words of an environment variable."""
    return [word.strip() for word in env(name, default).split(",") if word.strip()]


# What runs: the deployer says it, the pages show it.
RELEASE = env("RELEASE", "local")
VERSION = env("VERSION", "dev")

DEBUG = env("DEBUG") == "True"
# A deployed release without a key must not start: a key that everybody can read signs nothing.
SECRET_KEY = os.environ["SECRET_KEY"] if "RELEASE" in os.environ else "django-insecure-for-a-laptop-only"
# What older keys have signed still counts, so that a new key ends no session.
SECRET_KEY_FALLBACKS = words("SECRET_KEY_FALLBACKS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "books",
    "pages",
    "jobs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Who may ask, and how

ALLOWED_HOSTS = words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
# Right only behind an edge that always sets this header itself.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)
# The deployer says so once the edge serves HTTPS. Whoever asks for the health by HTTP gets an answer and no redirect.
SECURE_SSL_REDIRECT = env("SECURE_SSL_REDIRECT") == "True"
SECURE_REDIRECT_EXEMPT = [r"^healthz/$"]
# HSTS belongs to the edge, and to where there is HTTPS.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]

# Database

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def postgresql(name: str, user: str, password: str, host: str, port: str, **options: str) -> dict:
    """Return the DATABASES entry of a PostgreSQL database."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": user,
        "PASSWORD": password,
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **options},
    }


def of_url(url: str) -> dict:
    """Return the DATABASES entry of a URL such as postgresql://user:password@host:5432/name?sslmode=require."""
    parts = urlsplit(url)
    return postgresql(parts.path[1:], unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.hostname or ""),
                      str(parts.port or ""), **dict(parse_qsl(parts.query)))


if "DATABASE_NAME" in os.environ:
    DATABASES = {"default": postgresql(*(env(f"DATABASE_{part}", "") for part in ("NAME", "USER", "PASSWORD", "HOST", "PORT")))}
elif env("DATABASE_URL", "").startswith("postgres"):
    DATABASES = {"default": of_url(env("DATABASE_URL"))}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": env("DATABASE_PATH", BASE_DIR / "db.sqlite3"),
            # Readers and one writer at a time, who waits for his turn instead of being refused.
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }
    }

# Cache and sessions


def cache(url: str | None) -> dict[str, str]:
    """Return the CACHES entry of a redis://, rediss:// or unix:// URL; without one, the memory of this process."""
    if url:
        return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


CACHES = {"default": cache(env("CACHE_URL")), "sessions": cache(env("SESSION_URL"))}
SESSION_CACHE_ALIAS = "sessions"
# The memory of one process would log people out at each restart.
SESSION_ENGINE = f"django.contrib.sessions.backends.{'cache' if env('SESSION_URL') else 'db'}"

# Celery. A message is acknowledged when its task starts (celery's default), and a worker holds no more messages than it
# can start: so a warm shutdown finishes what runs, hands back the rest, and every task runs exactly once.

CELERY_BROKER_URL = env("CELERY_BROKER_URL", "memory://")
CELERY_TASK_ALWAYS_EAGER = "CELERY_BROKER_URL" not in os.environ
CELERY_RESULT_BACKEND = env("CELERY_RESULT_URL")
CELERY_RESULT_EXPIRES = 3600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {
    "tick": {
        "task": "jobs.tasks.tick",
        "schedule": float(env("TICK_SECONDS", "5")),
        # Beat's own words, so that two beats would show however late the worker is.
        "kwargs": {"sent": BeatLazyFunc(time.time), "release": RELEASE},
    },
}

# Files

STATIC_URL = env("STATIC_URL", "/static/")
STATIC_ROOT = env("STATIC_ROOT", BASE_DIR / "staticfiles")
MEDIA_URL = env("MEDIA_URL", "/media/")
MEDIA_ROOT = env("MEDIA_ROOT", BASE_DIR / "media")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

# An open API, as befits a demo: a shop of your own asks for a login here.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

LANGUAGE_CODE = "en"
TIME_ZONE = env("TIME_ZONE", "UTC")
USE_TZ = True

# To stderr, where systemd and Docker pick it up and add the time.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": env("LOG_LEVEL", "INFO")},
    "loggers": {"django": {"level": "INFO"}},
}
