"""A region's store: how it is opened, and what is read and written there.

The half of a region below its policy: entries by logical key, with their
labels, in whatever store its options name.
"""

from __future__ import annotations

import logging
import math
import random
import time
import weakref
from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

from mako_cacheplug import entry as entries
from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.breaker import CircuitBreaker
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.labels import LabelVersions
from mako_cacheplug.labels import tag_label
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.options import CallOptions
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.storages import codec_of
from mako_cacheplug.storages import open_storage

__all__ = ["StoringRegion"]

_log = logging.getLogger(__name__)

_ALWAYS_WELL: Final = CircuitBreaker("memory")

_Lock = DogpileLock[CacheEntry]

_locks: Final[weakref.WeakKeyDictionary[CacheBackend, _Lock]] = (
    weakref.WeakKeyDictionary()
)
_locks_guard: Final = ForkSafeLock()


def _lock_of(backend: CacheBackend) -> _Lock:
    """Return the one lock of *backend*: regions over it elect together."""
    with _locks_guard:
        return _locks.setdefault(backend, DogpileLock())


class StoringRegion:
    """A store plus the options of a region: reads and writes entries.

    :param url: and what follows, as for
        :class:`~mako_cacheplug.region.CacheRegion`.
    """

    def __init__(
        self,
        url: str | CacheBackend = "memory://",
        *,
        name: str = "default",
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        **given: object,
    ) -> None:
        where = f"region {name!r}"
        if not isinstance(url, (str, CacheBackend)):
            raise OptionError(
                f"option 'url': {url!r} is neither a URL such as"
                " 'memory://' nor a CacheBackend",
                option="url",
                value=url,
                where=where,
            )
        checked = options.check_options(
            given, where, allowed=options.REGION_ONLY - options.STORE_ONLY
        )
        try:
            backend = (
                url
                if isinstance(url, CacheBackend)
                else open_backend(StoreURL.parse(url))
            )
        except OptionError as error:
            raise error.at(where) from None
        if type(backend).__hash__ is None:
            raise OptionError(
                f"option 'url': {type(backend).__name__} has no hash, by"
                " which regions find what they share: write"
                " @dataclass(eq=False), or leave out __eq__",
                option="url",
                value=backend,
                where=where,
            )
        self.name = name
        self.given = checked
        self.namespace: str = checked.get("namespace", "")
        self.options = CallOptions().replace(checked)
        self.backend = backend
        self._counters = RegionCounters(name)
        self._storage = open_storage(
            backend,
            codec_of(checked, where),
            self._counters,
        )
        self.bulk_storage = (
            self._storage
            if self._storage.in_bulk
            and isinstance(self._storage, CodedStorage)
            else None
        )
        """The store, if a trip to it can bring many entries."""

        self.is_timed = self._storage.is_timed
        """Whether calls to the store take of a render's budget."""

        self.health = (*self._storage.breakers, _ALWAYS_WELL)[0]
        """A breaker to look at first: the store is not away if it is well."""

        self._lock = _lock_of(backend)
        whole = self._storage
        if "max_share" in checked:
            self._storage = self._within(checked["max_share"], where)
        self._labels = LabelVersions(
            whole, self._lock, clock, own=self._storage
        )
        # A store that refuses nothing: an entry that was being made while
        # its key was invalidated is told by a label.
        self._labels_keys = not self._storage.can_claim
        # Another object after each of them.
        self._invalidation = object()
        self._standing: dict[str, StandingHit] = {}
        self._standing_since = -math.inf
        self._clock = clock
        self._chance = chance
        self._said: set[str] = set()
        self.scope = keys.join(self.namespace, name)
        self._plain = keys.join("v", self.scope)

    def _within(self, part: float, where: str) -> EntryStorage:
        try:
            storage = self._storage.within_share(self.name, part)
        except OptionError as error:
            raise error.at(where) from None
        if storage is None:
            kind = type(self.backend).__name__
            raise OptionError(
                f"option 'max_share': {part:.4g}: {kind} evicts for all its"
                " users together and cannot keep one region within a share;"
                " give the region a store of its own, such as"
                " 'memory://?max_bytes=16m'",
                option="max_share",
                value=part,
                where=where,
            )
        return storage

    def __reduce__(self) -> str:
        raise TypeError(
            f"region {self.name!r} cannot be pickled or copied: its locks and"
            " connections are this process's; make it from the same options"
            " where it is needed"
        )

    def __repr__(self) -> str:
        kind = type(self.backend).__name__
        return f"<CacheRegion {self.name!r} on {kind}>"

    def call_options(self, given: Mapping[str, object]) -> CallOptions:
        """Return the region's options with those of one call over them.

        :raises OptionError: for an option that is unknown or wrong.
        """
        if not given:
            return self.options
        return self.options.replace(
            options.check_options(
                given, f"region {self.name!r}", allowed=options.CALL_ONLY
            )
        )

    def tag_label(self, tag: str) -> str:
        """Return the label that stands for *tag* in this namespace."""
        return tag_label(self.namespace, tag)

    # -- what serving stands on ----------------------------------------------

    def _every_label(
        self, key: str, labels: tuple[str, ...], call: CallOptions
    ) -> tuple[str, ...]:
        """Return *labels* with the call's tags, and the key's own label."""
        labels += tuple(map(self.tag_label, call.tags))
        if self._labels_keys:
            labels += (keys.join("key", key),)
        return labels

    def _read(
        self,
        key: str,
        labels: tuple[str, ...],
        *,
        creating: bool = True,
        seen: dict[str, str | None] | None = None,
    ) -> tuple[CacheEntry | NoValue, bool]:
        """Return the valid entry under *key*, and if the store answered."""
        try:
            found = self._labels.read_valid(
                key, labels, creating=creating, seen=seen
            )
            return found, True
        except BackendError as error:
            self._counters.store_failed(key, error)
            return NO_VALUE, False

    def _entry(
        self,
        stored: str | bytes,
        call: CallOptions,
        versions: tuple[tuple[str, str], ...],
        began: float,
        cost: float,
        latest: float = math.inf,
    ) -> CacheEntry:
        # Fresh from now on, not from when the creation began: one that
        # took longer than the timeout would never be a hit.
        until = entries.fresh_until(
            self._clock(), call.timeout, call.jitter, self._chance()
        )
        return CacheEntry(stored, began, min(until, latest), cost, versions)

    def _write(
        self,
        key: str,
        entry: CacheEntry,
        call: CallOptions,
        claim: object = UNCLAIMED,
    ) -> bool | None:
        """Store *entry* if *claim* still holds, and tell whether it did.

        ``None`` if it could not be stored either way.

        :param claim: or a mutex, to hold it back until that is released.
        """
        keep = entry.fresh_until - self._clock() + call.afterlife
        if keep <= 0.0:
            return None  # Never of any use; stores take 0 for "never ends".
        try:
            return self._storage.write(
                key,
                entry,
                keep,
                call.compress,
                call.max_value_bytes,
                claim,
            )
        except BackendError as error:
            self._not_stored(key, error)
        return None

    def _not_stored(self, key: str, error: BackendError) -> None:
        if not isinstance(error, ValueTooLargeError):
            self._counters.store_failed(key, error)
            return
        self._counters.emit(
            EventKind.TOO_LARGE, key, size=error.size, error=error
        )
        self._say_once(
            "too large",
            "region %r: not stored: %s (said once)",
            self.name,
            error,
        )

    def _say_once(self, topic: str, message: str, *args: object) -> None:
        if topic not in self._said:
            self._said.add(topic)
            _log.warning(message, *args)
