# SPDX-License-Identifier: GPL-3.0-or-later
"""An app that left the inventory: named with what is there, alive with its database, and gone after what docs/removal.md says."""
import re

import pytest
import yaml
from lab import ROOT

PAGE = (ROOT / "docs/removal.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "ansible-playbook" not in block]
ORPHAN = "scheduled"


@pytest.fixture
def without(server):
    """Take the app out of the inventory for as long as a test runs."""
    path = server.inventory / "group_vars" / server.environment / "main.yml"
    text = path.read_text(encoding="utf-8")
    start = text.index(f"  - name: {ORPHAN}\n")
    end = text.find("\n  - ", start)
    path.write_text(text[:start] + (text[end + 1:] if end > 0 else ""), encoding="utf-8")
    assert ORPHAN not in [app["name"] for app in yaml.safe_load(path.read_text())["django_apps"]]
    yield
    path.write_text(text, encoding="utf-8")


def test_an_orphan_is_named_lives_with_its_database_and_can_be_removed(app, server, without):
    site = app(ORPHAN)
    ticks = "runuser -u postgres -- psql -XqAt scheduled -c \"select count(*) from jobs_done where name = 'tick'\""
    told = re.compile(rf"app {ORPHAN}.*?database {ORPHAN} \(\d+ MiB, role {ORPHAN}\); Redis redis-server@{ORPHAN}.service \(runs, user redis_{ORPHAN}\);"
                      rf".*?/opt/{ORPHAN}", re.DOTALL)
    run = server.play("site", "-e", "exposure_check=false")
    assert told.search(" ".join(run.out.split())), "site did not name it"
    for playbook in ("status", "doctor"):
        out = " ".join(server.play(playbook, ok=False).out.split())
        assert told.search(out), f"{playbook} did not name it"
    assert f"scheduled-beat@{site.live()}.service" in out
    before = int(server.inside(ticks))
    server.until(lambda: int(server.inside(ticks)) > before + 3, 60, "ticks of an orphan: its database is closed")
    assert server.play("site", "-e", "exposure_check=false").count("changed") == 0
    # What the page says, command by command.
    for block in BLOCKS:
        script = block.replace("app=old", f"app={ORPHAN}")
        server.inside(f"set -e -o pipefail; app={ORPHAN}\n{script}")
    assert server.inside(f"test -s /var/backups/{ORPHAN}.dump && tar -tzf /var/backups/{ORPHAN}-shared.tar.gz | head -1").startswith("shared")
    paths = ["/opt/{}", "/etc/quayside/{}", "/etc/redis/*{}*", "/etc/systemd/system/*{}*", "/etc/systemd/*{}*", "/var/log/journal/*.{}",
             "/var/cache/quayside/{}", "/etc/logrotate.d/{}"]
    left = server.inside(f"ls -d {' '.join(path.format(ORPHAN) for path in paths)} 2>/dev/null; getent passwd {ORPHAN} redis_{ORPHAN}; "
                         f"systemctl list-units --all --plain --no-legend '*{ORPHAN}*'; ps -eo args | grep '[o]pt/{ORPHAN}'; true")
    assert left == ""
    run = server.play("site", "-e", "exposure_check=false")
    assert f"app {ORPHAN} is on this host" not in " ".join(run.out.split())
    assert ORPHAN not in server.inside("cat /etc/postgresql/*/main/pg_hba.conf; nft list table inet quayside_local; ls /etc/systemd/system")
    assert f"app {ORPHAN} is on this host" not in " ".join(server.play("status").out.split())
