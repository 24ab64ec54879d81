"""A region's policy: what is served, created and stored, and when.

The one place where keys, entries, the lock and a store come together.  What
is written here holds for every store: a fresh entry is a hit; otherwise the
dogpile lock elects who creates; what a store cannot do costs a miss.
"""

from __future__ import annotations

import logging
import math
import random
import time
import weakref
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Final
from typing import NamedTuple

from mako_cacheplug import codec as codecs
from mako_cacheplug import entry as entries
from mako_cacheplug import keys
from mako_cacheplug import nesting
from mako_cacheplug import options
from mako_cacheplug.ahead import RenderReads
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.breaker import CircuitBreaker
from mako_cacheplug.budget import Budget
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import MOST_LABELS
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.labels import LabelVersions
from mako_cacheplug.labels import tag_label
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.miss import MissedCall
from mako_cacheplug.nesting import Creation
from mako_cacheplug.options import CallOptions
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.standing import StandingHit
from mako_cacheplug.standing import TRUST_SECONDS
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.storages import codec_of
from mako_cacheplug.storages import open_storage

__all__ = ["Fragment", "ServingRegion"]

_log = logging.getLogger(__name__)

_MOST_STANDING: Final = 2048
"""They take about 1 KB each, beside what the store's bound counts."""

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


class Fragment(NamedTuple):
    """A call for a template's fragment, as a region sees it.

    What expires in it expires around it; and a value that cannot be stored
    is not an error but an event, as the page always renders.
    """

    run: Callable[[Creation, Callable[[], object]], object]
    """Runs the creator inside a creation; returns what is to be kept."""

    is_removed: bool = False
    """Whether whoever invalidates its first label also removes its entry."""


