"""What a page costs, by the number of its fragments, on each store."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Iterator
from typing import Final
from typing import NamedTuple

from mako_cacheplug_memcached._ring import Ring
from mako_cacheplug_memcached._wire import value_key

from benchmarks.contenders import Contender
from benchmarks.contenders import ours
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.model.rules import AHEAD
from benchmarks.model.rules import ALONE
from benchmarks.model.rules import Costs
from benchmarks.model.rules import FILE
from benchmarks.model.rules import MEMORY
from benchmarks.model.rules import STORES
from benchmarks.model.rules import TIERED
from benchmarks.placement import pinned
from benchmarks.results import Prediction
from benchmarks.results import Result
from benchmarks.results import Spread
from benchmarks.sites import BODY
from benchmarks.sites import LocalSite
from benchmarks.sites import Page
from mako_cacheplug.api import SupportsBulk
from mako_cacheplug.options import StoreURL
from mako_cacheplug.registry import open_backend
from mako_cacheplug.testing.servers import MemcachedServer

__all__ = [
    "AXIS",
    "LABELS",
    "TRIP",
    "UNIT",
    "Case",
    "cards",
    "in_turn",
    "joined",
    "measure_pages",
    "page_turn",
    "running",
    "trip_turn",
]

GIVEN: Final = (1, 100)
SIZES: Final = (1, 3, 10, 30, 50, 100, 200)
RINGS: Final = (2, 4, 8)
RING_SIZES: Final = (10, 50)
SHARE: Final = 0.6
"""Of a scenario's time."""
LABELS: Final = 1
"""All fragments of these pages are of one def, and have its label."""

AXIS: Final = "fragments"
UNIT: Final = "µs a page"

TRIP: Final = "trip"
PLACING: Final = "placing"
EVERY_SERVER: Final = "every server"
RING_NAMES: Final = 200


def cards(count: int) -> Page:
    """Return a page of one cached def of 2 KB, called with *count* numbers."""
    source = (
        '<%def name="card(n)" cached="True">'
        f"${{made()}}${{n}} {BODY}</%def>\n"
        "% for n in numbers:\n${card(n)}\\\n% endfor\n"
    )
    return Page(source, count, {"numbers": range(count)})


def joined(servers: list[MemcachedServer]) -> str:
    """Return the URL of the ring of *servers*."""
    hosts = ",".join(f"{one.host}:{one.port}" for one in servers)
    return f"memcached://{hosts}"


