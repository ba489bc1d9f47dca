import time
from datetime import UTC, datetime

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from jobs.models import JobRun, Tick


@shared_task(ignore_result=True)
def count(key: str, seconds: float = 0) -> None:
    """Leave one row for this run; its finish is written after so many seconds of work."""
    run = JobRun.objects.create(key=key, release=settings.RELEASE)
    time.sleep(seconds)
    run.finished = timezone.now()
    run.save(update_fields=["finished"])


@shared_task(ignore_result=True)
def tick(sent: float, release: str) -> None:
    Tick.objects.create(time=datetime.fromtimestamp(sent, UTC), release=release, ran_by=settings.RELEASE)
