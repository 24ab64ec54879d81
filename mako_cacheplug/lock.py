"""The dogpile lock: of many callers that miss one value, one creates it.

The election has two rounds.  In the process, the first caller for a key
opens a *flight* and leads it; whoever comes later with the same key joins.
The leader then stands for its process in the second round: over a mutex that
all processes share, if there is one.  The winner of both looks once more
(somebody may have finished while it was being elected) and creates.

What the others do is the whole point:

* with a stale value in hand, they return it at once;
* without one, they wait for that one creation, at most *wait* seconds;
* if it ends without a value (it failed, its process died, the value could
  not be shared) they are let go together and each creates for itself.
  Electing a new creator then would make them fail one after the other;
* a caller that already leads the key (a creator that asks for its own key)
  creates at once: it would be waiting for itself.

The value of a flight is handed to those who joined it, so they are served
even when it could not be stored.

No entry, timeout or store is known here.  The algorithm is the one that Mike
Bayer published as Beaker's and then dogpile's lock; the rules for stale
values, failures and dead holders are this module's.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any
from typing import Generic
from typing import TypeVar

from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue

__all__ = ["DogpileLock"]

_V = TypeVar("_V")

FIRST_LOOK = 0.002
"""Seconds until the first look at another process's creation."""

LAST_LOOK = 0.016
"""Seconds between looks once it has been going on for a while."""


class _Flight(Generic[_V]):
    """One creation in this process and those who wait for it."""

    __slots__ = ("leader", "outcome", "over")

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.outcome: _V | NoValue = NO_VALUE
        self.over = threading.Event()


class DogpileLock(Generic[_V]):
    """Elects one creator per key among threads, and over a mutex processes.

    Safe in threads; in a forked child it starts without flights, as the
    threads that flew them are the parent's.

    :param clock: monotonic seconds.
    :param sleep: waits that many seconds between two looks at another
        process's creation.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._reset()
        _every_lock.add(self)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._flights: dict[str, _Flight[_V]] = {}

    def get_or_create(
        self,
        key: str,
        look: Callable[[], _V | NoValue],
        create: Callable[[], _V],
        *,
        wait: float,
        stale: _V | NoValue = NO_VALUE,
        mutex: CacheMutex | None = None,
    ) -> _V:
        """Return the value of *key*, from whoever gets to create it.

        :param look: returns the value if it is there by now, else
            ``NO_VALUE``.
        :param create: makes the value and, before it returns, puts it where
            *look* finds it.  Runs in this thread.
        :param wait: seconds to wait for another's creation, then create.
        :param stale: an old value that may be returned instead of waiting.
        :param mutex: the election across processes; it must not raise.
        :raises Exception: whatever *create* raises in this very call.
        """
        me = threading.get_ident()
        with self._guard:
            flight = self._flights.get(key)
            leading = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight(me)
        if leading:
            try:
                outcome = self._lead(look, create, wait, stale, mutex)
                flight.outcome = outcome
            finally:
                with self._guard:
                    if self._flights.get(key) is flight:
                        del self._flights[key]
                flight.over.set()
        elif flight.leader == me:
            return create()
        elif stale is not NO_VALUE:
            return stale
        else:
            flight.over.wait(min(wait, threading.TIMEOUT_MAX))
            outcome = flight.outcome
        return create() if outcome is NO_VALUE else outcome

    def part(self, key: str | None) -> None:
        """Let who comes from now on not join the flight of *key*.

        What it makes is old by now.  Those who joined before wait for it.

        :param key: ``None`` for every key.
        """
        with self._guard:
            if key is None:
                self._flights.clear()
            else:
                self._flights.pop(key, None)

    def _lead(
        self,
        look: Callable[[], _V | NoValue],
        create: Callable[[], _V],
        wait: float,
        stale: _V | NoValue,
        mutex: CacheMutex | None,
    ) -> _V | NoValue:
        """Return the value, or ``NO_VALUE`` if everybody is on their own."""
        if mutex is None or mutex.acquire():
            try:
                found = look()
                return create() if found is NO_VALUE else found
            finally:
                if mutex is not None:
                    mutex.release()
        if stale is not NO_VALUE:
            return stale
        return self._follow(look, mutex, wait)

    def _follow(
        self, look: Callable[[], _V | NoValue], mutex: CacheMutex, wait: float
    ) -> _V | NoValue:
        """Wait for the creation that holds *mutex*; return what it made.

        The holder stores before it releases.  So: ask who holds it, then
        look.  A value that is still missing once the holder is another one,
        or nobody, is not coming from the creation that we waited for.
        """
        deadline = self._clock() + wait
        holder = mutex.holder()
        pause = FIRST_LOOK
        while True:
            found = look()
            if found is not NO_VALUE:
                return found
            remaining = deadline - self._clock()
            if holder is None or remaining <= 0.0:
                return NO_VALUE
            self._sleep(min(pause, remaining))
            pause = min(pause * 1.5, LAST_LOOK)
            if mutex.holder() != holder:
                holder = None


_every_lock: weakref.WeakSet[DogpileLock[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_every_lock):
        lock._reset()


os.register_at_fork(after_in_child=_after_fork)
