"""Marks: what a claim is worth when others come in between, or die."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import Protocol

import pytest
from mako_cacheplug_file import culling
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import marks

from mako_cacheplug import BackendError
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import Usage

Start = Callable[..., "subprocess.Popen[str]"]


class Clock(Protocol):
    """What the fixture gives: seconds that pass when told to."""

    now: float

    def __call__(self) -> float: ...


def files(root: Path) -> list[str]:
    """Return the names of all files in the folders of the store."""
    return [path.name for path in root.glob("??/*")]


def mark_of(root: Path) -> Path:
    (found,) = root.glob("??/mark-*")
    return found


@pytest.fixture
def writing(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], None]], None]:
    """Do something, once, when a creator is about to write into its mark."""

    def when(act: Callable[[], None]) -> None:
        acts = [act]

        def write(fd: int, data: bytes) -> None:
            if len(data) > 16 and acts:
                acts.pop()()
            real(fd, data)

        real = marks.write
        monkeypatch.setattr(marks, "write", write)

    return when


def test_a_mark_is_no_entry(backend: FileBackend, root: Path) -> None:
    claim = backend.claim("k")
    assert backend.claim("k") == claim
    assert backend.usage() == Usage(0, 0)
    assert [name[:5] for name in files(root)] == ["mark-"]
    assert backend.get("k") is NO_VALUE
    assert backend.check_and_set("k", b"v", None, claim) is True
    assert len(files(root)) == 1
    assert backend.usage().entries == 1


@pytest.mark.parametrize("old", [b"", b"old"])
def test_a_deletion_while_it_is_being_written(
    backend: FileBackend, root: Path, writing: Any, old: bytes
) -> None:
    if old:
        backend.set("k", old, None)
    claim = backend.claim("k")
    writing(lambda: backend.delete("k"))
    assert backend.check_and_set("k", b"late", None, claim) is False
    assert files(root) == []
    assert backend.usage() == Usage(0, 0)


def test_a_set_while_it_is_being_written(
    backend: FileBackend, root: Path, writing: Any
) -> None:
    claim = backend.claim("k")
    writing(lambda: backend.set("k", b"set", None))
    assert backend.check_and_set("k", b"late", None, claim) is False
    assert backend.get("k") == b"set"
    assert len(files(root)) == 1


def test_a_new_mark_while_it_is_being_written(
    backend: FileBackend, root: Path, writing: Any
) -> None:
    """It is the new one that gets the name then, and it holds no value."""
    claim = backend.claim("k")

    def act() -> None:
        backend.delete("k")
        backend.claim("k")

    writing(act)
    assert backend.check_and_set("k", b"late", None, claim) is False
    assert backend.get("k") is NO_VALUE
    after = backend.claim("k")
    assert backend.check_and_set("k", b"new", None, after) is True
    assert backend.get("k") == b"new"
    assert len(files(root)) == 1


def test_two_that_have_one_mark_do_not_write_at_once(
    backend: FileBackend, writing: Any
) -> None:
    claim = backend.claim("k")
    refused = []

    def act() -> None:
        refused.append(backend.check_and_set("k", b"second", None, claim))
        # Nor is there a claim to be had meanwhile, or one to be voided.
        refused.append(
            backend.check_and_set("k", b"third", None, backend.claim("k"))
        )

    writing(act)
    assert backend.check_and_set("k", b"first", None, claim) is True
    assert refused == [False, False]
    assert backend.get("k") == b"first"


@pytest.mark.parametrize("left", [NO_VALUE, b"set"])
def test_what_is_stored_before_the_mark_is_removed(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch, left: object
) -> None:
    """It is what is deleted or replaced then; nothing is stored after it."""
    backend.set("k", b"old", None)
    claim = backend.claim("k")
    stored = []

    def void(name: str, folder: int) -> None:
        if not stored:
            stored.append(backend.check_and_set("k", b"v", None, claim))
        real(name, folder)

    real = marks.void
    monkeypatch.setattr(marks, "void", void)
    if left is NO_VALUE:
        backend.delete("k")
    else:
        backend.set("k", b"set", None)
    assert stored == [True]
    assert backend.get("k") == left


def test_a_clear_while_it_is_being_renamed(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed as a mark, and an entry when it is to be removed."""
    claims = [backend.claim("k")]
    stored: list[bool] = []

    def files_in(
        names: list[str], shard: str, folder: int
    ) -> Iterator[culling.File]:
        found = list(real(names, shard, folder))
        if found and claims:
            late = claims.pop()
            stored.append(backend.check_and_set("k", b"v", None, late))
        return iter(found)

    real = culling.files_in
    monkeypatch.setattr(culling, "files_in", files_in)
    backend.clear()
    assert stored == [True]
    assert backend.get("k") is NO_VALUE


