"""The bound: held, oldest first, by many processes, after a restart."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Protocol

import pytest
from mako_cacheplug_file import culling
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


def test_making_room_removes_what_dead_writers_left(
    root: Path, clock: Clock
) -> None:
    """It is in nobody's account; the living go on."""
    backend = FileBackend(root, max_bytes=50_000, clock=clock)
    fill(backend, clock, range(1), 1_000)
    (shard,) = root.glob("??")
    left = {f"new-{16 * digit}-1": 1000.0 for digit in "ab"}
    left |= {f"new-{16 * 'c'}-1": 800.0, f"mark-{32 * 'd'}": 1000.0}
    left |= {f"mark-{32 * 'e'}": 800.0, "new-york": 9999.0}
    for name, age in left.items():
        (shard / name).write_bytes(bytes(10_000))
        os.utime(shard / name, (clock.now - age, clock.now - age))
    fill(backend, clock, range(1, 60), 1_000)
    assert sorted(p.name for p in shard.iterdir() if p.name in left) == [
        f"mark-{32 * 'e'}",
        f"new-{16 * 'c'}-1",
        "new-york",
    ]
    assert 40_000 < backend.usage().bytes <= 50_000


def test_what_goes_unnoted_costs_nothing_that_is_there(
    root: Path, clock: Clock
) -> None:
    """As what is found torn, or another version has pruned."""
    backend = FileBackend(root, max_bytes=50_000, clock=clock)
    fill(backend, clock, range(40), 1_000)
    for path in [*root.glob("??/*")][:20]:
        path.write_bytes(b"torn")
    left = present(backend, range(40))
    assert len(left) == 20
    fill(backend, clock, range(40, 65), 1_000)
    assert present(backend, range(65)) == [*left, *range(40, 65)]


@pytest.fixture
def removing(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], object]], None]:
    """Do something, once, when the files that will leave are known."""

    def when(act: Callable[[], object]) -> None:
        acts = [act]

        def remove_until(*args: Any) -> object:
            if acts:
                acts.pop()()
            return real(*args)

        real = culling._remove_until
        monkeypatch.setattr(culling, "_remove_until", remove_until)

    return when


def test_nothing_is_removed_from_a_store_that_was_moved_away(
    root: Path, clock: Clock, removing: Any
) -> None:
    """As a backup is made; it was read just now."""
    backend = FileBackend(root, max_bytes=50_000, clock=clock)
    fill(backend, clock, range(40), 1_000)
    away = root.with_name("away")
    files: set[str] = set()

    def move() -> None:
        assert present(backend, range(40))
        root.rename(away)
        files.update(str(path) for path in away.glob("??/*"))

    removing(move)
    fill(backend, clock, range(40, 60), 1_000)
    assert len(files) > 40
    # What was being written is there, too.
    assert {str(path) for path in away.glob("??/*")} >= files
    assert len(present(backend, range(40, 60))) > 5


def test_what_somebody_else_removes_is_taken_from_the_account_once(
    root: Path, clock: Clock, removing: Any
) -> None:
    backend = FileBackend(root, max_bytes=500_000, clock=clock)
    fill(backend, clock, range(400), 1_000)
    deleted: list[int] = []

    def delete() -> None:
        deleted.extend(range(200))
        for number in deleted:
            FileBackend(root).delete(str(number))

    removing(delete)
    for number in range(400, 500):
        if not deleted:
            fill(backend, clock, range(number, number + 1), 1_000)
    assert deleted
    with Ledger(str(root / "mako_cacheplug.usage")) as ledger:
        assert sum(ledger.read()) == backend.usage().bytes


def test_a_cell_takes_whatever_size_there_is(root: Path) -> None:
    """Three files of nothing but a hole say more than 64 bits hold."""
    root.mkdir()
    with Ledger(str(root / "ledger")) as ledger:
        ledger.put("00", 3 * 2**63)
        ledger.add("00", 3 * 2**63)
        ledger.put("ff", -1)
        assert ledger.read()[0] >= 2**62
        assert ledger.read()[255] == 0


def test_while_another_makes_room_little_more_is_written(
    root: Path, clock: Clock
) -> None:
    backend = FileBackend(root, max_bytes=160_000, clock=clock)
    fill(backend, clock, range(1), 1_000)
    other = FileMutex(str(root / "mako_cacheplug.lock"), CULLING)
    assert other.acquire()
    with pytest.raises(BackendError, match="is full"):
        fill(backend, clock, range(1_000), 1_000)
    claim = backend.claim("created meanwhile")
    with pytest.raises(BackendError, match="is full"):
        backend.check_and_set("created meanwhile", bytes(1_000), None, claim)
    assert [*root.glob("??/mark-*")] == []
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
