"""Claims: what was overtaken while it was made is not stored."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any
from typing import ClassVar

import pytest

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsCheckAndSetEntries
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.contract import PAYLOADS
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.keys import HOSTILE
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT

__all__ = [
    "CheckAndSetEntriesSuite",
    "CheckAndSetProcessSuite",
    "CheckAndSetSuite",
]

ROUNDS = 40

Act = Callable[[Any, str], object]

# The backends here have more than CacheBackend tells: the class of the
# tests' argument is Any.


class CheckAndSetSuite(Suite):
    """A claim holds until its key is deleted, set or cleared."""

    requires: ClassVar[type | None] = SupportsCheckAndSet

    @pytest.mark.parametrize("name", PAYLOADS)
    def test_claimed_payload_comes_back(
        self, harness: StoreHarness, backend: Any, name: str
    ) -> None:
        """Where nothing was, and where something was."""
        for key in (harness.key("nothing"), harness.key("something")):
            if key == harness.key("something"):
                backend.set(key, b"old", 60.0)
            claim = backend.claim(key)
            assert claim is not None
            assert (
                backend.check_and_set(key, PAYLOADS[name], 60.0, claim) is True
            )
            found = backend.get(key)
            assert type(found) is bytes
            assert found == PAYLOADS[name]
            assert harness.raw_get(key) == found

    def test_mark_is_no_payload(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """To nobody, who claims or not, and a ``set`` replaces it."""
        key = harness.key()
        for _ in range(2):
            backend.claim(key)
            assert backend.get(key) is NO_VALUE
            if SupportsBulk in self.supports:
                assert backend.get_many([key]) == {}
        backend.set(key, b"set", 60.0)
        assert backend.get(key) == b"set"

    def test_claim_leaves_the_payload(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """A stale value is served while its successor is made."""
        key = harness.key()
        backend.set(key, b"old", None)
        claim = backend.claim(key)
        assert backend.get(key) == b"old"
        assert harness.raw_get(key) == b"old"
        assert backend.check_and_set(key, b"new", None, claim) is True
        assert backend.get(key) == b"new"

    def test_removal_voids_a_claim(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        _check_void(harness, backend, lambda b, key: b.delete(key))
        if SupportsBulk in self.supports:
            _check_void(harness, backend, lambda b, key: b.delete_many([key]))
        if SupportsClear in self.supports:
            _check_void(harness, backend, lambda b, key: b.clear())

    def test_set_voids_a_claim(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        def set_many(backend: Any, key: str) -> None:
            backend.set_many({key: b"set"}, 60.0)

        _check_void(
            harness, backend, lambda b, key: b.set(key, b"set", 60.0), b"set"
        )
        if SupportsBulk in self.supports:
            _check_void(harness, backend, set_many, b"set")

    def test_same_payload_again_voids_a_claim(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """A claim is on what was there, not on what it looked like."""
        _check_void(harness, backend, _set_again, b"old")

    def test_first_that_stores_voids_the_others(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """And to claim voids nobody's claim."""
        for name in ("nothing", "something"):
            key = harness.key(name)
            if name == "something":
                backend.set(key, b"old", 60.0)
            first, second = backend.claim(key), backend.claim(key)
            assert backend.check_and_set(key, b"1", 60.0, first) is True
            assert backend.check_and_set(key, b"2", 60.0, second) is False
            assert backend.check_and_set(key, b"3", 60.0, first) is False
            assert backend.get(key) == b"1"

    def test_claim_is_on_its_key(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        one, other = harness.key("one"), harness.key("other")
        claim = backend.claim(one)
        backend.claim(other)
        assert backend.check_and_set(other, b"x", 60.0, claim) is False
        assert backend.check_and_set(one, b"x", 60.0, claim) is True
        assert backend.get(other) is NO_VALUE

    def test_claimed_ttl(self, harness: StoreHarness, backend: Any) -> None:
        brief, lasting = harness.key("brief"), harness.key("lasting")
        for key, ttl in ((brief, 1.0), (lasting, None)):
            claim = backend.claim(key)
            assert backend.check_and_set(key, b"x", ttl, claim) is True
        for _ in range(16):
            harness.advance(0.25)
            if backend.get(brief) is NO_VALUE:
                break
        assert backend.get(brief) is NO_VALUE, "there 4 s later"
        assert backend.get(lasting) == b"x"

    def test_claim_is_kept_for_a_while(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """A creation may take longer than any lease."""
        key = harness.key()
        claim = backend.claim(key)
        harness.advance(2.25 if harness.clock is None else 1800.0)
        assert backend.check_and_set(key, b"x", 60.0, claim) is True
        assert backend.get(key) == b"x"

    def test_claimed_too_large_leaves_no_old_payload(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key = harness.key()
        limit = backend.max_value_bytes
        if limit is None:
            return
        backend.set(key, b"old", 60.0)
        claim = backend.claim(key)
        with pytest.raises(ValueTooLargeError):
            backend.check_and_set(key, b"x" * (limit + 1), 60.0, claim)
        assert backend.get(key) is NO_VALUE

    def test_hostile_keys_are_claimed_harmlessly(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        neighbour = harness.key("neighbour")
        backend.set(neighbour, b"neighbour", 60.0)
        for key in HOSTILE.values():
            with contextlib.suppress(BackendError):
                claim = backend.claim(key)
                assert backend.check_and_set(key, b"x", 60.0, claim) is True
                assert backend.get(key) == b"x"
                backend.delete(key)
            assert backend.get(neighbour) == b"neighbour"

    def test_one_of_many_threads_stores(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        for number in range(20):
            key = harness.key(str(number))
            claimed = threading.Barrier(6)

            def work(
                key: str = key, claimed: threading.Barrier = claimed
            ) -> bytes | None:
                claim = backend.claim(key)
                payload = str(claimed.wait(LIMIT)).encode()
                if backend.check_and_set(key, payload, 60.0, claim):
                    return payload
                return None

            stored = [p for p in in_threads([work] * 6) if p is not None]
            assert stored == [backend.get(key)]

    def test_no_thread_stores_what_was_overtaken(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """What comes after a deletion was begun after it."""
        source = [0]
        over = threading.Event()

        def create() -> None:
            while not over.is_set():
                _create(backend, harness.key(), lambda: source[0])

        def invalidate() -> None:
            try:
                for number in range(1, ROUNDS):
                    source[0] = number
                    _check_deletion(backend, harness.key(), number)
            finally:
                over.set()

        in_threads([invalidate, create, create, create])


class CheckAndSetProcessSuite(Suite):
    """The same for what other processes do."""

    requires: ClassVar[type | None] = SupportsCheckAndSet

    def test_other_process_voids_a_claim(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        def elsewhere(act: Act) -> Act:
            def there(backend: Any, key: str) -> None:
                def work() -> None:
                    own: Any = harness.make_backend()
                    act(own, key)
                    own.close()

                with children(work) as (child,):
                    child.result()

            return there

        acts: list[tuple[Act, object]] = [
            (lambda b, key: b.delete(key), NO_VALUE),
            (lambda b, key: b.set(key, b"set", 60.0), b"set"),
            (_claim_and_set, b"made"),
        ]
        for act, left in acts:
            _check_void(harness, backend, elsewhere(act), left)

    def test_no_process_stores_what_was_overtaken(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """What comes after a deletion was begun after it."""
        source = fork_context.Value("q", 0, lock=False)
        over = fork_context.Event()

        def create() -> int:
            own: Any = harness.make_backend()
            stored = 0
            while not over.is_set():
                stored += _create(own, harness.key(), lambda: source.value)
            own.close()
            return stored

        with children(create, create) as started:
            try:
                for number in range(1, ROUNDS):
                    source.value = number
                    _check_deletion(backend, harness.key(), number)
            finally:
                over.set()
            assert sum(child.result() for child in started) > 0


def _check_void(
    harness: StoreHarness, backend: Any, act: Act, left: object = NO_VALUE
) -> None:
    """Check that *act* voids a claim on nothing and on something.

    :param left: what is under the key after it.
    """
    for old in (None, b"old"):
        key = harness.key("nothing" if old is None else "something")
        backend.delete(key)
        if old is not None:
            backend.set(key, old, 60.0)
        claim = backend.claim(key)
        act(backend, key)
        assert backend.check_and_set(key, b"late", 60.0, claim) is False, (
            f"stored over {old!r}"
        )
        assert backend.get(key) == left
        # Nor does it hold again once another claims.
        after = backend.claim(key)
        assert backend.check_and_set(key, b"late", 60.0, claim) is False
        assert backend.get(key) == left
        assert backend.check_and_set(key, b"new", 60.0, after) is True
        assert backend.get(key) == b"new"


def _set_again(backend: Any, key: str) -> None:
    backend.set(key, b"old", 60.0)
    backend.delete(key)
    backend.set(key, b"old", 60.0)


def _claim_and_set(backend: Any, key: str) -> None:
    assert backend.check_and_set(key, b"made", 60.0, backend.claim(key))


def _create(backend: Any, key: str, read: Callable[[], int]) -> bool:
    claim = backend.claim(key)
    payload = str(read()).encode()
    time.sleep(0.001)
    stored: bool = backend.check_and_set(key, payload, 60.0, claim)
    return stored


def _check_deletion(backend: Any, key: str, number: int) -> None:
    """Delete; check that what is stored next is not from before."""
    backend.delete(key)
    end = time.monotonic() + LIMIT / 2
    while (found := backend.get(key)) is NO_VALUE:
        assert time.monotonic() < end, "nobody stores anything"
        time.sleep(0.0002)
    assert int(found) >= number, f"{found!r} comes after deletion {number}"
    # The next one shall come at any point of a creation.
    time.sleep(number % 5 * 0.0005)


class CheckAndSetEntriesSuite(Suite):
    """The same for a store that keeps entries as they are."""

    requires: ClassVar[type | None] = SupportsCheckAndSetEntries

    def test_claimed_entry_comes_back(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key, entry = harness.key(), CacheEntry("text", 1.0, 2.0, 0.5)
        claim = backend.claim(key)
        assert backend.get_entry(key) is NO_VALUE
        assert backend.check_and_set_entry(key, entry, 60.0, claim) is True
        assert backend.get_entry(key) == entry

    def test_first_entry_voids_the_others(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key, entry = harness.key(), CacheEntry("text", 1.0)
        for _ in "ab":
            first, second = backend.claim(key), backend.claim(key)
            assert backend.check_and_set_entry(key, entry, None, first)
            assert not backend.check_and_set_entry(
                key, CacheEntry("late", 1.0), None, second
            )
            assert backend.get_entry(key) == entry

    def test_deleted_entry_voids_a_claim(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        key, entry = harness.key(), CacheEntry("text", 1.0)
        for _ in "ab":
            claim = backend.claim(key)
            backend.delete(key)
            after = backend.claim(key)
            assert not backend.check_and_set_entry(key, entry, None, claim)
            assert backend.get_entry(key) is NO_VALUE
            assert backend.check_and_set_entry(key, entry, None, after)
            assert backend.get_entry(key) == entry
