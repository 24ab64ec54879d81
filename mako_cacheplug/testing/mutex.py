"""The mutex: one holder in all threads and processes, and none for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from typing import ClassVar

from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsReleaseMany
from mako_cacheplug.testing.base import Suite
from mako_cacheplug.testing.harness import StoreHarness
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import fork_context
from mako_cacheplug.testing.running import in_threads
from mako_cacheplug.testing.running import LIMIT

__all__ = ["MutexSuite", "ReleaseManySuite"]

LEASE = 1.0
"""Seconds; the least that every store can measure."""


class MutexSuite(Suite):
    """Owned, exclusive and leased."""

    requires: ClassVar[type | None] = SupportsMutex

    def test_mutex_is_exclusive(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        first, second = (backend.mutex(harness.key(), 30.0) for _ in "ab")
        assert first.acquire() is True
        assert second.acquire() is False
        assert first.release() is True
        assert second.acquire() is True
        assert second.release() is True

    def test_mutex_is_exclusive_among_backends(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        other: Any = harness.make_backend()
        first = backend.mutex(harness.key(), 30.0)
        second = other.mutex(harness.key(), 30.0)
        try:
            assert first.acquire() is True
            assert second.acquire() is False
            assert second.holder() == first.holder()
            assert first.release() is True
            assert second.acquire() is True
            assert second.release() is True
        finally:
            other.close()

    def test_mutex_is_released_by_its_owner_only(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        owner, stranger = (backend.mutex(harness.key(), 30.0) for _ in "ab")
        assert stranger.release() is False
        assert owner.acquire() is True
        held_by = owner.holder()
        assert stranger.release() is False
        assert owner.holder() == held_by
        assert stranger.acquire() is False
        assert stranger.release() is False
        assert stranger.acquire() is False
        assert owner.release() is True

    def test_mutex_is_released_once(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """The second time it could be the next holder's."""
        first, second = (backend.mutex(harness.key(), 30.0) for _ in "ab")
        assert first.acquire() is True
        assert first.release() is True
        assert first.release() is False
        assert second.acquire() is True
        assert first.release() is False
        assert backend.mutex(harness.key(), 30.0).acquire() is False
        assert second.release() is True

    def test_holder_token_changes(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Those who wait see by it that their creation is over."""
        watcher = backend.mutex(harness.key(), 30.0)
        assert watcher.holder() is None
        tokens = []
        for _ in range(5):
            mutex = backend.mutex(harness.key(), 30.0)
            assert mutex.acquire() is True
            tokens.append(watcher.holder())
            assert watcher.holder() == mutex.holder() == tokens[-1]
            assert mutex.release() is True
            assert watcher.holder() is None
        assert {type(token) for token in tokens} == {str}
        assert len(set(tokens)) == len(tokens)

    def test_mutexes_of_other_keys_are_free(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Most of them: a store may have a limited number of locks."""
        held = backend.mutex(harness.key(), 30.0)
        assert held.acquire() is True
        free = 0
        for number in range(16):
            other = backend.mutex(harness.key(str(number)), 30.0)
            if other.acquire():
                free += 1
                assert other.release() is True
        assert free >= 12
        assert held.release() is True

    def test_mutex_is_no_value(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Neither touches the other, though both have one key."""
        key = harness.key()
        mutex = backend.mutex(key, 30.0)
        assert mutex.acquire() is True
        assert backend.get(key) is NO_VALUE
        backend.set(key, b"x", 60.0)
        assert backend.mutex(key, 30.0).acquire() is False
        backend.delete(key)
        assert backend.mutex(key, 30.0).acquire() is False
        backend.set(key, b"y", 60.0)
        assert mutex.release() is True
        assert backend.get(key) == b"y"

    def test_mutex_among_threads(
        self, harness: StoreHarness, backend: Any, tmp_path: Path
    ) -> None:
        def work() -> int:
            return _take_turns(backend, harness.key(), tmp_path / "in", 5)

        assert in_threads([work] * 6) == [5] * 6

    def test_mutex_among_processes(
        self, harness: StoreHarness, backend: Any, tmp_path: Path
    ) -> None:
        key = harness.key()
        start = fork_context.Barrier(3)

        def work() -> int:
            own = harness.make_backend()
            start.wait(LIMIT)
            done = _take_turns(own, key, tmp_path / "in", 8)
            own.close()
            return done

        with children(work, work, work) as started:
            assert [child.result() for child in started] == [8] * 3

    def test_mutex_of_a_killed_process_is_freed(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """By SIGKILL: nothing in the process can give it back."""
        key = harness.key()
        with children(_hold(harness, key)) as (child,):
            _wait_until_held(backend, key)
            child.kill()
            mutex = backend.mutex(key, LEASE)
            assert _acquire_within(mutex, harness, LEASE + 1.5)
            assert mutex.release() is True

    def test_mutex_whose_lease_ran_out(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """A slow holder does not release who came after it.

        A store that learns of a holder's death need not end a living one's
        lease.
        """
        slow, next_ = (backend.mutex(harness.key(), LEASE) for _ in "ab")
        assert slow.acquire() is True
        if _acquire_within(next_, harness, LEASE + 1.5):
            token = next_.holder()
            assert token is not None
            assert slow.release() is False
            assert next_.holder() == token
            assert next_.release() is True
        else:
            assert slow.release() is True

    def test_lease_is_not_cut_short(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        mutex = backend.mutex(harness.key(), 10.0)
        assert mutex.acquire() is True
        harness.advance(1.5)
        assert backend.mutex(harness.key(), 10.0).acquire() is False
        assert mutex.release() is True

    def test_child_does_not_release_its_parents(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """Nor by using the store, nor by its end."""
        key = harness.key()
        mutex = backend.mutex(key, 30.0)
        assert mutex.acquire() is True
        token = mutex.holder()

        def use() -> bool:
            taken: bool = backend.mutex(key, 30.0).acquire()
            other = backend.mutex(harness.key("other"), 30.0)
            other.acquire()
            other.release()
            backend.close()
            return taken

        with children(use) as (child,):
            assert child.result() is False
        assert mutex.holder() == token
        assert backend.mutex(key, 30.0).acquire() is False
        assert mutex.release() is True


class ReleaseManySuite(Suite):
    """Many mutexes given back at once, none of which is another's."""

    requires: ClassVar[type | None] = SupportsReleaseMany

    def test_all_are_released(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """And no other one."""
        keys = [harness.key(str(number)) for number in range(10)]
        mutexes = [backend.mutex(key, 30.0) for key in keys]
        # A store may have a limited number of locks.
        held = [mutex for mutex in mutexes if mutex.acquire()]
        assert len(held) >= 7
        backend.release_many(held[1:])
        assert [mutex.holder() is None for mutex in held] == [
            number > 0 for number in range(len(held))
        ]
        assert held[1].release() is False, "it was, already"
        assert held[0].release() is True
        backend.release_many([])

    def test_anothers_is_not_released_with_them(
        self, harness: StoreHarness, backend: Any
    ) -> None:
        """By whoever held it before, until his lease ran out."""
        first, slow = (
            backend.mutex(harness.key(name), LEASE) for name in "ab"
        )
        next_ = backend.mutex(harness.key("b"), 30.0)
        assert first.acquire() is True
        assert slow.acquire() is True
        if _acquire_within(next_, harness, LEASE + 1.5):
            token = next_.holder()
            backend.release_many([first, slow])
            assert next_.holder() == token
            assert next_.release() is True
        else:
            backend.release_many([first, slow])
            assert slow.holder() is None
        assert first.holder() is None


def _take_turns(backend: Any, key: str, marker: Path, turns: int) -> int:
    """Hold the mutex *turns* times, *marker* there while it is held."""
    end = time.monotonic() + LIMIT / 2
    done = 0
    while done < turns:
        assert time.monotonic() < end, f"{done} turns only, in all this time"
        mutex = backend.mutex(key, 30.0)
        if not mutex.acquire():
            time.sleep(0.001)
            continue
        # Exclusive: it fails if another holder is inside.
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        time.sleep(0.002)
        marker.unlink()
        assert mutex.release() is True
        done += 1
    return done


def _hold(harness: StoreHarness, key: str) -> Any:
    def run() -> None:
        backend: Any = harness.make_backend()
        assert backend.mutex(key, LEASE).acquire() is True
        time.sleep(LIMIT)

    return run


def _wait_until_held(backend: Any, key: str) -> None:
    watcher: CacheMutex = backend.mutex(key, LEASE)
    end = time.monotonic() + LIMIT
    while watcher.holder() is None:
        assert time.monotonic() < end, "the child did not become the holder"
        time.sleep(0.002)


def _acquire_within(
    mutex: CacheMutex, harness: StoreHarness, seconds: float
) -> bool:
    for _ in range(round(seconds / 0.1)):
        if mutex.acquire():
            return True
        harness.advance(0.1)
    return mutex.acquire()
