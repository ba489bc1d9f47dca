# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of an ACME server on each edge, seen from outside: issued, renewed, revoked, ended, for another name, gone; one name that fails."""
import base64
import datetime
import json
import pathlib
import re
import socket
import ssl
import time
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lab import Load, servers

SERVERS = servers(pathlib.Path(__file__).absolute().parents[1])
EDGES = {"ce12": "nginx", "cc13": "nginx_container", "ct13": "traefik"}
LINEAGE = "/etc/letsencrypt/live/bookshop"


def names(server):
    """The names of the bookshop on a server."""
    return [f"one.{server.name}.example.com", f"two.{server.name}.example.com"]


def roots(server, kind="lab_acme"):
    """The root of the ACME server, which no system trusts."""
    trust = ssl.create_default_context(cafile=server.local["lab_ca"])
    return urllib.request.urlopen(server.local[f"{kind}_roots"], timeout=10, context=trust).read().decode()


def served(server, name, kind="lab_acme"):
    """Serial number and names of the certificate that is served for a name, verified as a browser does it; None when it is not."""
    trust = ssl.create_default_context(cadata=roots(server, kind))
    try:
        with socket.create_connection((server.address, 443), 5) as plain, trust.wrap_socket(plain, server_hostname=name) as one:
            found = one.getpeercert()
            return found["serialNumber"], sorted(value for _kind, value in found["subjectAltName"])
    except (OSError, ssl.SSLError):
        return None


def site(server, *words):
    """Run site.yml; what the scenario exposure looks at is left out."""
    return server.play("site", "-e", "exposure_check=false", *words)


def serials(server, kind="lab_acme"):
    """The serial numbers that are served for the bookshop's names."""
    return [(served(server, name, kind) or [None])[0] for name in names(server)]


def pem(server, name):
    """The certificate that is served for a name, whoever has signed it."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((server.address, 443), 5) as plain, trust.wrap_socket(plain, server_hostname=name) as one:
        return ssl.DER_cert_to_PEM_cert(one.getpeercert(True))


def settles(server, before, kind="lab_acme", seconds=20):
    """Wait until both names are served by others than before; workers of before end on their own time."""
    return server.until(lambda: all(one and one not in before for one in serials(server, kind)) and serials(server, kind), seconds, "new certificates")


def by_http(server, name, path="/"):
    """Status and target of a request by HTTP."""
    status, headers, _body = server.get(path, name)
    return status, headers.get("Location", "")


def told(server, what="SECURE_SSL_REDIRECT"):
    """What the live release is told."""
    return re.search(rf'^{what}="(.*)"', server.inside("cat /opt/bookshop/live/env"), re.M)[1]


def load(server):
    """Load on the first name by HTTPS."""
    one = Load(server, "--rate", "20", "--host", names(server)[0])
    server.url, plain = f"https://{server.address}", server.url

    class Secure:
        def __enter__(self):
            return one.__enter__()

        def __exit__(self, *error):
            server.url = plain
            return one.__exit__(*error)

    return Secure()


def made(name, begins, ends, key=None):
    """A certificate of nobody's, as PEM, and its key."""
    key, who = key or ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now + datetime.timedelta(begins), now + datetime.timedelta(ends))
    chain = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), True).sign(key, hashes.SHA256())
    return (chain.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode())


def put(server, path, text):
    """Write a file behind a link of certbot's."""
    server.inside(f"cat > $(readlink -f {path}) <<'END'\n{text}END")


def certbot_only(server):
    """These cases are about what certbot does."""
    if EDGES[server.name] == "traefik":
        pytest.skip("Traefik asks by itself: test_traefik_renews_by_itself_and_no_request_fails, and its accounts are bound in its own settings")


RESTART = {
    "nginx": "systemctl restart nginx",
    "nginx_container": "docker compose -f /opt/quayside/edge/compose.yaml restart nginx",
    "traefik": "docker compose -f /opt/quayside/edge/compose.yaml restart traefik",
}


