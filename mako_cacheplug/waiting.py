"""Who waits for whom, so that nobody waits in a circle.

A creator may ask for other values.  One thread may then create X and want Y
while another creates Y and wants X: each would wait until its time is up.
Whoever would wait in a circle learns it here, and creates what it wanted by
itself.

In the process it is known who waits for whom: this is the wait-for graph of
the databases.  A thread waits for one flight at a time, so that one way
leads from a flight to its leader, to the flight which that one waits for,
and so on.  A caller to whom it comes back must not wait.

Of other processes nothing is known, and an order stands in for knowledge.
A leader *follows* another process's creation of its key (waits for it) only
while that key sorts after every key that it, or a thread that waits for it,
holds by a mutex.  That is enough: in a circle that leads over mutexes,
whoever holds one of them follows the next, or waits for a thread that does.
So each of their keys sorts before the next, and at last before itself.  It
does not matter which processes they are held in, nor by which stores.

Threads may join a leader that follows already, so it asks at every look
whether it still may: a circle that has closed meanwhile opens there.

A *leaf* is a value whose creator asks for no other.  Who creates one waits
for nobody, so no circle leads over its mutex: it may always be followed.
"""

from __future__ import annotations

import threading
from typing import Any
from typing import Final
from typing import Generic
from typing import TypeVar

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue

__all__ = ["Flight", "WaitGraph"]

_V = TypeVar("_V")

_NOBODY: Final = 0
"""No thread's identifier."""


class Flight(Generic[_V]):
    """One creation in this process and those who wait for it.

    :param lock: whose *key* it is: two locks may each have one.
    :param leader: the thread that creates.
    :param leaf: whether it asks for no other value meanwhile.
    """

    __slots__ = (
        "awaited",
        "key",
        "leader",
        "leaf",
        "lock",
        "outcome",
        "outer",
        "over",
    )

    def __init__(
        self, lock: object, key: str, leader: int, leaf: bool = False
    ) -> None:
        self.lock = lock
        self.key = key
        self.leader = leader
        self.leaf = leaf
        self.outcome: _V | NoValue = NO_VALUE
        self.over: threading.Event | None = None
        """Made by the first who waits."""
        self.outer: Flight[Any] | None = None
        """The creation that asked for this one."""
        self.awaited: Flight[Any] | None = None
        """What its leader waits for inside it."""


class WaitGraph:
    """The creations of all threads of a process, by whatever locks.

    A thread that creates nothing is not in it, as nobody waits for that.
    Whoever calls a method holds :attr:`guard`.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self._innermost: dict[int, Flight[Any]] = {}
        self._held: set[Flight[Any]] = set()

    def begin(self, flight: Flight[Any]) -> None:
        """Note that its leader creates *flight*, inside what it creates."""
        flight.outer = self._innermost.get(flight.leader)
        self._innermost[flight.leader] = flight

    def end(self, flight: Flight[Any]) -> None:
        """Note that it is over: nobody waits for its leader by it."""
        if flight.outer is not None:
            self._innermost[flight.leader] = flight.outer
        else:
            self._innermost.pop(flight.leader, None)
        self._held.discard(flight)
        flight.leader = _NOBODY

    def hold(self, flight: Flight[Any]) -> None:
        """Note that it holds a mutex: other processes may wait for it."""
        self._held.add(flight)

    def is_creating(self, wanted: Flight[Any]) -> bool:
        """Tell whether its leader creates that already."""
        flight = self._innermost.get(wanted.leader)
        while flight is not None:
            if flight.key == wanted.key and flight.lock is wanted.lock:
                return True
            flight = flight.outer
        return False

    def join(self, wanted: Flight[Any], flight: Flight[Any]) -> bool:
        """Tell whether the leader of *wanted* may wait for *flight*.

        If so, it is noted that it does.
        """
        innermost = self._innermost.get(wanted.leader)
        if innermost is not None:
            if self._leads_to(wanted.leader, flight):
                return False
            innermost.awaited = flight
        if flight.over is None:
            flight.over = threading.Event()
        return True

    def leave(self, wanted: Flight[Any]) -> None:
        """Note that the leader of *wanted* waits no longer."""
        innermost = self._innermost.get(wanted.leader)
        if innermost is not None:
            innermost.awaited = None

    def may_follow(self, flight: Flight[Any]) -> bool:
        """Tell whether its leader may wait for another process's creation."""
        if flight.leaf:
            return True
        # Few are held, however many threads there are.
        for held in self._held:
            if held.key >= flight.key and (
                held.leader == flight.leader
                or self._leads_to(
                    flight.leader, self._innermost[held.leader].awaited
                )
            ):
                return False
        return True

    def _leads_to(self, thread: int, flight: Flight[Any] | None) -> bool:
        """Tell whether to wait for *flight* is to wait for *thread*."""
        while flight is not None:
            if flight.leader == thread:
                return True
            innermost = self._innermost.get(flight.leader)
            flight = innermost.awaited if innermost is not None else None
        return False

    def reset_in_child(self) -> None:
        """Keep, after fork, what the only thread that is left creates.

        Nobody waits for that here, and a lock that another thread held
        stays locked.
        """
        thread = threading.get_ident()
        innermost = self._innermost.get(thread)
        self.guard = threading.Lock()
        self._innermost.clear()
        self._held = {held for held in self._held if held.leader == thread}
        if innermost is not None:
            self._innermost[thread] = innermost
        while innermost is not None:
            innermost.awaited = innermost.over = None
            innermost = innermost.outer
