# Copyright: (c) 2026, the quayside.django authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doors to module_utils/sizing.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.module_utils import model, sizing


def _door(function):
    def door(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return door


def _plan(host, apps):
    return sizing.plan(dict(host), model.load(apps))


class FilterModule:
    """The filters host_plan, postgresql_settings and redis_memory."""

    def filters(self):
        """:returns: dict of filter name to callable"""
        return {
            "host_plan": _door(_plan),
            "postgresql_settings": _door(sizing.postgresql_settings),
            "redis_memory": _door(sizing.redis_memory_mb),
        }
