#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: self_signed
short_description: Keep self-signed certificates for names and addresses
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Makes a key (P-256) and a certificate for each entry, and makes both anew when the names change, when the certificate nears
    its end, or when the key does not belong to it.
  - All certificates of a host in one task, with nothing but the C(openssl) command on the host.
options:
  certificates:
    description: The certificates.
    type: list
    elements: dict
    required: true
    suboptions:
      names:
        description: Names and addresses; the first is also the common name.
        type: list
        elements: str
        required: true
      certificate:
        description: Path of the certificate, mode 0644.
        type: path
        required: true
      key:
        description: Path of the key, mode 0600.
        type: path
        required: true
  days:
    description: How long a new certificate lives. Apple's systems refuse more than 825 days.
    type: int
    default: 825
  renew_before:
    description: Days before its end at which a certificate is made anew.
    type: int
    default: 30
attributes:
  check_mode:
    description: Says which certificates would be made, and why.
    support: full
  diff_mode:
    description: Shows names and reason, never a key.
    support: full
"""

EXAMPLES = r"""
- name: The shop has a certificate
  quayside.django.self_signed:
    certificates:
      - names: [shop.example.com, 10.0.0.2]
        certificate: /etc/ssl/quayside/shop.crt
        key: /etc/ssl/quayside/shop.key
"""

RETURN = r"""
made:
  description: Paths of the certificates that were made.
  returned: success
  type: list
  elements: str
  sample: [/etc/ssl/quayside/shop.crt]
"""

import os
import ssl
import time

from ansible_collections.quayside.django.plugins.module_utils.http_health import days_left
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils.self_signed import alternatives, command, why_anew


def reason(module: AnsibleModule, openssl: str | None, wanted: dict, renew_before: int) -> str:
    """Why this certificate has to be made; empty when it can stay."""
    names, certificate, key = wanted["names"], wanted["certificate"], wanted["key"]
    if not (os.path.isfile(certificate) and os.path.isfile(key)) or openssl is None:
        return why_anew(names, None, False, 0, renew_before)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        with open(certificate, encoding="ascii") as handle:
            days = days_left(ssl.PEM_cert_to_DER_cert(handle.read()), time.time())
    except (ssl.SSLError, ValueError):
        return why_anew(names, set(), False, 0, renew_before)
    argv = [openssl, "x509", "-noout", "-ext", "subjectAltName", "-in", certificate]
    _, out, _ = module.run_command(argv, environ_update={"LC_ALL": "C"})
    return why_anew(names, alternatives(out), True, days, renew_before)


def make(module: AnsibleModule, openssl: str, wanted: dict, days: int) -> None:
    """Make key and certificate under other names, then put them in place."""
    certificate, key = wanted["certificate"], wanted["key"]
    for path in (certificate, key):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    old = os.umask(0o077)
    try:
        argv = command(openssl, wanted["names"], days, f"{certificate}.new", f"{key}.new")
        code, _, words = module.run_command(argv, environ_update={"LC_ALL": "C"})
    finally:
        os.umask(old)
    if code != 0:
        module.fail_json(msg=f"openssl made no certificate for {', '.join(wanted['names'])}: {words.strip()}")
    os.chmod(f"{certificate}.new", 0o644)
    os.replace(f"{key}.new", key)
    os.replace(f"{certificate}.new", certificate)


def main() -> None:
    entry = {
        "names": {"type": "list", "elements": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "key": {"type": "path", "required": True, "no_log": False},
    }
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "options": entry, "required": True},
            "days": {"type": "int", "default": 825},
            "renew_before": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params
    openssl = module.get_bin_path("openssl", required=not module.check_mode)
    made, diff = [], []
    for wanted in params["certificates"]:
        if not wanted["names"]:
            module.fail_json(msg=f"{wanted['certificate']}: a certificate needs at least one name; give the app domains")
        why = reason(module, openssl, wanted, params["renew_before"])
        if why:
            made.append(wanted["certificate"])
            after = f"a new certificate for {', '.join(wanted['names'])}\n"
            diff.append({"header": wanted["certificate"], "before": f"{why}\n", "after": after})
            if not module.check_mode:
                make(module, openssl, wanted, params["days"])
    module.exit_json(changed=bool(made), made=made, diff=diff)


if __name__ == "__main__":
    main()
