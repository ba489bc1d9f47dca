# SPDX-License-Identifier: GPL-3.0-or-later
"""What an app that was broken into cannot do to another app of its host: take its port, ask its ports, use up PostgreSQL, have SSH ban somebody,
push others out of the journal.

The scenario has three fixtures: ``victim``, the name of an app of the systemd runtime with a process that has both ``port`` and ``listen``; ``hostile``,
that of another one; and ``visit``, a function that asks that process by the edge and returns status and body. Its ``server`` has both apps live.
"""
import base64
import concurrent.futures
import contextlib
import json
import re
import time

import pytest

# Of a unit, what the attack is to run without; all else is its sandbox.
NOT_SANDBOX = ("Type", "ExecStart", "EnvironmentFile", "LoadCredential", "SetCredential", "WorkingDirectory", "Restart", "RestartSec", "KillMode",
               "TimeoutStopSec", "ReadWritePaths", "BindPaths", "BindReadOnlyPaths", "RootDirectory", "SyslogIdentifier")
SERVE = """
import errno, socket, sys, time
end = time.monotonic() + {seconds}
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
print("waits", flush=True)
while time.monotonic() < end:
    try:
        listener.bind(("127.0.0.1", {port}))
        listener.listen(50)
        break
    except OSError as error:
        if error.errno == errno.EPERM:
            print("denied", flush=True)
            sys.exit()
        time.sleep(0.001)
print("bound", flush=True)
while time.monotonic() < end:
    listener.settimeout(max(0.01, end - time.monotonic()))
    try:
        connection, _ = listener.accept()
        connection.settimeout(1)
        print("heard", connection.recv(4000), flush=True)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nstolen")
        connection.close()
    except OSError:
        pass
"""
ASK = """
import socket
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    for port in {ports}:
        with socket.socket(family) as connection:
            connection.settimeout(5)
            try:
                connection.connect((address, port))
                connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                print(address, port, "open", connection.recv(20))
            except OSError as error:
                print(address, port, type(error).__name__)
"""
# Half of them are silent, half say who they are and never log in: these two take different places of the server.
FLOOD = """
import socket, struct, time
said = b"user\\0{user}\\0database\\0{user}\\0\\0"
hello = struct.pack("!II", len(said) + 8, 196608) + said
kept, end = [], time.monotonic() + {seconds}
while time.monotonic() < end:
    kept = [entry for entry in kept if entry.fileno() >= 0]
    for number in range(400):
        family, place = ((socket.AF_INET, ("127.0.0.1", 5432)), (socket.AF_UNIX, "/run/postgresql/.s.PGSQL.5432"))[number % 2]
        connection = socket.socket(family)
        connection.settimeout(0.3)
        try:
            connection.connect(place)
            if number % 4 > 1:
                connection.sendall(hello)
            kept.append(connection)
        except OSError:
            connection.close()
    print("holds", len(kept), flush=True)
    time.sleep(2)
    kept = kept[-800:]
"""
LOGIN = """
import socket, struct
said = b"user\\0{user}\\0database\\0{user}\\0\\0"
kept = []
for number in range({count}):
    connection = socket.create_connection(("127.0.0.1", 5432), 10)
    connection.sendall(struct.pack("!II", len(said) + 8, 196608) + said)
    connection.settimeout(10)
    print(connection.recv(1).decode(), end="")
    kept.append(connection)
"""
# By all ways that a sandbox has to the journal: what it prints, syslog, and the journal's own socket with fields of large size.
FILL = """
import random, socket, time
end, wrote = time.monotonic() + {seconds}, 0
native = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while time.monotonic() < end and wrote < {limit}:
    noise = random.randbytes(30000).hex()
    print(noise, flush=True)
    wrote += len(noise)
    for path, text in (("/run/systemd/journal/socket", "MESSAGE=" + noise + "\\nSYSLOG_IDENTIFIER=sshd\\n"), ("/dev/log", "<86>sshd[1]: " + noise[:9000])):
        try:
            native.sendto(text.encode(), path)
            wrote += len(text)
        except OSError:
            pass
"""


def argv(server, app: str, program: str, without: tuple = ()) -> str:
    """Return the command that runs a Python program as an app's user in the sandbox that its processes have, but for some directives."""
    unit = server.inside(f"ls /etc/systemd/system/{app}-*@.service | head -n 1")
    text = server.inside(f"cat {unit}")
    left_out = (*NOT_SANDBOX, *without)
    lines = [line for line in text.split("[Service]")[1].splitlines() if "=" in line and line.split("=")[0] not in left_out and "%i" not in line]
    assert any(line.startswith("NoNewPrivileges=") for line in lines), text
    code = base64.b64encode(program.encode()).decode()
    properties = " ".join(f"-p '{line}'" for line in lines)
    return f"systemd-run --quiet --pipe --wait --collect {properties} python3 -c \"import base64; exec(base64.b64decode('{code}'))\""


def attack(server, app: str, program: str) -> str:
    """Run a Python program in an app's sandbox; return what it printed."""
    return server.inside(argv(server, app, program) + " 2>&1", check=False)


