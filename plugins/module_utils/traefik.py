# SPDX-License-Identifier: GPL-3.0-or-later
"""What Traefik reads: its own settings, the routes of an app, and where the live release is reached. Pure.

The routes (``<app>.yml``) follow the inventory and refer to services by name. The services (``<app>.live.yml``) are those of the live
release, or the page that says that there is none.
"""
from __future__ import annotations

from ansible_collections.quayside.django.plugins.module_utils import compose_project, model

FILES = "http://files:8080"    # nginx beside Traefik, for what is on disk
WAITING = "http://files:8081"  # answers 503 to everything
RESOLVER = "quayside"
PORTS = {"web": 80, "websecure": 443}
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


def routes(app: dict, headers: dict, certificate: dict | None = None) -> str:
    """Return the file of routes of an app.

    ``headers`` are those of every edge answer, beside the app's own; ``certificate`` has ``certificate`` and ``key``, paths that Traefik
    reads, and is None without one.
    """
    http = {"routers": routers(app), "middlewares": middlewares(app, headers), "services": {f"{app['name']}-files": service(FILES)}}
    found: dict = {"http": http}
    if certificate:
        found["tls"] = {"certificates": [{"certFile": certificate["certificate"], "keyFile": certificate["key"]}]}
    return render(found, f"routes of the app {app['name']}. Changes here are lost at the next run of site.yml.")


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


def cuts(app: dict) -> list[dict]:
    """Return where paths part: path, the service behind it, and the middlewares that hold there, the strictest first."""
    targets = {route: f"{app['name']}-{process['name']}" for process in app["processes"] for route in process["routes"]}
    files = [frontend["route"] for frontend in app["frontends"]] + [app[field]["url"] for field in ("static", "media") if app[field]["url"]]
    targets.update(dict.fromkeys(files, f"{app['name']}-files"))
    found = []
    for path in sorted({*targets, *(allow["path"] for allow in app["allow"]), *(limit["path"] for limit in app["limits"])}):
        prefix = max((route for route in targets if path.startswith(route)), key=len, default="")
        if not prefix:
            continue
        allowed = [f"{app['name']}-allow-{number}" for number, allow in enumerate(app["allow"], 1) if path.startswith(allow["path"])]
        limited = [f"{app['name']}-limit-{number}" for number, limit in enumerate(app["limits"], 1) if path.startswith(limit["path"])]
        found.append({"path": path, "service": targets[prefix], "allowed": allowed, "limited": limited})
    return found


def routers(app: dict) -> dict:
    """Return the routers of an app by name."""
    name, secure = app["name"], app["scheme"] == "https"
    served = [app["canonical"]] if app["canonical"] else app["domains"]
    others = [domain for domain in app["domains"] if domain not in served]
    entry = {"entryPoints": ["websecure" if secure else "web"], **({"tls": tls(app)} if secure else {})}
    host, found = host_rule(served), {}
    if secure:
        found[f"{name}-plain"] = router(host_rule(app["domains"]), "noop@internal", [f"{name}-to-canonical" if others else f"{name}-to-https"], FIRST,
                                        {"entryPoints": ["web"]})
    if others:
        found[f"{name}-other-names"] = router(host_rule(others), "noop@internal", [f"{name}-headers", f"{name}-to-canonical"], FIRST, entry)
    found[f"{name}-hidden"] = router(f"{host} && PathRegexp(`/[.]`) && !PathPrefix(`/.well-known/`)", f"{name}-files", [f"{name}-headers"], FIRST - 1, entry)
    exempt, parts = app["health"]["path"].partition("?")[0], cuts(app)
    asked = max((cut for cut in parts if exempt.startswith(cut["path"])), key=lambda cut: len(cut["path"]), default=None)
    for number, cut in enumerate(parts, 1):
        before = [f"{name}-headers"] + ([] if cut["service"] == f"{name}-files" else [f"{name}-request"])
        found[f"{name}-{number}"] = router(f"{host} && PathPrefix(`{cut['path']}`)", cut["service"], cut["allowed"] + cut["limited"] + before,
                                           1000 + 10 * len(cut["path"]), entry)
        if cut["limited"] and cut is asked:
            found[f"{name}-health"] = router(f"{host} && Path(`{exempt}`)", cut["service"], cut["allowed"] + before, FIRST - 2, entry)
    for number, frontend in enumerate(app["frontends"], 1):
        if frontend["route"].endswith("/") and frontend["route"] != "/":
            # nginx sends it on to the path with the slash.
            found[f"{name}-frontend-{number}"] = router(f"{host} && Path(`{frontend['route'].rstrip('/')}`)", f"{name}-files", [f"{name}-headers"],
                                                        FIRST - 3, entry)
    return dict(found, **listeners(app))


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


