"""What arguments, tags and expressions add to a hit in memory.

One cached def of 2 KB, shown 100 times in a render, on one core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from benchmarks.contenders import ours
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.sites import LocalSite
from benchmarks.sites import one_key
from benchmarks.sites import same_text

PLAIN = "static options only"
DEFS = {
    PLAIN: '"card()"',
    "three arguments": "\"card(a=1, b='two', d=None)\"",
    "two tags": '"card()" cache_tags="news user:42"',
    "two tags, by an expression": '"card()" cache_tags="news user:${user}"',
    "vary, by an expression": '"card()" cache_vary="${(lang, user)}"',
    "a key, by an expression": '"card()" cache_key="card-${user}"',
}


def run(scale: Scale) -> Iterator[Result]:
    """Measure."""
    contender = ours("memory", "memory://")
    data = {"user": "7", "lang": "de"}
    with pinned():
        sites = {
            name: LocalSite(
                dataclasses.replace(one_key(100, attributes), data=data),
                contender,
            )
            for name, attributes in DEFS.items()
        }
        same_text(sites)
        for site in sites.values():
            site.start(scale, 1e6, 100)
        rows = interleave(
            {name: site.turn for name, site in sites.items()}, scale
        )
    assert all(site.created() == 1 for site in sites.values())
    yield Result(
        "variants", "What options add to a hit", "µs per hit", rows, PLAIN
    )
