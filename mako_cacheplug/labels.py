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
from typing import NamedTuple
from weakref import WeakKeyDictionary
from weakref import WeakSet

from mako_cacheplug import keys
from mako_cacheplug.ahead import Gathered
from mako_cacheplug.ahead import ReadAhead
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.budget import Budget
from mako_cacheplug.copies import Recent
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import entry_bytes
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.standing import TRUST_SECONDS
from mako_cacheplug.storage import EntryStorage

__all__ = ["LabelVersions", "tag_label"]

Pairs = tuple[tuple[str, str], ...]
"""Labels with their versions."""

_TAG: Final = keys.join("tag")

_REMEMBERED_CHECKS: Final = 4096

_NONE: Final[Mapping[str, str | None]] = {}

_MANY: Final = 8
"""So many labels are looked up in a set."""

_WAIT_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 2.0
"""To make a version is one write."""


_others: Final[WeakKeyDictionary[CacheBackend, WeakSet[LabelVersions]]] = (
    WeakKeyDictionary()
)


_PROOF_BYTES: Final = 4 * 2**20


class _Proof(NamedTuple):
    """A hit of a render that had the store's answers at hand."""

    expected: tuple[str, ...]
    entry: CacheEntry
    gathered: Gathered
    until: float
    """When its first label is no longer trusted; infinite if it is among what
    was gathered."""


def tag_label(namespace: str, tag: str) -> str:
    """Return the label that stands for *tag*, in all regions."""
    return _TAG + keys.join(namespace) + keys.token(tag)


