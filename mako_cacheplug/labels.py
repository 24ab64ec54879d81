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

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.storage import EntryStorage

__all__ = ["LabelVersions"]


class LabelVersions:
    """The versions of labels in one store.  Safe in threads.

    Every method raises BackendError if the store could not be asked.
    """

    def __init__(self, storage: EntryStorage, clock: Callable[[], float]):
        self._storage = storage
        self._clock = clock

    def read_with(
        self, key: str, labels: Iterable[str]
    ) -> tuple[CacheEntry | NoValue, Mapping[str, str]]:
        """Return the entry under *key* and its labels' versions, together.

        One trip, where the store handles many keys in one.
        """
        found = self._storage.read_many((key, *labels))
        entry = found.pop(key, NO_VALUE)
        return entry, {name: str(e.value) for name, e in found.items()}

    def are_current(
        self, pairs: Iterable[tuple[str, str]], known: Mapping[str, str]
    ) -> bool:
        """Tell whether every label still has the version in *pairs*.

        :param known: versions that have been read already.
        """
        unread = [name for name, _ in pairs if name not in known]
        if unread:
            known = {**known, **self._read(unread)}
        return all(known.get(name) == version for name, version in pairs)

    def current(self, labels: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return *labels* with their versions, making those that miss."""
        names = list(dict.fromkeys(labels))
        if not names:
            return ()
        versions = self._read(names)
        missing = [name for name in names if name not in versions]
        for name in missing:
            self._storage.write(
                name,
                CacheEntry(os.urandom(12).hex(), self._clock()),
                math.inf,
                None,
                None,
            )
        if missing:
            # Of two processes that made one, the store kept the last.
            versions.update(self._read(missing))
        return tuple((name, versions.get(name, "")) for name in names)

    def invalidate(self, label: str) -> None:
        """Make every entry under *label* invalid."""
        self._storage.delete(label)

    def _read(self, names: Iterable[str]) -> dict[str, str]:
        found = self._storage.read_many(names)
        return {name: str(entry.value) for name, entry in found.items()}
