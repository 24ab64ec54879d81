"""Revalidation: a copy is served only where a read would have shown it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from typing import ClassVar

import pytest

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.api import UNCHANGED
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.contract import PAYLOADS
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import LIMIT

__all__ = ["RevalidationSuite"]

ROUNDS = 120

# The backends here have more than CacheBackend tells: the class of the
# tests' argument is Any.


class Copy:
    """What a region does with one key: the copy where nothing changed."""

    def __init__(self, backend: Any, key: str) -> None:
        self._backend = backend
        self._key = key
        self._payload: object = NO_VALUE
        self._stamp: Any = None

    def read(self) -> object:
        """Return what is served."""
        answer = self._backend.get_if_changed(self._key, self._stamp)
        if answer is UNCHANGED:
            assert self._stamp is not None, "unchanged since nothing was read"
            return self._payload
        self._payload, self._stamp = (
            (NO_VALUE, None) if answer is NO_VALUE else answer
        )
        return self._payload

    def settle(self) -> None:
        """Read until the store vouches for what it holds.

        :raises AssertionError: if it never does.
        """
        end = time.monotonic() + LIMIT / 2
        while self.read() is NO_VALUE or self._stamp is None:
            assert time.monotonic() < end, "there is never a stamp"
            time.sleep(0.0002)
        answer = self._backend.get_if_changed(self._key, self._stamp)
        assert answer is UNCHANGED


class RevalidationSuite(Suite):
    """get_if_changed."""

    requires: ClassVar[type | None] = SupportsRevalidation

    @pytest.mark.parametrize("name", PAYLOADS)
    def test_payload_comes_with_a_stamp(
        self, harness: StoreHarness, backend: Any, name: str
    ) -> None:
        key = harness.key()
        backend.set(key, PAYLOADS[name], 60.0)
        payload, _ = backend.get_if_changed(key, None)
        assert type(payload) is bytes
        assert payload == PAYLOADS[name]

    def test_nothing_has_no_stamp(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        assert backend.get_if_changed(harness.key(), None) is NO_VALUE

    def test_unchanged_is_told(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Sooner or later: otherwise it saves nothing."""
        for name, ttl in (("minute", 60.0), ("forever", None)):
            key = harness.key(name)
            backend.set(key, b"x", ttl)
            Copy(backend, key).settle()

    def test_change_is_told(self, harness: StoreHarness, backend: Any) -> None:
        """Whoever makes it, by whatever method."""
        other: Any = harness.make_backend()
        key = harness.key()
        for act, left in _changes(self.supports, harness, key):
            for changing in (backend, other):
                backend.set(key, b"old", None)
                copy = Copy(backend, key)
                copy.settle()
                act(changing)
                assert copy.read() == left
        other.close()

    def test_change_at_once_is_told(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """However soon after the read: a clock's tick may be long."""
        copy = Copy(backend, harness.key())
        for number in range(ROUNDS):
            payload = f"{number:06}".encode()
            backend.set(harness.key(), payload, 60.0)
            assert copy.read() == payload
            backend.delete(harness.key())
            if number % 2:
                assert copy.read() is NO_VALUE

    def test_change_elsewhere_is_told(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Nothing is served that was replaced before it was asked for."""
        key = harness.key()
        done = fork_context.Value("q", -1, lock=False)

        def work() -> None:
            own: Any = harness.make_backend()
            for number in range(ROUNDS):
                if number % 3 == 0:
                    own.delete(key)
                own.set(key, f"{number:06}".encode(), 60.0)
                done.value = number
                # Now and then there is time for a stamp and its use.
                time.sleep(number % 7 * 0.002)
            own.close()

        copy = Copy(backend, key)
        with children(work) as (child,):
            end = time.monotonic() + LIMIT
            while (least := done.value) < ROUNDS - 1:
                found = copy.read()
                assert found is NO_VALUE or int(found) >= least  # type: ignore[call-overload]  # bytes
                assert time.monotonic() < end, "a child hangs"
            child.result()
        assert copy.read() == f"{ROUNDS - 1:06}".encode()

    def test_expiry_is_told(self, harness: StoreHarness, backend: Any) -> None:
        """Also where nobody has touched what was read."""
        brief, lasting = harness.key("brief"), harness.key("lasting")
        backend.set(brief, b"x", 1.0)
        backend.set(lasting, b"x", 60.0)
        copies = Copy(backend, brief), Copy(backend, lasting)
        for copy in copies:
            assert copy.read() == b"x"
        for _ in range(16):
            harness.advance(0.25)
            if copies[0].read() is NO_VALUE:
                break
        assert [copy.read() for copy in copies] == [NO_VALUE, b"x"]

    def test_new_lifetime_is_told(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """The same payload, set again, lives as long as was said last."""
        shorter, longer = harness.key("shorter"), harness.key("longer")
        backend.set(shorter, b"x", 60.0)
        backend.set(longer, b"x", 2.0)
        copies = Copy(backend, shorter), Copy(backend, longer)
        for copy in copies:
            copy.settle()
        backend.set(shorter, b"x", 2.0)
        backend.set(longer, b"x", 60.0)
        for _ in range(16):
            harness.advance(0.25)
            if copies[0].read() is NO_VALUE:
                break
        assert [copy.read() for copy in copies] == [NO_VALUE, b"x"]

    def test_copy_is_not_served_without_the_store(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Whether it is right, nobody knows; and back it is served again."""
        key = harness.key()
        backend.set(key, b"x", 60.0)
        copy = Copy(backend, key)
        copy.settle()
        try:
            away = harness.unavailable()
        except NotImplementedError:
            return
        with away:
            # What a store had open may serve for a while: then so does
            # a read.
            try:
                found = copy.read()
            except BackendError:
                pass
            else:
                assert found == backend.get(key)


def _changes(
    supports: tuple[type, ...], harness: StoreHarness, key: str
) -> list[tuple[Callable[[Any], object], object]]:
    """Return what can happen to a key, and what is under it then."""

    def claimed(backend: Any) -> None:
        claim = backend.claim(key)
        assert backend.check_and_set(key, b"new", None, claim)

    acts: list[tuple[Callable[[Any], object], object]] = [
        (lambda b: b.set(key, b"new", None), b"new"),
        (lambda b: b.set(key, b"longer", None), b"longer"),
        (lambda b: b.delete(key), NO_VALUE),
        (lambda b: harness.raw_set(key, b"raw"), b"raw"),
    ]
    if SupportsBulk in supports:
        acts.append((lambda b: b.set_many({key: b"new"}, None), b"new"))
        acts.append((lambda b: b.delete_many([key]), NO_VALUE))
    if SupportsClear in supports:
        acts.append((lambda b: b.clear(), NO_VALUE))
    if SupportsCheckAndSet in supports:
        acts.append((claimed, b"new"))
    return acts
