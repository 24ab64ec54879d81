"""Entries in a store: an open backend, seen through keys and codec.

This is where a region's logical keys and entries become what a backend
takes, and where anything that a backend does wrong becomes either a
:exc:`BackendError` or, for bytes that are no entry, a miss.
"""

from __future__ import annotations

import abc
import logging
import math
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import Final
from typing import NoReturn
from typing import ParamSpec
from typing import Protocol
from typing import runtime_checkable
from typing import TypeVar

from mako_cacheplug import keys
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import EntryWatch
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import SupportsAdd
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsCheckAndSetEntries
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import SupportsWatch
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.changes import changes_of
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.copies import Copies
from mako_cacheplug.copies import Copy
from mako_cacheplug.copies import Decoded
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import UnknownCompressionError
from mako_cacheplug.exceptions import ValueTooLargeError

__all__ = [
    "UNCLAIMED",
    "CodedStorage",
    "EntryStorage",
    "OpensStorage",
    "open_storage",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_REMEMBERED_KEYS = 4096

_DECODED_BYTES: Final = 8 * 2**20
"""What was read lately, in each region, is kept as it was decoded."""

UNCLAIMED: Final = object()
"""The claim of who stores whatever happened."""


def open_storage(
    backend: CacheBackend, codec: EntryCodec, counters: RegionCounters
) -> EntryStorage:
    """Return how entries are kept in *backend*.

    As they are, or coded, or in a way that the backend knows.
    """
    if isinstance(backend, OpensStorage):
        return backend.open_storage(codec, counters)
    if isinstance(backend, SupportsEntries):
        return _EntryTable(backend, counters)
    if isinstance(backend, SupportsRevalidation) and (
        backend.max_copied_bytes != 0
    ):
        return _CopyingStorage(backend, codec, counters)
    return CodedStorage(backend, codec, counters)


class EntryStorage(abc.ABC):
    """Entries by logical key.  Safe in threads; raises BackendError only."""

    in_bulk = False
    """Whether many keys cost one trip, and a trip costs something."""

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
        self._failing = False

    @property
    def source(self) -> EntryStorage:
        """The same without :attr:`staleness`: what a creation is to ask."""
        return self

    def reads_as(self, other: EntryStorage) -> bool:
        """Tell whether *other* reads what this one has written."""
        return self.backend is other.backend

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
        :param claim: from :meth:`claim`.
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
        self.ask(backend.clear)

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

    def watch(self, key: str) -> tuple[EntryWatch, float] | None:
        """Return a watch of what is under *key*, if the store has such.

        And until when, in seconds since the epoch, it can be trusted.
        """
        return None

    def ask(
        self, action: Callable[_P, _T], *args: _P.args, **kw: _P.kwargs
    ) -> _T:
        """Return what *action* does; say once when the store starts to fail.

        A backend that breaks its contract with another exception must cost
        no more than one that keeps it.
        """
        try:
            answer = action(*args, **kw)
        except ValueTooLargeError:
            raise
        except BackendError as error:
            self._failed(error)
            raise
        except Exception as error:
            raise self._failed(error) from error
        if self._failing:
            self._failing = False
            _log.info("store of region %r answers", self._counters.region)
        return answer

    def _failed(self, error: Exception) -> BackendError:
        """Count *error*; return it as what callers expect."""
        self._counters.count("errors")
        if not self._failing:
            self._failing = True
            _log.warning(
                "store of region %r fails; going on without it: %s",
                self._counters.region,
                error,
                exc_info=not isinstance(error, BackendError),
            )
        if isinstance(error, BackendError):
            return error
        return BackendError(f"{type(error).__name__} from the store: {error}")


@runtime_checkable
class OpensStorage(Protocol):
    """A backend that is more than one store, and so keeps entries itself."""

    def open_storage(
        self, codec: EntryCodec, counters: RegionCounters
    ) -> EntryStorage:
        """Return how entries are kept in it."""


class _EntryTable(EntryStorage):
    """Entries kept as they are, by a backend inside this process."""

    def __init__(self, backend: SupportsEntries, counters: RegionCounters):
        assert isinstance(backend, CacheBackend)
        super().__init__(backend, counters)
        self._get_entry = backend.get_entry
        self._set_entry = backend.set_entry
        self._claims: SupportsCheckAndSetEntries | None = None
        if isinstance(backend, SupportsCheckAndSetEntries):
            self._claims = backend
            self.can_claim = True
        if isinstance(backend, SupportsWatch):
            self.watched = backend

    def read(self, key: str) -> CacheEntry | NoValue:
        if not self._failing:
            # Every hit comes here: the way round is only for what fails.
            try:
                return self._get_entry(key)
            except Exception:  # noqa: S110  # asked again below
                pass
        return self.ask(self._get_entry, key)

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
                raise _too_large(size, limit)
        ttl = None if keep == math.inf else keep
        if self._claims is None or claim is UNCLAIMED:
            self.ask(self._set_entry, key, entry, ttl)
            return True
        action = self._claims.check_and_set_entry
        return self.ask(action, key, entry, ttl, claim)

    def delete(self, key: str) -> None:
        self.ask(self.backend.delete, key)

    def claim(self, key: str) -> object | None:
        if self._claims is None:
            return UNCLAIMED
        return self.ask(self._claims.claim, key)

    def watch(self, key: str) -> tuple[EntryWatch, float] | None:
        watch = None if self.watched is None else self.watched.watch(key)
        return None if watch is None else (watch, math.inf)


class CodedStorage(EntryStorage):
    """Entries as payloads in a store of bytes.

    ``changes`` is the log of what this process changed in the store.
    """

    def __init__(
        self,
        backend: CacheBackend,
        codec: EntryCodec,
        counters: RegionCounters,
    ):
        super().__init__(backend, counters)
        # Looked at once: to tell a protocol takes as long as a trip.
        self._bulk = backend if isinstance(backend, SupportsBulk) else None
        self.in_bulk = self._bulk is not None
        self._adds = backend if isinstance(backend, SupportsAdd) else None
        self.can_add = self._adds is not None
        self._mutexes = backend if isinstance(backend, SupportsMutex) else None
        self._claims: SupportsCheckAndSet | None = None
        if isinstance(backend, SupportsCheckAndSet):
            self._claims = backend
            self.can_claim = True
        self.codec = codec
        self.changes = changes_of(backend)
        self._names: dict[str, str] = {}
        self._decoded = Decoded(_DECODED_BYTES)
        self._said_what_to_install = False

    def reads_as(self, other: EntryStorage) -> bool:
        return (
            isinstance(other, CodedStorage)
            and self.backend is other.backend
            and self.codec == other.codec
        )

    def name(self, key: str) -> str:
        """Return what the store knows *key* by."""
        name = self._names.get(key)
        if name is None:
            name = keys.storage_key(key)
            if len(self._names) >= _REMEMBERED_KEYS:
                self._names.clear()
            self._names[key] = name
        return name

    def read(self, key: str) -> CacheEntry | NoValue:
        name = self._names.get(key) or self.name(key)
        if self._failing:
            payload = self.ask(self.backend.get, name)
        else:
            # Every hit comes here: the way round is only for what fails.
            try:
                payload = self.backend.get(name)
            except Exception as error:
                payload = self.ask(_raise, error)
        if payload is NO_VALUE:
            return NO_VALUE
        return self.decode(key, payload)

    def read_many(self, wanted: Iterable[str]) -> dict[str, CacheEntry]:
        names = {self.name(key): key for key in wanted}
        payloads = self.read_payloads(names)
        found = {}
        for name, key in names.items():
            payload = payloads.get(name, NO_VALUE)
            if payload is NO_VALUE:
                continue
            entry = self.decode(key, payload)
            if entry is not NO_VALUE:
                found[key] = entry
        return found

    def read_payloads(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the payloads that are there, by the store's names."""
        return self.ask(self._get_many, names)

    def _get_many(self, names: Iterable[str]) -> dict[str, bytes]:
        if self._bulk is not None:
            return dict(self._bulk.get_many(names))
        backend = self.backend
        payloads = {name: backend.get(name) for name in names}
        return {n: p for n, p in payloads.items() if p is not NO_VALUE}

    def decode(self, key: str, payload: bytes) -> CacheEntry | NoValue:
        """Return the entry in *payload*; a miss if that is none of *key*."""
        known = self._decoded.get(key, payload)
        if known is not None:
            self._counters.count("bytes_read", len(payload))
            return known
        try:
            entry = self.codec.decode(key, payload)
        except CorruptEntryError as error:
            self._counters.count("errors")
            self._counters.emit(EventKind.UNREADABLE, key, error=error)
            self._say_unreadable(error)
            return NO_VALUE
        self._counters.count("bytes_read", len(payload))
        self._decoded.put(key, payload, entry)
        return entry

    def _say_unreadable(self, error: CorruptEntryError) -> None:
        if isinstance(error, UnknownCompressionError):
            # Every entry of another process may be like this.
            if self._said_what_to_install:
                return
            self._said_what_to_install = True
        _log.warning(
            "region %r: unreadable entry ignored: %s",
            self._counters.region,
            error,
        )

    def write(
        self,
        key: str,
        entry: CacheEntry,
        keep: float,
        compress: int | None,
        limit: int | None,
        claim: object = UNCLAIMED,
    ) -> bool:
        payload = self.codec.encode(key, entry, compress)
        own = self.backend.max_value_bytes
        if own is not None and (limit is None or own < limit):
            limit = own
        if limit is not None and len(payload) > limit:
            self.delete(key)
            raise _too_large(len(payload), limit)
        name = self.name(key)
        ttl = None if keep == math.inf else keep
        stored = True
        try:
            if self._claims is None or claim is UNCLAIMED:
                self.ask(self.backend.set, name, payload, ttl)
            else:
                action = self._claims.check_and_set
                stored = self.ask(action, name, payload, ttl, claim)
        except ValueTooLargeError:
            # Refused by the store itself, which may have kept the old value.
            self.delete(key)
            raise
        finally:
            self.changes.add(name)
        if stored:
            self._counters.count("bytes_written", len(payload))
        return stored

    def add(self, key: str, entry: CacheEntry) -> bool:
        if self._adds is None:
            return False
        payload = self.codec.encode(key, entry)
        name = self.name(key)
        try:
            return self.ask(self._adds.add, name, payload, None)
        finally:
            self.changes.add(name)

    def delete(self, key: str) -> None:
        name = self.name(key)
        try:
            self.ask(self.backend.delete, name)
        finally:
            self.changes.add(name)

    def clear(self) -> None:
        try:
            super().clear()
        finally:
            self.changes.add(None)

    def claim(self, key: str) -> object | None:
        if self._claims is None:
            return UNCLAIMED
        return self.ask(self._claims.claim, self.name(key))

    def mutex(self, key: str, lease: float) -> CacheMutex | None:
        if self._mutexes is None:
            return None
        name = self.name(key)
        try:
            mutex = self.ask(self._mutexes.mutex, name, lease)
        except BackendError:
            return None
        return _QuietMutex(mutex, self)


class _CopyingStorage(CodedStorage):
    """The same, with copies of what was read, decoded and verified.

    A copy is this storage's own: what another one reads, by other secrets,
    that one has to verify by itself.
    """

    def __init__(
        self,
        backend: SupportsRevalidation,
        codec: EntryCodec,
        counters: RegionCounters,
    ):
        assert isinstance(backend, CacheBackend)
        super().__init__(backend, codec, counters)
        self._store = backend
        self._copies = self.watched = Copies(backend.max_copied_bytes)
        self._decoded = Decoded(0)  # A copy is decoded once anyway.

    def read(self, key: str) -> CacheEntry | NoValue:
        copy = self._copies.get(key)
        entry = None if copy is None else copy.entry
        stamp = None if copy is None or entry is None else copy.stamp
        name = self.name(key)
        answer = self.ask(self._store.get_if_changed, name, stamp)
        if answer is NO_VALUE:
            return NO_VALUE
        if answer is UNCHANGED and entry is not None:
            return entry
        return self._keep(key, name, answer)

    def watch(self, key: str) -> tuple[EntryWatch, float] | None:
        copy = self._copies.watch(key)
        return None if copy is None else (copy, math.inf)

    def _keep(self, key: str, name: str, answer: Any) -> CacheEntry | NoValue:
        """Return the entry in a store's answer; keep a copy of it."""
        try:
            payload, stamp = answer
        except (TypeError, ValueError) as error:
            raise self._failed(error) from error
        entry = self.decode(key, payload)
        if entry is not NO_VALUE and stamp is not None:
            self._copies.put(key, Copy(self._store, name, stamp, entry))
        return entry


class _QuietMutex:
    """A backend's mutex that gives way where the store is away.

    Unable to ask, a caller is its process's creator: the page comes first.
    Methods are looked up where they are called, inside ``ask``: what a
    backend returned as its mutex may be anything.
    """

    def __init__(self, mutex: CacheMutex, storage: EntryStorage):
        self._mutex = mutex
        self._ask = storage.ask

    def acquire(self) -> bool:
        try:
            return self._ask(lambda: self._mutex.acquire())
        except BackendError:
            return True

    def release(self) -> bool:
        try:
            return self._ask(lambda: self._mutex.release())
        except BackendError:
            return False

    def holder(self) -> str | None:
        try:
            return self._ask(lambda: self._mutex.holder())
        except BackendError:
            return None


def _raise(error: Exception) -> NoReturn:
    raise error


def _value_bytes(value: object) -> int:
    """Return how long *value* is, or would be in UTF-8."""
    if isinstance(value, str) and not value.isascii():
        value = value.encode("utf-8", "surrogatepass")
    return len(value)  # type: ignore[arg-type]  # text or bytes: made by dump_value


def _too_large(size: int, limit: int) -> ValueTooLargeError:
    return ValueTooLargeError(
        f"a payload of {size} bytes is over the limit of {limit}",
        size=size,
        limit=limit,
    )
