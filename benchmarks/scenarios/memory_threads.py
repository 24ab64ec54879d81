"""Hits in memory in four threads at once.

The page of the scenario before, rendered by four threads; figures are hits
of all of them a second.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator

from benchmarks.contenders import DICT
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.results import Result
from benchmarks.scenarios.memory_hit import in_memory
from benchmarks.scenarios.memory_hit import OURS
from benchmarks.sites import LocalSite
from benchmarks.sites import one_key
from benchmarks.sites import same_text

THREADS = 4
LONGER = 5
"""Threads get the interpreter for 5 ms each: their turns are longer."""


def throughput(render: Callable[[], object], times: int, hits: int) -> float:
    """Return hits a second of all threads.

    :param times: renders of each thread.
    :param hits: of one render.
    """
    barrier = threading.Barrier(THREADS + 1)

    def work() -> None:
        barrier.wait()
        for _ in range(times):
            render()

    team = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in team:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in team:
        thread.join()
    taken = time.perf_counter() - started
    return THREADS * times * hits / taken


def run(scale: Scale) -> Iterator[Result]:
    """Measure."""
    page = one_key()
    sites = {one.name: LocalSite(page, one) for one in in_memory()}
    same_text(sites)
    started = time.perf_counter()
    sites[DICT.name].render()
    once = time.perf_counter() - started
    times = max(1, math.ceil(LONGER * scale.turn_seconds / once))
    created = {name: site.created() for name, site in sites.items()}
    rows = interleave(
        {
            name: functools.partial(throughput, site.render, times, page.hits)
            for name, site in sites.items()
        },
        scale,
    )
    assert created == {name: site.created() for name, site in sites.items()}
    result = Result(
        "memory_threads",
        f"Hits in memory in {THREADS} threads",
        "hits a second",
        rows,
        DICT.name,
        more_is_better=True,
    )
    result.compare(1.0, OURS, DICT.name, at_least=True)
    yield result
