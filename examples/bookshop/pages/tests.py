import tempfile
from unittest.mock import patch

from django.conf import settings
from django.core.management import call_command
from django.test import TestCase, override_settings

from config import health


class HomeTest(TestCase):
    fixtures = ["first_books"]

    def setUp(self):
        static = tempfile.TemporaryDirectory()
        self.addCleanup(static.cleanup)
        self.enterContext(override_settings(STATIC_ROOT=static.name))
        call_command("collectstatic", interactive=False, verbosity=0)

    def test_it_shows_release_books_and_a_hashed_style_sheet(self):
        page = self.client.get("/")
        self.assertContains(page, f"release <code>{settings.RELEASE}</code>")
        self.assertContains(page, "Three Men in a Boat", count=2)
        self.assertRegex(page.text, r'href="/static/pages/site\.[0-9a-f]{12}\.css"')

    def test_it_counts_visits(self):
        self.assertContains(self.client.get("/"), "yours: 1")
        self.assertContains(self.client.get("/"), "yours: 2")


class SlowTest(TestCase):
    def test_it_answers_after_the_time_asked_for(self):
        self.assertContains(self.client.get("/slow/?s=0"), "slept 0 s")

    def test_nonsense_is_refused(self):
        for seconds in ("-1", "31", "nan", "inf", "x"):
            self.assertEqual(self.client.get("/slow/", {"s": seconds}).status_code, 400, seconds)


class HealthTest(TestCase):
    def test_all_is_well(self):
        answer = {"status": "ok", "version": settings.VERSION, "release": settings.RELEASE}
        self.assertEqual(self.client.get("/healthz/").json(), answer)

    def test_the_failing_part_is_named(self):
        def gone():
            raise ConnectionError

        with patch.dict(health.CHECKS, broker=gone):
            answer = self.client.get("/healthz/")
        self.assertEqual(answer.status_code, 503)
        self.assertEqual(answer.json()["failing"], {"broker": "ConnectionError"})
