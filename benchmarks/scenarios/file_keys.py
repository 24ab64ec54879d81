"""A hit in a file store that holds many entries, and in one of 100.

The stores are filled by rendering.  In each of them the same number of keys is
asked for, 100 in a turn; in the large one they lie anywhere among the others.
What it costs if more of them are asked for, each once in a while, is a row of
its own: then the files are no longer in the processor's caches, what this
process keeps in mind of them is looked up anew, and that is so in a store
that holds no others, too.

On one core; the files are in the system's cache, as far as it has room.
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
WORKING_SET = 5_000


def filled(root: str, count: int) -> LocalSite:
    """Return a site whose store holds *count* entries."""
    site = LocalSite(
        many_keys(()), ours("filled", f"file://{root}?max_bytes=none")
    )
    for first in range(0, count, AT_ONCE):
        site.render(numbers=range(first, min(count, first + AT_ONCE)))
    assert site.created() == count
    return site


def hits(site: LocalSite, count: int, asked: int, scale: Scale) -> Turn:
    """Return a turn that shows 100 of *asked* of the site's *count* keys."""
    chance = random.Random(0)
    numbers = chance.sample(range(count), asked)
    pages = [numbers[n : n + FEW] for n in range(0, asked, FEW)]

    def show() -> None:
        site.render(numbers=chance.choice(pages))

    return timed(show, scale, parts=FEW)


def run(scale: Scale) -> Iterator[Result]:
    """Fill the stores, then measure."""
    stored = scale.stored_keys
    asked = min(stored, WORKING_SET)
    few, many = f"100 of {FEW} keys", f"100 of {stored:,} keys"
    with tempfile.TemporaryDirectory() as folder, pinned():
        small, middle, large = (
            filled(f"{folder}/{count}", count)
            for count in (FEW, asked, stored)
        )
        rows = interleave(
            {
                few: hits(small, FEW, FEW, scale),
                many: hits(large, stored, FEW, scale),
                f"{asked:,} of {asked:,} keys": hits(
                    middle, asked, asked, scale
                ),
                f"{asked:,} of {stored:,} keys": hits(
                    large, stored, asked, scale
                ),
            },
            scale,
        )
        assert (small.created(), middle.created(), large.created()) == (
            FEW,
            asked,
            stored,
        )
    result = Result(
        "file_keys",
        "A hit in a file: so many keys asked for, of so many in the store",
        "µs per hit",
        rows,
        few,
    )
    result.compare(1.5, many, few)
    if stored < 1_000_000:
        result.notes.append("--full fills the store with 1,000,000 entries")
    yield result
