# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Several files that belong together: read, compare, write whole, put back. No Ansible in here."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
import tempfile
from collections import namedtuple

# content is bytes, or None where there is no file; mode is an int, owner and group are names.
State = namedtuple("State", "content mode owner group")
ABSENT = State(None, None, None, None)


def read(path):
    """The State of a file. A symbolic link is followed."""
    try:
        with open(path, "rb") as file:
            content = file.read()
            info = os.fstat(file.fileno())
    except FileNotFoundError:
        return ABSENT
    return State(content, stat.S_IMODE(info.st_mode), _name(pwd.getpwuid, info.st_uid), _name(grp.getgrgid, info.st_gid))


def _name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def write(path, state):
    """Makes the file be as state says, in one rename, so that nobody ever reads half of it.

    :param path: str; a symbolic link is followed
    :param state: State
    """
    path = os.path.realpath(path)
    if state.content is None:
        if os.path.exists(path):
            os.unlink(path)
        return
    folder = os.path.dirname(path)
    os.makedirs(folder, 0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".quayside-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), state.mode)
            os.fchown(file.fileno(), _number(pwd.getpwnam, state.owner), _number(grp.getgrnam, state.group))
            file.write(state.content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _number(lookup, name):
    return int(name) if name.isdigit() else lookup(name)[2]


def stricter(now, most):
    """A mode without the rights that `most` does not have; both are int."""
    return now & (most | 0o7000)


def existing(pattern):
    """The files and folders that a path or a pattern of the shell names, without links."""
    return [path for path in glob.glob(pattern) if not os.path.islink(path)]


def diff(path, before, after):
    """One entry of Ansible's diff list."""
    def header(state):
        return "%s (%s)" % (path, "absent" if state.content is None else "%04o %s:%s" % state[1:])

    return {"before": _text(before), "after": _text(after), "before_header": header(before), "after_header": header(after)}


def _text(state):
    return (state.content or b"").decode("utf-8", "replace")


def repairs(wanted, shown):
    """What has to be done so that units are on.

    :param wanted: names of units that are to run and to start at boot
    :param shown: output of `systemctl show -p Id,ActiveState,UnitFileState,Names` for them, blocks in the same order
    :returns: (units to enable, units to start)
    """
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    enable, start = [], []
    for name, state in zip(wanted, blocks + [{}] * (len(wanted) - len(blocks))):
        if state.get("UnitFileState", "") not in ("enabled", "static", "alias", "generated", "indirect", "enabled-runtime"):
            enable.append(name)
        if state.get("ActiveState", "") not in ("active", "activating", "reloading"):
            start.append(name)
    return enable, start
