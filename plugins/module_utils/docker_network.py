# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker network of an app: its instances, its services and the edge meet there, and nobody else."""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils.docker_engine import Engine, EngineError


def there(name: str) -> bool:
    """Return True when the host has a network of this name; raises EngineError when the engine does not answer."""
    try:
        Engine().get(f"/networks/{name}")
    except EngineError as error:
        if error.status == 404:
            return False
        raise
    return True


def make(name: str, app: str) -> None:
    """Make the network of an app."""
    Engine().post("/networks/create", {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": {"quayside.app": app}})
