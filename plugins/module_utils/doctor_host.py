# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds on a host: names, certificates, room, clock, packages, units, locks. Pure: facts in, findings out."""
from __future__ import annotations

import calendar
import ipaddress
import re
import time

from ansible_collections.quayside.django.plugins.module_utils.doctor import finding
from ansible_collections.quayside.django.plugins.module_utils.host import JOURNAL

DAY = 86400
STALE_LISTS = 7 * DAY
LOW, FULL = 0.10, 0.03
CLOCK_WARNING, CLOCK_ERROR = 2.0, 30.0
# The last day with security updates of the distribution's own, long-term support included.
# https://wiki.debian.org/LTS, https://ubuntu.com/about/release-cycle
END_OF_LIFE = {("debian", "11"): "2026-08-31", ("debian", "12"): "2028-06-30", ("debian", "13"): "2030-06-30",
               ("ubuntu", "20.04"): "2025-05-31", ("ubuntu", "22.04"): "2027-04-30", ("ubuntu", "24.04"): "2029-04-30", ("ubuntu", "26.04"): "2031-04-30"}
RENEW = {
    "selfsigned": "run quayside.django.site, which makes a new one",
    "provided": "put a new chain and key at tls.certificate and tls.key, and run quayside.django.site",
    "acme": "run quayside.django.certificates, which asks for it again and says why it is refused (docs/certificates.md)",
}


# Names


def records(known) -> str:
    """Return which records lead to a host with these addresses; those of the internet count where there are some."""
    public = [one for one in known if one.is_global] or list(known)
    made = [f"{'an A' if version == 4 else 'an AAAA'} record that leads to {', '.join(sorted(str(one) for one in public if one.version == version))}"
            for version in (4, 6) if any(one.version == version for one in public)]
    return "make " + " and ".join(made) if made else "make a record that leads to this host"


def dns(app: dict, domain: str, answer: dict, ours: list[str]) -> list[dict]:
    """Return what is wrong with where a domain leads.

    ``answer``: A and AAAA, lists of addresses, and ``error``. ``ours``: all addresses under which the host is reached.
    """
    item, severity = f"app {app['name']}: domain {domain}", "error" if app["tls"]["mode"] == "acme" else "warning"
    if answer.get("error"):
        return [finding("dns.unknown", "warning", item, answer["error"], "look at /etc/resolv.conf of the host, or set doctor_resolver", app["name"])]
    known = {ipaddress.ip_address(address) for address in ours}
    away = {kind: [one for one in answer[kind] if ipaddress.ip_address(one) not in known] for kind in ("A", "AAAA")}
    here = ", ".join(sorted(str(one) for one in known if one.is_global) or sorted(map(str, known)))
    if not answer["A"] and not answer["AAAA"]:
        return [finding("dns.unresolved", severity, item, "it has neither an A nor an AAAA record", records(known), app["name"])]
    found = []
    if away["A"]:
        found.append(finding("dns.elsewhere", severity, item, f"its A record is {', '.join(away['A'])}, and this host is {here}",
                             "change the record; where a proxy, a CDN or NAT stands before the host, name that address in doctor_addresses", app["name"]))
    if away["AAAA"]:
        stale = bool(answer["A"]) and not away["A"]
        why = ": who prefers IPv6, as certificate authorities do, does not get here" if stale else ""
        found.append(finding("dns.stale-aaaa" if stale else "dns.elsewhere", severity, item,
                             f"its AAAA record is {', '.join(away['AAAA'])}, and this host is {here}{why}",
                             "remove the AAAA record, or make it this host's; for a proxy or a CDN name the address in doctor_addresses", app["name"]))
    return found


# Certificates


def certificate(app: dict, domain: str, seen: dict, now: float, early: float) -> list[dict]:
    """Return what is wrong with the certificate that is served for a domain.

    ``seen``: ``error`` (no handshake), or ``why`` (why it cannot serve; empty when it can), ``begins``, ``ends``, and ``untrusted``.
    """
    item, fix = f"app {app['name']}: certificate of {domain}", RENEW[app["tls"]["mode"]]
    if seen.get("error"):
        return [finding("certificate.missing", "error", item, f"none is served: {seen['error']}", fix, app["name"])]
    if seen.get("why"):
        kind = "expired" if now >= seen["ends"] else "not-yet" if now < seen["begins"] else "wrong-name"
        return [finding(f"certificate.{kind}", "error", item, seen["why"], fix, app["name"])]
    found, days = [], (seen["ends"] - now) / DAY
    if days < early:
        found.append(finding("certificate.ending", "warning", item, f"it ends in {days:.0f} days", fix, app["name"]))
    if seen.get("untrusted") and app["tls"]["mode"] != "selfsigned":
        found.append(finding("certificate.untrusted", "warning", item, f"the host's own store does not trust it: {seen['untrusted']}",
                             "give the whole chain in tls.certificate (fullchain.pem); with an authority of your own this is expected", app["name"]))
    return found


