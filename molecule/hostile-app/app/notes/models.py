"""One table, so that there is a database to copy and to move."""
from django.db import models


class Note(models.Model):
    """A line of text."""

    text = models.TextField()
