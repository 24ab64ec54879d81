"""How creations and the lock's traffic grow with processes."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.crowds import open_ours
from benchmarks.herd import CREATION_SECONDS
from benchmarks.herd import Herd
from benchmarks.measuring import Scale
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import Election
from benchmarks.model.rules import MEMORY
from benchmarks.model.rules import questions
from benchmarks.network import memcached_stats
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.scenarios.cold_herd import commands
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["count_crowds"]

PROCESSES: Final = (1, 2, 4, 8)
FEW_PROCESSES: Final = (1, 2)
THREADS: Final = 4
TRIALS: Final = 3
GIVEN: Final = 2
"""The waiting process's part is fitted to a herd of two."""


def count_crowds(scale: Scale) -> tuple[Result, Result]:
    """Count creations and requests of herds, and connections."""
    trials = min(TRIALS, scale.trials)
    created: dict[str, dict[int, float]] = {MEMORY: {}, AHEAD: {}}
    asked: dict[int, float] = {}
    connections: dict[int, int] = {}
    all_of_them = PROCESSES if scale.trials > TRIALS else FEW_PROCESSES
    for processes in all_of_them:
        with MemcachedServer() as server:
            before_all = memcached_stats(server.port)["curr_connections"]
            openers = {
                MEMORY: open_ours("memory://"),
                AHEAD: open_ours(server.url),
            }
            with Herd(openers, processes, THREADS) as herd:
                herd.ask(AHEAD, "warm-up")
                requests = []
                for trial in range(trials):
                    before = commands(server.port)
                    calls = herd.ask(AHEAD, f"trial-{trial}")
                    requests.append(commands(server.port) - before)
                    created[AHEAD][processes] = sum(c.created for c in calls)
                calls = herd.ask(MEMORY, "once")
                created[MEMORY][processes] = sum(c.created for c in calls)
                asked[processes] = statistics.median(requests)
                now = memcached_stats(server.port)["curr_connections"]
                connections[processes] = now - before_all
    return _requests(asked), _creations(created, connections)


def _requests(asked: dict[int, float]) -> Result:
    # Every thread looks before it joins: that is a part of each process's.
    election = Election.calibrated(asked[1], asked[GIVEN], CREATION_SECONDS)
    each = asked[GIVEN] - asked[1]
    return Result(
        "model_herd",
        f"A cold key whose creation takes {CREATION_SECONDS} s:"
        f" processes of {THREADS} threads",
        "requests of memcached",
        {},
        predictions=[
            Prediction(
                "a herd on one key",
                processes,
                election.requests(processes, CREATION_SECONDS),
                [count],
                processes <= GIVEN,
            )
            for processes, count in asked.items()
        ],
        axis="processes",
        notes=[
            f"a process that waits asks {questions(CREATION_SECONDS)} times"
            f" after the creation, by the lock's pauses; it makes {each:g}"
            " requests in all: its threads' first looks, a try for the lock"
            " and the look at the end are the others"
        ],
    )


def _creations(
    created: dict[str, dict[int, float]], connections: dict[int, int]
) -> Result:
    predictions = [
        Prediction(
            f"creations, {store}",
            processes,
            processes if store == MEMORY else 1,
            [count],
        )
        for store, counts in created.items()
        for processes, count in counts.items()
    ]
    predictions += [
        Prediction(
            "connections, at most", processes, processes * THREADS, [count]
        )
        for processes, count in connections.items()
    ]
    return Result(
        "model_creations",
        f"A cold key: processes of {THREADS} threads",
        "count",
        {},
        predictions=predictions,
        axis="processes",
    )
