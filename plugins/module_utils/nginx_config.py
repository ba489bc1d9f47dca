# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to change in /etc/nginx so that it holds exactly the declared files and sites."""

from __future__ import annotations

import re
from dataclasses import dataclass

AVAILABLE = "sites-available"
ENABLED = "sites-enabled"


@dataclass(frozen=True)
class File:
    """A file with its text."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Link:
    """A symbolic link with its target."""

    target: str

    def __str__(self) -> str:
        return f"-> {self.target}\n"


@dataclass(frozen=True)
class Change:
    """A path below the folder, what is there now and what has to be there; None for nothing."""

    path: str
    before: File | Link | None
    after: File | Link | None

    @property
    def diff(self) -> dict[str, str]:
        """The change as Ansible shows it."""
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": "" if self.before is None else str(self.before),
            "after": "" if self.after is None else str(self.after),
        }


def wanted(files: dict[str, str], sites: dict[str, str]) -> dict[str, File | Link]:
    """The declared entries: the files, and for each site a file and the link that switches it on.

    Links are relative, so that a copy of the folder is whole in itself and can be tested.
    """
    entries: dict[str, File | Link] = {path: File(text) for path, text in files.items()}
    for name, text in sites.items():
        entries[f"{AVAILABLE}/{name}"] = File(text)
        entries[f"{ENABLED}/{name}"] = Link(f"../{AVAILABLE}/{name}")
    return entries


def plan(current: dict[str, File | Link], declared: dict[str, File | Link], marker: str, off: list[str]) -> list[Change]:
    """What to change: declared entries that differ, sites of ours (first line begins with `marker`) that are declared no more
    with every link to them, and the links of the sites named in `off`, whosever they are."""
    changes = [Change(path, current.get(path), entry) for path, entry in sorted(declared.items()) if current.get(path) != entry]
    gone = {
        path.partition("/")[2]
        for path, entry in current.items()
        if path.startswith(f"{AVAILABLE}/") and path not in declared and isinstance(entry, File) and entry.text.startswith(marker)
    }
    changes += [Change(f"{AVAILABLE}/{name}", current[f"{AVAILABLE}/{name}"], None) for name in sorted(gone)]
    for path, entry in sorted(current.items()):
        if path.startswith(f"{ENABLED}/") and path not in declared and isinstance(entry, Link):
            folder, _, name = entry.target.rpartition("/")
            if folder.rpartition("/")[2] == AVAILABLE and (name in gone or name in off):
                changes.append(Change(path, entry, None))
    return changes


def accepted(files: dict[str, str], sites: dict[str, str], current: dict[str, File | Link], judge) -> tuple[dict[str, str], dict[str, str]]:
    """Return the sites that can stand together, and site -> what nginx says against those that cannot.

    Each is tried with the ones before it, so that the site that is wrong is told from those that are not. A site that nginx refuses keeps the text that
    lies there; where nginx refuses that too, or there is none, the site is left out.

    :param files: path -> text of what is no site
    :param sites: site -> text as declared
    :param current: what lies in the folder
    :param judge: takes declared entries, returns nginx's complaint, empty for none
    :raises ValueError: with nginx's words, when it refuses the files without any of the sites
    """
    words = judge(wanted(files, {}))
    if words:
        raise ValueError(words)
    good: dict[str, str] = {}
    refused = {}
    for name, text in sites.items():
        words = judge(wanted(files, {**good, name: text}))
        if not words:
            good[name] = text
            continue
        refused[name] = words
        before = current.get(f"{AVAILABLE}/{name}")
        if isinstance(before, File) and before.text != text and not judge(wanted(files, {**good, name: before.text})):
            good[name] = before.text
    return good, refused


def verdict(refused: dict[str, str], kept: dict[str, str]) -> str:
    """Return the message about sites that nginx refused; ``kept`` are those that are served."""
    lines = [f"app {name}: nginx refuses its site: {words}.{advice(words)} "
             + ("Its last good version is served on." if name in kept else "It is left out, and its names get no answer.")
             for name, words in sorted(refused.items())]
    return " ".join(lines) + " All other sites are as declared. Correct site_extra (or what the message names) of this app and run site.yml again."


def complaint(words: str, candidate: str, folder: str, texts: dict[str, str]) -> str:
    """nginx's own words about a candidate: paths as they will be, and the text of the line that it points at.

    >>> complaint('nginx: [emerg] unknown directive "lissten" in /tmp/c/sites-available/shop:2\\n'
    ...           'nginx: configuration file /tmp/c/nginx.conf test failed\\n',
    ...           "/tmp/c", "/etc/nginx", {"sites-available/shop": "server {\\n  lissten 80;\\n}\\n"})
    'unknown directive "lissten" in /etc/nginx/sites-available/shop:2, which reads "lissten 80;"'
    """
    lines = [line for line in words.replace(candidate, folder).splitlines() if "[emerg]" in line or "[alert]" in line]
    text = "; ".join(re.sub(r"^.*\[(emerg|alert)\] (\d+#\d+: )?", "", line) for line in lines) or words.strip()
    where = re.search(re.escape(folder) + r"/(\S+):(\d+)$", text)
    if where:
        path = where[1].replace(f"{ENABLED}/", f"{AVAILABLE}/", 1) if where[1] not in texts else where[1]
        source = texts.get(path, "").splitlines()
        number = int(where[2])
        if 0 < number <= len(source):
            text += f', which reads "{source[number - 1].strip()}"'
    return text


def advice(text: str) -> str:
    """The next step for complaints whose cause is known; empty for others."""
    if "Address family not supported" in text:
        return " This host has no IPv6: set nginx_ipv6: false for it."
    if "duplicate default server" in text:
        return " A site that is not ours listens as default_server: take that word out of it, or set nginx_default_server: false."
    if "duplicate upstream" in text or "host not found in upstream" in text:
        return " Look for other sites on this host with: grep -rn upstream /etc/nginx/."
    if "cannot load certificate" in text:
        return " Put certificate and key there (tls.certificate and tls.key of the app), or use tls: {mode: selfsigned}."
    return ""
