# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's importer finds the collection, whichever test comes first: once Python's own has, Ansible's can no longer."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".ansible" / "collections")])
