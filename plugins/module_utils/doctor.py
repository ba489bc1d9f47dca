# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of the doctor: what they are, in which order and words they are told, and when they fail a run. Pure.

A finding is a dict: ``code`` (stable, one of CODES), ``severity``, ``app`` (empty for what is the host's or the inventory's), ``item``, ``reason``,
``fix`` and, when it is told, ``host``. docs/doctor.md explains every code.
"""
from __future__ import annotations

SEVERITIES = ("error", "warning", "note")
FAIL_ON = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
HIDDEN = "(hidden)"
LEAST = 8  # letters of a secret, as the model wants; anything shorter stands in too many words

CODES = {
    "inventory.wrong": "hosts, groups or variables of the inventory are refused",
    "model.wrong": "the app model is refused",
    "env.debug": "DEBUG is on by the env, where it may not be",
    "env.missing": "the settings need a variable that nobody sets",
    "env.removed": "the live release has a variable that the inventory no longer sets, and the settings may need it",
    "env.misspelled": "a variable that is set looks like another one that is read",
    "env.unread": "a variable is set, and nothing in the project reads it",
    "process.kind": "it is not known what a start script starts, or something else runs than the model says",
    "process.ended": "a process of the live release does not run",
    "process.restarting": "a process ended by itself and was restarted",
    "process.unhealthy": "a container's health check fails",
    "process.killed": "the kernel has killed a process for memory",
    "process.memory": "a process is near the limit of its memory",
    "process.volume": "an image makes a volume of its own, which no release after it sees",
    "process.exec": "a start script keeps a shell before its program",
    "release.leftover": "a release that is not live runs",
    "volumes.unused": "volumes without a name are left over",
    "memory.short": "by what the processes take, a deploy will not fit the memory",
    "rotation.interrupted": "a rotation of secrets has not come to its end",
    "secrets.short": "a secret that somebody else has chosen is short",
    "services.shared": "several hosts would have a database or a Redis of their own each",
    "database.unencrypted": "a database elsewhere is reached without TLS",
    "controller.settings": "ansible.cfg of the project lacks what makes runs fast and safe",
    "app.orphan": "an app is installed on the host and in no app of its inventory",
    "host.unreachable": "no login on the host",
    "host.bare": "nothing is set up on the host yet",
    "host.too-small": "the host is too small for its apps",
    "host.below-recommended": "the host is smaller than recommended",
    "doctor.incomplete": "a check could not be made",
    "release.none": "no release of the app is live",
    "release.damaged": "something that the live release starts from is gone, or belongs to another release",
    "release.outdated": "the inventory has changed since the deploy",
    "release.unhealthy": "the health path does not answer as it should",
    "settings.unreadable": "Django does not start in the live release",
    "settings.debug": "DEBUG is on in the live release",
    "hosts.missing-domain": "ALLOWED_HOSTS lacks a domain",
    "hosts.any": "ALLOWED_HOSTS takes any name",
    "csrf.missing-origin": "CSRF_TRUSTED_ORIGINS lacks an origin",
    "proxy.missing-header": "Django does not know that visitors come by HTTPS",
    "proxy.wrong-header": "Django believes a header that any visitor can send",
    "redirect.loop": "Django redirects to HTTPS for ever",
    "redirect.health": "the redirect to HTTPS answers the health check",
    "cookies.secure-without-tls": "cookies are for HTTPS only, and there is none",
    "tls.none": "the app is served without HTTPS",
    "static.root": "collectstatic writes to another folder than the edge serves",
    "static.url": "STATIC_URL is not the path that the edge serves",
    "static.unreadable": "the edge cannot read static files",
    "static.not-served": "a static file does not come through the edge",
    "media.root": "uploads go to another folder than the edge serves",
    "media.url": "MEDIA_URL is not the path that the edge serves",
    "media.unreadable": "the edge cannot read uploaded files",
    "media.not-served": "an uploaded file does not come through the edge",
    "edge.left-out": "the edge leaves out what it cannot build",
    "check": "a finding of manage.py check --deploy, as check.<its id>",
    "migrations.unapplied": "the live release has migrations that are not applied",
    "database.invalid-index": "an index is left over from a CREATE INDEX CONCURRENTLY that did not end",
    "database.unreachable": "the app does not reach its database",
    "connections.too-few": "a deploy needs more connections than the database gives",
    "connections.nearly-used": "most connections of the database are in use",
    "dns.unresolved": "a domain has no address",
    "dns.elsewhere": "a domain leads to another host",
    "dns.stale-aaaa": "a domain's IPv6 address is not this host's",
    "dns.unknown": "a domain could not be looked up",
    "certificate.missing": "no certificate is served for a domain",
    "certificate.expired": "a certificate has ended",
    "certificate.not-yet": "a certificate is not valid yet",
    "certificate.wrong-name": "a certificate is for another name",
    "certificate.ending": "a certificate ends soon",
    "certificate.untrusted": "browsers do not trust a certificate, or its chain is incomplete",
    "disk.full": "hardly any space is left",
    "disk.low": "little space is left",
    "inodes.full": "hardly any inodes are left",
    "inodes.low": "few inodes are left",
    "clock.offset": "the host's clock is wrong",
    "clock.unsynchronized": "nothing keeps the host's clock right",
    "packages.broken": "dpkg was interrupted, or a package is half installed",
    "packages.unreachable": "a package source does not answer",
    "packages.stale": "the package lists are old, or were never fetched",
    "packages.no-security": "no source of security updates",
    "packages.not-automatic": "security updates do not install by themselves",
    "packages.updates": "security updates wait",
    "packages.end-of-life": "the release of the operating system gets no more security updates",
    "packages.reboot": "an update wants a reboot",
    "units.failed": "a unit has failed",
    "lock.left": "a run that died has left the app's lock",
    "lock.held": "a run holds the app's lock",
}


def finding(code: str, severity: str, item: str, reason: str, fix: str, app: str = "") -> dict:
    """Return a finding; raise KeyError for a code that is not in CODES, and ValueError for an unknown severity or an empty text."""
    CODES[code if code in CODES else code.partition(".")[0]]
    if severity not in SEVERITIES or not (item and reason and fix):
        raise ValueError(f"{code}: a finding has a severity of {', '.join(SEVERITIES)}, an item, a reason and a fix")
    return {"code": code, "severity": severity, "app": app, "item": item, "reason": reason, "fix": fix}


def of_text(code: str, severity: str, text: str) -> dict:
    """Return a finding of a sentence such as ``app shop: what is wrong: what to do`` or ``what is wrong: what to do``."""
    parts = text.split(": ")
    about = parts[0].startswith(("app ", "host ")) or len(parts) > 2
    item = parts.pop(0) if about and len(parts) > 1 else "the inventory"
    fix = parts.pop() if len(parts) > 1 else "correct it in the inventory (docs/app-model.md)"
    return finding(code, severity, item, ": ".join(parts), fix, item.removeprefix("app ") if item.startswith("app ") else "")


def of_apps(found: list[str]) -> list[dict]:
    """Return findings of the sentences that ``preflight.apps`` returns."""
    codes = (("is on in", "env.debug"), ("database.connections is", "connections.too-few"))
    return [of_text(next((code for words, code in codes if words in text), "model.wrong"), "error", text) for text in found]


def scrub(value, secrets):
    """Return ``value`` with every text of ``secrets`` hidden; of a dict and a list all that is in it."""
    if isinstance(value, dict):
        return {key: scrub(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [scrub(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in sorted((one for one in secrets if len(one) >= LEAST), key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
    return value


def ordered(findings: list[dict]) -> list[dict]:
    """Return findings, the worst first, then by host, app, code and item; each once."""
    seen: dict = {}
    for one in findings:
        seen.setdefault((one.get("host", ""), one["app"], one["code"], one["item"], one["reason"]), one)
    return sorted(seen.values(), key=lambda one: (SEVERITIES.index(one["severity"]), one.get("host", ""), one["app"], one["code"], one["item"]))


def counts(findings: list[dict]) -> dict:
    """Return severity -> how many."""
    return {severity: sum(one["severity"] == severity for one in findings) for severity in SEVERITIES}


def fails(findings: list[dict], fail_on: str) -> bool:
    """Return True when one of the findings is as bad as ``fail_on``: error, warning or never."""
    return any(one["severity"] in FAIL_ON[fail_on] for one in findings)


def summary(findings: list[dict]) -> str:
    """Return how many there are, in words."""
    number = counts(findings)
    told = [f"{number[severity]} {severity}{'' if number[severity] == 1 else 's'}" for severity in SEVERITIES if number[severity]]
    return ", ".join(told) or "nothing is wrong"


def text(findings: list[dict]) -> str:
    """Return the findings for people: a line with code and reason, and one with the fix."""
    lines = [f"doctor: {summary(findings)}"]
    for one in ordered(findings):
        where = f"{one['host']}: " if one.get("host") else ""
        lines += [f"{one['severity']:<8}{one['code']}", f"        {where}{one['item']}: {one['reason']}", f"        fix: {one['fix']}"]
    return "\n".join(lines)


def line(one: dict) -> str:
    """Return a finding in one line, as preflight tells it."""
    return f"{one['item']}: {one['reason']}: {one['fix']} [{one['code']}]"


def report(environment: str, hosts: list[str], findings: list[dict], fail_on: str, checked: str) -> dict:
    """Return what CI reads. ``checked`` is the time in UTC, ISO 8601."""
    return {"format": 1, "environment": environment, "checked": checked, "hosts": hosts, "counts": counts(findings), "fail_on": fail_on,
            "failed": fails(findings, fail_on), "findings": ordered(findings)}
