# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The SSH session that a module runs in, found although sudo takes SSH_CONNECTION out of the environment."""

from __future__ import annotations

import os
from collections import namedtuple

Session = namedtuple("Session", "client server port")
NONE = Session("", "", 0)


def parse(text):
    """The value of SSH_CONNECTION as a Session, or NONE."""
    parts = text.split()
    if len(parts) == 4 and parts[3].isdigit():
        return Session(parts[0], parts[2], int(parts[3]))
    return NONE


def find(pid=None, proc="/proc"):
    """The nearest SSH_CONNECTION among the process and those that started it.

    :param pid: int, default this process
    :param proc: where /proc is
    :returns: Session of client and server (addresses) and port (int), or NONE when nobody came by ssh
    """
    pid = pid or os.getpid()
    for _generation in range(32):
        try:
            with open("%s/%d/environ" % (proc, pid), "rb") as file:
                for entry in file.read().split(b"\0"):
                    if entry.startswith(b"SSH_CONNECTION="):
                        return parse(entry.partition(b"=")[2].decode("ascii", "replace"))
            with open("%s/%d/stat" % (proc, pid)) as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return NONE
        if pid < 2:
            return NONE
    return NONE
