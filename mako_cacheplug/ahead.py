"""Read-ahead: what a render will ask a store for comes in one trip.

The first need of a render is a trip to the store; what :mod:`learning
<mako_cacheplug.learning>` knows to follow it is brought along and kept at
hand, as bytes, until it is asked for.  It is decoded and judged only then.

What is at hand was read a moment ago.  It stands in for an ordinary read:

* for :data:`~mako_cacheplug.learning.HELD_SECONDS` at the most;
* not if this process has changed it since, which the store's log of changes
  tells: an invalidation in the midst of a render is seen at once, by all
  regions over that store;
* only to be served.  Whatever is stored, elected or held on to is read from
  the store itself: a creation, all that is called inside it, and the labels'
  versions that it notes.  Nothing that was read ahead becomes part of an
  entry;
* a name that was not there goes the ordinary way too, which asks again.

Another process's invalidation is seen by the next render.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.budget import Budget
from mako_cacheplug.changes import Changes
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.learning import Course
from mako_cacheplug.learning import HELD_SECONDS
from mako_cacheplug.learning import Learner
from mako_cacheplug.learning import MOST_BYTES
from mako_cacheplug.write_behind import WriteBehind

__all__ = ["Gathered", "ReadAhead", "RenderReads", "learner_of"]

Gathered = tuple[tuple[str, bytes], ...]
"""Payloads by the store's names."""

_learners: Final[
    weakref.WeakKeyDictionary[CacheBackend, dict[object, Learner]]
] = weakref.WeakKeyDictionary()
_guard: Final = ForkSafeLock()


def learner_of(storage: CodedStorage) -> Learner:
    """Return the one learner of all storages that read as *storage* does."""
    with _guard:
        learners = _learners.setdefault(storage.backend, {})
        return learners.setdefault(storage.codec, Learner())


class _AtHand:
    """What one render has at hand of one store.  Of one thread.

    :param learner: of the storages that it is used with.
    :param changes: the store's.
    :param page: what tells the page that is rendered.
    :param held: takes the names of what the render may hold back, if it can
        be told when that ends.
    :param budget: the render's.
    """

    def __init__(
        self,
        learner: Learner,
        changes: Changes,
        page: str,
        held: dict[WriteBehind, list[str]] | None,
        budget: Budget,
    ) -> None:
        self.is_off = False
        self.held = held
        self.budget = budget
        self.clock = learner.clock
        self.since = 0.0
        """When the first of it was read, by the learner's clock."""

        self.course = Course(learner, page)
        self.payloads: dict[str, bytes | NoValue] = {}
        """By name; or that there is none."""

        self.entries: dict[str, CacheEntry | NoValue] = {}
        """What those were decoded to that have been asked for."""

        self._changes = changes
        self._place = 0
        self._bytes = 0

    def refresh(self) -> None:
        """Let go of what is too old or has changed."""
        if not self.payloads:
            return
        if not 0.0 <= self.clock() - self.since <= HELD_SECONDS:
            self._forget()
            self.course.expire()
        elif self._changes.count != self._place:
            self._place, names = self._changes.since(self._place)
            if names is None:
                self._forget()
                return
            for name in names:
                self.payloads.pop(name, None)
                self.entries.pop(name, None)

    def _forget(self) -> None:
        self.payloads.clear()
        self.entries.clear()
        self._bytes = 0

    def fill(
        self,
        read: Callable[[Iterable[str]], dict[str, bytes]],
        names: list[str],
        along: list[str],
    ) -> None:
        """Read *names*, and *along* with them.

        :raises BackendError: if the store could not be asked.
        """
        if self.budget.is_spent:
            self.is_off = True
            raise NotAskedError("the render has spent its time for the store")
        if self._bytes > MOST_BYTES:
            self._forget()
        if not self.payloads:
            # Before the store is asked.
            self.since = self.clock()
            self._place = self._changes.count
        wanted = [name for name in along if name not in self.payloads]
        wanted = [*dict.fromkeys(names + wanted)]
        try:
            found = read(wanted)
        except BackendError:
            self.is_off = True
            self._forget()
            raise
        total = 0
        for name in wanted:
            payload: object = found.get(name, NO_VALUE)
            self.entries.pop(name, None)
            if isinstance(payload, bytes):
                self.payloads[name] = payload
                total += len(payload)
            else:
                # An answer of another type cannot be read.
                self.payloads[name] = NO_VALUE if payload is NO_VALUE else b""
        self._bytes += total
        if total > MOST_BYTES:
            sizes = {name: _size(found.get(name)) for name in along}
            self.course.weigh(sizes)
        elif along and total < MOST_BYTES / 2:
            self.course.widen()


