# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates can serve a site."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import certificates

NOW = 1_800_000_000.0
DAY = certificates.DAY
PRINTED = """notBefore=Nov 21 07:00:00 2026 GMT
notAfter=Feb  9 07:00:00 2027 GMT
X509v3 Subject Alternative Name:
    DNS:shop.example.com, DNS:*.example.org, IP Address:10.0.0.2
"""


def test_what_openssl_prints():
    names, begins, ends = certificates.read(PRINTED)
    assert names == {"DNS:shop.example.com", "DNS:*.example.org", "IP:10.0.0.2"}
    assert (ends - begins) / DAY == 80
    assert certificates.read("No extensions in certificate\n" + PRINTED.partition("X509")[0])[0] == set()


@pytest.mark.proves("4.02")
@pytest.mark.parametrize(("names", "good"), [
    (["shop.example.com"], ["shop.example.com"]), (["SHOP.example.com", "10.0.0.2"], ["SHOP.example.com", "10.0.0.2"]),
    (["a.example.org"], ["a.example.org"]), (["*.example.org"], ["*.example.org"]), (["a.b.example.org"], []), (["example.org"], []),
    (["shop.example.com", "www.example.com"], ["shop.example.com"]), (["10.0.0.3"], [])])
def test_it_serves_the_names_that_it_is_for(names, good):
    has = certificates.read(PRINTED)[0]
    assert certificates.covered(names, has) == good
    why = certificates.why_not(names, has, NOW - DAY, NOW + DAY, NOW)
    assert bool(why) == (not good)
    assert good or f"not for {names[0]}" in why


def test_the_first_that_is_good_for_a_name_has_it():
    one, two = {"certificate": "/1.crt", "key": "/1.key"}, {"certificate": "/2.crt", "key": "/2.key"}
    found = [{"site": "pos", "good": ["a.test"], **one}, {"site": "pos", "good": ["a.test", "b.test"], **two}, {"site": "till", "good": [], **one},
             {"site": "pos", "good": ["b.test"], **one}]
    assert certificates.share(found) == {"pos": [{"names": ["a.test"], **one}, {"names": ["b.test"], **two}]}


@pytest.mark.parametrize(("begins", "ends", "why"), [
    (-1, 1, ""), (-9, -2, "it ended 2 days ago"), (-1, 0, "it ended 0 minutes ago"), (1, 9, "it begins in 1.0 days: is the clock right?")])
def test_it_has_to_be_valid_now(begins, ends, why):
    assert certificates.why_not(["a.b"], {"DNS:a.b"}, NOW + begins * DAY, NOW + ends * DAY, NOW) == why


def test_its_end_is_told_early():
    assert certificates.warning(NOW + 13 * DAY, NOW, 14) == "it ends in 13 days"
    assert certificates.warning(NOW + 15 * DAY, NOW, 14) == ""
