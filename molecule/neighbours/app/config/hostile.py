"""The hostile app: it runs what it is sent, with the rights of an app that somebody has broken into."""
import os
import subprocess
import sys
import tempfile

from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path


def health(_request):
    return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", "")})


def run(request):
    """Run the Python source in the body, and return its status and its output.

    With ``background`` return at once, with the path of its output; with ``loud`` as well, its output being that of the app.
    """
    seconds = float(request.GET.get("seconds", "60"))
    if request.GET.get("loud"):
        subprocess.Popen([sys.executable, "-c", request.body.decode()], stdin=subprocess.DEVNULL, start_new_session=True)
        return JsonResponse({"status": 0, "out": ""})
    if request.GET.get("background"):
        log = tempfile.NamedTemporaryFile("w", prefix="run-", delete=False)
        subprocess.Popen([sys.executable, "-c", request.body.decode()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return JsonResponse({"status": 0, "out": log.name})
    try:
        done = subprocess.run([sys.executable, "-c", request.body.decode()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired as error:
        return JsonResponse({"status": 124, "out": (error.stdout or b"").decode(errors="replace")})
    return JsonResponse({"status": done.returncode, "out": done.stdout})


def stolen(request):
    return HttpResponse(f"hostile {request.path}", headers={"X-Answered-By": "hostile"})


urlpatterns = [path("healthz/", health), path("run/", run), re_path("", stolen)]