@pytest.mark.parametrize("left", [b"", b"MCF\x01half", b"x" * 17])
def test_what_a_dead_creator_left_in_its_mark_is_replaced(
    backend: FileBackend, root: Path, left: bytes
) -> None:
    claim = backend.claim("k")
    mark_of(root).write_bytes(left)
    assert backend.check_and_set("k", b"x", None, claim) is False
    after = backend.claim("k")
    assert backend.check_and_set("k", b"v", None, after) is True
    assert backend.get("k") == b"v"


def test_a_creator_that_is_killed_while_it_writes(
    backend: FileBackend, root: Path, start: Start
) -> None:
    backend.set("k", b"old", None)
    process = start(
        """
        import os
        from mako_cacheplug_file import FileBackend, marks
        backend = FileBackend(args[0])
        claim = backend.claim("k")
        def write(fd, data):
            os.write(fd, data[:-1])
            print("half", flush=True)
            input()
        marks.write = write
        backend.check_and_set("k", b"new", None, claim)
        """,
        root,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    assert backend.get("k") == b"old"
    busy = backend.claim("k")
    assert backend.check_and_set("k", b"x", None, busy) is False
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = backend.claim("k")
    assert backend.get("k") == b"old"
    assert backend.check_and_set("k", b"v", None, after) is True
    assert backend.get("k") == b"v"


def test_a_write_that_fails_voids_the_claim(
    backend: FileBackend, root: Path, writing: Any
) -> None:
    def act() -> None:
        raise OSError(28, "No space left on device")

    claim = backend.claim("k")
    writing(act)
    with pytest.raises(BackendError, match="No space"):
        backend.check_and_set("k", b"v", None, claim)
    assert files(root) == []
    assert backend.check_and_set("k", b"v", None, claim) is False


def test_prune_removes_the_marks_of_a_while_ago(
    backend: FileBackend, root: Path, clock: Clock
) -> None:
    claim = backend.claim("k")
    os.utime(mark_of(root), (clock.now, clock.now))
    clock.now += 800.0
    assert backend.prune() == 0
    clock.now += 200.0
    assert backend.prune() == 1
    assert files(root) == []
    assert backend.check_and_set("k", b"v", None, claim) is False


def test_a_root_that_was_removed_takes_its_claims_along(
    backend: FileBackend, root: Path
) -> None:
    claim = backend.claim("k")
    root.rename(root.with_name("away"))
    assert backend.check_and_set("k", b"v", None, claim) is False
    assert backend.get("k") is NO_VALUE
    after = backend.claim("k")
    assert backend.check_and_set("k", b"v", None, after) is True


def test_a_locked_mark_is_left_alone(backend: FileBackend, root: Path) -> None:
    """Whoever has it locked is writing."""
    claim = backend.claim("k")
    with mark_of(root).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert backend.check_and_set("k", b"v", None, claim) is False
        assert backend.claim("k") == claim
    assert backend.check_and_set("k", b"v", None, claim) is True


@pytest.mark.parametrize("claim", [None, b"", b"x" * 16, "text", object()])
def test_what_is_no_claim_holds_for_nothing(
    backend: FileBackend, root: Path, claim: object
) -> None:
    backend.claim("k")
    assert backend.check_and_set("k", b"v", None, claim) is False
    mark_of(root).write_bytes(b"")
    assert backend.check_and_set("k", b"v", None, claim) is False
    assert backend.get("k") is NO_VALUE


def test_creators_that_fail_leave_few_marks(root: Path) -> None:
    """For whatever keys; those of creators at work are among the youngest."""
    root.mkdir()
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (root / "an-entry").touch()
        old = root / f"mark-{'f' * 32}"
        old.touch()
        os.utime(old, (1.0, 1.0))
        most = 0
        for number in range(4_000):
            name = f"{number:032x}"
            token = marks.put(name, folder)
            assert marks.put(name, folder) == token
            if number % 100 == 0:
                most = max(most, len(os.listdir(root)))
        # One that is in 64, at each of more than a thousand, never comes.
        assert 64 < most < 64 + 1_100
        assert (root / "an-entry").exists()
        assert not old.exists()
        assert (root / f"mark-{3_999:032x}").exists()
    finally:
        os.close(folder)


def test_marks_of_dead_creators_go_though_there_are_few(root: Path) -> None:
    root.mkdir()
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    old, young = (root / f"mark-{digit * 32}" for digit in "ef")
    for mark, age in ((old, 1_000.0), (young, 800.0)):
        mark.touch()
        os.utime(mark, (time.time() - age,) * 2)
    try:
        for number in range(1_100):
            name = f"{number:032x}"
            marks.put(name, folder)
            marks.void(name, folder)
        assert os.listdir(root) == [young.name]
    finally:
        os.close(folder)