def background(server, app: str, program: str, out: str, without: tuple = ()) -> None:
    """Start a Python program in an app's sandbox, whose output goes to a file of root's."""
    server.inside(f"{argv(server, app, program, without)} </dev/null >{out} 2>&1 &")


def by_port(server, victim: str) -> tuple[str, int, int]:
    """Return unit, port and listen of the victim's process that is reached by a port."""
    record = json.loads(server.inside(f"cat /opt/{victim}/live/release.json"))
    process = next(process for process in record["processes"] if process["tcp"] and process["listen"])
    release = server.inside(f"basename $(readlink /opt/{victim}/live)")
    return f"{victim}-{process['name']}@{release}.service", record["ports"][process["name"]], process["listen"]


@contextlib.contextmanager
def guesser(server):
    """Give a function that guesses logins at sshd so often, from an address in a network namespace of its own, while the block runs."""
    command = ("ssh -p 7822 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 "
               "guess$i@198.18.7.1 true </dev/null >/dev/null 2>&1")
    server.inside("ip netns add guesser && ip link add guess0 type veth peer name guess1 netns guesser && ip addr add 198.18.7.1/30 dev guess0 && "
                  "ip link set guess0 up && ip -n guesser addr add 198.18.7.2/30 dev guess1 && ip -n guesser link set guess1 up")
    try:
        yield lambda count: server.inside(f"for i in $(seq {count}); do ip netns exec guesser {command}; done; true")
    finally:
        server.inside("fail2ban-client set sshd unbanip 198.18.7.2; ip link del guess0; ip netns del guesser", check=False)


def until(seconds: float, question) -> bool:
    """Return True as soon as a question is answered with yes, False when it was not within seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.3)
    return False


def answered(server, listen: int) -> str:
    """Return the status that the live process gives to a request of root's by its `listen` port."""
    return server.inside(f"curl -s -o /dev/null -m 30 -w '%{{http_code}}' http://127.0.0.1:{listen}/healthz/", check=False)


@pytest.mark.parametrize("without", [(), ("Slice",)], ids=["process", "one-off"])
def test_who_takes_the_port_of_a_crashed_process_gets_no_visitor(server, victim, hostile, without):
    """The thief binds it within RestartSec, or is not let; visitors are refused until the process is back. One-off commands are in no slice of the app."""
    unit, port, listen = by_port(server, victim)
    assert answered(server, listen) == "200"
    background(server, hostile, SERVE.format(port=port, seconds=20), "/run/thief", without)
    assert until(60, lambda: "waits" in server.inside("cat /run/thief"))
    server.inside(f"systemctl kill -s KILL {unit}")
    visit = f"for i in $(seq 30); do curl -s -m 10 -H 'Cookie: sessionid=secret' -w ' %{{http_code}}\\n' http://127.0.0.1:{listen}/healthz/; sleep 0.2; done"
    seen = server.inside(visit, check=False)
    assert until(60, lambda: not server.inside("pgrep -f [b]64decode || true")), "the thief ended"
    told = server.inside("cat /run/thief")
    assert "bound" in told or "denied" in told, f"the attack was not carried out: {told}"
    assert "heard" not in told, told
    assert "stolen" not in seen, seen
    assert until(60, lambda: answered(server, listen) == "200"), "the process came back"


def test_a_neighbour_asks_no_port_of_another_app(server, victim, hostile):
    """Neither the process itself nor its `listen` port, which know no logins and no lists of addresses. Root, people and the app itself do."""
    _unit, port, listen = by_port(server, victim)
    program = ASK.format(ports=[port, listen])
    assert "open" not in attack(server, hostile, program)
    assert attack(server, victim, program).count("open") == 2
    for user in ("root", "deploy"):
        assert server.inside(f"sudo -u {user} curl -s -o /dev/null -m 30 -w '%{{http_code}}' http://127.0.0.1:{listen}/healthz/") == "200"


def test_the_rules_outlive_the_other_firewalls(server, victim, hostile):
    """`ufw reload`, `ufw disable` and a restart of nftables.service leave them in force."""
    _unit, port, listen = by_port(server, victim)
    for command in ("ufw reload", "ufw disable", "ufw --force enable", "systemctl restart nftables.service", "systemctl reload nftables.service",
                    "systemctl stop nftables.service"):
        server.inside(command)
        assert "open" not in attack(server, hostile, ASK.format(ports=[port, listen])), command
    # Those commands emptied the tables of UFW, fail2ban and Docker as well.
    server.inside("ufw reload; systemctl restart fail2ban; systemctl try-restart docker")


def test_connections_without_a_login_leave_postgresql_to_the_others(server, victim, hostile):
    """400 at once, by TCP and by the socket: the victim's own share of connections is there all the time."""
    background(server, hostile, FLOOD.format(user=hostile, seconds=20), "/run/flood")
    assert until(60, lambda: "holds" in server.inside("cat /run/flood"))
    _unit, _port, listen = by_port(server, victim)
    try:
        for _ in range(3):
            assert attack(server, victim, LOGIN.format(user=victim, count=10)).strip() == "R" * 10
            assert server.inside("sudo -u postgres psql -Atc 'SELECT 1'") == "1"
            assert answered(server, listen) == "200"
    finally:
        assert until(90, lambda: not server.inside("pgrep -f [b]64decode || true"))
    assert re.search(r"holds [1-9]", server.inside("cat /run/flood")), "the attack was not carried out"