def _size(payload: object) -> int:
    return len(payload) if isinstance(payload, bytes) else 0


class ReadAhead:
    """What a render has at hand of one region's storage.  Of one thread."""

    __slots__ = ("_at_hand", "_storage")

    def __init__(self, storage: CodedStorage, at_hand: _AtHand) -> None:
        self._storage = storage
        self._at_hand = at_hand

    @property
    def is_off(self) -> bool:
        """Whether a trip has failed: the rest goes the ordinary way."""
        return self._at_hand.is_off

    @property
    def budget(self) -> Budget:
        """The render's, of all stores."""
        return self._at_hand.budget

    @property
    def age(self) -> float:
        """Seconds since what is at hand was read, or somewhat more."""
        return self._at_hand.clock() - self._at_hand.since

    def read(
        self, key: str, labels: tuple[str, ...], trusting: bool
    ) -> tuple[CacheEntry | NoValue, Mapping[str, str | None]]:
        """Return the entry under *key*, and the versions of *labels*.

        A label that is not there has the version ``None``.

        :param trusting: whether the first of *labels* is rarely needed: its
            version is told if it is at hand.
        :raises BackendError: if the store could not be asked.
        """
        at_hand = self._at_hand
        at_hand.refresh()
        if not trusting:
            found = self._read((key, *labels), None)
        else:
            rare = labels[0]
            entry = self._take(key) if len(labels) == 1 else None
            if entry is not None and not at_hand.course.checks:
                return entry, {}
            found = self._read((key, *labels[1:]), rare)
            label = self._take(rare)
            if label is not None:
                found[rare] = label
        entry = found.pop(key)
        return entry, {name: _version(one) for name, one in found.items()}

    def write_behind(self, key: str) -> WriteBehind | None:
        """Return what holds back a new entry under *key* until the end.

        ``None`` if nothing can, or nobody would know when that is.
        """
        behind = self._storage.behind
        held = self._at_hand.held
        if behind is None or held is None or self.is_off:
            return None
        held.setdefault(behind, []).append(self._storage.name(key))
        return behind

    def gather(
        self, key: str, entry: CacheEntry, pairs: Iterable[tuple[str, str]]
    ) -> Gathered | None:
        """Return the payloads that *entry* and its labels were decoded from.

        Where the same ones are at hand again, they mean the same again.

        :param pairs: those labels with their versions.
        :return: ``None`` unless all of them are still at hand: one that was
            let go of meanwhile can have been read anew.
        """
        at_hand = self._at_hand
        if at_hand.entries.get(self._storage.name(key)) is not entry:
            return None
        gathered = []
        for one, value in ((key, entry.value), *pairs):
            name = self._storage.name(one)
            payload = at_hand.payloads.get(name, NO_VALUE)
            found = at_hand.entries.get(name, NO_VALUE)
            if (
                payload is NO_VALUE
                or found is NO_VALUE
                or found.value != value
            ):
                return None
            gathered.append((name, payload))
        return tuple(gathered)

    def has(self, gathered: Gathered, trusting: bool) -> bool:
        """Tell whether these payloads are at hand; they have been used then.

        :param trusting: whether they leave out what is rarely needed: it may
            be at hand as well, to be looked at.
        """
        at_hand = self._at_hand
        at_hand.refresh()
        if trusting and at_hand.course.checks:
            return False
        payloads = at_hand.payloads
        used = at_hand.course.used
        for name, payload in gathered:
            if payloads.get(name) != payload:
                return False
            used.add(name)
        return True

    def versions(
        self,
        pairs: Iterable[tuple[str, str]],
        known: Mapping[str, str | None],
        rare: str | None,
    ) -> Mapping[str, str | None]:
        """Return *known*, with the versions of all labels in *pairs*.

        :param known: versions by label.
        :param rare: the one among them that is rarely needed.
        :raises BackendError: if the store could not be asked.
        """
        unread = [name for name, _ in pairs if name not in known]
        if not unread:
            return known
        self._at_hand.refresh()
        found = self._read(unread, None, rare)
        read = {name: _version(one) for name, one in found.items()}
        return {**known, **read}

    def _read(
        self, keys: Sequence[str], rare: str | None, alone: str | None = None
    ) -> dict[str, CacheEntry | NoValue]:
        """Return what is at hand or in the store, for each of *keys*.

        :param rare: the label that is rarely needed of the first of them.
        :param alone: the one of them that nothing is learned of.
        """
        found: dict[str, CacheEntry | NoValue] = {}
        missing: list[str] = []
        for key in keys:
            one = self._take(key)
            if one is None:
                missing.append(key)
            else:
                found[key] = one
        if missing:
            name_of = self._storage.name
            names = [*dict.fromkeys(map(name_of, missing))]
            learned = [name_of(key) for key in missing if key != alone]
            label = None if rare is None else name_of(rare)
            along = self._at_hand.course.depart(learned, label)
            if label is not None:
                names.append(label)  # It may be needed, and costs no trip.
            self._at_hand.fill(self._storage.read_payloads, names, along)
            for key in missing:
                found[key] = self._take(key) or NO_VALUE
        return found

    def _take(self, key: str) -> CacheEntry | NoValue | None:
        """Return what is at hand under *key*; ``None`` if nothing is."""
        name = self._storage.name(key)
        at_hand = self._at_hand
        found = at_hand.entries.get(name)
        if found is None:
            payload = at_hand.payloads.get(name)
            if payload is None:
                return None
            found = (
                NO_VALUE
                if payload is NO_VALUE
                else self._storage.decode(key, payload)
            )
            at_hand.entries[name] = found
        at_hand.course.used.add(name)
        return found


