"""What the author of a store implements.

A :class:`CacheBackend` is a store of bytes by key, nothing more: policy
(freshness, the dogpile lock, keys, encoding, failing open) lies above it, in
the region.  What a store can do beyond that is one of the small ``Supports``
protocols, found by ``isinstance``; a backend that lacks one simply does not
have the methods.
"""

from __future__ import annotations

import enum
from abc import ABC
from abc import abstractmethod
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import Protocol
from typing import runtime_checkable
from typing import TYPE_CHECKING

from mako_cacheplug.breaker import CircuitBreaker

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.entry import CacheEntry
    from mako_cacheplug.options import StoreURL

__all__ = [
    "NO_VALUE",
    "UNCHANGED",
    "CacheBackend",
    "CacheMutex",
    "CircuitBreaker",
    "EntryWatch",
    "NoValue",
    "SupportsAdd",
    "SupportsBreakers",
    "SupportsBulk",
    "SupportsCheckAndSet",
    "SupportsCheckAndSetEntries",
    "SupportsClear",
    "SupportsEntries",
    "SupportsMutex",
    "SupportsPrune",
    "SupportsReleaseMany",
    "SupportsRevalidation",
    "SupportsUsage",
    "SupportsWatch",
    "Unchanged",
    "Usage",
]


class NoValue(enum.Enum):
    """The type of :data:`NO_VALUE`."""

    NO_VALUE = enum.auto()

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __bool__(self) -> bool:
        return False


NO_VALUE: Final = NoValue.NO_VALUE
"""A miss.  Compare with ``is``: an empty value is a value."""


class CacheBackend(ABC):
    """A store of bytes by key.

    *Keys* come from a region as ``str`` of ASCII letters, digits and
    ``-_.:``, at most :attr:`max_key_bytes` long.  A backend never trusts
    that: a key of any other form is stored under a name of its own or
    refused with :exc:`~mako_cacheplug.exceptions.BackendError`; it never
    becomes a command, a path or another key.

    *Errors* of the client or the system become ``BackendError`` here, at the
    boundary.  No method waits longer than the store's own time-outs.

    *Threads and processes*: every method may be called from any thread at
    once, and after ``fork`` from parent and child.
    """

    max_key_bytes: int = 250
    """The longest key that a region may use."""

    max_value_bytes: int | None = None
    """The largest payload, or ``None`` for no limit of its own."""

    def __reduce__(self) -> str:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: its"
            " connections and locks are this process's; make it from its URL"
            " where it is needed"
        )

    @classmethod
    @abstractmethod
    def from_url(cls, url: StoreURL) -> Self:
        """Make the backend that *url* describes.

        Must not touch the network: a store that is away is found out at its
        first use, where that costs a miss.

        :param url: the parsed URL; ``url.take(...)`` gives its query, checked.
        :raises OptionError: for an option or a value that is wrong.
        """

    @abstractmethod
    def get(self, key: str) -> bytes | NoValue:
        """Return the payload under *key*, or :data:`NO_VALUE`.

        :raises BackendError: if the store could not be asked.
        """

    @abstractmethod
    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        """Store *payload* under *key*, replacing what is there.

        A reader sees the old payload or the new one, never a mixture.

        :param ttl: seconds after which the store may forget it; ``None``
            for never.  A store may forget anything at any time; it must not
            do so on purpose before *ttl* while it has room, nor keep it
            more than a few seconds longer.
        :raises ValueTooLargeError: if the store refuses the size; what was
            under *key* is gone then.
        :raises BackendError: if it could not be stored.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove *key*; nothing happens if it is not there.

        :raises BackendError: if it is not certain that it is gone.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections and files.  Calling it twice is no error."""


