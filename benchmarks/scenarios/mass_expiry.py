"""Many keys in memcached expire at once, under 8 processes.

All processes ask for all keys, in the same order from the same moment on, so
that they meet at every key; a creation takes 1 ms.  Stale values may be
served.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

from benchmarks.crowds import open_dogpile
from benchmarks.crowds import open_ours
from benchmarks.crowds import Opener
from benchmarks.measuring import Scale
from benchmarks.network import DOGPILE_PYLIBMC
from benchmarks.network import OURS
from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.workers import context
from benchmarks.workers import Workers
from mako_cacheplug.testing.servers import MemcachedServer

PROCESSES = 8
CREATION_SECONDS = 0.001
LIMIT = 1.01


class Walker:
    """One of the processes."""

    def __init__(self, opener: Opener, barrier: Barrier) -> None:
        self._cache = opener()
        self._barrier = barrier
        self._created = 0

    def _create(self) -> str:
        self._created += 1
        time.sleep(CREATION_SECONDS)
        return "x" * 2048

    def __call__(self, keys: int, expired: bool) -> tuple[int, float]:
        """Ask for *keys* keys; return creations, and seconds taken."""
        self._created = 0
        if expired:
            self._cache.expire()
        self._barrier.wait(60)
        started = time.monotonic()
        for key in range(keys):
            self._cache.get_or_create(f"key-{key}", self._create)
        return self._created, time.monotonic() - started


def expire(opener: Opener, keys: int) -> tuple[int, float]:
    """Return how many creations there were, and the µs per call.

    :param keys: that are filled, and then expire.
    """
    barrier = context.Barrier(PROCESSES)
    make = functools.partial(Walker, opener, barrier)
    with Workers(make, PROCESSES) as walkers:
        walkers.ask(keys, False)
        answers = walkers.ask(keys, True)
    seconds = max(seconds for _, seconds in answers)
    return sum(created for created, _ in answers), seconds / keys * 1e6


def run(scale: Scale) -> Iterator[Result]:
    """Measure one after the other."""
    keys = scale.expiring_keys
    result = Result(
        "mass_expiry",
        f"{keys:,} keys expire at once under {PROCESSES} processes",
        "creations",
        {},
    )
    with MemcachedServer("-m", "256") as server:
        for name, opener in (
            (OURS, open_ours(server.url)),
            (DOGPILE_PYLIBMC, open_dogpile(server.port)),
        ):
            created, taken = expire(opener, keys)
            result.rows[name] = [created]
            result.notes.append(
                f"{name}: {taken:,.0f} µs per key, from the first call to the"
                " last process's last"
            )
    result.goals.append(
        Goal(
            f"{OURS} ≤ {LIMIT:.2f} × the keys",
            LIMIT,
            (result.rows[OURS][0] / keys,),
        )
    )
    yield result
