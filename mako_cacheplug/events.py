"""What happens in a region: events for whoever asks, counters for all.

A hook sees each event as it happens, in the thread where it happens.  An
event is made only if somebody hooked it.
"""

from __future__ import annotations

import enum
import itertools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final
from typing import NamedTuple

from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError

__all__ = [
    "CacheEvent",
    "EventHook",
    "EventKind",
    "RegionCounters",
    "RegionStats",
]

_log = logging.getLogger(__name__)

_MOST_NOTED: Final = 256


class EventKind(enum.Enum):
    """What can happen to a call."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    CREATE = "create"
    CREATOR_ERROR = "creator_error"
    STALE_IF_ERROR = "stale_if_error"
    STORE_ERROR = "store_error"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    NOT_STORABLE = "not_storable"
    OVER_BUDGET = "over_budget"
    INVALIDATE = "invalidate"


class CacheEvent(NamedTuple):
    """One thing that happened in a region."""

    kind: EventKind
    region: str
    """The region's name."""

    key: str
    """The logical key; for an invalidation, the key or label."""

    seconds: float | None = None
    """For CREATE: how long it took."""

    size: int | None = None
    """For TOO_LARGE: the payload in bytes."""

    error: BaseException | None = None
    """For the errors: what was raised."""


EventHook = Callable[[CacheEvent], None]


class RegionStats(NamedTuple):
    """A region's counters at one moment, since the process began.

    Every call is one of hit, miss or stale.
    """

    hits: int = 0
    """Calls served with a fresh entry."""

    misses: int = 0
    """Calls that found nothing to serve."""

    stale: int = 0
    """Calls served an expired entry while another caller regenerated it."""

    creations: int = 0
    """Creators that ran to a value."""

    errors: int = 0
    """Failures of the store, and entries that could not be read."""

    bytes_read: int = 0
    """Payload bytes from the store; none where entries stay in memory, or
    where a copy was served that the store vouches for."""

    bytes_written: int = 0
    """Payload bytes to the store; none where entries stay in memory."""


class RegionCounters:
    """The counters and hooks of one region.  Safe in threads."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.hooks: tuple[EventHook, ...] = ()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(RegionStats._fields, 0)
        del self._counts["hits"]
        self._hits = itertools.count()
        self._hits_read = 0
        self.count_hit: Callable[[], object] = self._hits.__next__
        """Add one to the hits, in one step that no other thread divides.

        Without the GIL only from Python 3.14 on: before, some may be lost.
        """
        # Summed up now and then: every hit of most stores comes here, and
        # to append to it takes no lock.
        self._read: deque[int] = deque()
        _every_counters.add(self)

    def count_read(self, size: int) -> None:
        """Add *size* to the bytes that were read."""
        self._read.append(size)
        if len(self._read) >= _MOST_NOTED:
            with self._lock:
                self._sum_up()

    def _sum_up(self) -> None:
        """Count what was noted of reads; guarded."""
        for _ in range(len(self._read)):
            self._counts["bytes_read"] += self._read.popleft()

    def count(self, name: str, amount: int = 1) -> None:
        """Add *amount* to the counter *name*, a field of RegionStats.

        All but the hits, which :attr:`count_hit` counts, and the bytes that
        were read, which :meth:`count_read` does.
        """
        with self._lock:
            self._counts[name] += amount

    def snapshot(self) -> RegionStats:
        """Return all counters as of one moment."""
        with self._lock:
            # To look at the counter is to count.
            hits = next(self._hits) - self._hits_read
            self._hits_read += 1
            self._sum_up()
            return RegionStats(hits=hits, **self._counts)

    def add_hook(self, hook: EventHook) -> None:
        """Call *hook* with every event from now on.

        It runs in the caller's thread and in its time; what it raises is
        logged and otherwise ignored.
        """
        with self._lock:
            self.hooks = (*self.hooks, hook)

    def remove_hook(self, hook: EventHook) -> None:
        """Stop calling *hook*; nothing happens if it was not added."""
        with self._lock:
            self.hooks = tuple(h for h in self.hooks if h != hook)

    def store_failed(self, key: str, error: BackendError) -> None:
        """Tell the hooks that the store failed, if it was asked at all."""
        if not isinstance(error, NotAskedError):
            self.emit(EventKind.STORE_ERROR, key, error=error)

    def emit(
        self,
        kind: EventKind,
        key: str,
        *,
        seconds: float | None = None,
        size: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Tell the hooks.  Costs a truth test when there are none."""
        if not self.hooks:
            return
        event = CacheEvent(kind, self.region, key, seconds, size, error)
        for hook in self.hooks:
            try:
                hook(event)
            except Exception:
                _log.exception("event hook %r failed on %r", hook, event)


_every_counters: weakref.WeakSet[RegionCounters] = weakref.WeakSet()


def _after_fork() -> None:
    # A thread of the parent may have been counting: it is not here to
    # release the lock.
    for counters in list(_every_counters):
        counters._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
