# SPDX-License-Identifier: GPL-3.0-or-later
"""What a .dockerignore leaves out of a build. Pure.

https://docs.docker.com/build/concepts/context/#dockerignore-files
"""
from __future__ import annotations

import posixpath
import re


def ignored(path: str, text: str) -> bool:
    """Return whether the file ``path`` of a context is left out by a .dockerignore of this text: the last line that matches it, or a folder of it, counts."""
    parts = path.split("/")
    above = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    found = False
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        wanted = not line.startswith("!")
        pattern = expression(posixpath.normpath(line.lstrip("!").strip()).lstrip("/"))
        if any(pattern.match(one) for one in above):
            found = wanted
    return found


def expression(pattern: str) -> re.Pattern:
    """Return a pattern of Go's filepath.Match, with ``**`` for any number of folders, as a regular expression."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\]|\\.)", pattern)
    return re.compile("".join(words.get(part) or (part if part[:1] == "[" else re.escape(part[1:] if part[:1] == "\\" else part)) for part in parts) + r"\Z")
