from django.db import models


class Trip(models.Model):
    english = models.CharField(max_length=100)
    spanish = models.CharField(max_length=100)
    metres = models.PositiveSmallIntegerField()
    photo = models.FileField(upload_to="trips/", blank=True)

    class Meta:
        ordering = ["metres", "pk"]

    def __str__(self) -> str:
        return self.english