@contextlib.contextmanager
def running(count: int) -> Iterator[list[MemcachedServer]]:
    """Start *count* memcacheds."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(MemcachedServer("-m", "128"))
            for _ in range(count)
        ]


def trip_turn(url: str, scale: Scale) -> Turn:
    """Return a turn that tells how many µs it takes to ask for one name."""
    backend = open_backend(StoreURL.parse(url))
    assert isinstance(backend, SupportsBulk)
    backend.set("small", b"x", None)
    return timed(functools.partial(backend.get_many, ["small"]), scale)


def ring_turns(
    servers: list[MemcachedServer], scale: Scale
) -> dict[str, Turn]:
    """Return turns that tell what a ring adds to a trip, in µs."""
    ring = Ring({f"{one.host}:{one.port}": one for one in servers})
    wires = [value_key(f"name{number}") for number in range(RING_NAMES)]
    # One name for each server.
    names = {ring.find(wire).port: wire for wire in wires}
    assert len(names) == len(servers)
    keys = [f"name{wires.index(wire)}" for wire in names.values()]
    backend = open_backend(StoreURL.parse(joined(servers)))
    assert isinstance(backend, SupportsBulk)
    backend.set_many(dict.fromkeys(keys, b"x"), None)

    def place() -> None:
        for wire in wires:
            ring.find(wire)

    return {
        PLACING: timed(place, scale, parts=len(wires)),
        EVERY_SERVER: timed(functools.partial(backend.get_many, keys), scale),
    }


def page_turn(count: int, contender: Contender, scale: Scale) -> Turn:
    """Return a turn that tells how many µs a page of hits takes."""
    return timed(LocalSite(cards(count), contender).render, scale)


class Case(NamedTuple):
    """A page, and where it finds its fragments; or a part of it."""

    store: str
    fragments: int
    servers: int = 1


def in_turn(turns: dict[Case, Turn], scale: Scale) -> dict[Case, list[float]]:
    """Return the lowest fifth of the figures of all *turns*.

    They take turns; what else the machine does only adds to a figure.
    """
    rows = interleave({str(case): turns[case] for case in turns}, scale)
    return {
        case: sorted(rows[str(case)])[: math.ceil(len(rows[str(case)]) / 5)]
        for case in turns
    }


def measure_pages(scale: Scale) -> tuple[Costs, list[Result]]:
    """Measure pages; return the costs, and what they predict.

    On one core, all in turn.
    """
    scale = scale.share(SHARE)
    with (
        pinned(),
        running(max(RINGS)) as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        far = joined(servers[:1])
        stores = {
            MEMORY: ours(MEMORY, "memory://"),
            TIERED: ours(TIERED, f"tiered://?far={far}"),
            FILE: ours(FILE, f"file://{folder}/pages"),
            AHEAD: ours(AHEAD, far),
            ALONE: ours(ALONE, far, read_ahead=False),
        }
        turns: dict[Case, Turn] = {
            Case(store, size): page_turn(size, contender, scale)
            for store, contender in stores.items()
            for size in SIZES
        }
        turns |= {
            Case(AHEAD, size, count): page_turn(
                size, ours(AHEAD, joined(servers[:count])), scale
            )
            for count in RINGS
            for size in RING_SIZES
        }
        parts = {TRIP: trip_turn(far, scale), **ring_turns(servers, scale)}
        turns |= {Case(name, 0): turn for name, turn in parts.items()}
        turns[Case(MEMORY, 0)] = page_turn(0, stores[MEMORY], scale)
        figures = in_turn(turns, scale)
        costs = _calibrated(figures)
        return costs, [
            _pages(costs, figures),
            _rings(costs, figures),
        ]


def _calibrated(figures: dict[Case, list[float]]) -> Costs:
    medians = {case: Spread.of(row).median for case, row in figures.items()}
    few, many = (
        (size, {store: medians[Case(store, size)] for store in STORES})
        for size in GIVEN
    )
    trip = medians[Case(TRIP, 0)]
    placing = medians[Case(PLACING, 0)]
    more = medians[Case(EVERY_SERVER, 0)] - trip
    return Costs.calibrated(
        medians[Case(MEMORY, 0)],
        trip,
        placing,
        more / (max(RINGS) - 1) - placing,
        few,
        many,
    )


def _pages(costs: Costs, figures: dict[Case, list[float]]) -> Result:
    return Result(
        "model_pages",
        "A page of hits on one core",
        UNIT,
        {},
        predictions=[
            Prediction(
                store,
                size,
                costs.page(store, size, labels=LABELS),
                figures[Case(store, size)],
                size in GIVEN,
            )
            for store in STORES
            for size in SIZES
        ],
        axis=AXIS,
        has_curves=True,
        table=[
            ["parameter", "µs"],
            ["a page without fragments", f"{costs.render:.1f}"],
            ["a trip: to ask for one name", f"{costs.trip:.1f}"],
            ["to find a name's server", f"{costs.placing:.2f}"],
            ["to ask one server more", f"{costs.another:.1f}"],
            *(
                [f"the first fragment, {store}, besides", f"{once:.1f}"]
                for store, once in costs.once.items()
            ),
            *(
                [f"each fragment, {store}, besides trips", f"{each:.2f}"]
                for store, each in costs.each.items()
            ),
        ],
    )


def _rings(costs: Costs, figures: dict[Case, list[float]]) -> Result:
    return Result(
        "model_rings",
        "A page of hits on a ring of memcached servers, on one core",
        UNIT,
        {},
        predictions=[
            Prediction(
                f"{size} fragments",
                count,
                costs.page(AHEAD, size, servers=count, labels=LABELS),
                figures[Case(AHEAD, size, count)],
            )
            for size in RING_SIZES
            for count in (1, *RINGS)
        ],
        axis="servers",
        has_curves=True,
    )
