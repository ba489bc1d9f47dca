from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

LOCK = 8_106_004  # any number that no other program of this database takes


class Command(BaseCommand):
    help = "Migrates; where two containers begin together, one after the other."

    def handle(self, *args, **options):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            try:
                call_command("migrate", interactive=False)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
