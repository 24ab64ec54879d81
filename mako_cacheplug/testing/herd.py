"""Many threads want one value: one creates it, nobody waits for nothing."""

from __future__ import annotations

import threading
import time

import pytest

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.base import Watched
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT

__all__ = ["HerdSuite"]

HERD = 32


class HerdSuite(Suite):
    """The dogpile lock over this store, in one process."""

    def test_cold_herd_creates_once(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend, wait=LIMIT).region
        created: list[int] = []

        def create() -> str:
            time.sleep(0.1)
            created.append(threading.get_ident())
            return f"value {len(created)}"

        found = in_threads([lambda: region.get_or_create("k", create)] * HERD)
        assert len(created) == 1
        assert found == ["value 1"] * HERD

    def test_expired_herd_is_served_stale_at_once(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """The creation ends when all the others have been served."""
        watched = Watched(harness, backend, timeout=60, grace=600)
        region = watched.region
        region.get_or_create("k", lambda: "old")
        watched.clock.advance(61.0)
        served = threading.Semaphore(0)
        created: list[int] = []

        def create() -> str:
            created.append(threading.get_ident())
            for _ in range(HERD - 1):
                assert served.acquire(timeout=LIMIT / 2), "others wait"
            return "new"

        def call() -> object:
            value = region.get_or_create("k", create)
            if value == "old":
                served.release()
            return value

        found = in_threads([call] * HERD)
        assert len(created) == 1
        assert sorted(map(str, found)) == ["new"] + ["old"] * (HERD - 1)
        assert region.get("k") == "new"
        assert region.stats().stale == HERD - 1

    def test_dead_entry_is_not_served(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        watched = Watched(harness, backend, timeout=60, grace=600)
        watched.region.get_or_create("k", lambda: "old")
        watched.clock.advance(661.0)
        assert watched.region.get_or_create("k", lambda: "new") == "new"

    def test_failing_creator_stores_nothing_and_frees_the_others(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Together: not one failure after the other."""
        region = Watched(harness, backend, wait=LIMIT).region

        def fail() -> str:
            time.sleep(0.1)
            raise ZeroDivisionError

        def call() -> str:
            with pytest.raises(ZeroDivisionError):
                region.get_or_create("k", fail)
            return "failed"

        began = time.monotonic()
        assert in_threads([call] * 8) == ["failed"] * 8
        # One after the other takes 0.8 s; together about 0.2 s.
        assert time.monotonic() - began < 0.75
        assert region.get("k") is None
        assert region.get_or_create("k", lambda: "made") == "made"

    def test_two_keys_do_not_wait_for_each_other(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend, wait=LIMIT).region
        both = threading.Barrier(2)

        def create() -> str:
            both.wait(LIMIT / 2)
            return "made"

        found = in_threads(
            [
                lambda: region.get_or_create("a", create),
                lambda: region.get_or_create("b", create),
            ]
        )
        assert found == ["made", "made"]

    def test_nested_creation(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """A creator may want other values, and even its own."""
        region = Watched(harness, backend, wait=LIMIT).region

        def outer() -> str:
            inner = region.get_or_create("inner", lambda: "inner")
            again = region.get_or_create("outer", lambda: "again")
            return f"outer {inner} {again}"

        def call() -> object:
            return region.get_or_create("outer", outer)

        assert in_threads([call], 10.0) == ["outer inner again"]

    def test_value_set_meanwhile_is_found(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend).region
        region.set("k", "set")
        assert region.get_or_create("k", lambda: "made") == "set"
        region.invalidate("k")
        assert region.get_or_create("k", lambda: "made") == "made"

    def test_tags_invalidate_their_entries(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        region = Watched(harness, backend).region
        region.set("a", "old", tags=["news", "user:1"])
        region.set("b", "old", tags=["news"])
        region.set("c", "old", tags=["user:2"])
        region.invalidate_tags("user:1")
        assert [region.get(key) for key in "abc"] == [None, "old", "old"]
        region.set("a", "new", tags=["news", "user:1"])
        region.invalidate_tags("news")
        assert [region.get(key) for key in "abc"] == [None, None, "old"]

    @pytest.mark.parametrize("size", [0, 1, 5_000, 300_000])
    def test_values_of_all_sizes_come_back(
        self, harness: StoreHarness, backend: CacheBackend, size: int
    ) -> None:
        region = Watched(harness, backend).region
        value = ("Straße " * (size // 7 + 1))[:size]
        assert region.get_or_create("k", lambda: value) == value
        assert region.get("k") == value
