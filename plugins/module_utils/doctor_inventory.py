# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds in the inventory alone: what ``env`` of an app says against the rest of its model. Pure; preflight has it in every playbook."""
from __future__ import annotations

import re

from ansible_collections.quayside.django.plugins.module_utils import model, processes, rotation
from ansible_collections.quayside.django.plugins.module_utils.doctor import finding

TRUE = ("1", "true", "yes", "on")


def findings(app: dict) -> list[dict]:
    """Return what is wrong in one app of the model."""
    env = {key: value for key, value in model.environment(app).items() if key in app["env"]}
    return hosts(app, env) + origins(app, env) + files(app, env) + redirect(app, env) + names(app, env) + halfway(app) + short(app) + scripts(app)


def scripts(app: dict) -> list[dict]:
    """Return a finding for each start script, of which nobody has said what it starts."""
    return [finding("process.kind", "warning", f"app {app['name']}: processes[{process['name']}]",
                    f"{'`' + process['command'] + '`' if process['command'] else 'the command of its image'} does not say what it starts: a celery worker "
                    "behind it would take tasks while it is told to end, and a beat would run twice while a deploy hands over",
                    "say it by kind: celery-worker, celery-beat, server or other", app["name"])
            for process in app["processes"] if process["kind"] == "other" and process["unnamed"] and processes.is_wrapper(process["command"])]


def halfway(app: dict) -> list[dict]:
    """Return a finding where two values of a secret are valid, since a rotation was interrupted."""
    _step, changing = rotation.pending(app["secrets"])
    return [finding("rotation.interrupted", "warning", f"app {app['name']}: {', '.join(changing)}",
                    "a rotation was interrupted, so the old value is valid beside the new one", "run quayside.django.rotate again, it goes on where it stopped",
                    app["name"])] if changing else []


def short(app: dict) -> list[dict]:
    """Return a finding of the secrets that are short, and whose length is not ours to choose."""
    found = model.short_secrets(app)
    return [finding("secrets.short", "warning", f"app {app['name']}: {', '.join(found)}",
                    f"less than {model.SECRET_LENGTH} characters can be guessed, and are not hidden in what the doctor prints",
                    "take a longer one where whoever gave it to you can; a PIN or an id stays as it is", app["name"])] if found else []


def words(text: str) -> list[str]:
    """Return the items of a list as settings write it into a variable: with commas, blanks or as JSON."""
    if re.match(r"^\s*[\[(]\s*[\"']", text):
        return re.findall(r"[\"']([^\"']+)[\"']", text)
    return [word for word in re.split(r"[\s,;]+", text) if word]


def takes(allowed: list[str], host: str) -> bool:
    """Return True when ALLOWED_HOSTS takes a host, by Django's own rule. A wildcard needs the pattern that begins with a dot.

    >>> takes([".example.com"], "shop.example.com"), takes(["example.com"], "shop.example.com"), takes([".example.com"], "*.example.com")
    (True, False, True)
    """
    host = host.lower().rstrip(".").removeprefix("*")
    for pattern in (one.lower() for one in allowed):
        if pattern in ("*", host) or (pattern.startswith(".") and (host.endswith(pattern) or host == pattern[1:])):
            return True
    return False


def served_hosts(app: dict) -> list[str]:
    """Return the hosts as Django sees them in a request: IPv6 addresses have brackets."""
    return [f"[{domain}]" if ":" in domain else domain for domain in app["domains"]]


def missing_hosts(app: dict, allowed: list[str], source: str, fix: str) -> list[dict]:
    """Return a finding for each domain, and for the host of the health check, that ALLOWED_HOSTS lacks."""
    found = []
    for host in served_hosts(app):
        if not takes(allowed, host):
            found.append(finding("hosts.missing-domain", "error", f"app {app['name']}: domain {host}",
                                 f"{source} lacks it ({', '.join(allowed) or 'it is empty'}), so Django answers it with 400", fix, app["name"]))
    probe = app["health"]["host"]
    if probe not in app["domains"] and app["edge"] != "none" and not takes(allowed, probe):
        found.append(finding("hosts.missing-domain", "error", f"app {app['name']}: health.host {probe}",
                             f"{source} lacks it, so the health check gets 400 and a deploy fails", fix, app["name"]))
    return found


def hosts(app: dict, env: dict) -> list[dict]:
    """Return what an ALLOWED_HOSTS of the user's own lacks."""
    if "ALLOWED_HOSTS" not in env:
        return []
    return missing_hosts(app, words(env["ALLOWED_HOSTS"]), "env ALLOWED_HOSTS",
                         "remove ALLOWED_HOSTS from env, since it is made from domains, or add the name to it")


