"""Entries as payloads in a store of bytes.

What a backend answers is untrusted: what is no entry is a miss.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

from mako_cacheplug import budget
from mako_cacheplug import keys
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import SupportsAdd
from mako_cacheplug.api import SupportsBreakers
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsReleaseMany
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.breaker import breaker_of
from mako_cacheplug.changes import changes_of
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.copies import Copies
from mako_cacheplug.copies import Copy
from mako_cacheplug.copies import Recent
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.entry import entry_bytes
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import CorruptEntryError
from mako_cacheplug.exceptions import UnknownCompressionError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.seldom import Seldom
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import raise_
from mako_cacheplug.storage import too_large
from mako_cacheplug.storage import UNCLAIMED
from mako_cacheplug.storage import Watched
from mako_cacheplug.write_behind import Held
from mako_cacheplug.write_behind import HoldingMutex
from mako_cacheplug.write_behind import write_behind_of

__all__ = ["CodedStorage", "CopyingStorage"]

_log = logging.getLogger(__name__)

_REMEMBERED_KEYS: Final = 4096

_MOST_HELD_BACK: Final = 2**16
"""Bytes of a payload.  A larger one costs more than its trip, and of many in
one trip not every client of a server tells which it has refused."""

_DECODED_BYTES: Final = 8 * 2**20
"""What was read lately, in each region, is kept as it was decoded."""


class CodedStorage(EntryStorage):
    """Entries as payloads in a store of bytes.

    ``changes`` is the log of what this process changed in the store.
    """

    is_timed = True

    def __init__(
        self,
        backend: CacheBackend,
        codec: EntryCodec,
        counters: RegionCounters,
    ):
        super().__init__(backend, counters)
        if isinstance(backend, SupportsBreakers):
            self.breakers = tuple(backend.breakers)
        else:
            self._breaker = breaker_of(backend)
            self.breakers = (self._breaker,)
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
        self.behind = None
        """What is held back of the store, if it can be stored together."""

        # To be looked at: most of the time nothing is.
        self._held: Mapping[str, object] = {}
        if self._bulk is not None and self._mutexes is not None:
            self.behind = write_behind_of(backend)
            self._held = self.behind.held
        self.codec = codec
        self.changes = changes_of(backend)
        self._names: dict[str, str] = {}
        self._decoded: Recent[tuple[bytes, CacheEntry]] = Recent(
            _DECODED_BYTES
        )
        self._said_what_to_install = False
        # Whoever can write to the store could fill the log.
        self._unreadable = Seldom(_log)

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
        if self._held:
            self._settle(name)
        if self._breaker is not None:
            payload = self.ask(self.backend.get, name)
        else:
            # Every hit comes here: the way round is only for what fails.
            began = budget.clock()
            try:
                payload = self.backend.get(name)
            except Exception as error:
                payload = self.ask(raise_, error)
            finally:
                budget.spend(budget.clock() - began)
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
        if self._held:
            names = list(names)
            self._settle(*names)
        return self.ask(self._get_many, names)

    def _settle(self, *names: str) -> None:
        """Store what is held back under *names*, before anything else."""
        if self.behind is not None:
            self.behind.settle(names)

    def _get_many(self, names: Iterable[str]) -> dict[str, bytes]:
        if self._bulk is not None:
            return dict(self._bulk.get_many(names))
        backend = self.backend
        payloads = {name: backend.get(name) for name in names}
        return {n: p for n, p in payloads.items() if p is not NO_VALUE}

    def decode(self, key: str, payload: bytes) -> CacheEntry | NoValue:
        """Return the entry in *payload*; a miss if that is none of *key*."""
        known = self._decoded.get(key)
        if known is not None and known[0] == payload:
            # It costs a tenth of checking and decoding it, and much less
            # than that if it is compressed.
            self._counters.count_read(len(payload))
            return known[1]
        try:
            entry = self.codec.decode(key, payload)
        except CorruptEntryError as error:
            self._counters.count("errors")
            self._counters.emit(EventKind.UNREADABLE, key, error=error)
            self._say_unreadable(error)
            return NO_VALUE
        self._counters.count_read(len(payload))
        size = len(payload) + entry_bytes(entry)
        self._decoded.put(key, (payload, entry), size)
        return entry

    def _say_unreadable(self, error: CorruptEntryError) -> None:
        warn: Callable[..., None] = self._unreadable.warn
        if isinstance(error, UnknownCompressionError):
            # Every entry of another process may be like this.
            if self._said_what_to_install:
                return
            self._said_what_to_install = True
            warn = _log.warning
        warn(
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
        payload = self._encode(key, entry, compress, limit)
        name = self.name(key)
        if self._held:
            self._settle(name)
        ttl = None if keep == math.inf else keep
        if isinstance(claim, HoldingMutex):
            if len(payload) <= _MOST_HELD_BACK:
                claim.hold(Held(self, name, payload, ttl, claim.failed))
                # From now on it is what a read finds.
                self.changes.add(name)
                return True
            claim = UNCLAIMED
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

    def stored(self, entry: Held, error: BackendError | None) -> None:
        """Take note that what was held back is stored, or why it is not."""
        self.changes.add(entry.name)
        if error is None:
            self._counters.count("bytes_written", len(entry.payload))
            return
        if isinstance(error, ValueTooLargeError):
            # As in :meth:`write`: the store may have kept the old value.
            with contextlib.suppress(BackendError):
                self.ask(self.backend.delete, entry.name)
        entry.failed(error)

    def _encode(
        self,
        key: str,
        entry: CacheEntry,
        compress: int | None,
        limit: int | None,
    ) -> bytes:
        payload = self.codec.encode(key, entry, compress)
        own = self.backend.max_value_bytes
        if own is not None and (limit is None or own < limit):
            limit = own
        if limit is not None and len(payload) > limit:
            self.delete(key)
            raise too_large(len(payload), limit)
        return payload

    def store_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        """Store *payloads*, by the store's names."""
        if self._bulk is None or len(payloads) == 1:
            for name, payload in payloads.items():
                self.ask(self.backend.set, name, payload, ttl)
        else:
            self.ask(self._bulk.set_many, payloads, ttl)

    def release_many(self, mutexes: Sequence[CacheMutex]) -> None:
        """Give back *mutexes*, all from :meth:`mutex`.  Does not raise."""
        backend = self.backend
        if len(mutexes) > 1 and isinstance(backend, SupportsReleaseMany):
            quiet = [m for m in mutexes if isinstance(m, _QuietMutex)]
            own = [mutex.own for mutex in quiet]
            is_held = any(mutex.is_held for mutex in quiet)
            ask = self.insist if is_held else self.ask
            with contextlib.suppress(BackendError):
                ask(backend.release_many, own)
        else:
            for mutex in mutexes:
                mutex.release()

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
        if self._held:
            self._settle(name)
        try:
            self.insist(self.backend.delete, name)
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
        name = self.name(key)
        if self._held:
            self._settle(name)
        return self.ask(self._claims.claim, name)

    def mutex(self, key: str, lease: float) -> CacheMutex | None:
        if self._mutexes is None:
            return None
        name = self.name(key)
        if self._held:
            self._settle(name)
        try:
            mutex = self.ask(self._mutexes.mutex, name, lease)
        except BackendError:
            return None
        return _QuietMutex(mutex, self)


