# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads: its own settings, the routes of an app, and where the live release is reached. Pure.

The routes (``<app>.yml``) follow the inventory and refer to services by name. The services (``<app>.live.yml``) are those of the live
release, or the page that says that there is none.
"""
from __future__ import annotations

import dataclasses
import hashlib

from ansible_collections.quayside.django.plugins.module_utils import compose_project, model

FILES = "http://files:8080"    # nginx beside Traefik, for what is on disk
WAITING = "http://files:8081"  # answers 503 to everything
ASKS = "# Asks for: "
PORTS = {"web": 80, "websecure": 443}
QUARTER = 2160  # hours; Traefik's own default for the life of a certificate
FIRST = 100000  # priority of what goes before all routes
MARK = "# Made by quayside.django"
# Taken from a request, never added to: an app may believe them. Traefik itself sets X-Forwarded-For, -Host, -Port, -Proto and X-Real-Ip, but
# not what a WSGI server reads as the same names.
UNTRUSTED = ("Forwarded", "Proxy", "X-Forwarded-Prefix", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
             "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Port", "X_Forwarded_Prefix", "X_Forwarded_Proto", "X_Forwarded_Protocol",
             "X_Forwarded_Scheme", "X_Forwarded_Ssl", "X_Real_Ip")
# Mozilla's intermediate configuration, guidelines 6.0, as Go writes the names; TLS 1.3 has no choice.
CIPHERS = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
           "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
           "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
# What shrinks; the same as nginx's.
TEXTS = ["text/html", "text/plain", "text/css", "text/xml", "text/javascript", "application/javascript", "application/json", "application/manifest+json",
         "application/xml", "application/rss+xml", "application/atom+xml", "application/wasm", "image/svg+xml", "font/ttf", "font/otf"]
BEHIND = "-behind"  # of routers and middlewares for who comes by a trusted proxy


@dataclasses.dataclass(frozen=True)
class Doors:
    """What is known of a host's doors beside its apps.

    ``logins`` is the folder of the files of logins, ``digests`` name of a file -> fingerprint, and ``trusted`` are the proxies before this edge.
    """

    logins: str = ""
    digests: dict = dataclasses.field(default_factory=dict)
    trusted: list | tuple = ()


def render(value: dict, header: str) -> str:
    """Return a file of Traefik's as YAML. It runs such a file through a template engine, so ``{{`` is written as text; a dollar stays one."""
    return f"{MARK}: {header}\n" + compose_project.render(value).replace("$$", "$").replace("{{", '{{"{{"}}')


def services(app: dict, addresses: dict, release: str) -> str:
    """Return the file of services of a release; ``addresses``: process -> host:port."""
    timeouts = {process["name"]: process["timeout"] for process in app["processes"]}
    found, transports = {}, {}
    for name, address in sorted(addresses.items()):
        found[f"{app['name']}-{name}"] = service(f"http://{address}", f"{app['name']}-{name}")
        # No kept connections: a server may close one in the moment in which a request goes out on it, and a POST is not sent twice.
        transports[f"{app['name']}-{name}"] = {"maxIdleConnsPerHost": -1, "forwardingTimeouts": {
            "dialTimeout": "5s", "responseHeaderTimeout": f"{timeouts.get(name, 60)}s"}}
    return render({"http": {"services": found, "serversTransports": transports}} if found else {}, f"release {release} of the app {app['name']}.")


def waiting(app: dict) -> str:
    """Return the file of services of an app without a live release."""
    found = {f"{app['name']}-{process['name']}": service(WAITING) for process in app["processes"] if process["serves"]}
    return render({"http": {"services": found}}, f"no release of the app {app['name']} is live.")


def service(url: str, transport: str = "") -> dict:
    """Return a service with one server."""
    balancer: dict = {"servers": [{"url": url}], "passHostHeader": True}
    return {"loadBalancer": dict(balancer, serversTransport=transport) if transport else balancer}


def routes(app: dict, headers: dict, held: list | tuple = (), asked: list | tuple = (), doors: Doors | None = None) -> str:
    """Return the file of routes of an app.

    ``headers`` are those of every edge answer, beside the app's own. ``held`` are its certificates: the ``names`` that each serves, and
    ``certificate`` and ``key``, paths that Traefik reads, where it has not fetched it itself. ``asked`` are lists of names, each of one
    certificate that Traefik has to fetch and to renew: they are served by HTTPS as soon as it is there, and by HTTP until they are in ``held``.
    """
    secure, doors = [name for one in held for name in one["names"]], doors or Doors()
    http = {"routers": routers(app, secure, asked, doors), "middlewares": middlewares(app, headers, secure, doors),
            "services": {f"{app['name']}-files": service(FILES)}}
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
    rules = [f"HostRegexp(`^[^.]+{name[1:].replace('.', '[.]')}$`)" if name.startswith("*.") else f"Host(`{name}`)" for name in names]
    return rules[0] if len(rules) == 1 else f"({' || '.join(rules)})"


