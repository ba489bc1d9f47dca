import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from django.test import TestCase, override_settings

from scents.models import Scent


class ScentsTest(TestCase):
    fixtures = ["first_scents"]

    def test_a_mood_picks_scents(self):
        self.assertEqual([one["name"] for one in self.client.get("/api/scents/?mood=bold").json()], ["Night market"])

    @override_settings(ADMIN_ACCESS_KEY="a-key-for-this-test")
    def test_only_the_key_adds_one(self):
        new = {"name": "Old library", "mood": "calm", "notes": "vanilla, paper"}
        self.assertEqual(self.client.post("/api/scents/", new).status_code, 403)
        self.assertEqual(self.client.post("/api/scents/", new, headers={"X-Admin-Key": "a-key-for-this-test"}).status_code, 201)
        self.assertTrue(Scent.objects.filter(name="Old library").exists())

    def test_without_a_key_nobody_adds_one(self):
        self.assertEqual(self.client.post("/api/scents/", {}, headers={"X-Admin-Key": ""}).status_code, 403)

    def test_the_health_page_names_release_and_model(self):
        self.assertEqual(self.client.get("/api/health/").json(),
                         {"status": "ok", "version": "dev", "release": "local", "ai_model": "gpt-4o-mini"})


class AdviceTest(TestCase):
    fixtures = ["first_scents"]

    def test_the_model_is_asked_with_the_key(self):
        asked = []

        class Model(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append((self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                answer = json.dumps({"choices": [{"message": {"content": "Still water."}}]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Model) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            with override_settings(OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}", OPENAI_API_KEY="sk-test"):
                answer = self.client.post("/api/advice/", {"wish": "sleep"})
        self.assertEqual(answer.json(), {"advice": "Still water."})
        self.assertEqual(asked[0][0], "Bearer sk-test")
        self.assertEqual(asked[0][1]["model"], "gpt-4o-mini")

    @override_settings(OPENAI_BASE_URL="http://127.0.0.1:1", OPENAI_API_KEY="sk-test")
    def test_a_model_that_is_out_of_reach_is_said_without_the_key(self):
        answer = self.client.post("/api/advice/", {"wish": "sleep"})
        self.assertEqual(answer.status_code, 502)
        self.assertNotContains(answer, "sk-test", status_code=502)
