"""`/healthz/`: does this instance reach all that it needs? Asked many times a second, so it costs milliseconds."""
import logging
from collections.abc import Callable

from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from config.celery import app

logger = logging.getLogger(__name__)


def database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def cache() -> None:
    for alias in caches:
        caches[alias].set("healthz", settings.RELEASE, 60)
        if caches[alias].get("healthz") is None:
            raise RuntimeError(f"the cache {alias} forgets")


def broker() -> None:
    if settings.CELERY_TASK_ALWAYS_EAGER:
        return
    with app.pool.acquire(block=True, timeout=2) as link:
        link.ensure_connection(max_retries=1, interval_start=0)
        link.default_channel.client.ping()


CHECKS: dict[str, Callable[[], None]] = {"database": database, "cache": cache, "broker": broker}


@never_cache
def health(request: HttpRequest) -> JsonResponse:
    failures = {}
    for name, check in CHECKS.items():
        try:
            check()
        except Exception as error:  # whatever it is, the answer has to name the part
            logger.warning("%s: %s", name, error)
            failures[name] = type(error).__name__
    answer = {"status": "failing" if failures else "ok", "version": settings.VERSION, "release": settings.RELEASE}
    if failures:
        answer["failing"] = failures
    return JsonResponse(answer, status=503 if failures else 200)
