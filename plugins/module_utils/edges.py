# SPDX-License-Identifier: GPL-3.0-or-later
"""Edges: what takes requests from the world and gives them to the live instance. All have the same verbs.

``switch(shelf, release)`` points the edge at an instance, atomically. ``check(app, shelf)`` returns how to ask the app through it.
"""
from __future__ import annotations

import os

from ansible_collections.quayside.django.plugins.module_utils import host
from ansible_collections.quayside.django.plugins.module_utils.http_health import Check


class Nginx:
    """nginx on the host: it connects through the link ``live`` at each request, so renaming the link is the whole switch."""

    @staticmethod
    def switch(shelf, release: str) -> None:
        host.link(f"{shelf.root}/live", f"releases/{release}")

    @staticmethod
    def check(app: dict, **wanted):
        """Return the check of the public way, on this host."""
        return Check(url=f"{app['scheme']}://127.0.0.1{app['health']['path']}", verify=False, **wanted)

    @staticmethod
    def missing(app: dict) -> str:
        """Return what site.yml has to make before the edge can serve the app, or an empty text."""
        site = f"/etc/nginx/sites-enabled/{app['name']}"
        return "" if os.path.exists(site) or os.path.exists(site + ".conf") else f"nginx has no site {app['name']}"


class NoEdge:
    """No edge of ours: the link is still what says which release is live."""

    switch = Nginx.switch

    @staticmethod
    def check(app: dict, **wanted):
        return None

    @staticmethod
    def missing(app: dict) -> str:
        return ""


EDGES = {"nginx": Nginx, "none": NoEdge}
