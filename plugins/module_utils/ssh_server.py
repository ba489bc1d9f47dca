# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What sshd's files have to say before, during and after a change. No Ansible and no host in here."""

from __future__ import annotations

import re

MAIN = "/etc/ssh/sshd_config"
FOLDER = "/etc/ssh/sshd_config.d"
# sshd takes the first value that it meets, so that this name comes before a provider's 50-cloud-init.conf.
OWN = FOLDER + "/00-quayside.conf"
SOCKET = "/etc/systemd/system/ssh.socket.d/quayside.conf"
INCLUDE = "Include %s/*.conf" % FOLDER
HEAD = "# Written by quayside.django. The next run puts changes here back.\n"
MODULI = "/etc/ssh/moduli"
# A file of our own, since dpkg asks about a changed one of its own, and unattended upgrades pass such a package over.
OWN_MODULI = "/etc/ssh/moduli.quayside"
ED25519 = "/etc/ssh/ssh_host_ed25519_key"
RSA = "/etc/ssh/ssh_host_rsa_key"
# Beside Debian's of 3072 bits, so that a change that is taken back finds the old one. cloud-init removes ssh_host_* on copies of a server.
OWN_RSA = "/etc/ssh/ssh_host_rsa4096_key"
RSA_BITS = 4096
MODULI_BITS = 3071

# The keywords whose values are names of algorithms, and how `ssh -Q` calls them.
ALGORITHMS = {
    "kexalgorithms": "kex",
    "ciphers": "cipher",
    "macs": "mac",
    "hostkeyalgorithms": "HostKeyAlgorithms",
    "pubkeyacceptedalgorithms": "PubkeyAcceptedAlgorithms",
}
# Which key exchanges nobody can record today and read with a quantum computer later. OpenSSH has the first since 9.9.
_SAFE_KEX = ["mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"]
_OLD_KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512",
            "diffie-hellman-group-exchange-sha256"]
_CIPHERS = ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-gcm@openssh.com", "aes128-ctr"]
_MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-128-etm@openssh.com"]
# Keywords that older servers do not know, with the version that brought them.
NEWER = {"persourcepenaltyexemptlist": (9, 8)}
_PORT = re.compile(r"^[ \t]*Port[ \t=]+\"?(\d+)\"?[ \t]*(?:#.*)?$", re.I)
_ADDRESS = re.compile(r"^[ \t]*ListenAddress[ \t=]+(?:\[[^\]]+\]|[^\s:]+):(\d+)", re.I)
_INCLUDE = re.compile(r"^[ \t]*Include[ \t=]+.*/etc/ssh/sshd_config\.d/\*\.conf", re.I)


def port_in(line):
    """The port that a line of a config file makes sshd listen on, or None."""
    match = _PORT.match(line) or _ADDRESS.match(line)
    return int(match.group(1)) if match else None


