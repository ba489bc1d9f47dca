# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model, secret_ages
from samples import SECRETS, loaded

DAY = 86400


def test_a_value_that_stays_keeps_its_date_and_none_can_be_read():
    first = secret_ages.merged({}, {"A": "one", "B": "two"}, 1000)
    later = secret_ages.merged(first, {"A": "one", "B": "three", "C": "four"}, 9000)
    assert {name: entry["since"] for name, entry in later.items()} == {"A": 1000, "B": 9000, "C": 9000}
    assert later["A"] == first["A"]
    assert not {"one", "two", "three", "four"} & set(str(later).replace("'", " ").split())


def test_the_same_value_looks_different_elsewhere():
    one, other = secret_ages.merged({}, {"A": "x"}, 0), secret_ages.merged({}, {"A": "x"}, 0)
    assert one["A"]["hash"] != other["A"]["hash"]


@pytest.mark.parametrize("broken", [{"A": {}}, {"A": {"salt": "x"}}, {"A": {"hash": None, "salt": None, "since": 3}}])
def test_a_broken_entry_begins_anew(broken):
    assert secret_ages.merged(broken, {"A": "x"}, 7)["A"]["since"] == 7


def test_what_is_made_from_others_has_no_age():
    app = loaded(secrets={**SECRETS, "STRIPE_KEY": "s" * 12, "SECRET_KEY_NEXT": "n" * 12, "DATABASE_PASSWORD_NEXT": "n" * 12})
    assert set(secret_ages.own(app, model.secret_environment(app))) == {"SECRET_KEY", "DATABASE_PASSWORD", "STRIPE_KEY"}
    app = loaded(database={"engine": "external"}, secrets={"SECRET_KEY": "k" * 50, "DATABASE_URL": "postgresql://u:p@db/x"})
    assert set(secret_ages.own(app, model.secret_environment(app))) == {"SECRET_KEY", "DATABASE_URL"}


def test_ages_for_people():
    ages = secret_ages.days({"SECRET_KEY": {"since": 0}, "SOURCE_KEY": {"since": 0}, "NEW": {"since": 400 * DAY - 5}}, 400 * DAY)
    assert secret_ages.lines(ages, 365) == [
        "  secret    NEW  0 days",
        "  secret    SECRET_KEY  400 days, older than 365: change it (quayside.django.rotate)",
        "  secret    SOURCE_KEY  400 days, older than 365: change it (docs/secrets.md)",
    ]
    assert secret_ages.lines({"A": 1}, 0) == ["  secret    A  1 day"]
