import time

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render

from books.models import Book
from pages.models import Pick

SLOWEST = 30


def home(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    cache.add("visits", 0, timeout=None)
    return render(
        request,
        "pages/home.html",
        {
            "version": settings.VERSION,
            "release": settings.RELEASE,
            "books": Book.objects.all()[:10],
            "pick": Pick.objects.select_related("book").order_by("-pk").first(),
            "visits": cache.incr("visits"),
            "own_visits": request.session["visits"],
        },
    )


def slow(request: HttpRequest) -> HttpResponse:
    """Answer after `?s=` seconds, as a report or a payment would."""
    try:
        seconds = float(request.GET.get("s", "2"))
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= SLOWEST:
        return HttpResponseBadRequest(f"s is a number of seconds from 0 to {SLOWEST}\n", content_type="text/plain")
    time.sleep(seconds)
    return HttpResponse(f"slept {seconds:g} s, {settings.VERSION} {settings.RELEASE}\n", content_type="text/plain")
