# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.filter.apps import FilterModule
from ansible_collections.quayside.django.plugins.module_utils import model
from samples import SECRETS, written

FILTERS = FilterModule().filters()
APPS = [written(packages=["libpq5"]), written(name="till", domains=["till.example.com"], packages=["gdal-bin", "libpq5"], tls={"mode": "selfsigned"})]


@pytest.mark.parametrize(("name", "found"), [("pos", "pos"), ("till", "till")])
def test_app_gives_one_app_without_its_secrets(name, found):
    app = FILTERS["app"](APPS, name)
    assert app["name"] == found
    assert "secrets" not in app


def test_app_gives_the_only_one():
    assert FILTERS["app"](APPS[:1])["name"] == FILTERS["app"](APPS[:1], "")["name"] == "pos"


def test_apps_gives_all_without_their_secrets():
    assert [(app["name"], "secrets" in app) for app in FILTERS["apps"](APPS)] == [("pos", False), ("till", False)]


def test_app_secrets_gives_what_nobody_may_see():
    assert FILTERS["app_secrets"](APPS, "till").items() >= SECRETS.items()


def test_source_key_gives_the_key_or_nothing():
    assert FILTERS["source_key"](APPS, "pos") == ""
    assert FILTERS["source_key"]([written(secrets=dict(SECRETS, SOURCE_KEY="a deploy key"))]) == "a deploy key"


def test_the_lists_for_the_roles_are_those_of_the_model():
    apps = model.load(APPS)
    for name in ("databases", "caches", "sites", "web_ports"):
        assert FILTERS[name](APPS) == getattr(model, name)(apps), name
    assert FILTERS["packages"](APPS) == ["gdal-bin", "libpq5"]
    assert FILTERS["web_ports"](APPS) == [80, 443]


@pytest.mark.parametrize("name", ["apps", "databases", "caches", "sites", "web_ports", "packages"])
def test_without_apps_there_is_nothing(name):
    assert FILTERS[name]([]) == []


@pytest.mark.parametrize("name", FILTERS)
def test_a_wrong_model_is_refused_with_every_finding(name):
    with pytest.raises(AnsibleFilterError, match=r"app pos: keep: at least 2[^\n]*\napp till: domian is no field"):
        FILTERS[name]([written(keep=1), written(name="till", domian=[])])


@pytest.mark.parametrize("name", ["app", "app_secrets", "source_key"])
def test_an_unknown_app_is_refused_with_the_nearest(name):
    with pytest.raises(AnsibleFilterError, match="no app is called 'tll': did you mean till?"):
        FILTERS[name](APPS, "tll")
