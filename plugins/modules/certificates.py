#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Tell an edge which names it can serve by HTTPS, and with which certificate
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Looks at each certificate, whether it is there, can be read, belongs to its key, is valid now, and for which names of its site it is.
    What cannot serve is told with the reason, as a warning, and is no failure, so that a site can be served by HTTP until its certificate is
    there. A certificate for some of the names serves those.
  - What can serve is copied into O(folder), where the edge reads it. One in a container runs as nobody in particular and could not read a key
    of root's, such as those of Let's Encrypt; and no edge refuses to start because somebody took the original away. A copy that was made before
    and whose certificate cannot serve any more is left where it is.
  - Writes a program and its settings (C(/usr/local/lib/quayside/certificate_copies.py), C(/etc/quayside/certificates.json)) that bring renewed
    certificates to the edge, for certbot's hook and a timer.
options:
  certificates:
    description: The certificates. Where two of a site are for one name, the first that can serve has it.
    type: list
    elements: dict
    required: true
    suboptions:
      site:
        description: Name of the site.
        type: str
        required: true
      name:
        description: Name of the copies, C(<name>.crt) and C(<name>.key).
        type: str
        required: true
      names:
        description: Names and addresses that it has to be for.
        type: list
        elements: str
        required: true
      certificate:
        description: Path of the chain, the site's own certificate first.
        type: path
        required: true
      key:
        description: Path of the key.
        type: path
        required: true
      made:
        description: Another task of the run makes it, so in check mode it counts as good though it is not there.
        type: bool
        default: false
      quiet:
        description: Another task of the run tells why it cannot serve, or it is a spare one.
        type: bool
        default: false
  folder:
    description: Where copies are kept; it is made with mode 0750.
    type: path
    required: true
  group:
    description: Number of the group that reads the copies. They belong to root.
    type: int
    default: 0
  test:
    description: Command, a list of words, by which the edge judges its configuration with new certificates.
    type: list
    elements: str
    required: true
  reload:
    description: Command, a list of words, that lets the edge read new certificates.
    type: list
    elements: str
    required: true
  warn_before:
    description: Days before the end of a certificate from which a warning says so.
    type: int
    default: 14
attributes:
  check_mode:
    description: Says what would be copied, and judges the certificates all the same.
    support: full
  diff_mode:
    description: Shows paths, never a key.
    support: full
"""

EXAMPLES = r"""
- name: The edge has the certificates that can serve
  quayside.django.certificates:
    certificates:
      - site: shop
        name: shop
        names: [shop.example.com, www.example.com]
        certificate: /etc/letsencrypt/live/shop/fullchain.pem
        key: /etc/letsencrypt/live/shop/privkey.pem
    folder: /opt/quayside/edge/certificates
    group: 33
    test: [docker, exec, quayside-edge-nginx-1, nginx, -t]
    reload: [docker, exec, quayside-edge-nginx-1, nginx, -s, reload]
  register: edge_certificates
"""

RETURN = r"""
usable:
  description: Each site that can be served by HTTPS, with its certificates, and the names that each of them serves.
  returned: success
  type: dict
  sample:
    shop:
      - names: [shop.example.com]
        certificate: /opt/quayside/edge/certificates/shop.crt
        key: /opt/quayside/edge/certificates/shop.key
unusable:
  description: Name of each certificate that cannot serve, with the reason.
  returned: success
  type: dict
  sample:
    blog: /etc/ssl/blog.crt is not there
plain:
  description: Each site with names that no certificate is good for, and those names.
  returned: success
  type: dict
  sample:
    shop: [www.example.com]
copied:
  description: Paths of the copies, and of the program and its settings, that changed.
  returned: success
  type: list
  elements: str
  sample: [/opt/quayside/edge/certificates/shop.crt]
