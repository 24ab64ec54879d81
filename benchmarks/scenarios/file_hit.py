"""What a hit in a file costs.

One cached def of 2 KB, shown 100 times in a render under one key; then 100
times under 100 keys.  On one core; the files are in the system's cache.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from collections.abc import Iterator

from benchmarks.contenders import beaker
from benchmarks.contenders import dogpile
from benchmarks.contenders import ours
from benchmarks.contenders import UNCACHED
from benchmarks.measuring import Scale
from benchmarks.measuring import timed
from benchmarks.placement import pinned
from benchmarks.results import Goal
from benchmarks.results import Result
from benchmarks.sites import BODY
from benchmarks.sites import many_keys
from benchmarks.sites import one_key
from benchmarks.sites import Page
from benchmarks.sites import render_in_turns

OURS = "mako-cacheplug file"
BEAKER = "Beaker file"
KEYS = 100


def bare_file(path: str) -> Callable[[], bytes]:
    """Return what reads a file of 2 KB with as few calls as can be."""
    with open(path, "w", encoding="ascii") as file:
        file.write(BODY)

    def read() -> bytes:
        number = os.open(path, os.O_RDONLY)
        try:
            return os.read(number, 1 << 16)
        finally:
            os.close(number)

    return read


def measure(page: Page, scale: Scale) -> dict[str, list[float]]:
    """Return the µs per hit."""
    with tempfile.TemporaryDirectory() as folder, pinned():
        floor = timed(bare_file(f"{folder}/bare"), scale)
        contenders = [
            UNCACHED,
            beaker(BEAKER, type="file", dir=f"{folder}/beaker"),
            dogpile(
                "dogpile.cache dbm", "dbm", filename=f"{folder}/dogpile.dbm"
            ),
            ours(OURS, f"file://{folder}/ours"),
        ]
        return render_in_turns(
            page, contenders, scale, floors={"os.open, read, close": floor}
        )


def run(scale: Scale) -> Iterator[Result]:
    """Measure both pages."""
    rows = measure(one_key(), scale)
    result = Result(
        "file_hit", "A hit in a file, one key", "µs per hit", rows, BEAKER
    )
    goal = result.compare(0.28, OURS, BEAKER)
    result.goals = [
        Goal(f"{OURS} ≤ 8 µs", 8.0, tuple(rows[OURS]), "µs", instead=goal)
    ]
    yield result
    rows = measure(many_keys(range(KEYS)), scale)
    result = Result(
        "file_hit_keys",
        f"A hit in a file, {KEYS} keys in the template",
        "µs per hit",
        rows,
        BEAKER,
    )
    result.compare(0.12, OURS, BEAKER)
    yield result
