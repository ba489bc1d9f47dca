#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: http_health
short_description: Wait until HTTP endpoints are well
version_added: 0.1.0
author:
  - The quayside.django authors (@quayside)
description:
  - Asks one or many endpoints over TCP, TLS or a unix socket until all of them are well, and fails with the last answer when
    they are not well in time.
  - An endpoint that is not there yet (no socket file, connection refused) is asked again until O(deadline).
  - No redirect is followed; a redirect is an answer with its status.
options:
  url:
    description: Address that begins with C(http://) or C(https://). Give this, O(socket) or O(checks).
    type: str
  socket:
    description: Path of a unix socket on the host.
    type: path
  path:
    description: Path and query to ask for. It replaces the one in O(url).
    type: str
  host:
    description:
      - The Host header. For C(https://) also the name that is sent in the handshake and verified, so that a public name can
        be asked at a local address.
    type: str
  scheme:
    description: Sent as X-Forwarded-Proto, so that an application that insists on HTTPS does not redirect the question.
    type: str
    choices: [http, https]
  status:
    description: Each of these statuses is well.
    type: list
    elements: int
    default: [200]
  text:
    description: Text that the body has to contain.
    type: str
  json:
    description:
      - What the JSON of the body has to contain. Keys that are not named here do not matter, at any depth; lists and values
        have to be equal.
    type: dict
  headers:
    description: Headers of the answer, each with a text that its value has to contain.
    type: dict
  timeout:
    description: Seconds for one whole request.
    type: float
    default: 5
  validate_certs:
    description: Whether the certificate of a C(https://) address has to be trusted.
    type: bool
    default: true
  ca_path:
    description: A file of certificates to trust beside the system's.
    type: path
  certificate_days:
    description: The certificate of a C(https://) address has to live for this many more days. V(0) does not look.
    type: float
    default: 0
  checks:
    description: Several endpoints, all of which have to be well in the same round.
    type: list
    elements: dict
    suboptions:
      name:
        description: What messages call this endpoint.
        type: str
      url:
        description: As O(url).
        type: str
      socket:
        description: As O(socket).
        type: path
      path:
        description: As O(path).
        type: str
      host:
        description: As O(host).
        type: str
      scheme:
        description: As O(scheme).
        type: str
        choices: [http, https]
      status:
        description: As O(status).
        type: list
        elements: int
        default: [200]
      text:
        description: As O(text).
        type: str
      json:
        description: As O(json).
        type: dict
      headers:
        description: As O(headers).
        type: dict
      timeout:
        description: As O(timeout).
        type: float
        default: 5
      validate_certs:
        description: As O(validate_certs).
        type: bool
        default: true
      ca_path:
        description: As O(ca_path).
        type: path
      certificate_days:
        description: As O(certificate_days).
        type: float
        default: 0
  deadline:
    description: Seconds in all. At least one round is asked, even with V(0).
    type: float
    default: 60
  successes:
    description: How many rounds in a row have to be well.
    type: int
    default: 1
  interval:
    description: Seconds between two rounds; V(0.05) where only sockets are asked and V(0.5) elsewhere.
    type: float
attributes:
  check_mode:
    description: It only reads, so it does the same in check mode.
    support: full
  diff_mode:
    description: It changes nothing that could be compared.
    support: none
"""

EXAMPLES = r"""
- name: The new instance answers at its socket
  quayside.django.http_health:
    socket: /opt/bookshop/releases/20261121073000-1a2b3c4/run/web.sock
    path: /healthz/
    host: shop.example.com
    scheme: https
    json: {status: ok, release: 20261121073000-1a2b3c4}
    successes: 3
    deadline: 60

- name: Both domains answer through the edge, with a certificate for two more weeks
  quayside.django.http_health:
    checks:
      - {name: shop, url: "https://127.0.0.1/healthz/", host: shop.example.com, certificate_days: 14}
      - {name: blog, url: "https://127.0.0.1/healthz/", host: blog.example.com, certificate_days: 14}
    deadline: 10

- name: Plain HTTP is sent on to HTTPS
  quayside.django.http_health:
    url: http://shop.example.com/
    status: [301]
    headers: {Location: "https://shop.example.com/"}
"""

RETURN = r"""
attempts:
  description: How many rounds were asked.
  returned: always
  type: int
  sample: 7
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.62
answers:
  description: The last answer of each endpoint.
  returned: always
  type: list
  elements: dict
  contains:
    endpoint:
      description: Name and address.
      type: str
      sample: unix:/opt/bookshop/live/run/web.sock /healthz/
    reason:
      description: Why the answer is not well; empty when it is.
      type: str
      sample: status 500, wanted 200
    status:
      description: The status, or 0 when there was no answer.
      type: int
      sample: 500
    body:
      description: The first bytes of the body.
      type: str
      sample: "<h1>Server Error (500)</h1>"
    seconds:
      description: How long this answer took.
      type: float
      sample: 0.012
    certificate_days:
      description: How many days the certificate has left.
      type: float
      sample: 61.4
"""

from typing import Any

from ansible_collections.quayside.django.plugins.module_utils.http_health import Check, Result, shown, wait
from ansible_collections.quayside.django.plugins.module_utils.printed import AnsibleModule

CHECK_OPTIONS: dict[str, dict[str, Any]] = {
    "url": {"type": "str"},
    "socket": {"type": "path"},
    "path": {"type": "str"},
    "host": {"type": "str"},
    "scheme": {"type": "str", "choices": ["http", "https"]},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "text": {"type": "str"},
    "json": {"type": "dict"},
    "headers": {"type": "dict"},
    "timeout": {"type": "float", "default": 5},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "certificate_days": {"type": "float", "default": 0},
}


def to_check(options: dict[str, Any]) -> Check:
    """Options of the module (or of one of its checks) as a Check; raises ValueError for impossible ones."""
    return Check(
        name=options.get("name") or "",
        url=options["url"] or "",
        socket=options["socket"] or "",
        path=options["path"] or "",
        host=options["host"] or "",
        scheme=options["scheme"] or "",
        status=tuple(options["status"]),
        text=options["text"] or "",
        json=options["json"],
        headers=options["headers"] or {},
        timeout=options["timeout"],
        verify=options["validate_certs"],
        ca=options["ca_path"] or "",
        certificate_days=options["certificate_days"],
    )


def to_return(result: Result) -> dict[str, Any]:
    """What the module returns for a result."""
    answers = [
        {
            "endpoint": outcome.check.label,
            "reason": outcome.reason,
            "status": outcome.answer.status,
            "body": shown(outcome.answer.body),
            "seconds": round(outcome.answer.seconds, 4),
            "certificate_days": outcome.answer.certificate_days,
        }
        for outcome in result.outcomes
    ]
    return {"attempts": result.attempts, "seconds": round(result.seconds, 3), "answers": answers}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CHECK_OPTIONS,
            "checks": {"type": "list", "elements": "dict", "options": {"name": {"type": "str"}, **CHECK_OPTIONS}},
            "deadline": {"type": "float", "default": 60},
            "successes": {"type": "int", "default": 1},
            "interval": {"type": "float"},
        },
        mutually_exclusive=[("url", "socket", "checks")],
        required_one_of=[("url", "socket", "checks")],
        supports_check_mode=True,
    )
    params = module.params
    try:
        checks = [to_check(options) for options in params["checks"] or [params]]
    except ValueError as error:
        module.fail_json(msg=f"This cannot be checked: {error}.")
    result = wait(checks, params["deadline"], params["successes"], params["interval"])
    if not result.ok:
        module.fail_json(msg=f"Not well: {result.reason}", **to_return(result))
    module.exit_json(changed=False, **to_return(result))


if __name__ == "__main__":
    main()