def wanted_origins(app: dict) -> list[str]:
    """Return the origins that browsers send for the app's domains."""
    return [f"{app['scheme']}://{host}" for host in served_hosts(app)]


def trusts(origins_: list[str], origin: str) -> bool:
    """Return True when CSRF_TRUSTED_ORIGINS holds an origin, with Django's wildcards (https://*.example.com)."""
    scheme, _, host = origin.lower().partition("://")
    for one in (text.lower() for text in origins_):
        kind, _, pattern = one.partition("://")
        if kind == scheme and (pattern == host or (pattern.startswith("*.") and (host.endswith(pattern[1:]) or host == pattern))):
            return True
    return False


def origins(app: dict, env: dict) -> list[dict]:
    """Return what a CSRF_TRUSTED_ORIGINS of the user's own lacks. It matters where Django does not see by itself that a request came by HTTPS."""
    if "CSRF_TRUSTED_ORIGINS" not in env or app["scheme"] != "https":
        return []
    have = words(env["CSRF_TRUSTED_ORIGINS"])
    return [finding("csrf.missing-origin", "warning", f"app {app['name']}: {origin}",
                    "env CSRF_TRUSTED_ORIGINS lacks it, so forms sent from there may get 403",
                    "remove CSRF_TRUSTED_ORIGINS from env, since it is made from domains and tls, or add the origin to it", app["name"])
            for origin in wanted_origins(app) if not trusts(have, origin)]


def files(app: dict, env: dict) -> list[dict]:
    """Return where env leads static files or uploads elsewhere than the model, which the edge follows."""
    found = []
    for field in ("static", "media"):
        key, url = f"{field.upper()}_URL", app[field]["url"]
        if url and key in env and "://" not in env[key] and env[key].strip("/") != url.strip("/"):
            found.append(finding(f"{field}.url", "warning", f"app {app['name']}: env {key}", f"it is {env[key]}, and the edge serves {url} ({field}.url)",
                                 f"set {field}.url: {env[key]} in the app model instead", app["name"]))
        key, root = f"{field.upper()}_ROOT", app[field]["root"]
        if url and key in env and env[key].rstrip("/") != root.rstrip("/"):
            found.append(finding(f"{field}.root", "warning", f"app {app['name']}: env {key}",
                                 f"it wins over the folder that the edge serves under {url}, and {env[key]} is another one",
                                 f"remove {key} from env; if the settings name a folder of their own, say so by {field}.root", app["name"]))
    return found


def redirect(app: dict, env: dict) -> list[dict]:
    """Return when env asks for HTTPS where the edge has none."""
    if env.get("SECURE_SSL_REDIRECT", "").strip().lower() not in TRUE or app["scheme"] == "https" or app["edge"] == "none":
        return []
    return [finding("redirect.loop", "warning", f"app {app['name']}: env SECURE_SSL_REDIRECT",
                    "tls.mode is none, so Django sends every visitor to an HTTPS that this edge does not have",
                    "set tls.mode (acme, provided or selfsigned), or remove SECURE_SSL_REDIRECT from env", app["name"])]


def derived(app: dict) -> set[str]:
    """Return the names of variables that the model itself gives to an app."""
    bare = dict(app, env={}, secrets={})
    return set(model.release_environment(bare, "0", "0")) | set(model.secret_environment(bare)) | {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL"}


def near(one: str, other: str) -> bool:
    """Return True when two different names are one slip of a key apart: a letter more, less, another, or two swapped; or only their case differs.

    >>> near("ALOWED_HOSTS", "ALLOWED_HOSTS"), near("allowed_hosts", "ALLOWED_HOSTS"), near("CACHE_URL", "CACHE_URL2"), near("MEDIA_URL", "MEDIA_ROOT")
    (True, True, False, False)
    """
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if one.upper() == other.upper():
        return True
    short, long = sorted((one.upper(), other.upper()), key=len)
    start = next((place for place in range(len(short)) if short[place] != long[place]), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1:] and not long[start].isdigit()
    rest = short[start + 1:] == long[start + 1:] and not (short[start].isdigit() or long[start].isdigit())
    return rest or (short[start:start + 2] == long[start:start + 2][::-1] and short[start + 2:] == long[start + 2:])


def names(app: dict, env: dict) -> list[dict]:
    """Return the variables of the user's that are one slip away from one that the model gives."""
    ours = derived(app)
    found = []
    for key in [*env, *app.get("secrets", {})]:
        guess = next((one for one in sorted(ours) if key not in ours and len(one) > 5 and near(key, one)), "")
        if guess:
            found.append(finding("env.misspelled", "warning", f"app {app['name']}: {key}", f"it is no variable that the model makes, and {guess} is",
                                 f"write {guess}, if you mean that one", app["name"]))
    return found
