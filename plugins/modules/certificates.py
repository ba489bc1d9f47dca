#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Hand to an edge those certificates that can serve
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Looks at each certificate, whether it is there, can be read, belongs to its key, is valid now, and is for all names of its site.
    What can serve is copied into a folder that the edge reads; what cannot is told with the reason, as a warning, and is no failure,
    so that a site can be served by HTTP until its certificate is there.
  - A copy that was made before and whose certificate cannot serve any more is left where it is.
  - An edge in a container runs as nobody in particular and could not read a key of root's, such as those of Let's Encrypt.
options:
  certificates:
    description: The certificates.
    type: list
    elements: dict
    required: true
    suboptions:
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
  folder:
    description: Where the copies are kept. It is made with mode 0750.
    type: path
    required: true
  group:
    description: Number of the group that reads the copies. They belong to root.
    type: int
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
      - name: shop
        names: [shop.example.com]
        certificate: /etc/letsencrypt/live/shop/fullchain.pem
        key: /etc/letsencrypt/live/shop/privkey.pem
    folder: /opt/quayside/edge/certificates
    group: 33
  register: edge_certificates
"""

RETURN = r"""
usable:
  description: Name of each certificate that can serve, with the paths of its copies.
  returned: success
  type: dict
  sample:
    shop: {certificate: /opt/quayside/edge/certificates/shop.crt, key: /opt/quayside/edge/certificates/shop.key}
unusable:
  description: Name of each other certificate, with the reason.
  returned: success
  type: dict
  sample:
    blog: /etc/ssl/blog.crt is not there
copied:
  description: Paths of the copies that changed.
  returned: success
  type: list
  elements: str
  sample: [/opt/quayside/edge/certificates/shop.crt]
"""

import os
import ssl
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quayside.django.plugins.module_utils import host
from ansible_collections.quayside.django.plugins.module_utils.certificates import read, warning, why_not


def judge(module: AnsibleModule, wanted: dict, early: int) -> tuple[str, str]:
    """Return why a certificate cannot serve, and what to warn of when it can."""
    for path in (wanted["certificate"], wanted["key"]):
        if not os.path.isfile(path):
            return "" if module.check_mode and wanted["made"] else f"{path} is not there", ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(wanted["certificate"], wanted["key"])
    except (ssl.SSLError, OSError, ValueError) as error:
        return f"{wanted['certificate']} with the key {wanted['key']} cannot be used: {error}", ""
    openssl = module.get_bin_path("openssl", required=True)
    argv = [openssl, "x509", "-noout", "-startdate", "-enddate", "-ext", "subjectAltName", "-in", wanted["certificate"]]
    # A certificate without alternative names makes openssl complain, but not stop.
    _, out, _ = module.run_command(argv, environ_update={"LC_ALL": "C"})
    try:
        names, begins, ends = read(out)
    except (KeyError, ValueError):
        return f"{wanted['certificate']}: openssl does not tell how long it is valid", ""
    why = why_not(wanted["names"], names, begins, ends, time.time())
    return (f"{wanted['certificate']}: {why}" if why else ""), warning(ends, time.time(), early)


def copy(module: AnsibleModule, source: str, target: str, mode: int, group: int) -> bool:
    """Copy a file whole or not at all; return whether the copy changed."""
    text = host.text(source)
    if module.check_mode:
        return not text or host.text(target) != text
    return host.write(target, text, mode, 0, group)


def main() -> None:
    entry = {
        "name": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "key": {"type": "path", "required": True, "no_log": False},
        "made": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "options": entry, "required": True},
            "folder": {"type": "path", "required": True},
            "group": {"type": "int", "required": True},
            "warn_before": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    folder, group = module.params["folder"], module.params["group"]
    usable, unusable, copied = {}, {}, []
    changed = not os.path.isdir(folder) if module.check_mode else host.folder(folder, 0o750, 0, group)
    for wanted in module.params["certificates"]:
        why, soon = judge(module, wanted, module.params["warn_before"])
        if why:
            unusable[wanted["name"]] = why
            module.warn(f"{wanted['name']}: no TLS, since {why}. The site is served by HTTP until that is put right and this has run again.")
            continue
        if soon:
            module.warn(f"{wanted['name']}: {wanted['certificate']}: {soon}")
        target = {"certificate": f"{folder}/{wanted['name']}.crt", "key": f"{folder}/{wanted['name']}.key"}
        usable[wanted["name"]] = target
        for part, mode in (("key", 0o640), ("certificate", 0o644)):
            if copy(module, wanted[part], target[part], mode, group):
                copied.append(target[part])
    diff = [{"header": path, "before": "", "after": "a new copy\n"} for path in copied]
    module.exit_json(changed=changed or bool(copied), usable=usable, unusable=unusable, copied=copied, diff=diff)


if __name__ == "__main__":
    main()
