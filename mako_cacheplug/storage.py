"""Entries in a store: an open backend, seen through keys and codec.

This is where a region's logical keys and entries become what a backend
takes, and where anything that a backend does wrong becomes either a
:exc:`BackendError` or, for bytes that are no entry, a miss.
"""

from __future__ import annotations

import abc
import copy
import logging
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Final
from typing import NamedTuple
from typing import NoReturn
from typing import ParamSpec
from typing import Protocol
from typing import runtime_checkable
from typing import TypeVar

from mako_cacheplug import budget
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import EntryWatch
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import SupportsCheckAndSetEntries
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.api import SupportsWatch
from mako_cacheplug.breaker import breaker_of
from mako_cacheplug.breaker import CircuitBreaker
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import NotAskedError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.forks import ForkSafeLock

__all__ = [
    "UNCLAIMED",
    "EntryStorage",
    "EntryTable",
    "Watched",
    "too_large",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_adding: Final = ForkSafeLock()
"""For all stores inside the process, as it is held for a moment."""

UNCLAIMED: Final = object()
"""The claim of who stores whatever happened."""


class Watched(NamedTuple):
    """A watch, and what it showed a moment ago."""

    watch: EntryWatch
    held: CacheEntry | bytes | None
    """Without looking again, which can cost a question to the store."""

    until: float
    """When it is trusted no longer, in seconds since the epoch."""


class EntryShare(SupportsCheckAndSetEntries, Protocol):
    """A part of a store, for what is stored by way of it."""

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        """Keep *entry* under *key*, replacing what is there."""


@runtime_checkable
class HasShares(Protocol):
    """A backend that can bound what one of its users keeps in it."""

    def share(self, name: str, part: float) -> EntryShare:
        """Return what is kept for *name*, which is *part* at most.

        :raises OptionError: if the store has no bound itself.
        """


class EntryStorage(abc.ABC):
    """Entries by logical key.  Safe in threads; raises BackendError only."""

    in_bulk = False
    """Whether many keys cost one trip, and a trip costs something."""

    is_timed = False
    """Whether a call takes time of which a render has a budget."""

    watched: SupportsWatch | None = None
    """The store, if it tells of what goes."""

    can_add = False
    """Whether it tells who was first, in one trip."""

    can_claim = False
    """Whether a value that was overtaken while it was made is refused."""

    staleness = 0.0
    """Seconds by which what is read may be behind the store."""

    def __init__(self, backend: CacheBackend, counters: RegionCounters):
        self.backend = backend
        self._counters = counters
        self.breakers: Sequence[CircuitBreaker] = ()
        """While all of them refuse, there is no point in asking."""

        self._breaker: CircuitBreaker | None = None
        """The one that is minded here, if the store does not mind its own."""

        self._said_what_broke = False

    @property
    def source(self) -> EntryStorage:
        """The same without :attr:`staleness`: what a creation is to ask."""
        return self

    @property
    def is_away(self) -> bool:
        """Whether it would refuse to be asked."""
        for breaker in self.breakers:
            if not breaker.is_refusing():
                return False
        return bool(self.breakers)

    def reads_as(self, other: EntryStorage) -> bool:
        """Tell whether *other* reads what this one has written."""
        return self.backend is other.backend

    def within_share(self, name: str, part: float) -> EntryStorage | None:
        """Return the same, keeping *part* of the store at most.

        With all others that are called *name*.  ``None`` if the store does
        not tell its users apart.

        :raises OptionError: if the store has no bound itself.
        """
        return None

    @abc.abstractmethod
    def read(self, key: str) -> CacheEntry | NoValue:
        """Return the entry under *key*."""

    @abc.abstractmethod
    def read_many(self, wanted: Iterable[str]) -> dict[str, CacheEntry]:
        """Return those entries of *wanted* that are there."""

    @abc.abstractmethod
    def write(
        self,
        key: str,
        entry: CacheEntry,
        keep: float,
        compress: int | None,
        limit: int | None,
        claim: object = UNCLAIMED,
    ) -> bool:
        """Store *entry* if *claim* still holds; tell whether it did.

        :param keep: seconds for which it can be of use.
        :param compress: compress values of that many bytes.
        :param limit: bytes that the payload may have, beside the backend's
            own limit.
        :param claim: from :meth:`claim`; or, of what has labels, the mutex
            that it was created under, so that a store may hold both back.
        :raises ValueTooLargeError: if it is over a limit; what was under
            *key* is gone then.
        """

    def add(self, key: str, entry: CacheEntry) -> bool:
        """Store *entry*, for ever, if nothing is there; tell whether it did.

        Only if :attr:`can_add`.
        """
        return False

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Remove what is under *key*."""

    def clear(self) -> None:
        """Remove everything.

        :raises BackendError: also if the backend has no way to do it.
        """
        backend = self.backend
        if not isinstance(backend, SupportsClear):
            raise BackendError(
                f"the store of region {self._counters.region!r} cannot be"
                f" emptied: {type(backend).__name__} has no clear()"
            )
        self.insist(backend.clear)

    def claim(self, key: str) -> object | None:
        """Return what stands for what is under *key* now.

        ``None`` if nothing is stored here anyway.
        """
        return UNCLAIMED

    def mutex(self, key: str, lease: float) -> CacheMutex | None:
        """Return the cross-process mutex for *key*, if the backend has one.

        It does not raise: with the store away, this process elects alone.
        """
        return None

    def watch(self, key: str) -> Watched | None:
        """Return a watch of what is under *key*, if the store has such."""
        return None

    def ask(
        self, action: Callable[_P, _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Return what *action* does, unless the store is left alone.

        :raises BackendError: if it fails or is left alone.
        """
        breaker = self._breaker
        if breaker is not None and not breaker.is_well:
            breaker.admit()
        return self.insist(action, *args, **kw)

    def insist(
        self, action: Callable[_P, _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Return what *action* does, even if the store failed just now.

        For an invalidation: left out, it is loud, but better is to try it.
        A backend that breaks its contract with another exception must cost
        no more than one that keeps it.

        :raises BackendError: if it fails.
        """
        began = budget.clock() if self.is_timed else math.inf
        try:
            answer = action(*args, **kw)
        except ValueTooLargeError:
            raise
        except BackendError as error:
            self._failed(error, began)
            raise
        except Exception as error:
            raise self._failed(error, began) from error
        finally:
            if self.is_timed:
                budget.spend(budget.clock() - began)
        breaker = self._breaker
        if breaker is not None and not breaker.is_well:
            breaker.succeeded()
        return answer

    def _failed(
        self, error: Exception, began: float = math.inf
    ) -> BackendError:
        """Count *error*; return it as what callers expect.

        :param began: when the call did, by the monotonic clock; infinite
            where it takes no time.
        """
        if isinstance(error, NotAskedError):
            return error
        self._counters.count("errors")
        if self._breaker is not None:
            self._breaker.failed(error, budget.clock() - began)
        if isinstance(error, BackendError):
            return error
        if not self._said_what_broke:
            self._said_what_broke = True
            _log.warning(
                "the store of region %r raised what it must not (said once)",
                self._counters.region,
                exc_info=error,
            )
        return BackendError(f"{type(error).__name__} from the store: {error}")


class EntryTable(EntryStorage):
    """Entries kept as they are, by a backend inside this process."""

    can_add = True

    def __init__(self, backend: SupportsEntries, counters: RegionCounters):
        assert isinstance(backend, CacheBackend)
        super().__init__(backend, counters)
        self._breaker = breaker_of(backend)
        self.breakers = (self._breaker,)
        self._get_entry = backend.get_entry
        self._set_entry: Callable[[str, CacheEntry, float | None], None]
        self._set_entry = backend.set_entry
        self._claims: SupportsCheckAndSetEntries | None = None
        if isinstance(backend, SupportsCheckAndSetEntries):
            self._claims = backend
            self.can_claim = True
        if isinstance(backend, SupportsWatch):
            self.watched = backend

    def within_share(self, name: str, part: float) -> EntryStorage | None:
        if not isinstance(self.backend, HasShares):
            return None
        share = self.backend.share(name, part)
        table = copy.copy(self)
        table._set_entry = share.set_entry
        table._claims = share
        return table

    def read(self, key: str) -> CacheEntry | NoValue:
        assert self._breaker is not None
        if self._breaker.is_well:
            # Every hit comes here: the way round is only for what fails.
            try:
                entry = self._get_entry(key)
            except Exception as error:
                return self.ask(raise_, error)
            if isinstance(entry, CacheEntry) or entry is NO_VALUE:
                return entry
        return self.ask(self._look, key)

    def _look(self, key: str) -> CacheEntry | NoValue:
        entry = self._get_entry(key)
        if isinstance(entry, CacheEntry) or entry is NO_VALUE:
            return entry
        raise TypeError(f"no entry, but a value of type {type(entry)}")

    def read_many(self, wanted: Iterable[str]) -> dict[str, CacheEntry]:
        found = {}
        for key in wanted:
            entry = self.read(key)
            if entry is not NO_VALUE:
                found[key] = entry
        return found

    def write(
        self,
        key: str,
        entry: CacheEntry,
        keep: float,
        compress: int | None,
        limit: int | None,
        claim: object = UNCLAIMED,
    ) -> bool:
        if limit is not None:
            size = _value_bytes(entry.value)
            if size > limit:
                self.delete(key)
                raise too_large(size, limit)
        ttl = None if keep == math.inf else keep
        if self._claims is None or claim is UNCLAIMED:
            self.ask(self._set_entry, key, entry, ttl)
            return True
        action = self._claims.check_and_set_entry
        return self.ask(action, key, entry, ttl, claim)

    def add(self, key: str, entry: CacheEntry) -> bool:
        with _adding:
            if self.read(key) is not NO_VALUE:
                return False
            self.ask(self._set_entry, key, entry, None)
            return True

    def delete(self, key: str) -> None:
        self.insist(self.backend.delete, key)

    def claim(self, key: str) -> object | None:
        if self._claims is None:
            return UNCLAIMED
        return self.ask(self._claims.claim, key)

    def watch(self, key: str) -> Watched | None:
        watch = None if self.watched is None else self.watched.watch(key)
        return None if watch is None else Watched(watch, watch.held, math.inf)


def _value_bytes(value: object) -> int:
    """Return how long *value* is, or would be in UTF-8."""
    if isinstance(value, str) and not value.isascii():
        value = value.encode("utf-8", "surrogatepass")
    return len(value)  # type: ignore[arg-type]  # text or bytes: made by dump_value


def raise_(error: Exception) -> NoReturn:
    """Raise *error*: what was tried already is not tried again."""
    raise error


def too_large(size: int, limit: int) -> ValueTooLargeError:
    """Return the error for a payload of *size* bytes over *limit*."""
    return ValueTooLargeError(
        f"a payload of {size} bytes is over the limit of {limit}",
        size=size,
        limit=limit,
    )
