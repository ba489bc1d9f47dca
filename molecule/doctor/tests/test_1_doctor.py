# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor on a healthy host, and on one that is broken on purpose, one way at a time: the finding, and that its fix works."""
import datetime
import json
import subprocess
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lab import ROOT

BRANCH = "doctor"
# The bookshop with a setting that has to be there, and settings that a test can change.
SETTINGS = """
import json

PAYMENT_KEY = os.environ["PAYMENT_KEY"]
globals().update(json.loads(env("OVERRIDES", "{}")))
"""


def examine(server, *words, play="doctor", apps=None, rc=None):
    """Run the doctor as a user does; return the JSON that it writes, with the run as ``run`` and code -> finding as ``codes``."""
    path = ROOT / ".cache" / f"doctor-{server.name}.json"
    path.unlink(missing_ok=True)
    more = ["-e", f"@{server.changed_app(apps)}"] if apps else []
    run = server.play(play, "-e", f"doctor_report={path}", *more, *words, ok=False)
    assert path.exists(), run.out
    report = json.loads(path.read_text())
    assert rc is None or run.rc == rc, run.out
    assert run.rc == (2 if report["failed"] else 0), run.out
    return {**report, "run": run, "codes": {one["code"]: one for one in report["findings"]}}


def bad(report):
    """Return the codes of what is not a note; the lab's servers cannot load kernel modules, and say so."""
    return {one["code"] for one in report["findings"] if one["severity"] != "note" and "systemd-modules-load" not in one["item"]}


@pytest.fixture(scope="module", autouse=True)
def live(server):
    """v1 is live."""
    server.deploy("v1")


@pytest.fixture(scope="module")
def branch(server, tmp_path_factory):
    """A branch of the bookshop whose settings can be broken by the env."""
    folder = tmp_path_factory.mktemp("bookshop")
    git = ["git", "-C", str(folder), "-c", "user.name=lab", "-c", "user.email=lab@example.com"]
    subprocess.run(["git", "clone", "-q", "--branch", "v1", f"{server.local['lab_git_url']}/bookshop.git", str(folder)], check=True)
    settings = folder / "config" / "settings.py"
    settings.write_text(settings.read_text() + SETTINGS)
    subprocess.run([*git, "commit", "-qam", "Settings that can be broken"], check=True)
    subprocess.run([*git, "push", "-qf", "origin", f"HEAD:refs/heads/{BRANCH}"], check=True)
    return BRANCH


# A healthy host


@pytest.fixture(scope="module")
def healthy(server, live):
    return examine(server, play="preflight")


def test_a_healthy_host_has_no_error_and_only_true_warnings(server, healthy):
    assert healthy["counts"]["error"] == 0
    assert bad(healthy) == set(), healthy["findings"]
    assert healthy["hosts"] == [server.name]


def test_nothing_changes(healthy):
    assert healthy["run"].count("changed") == 0


def test_check_mode_finds_the_same(server, healthy):
    assert examine(server, "--check")["findings"] == healthy["findings"]


def test_every_finding_is_whole(healthy):
    for one in healthy["findings"]:
        assert all(one[key] for key in ("code", "severity", "host", "item", "reason", "fix")), one


def test_no_secret_is_told_however_loud(server):
    path = ROOT / ".cache" / f"doctor-{server.name}.json"
    out = server.play("doctor", "-vvv", "-e", f"doctor_report={path}").out + path.read_text()
    assert [name for name, value in server.local["vault_bookshop"].items() if value in out] == []


def test_other_playbooks_look_at_no_host(server):
    assert "looked at" not in server.play("status").out


# The inventory, in every playbook


@pytest.mark.parametrize("play", ["doctor", "preflight", "deploy"])
def test_a_wrong_allowed_hosts_is_refused_before_anything_changes(server, play):
    def change(app):
        app["env"] = {"ALLOWED_HOSTS": "www.example.org"}

    if play == "deploy":
        run = server.play("deploy", "-e", f"@{server.changed_app(change)}", ok=False)
        assert run.rc == 2
        assert "nothing was changed" in run.out
        assert f"{server.name}.example.com" in run.out
        assert "[hosts.missing-domain]" in run.out
        return
    found = examine(server, play=play, apps=change, rc=2)["codes"]["hosts.missing-domain"]
    assert found["severity"] == "error"
    assert "remove ALLOWED_HOSTS from env" in found["fix"]


