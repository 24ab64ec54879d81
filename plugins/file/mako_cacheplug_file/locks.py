"""Locks across processes: any number of keys in one file.

Each key has a slot of bytes, far apart in a file that stays empty; to hold a
key is to hold a kernel lock (POSIX, ``fcntl``) on the first bytes of its
slot.  The kernel frees it when the process dies, however it dies, so a lease
is not needed.

How many bytes of the slot are locked tells nothing to the kernel, but the
one who asks is told it: a number that changes with each holder.

POSIX locks have three habits to live with:

* they belong to the process: threads do not exclude each other, so what
  this process holds is also kept here;
* closing *any* descriptor of the file drops *all* of the process's locks on
  it, so there is one descriptor per file and process, shared by everybody
  and closed when nothing is held.  Other code must not open this file.
  Whoever links it to where the store opens another one could as well remove
  it: two hold one key then, and both create;
* a child of ``fork`` holds nothing, and its copy here starts empty.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import struct
import sys
import threading
from typing import Final

from mako_cacheplug.exceptions import BackendError
from mako_cacheplug_file.folders import make_folder
from mako_cacheplug_file.folders import make_way

__all__ = ["CULLING", "FileMutex", "slot_of"]

_SLOT: Final = 1 << 16
_SLOTS: Final = 1 << 46

CULLING: Final = _SLOT * _SLOTS
"""Where the slot begins that no key has: who holds it makes room."""

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

# struct flock, padded; the order of its fields is the system's.
_LINUX: Final = sys.platform.startswith("linux")
_FLOCK: Final = struct.Struct("hhqqi0q" if _LINUX else "qqihhi0q")

_generations: Final = itertools.count()


def slot_of(digest: str) -> int:
    """Return where the slot of a key begins.

    Two keys share one with a chance of 1 in 2**46; they then wait for each
    other, no more.

    :param digest: hexadecimal hash of the key.
    """
    return int(digest[:16], 16) % _SLOTS * _SLOT


class _LockFile:
    """A lock file in which this process holds something."""

    __slots__ = ("fds", "held", "identity")

    def __init__(self, identity: tuple[int, int], fd: int) -> None:
        self.identity = identity
        self.fds = [fd]
        self.held: dict[int, FileMutex] = {}


_guard = threading.RLock()
_files: dict[tuple[int, int], _LockFile] = {}


def _before_fork() -> None:
    _guard.acquire()


def _after_fork_in_parent() -> None:
    _guard.release()


def _after_fork_in_child() -> None:
    global _guard
    for file in _files.values():
        file.held.clear()
        for fd in file.fds:
            os.close(fd)
    _files.clear()
    _guard = threading.RLock()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(path: str, create: bool) -> _LockFile:
    """Return the lock file, the one in use if there is one; guarded."""
    try:
        # Looked at before it is opened: an extra descriptor of a file in
        # use could not be closed again.
        status = os.lstat(path)
        file = _files.get(_identity(status))
        if file is None and (
            not stat.S_ISREG(status.st_mode) or status.st_nlink > 1
        ):
            # A link, a pipe, another file's second name: to close that would
            # drop what this process has locked of it.
            make_way(path)
    except FileNotFoundError:
        if not create:
            raise
        make_folder(os.path.dirname(path))
        file = None
    if file is not None:
        return file
    fd = os.open(path, _OPEN | os.O_CREAT if create else _OPEN, 0o600)
    try:
        identity = _identity(os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    file = _files.get(identity)
    if file is None:
        file = _files[identity] = _LockFile(identity, fd)
    else:  # Put there since; closing it now would drop what is held.
        file.fds.append(fd)
    return file


def _close_unless_held(file: _LockFile) -> None:
    """Close the file if this process holds nothing in it; guarded."""
    if not file.held:
        del _files[file.identity]
        for fd in file.fds:
            os.close(fd)


class FileMutex:
    """The right to create one value, held by a kernel lock.

    It ends when it is released or when the process that holds it dies; a
    live holder keeps it for as long as it takes.  Nothing here waits.

    :param path: the lock file; its folder is made where it is missing.
    :param start: where the slot begins, from :func:`slot_of`.
    :param url: names the store in errors.
    """

    __slots__ = ("_file", "_generation", "_path", "_start", "_url")

    def __init__(self, path: str, start: int, url: str = "") -> None:
        self._path = path
        self._start = start
        self._url = url
        self._file: _LockFile | None = None
        self._generation = 0

    def acquire(self) -> bool:
        """Try to become the holder, without waiting; tell whether it worked.

        :raises BackendError: if the lock file cannot be used.
        """
        try:
            with _guard:
                file = _open(self._path, create=True)
                try:
                    return self._lock(file)
                finally:
                    _close_unless_held(file)
        except OSError as error:
            raise self._error("lock", error) from error

    def _lock(self, file: _LockFile) -> bool:
        if self._start in file.held:
            return False
        # Shorter than the slot: the kernel would join neighbours.
        generation = next(_generations) % (_SLOT - 1) + 1
        try:
            fcntl.lockf(
                file.fds[0],
                fcntl.LOCK_EX | fcntl.LOCK_NB,
                generation,
                self._start,
            )
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        self._file = file
        self._generation = generation
        file.held[self._start] = self
        return True

    def release(self) -> bool:
        """Give it back; tell whether it was still ours.

        It is not in a child forked by the holder: the parent holds it.

        :raises BackendError: if the kernel refuses.
        """
        try:
            with _guard:
                file, self._file = self._file, None
                if file is None or file.held.get(self._start) is not self:
                    return False
                del file.held[self._start]
                try:
                    fcntl.lockf(
                        file.fds[0], fcntl.LOCK_UN, _SLOT - 1, self._start
                    )
                finally:
                    _close_unless_held(file)
        except OSError as error:
            raise self._error("unlock", error) from error
        return True

    def holder(self) -> str | None:
        """Return a token of who holds it now, or ``None`` if nobody does.

        :raises BackendError: if the lock file cannot be used.
        """
        try:
            with _guard:
                file = _open(self._path, create=False)
                try:
                    mine = file.held.get(self._start)
                    if mine is not None:
                        return f"{os.getpid()}.{mine._generation}"
                    return self._other_holder(file)
                finally:
                    _close_unless_held(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("look at", error) from error

    def _other_holder(self, file: _LockFile) -> str | None:
        kind, whence = fcntl.F_WRLCK, os.SEEK_SET
        start, length = self._start, _SLOT - 1
        if _LINUX:
            asked = _FLOCK.pack(kind, whence, start, length, 0)
        else:
            asked = _FLOCK.pack(start, length, 0, kind, whence, 0)
        answer = _FLOCK.unpack(fcntl.fcntl(file.fds[0], fcntl.F_GETLK, asked))
        if _LINUX:
            kind, _, _, length, process = answer
        else:
            _, length, process, kind, _, _ = answer
        return None if kind == fcntl.F_UNLCK else f"{process}.{length}"

    def _error(self, tried: str, error: OSError) -> BackendError:
        return BackendError(
            f"could not {tried} {self._path}: {error.strerror}", url=self._url
        )
