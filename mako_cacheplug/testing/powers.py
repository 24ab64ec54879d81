"""What a store can do beyond the contract: add, bulk, clear, and so on."""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any
from typing import ClassVar

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsAdd
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.api import SupportsPrune
from mako_cacheplug.api import SupportsUsage
from mako_cacheplug.api import SupportsWatch
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.base import Watched
from mako_cacheplug.testing.contract import PAYLOADS
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.invalidation import check_overtaken
from mako_cacheplug.testing.keys import HOSTILE
from mako_cacheplug.testing.running import in_threads

__all__ = [
    "AddSuite",
    "BulkSuite",
    "ClearSuite",
    "EntriesSuite",
    "PruneSuite",
    "UsageSuite",
    "WatchSuite",
]

# The backends here have more than CacheBackend tells: the class of the
# tests' argument is Any.


class AddSuite(Suite):
    """Whoever is first stores, and nobody after him."""

    requires: ClassVar[type | None] = SupportsAdd

    def test_add_replaces_nothing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Until it has been deleted; of no other key."""
        key = harness.key()
        assert backend.add(key, b"first", 60.0) is True
        assert backend.add(key, b"second", 60.0) is False
        assert backend.get(key) == b"first"
        assert backend.add(harness.key("other"), b"other", None) is True
        backend.delete(key)
        assert backend.add(key, b"third", None) is True
        backend.set(key, b"set", 60.0)
        assert backend.add(key, b"fourth", 60.0) is False
        assert backend.get(key) == b"set"

    def test_added_ttl(self, harness: StoreHarness, backend: Any) -> None:
        brief, lasting = harness.key("brief"), harness.key("lasting")
        backend.add(brief, b"x", 1.0)
        backend.add(lasting, b"x", 60.0)
        for _ in range(16):
            harness.advance(0.25)
            if backend.get(brief) is NO_VALUE:
                break
        assert backend.add(brief, b"y", 60.0) is True
        assert backend.add(lasting, b"y", 60.0) is False

    def test_one_of_many_threads_adds(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        for number in range(20):
            key = harness.key(str(number))
            payloads = [b"%d" % thread for thread in range(6)]
            added = in_threads(
                [
                    functools.partial(backend.add, key, payload, 60.0)
                    for payload in payloads
                ]
            )
            assert sorted(added) == [False] * 5 + [True]
            assert backend.get(key) in payloads


class BulkSuite(Suite):
    """Many keys in one trip, with the meaning of many calls."""

    requires: ClassVar[type | None] = SupportsBulk

    def test_bulk_set_is_read_one_by_one(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        payloads = {harness.key(name): p for name, p in PAYLOADS.items()}
        backend.set_many(payloads, 60.0)
        assert {key: backend.get(key) for key in payloads} == payloads

    def test_bulk_get_returns_what_is_there(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Each under its own key, as bytes; what misses is left out."""
        payloads = {harness.key(name): p for name, p in PAYLOADS.items()}
        for key, payload in payloads.items():
            backend.set(key, payload, 60.0)
        missing = [harness.key(f"missing-{n}") for n in range(5)]
        keys = [*missing[:2], *reversed(payloads), *missing[2:]]
        found = backend.get_many(iter(keys))
        assert found == payloads
        assert {type(payload) for payload in found.values()} == {bytes}

    def test_bulk_get_of_hundreds(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        payloads = {harness.key(str(n)): str(n).encode() for n in range(300)}
        backend.set_many(payloads, 60.0)
        assert backend.get_many(payloads) == payloads

    def test_bulk_of_nothing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.set(harness.key(), b"x", 60.0)
        backend.set_many({}, 60.0)
        backend.delete_many([])
        assert backend.get_many([]) == {}
        assert backend.get_many([harness.key("missing")]) == {}
        assert backend.get(harness.key()) == b"x"

    def test_bulk_get_of_a_key_twice(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key, other = harness.key(), harness.key("other")
        backend.set(key, b"x", 60.0)
        backend.set(other, b"y", 60.0)
        assert backend.get_many([key, other, key]) == {key: b"x", other: b"y"}

    def test_bulk_hostile_keys_are_harmless(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """The way in for many keys checks them as that for one does."""
        neighbour = harness.key("neighbour")
        for key in HOSTILE.values():
            backend.set(neighbour, b"neighbour", 60.0)
            with contextlib.suppress(BackendError):
                backend.set_many({key: b"hostile"}, 60.0)
                assert backend.get_many([key]) == {key: b"hostile"}
            with contextlib.suppress(BackendError):
                backend.delete_many([key])
                assert backend.get_many([key, neighbour]) == {
                    neighbour: b"neighbour"
                }
            assert backend.get(neighbour) == b"neighbour"

    def test_bulk_delete_removes_only_its_keys(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        keys = [harness.key(str(number)) for number in range(6)]
        backend.set_many(dict.fromkeys(keys, b"x"), 60.0)
        backend.delete_many([*keys[:4], harness.key("missing")])
        assert backend.get_many(keys) == dict.fromkeys(keys[4:], b"x")

    def test_bulk_ttl(self, harness: StoreHarness, backend: Any) -> None:
        brief, lasting = harness.key("brief"), harness.key("lasting")
        backend.set_many({brief: b"x"}, 1.0)
        backend.set_many({lasting: b"x"}, 60.0)
        for _ in range(16):
            harness.advance(0.25)
            found = backend.get_many([brief, lasting])
            if brief not in found:
                break
        assert found == {lasting: b"x"}


class ClearSuite(Suite):
    """Emptying the store."""

    requires: ClassVar[type | None] = SupportsClear

    def test_clear_leaves_nothing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        keys = [harness.key(str(number)) for number in range(40)]
        for number, key in enumerate(keys):
            backend.set(key, b"x", None if number % 2 else 60.0)
        backend.clear()
        assert [key for key in keys if backend.get(key) is not NO_VALUE] == []

    def test_clear_of_nothing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.clear()
        backend.clear()
        assert backend.get(harness.key()) is NO_VALUE

    def test_store_is_usable_after_clear(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """At once: a value set after it must not count as cleared."""
        backend.set(harness.key(), b"old", 60.0)
        backend.clear()
        backend.set(harness.key(), b"new", 60.0)
        assert backend.get(harness.key()) == b"new"
        backend.set(harness.key("other"), b"other", None)
        assert backend.get(harness.key("other")) == b"other"

    def test_clear_overtakes_a_creation(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """What is under way when the store is emptied is old as well."""
        region = Watched(harness, backend).region
        check_overtaken(
            lambda make: region.get_or_create("k", make), region.clear
        )


class PruneSuite(Suite):
    """Dropping what has expired."""

    requires: ClassVar[type | None] = SupportsPrune

    def test_prune_drops_only_what_expired(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.prune()
        brief = [harness.key(f"brief-{number}") for number in range(5)]
        lasting = [harness.key("minute"), harness.key("forever")]
        for key in brief:
            backend.set(key, b"x", 1.0)
        backend.set(lasting[0], b"x", 60.0)
        backend.set(lasting[1], b"x", None)
        harness.advance(2.25)
        assert backend.prune() == len(brief)
        assert [harness.raw_get(key) for key in brief] == [None] * 5
        assert [backend.get(key) for key in lasting] == [b"x", b"x"]

    def test_prune_of_nothing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.prune()
        backend.set(harness.key(), b"x", 60.0)
        assert backend.prune() == 0
        assert backend.get(harness.key()) == b"x"


class UsageSuite(Suite):
    """How full the store is."""

    requires: ClassVar[type | None] = SupportsUsage

    def test_usage_counts_entries_and_bytes(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        def act(name: str) -> None:
            for number in range(10):
                key = harness.key(f"{name}-{number}")
                backend.set(key, bytes(range(250)) * 4, 60.0)

        _check_growth(backend, act, 10, range(10_000, 30_000))

    def test_usage_after_replacing(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Counted once, at its present size."""

        def act(name: str) -> None:
            backend.set(harness.key(name), bytes(range(250)) * 40, 60.0)
            for _ in range(3):
                backend.set(harness.key(name), b"x", 60.0)

        _check_growth(backend, act, 1, range(1, 5_000))

    def test_usage_after_delete(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        def act(name: str) -> None:
            backend.set(harness.key(name), b"x" * 1000, 60.0)
            backend.delete(harness.key(name))
            backend.delete(harness.key("missing"))

        _check_growth(backend, act, 0, range(1))


def _check_growth(
    backend: Any, act: Callable[[str], None], entries: int, size: range
) -> None:
    """Check how much *act*, given a new name, adds.

    Five times at most: a server may drop what expired in earlier tests at
    the same moment.
    """
    seen = []
    for number in range(5):
        before = backend.usage()
        act(f"attempt-{number}")
        after = backend.usage()
        grown = (after.entries - before.entries, after.bytes - before.bytes)
        if grown[0] == entries and grown[1] in size:
            return
        seen.append(grown)
    raise AssertionError(
        f"grew by {seen} entries and bytes, not by {entries} and {size}"
    )


class EntriesSuite(Suite):
    """A store inside the process that keeps entries as they are."""

    requires: ClassVar[type | None] = SupportsEntries

    def test_entry_comes_back(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        entry = CacheEntry("text", 1.0, 2.0, 0.5, (("label", "version"),))
        backend.set_entry(harness.key(), entry, 60.0)
        assert backend.get_entry(harness.key()) == entry

    def test_missing_entry_is_no_value(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        assert backend.get_entry(harness.key()) is NO_VALUE

    def test_deleted_entry_is_gone(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.set_entry(harness.key(), CacheEntry("x", 1.0), None)
        backend.delete(harness.key())
        assert backend.get_entry(harness.key()) is NO_VALUE

    def test_any_text_is_a_key(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        for name in ("", "a b", "a\0b", "\udc80", "k" * 70_000):
            key = harness.key(name)
            backend.set_entry(key, CacheEntry(name, 1.0), None)
            assert backend.get_entry(key) == CacheEntry(name, 1.0)
            backend.delete(key)


class WatchSuite(Suite):
    """A store inside the process of which a hit can be watched."""

    requires: ClassVar[type | None] = SupportsWatch

    def test_watch_holds_what_is_there(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """And still does when others have been written, or it was read."""
        assert backend.watch(harness.key()) is None
        backend.set(harness.key(), b"x", 60.0)
        watch = backend.watch(harness.key())
        backend.set(harness.key("other"), b"y", 60.0)
        assert backend.get(harness.key()) == b"x"
        backend.touch(harness.key(), watch)
        backend.set(harness.key("another"), b"z", 60.0)
        assert watch.held == b"x"
        assert backend.watch(harness.key()).held == b"x"

    def test_watch_ends_with_what_it_holds(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """However that goes; what comes after it is another's."""
        key = harness.key()
        clear = getattr(backend, "clear", None)
        ways: list[Callable[[], None]] = [
            lambda: backend.delete(key),
            lambda: backend.set(key, b"new", 60.0),
            lambda: backend.set(key, b"old", 60.0),
        ]
        for remove in [*ways, clear] if clear else ways:
            backend.set(key, b"old", 60.0)
            watches = [backend.watch(key), backend.watch(key)]
            remove()
            assert [watch.held for watch in watches] == [None, None]
            backend.set(key, b"old", 60.0)
            assert [watch.held for watch in watches] == [None, None]

    def test_watch_keeps_nothing_alive(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        backend.set(harness.key(), b"x", 60.0)
        watch = backend.watch(harness.key())
        ended = weakref.ref(watch)
        del watch
        gc.collect()
        assert ended() is None
