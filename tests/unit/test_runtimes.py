# SPDX-License-Identifier: GPL-3.0-or-later
"""What all runtimes have alike."""
from __future__ import annotations

import pytest
from ansible_collections.quayside.django.plugins.module_utils import deploy, releases
from samples import loaded


@pytest.mark.parametrize("kind", sorted(deploy.RUNTIMES))
def test_each_runtime_is_made_with_the_apps_of_its_host_and_hands_them_on(kind):
    app, other = loaded(runtime=kind), dict(loaded(runtime=kind), name="blog")
    made = deploy.RUNTIMES[kind](app, releases.Shelf(app["root"]), {"SECRET_KEY": "x"}, [app, other])
    for runtime in (made, made.with_processes(app["processes"])):
        assert runtime.neighbours == [other]
        assert runtime.secrets == {"SECRET_KEY": "x"}


@pytest.mark.parametrize("kind", sorted(deploy.RUNTIMES))
def test_a_runtime_without_the_apps_of_its_host_sizes_none(kind):
    app = loaded(runtime=kind)
    made = deploy.RUNTIMES[kind](app, releases.Shelf(app["root"]))
    with pytest.raises(ValueError, match="was made without the apps of its host"):
        made.sizes()