def value(setting):
    """A value from YAML as sshd writes it."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    return str(setting)


def algorithms(profile, kex):
    """The lists of algorithms, in the order of ssh-audit's policies for Debian 12 and 13.

    :param profile: strict, compatible (newer servers take what clients before OpenSSH 9.0 know, too) or distribution (no lists)
    :param kex: the key exchanges that the server knows, set of str
    :returns: dict of keyword to list
    """
    if profile == "distribution":
        return {}
    new = _SAFE_KEX[0] in kex
    exchanges = _SAFE_KEX if new and profile == "strict" else _SAFE_KEX + _OLD_KEX
    macs = [_MACS[1], _MACS[0], _MACS[2]] if new else _MACS
    return {"KexAlgorithms": [name for name in exchanges if name in kex], "Ciphers": list(_CIPHERS), "MACs": list(macs)}


def host_keys(profile, rsa_bits):
    """The settings that name the keys of the host, the best first and no ECDSA.

    :param rsa_bits: the bits of the key RSA, 0 without one
    """
    if profile == "distribution":
        return {}
    return {"HostKey": [ED25519, RSA if rsa_bits >= RSA_BITS else OWN_RSA]}


def large_moduli(text):
    """The lines of a moduli file of at least MODULI_BITS; the bits are the fifth word."""
    return "".join(line + "\n" for line in text.splitlines()
                   if len(line.split()) == 7 and line.split()[4].isdigit() and int(line.split()[4]) >= MODULI_BITS)


def version(text):
    """The version in what `ssh -V` says, as a tuple of two int; (0, 0) when there is none."""
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def completed(settings, more, have):
    """Settings with those of `more` that they do not name, without those that this server is too old for.

    :param settings: what the user declared, dict
    :param have: the version of the server, see version
    """
    named = {keyword.lower() for keyword in settings}
    both = {**{keyword: value for keyword, value in more.items() if keyword.lower() not in named}, **settings}
    return {keyword: setting for keyword, setting in both.items() if NEWER.get(keyword.lower(), have) <= have}


def lines_of(settings, known):
    """Settings as lines.

    :param settings: dict of keyword to str, int, bool or list. A list of algorithms becomes one line with those that this
        host knows; any other list becomes a line for each element.
    :param known: dict of keyword in lower case to the set of known algorithms
    """
    lines = []
    for keyword, setting in settings.items():
        if keyword.lower() in ALGORITHMS and isinstance(setting, list):
            names = [name for name in setting if name in known.get(keyword.lower(), set(setting))]
            if names:
                lines.append("%s %s" % (keyword, ",".join(names)))
        elif isinstance(setting, list):
            lines += ["%s %s" % (keyword, value(one)) for one in setting]
        elif setting is not None:
            lines.append("%s %s" % (keyword, value(setting)))
    return lines


def closed(ports, settings, known):
    """The own file as it is in the end.

    :param ports: list of int
    """
    return HEAD + "".join(line + "\n" for line in ["Port %d" % port for port in ports] + lines_of(settings, known))


def opened(text, ports):
    """The own file while it moves: what it says now, but listening on all of ports.

    :param text: the own file as it is, empty when there is none
    :param ports: list of int
    """
    rest = [line for line in text.splitlines() if port_in(line) is None and line + "\n" != HEAD]
    return HEAD + "".join(line + "\n" for line in ["Port %d" % port for port in ports] + rest)


def without_ports(text):
    """A config file of somebody else with what sets a port commented out, since ports of all files add up."""
    def one(line):
        return "# quayside.django sets the port: " + line.strip() if port_in(line) is not None else line

    return "\n".join(one(line) for line in text.split("\n"))


def with_include(text):
    """The main file, reading the folder before anything else it says."""
    for line in text.splitlines():
        if _INCLUDE.match(line):
            return text
        if line.strip() and not line.lstrip().startswith("#"):
            break
    return INCLUDE + "\n" + text


def socket_text(ports):
    """The drop-in for ssh.socket. The empty value takes the packaged port away."""
    return HEAD + "[Socket]\nListenStream=\n" + "".join("ListenStream=%d\n" % port for port in ports)


def wanted(files, step, ports, listening, settings, known, socket_file, moduli=""):
    """The files as the step wants them.

    :param files: dict of path to text of the main file and those in the folder
    :param step: open or close
    :param ports: the declared ports, list of int
    :param listening: the ports that sshd listens on now, list of int
    :param settings: see lines_of
    :param known: see lines_of
    :param socket_file: whether ssh.socket listens and does not follow sshd's files
    :param moduli: the text of the own moduli file, empty for none
    :returns: dict of path to text with only the paths that are to be looked at
    """
    if step == "open":
        union = list(dict.fromkeys(ports + listening))
        elsewhere = {port_in(line) for path, text in files.items() if path != OWN for line in text.splitlines()}
        result = {
            MAIN: with_include(files.get(MAIN, "")),
            OWN: opened(files.get(OWN, ""), [port for port in union if port not in elsewhere]),
        }
    else:
        union = ports
        result = {path: without_ports(text) for path, text in files.items() if path != OWN}
        result[MAIN] = with_include(result.get(MAIN, ""))
        result[OWN] = closed(ports, dict(settings, ModuliFile=OWN_MODULI) if moduli else settings, known)
        if moduli:
            result[OWN_MODULI] = moduli
    if socket_file:
        result[SOCKET] = socket_text(union)
    return result


def listeners(output):
    """What `ss -Hltnp` says.

    :returns: dict of port to the name of the program, empty where the kernel does not tell
    """
    found = {}
    for line in output.splitlines():
        parts = line.split()
        if len(parts) < 4 or not parts[3].rpartition(":")[2].isdigit():
            continue
        port = int(parts[3].rpartition(":")[2])
        program = re.search(r'users:\(\("([^"]+)"', line)
        if not found.get(port):
            found[port] = program.group(1) if program else ""
    return found


def listener_pids(output):
    """The process behind each port in what `ss -Hltnp` says, dict of port to int."""
    return {int(found[1]): int(found[2]) for found in re.finditer(r"^\S+\s+\d+\s+\d+\s+\S*:(\d+)\s.*?pid=(\d+)", output, re.M)}


def of_another(cgroup):
    """Whether a process with this /proc/<pid>/cgroup is of another unit than ssh.service: a second sshd, or a session that forwards a port."""
    units = re.findall(r"/([^/\n]+\.(?:service|scope))(?=/|$)", cgroup, re.M)
    return bool(units) and "init.scope" not in units and not {"ssh.service", "sshd.service"} & set(units)


def tcp_listeners(table):
    """The ports that /proc/net/tcp or tcp6 shows listeners on, as listeners does, without the programs."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16): "" for row in rows if len(row) > 3 and row[3] == "0A"}


def own_ports(programs, socket_listens, configured, others=frozenset()):
    """The ports that lead to ssh.service.

    :param programs: see listeners
    :param socket_listens: ports of ssh.socket, set of int: those are held by systemd
    :param configured: ports that sshd -T tells, set of int: believed where the program is not known
    :param others: ports of processes of other units, see of_another
    """
    return sorted(port for port, program in programs.items()
                  if (program.startswith("sshd") and port not in others) or (port in socket_listens and program == "systemd")
                  or (not program and port in configured | socket_listens))


def socket_ports(output):
    """The ports in `systemctl show -p Listen ssh.socket`, set of int."""
    return {int(port) for port in re.findall(r"^Listen=.*?:?(\d+) \(Stream\)", output, re.M)}
