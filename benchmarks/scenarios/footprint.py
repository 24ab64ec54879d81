"""What 100,000 entries of 1 KB take in memory.

Each contender in a process of its own, filled by the template's cache, as all
plugins can; measured is by how much the resident set grows, after a garbage
collection.  Then the same with a bound of half the payload: only this
project's has one.  And filled by rendering a def with a ``cache_key``: there
each key also has a label, by which it is invalidated in all versions.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mako.template import Template

from benchmarks.contenders import DICT
from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.scenarios.memory_hit import BEAKER
from benchmarks.scenarios.memory_hit import DOGPILE
from benchmarks.scenarios.memory_hit import in_memory
from benchmarks.scenarios.memory_hit import OURS
from benchmarks.workers import Workers

ENTRY_BYTES: Final = 1024
AT_ONCE: Final = 500
STATM: Final = Path("/proc/self/statm")
BOUNDED: Final = "mako-cacheplug memory, bounded"
KEYED: Final = "mako-cacheplug memory, a def with cache_key"
CARD: Final = (
    '<%def name="card(n)" cached="True" cache_key="card-${str(n)}">'
    "${text(n)}</%def>\\\n"
    "% for n in numbers:\n${card(n)}\\\n% endfor\n"
)


def text(number: int) -> str:
    """Return a value of 1 KB."""
    return f"{number:08d}" * (ENTRY_BYTES // 8)


def resident() -> int:
    """Return this process's resident bytes."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(name: str, bound: int) -> Callable[[int], int]:
    """Return what fills a store and tells how many bytes that took.

    :param bound: in bytes, for the bounded one.
    """
    contenders = {one.name: one for one in in_memory()}
    for own, size in ((OURS, "none"), (KEYED, "none"), (BOUNDED, bound)):
        contenders[own] = ours(own, f"memory://?max_bytes={size}")
    template = Template(CARD, uri="/cards", **contenders[name].template_args)

    def store(numbers: range) -> None:
        if name == KEYED:
            template.render(numbers=numbers, text=text)
            return
        for number in numbers:
            make = functools.partial(text, number)
            template.cache.get_or_create(f"card-{number}", make)

    def fill(count: int) -> int:
        # The first ones make what is made once.
        store(range(-AT_ONCE, 0))
        before = resident()
        for first in range(0, count, AT_ONCE):
            store(range(first, min(first + AT_ONCE, count)))
        return resident() - before

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
        for name in (DICT.name, BEAKER, DOGPILE, OURS, KEYED, BOUNDED):
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
