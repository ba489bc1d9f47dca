# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role adds to the unit of the engine."""
from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[2] / "roles/docker/templates/etc/systemd/system/docker.service.d/quayside.conf.j2"


@pytest.mark.parametrize(("firewall", "edge", "before", "after"), [
    (True, True, ["-hold", "apply"], ["-free"]), (True, False, ["apply"], []), (False, True, [], [])])
def test_connections_to_an_edge_in_a_container_wait_while_the_engine_makes_its_rules_anew(firewall, edge, before, after):
    """Seen without: 235 of 418 requests were refused while a restart of the engine took 20 s."""
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters["bool"] = bool
    lines = environment.from_string(TEMPLATE.read_text()).render(docker_firewall_enabled=firewall, __docker_edge_apps=edge).splitlines()
    said = {verb: [line.partition("=")[2].replace("/usr/local/sbin/quayside-docker-firewall ", "") for line in lines if line.startswith(f"{verb}=")]
            for verb in ("ExecStartPre", "ExecStartPost")}
    assert said == {"ExecStartPre": before, "ExecStartPost": after}
