"""What a page costs where a trip takes longer.

The model is told one more figure for each network: what a trip takes there.
"""

from __future__ import annotations

import contextlib
from typing import Final

from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.model.pages import AXIS
from benchmarks.model.pages import Case
from benchmarks.model.pages import in_turn
from benchmarks.model.pages import LABELS
from benchmarks.model.pages import page_turn
from benchmarks.model.pages import TRIP
from benchmarks.model.pages import trip_turn
from benchmarks.model.pages import UNIT
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import Costs
from benchmarks.placement import pinned
from benchmarks.placement import placements
from benchmarks.proxy import Proxy
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.results import Spread
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = ["measure_networks"]

DELAYS: Final = {"0.2 ms more": 0.0002, "1 ms more": 0.001}
SIZES: Final = (1, 10, 50)
SHARE: Final = 0.2
"""Of a scenario's time."""


def measure_networks(costs: Costs, scale: Scale) -> Result:
    """Measure pages with memcached on another core, and behind a proxy."""
    scale = scale.share(SHARE)
    result = Result(
        "model_networks",
        "A page of hits where a trip takes longer",
        UNIT,
        {},
        axis=AXIS,
        has_curves=True,
    )
    for place in placements()[1:]:
        with contextlib.ExitStack() as stack:
            with pinned(place.server):
                server = stack.enter_context(MemcachedServer())
            stack.enter_context(pinned(place.client))
            _on_network(result, costs, place.name, server.url, scale)
    with pinned(), MemcachedServer() as server:
        for name, delay in DELAYS.items():
            with Proxy(server.port, delay) as proxy:
                url = f"memcached://{proxy.host}:{proxy.port}"
                _on_network(result, costs, name, url, scale)
    return result


def _on_network(
    result: Result, costs: Costs, name: str, url: str, scale: Scale
) -> None:
    stores = {
        AHEAD: ours(AHEAD, url),
        ALONE: ours(ALONE, url, read_ahead=False),
    }
    turns = {
        Case(store, size): page_turn(size, contender, scale)
        for store, contender in stores.items()
        for size in SIZES
    }
    turns[Case(TRIP, 0)] = trip_turn(url, scale)
    figures = in_turn(turns, scale)
    trip = Spread.of(figures[Case(TRIP, 0)]).median
    result.notes.append(f"{name}: a trip takes {trip:,.0f} µs")
    result.predictions += [
        Prediction(
            f"{store}, {name}",
            size,
            costs.page(store, size, trip=trip, labels=LABELS),
            figures[Case(store, size)],
        )
        for store in stores
        for size in SIZES
    ]
