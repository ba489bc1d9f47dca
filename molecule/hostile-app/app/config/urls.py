"""What the app answers. The hostile one runs whatever is posted to it by whoever knows its secret key."""
import json
import os
import subprocess

from django.conf import settings
from django.http import Http404, JsonResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt


def health(_request):
    return JsonResponse({"status": "ok", "release": os.environ.get("RELEASE", ""), "version": os.environ.get("VERSION", "")})


@csrf_exempt
def run(request):
    """Run a command with the rights of this process."""
    if os.environ.get("RUNS_ANYTHING") != "yes" or request.headers.get("X-Key") != settings.SECRET_KEY:
        raise Http404
    asked = json.loads(request.body)
    try:
        done = subprocess.run(asked["argv"], input=asked.get("stdin", ""), capture_output=True, text=True, errors="replace", check=False,
                              timeout=asked.get("timeout", 40))
    except subprocess.TimeoutExpired as error:
        return JsonResponse({"status": -1, "out": str(error), "error": "too slow"})
    return JsonResponse({"status": done.returncode, "out": done.stdout, "error": done.stderr})


def echo(request):
    return JsonResponse({"path": request.path})


urlpatterns = [path("healthz/", health), path("run/", run), re_path("^(?:$|admin/)", echo)]
