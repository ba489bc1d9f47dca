# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import os
import re
import shutil
import socket
import stat
import subprocess

import pytest
from ansible_collections.quayside.django.plugins.module_utils import container_units, processes, runtime, units
from samples import CELERY, RELEASE, loaded


def shop(**fields):
    return loaded(name="shop", processes=CELERY, **fields)


def template(name="web", copy=1, app=None):
    """Return a unit template as directive -> values."""
    app = app or shop()
    process = next(process for process in app["processes"] if process["name"] == name)
    return parsed(units.template(app, process, copy))


def parsed(text):
    found = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_an_app_has_a_template_for_each_copy_and_one_unit_for_the_whole():
    assert list(units.files(shop())) == ["shop-web@.service", "shop-worker-1@.service", "shop-worker-2@.service", "shop-beat@.service", "shop.service"]
    assert units.template_names(shop()) == ["shop-web", "shop-worker-1", "shop-worker-2", "shop-beat"]


@pytest.mark.parametrize(("wanted", "names"), [
    (lambda process: True, ["web", "worker-1", "worker-2", "beat"]),
    (lambda process: not process["single"], ["web", "worker-1", "worker-2"]),
    (lambda process: process["kind"] == "celery-worker", ["worker-1", "worker-2"]),
    (lambda process: False, []),
])
def test_an_instance_is_the_units_of_one_release(wanted, names):
    assert units.instance(shop(), RELEASE, wanted) == [f"shop-{name}@{RELEASE}.service" for name in names]


def test_every_unit_says_whose_it_is_in_its_first_line():
    assert {text.splitlines()[0] for text in units.files(shop()).values()} == {units.mark(shop())}
    assert units.mark(shop()) != units.mark(loaded(name="shop-admin"))


def test_the_main_process_alone_is_told_to_stop():
    assert all(parsed(units.template(shop(), process, 1))["KillMode"] == ["mixed"] for process in shop()["processes"])


@pytest.mark.parametrize(("name", "seconds"), [("web", 35), ("worker", 305), ("beat", 25)])
def test_a_process_is_killed_only_after_its_drain(name, seconds):
    assert template(name)["TimeoutStopSec"] == [str(seconds)]


def test_gunicorn_is_told_a_graceful_timeout_below_that():
    web = shop()["processes"][0]
    assert int(re.search(r"^graceful_timeout = (\d+)$", processes.config_file(shop(), web, 1), re.M)[1]) < int(template()["TimeoutStopSec"][0])


def test_secrets_are_read_after_the_env_of_the_release():
    assert template()["EnvironmentFile"] == ["/opt/shop/releases/%i/env", "/etc/quayside/shop/secrets.env"]


@pytest.mark.parametrize(("name", "copy", "command"), [("web", 1, "web 1"), ("worker", 1, "worker 1"), ("worker", 2, "worker 2")])
def test_a_unit_starts_the_script_of_its_release(name, copy, command):
    assert template(name, copy)["ExecStart"] == [f"/opt/shop/releases/%i/bin/{command}"]


@pytest.mark.parametrize(("command", "kind"), [
    ("gunicorn x", ["notify"]), ("/usr/bin/gunicorn x", ["notify"]), ("uvicorn x", ["exec"]), ("node x $SOCKET", ["exec"])])
def test_only_gunicorn_says_when_it_is_ready(command, kind):
    assert template(app=loaded(processes=[{"name": "web", "command": command}]))["Type"] == kind


def test_user_folder_and_name_in_the_journal():
    found = template("worker", 2, shop(user="clerk", source={"repo": "https://git.example.com/x", "subdir": "backend"}))
    assert (found["User"], found["Group"], found["SyslogIdentifier"]) == (["clerk"], ["clerk"], ["shop-worker"])
    assert found["WorkingDirectory"] == ["/opt/shop/releases/%i/code/backend"]


def test_a_process_that_dies_is_started_again_for_ever():
    assert (template()["Restart"], template()["StartLimitIntervalSec"]) == (["always"], ["0"])