class LabelVersions:
    """The versions of labels in one store.  Safe in threads.

    :param lock: the store's; it elects who makes a version.
    :param own: stores the versions of labels that are one region's alone,
        if it has a share of the store.

    Every method raises BackendError if the store could not be asked.
    """

    def __init__(
        self,
        storage: EntryStorage,
        lock: DogpileLock[CacheEntry],
        clock: Callable[[], float],
        own: EntryStorage | None = None,
    ):
        self._storage = storage
        self._own = own or storage
        self._lock = lock
        self._clock = clock
        self._pairs: dict[Pairs, Pairs] = {}
        self._checked: dict[str, tuple[float, Pairs, float]] = {}
        self._proofs: Recent[_Proof] = Recent(_PROOF_BYTES)

    def are_those_of(self, other: LabelVersions) -> bool:
        """Tell whether a label's version is the same here and there."""
        return self is other or self._storage.reads_as(other._storage)

    def are_also_in(self, other: LabelVersions) -> None:
        """Invalidate labels in the store of *other* too, from now on.

        Something is stored there that shows what is stored here.
        """
        _others.setdefault(self._storage.backend, WeakSet()).add(other)

    def read_valid(
        self,
        key: str,
        expected: tuple[str, ...],
        now: float = 0.0,
        *,
        trusting: bool = False,
        creating: bool = False,
        ahead: ReadAhead | None = None,
        seen: dict[str, str | None] | None = None,
    ) -> CacheEntry | NoValue:
        """Return the entry under *key* if all of its labels are current.

        :param expected: labels that it must have: one that was stored
            without them would survive their invalidation.  Where the store
            handles many keys in one trip, their versions come along.
        :param now: seconds since the epoch.
        :param trusting: whether the first of *expected* is trusted for a
            second once it was found current: for an entry that whoever
            invalidates this label removes as well.  The label then is the
            second line, for entries that he does not know of.
        :param creating: whether a creation depends on it: the store itself
            is asked then, as what is created outlasts any copy.
        :param ahead: what the render has at hand of this store, and where
            what it has not is read.
        :param seen: is given the versions of *expected* that came along,
            for :meth:`current`; ``None`` for those that have none.
        """
        storage = self._storage.source if creating else self._storage
        known: Mapping[str, str | None] = {}
        if ahead is not None:
            proven = self._proven(key, expected, now, trusting, ahead)
            if proven is not None:
                return proven
            entry, known = ahead.read(key, expected, trusting)
        elif storage.in_bulk and len(expected) > trusting:
            found = storage.read_many((key, *expected[trusting:]))
            entry = found.pop(key, NO_VALUE)
            known = {name: e.version for name, e in found.items()}
            if seen is not None:
                seen.update({name: known.get(name) for name in expected})
        else:
            entry = storage.read(key)
        if entry is NO_VALUE or not (entry.labels or expected):
            return entry
        pairs, names = entry.labels, expected
        # What came along is looked at, or it is checked for nothing.
        is_trusted = (
            trusting
            and expected[0] not in known
            and self._is_trusted(key, entry, now)
        )
        if is_trusted:
            pairs = tuple([pair for pair in pairs if pair[0] != expected[0]])
            names = expected[1:]
        if not _have(pairs, names):
            return NO_VALUE
        if ahead is not None:
            rare = expected[0] if trusting and not is_trusted else None
            known = ahead.versions(pairs, known, rare)
        if not _are_current(storage, pairs, known):
            return NO_VALUE
        if trusting and not is_trusted:
            # From when its label was read.
            since = now if ahead is None else now - ahead.age
            self._trust(key, entry, since)
        if ahead is not None:
            self._prove(key, expected, entry, ahead, trusting)
        return entry

    def _proven(
        self,
        key: str,
        expected: tuple[str, ...],
        now: float,
        trusting: bool,
        ahead: ReadAhead,
    ) -> CacheEntry | None:
        """Return the entry under *key* if its proof still holds."""
        proof = self._proofs.get(key)
        if (
            proof is not None
            and proof.expected == expected
            and (not trusting or 0.0 < proof.until - now <= TRUST_SECONDS)
            and ahead.has(proof.gathered, trusting)
        ):
            return proof.entry
        return None

    def _prove(
        self,
        key: str,
        expected: tuple[str, ...],
        entry: CacheEntry,
        ahead: ReadAhead,
        trusting: bool,
    ) -> None:
        """Note what *entry* was found valid by: it need not be found again.

        As long as the payloads are the same, and its first label is trusted.
        """
        trusted = expected[0] if trusting else None
        pairs = [pair for pair in entry.labels if pair[0] != trusted]
        gathered = ahead.gather(key, entry, pairs)
        if gathered is not None:
            until = self._trusted_until(key) if trusting else math.inf
            size = sum([len(payload) for _, payload in gathered])
            size += entry_bytes(entry)
            proof = _Proof(expected, entry, gathered, until)
            self._proofs.put(key, proof, size)

    def stand(
        self,
        key: str,
        expected: tuple[str, ...],
        entry: CacheEntry,
        now: float,
        trusting: bool,
        counters: RegionCounters,
    ) -> StandingHit | None:
        """Return what :meth:`read_valid` found as a hit that stands.

        If the store can be watched, and still has it.
        """
        storage = self._storage
        watched = storage.watch(key)
        if watched is None or watched.held is not entry:
            return None
        until = watched.until
        labels = []
        for name, version in entry.labels:
            if trusting and name == expected[0]:
                # Since it was found current, which may be a while ago.
                until = min(until, self._trusted_until(key))
                continue
            label = storage.watch(name)
            if label is None or getattr(label.held, "value", "") != version:
                return None
            labels.append(label.watch)
            until = min(until, label.until)
        assert storage.watched is not None
        return StandingHit(
            key,
            expected,
            watched.watch,
            tuple(labels),
            storage.watched,
            now,
            min(until, now + TRUST_SECONDS, entry.fresh_until),
            self._clock,
            counters,
        )

    def _trust(self, key: str, entry: CacheEntry, now: float) -> None:
        if len(self._checked) >= _REMEMBERED_CHECKS:
            self._checked.clear()
        until = now + TRUST_SECONDS
        self._checked[key] = (entry.created_at, entry.labels, until)

    def _is_trusted(self, key: str, entry: CacheEntry, now: float) -> bool:
        """Tell whether *entry*'s first label was found current just now."""
        checked = self._checked.get(key)
        return (
            checked is not None
            and 0.0 < checked[2] - now <= TRUST_SECONDS
            and checked[0] == entry.created_at
            and checked[1] == entry.labels
        )

    def _trusted_until(self, key: str) -> float:
        checked = self._checked.get(key)
        return -math.inf if checked is None else checked[2]

    def current(
        self,
        labels: Iterable[str],
        seen: Mapping[str, str | None] = _NONE,
        budget: Budget | None = None,
    ) -> Pairs:
        """Return *labels* with their versions, making those that miss.

        :param seen: what a read has just found, which need not be read
            again: what is made under a version that has gone since is never
            valid.
        :param budget: of the render: once it is spent, no more are made.
        """
        names = list(dict.fromkeys(labels))
        if not names:
            return ()
        versions = {
            name: version
            for name in names
            if (version := seen.get(name)) is not None
        }
        unread = [name for name in names if name not in seen]
        if unread:
            versions.update(_read(self._storage.source, unread))
        for name in names:
            if name not in versions:
                if budget is not None and budget.is_spent:
                    raise NotAskedError("the render has spent its time")
                versions[name] = self._make(name)
        pairs = tuple([(name, versions[name]) for name in names])
        # The entries of one def have equal ones: kept once, they take a
        # tenth less memory.
        if len(self._pairs) >= _REMEMBERED_CHECKS:
            self._pairs.clear()
        return self._pairs.setdefault(pairs, pairs)

    def _make(self, label: str) -> str:
        """Return the version of a label that had none.

        There is one who makes it: of two versions made at the same moment,
        one would invalidate what was made under the other.  The store tells
        who was first; if it cannot, or what is there cannot be read, he is
        elected like any other creator.
        """
        if self._storage.can_add:
            made = self._new()
            if self._home(label).add(label, made):
                return str(made.value)
            version = _version(self._storage.source.read(label))
            if version is not None:
                return version
        entry = self._lock.get_or_create(
            label,
            lambda: self._look(label),
            lambda: self._write_new(label),
            wait=_WAIT_SECONDS,
            mutex=self._storage.mutex(label, _LEASE_SECONDS),
            leaf=True,
        )
        return str(entry.value)

    def _home(self, label: str) -> EntryStorage:
        # What rests on a tag is not in one region alone.
        return self._storage if label.startswith(_TAG) else self._own

    def _look(self, label: str) -> CacheEntry | NoValue:
        found = self._storage.source.read(label)
        return NO_VALUE if _version(found) is None else found

    def _new(self) -> CacheEntry:
        return CacheEntry(os.urandom(12).hex(), self._clock())

    def _write_new(self, label: str) -> CacheEntry:
        entry = self._new()
        self._home(label).write(label, entry, math.inf, None, None)
        return entry

    def invalidate(self, label: str) -> None:
        """Make every entry under *label* invalid.

        Here, and in the stores of which :meth:`are_also_in` has told.
        """
        try:
            self._storage.delete(label)
        finally:
            for other in list(_others.get(self._storage.backend, ())):
                other._storage.delete(label)


def _read(storage: EntryStorage, names: Iterable[str]) -> dict[str, str]:
    found = storage.read_many(names)
    # What is no version, somebody else has put there.
    return {
        name: version
        for name, entry in found.items()
        if (version := entry.version) is not None
    }


def _version(label: CacheEntry | NoValue) -> str | None:
    return None if label is NO_VALUE else label.version


def _are_current(
    storage: EntryStorage, pairs: Pairs, known: Mapping[str, str | None]
) -> bool:
    if storage.in_bulk:
        unread = [name for name, _ in pairs if name not in known]
        if unread:
            known = {**known, **_read(storage, unread)}
        return all(known.get(name) == version for name, version in pairs)
    for name, version in pairs:
        if _version(storage.read(name)) != version:
            return False
    return True


def _have(pairs: Pairs, expected: tuple[str, ...]) -> bool:
    """Tell whether all *expected* labels are among *pairs*."""
    if len(expected) >= _MANY:
        # A set costs more than it saves where there are few.
        return {name for name, _ in pairs}.issuperset(expected)
    for label in expected:
        for name, _ in pairs:
            if name == label:
                break
        else:
            return False
    return True