class CacheMutex(Protocol):
    """The right, held by one caller in all processes, to create one value.

    Owned: only the holder's own object can release it.  Leased: it ends by
    itself at the latest *lease* seconds after it was acquired, or when the
    store learns that the holder died.  One object serves one attempt and is
    used by one thread.
    """

    def acquire(self) -> bool:
        """Try to become the holder, without waiting; tell whether it worked.

        :raises BackendError: if the store could not be asked.
        """

    def release(self) -> bool:
        """Give it back; tell whether it was still ours.

        What another holder has acquired since is left alone.

        :raises BackendError: if the store could not be asked.
        """

    def holder(self) -> str | None:
        """Return a token of who holds it now, or ``None`` if nobody does.

        The token changes when the holder changes; it means nothing else.

        :raises BackendError: if the store could not be asked.
        """


@runtime_checkable
class SupportsMutex(Protocol):
    """A store that can elect one creator across processes."""

    def mutex(self, key: str, lease: float) -> CacheMutex:
        """Return an unacquired mutex for *key*.

        It lives in a space of its own: no value's key can name it.

        :param lease: seconds it outlives a holder that died.
        """


@runtime_checkable
class SupportsReleaseMany(Protocol):
    """A store that gives many mutexes back in one trip, or in two."""

    def release_many(self, mutexes: Sequence[CacheMutex]) -> None:
        """Give back *mutexes*, each as its own ``release`` would.

        What another holder has acquired since is left alone.

        :param mutexes: of this store, all acquired; none is used again.
        :raises BackendError: if the store could not be asked about one.
        """


@runtime_checkable
class SupportsBreakers(Protocol):
    """A store of several servers, each of which can fail by itself.

    A store has one circuit breaker, and the region minds it.  One of several
    servers has one for each, and minds them itself: one that fails costs
    only what it holds.
    """

    @property
    def breakers(self) -> Sequence[CircuitBreaker]:
        """The breakers of all servers, the same ones for good.

        While all of them refuse, the store is not asked.
        """


@runtime_checkable
class SupportsBulk(Protocol):
    """A store that handles many keys in one trip."""

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the payloads of those *keys* that are there.

        Of several servers, those that do not answer may be left out as long
        as one does.

        :raises BackendError: if the store could not be asked.
        """

    def set_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        """Store every payload, as :meth:`CacheBackend.set` would.

        :raises BackendError: if any of them could not be stored.
        """

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove every key.

        :raises BackendError: if it is not certain that all are gone.
        """


@runtime_checkable
class SupportsAdd(Protocol):
    """A store that tells who was first, in one trip.

    For values of which it does not matter whose they are, as long as all
    have the same.  A key is either added or claimed, never both.
    """

    def add(self, key: str, payload: bytes, ttl: float | None) -> bool:
        """Store *payload* if nothing is under *key*; tell whether it did.

        Of all that add one key, in all threads and processes, one does.

        :param ttl: as for :meth:`CacheBackend.set`.
        :raises ValueTooLargeError: if the store refuses the size.
        :raises BackendError: if the store could not be asked.
        """


@runtime_checkable
class SupportsCheckAndSet(Protocol):
    """A store that can tell whether a value was overtaken while it was made.

    Whoever creates a value claims its key before looking at anything, and
    stores under that claim: what was made from data that an invalidation
    meanwhile declared to be old is then not stored.  After R. Nishtala et
    al., "Scaling Memcache at Facebook", NSDI 2013, against stale sets.

    To void a claim is no work of its own: a claim stands for what is under
    the key, or for a *mark* that the store puts where nothing is.  Whatever
    removes or replaces that, voids it: ``delete``, ``set``, ``clear`` and
    their like void every claim that was made before they were called.
    """

    def claim(self, key: str) -> object | None:
        """Return what stands for what is under *key* now.

        A value that is there stays there and is served.  A mark is nobody's
        value: ``get`` and ``get_many`` see nothing.  It goes by itself in
        the end, but not within the hour.  Two that claim one key have the
        same claim, or each their own: whoever stores first voids the
        other's.

        :return: the claim, which means nothing to others; ``None`` if
            this store keeps nothing anyway.
        :raises BackendError: if the store could not be asked.
        """

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Store *payload* if *claim* still holds; tell whether it did.

        Between the check and the storing nothing comes, from no thread and
        no process.  A claim that cannot be verified does not hold; a store
        may void one for other reasons too, as when it evicts.

        :param claim: from :meth:`claim` for this *key*.
        :param ttl: as for :meth:`CacheBackend.set`.
        :raises ValueTooLargeError: as from :meth:`CacheBackend.set`.
        :raises BackendError: if the store could not be asked.
        """


class Unchanged(enum.Enum):
    """The type of :data:`UNCHANGED`."""

    UNCHANGED = enum.auto()

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""What was read before is still there.  Compare with ``is``."""


