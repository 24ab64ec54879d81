"""The file store: a folder in which each entry is a file.

A file is written beside its place and renamed into it, so a reader has the
old bytes or the new; it checks itself when it is read (:mod:`.record`).
Nothing is flushed to the disk on purpose: after a crash of the machine an
entry is whole, or it fails its check and is a miss, and waiting for the disk
would cost a hundred times the rest of the write.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import time
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final
from typing import TYPE_CHECKING

from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.api import Unchanged
from mako_cacheplug.api import Usage
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug_file import culling
from mako_cacheplug_file import marks
from mako_cacheplug_file import record
from mako_cacheplug_file import stamps
from mako_cacheplug_file.culling import Ledger
from mako_cacheplug_file.folders import Folder
from mako_cacheplug_file.folders import Folders
from mako_cacheplug_file.folders import new_file
from mako_cacheplug_file.folders import NO_FILE
from mako_cacheplug_file.folders import READ
from mako_cacheplug_file.folders import remove
from mako_cacheplug_file.folders import SHARDS
from mako_cacheplug_file.folders import size_of
from mako_cacheplug_file.folders import write
from mako_cacheplug_file.locks import CULLING
from mako_cacheplug_file.locks import FileMutex
from mako_cacheplug_file.locks import slot_of
from mako_cacheplug_file.stamps import Stamp
from mako_cacheplug_file.sweeping import is_over
from mako_cacheplug_file.sweeping import sweep

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.options import StoreURL

__all__ = ["FileBackend"]

_LOCKS: Final = "mako_cacheplug.lock"
_LEDGER: Final = "mako_cacheplug.usage"


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


@functools.lru_cache(maxsize=4096)
def _name(key: str) -> str:
    """Return the name of *key*'s file, which no key can choose."""
    return blake2b(_encoded(key), digest_size=16).hexdigest()


