"""A call that found no fresh entry: what the region asks of the lock.

The half of a region that runs on a miss: it says what may be served stale,
how to look again, and how to create and store.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final
from typing import NamedTuple
from typing import TYPE_CHECKING

from mako_cacheplug import codec as codecs
from mako_cacheplug import nesting
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import CodecError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.nesting import NOT_STORED
from mako_cacheplug.options import CallOptions
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.write_behind import HELD_BACK_SECONDS
from mako_cacheplug.write_behind import HoldingMutex

if TYPE_CHECKING:
    from mako_cacheplug.ahead import ReadAhead
    from mako_cacheplug.budget import Budget
    from mako_cacheplug.storing import StoringRegion

__all__ = ["Fragment", "MissedCall"]

_CHEAP_SECONDS: Final = 1e-4
"""What costs less is not worth a number of its own in each entry."""


def _is_shareable(entry: CacheEntry) -> bool:
    """Tell whether others may be served what this caller has made."""
    return entry.fresh_until != NOT_STORED


class _Unstored(CacheEntry):
    """An entry that no store has: those who waited for it are handed it."""

    after: object
    """The region's last invalidation when its creation began."""

    @classmethod
    def of(cls, entry: CacheEntry, after: object) -> _Unstored:
        unstored = cls(*entry)
        unstored.after = after
        return unstored


class Fragment(NamedTuple):
    """A call for a template's fragment, as a region sees it.

    What expires in it expires around it; and a value that cannot be stored
    is not an error but an event, as the page always renders.
    """

    run: Callable[[Creation, Callable[[], object]], object]
    """Runs the creator inside a creation; returns what is to be kept."""

    is_removed: bool = False
    """Whether whoever invalidates its first label also removes its entry."""