def test_each_role_of_an_app_has_a_share_of_the_connections(server, victim, hostile):
    """Together they are fewer than the server has."""
    limits = dict(line.split("|") for line in server.inside("sudo -u postgres psql -Atc 'SELECT rolname, rolconnlimit FROM pg_roles'").splitlines())
    most = int(server.inside("sudo -u postgres psql -Atc 'SHOW max_connections'"))
    assert int(limits[victim]) > 0 < int(limits[hostile])
    assert int(limits[victim]) + int(limits[hostile]) <= most - 3


def test_nobody_is_banned_by_lines_of_an_app(server, hostile):
    """Lines that look like sshd's, by every way that a sandbox has, from a process that is called sshd."""
    lines = [f"Failed password for root from 203.0.113.77 port {40000 + number} ssh2" for number in range(12)]
    program = f"""
import ctypes, socket, time
ctypes.CDLL(None).prctl(15, b"sshd", 0, 0, 0)
native = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for line in {lines!r}:
    print("sshd[77]: " + line, flush=True)
    for path, text in (("/run/systemd/journal/socket", "MESSAGE=" + line + "\\nSYSLOG_IDENTIFIER=sshd\\nSYSLOG_PID=77\\nPRIORITY=6\\n"),
                       ("/dev/log", "<86>sshd[77]: " + line)):
        try:
            native.sendto(text.encode(), path)
        except OSError as error:
            print("refused", error)
time.sleep(1)  # longer than a process has to live for journald to know its unit
"""
    attack(server, hostile, program)
    user = server.inside(f"grep -h ^User= /etc/systemd/system/{hostile}-*@.service | head -n 1").removeprefix("User=")
    server.inside(f"for i in $(seq 12); do runuser -u {user} -- logger -t sshd 'Failed password for root from 203.0.113.78 port 22 ssh2'; done")
    with guesser(server) as guess:
        guess(8)
        assert until(30, lambda: "198.18.7.2" in server.inside("fail2ban-client status sshd")), "the jail has read what came after the attack"
        banned = server.inside("fail2ban-client status sshd")
    assert "203.0.113.7" not in banned, banned


def test_who_guesses_logins_is_banned_still(server):
    """The same jail bans an address that tries names. It comes from a network namespace: the server's own addresses and the controller's are spared."""
    with guesser(server) as guess:
        guess(8)
        assert until(30, lambda: "198.18.7.2" in server.inside("fail2ban-client status sshd")), server.inside("fail2ban-client status sshd")


def test_the_output_of_an_app_pushes_nobody_out_of_the_journal(server, hostile):
    """The system's journal does not grow by it, and what sshd and sudo said is there afterwards."""
    mark = f"quayside-mark-{time.time():.0f}"
    server.inside(f"logger -t sudo {mark}; journalctl --sync")

    def system() -> int:
        return int(server.inside("du -sm /var/log/journal/$(cat /etc/machine-id) | cut -f1"))

    before = system()
    attack(server, hostile, FILL.format(seconds=45, limit=600_000_000))
    server.inside("journalctl --sync")
    assert mark in server.inside("journalctl -t sudo --no-pager -o cat")
    assert system() - before < 60, "MiB that the journal of the system has grown by"


def test_what_an_app_prints_is_found_by_its_unit(server, victim):
    """Where the messages of a deploy and the docs say that it is."""
    unit, _port, listen = by_port(server, victim)
    answered(server, listen)
    assert until(40, lambda: "healthz" in server.inside(f"journalctl --namespace='*' -u {unit} -n 200 --no-pager -o cat"))
    assert unit.split("@")[0] in server.inside(f"systemctl status --no-pager {unit}")


def test_each_redis_has_a_user_of_its_own(server):
    """What breaks into one reads nothing of another."""
    lines = server.inside("ps -o user:32=,args= -C redis-server").splitlines()
    users = [line.split()[0] for line in lines]
    assert users and len(set(users)) == len(users) and "redis" not in users, lines


def test_a_visitor_in_a_hurry_sees_the_neighbour_at_no_time(server, victim, hostile, visit):
    """The same theft, seen by many visitors at once from outside."""
    unit, port, _listen = by_port(server, victim)
    background(server, hostile, SERVE.format(port=port, seconds=8), "/run/thief", ("Slice",))
    assert until(60, lambda: "waits" in server.inside("cat /run/thief"))

    def visitor(_number: int) -> list:
        return [visit()[1] for _ in range(20)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(visitor, number) for number in range(8)]
        server.inside(f"systemctl kill -s KILL {unit}")
        bodies = [body for future in waiting for body in future.result()]
    assert until(60, lambda: not server.inside("pgrep -f [b]64decode || true"))
    assert not [body for body in bodies if b"stolen" in body]
    assert until(60, lambda: visit()[0] == 200)