def test_limits_stand_in_the_unit_only_when_given():
    assert not {"MemoryMax", "CPUQuota"} & set(template())
    found = template(app=loaded(processes=[{"name": "web", "command": "gunicorn x", "memory": "512M", "cpu": "150%"}]))
    assert (found["MemoryMax"], found["CPUQuota"]) == (["512M"], ["150%"])


@pytest.mark.proves("2.22")
def test_a_single_process_goes_before_the_others_when_all_want_the_cpu():
    app = loaded(processes=CELERY)
    weights = {process["name"]: template(app=app, name=process["name"]).get("CPUWeight") for process in app["processes"]}
    assert weights == {"web": None, "worker": None, "beat": ["500"]}


def test_the_release_is_the_only_thing_that_systemd_fills_in():
    app = loaded(env={"A": "100% %h"}, processes=[*CELERY, {"name": "bot", "command": "x %h %n"}])
    for text in units.files(app).values():
        assert set(re.findall(r"%.", text)) <= {"%i"}


def test_neither_env_nor_secrets_stand_in_a_unit():
    texts = "".join(units.files(loaded(env={"A": "plainvalue"}, secrets={"SECRET_KEY": "topsecret-1", "DATABASE_PASSWORD": "topsecret-2"})).values())
    assert "plainvalue" not in texts
    assert "topsecret" not in texts


def test_no_template_has_an_install_section_since_the_link_alone_decides():
    assert [name for name, text in units.files(shop()).items() if "[Install]" in text] == ["shop.service"]


def test_all_units_of_an_app_are_in_a_slice_of_their_own():
    assert template()["Slice"] == ["quayside-shop.slice"]
    assert units.slice_name(loaded(name="shop-admin")) == "quayside-shop_admin.slice"


# The sandbox


def test_the_sandbox_closes_the_file_system_but_for_shared_and_run():
    found = template(app=shop(sandbox={"writable": ["/srv/reports"]}))
    assert found["ProtectSystem"] == ["strict"]
    assert found["ReadWritePaths"] == ["/opt/shop/shared /opt/shop/releases/%i/run /srv/reports"]


def test_the_filters_of_system_calls_keep_their_order():
    assert template()["SystemCallFilter"] == ["@system-service", "~@privileged @resources", "@chown"]


@pytest.mark.parametrize("name", [name for name, _value in units.SANDBOX])
def test_each_directive_can_be_left_out(name):
    assert name in template()
    assert name not in template(app=shop(sandbox={"relax": [name]}))


def test_the_sandbox_can_be_off():
    found = template(app=shop(sandbox={"enabled": False}))
    assert not {name for name, _value in units.SANDBOX} & set(found)
    assert "ReadWritePaths" not in found


# The unit of the whole app


def test_the_umbrella_starts_what_live_names_and_stops_every_instance():
    found = parsed(units.umbrella(shop()))
    assert (found["Type"], found["RemainAfterExit"], found["WantedBy"]) == (["oneshot"], ["yes"], ["multi-user.target"])
    assert found["ConditionPathExists"] == ["/opt/shop/live/units"]
    assert "exec systemctl start -- $$(cat /opt/shop/live/units)" in found["ExecStart"][0]
    assert found["ExecStop"] == ["/bin/systemctl stop -- quayside-shop.slice"]


def test_the_umbrella_leaves_no_dollar_to_systemd():
    assert not re.search(r"(?<!\$)\$(?!\$)", units.umbrella(shop()).replace("$$", ""))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    app = {**shop(sandbox={"writable": ["/srv/data"]}), "user": "root", "root": str(tmp_path / "app")}
    release = tmp_path / "app" / "releases" / "test-instance"
    (release / "bin").mkdir(parents=True)
    (release / "code").mkdir()
    for process in app["processes"]:
        (release / "bin" / process["name"]).write_text("#!/bin/sh\n")
        (release / "bin" / process["name"]).chmod(0o755)
    for name, text in units.files(app).items():
        (tmp_path / name.replace("@.", "@test-instance.")).write_text(text)
    paths = [str(tmp_path / name.replace("@.", "@test-instance.")) for name in units.files(app)]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths], capture_output=True, text=True, check=False,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("shop")]
    assert not ours, done.stderr


