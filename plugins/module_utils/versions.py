# SPDX-License-Identifier: GPL-3.0-or-later
"""Which texts may name a version: a branch, a tag, a commit or a digest. It becomes a word of commands and part of paths. Pure."""
from __future__ import annotations

import re

# As `git check-ref-format` has it, and fewer signs: no empty part, none that begins or ends with a dot or ends with .lock, no two dots, no @{.
VERSION = re.compile(r"^(?![-/@])(?!.*(?:\.\.|//|/\.|\./|@\{|\.lock(?:/|\Z)|[/.]\Z))[A-Za-z0-9_@+][A-Za-z0-9._/@+-]{0,199}\Z")
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}\Z")
RELEASE = re.compile(r"^[0-9]{14}-[0-9a-f]{7}\Z")


def refusal(version: str) -> str:
    """Return why a text names no version, an empty text when it may name one or is empty."""
    if not version or VERSION.match(version) or DIGEST.match(version):
        return ""
    return (f"{version!r} is no name of a branch, a tag, a commit or a digest: letters, digits and ._/@+- without `..`, at most 200, such as v2 or "
            "feature/cart")


def release_refusal(release: str) -> str:
    """Return why a text is no id of a release, an empty text when it may be one or is empty."""
    if not release or RELEASE.match(release):
        return ""
    return f"{release!r} is no id of a release, such as 20261121072900-0123abc: quayside.django.status lists those that are kept"
