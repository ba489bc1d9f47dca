# Copyright: (c) 2026, the quayside.django authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doors to module_utils/sizing.py, and what else the roles of the services ask."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.module_utils import model, postgresql_access, sizing, units


def _door(function):
    def door(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return door


def _plan(host, apps):
    return sizing.plan(dict(host), model.load(apps))


def _limits(apps, planned, max_connections):
    apps = [app for app in model.load(apps) if app["name"] in planned]
    promised = {app["name"]: app["database"]["connections"] for app in apps}
    limits = sizing.connection_limits(dict(planned), max_connections, promised)
    return {app["database"]["name"]: limits[app["name"]] for app in apps}


def _journals(apps, size, days, keep_free):
    return [{"path": f"/etc/systemd/journald@{app['name']}.conf", "content": units.journal_limits(size, days, keep_free)}
            for app in model.load(apps)]


class FilterModule:
    """The filters connection_limits, host_plan, journals, postgresql_kept, postgresql_settings and redis_memory."""

    def filters(self):
        """:returns: dict of filter name to callable"""
        return {
            "connection_limits": _door(_limits),
            "host_plan": _door(_plan),
            "journals": _door(_journals),
            "postgresql_kept": _door(postgresql_access.kept),
            "postgresql_settings": _door(sizing.postgresql_settings),
            "redis_memory": _door(sizing.redis_memory_mb),
        }
