#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images by digest."""
from __future__ import annotations

DOCUMENTATION = r"""
module: image_pins
short_description: Images are on the host by the digest that their tag stood for once
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Keeps in C(/etc/quayside/images.json), a file of root's, what each tag stands for, and pulls what is not there. A tag that moves in the registry, or an
    image on the host that takes its name, changes nothing.
  - The first time, an image on the host that came from the registry of its name is what counts, then the registry, then an image that was loaded by hand.
options:
  images:
    description: Images by their tags. One with a digest or an id stays as it is.
    type: list
    elements: str
    required: true
  update:
    description: Ask the registry anew what the tags stand for.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Asks the registry with O(update) and for what has not been asked before, and pulls nothing. Where Docker is not there yet, the tags come back.
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: The image of the edge is there
  quayside.django.image_pins:
    images: [nginx:alpine]
  register: edge_images
"""

RETURN = r"""
images:
  description: Each image as it was given, and the reference by which it runs.
  type: dict
  returned: success
  sample: {"nginx:alpine": "nginx@sha256:3f1c…"}
present:
  description: Whether all of them are on the host.
  type: bool
  returned: success
changes:
  description: Each tag that stands for something else than before, with both digests.
  type: list
  elements: str
  returned: success
  sample: ["nginx:alpine: sha256:3f1c01234567 -> sha256:89ab01234567"]
"""

import os

from ansible_collections.quayside.django.plugins.module_utils import docker_engine, image_pins
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={
        "images": {"type": "list", "elements": "str", "required": True},
        "update": {"type": "bool", "default": False},
    }, supports_check_mode=True)
    wanted = list(dict.fromkeys(module.params["images"]))
    if module.check_mode and not os.path.exists(docker_engine.SOCKET):
        module.exit_json(changed=True, images={name: name for name in wanted}, present=False, changes=[])
    pins = image_pins.Pins(module.params["update"])
    try:
        found = {name: pins.reference(name) for name in wanted}
        missing = [name for name in wanted if not pins.here(name)]
        if not module.check_mode:
            for name in missing:
                pins.pull(name)
            pins.save()
    except EngineError as error:
        module.fail_json(msg=error.message)
    except image_pins.PinError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(missing or pins.changes()), images=found, present=not missing or not module.check_mode,
                     changes=image_pins.lines(pins.changes()), diff=pins.diff())


if __name__ == "__main__":
    main()
