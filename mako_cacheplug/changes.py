"""The latest changes that this process made in a store, whoever made them.

For those who hold what they read a moment ago: they learn what has been
overwritten or removed since, without asking the store.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Final

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.forks import ForkSafeLock

__all__ = ["Changes", "changes_of"]

_KEPT: Final = 256

_all: Final[weakref.WeakKeyDictionary[CacheBackend, Changes]] = (
    weakref.WeakKeyDictionary()
)
_guard: Final = ForkSafeLock()


class Changes:
    """A log of the names that were changed in one store.  Safe in threads."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._latest: deque[str | None] = deque(maxlen=_KEPT)
        self.count = 0
        """How many there have been: the place in the log that is reached."""

    def add(self, name: str | None) -> None:
        """Note that the store has answered to a change of *name*.

        :param name: a storage key; ``None`` if everything was changed.
        """
        with self._lock:
            self._latest.append(name)
            self.count += 1

    def since(self, count: int) -> tuple[int, Sequence[str] | None]:
        """Return the place reached, and the names changed since another.

        ``None`` in their place if that can be anything.
        """
        with self._lock:
            new = self.count - count
            latest = list(self._latest)[-new:] if new else []
            if new > len(latest):
                return self.count, None
            names = [name for name in latest if name is not None]
            return self.count, names if len(names) == new else None


def changes_of(backend: CacheBackend) -> Changes:
    """Return the one log of *backend*'s changes."""
    with _guard:
        return _all.setdefault(backend, Changes())