def test_a_slip_of_a_key_is_a_warning_with_a_guess(server):
    found = examine(server, apps=lambda app: app.update(env={"ALOWED_HOSTS": "x"}), rc=0)["codes"]["env.misspelled"]
    assert "write ALLOWED_HOSTS" in found["fix"]


def test_a_variable_that_nothing_reads_is_a_note(server):
    found = examine(server, apps=lambda app: app.update(env={"COLOUR_OF_THE_DOOR": "green"}), rc=0)["codes"]
    assert found["env.unread"]["severity"] == "note"
    assert "COLOUR_OF_THE_DOOR" in found["env.unread"]["item"]
    assert found["release.outdated"]["severity"] == "note"


@pytest.mark.parametrize(("policy", "rc"), [("error", 0), ("warning", 2), ("never", 0)])
def test_what_fails_a_run_can_be_chosen(server, policy, rc):
    examine(server, "-e", f"doctor_fail_on={policy}", apps=lambda app: app.update(env={"ALOWED_HOSTS": "x"}), rc=rc)


# The settings of the live release


@pytest.fixture(scope="module")
def broken(server, branch):
    """What is found while a release with wrong settings is live, and the inventory has lost a key. Afterwards v1 is live again."""
    overrides = {"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTOCOL", "https"], "MEDIA_URL": "/uploads/", "STATIC_ROOT": "/tmp/static",
                 "CSRF_TRUSTED_ORIGINS": [], "SESSION_COOKIE_SECURE": False}

    def change(app):
        app["env"] = {"PAYMENT_KEY": "x", "OVERRIDES": json.dumps(overrides)}

    server.deploy(branch, "-e", f"@{server.changed_app(change)}")
    try:
        return examine(server, apps=lambda app: app.update(env={"OVERRIDES": json.dumps(overrides), "PAYMENT_KEYS": "y"}), rc=2)
    finally:
        server.deploy("v1")


@pytest.mark.parametrize(("code", "severity", "item", "fix"), [
    ("env.missing", "error", "PAYMENT_KEY", "PAYMENT_KEYS is set and nothing reads it"),
    ("proxy.wrong-header", "error", "SECURE_PROXY_SSL_HEADER", "HTTP_X_FORWARDED_PROTO"),
    ("csrf.missing-origin", "error", "example.com", "CSRF_TRUSTED_ORIGINS"),
    ("media.url", "error", "MEDIA_URL", "media.url: /uploads/"),
    ("static.root", "error", "STATIC_ROOT", "STATIC_ROOT"),
    ("check.security.W012", "warning", "check --deploy", "SESSION_COOKIE_SECURE"),
])
def test_wrong_settings_of_the_live_release_are_found(broken, code, severity, item, fix):
    found = broken["codes"][code]
    assert found["severity"] == severity
    assert item in found["item"]
    assert fix in found["fix"] + found["reason"]
    assert found["app"] == "bookshop"


def test_the_fix_of_wrong_settings_works(server, broken):
    assert bad(examine(server)) == set()


def test_all_findings_are_in_one_message(broken):
    text = broken["run"].out
    assert all(one["code"] in text for one in broken["findings"])


# Files, units, rooms


def test_media_that_the_edge_cannot_read(server):
    server.inside("chmod 00700 /opt/bookshop/shared/media")
    try:
        found = examine(server, rc=2)["codes"]["media.unreadable"]
        assert "cannot enter /opt/bookshop/shared/media (mode 0700" in found["reason"]
        server.inside(found["fix"].partition(", or ")[0])
        assert bad(examine(server)) == set()
    finally:
        server.inside("chmod 2750 /opt/bookshop/shared/media")


def test_one_file_that_the_edge_cannot_read(server):
    server.inside("mkdir -p /opt/bookshop/shared/media/covers && touch /opt/bookshop/shared/media/covers/a.png && "
                  "chgrp -R www-data /opt/bookshop/shared/media/covers && chmod 2750 /opt/bookshop/shared/media/covers && "
                  "chmod 0600 /opt/bookshop/shared/media/covers/a.png")
    try:
        found = examine(server, rc=2)["codes"]["media.unreadable"]
        assert "covers/a.png" in found["reason"]
        server.inside(found["fix"])
        assert bad(examine(server)) == set()
    finally:
        server.inside("rm -r /opt/bookshop/shared/media/covers")


