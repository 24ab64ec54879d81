"""The store: what comes back, what does not, and where it is written."""

from __future__ import annotations

import gc
import math
import os
import shutil
import signal
import stat
import struct
import subprocess
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import record

from mako_cacheplug import BackendError
from mako_cacheplug import ValueTooLargeError
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.api import SupportsClear
from mako_cacheplug.api import SupportsMutex
from mako_cacheplug.api import SupportsPrune
from mako_cacheplug.api import SupportsUsage
from mako_cacheplug.options import StoreURL

Start = Callable[..., "subprocess.Popen[str]"]


class Clock(Protocol):
    """What the fixture gives: seconds that pass when told to."""

    now: float

    def __call__(self) -> float: ...


def entries(root: Path) -> list[Path]:
    """Return all files in the folders of the store."""
    return [path for path in root.glob("??/*") if path.is_file()]


def test_a_value_comes_back_and_goes(backend: FileBackend) -> None:
    assert backend.get("k") is NO_VALUE
    backend.delete("k")
    backend.set("k", b"one", None)
    assert backend.get("k") == b"one"
    backend.set("k", b"", 60.0)
    assert backend.get("k") == b""
    backend.delete("k")
    assert backend.get("k") is NO_VALUE


def test_an_expired_value_is_a_miss(
    backend: FileBackend, clock: Clock
) -> None:
    backend.set("k", b"v", 10.0)
    clock.now += 9.0
    assert backend.get("k") == b"v"
    clock.now += 1.0
    assert backend.get("k") is NO_VALUE


HOSTILE = [
    "",
    "\0",
    "a\0b",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "new-1",
    "mako_cacheplug.lock",
    "k" * 10_000,
    "a\r\nb",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "\ud83d\ude00",
    "\N{GRINNING FACE}",
    "\udcff",
]


def test_any_key_is_a_key_of_its_own(backend: FileBackend, root: Path) -> None:
    for key in HOSTILE:
        backend.set(key, repr(key).encode(), None)
        assert backend.mutex(key, 1.0).acquire()
    for key in HOSTILE:
        assert backend.get(key) == repr(key).encode()
    assert len(entries(root)) == len(HOSTILE)
    assert {p.name for p in root.parent.iterdir()} == {"store"}
    for key in HOSTILE:
        backend.delete(key)
    assert entries(root) == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_the_owner_may_look(root: Path, umask: int) -> None:
    deep = root / "a" / "b"
    before = os.umask(umask)
    try:
        backend = FileBackend(deep)
        backend.set("k", b"v", None)
        assert backend.mutex("k", 1.0).acquire()
    finally:
        os.umask(before)
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600)
    assert len(list(root.rglob("*"))) == 6


def test_a_folder_that_is_a_link_is_not_followed(
    backend: FileBackend, root: Path, tmp_path: Path
) -> None:
    backend.set("k", b"v", None)
    (entry,) = entries(root)
    outside = tmp_path / "outside"
    entry.parent.rename(outside)
    entry.parent.symlink_to(outside)
    backend.close()
    for use in (
        lambda: backend.get("k"),
        lambda: backend.set("k", b"new", None),
        lambda: backend.delete("k"),
        backend.clear,
        backend.prune,
        backend.usage,
    ):
        with pytest.raises(BackendError):
            use()
    (left,) = outside.iterdir()
    assert b"v" in left.read_bytes()


def test_an_entry_that_is_a_link_is_not_followed(
    backend: FileBackend, root: Path, tmp_path: Path
) -> None:
    backend.set("k", b"v", None)
    (entry,) = entries(root)
    outside = tmp_path / "outside"
    entry.rename(outside)
    content = outside.read_bytes()
    entry.symlink_to(outside)
    assert backend.get("k") is NO_VALUE
    backend.set("k", b"new", None)
    assert backend.get("k") == b"new"
    entry.unlink()
    entry.symlink_to(outside)
    backend.delete("k")
    assert not entry.is_symlink()
    entry.symlink_to(outside)
    assert backend.prune() == 1
    assert outside.read_bytes() == content


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_a_miss(
    backend: FileBackend, root: Path, make: Callable[[Path], None]
) -> None:
    backend.set("k", b"v", None)
    (entry,) = entries(root)
    entry.unlink()
    make(entry)
    assert backend.get("k") is NO_VALUE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:10],
        lambda data: data + b"x",
        lambda data: data.replace(b"value", b"vAlue"),
        lambda data: b"#!/bin/sh\n" * 5_000,
        lambda data: os.urandom(100_000),
    ],
)
def test_a_spoilt_file_is_a_miss_and_goes(
    backend: FileBackend, root: Path, spoil: Callable[[bytes], bytes]
) -> None:
    backend.set("k", b"value" * 10, None)
    (entry,) = entries(root)
    entry.write_bytes(spoil(entry.read_bytes()))
    assert backend.get("k") is NO_VALUE
    assert entries(root) == []
    backend.set("k", b"value", None)
    assert backend.get("k") == b"value"


