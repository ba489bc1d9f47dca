# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads: its own settings, and which names of which app it hands to nginx. Pure.

Traefik ends TLS and fetches certificates. Each request of a known name goes to the nginx beside it, which judges paths, addresses and logins, and
hands on what it has judged. So nothing that Traefik reads can open a path: a router that Traefik leaves out takes the whole name away.
"""
from __future__ import annotations

import hashlib

from ansible_collections.quayside.django.plugins.module_utils import compose_project, model

NGINX = "http://nginx:8080"  # in the network that Traefik and nginx share
ASKS = "# Asks for: "
PORTS = {"web": 80, "websecure": 443}
QUARTER = 2160  # hours; Traefik's own default for the life of a certificate
EXACT, WILDCARD = 200000, 100000  # priorities of names; the length of the rule, which Traefik takes for its own, stays far below
FIRST = 300000  # priority of what goes before all names
API = "127.0.0.1:82"  # in Traefik's container, where nobody else is
MARK = "# Made by quayside.django"
# Mozilla's intermediate configuration, guidelines 6.0, as Go writes the names; TLS 1.3 has no choice.
CIPHERS = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
           "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
           "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
# What shrinks; the same as nginx's.
TEXTS = ["text/html", "text/plain", "text/css", "text/xml", "text/javascript", "application/javascript", "application/json", "application/manifest+json",
         "application/xml", "application/rss+xml", "application/atom+xml", "application/wasm", "image/svg+xml", "font/ttf", "font/otf"]


def render(value: dict, header: str) -> str:
    """Return a file of Traefik's as YAML. It runs such a file through a template engine, so ``{{`` is written as text; a dollar stays one."""
    return f"{MARK}: {header}\n" + compose_project.render(value).replace("$$", "$").replace("{{", '{{"{{"}}')


def service() -> dict:
    """Return the service that leads to nginx.

    No kept connections: nginx closes its own when it is reloaded, maybe in the moment in which a request goes out on one, and a POST is not sent twice.
    """
    return {"loadBalancer": {"servers": [{"url": NGINX}], "passHostHeader": True, "serversTransport": "quayside-nginx"}}


def routes(app: dict, headers: dict, held: list | tuple = (), asked: list | tuple = (), trusted: list | tuple = ()) -> str:
    """Return the file of routes of an app.

    ``headers`` are those of every edge answer, beside the app's own. ``held`` are its certificates: the ``names`` that each serves, and
    ``certificate`` and ``key``, paths that Traefik reads, where it has not fetched it itself. ``asked`` are lists of names, each of one
    certificate that Traefik has to fetch and to renew: they are served by HTTPS as soon as it is there, and by HTTP until they are in ``held``.
    ``trusted`` are the proxies before this edge, which may speak HTTPS for it.
    """
    secure = [name for one in held for name in one["names"]]
    http = {"routers": routers(app, secure, asked), "middlewares": middlewares(app, headers, secure, bool(trusted)),
            "services": {f"{app['name']}-nginx": service()}}
    found: dict = {"http": http}
    own = [{"certFile": one["certificate"], "keyFile": one["key"]} for one in held if one.get("certificate")]
    if own:
        found["tls"] = {"certificates": own}
    note = "\n" + ASKS + " | ".join(" ".join(names) for names in asked) if asked else ""
    return render(found, f"routes of the app {app['name']}. Changes here are lost at the next run of site.yml.{note}")


def asks(text: str) -> list[list[str]]:
    """Return the lists of names that a file of routes asks for.

    >>> asks("# Made by\\n# Asks for: a.test b.test | c.test\\nhttp:\\n")
    [['a.test', 'b.test'], ['c.test']]
    """
    line = next((line for line in text.splitlines() if line.startswith(ASKS)), "")
    return [words.split() for words in line.removeprefix(ASKS).split("|") if words.split()]


def resolver(app: dict) -> str:
    """Return the name of the app's resolver: each has an account, and a file of certificates, of its own."""
    return f"quayside-{app['name']}"


def options(apps: list[dict]) -> str:
    """Return the file of TLS options. A client that asks for an unknown name is refused where every name is sure to have its certificate."""
    names = [domain for app in apps if app["scheme"] == "https" for domain in app["domains"]]
    sure = all(app["tls"]["mode"] in ("none", "provided") for app in apps) and not any(model.is_address(name) for name in names)
    return render({"tls": {"options": {"default": {"minVersion": "VersionTLS12", "sniStrict": bool(names) and sure, "cipherSuites": CIPHERS}}}},
                  "TLS as Mozilla's intermediate configuration has it.")


