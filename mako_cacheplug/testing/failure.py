"""A store that is away: never the page."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from mako.template import Template

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import SupportsAdd
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsCheckAndSet
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsPrune
from mako_cacheplug.api import SupportsUsage
from mako_cacheplug.events import EventKind
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.base import Watched
from mako_cacheplug.testing.harness import StoreHarness

__all__ = ["FailureSuite"]

_PAGE = (
    '<%def name="box(n)" cached="True" cache_tags="t">box ${n}</%def>'
    "${box(1)}, ${box(2)}"
)


def _methods(
    backend: CacheBackend, key: str, claim: object = None
) -> dict[str, Callable[[], Any]]:
    """Return a call of every method that asks the store.

    :param claim: on *key*.
    """
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: backend.get(key),
        "set": lambda: backend.set(key, b"x", 60.0),
        "delete": lambda: backend.delete(key),
    }
    if isinstance(backend, SupportsBulk):
        calls["get_many"] = lambda: backend.get_many([key, key + "2"])
        calls["set_many"] = lambda: backend.set_many({key: b"x"}, 60.0)
        calls["delete_many"] = lambda: backend.delete_many([key, key + "2"])
    if isinstance(backend, SupportsMutex):
        mutex = backend.mutex(key, 30.0)
        calls["mutex.acquire"] = mutex.acquire
        calls["mutex.holder"] = mutex.holder
    if isinstance(backend, SupportsCheckAndSet):
        calls["claim"] = lambda: backend.claim(key)
        calls["check_and_set"] = lambda: backend.check_and_set(
            key, b"x", 60.0, claim
        )
    if isinstance(backend, SupportsAdd):
        calls["add"] = lambda: backend.add(key, b"x", 60.0)
    if isinstance(backend, SupportsClear):
        calls["clear"] = backend.clear
    if isinstance(backend, SupportsPrune):
        calls["prune"] = backend.prune
    if isinstance(backend, SupportsUsage):
        calls["usage"] = backend.usage
    return calls


class FailureSuite(Suite):
    """A store that is away costs a miss and an event, in bounded time."""

    def test_making_a_backend_asks_nothing(
        self, harness: StoreHarness
    ) -> None:
        with harness.unavailable():
            began = time.monotonic()
            backend = harness.make_backend()
            took = time.monotonic() - began
            backend.close()
        assert took < harness.failure_seconds

    def test_every_method_raises_backend_error(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """And no other error: a region turns this one into a miss."""
        quiet = []
        claim: object = None
        if isinstance(backend, SupportsCheckAndSet):
            claim = backend.claim(harness.key())
        with harness.unavailable():
            for name, call in _methods(backend, harness.key(), claim).items():
                began = time.monotonic()
                try:
                    call()
                except BackendError as error:
                    assert str(error), f"{name}: an error without a message"
                else:
                    quiet.append(name)
                took = time.monotonic() - began
                assert took < harness.failure_seconds, f"{name}: {took:.1f} s"
        assert quiet == [], "these claim to have worked"

    def test_connected_backend_raises_backend_error_only(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """One that was at work when the store went may not have noticed."""
        calls = _methods(backend, harness.key())
        for call in calls.values():
            call()
        backend.set(harness.key(), b"x", 60.0)
        with harness.unavailable():
            for name, call in _methods(backend, harness.key()).items():
                began = time.monotonic()
                try:
                    call()
                except BackendError as error:
                    assert str(error), f"{name}: an error without a message"
                took = time.monotonic() - began
                assert took < harness.failure_seconds, f"{name}: {took:.1f} s"

    def test_close_while_away(self, harness: StoreHarness) -> None:
        backend = harness.make_backend()
        backend.set(harness.key(), b"x", 60.0)
        with harness.unavailable():
            backend.close()
            backend.close()

    def test_region_creates_while_away(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        watched = Watched(harness, backend)
        with harness.unavailable():
            began = time.monotonic()
            made = watched.region.get_or_create("k", lambda: "made")
            took = time.monotonic() - began
        assert made == "made"
        # One question, then the mutex is not even asked.
        assert took < 2 * harness.failure_seconds
        kinds = [event.kind for event in watched.events]
        assert EventKind.STORE_ERROR in kinds
        assert watched.region.stats().errors >= 1

    def test_invalidation_while_away_is_loud(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        """Silent, it would go on serving what it should have removed."""
        watched = Watched(harness, backend)
        with harness.unavailable():
            with pytest.raises(BackendError):
                watched.region.invalidate("k")
            with pytest.raises(BackendError):
                watched.region.invalidate_tags("news")

    def test_page_renders_while_away(self, harness: StoreHarness) -> None:
        template = Template(  # noqa: S702  # nothing here is a user's
            _PAGE,
            cache_impl="cacheplug",
            cache_args={"url": harness.url(), "namespace": harness.mark},
        )
        with harness.unavailable():
            assert template.render() == "box 1, box 2"
        assert template.render() == "box 1, box 2"

    def test_store_is_used_again_after_its_return(
        self, harness: StoreHarness, backend: CacheBackend
    ) -> None:
        key = harness.key()
        backend.set(key, b"before", 60.0)
        with harness.unavailable():
            for _ in range(3):
                with contextlib.suppress(BackendError):
                    backend.get(key)
        end = time.monotonic() + harness.recovery_seconds
        while True:
            try:
                backend.set(key, b"after", 60.0)
                break
            except BackendError:
                assert time.monotonic() < end, "it does not come back"
                time.sleep(0.02)
        assert backend.get(key) == b"after"
