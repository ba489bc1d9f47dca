# SPDX-License-Identifier: GPL-3.0-or-later
"""An index that is built beside the traffic, while somebody else holds its table."""
import re

SQL = "runuser -u postgres -- psql -qAt slowindex -c"


def hold(site, seconds=40):
    """Let another session write to the table and not end: an index that is built beside it waits for that."""
    site.server.inside("systemd-run --quiet --collect --unit=holder --uid=postgres psql -q slowindex -c "
                       f"'begin; insert into books_book (title) values (chr(120)); select pg_sleep({seconds})'")
    site.server.until(lambda: site.server.inside(f"{SQL} \"select 1 from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()\""), 20,
                      "the other session")


def test_an_index_that_was_cancelled_is_named_with_what_removes_it(app):
    site = app("slowindex")
    site.deploy(1)
    hold(site, 3600)
    try:
        site.server.inside(f"{SQL} \"set statement_timeout = '2s'; create index concurrently by_title on books_book (title)\"", check=False)
        assert site.server.inside(f"{SQL} \"select count(*) from pg_index where not indisvalid\"") == "1"
        run = site.deploy(2, ok=False)
    finally:
        site.server.inside("systemctl stop holder")
    assert run.rc != 0
    statement = re.search(r'DROP INDEX CONCURRENTLY "public"\."by_title";', run.out)
    assert statement, run.out[-3000:]
    report = site.server.play("doctor", "-e", "django_app=slowindex", ok=False)
    assert "by_title" in report.out
    site.server.inside(f"{SQL} '{statement[0]}'")
    site.deploy(2)
    assert site.server.inside(f"{SQL} \"select count(*) from pg_index where not indisvalid\"") == "0"


def test_a_migration_without_a_transaction_waits_longer_than_others(app, server):
    site = app("slowindex")
    site.rollback()
    server.inside(f"{SQL} 'DROP INDEX by_title; delete from django_migrations where name = $$0002_by_title$$'")
    hold(site)
    run = site.deploy(2)
    assert run.seconds > 30, "it did not wait for the other session"
    assert server.inside(f"{SQL} \"select indisvalid from pg_index join pg_class on oid = indexrelid where relname = 'by_title'\"") == "t"
