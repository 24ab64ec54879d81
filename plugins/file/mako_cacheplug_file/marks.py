"""Marks: who creates a value stores it only if nothing came in between.

A mark is a file beside an entry's place, whether an entry is there or not.
It holds a random token; to know the token is to have a claim.  Whoever
deletes or sets the entry removes the mark first.  To store under a claim is
to write the entry *into the mark's file* and to rename that into its place:

* what is written into a mark that somebody removed has no name any more, so
  nobody ever sees it.  Those who delete need no lock and never wait;
* what is renamed is the mark that is there at that moment.  Should it be
  another one, it was put there since, under a claim that holds.  What it
  holds until it is written, a token or a part, is a miss for its readers;
* two with one mark do not write at once: the file is locked (``flock``) by
  the one that does, and then the token is gone.

A mark is written under another name and linked to its own, so that its token
is there whole or not at all.

A mark stays where its creator failed or died.  So that no flood of such keys
fills the folder, one new mark in 64 has the others looked at: those that have
lost their creator are removed, and the oldest where there are more than
creators can be at work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import Final

from mako_cacheplug_file.folders import is_plain
from mako_cacheplug_file.folders import LEFT_OVER_SECONDS
from mako_cacheplug_file.folders import MARK
from mako_cacheplug_file.folders import new_file
from mako_cacheplug_file.folders import remove
from mako_cacheplug_file.folders import write

__all__ = ["fill", "put", "void"]

_TOKEN: Final = 16
_NO_CLAIM: Final = b""
_MOST: Final = 64
"""Marks in each of the folders."""

_THINNED_BELOW: Final = 4
"""The first byte of the one token in 64 that has them looked at."""

_TRIES: Final = 8
"""Others may remove a mark just before it is read, but not for ever."""

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def put(name: str, folder: int) -> bytes:
    """Return the token of an entry's mark, which is made where it misses.

    While another is writing into the mark, the token is none and fits none.

    :param name: the entry's.
    :param folder: an open descriptor.
    :raises OSError: if the mark can neither be read nor made.
    """
    mark = MARK + name
    token = os.urandom(_TOKEN)
    new = ""
    try:
        for _ in range(_TRIES):
            found = _read(mark, folder)
            if found is not None:
                return found
            if not new:
                new, fd = new_file(folder)
                try:
                    write(fd, token)
                finally:
                    os.close(fd)
            with contextlib.suppress(FileExistsError):
                os.link(
                    new,
                    mark,
                    src_dir_fd=folder,
                    dst_dir_fd=folder,
                    follow_symlinks=False,
                )
                if token[0] < _THINNED_BELOW:
                    _thin(folder)
                return token
    finally:
        if new:
            remove(new, folder)
    return _NO_CLAIM


def void(name: str, folder: int) -> None:
    """Void the claims that there are on an entry.

    :raises OSError: if it is not certain that they are void.
    """
    remove(MARK + name, folder)


def fill(
    name: str, folder: int, token: bytes, data: bytes, mtime_ns: int
) -> bool:
    """Make *data* the entry if its mark has *token*; tell whether it did.

    :raises OSError: if it cannot be written; the claim is void then.
    """
    mark = MARK + name
    try:
        fd = os.open(mark, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        if not is_plain(fd):
            # Also a mark whose maker was killed before it was done.
            remove(mark, folder)
            return False
        if not _lock(fd) or os.read(fd, _TOKEN + 1) != token or not token:
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            write(fd, data)
            os.utime(fd, ns=(mtime_ns, mtime_ns))
            os.rename(mark, name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileNotFoundError:
            return False
        except BaseException:
            with contextlib.suppress(OSError):
                remove(mark, folder)
            raise
        # Without a name it was another mark that was renamed.
        return os.fstat(fd).st_nlink > 0
    finally:
        os.close(fd)


def _thin(folder: int) -> None:
    """Remove marks of a folder that are too old, or too many.

    What is made under one of them is not stored.  How old they are is told
    by the youngest, which was made just now.
    """
    with contextlib.suppress(OSError):
        # A descriptor of its own: two listings of one would share a place.
        fd = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = [name for name in os.listdir(fd) if name.startswith(MARK)]
        finally:
            os.close(fd)
        marks = []
        for name in found:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                marks.append((status.st_mtime, name))
        marks.sort()
        too_many = len(marks) - _MOST // 2 if len(marks) > _MOST else 0
        for place, (made, name) in enumerate(marks):
            if place < too_many or marks[-1][0] - made > LEFT_OVER_SECONDS:
                remove(name, folder)


def _read(mark: str, folder: int) -> bytes | None:
    """Return the token of a mark; ``None`` if there is none."""
    try:
        fd = os.open(mark, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EISDIR:
            return _NO_CLAIM  # It is not ours to remove.
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
        remove(mark, folder)
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            remove(mark, folder)
            return None
        token = os.read(fd, _TOKEN + 1)
        if len(token) == _TOKEN:
            return token
        if not _lock(fd):
            return _NO_CLAIM
        # Not whole, and nobody is at it: it was filled by now, or whoever
        # was to do it died.
        with contextlib.suppress(FileNotFoundError):
            place = os.stat(mark, dir_fd=folder, follow_symlinks=False)
            if os.path.samestat(place, os.fstat(fd)):
                remove(mark, folder)
        return None
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
