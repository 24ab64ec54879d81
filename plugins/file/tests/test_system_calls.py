"""Any call of the system fails, or is the last one, or finds no folder.

What is tried is each call in turn of each thing that a store does: a reader
sees a right value or none, nothing is left open, held or lying about, and the
store works again after that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mako_cacheplug_file import FileBackend
from mako_cacheplug_file import locks
from mako_cacheplug_file.culling import Ledger

from mako_cacheplug import BackendError
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.testing.running import Child

OLD, NEW = b"old" * 999, b"new" * 999

CHANGING = {
    os: (
        *("open", "write", "pwrite", "utime"),
        *("mkdir", "rmdir", "unlink", "rename", "link"),
    ),
    fcntl: ("flock", "lockf"),
}
"""A call that changes nothing leaves what the next one that does finds."""

ALL = {
    os: (
        *CHANGING[os],
        *("close", "read", "pread", "lseek"),
        *("stat", "lstat", "fstat", "listdir"),
    ),
    fcntl: (*CHANGING[fcntl], "fcntl"),
}

Real = Callable[..., Any]
Instead = Callable[..., Any]


class Calls:
    """Calls of the system: at the n-th, something else is done.

    :param names: of the functions that count.
    :param instead: gets the function, its name and its arguments.
    """

    def __init__(
        self,
        names: dict[ModuleType, tuple[str, ...]],
        number: int,
        instead: Instead,
    ) -> None:
        self._names = names
        self._instead = instead
        self._left = number
        self.last = ""
        """The name of the n-th; empty if there were fewer."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let it happen within."""
        with pytest.MonkeyPatch.context() as patch:
            for module, names in self._names.items():
                for name in names:
                    real = getattr(module, name)
                    call = functools.partial(self._call, real, name)
                    patch.setattr(module, name, call)
            yield

    def _call(self, real: Real, name: str, *args: Any, **given: Any) -> Any:
        changes = name != "open" or args[1] & os.O_CREAT
        self._left -= bool(changes or self._names is ALL)
        if self._left or self.last:
            return real(*args, **given)
        self.last = name
        return self._instead(real, name, *args, **given)


def create(store: FileBackend) -> object:
    return store.check_and_set("k", NEW, None, store.claim("k"))


def take_the_lock(store: FileBackend) -> object:
    mutex = store.mutex("k", 9.0)
    try:
        return mutex.acquire() and store.mutex("k", 9.0).holder()
    finally:
        mutex.release()


def create_under_the_lock(store: FileBackend) -> object:
    mutex = store.mutex("k", 9.0)
    mutex.acquire()
    try:
        return create(store)
    finally:
        mutex.release()


def read_a_copy_again(store: FileBackend) -> object:
    found = store.get_if_changed("other", None)
    stamp = found[1] if isinstance(found, tuple) else None
    return store.get_if_changed("other", stamp)


WRITING: dict[str, Callable[[FileBackend], object]] = {
    "set": lambda store: store.set("k", NEW, None),
    "create": create,
    "create under the lock": create_under_the_lock,
    "set where room is made": lambda store: FileBackend(
        store.root, max_bytes=4000
    ).set("k", NEW, None),
    "set what is too large": lambda store: FileBackend(
        store.root, max_bytes=1000
    ).set("k", NEW, None),
    "read what is torn": lambda store: store.get("torn"),
    "delete": lambda store: store.delete("k"),
    "clear": lambda store: store.clear(),
    "prune": lambda store: store.prune(),
}
"""What a process can be doing when the power fails."""

READING: dict[str, Callable[[FileBackend], object]] = {
    "read": lambda store: store.get("k"),
    "read a copy again": read_a_copy_again,
    "take the lock": take_the_lock,
    "count": lambda store: store.usage(),
}

EMPTYING = ("set where room is made", "set what is too large", "clear")


def prepare(root: Path, is_new: bool) -> FileBackend:
    """Return a store with something of everything."""
    shutil.rmtree(root, ignore_errors=True)
    backend = FileBackend(root)
    backend.set("torn", b"torn", None)
    (torn,) = (p for p in root.glob("??/*") if len(p.name) == 32)
    with torn.open("ab") as file:
        file.write(b"!")
    backend.set("expired", b"v", -1.0)
    backend.set("other", b"other", None)
    left_over = torn.with_name(f"new-{16 * 'a'}-1")
    left_over.write_bytes(b"half")
    os.utime(left_over, (0, 0))
    if not is_new:
        backend.set("k", OLD, None)
    backend.close()
    return backend


def noted(root: Path) -> int:
    with Ledger(str(root / "mako_cacheplug.usage")) as ledger:
        return sum(ledger.read())


