import os

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import IntegrityError, transaction


class Command(BaseCommand):
    help = "Makes the superuser of DJANGO_SUPERUSER_USERNAME, _PASSWORD and _EMAIL; one that is there keeps his password."

    def handle(self, *args, **options):
        users = get_user_model().objects
        name = os.environ["DJANGO_SUPERUSER_USERNAME"]
        if users.filter(username=name).exists():
            return
        try:
            with transaction.atomic():
                users.create_superuser(name, os.environ.get("DJANGO_SUPERUSER_EMAIL", ""), os.environ["DJANGO_SUPERUSER_PASSWORD"])
        except IntegrityError:
            return  # another container was first
        self.stdout.write(f"superuser {name} made")
