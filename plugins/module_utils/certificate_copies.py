# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings renewed certificates to the edge: copies those that changed into its folder, and lets it read them.

As a script on a host, by itself: `python3 certificate_copies.py CONFIG.json`, run by certbot after a renewal and by a timer. The file is
{"folder", "group", "certificates": [{"name", "certificate", "key"}], "test": argv, "reload": argv}. Where the edge refuses the new files,
those of before come back and the status is 1. A certificate that is not there, that has ended or whose key is another one is passed over.
"""
from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile

PARTS = (("key", "key", 0o640), ("certificate", "crt", 0o644))  # the key first: an edge that reads in between refuses, and keeps what it has


def why_not(certificate: str, key: str) -> str:
    """Return why a certificate with its key cannot serve now; empty when it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        return f"{certificate} with the key {key} cannot be used: {error}"
    return f"{certificate} has ended" if run(["openssl", "x509", "-noout", "-checkend", "0", "-in", certificate]) else ""


def changed(config: dict) -> tuple[dict, list[str]]:
    """Return path -> (text, mode) of the copies that have to be written, and a line for each certificate that was passed over."""
    wanted, passed = {}, []
    for one in config["certificates"]:
        why = why_not(one["certificate"], one["key"])
        if why:
            passed.append(why)
            continue
        for part, ending, mode in PARTS:
            target, text = f"{config['folder']}/{one['name']}.{ending}", read(one[part])
            if read(target) != text:
                wanted[target] = (text, mode)
    return wanted, passed


def read(path: str) -> str:
    """Return the text of a file, empty when there is none."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""


def write(path: str, text: str, mode: int, group: int) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchown(file.fileno(), 0, group)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(temporary, path)


def run(argv: list[str]) -> str:
    """Run a command; return what it said when it failed, else an empty text."""
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return (done.stdout.strip() or f"{argv[0]} ended with {done.returncode}") if done.returncode else ""


def main(path: str) -> int:
    """Bring what changed; return the exit status."""
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    wanted, passed = changed(config)
    for line in passed:
        print(f"passed over: {line}")
    if not wanted:
        return 0
    before = {target: read(target) for target in wanted}
    for target, (text, mode) in wanted.items():
        write(target, text, mode, config["group"])
    wrong = run(config["test"])
    if wrong:
        for target, text in before.items():
            if text:
                write(target, text, wanted[target][1], config["group"])
        print(f"the edge refuses {', '.join(wanted)}, those of before are back: {wrong}", file=sys.stderr)
        return 1
    wrong = run(config["reload"])
    print(f"new: {', '.join(wanted)}" + (f"; the edge was not reloaded: {wrong}" if wrong else ""), file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
