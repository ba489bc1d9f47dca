# SPDX-License-Identifier: GPL-3.0-or-later
"""From SQLite to PostgreSQL, as docs/databases.md tells it: every row arrives, and the next one gets a new id."""
import json

import pytest

SQLITE = """python3 - <<'PY'
import json
import sqlite3

database = sqlite3.connect("file:/opt/bookshop/shared/database/db.sqlite3?mode=ro", uri=True)
tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")]
print(json.dumps({name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}))
PY"""


@pytest.mark.proves("0.48")
def test_the_rows_move_to_postgresql(server):
    book = server.json("/api/books/", data={"title": "Sanditon", "price": "3.00"})
    words = ["-e", "@" + server.changed_app(lambda app: app.update(database={"engine": "postgresql"}))]
    server.play("site", *words)
    server.play("move-database", "-e", "django_app=bookshop", *words)
    before = json.loads(server.inside(SQLITE))
    counts = " union all ".join(f"select '{table}', count(*) from {table}" for table in before)
    after = dict(line.split("|") for line in server.inside(f"runuser -u postgres -- psql -qAt bookshop -c \"{counts}\"").splitlines())
    assert {table: int(number) for table, number in after.items()} == before
    assert before["books_book"] > 0
    server.play("deploy", *words)
    assert server.get("/healthz/")[0] == 200
    assert book["id"] in [one["id"] for one in server.json("/api/books/")]
    assert server.json("/api/books/", data={"title": "After", "price": "3.00"})["id"] > book["id"]