# Room


def disks(mounts: list[dict]) -> list[dict]:
    """Return which file systems lack room. ``mounts``: path, total and free in bytes, inodes and inodes_free, need (bytes that a deploy wants)."""
    found = []
    for one in mounts:
        free, share = one["free"] // 2 ** 20, one["free"] / one["total"] if one["total"] else 1
        clean = "remove what is not needed (journalctl --vacuum-size=500M, docker system df, old uploads), lower keep, or enlarge the disk"
        if share < FULL or one["free"] < one.get("need", 0):
            wants = f", and a deploy wants {one['need'] // 2 ** 20}" if one["free"] < one.get("need", 0) else ""
            found.append(finding("disk.full", "error", f"disk of {one['path']}", f"{free} MiB are free ({share:.0%}){wants}", clean))
        elif share < LOW:
            found.append(finding("disk.low", "warning", f"disk of {one['path']}", f"{free} MiB are free ({share:.0%})", clean))
        share = one["inodes_free"] / one["inodes"] if one["inodes"] else 1
        if share < LOW:
            full = share < FULL
            found.append(finding("inodes.full" if full else "inodes.low", "error" if full else "warning", f"disk of {one['path']}",
                                 f"{one['inodes_free']} of {one['inodes']} inodes are free ({share:.0%}), so no more files can be made soon",
                                 "find the folder with the most files (du --inodes -xS / | sort -n | tail): sessions or caches in files are usual"))
    return found


def size(plan: dict) -> list[dict]:
    """Return what a host's size lacks, of what ``sizing.plan`` found."""
    found = []
    for severity, code, lines in (("error", "host.too-small", plan["findings"]), ("warning", "host.below-recommended", plan["warnings"])):
        for line in lines:
            if "database.connections" in line or line.startswith("disk: only"):
                continue  # connections.too-few and disk.low say it
            head, _, rest = line.partition(": ")
            reason, _, fix = rest.rpartition(": ")
            found.append(finding(code, severity, head, reason or rest, fix if reason else "docs/sizing.md says what is recommended"))
    return found


# Clock


def clock(before: float, there: float, after: float, synchronized) -> list[dict]:
    """Return what is wrong with a host's clock.

    ``there`` was read on the host between ``before`` and ``after`` on the controller, seconds of the epoch. ``synchronized``: True, False, or None
    where that cannot be said (a container has the clock of its machine).
    """
    offset = there - after if there > after else there - before if there < before else 0.0
    found = []
    if abs(offset) > CLOCK_WARNING:
        found.append(finding("clock.offset", "error" if abs(offset) > CLOCK_ERROR else "warning", "clock",
                             f"it is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's",
                             "chronyc tracking says why; run quayside.django.site, which sets up chrony; if this machine's clock is wrong, set that"))
    if synchronized is False:
        found.append(finding("clock.unsynchronized", "warning", "clock", "nothing keeps it right: no time server is followed",
                             "run quayside.django.site (base_time_enabled), and let UDP port 123 out"))
    return found


def tracking(text: str):
    """Return True or False from ``chronyc -c tracking``, None for anything else.

    >>> tracking("A29FC801,162.159.200.1,4,1763730000.1,0.0,0.0,0.0,1,1,1,0.1,0.1,64.2,Normal"), tracking("506 Cannot talk to daemon")
    (True, None)
    """
    fields = text.strip().split(",")
    return fields[-1] == "Normal" and fields[2] != "0" if len(fields) > 10 else None


# Packages


def sources(text: str, deb822: bool) -> list[dict]:
    """Return uri and suite of each enabled binary source of a .list or a .sources file of apt."""
    found = []
    if deb822:
        for block in re.split(r"\n\s*\n", text):
            fields: dict = {}
            key = ""
            for line in (one for one in block.splitlines() if not one.startswith("#")):
                if line[:1] in (" ", "\t"):
                    fields[key] = f"{fields.get(key, '')} {line.strip()}"
                elif ":" in line:
                    key, _, value = line.partition(":")
                    key = key.strip().lower()
                    fields[key] = value.strip()
            if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
                continue
            found += [{"uri": uri, "suite": suite} for uri in fields.get("uris", "").split() for suite in fields.get("suites", "").split()]
        return found
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", " ", line.partition("#")[0]).split()
        if len(words) > 2 and words[0] == "deb":
            found.append({"uri": words[1], "suite": words[2]})
    return found


def is_security(source: dict) -> bool:
    """Return True for a source of security updates."""
    return "-security" in source["suite"] or "/updates" in source["suite"] or "security" in source["uri"]


