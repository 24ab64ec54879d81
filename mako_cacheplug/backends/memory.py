"""The reference store: this process's memory, bounded, oldest use first out.

Entries are kept as they are, text without serialisation.  Bounded by bytes
and by entries; what was used least recently goes first.

A hit takes no lock.  It notes its key, and the next write brings the order of
use up to date: what "BP-Wrapper" does for the buffers of a database (X. Ding,
S. Jiang, X. Zhang, ICDE 2009).  Of what was used between two writes, the order
is that of the first use.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Collection
from typing import Final
from typing import TYPE_CHECKING

from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import EntryWatch
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import Usage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import entry_bytes
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.options import StoreURL

__all__ = ["MemoryBackend"]

DEFAULT_MAX_BYTES: Final = 256 * 2**20

_SLOT_BYTES: Final = 240
"""What an entry costs beside its key and value: its object, its floats, and
its place in the dict."""

_SHARE_BYTES: Final = 200
"""What an entry of a share costs more: its places in two dicts."""

_BLOCK_BYTES: Final = 64
"""Sizes are counted in blocks of that many bytes: of small numbers Python
keeps one object for all."""

_ROOM: Final = 128
"""Where there is no room, this part of the bound is made free at once: on the
way to the oldest value lie the places of all that have left lately."""


class _Watch:
    """What is under a key, as long as it is there."""

    __slots__ = ("__weakref__", "held", "used")

    def __init__(self, held: CacheEntry | bytes) -> None:
        self.held: CacheEntry | bytes | None = held
        self.used = False


class _Mark:
    """Stands for what is under a key, until that is another."""

    __slots__ = ("__weakref__",)


_UNCLAIMED: Final = object()


class _Share:
    """What is kept for one user of the store, and no more than its part.

    :param most: its bounds, in blocks and in entries.
    """

    def __init__(
        self, store: MemoryBackend, most: tuple[float, float]
    ) -> None:
        self._store = store
        self.most = most
        self.max_bytes = (
            None if most[0] == math.inf else int(most[0]) * _BLOCK_BYTES
        )
        # As in the store's own table.
        self.keys: dict[str, None] = {}
        self.blocks = 0

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        """As :meth:`MemoryBackend.set_entry`."""
        self._store._set_entry(key, entry, ttl, _UNCLAIMED, self)

    def claim(self, key: str) -> object:
        """As :meth:`MemoryBackend.claim`."""
        return self._store.claim(key)

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        """As :meth:`MemoryBackend.check_and_set_entry`."""
        return self._store._set_entry(key, entry, ttl, claim, self)


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
        # The least recently used first.  Whoever changes it holds the lock.
        self._table: dict[str, CacheEntry | bytes] = {}
        self._used: dict[str, None] = {}
        # Of what is not ASCII or in a share; else it can be told again.
        self._sizes: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self._blocks = 0
        self._most = (
            math.inf if max_bytes is None else max_bytes // _BLOCK_BYTES,
            math.inf if max_entries is None else max_entries,
        )
        self._watches: weakref.WeakValueDictionary[str, _Watch] = (
            weakref.WeakValueDictionary()
        )
        # Outside of the table: a mark is no entry, and lasts as long as
        # somebody has it as a claim.
        self._marks: weakref.WeakValueDictionary[str, _Mark] = (
            weakref.WeakValueDictionary()
        )
        self._shares: dict[tuple[str, float], _Share] = {}
        self._share_of: dict[str, _Share] = {}
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
        held = self._find(key)
        if not isinstance(held, bytes):
            return NO_VALUE
        ends_at = self._ends.get(key)
        if ends_at is not None and self._clock() >= ends_at:
            with self._lock:
                if self._table.get(key) is held:
                    self._void(key)
                    self._remove(key)
            return NO_VALUE
        return held

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        """Return the entry under *key*; whether it is fresh, it knows."""
        held = self._find(key)
        return held if type(held) is CacheEntry else NO_VALUE

    def _find(self, key: str) -> CacheEntry | bytes | None:
        held = self._table.get(key)
        if held is None:
            # While it is moved or replaced it is nowhere for a moment.
            with self._lock:
                held = self._table.get(key)
            if held is None:
                return None
        if key not in self._used:
            self._used[key] = None
        return held

    def watch(self, key: str) -> _Watch | None:
        """Return what is under *key*, for who wants to know when it goes."""
        with self._lock:
            watch = self._watches.get(key)
            if watch is None and key in self._table:
                watch = self._watches[key] = _Watch(self._table[key])
            return watch

    def touch(self, key: str, watch: EntryWatch) -> None:
        """Note that what is watched was used."""
        watch.used = True
        self._used[key] = None

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        size = sys.getsizeof(payload)
        self._set(key, payload, size, self._end(ttl), _UNCLAIMED)

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        """Keep *entry* under *key*, replacing what is there."""
        self._set_entry(key, entry, ttl, _UNCLAIMED)

    def share(self, name: str, part: float) -> _Share:
        """Return what is kept for *name*, which is *part* at most.

        What is stored by way of it first makes room among its own.

        :raises OptionError: if the store is not bounded itself.
        """
        if self._most == (math.inf, math.inf):
            raise OptionError(
                "option 'max_share': there is no share of a store without"
                " bounds: write 'memory://?max_bytes=64m'",
                option="max_share",
                value=part,
            )
        blocks, entries = (part * bound for bound in self._most)
        made = _Share(self, (blocks, max(1.0, entries)))
        return self._shares.setdefault((name, part), made)

    def claim(self, key: str) -> object:
        """Return what stands for what is under *key* now: a mark."""
        with self._lock:
            mark = self._marks.get(key)
            if mark is None:
                mark = self._marks[key] = _Mark()
            return mark

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Store *payload* if *claim* still holds; tell whether it did."""
        size = sys.getsizeof(payload)
        return self._set(key, payload, size, self._end(ttl), claim)

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        """Keep *entry* if *claim* still holds; tell whether it did."""
        return self._set_entry(key, entry, ttl, claim)

    def _set_entry(
        self,
        key: str,
        entry: CacheEntry,
        ttl: float | None,
        claim: object,
        share: _Share | None = None,
    ) -> bool:
        size = entry_bytes(entry)
        return self._set(key, entry, size, self._end(ttl), claim, share)

    def _end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + ttl

    def _set(
        self,
        key: str,
        held: CacheEntry | bytes,
        value_bytes: int,
        ends_at: float | None,
        claim: object,
        share: _Share | None = None,
    ) -> bool:
        size = _size(key, value_bytes)
        limit = self.max_bytes
        if share is not None:
            size += _SHARE_BYTES
            limit = share.max_bytes
        with self._lock:
            if claim is not _UNCLAIMED and not self._holds(key, claim):
                return False
            self._void(key)
            self._order()
            self._remove(key)
            blocks = -(-size // _BLOCK_BYTES)
            if limit is not None and blocks > limit // _BLOCK_BYTES:
                raise ValueTooLargeError(
                    f"a value of {value_bytes} bytes is over the memory"
                    f" store's bound of {limit}",
                    size=value_bytes,
                    limit=limit,
                )
            self._table[key] = held
            self._blocks += blocks
            if share is not None or not (key.isascii() and _is_ascii(held)):
                self._sizes[key] = blocks
            if ends_at is not None:
                self._ends[key] = ends_at
            if share is not None:
                self._share_of[key] = share
                share.keys[key] = None
                share.blocks += blocks
                self._evict(share.keys, share.blocks, share.most)
            self._evict(self._table, self._blocks, self._most)
            return True

    def _holds(self, key: str, claim: object) -> bool:
        return claim is not None and claim is self._marks.get(key)

    def _void(self, key: str) -> None:
        if self._marks:
            self._marks.pop(key, None)

    def _order(self) -> None:
        """Move what was used since the last write behind all the rest."""
        if not self._used:
            return
        used, self._used = self._used, {}
        table, watches = self._table, self._watches
        for key in list(used):
            if key in table:
                table[key] = table.pop(key)
                share = self._share_of.get(key) if self._share_of else None
                if share is not None:
                    share.keys[key] = share.keys.pop(key)
                watch = watches.get(key) if watches else None
                if watch is not None:
                    watch.used = False

    def _evict(
        self, keys: Collection[str], blocks: int, most: tuple[float, float]
    ) -> None:
        """Drop what was used least recently if a bound is not kept.

        :param keys: the least recently used first; *blocks* are theirs.
        """
        entries = count = len(keys)
        most_blocks, most_entries = most
        if blocks <= most_blocks and entries <= most_entries:
            return
        most_blocks -= blocks // _ROOM
        most_entries -= entries // _ROOM
        leaving = []
        for key in keys:
            if blocks <= most_blocks and entries <= most_entries:
                break
            leaving.append(key)
            blocks -= self._blocks_of(key, self._table[key])
            entries -= 1
        for key in leaving[: count - 1]:
            self._void(key)
            self._remove(key)

    def _blocks_of(self, key: str, held: CacheEntry | bytes) -> int:
        """Return what was counted for what is under *key*."""
        blocks = self._sizes.get(key)
        if blocks is None:
            blocks = -(-_size(key, _value_bytes(held)) // _BLOCK_BYTES)
        return blocks

    def _remove(self, key: str) -> None:
        held = self._table.pop(key, None)
        if held is not None:
            blocks = self._blocks_of(key, held)
            self._blocks -= blocks
            share = self._share_of.pop(key, None) if self._share_of else None
            if share is not None:
                del share.keys[key]
                share.blocks -= blocks
            self._sizes.pop(key, None)
            self._ends.pop(key, None)
            watch = self._watches.pop(key, None) if self._watches else None
            if watch is not None:
                watch.held = None

    def delete(self, key: str) -> None:
        with self._lock:
            self._void(key)
            self._remove(key)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            self._marks.clear()
            for key in list(self._table):
                self._remove(key)

    def prune(self) -> int:
        """Remove what has expired; return how many."""
        now = self._clock()
        with self._lock:
            ended = [k for k, ends_at in self._ends.items() if now >= ends_at]
            for key in ended:
                self._void(key)
                self._remove(key)
        return len(ended)

    def usage(self) -> Usage:
        """Return the number of entries and the bytes counted for them."""
        with self._lock:
            return Usage(len(self._table), self._blocks * _BLOCK_BYTES)

    def close(self) -> None:
        """Forget everything."""
        self.clear()


def _value_bytes(held: CacheEntry | bytes) -> int:
    if isinstance(held, bytes):
        return sys.getsizeof(held)
    return entry_bytes(held)


def _size(key: str, value_bytes: int) -> int:
    return sys.getsizeof(key) + value_bytes + _SLOT_BYTES


def _is_ascii(held: CacheEntry | bytes) -> bool:
    """Tell whether its size stays what it is.

    Any other text gets larger when Python keeps its UTF-8 as well.
    """
    value = held if isinstance(held, bytes) else held.value
    return isinstance(value, bytes) or value.isascii()  # type: ignore[attr-defined]  # text or bytes: made by dump_value


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