@runtime_checkable
class SupportsRevalidation(Protocol):
    """A store that tells what is still there more cheaply than by a read.

    A region then keeps copies of what it read lately, with the *stamp* that
    the store gave it, and asks at each use whether the stamp still holds:
    as HTTP does with an ``ETag`` (RFC 9110, 13.1.2).
    """

    max_copied_bytes: int | None
    """Bound in bytes of a region's copies; ``None`` for none, 0 for no
    copies at all."""

    def get_if_changed(
        self, key: str, stamp: Any
    ) -> tuple[bytes, Any] | NoValue | Unchanged:
        """Return what is under *key* unless it is what *stamp* stands for.

        A copy is served exactly where :meth:`CacheBackend.get` would have
        returned its payload: where it was removed, replaced or has expired
        since, in whatever process, the answer is another.

        :param stamp: from this method for this *key*, or ``None``; a stamp
            means nothing to others.
        :return: :data:`UNCHANGED`, :data:`NO_VALUE`, or the payload with its
            stamp.  The stamp is ``None`` where the store cannot promise to
            notice the next change; no copy is kept then.
        :raises BackendError: if the store could not be asked.
        """


@runtime_checkable
class SupportsClear(Protocol):
    """A store that can be emptied."""

    def clear(self) -> None:
        """Remove every entry of this store, this application's or not.

        :raises BackendError: if it is not certain that all are gone.
        """


@runtime_checkable
class SupportsPrune(Protocol):
    """A store that keeps expired entries until told to drop them."""

    def prune(self) -> int:
        """Remove expired entries and leftovers; return how many.

        :raises BackendError: if the store could not be read.
        """


class Usage(NamedTuple):
    """What a store holds."""

    entries: int
    """Number of entries."""

    bytes: int
    """Their size in bytes, as the store counts it for its bound."""


@runtime_checkable
class SupportsUsage(Protocol):
    """A store that can tell how full it is."""

    def usage(self) -> Usage:
        """Return what it holds now.

        :raises BackendError: if the store could not be asked.
        """


@runtime_checkable
class SupportsEntries(Protocol):
    """A store inside this process that keeps entries as they are.

    A region then skips the codec.  Keys may be any ``str``.  Values that
    are not immutable never get here: the region encodes those first.
    """

    def get_entry(self, key: str) -> CacheEntry | NoValue:
        """Return the entry under *key*, or :data:`NO_VALUE`."""

    def set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None
    ) -> None:
        """Store *entry* under *key*; arguments as for ``set``."""


@runtime_checkable
class SupportsCheckAndSetEntries(Protocol):
    """The same as :class:`SupportsCheckAndSet`, for entries as they are."""

    def claim(self, key: str) -> object | None:
        """As :meth:`SupportsCheckAndSet.claim`."""

    def check_and_set_entry(
        self, key: str, entry: CacheEntry, ttl: float | None, claim: object
    ) -> bool:
        """Store *entry* if *claim* still holds; tell whether it did."""


class EntryWatch(Protocol):
    """What is under a key, as long as it is there."""

    @property
    def held(self) -> CacheEntry | bytes | None:
        """``None``, for good, before the call returns that removes or
        replaces it, for whatever reason."""

    used: bool
    """Whether its use since the last write was noted."""


@runtime_checkable
class SupportsWatch(Protocol):
    """A store inside this process of which a hit can be watched.

    To look whether it is still there then costs no call and no lock.
    """

    def watch(self, key: str) -> EntryWatch | None:
        """Return a watch of what is under *key*, or ``None``.

        The store must not keep it alive.
        """

    def touch(self, key: str, watch: EntryWatch) -> None:
        """Note that what is watched was used."""
