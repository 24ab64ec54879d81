"""The reference store: this process's memory, bounded, oldest use first out.

Entries are kept as they are, text without serialisation.  Bounded by bytes
and by entries; what was used least recently goes first.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from typing import TYPE_CHECKING

from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import Usage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.options import StoreURL

__all__ = ["MemoryBackend"]

DEFAULT_MAX_BYTES: Final = 256 * 2**20

_SLOT_BYTES: Final = 340
"""What an entry costs beside its key and value: its object, its floats, the
record and the place in the ordered dict."""

_LABEL_BYTES: Final = 130
"""What each label of an entry costs beside its text: a pair in a tuple and
the version's object."""


class _Record:
    """One value in the table: an entry, or a payload with its end."""

    __slots__ = ("bytes", "ends_at", "held")

    def __init__(
        self, held: CacheEntry | bytes, ends_at: float | None, size: int
    ) -> None:
        self.held = held
        self.ends_at = ends_at
        self.bytes = size


class _Mark:
    """Stands for a value that is not there yet."""

    __slots__ = ("__weakref__",)


_UNCLAIMED: Final = object()


class MemoryBackend(CacheBackend):
    """Entries in this process, shared by its threads, by no other process.

    ``memory://?max_bytes=64m&max_entries=10000``

    A forked child starts with a copy, which then goes its own way.

    :param max_bytes: bound of keys, values and their keeping, in bytes;
        ``None`` for none.
    :param max_entries: bound of their number; ``None`` for none.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        max_entries: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.max_value_bytes = max_bytes
        self._clock = clock
        self._table: OrderedDict[str, _Record] = OrderedDict()
        self._bytes = 0
        # Outside of the table: a mark is no entry, and lasts as long as
        # somebody has it as a claim.
        self._marks: weakref.WeakValueDictionary[str, _Mark] = (
            weakref.WeakValueDictionary()
        )
        self._lock = threading.Lock()
        _every_backend.add(self)

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        if url.hosts or url.path.strip("/"):
            raise OptionError(
                f"option 'url': {str(url)!r} names a place, but memory has"
                " none: write 'memory://' or 'memory://?max_bytes=64m'",
                option="url",
                value=str(url),
            )
        return cls(**url.take(max_bytes=options.size, max_entries=_entries))

    def get(self, key: str) -> bytes | NoValue:
        with self._lock:
            record = self._table.get(key)
            if record is None or not isinstance(record.held, bytes):
                return NO_VALUE
            if record.ends_at is not None and self._clock() >= record.ends_at:
                self._remove(key)
                return NO_VALUE
            self._table.move_to_end(key)
            return record.held

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        """Return the entry under *key*; whether it is fresh, it knows."""
        with self._lock:
            record = self._table.get(key)
            if record is None or type(record.held) is not CacheEntry:
                return NO_VALUE
            self._table.move_to_end(key)
            return record.held

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self._set(key, payload, sys.getsizeof(payload), ttl, _UNCLAIMED)

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        """Keep *entry* under *key*, replacing what is there."""
        self._set(key, entry, _entry_bytes(entry), ttl, _UNCLAIMED)

    def claim(self, key: str) -> object:
        """Return what stands for what is under *key* now: it, or a mark."""
        with self._lock:
            record = self._table.get(key)
            if record is not None:
                return record
            mark = self._marks.get(key)
            if mark is None:
                mark = self._marks[key] = _Mark()
            return mark

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Store *payload* if *claim* still holds; tell whether it did."""
        return self._set(key, payload, sys.getsizeof(payload), ttl, claim)

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        """Keep *entry* if *claim* still holds; tell whether it did."""
        return self._set(key, entry, _entry_bytes(entry), ttl, claim)

    def _set(
        self,
        key: str,
        held: CacheEntry | bytes,
        value_bytes: int,
        ttl: float | None,
        claim: object,
    ) -> bool:
        size = sys.getsizeof(key) + value_bytes + _SLOT_BYTES
        ends_at = None if ttl is None else self._clock() + ttl
        with self._lock:
            if claim is not _UNCLAIMED and not self._holds(key, claim):
                return False
            if self._marks:
                self._marks.pop(key, None)
            if key in self._table:
                self._remove(key)
            if self.max_bytes is not None and size > self.max_bytes:
                raise ValueTooLargeError(
                    f"a value of {value_bytes} bytes is over the memory"
                    f" store's bound of {self.max_bytes}",
                    size=value_bytes,
                    limit=self.max_bytes,
                )
            self._table[key] = _Record(held, ends_at, size)
            self._bytes += size
            self._evict()
            return True

    def _holds(self, key: str, claim: object) -> bool:
        record = self._table.get(key)
        if record is not None:
            return claim is record
        return claim is not None and claim is self._marks.get(key)

    def _evict(self) -> None:
        """Drop what was used least recently until the bounds are kept."""
        while self._table and (
            (self.max_bytes is not None and self._bytes > self.max_bytes)
            or (
                self.max_entries is not None
                and len(self._table) > self.max_entries
            )
        ):
            _, record = self._table.popitem(last=False)
            self._bytes -= record.bytes

    def _remove(self, key: str) -> None:
        self._bytes -= self._table.pop(key).bytes

    def delete(self, key: str) -> None:
        with self._lock:
            self._marks.pop(key, None)
            if key in self._table:
                self._remove(key)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            self._marks.clear()
            self._table.clear()
            self._bytes = 0

    def prune(self) -> int:
        """Remove what has expired; return how many."""
        now = self._clock()
        with self._lock:
            ended = [
                key
                for key, record in self._table.items()
                if record.ends_at is not None and now >= record.ends_at
            ]
            for key in ended:
                self._remove(key)
        return len(ended)

    def usage(self) -> Usage:
        """Return the number of entries and the bytes counted for them."""
        with self._lock:
            return Usage(len(self._table), self._bytes)

    def close(self) -> None:
        """Forget everything."""
        self.clear()


def _entry_bytes(entry: CacheEntry) -> int:
    size = sys.getsizeof(entry.value)
    for name, version in entry.labels:
        size += _LABEL_BYTES + sys.getsizeof(name) + len(version)
    return size


def _entries(value: object, option: str) -> int | None:
    if isinstance(value, str) and value.strip().lower() == "none":
        return None
    return options.whole_number(value, option, lowest=1)


_every_backend: weakref.WeakSet[MemoryBackend] = weakref.WeakSet()
_held_for_fork: list[threading.Lock] = []


def _before_fork() -> None:
    # No thread may be half-way through a change when the table is copied.
    for backend in list(_every_backend):
        backend._lock.acquire()
        _held_for_fork.append(backend._lock)


def _after_fork() -> None:
    while _held_for_fork:
        _held_for_fork.pop().release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork,
    after_in_child=_after_fork,
)
