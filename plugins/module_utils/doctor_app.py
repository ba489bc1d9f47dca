# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds in a live release: its settings, as it says them itself, against the app model and the edge. Pure.

``seen`` is what django_probe prints; ``app`` an app of the model without secrets, with ``provides``: the names of all variables that a release gets.
"""
from __future__ import annotations

import difflib
import re

from ansible_collections.quayside.django.plugins.module_utils import migrations, shell_line, units
from ansible_collections.quayside.django.plugins.module_utils.doctor import finding
from ansible_collections.quayside.django.plugins.module_utils.doctor_inventory import TRUE, missing_hosts, near, trusts, wanted_origins

HEADER = "HTTP_X_FORWARDED_PROTO"
# What programs and libraries read by themselves, without a line in the project.
LIBRARIES = re.compile(r"^(AWS|BOTO|CELERY|DD|DJANGO|ELASTIC_APM|FLOWER|GDAL|GEOS|GOOGLE|GUNICORN|HONEYBADGER|LANG|LC|MALLOC|NEW_RELIC|NODE|OMP|OPENAI|OTEL|"
                       r"PG|PIP|PROJ|PROMETHEUS|PYTHON|REDIS|REQUESTS|ROLLBAR|SENTRY|SSL|UVICORN|UWSGI|WEB|XDG)_|^(TZ|LANG|PATH|HOME|PORT|LANGUAGE|WEB_CONCURRENCY|"
                       r"(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy)$|^PYTHON", re.IGNORECASE)
# What the deploy itself needs of the secrets, whatever the settings read.
NEEDED = {"SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD", "DATABASE_URL", "REDIS_URL", "CACHE_URL", "SESSION_URL",
          "CELERY_BROKER_URL", "CELERY_RESULT_URL"}
LEVELS = ((40, "error"), (30, "warning"), (0, "note"))
CHECK_FIXES = {
    "security.W001": "add django.middleware.security.SecurityMiddleware to MIDDLEWARE", "security.W002": "add XFrameOptionsMiddleware to MIDDLEWARE",
    "security.W003": "add django.middleware.csrf.CsrfViewMiddleware to MIDDLEWARE", "security.W004": "set tls.hsts in the app model, or SECURE_HSTS_SECONDS",
    "security.W008": "set SECURE_SSL_REDIRECT = True, or silence it: the edge redirects", "security.W009": "make a SECRET_KEY by `openssl rand -hex 32`",
    "security.W012": "set SESSION_COOKIE_SECURE = True", "security.W016": "set CSRF_COOKIE_SECURE = True", "security.W018": "set DEBUG = False",
    "security.W020": "let ALLOWED_HOSTS read the variable of that name, which holds the app's domains", "security.W022": "set SECURE_REFERRER_POLICY",
}
# What a site without HTTPS cannot do anyway; one finding says that.
OF_TLS = ("security.W004", "security.W005", "security.W008", "security.W010", "security.W011", "security.W012", "security.W014", "security.W015",
          "security.W016", "security.W017", "security.W021")
BY_EDGE = {"security.W008": "the edge redirects to HTTPS before Django is asked", "security.W004": "the edge sends it",
           "security.W002": "the edge sends X-Frame-Options"}
# What Django asks every site for, and what holds for all names below a domain for years (docs/edges.md).
CHOICES = {"security.W005": "leave it, or set tls.hsts.subdomains where every name below the domains has HTTPS for good",
           "security.W021": "leave it, or set tls.hsts.preload where the domain is to stand in the browsers' list for good"}
SAMPLES = 3  # objects that a finding of a check names, of all that have it


def findings(app: dict, seen: dict, folders: dict) -> list[dict]:
    """Return what is wrong in one release.

    ``folders``: static and media, each a list of the paths under which the settings may name the folder that the edge serves.
    """
    found = environment(app, seen)
    if "error" in seen:
        return [finding("settings.unreadable", "error", f"app {app['name']}: {app['settings']}", f"Django does not start in the live release: {seen['error']}",
                        "see docs/doctor.md; the next restart of the app fails like this. Set what it lacks and deploy", app["name"]), *found]
    settings = seen["settings"]
    return found + [*debug(app, settings), *hosts(app, settings), *https(app, settings), *cookies(app, settings), *files(app, settings, folders),
                    *checks(app, seen), *database(app, seen)]


def of(app: dict, code: str, severity: str, item: str, reason: str, fix: str) -> dict:
    """Return a finding of an app."""
    return finding(code, severity, f"app {app['name']}: {item}", reason, fix, app["name"])


# Variables


def environment(app: dict, seen: dict) -> list[dict]:
    """Return the variables that the code reads and nobody sets, and those that are set and nobody reads."""
    given, live = set(app["provides"]), set(seen.get("live", []))
    ready = given | set(seen.get("own", [])) | (set(seen.get("names", [])) - live)
    upper = {name.upper() for name in ready}
    reads = {}
    for one in seen.get("reads", []):
        kept = reads.setdefault(one["name"], dict(one))
        if one["required"] and not kept["required"]:
            reads[one["name"]] = dict(one)
    missing = {name: one for name, one in reads.items() if name.upper() not in upper}
    unread = unread_names(app, seen, set(reads))
    found, guessed = [], set()
    for name, one in sorted(missing.items()):
        guess = guess_of(name, unread)
        if one["required"]:
            guessed |= {guess}
            hint = f"{guess} is set and nothing reads it: rename it to {name}, if you mean that" if guess else \
                f"add {name} to env of the app, or to its secrets, and deploy"
            found.append(of(app, "env.missing", "error", name, f"{one['where']} reads it without a default, and neither env nor secrets set it: "
                            "a release without it does not start", hint))
        elif one["guarded"] and name in live:
            found.append(of(app, "env.removed", "warning", name, f"{one['where']} may need it; the live release has it, and the inventory no longer sets it",
                            f"add {name} to env or secrets again, or deploy without it on another environment first"))
        elif guess:
            guessed |= {guess}
            found.append(of(app, "env.misspelled", "warning", guess, f"nothing in the project reads it, and {one['where']} reads {name}, which nobody sets",
                            f"rename it to {name}, if you mean that"))
    found += [of(app, "env.unread", "note", name, "it is set, and no file of the project names it", "remove it, unless a library reads it")
              for name in sorted(unread - guessed)]
    return found


def candidates(app: dict) -> list[str]:
    """Return the names of variables that the user has set and that the project ought to name somewhere."""
    # What runs no Python (Node, Java) is built, or comes in an image, and names its variables where nobody looks.
    ours = [process for process in app["processes"] if not runs_no_python(app, process)]
    # All processes get the app's variables, and nobody looks into another image.
    whole = all(not app.get("images") or process["image"] == app["images"][0]["name"] for process in app["processes"])
    names = [*([*app["env"], *app.get("secret_names", [])] if whole else []), *(name for process in ours for name in process["env"])]
    return sorted({name for name in names if name not in NEEDED and not LIBRARIES.search(name)})


def runs_no_python(app: dict, process: dict) -> bool:
    """Return True for a process of another runtime, or of another image than that of the app."""
    words = shell_line.words(process["command"])
    other = bool(app.get("images")) and process.get("image") != app["images"][0]["name"]
    return other or bool(words and words[0].rsplit("/", 1)[-1] in units.COMPILES)


def unread_names(app: dict, seen: dict, reads: set[str]) -> set[str]:
    """Return what the user has set and nothing reads; SECRET_KEY too, when the code takes its key from elsewhere."""
    known = set(seen.get("mentioned", [])) | reads | {name for name in reads for name in (name.upper(),)}
    patterns = [re.compile(pattern) for pattern in seen.get("patterns", [])]
    wanted = [*candidates(app), *(["SECRET_KEY"] if "reads" in seen and seen["reads"] and "SECRET_KEY" not in reads else [])]
    return {name for name in wanted if name not in known and name.upper() not in known and not any(one.fullmatch(name) for one in patterns)}


def guess_of(name: str, unread: set[str]) -> str:
    """Return which unread name was probably meant to be ``name``, or an empty text."""
    slips = [one for one in sorted(unread) if near(one, name)]
    close = difflib.get_close_matches(name, sorted(unread), 1, 0.8)
    inside = [one for one in sorted(unread) if name.endswith(f"_{one}") or one.endswith(f"_{name}")]
    return (slips + close + inside or [""])[0]


# Who may ask, and how


def debug(app: dict, settings: dict) -> list[dict]:
    """Return a finding when DEBUG is on."""
    if not settings["DEBUG"]:
        return []
    severity = "note" if any(str(app["env"].get(name, "")).strip().lower() in TRUE for name in ("DEBUG", "DJANGO_DEBUG")) else "error"
    return [of(app, "settings.debug", severity, "DEBUG", "it is on in the live release: every visitor of an error sees settings and code",
               "set DEBUG = False in the settings, or the variable that they read to False, and deploy")]


def hosts(app: dict, settings: dict) -> list[dict]:
    """Return what ALLOWED_HOSTS and the forwarded host lack."""
    allowed = settings["ALLOWED_HOSTS"] or []
    fix = "let the settings read the variable ALLOWED_HOSTS, which holds the app's domains, and deploy"
    found = missing_hosts(app, allowed, "ALLOWED_HOSTS of the live release", fix) if not settings["DEBUG"] or allowed else []
    if "*" in allowed:
        found.append(of(app, "hosts.any", "warning", "ALLOWED_HOSTS", "it takes any name (*), so a visitor decides what stands in links and mails", fix))
    if settings["USE_X_FORWARDED_HOST"] and app["edge"] == "none":
        found.append(of(app, "proxy.wrong-header", "warning", "USE_X_FORWARDED_HOST",
                        "it is on, and whatever stands before the app has to overwrite the header",
                        "remove it, or make sure that your edge overwrites X-Forwarded-Host"))
    return found


def https(app: dict, settings: dict) -> list[dict]:
    """Return what is wrong between HTTPS at the edge and Django, who hears of it by a header only."""
    header, secure, redirect = settings["SECURE_PROXY_SSL_HEADER"], app["scheme"] == "https", bool(settings["SECURE_SSL_REDIRECT"])
    redirect = redirect and any(name.endswith("SecurityMiddleware") for name in settings["MIDDLEWARE"] or [])
    right = header == [HEADER, "https"]
    found = []
    if header and header[0] != HEADER:
        found.append(of(app, "proxy.wrong-header", "error", "SECURE_PROXY_SSL_HEADER",
                        f"it believes {header[0]}, which the edge does not overwrite: any visitor can claim HTTPS, and real HTTPS is not seen",
                        f"set SECURE_PROXY_SSL_HEADER = (\"{HEADER}\", \"https\")"))
    elif header and not right:
        found.append(of(app, "proxy.wrong-header", "error", "SECURE_PROXY_SSL_HEADER", f"it waits for {header[1]!r}, and the edge sends https or http",
                        f"set SECURE_PROXY_SSL_HEADER = (\"{HEADER}\", \"https\")"))
    elif not header and secure and app["edge"] != "none":
        found.append(of(app, "proxy.missing-header", "error" if redirect else "warning", "SECURE_PROXY_SSL_HEADER",
                        "it is not set, so Django takes every request for HTTP" + (" and redirects it to HTTPS for ever" if redirect else
                                                                                 ": links and redirects that it makes begin with http"),
                        f"set SECURE_PROXY_SSL_HEADER = (\"{HEADER}\", \"https\"): TLS ends at the edge, which always sets that header"))
    if redirect and not secure and app["edge"] != "none":
        found.append(of(app, "redirect.loop", "error", "SECURE_SSL_REDIRECT",
                        "it is on, and tls.mode is none: every visitor is sent to an HTTPS that is not there",
                        "set tls.mode (acme, provided or selfsigned), or SECURE_SSL_REDIRECT = False"))
    path = app["health"]["path"].partition("?")[0].lstrip("/")
    exempt = any(re.search(pattern, path) for pattern in settings["SECURE_REDIRECT_EXEMPT"] or [])
    if redirect and not right and not exempt:
        found.append(of(app, "redirect.health", "error", f"health.path {app['health']['path']}",
                        "SECURE_SSL_REDIRECT answers it with 301, since the check reaches Django by HTTP and the header that says HTTPS is not believed",
                        f"set SECURE_PROXY_SSL_HEADER as above, and SECURE_REDIRECT_EXEMPT = [r\"^{re.escape(path)}$\"]"))
    trusted = settings["CSRF_TRUSTED_ORIGINS"] or []
    for origin in wanted_origins(app) if secure and not right else []:
        if not trusts(trusted, origin):
            found.append(of(app, "csrf.missing-origin", "error", origin,
                            "CSRF_TRUSTED_ORIGINS lacks it, and Django takes the request for HTTP: every form gets 403",
                            "let the settings read the variable CSRF_TRUSTED_ORIGINS, and set SECURE_PROXY_SSL_HEADER"))
    return found


def cookies(app: dict, settings: dict) -> list[dict]:
    """Return which cookies browsers never send back."""
    names = [name for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE") if settings[name]]
    found = []
    if app["scheme"] == "http" and app["edge"] != "none":
        found.append(of(app, "tls.none", "warning", "tls.mode none", "passwords and cookies of its visitors go over the network in clear text",
                        "set tls.mode: acme (or provided, or selfsigned) in the app model"))
        if names:
            found.append(of(app, "cookies.secure-without-tls", "warning", " and ".join(names),
                            "on, and the app is served by HTTP: browsers keep these cookies back, so nobody can log in",
                            "set tls.mode, or let the settings switch them on with HTTPS only"))
    return found


# Files


def files(app: dict, settings: dict, folders: dict) -> list[dict]:
    """Return where Django and the edge mean other folders or paths. Where files are kept elsewhere (S3), the edge serves none of them."""
    found = []
    for field in ("static", "media"):
        url, here = app[field]["url"], settings[f"{field.upper()}_URL"] or ""
        kept = settings.get(f"{field}_in_files", True)
        if not url or not kept or (field == "media" and not settings["MEDIA_ROOT"]):
            continue
        if field == "static" and not any(name == "django.contrib.staticfiles" for name in settings["INSTALLED_APPS"] or ["django.contrib.staticfiles"]):
            continue
        if "://" not in here and here.strip("/") != url.strip("/"):
            found.append(of(app, f"{field}.url", "error", f"{field.upper()}_URL", f"pages ask for {here or 'nothing'}, and the edge serves {url} ({field}.url)",
                            f"set {field}.url: /{here.strip('/')}/ in the app model and run site.yml, or let the settings read {field.upper()}_URL"))
        root = settings[f"{field.upper()}_ROOT"] or ""
        if root.rstrip("/") not in folders[field]:
            writes = "collectstatic writes to" if field == "static" else "uploads go to"
            place = f"{field}.root: {root}" if app["runtime"] == "compose" else f"{field}.root to that folder, relative to the project,"
            found.append(of(app, f"{field}.root", "error", f"{field.upper()}_ROOT",
                            f"{writes} {root or 'nowhere, it is not set'}, and the edge serves {folders[field][0]} under {url}",
                            f"let the settings read the variable {field.upper()}_ROOT, or set {place} in the app model; then deploy"))
    return found


# What Django says itself


def checks(app: dict, seen: dict) -> list[dict]:
    """Return the findings of ``manage.py check --deploy``, without what the edge does."""
    found = []
    for one in seen.get("checks", []):
        severity = next(name for level, name in LEVELS if one["level"] >= level)
        code, hint = one["id"], one["hint"] or CHECK_FIXES.get(one["id"], "")
        message = " ".join(one["message"].split())
        if code in ("security.W018", "security.W020"):
            continue  # settings.debug and hosts.missing-domain say it better
        if code in OF_TLS and app["scheme"] == "http":
            severity, hint = "note", "set tls.mode first (tls.none)"
        elif code == "security.W008" or (code == "security.W004" and ((app["tls"].get("hsts") or {}).get("max_age") or app["tls"]["mode"] == "selfsigned")):
            severity = "note"
            message = f"{message} Here {BY_EDGE[code]}." if app["tls"]["mode"] != "selfsigned" or code == "security.W008" else message
        elif code in CHOICES:
            severity, hint = "note", CHOICES[code]
        elif code == "security.W002" and app["edge"] != "none":
            severity, message = "note", f"{message} Here {BY_EDGE[code]}."
        item = f"app {app['name']}: {one['object'] or 'manage.py check --deploy'}"
        found.append(finding(f"check.{code}", severity, item, message, hint or f"look {code} up in Django's list of system checks, or silence it", app["name"]))
    found = grouped(found)
    if "checks_error" in seen:
        found.append(of(app, "doctor.incomplete", "warning", "manage.py check --deploy", f"it failed: {seen['checks_error']}",
                        "run it by quayside.django.manage"))
    return found


def grouped(found: list[dict]) -> list[dict]:
    """Return findings with one for each check and severity: a library that has one for each of its models would hide all others."""
    groups: dict = {}
    for one in found:
        groups.setdefault((one["code"], one["severity"]), []).append(one)
    made = []
    for same in groups.values():
        start = f"app {same[0]['app']}: "
        names = list(dict.fromkeys(one["item"].removeprefix(start) for one in same))
        more = f" and {len(names) - SAMPLES} more" if len(names) > SAMPLES else ""
        times = f" ({len(same)} times)" if len(same) > 1 else ""
        made.append(dict(same[0], item=start + ", ".join(names[:SAMPLES]) + more, reason=same[0]["reason"] + times))
    return made


def database(app: dict, seen: dict) -> list[dict]:
    """Return what its database says: not reached, and by what; migrations that are not applied."""
    known = seen.get("database", {})
    error = known.get("error") or seen.get("database_error", "")
    if error and app["database"]["engine"] != "none":
        what, fix = database_reason(error)
        return [of(app, "database.unreachable", "error", "the default database", f"{what}: {error}", fix)]
    todo = known.get("unapplied", [])
    left = [of(app, "database.invalid-index", "warning", f"index {name} of {table}", "a CREATE INDEX CONCURRENTLY that did not end has left it: "
               "PostgreSQL does not use it, and the migration that makes it fails", f"in the database: {migrations.drop(schema, name)} Then deploy")
            for schema, table, name in known.get("invalid_indexes", [])]
    names = f"{', '.join(todo[:5])}{', …' if len(todo) > 5 else ''}"
    return left + ([of(app, "migrations.unapplied", "warning", "migrations", f"{len(todo)} are not applied: {names}",
                       "deploy, or run quayside.django.manage with -e command=migrate")] if todo else [])


def database_reason(error: str) -> tuple[str, str]:
    """Return in which of three ways a database is out of reach, and what to do.

    >>> database_reason('OperationalError: connection failed: Connection refused')[0]
    'it is down'
    """
    low = error.lower()
    if "authentication failed" in low or "no pg_hba.conf entry" in low or "access denied" in low:
        return "it refuses the login", "compare DATABASE_PASSWORD or DATABASE_URL in the vault with the server's role; site.yml sets that of its own role"
    if "does not exist" in low:
        return "the database, role or table is not there", "run quayside.django.site, then deploy"
    if any(words in low for words in ("translate host name", "name or service", "timeout", "timed out", "unreachable", "no route")):
        return "the network does not lead to it", "look at the host in DATABASE_URL, at its firewall and at DNS"
    if any(words in low for words in ("refused", "no such file", "could not connect", "server closed", "starting up", "shutting down")):
        return "it is down", "systemctl status postgresql, or docker compose logs of its container; site.yml starts it"
    if "too many" in low or "remaining connection slots" in low:
        return "it has no connection left", "lower workers or threads, or raise max_connections (docs/sizing.md)"
    return "it fails", "run quayside.django.manage with -e command='check --database default'"


def connections(app: dict, seen: dict, wanted: int, others: int) -> list[dict]:
    """Return what the connections of a database server lack.

    ``wanted``: what the app takes while a deploy hands over; ``others``: the same of the other apps on the same server.
    """
    known = seen.get("database", {})
    if known.get("vendor") != "postgresql" or "max" not in known:
        return []
    found, most = [], known["max"] - known["reserved"]
    item = "max_connections"
    strangers = max(0, known["used"] - known["own"]) if not others else 0
    total = wanted + others + strangers
    for limit, name in ((known["role_limit"], "the role's connection limit"), (known["database_limit"], "the database's connection limit")):
        if limit is not None and 0 <= limit < min(wanted, most):
            found.append(of(app, "connections.too-few", "error", name, f"it is {limit}, and a deploy with its two instances wants {wanted}",
                            f"set database.connections: {limit}, so that workers are sized to it, or raise the limit"))
    if total > most:
        more = f" and {others} for the other apps" * bool(others) + f", and {strangers} are others'" * bool(strangers)
        found.append(of(app, "connections.too-few", "error", item, f"the server gives {most} (max_connections {known['max']} without {known['reserved']} "
                        f"reserved), and a deploy with its two instances wants {wanted}{more}: {total} > {most}", connection_fix(app)))
    elif known["used"] >= 0.8 * most:
        found.append(of(app, "connections.nearly-used", "warning", item, f"{known['used']} of {most} connections are in use", connection_fix(app)))
    return found


def connection_fix(app: dict) -> str:
    """Return how an app gets along with the connections that there are."""
    if app["database"]["engine"] == "external":
        return "set database.connections to what the provider gives, so that workers are sized to it, or take a larger plan"
    return "run quayside.django.site, which sizes max_connections to the apps; postgresql_settings that set it by hand win; or lower workers and threads"
