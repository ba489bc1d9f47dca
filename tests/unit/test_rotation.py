# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import model, rotation, services
from samples import SECRETS, loaded

SALT = b"0123456789abcdef"
REDIS = {"cache": {"port": 6380}, "secrets": {**SECRETS, "REDIS_PASSWORD": "r" * 12}}


def env(**secrets):
    """Return the secret environment of an app with these secrets."""
    return model.secret_environment(loaded(secrets={**SECRETS, **secrets}))


@pytest.mark.parametrize(("secrets", "keys"), [
    ({}, None),
    ({"SECRET_KEY_NEXT": "n" * 12}, "n" * 12),
    ({"SECRET_KEY_FALLBACKS": "a" * 8 + "," + "b" * 8}, "a" * 8 + "," + "b" * 8),
    ({"SECRET_KEY_NEXT": "n" * 12, "SECRET_KEY_FALLBACKS": "a" * 8 + ", " + "b" * 8 + ","}, "n" * 12 + "," + "a" * 8 + "," + "b" * 8),
    ({"SECRET_KEY_PREVIOUS": "p" * 12, "SECRET_KEY_FALLBACKS": "p" * 12 + ",a"}, "p" * 12 + ",a"),
])
def test_other_keys_count_while_one_changes(secrets, keys):
    assert env(**secrets).get("SECRET_KEY_FALLBACKS") == keys


def test_the_steps_of_a_rotation_are_in_no_environment():
    found = env(**{name: name.lower() * 2 for name in model.IN_ROTATION})
    assert not set(found) & set(model.IN_ROTATION)


def test_a_second_login_carries_the_app_while_its_password_changes():
    found = env(DATABASE_PASSWORD_NEXT="n" * 12)
    assert (found["DATABASE_USER"], found["DATABASE_PASSWORD"]) == ("pos_rotation", "n" * 12)
    assert found["DATABASE_URL"] == f"postgresql://pos_rotation:{'n' * 12}@127.0.0.1:5432/pos"
    found = env(DATABASE_PASSWORD_PREVIOUS="p" * 12)
    assert "DATABASE_USER" not in found
    assert found["DATABASE_PASSWORD"] == SECRETS["DATABASE_PASSWORD"]


def test_a_long_role_has_a_second_login_of_its_own():
    assert len(model.rotation_role(loaded(database={"user": "u" * 63}))) == 63


@pytest.mark.parametrize(("secrets", "found"), [
    ({}, ("", [])),
    ({"SECRET_KEY": "x", "SECRET_KEY_FALLBACKS": "y"}, ("", [])),
    ({"SECRET_KEY_NEXT": "x", "REDIS_PASSWORD_NEXT": "y"}, ("stage", ["SECRET_KEY", "REDIS_PASSWORD"])),
    ({"DATABASE_PASSWORD_PREVIOUS": "x"}, ("commit", ["DATABASE_PASSWORD"])),
])
def test_an_interrupted_rotation_is_found(secrets, found):
    assert rotation.pending(secrets) == found


@pytest.mark.parametrize(("fields", "wanted", "names"), [
    ({}, "SECRET_KEY", ["SECRET_KEY"]),
    ({}, "all", ["SECRET_KEY", "DATABASE_PASSWORD"]),
    (REDIS, "all", ["SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"]),
    ({"database": {"engine": "external"}, "secrets": {"SECRET_KEY": "k" * 50, "DATABASE_URL": "postgresql://u:p@db/x?sslmode=require"}}, "all", ["SECRET_KEY"]),
    ({"secrets": {**SECRETS, "STRIPE_KEY": "s" * 12}}, "STRIPE_KEY", ["STRIPE_KEY"]),
])
def test_what_is_changed(fields, wanted, names):
    assert rotation.chosen(loaded(**fields), wanted) == names


@pytest.mark.parametrize(("fields", "wanted", "reason"), [
    ({}, "", "which secret"),
    ({}, "NOTHING", "has no secret NOTHING"),
    ({}, "REDIS_PASSWORD", "has no password"),
    ({}, "SECRET_KEY_NEXT", "belongs to a rotation"),
    ({"cache": {"engine": "external"}}, "REDIS_PASSWORD", "who runs it"),
    ({"database": {"engine": "external"}, "secrets": {"SECRET_KEY": "k" * 50, "DATABASE_URL": "postgresql://u:p@db/x"}}, "DATABASE_PASSWORD", "second login"),
    ({"database": {"engine": "sqlite"}, "secrets": {"SECRET_KEY": "k" * 50}}, "DATABASE_PASSWORD", "no password"),
    ({"secrets": {**SECRETS, "SECRET_KEY": "k," * 20}}, "SECRET_KEY", "comma"),
    ({"secrets": {**SECRETS, "SOURCE_KEY": "k" * 20}}, "SOURCE_KEY", "next deploy"),
])
def test_what_is_refused_and_why(fields, wanted, reason):
    with pytest.raises(rotation.RotationError, match=reason):
        rotation.chosen(loaded(**fields), wanted)