class CopyingStorage(CodedStorage):
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
        self._decoded = Recent(0)  # A copy is decoded once anyway.

    def read(self, key: str) -> CacheEntry | NoValue:
        copy = self._copies.get(key)
        entry = None if copy is None else copy.entry
        stamp = None if copy is None or entry is None else copy.stamp
        name = self.name(key)
        if self._held:
            self._settle(name)
        answer = self.ask(self._store.get_if_changed, name, stamp)
        if answer is NO_VALUE:
            return NO_VALUE
        if answer is UNCHANGED and entry is not None:
            return entry
        return self._keep(key, name, answer)

    def watch(self, key: str) -> Watched | None:
        copy = self._copies.watch(key)
        return None if copy is None else Watched(copy, copy.entry, math.inf)

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
        self.own = mutex
        self.is_held = False
        """Whether the store has given it."""
        self._ask = storage.ask
        self._insist = storage.insist

    def acquire(self) -> bool:
        try:
            self.is_held = self._ask(lambda: self.own.acquire())
        except BackendError:
            return True
        return self.is_held

    def release(self) -> bool:
        # What is held is given back also to a store that failed since: a lock
        # without a lease would be held for as long as this process lives.
        ask = self._insist if self.is_held else self._ask
        try:
            return ask(lambda: self.own.release())
        except BackendError:
            return False

    def holder(self) -> str | None:
        try:
            return self._ask(lambda: self.own.holder())
        except BackendError:
            return None
