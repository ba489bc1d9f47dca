# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which Traefik keeps its certificates: which of them are good, and what it is without some."""
from __future__ import annotations

import base64
import datetime
import json
import time

import pytest
from ansible_collections.quayside.django.plugins.module_utils import traefik_store
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

A, B = "a.test", "b.test"


def entry(asked, names=None, ends=30, key=None, **changed):
    """Return a certificate as Traefik keeps it: asked for the names ``asked``, and for the names ``names`` in truth."""
    own, who, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.datetime.now(datetime.timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names or asked])
    builder = x509.CertificateBuilder(who, who, own.public_key(), 7, now - datetime.timedelta(60), now + datetime.timedelta(ends))
    chain = builder.add_extension(alternative, True).sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = (key or own).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return {"domain": {"main": asked[0], **({"sans": asked[1:]} if asked[1:] else {})}, "certificate": base64.b64encode(chain + chain).decode(),
            "key": base64.b64encode(pem).decode(), "Store": "default", **changed}


OTHER = ec.generate_private_key(ec.SECP256R1())
GOOD, ENDED, FOREIGN, KEY = entry([A, B]), entry([A, B], ends=-2), entry([A, B], ["o.test"]), entry([A, B], key=OTHER)
TORN = entry([A, B], certificate="?")


def file(*entries):
    return json.dumps({"quayside-pos": {"Account": {"Email": "x"}, "Certificates": list(entries) or None}})


@pytest.mark.parametrize(("text", "held"), [
    (file(GOOD), [A, B]), (file(ENDED), []), (file(FOREIGN), []), (file(KEY), []), (file(TORN), []), (file(ENDED, entry([A])), [A]), (file(), []), ("", []),
    ("{", []), ('{"quayside-pos": null}', [])],
    ids=["good", "ended", "foreign", "key", "torn", "one of two", "empty", "no text", "half", "null"])  # certificates are made anew in each process
def test_which_names_have_a_good_one(text, held):
    assert traefik_store.held(text, [A, B], time.time()) == held


@pytest.mark.proves("4.26", "4.95")
@pytest.mark.parametrize(("one", "why"), [
    (GOOD, ""), (ENDED, "it ended 2.0 days ago"), (FOREIGN, "it is for DNS:o.test, not for a.test, b.test"), (KEY, "its key is another one"),
    (TORN, "it cannot be read"), ({"domain": {"main": A}}, "it cannot be read"), (entry([A, B], [A]), "it is for DNS:a.test, not for b.test"),
    (entry([A], ["*.test"]), "")])
def test_what_is_wrong_with_one(one, why):
    assert traefik_store.fault(one, time.time()) == why


@pytest.mark.proves("4.26", "4.95")
@pytest.mark.parametrize(("entries", "names", "found"), [
    ([GOOD], [A, B], []), ([ENDED], [A, B], [ENDED]), ([ENDED], [B], [ENDED]), ([ENDED], ["c.test"], []), ([ENDED, GOOD], [A, B], []),
    ([ENDED, entry([A])], [A, B], [ENDED]), ([ENDED, entry([A])], [A], []), ([TORN], [A], [TORN]), ([], [A], [])])
def test_what_keeps_traefik_from_asking_anew(entries, names, found):
    assert [one for one, _why in traefik_store.useless(file(*entries), names, time.time())] == found


def test_a_good_one_can_be_unwanted():
    assert traefik_store.useless(file(GOOD), [A], time.time(), lambda one: "revoked") == [(GOOD, "revoked")]
    assert traefik_store.useless(file(GOOD), ["c.test"], time.time(), lambda one: "revoked") == []


@pytest.mark.parametrize(("text", "gone", "left"), [
    (file(GOOD, ENDED), [ENDED], [GOOD]), (file(GOOD, ENDED), [GOOD, ENDED], None), (file(), [{}], None)],
    ids=["one", "all", "none"])
def test_a_file_without_some_keeps_its_account(text, gone, left):
    found = traefik_store.without(text, gone)
    assert json.loads(found) == {"quayside-pos": {"Account": {"Email": "x"}, "Certificates": left}}
    assert json.loads(traefik_store.including(found, gone))["quayside-pos"]["Certificates"] == (left or []) + gone


@pytest.mark.parametrize("text", ["", "{", "[]", " \n"])
def test_a_file_that_cannot_be_read_begins_anew(text):
    assert traefik_store.without(text, [{}]) == ""
    assert traefik_store.readable(text) is not bool(text.strip())