"""

import json
import os
import ssl
import time

from ansible_collections.quayside.django.plugins.module_utils import certificate_copies, host
from ansible_collections.quayside.django.plugins.module_utils.certificates import covered, listed, read, share, warning, why_not
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils.runtime import source_of

PROGRAM, SETTINGS = "/usr/local/lib/quayside/certificate_copies.py", "/etc/quayside/certificates.json"


def judge(module: AnsibleModule, wanted: dict, early: int) -> tuple[str, list[str], str]:
    """Return why a certificate cannot serve, else the names that it is good for and what to warn of."""
    for path in (wanted["certificate"], wanted["key"]):
        if not os.path.isfile(path):
            made = module.check_mode and wanted["made"]
            return ("", wanted["names"], "") if made else (f"{path} is not there", [], "")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(wanted["certificate"], wanted["key"], password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = "the key does not belong to it" if "MISMATCH" in str(error) else str(error)
        return f"{wanted['certificate']} with the key {wanted['key']} cannot be used: {why}", [], ""
    openssl = module.get_bin_path("openssl", required=True)
    argv = [openssl, "x509", "-noout", "-startdate", "-enddate", "-ext", "subjectAltName", "-in", wanted["certificate"]]
    # A certificate without alternative names makes openssl complain, but not stop.
    _, out, _ = module.run_command(argv, environ_update={"LC_ALL": "C"})
    try:
        names, begins, ends = read(out)
    except (KeyError, ValueError):
        return f"{wanted['certificate']}: openssl does not tell how long it is valid", [], ""
    why = why_not(wanted["names"], names, begins, ends, time.time())
    if why:
        return f"{wanted['certificate']}: {why}", [], ""
    good = covered(wanted["names"], names)
    missing = [name for name in wanted["names"] if name not in good]
    notes = [f"it is for {listed(names)}, not for {', '.join(missing)}, served by HTTP" if missing else "", warning(ends, time.time(), early)]
    return "", good, "; ".join(note for note in notes if note)


def copy(module: AnsibleModule, source: str, target: str, mode: int, group: int) -> bool:
    """Copy a file whole or not at all; return whether the copy changed."""
    text = host.text(source)
    if module.check_mode:
        return not text or host.text(target) != text
    return host.write(target, text, mode, 0, group)


def program(params: dict) -> dict:
    """Return path -> text of what brings renewed certificates to the edge."""
    settings = {key: params[key] for key in ("folder", "group", "test", "reload")}
    entries = [{key: wanted[key] for key in ("name", "certificate", "key")} for wanted in params["certificates"]]
    return {PROGRAM: source_of(certificate_copies), SETTINGS: json.dumps(dict(settings, certificates=entries), indent=1) + "\n"}


def put(module: AnsibleModule, path: str, text: str) -> bool:
    """Write a file of root's; return whether it changed."""
    if host.text(path) == text:
        return False
    if not module.check_mode:
        host.folder(os.path.dirname(path), 0o755)
        host.write(path, text)
    return True


def main() -> None:
    entry = {
        "site": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "key": {"type": "path", "required": True, "no_log": False},
        "made": {"type": "bool", "default": False},
        "quiet": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "options": entry, "required": True},
            "folder": {"type": "path", "required": True},
            "group": {"type": "int", "default": 0},
            "test": {"type": "list", "elements": "str", "required": True},
            "reload": {"type": "list", "elements": "str", "required": True},
            "warn_before": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    folder, group = module.params["folder"], module.params["group"]
    found, unusable, copied = [], {}, []
    changed = not os.path.isdir(folder) if module.check_mode else host.folder(folder, 0o750, 0, group)
    for wanted in module.params["certificates"]:
        why, good, soon = judge(module, wanted, module.params["warn_before"])
        if why:
            unusable[wanted["name"]] = why
            if not wanted["quiet"]:
                module.warn(f"{wanted['site']}: no HTTPS for {', '.join(wanted['names'])}, since {why}. They are served by HTTP; put that right, then run "
                            "quayside.django.certificates.")
            continue
        if soon and not wanted["quiet"]:
            module.warn(f"{wanted['site']}: {wanted['certificate']}: {soon}")
        place = {"certificate": f"{folder}/{wanted['name']}.crt", "key": f"{folder}/{wanted['name']}.key"}
        for part, mode in (("key", 0o640), ("certificate", 0o644)):
            if copy(module, wanted[part], place[part], mode, group):
                copied.append(place[part])
        found.append({"site": wanted["site"], "good": good, **place})
    copied += [path for path, text in program(module.params).items() if put(module, path, text)]
    usable = share(found)
    asked: dict = {}
    for wanted in module.params["certificates"]:
        asked.setdefault(wanted["site"], {}).update(dict.fromkeys(wanted["names"]))
    secure = {site: {name for one in held for name in one["names"]} for site, held in usable.items()}
    plain = {site: [name for name in names if name not in secure.get(site, ())] for site, names in asked.items()}
    diff = [{"header": path, "before": "", "after": "a new copy\n"} for path in copied]
    module.exit_json(changed=changed or bool(copied), usable=usable, unusable=unusable, copied=copied, diff=diff,
                     plain={site: names for site, names in plain.items() if names})


if __name__ == "__main__":
    main()