def host_rule(names: list[str]) -> str:
    """Return the rule for these names; ``*.example.com`` is any one name below it."""
    rules = [f"HostRegexp(`^[^.]+{name[1:].replace('.', '[.]')}$`)" if is_wildcard(name) else f"Host(`{name}`)" for name in names]
    return rules[0] if len(rules) == 1 else f"({' || '.join(rules)})"


def is_wildcard(name: str) -> bool:
    """Return whether a name stands for all names below it."""
    return name.startswith("*.")


def routers(app: dict, secure: list | tuple = (), asked: list | tuple = ()) -> dict:
    """Return the routers of an app by name: over HTTP for names without a certificate, over HTTPS for those with one, or soon with one."""
    name, served = app["name"], [app["canonical"]] if app["canonical"] else app["domains"]
    soon = [*secure, *(domain for names in asked for domain in names)]
    others = [domain for domain in app["domains"] if domain not in served]
    web, found = {"entryPoints": ["web"]}, {}
    if secure:
        away = [f"{name}-headers", f"{name}-to-canonical" if others else f"{name}-to-https"]
        found.update(by_name(f"{name}-plain", sorted(secure, key=app["domains"].index), "noop@internal", away, web))
    entries = [("", [one for one in app["domains"] if one not in secure], web)]
    entries += [("-tls", [one for one in app["domains"] if one in soon], {"entryPoints": ["websecure"], "tls": tls(app, asked)})]
    for suffix, domains, entry in entries:
        found.update(by_name(f"{name}-other-names{suffix}", [one for one in domains if one in others], "noop@internal",
                             [f"{name}-headers{suffix}", f"{name}-to-canonical"], entry))
        found.update(by_name(f"{name}{suffix}", [one for one in domains if one in served], f"{name}-nginx",
                             [f"{name}-headers{suffix}", f"{name}-compress"], entry))
    return found


def by_name(label: str, names: list[str], target: str, through: list[str], entry: dict) -> dict:
    """Return the routers for these names: one for exact names, and one for wildcards, which any app's exact name goes before."""
    found = {}
    for suffix, priority, wild in (("", EXACT, False), ("-below", WILDCARD, True)):
        chosen = [one for one in names if is_wildcard(one) == wild]
        if chosen:
            found[label + suffix] = router(host_rule(chosen), target, through, priority, entry)
    return found


def router(rule: str, target: str, through: list[str], priority: int, entry: dict) -> dict:
    """Return one router."""
    return {**entry, "rule": rule, "priority": priority, "middlewares": through, "service": target}


def tls(app: dict, asked: list | tuple = ()) -> dict:
    """Return the TLS part of a router."""
    if not asked:
        return {"options": "default"}
    domains = [{"main": names[0], **({"sans": names[1:]} if names[1:] else {})} for names in asked]
    return {"options": "default", "certResolver": resolver(app), "domains": domains}


def response_headers(app: dict, headers: dict, strict: bool, trusted: bool) -> dict:
    """Return the headers of an answer by name; an empty value takes away what the app sends. ``strict``: over HTTPS by a certificate to trust."""
    own = {key.lower() for key in app["headers"]}
    sent = {key: value for key, value in {**{k: v for k, v in headers.items() if k.lower() not in own}, **app["headers"]}.items()
            if value != "" and (strict or key.lower() != model.HSTS.lower())}
    if strict and model.hsts(app):
        sent[model.HSTS] = model.hsts(app)
    # A browser that was told to use HTTPS only could not come back where there is none, nor pass the warning of a self-signed certificate.
    if app["tls"]["mode"] == "selfsigned" or not (strict or trusted):
        sent[model.HSTS] = ""
    return sent or {"Server": ""}


def middlewares(app: dict, headers: dict, secure: list | tuple = (), trusted: bool = False) -> dict:
    """Return the middlewares of an app by name. None of them keeps anybody out: that is nginx's work."""
    name = app["name"]
    found: dict = {f"{name}-headers": {"headers": {"customResponseHeaders": response_headers(app, headers, False, trusted)}},
                   f"{name}-compress": {"compress": {"includedContentTypes": TEXTS, "minResponseBodyBytes": 1024}}}
    if app["scheme"] == "https":
        found[f"{name}-headers-tls"] = {"headers": {"customResponseHeaders": response_headers(app, headers, app["tls"]["mode"] != "selfsigned", trusted)}}
        found[f"{name}-to-https"] = {"redirectScheme": {"scheme": "https", "permanent": True}}
    if app["canonical"]:
        scheme = "https" if app["canonical"] in secure else "http"
        found[f"{name}-to-canonical"] = {"redirectRegex": {"regex": "^[a-z]+://[^/]+/(.*)$", "permanent": True,
                                                           "replacement": f"{scheme}://{app['canonical']}/${{1}}"}}
    return found