def stored(server):
    """Path and content of the file in which Traefik keeps the bookshop's certificates."""
    for path in server.inside("ls -t /opt/quayside/edge/acme/bookshop-*.json").split():
        found = json.loads(server.inside(f"cat {path}"))
        if found["quayside-bookshop"]["Account"]["Registration"]["uri"].startswith(server.local["lab_acme"].removesuffix("/dir") + "/"):
            return path, found
    raise AssertionError("Traefik has no account at this authority")


def store(server, chain, key):
    """Put a certificate, or the key alone, in the place of the one that Traefik has fetched."""
    path, found = stored(server)
    for one in found["quayside-bookshop"]["Certificates"]:
        one.update({name: base64.b64encode(text.encode()).decode() for name, text in (("certificate", chain), ("key", key)) if text})
    server.inside(f"cat > {path} <<'END'\n{json.dumps(found)}\nEND")


@pytest.fixture(scope="module", autouse=True)
def ready(server):
    """The bookshop is live."""
    server.deploy("v1")
    server.until(lambda: server.get("/healthz/", names(server)[0], tls=True)[0] == 200, 30, "the bookshop")


@pytest.mark.proves("2.09", "3.18", "4.02", "4.35", "4.37")
def test_both_names_are_served_with_a_certificate_that_verifies(server):
    for name in names(server):
        serial, of = served(server, name)
        assert serial
        assert of == names(server)
        assert by_http(server, name, "/x?y=1") == (301, f"https://{name}/x?y=1")
        assert server.get("/healthz/", name, tls=True)[0] == 200


@pytest.mark.proves("4.38", "4.53")
def test_django_sends_to_https_and_nothing_loops(server):
    assert told(server) == "True"
    assert server.get("/healthz/", names(server)[0], tls=True)[0] == 200
    assert server.get("/", names(server)[1], tls=True)[0] == 200


def test_a_second_run_changes_nothing_and_asks_nobody(server):
    before, log = serials(server), server.inside("stat -c %Y /var/log/letsencrypt/letsencrypt.log 2>/dev/null || true")
    run = site(server)
    assert run.count("changed") == 0, run.out[-3000:]
    assert serials(server) == before
    assert server.inside("stat -c %Y /var/log/letsencrypt/letsencrypt.log 2>/dev/null || true") == log
    assert server.deploy("v1").count("changed") == 0


@pytest.mark.proves("3.64")
def test_status_tells_the_days_that_are_left(server):
    out = server.play("status").out
    for name in names(server):
        assert re.search(rf"https +{re.escape(name)}  (89|90) days left", out), out
    checked = server.play(str(server.inventory.parent / "days.yml"), ok=False, timeout=120)
    assert checked.rc == 2
    assert "days left, wanted 100" in checked.out


@pytest.mark.proves("2.09", "4.82")
def test_a_renewal_is_served_and_no_request_fails(server):
    certbot_only(server)
    before = serials(server)
    with load(server) as running:
        # What certbot.timer starts, with a certificate that is due.
        server.inside("sed -i 's/^# renew_before_expiry = .*/renew_before_expiry = 100 days/' /etc/letsencrypt/renewal/bookshop.conf")
        server.inside("systemctl start certbot.service")
        settles(server, before)
        time.sleep(2)
    server.inside("sed -i 's/^renew_before_expiry = .*/# renew_before_expiry = 30 days/' /etc/letsencrypt/renewal/bookshop.conf")
    assert running.report["requests"] > 50
    assert running.report["failed"] == 0, running.report
    assert server.play("certificates").count("changed") == 0


@pytest.mark.proves("4.33", "4.35")
def test_all_can_be_asked_for_by_hand(server):
    before = serials(server)
    server.play("certificates", "-e", "certificates_force=true")
    settles(server, before)


@pytest.mark.proves("4.35")
def test_the_ones_of_before_stay_where_the_authority_is_away(server):
    """The two edges in containers ask from the network of Docker or from the host; nothing of the authority's is reached from there."""
    before = serials(server)
    rules = [f"{chain} -p tcp --dport 14000 -j REJECT" for chain in ("OUTPUT", *(["DOCKER-USER"] if EDGES[server.name] == "traefik" else []))]
    server.inside("; ".join(f"iptables -I {rule}" for rule in rules))
    try:
        run = server.play("certificates", "-e", "certificates_force=true", timeout=400)
    finally:
        server.inside("; ".join(f"iptables -D {rule}" for rule in rules))
    assert f"{names(server)[0]} has no new certificate, since " in run.out
    assert serials(server) == before
    assert by_http(server, names(server)[0])[0] == 301
    assert server.play("certificates").count("changed") == 0
    assert served(server, names(server)[0])[1] == names(server)


