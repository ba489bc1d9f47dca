# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that keep apps of one host from each other's local ports: who may answer there, and who may ask. No Ansible and no host in here.

They look at the owner of the socket that sends a packet, which no process can choose. A table of its own: neither UFW nor Docker knows it.
"""
from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.quayside.django.plugins.module_utils import units

TABLE = "quayside_local"
POSTGRESQL = 5432
SOCKET_FOLDER = "/run/postgresql"
ALL_PORTS = "20000-29999"  # those of ``ports.PORTS``


NFT = "/usr/sbin/nft"
# What the sandbox of our messengers takes away, and a program that talks to the kernel's firewall needs.
NEEDS = ("CapabilityBoundingSet", "PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies", "PrivateTmp")


def redis_user(name: str) -> str:
    """Return the user that the Redis of an app runs as. No app is called so: their names have no underscore."""
    return f"redis_{name}"


def labelled(body: str, digest: str) -> str:
    """Return the rules with a comment in the table, by which the kernel tells whose they are."""
    return body.replace(f"table inet {TABLE} {{\n", f'table inet {TABLE} {{\n  comment "{digest}"\n', 1)


def unit(rules: str) -> str:
    """Return the unit that puts the rules in a file in force at boot, before anything listens."""
    return "\n".join([
        "# Written by quayside.django.", "[Unit]", "Description=Apps of this host are kept from each other's local ports",
        "DefaultDependencies=no", "Wants=network-pre.target", "After=local-fs.target nftables.service",
        "Before=network-pre.target sysinit.target shutdown.target", "Conflicts=shutdown.target", f"ConditionPathExists={rules}", "",
        "[Service]", "Type=oneshot", "RemainAfterExit=yes", f"ExecStart={NFT} --file {rules}", f"ExecReload={NFT} --file {rules}",
        "CapabilityBoundingSet=CAP_NET_ADMIN", "RestrictAddressFamilies=AF_NETLINK AF_UNIX",
        *(f"{name}={value}" for name, value in units.MESSENGER if name not in NEEDS), "", "[Install]", "WantedBy=sysinit.target", ""])


def drop_in(rules: str) -> str:
    """Return what brings the rules back when nftables.service has emptied the tables of everybody."""
    again = f"-{NFT} --file {rules}"
    return f"# Written by quayside.django.\n[Service]\nExecStartPost={again}\nExecReload={again}\nExecStop={again}\n"


def slice_drop_in(ports: range) -> str:
    """Return what keeps all processes of an app's slice from binding ports of other apps and PostgreSQL's; where the kernel has no cgroup v2 with BPF,
    systemd leaves it out, and the table is what is left."""
    return (f"# Written by quayside.django.\n[Slice]\nSocketBindAllow=tcp:{ports[0]}-{ports[-1]}\n"
            f"SocketBindDeny=tcp:{ALL_PORTS}\nSocketBindDeny=tcp:{POSTGRESQL}\n")


def socket_folder(uids: Iterable) -> str:
    """Return the rule of systemd-tmpfiles for the folder of PostgreSQL's socket: nobody passes but PostgreSQL, root and these uids."""
    lines = ["# Written by quayside.django.", f"z {SOCKET_FOLDER} 2770 postgres postgres"]
    acl = ",".join(f"user:{uid}:--x" for uid in sorted(set(uids)))
    return "\n".join([*lines, *[f"a+ {SOCKET_FOLDER} - - - - {acl}"] * bool(acl), ""])


def spans(ports: Iterable) -> list[str]:
    """Return ports as nftables writes them, each as long as it can be: 8000, 20300-20399."""
    found: list[list[int]] = []
    for port in sorted(set(ports)):
        if found and port == found[-1][1] + 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return [str(low) if low == high else f"{low}-{high}" for low, high in found]


def text(apps: list[dict], strangers: Iterable = ()) -> str:
    """Return what ``nft -f`` reads: the table as it is to be, put in force in one step.

    :param apps: one dict for each app: name; uid (int); own, ports on which only it may answer; asked, ports of services that answer for it (the edge,
        its Redis), which no other app may ask either; connections, the most to PostgreSQL at once (0: no limit)
    :param strangers: further uids that may ask none of these ports, such as those of the apps' Redis
    """
    uids = {"apps": sorted({app["uid"] for app in apps}), "askers": sorted({app["uid"] for app in apps} | set(strangers))}
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for app in apps:
        lines += [
            f"  # {app['name']}", f"  chain answers_{app['uid']} {{", f"    meta skuid {{ 0, {app['uid']} }} return",
            # The handshake of anyone else never completes, so that no request reaches it: whoever asks is refused at once, as if nothing listened.
            # An answer that no socket owns (a SYN cookie) counts as one of anyone else.
            "    tcp flags & (syn | ack) == syn | ack tcp flags set rst | ack return",
            # What has no owner now is what a socket has still to say after it was closed.
            "    meta skuid 0-4294967294 reject with tcp reset", "  }",
            f"  chain asks_{app['uid']} {{", f"    meta skuid {app['uid']} return", "    meta skuid @askers reject with tcp reset", "  }",
        ]
    answers = [f"{span} : jump answers_{app['uid']}" for app in apps for span in spans(app["own"])]
    asks = [f"{span} : jump asks_{app['uid']}" for app in apps for span in spans({*app["own"], *app["asked"]})]
    # Services of the host: an app that takes the port of one while it restarts would hear the passwords of the others.
    services = spans({POSTGRESQL, *(port for app in apps for port in app["asked"])})
    answers += [f"{span} : jump answers_of_service" for span in services]
    for name, elements in uids.items():
        lines += [f"  set {name} {{", "    type uid"] + [f"    elements = {{ {', '.join(map(str, elements))} }}"] * bool(elements) + ["  }"]
    lines += ["  chain answers_of_service {", "    tcp flags & (syn | ack) != syn | ack return", "    meta skuid @apps tcp flags set rst | ack return",
              "    meta skuid 0-4294967294 return", "    tcp flags set rst | ack return", "  }"]
    lines += ["  chain output {", "    type filter hook output priority filter; policy accept;", '    oifname != "lo" return']
    lines += [f"    tcp sport vmap {{ {', '.join(answers)} }}"] * bool(answers)
    lines += [f"    tcp dport vmap {{ {', '.join(asks)} }}"] * bool(asks)
    lines += [f"    tcp dport {POSTGRESQL} meta skuid {app['uid']} ct state new ct count over {app['connections']} reject with tcp reset"
              for app in apps if app["connections"]]
    return "\n".join([*lines, "  }", "}", ""])
