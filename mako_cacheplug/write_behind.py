"""Write-behind: what a cold page makes is stored together, at its end.

Each fragment that a render creates would be stored, and its lock given back,
in trips of its own.  It is held back instead, with its lock, until the page
is done, and stored with all others in one trip.

Nobody is kept waiting by that for long, nor misled:

* nothing is held back for longer than :data:`HELD_BACK_SECONDS`, whatever the
  page does meanwhile: a thread of its own sees to that.  What took longer
  than that to create is not held back at all, as others wait for it;
* a lock is given back after its entry was stored, as ever: whoever in another
  process wants the same waits for this one, and nobody makes it twice;
* whoever in this process reads, replaces or removes what is held back has it
  stored first;
* only what has labels is held back.  They were read before its creation
  began, so what was invalidated meanwhile is not served, whenever it comes
  to be stored.

What is held back when the process ends is stored then.  When it is killed,
that is lost, and its locks end with their lease: as if it had been killed
while it created.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final
from typing import NamedTuple
from typing import Protocol

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.exceptions import BackendError
from mako_cacheplug.exceptions import ValueTooLargeError
from mako_cacheplug.forks import ForkSafeLock

__all__ = [
    "HELD_BACK_SECONDS",
    "Held",
    "HoldingMutex",
    "WriteBehind",
    "write_behind_of",
]

HELD_BACK_SECONDS: Final = 0.005
"""How long an entry is held back at the most."""

MOST_HELD: Final = 256
"""So many entries of one store are held back at the most."""

MOST_BYTES: Final = 2**20
"""So large are they together."""

_FINENESS: Final = 8
"""A lifetime is stored as longer than it is by one in so many at the most."""


class Stores(Protocol):
    """What stores many entries, and gives many locks back."""

    def store_many(
        self, payloads: Mapping[str, bytes], ttl: float | None
    ) -> None:
        """Store *payloads*, in one trip where there is more than one.

        :raises BackendError: if any of them could not be stored.
        """

    def release_many(self, mutexes: Sequence[CacheMutex]) -> None:
        """Give *mutexes* back.  Does not raise."""

    def stored(self, entry: Held, error: BackendError | None) -> None:
        """Take note that *entry* is stored, or why it is not."""


class Held(NamedTuple):
    """An entry that is to be stored."""

    storage: Stores
    name: str
    """What the store knows it by."""

    payload: bytes
    ttl: float | None
    """Seconds, as for :meth:`CacheBackend.set`."""

    failed: Callable[[BackendError], None]
    """Is told why it could not be stored."""


class WriteBehind:
    """What this process holds back of one store.  Safe in threads."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Held, CacheMutex]] = {}
        """By name, with the mutex of each; to be looked at only."""

        self._bytes = 0
        self._guard = ForkSafeLock()
        # Held while the store is asked: whoever wants what is being stored
        # waits for it.  Unless it is the same thread, by a handler of the
        # log that renders: it stores the same once more.
        self._storing = threading.RLock()

    def add(self, entry: Held, mutex: CacheMutex) -> None:
        """Hold *entry* back, and the *mutex* that it was created under."""
        with self._guard:
            self._drop(entry.name)
            self.held[entry.name] = entry, mutex
            self._bytes += len(entry.payload)
            is_full = len(self.held) >= MOST_HELD or self._bytes > MOST_BYTES
        if is_full or not _reminder.remind():
            self.flush()

    def settle(self, names: Iterable[str]) -> None:
        """Store what is held back if it is under one of *names*.

        It has been stored when this returns, whoever did it.  Does not raise.
        """
        if any(name in self.held for name in names):
            self.flush()

    def flush(self) -> None:
        """Store what is held back.  Does not raise.

        It has been stored when this returns, whoever did it.
        """
        if not self.held:
            return
        with self._storing:
            with self._guard:
                batch = list(self.held.values())
            outcomes = _store(batch)
            with self._guard:
                for one in batch:
                    name = one[0].name
                    if self.held.get(name) is one:
                        self._drop(name)
        # Not before, as who is told may call anything.
        for entry, error in outcomes:
            entry.storage.stored(entry, error)

    def _drop(self, name: str) -> None:
        """Let go of what is held under *name*; guarded."""
        held = self.held.pop(name, None)
        if held is not None:
            self._bytes -= len(held[0].payload)

    def _after_fork(self) -> None:
        # It is the parent that stores it.
        self.held.clear()
        self._bytes = 0
        self._storing = threading.RLock()