def damages(server):
    """What can be wrong with a certificate, each as a function."""
    one = names(server)[0]
    ended, foreign, other = made(one, -60, -1), made("o.test", -1, 60), made(one, -1, 30)
    if EDGES[server.name] == "traefik":
        return {
            "missing": lambda: server.inside(f"rm {stored(server)[0]}"),
            "ended": lambda: store(server, *ended),
            "of another name": lambda: store(server, *foreign),
            "of another key": lambda: store(server, "", other[1]),
        }
    return {
        "missing": lambda: server.inside(f"rm -rf {LINEAGE}"),
        "ended": lambda: [put(server, f"{LINEAGE}/{file}", text) for file, text in zip(("fullchain.pem", "privkey.pem"), ended)],
        "of another name": lambda: [put(server, f"{LINEAGE}/{file}", text) for file, text in zip(("fullchain.pem", "privkey.pem"), foreign)],
        "of another key": lambda: put(server, f"{LINEAGE}/privkey.pem", other[1]),
    }


@pytest.mark.proves("4.26", "4.27", "4.95")
@pytest.mark.parametrize("damage", ["missing", "ended", "of another name", "of another key"])
def test_what_is_wrong_is_seen_and_mended_by_one_run(server, damage):
    before = serials(server)
    damages(server)[damage]()
    # The edge starts with it or without it: nginx has copies, Traefik asks or has a certificate of its own.
    server.inside(RESTART[EDGES[server.name]])
    server.until(lambda: server.get("/healthz/", names(server)[0], tls=True)[0] == 200, 30, "the edge")
    server.play("certificates")
    settles(server, before)
    assert told(server) == "True"
    assert server.play("certificates").count("changed") == 0


