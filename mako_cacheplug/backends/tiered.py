"""A bounded tier in this process before a store that processes share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from typing import Final
from typing import TYPE_CHECKING
from typing import TypeVar

from mako_cacheplug import options
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NoValue
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.backends.memory import DEFAULT_MAX_BYTES
from mako_cacheplug.backends.memory import MemoryBackend
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import backend_class
from mako_cacheplug.registry import backend_names
from mako_cacheplug.registry import is_backend
from mako_cacheplug.registry import open_backend
from mako_cacheplug.storages import open_storage
from mako_cacheplug.tiers import NearTier
from mako_cacheplug.tiers import TieredStorage

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TieredBackend"]

_T = TypeVar("_T")

DEFAULT_STALENESS: Final = 1.0

_FAR_POWERS: Final = (
    "add",
    "check_and_set",
    "claim",
    "delete_many",
    "get_many",
    "mutex",
    "prune",
    "release_many",
    "set_many",
    "usage",
)
"""What it can do if its far store can.  Not to revalidate: that is for copies,
which are what the near tier has."""

_RIGHT: Final = "tiered://?far=memcached://10.0.0.1:11211&staleness=1s"


class TieredBackend(CacheBackend):
    """Copies of what was read lately, before a store that processes share.

    ``tiered://?near=memory&far=memcached://10.0.0.1:11211&staleness=1s``

    Copies are of entries, so it is regions that have them: this object's own
    methods deal in bytes and go to the far store.  What is written by them
    is seen by regions as what another process writes is, within *staleness*
    seconds.  It can do what the far store can.

    Safe in threads; after fork as the far store is.  A child starts with the
    copies of its parent, which last no longer there.

    :param far: the shared store.  Whoever opened it closes it.
    :param max_bytes: bound of the near tier, as of a memory store.  Regions
        of another secret have a tier of their own.
    :param max_entries: bound of its entries; ``None`` for none.
    :param staleness: seconds by which what regions serve may be behind the
        far store.
    :param clock: seconds since the epoch.
    :raises OptionError: if *far* is no store to be shared, or *staleness*
        no time.
    """

    def __init__(
        self,
        far: CacheBackend,
        *,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        max_entries: int | None = None,
        staleness: float = DEFAULT_STALENESS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_far(type(far), type(far).__name__)
        self.far = far
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.staleness = _time_span(staleness, "staleness")
        self.max_key_bytes = far.max_key_bytes
        self.max_value_bytes = far.max_value_bytes
        self._clock = clock
        self._tiers: dict[EntryCodec, NearTier] = {}
        self._guard = ForkSafeLock()
        # Attributes, not methods: a store has those powers that it shows.
        for name in _FAR_POWERS:
            if hasattr(far, name):
                setattr(self, name, getattr(far, name))
        if isinstance(far, SupportsClear):
            self.clear = self._clear

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        """Make the backend of ``tiered://?near=memory&far=…&staleness=1s``.

        ``near`` and ``far`` are each a backend's name or a whole URL, in
        which ``&`` is written ``%26`` and ``%`` is written ``%25``.  The far
        store is opened as by its own URL, and so shared.

        :raises OptionError: for an option, a tier or a value that is wrong.
        """
        if url.hosts or url.path.strip("/") or url.user or url.password:
            raise OptionError(
                f"option 'url': {str(url)!r} names a place, but the place of"
                f" a tiered store is its far one's: write {_RIGHT!r}",
                option="url",
                value=str(url),
            )
        for name, _ in url.query:
            if name not in _PARSERS:
                raise OptionError(
                    f"unknown option {name!r} in a tiered:// url (if it is"
                    f" one of a tier, write '%26{name}=' for '&{name}=')"
                    f"{options.nearest(name, _PARSERS)}",
                    option=name,
                    value=name,
                )
        given = url.take(**_PARSERS)
        if "far" not in given:
            raise OptionError(
                f"option 'url': {str(url)!r} has no far store: write"
                f" {_RIGHT!r}",
                option="far",
                value=str(url),
            )
        far, shown = given["far"]
        near = given.get("near") or MemoryBackend()
        return cls(
            _as_tier("far", shown, lambda: open_backend(far)),
            max_bytes=near.max_bytes,
            max_entries=near.max_entries,
            staleness=given.get("staleness", DEFAULT_STALENESS),
        )

    def open_storage(
        self, codec: EntryCodec, counters: RegionCounters
    ) -> TieredStorage:
        """Return how entries are kept: near copies, and the far store."""
        with self._guard:
            near = self._tiers.get(codec)
            if near is None:
                near = self._tiers[codec] = NearTier(
                    self.max_bytes,
                    self.max_entries,
                    self.staleness,
                    self._clock,
                )
        far = open_storage(self.far, codec, counters)
        return TieredStorage(self, far, near, self._forget, counters)

    def _forget(self, key: str | None) -> None:
        # Regions of another secret see the same removals.
        for near in list(self._tiers.values()):
            near.forget(key)

    def get(self, key: str) -> bytes | NoValue:
        return self.far.get(key)

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        self.far.set(key, payload, ttl)

    def delete(self, key: str) -> None:
        self.far.delete(key)

    def _clear(self) -> None:
        """Remove everything, near and far."""
        assert isinstance(self.far, SupportsClear)
        try:
            self.far.clear()
        finally:
            self._forget(None)

    def close(self) -> None:
        """Forget the copies.  The far store may be in use elsewhere."""
        self._forget(None)


def _time_span(value: object, option: str) -> float:
    seconds = options.duration(value, option)
    if 0.0 < seconds < math.inf:
        return seconds
    raise OptionError(
        f"option {option!r}: {value!r} is no bound on how old a copy may be:"
        " write a time above 0 and not 'none', such as '1s' or '250ms'",
        option=option,
        value=value,
    )


def _near(value: object, option: str) -> MemoryBackend:
    """Return a store with the bounds that *value* gives the near tier."""
    url, shown, found = _tier(value, option)
    if not issubclass(found, MemoryBackend):
        raise OptionError(
            f"option {option!r}: {shown!r} does not keep entries in this"
            " process: write 'near=memory' or, with a bound,"
            " 'near=memory://?max_bytes=64m'",
            option=option,
            value=shown,
        )
    return _as_tier(option, shown, lambda: found.from_url(url))


def _far(value: object, option: str) -> tuple[StoreURL, str]:
    """Return the far store that *value* names, and how errors call it."""
    url, shown, found = _tier(value, option)
    _check_far(found, shown)
    return url, shown


def _tier(
    value: object, option: str
) -> tuple[StoreURL, str, type[CacheBackend]]:
    """Return the store that *value* names, its password aside, and its class.

    :raises OptionError: if there is no such backend.
    """
    text = str(value).strip()
    if "://" in text:
        url = _as_tier(option, "", lambda: StoreURL.parse(text))
        shown = str(url)
    else:
        url, shown = StoreURL(text.lower()), text
        if not is_backend(url.scheme):
            raise OptionError(
                f"option {option!r}: {text!r} is neither a backend's name"
                " nor a URL such as 'memcached://10.0.0.1:11211'"
                f"{options.nearest(text, backend_names())}",
                option=option,
                value=text,
            )
    return (
        url,
        shown,
        _as_tier(option, shown, lambda: backend_class(url.scheme)),
    )


def _as_tier(option: str, shown: str, action: Callable[[], _T]) -> _T:
    """Return what *action* does; its error is one of the tier's option."""
    try:
        return action()
    except OptionError as error:
        raise OptionError(
            f"option {option!r} of a tiered store: {error.message}",
            option=option,
            value=shown,
        ) from None


def _check_far(found: type[CacheBackend], shown: str) -> None:
    if issubclass(found, TieredBackend):
        wrong = "is a tiered store itself, and there are two tiers at most"
    elif issubclass(found, SupportsEntries):
        wrong = "keeps entries in this process, so no tier is of use before it"
    else:
        return
    raise OptionError(
        f"option 'far': {shown!r} {wrong}: write a store that processes"
        f" share, as in {_RIGHT!r}",
        option="far",
        value=shown,
    )


_PARSERS: Final[dict[str, Callable[[object, str], Any]]] = {
    "near": _near,
    "far": _far,
    "staleness": _time_span,
}
