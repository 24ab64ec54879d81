"""Entries of a far store, read near: copies that last a moment.

A *copy* is an entry as it was read from the *far* store.  It is dated from
before that store was asked, and lasts *staleness* seconds from then.  So
whatever is answered here was the far store's answer at a moment that is less
than *staleness* before the question.  An entry counts only while its labels
do, whose versions are such answers too: from *staleness* seconds after an
invalidation, by whatever process, no answer is from before it.  (If somebody
sets this machine's clock back meanwhile, it can be twice as long, no more.)

What this process itself removes or replaces, through any region with the same
URL, is gone near by the time that the call returns.  First the far store is
told, then the copy goes, and with it the claims of those who are reading far
just now: what they bring is not kept, as it may be from before.

What is created lasts longer than any copy.  So a creation, and all that is
created for it, asks the far store: the *source*.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final
from typing import ParamSpec
from typing import TypeVar

from mako_cacheplug import budget
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import entry_bytes
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.storage import Watched

__all__ = ["NearTier", "SourceStorage", "TieredStorage"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Trip:
    """One read of the far store, for who makes it and who waits for it."""

    __slots__ = ("error", "found", "keys", "leader", "over", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        """When what it brings is too old."""
        self.leader = threading.get_ident()
        self.keys: list[str] = []
        self.found: Mapping[str, CacheEntry] | None = None
        self.error: BackendError | None = None
        self.over = threading.Event()


class _Copies(MemoryBackend):
    """Entries that end at a moment, which may be near.

    :param staleness: seconds that each of them lasts at most.
    """

    def __init__(
        self,
        max_bytes: int | None,
        max_entries: int | None,
        staleness: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(max_bytes, max_entries, clock)
        self._staleness = staleness

    def keep(
        self, key: str, entry: CacheEntry, ends_at: float, claim: object
    ) -> None:
        """Keep *entry* until *ends_at*, if *claim* still holds."""
        self._set(key, entry, entry_bytes(entry), ends_at, claim)

    def ends_at(self, key: str) -> float:
        """Return when the copy under *key* ends, or ended."""
        return self._ends.get(key, 0.0)

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        """Return the entry under *key*, unless it has ended."""
        # Its end first: what has replaced it meanwhile is younger.
        ends_at = self.ends_at(key)
        # A clock that was put back is no reason to serve it for longer.
        if 0.0 < ends_at - self._clock() <= self._staleness:
            return super().get_entry(key)
        return NO_VALUE


class NearTier:
    """The copies that one process has, and its trips under way.

    Safe in threads; in a forked child it starts without trips to wait for.

    :param max_bytes: bound of the copies, as of a memory store.
    :param max_entries: bound of their number, likewise.
    :param staleness: seconds that a copy lasts.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        max_bytes: int | None,
        max_entries: int | None,
        staleness: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.copies = _Copies(max_bytes, max_entries, staleness, clock)
        self.staleness = staleness
        self._clock = clock
        self._trips: dict[str, _Trip] = {}
        self._guard = ForkSafeLock()
        _every_tier.add(self)

    def read_far(
        self, far: EntryStorage, keys: Iterable[str]
    ) -> dict[str, CacheEntry]:
        """Return what *far* has under *keys* now; keep copies of it.

        :raises BackendError: if it could not be asked.
        """
        until = self._clock() + self.staleness
        claims = {key: self.copies.claim(key) for key in keys}
        found = far.read_many(claims)
        for key, claim in claims.items():
            self._keep(key, found.get(key), until, claim)
        return found

    def _keep(
        self, key: str, entry: CacheEntry | None, until: float, claim: object
    ) -> None:
        if entry is None:
            self.copies.delete(key)
            return
        # What has expired, another process may replace at any moment.
        with contextlib.suppress(ValueTooLargeError):
            self.copies.keep(key, entry, min(until, entry.fresh_until), claim)

    def board(
        self, keys: Iterable[str]
    ) -> tuple[_Trip, dict[_Trip, list[str]]]:
        """Return a new trip for those *keys* that nobody fetches just now.

        And the trips of others, each with what it will bring of *keys*.
        Whoever boards makes the new trip first, and then waits: so nobody
        waits for somebody who waits.
        """
        now = self._clock()
        own = _Trip(now + self.staleness)
        joined: dict[_Trip, list[str]] = {}
        with self._guard:
            for key in dict.fromkeys(keys):
                trip = self._trips.get(key)
                # One's own: a hook can ask for what is being read.
                if (
                    trip is None
                    or now >= trip.until
                    or trip.leader == own.leader
                ):
                    self._trips[key] = own
                    own.keys.append(key)
                else:
                    joined.setdefault(trip, []).append(key)
        return own, joined

    def land(self, trip: _Trip) -> None:
        """Let go those who wait for *trip*."""
        with self._guard:
            for key in trip.keys:
                if self._trips.get(key) is trip:
                    del self._trips[key]
        trip.over.set()

    def forget(self, key: str | None) -> None:
        """Serve nobody from now on what was read under *key* until now.

        ``None`` is every key.
        """
        if key is None:
            self.copies.clear()
        else:
            self.copies.delete(key)
        with self._guard:
            if key is None:
                self._trips.clear()
            else:
                self._trips.pop(key, None)

    def _reset(self) -> None:
        self._trips = {}


