# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of logins at the edge."""
from __future__ import annotations

import hashlib

import pytest
from ansible_collections.quayside.django.plugins.module_utils import logins


def fake(password, setting):
    """Hash as crypt(3) does: the first 29 characters are cost and salt."""
    return setting[:29] + hashlib.sha256((setting[:29] + password).encode()).hexdigest()[:31]


def test_a_second_time_changes_nothing():
    first = logins.render("", {"ops": "correct horse", "anna": "battery staple"}, fake)
    assert [line.split(":")[0] for line in first.splitlines()] == ["anna", "ops"]
    assert logins.render(first, {"ops": "correct horse", "anna": "battery staple"}, fake) == first
    assert "correct horse" not in first


@pytest.mark.parametrize(("before", "kept"), [
    ("ops:$2y$08$abcdefghijklmnopqrstu.", True), ("ops:$2y$05$abcdefghijklmnopqrstu.", False), ("ops:$apr1$abc$def", False), ("ops:", False), ("", False)])
def test_other_hashes_are_made_anew(before, kept):
    before = before and fake("correct horse", before.split(":")[1]) if kept else before
    before = f"ops:{before}" if kept else before
    after = logins.render(before + "\n", {"ops": "correct horse"}, fake)
    assert (after == before + "\n") == kept
    assert after.startswith("ops:$2y$08$")


def test_another_password_and_another_login():
    first = logins.render("", {"ops": "correct horse", "old": "battery staple"}, fake)
    after = logins.render(first, {"ops": "another horse", "new": "battery staple"}, fake)
    assert logins.parsed(after).keys() == {"ops", "new"}
    assert logins.parsed(after)["ops"] != logins.parsed(first)["ops"]
    assert logins.shown(after, first) == "new\nops (another password)\n"
    assert "$" not in logins.shown(after, first)


def test_the_systems_own_crypt_gives_bcrypt_that_fits():
    try:
        made = logins.system_crypt("correct horse", logins.setting())
    except logins.CryptError:
        pytest.skip("this machine has no libcrypt with bcrypt")
    assert made.startswith("$2y$08$") and len(made) == 60
    assert logins.system_crypt("correct horse", made) == made
    assert logins.system_crypt("wrong horse", made) != made
    # Known from the paper's code in every bcrypt: U*U and 16 zero bits of salt.
    assert logins.system_crypt("U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.") == "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
