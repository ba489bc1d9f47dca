import os
from unittest import mock

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase


class PagesTest(TestCase):
    fixtures = ["first_trips"]

    def test_each_domain_has_its_language(self):
        self.assertContains(self.client.get("/", headers={"Host": "diving.example.com"}), "The wreck")
        self.assertContains(self.client.get("/", headers={"Host": "buceo.example.com"}), "El naufragio")

    def test_the_api_takes_a_trip(self):
        self.assertEqual(self.client.post("/api/trips/", {"english": "Cave", "spanish": "Cueva", "metres": 18}).status_code, 201)
        self.assertIn("Cave", [one["english"] for one in self.client.get("/api/trips/").json()])

    def test_the_health_page_names_the_release(self):
        self.assertEqual(self.client.get("/health/").json(), {"status": "ok", "version": "dev", "release": "local"})


class SuperuserTest(TestCase):
    def test_it_is_made_once_and_keeps_its_password(self):
        with mock.patch.dict(os.environ, DJANGO_SUPERUSER_USERNAME="ada", DJANGO_SUPERUSER_PASSWORD="a first password"):
            call_command("first_superuser", verbosity=0)
        with mock.patch.dict(os.environ, DJANGO_SUPERUSER_USERNAME="ada", DJANGO_SUPERUSER_PASSWORD="another password"):
            call_command("first_superuser", verbosity=0)
        self.assertTrue(get_user_model().objects.get(username="ada").check_password("a first password"))