class FileBackend(CacheBackend):
    """A store in a folder, shared by all processes that may write there.

    Safe in threads, processes and after fork; on a file system with POSIX
    locks.  Folders are made with mode 0700 and files with 0600; below the
    root no symbolic link is followed.  The root is made at the first write,
    and made again if it is removed.

    :param root: the folder; a relative path counts from the current folder
        at this moment.
    :param max_bytes: bound of all entries' file sizes in bytes, ``None`` for
        none.  The oldest leave first.  The file system's own rounding, often
        to 4 KiB for each file, comes on top.
    :param max_value_bytes: largest payload in bytes, ``None`` for no limit
        but *max_bytes*.  No more than that is read into memory either.
    :param max_copied_bytes: bound of the copies that a region keeps of what
        it has read, in bytes, ``None`` for none, 0 for no copies.
    :param clock: seconds since 1970.
    :raises OptionError: if *root* cannot be a path, or counts from a current
        folder that is gone, or *max_bytes* is not positive.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_bytes: int | None = 2**30,
        max_value_bytes: int | None = 2**26,
        max_copied_bytes: int | None = 2**24,
        clock: Callable[[], float] = time.time,
    ) -> None:
        path = os.fspath(root)
        if not path or "\0" in path:
            raise OptionError(
                f"{path!r} is not a folder: write a path such as"
                " '/var/cache/app'",
                option="url",
                value=path,
            )
        if max_bytes is not None and max_bytes <= 0:
            raise OptionError(
                f"option 'max_bytes': {max_bytes!r} leaves no room: write a"
                " size such as '1g', or 'none' for no bound",
                option="max_bytes",
                value=max_bytes,
            )
        try:
            self.root = os.path.abspath(path)
            quoted = urllib.parse.quote(os.fsencode(self.root))
        except (OSError, UnicodeError) as error:
            raise OptionError(
                f"{path!r} leads nowhere ({error}): write a full path such"
                " as '/var/cache/app'",
                option="url",
                value=path,
            ) from error
        self.max_bytes = max_bytes
        self.max_value_bytes = max_value_bytes
        self.max_copied_bytes = max_copied_bytes
        self.url = f"file://{quoted}"
        self._clock = clock
        self._limit = math.inf if max_bytes is None else max_bytes
        self._folders = Folders(self.root)
        self._ledger = f"{self.root}/{_LEDGER}"
        self._locks = f"{self.root}/{_LOCKS}"

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """Make the backend of ``file:///dir?max_bytes=1g``.

        The folder is not touched: one that cannot be made is found out at
        the first use.

        :raises OptionError: if the URL names a host or no folder, or has an
            option other than ``max_bytes``, ``max_value_bytes`` and
            ``max_copied_bytes``.
        """
        given = str(url)
        path = url.path
        if url.hosts or url.user or url.password:
            host = given.partition("://")[2].partition("?")[0].strip("./")
            raise OptionError(
                f"option 'url': {given!r} names a host: write three slashes"
                f" and the full path, such as 'file:///{host}'",
                option="url",
                value=given,
            )
        if not path.strip("/"):
            raise OptionError(
                f"option 'url': {given!r} names no folder: write it after"
                " three slashes, such as 'file:///var/cache/app'",
                option="url",
                value=given,
            )
        return cls(
            path,
            **url.take(
                max_bytes=options.size,
                max_value_bytes=options.size,
                max_copied_bytes=options.size,
            ),
        )

    def get(self, key: str) -> bytes | NoValue:
        """Return the payload under *key*, or :data:`NO_VALUE`.

        What is expired, torn, foreign or another key's is a miss.

        :raises BackendError: if the file system fails.
        """
        found = self._read(key, stamped=False)
        return NO_VALUE if found is NO_VALUE else found[0]

    def get_if_changed(
        self, key: str, stamp: object
    ) -> tuple[bytes, Stamp | None] | NoValue | Unchanged:
        """Return the payload and its stamp, unless *stamp* still holds.

        To find that it holds is one look at the file's status.  A file that
        was written a moment ago gets no stamp, nor does one on a file system
        that is not this machine's alone; see :mod:`.stamps`.

        :raises BackendError: if the file system fails.
        """
        if isinstance(stamp, Stamp):
            name, identity, expires = stamp
            try:
                folder = self._folders.kept(name[:2])
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            except FileNotFoundError:
                return NO_VALUE
            except OSError as error:
                raise self._error("look into", error) from error
            if stamps.identity(status) == identity:
                return NO_VALUE if self._clock() >= expires else UNCHANGED
        return self._read(key, stamped=True)

    def _read(
        self, key: str, stamped: bool
    ) -> tuple[bytes, Stamp | None] | NoValue:
        name = _name(key)
        stamp = None
        try:
            folder = self._folders.kept(name[:2])
        except FileNotFoundError:
            return NO_VALUE
        except OSError as error:
            raise self._error("open the folder of", error) from error
        # Before the file is opened: see there.
        moment = stamps.moment() if stamped else 0
        try:
            fd = os.open(name, READ, dir_fd=folder.fd)
            try:
                status = os.fstat(fd) if stamped else None
                name_bytes = _encoded(key)
                data = record.read(fd, self._most(name_bytes))
                found = record.unpack(data, name_bytes)
                if found is None:
                    self._discard(name, folder, fd)
                    return NO_VALUE
                payload, expires = found
                if (
                    status is not None
                    and stamps.is_over(status.st_ctime_ns, moment)
                    and self._folders.is_local(fd, status.st_dev)
                ):
                    stamp = Stamp(name, stamps.identity(status), expires)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return NO_VALUE
        except OSError as error:
            # One that may not be read, as it is another user's, gives way.
            if error.errno in NO_FILE or error.errno == errno.EACCES:
                return NO_VALUE
            raise self._error("read", error) from error
        # An expired file stays: its successor may be about to replace it.
        return NO_VALUE if self._clock() >= expires else (payload, stamp)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        """Store *payload* under *key*, making room if there is none.

        :param ttl: seconds until it expires; ``None`` for never.
        :raises ValueTooLargeError: if it is over a limit; what was there is
            removed.
        :raises BackendError: if the file system fails or the store is full
            and another process is still making room.
        """
        self._set(key, payload, ttl, None)

    def claim(self, key: str) -> object:
        """Return the token of the mark beside *key*'s place.

        It is put there if there is none, and stays until *key* is stored or
        deleted; one without a future goes with :meth:`prune`.

        :raises BackendError: if the file system fails.
        """
        name = _name(key)
        with self._boundary("write to"):
            folder = self._folders.make(name[:2])
            try:
                return marks.put(name, folder.fd)
            except FileNotFoundError:
                # The root was removed between two steps: begin again.
                folder = self._folders.make(name[:2])
                return marks.put(name, folder.fd)

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Store *payload* if *claim* still holds; tell whether it did.

        :param ttl: seconds until it expires; ``None`` for never.
        :raises ValueTooLargeError: as from :meth:`set`.
        :raises BackendError: as from :meth:`set`.
        """
        token = claim if isinstance(claim, bytes) else b""
        return self._set(key, payload, ttl, token)

    def _set(
        self,
        key: str,
        payload: bytes,
        ttl: float | None,
        token: bytes | None,
    ) -> bool:
        now = self._clock()
        expires = math.inf if ttl is None else now + ttl
        data = record.pack(_encoded(key), payload, expires)
        self._check_size(key, len(payload), len(data))
        name = _name(key)
        with self._boundary("write to"):
            try:
                return self._store(name, data, now, token)
            except FileNotFoundError:
                # The root was removed between two steps: begin again.
                return self._store(name, data, now, token)
            except BackendError:
                # It is full: nothing will be stored under the claim.
                with contextlib.suppress(OSError):
                    marks.void(name, self._folders.open(name[:2]).fd)
                raise

    def delete(self, key: str) -> None:
        """Remove *key*; nothing happens if it is not there.

        :raises BackendError: if it is not certain that it is gone.
        """
        name = _name(key)
        shard = name[:2]
        with self._boundary("delete from"):
            try:
                folder = self._folders.open(shard)
                # First: a creator can store before it, not after it.
                marks.void(name, folder.fd)
                size = size_of(name, folder.fd)
                removed = remove(name, folder.fd)
            except FileNotFoundError:
                return
        if removed:
            # It is gone, also where nothing can be noted, as on a full disk.
            with (
                contextlib.suppress(OSError),
                Ledger(self._ledger) as ledger,
            ):
                ledger.add(shard, -size)

    def close(self) -> None:
        """Let go of open folders; a later use opens them again."""
        self._folders.forget()

    def mutex(self, key: str, lease: float) -> CacheMutex:
        """Return an unacquired mutex for *key*.

        :param lease: not needed: the kernel frees the lock of a process
            that dies, at once.
        """
        name = _name(key)
        return FileMutex(self._locks, slot_of(name), self.url)

    def clear(self) -> None:
        """Remove every entry, also those that are being written.

        :raises BackendError: if it is not certain that all are gone; those
            that could be removed are.
        """
        with self._boundary("clear"):
            # An entry that a creator stores before its mark is removed may
            # not be in the first list, but it is in the second.
            sweep(
                self._folders,
                self._ledger,
                lambda file, folder: not file.is_entry,
                lambda file, folder: True,
            )

    def prune(self) -> int:
        """Remove expired entries and what dead writers left; return how many.

        It opens every file: work for a cron job.

        :raises BackendError: if some of the store could not be read or
            removed; the rest is done.
        """
        with self._boundary("prune"):
            now = self._clock()
            return sweep(
                self._folders,
                self._ledger,
                lambda file, folder: is_over(file, folder, now),
            )

    def usage(self) -> Usage:
        """Return what it holds now, counted file by file.

        :raises BackendError: if the store could not be read.
        """
        entries = size = 0
        with self._boundary("count"):
            for shard in SHARDS:
                with self._folders.listing(shard) as (names, fd):
                    for file in culling.files_in(names, shard, fd):
                        if file.is_entry:
                            entries += 1
                            size += file.size
        return Usage(entries, size)

    def _most(self, key: bytes) -> float:
        """Return how large a file can be that holds *key*'s entry."""
        if self.max_value_bytes is None:
            return self._limit
        return min(self._limit, record.size(key, self.max_value_bytes))

    def _check_size(self, key: str, payload: int, file: int) -> None:
        limit = self.max_value_bytes
        if limit is None or payload <= limit:
            if file <= self._limit:
                return
            limit = self.max_bytes
        self.delete(key)
        raise ValueTooLargeError(
            f"{payload} bytes are over the limit of {limit}",
            size=payload,
            limit=limit,
            url=self.url,
        )

    def _store(
        self, name: str, data: bytes, now: float, token: bytes | None
    ) -> bool:
        shard = name[:2]
        # The age that counts is the clock's, finer than the kernel's.
        mtime_ns = int(now * 1e9)
        folder = self._folders.make(shard)
        with Ledger(self._ledger) as ledger:
            if not ledger.read()[int(shard, 16)]:
                ledger.put(shard, self._count(shard))
            if self.max_bytes is not None:
                mutex = FileMutex(self._locks, CULLING, self.url)
                culling.make_room(
                    self._folders,
                    ledger,
                    mutex,
                    self.max_bytes,
                    len(data),
                    mtime_ns,
                )
            before = size_of(name, folder.fd)
            if token is None:
                self._write(name, data, mtime_ns, folder)
            elif not marks.fill(name, folder.fd, token, data, mtime_ns):
                return False
            ledger.add(shard, len(data) - before)
        return True

    def _write(
        self, name: str, data: bytes, mtime_ns: int, folder: Folder
    ) -> None:
        new, fd = new_file(folder.fd)
        try:
            try:
                write(fd, data)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)
            marks.void(name, folder.fd)
            os.rename(new, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder.fd)
            raise

    def _count(self, shard: str) -> int:
        with self._folders.listing(shard) as (names, fd):
            files = culling.files_in(names, shard, fd)
            return sum(file.size for file in files if file.is_entry)

    def _discard(self, name: str, folder: Folder, fd: int) -> None:
        """Remove the unreadable file *fd*, unless a new one took its place."""
        with contextlib.suppress(OSError):
            place = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            if os.path.samestat(place, os.fstat(fd)):
                remove(name, folder.fd)

    @contextlib.contextmanager
    def _boundary(self, tried: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(tried, error) from error

    def _error(self, tried: str, error: OSError) -> BackendError:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            self._folders.forget()
        return BackendError(
            f"could not {tried} {self.root}: {error.strerror}", url=self.url
        )
