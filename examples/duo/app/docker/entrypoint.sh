#!/bin/sh
# Waits for PostgreSQL, does what MIGRATE and DJANGO_SUPERUSER_* ask for where it is the server that starts, then becomes it.
set -eu

if [ "${POSTGRES_HOST:-}" ]; then
    python /app/docker/wait_for_postgres.py
fi
if [ "${1:-}" = gunicorn ]; then
    # Both are safe with two containers that start together, and each has nothing to do the second time.
    if [ "${MIGRATE:-}" = true ]; then python manage.py migrate_once; fi
    if [ "${DJANGO_SUPERUSER_USERNAME:-}" ] && [ "${DJANGO_SUPERUSER_PASSWORD:-}" ]; then python manage.py first_superuser; fi
fi
exec "$@"
