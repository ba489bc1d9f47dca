import pickle
import time

from django.conf import settings
from django.test import TestCase

from config.celery import app
from jobs import tasks
from jobs.models import JobRun


def run_tasks_at_once(test: TestCase) -> None:
    """Let tasks run where they are queued, also where a broker is at hand: its workers know another database."""
    test.addCleanup(setattr, app.conf, "task_always_eager", app.conf.task_always_eager)
    app.conf.task_always_eager = True


class JobsTest(TestCase):
    def setUp(self):
        run_tasks_at_once(self)

    def test_each_task_has_a_key_and_runs_once(self):
        answer = self.client.post("/api/jobs/", {"count": 3}, content_type="application/json")
        self.assertEqual(answer.status_code, 202)
        keys = answer.json()["keys"]
        self.assertEqual(len(set(keys)), 3)
        for job in self.client.get("/api/jobs/").json():
            self.assertIn(job.pop("key"), keys)
            self.assertEqual(job, {"runs": 1, "finished": 1, "releases": [settings.RELEASE]})

    def test_a_second_run_of_a_key_shows(self):
        for key in ("one", "one", "other"):
            tasks.count(key)
        self.assertEqual([job["runs"] for job in self.client.get("/api/jobs/?prefix=on").json()], [2])

    def test_a_run_that_did_not_finish_shows(self):
        JobRun.objects.create(key="cut", release="r1")
        self.assertEqual(self.client.get("/api/jobs/?prefix=cut").json()[0]["finished"], 0)

    def test_no_more_tasks_than_a_demo_needs(self):
        answer = self.client.post("/api/jobs/", {"count": 1001}, content_type="application/json")
        self.assertEqual(answer.status_code, 400)


class TickTest(TestCase):
    def test_the_schedule_says_when_beat_sent_it(self):
        # Beat keeps its schedule in a file.
        entry = pickle.loads(pickle.dumps(settings.CELERY_BEAT_SCHEDULE["tick"]["kwargs"]))
        tasks.tick(sent=entry["sent"](), release=entry["release"])
        tick = self.client.get("/api/ticks/").json()[0]
        self.assertEqual((tick["release"], tick["ran_by"]), (settings.RELEASE, settings.RELEASE))
        self.assertEqual(tick["time"][:16], time.strftime("%Y-%m-%dT%H:%M", time.gmtime()))
