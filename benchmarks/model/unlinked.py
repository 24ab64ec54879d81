"""Where read-ahead does not pay: fragments that have nothing in common.

Each render shows other ones, drawn at random from many that are all there:
no fragment tells which will follow.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.contenders import Contender
from benchmarks.contenders import ours
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.model.pages import cards
from benchmarks.model.pages import page_turn
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.sites import LocalSite
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["measure_unlinked"]

THERE: Final = 1000
SHOWN: Final = 20
SHARE: Final = 0.2
"""Of a scenario's time."""


def measure_unlinked(scale: Scale) -> Result:
    """Measure random fragments, and as many that are always the same."""
    scale = scale.share(SHARE)
    there = min(THERE, scale.kept_entries)
    with pinned(), MemcachedServer() as server:
        stores = [
            ours(AHEAD, server.url),
            ours(ALONE, server.url, read_ahead=False),
        ]
        turns: dict[str, Turn] = {}
        for one in stores:
            turns[f"the same, {one.name}"] = page_turn(SHOWN, one, scale)
            turns[f"random, {one.name}"] = _random_turn(there, one, scale)
        rows = interleave(turns, scale)
    return Result(
        "model_unlinked",
        f"A page of {SHOWN} fragments of {there:,}: the same, or at random",
        "µs a page",
        rows,
        f"random, {ALONE}",
    )


def _random_turn(there: int, contender: Contender, scale: Scale) -> Turn:
    chance = random.Random(0)
    site = LocalSite(cards(0), contender)
    site.render(numbers=range(there))
    return timed(
        lambda: site.render(numbers=chance.sample(range(there), SHOWN)), scale
    )