def test_another_keys_file_is_a_miss(backend: FileBackend, root: Path) -> None:
    backend.set("k", b"v", None)
    (place,) = entries(root)
    backend.set("other", b"secret", None)
    (other,) = set(entries(root)) - {place}
    shutil.copyfile(other, place)
    assert backend.get("k") is NO_VALUE
    assert backend.get("other") == b"secret"


def test_readers_see_the_old_or_the_new(
    backend: FileBackend, root: Path
) -> None:
    values = {bytes([n]) * (50_000 * n + 10) for n in range(3)}
    backend.set("k", next(iter(values)), None)
    stop = threading.Event()
    seen: set[bytes | object] = set()

    def read() -> None:
        mine = FileBackend(root)
        while not stop.is_set():
            seen.add(mine.get("k"))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        for value in values:
            backend.set("k", value, None)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen
    assert seen <= values


def test_a_writer_killed_at_any_moment_leaves_readers_right(
    backend: FileBackend, root: Path, start: Start, clock: Clock
) -> None:
    script = """
    from mako_cacheplug_file import FileBackend
    backend = FileBackend(args[0])
    print("go", flush=True)
    while True:
        for digit in b"0123456789":
            backend.set("k", bytes([digit]) * 3_000_000, None)
    """
    for _ in range(5):
        process = start(script, root)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):
            backend.get("k")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        found = backend.get("k")
        assert found is NO_VALUE or found == found[:1] * 3_000_000
    backend.set("k", b"v", None)
    assert backend.get("k") == b"v"


def test_prune_removes_the_expired_and_the_left_over(
    backend: FileBackend, root: Path, clock: Clock
) -> None:
    for number in range(20):
        backend.set(str(number), b"v", 10.0 if number % 2 else 1000.0)
    backend.set("always", b"v", None)
    folder = entries(root)[0].parent
    for name in (f"new-{16 * '0'}-1", f"new-{16 * 'f'}-22"):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (clock.now, clock.now))
    (folder / "README").write_bytes(b"not the store's")
    assert backend.prune() == 0
    clock.now += 10.0
    assert backend.prune() == 10
    clock.now += 891.0
    assert backend.prune() == 2
    assert backend.usage().entries == 11
    clock.now += 100.0
    assert backend.prune() == 10
    assert backend.get("always") == b"v"
    assert (folder / "README").exists()


def test_clear_removes_all_entries_and_nothing_else(
    backend: FileBackend, root: Path
) -> None:
    for number in range(50):
        backend.set(str(number), b"v", None)
    folder = entries(root)[0].parent
    (folder / f"new-{16 * 'f'}-1").write_bytes(b"half")
    (folder / "README").write_bytes(b"not the store's")
    mutex = backend.mutex("k", 1.0)
    assert mutex.acquire()
    backend.clear()
    assert [path.name for path in entries(root)] == ["README"]
    assert backend.usage() == (0, 0)
    assert mutex.release()


def test_usage_counts_the_files(backend: FileBackend, root: Path) -> None:
    assert backend.usage() == (0, 0)
    for number in range(20):
        backend.set(str(number), bytes(number), None)
    sizes = [path.stat().st_size for path in entries(root)]
    assert backend.usage() == (20, sum(sizes))


@pytest.mark.parametrize("limits", [(None, 100), (200, None)])
def test_a_value_over_a_limit_removes_the_old_one(
    root: Path, limits: tuple[int | None, int | None]
) -> None:
    backend = FileBackend(root, max_bytes=limits[0], max_value_bytes=limits[1])
    backend.set("k", bytes(100), None)
    with pytest.raises(ValueTooLargeError) as caught:
        backend.set("k", bytes(201), None)
    assert caught.value.size == 201
    assert caught.value.limit in limits
    assert backend.get("k") is NO_VALUE