class RenderReads:
    """What one render has at hand, of all stores.  Of one thread.

    :param page: what tells the page that is rendered.
    :param render: returns what tells the render itself.
    :param ends: whether :meth:`end` is called when the render ends.
    :param budget: seconds that it may ask stores for, all together.
    """

    __slots__ = ("_held", "_known", "_page", "_stores", "budget", "render")

    def __init__(
        self,
        page: str,
        render: Callable[[], object],
        *,
        ends: bool = False,
        budget: float = math.inf,
    ) -> None:
        self.render = render
        self.budget = Budget(budget)
        self._page = page
        self._held: dict[WriteBehind, list[str]] | None = {} if ends else None
        self._known: dict[CodedStorage, ReadAhead] = {}
        self._stores: dict[Learner, _AtHand] = {}

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become ``None`` in a copy of the output that this is kept with."""
        return type(None), ()

    def of(self, storage: CodedStorage) -> ReadAhead:
        """Return what is at hand of *storage*."""
        known = self._known.get(storage)
        if known is None:
            learner = learner_of(storage)
            at_hand = self._stores.get(learner)
            if at_hand is None:
                at_hand = _AtHand(
                    learner,
                    storage.changes,
                    self._page,
                    self._held,
                    self.budget,
                )
                self._stores[learner] = at_hand
            known = self._known[storage] = ReadAhead(storage, at_hand)
        return known

    def end(self) -> None:
        """Store what the render holds back.  Does not raise."""
        for behind, names in (self._held or {}).items():
            behind.settle(names)


def _version(label: CacheEntry | NoValue) -> str | None:
    return None if label is NO_VALUE else label.version
