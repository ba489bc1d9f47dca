# SPDX-License-Identifier: GPL-3.0-or-later
"""What auditors say of a server that serves the bookshop over TLS. `make audit` prints the same figures as a table."""
import json
import re
import subprocess
import threading
import time

import pytest
from lab import BIN, ROOT

RELEASE = {"au12": "12 (version 3)", "au13": "13 (version 1)"}
# What testssl says of the test's own CA, and of what the client and the app decide: it names no place to look certificates up, and the sizes of
# compressed pages are the app's matter.
NOT_OURS = {"cert_revocation", "cert_extlifeSpan", "cert_validityPeriod", "BREACH", "DNS_CAArecord", "engine_problem", "OCSP_stapling", "cert_trust",
            "cert_chain_of_trust", "certificate_transparency", "banner_server", "scanTime", "cert_mustStapleExtension"}
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="cover"; filename="cover.png"\r\nContent-Type: image/png\r\n\r\n%s\r\n--x--\r\n'
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(200_000)


def run(*argv, **options):
    """Run a program of ours; return what it printed, whatever it thinks of what it saw."""
    return subprocess.run([str(word) for word in argv], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, **options).stdout


@pytest.fixture
def row(record_property, server):
    """Say the row of the table: which tool, its figure and the target."""
    def told(tool, figure, target):
        for name, value in (("server", server.name), ("tool", tool), ("figure", figure), ("target", target)):
            record_property(name, str(value))
    return told


@pytest.fixture(scope="session")
def name(server):
    """The name of a server whose bookshop is live."""
    if not server.inside("readlink /opt/bookshop/live || true", check=False):
        server.deploy("v2")
    return f"{server.name}.example.com"


@pytest.fixture(scope="session")
def prober():
    """Return a function that runs testssl in a container of Debian 13, in the network of the servers."""
    servers = json.loads(run("docker", "ps", "--filter", "label=quayside.name=au13", "--format", "{{json .}}").splitlines()[0])
    network = next(iter(json.loads(run("docker", "inspect", servers["ID"]))[0]["NetworkSettings"]["Networks"]))
    recipe = f"FROM {servers['Image']}\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends testssl.sh bind9-host >/dev/null\n"
    image = servers["Image"].split(":")[0] + ":prober"
    done = subprocess.run(["docker", "build", "-q", "-t", image, "-"], check=False, input=recipe, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]

    def probe(server, name):
        script = (f"testssl --quiet --color 0 --warnings off --ip {server.address} --add-ca /ca.pem -p -S -h -U -E --jsonfile /tmp/found.json "
                  f"https://{name}/ >/tmp/said 2>&1; cat /tmp/found.json || tail -5 /tmp/said >&2")
        folder = ROOT / ".cache/audit"
        said = run("docker", "run", "--rm", "--network", network, "--entrypoint", "", "-v", f"{folder}/ca.pem:/ca.pem:ro", image, "bash", "-c", script)
        return json.loads(said)
    return probe


@pytest.fixture(scope="session")
def tls(server, name, prober):
    """What testssl found: id -> list of (severity, finding)."""
    found = {}
    for entry in prober(server, name):
        found.setdefault(entry["id"], []).append((entry["severity"], entry["finding"]))
    return found


@pytest.fixture(scope="session")
def report(server, name):
    """The lines of lynis' report."""
    server.inside("dpkg-query -W lynis >/dev/null 2>&1 || "
                  "{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends lynis; }")
    return server.inside("lynis audit system --quick --no-colors >/dev/null 2>&1; cat /var/log/lynis-report.dat").splitlines()


def test_lynis_index(report, row):
    index = int(next(line.partition("=")[2] for line in report if line.startswith("hardening_index=")))
    row("lynis, hardening index", index, ">= 80")
    assert index >= 80


def test_lynis_warns_of_nothing(report, row):
    warnings = [line for line in report if line.startswith("warning[]")]
    row("lynis, warnings", len(warnings), "0")
    assert warnings == []


def test_ssh_audit_fails_nothing(server, row):
    said = run(BIN / "ssh-audit", "--no-colors", "-p", 7822, server.address)
    fails, warnings = said.count("[fail]"), said.count("[warn]")
    row("ssh-audit, fails (and warnings)", f"{fails} ({warnings})", "0")
    assert "(kex)" in said
    assert fails == 0, said


def test_ssh_audit_policy(server, row):
    policy = f"Hardened Debian {RELEASE[server.name]}"
    said = run(BIN / "ssh-audit", "--no-colors", "-p", 7822, "-P", policy, server.address)
    passed = "Passed" in said
    row(f"ssh-audit, policy {policy}", "passed" if passed else "failed", "passed")
    assert passed, said


def test_gixy_has_nothing_to_say(server, name, row):
    text = server.inside("nginx -T 2>/dev/null")
    said = subprocess.run([str(BIN / "gixy"), "-f", "json", "-"], check=False, input=text, capture_output=True, text=True, timeout=120).stdout
    issues = json.loads(said)
    counts = [sum(issue["severity"].upper() == severity for issue in issues) for severity in ("HIGH", "MEDIUM", "LOW")]
    row("gixy-ng, high/medium/low", "/".join(map(str, counts)), "0/0/0")
    assert text.count("server_name") >= 2
    assert counts == [0, 0, 0], said


