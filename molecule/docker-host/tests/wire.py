# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the neighbour: sends a SYN for 127.0.0.1:PORT over the wire to another machine, and says whether an answer comes back.

wire.py OWN-ADDRESS MAC PORT...  prints the ports that answered
"""
import pathlib
import random
import socket
import struct
import sys
import time


def checksum(data):
    """Return the sum of the internet's headers."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(source, own, port):
    """Return an IPv4 packet that asks 127.0.0.1 for a connection, from a port of one's own."""
    here, there = socket.inet_aton(source), socket.inet_aton("127.0.0.1")
    tcp = struct.pack("!HHLLBBHHH", own, port, 1, 0, 5 << 4, 2, 64000, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(here + there + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, here, there)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def answered(source, mac, ports):
    """Return the ports from which a SYN and ACK came."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind(("eth0", 0))
    own = bytes.fromhex(pathlib.Path("/sys/class/net/eth0/address").read_text().strip().replace(":", ""))
    # Answers to an earlier call still come again and again.
    asked = {random.randint(30000, 60000): port for port in ports}
    for mine, port in asked.items():
        wire.send(bytes.fromhex(mac.replace(":", "")) + own + b"\x08\x00" + syn(source, mine, port))
    wire.settimeout(0.2)
    found, deadline = set(), time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            packet = wire.recv(2000)
        except socket.timeout:
            continue
        if packet[23] == 6 and packet[47] & 0x12 == 0x12 and packet[26:30] == socket.inet_aton("127.0.0.1"):
            port, mine = struct.unpack("!HH", packet[34:38])
            found |= {port} if asked.get(mine) == port else set()
    return sorted(found)


if __name__ == "__main__":
    print(answered(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]))