def test_a_removed_root_is_a_miss_and_is_made_again(
    backend: FileBackend, root: Path
) -> None:
    backend.set("k", b"v", None)
    backend.set("other", b"v", None)
    shutil.rmtree(root)
    assert backend.get("k") is NO_VALUE
    backend.delete("k")
    assert backend.prune() == 0
    backend.set("k", b"new", None)
    assert backend.get("k") == b"new"
    assert backend.get("other") is NO_VALUE
    backend.set("other", b"new", None)
    assert backend.get("other") == b"new"


def test_a_moved_root_is_not_written_to(
    backend: FileBackend, root: Path
) -> None:
    backend.set("k", b"v", None)
    root.rename(root.parent / "away")
    backend.set("k", b"new", None)
    assert backend.get("k") == b"new"
    assert len(entries(root)) == 1


def test_a_store_that_cannot_be_made_fails_and_then_works(root: Path) -> None:
    root.write_text("in the way")
    backend = FileBackend.from_url(StoreURL.parse(f"file://{root}/sub"))
    mutex = backend.mutex("k", 1.0)
    for use in (
        lambda: backend.get("k"),
        lambda: backend.set("k", b"v", None),
        lambda: backend.delete("k"),
        backend.clear,
        backend.prune,
        backend.usage,
        mutex.acquire,
        mutex.holder,
    ):
        with pytest.raises(BackendError) as caught:
            use()
        assert caught.value.url == f"file://{root}/sub"
    root.unlink()
    backend.set("k", b"v", None)
    assert backend.get("k") == b"v"
    assert mutex.acquire()
    assert mutex.release()


def test_closing_gives_back_every_descriptor(root: Path) -> None:
    gc.collect()  # Descriptors of earlier tests.
    before = os.listdir("/proc/self/fd")
    backend = FileBackend(root)
    for number in range(300):
        backend.set(str(number), b"v", None)
        assert backend.get(str(number)) == b"v"
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 256
    backend.close()
    backend.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert backend.get("1") == b"v"
    backend.close()


def test_parent_and_child_use_it_after_fork(root: Path, start: Start) -> None:
    process = start(
        """
        import os
        from mako_cacheplug_file import FileBackend
        backend = FileBackend(args[0])
        backend.set("k", b"parent", None)
        child = os.fork()
        if child == 0:
            wrong = backend.get("k") != b"parent"
            backend.set("k", b"child", None)
            backend.close()
            os._exit(wrong)
        assert os.waitpid(child, 0)[1] == 0
        print(backend.get("k"))
        """,
        root,
    )
    assert process.communicate(timeout=30)[0] == "b'child'\n"


def test_what_it_can_do(backend: FileBackend) -> None:
    assert isinstance(backend, SupportsMutex)
    assert isinstance(backend, SupportsClear)
    assert isinstance(backend, SupportsPrune)
    assert isinstance(backend, SupportsUsage)
    assert not isinstance(backend, SupportsBulk)


def test_a_planted_file_takes_no_more_memory_than_a_payload_may(
    tmp_path: Path,
) -> None:
    """A sparse one costs who plants it nothing."""
    backend = FileBackend(tmp_path, max_value_bytes=2**20)
    backend.set("k", b"x", None)
    (path,) = entries(tmp_path)
    size = 2**28
    head = record.pack(b"k", b"", math.inf)[:8] + struct.pack("<Q", size)
    with open(path, "r+b") as file:
        file.write(head)
        file.truncate(record.size(b"k", size))
    tracemalloc.start()
    try:
        assert backend.get("k") is NO_VALUE
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert not path.exists()


def test_a_planted_file_that_never_expires_is_pruned(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path)
    backend.set("k", b"x", None)
    (path,) = entries(tmp_path)
    for _ in "ab":
        path.write_bytes(record.pack(b"k", b"x", math.nan))
        assert backend.get("k") is NO_VALUE
        path.write_bytes(record.pack(b"k", b"x", math.nan))
        assert backend.prune() == 1
