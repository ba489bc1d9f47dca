# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import idn, model
from samples import loaded, written


@pytest.mark.parametrize(("name", "made"), [
    ("b\u00fccher.example.com", "xn--bcher-kva.example.com"), ("B\u00dcCHER.example.com", "xn--bcher-kva.example.com"),
    ("*.b\u00fccher.example.com", "*.xn--bcher-kva.example.com"), ("\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444", "xn--e1afmkfd.xn--p1ai"),
    ("Shop.example.com", "shop.example.com"), ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com"), ("2001:DB8::1", "2001:db8::1"), ("", ""),
])
def test_a_name_in_punycode(name, made):
    assert idn.ascii_name(name) == made


def test_all_that_follows_from_a_domain_has_its_punycode():
    app = loaded(domains=["b\u00fccher.example.com",
                          "www.b\u00fccher.example.com"], canonical="b\u00fccher.example.com", health={"host": "www.b\u00fccher.example.com"})
    assert app["domains"] == ["xn--bcher-kva.example.com", "www.xn--bcher-kva.example.com"]
    assert (app["canonical"], app["health"]["host"]) == ("xn--bcher-kva.example.com", "www.xn--bcher-kva.example.com")
    assert model.environment(app)["ALLOWED_HOSTS"] == "xn--bcher-kva.example.com,www.xn--bcher-kva.example.com"


@pytest.mark.parametrize("name", ["b\u00fc cher.example.com", "-b\u00fccher..example.com", "https://b\u00fccher.example.com"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(model.ModelError, match="domains"):
        loaded(domains=[name])


def test_one_name_in_two_spellings_belongs_to_one_app():
    with pytest.raises(model.ModelError, match="its domain xn--bcher-kva.example.com is also that of app pos"):
        model.load([written(domains=["b\u00fccher.example.com"]), written(name="till", domains=["xn--bcher-kva.example.com"])])


def test_a_letter_that_old_and_new_rules_write_differently_is_never_guessed():
    with pytest.raises(model.ModelError, match="write the one that your registrar shows"):
        loaded(domains=["stra\u00dfe.example.com"])
