# SPDX-License-Identifier: GPL-3.0-or-later
"""What root installs is what was looked at, and what comes by itself is what is there."""
from __future__ import annotations

import re
from pathlib import Path

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_uv_is_pinned_by_the_checksums_of_all_its_files():
    words = " ".join(line for line in (ROOT / "roles/app/files/uv.txt").read_text().splitlines() if not line.startswith("#")).replace("\\", "").split()
    assert re.fullmatch(r"uv==\d+\.\d+\.\d+", words[0])
    assert len(words) > 15
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for word in words[1:])


def test_pip_takes_no_file_without_its_checksum():
    task = next(task for task in yaml.safe_load((ROOT / "roles/app/tasks/tools.yml").read_text()) if "uv" in task["name"])
    assert "--require-hashes" in task["ansible.builtin.command"]["argv"][-1]
    assert "--only-binary :all:" in task["ansible.builtin.command"]["argv"][-1]


def rendered(path: str, **values) -> str:
    return jinja2.Template((ROOT / "roles/base/templates" / path).read_text()).render(ansible_managed="", **values)


def test_upgrades_by_themselves_take_in_dockers_own_repository():
    text = rendered("etc/apt/apt.conf.d/52quayside-upgrades.j2", base_reboot="never", base_reboot_time="04:00")
    assert '"origin=Docker,label=Docker CE";' in text  # Debian
    assert '"Docker:${distro_codename}";' in text  # Ubuntu


def test_bans_follow_from_fields_that_only_the_journal_writes():
    """A field such as _COMM alone is what a program calls itself; + means or, and a space means and."""
    text = rendered("etc/fail2ban/jail.d/quayside.local.j2", __base_client="", base_fail2ban_ignore=[], base_fail2ban_max_retry=6,
                    base_fail2ban_find_time="10m", base_fail2ban_ban_time="1h", base_ssh_port=22)
    matches = [line.partition("=")[2] for line in text.splitlines() if line.startswith("journalmatch")]
    assert len(matches) == text.count("enabled = true") == 1
    for alternative in matches[0].split(" + "):
        fields = dict(word.split("=") for word in alternative.split())
        assert fields.get("_SYSTEMD_UNIT") == "ssh.service" or fields.get("_UID") == "0", alternative
