"""The victim: it says and remembers what Django has seen of a request, and keeps a note in its database and in its Redis."""
import json
import os
import pathlib

from django.core.cache import cache
from django.core.exceptions import DisallowedHost
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path

PROTECTED = ("/ops/", "/office/", "/vault/", "/inner/", "/six/")
SEEN = pathlib.Path("/tmp/seen.jsonl")  # all workers of an instance share it
MOST = 4_000_000  # bytes of the file, before it begins anew


def health(_request):
    return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", ""), "version": os.environ.get("VERSION", "")})


def seen(request):
    """Say which requests held the text ``mark``; molecule/shared/verify/hostile_requests.py asks for it."""
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
    """Say and remember what arrived. ``protected`` is the protected path that Django would have served, empty where it is none."""
    meta = request.META
    found = {
        "app": "victim", "method": request.method, "raw": meta.get("RAW_URI", ""), "path_info": request.path_info, "path": request.path,
        "script_name": meta.get("SCRIPT_NAME", ""), "query": meta.get("QUERY_STRING", ""), "host": host(request), "secure": request.is_secure(),
        "url_scheme": meta.get("wsgi.url_scheme", ""), "remote_addr": meta.get("REMOTE_ADDR", ""), "remote_user": meta.get("REMOTE_USER", ""),
        "headers": {key: str(value) for key, value in meta.items() if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")},
        "body": len(request.body), "protected": next((one for one in PROTECTED if request.path_info.startswith(one)), ""),
    }
    line = json.dumps(found).encode() + b"\n"
    if SEEN.exists() and SEEN.stat().st_size > MOST:
        SEEN.unlink(missing_ok=True)
    with SEEN.open("ab", buffering=0) as handle:
        handle.write(line)
    return HttpResponse(line, content_type="application/json")


def note(request):
    """Return the note of the database and that of Redis; POST writes both."""
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists note (id int primary key, text text)")
        if request.method == "POST":
            text = json.loads(request.body)["text"]
            cursor.execute("insert into note values (1, %s) on conflict (id) do update set text = excluded.text", [text])
            cache.set("note", text, None)
        cursor.execute("select text from note where id = 1")
        row = cursor.fetchone()
    return JsonResponse({"row": row and row[0], "cached": cache.get("note")})


urlpatterns = [path("healthz/", health), path("seen/", seen), path("note/", note), re_path(r"(?s)^", echo)]