class SourceStorage(EntryStorage):
    """The far store of a tiered one: asked each time; copies are kept.

    :param backend: the tiered one.
    :param far: entries in its far store.
    :param near: the copies of what this region may read: what another one
        has verified by another secret is not among them.
    :param forget: makes every tier of *backend* forget a key; ``None`` is
        every key.
    """

    def __init__(
        self,
        backend: CacheBackend,
        far: EntryStorage,
        near: NearTier,
        forget: Callable[[str | None], None],
        counters: RegionCounters,
    ) -> None:
        super().__init__(backend, counters)
        self.in_bulk = far.in_bulk
        self.is_timed = far.is_timed
        self.can_add = far.can_add
        self.can_claim = far.can_claim
        self._far = far
        self._near = near
        self._forget = forget

    def reads_as(self, other: EntryStorage) -> bool:
        return (
            isinstance(other, SourceStorage)
            and self.backend is other.backend
            and self._far.reads_as(other._far)
        )

    def read(self, key: str) -> CacheEntry | NoValue:
        return self.read_many((key,)).get(key, NO_VALUE)

    def read_many(self, wanted: Iterable[str]) -> dict[str, CacheEntry]:
        return self._near.read_far(self._far, wanted)

    def write(
        self,
        key: str,
        entry: CacheEntry,
        keep: float,
        compress: int | None,
        limit: int | None,
        claim: object = UNCLAIMED,
    ) -> bool:
        try:
            return self._far.write(key, entry, keep, compress, limit, claim)
        finally:
            self._forget(key)

    def add(self, key: str, entry: CacheEntry) -> bool:
        try:
            return self._far.add(key, entry)
        finally:
            self._forget(key)

    def delete(self, key: str) -> None:
        try:
            self._far.delete(key)
        finally:
            self._forget(key)

    def clear(self) -> None:
        try:
            self._far.clear()
        finally:
            self._forget(None)

    def claim(self, key: str) -> object | None:
        return self._far.claim(key)

    def mutex(self, key: str, lease: float) -> CacheMutex | None:
        return self._far.mutex(key, lease)

    def ask(
        self, action: Callable[_P, _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        return self._far.ask(action, *args, **kw)


class TieredStorage(SourceStorage):
    """The near copies, and the far store where there is none."""

    def __init__(
        self,
        backend: CacheBackend,
        far: EntryStorage,
        near: NearTier,
        forget: Callable[[str | None], None],
        counters: RegionCounters,
    ) -> None:
        super().__init__(backend, far, near, forget, counters)
        self.staleness = near.staleness
        self.watched = self._copies = near.copies
        self._source = SourceStorage(backend, far, near, forget, counters)

    @property
    def source(self) -> EntryStorage:
        return self._source

    def read(self, key: str) -> CacheEntry | NoValue:
        entry = self._copies.get_entry(key)
        if entry is not NO_VALUE:
            return entry
        return self._fetch((key,)).get(key, NO_VALUE)

    def read_many(self, wanted: Iterable[str]) -> dict[str, CacheEntry]:
        found, missing = self._look(wanted)
        if missing:
            found.update(self._fetch(missing))
        return found

    def watch(self, key: str) -> Watched | None:
        # In this order: what has been replaced meanwhile is not watched.
        watch = self._copies.watch(key)
        if watch is None:
            return None
        return Watched(watch, watch.held, self._copies.ends_at(key))

    def _look(
        self, wanted: Iterable[str]
    ) -> tuple[dict[str, CacheEntry], list[str]]:
        """Return what is near of *wanted*, and which of them are not."""
        found = {}
        missing = []
        for key in wanted:
            entry = self._copies.get_entry(key)
            if entry is NO_VALUE:
                missing.append(key)
            else:
                found[key] = entry
        return found, missing

    def _fetch(self, missing: Iterable[str]) -> dict[str, CacheEntry]:
        """Return what is far of *missing*, from one trip or from others'."""
        if self._far.is_away:
            raise NotAskedError("the far store failed just now")
        own, joined = self._near.board(missing)
        found = self._make(own)
        alone: list[str] = []
        for trip, wanted in joined.items():
            brought = self._await(trip)
            if brought is None:
                alone += wanted
            else:
                found.update({k: brought[k] for k in wanted if k in brought})
        if alone:
            found.update(self._source.read_many(alone))
        return found

    def _make(self, trip: _Trip) -> dict[str, CacheEntry]:
        """Return what is far of the keys of *trip*, as to all who wait."""
        try:
            # A copy can have come since it was missed.
            found, missing = self._look(trip.keys)
            if missing:
                found.update(self._source.read_many(missing))
            trip.found = {**found}
        except BackendError as error:
            trip.error = error
            raise
        finally:
            self._near.land(trip)
        return found

    def _await(self, trip: _Trip) -> Mapping[str, CacheEntry] | None:
        """Return what another's *trip* brings; ``None`` if it does not end.

        Nor is it of use when it ends too late.
        """
        began = budget.clock()
        trip.over.wait(min(self.staleness, threading.TIMEOUT_MAX))
        budget.spend(budget.clock() - began)
        if trip.error is not None:
            raise BackendError(str(trip.error)) from trip.error
        return trip.found


_every_tier: Final[weakref.WeakSet[NearTier]] = weakref.WeakSet()


def _after_fork() -> None:
    for tier in list(_every_tier):
        tier._reset()


os.register_at_fork(after_in_child=_after_fork)
