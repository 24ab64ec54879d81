"""A herd of 8 processes of 4 threads on one cold key in memcached.

The creation takes 0.2 s.  Figures are of the callers that did not create.
Polls are all reads and writes that the server was asked for while the herd
was there, first looks and locks among them, by its own count; given by the
second of waiting.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator

from benchmarks.contenders import BEAKER_PYLIBMC_FOLDER
from benchmarks.crowds import open_beaker
from benchmarks.crowds import open_dogpile
from benchmarks.crowds import open_ours
from benchmarks.crowds import Opener
from benchmarks.herd import CREATION_SECONDS
from benchmarks.herd import Herd
from benchmarks.measuring import Scale
from benchmarks.network import DOGPILE_PYLIBMC
from benchmarks.network import memcached_stats
from benchmarks.network import OURS
from benchmarks.results import Goal
from benchmarks.results import percentile
from benchmarks.results import Result
from mako_cacheplug.testing.servers import MemcachedServer

PROCESSES = 8
THREADS = 4
LATE_MS = 25.0
POLLS = 60.0


def commands(port: int) -> int:
    """Return how many reads and writes a memcached was asked for."""
    counted = memcached_stats(port)
    return sum(counted[name] for name in ("cmd_get", "cmd_set", "cmd_touch"))


def run(scale: Scale) -> Iterator[Result]:
    """Measure, a trial of each contender in turn."""
    with (
        MemcachedServer() as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        openers: dict[str, Opener] = {
            OURS: open_ours(server.url),
            DOGPILE_PYLIBMC: open_dogpile(server.port),
            **open_beaker(server.port, folder),
        }
        waits: dict[str, list[float]] = {name: [] for name in openers}
        polls: dict[str, list[float]] = {name: [] for name in openers}
        creations: dict[str, list[int]] = {name: [] for name in openers}
        beaker = BEAKER_PYLIBMC_FOLDER
        herd = Herd(
            openers,
            PROCESSES,
            THREADS,
            folder=str(beaker) if beaker.is_dir() else "",
        )
        chance = random.Random(0)
        with herd:
            for name in openers:
                herd.ask(name, f"warm-up {name}".replace(" ", "-"))
            for trial in range(scale.trials):
                for name in chance.sample(list(openers), len(openers)):
                    before = commands(server.port)
                    calls = herd.ask(name, f"trial-{trial}-{len(name)}")
                    asked = commands(server.port) - before
                    others = [c.seconds for c in calls if not c.created]
                    waits[name] += [1e3 * seconds for seconds in others]
                    polls[name].append(asked / sum(others))
                    creations[name].append(len(calls) - len(others))
    yield _waits(waits, creations, scale)
    yield _polls(polls)


def _waits(
    waits: dict[str, list[float]],
    creations: dict[str, list[int]],
    scale: Scale,
) -> Result:
    result = Result(
        "cold_herd",
        f"A cold herd of {PROCESSES} × {THREADS}: how long the others wait",
        "ms",
        waits,
    )
    limit = CREATION_SECONDS * 1e3 + LATE_MS
    for name, all_of_them in waits.items():
        most = max(creations[name])
        result.notes.append(
            f"{name}: in {scale.trials} herds, others' p99"
            f" {percentile(all_of_them, 99):.0f} ms, at most {most}"
            f" creation{'s' if most > 1 else ''}"
        )
    late = percentile(waits[OURS], 99)
    result.goals.append(
        Goal(f"{OURS}: others' p99 ≤ {limit:g} ms", limit, (late,), "ms")
    )
    return result


def _polls(polls: dict[str, list[float]]) -> Result:
    result = Result(
        "cold_herd_polls",
        f"A cold herd of {PROCESSES} × {THREADS}: how often it asks",
        "requests for each second that a caller waits",
        polls,
    )
    result.goals.append(
        Goal(
            f"{OURS} ≤ {POLLS:g} a second and waiter",
            POLLS,
            tuple(polls[OURS]),
            "/s",
        )
    )
    return result