def test_testssl_versions(tls, row):
    offered = sorted(version for version in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")
                     if any(finding.startswith("offered") for _severity, finding in tls.get(version, [])))
    row("testssl, versions", " ".join(offered), "TLS1_2 TLS1_3")
    assert offered == ["TLS1_2", "TLS1_3"]


def test_testssl_ciphers(tls, row):
    ciphers = [finding for key, entries in tls.items() if key.startswith("cipher") for _severity, finding in entries if "TLS_" in finding or "ECDHE" in finding]
    old = [cipher for cipher in ciphers if "CBC" in cipher.split()[-1] or not re.search(r"GCM|CHACHA20", cipher)]
    row("testssl, CBC among its ciphers", f"{len(old)} of {len(ciphers)}", "0")
    assert ciphers
    assert old == []


def test_testssl_finds_nothing_of_ours(tls, row):
    bad = {key: entries for key, entries in tls.items() if key not in NOT_OURS and any(
        severity in ("MEDIUM", "HIGH", "CRITICAL", "FATAL") for severity, _finding in entries)}
    row("testssl, NOT ok of ours", len(bad), "0")
    assert tls["heartbleed"][0][0] == "OK"
    assert bad == {}


def test_testssl_sees_hsts(tls, row):
    # "63072000 s" in some versions of testssl, "730 days (=63072000 seconds)" in others
    told = max(int(number) for _severity, finding in tls["HSTS_time"] for number in re.findall(r"\d+", finding))
    row("testssl, HSTS in seconds", told, "63072000")
    assert told == 63072000
    assert "subdomains" in str(tls.get("HSTS_subdomains", "")).lower()


@pytest.mark.parametrize(("process", "most"), [("bookshop-web@", 1.5), ("bookshop-worker-1@", 1.5), ("bookshop-beat@", 1.5), ("nginx.service", 2.8),
                                              ("redis-server@bookshop", 1.5), ("bookshop.service", 0.8), ("quayside-aide", 1.5), ("quayside-debsums", 1.5)])
@pytest.mark.proves("2.47")
def test_a_unit_is_in_its_sandbox(server, name, row, process, most):
    unit = process
    if process.endswith("@"):
        unit = server.inside(f"systemctl list-units --plain --no-legend --state=active '{process}*' | awk '{{print $1}}' | head -1")
    shown = server.inside(f"systemd-analyze security --no-pager {unit} | tail -1")
    figure = float(re.search(r": ([\d.]+) ", shown)[1])
    row(f"systemd-analyze security, {process.rstrip('@').removesuffix('.service')}", figure, f"<= {most}")
    assert figure <= most


def test_the_app_serves_from_its_sandbox_and_takes_uploads(server, name, row):
    book = server.json("/api/books/", host=name, data={"title": "Sandboxes", "price": "9.00"}, tls=True)
    path = f"/api/books/{book['id']}/cover/"
    said = upload(server, name, path)
    address = json.loads(said)["cover"]
    kept = subprocess.run(["curl", "-sk", "--resolve", f"{name}:443:{server.address}", f"https://{name}/{address.split('/', 3)[-1]}"], check=False,
                          capture_output=True, timeout=30).stdout
    row("a cover of 200 kB, uploaded and read", f"{len(kept)} bytes", f"{len(PICTURE)} bytes")
    assert kept == PICTURE


def upload(server, name, path):
    """Send a picture as a form of a browser does; return the answer."""
    return subprocess.run(["curl", "-sk", "--resolve", f"{name}:443:{server.address}", "-H", "Content-Type: multipart/form-data; boundary=x",
                           "--data-binary", "@-", f"https://{name}{path}"], check=False, input=UPLOAD % PICTURE, capture_output=True,
                          timeout=60).stdout.decode()


@pytest.mark.proves("2.54")
def test_twenty_logins_in_ten_seconds_pass_while_auditors_run(server, row):
    auditor = threading.Thread(target=lambda: [run(BIN / "ssh-audit", "-p", 7822, server.address) for _again in range(3)])
    auditor.start()
    began, running = time.monotonic(), []
    for number in range(20):
        running.append(subprocess.Popen(server.ssh_argv("true"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        time.sleep(max(0, began + 0.45 * (number + 1) - time.monotonic()))
    took = time.monotonic() - began
    said = [process.communicate(timeout=120)[0] for process in running]
    auditor.join()
    passed = sum(process.returncode == 0 for process in running)
    row(f"logins of 20 begun in {took:.0f} s, beside ssh-audit", passed, "20")
    assert took < 10.5
    assert passed == 20, said


def test_settings_of_the_kernel_are_in_force(server, row):
    server.inside("systemctl restart ufw")  # as at a boot: it has settings of its own
    wanted = [line.split(" = ") for line in server.inside("cat /etc/sysctl.d/60-quayside-net.conf").splitlines() if " = " in line]
    other = [key for key, value in wanted if server.inside(f"sysctl -n {key}").split() != [value]]
    row("settings of the kernel in force", f"{len(wanted) - len(other)} of {len(wanted)}", "all")
    assert wanted
    assert other == []
