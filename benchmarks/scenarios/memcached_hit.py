"""What a hit in memcached, or in Redis, costs on the loopback.

One cached def of 2 KB, shown 100 times in a render.  Read-ahead is off where
it says so, and where pymemcache is the client: then each hit is one request.
``get_multi`` reads 100 keys at once; its figure is of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import BEAKER_PYLIBMC
from benchmarks.contenders import DICT
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.network import bare_clients
from benchmarks.network import DOGPILE_PYLIBMC
from benchmarks.network import GET
from benchmarks.network import GET_MULTI
from benchmarks.network import network
from benchmarks.network import OURS_AHEAD_OFF
from benchmarks.placement import Placement
from benchmarks.placement import placements
from benchmarks.results import Result
from benchmarks.sites import BODY
from benchmarks.sites import one_key
from benchmarks.sites import render_in_turns

KEYS = 100


def measure(placement: Placement, scale: Scale) -> Result:
    """Return the µs per hit, and what was to be shown."""
    with network(placement) as net:
        floors = {
            name: timed(read, scale, parts=KEYS if name == GET_MULTI else 1)
            for name, read in bare_clients(net, KEYS, len(BODY)).items()
        }
        rows = render_in_turns(
            one_key(),
            [UNCACHED, DICT, *net.contenders(), *net.by_pymemcache()],
            scale,
            floors=floors,
        )
    result = Result(
        f"memcached_hit_{placement.name.replace(' ', '_')}",
        f"A hit in memcached, client and server on {placement.name}",
        "µs per hit",
        rows,
        DOGPILE_PYLIBMC,
        notes=net.notes,
    )
    result.compare(1.12, OURS_AHEAD_OFF, GET, DICT.name)
    result.compare(0.70, OURS_AHEAD_OFF, DOGPILE_PYLIBMC)
    result.compare(0.38, OURS_AHEAD_OFF, BEAKER_PYLIBMC)
    return result


def run(scale: Scale) -> Iterator[Result]:
    """Measure in each placement."""
    for placement in placements():
        yield measure(placement, scale)
