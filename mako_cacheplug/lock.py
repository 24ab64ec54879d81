"""The dogpile lock: of many callers that miss one value, one creates it.

The election has two rounds.  In the process, the first caller for a key
opens a *flight* and leads it; whoever comes later with the same key joins.
The leader then stands for its process in the second round: over a mutex that
all processes share, if there is one.  The winner of both looks once more
(somebody may have finished while it was being elected) and creates.

What the others do is the whole point:

* with a stale value in hand, they return it at once; a process that has lost
  an election does not stand in the next one for a moment;
* without one, they wait for that one creation, at most *wait* seconds;
* if it ends without a value (it failed, its process died, the value could
  not be shared) they are let go together and each creates for itself.
  Electing a new creator then would make them fail one after the other;
* a caller that would be waiting for itself creates at once: a creator that
  asks for its own key, or one of two that ask for each other's.  How they
  are found out is the matter of :mod:`mako_cacheplug.waiting`.

The value of a flight is handed to those who joined it, so they are served
even when it could not be stored.

No entry, timeout or store is known here.  The algorithm is the one that Mike
Bayer published as Beaker's and then dogpile's lock; the rules for stale
values, failures and dead holders are this module's.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar

from mako_cacheplug import budget
from mako_cacheplug.api import CacheMutex
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.waiting import Flight
from mako_cacheplug.waiting import WaitGraph

__all__ = ["DogpileLock"]

_V = TypeVar("_V")

FIRST_PAUSE: Final = 0.001
"""Seconds until another process's creation is asked after, or up to twice
that: those who began to wait together do not ask together.  Most fragments
take no longer."""

LAST_PAUSE: Final = 0.018
"""Seconds between two questions once it has been going on for a while.

