# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Doors to module_utils/exposure.py."""
from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.quayside.django.plugins.module_utils import exposure, firewall, model, port_scan


def questions(host, doors, published=(), container_doors=(), more=()):
    try:
        return exposure.ports(exposure.doors(doors, published, container_doors), host, more)
    except firewall.BadRule as error:
        raise AnsibleFilterError(str(error)) from error


def addresses(host, name, more=()):
    known = [address for one in more for address in port_scan.resolve(one)]
    return exposure.targets(port_scan.resolve(name), [one["address"] for one in host["addresses"]], known)[0]


def late(apps):
    try:
        return [443] if any(app["tls"]["mode"] == "acme" for app in model.load(apps)) else []
    except model.ModelError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict:
        return {"exposure_addresses": addresses, "exposure_questions": questions, "exposure_late": late}
