"""The disk, the clock and the power: what is left works, or is a miss."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Protocol

import pytest
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import locks
from mako_cacheplug_file import record

from mako_cacheplug import BackendError
from mako_cacheplug import CacheRegion
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.breaker import breaker_of
from mako_cacheplug.testing.running import children
from mako_cacheplug.testing.running import give_up_privileges


class Clock(Protocol):
    """What the fixture gives: seconds that pass when told to."""

    now: float

    def __call__(self) -> float: ...


YEAR = 365 * 86400.0


def in_a_child(function: Callable[[], Any]) -> Any:
    with children(function) as (child,):
        return child.result()


def nothing_more_can_be_written() -> None:
    """As a full disk, but for the name of the error; no privilege needed."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_what_is_removed_from_a_full_disk_is_removed(root: Path) -> None:
    """An invalidation that reached the store says so."""

    def remove() -> bool:
        backend = FileBackend(root)
        nothing_more_can_be_written()
        with pytest.raises(BackendError):
            backend.set("k", b"new", None)
        assert backend.get("k") == b"v"
        backend.delete("k")
        assert backend.get("k") is NO_VALUE
        assert backend.prune() == 1
        backend.clear()
        return backend.usage() == (0, 0)

    backend = FileBackend(root)
    for key in ("k", "other"):
        backend.set(key, b"v", None)
    backend.set("over", b"v", -1.0)
    assert in_a_child(remove)
    backend.set("k", b"v", None)
    assert backend.get("k") == b"v"


def test_a_full_disk_leaves_nothing_half_written(root: Path) -> None:
    def write() -> int:
        backend = FileBackend(root)
        backend.set("k", b"v", None)
        claim = backend.claim("claimed")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for key in ("k", "another"):
            with pytest.raises(BackendError):
                backend.set(key, bytes(10_000), None)
        with pytest.raises(BackendError):
            backend.check_and_set("claimed", bytes(10_000), None, claim)
        assert backend.get("k") == b"v"
        return sum(1 for path in root.glob("??/*"))

    assert in_a_child(write) == 1


def test_without_descriptors_it_fails_and_then_works(root: Path) -> None:
    def use() -> bool:
        backend = FileBackend(root)
        backend.set("k", b"v", None)
        backend.close()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_now = len(os.listdir("/proc/self/fd"))
        # What lies below the highest is free, too: take it.
        taken = [os.open("/", os.O_RDONLY) for _ in range(open_now)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, limits[1]))
        for failing in (
            lambda: backend.get("k"),
            lambda: backend.get_if_changed("k", None),
            lambda: backend.set("k", b"new", None),
            lambda: backend.claim("k"),
            lambda: backend.delete("k"),
            backend.mutex("k", 1.0).acquire,
            backend.clear,
            backend.prune,
        ):
            with pytest.raises(BackendError):
                failing()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return backend.get("k") == b"v"

    assert in_a_child(use)


def test_what_may_not_be_touched_stops_nothing_else(root: Path) -> None:
    """A folder whose permissions were taken away, between others."""

    def use() -> tuple[int, int]:
        give_up_privileges()
        backend = FileBackend(root)
        for number in range(60):
            backend.set(str(number), b"v", -1.0)
        closed = sorted(root.glob("??"))[1]
        inside = len(os.listdir(closed))
        closed.chmod(0)
        backend.close()
        with pytest.raises(BackendError):
            backend.prune()
        closed.chmod(0o700)
        left = sum(1 for path in root.glob("??/*"))
        # Read-only: it is read, and nothing can be stored or removed.
        backend.set("k", b"v", None)
        (entry,) = (p for p in root.glob("??/*") if p.parent != closed)
        for path in (entry.parent, root):
            path.chmod(0o500)
        assert backend.get("k") == b"v"
        for failing in (
            lambda: backend.set("k", b"new", None),
            lambda: backend.delete("k"),
            lambda: backend.claim("k"),
            backend.clear,
        ):
            with pytest.raises(BackendError):
                failing()
        assert backend.get("k") == b"v"
        for path in (root, entry.parent):
            path.chmod(0o700)
        return inside, left

    inside, left = in_a_child(use)
    assert left == inside > 0


