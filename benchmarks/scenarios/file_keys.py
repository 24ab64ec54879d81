"""A hit in a file store that holds many entries, and in one of 100.

Both stores are filled by rendering; each turn shows 100 random keys.  On one
core; the files are in the system's cache, as far as it has room.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator

from benchmarks.contenders import ours
from benchmarks.measuring import interleave
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.measuring import Turn
from benchmarks.placement import pinned
from benchmarks.results import Result
from benchmarks.sites import LocalSite
from benchmarks.sites import many_keys

FEW = 100
AT_ONCE = 1000
SAMPLES = 50
"""Sets of random keys: their bodies' sizes are alike, their places not."""


def filled(root: str, count: int) -> LocalSite:
    """Return a site whose store holds *count* entries."""
    site = LocalSite(
        many_keys(()), ours("filled", f"file://{root}?max_bytes=none")
    )
    for first in range(0, count, AT_ONCE):
        site.render(numbers=range(first, min(count, first + AT_ONCE)))
    assert site.created() == count
    return site


def random_hits(site: LocalSite, count: int, scale: Scale) -> Turn:
    """Return a turn that shows 100 of the site's *count* keys."""
    chance = random.Random(0)
    samples = [
        [chance.randrange(count) for _ in range(FEW)] for _ in range(SAMPLES)
    ]

    def show() -> None:
        site.render(numbers=chance.choice(samples))

    return timed(show, scale, parts=FEW)


def run(scale: Scale) -> Iterator[Result]:
    """Fill the stores, then measure."""
    counts = {
        f"{count:,} entries": count for count in (FEW, scale.stored_keys)
    }
    many = list(counts)[-1]
    with tempfile.TemporaryDirectory() as folder, pinned():
        sites = {
            name: filled(f"{folder}/{count}", count)
            for name, count in counts.items()
        }
        rows = interleave(
            {
                name: random_hits(sites[name], count, scale)
                for name, count in counts.items()
            },
            scale,
        )
        assert all(
            site.created() == counts[name] for name, site in sites.items()
        )
    few = next(iter(counts))
    result = Result(
        "file_keys",
        f"A hit in a file, {many} in the store",
        "µs per hit",
        rows,
        few,
    )
    result.compare(1.5, many, few)
    if scale.stored_keys < 1_000_000:
        result.notes.append("--full fills the store with 1,000,000 entries")
    yield result