@pytest.mark.proves("4.94")
def test_static_files_that_the_edge_does_not_serve(server):
    site = server.inside("readlink -f /etc/nginx/sites-enabled/bookshop*")
    server.inside(f"cp {site} /var/tmp/site && sed -i 's#location ^~ /static/#location ^~ /assets/#' {site}")
    server.reload_nginx()
    try:
        assert examine(server, rc=2)["codes"]["static.not-served"]["severity"] == "error"
    finally:
        server.inside(f"cp /var/tmp/site {site}")
        server.reload_nginx()
    assert bad(examine(server)) == set()


@pytest.mark.proves("1.48")
@pytest.mark.parametrize(("options", "fill", "code"), [
    ("size=2m", "head -c 9000000 /dev/zero > /opt/bookshop/shared/room/full", "disk.full"),
    ("size=64m,nr_inodes=20", "touch $(seq -f /opt/bookshop/shared/room/%g 19)", "inodes.full"),
])
def test_a_disk_without_room(server, options, fill, code):
    server.inside(f"mkdir -p /opt/bookshop/shared/room && mount -t tmpfs -o {options} none /opt/bookshop/shared/room && {fill} 2>/dev/null", check=False)
    try:
        assert "/opt/bookshop/shared/room" in examine(server, rc=2)["codes"][code]["item"]
    finally:
        server.inside("umount /opt/bookshop/shared/room && rmdir /opt/bookshop/shared/room")
    assert bad(examine(server)) == set()


def test_a_unit_that_failed(server):
    server.inside("systemd-run --unit=doctor-broken --wait /bin/false", check=False)
    found = [one for one in examine(server)["findings"] if one["code"] == "units.failed" and "doctor-broken" in one["item"]]
    assert found[0]["severity"] == "warning"
    server.inside(found[0]["fix"].rpartition("then ")[2])
    assert bad(examine(server)) == set()


def test_a_lock_that_a_dead_run_left(server):
    server.inside("echo '{\"run\": \"x\", \"who\": \"ann@laptop\", \"since\": 1, \"renewed\": 1, \"phase\": \"build\"}' > /opt/bookshop/lock")
    found = examine(server, rc=0)["codes"]["lock.left"]
    assert "ann@laptop left it in phase build" in found["reason"]
    server.inside(": > /opt/bookshop/lock")


def test_a_package_source_that_does_not_answer(server):
    server.inside("echo 'deb http://127.0.0.1:9/debian stable main' > /etc/apt/sources.list.d/doctor.list")
    try:
        assert "http://127.0.0.1:9/debian stable" in examine(server)["codes"]["packages.unreachable"]["item"]
    finally:
        server.inside("rm /etc/apt/sources.list.d/doctor.list")


# The database


@pytest.mark.proves("4.93")
def test_a_database_that_is_down(server):
    server.inside("systemctl stop postgresql@*")
    try:
        found = examine(server, rc=2)["codes"]["database.unreachable"]
        assert found["reason"].startswith("it is down")
    finally:
        server.inside("systemctl start postgresql")
    server.until(lambda: server.get("/healthz/", f"{server.name}.example.com", tls=True)[0] == 200, 30, "health")
    assert bad(examine(server)) == set()


def test_a_role_with_too_few_connections(server):
    server.inside("runuser -u postgres -- psql -qc 'alter role bookshop connection limit 3'")
    try:
        found = examine(server, rc=2)["codes"]["connections.too-few"]
        assert "it is 3, and a deploy with its two instances wants" in found["reason"]
        assert "database.connections: 3" in found["fix"]
    finally:
        server.inside("runuser -u postgres -- psql -qc 'alter role bookshop connection limit -1'")


def test_a_server_with_too_few_connections(server):
    server.inside("runuser -u postgres -- psql -qc 'alter system set max_connections = 8' && systemctl restart postgresql")
    try:
        found = examine(server, rc=2)["codes"]["connections.too-few"]
        assert "max_connections 8 without 3 reserved" in found["reason"]
    finally:
        server.inside("runuser -u postgres -- psql -qc 'alter system reset max_connections' && systemctl restart postgresql")
    server.until(lambda: server.get("/healthz/", f"{server.name}.example.com", tls=True)[0] == 200, 30, "health")
    assert bad(examine(server)) == set()