def _store(
    batch: Sequence[tuple[Held, CacheMutex]],
) -> list[tuple[Held, BackendError | None]]:
    """Store what is in *batch*, then give its locks back."""
    groups: dict[float | None, list[Held]] = {}
    for entry, _ in batch:
        groups.setdefault(_rounded(entry.ttl), []).append(entry)
    outcomes: list[tuple[Held, BackendError | None]] = []
    for ttl, group in groups.items():
        outcomes += _store_group(group, ttl)
    if batch:
        batch[0][0].storage.release_many([mutex for _, mutex in batch])
    return outcomes


def _store_group(
    group: Sequence[Held], ttl: float | None
) -> list[tuple[Held, BackendError | None]]:
    payloads = {entry.name: entry.payload for entry in group}
    try:
        group[0].storage.store_many(payloads, ttl)
    except BackendError as error:
        if isinstance(error, ValueTooLargeError) and len(group) > 1:
            # Which of them it is, and what became of the others, each tells.
            alone = [_store_group([entry], ttl) for entry in group]
            return [outcome for outcomes in alone for outcome in outcomes]
        return [(entry, error) for entry in group]
    return [(entry, None) for entry in group]


def _rounded(ttl: float | None) -> float | None:
    """Return a ttl that others of about that length have, too.

    Not shorter, and not much longer.
    """
    if ttl is None:
        return None
    step = max(1.0, 2.0 ** math.floor(math.log2(ttl)) / _FINENESS)
    return math.ceil(ttl / step) * step


class HoldingMutex:
    """A mutex whose release can be held back, with what it was held for.

    :param mutex: a backend's; it does not raise.
    :param behind: of the same store.
    :param failed: is told why what is held back could not be stored.
    """

    def __init__(
        self,
        mutex: CacheMutex,
        behind: WriteBehind,
        failed: Callable[[BackendError], None],
    ) -> None:
        self.failed = failed
        self._mutex = mutex
        self._behind = behind
        self._entry: Held | None = None
        self.is_acquired = False

    def acquire(self) -> bool:
        self.is_acquired = self._mutex.acquire()
        return self.is_acquired

    def hold(self, entry: Held) -> None:
        """Let *entry* be stored before the mutex is given back."""
        self._entry = entry

    def release(self) -> bool:
        self.is_acquired = False
        entry, self._entry = self._entry, None
        if entry is None:
            return self._mutex.release()
        self._behind.add(entry, self._mutex)
        return True

    def holder(self) -> str | None:
        return self._mutex.holder()


_of: Final[weakref.WeakKeyDictionary[CacheBackend, WriteBehind]] = (
    weakref.WeakKeyDictionary()
)
_of_guard: Final = ForkSafeLock()


def write_behind_of(backend: CacheBackend) -> WriteBehind:
    """Return what holds back what is to be stored in *backend*."""
    with _of_guard:
        return _of.setdefault(backend, WriteBehind())


def _every() -> list[WriteBehind]:
    # Guarded: to add one in another thread would break off the iteration.
    with _of_guard:
        return list(_of.values())


def _flush_all() -> None:
    for behind in _every():
        behind.flush()


class _Reminder:
    """A thread that lets nothing be held back for too long.

    It is there once something has been, and asleep while nothing is.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._guard = threading.Lock()
        self._is_running = False

    def remind(self) -> bool:
        """Let all be flushed soon; tell whether that can be."""
        self._wanted.set()
        if not self._is_running:
            with self._guard:
                if not self._is_running:
                    self._is_running = self._start()
        return self._is_running

    def _start(self) -> bool:
        try:
            threading.Thread(
                target=self._run,
                name="mako_cacheplug write-behind",
                daemon=True,
            ).start()
        except RuntimeError:  # No more threads, or the process ends.
            return False
        return True

    def _run(self) -> None:
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                time.sleep(HELD_BACK_SECONDS)
                _flush_all()
        finally:
            # A hook can raise SystemExit.  What is held back next has another
            # thread started.
            self._is_running = False


_reminder = _Reminder()


def _after_fork() -> None:
    global _reminder
    _reminder = _Reminder()
    for behind in _every():
        behind._after_fork()


os.register_at_fork(after_in_child=_after_fork)
# The thread does not outlive the process, and a page that failed has no end.
atexit.register(_flush_all)
