from django.db import models


class JobRun(models.Model):
    """One execution of a task. The key is not unique: a task that ran twice has two rows."""

    key = models.CharField(max_length=80, db_index=True)
    release = models.CharField(max_length=80)
    started = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.key} by {self.release}"


class Tick(models.Model):
    """One beat of the schedule: who sent it when, and who ran it when."""

    time = models.DateTimeField()
    release = models.CharField(max_length=80)
    ran = models.DateTimeField(auto_now_add=True)
    ran_by = models.CharField(max_length=80)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.time:%H:%M:%S} by {self.release}"
