"""`/api/health/`: does this instance reach its database, and which release is it?"""
import logging

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

logger = logging.getLogger(__name__)


@never_cache
def health(request: HttpRequest) -> JsonResponse:
    answer = {"status": "ok", "version": settings.VERSION, "release": settings.RELEASE, "ai_model": settings.AI_MODEL}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("database: %s", error)
        return JsonResponse({**answer, "status": "failing"}, status=503)
    return JsonResponse(answer)
