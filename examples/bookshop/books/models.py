import secrets
from pathlib import PurePath

from django.db import models


def cover_path(book: "Book", name: str) -> str:
    """Return a new name for each upload: media may be cached for long."""
    return f"covers/{book.pk}-{secrets.token_hex(4)}{PurePath(name).suffix.lower()}"


class Book(models.Model):
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    added = models.DateTimeField(auto_now_add=True)
    cover = models.FileField(upload_to=cover_path, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.title