def tls(app: dict) -> dict:
    """Return the TLS part of a router."""
    if app["tls"]["mode"] != "acme":
        return {"options": "default"}
    names = [domain for domain in app["domains"] if not model.is_address(domain)]
    domain = {"main": names[0], **({"sans": names[1:]} if names[1:] else {})}
    return {"options": "default", "certResolver": RESOLVER, "domains": [domain]}


def middlewares(app: dict, headers: dict) -> dict:
    """Return the middlewares of an app by name."""
    name = app["name"]
    # A browser that was told to use HTTPS only could not come back where there is none, nor pass the warning of a self-signed certificate.
    strict = app["scheme"] == "https" and app["tls"]["mode"] != "selfsigned"
    own = {key.lower() for key in app["headers"]}
    sent = {key: value for key, value in {**{k: v for k, v in headers.items() if k.lower() not in own}, **app["headers"]}.items()
            if value != "" and (strict or key.lower() != "strict-transport-security")}
    found: dict = {f"{name}-headers": {"headers": {"customResponseHeaders": sent or {"Server": ""}}},
                   f"{name}-request": {"headers": {"customRequestHeaders": dict.fromkeys(UNTRUSTED, "")}}}
    if app["scheme"] == "https":
        found[f"{name}-to-https"] = {"redirectScheme": {"scheme": "https", "permanent": True}}
    if app["canonical"]:
        found[f"{name}-to-canonical"] = {"redirectRegex": {"regex": "^[a-z]+://[^/]+/(.*)$", "permanent": True,
                                                           "replacement": f"{app['url']}${{1}}"}}
    if any(process["listen"] for process in app["processes"]):
        found[f"{name}-listen"] = {"headers": {"customRequestHeaders": {"X-Forwarded-Proto": app["scheme"]}}}
        found[f"{name}-listen-host"] = {"headers": {"customRequestHeaders": {"Host": app["health"]["host"], "X-Forwarded-Host": app["health"]["host"]}}}
    for number, allow in enumerate(app["allow"], 1):
        found[f"{name}-allow-{number}"] = {"ipAllowList": {"sourceRange": allow["addresses"]}}
    for number, limit in enumerate(app["limits"], 1):
        # Its bucket holds what may come at once; nginx counts the first one apart.
        found[f"{name}-limit-{number}"] = {"rateLimit": {"average": limit["rate"], "period": "1s", "burst": limit["burst"] + 1}}
    return found


def ports(apps: list[dict]) -> list[int]:
    """Return the ports on the host's loopback that Traefik listens for."""
    return sorted({process["listen"] for app in apps for process in app["processes"] if process["listen"]})


def settings(apps: list[dict], folder: str, trusted: list[str], read_timeout: int) -> str:
    """Return Traefik's static settings. ``folder`` is where its dynamic files are, ``trusted`` what stands before it."""
    entries: dict = {name: entry(port, trusted, read_timeout) for name, port in PORTS.items()}
    entries.update({f"listen-{port}": entry(port, [], read_timeout) for port in ports(apps)})
    entries["ping"] = {"address": "127.0.0.1:81"}
    found: dict = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False}, "log": {"level": "INFO", "noColor": True}, "accessLog": {},
        "ping": {"entryPoint": "ping"}, "entryPoints": entries,
        # It waits this long after one change for more; its own default of 2 s would hold a switch up.
        "providers": {"providersThrottleDuration": "0.1s", "file": {"directory": folder, "watch": True}},
    }
    asked = [app["tls"] for app in apps if app["tls"]["mode"] == "acme"]
    if asked:
        found["certificatesResolvers"] = {RESOLVER: {"acme": {
            "email": asked[0]["email"], "caServer": asked[0]["server"], "storage": "/acme/acme.json", "httpChallenge": {"entryPoint": "web"}}}}
    return render(found, "Traefik's settings. Changes here are lost at the next run of site.yml.")


def entry(port: int, trusted: list[str], read_timeout: int) -> dict:
    """Return one entry point; it ends idle connections by itself, and lets what runs end before it stops."""
    found: dict = {"address": f":{port}", "transport": {"respondingTimeouts": {"readTimeout": f"{read_timeout}s", "idleTimeout": "65s"},
                                                        "lifeCycle": {"graceTimeOut": "10s"}}}
    return dict(found, forwardedHeaders={"trustedIPs": trusted}) if trusted else found
