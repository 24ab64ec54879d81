"""What is asked for, counted: on the wire, or by the server."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Callable
from typing import Final

from mako_cacheplug_memcached._ring import Ring

from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.model.pages import cards
from benchmarks.model.pages import LABELS
from benchmarks.model.pages import running
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import cold_trips
from benchmarks.model.rules import far_reads
from benchmarks.model.rules import page_trips
from benchmarks.model.rules import servers_touched
from benchmarks.network import memcached_stats
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.sites import LocalSite
from mako_cacheplug import CacheRegion
from mako_cacheplug.testing.servers import MemcachedServer
from mako_cacheplug.testing.wire import Wire

__all__ = ["count_rings", "count_trips"]

RINGS: Final = (1, 2, 4, 8)
PAGES: Final = 5

LARGE_RINGS: Final = (10, 100, 1000)
SETS: Final = 200

STALENESS: Final = 0.05
TIERED_SIZE: Final = 20
COLD_SIZES: Final = (1, 10, 50)
TAGGED: Final = (1, 10, 1000)


def count_rings(scale: Scale) -> Result:
    """Count the servers that a page asks, one trip to each of them.

    On small rings on the wire; on large ones by the plugin's own ring,
    without servers.
    """
    pages = min(PAGES, scale.trials)
    with running(max(RINGS)) as servers, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for server in servers]
        on_the_wire = {
            (store, size): [
                _on_the_wire(store, size, wires[:count], pages)
                for count in RINGS
            ]
            for store, size in ((AHEAD, 10), (AHEAD, 50), (ALONE, 10))
        }
    predictions: list[Prediction] = []
    for (store, size), found in on_the_wire.items():
        predictions += found
        if store == AHEAD:
            predictions += [_on_the_ring(size, n) for n in LARGE_RINGS]
    return Result(
        "model_trips",
        "Round trips of a page of hits on a ring",
        "trips a page",
        {},
        predictions=predictions,
        axis="servers",
        has_curves=True,
        notes=[
            f"up to {max(RINGS)} servers counted on the wire, the mean of"
            f" {pages} pages; above, where the ring places names: no servers"
        ],
    )


def _on_the_wire(
    store: str, size: int, wires: list[Wire], pages: int
) -> Prediction:
    """Count the trips of pages of hits, whose keys fall differently."""
    hosts = ",".join(f"{wire.host}:{wire.port}" for wire in wires)
    contender = ours(store, f"memcached://{hosts}", read_ahead=store == AHEAD)
    sites = [LocalSite(cards(size), contender) for _ in range(pages)]
    # Now and then a label comes along as well.
    counted = [
        min(_counted(site.render, wires) for _ in range(3)) for site in sites
    ]
    predicted = page_trips(store, size, len(wires), LABELS)
    return _trips(store, size, len(wires), predicted, counted)


def _on_the_ring(size: int, count: int) -> Prediction:
    """Count the servers that random names live on."""
    names = size + LABELS
    ring = Ring({f"10.0.{n // 256}.{n % 256}:11211": n for n in range(count)})
    chance = random.Random(0)
    touched = [
        len({ring.find(chance.randbytes(20)) for _ in range(names)})
        for _ in range(SETS)
    ]
    return _trips(AHEAD, size, count, servers_touched(count, names), touched)


def _trips(
    store: str,
    size: int,
    servers: int,
    predicted: float,
    counted: list[int],
) -> Prediction:
    of = f"{size} fragments, {store}"
    return Prediction(of, servers, predicted, [statistics.mean(counted)])


def _counted(action: Callable[[], object], wires: list[Wire]) -> int:
    for wire in wires:
        wire.trips()
    action()
    return sum(len(wire.trips()) for wire in wires)


def count_trips() -> Result:
    """Count what a cold page, a near tier and an invalidation ask for."""
    with MemcachedServer() as server, Wire(server) as wire:
        predictions = [
            *(_cold(wire, size) for size in COLD_SIZES),
            _tiered(server),
            *(_invalidation(wire, count) for count in TAGGED),
        ]
    return Result(
        "model_counts",
        "What else asks memcached",
        "requests",
        {},
        predictions=predictions,
        axis="of so many fragments or entries",
        notes=[
            f"a near tier with a staleness of {STALENESS * 1e3:.0f} ms; the"
            " page is rendered without a pause"
        ],
    )


def _cold(wire: Wire, size: int) -> Prediction:
    """Count the trips of a page that is known and of which all is gone."""
    site = LocalSite(cards(size), ours("cold", wire.url))
    CacheRegion(wire.url).clear()
    wire.trips()
    site.render()
    trips = wire.trips()
    parts = sum(trip.startswith(b"set ") for trip in trips)
    return Prediction(
        f"trips of a cold page, stored in {parts} part{'s' * (parts > 1)}",
        size,
        cold_trips(size, LABELS, parts),
        [len(trips)],
    )


def _tiered(server: MemcachedServer) -> Prediction:
    """Count what one process reads far while it shows one page."""
    url = f"tiered://?far={server.url}&staleness={STALENESS * 1e3:.0f}ms"
    site = LocalSite(cards(TIERED_SIZE), ours("tiered", url))
    before = memcached_stats(server.port)["cmd_get"]
    began = now = time.monotonic()
    while now - began < 20 * STALENESS:
        site.render()
        now = time.monotonic()
    read = memcached_stats(server.port)["cmd_get"] - before
    return Prediction(
        f"names that a near tier reads in {now - began:.1f} s, at most",
        TIERED_SIZE,
        far_reads(TIERED_SIZE + LABELS, now - began, STALENESS),
        [read],
    )


def _invalidation(wire: Wire, count: int) -> Prediction:
    """Count the trips that it takes to invalidate a tag of many entries."""
    region = CacheRegion(wire.url, name=f"tagged{count}")
    for number in range(count):
        region.set(number, "v", tags=["tag"])
    counted = _counted(lambda: region.invalidate_tags("tag"), [wire])
    assert all(region.get(number) is None for number in range(count))
    return Prediction("trips to invalidate a tag", count, 1.0, [counted])
