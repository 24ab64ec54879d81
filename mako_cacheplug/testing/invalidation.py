"""An invalidation while a value is created: what comes of it is not served."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from mako.template import Template

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.decorators import cached
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.base import Watched
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT
from mako_cacheplug.testing.running import within

__all__ = ["InvalidationSuite", "check_overtaken"]

_PAGE = '<%block cached="True" cache_key="news">${make()}</%block>'


def check_overtaken(
    fetch: Callable[[Callable[[], str]], object],
    invalidate: Callable[[], object],
) -> None:
    """Check that *invalidate* overtakes a creation that is under way.

    :param fetch: returns the value under one key; its argument makes it.
    """

    def overtaken() -> str:
        within(LIMIT, invalidate)
        return "old"

    # Its caller asked before the invalidation.
    assert fetch(overtaken) == "old"
    assert fetch(lambda: "new") == "new"
    assert fetch(lambda: "newer") == "new", "what is good is not stored"


class InvalidationSuite(Suite):
    """In one process, by key; of tags and defs their versions tell."""

    def test_invalidation_overtakes_a_creation(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend).region
        check_overtaken(
            lambda make: region.get_or_create("k", make),
            lambda: region.invalidate("k"),
        )

    def test_invalidation_overtakes_a_regeneration(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Neither what it makes nor what was stale is served."""
        watched = Watched(harness, backend, timeout=60, grace=600)
        region = watched.region
        region.get_or_create("k", lambda: "oldest")
        watched.clock.advance(61.0)
        check_overtaken(
            lambda make: region.get_or_create("k", make),
            lambda: region.invalidate("k"),
        )

    def test_invalidation_overtakes_a_nested_creation(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """A creator that asks for its own key stores nothing twice."""
        region = Watched(harness, backend, wait=LIMIT).region

        def fetch(make: Callable[[], str]) -> object:
            return region.get_or_create(
                "k", lambda: region.get_or_create("k", make)
            )

        check_overtaken(fetch, lambda: region.invalidate("k"))

    def test_invalidation_overtakes_who_did_not_wait(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Two that create at once; the invalidation is after both began."""
        region = Watched(harness, backend, wait=0.0).region
        both = threading.Barrier(3)
        over = threading.Event()

        def create() -> str:
            both.wait(LIMIT / 2)
            assert over.wait(LIMIT / 2)
            return "old"

        def invalidate() -> None:
            both.wait(LIMIT / 2)
            region.invalidate("k")
            over.set()

        in_threads(
            [lambda: region.get_or_create("k", create)] * 2 + [invalidate]
        )
        assert region.get("k") is None

    def test_tag_overtakes_a_creation(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend, tags="news").region
        check_overtaken(
            lambda make: region.get_or_create("k", make),
            lambda: region.invalidate_tags("news"),
        )

    @pytest.mark.parametrize("refreshed", [False, True])
    def test_function_is_overtaken(
        self, harness: StoreHarness, backend: CacheBackend, refreshed: bool
    ) -> None:
        creators: list[Callable[[], str]] = []

        @cached(Watched(harness, backend).region)
        def value(number: int) -> str:
            return creators[-1]()

        calls: list[Callable[[int], str]] = [value, value]
        calls.append(value.refresh if refreshed else value)

        def fetch(make: Callable[[], str]) -> object:
            creators.append(make)
            return calls.pop()(1)

        check_overtaken(fetch, lambda: value.invalidate(1))

    def test_fragment_is_overtaken(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """By ``template.cache.invalidate`` with its ``cache_key``."""
        region = CacheRegion(backend, namespace=harness.mark, budget="none")
        template = Template(  # noqa: S702  # nothing here is a user's
            _PAGE,
            cache_impl="cacheplug",
            cache_args={"regions": {"kit": region}, "region": "kit"},
        )
        check_overtaken(
            lambda make: template.render(make=make),
            lambda: template.cache.invalidate("news"),
        )

    @pytest.mark.parametrize("by_tag", [False, True])
    def test_herd_after_an_invalidation_creates_once(
        self, harness: StoreHarness, backend: CacheBackend, by_tag: bool
    ) -> None:
        """Whether it waits for what was overtaken, or not."""
        region = Watched(harness, backend, tags="news", wait=LIMIT).region
        invalidated = threading.Event()
        served = threading.Semaphore(0)
        made: list[str] = []

        def old() -> str:
            if by_tag:
                region.invalidate_tags("news")
            else:
                region.invalidate("k")
            invalidated.set()
            # Time to come for those who will not be served before its end.
            served.acquire(timeout=0.3)
            return "old"

        def new() -> str:
            made.append(f"new {len(made)}")
            return made[-1]

        def call() -> object:
            assert invalidated.wait(LIMIT / 2)
            return region.get_or_create("k", new)

        def last() -> None:
            found = in_threads([call] * 8)
            served.release()
            assert found == ["new 0"] * 8

        in_threads([lambda: region.get_or_create("k", old), last])
        assert made == ["new 0"]

    @pytest.mark.parametrize("by_tag", [False, True])
    def test_caller_after_an_invalidation_gets_what_began_after_it(
        self, harness: StoreHarness, backend: CacheBackend, by_tag: bool
    ) -> None:
        """Though the older creation goes on until the newer one is done."""
        region = Watched(harness, backend, tags="news").region
        begun, invalidated, done = (threading.Event() for _ in "abc")

        def old() -> str:
            begun.set()
            assert invalidated.wait(LIMIT / 2)
            assert done.wait(LIMIT / 2)
            return "old"

        def call() -> object:
            assert begun.wait(LIMIT / 2)
            if by_tag:
                region.invalidate_tags("news")
            else:
                region.invalidate("k")
            invalidated.set()
            # Where the store has a mutex, it waits for the old one first.
            value = region.get_or_create("k", lambda: "new", wait=0.2)
            done.set()
            return value

        found = in_threads([lambda: region.get_or_create("k", old), call])
        assert found == ["old", "new"]
        # Without claims the old one comes last: not served, but in the way.
        left = (
            ["new"] if SupportsCheckAndSet in self.supports else ["new", None]
        )
        assert region.get("k") in left
