"""/healthz/, and /slow/, which takes two seconds. The first SICK_WORKERS workers of a gunicorn answer /healthz/ with 500."""
import os
import time

from django.http import HttpResponse, JsonResponse
from django.urls import path


def is_sick() -> bool:
    """Return whether this worker is one of the sick ones: each takes a number of its gunicorn, the lowest that is free."""
    number = 0
    while True:
        try:
            os.close(os.open(f"/tmp/{os.getppid()}-{os.environ['RELEASE']}-{number}", os.O_CREAT | os.O_EXCL, 0o600))
            return number < int(os.environ["SICK_WORKERS"])
        except FileExistsError:
            number += 1


SICK = is_sick() if os.environ.get("SICK_WORKERS", "0") != "0" else None


def health(request):
    if SICK is not None:
        time.sleep(0.2)  # so that a second request meets another worker
    return JsonResponse({"status": "failing" if SICK else "ok", "release": os.environ["RELEASE"]}, status=500 if SICK else 200)


def slow(request):
    time.sleep(2)
    return HttpResponse(os.environ["RELEASE"])


urlpatterns = [path("healthz/", health), path("slow/", slow)]
