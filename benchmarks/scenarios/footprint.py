"""What 100,000 entries of 1 KB take in memory.

Each contender in a process of its own, filled by rendering; measured is by
how much the resident set grows, after a garbage collection.  Then the same
with a bound of half the payload: only this project's has one.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.contenders import DICT
from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.scenarios.memory_hit import BEAKER
from benchmarks.scenarios.memory_hit import DOGPILE
from benchmarks.scenarios.memory_hit import in_memory
from benchmarks.scenarios.memory_hit import OURS
from benchmarks.sites import LocalSite
from benchmarks.sites import Page
from benchmarks.workers import Workers

ENTRY_BYTES: Final = 1024
AT_ONCE: Final = 500
STATM: Final = Path("/proc/self/statm")
BOUNDED: Final = "mako-cacheplug memory, bounded"
PAGE: Final = Page(
    '<%def name="card(n)" cached="True" cache_key="card-${str(n)}">'
    "${made()}${text(n)}</%def>\\\n"
    "% for n in numbers:\n${card(n)}\\\n% endfor\n",
    0,
    {"numbers": (), "text": lambda n: f"{n:08d}" * (ENTRY_BYTES // 8)},
)


def resident() -> int:
    """Return this process's resident bytes."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(name: str, bound: int) -> Callable[[int], int]:
    """Return what fills a store and tells how many bytes that took.

    :param bound: in bytes, for the bounded one.
    """
    contenders = {one.name: one for one in in_memory()}
    contenders[OURS] = ours(OURS, "memory://?max_bytes=none")
    contenders[BOUNDED] = ours(BOUNDED, f"memory://?max_bytes={bound}")
    site = LocalSite(PAGE, contenders[name])

    def fill(count: int) -> int:
        # The first render of some size makes what is made once.
        site.render(numbers=range(-AT_ONCE, 0))
        before = resident()
        for first in range(0, count, AT_ONCE):
            site.render(numbers=range(first, min(first + AT_ONCE, count)))
        taken = resident() - before
        assert site.created() == count + AT_ONCE
        return taken

    return fill


def run(scale: Scale) -> Iterator[Result]:
    """Measure each of them."""
    payload = scale.kept_entries * ENTRY_BYTES
    bound = payload // 2
    result = Result(
        "footprint",
        f"{scale.kept_entries:,} entries of 1 KB in memory",
        "resident MB more",
        {},
        DICT.name,
    )
    if not STATM.exists():
        result.notes.append("not available: this system has no /proc")
    else:
        for name in (DICT.name, BEAKER, DOGPILE, OURS, BOUNDED):
            with Workers(functools.partial(growth, name, bound)) as worker:
                (taken,) = worker.ask(scale.kept_entries)
            result.rows[name] = [taken / 1e6]
    for name, of, size, limit in (
        (OURS, "payload", payload, 1.35),
        (BOUNDED, "bound", bound, 1.05),
    ):
        result.goals.append(
            Goal(
                f"{name} ≤ {limit:.2f} × the {of} of {size / 1e6:.0f} MB",
                limit,
                tuple(mb * 1e6 / size for mb in result.rows.get(name, ())),
            )
        )
    yield result
