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
    (["shop.example.com"], True), (["SHOP.example.com", "10.0.0.2"], True), (["a.example.org"], True), (["*.example.org"], True),
    (["a.b.example.org"], False), (["example.org"], False), (["shop.example.com", "www.example.com"], False), (["10.0.0.3"], False)])
def test_it_has_to_be_for_all_names(names, good):
    why = certificates.why_not(names, certificates.read(PRINTED)[0], NOW - DAY, NOW + DAY, NOW)
    assert (why == "") == good
    assert good or f"not for {names[-1]}" in why


@pytest.mark.parametrize(("begins", "ends", "why"), [
    (-1, 1, ""), (-9, -2, "it ended 2 days ago"), (-1, 0, "it ended 0 days ago"), (1, 9, "it begins in 1.0 days: is the clock right?")])
def test_it_has_to_be_valid_now(begins, ends, why):
    assert certificates.why_not(["a.b"], {"DNS:a.b"}, NOW + begins * DAY, NOW + ends * DAY, NOW) == why


def test_its_end_is_told_early():
    assert certificates.warning(NOW + 13 * DAY, NOW, 14) == "it ends in 13 days"
    assert certificates.warning(NOW + 15 * DAY, NOW, 14) == ""
