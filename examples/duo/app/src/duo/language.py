"""The language of a page is that of its domain, not that of the browser."""
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation


def by_domain(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        spanish = request.get_host().split(":")[0] in settings.SPANISH_DOMAINS
        with translation.override("es" if spanish else "en"):
            return get_response(request)

    return answer