def apply(secrets, changes):
    """Return secrets after changes."""
    merged = {**secrets, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def test_the_steps_of_the_vault_file():
    before = {"SECRET_KEY": "k0", "SECRET_KEY_FALLBACKS": "k-1,k-2", "DATABASE_PASSWORD": "d0", "STRIPE_KEY": "s0"}
    new = {"SECRET_KEY": "k1", "DATABASE_PASSWORD": "d1", "STRIPE_KEY": "s1"}
    staged = apply(before, rotation.staged(new))
    assert staged == {**before, "SECRET_KEY_NEXT": "k1", "DATABASE_PASSWORD_NEXT": "d1"}
    committed = apply(staged, rotation.committed(staged, new))
    assert committed == {"SECRET_KEY": "k1", "SECRET_KEY_PREVIOUS": "k0", "SECRET_KEY_FALLBACKS": "k0,k-1", "DATABASE_PASSWORD": "d1",
                         "DATABASE_PASSWORD_PREVIOUS": "d0", "STRIPE_KEY": "s1"}
    finished = apply(committed, rotation.finished(list(new)))
    assert finished == {"SECRET_KEY": "k1", "SECRET_KEY_FALLBACKS": "k0,k-1", "DATABASE_PASSWORD": "d1", "STRIPE_KEY": "s1"}
    assert model.fallback_keys(committed) == model.fallback_keys(finished), "the last step needs no deploy"


@pytest.mark.parametrize(("have", "wanted", "words"), [
    ([], ["a"], [["ACL", "SETUSER", "default", "#" + rotation.redis_hash("a")]]),
    ([rotation.redis_hash("a")], ["a"], []),
    ([rotation.redis_hash("a")], ["a", "b"], [["ACL", "SETUSER", "default", "#" + rotation.redis_hash("b")]]),
    ([rotation.redis_hash("a"), "0" * 64], ["b"], [["ACL", "SETUSER", "default", "#" + rotation.redis_hash("b")],
                                                 ["ACL", "SETUSER", "default", "!" + rotation.redis_hash("a")], ["ACL", "SETUSER", "default", "!" + "0" * 64]]),
])
def test_redis_takes_new_passwords_before_old_ones_go(have, wanted, words):
    assert rotation.redis_commands(have, wanted) == words


def test_redis_file_is_what_the_role_writes():
    app = loaded(runtime="compose", cache={"engine": "container"}, secrets={**SECRETS, "REDIS_PASSWORD": "old-password"})
    one = services.redis_conf(app, "old-password", 64)
    both = rotation.redis_file(one, "old-password", "new-password")
    assert both == services.redis_conf(app, "old-password", 64, rotation.redis_line("old-password", "new-password"))
    assert "new-password" not in both
    swapped = rotation.redis_file(both, "new-password", "old-password")
    assert swapped == services.redis_conf(app, "new-password", 64, rotation.redis_line("new-password", "old-password"))
    assert rotation.redis_file(swapped, "new-password", "") == services.redis_conf(app, "new-password", 64)


def test_another_password_makes_no_other_container():
    app = loaded(runtime="compose", cache={"engine": "container"}, secrets={**SECRETS, "REDIS_PASSWORD": "old-password"})
    texts = [services.text(app, None, services.redis_conf(app, password, memory)) for password, memory in (("old-password", 64), ("new-password", 64), ("", 64),
                                                                                                          ("old-password", 65))]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_the_second_login_is_the_role_and_no_statement_holds_a_password():
    app = loaded()
    app["database"]["user"] = 'o"dd'  # the model takes no such name, and the statements quote it all the same
    made = rotation.second_login(app, "the-password", SALT, there=False)
    assert made[0].startswith('CREATE ROLE "o""dd_rotation" LOGIN PASSWORD \'SCRAM-SHA-256$')
    assert made[1:] == ['GRANT "o""dd" TO "o""dd_rotation";', "ALTER ROLE \"o\"\"dd_rotation\" SET role = 'o\"dd';"]
    assert rotation.second_login(app, "the-password", SALT, there=True)[0].startswith("ALTER ROLE")
    assert "the-password" not in " ".join([*made, rotation.new_password(app, "the-password", SALT)])
    assert rotation.no_second_login(app)[-1] == 'DROP ROLE "o""dd_rotation";'