def test_a_file_that_may_not_be_read_gives_way(root: Path) -> None:
    """As what another user has put there, or whose permissions changed."""

    def use() -> bool:
        give_up_privileges()
        backend = FileBackend(root)
        backend.set("k", b"v", None)
        claimed = backend.claim("k")
        for path in root.glob("??/*"):
            path.chmod(0)
        assert backend.get("k") is NO_VALUE
        assert backend.get_if_changed("k", None) is NO_VALUE
        again = backend.claim("k")
        assert again != claimed
        assert backend.check_and_set("k", b"new", None, again)
        return backend.get("k") == b"new"

    assert in_a_child(use)


def test_the_lock_of_a_store_that_failed_meanwhile_is_given_back(
    backend: FileBackend,
) -> None:
    """It has no lease: others would wait as long as this process lives."""
    region = CacheRegion(backend)
    breaker = breaker_of(backend)
    before = dict(locks._files)

    def create() -> str:
        breaker.failed(BackendError("the disk is away"), seconds=1.0)
        assert breaker.is_refusing()
        return "v"

    assert region.get_or_create("k", create) == "v"
    assert locks._files == before


def test_files_of_the_future_leave_first(root: Path, clock: Clock) -> None:
    """The clock was years ahead, then set right, and the store is full."""
    backend = FileBackend(root, max_bytes=20_000, clock=clock)
    clock.now += 10 * YEAR
    for number in range(100):
        backend.set(f"old {number}", bytes(400), None)
    clock.now -= 10 * YEAR
    for number in range(20):
        backend.set(f"new {number}", bytes(400), None)
        clock.now += 1.0
    for number in range(20):
        assert backend.get(f"new {number}") == bytes(400)


def test_left_overs_of_the_future_are_pruned(
    backend: FileBackend, root: Path, clock: Clock
) -> None:
    clock.now += 10 * YEAR
    backend.claim("k")
    (mark,) = root.glob("??/*")
    new = mark.with_name(f"new-{16 * 'a'}-1")
    new.write_bytes(b"half")
    for path in (mark, new):
        os.utime(path, (clock.now, clock.now))
    assert backend.prune() == 0
    clock.now -= 10 * YEAR
    assert backend.prune() == 2


def test_a_clock_that_is_set_back_and_forth_shows_nothing_older(
    backend: FileBackend, clock: Clock
) -> None:
    stamp: object = None
    for step, jump in enumerate((YEAR, -2 * YEAR, 3600.0, -0.001, YEAR)):
        clock.now += jump
        value = b"%d" % step
        backend.set("k", value, 10.0)
        found = backend.get_if_changed("k", stamp)
        assert isinstance(found, tuple)
        assert found[0] == value
        stamp = found[1]
        clock.now += 10.0
        assert backend.get_if_changed("k", stamp) is NO_VALUE


def test_another_versions_entry_is_a_miss_both_ways(
    backend: FileBackend, root: Path
) -> None:
    """Both run at once while a site is being renewed."""

    def newer(store: Callable[[FileBackend], object]) -> object:
        record._MAGIC = b"MCF\x02"  # type: ignore[misc]  # a process of its own
        return store(FileBackend(root))

    for _ in range(2):
        backend.set("k", b"of the older", None)
        in_a_child(lambda: newer(lambda store: store.set("new", b"v", None)))
        assert in_a_child(
            lambda: newer(lambda store: store.get("k") is NO_VALUE)
        )
        assert backend.get("new") is NO_VALUE
        assert backend.get("k") is NO_VALUE
        in_a_child(lambda: newer(lambda store: store.set("k", b"newer", None)))
        assert backend.get("k") is NO_VALUE
        claim = backend.claim("k")
        in_a_child(lambda: newer(lambda store: store.claim("k")))
        assert backend.check_and_set("k", b"back", None, claim)
        assert backend.get("k") == b"back"
