# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders as root opens them: folder by folder, by descriptor, and never through a link that an app could have made.

Root writes and reads below folders whose owner may be hostile. A path that is judged by its name and then used by its name can be
another file the second time, so each function here walks from ``/`` with O_NOFOLLOW and acts on descriptors (openat(2), "Rationale").
A link is followed only where nobody but root can have made it: it is root's, and so is the folder that it lies in.

All functions raise ``OSError``; ``ContainedError`` is one whose text says what lies at a path and what to do.
"""
from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import subprocess
from collections.abc import Callable, Iterator

TEXT_LIMIT = 16 * 2**20  # bytes; the largest file that a deploy reads is a uv.lock or package list of a few MiB
LINKS = 40               # as many as the kernel follows in one path (path_resolution(7))
DEPTH = 64               # folders in one another; node_modules of a large project has 20
NAMES = 5                # how many names an error lists
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: opening a FIFO does not wait for its writer
KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file",
         stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


class ContainedError(OSError):
    """Something lies at ``filename`` that root does not touch; ``strerror`` says what, and what to do."""

    def __init__(self, reason: str, path: str):
        super().__init__(errno.ELOOP, reason, path)


def kind(mode: int) -> str:
    """Return what a mode (st_mode) is, in words: ``a link``, ``a file``, …"""
    return KINDS.get(stat.S_IFMT(mode), "something unknown")


def at(folder: int, name: str) -> str:
    """Return what a name of an open folder is, in words."""
    return kind(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def roots_alone(folder: int) -> bool:
    """Return True when only root can make names in an open folder."""
    have = os.fstat(folder)
    return have.st_uid == 0 and not have.st_mode & 0o022


class Walk:
    """A path that is being walked: the descriptors of the folders from ``/`` to the one that holds its last name."""

    def __init__(self, path: str):
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is no absolute path")
        self.path, self.links = path, 0
        self.folders = [os.open("/", FOLDER_FLAGS)]
        self.name = ""

    def close(self) -> None:
        """Close all descriptors."""
        while self.folders:
            os.close(self.folders.pop())

    def go(self, follow_last: bool) -> None:
        """Walk to the folder that holds the last name; with ``follow_last`` that name is followed when it is a link of root's alone."""
        todo = [part for part in self.path.split("/") if part not in ("", ".")][::-1]
        while todo:
            part = todo.pop()
            if part == "..":
                if len(self.folders) > 1:
                    os.close(self.folders.pop())
                continue
            if todo or follow_last:
                target = self.link(part, last=not todo)
                if target is not None:
                    if target.startswith("/"):
                        while len(self.folders) > 1:
                            os.close(self.folders.pop())
                    todo += [word for word in target.split("/") if word not in ("", ".")][::-1]
                    continue
            if not todo:
                self.name = part
                return
            self.enter(part)

    def link(self, part: str, last: bool) -> str | None:
        """Return the target of a link that may be followed, None for what is no link; raise ContainedError for a link of anybody else's."""
        try:
            have = os.stat(part, dir_fd=self.folders[-1], follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISLNK(have.st_mode):
            return None
        self.links += 1
        if have.st_uid != 0 or not roots_alone(self.folders[-1]) or self.links > LINKS:
            if last:
                return None  # what is done to the name decides
            raise ContainedError(f"{part} is a link that root does not follow; look where it leads, and remove it", self.path)
        return os.readlink(part, dir_fd=self.folders[-1])

    def enter(self, part: str) -> None:
        """Open the next folder."""
        try:
            self.folders.append(os.open(part, FOLDER_FLAGS, dir_fd=self.folders[-1]))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                have = os.stat(part, dir_fd=self.folders[-1], follow_symlinks=False)
                if not stat.S_ISDIR(have.st_mode):
                    raise ContainedError(f"{part} is {kind(have.st_mode)} and not a folder; look at it, and remove it", self.path) from error
            raise OSError(error.errno, error.strerror, self.path) from error


@contextlib.contextmanager
def parent(path: str, follow_last: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the open folder that holds the last name of ``path``, and that name (empty for ``/``)."""
    walk = Walk(path)
    try:
        walk.go(follow_last)
        yield walk.folders[-1], walk.name
    except ContainedError:
        raise
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from error
    finally:
        walk.close()


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Yield a descriptor of the folder ``path``."""
    with parent(path, follow_last=True) as (folder, name):
        if not name:
            yield folder
            return
        try:
            handle = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ContainedError(f"{name} is {at(folder, name)} and not a folder; look at it, and remove it", path) from error
            raise
        try:
            yield handle
        finally:
            os.close(handle)


@contextlib.contextmanager
def socket_at(path: str) -> Iterator[str]:
    """Yield a path by which connect(2) reaches the socket that lies at ``path``, whatever is put there meanwhile; raise for a link or anything else."""
    with parent(path) as (folder, name):
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISSOCK(mode):
                raise ContainedError(f"{path} is {kind(mode)} and not the socket of a server", path)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)


def state(path: str) -> os.stat_result | None:
    """Return what lies at ``path``, a link itself and not its target; None when nothing does."""
    try:
        with parent(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False) if name else os.fstat(folder)
    except FileNotFoundError:
        return None


def is_folder(path: str) -> bool:
    """Return True when a folder lies at ``path``, reached without a foreign link."""
    try:
        with opened(path):
            return True
    except OSError:
        return False


def is_file(path: str) -> bool:
    """Return True when a regular file lies at ``path``, reached without a foreign link."""
    with contextlib.suppress(OSError):
        have = state(path)
        return have is not None and stat.S_ISREG(have.st_mode)
    return False


def names(path: str) -> list[str]:
    """Return the names in a folder, sorted; none when there is no such folder."""
    try:
        with opened(path) as folder:
            return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def read(path: str, limit: int = TEXT_LIMIT) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes; raise ContainedError for anything else."""
    with parent(path, follow_last=True) as (folder, name):
        try:
            handle = os.open(name, FILE_FLAGS, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ContainedError(f"{name} is {at(folder, name)} and not a file of its own; "
                                     "look at it, and remove it", path) from error
            raise
        have = os.fstat(handle)
        if not stat.S_ISREG(have.st_mode):
            os.close(handle)
            raise ContainedError(f"{name} is {kind(have.st_mode)} and not a file; look at it, and remove it", path)
        with os.fdopen(handle, "rb") as file:
            content = file.read(limit + 1) if have.st_size <= limit else b""
            if have.st_size > limit or len(content) > limit:
                raise ContainedError(f"{name} is larger than the {limit // 1024} KiB that are read of such a file", path)
            return content


def text(path: str, limit: int = TEXT_LIMIT) -> str:
    """Return the text of a file, empty when there is none or it is not to be read."""
    with contextlib.suppress(OSError):
        return read(path, limit).decode("utf-8", errors="replace")
    return ""


def write(path: str, content: str, mode: int = 0o644, owner: int = 0, group: int = 0) -> bool:
    """Write a text whole or not at all; return True when the file changed. What lies there before, a link too, is replaced."""
    data = content.encode("utf-8")
    with parent(path) as (folder, name):
        if same(folder, name, data, mode, owner, group):
            return False
        temporary = f".new-{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchown(file.fileno(), owner, group)
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
    return True


def same(folder: int, name: str, data: bytes, mode: int, owner: int, group: int) -> bool:
    """Return True when a file holds ``data`` already, with this mode and owner."""
    with contextlib.suppress(OSError):
        handle = os.open(name, FILE_FLAGS, dir_fd=folder)
        try:
            have = os.fstat(handle)
            return stat.S_ISREG(have.st_mode) and (have.st_uid, have.st_gid, stat.S_IMODE(have.st_mode)) == (owner, group, mode) and \
                have.st_size == len(data) and os.pread(handle, len(data) + 1, 0) == data
        finally:
            os.close(handle)
    return False


def folder(path: str, mode: int, owner: int = 0, group: int = 0) -> bool:
    """Make sure that ``path`` is a folder with this owner and mode, and that those above it are there; return True when something changed."""
    above = os.path.dirname(path.rstrip("/"))
    if above != "/" and state(above) is None:
        folder(above, 0o755)
    made = False
    with parent(path, follow_last=True) as (where, name):
        try:
            os.mkdir(name, 0o700, dir_fd=where)
            made = True
        except FileExistsError:
            pass
        try:
            handle = os.open(name, FOLDER_FLAGS, dir_fd=where)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ContainedError(f"{name} is {at(where, name)} where a folder has to be; "
                                     "look where it comes from, and remove it", path) from error
            raise
        try:
            have = os.fstat(handle)
            if (have.st_uid, have.st_gid) != (owner, group):
                os.fchown(handle, owner, group)
                made = True
            if stat.S_IMODE(have.st_mode) != mode or made:
                os.fchmod(handle, mode)
                made = True
        finally:
            os.close(handle)
    return made


def restrict(path: str, mode: int, group: int) -> None:
    """Give the socket ``path`` this group and mode; nothing happens when there is none."""
    with contextlib.suppress(FileNotFoundError), parent(path) as (where, name):
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=where)
        try:
            have = os.fstat(handle)
            if not stat.S_ISSOCK(have.st_mode):
                raise ContainedError(f"{name} is {kind(have.st_mode)} and not a socket; look at it, and remove it", path)
            if (have.st_gid, stat.S_IMODE(have.st_mode)) != (group, mode):
                # A descriptor that only names a file is changed by its link in /proc.
                os.chown(f"/proc/self/fd/{handle}", -1, group)
                os.chmod(f"/proc/self/fd/{handle}", mode)
        finally:
            os.close(handle)


def link(path: str, target: str) -> None:
    """Point the link ``path`` at ``target`` in one atomic step that survives a power loss."""
    with parent(path) as (where, name):
        temporary = f".new-{secrets.token_hex(8)}"
        os.symlink(target, temporary, dir_fd=where)
        try:
            os.replace(temporary, name, src_dir_fd=where, dst_dir_fd=where)
        except BaseException:
            os.unlink(temporary, dir_fd=where)
            raise
        os.fsync(where)


def target_of(path: str) -> str:
    """Return where a link leads, an empty text for what is no link or not there."""
    try:
        with parent(path) as (where, name):
            return os.readlink(name, dir_fd=where)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return ""
        raise


def relink(path: str, change: Callable[[str], str]) -> list[str]:
    """Point the links below a folder of root's where ``change`` says, which gets the target of each; return the paths of those that changed.

    Who but root can write to the folder must not be let in meanwhile: see ``seal``.
    """
    found = [(name, os.readlink(entry, dir_fd=folder)) for name, folder, entry, have in walk(path) if stat.S_ISLNK(have.st_mode)]
    changed = [(name, change(target)) for name, target in found if change(target) != target]
    for name, target in changed:
        link(f"{path}/{name}", target)
    return [name for name, _target in changed]


def hard_link(source: str, target: str) -> bool:
    """Give a regular file a second name; return False when that name is taken. The folders above the name are made."""
    above = os.path.dirname(target)
    if state(above) is None:
        folder(above, 0o755)
    with parent(source) as (from_folder, from_name), parent(target) as (to_folder, to_name):
        if not stat.S_ISREG(os.stat(from_name, dir_fd=from_folder, follow_symlinks=False).st_mode):
            raise ContainedError(f"{from_name} is no file", source)
        try:
            os.link(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
        except FileExistsError:
            return False
    return True


def link_tree(source: str, target: str, owner: tuple[int, int] | None = None) -> None:
    """Give all files and links below ``source``, a folder of root's, a second name below the folder ``target``, whoever owns that.

    What is in their way there is replaced; what is beside them stays. ``owner``: uid and gid of the folders that are made, by default those of the
    folders in ``source``; ``target`` itself then gets owner and mode of ``source``, too.
    """
    with opened(source) as here, opened(target) as there:
        link_below(here, there, owner)
        if owner is None:
            have = os.fstat(here)
            os.fchown(there, have.st_uid, have.st_gid)
            os.fchmod(there, stat.S_IMODE(have.st_mode))


def link_below(source: int, target: int, owner: tuple[int, int] | None) -> None:
    """Do what ``link_tree`` does for two open folders."""
    for name in os.listdir(source):
        have = os.stat(name, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISDIR(have.st_mode):
            try:
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            except FileExistsError:
                discard(target, name)
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            continue
        there = here = -1
        try:
            here = os.open(name, FOLDER_FLAGS, dir_fd=source)
            there = entered(target, name, stat.S_IMODE(have.st_mode), owner or (have.st_uid, have.st_gid))
            link_below(here, there, owner)
        finally:
            for handle in (here, there):
                if handle != -1:
                    os.close(handle)


def entered(where: int, name: str, mode: int, owner: tuple[int, int]) -> int:
    """Open a folder of an open folder, which is made with this mode and owner when it is not there; what else has its name is removed."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
            discard(where, name)
    try:
        os.mkdir(name, 0o700, dir_fd=where)
    except FileExistsError:
        return os.open(name, FOLDER_FLAGS, dir_fd=where)
    handle = os.open(name, FOLDER_FLAGS, dir_fd=where)
    os.fchown(handle, *owner)
    os.fchmod(handle, mode)
    return handle


def rename(source: str, target: str) -> None:
    """Give what lies at ``source`` the name ``target``, on the same disk; what lies at ``target`` is replaced."""
    with parent(source) as (from_folder, from_name), parent(target) as (to_folder, to_name):
        os.replace(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
        os.fsync(to_folder)


def take(source: str, target: str, owner: int) -> int:
    """Move a file that an app has made into a folder of root's, as root's; return its bytes.

    Raise ContainedError, and remove it, when it is no regular file of one name that belongs to the uid ``owner``.
    """
    rename(source, target)
    with parent(target) as (where, name):
        with contextlib.suppress(OSError):
            handle = os.open(name, FILE_FLAGS, dir_fd=where)
            try:
                have = os.fstat(handle)
                if stat.S_ISREG(have.st_mode) and have.st_nlink == 1 and have.st_uid == owner:
                    os.fchown(handle, 0, 0)
                    os.fchmod(handle, 0o600)
                    return have.st_size
            finally:
                os.close(handle)
        discard(where, name)
    raise ContainedError("it is no file of its own", source)


def remove(path: str) -> None:
    """Remove a file, a link or a whole folder, when it is there. What a link leads to stays."""
    try:
        with parent(path) as (where, name):
            discard(where, name)
    except FileNotFoundError:
        return


def discard(where: int, name: str, depth: int = 0) -> None:
    """Remove a name of an open folder, with all below it. What lies deeper than ``DEPTH`` folders is left to rm, which needs no descriptor for each."""
    try:
        have = os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(have.st_mode):
        os.unlink(name, dir_fd=where)
        return
    try:
        handle = os.open(name, FOLDER_FLAGS, dir_fd=where)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        os.unlink(name, dir_fd=where)  # it became something else meanwhile
        return
    try:
        if depth >= DEPTH:
            subprocess.run(["rm", "-rf", "--", f"/proc/self/fd/{where}/{name}"], check=False, pass_fds=[where], capture_output=True)
            return
        for inner in os.listdir(handle):
            discard(handle, inner, depth + 1)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=where)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power loss."""
    with opened(path) as handle:
        os.fsync(handle)


def walk(path: str) -> Iterator[tuple[str, int, str, os.stat_result]]:
    """Yield (path relative to ``path``, open folder, name, state) of all below a folder, folders before what is in them. No link is followed."""
    with opened(path) as handle:
        yield from below(handle, "")


def below(handle: int, prefix: str) -> Iterator[tuple[str, int, str, os.stat_result]]:
    """Yield what ``walk`` does for an open folder."""
    for name in sorted(os.listdir(handle)):
        try:
            have = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield prefix + name, handle, name, have
        if stat.S_ISDIR(have.st_mode):
            try:
                inner = os.open(name, FOLDER_FLAGS, dir_fd=handle)
            except OSError:
                continue  # gone, or no folder any more
            try:
                if prefix.count("/") >= DEPTH:
                    raise ContainedError(f"more than {DEPTH} folders lie in one another: remove them", prefix + name)
                yield from below(inner, f"{prefix}{name}/")
            finally:
                os.close(inner)


def seal(path: str, owners: set, group: int, public: bool = False) -> None:
    """Give a tree that an app's user has made to root, so that only root changes it.

    ``owners``: the uids whose files are taken; those of root stay as they are, and a file of anybody else (a hard link) is refused.
    ``group`` reads what the owner could read and runs what the owner could run. ``public``: the tree is served, so everybody reads it, and
    nothing but folders and regular files may be in it. Raise ContainedError, with the first names, and change no owner beyond them.
    """
    wrong = []
    for relative, _handle, _name, have in walk(path):
        foreign = have.st_uid not in owners and have.st_uid != 0
        odd = not (stat.S_ISREG(have.st_mode) or stat.S_ISDIR(have.st_mode) or (stat.S_ISLNK(have.st_mode) and not public))
        if odd or (foreign and not stat.S_ISLNK(have.st_mode)):
            wrong.append(f"{relative} ({kind(have.st_mode)}{' of another user' if foreign else ''})")
    if wrong:
        more = f" and {len(wrong) - NAMES} more" if len(wrong) > NAMES else ""
        raise ContainedError(f"only files and folders of the app's own {'can be published' if public else 'belong into a release'}; "
                             f"remove from the build: {', '.join(wrong[:NAMES])}{more}", path)
    with opened(path) as top:
        hand_over(top, owners, group, public)
        for relative, handle, name, have in below(top, ""):
            if stat.S_ISLNK(have.st_mode):
                if have.st_uid != 0:
                    os.chown(name, 0, group, dir_fd=handle, follow_symlinks=False)
                continue
            flags = FOLDER_FLAGS if stat.S_ISDIR(have.st_mode) else FILE_FLAGS
            try:
                inner = os.open(name, flags, dir_fd=handle)
            except FileNotFoundError:
                continue
            try:
                hand_over(inner, owners, group, public, f"{path}/{relative}")
            finally:
                os.close(inner)


def hand_over(handle: int, owners: set, group: int, public: bool, path: str = "") -> None:
    """Give one open file or folder to root; raise ContainedError when it is neither, or somebody else's."""
    have = os.fstat(handle)
    if not (stat.S_ISREG(have.st_mode) or stat.S_ISDIR(have.st_mode)) or (have.st_uid not in owners and have.st_uid != 0):
        raise ContainedError(f"it became {kind(have.st_mode)} while it was sealed: is a process of the app still running?", path)
    if have.st_uid == 0 and have.st_uid not in owners and stat.S_ISREG(have.st_mode):
        return
    allowed = have.st_mode >> 6 & 0o5
    mode = (have.st_mode & 0o700) | allowed << 3 | (allowed if public else 0)
    if (have.st_uid, have.st_gid) != (0, group):
        os.fchown(handle, 0, group)
    if stat.S_IMODE(have.st_mode) != mode:
        os.fchmod(handle, mode)
