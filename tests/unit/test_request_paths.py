# SPDX-License-Identifier: GPL-3.0-or-later
"""The expressions by which an edge finds a path in a target as it came."""
from __future__ import annotations

import re
import time
from urllib.parse import unquote

import pytest
from ansible_collections.quayside.django.plugins.module_utils.request_paths import DOTS, resembling, spelled, too_long

ALIKE = (
    "/ops/x", "/%6fps/x", "/%6Fp%73%2fx", "//ops/x", "/ops//x", "%2fops/x", "/OPS/x", "/%4fps/x", "/%256fps/x", "/%25%36%66ps/x", "/%25256fps/x", "/ops%252fx",
    "/ops%25%32%66x", "/ops;/x", "/ops;a=b/x", "/;/ops/x", "/;a;b/ops/x", "/ops%3bx/y", "/%253b/ops/x", "/\\ops\\x", "/%5cops%255Cx", "\\ops/x", "//host/ops/x",
    "///host/ops/x", "/ops/", "/ops/?a", "/;a%2fops/x",
)
OTHERS = ("/", "/opsx/", "/op/s/", "/a/ops/", "/x?/ops/", "/ops", "/ops?x=/", "/hello/?next=/ops/", "/caf%C3%A9/", "/op%C5%BF/", "/x;/y/ops/")


@pytest.mark.parametrize("target", ALIKE)
def test_what_could_be_taken_for_the_path(target):
    assert re.match(resembling("/ops/"), target, re.I)


@pytest.mark.parametrize("target", OTHERS)
def test_what_could_not(target):
    assert not re.match(resembling("/ops/"), target, re.I)
    assert not re.match(spelled("/ops/"), target, re.I)


@pytest.mark.parametrize("target", ALIKE)
def test_spelled_is_what_the_app_decodes(target):
    assert bool(re.match(spelled("/ops/"), target, re.I)) == unquote(target.partition("?")[0]).lower().startswith("/ops/")


@pytest.mark.parametrize("path", ["/", "/a", "/metrics", "/api/v1.0/", "/über/", "/a-b_c/", "/~x/"])
def test_a_path_resembles_itself(path):
    for expression in (spelled(path), resembling(path)):
        pattern = re.compile(expression.encode("latin-1"), re.I)
        assert pattern.match(path.encode())
        assert pattern.match("".join(f"%{byte:02X}" for byte in path.encode()).encode())


def test_a_dot_stands_for_a_dot():
    assert not re.match(resembling("/v1.0/"), "/v1x0/")


@pytest.mark.parametrize(("target", "dots"), [
    ("/x/../a", True), ("/x%2f../a", True), ("/x/%2e%2E/a", True), ("/x/.%2e/a", True), ("/x\\..\\a", True), ("/x%5c..%5ca", True), ("/x%252f%252e./a", True),
    ("/.;/a", True), ("/%2f%2e%2e%2fa", True), ("/a..b/", False), ("/a...", False), ("/x?next=/../a", False), ("/a.html", False)])
def test_dots_that_begin_a_segment(target, dots):
    assert bool(re.match(DOTS, target, re.I)) == dots


@pytest.mark.parametrize("target", ["/" + ";a%2f" * 4000, "/" * 16000, "/" + "%25" * 5000, "/ops" + ";" * 16000, "//" + "%2f;" * 4000, "/%25" + "%36" * 4000])
def test_no_target_takes_long(target):
    began = time.process_time()
    for expression in (resembling("/ops/"), DOTS):
        re.match(expression, target, re.I)
    assert time.process_time() - began < 2


def test_a_path_has_to_fit_into_the_configuration():
    assert not too_long("/backoffice/reports/2026/november/")
    assert too_long("/x" * 60)
