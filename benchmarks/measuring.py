"""Contenders take turns, so that all see the same machine.

A *turn* is a function that does something once and returns its figure: µs,
ms, hits a second.  Every round gives each contender one turn, in another
order; figures of one round belong together, and ratios are made of them.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

__all__ = ["FULL", "NORMAL", "QUICK", "TINY", "Scale", "interleave", "timed"]

Turn = Callable[[], float]

TURN_SECONDS: Final = 0.002
"""What is shorter is repeated within a turn: clocks and caches matter less."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured.

    :param name: what the run is called in the results.
    :param seconds: how long contenders take turns in one comparison.
    :param rounds: at least so many rounds, however long they take.
    :param trials: herds, fresh processes and others that take long.
    :param stored_keys: entries in the full file store.
    :param expiring_keys: entries that expire at once.
    :param kept_entries: entries of 1 KB in a memory store.
    :param templates: small templates that are rendered for the first time.
    :param turn_seconds: what is shorter is repeated within a turn.
    """

    name: str
    seconds: float
    rounds: int
    trials: int
    stored_keys: int
    expiring_keys: int
    kept_entries: int
    templates: int
    turn_seconds: float = TURN_SECONDS

    def share(self, fraction: float) -> Scale:
        """Return the same with *fraction* of the time."""
        return dataclasses.replace(self, seconds=self.seconds * fraction)


TINY: Final = Scale("tiny", 0.0, 3, 1, 200, 20, 200, 6, 0.0)
QUICK: Final = Scale("quick", 0.5, 5, 2, 5_000, 200, 20_000, 200)
NORMAL: Final = Scale("normal", 10.0, 20, 20, 50_000, 10_000, 100_000, 1_000)
FULL: Final = dataclasses.replace(NORMAL, name="full", stored_keys=1_000_000)


def interleave(
    turns: Mapping[str, Turn],
    scale: Scale,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[float]]:
    """Return every contender's figures, one of each round.

    :param turns: by the contender's name.
    :param clock: seconds since whenever.
    """
    chance = random.Random(0)
    figures: dict[str, list[float]] = {name: [] for name in turns}
    order = list(turns)
    ends_at = clock() + scale.seconds
    done = 0
    while done < scale.rounds or clock() < ends_at:
        # The one before leaves the caches as it likes them.
        chance.shuffle(order)
        for name in order:
            figures[name].append(turns[name]())
        done += 1
    return figures


def timed(
    action: Callable[[], object],
    scale: Scale,
    *,
    per_second: float = 1e6,
    parts: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Turn:
    """Return a turn that tells how long *action* takes, per part.

    :param per_second: the unit: 1e6 for µs, 1e3 for ms.
    :param parts: how many hits, say, one call of *action* makes.
    :param clock: seconds since whenever.
    """
    once = math.inf
    for _ in range(3):  # The first may be a slow one.
        started = clock()
        action()
        once = min(once, max(clock() - started, 1e-9))
    times = range(max(1, math.ceil(scale.turn_seconds / once)))
    factor = per_second / parts / len(times)

    def turn() -> float:
        started = clock()
        for _ in times:
            action()
        return (clock() - started) * factor

    return turn
