"""Answers every path with what Django saw, and remembers it in a file that all workers of an instance share."""
import json
import os
import pathlib

from django.core.exceptions import DisallowedHost
from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path

SEEN = pathlib.Path("/tmp/seen.jsonl")
MOST = 4_000_000  # bytes of the file, before it begins anew


def health(_request):
    return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", ""), "version": os.environ.get("VERSION", "")})


def seen(request):
    """Say which requests held the text ``mark`` in their target or in a header."""
    mark = request.GET["mark"]
    lines = SEEN.read_text().splitlines() if SEEN.exists() else []
    return JsonResponse({"seen": [json.loads(line) for line in lines if mark in line]})


def host(request):
    """Return the name by which Django takes itself to be asked; empty when it refuses it."""
    try:
        return request.get_host()
    except DisallowedHost:
        return ""


def echo(request):
    """Say and remember what came."""
    meta = request.META
    found = {
        "method": request.method, "raw": meta.get("RAW_URI", ""), "path_info": request.path_info, "path": request.path,
        "script_name": meta.get("SCRIPT_NAME", ""), "query": meta.get("QUERY_STRING", ""), "host": host(request), "secure": request.is_secure(),
        "url_scheme": meta.get("wsgi.url_scheme", ""), "remote_addr": meta.get("REMOTE_ADDR", ""), "remote_user": meta.get("REMOTE_USER", ""),
        "headers": {key: str(value) for key, value in meta.items() if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")},
        "body": len(request.body),
    }
    line = json.dumps(found).encode() + b"\n"
    if SEEN.exists() and SEEN.stat().st_size > MOST:
        SEEN.unlink(missing_ok=True)
    with SEEN.open("ab", buffering=0) as handle:
        handle.write(line)
    return HttpResponse(line, content_type="application/json")


urlpatterns = [path("healthz/", health), path("seen/", seen), re_path(r"(?s)^", echo)]
