# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import string

import pytest
from ansible_collections.quayside.django.plugins.module_utils import secret_needs
from samples import loaded


@pytest.mark.parametrize(("text", "path"), [
    ("{{ vault_shop }}", ("vault_shop",)),
    (" {{vault_shop}}\n", ("vault_shop",)),
    ("{{ vault.shop }}", ("vault", "shop")),
    ("{{ vault['shop'] }}", ("vault", "shop")),
    ("{{ vault_shop | combine({'A': b}) }}", ("vault_shop",)),
    ("{{ vault_shop | default({}) | combine(other) }}", ("vault_shop",)),
    ("{{ lookup('community.hashi_vault.vault_kv2_get', 'shop').secret }}", ()),
    ("{{ a + b }}", ()),
    ("x{{ a }}", ()),
    ("{{ a", ()),
    ("text", ()),
    ("", ()),
    (None, ()),
    ({"A": "b"}, ()),
])
def test_the_variable_behind_a_template(text, path):
    assert secret_needs.path(text) == path


@pytest.mark.parametrize(("raw", "place", "roots"), [
    ("{{ vault_shop }}", ("vault_shop", "SECRET_KEY"), {"vault_shop": {}}),
    ("{{ vault.shop }}", ("vault", "shop", "SECRET_KEY"), {"vault": {}}),
    ({"SECRET_KEY": "{{ vault_shop_key }}"}, ("vault_shop_key",), {"vault_shop_key": ""}),
    ({"SECRET_KEY": "{{ vault_shop.key }}"}, ("vault_shop", "key"), {"vault_shop": {}}),
    ({"OTHER": "{{ x }}"}, (), {"x": ""}),
    ({"SECRET_KEY": "written out"}, (), {}),
    ("{{ lookup('x') }}", (), {}),
])
def test_where_a_secret_belongs(raw, place, roots):
    assert secret_needs.place(raw, "SECRET_KEY") == place
    assert secret_needs.roots(raw) == roots


def app(raw="{{ vault_pos }}", have=None, **needed):
    """Return an app as ``plan`` wants it."""
    return {"name": "pos", "raw": raw, "have": have or {}, "needed": needed}


@pytest.mark.parametrize(("one", "made", "ask", "stuck"), [
    (app(SECRET_KEY="why", DATABASE_PASSWORD="why"), ["SECRET_KEY", "DATABASE_PASSWORD"], [], 0),
    (app(have={"SECRET_KEY": "x" * 50}, SECRET_KEY="why", DATABASE_PASSWORD="why"), ["DATABASE_PASSWORD"], [], 0),
    (app(have={"SECRET_KEY": "short"}, SECRET_KEY="why"), [], [], 0),
    (app(have={"SECRET_KEY": ""}, SECRET_KEY="why"), ["SECRET_KEY"], [], 0),
    (app(SECRET_KEY="why", REGISTRY_PASSWORD="why"), ["SECRET_KEY"], ["REGISTRY_PASSWORD"], 0),
    (app(DATABASE_URL="why"), [], ["DATABASE_URL"], 0),
    (app(SOURCE_KEY="why", ACME_EAB_HMAC_KEY="why"), [], ["SOURCE_KEY", "ACME_EAB_HMAC_KEY"], 0),
    (app(NPM_TOKEN="images[app].secrets names it"), [], ["NPM_TOKEN"], 0),
    (app(ADMIN_PASSWORD="the login boss for /admin/"), ["ADMIN_PASSWORD"], [], 0),
    (app(raw="{{ lookup('x') }}", SECRET_KEY="why"), [], [], 1),
    (app(raw={"OTHER": "{{ x }}"}, SECRET_KEY="why"), [], [], 1),
])
def test_what_is_made_what_is_asked_for_and_what_has_no_place(one, made, ask, stuck):
    plan = secret_needs.plan([one])
    assert list(plan["make"].values()) == made
    assert [name for _app, name, *_rest in plan["ask"]] == ask
    assert len(plan["stuck"]) == stuck


def test_two_apps_with_one_variable_have_one_value():
    plan = secret_needs.plan([app(SECRET_KEY="why"), dict(app(SECRET_KEY="why"), name="till")])
    assert plan["make"] == {("vault_pos", "SECRET_KEY"): "SECRET_KEY"}


@pytest.mark.parametrize(("name", "length"), [("SECRET_KEY", 64), ("DATABASE_PASSWORD", 32), ("ANY", 32)])
def test_a_value_is_long_and_of_letters_and_digits(name, length):
    values = {secret_needs.make(name) for _number in range(50)}
    assert len(values) == 50
    assert {len(value) for value in values} == {length}
    assert set("".join(values)) <= set(string.ascii_letters + string.digits)


def test_the_edge_and_builds_need_secrets_too():
    one = loaded(secrets={"SECRET_KEY": "k" * 50, "DATABASE_PASSWORD": "d" * 12, "NPM_TOKEN": "n" * 12}, runtime="compose",
                 images=[{"name": "app", "secrets": ["NPM_TOKEN"]}])
    one["tls"]["eab"] = "key-1"
    one["allow"] = [{"path": "/admin/", "addresses": [], "users": {"boss": "ADMIN_PASSWORD"}}]
    assert {"SECRET_KEY", "DATABASE_PASSWORD", "NPM_TOKEN", "ACME_EAB_HMAC_KEY", "ADMIN_PASSWORD"} == set(secret_needs.needed(one))


def test_redis_in_a_container_has_a_password_where_there_is_a_place_for_it():
    app = loaded(runtime="compose", cache={"engine": "container"})
    wanted = secret_needs.needed(app)
    assert wanted["REDIS_PASSWORD"] == secret_needs.BY_DEFAULT
    one = {"name": "pos", "have": dict.fromkeys(["SECRET_KEY", "DATABASE_PASSWORD"], "x" * 12), "needed": wanted}
    assert secret_needs.plan([{**one, "raw": "{{ vault_pos }}"}])["make"] == {("vault_pos", "REDIS_PASSWORD"): "REDIS_PASSWORD"}
    named = {"SECRET_KEY": "{{ vault_pos_key }}", "DATABASE_PASSWORD": "{{ vault_pos_database }}"}
    assert secret_needs.plan([{**one, "raw": named}]) == {"make": {}, "ask": [], "stuck": []}


@pytest.mark.parametrize(("name", "length", "made"), [("SECRET_KEY", 0, 64), ("X", 0, 32), ("X", 50, 50), ("SECRET_KEY", 20, 20)])
def test_the_length_of_what_is_made(name, length, made):
    assert len(secret_needs.make(name, length)) == made
