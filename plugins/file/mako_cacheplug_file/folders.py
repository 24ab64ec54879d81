"""The root and its folders, opened so that no symbolic link leads out.

Entries are spread over 256 folders by the first two digits of their names.
One level only: each level would be one more open that must not follow a
link, and the file systems of today index their folders, so that a name is
found as quickly among many thousands.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from mako_cacheplug_file import stamps

__all__ = [
    "LEFT_OVER_SECONDS",
    "MARK",
    "NO_FILE",
    "READ",
    "SHARDS",
    "TEMPORARY",
    "Folder",
    "Folders",
    "is_plain",
    "make_folder",
    "new_file",
    "open_plain",
    "remove",
    "size_of",
    "write",
]

SHARDS: Final = tuple(f"{number:02x}" for number in range(256))

LEFT_OVER_SECONDS: Final = 900.0
"""After which a file that is being written, or a mark, has lost its maker."""

TEMPORARY: Final = "new-"
"""How the name of a file that is being written begins."""

MARK: Final = "mark-"
"""How the name of a mark begins; its entry's name follows."""

KEEP: Final = 1.0
"""Seconds for which readers go through a folder that they opened before."""

# Naming a folder needs no right to list it, where the system knows O_PATH.
_HANDLE: Final = (
    getattr(os, "O_PATH", os.O_RDONLY)
    | os.O_DIRECTORY
    | os.O_NOFOLLOW
    | os.O_CLOEXEC
)
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
)

# Not blocking: something else than a file may stand in its place.
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OWN: Final = (
    os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)

NO_FILE: Final = frozenset(
    {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EAGAIN}
)
"""Errors of what is a link, a folder, a socket or a pipe instead."""

_attempts: Final = itertools.count()


def make_folder(path: str) -> None:
    """Make *path* and its missing parents, for the owner's eyes only.

    What is there already keeps its permissions.

    :raises OSError: if it is not a folder and cannot be made one.
    """
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        # Once: where nothing can be made, as in /proc, it is missing again.
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def is_plain(fd: int) -> bool:
    """Tell whether an open file is one, and has no second name elsewhere.

    What is written into a file with two names is written into a file that
    somebody else may have linked here from where it matters.
    """
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


def open_plain(path: str) -> int:
    """Return a descriptor of a file that is written in place.

    A link, a pipe and the like give way to a new file.

    :raises OSError: if it cannot be opened or made.
    """
    try:
        fd = os.open(path, _OWN, 0o600)
    except OSError as error:
        # A link, a socket, a folder.
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
    else:
        is_ours = False
        try:
            is_ours = is_plain(fd)
        finally:
            if not is_ours:
                os.close(fd)
        if is_ours:
            return fd
    make_way(path)
    return os.open(path, _OWN | os.O_EXCL, 0o600)


def make_way(path: str) -> None:
    """Remove what stands where a file of the store belongs.

    :raises OSError: if it cannot be removed, as a folder that is not empty:
        what is in it is not the store's.
    """
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def remove(name: str, folder: int) -> bool:
    """Remove *name* from an open folder; tell whether it was there.

    :raises OSError: if it is there and cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def size_of(name: str, folder: int) -> int:
    """Return the size of a file in an open folder, 0 if it is not there.

    :raises OSError: if it cannot be looked at.
    """
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def new_file(folder: int) -> tuple[str, int]:
    """Return name and descriptor of a new file in an open folder.

    :raises OSError: if it cannot be made.
    """
    # Unique among processes also where they do not see each other.
    name = f"{TEMPORARY}{os.urandom(8).hex()}-{next(_attempts)}"
    return name, os.open(name, _NEW, 0o600, dir_fd=folder)


def write(fd: int, data: bytes) -> None:
    """Write all of *data*.

    :raises OSError: if it cannot be written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Folder:
    """An open folder, closed when the last who uses it lets go.

    Not closed by anybody else: a number that another thread is about to use
    could by then stand for another folder.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


class Folders:
    """The folders of one root.

    Readers keep them open for a second, which halves the cost of a hit and
    takes up to 256 descriptors.  Writers open them anew: they must not
    write into, or delete from, a root that was moved away.

    Safe in threads and after fork.

    :param root: absolute path.  Links in the root's own path are followed:
        they are the administrator's.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.forget()

    def forget(self) -> None:
        """Let go of the open folders."""
        self._kept: dict[str, Folder] = {}
        self._are_local: dict[int, bool] = {}
        self._until = 0.0

    def kept(self, shard: str) -> Folder:
        """Return the folder, opened at most a second ago.

        :raises OSError: if it is not there or is no folder.
        """
        now = time.monotonic()
        if now >= self._until:
            self._kept = {}
            self._are_local = {}
            self._until = now + KEEP
        return self._kept.get(shard) or self.open(shard)

    def is_local(self, fd: int, device: int) -> bool:
        """Tell what :func:`.stamps.is_local` told at most a second ago.

        :param device: the number of the open file's file system.
        """
        known = self._are_local.get(device)
        if known is None:
            known = self._are_local[device] = stamps.is_local(fd)
        return known

    def open(self, shard: str) -> Folder:
        """Return the folder, opened now.

        :raises OSError: if it is not there or is no folder.
        """
        folder = Folder(os.open(f"{self.root}/{shard}", _HANDLE))
        # A reader of this process must see what is written through it.
        self._kept[shard] = folder
        return folder

    def make(self, shard: str) -> Folder:
        """Return the folder, opened now, made where it is missing.

        :raises OSError: if it cannot be made or is no folder.
        """
        try:
            return self.open(shard)
        except FileNotFoundError:
            make_folder(f"{self.root}/{shard}")
            return self.open(shard)

    @contextlib.contextmanager
    def listing(self, shard: str) -> Iterator[tuple[list[str], int]]:
        """Give the names in a folder and its descriptor; none if missing.

        :raises OSError: if it is no folder or cannot be read.
        """
        # A descriptor of its own: two listings of one would share a place.
        try:
            fd = os.open(f"{self.root}/{shard}", _LIST)
        except FileNotFoundError:
            yield [], -1
            return
        try:
            yield os.listdir(fd), fd
        finally:
            os.close(fd)
