"""The bound: held, oldest first, by many processes, after a restart."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file.culling import Ledger
from mako_cacheplug_file.locks import CULLING
from mako_cacheplug_file.locks import FileMutex

from mako_cacheplug import BackendError
from mako_cacheplug.api import NO_VALUE

Start = Callable[..., "subprocess.Popen[str]"]


class Clock(Protocol):
    """What the fixture gives: seconds that pass when told to."""

    now: float

    def __call__(self) -> float: ...


def fill(backend: FileBackend, clock: Clock, keys: range, size: int) -> None:
    for number in keys:
        clock.now += 1.0
        backend.set(str(number), bytes(size), None)


def present(backend: FileBackend, keys: range) -> list[int]:
    return [n for n in keys if backend.get(str(n)) is not NO_VALUE]


def test_the_oldest_leave_first(root: Path, clock: Clock) -> None:
    backend = FileBackend(root, max_bytes=100_000, clock=clock)
    fill(backend, clock, range(9), 10_000)
    assert present(backend, range(9)) == list(range(9))
    fill(backend, clock, range(9, 30), 10_000)
    assert present(backend, range(30)) == list(range(21, 30))
    fill(backend, clock, range(22, 23), 10_000)
    fill(backend, clock, range(30, 31), 10_000)
    assert present(backend, range(31)) == [22, *range(23, 31)]


def test_a_large_store_keeps_close_to_the_order_of_age(
    root: Path, clock: Clock
) -> None:
    backend = FileBackend(root, max_bytes=600_000, clock=clock)
    fill(backend, clock, range(9_000), 150)
    left = present(backend, range(9_000))
    assert 570_000 < backend.usage().bytes <= 600_000
    # In the strict order, these would be the last len(left).
    assert left[0] > 9_000 - 2 * len(left)
    assert left[-1000:] == list(range(8_000, 9_000))


def test_the_bound_counts_files_and_is_never_passed(
    root: Path, clock: Clock
) -> None:
    backend = FileBackend(root, max_bytes=50_000, clock=clock)
    for number in range(300):
        fill(backend, clock, range(number, number + 1), 1_000 + number * 7)
        assert backend.usage().bytes <= 50_000
    assert backend.usage().entries > 10


def test_a_restart_knows_that_the_store_is_full(
    root: Path, clock: Clock
) -> None:
    fill(
        FileBackend(root, max_bytes=None, clock=clock), clock, range(100), 990
    )
    backend = FileBackend(root, max_bytes=50_000, clock=clock)
    fill(backend, clock, range(100, 101), 990)
    assert backend.usage().bytes <= 50_000
    assert present(backend, range(101))[-1] == 100


def test_a_lost_ledger_is_counted_anew(root: Path, clock: Clock) -> None:
    backend = FileBackend(root, max_bytes=2_000_000, clock=clock)
    fill(backend, clock, range(1_900), 1_000)
    (root / "mako_cacheplug.usage").unlink()
    fill(backend, clock, range(1_900, 5_000), 1_000)
    assert backend.usage().bytes <= 2_000_000


def test_a_garbled_ledger_costs_nothing(root: Path, clock: Clock) -> None:
    backend = FileBackend(root, max_bytes=100_000, clock=clock)
    fill(backend, clock, range(50), 1_000)
    (root / "mako_cacheplug.usage").write_bytes(b"\xff" * 3_000)
    fill(backend, clock, range(50, 51), 1_000)
    assert present(backend, range(51)) == list(range(51))
    (root / "mako_cacheplug.usage").write_bytes(b"\xff" * 13)
    fill(backend, clock, range(51, 600), 1_000)
    assert 80_000 < backend.usage().bytes <= 100_000


def test_the_ledger_follows_sets_and_deletes(
    backend: FileBackend, root: Path
) -> None:
    def noted() -> int:
        with Ledger(str(root / "mako_cacheplug.usage")) as ledger:
            return sum(ledger.read())

    for number in range(50):
        backend.set(str(number), bytes(100), None)
        backend.set(str(number), bytes(900), None)
    assert noted() == backend.usage().bytes > 45_000
    for number in range(25):
        backend.delete(str(number))
        backend.delete(str(number))
    assert noted() == backend.usage().bytes
    backend.clear()
    assert noted() == backend.usage().bytes == 0


def test_while_another_makes_room_little_more_is_written(
    root: Path, clock: Clock
) -> None:
    backend = FileBackend(root, max_bytes=160_000, clock=clock)
    fill(backend, clock, range(1), 1_000)
    other = FileMutex(str(root / "mako_cacheplug.lock"), CULLING)
    assert other.acquire()
    with pytest.raises(BackendError, match="is full"):
        fill(backend, clock, range(1_000), 1_000)
    assert 160_000 < backend.usage().bytes <= 176_000
    assert other.release()
    fill(backend, clock, range(1_000, 1_001), 1_000)
    assert backend.usage().bytes <= 160_000


def bytes_at_an_instant(
    backend: FileBackend, writers: list[subprocess.Popen[str]]
) -> int:
    """Count while nobody writes: who counts beside writers counts too much.

    What they write to a folder that is not counted yet comes to what they
    have removed from one that was.
    """
    writers = [writer for writer in writers if writer.poll() is None]
    for writer in writers:
        writer.send_signal(signal.SIGSTOP)
    for writer in writers:
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    found = backend.usage().bytes
    for writer in writers:
        writer.send_signal(signal.SIGCONT)
    return found


def test_readers_are_right_while_two_processes_cull(
    root: Path, start: Start
) -> None:
    bound = 2_000_000
    script = """
    import os
    from mako_cacheplug import BackendError
    from mako_cacheplug_file import FileBackend
    backend = FileBackend(args[0], max_bytes=int(args[2]))
    written = number = 0
    while written < 5 * int(args[2]) and number < 1_000_000:
        key = f"{args[1]}-{number % 4000}"
        number += 1
        try:
            backend.set(key, key.encode() * 200, None)
        except BackendError:
            # Who makes room has to come to it, on a machine with much to do.
            os.sched_yield()
        else:
            written += len(key) * 200
    print(number < 1_000_000, flush=True)
    """
    processes = [start(script, root, name, bound) for name in "ab"]
    backend = FileBackend(root, max_bytes=bound)
    most = hits = number = 0
    while any(process.poll() is None for process in processes):
        for _ in range(500):
            key = f"{'ab'[number % 2]}-{number * 7 % 4000}"
            number += 1
            found = backend.get(key)
            if found is not NO_VALUE:
                hits += 1
                assert found == key.encode() * 200
        most = max(most, bytes_at_an_instant(backend, processes))
    assert [process.communicate()[0] for process in processes] == [
        "True\n",
        "True\n",
    ]
    assert hits
    assert most <= bound * 1.1
    assert 0.9 * bound < backend.usage().bytes <= bound * 1.05
