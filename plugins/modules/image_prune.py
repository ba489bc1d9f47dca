#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: image_prune
short_description: Remove the images of an app that no release needs any more
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Keeps O(keep) images of each repository of an app on a Docker host and removes the others. What a container uses (of any app,
    running or not) and what O(protect) names stays and counts; the newest fill up the rest. When more than O(keep) are used or
    protected, all of these stay.
  - New is what got a tag on this host last (C(Metadata.LastTagTime) of the engine). The engine knows no such time for an image that was
    pulled; then the time of its build counts.
  - Images without a name that carry the label C(quayside.app) of this app and that no container uses are left over from builds, and go.
    Other images without a name are not touched.
  - An image with a label C(quayside.app) of another app or C(quayside.environment) of another environment is neither removed nor counted.
    An image that also has names in other repositories only loses the ones in O(repositories). One that another image is built on stays.
  - A removal that the engine refuses is a warning and never a failure.
options:
  app:
    description: Name of the app, as in its images' label C(quayside.app).
    type: str
    required: true
  environment:
    description: Name of the environment, as in its images' label C(quayside.environment). Without it, all images with that label stay.
    type: str
    default: ''
  repositories:
    description: Whole names of repositories, without a tag, such as V(registry.example.com/shop/web).
    type: list
    elements: str
    required: true
  keep:
    description: How many images of each repository stay; at least 1.
    type: int
    default: 2
  protect:
    description: Images that stay, such as those of the kept releases, each an id, C(repository:tag) or C(repository@digest). Names of images
      that are not on the host do no harm.
    type: list
    elements: str
    default: []
  socket:
    description: The unix socket of the Docker engine.
    type: path
    default: /var/run/docker.sock
attributes:
  check_mode:
    description: Lists what would go and why, in the same form. A host without a Docker engine has nothing to list.
    support: full
  diff_mode:
    description: Shows the images of the repositories, and the app's own without a name, before and after.
    support: full
notes:
  - Runs as a user that may use the Docker engine, so usually with C(become).
"""

EXAMPLES = r"""
- name: Two images of each repository stay, and those of the kept releases
  quayside.django.image_prune:
    app: shop
    environment: prod
    repositories: [registry.example.com/shop/web, registry.example.com/shop/frontend]
    keep: 2
    protect:
      - registry.example.com/shop/web:v3
      - registry.example.com/shop/frontend@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  become: true

- name: What would go is known
  quayside.django.image_prune:
    app: shop
    environment: prod
    repositories: [registry.example.com/shop/web]
  check_mode: true
  become: true
  register: shop_images
"""

RETURN = r"""
removed:
  description: What went, in the order in which it went.
  returned: success
  type: list
  elements: dict
  contains:
    image:
      description: Id of the image.
      type: str
    tags:
      description: The names that it lost, as C(repository:tag) and C(repository@digest); none for what was left over from a build.
      type: list
      elements: str
      sample: ["registry.example.com/shop/web:v1"]
    whole:
      description: Whether the image went too. It did not when other repositories name it.
      type: bool
    reason:
      description: Why.
      type: str
      sample: "registry.example.com/shop/web: 2 to keep, and this is none of them"
    size:
      description: Bytes of the image with all its layers, those too that it shares with images that stay; V(0) when the image stays.
      type: int
kept:
  description: What stayed of the repositories, and of the app's images without a name, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    image:
      description: Id of the image.
      type: str
    tags:
      description: All its names.
      type: list
      elements: str
    reason:
      description: Why.
      type: str
      sample: the container shop-20261121073000-1a2b3c4-web-1 (running) uses it
refused:
  description: Removals that the engine refused. Each is a warning as well.
  returned: success
  type: list
  elements: dict
  contains:
    image:
      description: Id of the image.
      type: str
    name:
      description: The name that was to go.
      type: str
    status:
      description: The engine's HTTP status; V(0) when it did not answer. Nothing more is removed then.
      type: int
      sample: 409
    message:
      description: The engine's words.
      type: str
bytes_freed:
  description:
    - By how much the engine's disk shrank, as it says itself (C(/system/df), asked before and after), all image layers and the build cache
      together. A pull or a build of somebody else at the same time counts against it; it is never less than V(0).
    - V(0) when nothing was removed and in check mode. Null when the engine did not say.
  returned: success
  type: int
  sample: 184211456
bytes_cached:
  description: Bytes of removed images that live on in the build cache, because BuildKit made them on this host. They are freed by its
    garbage collection (C(builder.gc) in the engine's configuration) or by C(docker builder prune). Null when the engine did not say.
  returned: success
  type: int
  sample: 0
"""

import os

from ansible_collections.quayside.django.plugins.module_utils.docker_engine import SOCKET, Engine, EngineError
from ansible_collections.quayside.django.plugins.module_utils.image_prune import PruneError, run
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "environment": {"type": "str", "default": ""},
            "repositories": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "int", "default": 2},
            "protect": {"type": "list", "elements": "str", "default": []},
            "socket": {"type": "path", "default": SOCKET},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode and not os.path.exists(params["socket"]):
        module.exit_json(changed=False, removed=[], kept=[], refused=[], bytes_freed=0, bytes_cached=0)
    try:
        result = run(Engine(params["socket"]), params["repositories"], params["keep"], lambda: params["protect"], params["app"],
                     params["environment"], module.check_mode)
    except (EngineError, PruneError) as error:
        module.fail_json(msg=f"The images of {params['app']} cannot be pruned: {error}.")
    for one in result["refused"]:
        module.warn(f"{params['app']}: the Docker engine did not remove {one['name']}: {one['message']}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
