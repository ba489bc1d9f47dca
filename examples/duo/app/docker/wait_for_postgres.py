"""Waits until PostgreSQL takes this app in: WAIT_SECONDS at most (60)."""
import os
import sys
import time

import psycopg

env = os.environ
give_up = time.monotonic() + float(env.get("WAIT_SECONDS", "60"))
while True:
    try:
        psycopg.connect(host=env["POSTGRES_HOST"], port=env.get("POSTGRES_PORT", "5432"), dbname=env["POSTGRES_DB"],
                        user=env["POSTGRES_USER"], password=env.get("POSTGRES_PASSWORD", ""), connect_timeout=3).close()
        break
    except psycopg.OperationalError as error:
        if time.monotonic() > give_up:
            sys.exit(f"PostgreSQL at {env['POSTGRES_HOST']} is not ready: {error}")
        time.sleep(0.5)