def login(app: dict, path: str, doors: Doors) -> list[str]:
    """Return the middleware that asks for a login at a path, in a list; of paths in one another the longest. Nothing where nobody has to.

    Traefik reads a file of logins only when it builds the middleware, so its name changes with what is in the file.
    """
    found = max((allow for allow in model.allowed(app) if allow["login"] and path.startswith(allow["path"])), key=lambda one: len(one["path"]), default=None)
    return [f"{app['name']}-login-{found['login'].rpartition('-')[2]}-{doors.digests.get(found['login'], 'new')}"] if found else []


def cuts(app: dict, doors: Doors) -> list[dict]:
    """Return where paths part: path, the service behind it, and the middlewares that hold there, the strictest first."""
    targets = {route: f"{app['name']}-{process['name']}" for process in app["processes"] for route in process["routes"]}
    files = [frontend["route"] for frontend in app["frontends"]] + [app[field]["url"] for field in ("static", "media") if app[field]["url"]]
    targets.update(dict.fromkeys(files, f"{app['name']}-files"))
    found = []
    parted = {path for limit in app["limits"] for path in [limit["path"], *limit["exempt"]]} | {allow["path"] for allow in app["allow"]}
    for path in sorted({*targets, *parted}):
        prefix = max((route for route in targets if path.startswith(route)), key=len, default="")
        if not prefix:
            continue
        addressed = [f"{app['name']}-allow-{number}" for number, allow in enumerate(app["allow"], 1)
                     if allow["addresses"] and path.startswith(allow["path"])]
        addressed += [f"{app['name']}-limit-{number}" for number, limit in enumerate(app["limits"], 1)
                      if path.startswith(limit["path"]) and not path.startswith(tuple(limit["exempt"]))]
        found.append({"path": path, "service": targets[prefix], "addressed": addressed, "login": login(app, path, doors)})
    return found


def routers(app: dict, secure: list | tuple = (), asked: list | tuple = (), doors: Doors | None = None) -> dict:
    """Return the routers of an app by name: over HTTP for names without a certificate, over HTTPS for those with one, or soon with one."""
    name, served = app["name"], [app["canonical"]] if app["canonical"] else app["domains"]
    others = [domain for domain in app["domains"] if domain not in served]
    soon = [*secure, *(domain for names in asked for domain in names)]
    web, found = {"entryPoints": ["web"]}, {}
    if secure:
        found[f"{name}-plain"] = router(host_rule(sorted(secure, key=app["domains"].index)), "noop@internal",
                                        [f"{name}-headers", f"{name}-to-canonical" if others else f"{name}-to-https"], FIRST, web)
    entries = [("", [one for one in app["domains"] if one not in secure], web)]
    entries += [("-tls", [one for one in app["domains"] if one in soon], {"entryPoints": ["websecure"], "tls": tls(app, asked)})]
    for suffix, domains, entry in entries:
        away, here = [one for one in domains if one in others], [one for one in domains if one in served]
        if away:
            found[f"{name}-other-names{suffix}"] = router(host_rule(away), "noop@internal", [f"{name}-headers{suffix}", f"{name}-to-canonical"], FIRST, entry)
        if here:
            parts = content(app, host_rule(here), entry, f"{name}-headers{suffix}", doors or Doors())
            found.update({f"{key}{suffix}": value for key, value in parts.items()})
    return dict(found, **listeners(app))


def content(app: dict, host: str, entry: dict, headers: str, doors: Doors) -> dict:
    """Return the routers of what an app serves, for a rule of its names at one entry. ``headers`` is the middleware that all answers pass."""
    name, found = app["name"], {}
    # An encoded slash is none for a route, and one for the app: /admin%2F would pass by the list of /admin/.
    hidden = "(PathRegexp(`(?i)%2f`) || (PathRegexp(`/[.]`) && !PathPrefix(`/.well-known/`)))"
    found[f"{name}-hidden"] = router(f"{host} && {hidden}", f"{name}-files", [headers, f"{name}-nowhere"], FIRST - 1, entry)
    exempt, parts = app["health"]["path"].partition("?")[0], cuts(app, doors)
    behind = " || ".join(f"ClientIP(`{proxy}`)" for proxy in doors.trusted)
    asked = max((cut for cut in parts if exempt.startswith(cut["path"])), key=lambda cut: len(cut["path"]), default=None)
    for number, cut in enumerate(parts, 1):
        # The headers come first: an answer that another one gives has them too.
        first = [headers, f"{name}-compress"]
        last = cut["login"] + ([] if cut["service"] == f"{name}-files" else [f"{name}-request"])
        rule, priority = f"{host} && PathPrefix(`{cut['path']}`)", 1000 + 10 * len(cut["path"])
        found[f"{name}-{number}"] = router(rule, cut["service"], first + cut["addressed"] + last, priority, entry)
        if cut["addressed"] and behind:
            found[f"{name}-{number}{BEHIND}"] = router(f"{rule} && ({behind})", cut["service"], first + [one + BEHIND for one in cut["addressed"]] + last,
                                                       priority + 1, entry)
        if cut is asked and (cut["addressed"] or cut["login"]):
            found[f"{name}-health"] = router(f"{host} && Path(`{exempt}`)", cut["service"], [headers, f"{name}-request"], FIRST - 2, entry)
    for number, frontend in enumerate(app["frontends"], 1):
        if frontend["route"].endswith("/") and frontend["route"] != "/":
            # nginx sends it on to the path with the slash.
            found[f"{name}-frontend-{number}"] = router(f"{host} && Path(`{frontend['route'].rstrip('/')}`)", f"{name}-files", [headers],
                                                        FIRST - 3, entry)
    return found