Nobody waits much longer than that for what has been made, and a process
asks less than 60 times a second.
"""

LOOK_EVERY: Final = 4
"""Of so many questions one is for the value: not only the holder makes it."""

_REMEMBERED: Final = 4096
"""Keys of which it is known that another process creates them."""

_graph: Final = WaitGraph()
"""One for all locks: a circle may lead through several stores."""


class DogpileLock(Generic[_V]):
    """Elects one creator per key among threads, and over a mutex processes.

    Safe in threads; in a forked child it starts without flights to join, as
    the threads that fly them are the parent's.

    :param clock: monotonic seconds.
    :param sleep: waits that many seconds between two questions after
        another process's creation.
    :param chance: random numbers from 0 to 1.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._reset()
        _every_lock.add(self)

    def _reset(self) -> None:
        self._guard = _graph.guard
        self._flights: dict[str, Flight[_V]] = {}
        # What other processes create, and until when that is not asked.
        self._elsewhere: dict[str, float] = {}

    def get_or_create(
        self,
        key: str,
        look: Callable[[], _V | NoValue],
        create: Callable[[], _V],
        *,
        wait: float,
        stale: _V | NoValue = NO_VALUE,
        mutex: CacheMutex | None = None,
        leaf: bool = False,
        shareable: Callable[[_V], bool] | None = None,
    ) -> _V:
        """Return the value of *key*, from whoever gets to create it.

        :param look: returns the value if it is there by now, else
            ``NO_VALUE``.
        :param create: makes the value and, before it returns, puts it where
            *look* finds it.  Runs in this thread, and may ask this lock or
            another for any key.
        :param wait: seconds to wait for another's creation, then create.
        :param stale: an old value that may be returned instead of waiting.
        :param mutex: the election across processes, by the same *key* in
            all of them; it must not raise.
        :param leaf: whether *create* asks for no other key, in any process;
            then nobody has to fear a circle who waits for it.
        :param shareable: tells whether a value may be handed to those who
            wait; if not, they are let go as if there were none.
        :raises Exception: whatever *create* raises in this very call.
        """
        mine: Flight[_V] = Flight(self, key, threading.get_ident(), leaf)
        flight: Flight[_V] | None = None
        with self._guard:
            if not _graph.is_creating(mine):
                if stale is not NO_VALUE and self._is_elsewhere(key):
                    return stale
                flight = self._flights.setdefault(key, mine)
                if flight is mine:
                    _graph.begin(mine)
                elif stale is NO_VALUE and not _graph.join(mine, flight):
                    flight = None
        outcome: _V | NoValue = NO_VALUE
        if flight is mine:
            try:
                outcome = self._lead(mine, look, create, wait, stale, mutex)
                if (
                    shareable is None
                    or outcome is NO_VALUE
                    or shareable(outcome)
                ):
                    mine.outcome = outcome
            finally:
                self._land(mine)
        elif flight is not None:
            if stale is not NO_VALUE:
                return stale
            outcome = self._await(mine, flight, wait)
        if outcome is NO_VALUE:
            return self._create_alone(key, create)
        return outcome

    def _is_elsewhere(self, key: str) -> bool:
        """Tell whether another process created *key* just now; guarded."""
        until = self._elsewhere.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._elsewhere[key]
        return False

    def _land(self, flight: Flight[_V]) -> None:
        """Let go those who wait for *flight*."""
        with self._guard:
            _graph.end(flight)
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
        # Nobody joins any more, so this is known now.
        if flight.over is not None:
            flight.over.set()

    def _await(
        self, mine: Flight[_V], flight: Flight[_V], wait: float
    ) -> _V | NoValue:
        """Return what the flight that *mine* joined has brought."""
        assert flight.over is not None
        try:
            flight.over.wait(min(wait, threading.TIMEOUT_MAX))
        finally:
            with self._guard:
                _graph.leave(mine)
        return flight.outcome

    def _create_alone(self, key: str, create: Callable[[], _V]) -> _V:
        """Create unelected, as to wait was of no use or would be of none."""
        mine: Flight[_V] = Flight(self, key, threading.get_ident())
        with self._guard:
            _graph.begin(mine)
        try:
            return create()
        finally:
            with self._guard:
                _graph.end(mine)

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
        flight: Flight[_V],
        look: Callable[[], _V | NoValue],
        create: Callable[[], _V],
        wait: float,
        stale: _V | NoValue,
        mutex: CacheMutex | None,
    ) -> _V | NoValue:
        """Return the value, or ``NO_VALUE`` if everybody is on their own."""
        if mutex is None or mutex.acquire():
            try:
                if mutex is not None:
                    with self._guard:
                        _graph.hold(flight)
                found = look()
                return create() if found is NO_VALUE else found
            finally:
                if mutex is not None:
                    mutex.release()
        if stale is not NO_VALUE:
            with self._guard:
                if len(self._elsewhere) >= _REMEMBERED:
                    self._elsewhere.clear()
                self._elsewhere[flight.key] = self._clock() + LAST_PAUSE
            return stale
        return self._follow(flight, look, create, mutex, wait)

    def _follow(
        self,
        flight: Flight[_V],
        look: Callable[[], _V | NoValue],
        create: Callable[[], _V],
        mutex: CacheMutex,
        wait: float,
    ) -> _V | NoValue:
        """Wait for the creation that holds *mutex*; return what it made.

        The holder stores before it releases.  So it is asked who holds it,
        in one small question, and once that is another one, or nobody, the
        value is there.  One that is still missing then is not coming from
        the creation that we waited for.

        Where to wait could be to wait in a circle, the leader creates, and
        those who joined it get that: still one creation in each process.
        """
        deadline = self._clock() + wait
        may_follow = True
        # However far the store is, to wait is limited by *wait* alone.
        with budget.free():
            holder = mutex.holder()
            pause = FIRST_PAUSE * (1.0 + self._chance())
            questions = 0
            while holder is not None:
                remaining = deadline - self._clock()
                if remaining <= 0.0:
                    break
                with self._guard:
                    may_follow = _graph.may_follow(flight)
                if not may_follow:
                    break
                self._sleep(min(pause, remaining))
                pause = min(4.0 * pause, LAST_PAUSE)
                questions += 1
                if questions % LOOK_EVERY == 0:
                    found = look()
                    if found is not NO_VALUE:
                        return found
                elif mutex.holder() != holder:
                    break
        found = look()
        return found if may_follow or found is not NO_VALUE else create()


_every_lock: weakref.WeakSet[DogpileLock[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    _graph.reset_in_child()
    for lock in list(_every_lock):
        lock._reset()


os.register_at_fork(after_in_child=_after_fork)
