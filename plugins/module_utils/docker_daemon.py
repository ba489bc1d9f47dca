# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What /etc/docker/daemon.json becomes, and what has to follow. No Ansible and no host in here."""

from __future__ import annotations

import json
import re

# What the engine reads again at SIGHUP (moby, daemon/reload.go of 24 to 28); everything else wants a restart.
RELOADED = frozenset((
    "allow-nondistributable-artifacts", "authorization-plugins", "debug", "default-runtime", "features", "insecure-registries", "labels", "live-restore",
    "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts", "registry-mirrors", "runtimes", "shutdown-timeout",
))


class BadInput(ValueError):
    """A file or a declaration that cannot be."""


def parse(content, path):
    """A file of JSON as dict; empty where there is no file.

    :param content: bytes or None
    :raises BadInput: with the line that is wrong
    """
    try:
        found = json.loads((content or b"{}").decode() or "{}")
    except ValueError as error:
        raise BadInput("%s is no JSON: %s. Next: correct it, or move it away" % (path, error)) from error
    if not isinstance(found, dict):
        raise BadInput("%s has to hold an object, {...}. Next: correct it, or move it away" % path)
    return found


def merged(existing, ours, wanted):
    """What the file is to hold: foreign options stay, wanted ones win, and those that we wrote and nobody wants any more go.

    :param existing: dict, the file as it is
    :param ours: dict, what we wrote last
    :param wanted: dict
    :returns: dict
    """
    kept = {key: value for key, value in existing.items() if key in wanted or key not in ours or ours[key] != value}
    return {**kept, **wanted}


def consequence(before, after):
    """What makes the engine know the new options: "none", "reload" or "restart".

    :param before: dict
    :param after: dict
    """
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    if not changed:
        return "none"
    return "reload" if changed <= RELOADED else "restart"


def rendered(options):
    """The text of a file of options."""
    return json.dumps(options, indent=4, sort_keys=True) + "\n"


def bad_registry(host):
    """Why a name of a registry is none, or None."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?", host):
        return None
    return "%r is no name of a registry such as registry.example.com or 10.0.0.5:5000, without https:// and path" % host


def bad_certificate(text):
    """Why a text is no certificate of an authority, or None."""
    if "PRIVATE KEY" in text:
        return "it holds a private key, and that belongs on no other server"
    if not re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.S):
        return "it holds no PEM certificate (-----BEGIN CERTIFICATE-----)"
    return None
