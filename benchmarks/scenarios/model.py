"""A model of what a site costs, beside what can be measured of it here.

A few figures are measured: a page without fragments, a trip, and on each
store a page of one size.  What all other pages cost follows from them and
from rules: how many trips a page makes, how many servers it touches, who
creates and who asks.  The tables give what the model predicts, what was
measured in the same run, and how far it is off; "(given)" is what it was
fitted to.  The last two tables are arithmetic alone.

A fragment is 2 KB.  Times are of one core, where nothing else is said.  Of a
page's times the model deals in the lowest fifth: what else runs on the
machine adds to the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measuring import Scale
from benchmarks.model.crowd import count_crowds
from benchmarks.model.hosts import extrapolate
from benchmarks.model.keys import measure_keys
from benchmarks.model.networks import measure_networks
from benchmarks.model.pages import measure_pages
from benchmarks.model.parts import measure_parts
from benchmarks.model.trips import count_rings
from benchmarks.model.trips import count_trips
from benchmarks.model.unlinked import measure_unlinked
from benchmarks.results import Result


def run(scale: Scale) -> Iterator[Result]:
    """Measure, predict and compare; then extrapolate."""
    yield measure_parts(scale)
    costs, results = measure_pages(scale)
    yield from results
    yield measure_networks(costs, scale)
    yield count_rings(scale)
    yield count_trips()
    yield measure_unlinked(scale)
    yield measure_keys(scale)
    yield from count_crowds(scale)
    yield from extrapolate(costs)