def transport(seconds: int) -> str:
    """Return the file of how Traefik connects to nginx. ``seconds`` is the longest that an app may think before it answers; nginx keeps the limits."""
    timeouts = {"dialTimeout": "5s", "responseHeaderTimeout": f"{seconds}s"}
    return render({"http": {"serversTransports": {"quayside-nginx": {"maxIdleConnsPerHost": -1, "forwardingTimeouts": timeouts}}}}, "how nginx is reached.")


def patience(apps: list[dict]) -> int:
    """Return the seconds that Traefik waits for an answer: longer than nginx waits for any process, so that it is nginx who says that an app is dead."""
    return 30 + max((process["timeout"] for app in apps for process in app["processes"]), default=60)


def settings(apps: list[dict], folder: str, trusted: list[str], read_timeout: int, secrets: dict | None = None, hours: int = QUARTER) -> str:
    """Return Traefik's static settings. ``folder`` is where its dynamic files are, ``trusted`` what stands before it.

    ``secrets`` is app -> its HMAC key (``eab``); ``hours`` is how long certificates of the authority live.
    """
    entries: dict = {name: entry(port, trusted, read_timeout) for name, port in PORTS.items()}
    if any(app["tls"]["http3"] for app in apps):
        entries["websecure"]["http3"] = {}
    # Without a dashboard, and on the loopback of the container: it says what Traefik left out of its routes.
    entries["traefik"] = {"address": API}
    entries["ping"] = {"address": "127.0.0.1:81"}
    found: dict = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "INFO", "noColor": True}, "accessLog": {},
        "api": {"insecure": True, "dashboard": False},
        "ping": {"entryPoint": "ping"}, "entryPoints": entries,
        # It waits this long after one change for more; its own default of 2 s would hold a switch up.
        "providers": {"providersThrottleDuration": "0.1s", "file": {"directory": folder, "watch": True}},
    }
    asked = {resolver(app): {"acme": account(app, (secrets or {}).get(app["name"], {}).get("eab", ""), hours)} for app in apps if app["tls"]["mode"] == "acme"}
    if asked:
        found["certificatesResolvers"] = asked
    return render(found, "Traefik's settings. Changes here are lost at the next run of site.yml.")


def storage(app: dict) -> str:
    """Return the name of the file of an app's account and certificates: another authority gets another one, since an account is known to its own only."""
    asked = f"{app['tls']['server']} {app['tls']['eab']}"
    return f"{app['name']}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.json"


def account(app: dict, hmac: str, hours: int) -> dict:
    """Return how certificates of an app are asked for."""
    tls = app["tls"]
    found: dict = {"email": tls["email"], "caServer": tls["server"], "storage": f"/acme/{storage(app)}"}
    if tls["challenge"] == "dns":
        wait, ask = {"delayBeforeChecks": f"{tls['dns']['propagation']}s"}, tls["dns"]["resolvers"]
        # Who names servers to ask means those: the zone's own may be out of reach, or unknown to the resolver of the host.
        found["dnsChallenge"] = {"provider": tls["dns"]["plugin"], "propagation": {**wait, **({"disableANSChecks": True} if ask else {})},
                                 **({"resolvers": ask} if ask else {})}
    else:
        found["httpChallenge"] = {"entryPoint": "web"}
    if tls["eab"]:
        found["eab"] = {"kid": tls["eab"], "hmacEncoded": hmac}
    return dict(found, certificatesDuration=hours) if hours != QUARTER else found


def entry(port: int, trusted: list[str], read_timeout: int) -> dict:
    """Return one entry point; it ends idle connections by itself, and lets what runs end before it stops."""
    found: dict = {"address": f":{port}", "transport": {"respondingTimeouts": {"readTimeout": f"{read_timeout}s", "idleTimeout": "65s"},
                                                        "lifeCycle": {"graceTimeOut": "10s"}}}
    return dict(found, forwardedHeaders={"trustedIPs": trusted}) if trusted else found
