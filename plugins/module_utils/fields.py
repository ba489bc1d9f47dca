# SPDX-License-Identifier: GPL-3.0-or-later
"""What each field of the app model may hold. Pure.

``CHECKS`` has one entry for each field that takes text; a test walks the model and refuses a field without one. A check gets the value and the
app with what is derived from it, and returns what is wrong, or an empty text. What is wrong across fields or apps is for ``model``.
"""
from __future__ import annotations

import ipaddress
import posixpath
import re

from ansible_collections.quayside.django.plugins.module_utils import env_file, units, versions

APP_NAME = re.compile(r"^[a-z][a-z0-9-]{0,23}\Z")
UNIX_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,31}\Z")
DATABASE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")
NETWORK_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
FOLDER_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
WORD = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
PATHS = re.compile(r"^/[A-Za-z0-9._/-]*[A-Za-z0-9_-]\Z")
RELATIVE = re.compile(r"^(?!.*(^|/)\.\.(/|$))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")
REPOSITORY = re.compile(r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*\Z")
IMAGE = re.compile(r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?\Z")
TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
REGISTRY = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?\Z")
DOMAIN = re.compile(r"^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
HOST = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]+:[0-9a-fA-F:.]*|[A-Za-z0-9*]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?\Z")
EMAIL = re.compile(r"^[A-Za-z0-9_+][A-Za-z0-9._%+-]*@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\Z")
HTTPS = re.compile(r"^https://[A-Za-z0-9._~:/?#\[\]@!&()*+,=%-]+\Z")
REPO = re.compile(r"^(?:(?:https?|ssh|git)://(?!-)[^\s\"'\\`$;|<>]+|(?![-/.])(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!/?-)[A-Za-z0-9._/~+-]+)\Z")
ROUTE = re.compile(r"^/[A-Za-z0-9._~@+,=:!*()&/-]*\Z")
REQUEST = re.compile(r"^/[A-Za-z0-9._~@+,=:!*()&/%-]*(\?[A-Za-z0-9._~@+,=:!*()&/%?-]*)?\Z")
URL_FOLDER = re.compile(r"^/([A-Za-z0-9._-]+/)+\Z")
MODULE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
APT = re.compile(r"^[a-z0-9][a-z0-9+.-]*(:[a-z0-9]+)?([=/][A-Za-z0-9.+~:-]+)?\Z")
EXTENSION = re.compile(r"^[a-z_][a-z0-9_-]{0,62}\Z")
HEADER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9-]*\Z")
LOGIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
MEMORY = re.compile(r"^[1-9][0-9]*(\.[0-9]+)?[KMGT]?\Z")
REDIS_MEMORY = re.compile(r"^(auto|[1-9][0-9]*([kKmMgG][bB]?)?)\Z")
REDIS_POLICIES = ("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl")
MOUNT_OPTIONS = {"ro", "rw", "z", "Z", "cached", "consistent", "delegated", "nocopy"}

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# Of Debian and Ubuntu and of what the collection installs. The host is asked too (foreign.py), since no list is whole.
ACCOUNT_NAMES = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup adm tty disk kmem dialout fax voice cdrom
    floppy tape sudo admin wheel audio dip operator src shadow utmp video sasl plugdev staff users input sgx clock kvm render crontab netdev messagebus
    sshd ssh _ssh syslog polkitd uuidd tcpdump landscape pollinate usbmux dnsmasq ntp ntpsec chrony _chrony postfix exim dovecot postgres pgbouncer redis
    nginx docker traefik ssl-cert memcached mysql lxd ubuntu debian deploy ansible vagrant
"""
UNIT_NAMES = """
    root ssh sshd postgres postgresql pgbouncer redis nginx apache2 docker dockerd containerd buildkit podman traefik certbot letsencrypt acme fail2ban
    ufw nftables iptables cron anacron atd rsync rsyslog logrotate apt apt-daily apt-daily-upgrade unattended-upgrades dpkg dbus dbus-broker networking
    getty serial-getty container-getty console-getty user user-runtime-dir emergency rescue halt reboot poweroff udev journald resolvconf apparmor auditd
    aide debsums needrestart sysstat procps kmod modprobe fstrim e2scrub man-db motd-news backup dpkg-db-backup snapd cloud-init cloud-config cloud-final
    qemu-guest-agent chrony chronyd ntp ntpsec default btmp wtmp alternatives private misc edge
"""
ACCOUNTS, UNITS = frozenset(ACCOUNT_NAMES.split()), frozenset(UNIT_NAMES.split())
BEGINNINGS = ("quayside", "systemd-", "redis-server", "postgresql-", "docker-", "containerd-", "nginx-", "ssh-", "sshd-", "user-", "apt-", "dpkg-")
RESERVED_NETWORKS = ("host", "none", "bridge", "default", "ingress", "docker_gwbridge")
RESERVED_DATABASES = ("postgres", "template0", "template1")
RESERVED_ROLES = ("postgres", "public", "none", "user", "current_user", "current_role", "session_user")

# Below these nothing belongs to the operating system. /home is none of them: units do not see it (ProtectHome).
TOPS = ("/opt", "/srv", "/var/www", "/mnt", "/media", "/data")
OF_OTHERS = ("/opt/quayside", "/opt/containerd", "/opt/cni", "/mnt/wsl")
READABLE = ("/etc/ssl/certs", "/etc/localtime", "/etc/timezone", "/usr/share", "/usr/local/share")
# Where a container could not run without what the image, the engine and we put there.
OF_CONTAINER = ("/proc", "/sys", "/dev", "/quayside", "/run/secrets", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/lib", "/usr/sbin")
SHORT_LIVED = ("/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/run", "/var/run")


def below(path: str, folders) -> bool:
    """Return True when ``path`` is one of the folders, or lies in one of them."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def normal(path: str) -> bool:
    """Return True for an absolute path without ``.``, ``..``, ``//`` and a slash at its end."""
    return bool(PATHS.match(path)) and posixpath.normpath(path) == path


def tops(app: dict) -> tuple:
    """Return the folders below which an app may have its root and its data."""
    return (*TOPS, f"/var/lib/{app['name']}")


def unquoted(value) -> str:
    """Return what is wrong with a value that stands where a text belongs, since YAML reads it as something else; empty where the text stays the same."""
    if isinstance(value, (bool, int, float)) or hasattr(value, "isoformat"):
        return f"YAML has read it as another value, {env_file.text(value)}, since it has no quotes (1.10 is 1.1, 012 is 10, off is False): write it in quotes"
    return ""


def changed(value) -> str:
    """Return what is wrong with the value of a variable: a number with a point or a moment, which do not arrive as they are written.

    Whole numbers and truths are judged by how they are written (``plugin_utils/spelling.py``): most of them stay the same, or become what is documented.
    """
    return unquoted(value) if isinstance(value, float) or hasattr(value, "hour") else ""


# Kinds of fields


def pattern(expression: re.Pattern, words: str):
    """Return the check of a text that is matched whole."""
    return lambda value, _app: "" if expression.match(value) else f"{value!r} is {words}"


def text(value: str, _app: dict) -> str:
    """Refuse signs that steer a terminal or hide in a text; one line."""
    return f"{value!r} holds a control character: write one line of plain text" if CONTROL.search(value) else ""


def lines(value: str, _app: dict) -> str:
    """Refuse signs that steer a terminal or hide in a text; line breaks and tabs are good."""
    return f"{value!r} holds a control character other than a line break or a tab" if CONTROL_IN_LINES.search(value) else ""


def command(value: str, app: dict) -> str:
    """Refuse a command of several lines: it becomes one line of a script."""
    return text(value.strip("\n\t "), app)


def app_name(value: str, _app: dict) -> str:
    """Refuse what is no name for a user, units and folders, and the names of the system."""
    if not APP_NAME.match(value):
        return "at most 24 of a-z, 0-9 and the dash, a letter first"
    if value in UNITS or value.startswith(BEGINNINGS):
        return f"{value} is the name of a unit or a folder of the system's, or of ours: take another one, such as my-{value[:20]}"
    return ""


def unix_user(value: str, _app: dict) -> str:
    """Refuse what is no Unix name, and the users and groups of the system."""
    if not UNIX_NAME.match(value):
        return f"{value!r} is no name of a Unix user: at most 32 of a-z, 0-9, _ and the dash"
    if value in ACCOUNTS or value.startswith(BEGINNINGS):
        return f"{value} is a user or a group of the system's: name one of the app's own, such as user: my-{value[:20]}"
    return ""


def folder_name(value: str, _app: dict) -> str:
    """Refuse what is no name of a folder, and those of files that are beside it."""
    if not FOLDER_NAME.match(value):
        return f"{value!r} is no name of a folder: letters, digits, dots, _ and dashes, no dot first"
    return f"{value!r} is for a file of ours: take another name" if value.endswith((".env", ".lock", ".schedule", ".before")) else ""


def network(value: str, _app: dict) -> str:
    """Refuse what is no name of a network, and those that Docker and we have."""
    if not NETWORK_NAME.match(value):
        return f"{value!r} is no name of a Docker network: letters, digits, dots, _ and dashes"
    if value in RESERVED_NETWORKS or value.startswith("quayside"):
        return f"{value} is a network of Docker's own or of ours: take another name"
    return ""


def database(value: str, _app: dict) -> str:
    """Refuse what needs quotes in SQL, and the databases of the server itself."""
    if not DATABASE_NAME.match(value):
        return f"{value!r} is no name of a database: at most 63 letters, digits, _ and dashes"
    return f"{value} belongs to the server itself: take another name" if value.lower() in RESERVED_DATABASES else ""


def role(value: str, _app: dict) -> str:
    """Refuse what needs quotes in SQL, and the roles of the server itself."""
    if not DATABASE_NAME.match(value):
        return f"{value!r} is no name of a role: at most 63 letters, digits, _ and dashes"
    return f"{value} belongs to the server itself: take another name" if value.lower() in RESERVED_ROLES or value.lower().startswith("pg_") else ""


def root(value: str, app: dict) -> str:
    """Refuse a root that is not one folder of its own below a place for apps."""
    example = f"is no path of its own such as /opt/{app['name']}"
    if not normal(value) or value.count("/") < 2:
        return f"{value!r} {example}"
    if not below(value, tops(app)) or value in TOPS or below(value, OF_OTHERS):
        return f"{value!r} {example}: apps lie below {', '.join(tops(app))}"
    return ""


def host_folder(value: str, app: dict) -> str:
    """Refuse a folder of the host that is not for an app's data."""
    if not normal(value):
        return f"{value!r} is no absolute path without `..`, such as /srv/{app['name']}-data"
    if below(value, [app["root"]]) and not below(value, [app["shared"]]):
        return f"{value} lies in the app's root, where only {app['shared']} is for data: the app could change its own releases. Name a folder in folders"
    if not below(value, tops(app)) or value in TOPS or below(value, OF_OTHERS):
        return f"{value} belongs to the system: data of apps lie in a folder of their own below {', '.join(tops(app))}"
    if below(app["root"], [value]):
        return f"{value} holds the app's root {app['root']}: name a folder beside it"
    return ""


def host_file(value: str, app: dict) -> str:
    """Refuse a file that root reads in a place where others, or the app, can put one."""
    if not normal(value):
        return f"{value!r} is no absolute path without `..`, such as /etc/ssl/private/{app['name']}.pem"
    if below(value, [app["root"]]) or below(value, SHORT_LIVED):
        return f"{value} lies where another than root may write, and root reads it: put it below /etc, such as /etc/ssl/private/{app['name']}.pem"
    return ""


def inside(value: str, _app: dict) -> str:
    """Refuse what leads out of the repository."""
    return "" if RELATIVE.match(value) else f"{value!r} is no path inside the repository"


def beside(value: str, app: dict) -> str:
    """Refuse what leads out of the repository from the app's root: in a monorepo what lies beside that is a part of the repository too."""
    path = in_repository(app, value)
    if value.startswith("/") or not RELATIVE.match(path) or not RELATIVE.match(value.replace("../", "")):
        return f"{value!r} is no path inside the repository"
    return ""


def in_repository(app: dict, path: str) -> str:
    """Return a path from the app's root as one from the top of the repository, ``.`` for the top itself."""
    return posixpath.normpath(posixpath.join(app["source"]["subdir"], path))


def seen(app: dict, command: dict) -> bool:
    """Return True when the folder in which a command of ``build`` runs is among its inputs."""
    wanted, inputs = in_repository(app, command["folder"]), [in_repository(app, path) for path in command["inputs"]]
    return "." in inputs or below(wanted, inputs)


def part(value: str, app: dict) -> str:
    """Refuse what leads out of the repository, and the repository as a whole."""
    return f"{value!r} is the whole repository: name a folder in it" if posixpath.normpath(value or ".") == "." else inside(value, app)


def place(value: str, app: dict) -> str:
    """Refuse what is no folder of the code or, with containers, of the container."""
    return container_path(value, app) if app["runtime"] == "compose" else part(value, app)


def container_path(value: str, app: dict) -> str:
    """Refuse what is no folder in a container that an app may have for itself."""
    if not normal(value):
        return f"{value!r} is no path in the container, such as /app/data"
    if below(value, OF_CONTAINER) or below(value, [app["root"]]):
        return f"{value!r} is no path in the container that is free: programs of the image, of Docker or of ours are there. Take one such as /app/data"
    return ""


def built_folder(value: str, app: dict) -> str:
    """Refuse a frontend's folder that leads out of the repository, or that is no folder in an image."""
    if app["runtime"] == "compose" and value.startswith("/"):
        return "" if normal(value) else f"{value!r} is no path inside the image, such as /app/dist"
    if posixpath.normpath(posixpath.join(app["source"]["subdir"], value or ".")) == ".":
        return part(".", app)
    return beside(value, app)


def managed(value: str, app: dict) -> str:
    """Refuse a manage.py outside the repository; in an image it may be anywhere."""
    return "" if app["runtime"] == "compose" and normal(value) else inside(value, app)


def volume(value: str, app: dict) -> str:
    """Refuse a mount of what is not for the app: the system, the engine's socket, other folders of the root."""
    source, _colon, rest = value.partition(":")
    target, _colon, options = rest.partition(":")
    words = set(options.split(",")) if options else set()
    if FOLDER_NAME.match(source) and normal(target):
        return f"{value!r} names a volume of Docker's, and data of an app lie in its own folders: write folders: [{{name: {source}, path: {target}}}]"
    if not source.startswith("/") or not target:
        return f"{value!r} is no mount of a folder of the host, such as /srv/in:/in:ro"
    if words - MOUNT_OPTIONS:
        return f"{value!r}: {', '.join(sorted(words - MOUNT_OPTIONS))} is no option of a mount: ro or rw"
    readable = "ro" in words and normal(source) and below(source, READABLE)
    return ("" if readable else host_folder(source, app)) or container_path(target, app)


def argument(value: str, app: dict) -> str:
    """Refuse what a command would take for an option."""
    return f"{value!r} begins with a dash, as an option does" if value.startswith("-") else text(value, app)


def interpreter(value: str, app: dict) -> str:
    """Refuse an interpreter where another than root may write: root asks it for its version."""
    if not normal(value):
        return f"{value!r} is no absolute path of an interpreter, such as /usr/bin/python3"
    if below(value, [app["root"]]) or below(value, (*SHORT_LIVED, "/home")):
        return f"{value} lies where another than root may write: name one below /usr or /opt, such as /usr/bin/python3"
    return ""


def version(value: str, _app: dict) -> str:
    """Refuse what names no branch, tag, commit or digest."""
    return versions.refusal(value)


def tag(value: str, _app: dict) -> str:
    """Refuse what is no tag of an image."""
    return "" if TAG.match(value.replace("{version}", "v1")) else f"{value!r} is no tag of an image: letters, digits, dots, _ and dashes"


def repository(value: str, app: dict) -> str:
    """Refuse what is no repository, and one of another app's."""
    if not REPOSITORY.match(value):
        return f"{value!r} is no repository such as ghcr.io/acme/shop (without a tag, in small letters)"
    if value.startswith("quayside/") and not value.startswith(f"quayside/{app['name']}-"):
        return f"{value} is for an app of another name: this app's own are quayside/{app['name']}-<image>"
    return ""


def domain(value: str, _app: dict) -> str:
    """Refuse what is neither a name nor an address."""
    if not is_address(value) and not value.isascii():
        return f"{value!r} has no form in punycode that is sure: write the one that your registrar shows (xn--…)"
    return "" if is_address(value) or DOMAIN.match(value) else f"{value!r} is neither a name nor an address (no https://, no port, no path)"


def is_address(value: str) -> bool:
    """Return True for an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def addresses(value: str, _app: dict) -> str:
    """Refuse what every edge does not read as the same network: a wrong prefix, bits right of it, masks in other forms."""
    base, slash, prefix = value.partition("/")
    try:
        meant = ipaddress.ip_network(value.replace("%", " "), strict=False)  # a zone is an interface of this host, which no visitor has
    except ValueError:
        return f"{value!r} is neither an address nor a network, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32"
    exact = f"{base} for the one address, or {meant} for the network" if slash else str(meant.network_address)
    if meant.version == 6 and meant.network_address.ipv4_mapped:
        return f"{value!r} is an IPv4 address in the form of IPv6, which no visitor has: write {meant.network_address.ipv4_mapped}"
    if slash and not re.match(r"^(0|[1-9][0-9]{0,2})\Z", prefix):
        return f"{value!r} has a mask instead of the number of its bits: write {meant}"
    if ipaddress.ip_address(base) != meant.network_address:
        return f"{value!r} has bits of a single address behind its prefix: write {exact}"
    return ""


def route(value: str, _app: dict) -> str:
    """Refuse a path that no edge would ever see, since it judges paths with encodings, dots and double slashes resolved."""
    if not value.startswith("/"):
        return f"{value!r} does not begin with a slash"
    if not ROUTE.match(value) or "//" in value or re.search(r"/\.\.?(/|\Z)", value):
        return f"{value!r} is no path as an edge compares it: letters, digits and ._~@+,=:!*()&- without %, `..` and double slashes"
    return ""


def url_folder(value: str, app: dict) -> str:
    """Refuse a URL of files that is not a folder below the root of the site."""
    if not URL_FOLDER.match(value) or route(value, app):
        return f"{value!r} is no path that begins and ends with a slash, such as /static/"
    return ""


def variables(value: dict, _app: dict) -> str:
    """Refuse names that are none for variables, and values that steer a terminal."""
    for name, item in value.items():
        if changed(item):
            return f"{name}: {changed(item)}"
        try:
            env_file.check(name, item)
        except env_file.EnvError as error:
            return str(error)
        if CONTROL_IN_LINES.search(env_file.text(item)):
            return f"{name} holds a control character"
    return ""


def arguments(value: dict, _app: dict) -> str:
    """Refuse names that are none for build arguments, and values that steer a terminal."""
    for name, item in value.items():
        if not env_file.NAME.match(str(name)):
            return f"{name!r} is no name for a variable: use letters, digits and _ (not a digit first)"
        if changed(item):
            return f"{name}: {changed(item)}"
        if CONTROL_IN_LINES.search(env_file.text(item)):
            return f"{name} holds a control character"
    return ""


def secret_names(value: dict, _app: dict) -> str:
    """Refuse names that are none for variables. The values are nobody's business here."""
    wrong = [name for name in value if not env_file.NAME.match(str(name))]
    return f"{wrong[0]!r} is no name for a variable: use letters, digits and _ (not a digit first)" if wrong else ""


def plain_values(value, app: dict) -> str:
    """Refuse control characters in the keys and values of any JSON."""
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    if items:
        return next((wrong for wrong in (plain_values(item, app) for item in items) if wrong), "")
    return text(value, app) if isinstance(value, str) else ""


def headers(value: dict, _app: dict) -> str:
    """Refuse names and values that would end the header, or that nginx would fill in."""
    for name, item in value.items():
        if not HEADER.match(str(name)):
            return f"{name!r} is no name of a header: letters, digits and dashes"
        if changed(item):
            return f"{name}: {changed(item)}"
        if CONTROL.search(env_file.text(item)):
            return f"{name} holds a line break or another control character"
    return ""


def users(value: dict, _app: dict) -> str:
    """Refuse logins that a file of logins cannot carry."""
    wrong = [login for login in value if not LOGIN.match(str(login))]
    return f"{wrong[0]!r} is no login: letters, digits, dots, dashes and @, at most 64" if wrong else ""


def directive(value: str, _app: dict) -> str:
    """Refuse what is no directive of the sandbox."""
    known = sorted({name for name, _value in units.SANDBOX})
    return "" if value in known else f"{value!r} is no directive of the sandbox; there are {', '.join(known)}"


def settled(_value, _app: dict) -> str:
    """Leave the field to the function of ``model`` that judges it against others."""
    return ""


def size(value: str, _app: dict) -> str:
    """Refuse what nginx does not read as a size."""
    return "" if re.match(r"^[0-9]+[kKmMgG]?\Z", value) else f"{value!r} is no size such as 20m"


secret_name = pattern(env_file.NAME, "no name of a secret: letters, digits and _")
word = pattern(WORD, "no name: letters, digits, dots, _ and dashes, none of them first")

CHECKS = {
    "name": app_name, "network": network, "root": root, "user": unix_user, "domains[]": domain, "canonical": domain,
    "tls.email": pattern(EMAIL, "no e-mail address"), "tls.server": pattern(HTTPS, "no https:// address of a directory"), "tls.ca": argument,
    "tls.dns.plugin": pattern(re.compile(r"^[a-z0-9-]+\Z"), "no name of a plugin, such as cloudflare"), "tls.dns.credentials": plain_values,
    "tls.dns.resolvers[]": pattern(HOST, "no name server, such as 10.0.0.2:53"), "tls.eab": pattern(re.compile(r"^[A-Za-z0-9._~=/+:@-]+\Z"), "no id of a key"),
    "tls.certificate": host_file, "tls.key": host_file,
    "source.repo": pattern(REPO, "no URL of a git repository: https://…, ssh://…, git://… or git@host:path"),
    "source.folder": argument, "source.version": version, "source.subdir": inside, "source.without[]": text,
    "images[].name": word, "images[].repository": repository, "images[].tag": tag, "images[].archive": argument,
    "images[].context": inside, "images[].dockerfile": inside, "images[].target": word, "images[].args": arguments, "images[].secrets[]": secret_name,
    "registry.server": pattern(REGISTRY, "no registry, such as ghcr.io or registry.example.com:5000"), "registry.user": text,
    "manage": managed, "settings": pattern(MODULE, "no module of Python, such as config.settings"),
    "python.interpreter": interpreter, "python.requirements[]": beside, "python.extras[]": word, "python.groups[]": word,
    "python.packages[]": argument, "python.options[]": text, "python.env": variables,
    "packages[]": pattern(APT, "no name of a package of the operating system, such as libpq5"),
    "processes[].name": settled, "processes[].command": command, "processes[].image": word, "processes[].check": pattern(REQUEST, "no path"),
    "processes[].workers": settled, "processes[].route": route, "processes[].routes[]": route, "processes[].secrets[]": secret_name,
    "processes[].memory": pattern(MEMORY, "no size such as 512M"), "processes[].cpu": pattern(re.compile(r"^[1-9][0-9]*%\Z"), "no share such as 150%"),
    "processes[].env": variables,
    "build[].command": lines, "build[].folder": beside, "build[].inputs[]": beside, "build[].env": variables, "build[].secrets[]": secret_name,
    "frontends[].name": word, "frontends[].route": route, "frontends[].folder": built_folder, "frontends[].image": word,
    "frontends[].fallback": inside,
    "folders[].name": folder_name, "folders[].path": place,
    "commands[].name": text, "commands[].manage": command,
    "database.scheme": pattern(re.compile(r"^[a-z][a-z0-9+]*\Z"), "no beginning of a URL, such as postgres"),
    "database.image": pattern(IMAGE, "no image, such as postgres:16-alpine"), "database.name": database, "database.user": role,
    "database.extensions[]": pattern(EXTENSION, "no name of an extension, such as pg_trgm"),
    "cache.image": pattern(IMAGE, "no image, such as redis:7-alpine"), "cache.memory": pattern(REDIS_MEMORY, "neither auto nor a size such as 256mb"),
    "cache.policy": pattern(re.compile(rf"^({'|'.join(REDIS_POLICIES)})\Z"), f"no policy of Redis; there are {', '.join(REDIS_POLICIES)}"),
    "static.url": url_folder, "static.root": place, "media.url": url_folder, "media.root": place,
    "env": variables, "secrets": secret_names, "secret_files[]": secret_name,
    "health.path": pattern(REQUEST, "no path of a request, such as /healthz/"), "health.host": pattern(HOST, "no name or address"), "health.text": text,
    "health.json": plain_values, "body_size": size, "headers": headers, "site_extra": lines,
    "allow[].path": route, "allow[].addresses[]": addresses, "allow[].users": users, "limits[].path": route, "limits[].exempt[]": route,
    "container.writable[]": container_path,
    "container.volumes[]": volume, "sandbox.writable[]": host_folder, "sandbox.relax[]": directive,
    "outbound.private[]": addresses,
}
# Fields that are never left out: an empty text is wrong there. Items of lists always are looked at.
REQUIRED = ("name", "root", "settings", "images[].name", "build[].command", "frontends[].name", "frontends[].folder", "folders[].name", "limits[].path",
            "allow[].path")


def values(value, path: list[str], label: str = ""):
    """Yield (label, value) of a field: each item of a list, and the field of each item."""
    if not path:
        yield label, value
        return
    name, many = path[0].removesuffix("[]"), path[0].endswith("[]")
    label = f"{label}.{name}" if label else name
    found = value.get(name)
    if not many:
        yield from values(found, path[1:], label) if found is not None or not path[1:] else ()
        return
    for number, item in enumerate(found or []):
        yield from values(item, path[1:], f"{label}[{item.get('name') or number}]" if isinstance(item, dict) else label)


def raw_values(app, path: list[str]):
    """Yield (label, value) of a field of an app as the inventory has it, whatever is missing in it or wrong."""
    try:
        yield from values(app, path)
    except (AttributeError, TypeError):
        return


def findings(app: dict, only: tuple = ()) -> list[str]:
    """Return what is wrong with the fields of an app, each by itself. ``only``: the fields to look at, all of them without any."""
    found = []
    for path, check in CHECKS.items():
        if only and path not in only:
            continue
        for label, value in values(app, path.split(".")):
            if value is None or (value in ("", {}) and path not in REQUIRED and not path.endswith("[]")):
                continue
            wrong = check(value if isinstance(value, dict) else str(value), app)
            found += [f"{label}: {wrong}"] * bool(wrong)
    return found