def test_migrations_that_are_not_applied(server):
    server.play("manage", "-e", "command='migrate --fake books 0001'")
    try:
        found = examine(server)["codes"]["migrations.unapplied"]
        assert "books.0002_book_cover" in found["reason"]
    finally:
        server.play("manage", "-e", "command='migrate --fake'")
    assert bad(examine(server)) == set()


# Names and certificates


def resolver(server, verb, **words):
    """Tell the lab's resolver something."""
    address = server.local["lab_acme"].split("//")[1].split(":")[0]
    urllib.request.urlopen(urllib.request.Request(f"http://{address}:8055/{verb}", json.dumps(words).encode()), timeout=10).read()


@pytest.mark.proves("3.09", "3.68")
def test_a_domain_that_leads_elsewhere(server):
    resolver(server, "add-a", host="moved.example.com", addresses=["198.51.100.7"])
    try:
        report = examine(server, apps=lambda app: app["domains"].insert(1, "moved.example.com"))
    finally:
        resolver(server, "clear-a", host="moved.example.com")
    found = report["codes"]["dns.elsewhere"]
    assert "its A record is 198.51.100.7" in found["reason"]
    assert server.address in found["reason"]
    assert found["severity"] == "warning"
    # And the edge has no certificate for it, since site.yml has not seen it: it shows that of the address, which is for whoever names no name.
    assert "moved.example.com" in report["codes"]["certificate.wrong-name"]["item"]


def test_a_stale_ipv6_address(server):
    name = f"{server.name}.example.com"
    resolver(server, "add-aaaa", host=name, addresses=["2001:db8::1"])
    try:
        found = examine(server)["codes"]["dns.stale-aaaa"]
        assert "2001:db8::1" in found["reason"]
    finally:
        resolver(server, "clear-aaaa", host=name)
    assert bad(examine(server)) == set()


def certificate(name, begins, ends):
    """Return chain and key of a certificate as PEM."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number()) \
        .not_valid_before(now + datetime.timedelta(days=begins)).not_valid_after(now + datetime.timedelta(days=ends)) \
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.mark.proves("4.26", "4.95")
@pytest.mark.parametrize(("name", "begins", "ends", "code"), [
    ("", -60, -3, "certificate.expired"), ("other.example.com", -1, 90, "certificate.wrong-name"), ("", 2, 90, "certificate.not-yet"),
    ("", -1, 5, "certificate.ending"),
])
def test_a_certificate_that_cannot_serve(server, name, begins, ends, code):
    paths = server.inside("sed -nE 's/^ *ssl_certificate(_key)? (.*);/\\2/p' /etc/nginx/sites-enabled/bookshop* | sort -u").splitlines()
    server.inside("mkdir -p /var/tmp/kept && for path in " + " ".join(paths) + "; do cp -a $path /var/tmp/kept/; done")
    for path, text in zip(paths, certificate(name or f"{server.name}.example.com", begins, ends)):
        server.inside(f"cat > {path} <<'END'\n{text}END")
    server.reload_nginx()
    try:
        found = examine(server)["codes"][code]
        assert f"{server.name}.example.com" in found["item"]
        assert "quayside.django.site" in found["fix"]
    finally:
        server.inside("for path in " + " ".join(paths) + "; do cp -a /var/tmp/kept/${path##*/} $path; done")
        server.reload_nginx()
    assert bad(examine(server)) == set()


# No host, or no release


def test_a_host_without_a_login_is_a_finding_of_the_report(server):
    found = examine(server, "-e", "ansible_port=9", "-e", "base_way_in_timeout=3", "-e", "base_bootstrap_ports=[9]", rc=2)
    assert found["codes"]["host.unreachable"]["host"] == server.name


def test_an_app_that_was_never_deployed_is_told_as_such(server):
    def change(app):
        app.update(name="annex", root="/opt/annex", user="annex", database={"engine": "none"}, cache={"engine": "none"}, edge="none")

    found = examine(server, apps=change, rc=0)["codes"]["release.none"]
    assert found["severity"] == "note"