def packages(seen: dict, now: float) -> list[dict]:
    """Return what is wrong with packages.

    ``seen``: system (id and version), sources, unreachable (uri and suite -> why), lists (time of the last update, 0 for never), broken (lines of dpkg),
    automatic (bool), security (how many updates wait), reboot (names of packages, or None).
    """
    found, fix = [], "run quayside.django.site, and look at /etc/apt/sources.list.d"
    if seen["broken"]:
        found.append(finding("packages.broken", "error", "dpkg", " ".join(seen["broken"])[:200], "dpkg --configure -a, then apt-get --fix-broken install"))
    for place, why in sorted(seen["unreachable"].items()):
        found.append(finding("packages.unreachable", "warning", f"package source {place}", why,
                             "look at the network, the proxy (/etc/apt/apt.conf.d) and the source; without it no package can be installed"))
    if not seen["lists"]:
        found.append(finding("packages.stale", "warning", "package lists", "they were never fetched", "apt-get update, or run quayside.django.site"))
    elif now - seen["lists"] > STALE_LISTS:
        found.append(finding("packages.stale", "warning", "package lists", f"they are {(now - seen['lists']) / DAY:.0f} days old",
                             "apt-get update says why; systemctl status apt-daily.timer"))
    if seen["sources"] and not any(is_security(source) for source in seen["sources"]):
        found.append(finding("packages.no-security", "error", "package sources", "none of them brings security updates", fix))
    if not seen["automatic"]:
        found.append(finding("packages.not-automatic", "warning", "unattended-upgrades", "security updates do not install by themselves",
                             "run quayside.django.site with base_upgrades_enabled: true"))
    if seen["security"]:
        found.append(finding("packages.updates", "note" if seen["automatic"] else "warning", "security updates", f"{seen['security']} wait",
                             "unattended-upgrades installs them within a day; now: unattended-upgrade -v" if seen["automatic"] else "apt-get upgrade"))
    ends = END_OF_LIFE.get(tuple(seen["system"]))
    if ends and now > _moment(ends):
        found.append(finding("packages.end-of-life", "error", " ".join(seen["system"]), f"its security updates ended on {ends}",
                             "set up a new host of a current release and move the apps there"))
    elif ends and now > _moment(ends) - 90 * DAY:
        found.append(finding("packages.end-of-life", "warning", " ".join(seen["system"]), f"its security updates end on {ends}",
                             "plan a new host of a current release"))
    if seen["reboot"] is not None:
        found.append(finding("packages.reboot", "warning", "reboot", f"an update wants one ({', '.join(seen['reboot'][:5]) or 'kernel or libraries'})",
                             "reboot at a quiet moment; the apps come back by themselves"))
    return found


def _moment(day: str) -> float:
    return calendar.timegm(time.strptime(day, "%Y-%m-%d")) + DAY


# Units and runs


# What cannot work in a container, whose kernel is that of its host.
OF_KERNELS = ("systemd-modules-load.service",)


def units(failed: list[str], apps: list[dict], in_container: bool = False) -> list[dict]:
    """Return which units have failed. Those of the apps and of what they need are errors. ``in_container``: the host has no kernel of its own."""
    failed = [unit for unit in failed if not (in_container and unit in OF_KERNELS)]
    needed = ("nginx", "postgresql", "redis", "docker", "certbot", "quayside", *(app["name"] for app in apps))
    return [finding("units.failed", "error" if unit.startswith(needed) else "warning", f"unit {unit}", "it has failed",
                    f"systemctl status {unit}; {JOURNAL} -u {unit} -n 50; then systemctl reset-failed {unit}") for unit in failed]


def lock(app: dict, holder: dict, why_stale: str, since: str) -> list[dict]:
    """Return what is to be said of an app's lock: nothing when it is free."""
    if not holder:
        return []
    item = f"app {app['name']}: lock"
    if why_stale:
        return [finding("lock.left", "note", item,
                        f"{holder.get('who', 'somebody')} left it in phase {holder.get('phase', 'unknown')} since {since}: {why_stale}",
                        "nothing to do: the next run takes it over; look at the ledger for what that run did (quayside.django.status)", app["name"])]
    return [finding("lock.held", "note", item, f"{holder.get('who', 'somebody')} holds it since {since}, in phase {holder.get('phase', 'unknown')}",
                    "ask again when that run has ended", app["name"])]


def unreadable(app: dict, field: str, path: str, seen: dict) -> list[dict]:
    """Return what keeps the edge from files. ``seen``: ``blocked`` (folder or file that the edge's user cannot pass or read), ``owner`` and ``mode`` of it."""
    if not seen.get("blocked"):
        return []
    blocked = seen["blocked"]
    command = f"chgrp www-data {blocked}; chmod {'g+rxs' if seen['folder'] else 'g+r'} {blocked}" if blocked.startswith(f"{app['root']}/") \
        else f"chmod a+{'x' if seen['folder'] else 'r'} {blocked}"
    more = ", or run quayside.django.site, which sets the modes of the app's folders" if seen["folder"] and blocked.startswith(app["root"]) else ""
    return [finding(f"{field}.unreadable", "error", f"app {app['name']}: {path}",
                    f"www-data, whom the edge serves files as, cannot {'enter' if seen['folder'] else 'read'} {blocked} (mode {seen['mode']}, {seen['owner']})",
                    command + more, app["name"])]
