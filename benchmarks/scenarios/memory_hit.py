"""What a hit in memory costs.

One cached def of 2 KB, shown 100 times in a render, on one core.  The plugin
of Mako's documentation is ten lines around a dict, with neither expiry nor
bound nor lock; the constant plugin is Mako's own part of a hit.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import beaker
from benchmarks.contenders import CONSTANT
from benchmarks.contenders import Contender
from benchmarks.contenders import DICT
from benchmarks.contenders import dogpile
from benchmarks.contenders import ours
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.sites import BODY
from benchmarks.sites import one_key
from benchmarks.sites import render_in_turns

OURS = "mako-cacheplug memory"
BEAKER = "Beaker memory"
DOGPILE = "dogpile.cache memory"
LOOKUPS = range(100)


def in_memory() -> list[Contender]:
    """Return those that keep entries in the process."""
    return [
        DICT,
        beaker(BEAKER, type="memory"),
        dogpile(DOGPILE, "memory"),
        ours(OURS, "memory://"),
    ]


def bare_dict() -> None:
    """Read a dict as often as the page has hits."""
    entries = {"card": BODY}
    for _ in LOOKUPS:
        entries["card"]


def run(scale: Scale) -> Iterator[Result]:
    """Measure."""
    with pinned():
        rows = render_in_turns(
            one_key(),
            [UNCACHED, CONSTANT, *in_memory()],
            scale,
            floors={"bare dict": timed(bare_dict, scale, parts=len(LOOKUPS))},
        )
    result = Result(
        "memory_hit", "A hit in memory", "µs per hit", rows, DICT.name
    )
    result.compare(1.00, OURS, DICT.name)
    result.compare(0.28, OURS, BEAKER)
    result.compare(0.21, OURS, DOGPILE)
    yield result