def listeners(app: dict) -> dict:
    """Return the routers of the ports on the host's loopback; who asks for localhost there is given the name that the app knows."""
    found = {}
    for process in app["processes"]:
        if process["listen"]:
            service, entry = f"{app['name']}-{process['name']}", {"entryPoints": [f"listen-{process['listen']}"]}
            found[f"{service}-listen"] = router("PathPrefix(`/`)", service, [f"{app['name']}-request", f"{app['name']}-listen"], 1, entry)
            found[f"{service}-listen-local"] = router("Host(`localhost`) || Host(`127.0.0.1`)", service, [
                f"{app['name']}-request", f"{app['name']}-listen", f"{app['name']}-listen-host"], 2, entry)
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


def middlewares(app: dict, headers: dict, secure: list | tuple = (), doors: Doors | None = None) -> dict:
    """Return the middlewares of an app by name."""
    name, doors = app["name"], doors or Doors()
    found: dict = {f"{name}-headers": {"headers": {"customResponseHeaders": response_headers(app, headers, False, bool(doors.trusted))}},
                   f"{name}-nowhere": {"replacePath": {"path": "/.nowhere"}},
                   f"{name}-compress": {"compress": {"includedContentTypes": TEXTS, "minResponseBodyBytes": 1024}},
                   f"{name}-request": {"headers": {"customRequestHeaders": dict.fromkeys(UNTRUSTED, "")}}}
    if app["scheme"] == "https":
        found[f"{name}-headers-tls"] = {"headers": {"customResponseHeaders": response_headers(
            app, headers, app["tls"]["mode"] != "selfsigned", bool(doors.trusted))}}
    if app["scheme"] == "https":
        found[f"{name}-to-https"] = {"redirectScheme": {"scheme": "https", "permanent": True}}
    if app["canonical"]:
        scheme = "https" if app["canonical"] in secure else "http"
        found[f"{name}-to-canonical"] = {"redirectRegex": {"regex": "^[a-z]+://[^/]+/(.*)$", "permanent": True,
                                                           "replacement": f"{scheme}://{app['canonical']}/${{1}}"}}
    if any(process["listen"] for process in app["processes"]):
        found[f"{name}-listen"] = {"headers": {"customRequestHeaders": {"X-Forwarded-Proto": app["scheme"]}}}
        found[f"{name}-listen-host"] = {"headers": {"customRequestHeaders": {"Host": app["health"]["host"], "X-Forwarded-Host": app["health"]["host"]}}}
    # Who comes by a proxy is who the proxy says; asked that way, who comes directly would have no address at all.
    for suffix, who in [("", {}), *([(BEHIND, {"ipStrategy": {"excludedIPs": list(doors.trusted)}})] if doors.trusted else [])]:
        for number, allow in enumerate(app["allow"], 1):
            if allow["addresses"]:
                found[f"{name}-allow-{number}{suffix}"] = {"ipAllowList": {"sourceRange": allow["addresses"], **who}}
        for number, limit in enumerate(app["limits"], 1):
            # Its bucket holds what may come at once; nginx counts the first one apart.
            found[f"{name}-limit-{number}{suffix}"] = {"rateLimit": {"average": limit["rate"], "period": "1s", "burst": limit["burst"] + 1,
                                                                     **({"sourceCriterion": who} if who else {})}}
    for allow in model.allowed(app):
        if allow["login"]:
            # The app has logins of its own, and would refuse those of the edge.
            found[login(app, allow["path"], doors)[0]] = {"basicAuth": {"usersFile": f"{doors.logins}/{allow['login']}", "realm": allow["login"],
                                                                        "removeHeader": True}}
    return found


def ports(apps: list[dict]) -> list[int]:
    """Return the ports on the host's loopback that Traefik listens for."""
    return sorted({process["listen"] for app in apps for process in app["processes"] if process["listen"]})


def settings(apps: list[dict], folder: str, trusted: list[str], read_timeout: int, secrets: dict | None = None, hours: int = QUARTER) -> str:
    """Return Traefik's static settings. ``folder`` is where its dynamic files are, ``trusted`` what stands before it.

    ``secrets`` is app -> its HMAC key (``eab``); ``hours`` is how long certificates of the authority live.
    """
    entries: dict = {name: entry(port, trusted, read_timeout) for name, port in PORTS.items()}
    if any(app["tls"]["http3"] for app in apps):
        entries["websecure"]["http3"] = {}
    entries.update({f"listen-{port}": entry(port, [], read_timeout) for port in ports(apps)})
    entries["ping"] = {"address": "127.0.0.1:81"}
    found: dict = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "INFO", "noColor": True}, "accessLog": {},
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
