"""What all suites of the kit have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from typing import ClassVar

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.events import CacheEvent
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.registry import close_backends
from mako_cacheplug.testing.harness import ManualClock
from mako_cacheplug.testing.harness import StoreHarness

__all__ = ["Suite", "Watched"]


class Watched:
    """A region over a backend, its clock and everything that happens in it.

    :param given: options of the region.
    """

    def __init__(
        self, harness: StoreHarness, backend: CacheBackend, **given: Any
    ) -> None:
        self.clock = ManualClock()
        self.events: list[CacheEvent] = []
        self.region = CacheRegion(
            backend,
            name="kit",
            clock=self.clock,
            namespace=harness.mark,
            **given,
        )
        self.region.add_hook(self.events.append)


class Suite:
    """The tests of one subject, for whatever ``harness`` gives them."""

    requires: ClassVar[type | None] = None
    """The protocol that these tests are about."""

    supports: ClassVar[tuple[type, ...]] = ()
    """The protocols that the store has."""

    @pytest.fixture
    def harness(self) -> Any:
        """Return the store to test; the author's class overrides it."""
        raise NotImplementedError("define a fixture named 'harness'")

    @pytest.fixture
    def backend(self, harness: StoreHarness) -> Iterator[Any]:
        """Give a new backend over the store."""
        backend = harness.make_backend()
        yield backend
        backend.close()

    @pytest.fixture(autouse=True)
    def _close_backends(self) -> Iterator[None]:
        """Close what templates opened by URL."""
        yield
        close_backends()
