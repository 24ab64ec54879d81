"""Labels as versions in the store: one write invalidates any number.

Each label has a version, a random text kept in the store beside the entries.
An entry remembers the versions of its labels from before its creation began
and is valid while all of them are still there unchanged.  To invalidate a
label is to remove its version: the next creation makes a new one.  A version
that the store evicted or lost therefore counts as invalidated, and a value
that was being created meanwhile is never served.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.storage import EntryStorage

__all__ = ["LabelVersions"]

_WAIT_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 2.0
"""To make a version is one write."""


class LabelVersions:
    """The versions of labels in one store.  Safe in threads.

    :param lock: the store's; it elects who makes a version.

    Every method raises BackendError if the store could not be asked.
    """

    def __init__(
        self,
        storage: EntryStorage,
        lock: DogpileLock[CacheEntry],
        clock: Callable[[], float],
    ):
        self._storage = storage
        self._lock = lock
        self._clock = clock

    def read_valid(
        self, key: str, expected: tuple[str, ...]
    ) -> CacheEntry | NoValue:
        """Return the entry under *key* if all of its labels are current.

        :param expected: labels that it must have: one that was stored
            without them would survive their invalidation.  Where the store
            handles many keys in one trip, their versions come along.
        """
        storage = self._storage
        if not (expected and storage.in_bulk):
            entry = storage.read(key)
            if entry is NO_VALUE or not (entry.labels or expected):
                return entry
            known: Mapping[str, str] = {}
        else:
            found = storage.read_many((key, *expected))
            entry = found.pop(key, NO_VALUE)
            if entry is NO_VALUE:
                return entry
            known = {name: str(e.value) for name, e in found.items()}
        for label in expected:
            for name, _ in entry.labels:
                if name == label:
                    break
            else:
                return NO_VALUE
        return entry if self._are_current(entry.labels, known) else NO_VALUE

    def _are_current(
        self, pairs: tuple[tuple[str, str], ...], known: Mapping[str, str]
    ) -> bool:
        storage = self._storage
        if storage.in_bulk:
            unread = [name for name, _ in pairs if name not in known]
            if unread:
                known = {**known, **self._read(unread)}
            return all(known.get(name) == version for name, version in pairs)
        for name, version in pairs:
            entry = storage.read(name)
            if entry is NO_VALUE or entry.value != version:
                return False
        return True

    def current(self, labels: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return *labels* with their versions, making those that miss."""
        names = list(dict.fromkeys(labels))
        if not names:
            return ()
        versions = self._read(names)
        for name in names:
            if name not in versions:
                versions[name] = self._make(name)
        return tuple((name, versions[name]) for name in names)

    def _make(self, label: str) -> str:
        """Return the version of a label that had none.

        Elected like any other creation: of two versions made at the same
        moment, one would invalidate what was made under the other.
        """
        entry = self._lock.get_or_create(
            label,
            lambda: self._storage.read(label),
            lambda: self._write_new(label),
            wait=_WAIT_SECONDS,
            mutex=self._storage.mutex(label, _LEASE_SECONDS),
            leaf=True,
        )
        return str(entry.value)

    def _write_new(self, label: str) -> CacheEntry:
        entry = CacheEntry(os.urandom(12).hex(), self._clock())
        self._storage.write(label, entry, math.inf, None, None)
        return entry

    def invalidate(self, label: str) -> None:
        """Make every entry under *label* invalid."""
        self._storage.delete(label)

    def _read(self, names: Iterable[str]) -> dict[str, str]:
        found = self._storage.read_many(names)
        return {name: str(entry.value) for name, entry in found.items()}