def open_files(below: Path) -> list[str]:
    """Return what this process has open, but for folders."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(f"/proc/self/fd/{fd}")
            if stat.S_ISREG(os.stat(f"/proc/self/fd/{fd}").st_mode):
                found.append(path)
    return [path for path in found if path.startswith(str(below))]


def works(backend: FileBackend) -> bool:
    """Tell whether nobody waits, and a value can be stored.

    At the latest the second creator's is.
    """
    mutex = backend.mutex("k", 9.0)
    assert mutex.acquire(), "somebody who is gone holds the lock"
    assert mutex.release()
    for value in (b"first", b"second"):
        backend.check_and_set("k", value, None, backend.claim("k"))
    return backend.get("k") in (b"first", b"second")


def die(
    half_done: bool, real: Real, name: str, *args: Any, **given: Any
) -> None:
    """End the process by SIGKILL, after the first half of a write."""
    if half_done and name in ("write", "pwrite"):
        fd, data, *place = args
        real(fd, data[: len(data) // 2], *place)
    os.kill(os.getpid(), signal.SIGKILL)


def is_killed(function: Callable[[], object]) -> bool:
    """Tell whether a child that runs it dies; it must not fail otherwise."""
    child = Child(function)
    try:
        child.result()
    except AssertionError as error:
        assert "died" in str(error)
        return True
    finally:
        child.close()
    return False


@pytest.mark.parametrize("what", WRITING)
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "over an old"])
@pytest.mark.parametrize("half_done", [False, True], ids=["", "half"])
def test_killed_before_any_call(
    root: Path, what: str, is_new: bool, half_done: bool
) -> None:
    """Readers are right, nobody waits, and what is left over is pruned."""
    for number in itertools.count(1):
        backend = prepare(root, is_new)
        calls = Calls(CHANGING, number, functools.partial(die, half_done))

        def run(calls: Calls = calls) -> None:
            with contextlib.suppress(BackendError), calls.watched():
                WRITING[what](FileBackend(root))

        killed = is_killed(run)
        assert backend.get("k") in (NO_VALUE, OLD, NEW)
        if what not in EMPTYING:
            assert backend.get("other") == b"other"
        # Not noted is one value at most.
        assert backend.usage().bytes - noted(root) < 2 * len(NEW)
        assert works(backend)
        FileBackend(root, clock=lambda: time.time() + 7200.0).prune()
        left = [path.name for path in root.glob("??/*")]
        assert all(len(name) == 32 for name in left), left
        if not killed:
            break
    assert number > 2 or what in EMPTYING or what.startswith(("read", "del"))


def fail(code: int, real: Real, name: str, *args: Any, **given: Any) -> None:
    if name == "close":
        # Its number is free, whatever it says: close(2).
        real(*args, **given)
    raise OSError(code, os.strerror(code))


def lose_the_root(
    root: Path, real: Real, name: str, *args: Any, **given: Any
) -> Any:
    shutil.rmtree(root, ignore_errors=True)
    return real(*args, **given)


def move_the_root(
    root: Path, real: Real, name: str, *args: Any, **given: Any
) -> Any:
    away = root.with_name("away")
    shutil.rmtree(away, ignore_errors=True)
    root.rename(away)
    return real(*args, **given)


CODES = ("EACCES", "EAGAIN", "EEXIST", "EIO", "ELOOP", "EMFILE", "ENOENT")
"""Those that the store tells from others, and one for all the others."""

ENOUGH = 40
"""Calls, for what goes through 256 folders and does the same in each."""


@pytest.mark.parametrize("what", [*WRITING, *READING])
@pytest.mark.parametrize("happens", [*CODES, "removed", "moved"])
def test_what_happens_before_any_call_is_an_error_or_a_miss(
    root: Path, what: str, happens: str
) -> None:
    work = WRITING.get(what) or READING[what]
    instead: Instead
    if happens == "removed":
        instead = functools.partial(lose_the_root, root)
    elif happens == "moved":
        instead = functools.partial(move_the_root, root)
    else:
        instead = functools.partial(fail, getattr(errno, happens))
    held = dict(locks._files)
    for number in range(1, ENOUGH):
        prepare(root, is_new=number % 2 == 0)
        backend = FileBackend(root)
        calls = Calls(ALL, number, instead)
        with contextlib.suppress(BackendError), calls.watched():
            work(backend)
        backend.close()
        assert open_files(root.parent) == [], calls.last
        assert locks._files == held
        if calls.last != "unlink":
            left = [p.name for p in root.glob("??/new-*") if p.stat().st_mtime]
            assert not left, calls.last
        assert backend.get("k") in (NO_VALUE, OLD, NEW)
        assert works(backend)
        if not calls.last:
            break
    else:
        assert what in (*EMPTYING, "prune", "count")
