# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils.nginx_config import Change, File, Link, accepted, plan, verdict, wanted
from ansible_collections.quayside.django.plugins.module_utils.self_signed import command, why_anew
from ansible_collections.quayside.django.plugins.modules.nginx_config import apply, read_folder

MARKER = "# Made by us"
OURS = File(f"{MARKER}\nserver {{}}\n")
THEIRS = File("server {}\n")
DECLARED = wanted({"nginx.conf": "events {}\n"}, {"shop": OURS.text})
THERE = {
    "nginx.conf": File("events {}\n"),
    "sites-available/shop": OURS,
    "sites-enabled/shop": Link("../sites-available/shop"),
}


@pytest.mark.parametrize(
    ("current", "changes"),
    [
        (THERE, []),
        ({}, [("nginx.conf", "new"), ("sites-available/shop", "new"), ("sites-enabled/shop", "new")]),
        ({**THERE, "nginx.conf": THEIRS}, [("nginx.conf", "other")]),
        ({**THERE, "sites-enabled/shop": Link("/elsewhere")}, [("sites-enabled/shop", "other")]),
        ({**THERE, "sites-enabled/shop": OURS}, [("sites-enabled/shop", "other")]),
        ({**THERE, "sites-available/theirs": THEIRS, "sites-enabled/theirs": Link("../sites-available/theirs")}, []),
        (
            {**THERE, "sites-available/old": OURS, "sites-enabled/old": Link("/etc/nginx/sites-available/old")},
            [("sites-available/old", "gone"), ("sites-enabled/old", "gone")],
        ),
        (
            {**THERE, "sites-available/old": OURS, "sites-enabled/50-old": Link("../sites-available/old")},
            [("sites-available/old", "gone"), ("sites-enabled/50-old", "gone")],
        ),
        (
            {**THERE, "sites-available/default": THEIRS, "sites-enabled/default": Link("/etc/nginx/sites-available/default")},
            [("sites-enabled/default", "gone")],
        ),
        ({**THERE, "sites-enabled/default": THEIRS}, []),
    ],
)
def test_plan(current, changes):
    found = plan(current, DECLARED, MARKER, ["default"])
    kinds = [(c.path, "new" if c.before is None else "gone" if c.after is None else "other") for c in found]
    assert kinds == changes


def test_a_change_shows_both_texts():
    diff = Change("sites-enabled/shop", None, Link("../sites-available/shop")).diff
    assert diff["before"] == ""
    assert diff["after"] == "-> ../sites-available/shop\n"
    assert diff["after_header"] == "sites-enabled/shop"


def test_apply_makes_the_folder_what_was_declared(tmp_path):
    for path in ("sites-available", "sites-enabled"):
        (tmp_path / path).mkdir()
    (tmp_path / "sites-available/old").write_text(OURS.text)
    (tmp_path / "sites-enabled/old").symlink_to("../sites-available/old")
    folder = str(tmp_path)
    apply(folder, plan(read_folder(folder, list(DECLARED)), DECLARED, MARKER, ["default"]))
    assert read_folder(folder, ["nginx.conf"]) == THERE
    assert (tmp_path / "sites-enabled/shop").read_text() == OURS.text
    assert plan(read_folder(folder, list(DECLARED)), DECLARED, MARKER, ["default"]) == []


@pytest.mark.parametrize(
    ("has", "fits", "days", "why"),
    [
        (None, False, 0, "there is none"),
        (set(), False, 0, "the key does not belong to it"),
        ({"DNS:a", "IP:10.0.0.1"}, True, 400, ""),
        ({"DNS:a"}, True, 400, "it is for DNS:a"),
        ({"DNS:a", "IP:10.0.0.1"}, True, 29, "it has 29 days left"),
        ({"DNS:a", "IP:10.0.0.1"}, True, -3, "it has -3 days left"),
    ],
)
def test_when_a_certificate_is_made_anew(has, fits, days, why):
    assert why_anew(["a", "10.0.0.1"], has, fits, days, 30) == why


def test_the_command_that_makes_a_certificate():
    argv = command("/usr/bin/openssl", ["shop.example.com", "10.0.0.2"], 825, "/c", "/k")
    assert argv[:4] == ["/usr/bin/openssl", "req", "-x509", "-newkey"]
    assert argv[argv.index("-addext") + 1] == "subjectAltName=DNS:shop.example.com,IP:10.0.0.2"
    assert argv[argv.index("-subj") + 1] == "/CN=shop.example.com"
    assert argv[-4:] == ["-keyout", "/k", "-out", "/c"]


def judged(declared):
    """nginx, as far as these tests need it: it refuses what holds `bad`, and a second `same`."""
    texts = [entry.text for entry in declared.values() if isinstance(entry, File)]
    return "bad word" if any("bad" in text for text in texts) else "duplicate" if sum("same" in text for text in texts) > 1 else ""


@pytest.mark.parametrize(("sites", "before", "good", "refused"), [
    ({"a": "a", "b": "b"}, {}, {"a": "a", "b": "b"}, []),
    ({"a": "bad", "b": "b"}, {}, {"b": "b"}, ["a"]),
    ({"a": "bad", "b": "b"}, {"a": "old"}, {"a": "old", "b": "b"}, ["a"]),
    ({"a": "bad", "b": "b"}, {"a": "bad"}, {"b": "b"}, ["a"]),
    ({"a": "bad", "b": "b"}, {"a": "very bad"}, {"b": "b"}, ["a"]),
    ({"a": "same", "b": "same", "c": "c"}, {"b": "b1"}, {"a": "same", "b": "b1", "c": "c"}, ["b"]),
    ({"a": "bad", "b": "bad"}, {}, {}, ["a", "b"]),
])
def test_a_bad_site_harms_no_other(sites, before, good, refused):
    current = {f"sites-available/{name}": File(text) for name, text in before.items()}
    found, words = accepted({"nginx.conf": "x"}, sites, current, judged)
    assert (found, list(words)) == (good, refused)


def test_a_bad_main_configuration_is_nobodys_site():
    with pytest.raises(ValueError, match="bad word"):
        accepted({"nginx.conf": "bad"}, {"a": "a"}, {}, judged)


def test_the_message_names_the_app_and_what_is_served():
    said = verdict({"a": 'unknown directive "x"', "b": "duplicate"}, {"b": "old"})
    assert 'app a: nginx refuses its site: unknown directive "x".' in said and "It is left out" in said
    assert "app b: nginx refuses its site: duplicate. Its last good version is served on." in said
    assert "run site.yml again" in said
