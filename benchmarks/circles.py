"""Creations that need each other: does anybody wait in a circle?

Threads of make-believe processes ask at the same moment for values whose
creators ask for further ones, as random graphs tell, with circles and
without, over stores that are shared and others that are not.  Printed is how
long the slowest caller took, of the minute that each may wait, and how often
a value was created.  ``python -m benchmarks.circles [--rounds N] [--seed N]``
"""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue
from mako_cacheplug.lock import DogpileLock
from mako_cacheplug.testing.running import in_threads

WAIT_SECONDS = 60.0
CREATION_SECONDS = 0.002
DEPTH = 3
"""How deep a creation asks for others: circles have no end of their own."""


class Mutexes:
    """Token-owned mutexes that make-believe processes share."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._holders: dict[str, Mutex] = {}

    def __call__(self, key: str) -> Mutex:
        return Mutex(self._guard, self._holders, key)


class Mutex:
    """One attempt at one of them."""

    def __init__(
        self, guard: threading.Lock, holders: dict[str, Mutex], key: str
    ) -> None:
        self._guard = guard
        self._holders = holders
        self._key = key

    def acquire(self) -> bool:
        with self._guard:
            return self._holders.setdefault(self._key, self) is self

    def release(self) -> bool:
        with self._guard:
            ours = self._holders.get(self._key) is self
            if ours:
                del self._holders[self._key]
            return ours

    def holder(self) -> str | None:
        with self._guard:
            mutex = self._holders.get(self._key)
            return None if mutex is None else str(id(mutex))


class CreatorError(Exception):
    """What some creators raise."""


class Key(NamedTuple):
    """A value: the store that it is in, and its name there."""

    store: int
    name: str


class Store:
    """Values by process: the same for all, or each process its own."""

    def __init__(self, processes: int, shared: bool) -> None:
        values: dict[str, str] = {}
        self.mutex = Mutexes() if shared else None
        self.locks = [DogpileLock[str]() for _ in range(processes)]
        self.values = [values if shared else {} for _ in range(processes)]


class Round:
    """One random graph and those who ask, all at once.

    :param circles: whether creations may need each other; some then fail.
    """

    def __init__(self, chance: random.Random, circles: bool) -> None:
        self._circles = circles
        self._chance = chance
        self._processes = chance.randint(1, 3)
        self._stores = [
            Store(self._processes, chance.random() < 0.7)
            for _ in range(chance.randint(1, 2))
        ]
        names = "abcd"[: chance.randint(2, 4)]
        keys = [
            Key(*each)
            for each in itertools.product(range(len(self._stores)), names)
        ]
        chance.shuffle(keys)
        self._needs = {
            key: [
                other
                for other in keys[0 if circles else place + 1 :]
                if chance.random() < 0.4
            ]
            for place, key in enumerate(keys)
        }
        self.created: collections.Counter[tuple[int, Key]] = (
            collections.Counter()
        )
        self._count = threading.Lock()

    def run(self) -> float:
        """Return how many seconds the slowest caller took."""
        keys = list(self._needs)
        return max(
            in_threads(
                [
                    self._caller(process, self._chance.choice(keys))
                    for process in range(self._processes)
                    for _ in range(self._chance.randint(1, 4))
                ],
                WAIT_SECONDS / 3,
            )
        )

    def _caller(self, process: int, key: Key) -> Callable[[], float]:
        chance = random.Random(self._chance.random())

        def call() -> float:
            began = time.monotonic()
            try:
                value = self._ask(process, key, chance, 0)
                assert value in (str(key), f"old {key}")
            except CreatorError:
                assert self._circles
            return time.monotonic() - began

        return call

    def _ask(
        self, process: int, key: Key, chance: random.Random, depth: int
    ) -> str:
        store = self._stores[key.store]
        values = store.values[process]

        def look() -> str | NoValue:
            return values.get(key.name, NO_VALUE)

        def create() -> str:
            with self._count:
                self.created[process, key] += 1
            time.sleep(chance.random() * CREATION_SECONDS)
            if self._circles and chance.random() < 0.1:
                raise CreatorError
            for other in self._needs[key] if depth < DEPTH else ():
                self._ask(process, other, chance, depth + 1)
            values[key.name] = str(key)
            return str(key)

        found = look()
        if found is not NO_VALUE:
            return found
        return store.locks[process].get_or_create(
            key.name,
            look,
            create,
            wait=WAIT_SECONDS,
            stale=f"old {key}" if chance.random() < 0.1 else NO_VALUE,
            mutex=store.mutex(key.name) if store.mutex else None,
        )


def measure(circles: bool, rounds: int, seed: int = 0) -> tuple[float, int]:
    """Return the slowest caller's seconds and one value's most creations.

    :param circles: whether creations may need each other.
    :return: of the creations, how many of one value in one process.
    """
    slowest, most = 0.0, 0
    for number in range(rounds):
        one = Round(random.Random(f"{seed} {number} {circles}"), circles)
        slowest = max(slowest, one.run())
        most = max(most, *one.created.values())
    return slowest, most


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for circles in (False, True):
        slowest, most = measure(circles, given.rounds, given.seed)
        print(
            f"{'circles' if circles else 'no circles':10} the slowest took"
            f" {slowest:.3f} s; creations of one value in one process: at"
            f" most {most}"
        )


if __name__ == "__main__":
    main()
