"""What the kit is told about a store: how to open it, and ways around it."""

from __future__ import annotations

import abc
import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import backend_class

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ManualClock", "StoreHarness"]


class ManualClock:
    """Seconds since the epoch that pass when they are told to.

    :param start: the time that it shows at first; now by default.
    """

    def __init__(self, start: float | None = None) -> None:
        self.now = time.time() if start is None else start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += seconds


class StoreHarness(abc.ABC):
    """One store for one test.

    Made anew for each test, by the author's ``harness`` fixture.  The store
    behind it may be shared by all tests: each uses keys of its own.
    """

    clock: ManualClock | None = None
    """The clock of the backends that :meth:`make_backend` makes, if they
    take one.  Without it the kit waits for expiry, at most 4 seconds."""

    failure_seconds: float = 2.0
    """The longest that a method may take while the store is away."""

    recovery_seconds: float = 5.0
    """How long after its return a store may go on failing."""

    mark: str
    """A text that no other test has, for keys and namespaces."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        # Not in __init__: authors need not call it.
        harness = super().__new__(cls)
        harness.mark = os.urandom(6).hex()
        return harness

    @abc.abstractmethod
    def url(self) -> str:
        """Return the store's URL, for templates and other programs."""

    @abc.abstractmethod
    def raw_get(self, key: str) -> bytes | None:
        """Return what the store holds under *key*, without the backend.

        :param key: ASCII letters, digits and ``:``, as a region makes it.
        """

    @abc.abstractmethod
    def raw_set(self, key: str, payload: bytes) -> None:
        """Put *payload* under *key*, without the backend.

        As another program would that writes to the same store: inside
        whatever wrapping the backend has, if it has any.
        """

    def planted_locks(self, key: str) -> Iterator[str]:
        """Put what could keep *key*'s mutex from being taken, for ever.

        One after the other, without the backend, where the store keeps its
        mutexes; yield what it is.  None by default: where nobody can, as the
        kernel's locks are no one's to write.
        """
        return iter(())

    @abc.abstractmethod
    def unavailable(self) -> contextlib.AbstractContextManager[None]:
        """Take the store away, and give it back at the end.

        What it held may be lost.  If a store can never be away, leave
        ``FailureSuite`` out and raise ``NotImplementedError`` here.
        """

    def make_backend(self) -> CacheBackend:
        """Return a new backend over the store; the kit closes it."""
        url = StoreURL.parse(self.url())
        return backend_class(url.scheme).from_url(url)

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass for the store."""
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)

    def key(self, name: str = "key") -> str:
        """Return a key that is this test's own."""
        return f"kit:{self.mark}:{name}"
