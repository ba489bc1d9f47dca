from django.db import models

from books.models import Book


class Pick(models.Model):
    """A book that the house recommends."""

    book = models.OneToOneField(Book, models.CASCADE)
    text = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"{self.book}: {self.text}"