class MissedCall:
    """A call that found no fresh entry: what the lock asks of it."""

    __slots__ = (
        "_region",
        "after",
        "budget",
        "call",
        "creator",
        "fragment",
        "holding",
        "key",
        "labels",
        "origin",
        "output",
        "overtaken",
        "own",
        "reachable",
        "seen",
        "versions",
    )

    def __init__(
        self,
        region: StoringRegion,
        key: str,
        creator: Callable[[], object],
        call: CallOptions,
        labels: tuple[str, ...],
        seen: CacheEntry | NoValue,
        reachable: bool,
        fragment: Fragment | None = None,
        origin: object = None,
        budget: Budget | None = None,
        output: ReadAhead | None = None,
    ):
        """Take note of the call.

        :param budget: of the render that it is a fragment of.
        :param output: what may be held back until that render's end.
        """
        self._region = region
        self.key = key
        self.creator = creator
        self.call = call
        self.labels = labels
        self.seen = seen
        self.reachable = reachable
        self.fragment = fragment
        self.origin = origin
        self.budget = budget
        self.output = output
        self.holding: HoldingMutex | None = None
        """The mutex, if what is created may be held back."""

        self.after = region._invalidation
        self.own: CacheEntry | NoValue = NO_VALUE
        self.overtaken = False
        self.versions: dict[str, str | None] = {}
        """Those of the labels at the latest look."""

    def run(self, now: float) -> CacheEntry:
        """Return an entry: created here, by another caller, or stale."""
        stale: CacheEntry | NoValue = NO_VALUE
        if self.seen is not NO_VALUE and self.seen.is_usable(
            now, self.call.grace
        ):
            stale = self.seen
            if not self._may_ask():
                # Another render, which has the time, regenerates it.
                self.count(stale, now)
                return stale
        try:
            handed = self._elect(stale)
            entry = self._checked(handed)
            if entry is NO_VALUE:
                # Whoever is making one by now began after this call did.
                entry = self._elect(stale)
        except BaseException:
            self.count(NO_VALUE, now)
            raise
        self.count(entry, now)
        return entry

    def _may_ask(self) -> bool:
        """Tell whether the store may be asked further.

        Not one that has just failed, nor if the render has spent its time.
        """
        if self.budget is not None and self.budget.is_spent:
            self.reachable = False
        return self.reachable

    def _elect(self, stale: CacheEntry | NoValue) -> CacheEntry:
        region = self._region
        mutex = None
        if self._may_ask():
            mutex = region._storage.mutex(self.key, self.call.lease)
        # Without a label, what was invalidated meanwhile could be served.
        if mutex is not None and self.output is not None and self.labels:
            behind = self.output.write_behind(self.key)
            if behind is not None:
                failed = functools.partial(region._not_stored, self.key)
                mutex = self.holding = HoldingMutex(mutex, behind, failed)
        return region._lock.get_or_create(
            self.key,
            self.look,
            self.create,
            wait=self.call.wait,
            stale=stale,
            mutex=mutex,
            shareable=_is_shareable,
        )

    def _checked(self, entry: CacheEntry) -> CacheEntry | NoValue:
        """Return *entry* or, where another thread made it, what is stored.

        That thread may have begun before an invalidation, by any process,
        and this call after it.  What is in the store is valid.
        """
        if entry is self.own or entry is self.seen:
            return entry
        if isinstance(entry, _Unstored):
            return entry if entry.after is self.after else NO_VALUE
        if not self.reachable:
            return NO_VALUE
        found, self.reachable = self._region._read(self.key, self.labels)
        if found is NO_VALUE or found.created_at < entry.created_at:
            return NO_VALUE
        return found

    def count(self, served: CacheEntry | NoValue, now: float) -> None:
        """Count this call as one of hit, miss and stale."""
        counters = self._region._counters
        if served is NO_VALUE or served is not self.seen:
            counters.count("misses")
            counters.emit(EventKind.MISS, self.key)
        elif served.is_fresh(now):  # another regenerates it, early
            counters.count_hit()
            counters.emit(EventKind.HIT, self.key)
        else:
            counters.count("stale")
            counters.emit(EventKind.STALE, self.key)

    def look(self) -> CacheEntry | NoValue:
        """Return the entry that another caller has made since."""
        # A store that has just failed is not asked again in this call:
        # each further question could cost its time-out.
        if not self._may_ask():
            return NO_VALUE
        region = self._region
        self.versions = {}
        entry, self.reachable = region._read(
            self.key, self.labels, seen=self.versions
        )
        if entry is NO_VALUE or not entry.is_fresh(region._clock()):
            return NO_VALUE
        # Regenerating early, we saw this fresh entry and it is not the news.
        if (
            self.seen is not NO_VALUE
            and entry.created_at == self.seen.created_at
            and entry.fresh_until == self.seen.fresh_until
        ):
            return NO_VALUE
        self.own = entry
        return entry

    def create(self) -> CacheEntry:
        """Run the creator; store what it makes, if nothing overtook it.

        A creator that asks for its own key gets a value, which would be
        what overtakes: only the outer one is stored.
        """
        labels = self._region._labels
        claim = None
        if not nesting.is_creating(self.key, labels):
            claim = self._claim()
        self.own = self._create(claim)
        return self.own

    def _create(self, claim: object | None) -> CacheEntry:
        region = self._region
        after = region._invalidation
        versions = () if claim is None else self._label_versions()
        began = region._clock()
        try:
            with Creation(
                region._labels, self.key, self.origin, self.budget
            ) as creation:
                if self.fragment is None:
                    value = self.creator()
                else:
                    value = self.fragment.run(creation, self.creator)
        except Exception as error:
            region._counters.emit(
                EventKind.CREATOR_ERROR, self.key, error=error
            )
            if self.seen is not NO_VALUE and self.seen.is_usable(
                region._clock(), self.call.stale_if_error
            ):
                region._counters.emit(
                    EventKind.STALE_IF_ERROR, self.key, error=error
                )
                return self.seen
            raise
        cost = region._clock() - began
        if cost < _CHEAP_SECONDS:
            cost = 0.0
        region._counters.count("creations")
        region._counters.emit(EventKind.CREATE, self.key, seconds=cost)
        try:
            stored = codecs.dump_value(value)
        except CodecError as error:
            if self.fragment is None:
                raise
            region._counters.emit(
                EventKind.NOT_STORABLE, self.key, error=error
            )
            region._say_once(
                f"not storable {error.value_type}",
                "region %r: not stored: %s (said once)",
                region.name,
                error,
            )
            entry = CacheEntry(value, began, creation.fresh_until, cost)
            return _Unstored.of(entry, after)
        entry = region._entry(
            stored,
            self.call,
            (versions or ()) + tuple(creation.pairs),
            began,
            cost,
            creation.fresh_until,
        )
        kept = None
        if (
            creation.is_storable
            and claim is not None
            and versions is not None
            and self._may_ask()
        ):
            if claim is self.holding and cost >= HELD_BACK_SECONDS:
                # Others may be waiting for it.
                claim = UNCLAIMED
            if claim is not UNCLAIMED or not self._is_behind(entry):
                kept = region._write(self.key, entry, self.call, claim)
        self.overtaken = kept is False
        return _Unstored.of(entry, after) if kept is None else entry

    def _is_behind(self, entry: CacheEntry) -> bool:
        """Tell whether what is stored is newer than *entry*.

        As it can be where the lease has ended while *entry* was made, and
        there is no claim to tell.
        """
        if entry.cost < self.call.lease:
            return False
        found, self.reachable = self._region._read(self.key, self.labels)
        return found is not NO_VALUE and found.created_at > entry.created_at

    def _claim(self) -> object | None:
        """Return what is under the key before the creator looks at anything.

        ``None`` if nothing can be stored.
        """
        if not self._may_ask() or self.call.timeout + self.call.afterlife <= 0:
            return None
        if self.holding is not None and self.holding.is_acquired:
            # Its labels tell.
            return self.holding
        try:
            return self._region._storage.claim(self.key)
        except BackendError as error:
            self._region._counters.store_failed(self.key, error)
            self.reachable = False
            return None

    def _label_versions(self) -> tuple[tuple[str, str], ...] | None:
        """Return what the labels are before the creator looks at anything."""
        if not self.labels:
            return ()
        try:
            return self._region._labels.current(
                self.labels, self.versions, self.budget
            )
        except BackendError as error:
            self._region._counters.store_failed(self.key, error)
            self.reachable = False
            return None
