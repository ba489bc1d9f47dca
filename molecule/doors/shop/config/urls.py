"""Answers of many kinds."""
import os
import time

from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path


def health(_request):
    return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", ""), "version": os.environ.get("VERSION", "")})


def echo(request):
    """Say who asks, by what the edge has told."""
    return JsonResponse({"path": request.path, "headers": dict(request.headers), "secure": request.is_secure()})


def words(_request):
    return HttpResponse("brown fox and lazy dog " * 500, content_type="text/plain")


def own(_request):
    return HttpResponse("own", headers={"X-Frame-Options": "DENY"})


def error(_request):
    return HttpResponse("error", status=500)


def slow(request):
    time.sleep(float(request.GET.get("seconds", "1")))
    return HttpResponse("slow")


def environment(_request):
    return JsonResponse({"names": sorted(os.environ), "values": sorted(os.environ.values())})


urlpatterns = [
    path("healthz/", health),
    path("words/", words),
    path("own/", own),
    path("error/", error),
    path("slow/", slow),
    path("environment/", environment),
    re_path("^(?:$|api/|admin/|office/|backups/)", echo),
]