class ServingRegion:
    """A store plus a policy: the half of a region that serves.

    Keys are logical ones here, and options typed: the Mako seam and the
    decorator make and check them.

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

    def fetch(
        self,
        key: str,
        creator: Callable[[], object],
        call: CallOptions,
        labels: tuple[str, ...] = (),
        fragment: Fragment | None = None,
        origin: object = None,
        reads: Callable[[Any], RenderReads | None] | None = None,
    ) -> object:
        """Return the value of the logical *key*, creating it if needed.

        What is noted of it rises to the creation that it is called in.

        :param labels: labels beside the call's tags.
        :param fragment: if it is a template's, what is special about it.
        :param origin: what the creation is to know of this call.
        :param reads: returns what the render that *origin* belongs to has at
            hand; ``None`` where there is no render.
        """
        if call.tags or self._labels_keys:
            labels = self._every_label(key, labels, call)
        if len(labels) > MOST_LABELS:
            self._say_once(
                "labels",
                "region %r: not stored: it has more than %d labels (said"
                " once)",
                self.name,
                MOST_LABELS,
            )
            return self._without(key, creator)
        around = nesting.current()
        if around is None:
            standing = self._standing.get(key)
            if (
                standing is not None
                and standing.expected == labels
                and not call.early
            ):
                found = standing.take()
                if found is not None:
                    return found.value
        output = ahead = budget = None
        render = None if reads is None else reads(origin)
        if render is not None:
            budget = render.budget
            if call.read_ahead and self.bulk_storage is not None:
                output = render.of(self.bulk_storage)
                if around is None and not output.is_off:
                    ahead = output
            # What is at hand is served, whatever was spent.
            if ahead is None and budget.is_spent:
                return self._over_budget(key, creator, budget)
        if around is not None:
            # Held before anything is read, so not read ahead: see there.
            around.hold(labels, self._labels)
        counters = self._counters
        # Where labels are read from copies, that is delay enough.
        trusting = (
            fragment is not None
            and fragment.is_removed
            and not self._storage.staleness
        )
        failure: BackendError | None = None
        again = is_first = True
        while again:
            now = self._clock()
            reachable = True
            entry: CacheEntry | NoValue
            try:
                entry = self._labels.read_valid(
                    key,
                    labels,
                    now,
                    trusting=trusting,
                    creating=around is not None,
                    ahead=ahead,
                )
            except BackendError as error:
                if ahead is not None:
                    # A trip for many asks servers that one can do without.
                    if ahead.budget.is_spent:
                        return self._over_budget(key, creator, ahead.budget)
                    ahead, failure = None, error
                    continue
                is_left_alone = isinstance(error, NotAskedError)
                if is_left_alone and failure is not None:
                    error = failure
                counters.store_failed(key, error)
                if is_left_alone and fragment is not None and around is None:
                    return self._without(key, creator)
                entry, reachable = NO_VALUE, False
            if (
                entry is not NO_VALUE
                and now < entry.fresh_until
                and not (call.early and self._is_early(entry, call, now))
            ):
                if is_first:
                    counters.count_hit()
                    counters.emit(EventKind.HIT, key)
                if (
                    self._storage.watched is not None
                    and not counters.hooks
                    and not call.early
                    and type(entry.value) is not codecs.JSONText
                ):
                    self._stand(key, labels, entry, now, trusting)
            elif around is not None and around.depth >= nesting.DEEPEST:
                value = creator()
                entry = self._entry("", call, (), now, 0.0)
                around.note(entry, self._labels, expires=fragment is not None)
                return value
            else:
                entry = MissedCall(
                    self,
                    key,
                    creator,
                    call,
                    labels,
                    entry,
                    reachable,
                    fragment,
                    origin,
                    budget,
                    output,
                ).run(now)
            is_first = False
            again = around is not None and around.note(
                entry, self._labels, expires=fragment is not None
            )
        value = entry.value
        if type(value) is codecs.JSONText:
            return codecs.load_value(value)
        return value

    def _over_budget(
        self, key: str, creator: Callable[[], object], budget: Budget
    ) -> object:
        """Return what *creator* makes, and tell once that time is up."""
        if not budget.is_said:
            budget.is_said = True
            self._counters.emit(EventKind.OVER_BUDGET, key)
        return self._without(key, creator)

    def _without(self, key: str, creator: Callable[[], object]) -> object:
        """Return what *creator* makes, without asking the store.

        What is around could not be told what is true of it.
        """
        self._counters.count("misses")
        self._counters.emit(EventKind.MISS, key)
        nesting.nocache()
        return creator()

    def goes_without(self, key: str | None = None) -> bool:
        """Tell whether the store is left alone, as it failed just now.

        That is counted as a miss.  The caller then creates by itself, which
        costs what it would cost without a cache.

        :param key: for the hooks; if they are to be told, and it is
            ``None``, the answer is no.
        """
        counters = self._counters
        if not self._storage.is_away or (key is None and counters.hooks):
            return False
        counters.count("misses")
        if key is not None:
            counters.emit(EventKind.MISS, key)
        return True

    @property
    def can_stand(self) -> bool:
        """Whether the store is one in which hits stand."""
        return self._storage.watched is not None

    def standing(self, key: str) -> StandingHit | None:
        """Return the latest hit of the logical *key*, if it may stand.

        What its entry holds is the value itself.
        """
        return self._standing.get(key)

    def _stand(
        self,
        key: str,
        labels: tuple[str, ...],
        entry: CacheEntry,
        now: float,
        trusting: bool,
    ) -> None:
        standing = self._labels.stand(
            key, labels, entry, now, trusting, self._counters
        )
        if standing is None:
            return
        if len(self._standing) >= _MOST_STANDING:
            # All of them end within a second.  Where more keys than these
            # are hit in one, to note each of them would be wasted.
            if 0.0 <= now - self._standing_since < TRUST_SECONDS:
                return
            self._standing = {}
            self._standing_since = now
        self._standing[key] = standing

    def _is_early(
        self, entry: CacheEntry, call: CallOptions, now: float
    ) -> bool:
        chance = 1.0 - self._chance()
        return entries.is_due_early(entry, now, call.early, chance)

    # -- inside ------------------------------------------------------------

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
