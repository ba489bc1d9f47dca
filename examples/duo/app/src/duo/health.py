"""`/health/`: does this instance reach its database and its cache, and which release is it?"""
import logging

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

logger = logging.getLogger(__name__)


@never_cache
def health(request: HttpRequest) -> JsonResponse:
    answer = {"status": "ok", "version": settings.VERSION, "release": settings.RELEASE}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        cache.set("health", settings.RELEASE, 60)
    except Exception as error:  # whatever it is, the edge has to hear of it
        logger.warning("health: %s", error)
        return JsonResponse({**answer, "status": "failing", "failing": type(error).__name__}, status=503)
    return JsonResponse(answer)
