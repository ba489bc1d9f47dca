#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificates
short_description: Ask an ACME authority for certificates by certbot, for names that lead to this host
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Looks at certbot's certificates. One that is not there, cannot be used, has ended or ends very soon, lacks a name, or is of another
    authority is asked for. What is only due is left to certbot's own timer.
  - Before that, a file is looked for through each name by HTTP. The authority is asked for the names that lead here only. A name that does
    not, and one that the authority refuses, is told as a warning with its reason, and stops no other.
  - Never stops or changes a web server. It has to serve O(webroot) already.
options:
  apps:
    description: Apps with C(name), C(certificates) and C(tls), as the filter P(quayside.django.sites#filter) gives them.
    type: list
    elements: dict
    required: true
  secrets:
    description: App to C(eab) and C(dns), as the filter P(quayside.django.acme_secrets#filter) gives them.
    type: dict
    default: {}
  authorities:
    description: Certificates (PEM) by which private authorities' own servers are known, beside the system's.
    type: list
    elements: str
    default: []
  webroot:
    description: Folder below which the challenges are served.
    type: path
    required: true
  force:
    description: Ask for all of them, though they are good.
    type: bool
    default: false
  look:
    description: >-
      Ask the authority whether it wants a certificate renewed at once, as it says of one that is revoked; and for names, too, that it has refused
      within a day.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would be asked for. Neither the authority nor a name is asked.
    support: full
  diff_mode:
    description: Shows the certificates with the reason why each is asked for.
    support: full
"""

EXAMPLES = r"""
- name: The authority has given what can be had
  quayside.django.acme_certificates:
    apps: "{{ django_apps | quayside.django.sites }}"
    secrets: "{{ django_apps | quayside.django.acme_secrets }}"
    webroot: /var/www/acme
"""

RETURN = r"""
asked:
  description: Name of each certificate that was asked for, with the reason.
  returned: success
  type: dict
  sample:
    shop: there is none
issued:
  description: Name of each certificate that was given, with the names that it is for.
  returned: success
  type: dict
  sample:
    shop: [shop.example.com]
refused:
  description: Each name that has no certificate of today, with the reason.
  returned: success
  type: dict
  sample:
    www.example.com: "www.example.com resolves to no address: add an A record for it that leads here (192.0.2.7)"
"""

import json
import os
import ssl
import tempfile
import time

from ansible_collections.quayside.django.plugins.module_utils import acme, acme_look, acme_reach, host
from ansible_collections.quayside.django.plugins.module_utils.certificates import covered, read
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

BUNDLE = f"{acme.CREDENTIALS}/authorities.crt"
LOG = "/var/log/letsencrypt/letsencrypt.log"
MEMORY = f"{acme.CREDENTIALS}/refused.json"
DROP_IN = "/etc/systemd/system/certbot.service.d/quayside.conf"
SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
BUSY = 60  # seconds to wait for another certbot


def state(name: str) -> dict:
    """Return what certbot has of a certificate."""
    live = f"{acme.FOLDER}/live/{name}"
    certificate, key = f"{live}/fullchain.pem", f"{live}/privkey.pem"
    if not (os.path.isfile(certificate) and os.path.isfile(key)):
        return {"broken": "there is none"}
    if not all(os.path.islink(f"{live}/{part}.pem") for part in ("cert", "chain", "fullchain", "privkey")):
        return {"broken": f"the files in {live} are not certbot's"}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        done = host.run(["openssl", "x509", "-noout", "-startdate", "-enddate", "-ext", "subjectAltName", "-in", certificate], check=False)
        names, begins, ends = read(done.stdout)
    except ssl.SSLError as error:
        return {"broken": "the key does not belong to it" if "MISMATCH" in str(error) else f"it cannot be read: {error}"}
    except (OSError, ValueError, KeyError) as error:
        return {"broken": f"it cannot be read: {error}"}
    return {"broken": "", "names": names, "begins": begins, "ends": ends, "server": acme.server_of(host.text(f"{acme.FOLDER}/renewal/{name}.conf"))}


def prepare(module: AnsibleModule) -> tuple[list[str], dict]:
    """Write what certbot reads beside its arguments; return the paths that changed and the environment that it needs."""
    wanted, authorities = {}, "".join(text.rstrip("\n") + "\n" for text in module.params["authorities"])
    for app in module.params["apps"]:
        if app["tls"]["challenge"] == "dns" and app["tls"]["dns"]["plugin"] != "route53":
            wanted[f"{acme.CREDENTIALS}/{app['name']}.ini"] = acme.ini(module.params["secrets"].get(app["name"], {}).get("dns", {}))
    env = {"REQUESTS_CA_BUNDLE": BUNDLE} if authorities else {}
    if authorities:
        wanted[BUNDLE] = host.text(SYSTEM) + authorities
        wanted[DROP_IN] = f"# Made by quayside.django: renewals know the private authorities, too.\n[Service]\nEnvironment=REQUESTS_CA_BUNDLE={BUNDLE}\n"
    changed = [path for path, text in wanted.items() if host.text(path) != text]
    gone = [path for path in (DROP_IN,) if path not in wanted and os.path.exists(path)]
    if not module.check_mode:
        for path in changed:
            host.folder(os.path.dirname(path), 0o700 if path.endswith(".ini") else 0o755)
            host.write(path, wanted[path], 0o600 if path.endswith(".ini") else 0o644)
        for path in gone:
            host.remove(path)
        if DROP_IN in changed + gone:
            host.systemctl("daemon-reload")
    return changed + gone, env


def certbot(argv: list[str], env: dict):
    """Run certbot; wait for another one that runs."""
    deadline = time.monotonic() + BUSY
    while True:
        done = host.run(argv, check=False, timeout=600, env=env)
        if not done.returncode or "Another instance of Certbot is already running" not in done.stdout + done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(2)


def issue(app: dict, name: str, names: list[str], webroot: str, eab: str, env: dict) -> dict:
    """Ask for one certificate; return name -> reason of those that it is not for in the end."""
    failed: dict = {}
    with tempfile.TemporaryDirectory(prefix="quayside-acme-") as folder:
        secrets = ""
        if app["tls"]["eab"]:
            secrets = f"{folder}/cli.ini"
            host.write(secrets, acme.ini({"eab-kid": app["tls"]["eab"], "eab-hmac-key": eab}), 0o600)
        said, forgotten, before = "", False, len(host.text(LOG))
        while names:
            done = certbot(acme.argv(name, names, app["tls"], webroot, app["name"], secrets), env)
            said = done.stdout + "\n" + done.stderr
            if not done.returncode:
                break
            if acme.lost_account(said) and not forgotten:
                host.remove(acme.accounts(app["tls"]["server"]))
                forgotten = True
                continue
            # Some authorities refuse a whole order for one of its names.
            refused = acme.problems(said, names) or acme.answers(host.text(LOG)[before:], names)
            failed.update(refused or dict.fromkeys(names, acme.last_words(said)))
            names = [one for one in names if one not in failed] if refused else []
    now = state(name)
    has = set() if now["broken"] else now["names"]
    told = {**acme.answers(host.text(LOG)[before:], names), **acme.problems(said, names)}
    for one in names:
        if one not in covered([one], has):
            failed[one] = told.get(one, f"the authority left it out ({LOG})")
    return failed


def remembered() -> dict:
    """Return name -> {at, why} of the names that an authority has refused."""
    try:
        return json.loads(host.text(MEMORY) or "{}")
    except ValueError:
        return {}


def remember(names: list[str], wrong: dict) -> None:
    """Keep what came of these names: since when, and why they were refused."""
    kept = {name: one for name, one in remembered().items() if name not in names}
    kept.update({name: {"at": time.time(), "why": why} for name, why in wrong.items()})
    host.folder(acme.CREDENTIALS, 0o755)
    host.write(MEMORY, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def forget(name: str) -> None:
    """Remove what is left of a certificate that certbot could not go on from; else it would call the next one by another name."""
    for path in (f"live/{name}", f"archive/{name}", f"renewal/{name}.conf"):
        host.remove(f"{acme.FOLDER}/{path}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "authorities": {"type": "list", "elements": "str", "default": []},
            "webroot": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
            "look": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        changed, env = prepare(module)
        asked, issued, refused = {}, {}, {}
        for app in params["apps"]:
            for wanted in app["certificates"]:
                if wanted["spare"]:
                    continue
                found = state(wanted["name"])
                by_hand = "it is asked for by hand" if params["force"] else ""
                if params["look"] and not by_hand and not found["broken"] and not module.check_mode:
                    by_hand = acme_look.why(host.text(wanted["certificate"]), app["tls"]["server"], env.get("REQUESTS_CA_BUNDLE", ""))
                why = found["broken"] or by_hand or acme.why_ask(wanted["names"], found, app["tls"]["server"], time.time())
                if why:
                    asked[wanted["name"]] = why
                if not why or module.check_mode:
                    continue
                names, tls = wanted["names"], app["tls"]
                if tls["challenge"] == "http" and tls["precheck"]:
                    wrong = {name: reason for name, reason in acme_reach.check(names, params["webroot"]).items() if reason}
                    refused.update(wrong)
                    names = [name for name in names if name not in wrong]
                if not params["look"] and not by_hand:
                    again = {name: f"{why} (it was refused within a day, and is asked for again by certificates.yml)"
                             for name, why in acme.recent(remembered(), time.time()).items() if name in names}
                    refused.update(again)
                    names = [name for name in names if name not in again]
                # One that serves all names that can be had is not asked for again at each run, since some name does not lead here yet.
                stays = not by_hand and not found["broken"] and not acme.why_ask(names, found, tls["server"], time.time())
                if not names or stays:
                    continue
                if acme.is_hopeless(found):
                    forget(wanted["name"])
                wrong = issue(app, wanted["name"], names, params["webroot"], params["secrets"].get(app["name"], {}).get("eab", ""), env)
                remember(names, wrong)
                refused.update(wrong)
                if [name for name in names if name not in wrong]:
                    issued[wanted["name"]] = [name for name in names if name not in wrong]
    except host.PhaseError as error:
        module.fail_json(msg=f"{error.reason}\n{error.log}".strip())
    for name, reason in refused.items():
        module.warn(f"{name} has no new certificate, since {reason}. Then run quayside.django.certificates. "
                    "(More of it on the host: /var/log/letsencrypt/letsencrypt.log)")
    told = asked if module.check_mode else issued
    diff = [{"header": f"certificate {name}", "before": f"{asked[name]}\n", "after": "a new one\n"} for name in told]
    module.exit_json(changed=bool(changed or told), asked=asked, issued=issued, refused=refused, diff=diff)


if __name__ == "__main__":
    main()
