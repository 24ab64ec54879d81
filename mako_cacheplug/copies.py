"""Entries that a region read lately, to be served while they are still right.

Two generations stand for an order of use: what is used moves to the young
one; when that is full it takes the place of the old one, which is forgotten.
What is in constant use stays, and to look needs no lock.  The algorithm is
that of D. Tarr's hashlru.
"""

from __future__ import annotations

import math
import sys
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar

from mako_cacheplug.api import EntryWatch
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import entry_bytes
from mako_cacheplug.forks import ForkSafeLock

__all__ = ["Copies", "Copy", "Recent"]

_T = TypeVar("_T")

_OVERHEAD: Final = 1024
"""Bytes of a copy beside its key and value, rounded up."""


class Copy:
    """An entry, and what tells its store whether it is there unchanged.

    It is a watch: who looks at it asks the store.

    :param name: the store's key.
    :param stamp: the store's own.
    """

    __slots__ = ("_get_if_changed", "entry", "name", "size", "stamp", "used")

    def __init__(
        self,
        store: SupportsRevalidation,
        name: str,
        stamp: Any,
        entry: CacheEntry,
    ) -> None:
        self._get_if_changed = store.get_if_changed
        self.name = name
        self.stamp = stamp
        self.entry: CacheEntry | None = entry
        """``None`` once it is forgotten: a hit that stands keeps the copy."""
        self.size = entry_bytes(entry) + _OVERHEAD
        self.used = True

    @property
    def held(self) -> CacheEntry | None:
        """The entry, if a read would return it now."""
        entry = self.entry
        if entry is not None:
            try:
                if self._get_if_changed(self.name, self.stamp) is UNCHANGED:
                    return entry
            except Exception:  # noqa: S110  # the read that follows says so
                pass
        return None


class Copies:
    """Copies by logical key.  Safe in threads and after fork.

    :param max_bytes: what they take at most; ``None`` for no bound.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self._half = math.inf if max_bytes is None else max_bytes / 2
        self._young: dict[str, Copy] = {}
        self._old: dict[str, Copy] = {}
        self._young_bytes = 0
        self._guard = ForkSafeLock()

    def get(self, key: str) -> Copy | None:
        """Return the copy under *key*, if it is still here; it was used."""
        copy = self._young.get(key)
        if copy is None:
            copy = self._old.get(key)
            if copy is not None:
                self.put(key, copy)
        return copy

    watch = get
    """As a store that can be watched has it."""

    def touch(self, key: str, watch: EntryWatch) -> None:
        """Note that what is watched was used."""
        self.get(key)

    def put(self, key: str, copy: Copy) -> None:
        """Keep *copy* unless it is larger than half of the bound."""
        size = copy.size + sys.getsizeof(key)
        if size > self._half:
            return
        with self._guard:
            replaced = self._young.pop(key, None)
            if replaced is not None:
                self._young_bytes -= replaced.size + sys.getsizeof(key)
                if replaced is not copy:
                    replaced.entry = None
            if self._young_bytes + size > self._half:
                self._turn()
            copy.used = True
            self._young[key] = copy
            self._young_bytes += size

    def _turn(self) -> None:
        """Forget the old generation; guarded."""
        forgotten, self._old, self._young = self._old, self._young, {}
        self._young_bytes = 0
        for copy in self._old.values():
            copy.used = False
        for key, copy in forgotten.items():
            if self._old.get(key) is not copy:
                copy.entry = None


class Recent(Generic[_T]):
    """What was found out lately, by logical key: two generations, as above.

    Safe in threads and after fork.

    :param max_bytes: what it takes at most.
    """

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes / 2
        self._young: dict[str, tuple[_T, int]] = {}
        self._old: dict[str, tuple[_T, int]] = {}
        self._bytes = 0
        self._guard = ForkSafeLock()

    def get(self, key: str) -> _T | None:
        """Return what is known under *key*; it was used."""
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None:
                return None
            self.put(key, *known)
        return known[0]

    def put(self, key: str, found: _T, size: int) -> None:
        """Keep what was found out, unless it is larger than half of the bound.

        :param size: its bytes, but for what each of them takes beside.
        """
        size += _OVERHEAD
        if size > self._half:
            return
        with self._guard:
            # One that takes another's place is counted with it: sooner full.
            if self._bytes + size > self._half:
                self._old, self._young = self._young, {}
                self._bytes = 0
            self._young[key] = found, size
            self._bytes += size