def lineages(server):
    """Certificate and key of each that the edge has of the authority."""
    if EDGES[server.name] != "traefik":
        return [[server.inside(f"cat {LINEAGE}/{file}.pem") + "\n" for file in ("cert", "privkey")]]
    pairs = [[base64.b64decode(one[what]).decode() for what in ("certificate", "key")] for one in stored(server)[1]["quayside-bookshop"]["Certificates"]]
    return [(chain.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n", key) for chain, key in pairs]


@pytest.mark.proves("4.95")
def test_a_revoked_one_is_asked_for_anew(server):
    before = serials(server)
    # By whoever has its key, from a host that has certbot.
    asker = next(one for one in SERVERS if EDGES[one.name] != "traefik")
    for certificate, key in lineages(server):
        asker.inside(f"umask 077; mkdir -p /tmp/revoked; cat > /tmp/revoked/cert.pem <<'END'\n{certificate}END\ncat > /tmp/revoked/key.pem <<'END'\n{key}END\n"
                     "REQUESTS_CA_BUNDLE=/etc/quayside/acme/authorities.crt certbot revoke --non-interactive --no-delete-after-revoke "
                     f"--server {asker.local['lab_acme']} --cert-path /tmp/revoked/cert.pem --key-path /tmp/revoked/key.pem && rm -r /tmp/revoked")
    server.play("certificates")
    settles(server, before)
    assert server.play("certificates").count("changed") == 0


@pytest.mark.proves("4.27", "4.38")
def test_without_its_certificate_a_site_is_served_by_http_and_comes_back(server):
    """Port 80 does not lead to the authority's resolver any more, and the certificate is gone: HTTP, and Django sends nobody away."""
    certbot_only(server)
    one, two = names(server)
    server.inside(f"rm -rf {LINEAGE}; sed -i 's/.* {one}$/192.0.2.1 {one}/; s/.* {two}$/192.0.2.1 {two}/' /etc/hosts 2>/dev/null || "
                  f"{{ sed 's/.* {one}$/192.0.2.1 {one}/; s/.* {two}$/192.0.2.1 {two}/' /etc/hosts > /tmp/hosts; cat /tmp/hosts > /etc/hosts; }}")
    try:
        run = server.play("certificates", ok=False)
        assert run.rc == 2
        assert f"{one} resolves to 192.0.2.1, and this host is" in run.out
        assert "not served by HTTPS" in run.out
        assert served(server, one) is None
        assert server.get("/healthz/", one)[0] == 200
        assert told(server) == "False"
    finally:
        server.inside(f"sed 's/^192.0.2.1 \\(.*\\)$/{server.address} \\1/' /etc/hosts > /tmp/hosts; cat /tmp/hosts > /etc/hosts")
    with load(server):
        pass
    server.play("certificates")
    assert all(serials(server))
    assert told(server) == "True"


@pytest.mark.proves("4.35")
def test_one_name_that_fails_stops_no_other(server):
    """One leads elsewhere, one is refused by the authority, one is new and good."""
    far, blocked, third = f"far.{server.name}.example.com", "blocked.example.com", f"three.{server.name}.example.com"
    server.inside(f"grep -q ' {blocked}$' /etc/hosts || echo '{server.address} {blocked}' >> /etc/hosts")

    def more(app):
        app["domains"] = [*names(server), far, blocked, third]

    wanted = server.changed_app(more)
    run = server.play("certificates", "-e", f"@{wanted}", ok=False)
    assert run.rc == 2
    assert f"{far} (app bookshop)" in run.out
    assert f"{far} resolves to" in run.out
    assert re.search(f"{blocked} has no new certificate, since .*forbidden", run.out)
    assert all(serials(server))
    assert served(server, third)[0]
    assert by_http(server, third) == (301, f"https://{third}/")
    for name in (far, blocked):
        assert served(server, name) is None
        assert server.get("/healthz/", name)[0] != 301
    server.play("certificates")


@pytest.mark.proves("4.35", "4.58")
def test_each_name_can_have_its_own(server):
    def each(app):
        app["tls"] = dict(app["tls"], each=True)

    wanted = server.changed_app(each)
    server.play("certificates", "-e", f"@{wanted}", *(["-e", "certificates_force=true"] if EDGES[server.name] == "traefik" else []))
    for name in names(server):
        serial, of = served(server, name)
        assert serial
        if EDGES[server.name] != "traefik":
            assert of == [name]
    assert server.play("certificates", "-e", f"@{wanted}").count("changed") == 0
    server.play("certificates")


def test_an_account_can_be_bound(server):
    def bound(app):
        app["tls"] = dict(app["tls"], server="{{ lab_acme_eab }}", eab="{{ lab_acme_eab_id }}")
        app["secrets"] = "{{ vault_bookshop | combine({'ACME_EAB_HMAC_KEY': lab_acme_eab_key}) }}"

    certbot_only(server)
    wanted = server.changed_app(bound)
    run = server.play("certificates", "-e", f"@{wanted}", "-vvv")
    assert all(serials(server, "lab_acme_eab"))
    assert server.local["lab_acme_eab_key"] not in run.out
    assert not server.inside(f"grep -rl {server.local['lab_acme_eab_key']} /etc/letsencrypt /var/log /opt/bookshop /etc/quayside 2>/dev/null || true")
    server.play("certificates")
    assert all(serials(server))


def test_a_star_is_asked_for_by_dns(server):
    """The authority reads the zone of the lab's name server, into which certbot's plugin or Traefik's provider writes what it wants to see."""
    plain, star = f"star.{server.name}.example.com", f"*.star.{server.name}.example.com"
    address = server.local["lab_dns"].split(":")[0]
    credentials = {
        "RFC2136_NAMESERVER": server.local["lab_dns"], "RFC2136_TSIG_KEY": "{{ lab_dns_key }}.", "RFC2136_TSIG_ALGORITHM": "{{ lab_dns_algorithm }}.",
        "RFC2136_TSIG_SECRET": "ZONE_KEY",
    } if EDGES[server.name] == "traefik" else {
        "dns_rfc2136_server": address, "dns_rfc2136_name": "{{ lab_dns_key }}", "dns_rfc2136_algorithm": "{{ lab_dns_algorithm | upper }}",
        "dns_rfc2136_secret": "ZONE_KEY",
    }

    def by_dns(app):
        dns = {"plugin": "rfc2136", "credentials": credentials, "propagation": 2, "resolvers": [server.local["lab_dns"]]}
        app["domains"] = [plain, star]
        app["tls"] = dict(app["tls"], server="{{ lab_acme_dns }}", challenge="dns", dns=dns)
        app["secrets"] = "{{ vault_bookshop | combine({'ZONE_KEY': lab_dns_secret}) }}"

    wanted = server.changed_app(by_dns)
    run = server.play("deploy", "-e", f"@{wanted}", "-e", "version=v1", ok=False)
    assert re.search(rf"(nginx|Traefik) does not serve {re.escape(plain)}: run quayside.django.site for this host first", run.out), run.out[-3000:]
    run = server.play("certificates", "-e", f"@{wanted}", "-vvv")
    for name in (plain, f"any.{plain}"):
        serial, of = served(server, name, "lab_acme_dns")
        assert serial
        assert of == sorted([plain, star])
    assert server.local["lab_dns_secret"] not in run.out
    holders = server.inside(f"grep -rl {server.local['lab_dns_secret']} /etc /opt /var/log /run 2>/dev/null || true").split()
    assert holders
    readers = "; ".join(f"for one in nobody www-data deploy; do runuser -u $one -- cat {path} >/dev/null 2>&1 && echo $one {path}; done" for path in holders)
    assert server.inside(f"{readers}; true") == ""
    assert server.play("certificates", "-e", f"@{wanted}").count("changed") == 0
    server.play("certificates")
    assert all(serials(server))


@pytest.mark.proves("3.18")
def test_traefik_renews_by_itself_and_no_request_fails(server):
    if EDGES[server.name] != "traefik":
        pytest.skip("certbot renews for nginx")

    def short(app):
        app["tls"] = dict(app["tls"], server="{{ lab_acme_short }}")

    words = ("-e", f"@{server.changed_app(short)}", "-e", "traefik_acme_hours=1")
    server.play("certificates", *words, "-e", "certificates_force=true")
    before = settles(server, [], "lab_acme_short", 60)
    with load(server) as running:
        settles(server, before, "lab_acme_short", 240)
    assert running.report["failed"] == 0, running.report
    assert server.play("certificates", *words).count("changed") == 0


@pytest.mark.proves("4.26", "4.27")
def test_one_of_the_users_own_may_be_missing(server):
    """It is told, the site is served by HTTP, and by HTTPS once it is there."""
    one = names(server)[0]

    def provided(app):
        app["tls"] = {"mode": "provided", "certificate": "/etc/ssl/own/chain.pem", "key": "/etc/ssl/own/key.pem"}

    wanted = server.changed_app(provided)
    server.inside("rm -rf /etc/ssl/own")
    run = site(server, "-e", f"@{wanted}")
    assert "/etc/ssl/own/chain.pem is not there" in run.out
    assert server.get("/healthz/", one)[0] in (200, 301)  # 301 is Django's own, until certificates.yml tells it
    assert served(server, one) is None
    chain, key = made(one, -1, 30)
    server.inside(f"mkdir -p /etc/ssl/own && cat > /etc/ssl/own/chain.pem <<'END'\n{chain}END\ncat > /etc/ssl/own/key.pem <<'END'\n{key}END\n"
                  "chmod 600 /etc/ssl/own/key.pem")
    run = site(server, "-e", f"@{wanted}")
    assert f"not for {names(server)[1]}, served by HTTP" in run.out
    assert server.get("/healthz/", one, tls=True)[0] == 200
    assert by_http(server, one)[0] == 301
    assert server.get("/healthz/", names(server)[1])[0] == 200 or told(server) == "True"
    # One that somebody renews there is brought by the timer's unit.
    chain, key = made(one, -1, 40)
    server.inside(f"cat > /etc/ssl/own/chain.pem <<'END'\n{chain}END\ncat > /etc/ssl/own/key.pem <<'END'\n{key}END\n"
                  "systemctl start quayside-certificates.service")
    serial = x509.load_pem_x509_certificate(chain.encode()).serial_number
    server.until(lambda: x509.load_pem_x509_certificate(pem(server, one).encode()).serial_number == serial, 20, "the new one")
    server.play("certificates")
