"""Somebody puts something else where the store has its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from mako_cacheplug_file import FileBackend

from mako_cacheplug import BackendError
from mako_cacheplug.api import NO_VALUE

Plant = Callable[[Path, Path], object]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Give a file that is none of the store's business."""
    path = tmp_path / "outside"
    # As long as a token: this one could be taken for a mark.
    path.write_bytes(b"sixteen bytes...")
    yield path
    assert path.read_bytes() == b"sixteen bytes..."


def link(place: Path, outside: Path) -> None:
    place.symlink_to(outside)


def second_name(place: Path, outside: Path) -> None:
    place.hardlink_to(outside)


def dangling_link(place: Path, outside: Path) -> None:
    place.symlink_to(outside.parent / "not there")


def pipe(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def unix_socket(place: Path, outside: Path) -> None:
    # Its address is short: paths of temporary folders may be too long.
    folder = os.open(place.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{folder}/{place.name}")
    os.close(folder)


def folder(place: Path, outside: Path) -> None:
    place.mkdir()


THINGS = [link, second_name, dangling_link, pipe, unix_socket]


def entry_of(backend: FileBackend, key: str) -> Path:
    """Return the path of *key*'s file; it is not there."""
    before = set(Path(backend.root).glob("??/*"))
    backend.set(key, b"v", None)
    (path,) = set(Path(backend.root).glob("??/*")) - before
    backend.delete(key)
    return path


@pytest.mark.parametrize("plant", THINGS)
def test_in_an_entrys_place_it_is_a_miss_and_gives_way(
    backend: FileBackend, outside: Path, plant: Plant
) -> None:
    entry = entry_of(backend, "k")
    plant(entry, outside)
    assert backend.get("k") is NO_VALUE
    backend.set("k", b"new", None)
    assert backend.get("k") == b"new"
    entry.unlink()
    plant(entry, outside)
    assert backend.prune() == 1
    plant(entry, outside)
    backend.clear()
    assert not os.path.lexists(entry)


@pytest.mark.parametrize("plant", THINGS)
def test_in_a_marks_place_it_gives_way(
    backend: FileBackend, outside: Path, plant: Plant
) -> None:
    """At the latest for the one who creates after that."""
    entry = entry_of(backend, "k")
    plant(entry.with_name(f"mark-{entry.name}"), outside)
    backend.check_and_set("k", b"first", None, backend.claim("k"))
    backend.check_and_set("k", b"second", None, backend.claim("k"))
    assert backend.get("k") in (b"first", b"second")


def test_a_folder_in_a_marks_place_is_left_and_nothing_stored(
    backend: FileBackend,
) -> None:
    entry = entry_of(backend, "k")
    mark = entry.with_name(f"mark-{entry.name}")
    mark.mkdir()
    assert backend.claim("k") == b""
    assert mark.is_dir()


def test_a_pipe_that_somebody_writes_to_is_waited_for_by_nobody(
    backend: FileBackend,
) -> None:
    entry = entry_of(backend, "k")
    mark = entry.with_name(f"mark-{entry.name}")
    with contextlib.ExitStack() as stack:
        for place in (entry, mark):
            os.mkfifo(place)
            fd = os.open(place, os.O_RDWR | os.O_NONBLOCK)
            stack.callback(os.close, fd)
        assert backend.get("k") is NO_VALUE
        assert backend.get_if_changed("k", None) is NO_VALUE
        assert backend.check_and_set("k", b"v", None, backend.claim("k"))
        assert backend.get("k") == b"v"
        backend.delete("k")
        os.mkfifo(entry)
        stack.callback(os.close, os.open(entry, os.O_RDWR | os.O_NONBLOCK))
        assert backend.prune() == 1


@pytest.mark.parametrize("plant", [*THINGS, folder])
def test_in_the_ledgers_place_it_gives_way(
    backend: FileBackend, root: Path, outside: Path, plant: Plant
) -> None:
    backend.set("k", b"v", None)
    ledger = root / "mako_cacheplug.usage"
    ledger.unlink()
    plant(ledger, outside)
    backend.set("k", b"new", None)
    assert backend.get("k") == b"new"
    assert ledger.is_file()
    assert not ledger.is_symlink()
    assert ledger.stat().st_nlink == 1


@pytest.mark.parametrize("plant", [*THINGS, folder])
def test_in_the_lock_files_place_it_gives_way(
    backend: FileBackend, root: Path, outside: Path, plant: Plant
) -> None:
    root.mkdir(exist_ok=True)
    place = root / "mako_cacheplug.lock"
    place.unlink(missing_ok=True)
    plant(place, outside)
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    assert not backend.mutex("k", 30.0).acquire()
    assert mutex.release()
    status = place.lstat()
    assert stat.S_ISREG(status.st_mode)
    assert status.st_nlink == 1


def test_a_lock_file_in_use_stays_though_it_is_copied_by_a_hard_link(
    backend: FileBackend, root: Path, tmp_path: Path
) -> None:
    """As ``cp -al`` makes it: others have to see what is held."""
    mutex = backend.mutex("k", 30.0)
    assert mutex.acquire()
    place = root / "mako_cacheplug.lock"
    (tmp_path / "copy").hardlink_to(place)
    inode = place.stat().st_ino
    other = backend.mutex("other", 30.0)
    assert other.acquire()
    assert place.stat().st_ino == inode
    assert other.release()
    assert mutex.release()


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_folder_that_is_none_does_not_keep_the_others_from_making_room(
    root: Path, tmp_path: Path, what: str
) -> None:
    backend = FileBackend(str(root), max_bytes=20_000)
    for number in range(20):
        backend.set(f"k{number}", b"x" * 400, None)
    shard = next(path for path in root.glob("??") if path.is_dir())
    shutil.rmtree(shard)
    if what == "file":
        shard.write_text("somebody's")
    else:
        shard.symlink_to(tmp_path)
    failed = 0
    for number in range(300):
        try:
            backend.set(f"n{number}", b"x" * 400, None)
        except BackendError:  # Its place is taken.
            failed += 1
    assert failed < 10
    held = sum(p.stat().st_size for p in root.glob("??/*") if p.is_file())
    assert held <= 22_000


def test_a_copy_of_the_store_by_hard_links_stays_as_it_was(
    backend: FileBackend, root: Path, tmp_path: Path
) -> None:
    """As ``cp -al`` makes it."""
    backend.set("k", b"old", None)
    backend.set("other", b"old", None)
    backend.claim("other")
    copied: dict[Path, bytes] = {}
    for number, path in enumerate(p for p in root.rglob("*") if p.is_file()):
        saved = tmp_path / f"saved-{number}"
        saved.hardlink_to(path)
        copied[saved] = path.read_bytes()
    assert len(copied) == 4
    backend.set("k", b"new", None)
    for _ in "ab":
        claim = backend.claim("other")
        backend.check_and_set("other", b"new", None, claim)
    assert backend.get("k") == b"new"
    assert backend.get("other") == b"new"
    assert {path: path.read_bytes() for path in copied} == copied


FOREIGN = [
    "README",
    "new-york.html",
    "new-1",
    "mark-twain.txt",
    "this-is-a-name-of-32-characters!",
    "D41D8CD98F00B204E9800998ECF8427E",
    f"mark-{32 * 'z'}",
    f"new-{16 * 'a'}-1\n",
    f"{32 * 'a'}\n",
    "a\nb",
    ".hidden",
    "\udcff",
]


def test_foreign_files_stay(root: Path) -> None:
    """Whatever is removed: the expired, everything, or the oldest."""
    backend = FileBackend(root, max_bytes=10_000, clock=lambda: 4e9)
    for number in range(40):
        backend.set(str(number), b"v", None)
    shard = next(root.glob("??"))
    foreign = {
        folder / name
        for folder in (root, shard, root.parent)
        for name in FOREIGN
    }
    for path in foreign:
        path.write_bytes(b"foreign")
        os.utime(path, (0, 0))
    kept = shard / (32 * "b")
    kept.mkdir()
    (kept / "inside").write_bytes(b"foreign")
    backend.prune()
    for number in range(40):
        backend.set(str(number), bytes(1000), None)
    assert backend.usage().bytes <= 10_000
    backend.clear()
    assert backend.usage() == (0, 0)
    assert {path.read_bytes() for path in foreign} == {b"foreign"}
    assert (kept / "inside").exists()


@pytest.mark.parametrize("is_link", [False, True])
def test_the_other_folders_are_cleared_also_where_one_is_none(
    backend: FileBackend, root: Path, tmp_path: Path, is_link: bool
) -> None:
    for number in range(50):
        backend.set(str(number), b"v", -1.0)
    first = min(root.glob("??"))
    moved = tmp_path / "moved"
    first.rename(moved)
    if is_link:
        first.symlink_to(moved)
    else:
        first.write_bytes(b"in the way")
    backend.close()
    with pytest.raises(BackendError):
        backend.prune()
    left = [os.listdir(path) for path in root.glob("??") if path != first]
    assert left
    assert not any(left)
    assert os.listdir(moved)
