# SPDX-License-Identifier: GPL-3.0-or-later
"""The module release: how what goes wrong in a phase, or in its rehearsal, reaches a person."""
import errno
import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.quayside.django.plugins.module_utils import contained, deploy, env_file, lock, releases, sqlite_copy
from ansible_collections.quayside.django.plugins.module_utils.docker_engine import EngineError
from ansible_collections.quayside.django.plugins.modules import release
from samples import loaded

PATH = "/opt/pos/shared/media"
ERRORS = [
    (contained.ContainedError("media is a link; look at it, and remove it", PATH), ["media is a link", PATH]),
    (PermissionError(errno.EPERM, "Operation not permitted", PATH), ["Operation not permitted", PATH]),
    (deploy.PhaseError("no room", look="df -h"), ["no room", "df -h"]),
    (env_file.EnvError("no name"), ["no name"]),
    (releases.ReleaseError("no release"), ["no release"]),
    (sqlite_copy.CopyError("no copy"), ["no copy"]),
    (lock.LockedError({"who": "somebody", "since": 0, "renewed": 0, "phase": "build"}, True, 1.0), ["somebody"]),
    (EngineError(500, "no answer"), ["Docker: no answer", "journalctl -u docker"]),
]


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize("phases", [["lock", "resolve"], ["lock", "choose"]], ids=["deploy", "rollback"])
@pytest.mark.parametrize(("error", "told"), ERRORS, ids=[type(error).__name__ for error, _told in ERRORS])
def test_what_a_phase_raises_is_told_in_a_sentence(monkeypatch, capsys, tmp_path, error, told, phases, check):
    def fails(*_arguments):
        raise error

    for method in ("take_lock", "rehearse", "rehearse_rollback"):
        monkeypatch.setattr(deploy.Deploy, method, fails)
    app = dict(loaded(), root=str(tmp_path))
    arguments = {"app": app, "apps": [app], "phases": phases, "run": "1", "who": "me", "version": "main", "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        release.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"]
    assert answer["phase"] == ("lock" if not check else phases[1])
    for text in told:
        assert text in answer["msg"]
