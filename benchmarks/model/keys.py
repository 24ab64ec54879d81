"""What a page costs when its store holds many other entries.

The model says: nothing.  Millions of files are the matter of the scenario
``file_keys``.
"""

from __future__ import annotations

import tempfile
from typing import Final

from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.measuring import Turn
from benchmarks.model.pages import Case
from benchmarks.model.pages import in_turn
from benchmarks.model.pages import page_turn
from benchmarks.model.pages import running
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import FILE
from benchmarks.model.rules import MEMORY
from benchmarks.placement import pinned
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.results import Spread
from benchmarks.sites import BODY
from mako_cacheplug import CacheRegion

__all__ = ["measure_keys"]

FRAGMENTS: Final = 50
SHARE: Final = 0.2
"""Of a scenario's time."""
MOST: Final = 20_000


def measure_keys(scale: Scale) -> Result:
    """Measure a page on an empty store and on a full one, in turn."""
    count = min(scale.stored_keys, MOST)
    scale = scale.share(SHARE)
    with (
        pinned(),
        running(2) as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        # An option that changes nothing makes it another store.
        urls = {
            MEMORY: ("memory://", "memory://?max_bytes=1g"),
            FILE: (f"file://{folder}/a", f"file://{folder}/b"),
            AHEAD: (servers[0].url, servers[1].url),
        }
        turns: dict[Case, Turn] = {}
        for store, (empty, full) in urls.items():
            region = CacheRegion(full, name="others")
            for number in range(count):
                region.set(number, BODY)
            for url, others in ((empty, 0), (full, count)):
                turns[Case(store, others)] = page_turn(
                    FRAGMENTS, ours(store, url), scale
                )
        figures = in_turn(turns, scale)
    return Result(
        "model_keys",
        f"A page of {FRAGMENTS} fragments, many other entries in the store",
        "µs a page",
        {},
        predictions=[
            Prediction(
                store,
                count,
                Spread.of(figures[Case(store, 0)]).median,
                figures[Case(store, count)],
            )
            for store in urls
        ],
        axis="other entries",
        notes=["predicted is what it costs in an empty store"],
    )