def test_the_rotation_of_an_apps_log_files_runs_as_its_user_and_keeps_the_files_open():
    text = units.logrotate({"name": "shop", "root": "/opt/shop", "user": "shop"})
    assert "/opt/shop/shared/logs/*.log {" in text
    assert "su shop shop" in text
    assert "copytruncate" in text


@pytest.mark.parametrize(("command", "denied"), [
    ("node server.js", False), ("/usr/bin/npm start", False), ("java -jar x.jar", False), ("gunicorn pos.wsgi", True), ("nodeenv x", True)])
def test_what_compiles_while_it_runs_may_execute_what_it_wrote(command, denied):
    text = units.files(loaded(processes=[{"name": "web", "command": "gunicorn pos.wsgi"}, {"name": "other", "command": command, "port": 1, "route": "/x/"}]))[
        "pos-other@.service"]
    assert ("MemoryDenyWriteExecute=yes" in text) is denied


def test_the_unit_of_the_whole_app_may_only_send_messages():
    found = parsed(units.umbrella(shop()))
    assert (found["CapabilityBoundingSet"], found["RestrictAddressFamilies"], found["ProtectSystem"]) == ([""], ["AF_UNIX"], ["strict"])
    assert "ReadWritePaths" not in found


def test_a_messenger_that_looks_at_processes_sees_them():
    assert {"ProtectProc=invisible", "ProcSubset=pid"} - set(units.messenger(sees_processes=True)) == {"ProtectProc=invisible", "ProcSubset=pid"}
    assert "ReadWritePaths=/opt/shop" in units.messenger("/opt/shop")


@pytest.mark.parametrize("sandboxed", [True, False])
def test_an_app_has_a_journal_of_its_own(sandboxed):
    """Its lines push out nobody else's, with the sandbox and without."""
    app = loaded(processes=CELERY, sandbox={"enabled": sandboxed})
    for name, text in units.files(app).items():
        assert ("LogNamespace=pos" in text.splitlines()) == name.endswith("@.service"), name


def test_no_other_app_writes_to_the_journal_of_an_app():
    """systemd would open its sockets to everybody. Containers log through Docker, which is root."""
    assert units.journal_files(loaded(user="till"))["systemd-journald@pos.socket.d/quayside.conf"].splitlines()[1:] == [
        "[Socket]", "SocketMode=0660", "SocketGroup=till"]
    assert container_units.journal_files(loaded(runtime="compose"))["systemd-journald@pos.socket.d/quayside.conf"].splitlines()[1:] == [
        "[Unit]", "StopWhenUnneeded=no", "[Socket]", "SocketMode=0600"]


def test_the_sockets_of_a_journal_that_is_open_are_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "JOURNALS", str(tmp_path / "journal"))
    (tmp_path / "journal.pos").mkdir()
    path = tmp_path / "journal.pos/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        runtime.Runtime(loaded(), None).close_journal(0o660, "daemon")
    have = path.stat()
    assert (stat.S_IMODE(have.st_mode), grp.getgrgid(have.st_gid).gr_name) == (0o660, "daemon")


def test_the_journal_of_an_app_has_limits():
    assert units.journal_limits("200M", 60, "1G").splitlines()[1:] == [
        "[Journal]", "Storage=persistent", "Compress=yes", "SystemMaxUse=200M", "SystemKeepFree=1G", "MaxRetentionSec=60day"]


def test_the_limits_of_the_plan_are_those_of_the_units_and_the_slice():
    app = shop()
    sizes = {"limit": 2504, "processes": {process["name"]: {"limit": 1878} for process in app["processes"]}}
    made = units.files(app, sizes)
    assert "\nMemoryMax=1878M\n" in made["shop-web@.service"] and "\nOOMPolicy=continue\n" in made["shop-web@.service"]
    assert made["quayside-shop.slice.d/memory.conf"].endswith("[Slice]\nMemoryMax=2504M\n")


def test_a_number_of_the_model_is_the_limit():
    app = loaded(name="shop", processes=[{"name": "web", "command": "gunicorn x", "memory": "300M"}])
    text = units.template(app, app["processes"][0], 1, 1878)
    assert "\nMemoryMax=300M\n" in text and "1878" not in text
