"""The kernel locks: threads, processes, death, fork."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mako_cacheplug_file import FileBackend

from mako_cacheplug.testing.running import in_threads

Start = Callable[..., "subprocess.Popen[str]"]

HOLD = """
from mako_cacheplug_file import FileBackend
mutex = FileBackend(args[0]).mutex(args[1], 30.0)
assert mutex.acquire()
print(mutex.holder(), flush=True)
sys.stdin.readline()
print(mutex.release(), flush=True)
assert mutex.acquire()
print(mutex.holder(), flush=True)
sys.stdin.readline()
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def descriptors(root: Path) -> list[str]:
    """Return what this process has open below *root*."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if path.startswith(str(root)):
            found.append(path)
    return found


def test_one_holds_and_gives_back(backend: FileBackend) -> None:
    first, second = backend.mutex("k", 30.0), backend.mutex("k", 30.0)
    assert first.holder() is None
    assert not first.release()
    assert first.acquire()
    assert not second.acquire()
    assert not first.acquire()
    assert not second.release()
    assert first.holder() == second.holder() is not None
    assert first.release()
    assert not first.release()
    assert second.holder() is None
    assert second.acquire()
    assert second.release()


def test_keys_do_not_wait_for_each_other(backend: FileBackend) -> None:
    mutexes = [backend.mutex(str(number), 30.0) for number in range(500)]
    assert all(mutex.acquire() for mutex in mutexes)
    assert all(mutex.release() for mutex in mutexes)


def test_the_holders_token_changes_with_the_holder(
    backend: FileBackend,
) -> None:
    first, second = backend.mutex("k", 30.0), backend.mutex("k", 30.0)
    assert first.acquire()
    token = first.holder()
    assert first.release()
    assert second.acquire()
    assert second.holder() != token
    assert second.release()


def test_two_stores_of_one_root_exclude_each_other(
    backend: FileBackend, root: Path
) -> None:
    (root.parent / "link").symlink_to(root)
    other = FileBackend(root.parent / "link")
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    assert not other.mutex("k", 30.0).acquire()
    # Neither their closing nor other locks' end drops what is held.
    side = other.mutex("side", 30.0)
    assert side.acquire()
    assert side.release()
    other.close()
    backend.close()
    assert not other.mutex("k", 30.0).acquire()
    assert mutex.release()


def test_nothing_stays_open_and_the_file_stays_empty(
    backend: FileBackend, root: Path
) -> None:
    for number in range(100):
        mutex = backend.mutex(str(number), 30.0)
        assert mutex.acquire()
        assert len(descriptors(root)) == 1
        assert mutex.release()
        assert mutex.holder() is None
    assert descriptors(root) == []
    (only,) = root.iterdir()
    assert only.stat().st_size == 0
    assert only.stat().st_mode & 0o777 == 0o600


def test_another_process_is_excluded_and_recognised(
    backend: FileBackend, root: Path, start: Start
) -> None:
    process = start(HOLD, root, "k")
    token = line(process)
    mutex = backend.mutex("k", 30.0)
    assert not mutex.acquire()
    assert mutex.holder() == token
    assert token.split(".")[0] == str(process.pid)
    tell(process)
    assert line(process) == "True"
    again = line(process)
    assert mutex.holder() == again != token
    tell(process)
    assert process.wait(10) == 0
    assert mutex.acquire()
    assert mutex.release()


def test_a_lock_held_here_survives_a_look_from_there(
    backend: FileBackend, root: Path, start: Start
) -> None:
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    # Each of these opens, or might close, the lock file in this process.
    for number in range(10):
        backend.mutex("k", 30.0).holder()
        backend.mutex("other", 30.0).holder()
        backend.set(f"key {number}", b"", None)
    backend.clear()
    process = start(
        """
        from mako_cacheplug_file import FileBackend
        mutex = FileBackend(args[0]).mutex("k", 30.0)
        print(mutex.holder(), mutex.acquire())
        """,
        root,
    )
    assert line(process) == f"{mutex.holder()} False"
    assert mutex.release()


def test_the_kernel_frees_a_killed_holder_at_once(
    backend: FileBackend, root: Path, start: Start
) -> None:
    process = start(HOLD, root, "k")
    line(process)
    mutex = backend.mutex("k", 30.0)
    assert not mutex.acquire()
    os.kill(process.pid, signal.SIGKILL)
    killed = time.monotonic()
    process.wait()
    assert mutex.holder() is None
    assert mutex.acquire()
    assert time.monotonic() - killed < 1.0
    assert mutex.release()


def test_threads_and_processes_exclude_each_other(
    tmp_path: Path, root: Path, start: Start
) -> None:
    script = """
    import os, threading, time
    from mako_cacheplug_file import FileBackend
    root, place, rounds = args[0], args[1], int(args[2])
    wrong = []
    def work():
        backend = FileBackend(root)
        done = 0
        deadline = time.monotonic() + 60.0
        while done < rounds and time.monotonic() < deadline:
            mutex = backend.mutex("k", 30.0)
            if not mutex.acquire():
                time.sleep(0.0005)
                continue
            try:
                # Fails if anybody else is between here and the removal.
                os.close(os.open(place, os.O_CREAT | os.O_EXCL))
                os.unlink(place)
                done += 1
            except OSError as error:
                wrong.append(repr(error))
            if not mutex.release():
                wrong.append("was not ours")
        if done < rounds:
            wrong.append("starved")
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(wrong)
    """
    processes = [
        start(script, root, tmp_path / "inside", 100) for _ in range(2)
    ]
    assert [process.communicate(timeout=90)[0] for process in processes] == [
        "[]\n",
        "[]\n",
    ]


def test_only_one_of_many_threads_wins(backend: FileBackend) -> None:
    barrier = threading.Barrier(16)
    won: list[bool] = []

    def work() -> None:
        barrier.wait()
        won.append(backend.mutex("k", 30.0).acquire())

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1


def test_threads_that_share_a_mutex_exclude_each_other(
    backend: FileBackend,
) -> None:
    mutex = backend.mutex("k", 30.0)
    inside: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        for number in range(300):
            if mutex.acquire():
                inside.append(number)
                most = max(most, len(inside))
                inside.pop()
                assert mutex.release()

    in_threads([work] * 4)
    assert most == 1
    assert mutex.holder() is None
    assert mutex.acquire()
    assert mutex.release()


def test_a_forked_child_holds_nothing_and_frees_nothing(
    root: Path, start: Start
) -> None:
    process = start(
        """
        import os
        from mako_cacheplug_file import FileBackend
        backend = FileBackend(args[0])
        mutex = backend.mutex("k", 30.0)
        assert mutex.acquire()
        token = mutex.holder()
        child = os.fork()
        if child == 0:
            other = backend.mutex("k", 30.0)
            wrong = mutex.release() or other.acquire()
            wrong = wrong or other.holder() != token
            own = backend.mutex("own", 30.0)
            wrong = wrong or not own.acquire() or not own.release()
            os._exit(wrong)
        assert os.waitpid(child, 0)[1] == 0
        child = os.fork()
        if child == 0:
            os._exit(backend.mutex("k", 30.0).acquire())
        assert os.waitpid(child, 0)[1] == 0
        print(mutex.release())
        """,
        root,
    )
    assert line(process) == "True"


def test_a_removed_root_is_made_again(
    backend: FileBackend, root: Path
) -> None:
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    os.unlink(root / "mako_cacheplug.lock")
    root.rmdir()
    other = backend.mutex("k", 30.0)
    assert other.holder() is None
    assert other.acquire()
    assert mutex.release()
    assert other.release()
    assert descriptors(root) == []
