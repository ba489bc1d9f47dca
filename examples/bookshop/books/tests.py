import tempfile

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings

from books.models import Book

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


class ApiTest(TestCase):
    def test_a_stranger_can_add_a_book_and_see_it_first(self):
        Book.objects.bulk_create(Book(title=f"Book {number}", price=1) for number in range(25))
        answer = self.client.post("/api/books/", {"title": "Emma", "price": "4.20"}, content_type="application/json")
        self.assertEqual(answer.status_code, 201)
        books = self.client.get("/api/books/").json()
        self.assertEqual(len(books), 20)
        self.assertEqual((books[0]["title"], books[0]["price"]), ("Emma", "4.20"))

    def test_a_book_without_a_price_is_refused(self):
        answer = self.client.post("/api/books/", {"title": "Emma"}, content_type="application/json")
        self.assertEqual((answer.status_code, list(answer.json())), (400, ["price"]))


class CoverTest(TestCase):
    def setUp(self):
        media = tempfile.TemporaryDirectory()
        self.addCleanup(media.cleanup)
        self.enterContext(override_settings(MEDIA_ROOT=media.name))
        self.book = Book.objects.create(title="Emma", price=1)

    def upload(self, name: str, content: bytes):
        return self.client.post(f"/api/books/{self.book.pk}/cover/", {"cover": SimpleUploadedFile(name, content, "image/png")})

    def test_a_picture_is_stored_under_a_new_name(self):
        answer = self.upload("../my cover.PNG", PNG)
        self.assertEqual(answer.status_code, 200)
        self.assertRegex(answer.json()["cover"], rf"^http://testserver/media/covers/{self.book.pk}-\w{{8}}\.png$")
        self.book.refresh_from_db()
        self.assertEqual(self.book.cover.read(), PNG)

    def test_what_is_no_picture_is_refused(self):
        self.assertEqual(self.upload("page.html", PNG).status_code, 400)
        self.assertEqual(self.upload("page.png", b"<script>").status_code, 400)
