from django.db import models


class Scent(models.Model):
    name = models.CharField(max_length=100, unique=True)
    mood = models.CharField(max_length=20, db_index=True)
    notes = models.CharField(max_length=200)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
