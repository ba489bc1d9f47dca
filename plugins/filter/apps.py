# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Doors from Jinja to the app model; each is documented in the .yml file of its name."""
from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.module_utils import model, services


def door(function):
    """Return ``function`` of the loaded apps as a filter over ``django_apps``."""
    def filtered(apps, *args):
        try:
            return function(model.load(apps), *args)
        except model.ModelError as error:
            raise AnsibleFilterError(str(error)) from error
    return filtered


class FilterModule:
    def filters(self) -> dict:
        return {
            "app": door(lambda apps, name="": model.public(model.choose(apps, name))),
            "apps": door(lambda apps: [model.public(app) for app in apps]),
            "app_secrets": door(lambda apps, name="": model.secret_environment(model.choose(apps, name))),
            "source_key": door(lambda apps, name="": model.choose(apps, name)["secrets"].get("SOURCE_KEY", "")),
            "registry_password": door(lambda apps, name="": model.choose(apps, name)["secrets"].get("REGISTRY_PASSWORD", "")),
            "databases": door(model.databases),
            "caches": door(model.caches),
            "services": door(services.projects),
            "sites": door(model.sites),
            "acme_secrets": door(model.acme_secrets),
            "edge": door(lambda apps: next((app["edge"] for app in apps if app["edge"] != "none"), "nginx")),
            "logins": door(model.logins),
            "web_ports": door(model.web_ports),
            "packages": door(model.packages),
        }
