# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as git's account in a sandbox, for the time of one command of a build: an ssh-agent with the deploy key, and a socket by which the build asks it.

``REQUEST`` is set by whoever runs it: ``folder``, this account's alone, in which the socket is made, and ``key``. It answers with one line of JSON when it is
ready, and ends when its input does. The build is another account: by the socket it gets the public half of the key and signatures, and nothing else of the
agent (draft-miller-ssh-agent, 3): it adds and removes no key, and locks nothing.
"""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

LIST, SIGN, FAILURE = 11, 13, 5
LIMIT = 2**18  # bytes of a message, as OpenSSH's own agent has it
SOCKET = "socket"  # its name in the folder, from where root moves it to where the build reaches it


def take(connection: socket.socket, size: int) -> bytes:
    """Return ``size`` bytes, fewer when the other side has closed."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def message(connection: socket.socket) -> bytes:
    """Return the next message without its length, empty at the end and for one that is too long."""
    size = int.from_bytes(take(connection, 4), "big")
    data = take(connection, size) if 0 < size <= LIMIT else b""
    return data if len(data) == size else b""


def send(connection: socket.socket, data: bytes) -> None:
    """Send a message."""
    connection.sendall(len(data).to_bytes(4, "big") + data)


def relay(asker: socket.socket, agent: str) -> None:
    """Answer one who asks: by the agent at the path ``agent`` what may be asked, and that it failed anything else."""
    with asker, socket.socket(socket.AF_UNIX) as answerer:
        try:
            answerer.connect(agent)
            for asked in iter(lambda: message(asker), b""):
                if asked[0] not in (LIST, SIGN):
                    send(asker, bytes([FAILURE]))
                    continue
                send(answerer, asked)
                send(asker, message(answerer) or bytes([FAILURE]))
        except OSError:
            return  # one of them has closed


def serve(listener: socket.socket, agent: str) -> None:
    """Answer all who ask, each in a thread of its own, for as long as this program runs."""
    while True:
        asker, _address = listener.accept()
        threading.Thread(target=relay, args=(asker, agent), daemon=True).start()


def main(request: dict) -> int:
    path = os.path.join(request["folder"], "agent")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "SSH_AUTH_SOCK": path}
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as agent:
        try:
            if not agent.stdout.readline():  # it prints the path of its socket when that is there
                print(json.dumps({"error": "ssh-agent did not start", "log": agent.stderr.read().decode("utf-8", "replace")}))
                return 0
            added = subprocess.run(["ssh-add", "-q", "-"], check=False, input=(request["key"].rstrip("\n") + "\n").encode(), capture_output=True, env=env)
            if added.returncode:
                print(json.dumps({"error": "the secret SOURCE_KEY is no private key that ssh takes: without a passphrase, and with its line breaks",
                                  "log": added.stderr.decode("utf-8", "replace")}))
                return 0
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(os.path.join(request["folder"], SOCKET))
            os.chmod(os.path.join(request["folder"], SOCKET), 0o666)  # only the build sees the folder that it goes to
            listener.listen(16)
            threading.Thread(target=serve, args=(listener, path), daemon=True).start()
            print(json.dumps({"ready": True}), flush=True)
            while os.read(0, 4096):
                pass
        finally:
            agent.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main(REQUEST))  # noqa: F821
