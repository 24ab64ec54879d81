"""Counters that add up in threads, hooks that cannot break a call."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from mako_cacheplug.events import CacheEvent
from mako_cacheplug.events import EventKind
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.events import RegionStats


def test_counters_begin_at_zero_and_add_up() -> None:
    counters = RegionCounters("r")
    assert counters.snapshot() == RegionStats()
    counters.count_hit()
    counters.count("bytes_read", 10)
    for _ in range(2):
        assert counters.snapshot() == RegionStats(hits=1, bytes_read=10)
    counters.count_hit()
    assert counters.snapshot() == RegionStats(hits=2, bytes_read=10)


def test_there_is_no_counter_by_another_name() -> None:
    with pytest.raises(KeyError):
        RegionCounters("r").count("hits")


def test_no_count_is_lost_between_threads() -> None:
    counters = RegionCounters("r")

    def work() -> None:
        for _ in range(5000):
            counters.count_hit()
            counters.count("misses")
            counters.count_read(3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot() == RegionStats(
        hits=40000, misses=40000, bytes_read=120000
    )


def test_hooks_see_events_in_order_until_removed() -> None:
    counters = RegionCounters("r")
    seen: list[CacheEvent] = []
    also: list[CacheEvent] = []
    counters.emit(EventKind.HIT, "before")
    counters.add_hook(seen.append)
    counters.add_hook(also.append)
    error = ValueError("x")
    counters.emit(EventKind.HIT, "k")
    counters.emit(EventKind.CREATE, "k", seconds=1.5)
    counters.remove_hook(also.append)
    counters.remove_hook(also.append)
    counters.emit(EventKind.TOO_LARGE, "k", size=9, error=error)
    assert seen == [
        CacheEvent(EventKind.HIT, "r", "k"),
        CacheEvent(EventKind.CREATE, "r", "k", seconds=1.5),
        CacheEvent(EventKind.TOO_LARGE, "r", "k", size=9, error=error),
    ]
    assert also == seen[:2]


def test_a_raising_hook_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = RegionCounters("r")
    seen: list[CacheEvent] = []

    def broken(event: CacheEvent) -> None:
        raise ZeroDivisionError("the hook's own")

    counters.add_hook(broken)
    counters.add_hook(seen.append)
    with caplog.at_level(logging.ERROR, "mako_cacheplug.events"):
        counters.emit(EventKind.MISS, "k")
    assert [event.kind for event in seen] == [EventKind.MISS]
    assert "the hook's own" in caplog.text


def test_a_hook_may_remove_itself() -> None:
    counters = RegionCounters("r")
    seen: list[CacheEvent] = []

    def once(event: CacheEvent) -> None:
        seen.append(event)
        counters.remove_hook(once)

    counters.add_hook(once)
    counters.emit(EventKind.MISS, "k")
    counters.emit(EventKind.MISS, "k")
    assert len(seen) == 1


def test_a_child_counts_though_a_thread_was_counting_at_the_fork() -> None:
    counters = RegionCounters("r")
    with counters._lock:  # as another thread's
        child = os.fork()
        if child == 0:
            ours = counters._lock.acquire(timeout=5.0)
            os._exit(0 if ours else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
