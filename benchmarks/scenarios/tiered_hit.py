"""What a hit in the near tier of a tiered store costs.

The page of the memory scenario, with memory in front of memcached, and with
memory alone; on one core.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders import ours
from benchmarks.measuring import Scale
from benchmarks.network import network
from benchmarks.network import ours_on_memcached
from benchmarks.placement import placements
from benchmarks.results import Result
from benchmarks.scenarios.memory_hit import OURS as MEMORY
from benchmarks.sites import one_key
from benchmarks.sites import render_in_turns
from mako_cacheplug.registry import backend_names

TIERED = "mako-cacheplug tiered"
LIMIT = 1.3


def run(scale: Scale) -> Iterator[Result]:
    """Measure, if there is a tiered store."""
    result = Result("tiered_hit", "A hit in a near tier", "µs per hit", {})
    if "tiered" not in backend_names():
        result.notes.append("not available: there is no tiered store yet")
        result.compare(LIMIT, TIERED, MEMORY)
        yield result
        return
    with network(placements()[0]) as net:
        far = f"memcached://127.0.0.1:{net.memcached}"
        result.rows = render_in_turns(
            one_key(),
            [
                ours(MEMORY, "memory://"),
                ours(TIERED, f"tiered://?near=memory&far={far}"),
                *ours_on_memcached(net.memcached),
            ],
            scale,
        )
    result.baseline = MEMORY
    result.compare(LIMIT, TIERED, MEMORY)
    yield result
