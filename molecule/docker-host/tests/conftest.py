# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the scenario: a server with containers, and a neighbour that tries to reach them."""
import json
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "shared"))

from lab import servers  # noqa: E402 - the path has to be there first

PUBLIC = "203.0.113.5"
SIX = "fd00:5:5::1", "fd00:5:5::2"
# By name: how each is published, the port that it listens on and its network. `inner` listens where the host has a declared port.
CONTAINERS = {
    "declared": (["-p", "8080:80"], 80, "bridge"),
    "limited": (["-p", "8081:80"], 80, "bridge"),
    "undeclared": (["-p", "8082:80"], 80, "bridge"),
    "loopback": (["-p", "127.0.0.1:8083:80"], 80, "bridge"),
    "inner": (["-p", "127.0.0.1:8084:8080"], 8080, "bridge"),
    "one": (["-p", "127.0.0.1:20001:8000"], 8000, "first"),
    "two": ([], 8000, "first"),
    "other": ([], 8000, "second"),
    "six": (["-p", "8086:80"], 80, "six"),
}
PROBE = r"""
import asyncio, json, resource, sys

async def ask(source, host, port, gate):
    async with gate:
        try:
            _reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, local_addr=(source, 0)), float(sys.argv[1]))
        except (OSError, asyncio.TimeoutError):
            return False
        writer.close()
        return True

async def main():
    gate = asyncio.Semaphore(4000)
    asked = [(source, host, port) for source, host, spans in json.loads(sys.argv[2]) for span in spans for port in range(*span)]
    answers = await asyncio.gather(*(ask(*one, gate) for one in asked))
    print(json.dumps([one for one, answer in zip(asked, answers) if answer]))

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
asyncio.run(main())
"""


class Neighbour:
    """The other server of the network, which routes to the containers' networks by way of the first."""

    def __init__(self, server, target):
        self.server, self.target = server, target
        self.sources = {"private": server.address, "public": PUBLIC}

    def addresses(self):
        """Return the address of each container by name."""
        form = "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        lines = self.target.inside(f"docker inspect -f '{form}' {' '.join(CONTAINERS)}").splitlines()
        return {name.lstrip("/"): address for name, address in (line.split() for line in lines)}

    def routes(self):
        """Make the routes, which a reboot of either takes away."""
        for subnet in self.target.inside("docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}' bridge first second six").split():
            self.server.inside(f"ip route replace {subnet} via {SIX[0] if ':' in subnet else self.target.address}")
        self.server.inside(f"ip address replace {PUBLIC}/32 dev lo")
        self.target.inside(f"ip route replace {PUBLIC}/32 via {self.server.address}")

    def ask(self, *asked, seconds=1):
        """Return what answers of many (source, host, ports) at once, as a set of (source, host, port); a port may be a range."""
        spans = [[source, host, [[port.start, port.stop] if isinstance(port, range) else [port, port + 1] for port in ports]] for source, host, ports in asked]
        out = self.server.inside(f"cat > /tmp/probe.py <<'EOF'\n{PROBE}\nEOF\npython3 /tmp/probe.py {seconds} '{json.dumps(spans)}'")
        return {tuple(one) for one in json.loads(out)}

    def open(self, source, *ports, seconds=1):
        """Return the ports of the target that answer to one of the neighbour's addresses."""
        return {port for _source, _host, port in self.ask((self.sources[source], self.target.address, ports), seconds=seconds)}

    def wire(self, *ports):
        """Return the ports on 127.0.0.1 of the target that answer when they are asked by a packet over the wire."""
        program = (HERE / "wire.py").read_text()
        mac = self.target.inside("cat /sys/class/net/eth0/address")
        self.server.inside(f"cat > /tmp/wire.py <<'EOF'\n{program}\nEOF")
        return json.loads(self.server.inside(f"python3 /tmp/wire.py {self.server.address} {mac} {' '.join(map(str, ports))}"))

    def view(self):
        """Return what answers, in one dict: the published ports, then each container's own address."""
        addresses, ports = self.addresses(), (7822, *range(8080, 8087), 20001)
        six = self.target.inside("docker inspect -f '{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}' six")
        answers = self.ask(
            *((source, self.target.address, ports) for source in self.sources.values()),
            *((source, addresses[name], [port]) for name, (_how, port, _network) in CONTAINERS.items() for source in self.sources.values()),
            (SIX[1], SIX[0], ports), (SIX[1], six, [80]))
        found = {name: {port for source, host, port in answers if (source, host) == (own, self.target.address)} for name, own in self.sources.items()}
        found |= {f"{name}, routed": {other for other, address in addresses.items() if any(one[:2] == (own, address) for one in answers)}
                  for name, own in self.sources.items()}
        found |= {"IPv6": {port for _source, host, port in answers if host == SIX[0]}, "IPv6, routed": {port for _source, host, port in answers if host == six}}
        return found | {"wire": set(self.wire(8083, 8084, 20001))}


# IPv6 clients of a port meet the host's own firewall, since Docker's proxy listens for them: only SSH is open there.
DECLARED = {"private": {7822, 8080}, "public": {7822, 8080, 8081}, "private, routed": set(), "public, routed": set(), "IPv6": {7822}, "IPv6, routed": set(),
            "wire": set()}


def enable_six(server, address):
    """Give a server an IPv6 address in the network of the lab."""
    server.inside(f"sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0; ip address replace {address}/64 dev eth0 nodad")


@pytest.fixture(scope="session")
def pair():
    """Both servers."""
    return servers(HERE.parent)


@pytest.fixture(scope="session")
def host(pair):
    """The server with Docker and some containers."""
    server = pair[0]
    server.inside("apt-get -q install -y busybox-static >/dev/null 2>&1")
    server.inside("tar -C /usr -c bin/busybox | docker import -c 'ENTRYPOINT [\"/bin/busybox\"]' - tiny:1 >/dev/null")
    enable_six(server, SIX[0])
    server.inside("docker ps -aq | xargs -r docker rm -f >/dev/null; docker network prune -f >/dev/null")
    server.inside("docker network create first; docker network create second; docker network create --ipv6 --subnet fd00:6:6::/64 six")
    for name, (published, port, network) in CONTAINERS.items():
        # --init: a server that passes SIGTERM on, or the host waits a minute and a half for it when it powers off.
        server.inside(f"docker run -d --init --restart unless-stopped --name {name} --network {network} {' '.join(published)} "
                      f"tiny:1 httpd -f -p {port} -h /etc")
    return server


@pytest.fixture(scope="session")
def neighbour(pair, host):
    """The neighbour, with a private and a public address."""
    enable_six(pair[1], SIX[1])
    found = Neighbour(pair[1], host)
    found.routes()
    return found
